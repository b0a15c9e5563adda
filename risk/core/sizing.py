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
guess. The lots are counted by exact division, so 0.3 over 0.1 is three. What is worked out is also capped by what the venue takes
in one order; a QUANTITY beyond that is not made smaller: gate 11 denies it.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from risk.core.settings import RiskSettings
from risk.core.units import HUNDRED, NO_LIMIT, ONE, PERCENT, ZERO, Instrument
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
    if hint.kind is HintKind.RISK_PCT:
        pct = hint.value if hint.value.is_nan() or hint.value else settings.risk_pct
        risk = pct * PERCENT if pct is not None and is_positive(pct) else ZERO
        return fixed_risk_qty(equity=equity, risk=risk, entry=price, stop_loss=stop_loss, instrument=instrument, hard_limit=qty_max)
    budget, unit_cost = _budget(hint, settings, equity), instrument.unit_value(price)
    if not (is_positive(budget) and is_positive(unit_cost)):
        return ZERO
    return _whole(budget, unit_cost, cap=min(qty_max, instrument.order_qty_max), step=instrument.lot_size)


def fixed_risk_qty(
    *,
    equity: Decimal,
    risk: Decimal,
    entry: Decimal,
    stop_loss: Decimal | None,
    instrument: Instrument,
    commission_rate: Decimal = ZERO,
    exchange_rate: Decimal = ONE,
    hard_limit: Decimal = NO_LIMIT,
    unit_batch_size: Decimal = ZERO,
    units: int = 1,
) -> Decimal:
    """The quantity of each of `units` equal orders, so that all of them, stopped out, cost a fraction `risk` of `equity`.

        equity × risk × (1 − 2 × commission_rate) ÷ exchange_rate ÷ (|entry − stop_loss| × contract_value)

    capped by `hard_limit`, divided by `units`, floored to whole `unit_batch_size` and whole lots, capped by what the venue takes.
    `equity` may be in another currency than the instrument's: `exchange_rate` is the worth of one of the instrument's currency in it.
    Zero, negative or not finite inputs, and a stop at the entry, give zero: skip.

    Source: fixed fractional trading (R. Vince, *Portfolio Management Formulas*, 1990), with commission, units and batches as in the
    FixedRiskSizer of nautilus_trader, whose published cases it agrees with.
    """
    if units < 1 or hard_limit.is_nan() or not all(map(is_positive, (equity, risk, entry, stop_loss, exchange_rate))):
        return ZERO
    budget = equity * risk * (ONE - 2 * commission_rate) if commission_rate.is_finite() else ZERO
    loss = instrument.unit_loss(entry, stop_loss) if stop_loss else ZERO
    if not (is_positive(budget) and is_positive(loss)):
        return ZERO
    step = unit_batch_size if is_positive(unit_batch_size) else instrument.lot_size
    qty = _whole(budget, loss * exchange_rate, cap=hard_limit, step=step, parts=units)
    return instrument.qty_floor(min(qty, instrument.order_qty_max))


def is_positive(value: Decimal | None) -> bool:
    """True for a finite number above zero. NaN and infinities are not."""
    return value is not None and value.is_finite() and value > 0


def _whole(budget: Decimal, unit_cost: Decimal, *, cap: Decimal, step: Decimal, parts: int = 1) -> Decimal:
    """What the budget buys up to the cap, in equal parts, each in whole steps."""
    if cap.is_finite() and budget >= unit_cost * cap:
        budget, unit_cost = max(cap, ZERO), ONE
    return budget // (unit_cost * step * parts) * step


def _budget(hint: SizeHint, settings: RiskSettings, equity: Decimal) -> Decimal:
    """The notional a hint asks for; zero for what cannot be used."""
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
        case _:
            return ZERO


def _product(left: Decimal | None, right: Decimal | None) -> Decimal:
    if left is None or right is None or not (is_positive(left) and is_positive(right)):
        return ZERO
    return left * right
