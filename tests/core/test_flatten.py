"""Flatten, symbol by symbol: what is read first, what waits for room or for a market, and what is done when a close fails."""

# mypy: disable-error-code="comparison-overlap"
from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from execution.core.messages import (
    AnswerCommand,
    ClosedMarket,
    CommandKind,
    CommandStatus,
    DeskSettings,
    ExecType,
    KillChoice,
    LinkChanged,
    LinkKind,
    PriceAged,
    QueryVenue,
    SendCancel,
    SettingsChanged,
    StepState,
)
from execution.core.orders import OrderState, Purpose
from risk.core.hours import Session
from risk.core.units import OrdType, Scope, ScopeKind
from risk.core.verdict import Capability
from tests.core.builders import ACCOUNT, BTC, INSTRUMENTS, NOON, Bench, D, at_venue
from tests.core.builders import settings as config

C = Capability
K = CommandKind
X = ExecType
ON_ACCOUNT = Scope(ScopeKind.ACCOUNT, ACCOUNT)


def exits(bench: Bench) -> list[OrderState]:
    return [o for o in bench.working() if o.purpose is Purpose.EXIT]


def steps(bench: Bench) -> dict[str, str]:
    return {step.name: step.state.value for step in bench.last(AnswerCommand).steps}


def text(bench: Bench, name: str) -> str:
    return next(step.text for step in bench.last(AnswerCommand).steps if step.name == name)


def flatten(bench: Bench, **fields: Any) -> AnswerCommand:
    return bench.command(K.FLATTEN, ON_ACCOUNT, **fields)


@pytest.fixture
def spot() -> Bench:
    """Ten open, their stop at a venue where nothing is reduce-only."""
    bench = Bench(at_venue(C.STOP_ORDERS))
    entry = bench.buy("10")
    bench.fill(entry)
    bench.ack(bench.legs()[0][0])
    return bench


def test_it_reads_the_venues_positions_before_it_closes_what_could_open_one(spot: Bench) -> None:
    flatten(spot)
    assert (steps(spot)["position_read"], exits(spot), spot.canceled()) == ("RUNNING", [], [])
    assert len(spot.all(QueryVenue)) == 1
    spot.reconcile()
    (stop,), _ = spot.legs()
    assert (steps(spot)["position_read"], spot.canceled()) == ("DONE", [stop.cl_ord_id])
    spot.report(stop, X.CANCELED)
    (close,) = exits(spot)
    spot.fill(close)
    assert steps(spot)[f"flatten:{BTC}"] == "DONE"
    spot.reconcile()
    assert spot.last(AnswerCommand).status is CommandStatus.DONE
    assert spot.alarms() == []


def test_it_closes_by_its_own_count_when_the_venue_does_not_tell(spot: Bench) -> None:
    flatten(spot)
    spot.wait(5.1)
    assert (steps(spot)["position_read"], spot.alarms()) == ("TROUBLE", ["kill"])
    spot.report(spot.legs()[0][0], X.CANCELED)
    assert [o.order_qty for o in exits(spot)] == [10]


def test_it_puts_the_stop_back_when_a_close_is_refused_and_tries_again(spot: Bench) -> None:
    flatten(spot)
    spot.reconcile()
    spot.report(spot.legs()[0][0], X.CANCELED)
    spot.report(exits(spot)[0], X.REJECTED, text="auction")
    assert (steps(spot)[f"flatten:{BTC}"], spot.alarms()) == ("TROUBLE", ["exit"])
    (stop,), _ = spot.legs()
    spot.ack(stop)
    spot.wait(5.1)
    assert stop.cl_ord_id in [e.cl_ord_id for e in spot.everything if isinstance(e, SendCancel)]
    spot.report(stop, X.CANCELED)
    spot.fill(exits(spot)[0])
    assert (spot.qty(), steps(spot)[f"flatten:{BTC}"]) == (0, "DONE")


def test_it_forgets_an_exit_that_waits_when_the_flatten_is_stopped(spot: Bench) -> None:
    flatten(spot)
    spot.reconcile()
    assert BTC in spot.desk.state.exits
    spot.command(K.STOP_FLATTEN, ON_ACCOUNT)
    assert spot.desk.state.exits == {}
    spot.report(next(o for o in spot.working() if o.purpose is Purpose.STOP_LOSS), X.CANCELED)
    assert ([o.order_qty for o in spot.legs()[0]], exits(spot)) == ([10], [])


def test_it_lets_a_kill_take_an_exit_that_waits_with_it(spot: Bench) -> None:
    spot.command(K.CLOSE, target=BTC)
    (stop,), _ = spot.legs()
    spot.command(K.KILL, ON_ACCOUNT, halt_id="k")
    assert spot.desk.state.exits == {}
    spot.report(stop, X.CANCELED)
    assert ([o.order_qty for o in spot.legs()[0]], exits(spot)) == ([10], [])


def test_it_closes_at_once_where_exits_only_reduce() -> None:
    bench = Bench()
    bench.armed("10")
    flatten(bench)
    assert "position_read" not in steps(bench)
    assert ([o.order_qty for o in exits(bench)], bench.canceled()) == ([10], [])


def test_it_needs_no_price_to_close() -> None:
    bench = Bench()
    bench.armed("10")
    bench.take(LinkChanged(at=bench.at, link=LinkKind.PRICES, is_up=False, cause="lost"))
    bench.take(PriceAged(at=bench.at, symbol=BTC, is_stale=True))
    bench.later(3600)
    bench.command(K.KILL, ON_ACCOUNT, halt_id="k", choice=KillChoice.CANCEL_FLATTEN)
    (close,) = exits(bench)
    assert (close.ord_type, close.order_qty) == (OrdType.MARKET, 10)


def test_it_flattens_what_a_bot_opens_meanwhile_until_the_venue_shows_nothing() -> None:
    bench = Bench()
    bench.armed("10")
    flatten(bench)
    (close,) = exits(bench)
    bench.fill(close)
    for leg in bench.working():
        bench.report(leg, X.CANCELED)
    again, resting = bench.buy("3"), bench.buy("1", ord_type=OrdType.LIMIT, price=D(99))
    bench.ack(again)
    bench.ack(resting)
    bench.fill(again)
    bench.reconcile()
    assert bench.last(AnswerCommand).status is CommandStatus.RUNNING
    bench.wait(5.1)
    assert resting.cl_ord_id in [e.cl_ord_id for e in bench.everything if isinstance(e, SendCancel)]
    bench.report(resting, X.CANCELED)
    bench.fill(exits(bench)[0])
    for leg in bench.working():
        bench.report(leg, X.CANCELED)
    bench.wait(1.1)
    bench.reconcile()
    assert (bench.last(AnswerCommand).status, bench.qty()) == (CommandStatus.DONE, 0)


def test_it_closes_whatever_is_open_while_a_kill_runs() -> None:
    bench = Bench()
    late = bench.buy("10", ord_type=OrdType.LIMIT, price=D(100))
    bench.ack(late)
    bench.command(K.KILL, ON_ACCOUNT, halt_id="k", choice=KillChoice.CANCEL_FLATTEN)
    bench.report(late, X.CANCELED)
    assert exits(bench) == []
    bench.fill(late, "4")
    assert [o.order_qty for o in exits(bench)] == [4]


def test_it_is_verified_once_the_legs_of_what_it_closed_are_gone() -> None:
    bench = Bench()
    bench.armed("10")
    flatten(bench)
    bench.fill(exits(bench)[0])
    assert (bench.qty(), steps(bench)["verified"]) == (0, "WAITING")
    bench.reconcile()
    assert not bench.all(AnswerCommand), "its legs are still being canceled"
    for leg in bench.working():
        bench.report(leg, X.CANCELED)
    bench.reconcile()
    answer = bench.last(AnswerCommand)
    assert (answer.status, answer.text.split(": ")[-1]) == (CommandStatus.DONE, "no order is left, every position is flat.")


# --- closed markets ------------------------------------------------------------------------------------------------------------

OPENS = NOON + timedelta(hours=2)


def closed_now() -> DeskSettings:
    """The market of BTC is closed from one minute past noon, and opens at two."""
    made = config()
    spec = msgspec.structs.replace(INSTRUMENTS[BTC], calendar="XTEST")
    minute = timedelta(minutes=1)
    sessions = (Session(NOON - minute, NOON + minute), Session(OPENS, OPENS + 60 * minute))
    return msgspec.structs.replace(made, version=2, instruments=made.instruments | {BTC: spec}, sessions={"XTEST": sessions})


@pytest.fixture
def closed() -> Bench:
    bench = Bench()
    bench.armed("10")
    bench.later(120)
    bench.take(SettingsChanged(at=bench.at, settings=closed_now()))
    return bench


def test_it_leaves_the_stops_of_a_closed_market_and_is_done(closed: Bench) -> None:
    flatten(closed)
    assert (steps(closed)[f"flatten:{BTC}"], exits(closed)) == ("DONE", [])
    assert text(closed, f"flatten:{BTC}") == (
        "BTCUSDT stays with its stops: its market is closed and opens at 2026-01-05 14:00 UTC"
    )
    closed.reconcile()
    answer = closed.last(AnswerCommand)
    assert (answer.status, closed.qty(), [len(legs) for legs in closed.legs()]) == (CommandStatus.DONE, 10, [1, 1])
    assert answer.text.endswith("2 protective legs stay, BTCUSDT stays because of a closed market.")


def test_it_closes_when_the_market_opens_if_that_is_wanted(closed: Bench) -> None:
    closed.command(K.KILL, ON_ACCOUNT, halt_id="k", choice=KillChoice.CANCEL_FLATTEN, closed_market=ClosedMarket.AT_OPEN)
    assert steps(closed)[f"flatten:{BTC}"] == StepState.WAITING
    closed.wait(600)
    assert (exits(closed), closed.alarms()) == ([], []), "it waits for the market, and that is no trouble"
    closed.wait(7200)
    (close,) = exits(closed)
    assert close.created_at == OPENS
    closed.fill(close)
    for leg in closed.working():
        closed.report(leg, X.CANCELED)
    closed.reconcile()
    assert closed.last(AnswerCommand).status is CommandStatus.DONE


def test_it_tells_why_a_cancel_is_refused_and_asks_again() -> None:
    bench = Bench()
    entry = bench.buy("10", ord_type=OrdType.LIMIT, price=D(100))
    bench.ack(entry)
    bench.command(K.KILL, ON_ACCOUNT, halt_id="k")
    refused = "not cancelable until 16:00 New York"
    bench.report(entry, X.CANCEL_REJECTED, text=refused)
    assert (steps(bench)["cancels_confirmed"], text(bench, "cancels_confirmed")) == (
        "TROUBLE",
        f"Cancels refused, and asked for again: BTCUSDT: {refused}",
    )
    asked = []
    for _ in range(300):
        bench.everything.clear()
        bench.wait(1)
        asked.append(len([e for e in bench.everything if isinstance(e, SendCancel)]))
        bench.report(entry, X.CANCEL_REJECTED, text=refused)
    (alarm,) = [a for key, a in bench.desk.state.alarms.items() if key.startswith("kill")]
    assert alarm.cause == f"1 cancel not confirmed, BTCUSDT: {refused}."
    assert sum(asked[:10]) > 2
    assert 0 < sum(asked[-60:]) <= 6, "pauses grow up to half a minute: a venue is not asked each second for hours"
    bench.report(entry, X.CANCELED)
    assert (steps(bench)["cancels_confirmed"], text(bench, "cancels_confirmed")) == ("DONE", "Cancels confirmed by the venue")
    bench.reconcile()
    assert (bench.last(AnswerCommand).status, bench.alarms()) == (CommandStatus.DONE, [])
