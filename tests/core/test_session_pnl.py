"""Session PnL: what counts, when it trips, when it begins anew."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from risk.core.hours import Session
from risk.core.session_pnl import (
    SessionPnl,
    has_ended,
    is_over,
    record_close,
    record_fee,
    reevaluate,
    reverse,
    roll,
)
from tests.core.risk_builders import NOON, D, later

MIDNIGHT = datetime(2026, 1, 6, tzinfo=UTC)


def booked(*closes: tuple[str, str], limit: str | None = "-1000") -> SessionPnl:
    session = SessionPnl()
    for gross, fee in closes:
        record_close(session, gross=D(gross), fee=D(fee), limit=None if limit is None else D(limit))
    return session


@pytest.mark.parametrize(
    ("closes", "limit", "net", "is_tripped"),
    [
        ([("1", "3")], "-1000", "-2", False),
        ([("-5", "1")], "-10", "-6", False),
        ([("-5", "1"), ("-5", "1")], "-10", "-12", True),
        ([("-9", "1")], "-10", "-10", True),
        ([("-9", "0.99")], "-10", "-9.99", False),
        ([("20", "1.5"), ("-50", "1.5"), ("-80", "1.5")], "-100", "-114.5", True),
        ([("-20", "0"), ("50", "0")], "-10", "30", True),
        ([("-1000000", "0")], "Infinity", "-1000000", False),
        ([("-1000000", "0")], "-Infinity", "-1000000", False),
        ([("-1000000", "0")], None, "-1000000", False),
        ([("-1", "0")], "NaN", "-1", True),
    ],
)
def test_it_trips_at_the_limit_and_stays_so(closes: list[tuple[str, str]], limit: str | None, net: str, is_tripped: bool) -> None:
    session = booked(*closes, limit=limit)
    assert session.net == D(net)
    assert session.is_tripped is is_tripped
    assert is_over(session, limit=None if limit is None else D(limit), at=NOON) is is_tripped


def test_it_counts_a_close_by_what_is_left_after_its_fee() -> None:
    session = booked(("1", "3"), ("10", "1"), ("-5", "1"), ("1", "1"))
    assert (session.trades, session.wins, session.losses, session.breakevens) == (4, 1, 2, 1)


def test_it_tells_whether_a_close_lost() -> None:
    session = SessionPnl()
    assert record_close(session, gross=D(1), fee=D("1.01"), limit=None)
    assert not record_close(session, gross=D(1), fee=D(1), limit=None)
    assert record_close(session, gross=D("NaN"), fee=D(0), limit=None)


def test_it_charges_the_fees_of_entries() -> None:
    session = SessionPnl()
    record_fee(session, fee=D(6), limit=D(-10))
    record_fee(session, fee=D(4), limit=D(-10))
    assert (session.net, session.trades, session.is_tripped) == (D(-10), 0, True)


@pytest.mark.parametrize("bad", ["NaN", "Infinity", "-Infinity"])
def test_it_trips_on_an_amount_that_is_not_a_number_and_does_not_sum_it(bad: str) -> None:
    for amounts in ((D(bad), D(0)), (D(0), D(bad))):
        session = booked(("5", "1"))
        record_close(session, gross=amounts[0], fee=amounts[1], limit=D(-10))
        assert session.is_tripped
        assert session.net == 4
        record_close(session, gross=D(5), fee=D(1), limit=D(-10))
        assert session.is_tripped
        assert session.net == 8


def test_it_takes_a_busted_fill_back() -> None:
    session = booked(("-20", "1"), limit="-100")
    reverse(session, gross=D(-20), fee=D(1), limit=D(-100))
    assert (session.net, session.trades) == (D(0), 1)
    assert session.worst_net == -21


@pytest.mark.parametrize(("limit", "is_tripped"), [("-100", False), ("-60", True), ("-60.01", False), ("Infinity", False)])
def test_it_judges_an_edited_limit_at_once(limit: str, is_tripped: bool) -> None:
    session = booked(("-60", "0"), ("30", "0"), limit="-50")
    reevaluate(session, limit=D(limit))
    assert session.is_tripped is is_tripped
    assert is_over(session, limit=D(limit), at=NOON) is is_tripped


def test_it_runs_from_one_opening_to_the_next() -> None:
    opens = (Session(later(-3600), later(3600)), Session(later(90_000), later(99_000)))
    session = SessionPnl()
    assert roll(session, at=NOON, sessions=opens)
    assert (session.session_start_at, session.session_end_at) == (later(-3600), later(90_000))
    record_close(session, gross=D(-20), fee=D(0), limit=D(-10))
    assert not roll(session, at=later(80_000), sessions=opens)
    assert is_over(session, limit=D(-10), at=later(80_000))
    assert roll(session, at=later(90_000), sessions=opens)
    assert session.net == 0


def test_it_begins_anew_at_the_boundary_and_only_there() -> None:
    session = SessionPnl()
    assert roll(session, at=NOON)
    record_close(session, gross=D(-20), fee=D(0), limit=D(-10))
    last = MIDNIGHT - timedelta(microseconds=1)
    assert not roll(session, at=last)
    assert is_over(session, limit=D(-10), at=last)
    assert not is_over(session, limit=D(-10), at=MIDNIGHT)
    assert has_ended(session, at=MIDNIGHT)
    assert roll(session, at=MIDNIGHT)
    assert session == SessionPnl(MIDNIGHT, MIDNIGHT + timedelta(days=1))


def test_it_does_not_roll_for_a_clock_that_goes_backwards() -> None:
    session = SessionPnl()
    roll(session, at=MIDNIGHT)
    record_close(session, gross=D(-20), fee=D(0), limit=D(-10))
    assert not roll(session, at=NOON)
    assert session.is_tripped


def test_it_survives_a_restart() -> None:
    session = SessionPnl()
    roll(session, at=NOON)
    record_close(session, gross=D("NaN"), fee=D(1), limit=D(-10))
    restored = msgspec.msgpack.decode(msgspec.msgpack.encode(session), type=SessionPnl)
    assert restored == session
    assert is_over(restored, limit=D(-10), at=NOON)


MONEY = st.decimals(min_value=-1000, max_value=1000, places=2)


@given(
    st.lists(st.tuples(MONEY, st.decimals(min_value=0, max_value=10, places=2))), st.decimals(min_value=-900, max_value=0, places=2)
)
def test_it_is_over_exactly_when_the_net_ever_reached_the_limit(closes: list[tuple[Decimal, Decimal]], limit: Decimal) -> None:
    session, net, worst = SessionPnl(), D(0), D(0)
    for gross, fee in closes:
        record_close(session, gross=gross, fee=fee, limit=limit)
        net += gross - fee
        worst = min(worst, net)
    assert session.net == net
    assert is_over(session, limit=limit, at=NOON) is (worst <= limit)
    assert session.trades == session.wins + session.losses + session.breakevens
