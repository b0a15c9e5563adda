"""Changing an order in place: nothing is believed before the venue says REPLACED, and whatever crosses it is booked all the same."""

# mypy: disable-error-code="comparison-overlap"
from __future__ import annotations

from typing import Any

import msgspec
import pytest

from execution.core.desk import Desk
from execution.core.messages import (
    CommandKind,
    ExecType,
    OrderFound,
    QueryOrder,
    SendCancel,
    SendFailed,
    SendNewOrder,
    SendOutcome,
    SendReplace,
    SignalKind,
    Started,
)
from execution.core.orders import OrderState, OrdStatus, Replacing
from execution.core.state import CORE_VERSION, DeskState
from risk.core.units import OrdType
from risk.core.verdict import Capability, HaltCause
from tests.core.builders import BTC, Bench, D, decision
from tests.core.builders import settings as config

S, X = OrdStatus, ExecType


@pytest.fixture
def bench() -> Bench:
    """A venue that can replace, and a long position of 20."""
    bench = flat()
    bench.armed("20")
    return bench


def flat() -> Bench:
    base = config()
    return Bench(msgspec.structs.replace(base, capabilities=(*base.capabilities, Capability.REPLACE)))


def resting_exit(bench: Bench, qty: str = "10", price: str = "103") -> OrderState:
    """An acknowledged limit exit."""
    signal = bench.decide(decision(SignalKind.CLOSE, qty, ord_type=OrdType.LIMIT, price=D(price)))
    assert signal.is_approved, signal.text
    order = bench.desk.state.orders[signal.cl_ord_id]
    bench.ack(order)
    return order


def answered(bench: Bench, order: OrderState, word: ExecType, request: SendReplace | None = None, **fields: Any) -> None:
    bench.report(request.cl_ord_id if request is not None else order, word, order_id=order.order_id, **fields)


def restarted(bench: Bench) -> None:
    state = msgspec.msgpack.decode(msgspec.msgpack.encode(bench.desk.state), type=DeskState)
    bench.desk = Desk(state)
    bench.take(Started(at=bench.at, token=2, core_version=CORE_VERSION, epoch=state.epoch))


# --- asking ------------------------------------------------------------------------------------------------------------------


def test_it_asks_for_the_whole_order_as_it_is_to_be(bench: Bench) -> None:
    order = resting_exit(bench)
    request = bench.replace(order, qty="12")
    assert request is not None
    assert (request.orig_cl_ord_id, request.order_id) == (order.cl_ord_id, order.order_id)
    assert (request.order_qty, request.price, request.stop_px) == (12, 103, None)
    assert request.cl_ord_id not in bench.desk.state.orders, "one order, however often it is changed"
    assert (order.ord_status, order.order_qty, order.leaves_qty, order.leaves_qty_asked) == (S.PENDING_REPLACE, 10, 10, 12)


def test_it_replaces_nothing_where_the_venue_cannot() -> None:
    bench = Bench()
    bench.armed("20")
    order = resting_exit(bench)
    before = (bench.desk.digest(), msgspec.msgpack.encode(order))
    assert bench.replace(order, qty="12") is None
    assert (bench.desk.digest(), msgspec.msgpack.encode(order)) == before


@pytest.mark.parametrize(
    ("terms", "why"),
    [
        ({}, "nothing is given"),
        ({"qty": "10", "price": "103"}, "nothing would change"),
        ({"qty": "0"}, "a cancel is not a replace"),
        ({"qty": "21"}, "an exit closes no more than is open"),
    ],
)
def test_it_changes_nothing_for_what_it_will_not_ask(bench: Bench, terms: dict[str, str], why: str) -> None:
    order = resting_exit(bench)
    before = (bench.desk.digest(), msgspec.msgpack.encode(order))
    assert bench.replace(order, **terms) is None, why
    assert (bench.desk.digest(), msgspec.msgpack.encode(order)) == before


def test_it_asks_for_one_change_at_a_time_and_only_of_what_rests(bench: Bench) -> None:
    signal = bench.decide(decision(SignalKind.CLOSE, "10", ord_type=OrdType.LIMIT, price=D(103)))
    order = bench.desk.state.orders[signal.cl_ord_id]
    assert bench.replace(order, qty="12") is None, "not acknowledged yet"
    bench.ack(order)
    assert bench.replace(order, qty="12") is not None
    assert bench.replace(order, qty="13") is None
    bench.command(CommandKind.CANCEL_ORDER, target=order.cl_ord_id)
    assert bench.replace(order, qty="13") is None
    bench.report(order, X.CANCELED)
    assert bench.replace(order, qty="13") is None


def test_it_never_replaces_an_entry(bench: Bench) -> None:
    entry = bench.buy("1", ord_type=OrdType.LIMIT, price=D(99))
    bench.ack(entry)
    assert bench.replace(entry, qty="2") is None


# --- answers -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keeps_id", [True, False])
def test_it_believes_the_change_when_the_venue_says_replaced(bench: Bench, keeps_id: bool) -> None:
    order = resting_exit(bench)
    request = bench.replace(order, qty="12", price="104")
    answered(bench, order, X.PENDING_REPLACE, None if keeps_id else request)
    assert order.ord_status is S.PENDING_REPLACE
    answered(bench, order, X.REPLACED, None if keeps_id else request)
    assert (order.ord_status, order.order_qty, order.price, order.leaves_qty) == (S.NEW, 12, 104, 12)
    assert request is not None
    assert order.id_at_venue == (order.cl_ord_id if keeps_id else request.cl_ord_id)
    bench.report(order.id_at_venue, X.TRADE, "12", "104")
    assert (order.ord_status, bench.qty()) == (S.FILLED, 8)


def test_it_falls_back_and_asks_when_the_venue_refuses(bench: Bench) -> None:
    order = resting_exit(bench)
    bench.fill(order, "4")
    request = bench.replace(order, qty="12")
    answered(bench, order, X.REPLACE_REJECTED, request, text="too late")
    assert (order.ord_status, order.order_qty, order.text) == (S.PARTIALLY_FILLED, 10, "too late")
    assert [e.cl_ord_id for e in bench.all(QueryOrder)] == [order.cl_ord_id]
    assert bench.replace(order, qty="12") is None, "a refusal is not answered by the same question at once"
    bench.wait(1)
    assert bench.replace(order, qty="12") is not None


@pytest.mark.parametrize("outcome", [SendOutcome.NOT_SENT, SendOutcome.REFUSED])
def test_it_falls_back_when_the_request_did_not_leave(bench: Bench, outcome: SendOutcome) -> None:
    order = resting_exit(bench)
    request = bench.replace(order, qty="12")
    assert request is not None
    bench.take(SendFailed(at=bench.at, cl_ord_id=request.cl_ord_id, outcome=outcome, request="replace"))
    assert (order.ord_status, order.order_qty, order.replacing) == (S.NEW, 10, None)


def lost(bench: Bench, order: OrderState, **terms: str) -> SendReplace:
    request = bench.replace(order, **terms)
    assert request is not None
    bench.take(SendFailed(at=bench.at, cl_ord_id=request.cl_ord_id, outcome=SendOutcome.UNKNOWN, request="replace"))
    return request


def test_it_asks_under_both_ids_when_the_answer_is_lost(bench: Bench) -> None:
    order = resting_exit(bench)
    request = lost(bench, order, qty="12")
    assert (order.ord_status, order.is_resting) == (S.UNKNOWN, True)
    assert {e.cl_ord_id for e in bench.all(QueryOrder)} == {order.cl_ord_id, request.cl_ord_id}
    assert not bench.decide(decision(SignalKind.BUY, "1", stop_loss=D(98))).is_approved
    assert (order.leaves_qty_max, order.leaves_qty, order.leaves_qty_asked) == (12, 10, 12)
    restarted(bench)
    assert {e.cl_ord_id for e in bench.all(QueryOrder)} == {order.cl_ord_id, request.cl_ord_id}


def found(bench: Bench, order: OrderState, cl_ord_id: str, **fields: Any) -> None:
    shown = bench.shown(order, **{"cl_ord_id": cl_ord_id, "price": order.price, **fields}) if fields.pop("is_known", True) else None
    bench.take(OrderFound(at=bench.at, cl_ord_id=cl_ord_id, asked_at=bench.at, order=shown))


@pytest.mark.parametrize("keeps_id", [True, False])
def test_it_finds_that_a_lost_replace_was_done(bench: Bench, keeps_id: bool) -> None:
    order = resting_exit(bench)
    request = lost(bench, order, qty="12", price="104")
    found(bench, order, order.cl_ord_id if keeps_id else request.cl_ord_id, order_qty=D(12), price=D(104))
    assert (order.ord_status, order.order_qty, order.price) == (S.NEW, 12, 104)


def test_it_finds_that_a_lost_replace_was_not_done_after_two_looks_far_enough_apart(bench: Bench) -> None:
    order = resting_exit(bench)
    lost(bench, order, qty="12")
    for seconds in (1, 3, 5):
        bench.later(seconds)
        found(bench, order, order.cl_ord_id)
        assert order.replacing is not None, "it may still be on its way"
    bench.later(5)
    found(bench, order, order.cl_ord_id)
    assert (order.ord_status, order.order_qty, order.replacing) == (S.NEW, 10, None)


def test_it_is_in_no_doubt_when_the_venue_refuses_what_was_not_answered(bench: Bench) -> None:
    order = resting_exit(bench)
    answered(bench, order, X.REPLACE_REJECTED, lost(bench, order, qty="12"))
    assert (order.ord_status, order.order_qty) == (S.NEW, 10)


def test_it_concludes_nothing_from_terms_the_venue_does_not_show(bench: Bench) -> None:
    order = resting_exit(bench)
    lost(bench, order, price="104")
    for _ in range(3):
        bench.later(20)
        found(bench, order, order.cl_ord_id, price=None)
    assert isinstance(order.replacing, Replacing)


def test_it_is_not_over_because_the_venue_never_heard_of_its_replace(bench: Bench) -> None:
    order = resting_exit(bench)
    request = lost(bench, order, qty="12")
    for _ in range(3):
        bench.later(20)
        found(bench, order, request.cl_ord_id, is_known=False)
    assert order.is_working


def test_it_takes_back_what_it_concluded_when_the_venue_did_replace_after_all(bench: Bench) -> None:
    order = resting_exit(bench)
    request = lost(bench, order, qty="12")
    for seconds in (5, 11):
        bench.later(seconds)
        found(bench, order, order.cl_ord_id)
    assert order.replacing is None
    answered(bench, order, X.REPLACED, request)
    assert [e.cl_ord_id for e in bench.all(QueryOrder)] == [order.cl_ord_id], "what it became must be asked"
    answered(bench, order, X.REPLACED, request, order_qty=D(12))
    assert order.order_qty == 12


def test_it_asks_about_a_replace_that_nobody_answers(bench: Bench) -> None:
    order = resting_exit(bench)
    request = bench.replace(order, qty="12")
    assert request is not None
    bench.wait(3.1)
    asked = [e.cl_ord_id for e in bench.everything if isinstance(e, QueryOrder)]
    assert asked[-2:] == [order.cl_ord_id, request.cl_ord_id]


# --- what crosses ------------------------------------------------------------------------------------------------------------


def test_it_books_fills_that_cross_a_replace(bench: Bench) -> None:
    order = resting_exit(bench)
    request = bench.replace(order, qty="6")
    bench.report(order, X.TRADE, "4", "103")
    assert (order.ord_status, order.cum_qty, order.leaves_qty, order.leaves_qty_asked) == (S.PENDING_REPLACE, 4, 6, 2)
    answered(bench, order, X.REPLACED, request)
    assert (order.ord_status, order.leaves_qty) == (S.PARTIALLY_FILLED, 2)
    bench.report(order, X.TRADE, "2", "103")
    assert (order.ord_status, bench.qty()) == (S.FILLED, 14)


def test_it_is_filled_when_the_replaced_quantity_is_below_what_filled(bench: Bench) -> None:
    order = resting_exit(bench)
    request = bench.replace(order, qty="3")
    bench.fill(order, "4")
    answered(bench, order, X.REPLACED, request)
    assert (order.ord_status, order.order_qty, order.leaves_qty, order.cum_qty) == (S.FILLED, 4, 0, 4)
    assert not bench.desk.state.halts, "nobody overfilled"


def test_it_works_again_when_a_larger_replace_finds_it_filled(bench: Bench) -> None:
    order = resting_exit(bench)
    request = bench.replace(order, qty="12")
    bench.fill(order)
    assert (order.ord_status, order.status_beneath, order.leaves_qty) == (S.PENDING_REPLACE, S.FILLED, 0)
    answered(bench, order, X.REPLACED, request)
    assert (order.ord_status, order.order_qty, order.leaves_qty) == (S.PARTIALLY_FILLED, 12, 2)
    assert order in bench.working(BTC)
    bench.fill(order)
    assert order.ord_status is S.FILLED


@pytest.mark.parametrize("first", ["10", ""], ids=["after it was filled", "at once"])
def test_it_knows_by_a_larger_fill_that_its_replace_was_done(bench: Bench, first: str) -> None:
    """The venue's word is lost: the rest of the larger order works on, and is not ordered a second time."""
    order = resting_exit(bench)
    request = bench.replace(order, qty="12")
    if first:
        bench.fill(order, first)
    bench.report(order, X.TRADE, "11" if not first else "1", "103")
    assert (order.ord_status, order.order_qty, order.leaves_qty, order.replacing) == (S.PARTIALLY_FILLED, 12, 1, None)
    assert order in bench.working(BTC)
    assert not bench.desk.state.halts, "nobody overfilled"
    answered(bench, order, X.REPLACED, request)
    assert (order.order_qty, order.leaves_qty) == (12, 1)


def test_it_is_overfilled_beyond_the_replace_too(bench: Bench) -> None:
    order = resting_exit(bench)
    bench.replace(order, qty="12")
    bench.report(order, X.TRADE, "13", "103")
    assert (order.ord_status, order.order_qty) == (S.FILLED, 12)
    assert [halt.cause for halt in bench.desk.state.halts.values()] == [HaltCause.OVERFILL]


def test_a_pending_cancel_wins_over_a_pending_replace(bench: Bench) -> None:
    order = resting_exit(bench)
    request = bench.replace(order, qty="12")
    bench.command(CommandKind.CANCEL_ORDER, target=order.cl_ord_id)
    assert (order.ord_status, bench.canceled()) == (S.PENDING_CANCEL, [order.cl_ord_id])
    answered(bench, order, X.REPLACED, request)
    assert (order.ord_status, order.order_qty) == (S.PENDING_CANCEL, 12)
    answered(bench, order, X.CANCEL_REJECTED, text="unknown order")
    assert order.ord_status is S.NEW
    bench.wait(1)
    assert request is not None
    assert [e.cl_ord_id for e in bench.everything if isinstance(e, SendCancel)][-1] == request.cl_ord_id, "the id it has now"


def test_a_refused_cancel_shows_the_replace_beneath(bench: Bench) -> None:
    order = resting_exit(bench)
    request = bench.replace(order, qty="12")
    bench.command(CommandKind.CANCEL_ORDER, target=order.cl_ord_id)
    answered(bench, order, X.CANCEL_REJECTED)
    assert order.ord_status is S.PENDING_REPLACE
    answered(bench, order, X.REPLACED, request)
    assert (order.ord_status, order.order_qty) == (S.NEW, 12)


def test_a_refused_replace_leaves_the_cancel_pending(bench: Bench) -> None:
    order = resting_exit(bench)
    request = bench.replace(order, qty="12")
    bench.command(CommandKind.CANCEL_ORDER, target=order.cl_ord_id)
    answered(bench, order, X.REPLACE_REJECTED, request)
    assert (order.ord_status, order.replacing) == (S.PENDING_CANCEL, None)


def test_it_cancels_at_once_while_only_a_replace_is_unknown(bench: Bench) -> None:
    order = resting_exit(bench)
    lost(bench, order, qty="12")
    bench.command(CommandKind.CANCEL_ORDER, target=order.cl_ord_id)
    assert bench.canceled() == [order.cl_ord_id]


def test_it_ignores_the_repeated_answer_of_an_earlier_replace(bench: Bench) -> None:
    order = resting_exit(bench)
    first = bench.replace(order, qty="12")
    answered(bench, order, X.REPLACED, first)
    second = bench.replace(order, qty="14")
    answered(bench, order, X.REPLACED, first, order_qty=D(12))
    answered(bench, order, X.REPLACE_REJECTED, first)
    assert (order.ord_status, order.order_qty) == (S.PENDING_REPLACE, 12)
    answered(bench, order, X.REPLACED, second)
    assert order.order_qty == 14
    answered(bench, order, X.REPLACED, first, order_qty=D(12))
    assert order.order_qty == 14


def test_it_takes_what_the_venue_changed_by_itself(bench: Bench) -> None:
    order = resting_exit(bench)
    answered(bench, order, X.REPLACED, order_qty=D(7), price=D(102))
    assert (order.ord_status, order.order_qty, order.price) == (S.NEW, 7, 102)


def test_it_knows_every_id_of_an_order_after_a_restart(bench: Bench) -> None:
    order = resting_exit(bench)
    request = bench.replace(order, qty="12")
    answered(bench, order, X.REPLACED, request)
    restarted(bench)
    assert request is not None
    bench.report(request.cl_ord_id, X.TRADE, "12", "103")
    assert bench.desk.state.orders[order.cl_ord_id].ord_status is S.FILLED
    assert not bench.desk.state.parked


def test_it_gives_up_replacing_an_order_without_end(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("execution.core.sending._REPLACES_MAX", 2)
    order = resting_exit(bench)
    for qty in ("11", "12"):
        answered(bench, order, X.REPLACED, bench.replace(order, qty=qty))
    assert bench.replace(order, qty="13") is None


# --- legs --------------------------------------------------------------------------------------------------------------------


def test_a_leg_is_changed_to_what_it_filled_and_what_it_is_to_protect() -> None:
    """Of ten its stop took three, and the entry fills three more: the order is for those three and for the ten that are open."""
    bench = flat()
    entry = bench.buy("13", ord_type=OrdType.LIMIT, price=D(100))
    bench.fill(entry, "10")
    bench.settle_legs()
    (stop,), _ = bench.legs()
    bench.fill(stop, "3")
    bench.settle_legs()
    bench.fill(entry, "3")
    bench.wait(0.25)
    assert [(e.orig_cl_ord_id, e.order_qty) for e in bench.everything if isinstance(e, SendReplace)][-2:] == [
        (stop.cl_ord_id, 13),
        (bench.legs()[1][0].id_at_venue, 10),
    ]


@pytest.mark.parametrize("has_filled", [False, True])
def test_a_change_of_a_leg_that_came_too_late_is_asked_about_and_never_followed_by_a_second_leg(has_filled: bool) -> None:
    bench = flat()
    entry = bench.buy("10", ord_type=OrdType.LIMIT, price=D(100))
    bench.fill(entry, "6")
    bench.settle_legs()
    (stop,), (target,) = bench.legs()
    bench.fill(entry, "4")
    bench.wait(0.25)
    (asked,) = [e for e in bench.everything if isinstance(e, SendReplace) and e.orig_cl_ord_id == stop.cl_ord_id]
    bench.everything.clear()
    bench.report(asked.cl_ord_id, X.REPLACE_REJECTED, text="too late")
    assert [e.cl_ord_id for e in bench.all(QueryOrder)] == [stop.cl_ord_id]
    if has_filled:
        bench.fill(stop, "6", "98")
        bench.wait(0.25)
        assert [o.order_qty for o in bench.legs()[0]] == [4], "it was filled: what is left gets a stop of its own"
        return
    bench.report(target.replaced_as or target.replace_ids[-1], X.REPLACED)
    bench.wait(0.6)
    assert [e for e in bench.everything if isinstance(e, SendNewOrder)] == []
    assert [o.cl_ord_id for o in bench.legs()[0]] == [stop.cl_ord_id], "it stands: it is asked to change once more"
    assert [e.order_qty for e in bench.everything if isinstance(e, SendReplace)] == [10]
