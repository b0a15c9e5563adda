"""What an order may cost before it fills: the price at which its unfilled part is set aside.

A reservation is leaves × price: limit buys at their limit; market and stop entries at the reference with the price collar added;
short entries at the larger of their limit and that. It moves to the position with each fill and ends with the order, never by a
timer. Exits and protection reserve nothing.
"""

from __future__ import annotations

from decimal import Decimal

from risk.core.units import ONE, PERCENT


def reservation_price(
    *, is_buy: bool, price: Decimal | None, stop_px: Decimal | None, reference: Decimal, collar_pct: Decimal
) -> Decimal:
    """The price one unit is reserved at.

    `price` is the limit of an order that has one. `reference` is where its side would trade now; an order that waits for a stop
    price counts from that if it is higher. `collar_pct` NO_LIMIT adds nothing: a person chose to know no worst price.
    """
    if is_buy and price is not None:
        return price
    base = reference if stop_px is None else max(reference, stop_px)
    worst = base * (ONE + collar_pct * PERCENT) if collar_pct.is_finite() else base
    return worst if price is None else max(price, worst)
