"""The world's calendars: their sessions ahead, their names, and what is said of one that does not exist."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, datetime

import pytest

from risk.calendars import calendar_problem, sessions_from
from risk.core.hours import Session, is_open, opens_at


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type, misc]


def test_it_tells_a_fortnight_with_its_holidays_and_half_days() -> None:
    sessions = sessions_from("XNYS", date(2024, 12, 24))
    assert sessions[0] == Session(utc(2024, 12, 23, 14, 30), utc(2024, 12, 23, 21))
    assert sessions[1] == Session(utc(2024, 12, 24, 14, 30), utc(2024, 12, 24, 18))
    assert [s.open_at.date().isoformat() for s in sessions[2:]] == [
        "2024-12-26", "2024-12-27", "2024-12-30", "2024-12-31", "2025-01-02", "2025-01-03", "2025-01-06",
    ]  # fmt: skip
    assert not is_open(sessions, utc(2024, 12, 25, 15))
    assert opens_at(sessions, utc(2024, 12, 24, 18)) == utc(2024, 12, 26, 14, 30)


def test_it_moves_with_summer_time() -> None:
    opens = {s.open_at for s in sessions_from("XNYS", date(2025, 3, 7))}
    assert {utc(2025, 3, 7, 14, 30), utc(2025, 3, 10, 13, 30)} <= opens


def test_it_knows_the_break_at_noon() -> None:
    tokyo = sessions_from("XTKS", date(2025, 3, 3))[1]
    assert (tokyo.break_start_at, tokyo.break_end_at) == (utc(2025, 3, 3, 2, 30), utc(2025, 3, 3, 3, 30))


def test_it_begins_with_the_session_in_progress() -> None:
    assert sessions_from("CMES", date(2025, 3, 4))[0].open_at == utc(2025, 3, 3, 23)


def test_it_needs_no_hours_where_trading_never_stops() -> None:
    assert sessions_from("24/7", date(2025, 3, 3)) == ()


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("24/7", ""),
        ("XNYS", ""),
        ("NYSE", ""),
        ("XNYC", "There is no calendar “XNYC”. The nearest are XNYS,"),
        ("nyse", "There is no calendar “nyse”. The nearest are NYSE,"),
        ("", "There is no calendar “”. Write 24/7, or an exchange's code, like XNYS or CME."),
    ],
)
def test_it_names_the_nearest_calendars_to_a_wrong_one(name: str, sentence: str) -> None:
    found = calendar_problem(name)
    assert found.startswith(sentence) if sentence else not found


@pytest.mark.parametrize(("name", "day"), [("XNYC", date(2025, 3, 3)), ("XSHG", date(2199, 1, 1))])
def test_it_knows_no_hours_that_nobody_knows(name: str, day: date) -> None:
    assert sessions_from(name, day) == ()


def test_it_loads_the_library_for_nobody_who_does_not_need_it() -> None:
    code = "import sys; from risk.calendars import calendar_problem; calendar_problem('24/7'); print('pandas' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"
