"""How often a bot enters: the windows, what uses them up, and who lets them count anew."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from execution.core.messages import CommandKind, ExecType, SettingsChanged, SignalKind
from execution.core.state import DeskState
from execution.core.turn import ENCODER
from risk.core.throttle import KEPT, Approval, Throttle, forget, in_hour, in_second, record
from risk.core.units import Scope, ScopeKind, Side
from risk.core.verdict import HaltCause, HaltMode, Reason
from tests.core.builders import BOT, BTC, ETH, OTHER, Bench, D, OrdType, decision, settings
from tests.core.risk_builders import NOON, later

THROTTLED: dict[str, Any] = {"duplicate_window_s": D(5), "order_rate_max": D(2), "repeated_execution_max": 4}


def after(*seconds: float) -> Throttle:
    throttle = Throttle()
    for s in seconds:
        record(throttle, Approval(later(s), BTC, Side.BUY, D(1), None, None))
    return throttle


@pytest.mark.parametrize(("at", "count"), [(0, 2), (0.5, 3), (0.999, 3), (1, 1), (1.5, 0), (2, 0)])
def test_it_counts_the_last_second(at: float, count: int) -> None:
    assert in_second(after(*(s for s in (0, 0, 0.5) if s <= at)), later(at)) == count


@pytest.mark.parametrize(("at", "count"), [(0, 1), (59, 1), (3600, 1), (3659.9, 1), (3660, 0)])
def test_it_counts_an_hour_by_the_minute(at: float, count: int) -> None:
    assert in_hour(after(0), later(at)) == count


def test_it_remembers_a_bounded_number() -> None:
    throttle = after(*(s / 1000 for s in range(KEPT + 200)))
    assert len(throttle.recent) == KEPT
    assert in_hour(throttle, later(2)) == KEPT + 200
    record(throttle, Approval(later(7200), BTC, Side.BUY, D(1), None, None))
    assert (len(throttle.recent), len(throttle.minutes)) == (1, 1)


def test_it_counts_in_order_when_the_clock_goes_back() -> None:
    throttle = after(120, 0, 60)
    assert list(throttle.minutes.values()) == [3]
    assert [in_hour(throttle, later(s)) for s in (120, 3600, 3720, 3780)] == [3, 3, 3, 0]


def test_it_forgets_the_hour_and_not_the_last_orders() -> None:
    throttle = after(0, 1)
    forget(throttle)
    assert (in_hour(throttle, later(1)), in_second(throttle, later(1.5))) == (0, 1)


@given(st.lists(st.floats(0, 9000)).map(sorted))
def test_it_never_forgets_what_is_less_than_an_hour_old(times: list[float]) -> None:
    throttle, end = after(*times), later(times[-1] if times else 0)
    exact = sum(1 for s in times if (end - later(s)).total_seconds() < 3600)
    wide = sum(1 for s in times if (end - later(s)).total_seconds() < 3660)
    assert exact <= in_hour(throttle, end) <= wide
    assert in_second(throttle, end) == sum(1 for s in times if (end - later(s)).total_seconds() < 1)


# --- in the desk ---------------------------------------------------------------------------------------------------------


def bench(**changes: Any) -> Bench:
    return Bench(settings(**(THROTTLED | changes)))


def test_it_lets_the_same_order_through_once_in_its_window() -> None:
    b = bench()
    b.buy("10")
    b.later(4.999)
    digest = b.desk.digest()
    again = b.decide(decision(SignalKind.BUY, "10", stop_loss=D(98), take_profit=D(104)))
    assert again.reason is Reason.DUPLICATE_ORDER
    assert b.desk.digest() == digest
    b.buy("10", ord_type=OrdType.LIMIT, price=D(99))
    b.later(0.001)
    b.buy("10")


def test_it_counts_entries_and_not_what_was_denied_or_closes() -> None:
    b = bench(duplicate_window_s=D(0))
    b.armed("10")
    assert b.decide(decision(SignalKind.CLOSE)).is_approved
    for _ in range(3):
        assert b.decide(decision(SignalKind.BUY, "1", stop_loss=D(101))).reason is Reason.INVALID_DECISION
    b.buy("10")
    assert b.decide(decision(SignalKind.BUY, "10", stop_loss=D(98))).reason is Reason.ORDER_RATE
    b.later(1)
    b.buy("10")


def test_it_counts_all_bots_for_the_account() -> None:
    b = Bench(settings(limits={"order_rate_max": D(2)}))
    b.buy("1")
    b.buy("1", symbol=ETH, bot=OTHER)
    denied = b.decide(decision(SignalKind.BUY, "1", stop_loss=D(98)))
    assert denied.reason is Reason.ORDER_RATE
    assert "entry 3 of the account" in denied.text


def test_it_halts_a_bot_that_used_its_entries_up_and_leaves_the_last() -> None:
    b = bench(duplicate_window_s=D(0), order_rate_max=D(100))
    orders = [b.buy("1") for _ in range(4)]
    (halt,) = b.desk.state.halts.values()
    assert (halt.cause, halt.mode, halt.scope) == (HaltCause.REPEATED_EXECUTION, HaltMode.REDUCE_ONLY, Scope(ScopeKind.BOT, BOT))
    assert b.canceled() == [order.cl_ord_id for order in orders[:3]]
    assert [order.cl_ord_id for order in b.working() if order.pending is None] == [orders[3].cl_ord_id]
    assert b.alarms() == ["halt"]
    refused = b.decide(decision(SignalKind.BUY, "1", stop_loss=D(98)))
    assert refused.reason is Reason.REDUCE_ONLY
    assert "as often as it may" in refused.text
    b.wait(7200)
    assert b.decide(decision(SignalKind.BUY, "1", stop_loss=D(98))).reason is Reason.REDUCE_ONLY


def test_it_lets_a_person_count_anew() -> None:
    b = bench(duplicate_window_s=D(0), order_rate_max=D(100), entries_in_flight_max=10, adds_max=10)
    for _ in range(4):
        b.buy("1")
    (halt,) = b.desk.state.halts.values()
    answer = b.command(CommandKind.CLEAR, halt.scope, halt_id=halt.halt_id)
    assert f"The entries of {BOT} count from now." in answer.text
    b.command(CommandKind.START, Scope(ScopeKind.BOT, BOT))
    for _ in range(3):
        b.buy("1")
    assert not b.desk.state.halts


def test_it_denies_beyond_a_limit_that_was_edited_below_what_happened() -> None:
    b = bench(duplicate_window_s=D(0), order_rate_max=D(100))
    for _ in range(3):
        b.buy("1")
    tighter = THROTTLED | {"duplicate_window_s": D(0), "repeated_execution_max": 2}
    b.take(SettingsChanged(at=b.at, settings=settings(version=2, **tighter)))
    assert not b.desk.state.halts
    b.later(2)
    assert b.decide(decision(SignalKind.BUY, "1", stop_loss=D(98))).reason is Reason.REPEATED_EXECUTION


def test_it_counts_on_after_a_restart() -> None:
    b = bench()
    b.buy("10")
    restored = msgspec.msgpack.decode(ENCODER.encode(b.desk.state), type=DeskState)
    assert restored.throttles == b.desk.state.throttles
    assert restored.throttles[BOT].recent == [Approval(NOON, BTC, Side.BUY, Decimal(10), None, None)]


# --- adds ------------------------------------------------------------------------------------------------------------------


def test_it_adds_no_more_than_allowed_however_many_are_on_their_way() -> None:
    b = Bench(settings(adds_max=1))
    first, second = b.buy("1"), b.buy("2")
    another = decision(SignalKind.BUY, "3", stop_loss=D(98))
    assert b.decide(another).reason is Reason.PYRAMIDING
    for order in (first, second):
        b.ack(order)
    b.fill(first, "0.5")
    assert b.decide(another).reason is Reason.PYRAMIDING
    b.fill(first)
    b.fill(second)
    denied = b.decide(another)
    assert (denied.reason, "add number 2" in denied.text) == (Reason.PYRAMIDING, True)


def test_it_takes_no_entry_while_one_of_the_other_side_is_on_its_way() -> None:
    """What both would come to cannot be known: a late report would have an exit add to the position."""
    b = Bench(settings(entries_in_flight_max=3))
    above = b.buy("1", ord_type=OrdType.STOP, stop_px=D(103), take_profit=D(110))
    b.ack(above)
    denied = b.decide(decision(SignalKind.SELL, "1", stop_loss=D(102)))
    assert denied.reason is Reason.ENTRY_IN_FLIGHT
    assert "An entry of the other side is on its way" in denied.text
    b.report(above, ExecType.CANCELED)
    b.sell("1")


def test_it_counts_an_entry_no_more_once_it_ended_unfilled() -> None:
    b = Bench(settings(adds_max=0))
    first = b.buy("1", ord_type=OrdType.LIMIT, price=D(99))
    b.ack(first)
    assert b.decide(decision(SignalKind.BUY, "2", stop_loss=D(98))).reason is Reason.PYRAMIDING
    b.report(first, ExecType.CANCELED)
    b.buy("2")
