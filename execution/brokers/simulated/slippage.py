"""How much worse than the market's price a taking order fills.

Rules of this file. An amount is money per unit, added for a buy and taken off for a sell. It is measured from the price the order
would fill at without slippage: the ask or bid of a quote, or a level inside a bar. Every model is a formula of what is seen at the
moment of the fill; none looks ahead and none has chance in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Final

import msgspec

from risk.core.units import ZERO, Instrument


class Model(StrEnum):
    BPS = "BPS"
    FIXED = "FIXED"
    SPREAD = "SPREAD"
    VOLUME_SHARE = "VOLUME_SHARE"
    VOLUME_IMPACT = "VOLUME_IMPACT"
    VOLATILITY = "VOLATILITY"


class Slippage(msgspec.Struct, frozen=True, kw_only=True):
    """A model with its numbers. Rates are parts of one; `applies_to` are symbols and asset classes, none for all."""

    model: Model = Model.BPS
    rate: Decimal = ZERO
    #: the rate of what reduces a position; None for `rate`
    exit_rate: Decimal | None = None
    amount: Decimal = ZERO
    fraction: Decimal = Decimal("0.5")
    volume_limit: Decimal = Decimal("0.025")
    price_impact: Decimal = Decimal("0.1")
    coefficient: Decimal = Decimal("0.1")
    exponent: Decimal = Decimal("0.5")
    #: units traded per bar to reckon with where the market tells none
    volume: Decimal = ZERO
    factor: Decimal = Decimal(1)
    applies_to: frozenset[str] = frozenset()

    @property
    def is_none(self) -> bool:
        return self.model is Model.BPS and not self.rate and not self.exit_rate

    @property
    def needs_activity(self) -> bool:
        return self.model in {Model.VOLUME_SHARE, Model.VOLUME_IMPACT, Model.VOLATILITY}


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What is known when an order takes. `half_spread` is zero where nobody quotes; volumes are zero where nobody tells."""

    price: Decimal
    qty: Decimal
    reduces: bool = False
    half_spread: Decimal = ZERO
    #: whether `price` is a bid or ask, half a spread from the middle, or a price of its own
    is_touch: bool = True
    volume: Decimal = ZERO
    volume_mean: Decimal = ZERO
    volatility: Decimal = ZERO


def slippage_of(models: Sequence[Slippage], instrument: Instrument) -> Slippage:
    """The first model that names the symbol or its asset class, or that names nothing."""
    names = {instrument.symbol, instrument.asset_class.value}
    return next(m for m in models if not m.applies_to or m.applies_to & names)


def amount(model: Slippage, seen: Seen) -> Decimal:
    """Money per unit by which the fill is worse; negative only for SPREAD, whose fills may be inside the spread."""
    return _FORMULAS[model.model](model, seen)


def _bps(model: Slippage, seen: Seen) -> Decimal:
    rate = model.exit_rate if seen.reduces and model.exit_rate is not None else model.rate
    return seen.price * rate


def _fixed(model: Slippage, seen: Seen) -> Decimal:
    return model.amount


def _spread(model: Slippage, seen: Seen) -> Decimal:
    """The middle, made worse by a part of half the spread: a fraction of 1 is the touch."""
    from_the_middle = seen.half_spread * model.fraction
    return from_the_middle - seen.half_spread if seen.is_touch else from_the_middle


def _volume_share(model: Slippage, seen: Seen) -> Decimal:
    """price × impact × min(order ÷ volume, limit)²; at the limit where no volume is known."""
    volume = seen.volume or model.volume
    share = min(seen.qty / volume, model.volume_limit) if volume > 0 else model.volume_limit
    return seen.price * model.price_impact * share * share


def _volume_impact(model: Slippage, seen: Seen) -> Decimal:
    """price × coefficient × (order ÷ average volume)^exponent; as if the order were the whole volume where none is known."""
    volume = seen.volume_mean or model.volume
    return seen.price * model.coefficient * ((seen.qty / volume) ** model.exponent if volume > 0 else 1)


def _volatility(model: Slippage, seen: Seen) -> Decimal:
    """price × factor × standard deviation of the last returns."""
    return seen.price * model.factor * seen.volatility


_FORMULAS: Final[Mapping[Model, Callable[[Slippage, Seen], Decimal]]] = {
    Model.BPS: _bps,
    Model.FIXED: _fixed,
    Model.SPREAD: _spread,
    Model.VOLUME_SHARE: _volume_share,
    Model.VOLUME_IMPACT: _volume_impact,
    Model.VOLATILITY: _volatility,
}
