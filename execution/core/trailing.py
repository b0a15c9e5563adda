"""Trailing stops: an extreme that follows the price one way, and a trigger that stays a distance behind it.

Rules of this file.
1. What sells follows the highest price and triggers below it; what buys follows the lowest and triggers above it.
2. Nothing is followed before the price has been at or beyond the activation price; the first price that is begins the tracking.
3. A price that makes a new extreme never triggers. The trigger moves one way only.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from risk.core.units import HUNDRED, PERCENT, ZERO, Side

_SELL = Side.SELL


class Trail(msgspec.Struct, frozen=True, kw_only=True):
    """A trailing stop that sends `side`. Its distance is `pct` (10 is ten percent of the extreme) or else `offset` (price).

    `extreme` is the best price since the tracking began; None before it did.
    """

    side: Side
    offset: Decimal | None = None
    pct: Decimal | None = None
    activation_px: Decimal | None = None
    #: whether the tracking begins at a price at or above `activation_px`, or at or below it
    is_activated_above: bool = True
    extreme: Decimal | None = None

    @property
    def trigger_px(self) -> Decimal | None:
        """The price at or beyond which it triggers; None while nothing is tracked."""
        return None if self.extreme is None else self.level(self.extreme)

    def level(self, extreme: Decimal) -> Decimal:
        """Where it would trigger with this extreme."""
        if self.pct is not None:
            return extreme * (HUNDRED + self.side.sign * self.pct) * PERCENT
        return extreme + self.side.sign * (self.offset or ZERO)


def followed(trail: Trail, price: Decimal) -> Trail:
    """The trail after this price; the same value when it changed nothing."""
    if not _is_followed(trail, price):
        return trail
    return msgspec.structs.replace(trail, extreme=price)


def _is_followed(trail: Trail, price: Decimal) -> bool:
    if trail.extreme is not None:
        return price > trail.extreme if trail.side is _SELL else price < trail.extreme
    if trail.activation_px is None:
        return True
    return price >= trail.activation_px if trail.is_activated_above else price <= trail.activation_px


def is_triggered(trail: Trail, price: Decimal) -> bool:
    """Whether this price, already followed, triggers."""
    trigger_px = trail.trigger_px
    if trigger_px is None:
        return False
    return price <= trigger_px if trail.side is _SELL else price >= trigger_px
