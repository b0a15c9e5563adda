"""Trading calendars: which there are, and the sessions of the days to come.

The hours of the world's exchanges are the library `exchange_calendars`'; it brings pandas, so it is imported when a calendar other than
24/7 is first asked for and not before (0.3 s and 67 MB on the machine this was measured on; 0.15 s more for each calendar). Who builds
settings asks, once a day; the core knows instants only.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, Final

from risk.core.hours import ALWAYS, Session

#: how far ahead sessions are told
DAYS_AHEAD: Final = 14
#: how far back the session in progress may have begun: no exchange stays closed longer
_DAYS_BACK: Final = 14


def calendar_problem(name: str) -> str:
    """Why there is no such calendar, in one sentence with the nearest there are; empty when there is."""
    if name == ALWAYS:
        return ""
    known = _names()
    if name in known:
        return ""
    near = get_close_matches(name.upper(), known, n=3, cutoff=0.5)
    advice = f"The nearest are {', '.join(near)}." if near else "Write 24/7, or an exchange's code, like XNYS or CME."
    return f"There is no calendar “{name}”. {advice}"


@lru_cache(maxsize=256)
def sessions_from(name: str, day: date) -> tuple[Session, ...]:
    """The session that began last before `day` (UTC), and those that begin in the fourteen days from it. Empty for 24/7.

    Fewer where the library does not know the calendar that far, none where it does not know it at all: what is not known to be open
    counts as closed.
    """
    if name == ALWAYS or name not in _names():
        return ()
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    began = [s for s in _schedule(name, day - timedelta(days=_DAYS_BACK)) if s.open_at < midnight + timedelta(days=DAYS_AHEAD)]
    current = [s for s in began if s.open_at < midnight]
    return (*current[-1:], *(s for s in began if s.open_at >= midnight))


@lru_cache(maxsize=1)
def _names() -> tuple[str, ...]:
    from exchange_calendars import get_calendar_names

    return tuple(sorted(get_calendar_names(include_aliases=True)))


def _schedule(name: str, start: date) -> Iterator[Session]:
    """The sessions from `start` on, as far as the library knows them (a year, mostly)."""
    from exchange_calendars import get_calendar

    try:
        calendar = get_calendar(name, start=start.isoformat())
    except ValueError:  # its holidays are not known that far
        return
    for row in calendar.schedule.itertuples():
        yield Session(_utc(row.open), _utc(row.close), _utc_or_none(row.break_start), _utc_or_none(row.break_end))


def _utc(at: Any) -> datetime:
    instant: datetime = at.to_pydatetime()
    return instant.replace(tzinfo=UTC)


def _utc_or_none(at: Any) -> datetime | None:
    return None if at != at else _utc(at)  # noqa: PLR0124 - what is no time does not equal itself
