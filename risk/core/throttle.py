"""How often entries come: what gate 13 counts.

Only approvals of entries are counted: a denial changes nothing, so it cannot use a window up either. The hour is counted by the
minute, so that it costs the same however much a bot does: an approval counts until the minute it was given in is an hour old.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

import msgspec

from risk.core.units import Side

#: approvals of a bot kept at most; a rate limit above it does not bind
KEPT: Final = 1000
_HOUR_MINUTES: Final = 60
_SECOND: Final = timedelta(seconds=1)
_MINUTE: Final = timedelta(minutes=1)
_HOUR: Final = timedelta(hours=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Approval(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An entry that was let through."""

    at: datetime
    symbol: str
    side: Side
    order_qty: Decimal
    price: Decimal | None
    stop_px: Decimal | None


class Throttle(msgspec.Struct):
    """What one bot was let do lately: its last approvals, oldest first, and how many there were in each minute of the last hour."""

    recent: list[Approval] = []
    minutes: dict[int, int] = {}


def record(throttle: Throttle, approval: Approval, *, is_entry: bool = True) -> None:
    """Count an approval; what is too old to matter is forgotten. A later slice of an entry is none of the hour's entries."""
    recent, minutes, minute = throttle.recent, throttle.minutes, _minute(approval.at)
    while recent and recent[0].at < approval.at - _HOUR:
        del recent[0]
    recent.append(approval)
    del recent[:-KEPT]
    while minutes and (oldest := next(iter(minutes))) < minute - _HOUR_MINUTES:
        del minutes[oldest]
    if minutes and minute < (newest := next(reversed(minutes))):
        minute = newest  # the clock went back: minutes stay in order
    minutes[minute] = minutes.get(minute, 0) + is_entry


def forget(throttle: Throttle) -> None:
    """Count the hour anew: a person looked. The last approvals still count as duplicates and for the rate."""
    throttle.minutes.clear()


def in_hour(throttle: Throttle, at: datetime) -> int:
    """The approvals of the hour before `at`, counted by the minute."""
    since, count = _minute(at) - _HOUR_MINUTES, sum(throttle.minutes.values())
    for minute, gone in throttle.minutes.items():
        if minute >= since:
            break
        count -= gone
    return count


def in_second(throttle: Throttle, at: datetime) -> int:
    """The approvals of the second before `at`."""
    since, count = at - _SECOND, 0
    for approval in reversed(throttle.recent):
        if approval.at <= since:
            break
        count += 1
    return count


def _minute(at: datetime) -> int:
    return (at - _EPOCH) // _MINUTE
