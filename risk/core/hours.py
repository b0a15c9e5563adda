"""When a market is open: the sessions of a trading calendar, as instants.

A session runs from its opening to its close, with at most one break in between. A day of trading, for results and for DAY orders, is
named by its session; results run from one opening to the next, so that what fills after a close belongs to the session it followed.
An instrument without a calendar of its own trades always, and its day is that of UTC.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Final

import msgspec

#: the calendar of what always trades
ALWAYS: Final = "24/7"


class Session(msgspec.Struct, frozen=True, array_like=True):
    """One session, UTC."""

    open_at: datetime
    close_at: datetime
    break_start_at: datetime | None = None
    break_end_at: datetime | None = None

    def is_open(self, at: datetime) -> bool:
        return self.open_at <= at < self.close_at and not self._is_break(at)

    def _is_break(self, at: datetime) -> bool:
        start, end = self.break_start_at, self.break_end_at
        return start is not None and end is not None and start <= at < end

    def opens_at(self, at: datetime) -> datetime | None:
        """When it opens next: None while it is open and once it is over."""
        if at < self.open_at:
            return self.open_at
        return self.break_end_at if self._is_break(at) else None


def is_open(sessions: Sequence[Session], at: datetime) -> bool:
    return any(session.is_open(at) for session in sessions)


def opens_at(sessions: Sequence[Session], at: datetime) -> datetime | None:
    """When the market opens next, as far as its sessions are known."""
    return min((opening for session in sessions if (opening := session.opens_at(at)) is not None), default=None)


def day_ends_at(sessions: Sequence[Session], at: datetime) -> datetime:
    """When a DAY order given at `at` ends: the close of the session it lies in, or of the next one; midnight UTC without sessions."""
    return min((session.close_at for session in sessions if session.close_at > at), default=next_midnight(at))


def day_of(sessions: Sequence[Session], at: datetime) -> tuple[datetime, datetime]:
    """The day of results `at` lies in, as [start, end): from opening to opening. Where none is known, the bounds of the UTC day stand in."""
    midnight = next_midnight(at)
    start = max((session.open_at for session in sessions if session.open_at <= at), default=midnight - timedelta(days=1))
    end = min((session.open_at for session in sessions if session.open_at > at), default=midnight)
    return start, end


def next_midnight(at: datetime) -> datetime:
    """The first midnight UTC after `at`."""
    return datetime.combine(at.astimezone(UTC).date() + timedelta(days=1), time(), UTC)
