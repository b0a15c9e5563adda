"""How much: an order's quantity from a size hint. Exact, floored to whole lots, never above the cap. Zero means *skip*.

    order_qty = floor_to_lot(min(budget / (price × contract_value), qty_max))

where the budget is the notional the hint asks for:

    DEFAULT          margin_per_trade × leverage
    MARGIN_FRACTION  margin_per_trade × leverage × value, value clamped to 0..1
    NOTIONAL         value (the margin it takes is value ÷ leverage)
    EQUITY_PCT       equity × value %
    RISK_PCT         (equity × value %) × price / |price − stop_loss|, so that a stop that is hit costs value % of equity;
                     value 0 takes risk_pct of the settings
    QUANTITY         value is the quantity itself

A price, stop, margin, leverage, equity or hint that is zero, negative or not finite gives zero: never a smallest size, never a
guess. The lots are counted by exact division, so 0.3 over 0.1 is three.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from risk.core.settings import RiskSettings
from risk.core.units import HUNDRED, ONE, ZERO, Instrument
from risk.core.verdict import HintKind, SizeHint

#: Which settings a hint needs; gate 9 denies with LIMIT_NOT_SET when one is unset.
NEEDS: Final[Mapping[HintKind, tuple[str, ...]]] = {
    HintKind.DEFAULT: ("margin_per_trade", "leverage", "qty_max"),
    HintKind.MARGIN_FRACTION: ("margin_per_trade", "leverage", "qty_max"),
    HintKind.NOTIONAL: ("leverage", "qty_max"),
    HintKind.QUANTITY: ("qty_max",),
    HintKind.EQUITY_PCT: ("qty_max",),
    HintKind.RISK_PCT: ("risk_pct", "qty_max"),
}


def order_qty(
    hint: SizeHint,
    *,
    price: Decimal,
    stop_loss: Decimal | None,
    equity: Decimal,
    instrument: Instrument,
    settings: RiskSettings,
) -> Decimal:
    """The quantity to order at `price`, in whole lots; zero means skip. Settings named by NEEDS must be set."""
    qty_max = settings.qty_max
    if qty_max is None or qty_max.is_nan() or not is_positive(price):
        return ZERO
    if hint.kind is HintKind.QUANTITY:
        return instrument.qty_floor(min(hint.value, qty_max)) if is_positive(hint.value) else ZERO
    unit_cost = price * instrument.contract_value
    if hint.kind is HintKind.RISK_PCT:
        unit_cost = _loss_per_unit(price, stop_loss, instrument)
    budget = _budget(hint, settings, equity)
    if not (is_positive(budget) and is_positive(unit_cost)):
        return ZERO
    if qty_max.is_finite() and budget >= unit_cost * qty_max:
        return instrument.qty_floor(qty_max)
    return budget // (unit_cost * instrument.lot_size) * instrument.lot_size


def is_positive(value: Decimal | None) -> bool:
    """True for a finite number above zero. NaN and infinities are not."""
    return value is not None and value.is_finite() and value > 0


def _loss_per_unit(price: Decimal, stop_loss: Decimal | None, instrument: Instrument) -> Decimal:
    """Money one unit loses between entry and stop; zero without a usable stop."""
    if stop_loss is None or not is_positive(stop_loss):
        return ZERO
    return abs(price - stop_loss) * instrument.contract_value


def _budget(hint: SizeHint, settings: RiskSettings, equity: Decimal) -> Decimal:
    """The notional a hint asks for (for RISK_PCT: the money it may lose); zero for what cannot be used."""
    match hint.kind:
        case HintKind.DEFAULT:
            return _product(settings.margin_per_trade, settings.leverage)
        case HintKind.MARGIN_FRACTION:
            fraction = min(hint.value, ONE) if is_positive(hint.value) else ZERO
            return _product(settings.margin_per_trade, settings.leverage) * fraction
        case HintKind.NOTIONAL:
            return hint.value if is_positive(settings.leverage) else ZERO
        case HintKind.EQUITY_PCT:
            return _product(equity, hint.value) / HUNDRED
        case HintKind.RISK_PCT:
            return _product(equity, hint.value if hint.value.is_nan() or hint.value else settings.risk_pct) / HUNDRED
        case HintKind.QUANTITY:
            return ZERO


def _product(left: Decimal | None, right: Decimal | None) -> Decimal:
    if left is None or right is None or not (is_positive(left) and is_positive(right)):
        return ZERO
    return left * right
