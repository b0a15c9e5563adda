"""Ageing by purpose: what takes too long is asked about, canceled, closed, and told."""

# mypy: disable-error-code="comparison-overlap, unreachable"
from __future__ import annotations

from typing import Any

import pytest

from execution.core.messages import (
    AnswerCommand,
    CommandKind,
    CommandStatus,
    ExecType,
    QueryOrder,
    QueryVenue,
    SendFailed,
    SendOutcome,
    SignalKind,
)
from execution.core.orders import OrderState, OrdStatus, Purpose
from risk.core.units import OrdType, TimeInForce
from tests.core.builders import ACCOUNT, BTC, Bench, D, decision

S, X = OrdStatus, ExecType


@pytest.fixture
def bench() -> Bench:
    return Bench()


def limit_exit(bench: Bench, qty: str = "10") -> OrderState:
    signal = bench.decide(decision(SignalKind.CLOSE, qty, ord_type=OrdType.LIMIT, price=D(103)))
    order = bench.desk.state.orders[signal.cl_ord_id]
    bench.ack(order)
    return order


def asked(bench: Bench) -> list[str]:
    return [e.cl_ord_id for e in bench.everything if isinstance(e, QueryOrder)]


# --- by purpose ------------------------------------------------------------------------------------------------------------------


def test_it_keeps_what_an_entry_filled_and_cancels_the_rest_when_its_time_is_over(bench: Bench) -> None:
    entry = bench.buy("10")
    bench.ack(entry)
    bench.fill(entry, "4")
    bench.settle_legs()
    bench.wait(299)
    assert entry.ord_status is S.PARTIALLY_FILLED
    bench.wait(2)
    assert entry.ord_status is S.PENDING_CANCEL
    bench.report(entry, X.CANCELED)
    assert (entry.ord_status, bench.qty(), bench.exits()) == (S.CANCELED, 4, [])


@pytest.mark.parametrize(("purpose", "seconds"), [(Purpose.EXIT, 60), (Purpose.STOP_LOSS, 10), (Purpose.TAKE_PROFIT, 120)])
def test_it_takes_the_rest_of_an_exit_that_does_not_finish_to_market(bench: Bench, purpose: Purpose, seconds: int) -> None:
    bench.armed("10")
    orders = {Purpose.STOP_LOSS: bench.legs()[0][0], Purpose.TAKE_PROFIT: bench.legs()[1][0]}
    order = orders.get(purpose) or limit_exit(bench)
    bench.wait(500)
    assert order.ord_status is S.NEW, "one that rests at its price may rest"
    bench.fill(order, "4")
    bench.settle_legs()
    bench.wait(seconds - 1)
    assert order.ord_status is S.PARTIALLY_FILLED
    bench.wait(1.5)
    assert order.ord_status is S.PENDING_CANCEL
    bench.report(order, X.CANCELED)
    (market,) = bench.exits()
    assert (market.ord_type, market.leaves_qty) == (OrdType.MARKET, 6)
    bench.fill(market)
    assert bench.qty() == 0


def test_it_takes_nothing_to_market_that_filled_before_its_cancel(bench: Bench) -> None:
    bench.armed("10")
    order = limit_exit(bench)
    bench.fill(order, "4")
    bench.wait(61)
    bench.fill(order)
    assert (order.status_beneath, bench.qty(), bench.exits()) == (S.FILLED, 0, [])


def test_it_lets_an_exit_rest_whose_only_fill_was_taken_back(bench: Bench) -> None:
    bench.armed("10")
    order = limit_exit(bench)
    bench.fill(order, "4", exec_id="a")
    bench.report(order, X.TRADE_CANCEL, exec_id="b", exec_ref_id="a")
    bench.wait(100)
    assert order.ord_status is S.NEW


def test_it_takes_nothing_to_market_that_a_person_canceled(bench: Bench) -> None:
    bench.armed("10")
    order = limit_exit(bench)
    bench.fill(order, "4")
    bench.command(CommandKind.CANCEL_ORDER, target=order.cl_ord_id)
    bench.report(order, X.CANCELED)
    bench.wait(100)
    assert bench.exits() == []


def test_it_closes_no_more_than_is_open(bench: Bench) -> None:
    bench.armed("10")
    order = limit_exit(bench)
    bench.fill(order, "4")
    bench.wait(61)
    (stop,) = [leg for leg in bench.legs()[0] if leg.leaves_qty == 10]
    bench.fill(stop, "5")
    bench.report(order, X.CANCELED)
    (market,) = bench.exits()
    assert market.leaves_qty == 1


# --- what should have been answered, or finished --------------------------------------------------------------------------------------


@pytest.mark.parametrize("time_in_force", [TimeInForce.IOC, TimeInForce.FOK, TimeInForce.GTC])
def test_it_asks_about_an_order_that_should_have_finished(bench: Bench, time_in_force: TimeInForce) -> None:
    is_limit = time_in_force is not TimeInForce.GTC
    given: dict[str, Any] = {"ord_type": OrdType.LIMIT, "price": D(100), "time_in_force": time_in_force} if is_limit else {}
    entry = bench.buy("10", **given)
    bench.ack(entry)
    bench.wait(3.1)
    assert asked(bench) == [entry.cl_ord_id]
    assert bench.alarms() == []
    bench.wait(10)
    assert bench.alarms() == ["stuck"]
    bench.fill(entry)
    assert "stuck" not in bench.alarms()


def test_it_does_not_ask_about_what_rests(bench: Bench) -> None:
    bench.armed("10")
    bench.wait(60)
    assert asked(bench) == []


@pytest.mark.parametrize("what", ["new", "cancel", "unknown"])
def test_it_tells_when_a_request_goes_without_an_answer(bench: Bench, what: str) -> None:
    entry = bench.buy("10", ord_type=OrdType.LIMIT, price=D(99))
    if what == "cancel":
        bench.ack(entry)
        bench.command(CommandKind.CANCEL_ORDER, target=entry.cl_ord_id)
    if what == "unknown":
        bench.take(SendFailed(at=bench.at, cl_ord_id=entry.cl_ord_id, outcome=SendOutcome.UNKNOWN))
    bench.wait(11)
    assert bench.alarms() == []
    bench.wait(2)
    assert bench.alarms() == ["stuck"]
    bench.report(entry, {"new": X.NEW, "cancel": X.CANCEL_REJECTED, "unknown": X.NEW}[what])
    bench.wait(3.1)
    assert bench.alarms() == []


# --- asked by a person -----------------------------------------------------------------------------------------------------------------


def test_it_asks_about_an_order_a_bracket_or_everything(bench: Bench) -> None:
    entry = bench.armed("10")
    (stop,), (target,) = bench.legs()
    for name, expected in (
        (stop.cl_ord_id, [stop.cl_ord_id]),
        (bench.bracket(entry).bracket_id, [entry.cl_ord_id, stop.cl_ord_id, target.cl_ord_id]),
        ("", []),
        (ACCOUNT, []),
    ):
        answer = bench.command(CommandKind.QUERY, target=name)
        assert (answer.status, [e.cl_ord_id for e in bench.all(QueryOrder)]) == (CommandStatus.RUNNING, expected)
        assert len(bench.all(QueryVenue)) == 1
        bench.reconcile()
        assert bench.last(AnswerCommand).text == "The venue agrees: 2 open orders, 1 position."


def test_it_says_when_there_is_nothing_to_ask_about(bench: Bench) -> None:
    answer = bench.command(CommandKind.QUERY, target="nothing")
    assert (answer.status, answer.text) == (CommandStatus.REFUSED, "There is no order or bracket nothing.")
    assert bench.qty(BTC) == 0
