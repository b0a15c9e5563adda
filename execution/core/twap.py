"""TWAP: one quantity in equal slices at equal times, so that what is paid comes near the average price of the horizon. Pure.

    n = horizon ÷ interval, whole (one more where the end is included); slice k goes at start + k × interval

Every slice is a whole number of lots, and all of them sum to exactly the quantity. What lots leave over goes, a lot each, to the last
slices, so that the first one is the smallest and speaks for all where an order can be too small.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

import msgspec

from execution.core.messages import SignalRecord, Twap
from execution.core.orders import OrderState
from risk.core.sizing import is_positive
from risk.core.units import ZERO
from risk.core.verdict import Proposal
from risk.core.wording import exact

#: slices of one schedule at most
SLICES_MAX: Final = 1000
#: how long one may last, in seconds
HORIZON_S_MAX: Final = Decimal(30 * 86400)
_MICROSECONDS: Final = 1_000_000


class ScheduleRefused(Exception):
    """No schedule can be made of what was asked; the message says what is wrong and what is right."""


def slices(qty: Decimal, twap: Twap, *, lot: Decimal) -> tuple[Decimal, ...]:
    """The quantities of a schedule, in the order they go. Raises ScheduleRefused."""
    horizon_s, interval_s = twap.horizon_s, twap.interval_s
    for name, value in (("qty", qty), ("lot", lot), ("horizon_s", horizon_s), ("interval_s", interval_s)):
        if not is_positive(value):
            raise ScheduleRefused(f"{name} is {exact(value)}; it must be a positive, finite number.")
    if horizon_s > HORIZON_S_MAX:
        raise ScheduleRefused(f"horizon_s is {exact(horizon_s)}; it must be at most {exact(HORIZON_S_MAX)}.")
    if horizon_s < interval_s:
        raise ScheduleRefused(f"horizon_s is {exact(horizon_s)}; it must be at least interval_s, which is {exact(interval_s)}.")
    if horizon_s >= interval_s * SLICES_MAX:
        least = exact(horizon_s / SLICES_MAX)
        raise ScheduleRefused(f"interval_s is {exact(interval_s)}; it must be more than {least}, a thousandth of horizon_s.")
    return _parts(qty, int(horizon_s // interval_s) + twap.is_end_included, lot)


def _parts(qty: Decimal, n: int, lot: Decimal) -> tuple[Decimal, ...]:
    lots, rest = divmod(qty, lot)
    if rest:
        raise ScheduleRefused(f"qty is {exact(qty)}; it must be in whole lots of {exact(lot)}.")
    least, more = divmod(int(lots), n)
    if not least:
        raise ScheduleRefused(f"qty is {exact(qty)}; {n} slices need at least {exact(n * lot)}, a lot of {exact(lot)} each.")
    return tuple((least + (k >= n - more)) * lot for k in range(n))


class ParentState(msgspec.Struct, kw_only=True):
    """An entry that is sent in slices. Its id is its decision's, which every slice's order carries.

    `slot` counts the slices whose time is over, sent or not. What is not sent by then is not sent later: nothing is doubled up.
    """

    #: the entry as it was let through, whole
    proposal: Proposal
    #: its Signal, told again as it goes on
    record: SignalRecord
    twap: Twap
    slices: tuple[Decimal, ...]
    start_at: datetime
    #: money set aside per unit that is not sent yet
    reserve_px: Decimal
    bracket_id: str = ""
    slot: int = 0
    #: the slices' orders, oldest first
    orders: list[str] = []
    #: why the slice that is due has not gone yet; empty when none waits
    held: str = ""
    #: why no further slice goes; empty while one may
    ended: str = ""

    @property
    def unsent_qty(self) -> Decimal:
        """What may still be sent."""
        return ZERO if self.ended else sum(self.slices[self.slot :], ZERO)

    def slot_at(self, at: datetime) -> int:
        """The number of the last slice whose time has come."""
        return (at - self.start_at) // self._interval

    def time_of(self, slot: int) -> datetime:
        """When a slice is due; for the number after the last, when the schedule is over."""
        return self.start_at + slot * self._interval

    @property
    def _interval(self) -> timedelta:
        return timedelta(microseconds=max(int(self.twap.interval_s * _MICROSECONDS), 1))

    def told(self, orders: Mapping[str, OrderState]) -> str:
        """How far it is, in words."""
        filled = sum((orders[key].cum_qty for key in self.orders), ZERO)
        n, qty = len(self.slices), sum(self.slices, ZERO)
        text = f"TWAP: {len(self.orders)} of {n} slices sent, {exact(filled)} of {exact(qty)} filled."
        if self.ended:
            return f"{text} Over: {self.ended}."
        return f"{text} Slice {self.slot + 1} waits: {self.held}" if self.held else text
