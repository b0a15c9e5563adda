"""Brackets: what rests at the venue follows what is filled, whatever happens to the legs."""

# mypy: disable-error-code="comparison-overlap"
from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from execution.core.brackets import BracketStatus
from execution.core.messages import (
    CommandKind,
    Decision,
    ExecType,
    LinkChanged,
    LinkKind,
    SendFailed,
    SendOutcome,
    SettingsChanged,
    SignalKind,
)
from execution.core.orders import OrderState, OrdStatus, Purpose
from risk.core.book import EXTERNAL
from risk.core.settings import NakedPolicy
from risk.core.units import ZERO, OrdType, Side
from risk.core.verdict import OrderClass, Reason
from tests.core.builders import BTC, Bench, D, decision
from tests.core.builders import settings as config

B = BracketStatus
X = ExecType


@pytest.fixture
def bench() -> Bench:
    return Bench()


def sizes(orders: list[OrderState]) -> list[Decimal]:
    return [order.leaves_qty for order in orders]


@pytest.mark.parametrize("kind", [{}, {"ord_type": OrdType.LIMIT, "price": D(100)}])
@pytest.mark.parametrize(("side", "stop", "target"), [(Side.BUY, "98", "104"), (Side.SELL, "102", "96")], ids=["long", "short"])
def test_it_arms_both_legs_for_what_filled(bench: Bench, kind: dict[str, Any], side: Side, stop: str, target: str) -> None:
    enter = bench.buy if side is Side.BUY else bench.sell
    entry = enter("10", **kind)
    assert bench.bracket(entry).status is B.PENDING
    bench.fill(entry, "4", "100")
    stops, targets = bench.legs()
    assert (sizes(stops), sizes(targets)) == ([4], [4])
    assert (stops[0].stop_px, targets[0].price) == (D(stop), D(target))
    assert all(
        leg.reduce_only and leg.side is side.opposite and leg.order_class is OrderClass.PROTECTION for leg in (*stops, *targets)
    )
    assert bench.bracket(entry).status is B.ARMING


def test_it_grows_by_a_leg_for_the_difference(bench: Bench) -> None:
    entry = bench.buy("10")
    bench.fill(entry, "4")
    for leg in bench.working():
        if leg.is_protective:
            bench.ack(leg)
    bench.fill(entry, "3")
    bench.fill(entry, "3")
    assert sizes(bench.legs()[0]) == [4], "it waits a moment for more fills"
    bench.wait(0.25)
    stops, targets = bench.legs()
    assert (sizes(stops), sizes(targets)) == ([4, 6], [4, 6])
    for leg in (*stops, *targets):
        bench.ack(leg)
    assert bench.bracket(entry).status is B.ARMED


@pytest.mark.parametrize("first", [Purpose.STOP_LOSS, Purpose.TAKE_PROFIT])
def test_it_shrinks_the_sibling_of_a_leg_that_filled_in_part(bench: Bench, first: Purpose) -> None:
    entry = bench.armed("10")
    stops, targets = bench.legs()
    leg, sibling = (stops[0], targets[0]) if first is Purpose.STOP_LOSS else (targets[0], stops[0])
    bench.fill(leg, "4")
    (smaller,) = [o for o in bench.working() if o.purpose is sibling.purpose and o is not sibling]
    assert (smaller.order_qty, sibling.is_resting) == (6, True), "the old one goes only when the new one works"
    bench.ack(smaller)
    assert bench.canceled() == [sibling.cl_ord_id]
    bench.report(sibling, X.CANCELED)
    assert bench.bracket(entry).status is B.ARMED
    bench.fill(leg)
    assert bench.canceled() == [smaller.cl_ord_id]
    bench.report(smaller, X.CANCELED)
    assert (bench.bracket(entry).status, bench.qty()) == (B.CLOSED, 0)


def test_it_shrinks_one_step_at_a_time(bench: Bench) -> None:
    bench.armed("10")
    (stop,), (target,) = bench.legs()
    bench.fill(stop, "4")
    bench.fill(stop, "1")
    assert sizes(bench.legs()[1]) == [10, 6], "the first smaller one is not answered yet"
    smaller = bench.legs()[1][1]
    bench.ack(smaller)
    assert bench.canceled() == [target.cl_ord_id], "what can go goes first"
    bench.report(target, X.CANCELED)
    assert sizes(bench.legs()[1]) == [6, 5]
    bench.ack(bench.legs()[1][1])
    assert bench.canceled() == [smaller.cl_ord_id]
    bench.report(smaller, X.CANCELED)
    assert sizes(bench.legs()[1]) == [5]


def test_it_closes_what_is_naked_once(bench: Bench) -> None:
    bench.fill(bench.buy("10"))
    bench.wait(6)
    assert [o.order_qty for o in bench.working() if o.purpose is Purpose.EXIT] == [10]


def test_it_sends_no_second_leg_beside_an_unanswered_one(bench: Bench) -> None:
    entry = bench.buy("10")
    bench.fill(entry, "4")
    stop = bench.legs()[0][0]
    bench.take(SendFailed(at=bench.at, cl_ord_id=stop.cl_ord_id, outcome=SendOutcome.UNKNOWN))
    bench.fill(entry, "6")
    bench.wait(0.5)
    assert bench.legs()[0] == [stop]
    bench.ack(stop)
    bench.wait(0.25)
    assert sizes(bench.legs()[0]) == [4, 6]


@pytest.mark.parametrize(
    ("word", "outcome"), [(X.REJECTED, None), (None, SendOutcome.NOT_SENT), (X.CANCELED, None), (X.EXPIRED, None)]
)
def test_it_sends_a_refused_leg_again(bench: Bench, word: ExecType | None, outcome: SendOutcome | None) -> None:
    entry = bench.buy("10")
    bench.fill(entry)
    stop = bench.legs()[0][0]
    if word is not None:
        bench.report(stop, word)
    elif outcome is not None:
        bench.take(SendFailed(at=bench.at, cl_ord_id=stop.cl_ord_id, outcome=outcome))
    assert bench.legs()[0] == []
    bench.wait(0.25)
    (again,) = bench.legs()[0]
    assert again.cl_ord_id != stop.cl_ord_id
    bench.ack(again)
    assert bench.bracket(entry).stop_tries == 0


def refuse_all(bench: Bench, purpose: Purpose, *, seconds: float = 0.9) -> None:
    """Refuse every leg of a kind, and acknowledge the others."""
    for _ in range(int(seconds / 0.05)):
        for order in bench.working():
            if order.purpose is purpose:
                bench.report(order, X.REJECTED, text="too near")
            elif order.is_protective and not order.is_accepted and order.purpose is not Purpose.EXIT:
                bench.ack(order)
        bench.wait(0.05)


def test_it_closes_a_position_whose_stop_is_refused(bench: Bench) -> None:
    entry = bench.buy("10")
    bench.fill(entry)
    refuse_all(bench, Purpose.STOP_LOSS)
    assert bench.bracket(entry).status is B.NAKED
    assert "naked" in bench.alarms()
    (close,) = [o for o in bench.working() if o.purpose is Purpose.EXIT]
    assert (close.side, close.order_qty, close.order_class, close.ord_type) == (
        Side.SELL,
        10,
        OrderClass.PROTECTION,
        OrdType.MARKET,
    )
    assert len(bench.bracket(entry).stop_ids) == 4
    bench.fill(close, px="99")
    for leg in bench.working():
        bench.report(leg, X.CANCELED)
    assert (bench.qty(), bench.bracket(entry).status, bench.alarms()) == (0, B.CLOSED, [])


def test_it_keeps_a_naked_position_where_told_to_and_goes_on_trying() -> None:
    bench = Bench(config(naked_policy=NakedPolicy.KEEP))
    entry = bench.buy("10")
    bench.fill(entry)
    refuse_all(bench, Purpose.STOP_LOSS)
    assert bench.bracket(entry).status is B.NAKED
    assert not [o for o in bench.working() if o.purpose is Purpose.EXIT]
    bench.wait(2)
    (stop,) = bench.legs()[0]
    bench.ack(stop)
    assert (bench.bracket(entry).status, bench.alarms()) == (B.ARMED, [])


def test_it_calls_a_position_naked_when_nobody_answers(bench: Bench) -> None:
    entry = bench.buy("10")
    bench.fill(entry)
    bench.wait(0.9)
    assert bench.bracket(entry).status is B.ARMING
    bench.wait(0.2)
    assert bench.bracket(entry).status is B.NAKED
    assert [o.order_qty for o in bench.working() if o.purpose is Purpose.EXIT] == [10]


def test_it_gives_a_slow_fill_as_much_patience_as_the_first(bench: Bench) -> None:
    entry = bench.buy("100")
    for _ in range(30):
        bench.fill(entry, "2")
        bench.wait(0.1)
        for leg in bench.working():
            if leg.is_protective and not leg.is_accepted:
                bench.ack(leg)
    assert bench.alarms() == []
    bench.wait(0.3)
    for leg in bench.working():
        if leg.is_protective and not leg.is_accepted:
            bench.ack(leg)
    assert sum(sizes([o for o in bench.legs()[0] if o.is_resting])) == 60


def test_it_counts_patience_from_the_leg_before_the_fill_that_is_not_covered(bench: Bench) -> None:
    entry = bench.buy("10")
    bench.fill(entry, "4")
    bench.report(bench.legs()[0][0], X.REJECTED)
    bench.wait(0.3)
    (again,) = bench.legs()[0]
    bench.wait(0.3)
    bench.fill(entry, "6")
    bench.wait(0.35)
    bench.ack(again)
    bench.wait(0.2)
    assert bench.alarms() == [], "what was open first is covered; what came later has its own second"
    bench.wait(0.3)
    assert bench.alarms() == ["naked"]


@pytest.mark.parametrize(
    ("side", "asked", "placed"),
    [(Side.BUY, ("98.004", "103.996"), ("98.01", "104")), (Side.SELL, ("101.996", "96.004"), ("101.99", "96"))],
)
def test_it_puts_legs_on_the_grid_and_never_on_the_riskier_side(
    bench: Bench, side: Side, asked: tuple[str, str], placed: tuple[str, str]
) -> None:
    enter = bench.buy if side is Side.BUY else bench.sell
    bench.fill(enter("10", stop_loss=D(asked[0]), take_profit=D(asked[1])))
    (stop,), (target,) = bench.legs()
    assert (stop.stop_px, target.price) == (D(placed[0]), D(placed[1]))
    bench.settle_legs()
    assert bench.legs() == ([stop], [target]), "they are where they should be"


def test_a_leg_takes_from_its_own_bracket(bench: Bench) -> None:
    first, second = bench.armed("10"), bench.armed("5")
    (newer,) = [o for o in bench.legs()[0] if o.bracket_id == second.cl_ord_id]
    bench.fill(newer, "2")
    assert (bench.bracket(first).open_qty, bench.bracket(second).open_qty) == (10, 3)
    smaller = [o.leaves_qty for o in bench.legs()[1] if o.bracket_id == second.cl_ord_id]
    assert smaller == [5, 3], "its sibling alone shrinks"


def test_it_degrades_to_stop_only_when_the_target_is_refused(bench: Bench) -> None:
    entry = bench.buy("10")
    bench.fill(entry)
    refuse_all(bench, Purpose.TAKE_PROFIT, seconds=2)
    assert (bench.bracket(entry).status, bench.alarms()) == (B.UNBALANCED, ["target"])
    assert sizes(bench.legs()[0]) == [10]
    assert bench.qty() == 10


# --- by hand ---------------------------------------------------------------------------------------------------------------


def test_it_leaves_the_stop_when_the_target_is_canceled_by_hand(bench: Bench) -> None:
    entry = bench.armed("10")
    (stop,), (target,) = bench.legs()
    answer = bench.command(CommandKind.CANCEL_LEG, target=target.cl_ord_id)
    assert answer.text == "Canceling the target of BTCUSDT. The stop 98 for 10 remains."
    assert bench.canceled() == [target.cl_ord_id]
    bench.report(target, X.CANCELED)
    bench.wait(1)
    assert bench.legs() == ([stop], [])
    assert (bench.bracket(entry).status, bench.bracket(entry).is_target_waived) == (B.ARMED, True)
    bench.fill(stop, "4")
    assert sizes(bench.legs()[0]) == [6]


def test_it_leaves_nothing_when_both_are_canceled_and_says_so(bench: Bench) -> None:
    entry = bench.armed("10")
    answer = bench.command(CommandKind.CANCEL_BRACKET, target=entry.cl_ord_id)
    assert answer.text == "Canceling both legs of BTCUSDT. Nothing remains: 10 is open without protection."
    for leg in bench.working():
        bench.report(leg, X.CANCELED)
    bench.wait(3)
    assert (bench.working(), bench.alarms(), bench.qty()) == ([], ["nostop"], 10)


# --- closing ---------------------------------------------------------------------------------------------------------------


def test_it_closes_at_once_and_keeps_the_legs_until_that_filled(bench: Bench) -> None:
    entry = bench.armed("10")
    signal = bench.decide(Decision(signal=SignalKind.CLOSE))
    exit_order = bench.desk.state.orders[signal.cl_ord_id]
    assert (exit_order.order_class, exit_order.order_qty, exit_order.reduce_only) == (OrderClass.EXIT, 10, True)
    assert (bench.canceled(), bench.bracket(entry).status) == ([], B.CLOSING)
    bench.fill(exit_order, px="101")
    assert sorted(bench.canceled()) == sorted(leg.cl_ord_id for leg in (*bench.legs()[0], *bench.legs()[1]))


def test_it_has_one_exit_in_flight(bench: Bench) -> None:
    bench.armed("10")
    assert bench.decide(Decision(signal=SignalKind.CLOSE)).is_approved
    assert bench.decide(Decision(signal=SignalKind.CLOSE)).reason is Reason.EXIT_IN_FLIGHT
    assert bench.decide(decision(SignalKind.SELL, "3", stop_loss=D(102))).reason is Reason.EXIT_IN_FLIGHT


def test_it_lets_a_market_exit_take_the_place_of_a_resting_one(bench: Bench) -> None:
    bench.armed("10")
    limit = bench.decide(Decision(signal=SignalKind.CLOSE, ord_type=OrdType.LIMIT, price=D(103)))
    bench.ack(bench.desk.state.orders[limit.cl_ord_id])
    market = bench.decide(Decision(signal=SignalKind.CLOSE))
    assert market.is_approved, market.text
    assert bench.canceled() == [limit.cl_ord_id]


def test_it_has_nothing_to_close(bench: Bench) -> None:
    assert bench.decide(Decision(signal=SignalKind.CLOSE)).reason is Reason.NOTHING_TO_CLOSE


def test_it_puts_the_protection_back_after_a_partial_exit(bench: Bench) -> None:
    entry = bench.armed("10")
    signal = bench.decide(decision(SignalKind.SELL, "4"))
    bench.fill(bench.desk.state.orders[signal.cl_ord_id])
    assert bench.bracket(entry).open_qty == 6
    for leg in [o for o in bench.working() if not o.is_accepted]:
        bench.ack(leg)
    for leg in [o for o in bench.working() if o.pending]:
        bench.report(leg, X.CANCELED)
    assert tuple(map(sizes, bench.legs())) == ([6], [6])
    assert bench.bracket(entry).status is B.ARMED


def test_it_closes_an_overshoot_and_gives_it_to_nobody(bench: Bench) -> None:
    bench.armed("10")
    (stop,), (target,) = bench.legs()
    bench.fill(target, "10")
    bench.fill(stop, "10")
    assert (bench.qty(), bench.desk.state.positions[BTC].bot) == (-10, EXTERNAL)
    assert "overshoot" in bench.alarms()
    (close,) = [o for o in bench.working() if o.purpose is Purpose.OVERSHOOT]
    assert (close.side, close.order_qty) == (Side.BUY, 10)
    assert not bench.decide(decision(SignalKind.SELL, "1", stop_loss=D(102))).is_approved
    bench.fill(close)
    assert (bench.qty(), bench.alarms()) == (0, [])


def test_it_tries_to_close_again_when_the_close_is_refused(bench: Bench) -> None:
    bench.armed("10")
    (stop,), (target,) = bench.legs()
    bench.fill(target, "10")
    bench.fill(stop, "10")
    for _ in range(3):
        (close,) = [o for o in bench.working() if o.purpose is Purpose.OVERSHOOT]
        bench.report(close, X.REJECTED)
        bench.wait(1.1)
    assert [o.order_qty for o in bench.working() if o.purpose is Purpose.OVERSHOOT] == [10]


def test_it_protects_an_entry_that_fills_after_its_cancel(bench: Bench) -> None:
    entry = bench.buy("10", ord_type=OrdType.LIMIT, price=D(100))
    bench.ack(entry)
    bench.report(entry, X.CANCELED)
    assert bench.bracket(entry).status is B.CLOSED
    bench.fill(entry, "4")
    assert tuple(map(sizes, bench.legs())) == ([4], [4])


def test_it_takes_the_rest_of_an_entry_away_when_what_filled_is_closed(bench: Bench) -> None:
    entry = bench.buy("10", ord_type=OrdType.LIMIT, price=D(100))
    bench.ack(entry)
    bench.fill(entry, "4")
    (stop,), _ = bench.legs()
    bench.ack(stop)
    bench.fill(stop, px="98")
    assert entry.cl_ord_id in bench.canceled()


def test_it_protects_what_a_bot_left_that_nobody_knows_any_more(bench: Bench) -> None:
    entry = bench.buy("10")
    bench.ack(entry)
    bench.take(SettingsChanged(at=bench.at, settings=msgspec.structs.replace(config(version=2), bots={}, profiles={})))
    bench.fill(entry)
    bench.wait(0.9)
    assert tuple(map(sizes, bench.legs())) == ([10], [10])
    assert bench.alarms() == []


def test_it_arms_when_the_order_link_is_back(bench: Bench) -> None:
    entry = bench.buy("10")
    bench.take(LinkChanged(at=bench.at, link=LinkKind.ORDERS, is_up=False, cause="reset"))
    bench.fill(entry)
    assert bench.legs() == ([], [])
    bench.later(0.5)
    bench.take(LinkChanged(at=bench.at, link=LinkKind.ORDERS, is_up=True))
    assert tuple(map(sizes, bench.legs())) == ([10], [10])


def test_it_orphans_a_leg_that_will_not_go(bench: Bench) -> None:
    entry = bench.armed("10")
    (stop,), (target,) = bench.legs()
    bench.fill(target)
    for _ in range(4):
        bench.report(stop, X.CANCEL_REJECTED)
        bench.wait(3)
    assert (bench.bracket(entry).status, bench.alarms()) == (B.ORPHANED, ["orphan"])
    bench.report(stop, X.CANCELED)
    assert (bench.bracket(entry).status, bench.alarms()) == (B.CLOSED, [])


# --- laws ------------------------------------------------------------------------------------------------------------------

STEPS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9), st.sampled_from(["1", "2", "5", "10"])), max_size=40)


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_it_protects_exactly_what_is_filled_once_the_venue_has_answered(steps: list[tuple[int, int, str]]) -> None:
    bench = Bench()
    bench.buy("20")
    venue_says(bench, steps)
    answer_everything(bench)
    open_qty = bench.qty()
    stops, targets = bench.legs()
    assert sum(sizes(stops), ZERO) == max(open_qty, ZERO)
    assert sum(sizes(targets), ZERO) == max(open_qty, ZERO)


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_it_never_turns_a_position_unless_it_says_so(steps: list[tuple[int, int, str]]) -> None:
    """A venue that honours reduce-only: with that, no sequence of fills goes through zero."""
    bench = Bench()
    bench.buy("20")
    venue_says(bench, steps)
    assert bench.qty() >= 0
    assert "overshoot" not in bench.alarms()


def venue_says(bench: Bench, steps: list[tuple[int, int, str]]) -> None:
    """Acknowledge, fill, cancel and let time pass, in any order; reduce-only orders fill no more than is open."""
    for kind, pick, qty in steps:
        working = bench.working()
        if kind == 4 or not working:
            bench.wait(0.25)
            continue
        order = working[pick % len(working)]
        if kind in (0, 1):
            room = min(D(qty), order.leaves_qty, abs(bench.qty()) if order.reduce_only else order.leaves_qty)
            if room:
                bench.fill(order, str(room))
        elif kind == 2:
            bench.ack(order)
        elif order.pending is OrdStatus.PENDING_CANCEL:
            bench.report(order, X.CANCELED)


def answer_everything(bench: Bench) -> None:
    """The venue answers every request until nothing is asked any more."""
    for _ in range(200):
        unanswered = [o for o in bench.working() if not o.is_accepted or o.pending]
        if not unanswered:
            bench.wait(0.25)
            if not [o for o in bench.working() if not o.is_accepted or o.pending]:
                return
        for order in unanswered:
            if order.pending is not None:
                bench.report(order, X.CANCELED)
            elif order.ord_type is OrdType.MARKET:
                bench.fill(order, str(min(order.leaves_qty, abs(bench.qty())) if order.reduce_only else order.leaves_qty))
            else:
                bench.ack(order)
    raise AssertionError("the desk never comes to rest")
