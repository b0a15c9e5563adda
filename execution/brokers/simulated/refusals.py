"""What the venue will not take, in its own words. Empty means that it takes it."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from execution.brokers.simulated.orders import AT_ONCE, STOPS
from risk.core.units import Instrument, OrdType, Quote, Side, TimeInForce
from risk.core.verdict import Approved, Capability

_LACKING: Final = {
    Capability.STOP_ORDERS: "stop orders",
    Capability.POST_ONLY: "post-only orders",
    Capability.REDUCE_ONLY: "reduce-only orders",
    Capability.IOC: "IOC orders",
    Capability.FOK: "FOK orders",
}


def lacking(approved: Approved, capabilities: frozenset[Capability]) -> str:
    """An order of a kind that this venue does not have."""
    needs = {
        Capability.STOP_ORDERS: approved.ord_type in STOPS,
        Capability.POST_ONLY: approved.post_only,
        Capability.REDUCE_ONLY: approved.reduce_only,
        Capability.IOC: approved.time_in_force is TimeInForce.IOC,
        Capability.FOK: approved.time_in_force is TimeInForce.FOK,
    }
    for capability, is_needed in needs.items():
        if is_needed and capability not in capabilities:
            return f"this venue takes no {_LACKING[capability]}"
    return ""


def misshapen(approved: Approved) -> str:
    needs_price = approved.ord_type in {OrdType.LIMIT, OrdType.STOP_LIMIT}
    if needs_price and approved.price is None:
        return f"a {approved.ord_type} order needs a price"
    if approved.ord_type in STOPS and approved.stop_px is None:
        return f"a {approved.ord_type} order needs a stop price"
    if approved.ord_type in STOPS and approved.time_in_force in AT_ONCE:
        return f"a {approved.ord_type} order cannot be {approved.time_in_force}"
    if approved.post_only and (approved.ord_type is not OrdType.LIMIT or approved.time_in_force in AT_ONCE):
        return "only a resting limit order can be post-only"
    return ""


def wrong_numbers(
    instrument: Instrument, *, qty: Decimal, price: Decimal | None, stop_px: Decimal | None, reduce_only: bool
) -> str:
    if not qty.is_finite() or qty <= 0 or qty % instrument.lot_size:
        return f"quantity {qty} is not a positive multiple of the lot {instrument.lot_size}"
    for value in (price, stop_px):
        if value is not None and (not value.is_finite() or value <= 0 or value % instrument.tick_size):
            return f"price {value} is not a positive multiple of the tick {instrument.tick_size}"
    if not reduce_only and price and instrument.notional(qty, price) < instrument.min_notional:
        return f"notional is below the minimum {instrument.min_notional}"
    return ""


def would_take(side: Side, price: Decimal | None, quote: Quote | None, *, post_only: bool) -> str:
    """A post-only order that would not rest."""
    if not post_only or quote is None or price is None:
        return ""
    market = quote.reference(side)
    crosses = price >= market if side is Side.BUY else price <= market
    return f"post-only order would take at {market}" if crosses else ""
