"""The order machine: its table row by row, and what is done with what nobody expected."""

# mypy: disable-error-code="comparison-overlap"
from __future__ import annotations

from typing import Any

import msgspec
import pytest

from execution.core.brackets import BracketStatus
from execution.core.messages import (
    CommandKind,
    ExecType,
    OrderFound,
    QueryOrder,
    Reported,
    SendFailed,
    SendOutcome,
    SignalKind,
    VenueFill,
)
from execution.core.orders import OrderState, OrdStatus
from execution.core.transitions import TRANSITIONS
from risk.core.book import EXTERNAL
from risk.core.units import OrdType, Scope, ScopeKind, Side, TimeInForce
from risk.core.verdict import HaltCause
from tests.core.builders import BTC, Bench, D, decision

S, X = OrdStatus, ExecType


@pytest.fixture
def bench() -> Bench:
    return Bench()


# --- rows ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "status", "cum"),
    [
        ((X.NEW,), S.NEW, 0),
        ((X.NEW, X.TRADE), S.PARTIALLY_FILLED, 4),
        ((X.TRADE,), S.PARTIALLY_FILLED, 4),
        ((X.TRADE, X.NEW), S.PARTIALLY_FILLED, 4),
        ((X.TRADE, X.TRADE, X.TRADE), S.FILLED, 12),
        ((X.NEW, X.CANCELED), S.CANCELED, 0),
        ((X.CANCELED, X.NEW), S.CANCELED, 0),
        ((X.NEW, X.CANCELED, X.TRADE), S.CANCELED, 4),
        ((X.NEW, X.TRADE, X.TRADE, X.CANCELED, X.TRADE), S.FILLED, 12),
        ((X.REJECTED,), S.REJECTED, 0),
        ((X.REJECTED, X.NEW), S.REJECTED, 0),
        ((X.REJECTED, X.TRADE), S.REJECTED, 4),
        ((X.EXPIRED,), S.EXPIRED, 0),
        ((X.NEW, X.TRADE, X.EXPIRED), S.EXPIRED, 4),
        ((X.NEW, X.REPLACED), S.NEW, 0),
        ((X.CANCEL_REJECTED,), S.PENDING_NEW, 0),
        ((X.PENDING_NEW,), S.PENDING_NEW, 0),
        ((X.PENDING_NEW, X.NEW, X.PENDING_NEW), S.NEW, 0),
        ((X.NEW, X.SUSPENDED), S.SUSPENDED, 0),
        ((X.NEW, X.SUSPENDED, X.NEW), S.NEW, 0),
        ((X.NEW, X.SUSPENDED, X.CANCELED), S.CANCELED, 0),
        ((X.NEW, X.STOPPED, X.TRADE), S.PARTIALLY_FILLED, 4),
        ((X.NEW, X.TRADE, X.DONE_FOR_DAY), S.DONE_FOR_DAY, 4),
        ((X.NEW, X.TRADE, X.DONE_FOR_DAY, X.RESTATED, X.TRADE), S.PARTIALLY_FILLED, 8),
        ((X.NEW, X.CALCULATED, X.TRADE), S.PARTIALLY_FILLED, 4),
        ((X.TRADE, X.TRADE, X.TRADE, X.DONE_FOR_DAY), S.DONE_FOR_DAY, 12),
        ((X.NEW, X.CANCELED, X.RESTATED), S.CANCELED, 0),
        ((X.NEW, X.CANCELED, X.SUSPENDED), S.CANCELED, 0),
    ],
)
def test_it_derives_the_status_from_what_the_venue_said(
    bench: Bench, words: tuple[ExecType, ...], status: OrdStatus, cum: int
) -> None:
    order = bench.buy("12")
    for word in words:
        bench.report(order, word, "4")
    assert (order.ord_status, order.cum_qty) == (status, cum)
    assert order.leaves_qty == (0 if order.done else order.order_qty - order.cum_qty)


@pytest.mark.parametrize("leaves", ["0", "12", None])
@pytest.mark.parametrize("time_in_force", [TimeInForce.DAY, TimeInForce.GTC])
def test_a_day_order_that_is_done_for_the_day_is_over(bench: Bench, leaves: str | None, time_in_force: TimeInForce) -> None:
    order = bench.buy("12", ord_type=OrdType.LIMIT, price=D(99), time_in_force=time_in_force)
    bench.ack(order)
    bench.report(order, X.DONE_FOR_DAY, leaves_qty=None if leaves is None else D(leaves))
    is_over = leaves == "0" or (leaves is None and time_in_force is TimeInForce.DAY)
    assert (order.ord_status, order.is_working, order.leaves_qty) == (S.DONE_FOR_DAY, not is_over, 0 if is_over else 12)


def test_a_suspended_stop_protects_nothing(bench: Bench) -> None:
    entry = bench.armed("10")
    (stop,) = bench.legs()[0]
    bench.report(stop, X.DONE_FOR_DAY)
    assert bench.bracket(entry).status is BracketStatus.ARMED, "nothing trades before it works again"
    bench.report(stop, X.SUSPENDED)
    assert bench.bracket(entry).status is BracketStatus.ARMING
    bench.wait(1.1)
    assert "naked" in bench.alarms()


def test_an_exit_that_the_venue_reinstates_works_again(bench: Bench) -> None:
    bench.armed("10")
    signal = bench.decide(decision(SignalKind.CLOSE))
    order = bench.desk.state.orders[signal.cl_ord_id]
    bench.ack(order)
    bench.report(order, X.CANCELED)
    bench.report(order, X.RESTATED, order_qty=D(8), leaves_qty=D(8))
    assert (order.ord_status, order.leaves_qty, bench.alarms()) == (S.NEW, 8, ["revived"])
    bench.fill(order)
    assert (order.ord_status, bench.qty(), bench.alarms()) == (S.FILLED, 2, [])


def test_an_entry_that_the_venue_reinstates_is_canceled(bench: Bench) -> None:
    order = bench.buy("10")
    bench.report(order, X.CANCELED)
    bench.report(order, X.RESTATED, leaves_qty=D(10))
    assert (order.ord_status, bench.canceled()) == (S.PENDING_CANCEL, [order.cl_ord_id])


def test_it_is_not_in_doubt_about_an_order_that_arrived(bench: Bench) -> None:
    order = order_in(bench, S.UNKNOWN)
    bench.report(order, X.PENDING_NEW)
    assert order.ord_status is S.PENDING_NEW
    bench.effects = ()
    bench.wait(3.1)
    assert order.cl_ord_id in {e.cl_ord_id for e in bench.everything if isinstance(e, QueryOrder)}, "it is still to be answered"


@pytest.mark.parametrize("answer", [X.CANCEL_REJECTED, X.CANCELED, None])
def test_a_filled_order_shows_what_was_asked_of_it_until_that_is_answered(bench: Bench, answer: ExecType | None) -> None:
    order = bench.buy("10")
    bench.ack(order)
    bench.command(CommandKind.CANCEL_ORDER, target=order.cl_ord_id)
    bench.fill(order)
    assert (order.ord_status, order.status_beneath, order.is_working) == (S.PENDING_CANCEL, S.FILLED, False)
    if answer is not None:
        bench.report(order, answer)
    else:
        bench.wait(3.1)
    assert order.ord_status is S.FILLED


def test_a_filled_order_that_the_venue_calls_pending_is_filled_again_soon(bench: Bench) -> None:
    order = order_in(bench, S.FILLED)
    bench.report(order, X.PENDING_CANCEL)
    assert order.ord_status is S.PENDING_CANCEL
    bench.wait(3.1)
    assert order.ord_status is S.FILLED


@pytest.mark.parametrize(
    ("exec_type", "after"), [(X.CANCEL_REJECTED, S.PARTIALLY_FILLED), (X.CANCELED, S.CANCELED), (X.TRADE, S.PENDING_CANCEL)]
)
def test_it_covers_the_status_beneath_while_a_cancel_is_asked(bench: Bench, exec_type: ExecType, after: OrdStatus) -> None:
    order = bench.buy("12")
    bench.ack(order)
    bench.fill(order, "4")
    bench.command(CommandKind.CANCEL_ORDER, target=order.cl_ord_id)
    assert order.ord_status is S.PENDING_CANCEL
    bench.report(order, exec_type, "4")
    assert order.ord_status is after


@pytest.mark.parametrize("key", sorted({(s, x) for s in S for x in X} - set(TRANSITIONS)))
def test_it_alarms_and_changes_nothing_for_what_is_not_in_the_table(key: tuple[OrdStatus, ExecType]) -> None:
    status, exec_type = key
    bench = Bench()
    order = order_in(bench, status)
    before = msgspec.msgpack.encode(order)
    positions = msgspec.msgpack.encode(bench.desk.state.positions)
    bench.report(order, exec_type, "1")
    assert f"order:{order.cl_ord_id}" in bench.desk.state.alarms
    assert msgspec.msgpack.encode(order) == before
    assert msgspec.msgpack.encode(bench.desk.state.positions) == positions


def order_in(bench: Bench, status: OrdStatus) -> OrderState:
    """An entry brought to a status."""
    order = bench.buy("12", stop_loss=D(98))
    match status:
        case S.PENDING_NEW:
            pass
        case S.UNKNOWN:
            bench.take(SendFailed(at=bench.at, cl_ord_id=order.cl_ord_id, outcome=SendOutcome.UNKNOWN))
        case S.NEW:
            bench.ack(order)
        case S.PARTIALLY_FILLED:
            bench.fill(order, "4")
        case S.FILLED:
            bench.fill(order)
        case S.PENDING_CANCEL | S.PENDING_REPLACE:
            bench.ack(order)
            bench.report(order, X(status.value))
        case S.STOPPED | S.SUSPENDED | S.DONE_FOR_DAY | S.CALCULATED | S.CANCELED | S.REJECTED | S.EXPIRED:
            bench.report(order, X(status.value))
    assert order.ord_status is status
    return order


def test_it_books_a_repeated_fill_once(bench: Bench) -> None:
    order = bench.buy("12")
    bench.fill(order, "4", exec_id="a")
    digest = bench.desk.digest()
    bench.fill(order, "4", exec_id="a")
    assert (order.cum_qty, bench.qty(), bench.effects) == (4, 4, ())
    assert bench.desk.digest() == digest


def test_it_books_alarms_and_latches_an_overfill(bench: Bench) -> None:
    order = bench.buy("10")
    bench.ack(order)
    bench.fill(order, "10")
    bench.fill(order, "3")
    assert (order.cum_qty, bench.qty()) == (13, 13)
    assert bench.alarms() == ["halt"]
    (halt,) = bench.desk.state.halts.values()
    assert (halt.cause, halt.scope) == (HaltCause.OVERFILL, Scope(ScopeKind.INSTRUMENT, BTC))
    assert not bench.decide(decision(SignalKind.BUY, "1", stop_loss=D(98))).is_approved


@pytest.mark.parametrize("outcome", list(SendOutcome))
def test_it_knows_three_outcomes_of_a_send(bench: Bench, outcome: SendOutcome) -> None:
    order = bench.buy("10")
    bench.take(SendFailed(at=bench.at, cl_ord_id=order.cl_ord_id, outcome=outcome, text="why"))
    expected = {
        SendOutcome.NOT_SENT: (S.REJECTED, "NOT_SENT"),
        SendOutcome.REFUSED: (S.REJECTED, "SEND_REFUSED"),
        SendOutcome.UNKNOWN: (S.UNKNOWN, ""),
    }
    assert (order.ord_status, order.ord_rej_reason) == expected[outcome]
    assert bool(order.leaves_qty) is (outcome is SendOutcome.UNKNOWN)


def test_it_gives_a_fill_without_an_order_to_external(bench: Bench) -> None:
    bench.take(foreign_fill(bench, "foreign"))
    assert bench.qty() == 0
    bench.wait(6)
    assert (bench.qty(), bench.desk.state.positions[BTC].bot) == (2, EXTERNAL)
    assert "foreign" in bench.alarms()
    signal = bench.decide(decision(SignalKind.BUY, "1", stop_loss=D(98)))
    assert not signal.is_approved


def test_it_parks_a_bounded_number_of_reports_and_loses_no_fill(bench: Bench) -> None:
    for n in range(1100):
        bench.take(foreign_fill(bench, f"u{n}", exec_id=f"f{n}"))
    assert (len(bench.desk.state.parked), bench.qty()) == (1000, 200)
    bench.wait(6)
    assert (len(bench.desk.state.parked), bench.qty()) == (0, 2200)


def test_it_undoes_a_foreign_fill_by_the_name_of_the_fill(bench: Bench) -> None:
    bench.take(foreign_fill(bench, ""))
    bench.wait(6)
    bench.take(Reported(at=bench.at, cl_ord_id="", exec_type=X.TRADE_CANCEL, exec_id="b1", exec_ref_id="f1", symbol=BTC))
    bench.wait(6)
    assert bench.qty() == 0


def test_it_tells_of_a_bust_of_a_fill_that_nobody_knows(bench: Bench) -> None:
    bench.take(Reported(at=bench.at, cl_ord_id="gone", exec_type=X.TRADE_CANCEL, exec_id="b1", exec_ref_id="f1", symbol=BTC))
    bench.wait(6)
    assert (bench.qty(), bench.alarms()) == (0, ["bust"])


def test_it_waits_for_the_fills_that_the_end_of_an_order_tells_of(bench: Bench) -> None:
    """Its stop filled in part while nobody listened, and is canceled now: an exit for the whole would open the other side."""
    bench.armed("10", take_profit=None)
    (stop,) = bench.legs()[0]
    bench.report(stop, X.CANCELED, cum_qty=D(4))
    assert (stop.ord_status, bench.all(QueryOrder)[0].cl_ord_id) == (OrdStatus.UNKNOWN, stop.cl_ord_id)
    shown = bench.shown(stop, cum_qty=D(4), ord_status="CANCELED")
    fill = VenueFill(
        cl_ord_id=stop.cl_ord_id,
        order_id=stop.order_id,
        exec_id="late",
        symbol=BTC,
        side=Side.SELL,
        last_qty=D(4),
        last_px=D(98),
        fee=D(0),
        fee_currency="USDT",
        liquidity="TAKER",
        transact_at=bench.at,
    )
    bench.take(OrderFound(at=bench.at, cl_ord_id=stop.cl_ord_id, asked_at=bench.at, order=shown, fills=(fill,)))
    assert (stop.ord_status, stop.cum_qty, bench.qty()) == (OrdStatus.CANCELED, 4, 6)


def foreign_fill(bench: Bench, cl_ord_id: str, exec_id: str = "f1", **changes: Any) -> Reported:
    fields: dict[str, Any] = {"symbol": BTC, "side": Side.BUY, "last_qty": D(2), "last_px": D(100), "order_id": f"v{cl_ord_id}"}
    return Reported(at=bench.at, cl_ord_id=cl_ord_id, exec_type=X.TRADE, exec_id=exec_id, **(fields | changes))
