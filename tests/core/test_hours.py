"""Sessions of a calendar: open, closed, at lunch, and whose day a moment belongs to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from risk.core.hours import Session, day_ends_at, day_of, is_open, next_midnight, opens_at


def at(day: int, hour: float) -> datetime:
    return datetime(2026, 1, day, tzinfo=UTC) + timedelta(hours=hour)


NEW_YORK = tuple(Session(at(d, 14.5), at(d, 21)) for d in (2, 5, 6))
TOKYO = tuple(Session(at(d, 0), at(d, 6.5), at(d, 2.5), at(d, 3.5)) for d in (5, 6))
ROUND_THE_CLOCK = tuple(Session(at(d, 0), at(d + 1, 0)) for d in (5, 6, 7))


@pytest.mark.parametrize(
    ("sessions", "moment", "open_now", "opens_next"),
    [
        (NEW_YORK, at(2, 14.4), False, at(2, 14.5)),
        (NEW_YORK, at(2, 14.5), True, at(5, 14.5)),
        (NEW_YORK, at(2, 20.99), True, at(5, 14.5)),
        (NEW_YORK, at(2, 21), False, at(5, 14.5)),
        (NEW_YORK, at(4, 12), False, at(5, 14.5)),
        (NEW_YORK, at(6, 22), False, None),
        ((), at(6, 12), False, None),
        (TOKYO, at(5, 2.49), True, at(6, 0)),
        (TOKYO, at(5, 2.5), False, at(5, 3.5)),
        (TOKYO, at(5, 3.5), True, at(6, 0)),
        (ROUND_THE_CLOCK, at(6, 0), True, at(7, 0)),
    ],
)
def test_it_knows_when_a_market_is_open(
    sessions: tuple[Session, ...], moment: datetime, open_now: bool, opens_next: datetime | None
) -> None:
    assert is_open(sessions, moment) is open_now
    assert opens_at(sessions, moment) == opens_next


@pytest.mark.parametrize(
    ("sessions", "moment", "start", "end"),
    [
        ((), at(5, 12), at(5, 0), at(6, 0)),
        ((), at(5, 0), at(5, 0), at(6, 0)),
        (NEW_YORK, at(2, 14.5), at(2, 14.5), at(5, 14.5)),
        (NEW_YORK, at(3, 9), at(2, 14.5), at(5, 14.5)),
        (NEW_YORK, at(5, 14.4), at(2, 14.5), at(5, 14.5)),
        (NEW_YORK, at(2, 9), at(2, 0), at(2, 14.5)),
        (NEW_YORK, at(8, 9), at(6, 14.5), at(9, 0)),
        (TOKYO, at(5, 3), at(5, 0), at(6, 0)),
    ],
)
def test_it_counts_results_from_opening_to_opening(
    sessions: tuple[Session, ...], moment: datetime, start: datetime, end: datetime
) -> None:
    assert day_of(sessions, moment) == (start, end)


@pytest.mark.parametrize(
    ("sessions", "moment", "end"),
    [((), at(5, 12), at(6, 0)), (NEW_YORK, at(2, 15), at(2, 21)), (NEW_YORK, at(3, 9), at(5, 21)), (TOKYO, at(5, 3), at(5, 6.5))],
)
def test_it_ends_a_day_order_with_the_close(sessions: tuple[Session, ...], moment: datetime, end: datetime) -> None:
    assert day_ends_at(sessions, moment) == end


MOMENTS = st.integers(0, 8 * 86_400).map(lambda seconds: at(1, 0) + timedelta(seconds=seconds))


@given(MOMENTS, st.sampled_from([(), NEW_YORK, TOKYO, ROUND_THE_CLOCK]))
def test_it_always_lies_in_its_day(moment: datetime, sessions: tuple[Session, ...]) -> None:
    start, end = day_of(sessions, moment)
    assert start <= moment < end
    opening = opens_at(sessions, moment)
    assert opening is None or (moment < opening and is_open(sessions, opening))
    assert moment < next_midnight(moment) <= moment + timedelta(days=1)
