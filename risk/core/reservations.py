"""What an order may cost before it fills: the price at which its unfilled part is set aside.

A reservation is leaves × price: limit buys at their limit; market and stop entries at the reference with the price collar added;
short entries at the larger of their limit and that. An inverse contract is worth most at the lowest price, so everything is the other
way round there: limit sells at their limit, the rest with the collar taken off. It moves to the position with each fill and ends with the order, never by a
timer. Exits and protection reserve nothing.
"""

from __future__ import annotations

from decimal import Decimal

from risk.core.units import HUNDRED, NO_LIMIT, ONE, PERCENT


def reservation_price(
    *,
    is_buy: bool,
    price: Decimal | None,
    stop_px: Decimal | None,
    reference: Decimal,
    collar_pct: Decimal,
    is_inverse: bool = False,
) -> Decimal:
    """The price one unit is reserved at.

    `price` is the limit of an order that has one. `reference` is where its side would trade now; an order that waits for a stop
    price counts from that if it is worse. `collar_pct` NO_LIMIT adds nothing: a person chose to know no worst price; neither does one
    that would leave none, for an inverse contract.
    """
    worse, sign, most = (min, -1, HUNDRED) if is_inverse else (max, 1, NO_LIMIT)
    if is_buy is not is_inverse and price is not None:
        return price
    base = reference if stop_px is None else worse(reference, stop_px)
    worst = base * (ONE + sign * collar_pct * PERCENT) if collar_pct < most else base
    return worst if price is None else worse(price, worst)
