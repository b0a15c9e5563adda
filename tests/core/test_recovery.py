"""After a crash, a lost answer or a lost link: ask, never resend blindly; the venue's picture decides."""

# mypy: disable-error-code="comparison-overlap"
from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from execution.core.controls import BotStatus
from execution.core.desk import Desk
from execution.core.messages import (
    CommandKind,
    CommandStatus,
    ExecType,
    LinkChanged,
    LinkKind,
    OrderFound,
    QueryOrder,
    QueryVenue,
    Reported,
    SendCancel,
    SendFailed,
    SendNewOrder,
    SendOutcome,
    SettingsChanged,
    SignalKind,
    Started,
    VenueFill,
    WakeAt,
)
from execution.core.orders import OrderState, OrdStatus, Purpose
from execution.core.state import CORE_VERSION, DeskState
from risk.core.book import EXTERNAL
from risk.core.units import AssetClass, OrdType, Side
from risk.core.verdict import Capability, Reason
from tests.core.builders import BOT, BTC, INSTRUMENTS, NOON, Bench, D, decision
from tests.core.builders import settings as config

X = ExecType


@pytest.fixture
def bench() -> Bench:
    return Bench()


def restart(bench: Bench) -> None:
    """The process dies; another one rebuilds the Desk from a snapshot and says Started."""
    state = msgspec.msgpack.decode(msgspec.msgpack.encode(bench.desk.state), type=DeskState)
    bench.desk = Desk(state)
    bench.take(Started(at=bench.at, token=2, core_version=CORE_VERSION, epoch=state.epoch))


def order(bench: Bench, was: OrderState) -> OrderState:
    """The order as the Desk of today holds it."""
    return bench.desk.state.orders[was.cl_ord_id]


def fill_at_venue(was: OrderState, qty: str, exec_id: str = "h1", **changes: Any) -> VenueFill:
    fields: dict[str, Any] = {
        "cl_ord_id": was.cl_ord_id,
        "order_id": "v1",
        "exec_id": exec_id,
        "symbol": was.symbol,
        "side": was.side,
        "last_qty": D(qty),
        "last_px": D(100),
        "fee": D(0),
        "fee_currency": "USDT",
        "liquidity": "TAKER",
        "transact_at": NOON,
    }
    return VenueFill(**(fields | changes))


def lose_answer(bench: Bench, **changes: Any) -> OrderState:
    entry = bench.buy("10", **changes)
    bench.take(SendFailed(at=bench.at, cl_ord_id=entry.cl_ord_id, outcome=SendOutcome.UNKNOWN, text="timeout"))
    return entry


# --- Started ---------------------------------------------------------------------------------------------------------------


def test_it_asks_and_cancels_again_after_a_start_and_sends_no_order(bench: Bench) -> None:
    pending, canceling, working, unknown = bench.buy("1"), bench.buy("2"), bench.buy("3"), lose_answer(bench)
    for was in (canceling, working):
        bench.ack(was)
    bench.command(CommandKind.CANCEL_ORDER, target=canceling.cl_ord_id)
    timers = set(bench.desk.state.timers)
    restart(bench)
    assert {e.cl_ord_id for e in bench.all(QueryOrder)} == {pending.cl_ord_id, unknown.cl_ord_id}
    assert [e.cl_ord_id for e in bench.all(SendCancel)] == [canceling.cl_ord_id]
    assert {e.timer for e in bench.all(WakeAt)} >= timers
    assert len(bench.all(QueryVenue)) == 1
    assert not bench.all(SendNewOrder)
    assert bench.desk.state.bots[BOT].status is BotStatus.WARMING


def test_it_takes_no_entry_until_links_are_up_and_the_venue_is_compared(bench: Bench) -> None:
    restart(bench)

    def reason() -> Reason | None:
        return bench.decide(decision(SignalKind.BUY, "1", stop_loss=D(98))).reason

    assert reason() is Reason.NOT_READY
    bench.later(1)
    for link in LinkKind:
        bench.take(LinkChanged(at=bench.at, link=link, is_up=True))
    assert reason() is Reason.NOT_READY
    bench.reconcile(asked_at=bench.at - timedelta(milliseconds=1))
    assert not bench.desk.state.account.is_reconciled, "it was asked before the link came up"
    bench.reconcile()
    assert bench.desk.state.account.reconciled_text == "agrees"


def test_it_protects_after_the_first_reconciliation_what_a_crash_left_naked(bench: Bench) -> None:
    entry = bench.buy("10")
    bench.ack(entry)
    restart(bench)
    bench.later(1)
    for link in (LinkKind.ORDERS, LinkKind.PRICES):
        bench.take(LinkChanged(at=bench.at, link=link, is_up=True))
    bench.reconcile(fills=(fill_at_venue(entry, "10"),), positions={BTC: "10"}, orders=())
    assert [o.order_qty for kind in bench.legs() for o in kind] == [10, 10]
    assert bench.desk.state.account.reconciled_text == "agrees"


def test_it_sends_a_leg_that_never_arrived_under_a_new_id(bench: Bench) -> None:
    entry = bench.buy("10")
    bench.fill(entry)
    (stop,) = bench.legs()[0]
    restart(bench)
    for link in (LinkKind.ORDERS, LinkKind.PRICES):
        bench.take(LinkChanged(at=bench.at, link=link, is_up=True))
    bench.reconcile(orders=())
    for _ in range(2):
        bench.later(11)
        bench.take(OrderFound(at=bench.at, cl_ord_id=stop.cl_ord_id, asked_at=bench.at, order=None))
    assert order(bench, stop).ord_rej_reason == "NEVER_ARRIVED"
    bench.wait(0.25)
    (again,) = [o for o in bench.legs()[0] if o.cl_ord_id != stop.cl_ord_id]
    assert again.order_qty == 10


# --- UNKNOWN ---------------------------------------------------------------------------------------------------------------


def test_it_keeps_the_reservation_and_takes_no_entry_while_an_order_is_unknown(bench: Bench) -> None:
    entry = lose_answer(bench)
    assert entry.leaves_qty * entry.reserve_px > 1000
    assert bench.decide(decision(SignalKind.BUY, "1", stop_loss=D(98))).reason is Reason.NOT_READY


def test_it_asks_with_growing_pauses(bench: Bench) -> None:
    entry = lose_answer(bench)
    asked = []
    for _ in range(2000):
        bench.wait(0.05)
        if any(e.cl_ord_id == entry.cl_ord_id for e in bench.all(QueryOrder)):
            asked.append(bench.at)
            bench.effects = ()
    pauses = [(b - a).total_seconds() for a, b in itertools.pairwise(asked)]
    assert pauses == sorted(pauses)
    assert (pauses[0] < 1, max(pauses) < 30.1, len(asked) < 15) == (True, True, True)


@pytest.mark.parametrize(
    ("asked_s", "is_given_up"),
    [((1, 20), False), ((4, 13.9), False), ((4, 14), True), ((1, 2, 4, 9, 14), True), ((4,), False)],
)
def test_it_gives_an_order_up_after_two_absences_far_enough_apart(asked_s: tuple[float, ...], is_given_up: bool) -> None:
    bench = Bench()
    entry = lose_answer(bench)
    start = bench.at
    for seconds in asked_s:
        bench.at = start + timedelta(seconds=seconds)
        bench.take(OrderFound(at=bench.at, cl_ord_id=entry.cl_ord_id, asked_at=bench.at, order=None))
    assert (entry.ord_rej_reason == "NEVER_ARRIVED") is is_given_up
    assert (entry.ord_status is OrdStatus.UNKNOWN) is not is_given_up


def test_it_never_gives_up_where_absence_proves_nothing() -> None:
    base = config()
    without = tuple(c for c in base.capabilities if c is not Capability.QUERY_BY_CLIENT_ID)
    bench = Bench(msgspec.structs.replace(base, capabilities=without))
    entry = lose_answer(bench)
    for _ in range(10):
        bench.wait(30)
        bench.take(OrderFound(at=bench.at, cl_ord_id=entry.cl_ord_id, asked_at=bench.at, order=None))
    assert entry.ord_status is OrdStatus.UNKNOWN
    assert "unknown" in bench.alarms()


@pytest.mark.parametrize("filled", ["0", "4"])
def test_it_knows_that_a_stop_is_gone_though_the_venue_cannot_be_asked_by_id(filled: str) -> None:
    """The venue ended a working stop, and nobody heard it: two questions far enough apart, and another is sent."""
    base = config()
    without = tuple(c for c in base.capabilities if c is not Capability.QUERY_BY_CLIENT_ID)
    bench = Bench(msgspec.structs.replace(base, capabilities=without))
    bench.armed("10", take_profit=None)
    (stop,) = bench.legs()[0]
    fills = (fill_at_venue(stop, filled),) if D(filled) else ()
    for seconds in (4, 10):
        bench.wait(seconds)
        bench.take(OrderFound(at=bench.at, cl_ord_id=stop.cl_ord_id, asked_at=bench.at, order=None, fills=fills))
    assert (stop.ord_status, stop.is_presumed) == (OrdStatus.CANCELED, True)
    exits = [o for o in bench.working() if o.purpose is Purpose.EXIT]
    assert sum(o.leaves_qty for o in exits) == 10 - D(filled)


@pytest.mark.parametrize(
    ("status", "after"), [("NEW", OrdStatus.NEW), ("CANCELED", OrdStatus.CANCELED), ("REJECTED", OrdStatus.REJECTED)]
)
def test_it_believes_what_the_venue_finds(bench: Bench, status: str, after: OrdStatus) -> None:
    entry = lose_answer(bench, ord_type=OrdType.LIMIT, price=D(100))
    bench.take(OrderFound(at=bench.at, cl_ord_id=entry.cl_ord_id, asked_at=bench.at, order=bench.shown(entry, ord_status=status)))
    assert entry.ord_status is after


def test_it_books_the_fills_of_a_found_order(bench: Bench) -> None:
    entry = lose_answer(bench)
    shown = bench.shown(entry, ord_status="FILLED", cum_qty=D(10))
    bench.take(
        OrderFound(at=bench.at, cl_ord_id=entry.cl_ord_id, asked_at=bench.at, order=shown, fills=(fill_at_venue(entry, "10"),))
    )
    assert (entry.ord_status, bench.qty(), len(bench.sent())) == (OrdStatus.FILLED, 10, 2)


def test_it_asks_again_calmly_for_fills_the_venue_counts_and_does_not_show(bench: Bench) -> None:
    entry = bench.buy("10")
    bench.ack(entry)
    shown = bench.shown(entry, ord_status="PARTIALLY_FILLED", cum_qty=D(4))
    bench.later(1)
    for _ in range(3):
        bench.reconcile(orders=(shown,))
        assert not bench.all(QueryVenue)
        bench.wait(1)
        assert len(bench.all(QueryVenue)) == 1
    bench.reconcile(orders=(shown,), fills=(fill_at_venue(entry, "4"),), positions={BTC: "4"})
    assert entry.cum_qty == 4


def test_it_does_not_take_over_another_order_under_our_id(bench: Bench) -> None:
    entry = lose_answer(bench)
    bench.take(OrderFound(at=bench.at, cl_ord_id=entry.cl_ord_id, asked_at=bench.at, order=bench.shown(entry, side=Side.SELL)))
    assert (entry.ord_status, bench.alarms()) == (OrdStatus.UNKNOWN, ["order"])


def give_up(bench: Bench, entry: OrderState) -> None:
    """The venue does not know it, twice, far enough apart."""
    for _ in range(2):
        bench.later(11)
        bench.take(OrderFound(at=bench.at, cl_ord_id=entry.id_at_venue, asked_at=bench.at, order=None))


@pytest.mark.parametrize("word", [X.NEW, X.TRADE])
def test_it_revives_an_entry_thought_dead_and_cancels_it(bench: Bench, word: ExecType) -> None:
    entry = lose_answer(bench, ord_type=OrdType.LIMIT, price=D(100))
    give_up(bench, entry)
    assert (entry.ord_status, entry.leaves_qty) == (OrdStatus.REJECTED, 0)
    bench.report(entry, word, "4")
    assert (entry.ord_status, entry.leaves_qty > 0, bench.alarms()) == (OrdStatus.PENDING_CANCEL, True, ["revived"])
    assert entry.leaves_qty * entry.reserve_px > 0, "its reservation is back"
    assert bench.canceled() == [entry.cl_ord_id]
    assert [len(kind) for kind in bench.legs()] == ([1, 1] if word is X.TRADE else [0, 0])


@pytest.mark.parametrize(
    ("word", "after"), [(X.CANCELED, OrdStatus.CANCELED), (X.EXPIRED, OrdStatus.EXPIRED), (X.REJECTED, OrdStatus.REJECTED)]
)
def test_it_believes_the_venues_own_end_of_an_order_it_had_presumed_over(bench: Bench, word: ExecType, after: OrdStatus) -> None:
    entry = lose_answer(bench)
    give_up(bench, entry)
    assert entry.is_presumed
    bench.report(entry, word)
    assert (entry.ord_status, entry.is_presumed, bench.alarms(), bench.canceled()) == (after, False, [], [])
    bench.report(entry, X.NEW)
    assert entry.ord_status is after, "a venue's last word stands"


@pytest.mark.parametrize("word", [X.STATUS, X.CANCEL_REJECTED])
def test_it_asks_about_an_order_presumed_over_that_the_venue_speaks_of(bench: Bench, word: ExecType) -> None:
    entry = lose_answer(bench)
    give_up(bench, entry)
    bench.report(entry, word)
    assert (entry.ord_status, [e.cl_ord_id for e in bench.all(QueryOrder)]) == (OrdStatus.REJECTED, [entry.cl_ord_id])
    found = bench.shown(entry)
    bench.take(OrderFound(at=bench.at, cl_ord_id=entry.cl_ord_id, asked_at=bench.at, order=found))
    assert (entry.ord_status, bench.canceled()) == (OrdStatus.PENDING_CANCEL, [entry.cl_ord_id])


def test_it_presumes_canceled_what_once_worked_and_is_known_no_more(bench: Bench) -> None:
    entry = bench.buy("10", ord_type=OrdType.LIMIT, price=D(99))
    bench.ack(entry)
    bench.fill(entry, "4")
    give_up(bench, entry)
    assert (entry.ord_status, entry.cum_qty, entry.is_presumed) == (OrdStatus.CANCELED, 4, True)
    bench.report(entry, X.TRADE, "6")
    assert (entry.ord_status, bench.qty()) == (OrdStatus.FILLED, 10)


def test_it_goes_on_canceling_an_order_whose_own_answer_was_lost_meanwhile(bench: Bench) -> None:
    entry = bench.buy("10", ord_type=OrdType.LIMIT, price=D(99))
    bench.command(CommandKind.CANCEL_ORDER, target=entry.cl_ord_id)
    bench.take(SendFailed(at=bench.at, cl_ord_id=entry.cl_ord_id, outcome=SendOutcome.UNKNOWN))
    bench.wait(20)
    bench.take(OrderFound(at=bench.at, cl_ord_id=entry.cl_ord_id, asked_at=bench.at, order=bench.shown(entry)))
    assert entry.ord_status is OrdStatus.PENDING_CANCEL
    bench.wait(3.1)
    assert bench.canceled() == [entry.cl_ord_id]


# --- an id the venue knows already ---------------------------------------------------------------------------------------------


def refuse_as_duplicate(bench: Bench, **changes: Any) -> OrderState:
    entry = bench.buy("10", ord_type=OrdType.LIMIT, price=D(99), **changes)
    refused = SendOutcome.REFUSED
    bench.take(SendFailed(at=bench.at, cl_ord_id=entry.cl_ord_id, outcome=refused, text="duplicate", is_duplicate=True))
    assert (entry.ord_status, [e.cl_ord_id for e in bench.all(QueryOrder)]) == (OrdStatus.UNKNOWN, [entry.cl_ord_id])
    return entry


def test_it_adopts_its_own_order_when_the_id_is_refused_as_a_duplicate(bench: Bench) -> None:
    entry = refuse_as_duplicate(bench)
    bench.take(OrderFound(at=bench.at, cl_ord_id=entry.cl_ord_id, asked_at=bench.at, order=bench.shown(entry)))
    assert (entry.ord_status, bench.alarms()) == (OrdStatus.NEW, [])


@pytest.mark.parametrize("other", [{"symbol": "ETHUSDT"}, {"side": Side.SELL}, {"order_qty": D(11)}])
def test_it_never_adopts_anothers_order_under_its_id(bench: Bench, other: dict[str, Any]) -> None:
    entry = refuse_as_duplicate(bench)
    bench.take(OrderFound(at=bench.at, cl_ord_id=entry.cl_ord_id, asked_at=bench.at, order=bench.shown(entry, **other)))
    assert (entry.ord_status, entry.ord_rej_reason, bench.alarms()) == (OrdStatus.REJECTED, "SEND_REFUSED", ["order"])


def test_it_asks_about_what_nobody_answered(bench: Bench) -> None:
    entry = bench.buy("10")
    bench.wait(3)
    assert [e.cl_ord_id for e in bench.all(QueryOrder)] == [entry.cl_ord_id]
    bench.ack(entry)
    bench.command(CommandKind.CANCEL_ORDER, target=entry.cl_ord_id)
    bench.wait(6.1)
    assert [e.cl_ord_id for e in bench.all(SendCancel)] == [entry.cl_ord_id], "a cancel that nobody answers is sent again"


# --- the picture -------------------------------------------------------------------------------------------------------------


def test_it_books_from_the_picture_only_the_fills_it_lacks(bench: Bench) -> None:
    entry = bench.buy("10")
    bench.fill(entry, "4", exec_id="h1")
    fills = (fill_at_venue(entry, "4", "h1"), fill_at_venue(entry, "6", "h2"))
    bench.later(1)
    bench.reconcile(fills=fills, positions={BTC: "10"})
    assert (entry.cum_qty, bench.qty()) == (10, 10)
    assert (bench.desk.state.account.is_reconciled, bench.desk.state.account.reconciled_text) == (True, "agrees")


def test_it_stops_entries_of_a_symbol_the_venue_disagrees_about(bench: Bench) -> None:
    bench.armed("10")
    bench.mark(BTC, "100")
    bench.later(1)
    bench.reconcile(positions={BTC: "8"})
    assert bench.alarms() == ["discrepancy"]
    assert bench.desk.state.account.reconciled_text == "BTCUSDT differs"
    assert bench.decide(decision(SignalKind.BUY, "1", stop_loss=D(98))).reason is Reason.NOT_READY
    bench.later(1)
    bench.reconcile()
    assert bench.alarms() == []
    bench.wait(10)
    assert bench.desk.state.account.conditions == {}
    assert bench.decide(decision(SignalKind.BUY, "1", stop_loss=D(98))).is_approved


def of_class(asset_class: AssetClass) -> Bench:
    instruments = {s: msgspec.structs.replace(i, asset_class=asset_class) for s, i in INSTRUMENTS.items()}
    return Bench(msgspec.structs.replace(config(), instruments=instruments))


@pytest.mark.parametrize(("asset_class", "worth"), [(AssetClass.CRYPTO_PERP, 0), (AssetClass.CRYPTO_SPOT, 300)])
def test_it_takes_over_a_position_that_was_there_before_it(asset_class: AssetClass, worth: int) -> None:
    bench = of_class(asset_class)
    bench.mark(BTC, "100")
    bench.later(1)
    bench.reconcile(positions={BTC: "3"})
    account, position = bench.desk.state.account, bench.desk.state.positions[BTC]
    assert (position.qty, position.bot, position.avg_px, position.realised) == (3, EXTERNAL, 100, 0)
    assert (bench.alarms(), account.reconciled_text, account.conditions) == (["foreign"], "agrees", {})
    assert account.equity == account.day_start_equity == account.peak_equity == 100_000 + worth, "nothing was won"
    assert bench.decide(decision(SignalKind.BUY, "1", stop_loss=D(98))).reason is Reason.REDUCE_ONLY
    answer = bench.command(CommandKind.CLOSE, target=BTC)
    assert answer.status is CommandStatus.DONE, answer.text
    (order,) = bench.exits()
    bench.fill(order, px="101")
    assert (bench.qty(), account.realised, bench.alarms()) == (0, 3, [])
    assert bench.decide(decision(SignalKind.BUY, "1", stop_loss=D(98))).is_approved


def test_it_takes_over_an_inverse_position_at_what_it_is_worth() -> None:
    spec = msgspec.structs.replace(INSTRUMENTS[BTC], is_inverse=True, contract_value=D(100), currency="BTC")
    bench = Bench(msgspec.structs.replace(config(), currency="BTC", instruments=INSTRUMENTS | {BTC: spec}))
    bench.mark(BTC, "100")
    bench.later(1)
    bench.reconcile(positions={BTC: "3"})
    position = bench.desk.state.positions[BTC]
    assert (position.avg_px, position.unrealised, bench.desk.state.account.equity) == (100, 0, 100_000)


def test_it_takes_over_nothing_that_has_no_price(bench: Bench) -> None:
    bench.reconcile(positions={BTC: "3"})
    assert (bench.qty(), bench.alarms()) == (0, ["discrepancy"])
    bench.mark(BTC, "100")
    bench.later(1)
    bench.reconcile(positions={BTC: "3"})
    assert (bench.qty(), bench.alarms()) == (3, ["foreign"])


@pytest.mark.parametrize("touch", ["order", "position", "parked"])
def test_it_takes_over_nothing_that_a_fill_may_explain(bench: Bench, touch: str) -> None:
    bench.mark(BTC, "100")
    if touch == "order":
        bench.report(bench.buy("3"), X.REJECTED)
    if touch == "position":
        bench.fill(bench.buy("3"))
        bench.desk.state.orders.clear()
    if touch == "parked":
        bench.take(Reported(at=bench.at, cl_ord_id="u", exec_type=X.TRADE, exec_id="u", symbol=BTC, side=Side.BUY, last_qty=D(5)))
    before = bench.qty()
    bench.later(1)
    bench.reconcile(positions={BTC: "5"}, orders=())
    assert (bench.qty(), "discrepancy" in bench.alarms()) == (before, True)


def test_it_asks_about_an_order_that_works_only_here(bench: Bench) -> None:
    entry = bench.buy("10", ord_type=OrdType.LIMIT, price=D(99))
    bench.ack(entry)
    bench.later(1)
    bench.reconcile(orders=())
    assert [e.cl_ord_id for e in bench.all(QueryOrder)] == [entry.cl_ord_id]
    bench.take(
        OrderFound(at=bench.at, cl_ord_id=entry.cl_ord_id, asked_at=bench.at, order=bench.shown(entry, ord_status="EXPIRED"))
    )
    assert entry.ord_status is OrdStatus.EXPIRED


def test_it_takes_the_quantity_that_somebody_gave_an_order_at_the_venue(bench: Bench) -> None:
    entry = bench.buy("10", ord_type=OrdType.LIMIT, price=D(99))
    bench.ack(entry)
    bench.reconcile(orders=(bench.shown(entry, order_qty=D(8)),))
    assert entry.order_qty == 10, "asked before its last change was heard"
    bench.later(1)
    bench.reconcile(orders=(bench.shown(entry, order_qty=D(8)),))
    assert (entry.order_qty, entry.leaves_qty) == (8, 8)


def test_it_tells_of_orders_that_are_not_ours(bench: Bench) -> None:
    entry = bench.buy("10")
    bench.ack(entry)
    bench.reconcile(orders=(bench.shown(entry), bench.shown(entry, cl_ord_id="somebody")))
    assert bench.alarms() == ["foreign-orders"]
    bench.reconcile()
    assert bench.alarms() == []


# --- links -------------------------------------------------------------------------------------------------------------------


def test_it_ends_a_lost_order_link_after_a_comparison_and_a_while_of_health(bench: Bench) -> None:
    def reason() -> Reason | None:
        return bench.decide(decision(SignalKind.BUY, "1", stop_loss=D(98))).reason

    bench.take(LinkChanged(at=bench.at, link=LinkKind.ORDERS, is_up=False, cause="reset"))
    assert (reason(), bench.alarms()) == (Reason.NOT_READY, ["link"])
    bench.later(5)
    bench.take(LinkChanged(at=bench.at, link=LinkKind.ORDERS, is_up=True))
    assert (len(bench.all(QueryVenue)), bench.alarms()) == (1, [])
    bench.wait(60)
    assert (reason(), set(bench.desk.state.account.conditions)) == (Reason.NOT_READY, {"ORDERS", "RECONCILING"})
    bench.reconcile()
    bench.wait(10)
    assert (bench.desk.state.account.conditions, reason()) == ({}, None)


def test_it_lets_no_entry_pass_for_a_while_after_a_disagreement(bench: Bench) -> None:
    buy = decision(SignalKind.BUY, "1", stop_loss=D(98))
    bench.reconcile(positions={BTC: "3"})
    assert "does not agree with us" in bench.decide(buy).text
    bench.later(30)
    bench.reconcile()
    assert "agrees with us again too shortly" in bench.decide(buy).text
    bench.wait(9)
    bench.reconcile(positions={BTC: "3"})
    bench.wait(20)
    assert "does not agree with us" in bench.decide(buy).text
    bench.reconcile()
    bench.wait(5)
    bench.reconcile()
    bench.wait(4.999)
    assert bench.decide(buy).reason is Reason.NOT_READY
    bench.wait(0.001)
    assert bench.decide(buy).is_approved


def test_it_lets_no_entry_pass_for_a_while_after_prices_were_lost(bench: Bench) -> None:
    bench.take(LinkChanged(at=bench.at, link=LinkKind.PRICES, is_up=False, cause="silent"))
    bench.take(LinkChanged(at=bench.at, link=LinkKind.PRICES, is_up=True))
    bench.wait(9)
    assert bench.desk.state.account.conditions
    bench.wait(1.1)
    assert not bench.desk.state.account.conditions


def test_it_compares_from_time_to_time(bench: Bench) -> None:
    before = sum(isinstance(e, QueryVenue) for e in bench.everything)
    bench.wait(61)
    assert sum(isinstance(e, QueryVenue) for e in bench.everything) == before + 2


def test_it_ages_a_resting_entry(bench: Bench) -> None:
    entry = bench.buy("10", ord_type=OrdType.LIMIT, price=D(99))
    bench.ack(entry)
    bench.wait(299)
    assert entry.ord_status is OrdStatus.NEW
    bench.wait(2)
    assert entry.ord_status is OrdStatus.PENDING_CANCEL


def test_it_forgets_orders_that_were_done_long_ago(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("execution.core.recovery._KEPT_ORDERS", 3)
    for _ in range(6):
        bench.report(bench.buy("1"), X.REJECTED)
    bench.later(299)
    bench.reconcile()
    assert len(bench.desk.state.orders) == 6, "a question for fills could still bring one of them up"
    bench.later(2)
    bench.reconcile()
    assert len(bench.desk.state.orders) == 3


def test_it_does_not_grow_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("execution.core.recovery._KEPT_ORDERS", 40)
    monkeypatch.setattr("execution.core.recovery._KEPT_BRACKETS", 20)
    monkeypatch.setattr("execution.core.ledger._KEPT", 30)
    base = config()
    bench = Bench(msgspec.structs.replace(base, capabilities=(*base.capabilities, Capability.REPLACE)))
    sizes = []
    for n in range(120):
        entry = bench.armed("3")
        bench.take(OrderFound(at=bench.at, cl_ord_id="u", asked_at=bench.at, order=None))
        request = bench.replace(bench.legs()[0][0], qty="2")
        assert request is not None
        bench.report(request.cl_ord_id, X.REPLACE_REJECTED)
        bench.command(CommandKind.CLOSE, target=BTC)
        for order in bench.exits():
            bench.fill(order, exec_id=f"c{n}")
            bench.report(order, X.TRADE_CANCEL, exec_id=f"b{n}", exec_ref_id=f"c{n}", leaves_qty=D(3))
            bench.fill(order)
        for leg in bench.working():
            bench.report(leg, X.CANCELED)
        assert entry.done is not None
        bench.wait(60)
        bench.reconcile(orders=())
        sizes.append(len(msgspec.msgpack.encode(bench.desk.state)))
    assert (len(bench.desk.state.orders), len(bench.desk.state.brackets), bench.alarms(), bench.qty()) == (40, 20, [], 0)
    assert sizes[-1] < 1.1 * sizes[60]
    kept = [replace_id for order in bench.desk.state.orders.values() for replace_id in order.replace_ids]
    assert kept
    assert sorted(bench.desk._index.replaces) == sorted(kept)


def test_it_finds_an_order_by_its_echoed_id_where_it_cannot_ask_by_it() -> None:
    base = config()
    without = tuple(c for c in base.capabilities if c is not Capability.QUERY_BY_CLIENT_ID)
    bench = Bench(msgspec.structs.replace(base, capabilities=without))
    entry = lose_answer(bench, ord_type=OrdType.LIMIT, price=D(99))
    bench.later(1)
    bench.reconcile(orders=(bench.shown(entry),))
    assert (entry.ord_status, entry.order_id) == (OrdStatus.NEW, "v1")


def test_it_takes_already_gone_for_an_answer_to_a_cancel(bench: Bench) -> None:
    entry = bench.buy("10", ord_type=OrdType.LIMIT, price=D(99))
    bench.ack(entry)
    bench.command(CommandKind.CANCEL_ORDER, target=entry.cl_ord_id)
    bench.report(entry, X.CANCEL_REJECTED, text="unknown order")
    assert [e.cl_ord_id for e in bench.all(QueryOrder)] == [entry.cl_ord_id]
    gone = bench.shown(entry, ord_status="CANCELED")
    bench.take(OrderFound(at=bench.at, cl_ord_id=entry.cl_ord_id, asked_at=bench.at, order=gone))
    bench.effects = ()
    bench.wait(60)
    assert (entry.ord_status, bench.canceled()) == (OrdStatus.CANCELED, [])


def test_it_forgets_the_ids_and_alarms_of_an_order_with_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("execution.core.recovery._KEPT_ORDERS", 0)
    entry = bench.buy("1")
    bench.report(entry, X.REJECTED)
    bench.report(entry, X.NOT_SENT)
    bench.report(entry, X.SEND_UNKNOWN)
    bench.report(entry, X.NEVER_ARRIVED)
    assert bench.alarms() == ["order"]
    bench.later(3600)
    bench.reconcile()
    assert (bench.desk.state.orders, bench.alarms()) == ({}, [])


def test_it_cannot_be_moved_by_a_report_of_an_evicted_order(bench: Bench) -> None:
    bench.take(Reported(at=bench.at, cl_ord_id="gone", exec_type=X.CANCELED))
    bench.wait(6)
    assert (bench.desk.state.parked, bench.alarms(), bench.qty()) == ([], [], 0)


def test_it_compares_with_the_venue_as_often_as_the_settings_say_from_the_first() -> None:
    """A Desk starts before it has settings: what it set its timer by is not what they say."""
    made = config()
    often = msgspec.structs.replace(made, timing=msgspec.structs.replace(made.timing, reconcile_ms=8000))
    desk = Desk.new("paper")
    desk.handle(Started(at=NOON, token=1, core_version=CORE_VERSION, epoch="0001"))
    desk.handle(SettingsChanged(at=NOON, settings=often))
    assert desk.state.timers["reconcile"] == NOON + timedelta(seconds=8)
