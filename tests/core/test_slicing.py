"""An entry that goes in slices: judged whole and slice by slice, protected as one, ended as an entry is, and never caught up."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from execution.core import recovery
from execution.core.brackets import BracketStatus
from execution.core.messages import (
    CommandKind,
    ExecType,
    KillChoice,
    Leg,
    Publish,
    SendFailed,
    SendOutcome,
    SettingsChanged,
    SignalKind,
    SignalRecord,
    StopMode,
    Twap,
    Woke,
)
from execution.core.orders import OrderState, OrdStatus, Purpose
from execution.core.twap import ParentState
from risk.core.units import NO_LIMIT, Scope, ScopeKind, Side
from risk.core.verdict import HaltMode, Reason
from tests.core.builders import BOT, BTC, ETH, NOON, OTHER, Bench, D, OrdType, decision, quote, settings
from tests.core.test_by_hand import submit
from tests.core.test_recovery import restart

#: six slices of 0.1, ten seconds apart
MINUTE = Twap(D(60), D(10))
STRICT: dict[str, Any] = {"adds_max": 0, "entries_in_flight_max": 1, "duplicate_window_s": D(60), "repeated_execution_max": 2}


def ask(bench: Bench, qty: str = "0.6", twap: Twap = MINUTE, **changes: Any) -> SignalRecord:
    given = {"stop_loss": D(98), "take_profit": D(104)} | changes
    return bench.decide(decision(SignalKind.BUY, qty, twap=twap, **given))


def slicing(config: Any = None, **changes: Any) -> Bench:
    """A TWAP whose first slice has filled."""
    bench = Bench(config)
    signal = ask(bench, **changes)
    assert signal.is_approved, signal.text
    fill_all(bench)
    return bench


def fill_all(bench: Bench) -> None:
    """The venue takes everything and fills every slice."""
    for order in bench.working():
        if order.purpose is Purpose.ENTRY:
            bench.ack(order)
            bench.fill(order)
    bench.settle_legs()
    bench.wait(0.25)
    bench.settle_legs()


def entries(bench: Bench, symbol: str = BTC) -> list[OrderState]:
    return [o for o in bench.desk.state.orders.values() if o.purpose is Purpose.ENTRY and o.symbol == symbol]


def the_parent(bench: Bench) -> ParentState:
    (parent,) = bench.desk.state.parents.values()
    return parent


def told(bench: Bench) -> str:
    """What the Signal of the entry says now."""
    bodies = [e.body for e in bench.everything if isinstance(e, Publish) and e.key == entries(bench)[0].decision_id]
    return msgspec.msgpack.decode(bodies[-1], type=SignalRecord).text


def until(bench: Bench, slot: int) -> None:
    """Wait for the time of a slice, counted from 0."""
    bench.wait((NOON + timedelta(seconds=10 * slot) - bench.at).total_seconds())


def next_slice(bench: Bench) -> None:
    """Wait for the next slice, and have it filled."""
    until(bench, the_parent(bench).slot)
    fill_all(bench)


def slice_timer(bench: Bench) -> str:
    (timer,) = [timer for timer in bench.desk.state.timers if timer.startswith("slice:")]
    return timer


# --- the whole of it -------------------------------------------------------------------------------------------------------


def test_it_sends_every_slice_at_its_time_and_says_how_far_it_is() -> None:
    bench = Bench()
    signal = ask(bench)
    assert signal.order_qty == D("0.6")
    assert [o.order_qty for o in entries(bench)] == [D("0.1")]
    assert told(bench) == "TWAP: 1 of 6 slices sent, 0 of 0.6 filled."
    fill_all(bench)
    for slot in range(1, 6):
        next_slice(bench)
        assert told(bench).startswith(f"TWAP: {slot + 1} of 6 slices sent, 0.{slot + 1} of 0.6 filled.")
    assert told(bench) == "TWAP: 6 of 6 slices sent, 0.6 of 0.6 filled. Over: its time is over."
    assert [(o.order_qty, o.created_at) for o in entries(bench)] == [
        (D("0.1"), NOON + timedelta(seconds=10 * slot)) for slot in range(6)
    ]
    assert {o.decision_id for o in entries(bench)} == {signal.decision_id}
    assert bench.qty() == D("0.6")
    assert bench.desk.state.parents == {}
    assert not [timer for timer in bench.desk.state.timers if timer.startswith("slice:")]


def test_one_bracket_protects_what_filled_of_all() -> None:
    bench = slicing()
    first = entries(bench)[0]
    for n in range(2, 7):
        next_slice(bench)
        bracket = bench.desk.state.brackets[first.cl_ord_id]
        assert bracket.open_qty == bench.qty() == D("0.1") * n
        stops, targets = bench.legs()
        assert sum(o.leaves_qty for o in stops) == sum(o.leaves_qty for o in targets) == bench.qty()
    assert len(bench.desk.state.brackets) == 1


def test_its_slices_are_one_entry_for_every_gate_that_counts_entries() -> None:
    bench = slicing(settings(**STRICT))
    for _ in range(5):
        next_slice(bench)
    assert len(entries(bench)) == 6
    assert bench.desk.state.positions[BTC].entries == 1
    assert bench.desk.state.halts == {}
    assert sum(bench.desk.state.throttles[BOT].minutes.values()) == 1


def test_an_entry_that_goes_in_slices_is_in_flight_until_it_is_over() -> None:
    bench = slicing(settings(**STRICT))
    assert bench.desk.view(BOT, BTC).entries_working == 1
    assert bench.decide(decision(SignalKind.BUY, "1", stop_loss=D(98))).reason is Reason.ENTRY_IN_FLIGHT
    for _ in range(5):
        next_slice(bench)
    assert bench.desk.view(BOT, BTC).entries_working == 0


def test_a_slice_that_works_is_not_in_flight_twice() -> None:
    bench = Bench(settings(entries_in_flight_max=2))
    ask(bench)
    assert bench.decide(decision(SignalKind.BUY, "1", stop_loss=D(98))).is_approved


def test_a_slice_that_is_busted_leaves_the_entry_of_the_others() -> None:
    bench = slicing()
    next_slice(bench)
    second = entries(bench)[1]
    bench.report(second, ExecType.TRADE_CANCEL, exec_ref_id=second.exec_ids[0], exec_id="b1")
    assert second.cum_qty == 0
    assert bench.desk.state.positions[BTC].entries == 1


# --- judged whole, and slice by slice ----------------------------------------------------------------------------------------


def test_the_whole_must_pass_though_each_slice_would() -> None:
    bench = Bench(settings(order_qty_max=D("0.5")))
    before = bench.desk.digest()
    assert ask(bench).reason is Reason.ORDER_QTY
    assert bench.desk.digest() == before
    assert ask(bench, "0.5", Twap(D(50), D(10))).is_approved


def test_a_slice_must_pass_though_the_whole_would() -> None:
    assert ask(Bench(), "0.06").reason is Reason.MIN_NOTIONAL


def test_what_is_not_sent_yet_is_reserved() -> None:
    bench = Bench()
    ask(bench, "600", Twap(D(60), D(10)))
    assert bench.desk.stake().gross == 600 * D(102)
    other = bench.decide(decision(SignalKind.BUY, "500", stop_loss=D(98)), symbol=ETH, bot=OTHER)
    assert other.reason is Reason.NET_EXPOSURE
    fill_all(bench)
    assert bench.desk.stake().gross == 500 * D(102) + 100 * D(100)
    bench.command(CommandKind.PAUSE, Scope(ScopeKind.BOT, BOT))
    assert bench.desk.stake().gross == 100 * D(100)


def test_its_own_reservation_is_not_in_its_way() -> None:
    bench = Bench(settings(limits={"gross_exposure_pct": D(62)}))
    ask(bench, "600")
    fill_all(bench)
    for slot in range(1, 6):
        assert bench.desk.stake().gross == 100 * slot * D(100) + (600 - 100 * slot) * D(102)
        next_slice(bench)
    assert bench.qty() == 600


@pytest.mark.parametrize(
    ("twap", "changes", "sentence"),
    [
        (Twap(D(10), D(20)), {}, "horizon_s is 10; it must be at least interval_s, which is 20."),
        (Twap(D("NaN"), D(20)), {}, "horizon_s is not a number; it must be a positive, finite number."),
        (Twap(D(60), D("0.01")), {}, "interval_s is 0.01; it must be more than 0.06, a thousandth of horizon_s."),
        (
            MINUTE,
            {"ord_type": OrdType.LIMIT, "price": D(100)},
            "A TWAP sends MARKET orders; LIMIT would wait for its price, and its time would pass.",
        ),
    ],
)
def test_it_denies_what_it_cannot_schedule_and_changes_nothing(twap: Twap, changes: dict[str, Any], sentence: str) -> None:
    bench = Bench()
    before = bench.desk.digest()
    signal = ask(bench, "0.6", twap, **changes)
    assert (signal.reason, signal.text) == (Reason.INVALID_DECISION, sentence)
    assert bench.desk.digest() == before


def test_what_closes_goes_at_once() -> None:
    bench = Bench()
    bench.armed("10")
    signal = bench.decide(decision(SignalKind.SELL, "10", twap=MINUTE, stop_loss=D(102)))
    assert signal.is_approved
    (exit_order,) = bench.exits()
    assert exit_order.order_qty == 10
    assert bench.desk.state.parents == {}


# --- a slice that may not go ---------------------------------------------------------------------------------------------------


def test_a_slice_waits_within_its_time_and_is_not_caught_up() -> None:
    bench = slicing()
    next_slice(bench)
    bench.at, timer = the_parent(bench).time_of(2), slice_timer(bench)
    bench.take(Woke(at=bench.at, timer=timer, quote=quote(BTC, at=bench.at - timedelta(seconds=30))))
    assert len(entries(bench)) == 2
    assert "Slice 3 waits: The price is 30,000 ms old" in told(bench)
    bench.later(1)
    bench.wake(timer)
    assert len(entries(bench)) == 3
    assert "waits" not in told(bench)
    fill_all(bench)
    bench.at = the_parent(bench).time_of(5)
    bench.wake(timer)
    assert [o.order_qty for o in entries(bench)] == [D("0.1")] * 4
    fill_all(bench)
    assert told(bench) == "TWAP: 4 of 6 slices sent, 0.4 of 0.6 filled. Over: its time is over."
    assert bench.desk.stake().gross == D(40)


def test_a_slice_without_a_price_waits() -> None:
    bench = slicing()
    bench.at = the_parent(bench).time_of(1)
    bench.take(Woke(at=bench.at, timer=slice_timer(bench)))
    assert len(entries(bench)) == 1
    assert "Slice 2 waits: No price of BTCUSDT is known." in told(bench)


def test_an_unknown_slice_holds_the_next() -> None:
    bench = Bench()
    ask(bench)
    bench.take(SendFailed(at=bench.at, cl_ord_id=entries(bench)[0].cl_ord_id, outcome=SendOutcome.UNKNOWN))
    bench.wait(15)
    assert len(entries(bench)) == 1
    assert "Slice 2 waits: Not ready: an order of BTCUSDT was not answered" in told(bench)
    fill_all(bench)
    bench.wait(2)
    assert len(entries(bench)) == 2


def test_a_refused_slice_is_not_sent_again() -> None:
    bench = Bench()
    ask(bench)
    bench.report(entries(bench)[0], ExecType.REJECTED, text="no")
    assert bench.bracket(entries(bench)[0]).status is BracketStatus.PENDING
    for _ in range(5):
        next_slice(bench)
    assert told(bench) == "TWAP: 6 of 6 slices sent, 0.5 of 0.6 filled. Over: its time is over."
    assert bench.qty() == D("0.5")
    stops, _ = bench.legs()
    assert sum(o.leaves_qty for o in stops) == D("0.5")


def test_a_slice_that_waits_leaves_the_next_ones_time_alone() -> None:
    """The third one within a second is one too many: it waits until the fourth is due, at its own time."""
    bench = Bench(settings(order_rate_max=D(2), is_stop_required=False))
    ask(bench, "0.4", Twap(D("1.6"), D("0.4")), stop_loss=None, take_profit=None)
    for _ in range(4):
        fill_all(bench)
    bench.wait(2)
    sent = [(order.created_at - NOON).total_seconds() for order in entries(bench)]
    assert sent == [0, 0.4, 1.2]


def test_its_bracket_is_over_with_it() -> None:
    bench = Bench()
    ask(bench)
    bench.report(entries(bench)[0], ExecType.REJECTED, text="no")
    bench.later(3600)
    bench.wake(slice_timer(bench))
    assert bench.bracket(entries(bench)[0]).status is BracketStatus.CLOSED


def test_a_slice_is_judged_by_the_stop_as_it_stands() -> None:
    bench = slicing()
    (stop,), _ = bench.legs()
    bench.command(CommandKind.MOVE_LEG, target=stop.bracket_id, leg=Leg.STOP, price=D(99))
    bench.settle_legs()
    bench.at = the_parent(bench).time_of(1)
    bench.wake(slice_timer(bench), px="98.5")
    assert "Slice 2 waits: The stop-loss 99 of a BUY at 98.5 must lie below it." in told(bench)


def test_its_orders_are_kept_as_long_as_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "_KEPT_ORDERS", 0)
    bench = Bench(settings(is_stop_required=False))
    ask(bench, "0.3", Twap(D(3 * 3600), D(3600)), stop_loss=None, take_profit=None)
    for _ in range(3):
        fill_all(bench)
        bench.wait(3590)
        bench.reconcile()
        bench.mark(BTC, "100")
        bench.wait(10)
    assert bench.qty() == D("0.3")
    assert bench.desk.state.parents == {}


# --- restarts --------------------------------------------------------------------------------------------------------------


def test_a_restart_goes_on_and_sends_nothing_twice_nor_doubled_up() -> None:
    bench = slicing()
    next_slice(bench)
    bench.later(25)
    restart(bench)
    assert len(entries(bench)) == 2
    bench.wait(3)
    assert len(entries(bench)) == 2, "it is not ready yet"
    bench.ready()
    bench.wait(1)
    assert [o.order_qty for o in entries(bench)] == [D("0.1")] * 3
    fill_all(bench)
    bench.wait(60)
    fill_all(bench)
    assert "4 of 6 slices sent" in told(bench) or "5 of 6 slices sent" in told(bench)
    assert bench.desk.state.parents == {}


def test_a_person_hears_how_many_slices_it_goes_in() -> None:
    answer = submit(Bench(), decision(SignalKind.BUY, "0.6", stop_loss=D(98), twap=MINUTE))
    assert answer.text == "Buying 0.6 BTCUSDT at market in 6 slices, for alpha."


def test_a_restart_after_its_time_sends_nothing_more() -> None:
    bench = slicing()
    bench.later(3600)
    restart(bench)
    bench.ready()
    bench.wait(60)
    assert len(entries(bench)) == 1
    assert told(bench) == "TWAP: 1 of 6 slices sent, 0.1 of 0.6 filled. Over: its time is over."


# --- how it ends -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "scope", "changes", "why"),
    [
        (CommandKind.PAUSE, Scope(ScopeKind.BOT, BOT), {}, "stopped by alice"),
        (CommandKind.HALT, Scope(ScopeKind.INSTRUMENT, BTC), {"mode": HaltMode.REDUCE_ONLY}, "stopped by alice"),
        (CommandKind.HALT, Scope(ScopeKind.FIRM), {"mode": HaltMode.HALTED}, "stopped by alice"),
        (CommandKind.STOP, Scope(ScopeKind.BOT, BOT), {"stop_mode": StopMode.NOW}, "stopped by alice"),
        (CommandKind.STOP, Scope(ScopeKind.BOT, BOT), {"stop_mode": StopMode.WHEN_FLAT}, "stopped by alice"),
        (CommandKind.KILL, None, {}, "stopped by alice"),
        (CommandKind.KILL, Scope(ScopeKind.BOT, BOT), {"choice": KillChoice.CANCEL_FLATTEN}, "stopped by alice"),
        (CommandKind.FLATTEN, Scope(ScopeKind.INSTRUMENT, BTC), {}, "stopped by alice"),
        (CommandKind.CLOSE, Scope(ScopeKind.INSTRUMENT, BTC), {"target": BTC}, "the position is being closed"),
    ],
)
def test_it_ends_as_an_entry_is_taken_away(kind: CommandKind, scope: Scope | None, changes: dict[str, Any], why: str) -> None:
    bench = slicing()
    bench.command(kind, scope, **changes)
    assert told(bench) == f"TWAP: 1 of 6 slices sent, 0.1 of 0.6 filled. Over: {why}."
    assert bench.desk.state.parents == {}
    bench.wait(60)
    assert len(entries(bench)) == 1


def test_a_halt_elsewhere_does_not_end_it() -> None:
    bench = slicing()
    bench.command(CommandKind.HALT, Scope(ScopeKind.INSTRUMENT, ETH), mode=HaltMode.HALTED)
    until(bench, 1)
    assert len(entries(bench)) == 2


def test_it_is_over_once_its_last_slice_is() -> None:
    bench = Bench()
    ask(bench)
    bench.command(CommandKind.PAUSE, Scope(ScopeKind.BOT, BOT))
    (entry,) = entries(bench)
    assert entry.pending is OrdStatus.PENDING_CANCEL
    assert the_parent(bench).ended
    bench.fill(entry, "0.1")
    assert told(bench) == "TWAP: 1 of 6 slices sent, 0.1 of 0.6 filled. Over: stopped by alice."
    assert bench.desk.state.parents == {}


def test_it_ends_with_the_settings_it_was_approved_under() -> None:
    bench = slicing(settings())
    bench.take(SettingsChanged(at=bench.at, settings=settings(version=2)))
    assert not the_parent(bench).ended, "nothing that it was approved under changed"
    bench.take(SettingsChanged(at=bench.at, settings=settings(version=3, order_qty_max=D("0.3"))))
    assert told(bench) == "TWAP: 1 of 6 slices sent, 0.1 of 0.6 filled. Over: its settings changed."


def test_it_ends_when_its_bot_is_disabled() -> None:
    config = settings()
    bench = slicing(config)
    disabled = {**config.bots, BOT: msgspec.structs.replace(config.bots[BOT], is_enabled=False)}
    bench.take(SettingsChanged(at=bench.at, settings=msgspec.structs.replace(config, bots=disabled)))
    assert told(bench).endswith("Over: its settings changed.")


def test_it_ends_when_its_stop_fills() -> None:
    bench = slicing()
    (stop,), _ = bench.legs()
    bench.fill(stop, "0.05")
    assert told(bench) == "TWAP: 1 of 6 slices sent, 0.1 of 0.6 filled. Over: its stop or target filled."


def test_it_ends_where_a_late_fill_opened_the_other_side() -> None:
    bench = Bench()
    other = bench.sell("1")
    bench.report(other, ExecType.CANCELED)
    ask(bench)
    bench.fill(other, "1")
    assert the_parent(bench).ended == "the position is on the other side"
    assert entries(bench)[1].pending is OrdStatus.PENDING_CANCEL


def test_a_slice_that_still_works_goes_with_what_closes_the_position() -> None:
    bench = slicing()
    until(bench, 1)
    second = entries(bench)[1]
    bench.ack(second)
    bench.command(CommandKind.CLOSE, Scope(ScopeKind.INSTRUMENT, BTC), target=BTC)
    assert second.cl_ord_id in bench.canceled()
    assert told(bench).endswith("Over: the position is being closed.")


def test_a_person_who_cancels_a_slice_ends_it() -> None:
    bench = Bench()
    ask(bench)
    (entry,) = entries(bench)
    bench.ack(entry)
    bench.command(CommandKind.CANCEL_ORDER, target=entry.cl_ord_id)
    assert the_parent(bench).ended == "a slice was canceled by alice"


def test_a_person_who_takes_its_protection_away_ends_it() -> None:
    bench = slicing()
    bench.command(CommandKind.CANCEL_BRACKET, target=entries(bench)[0].cl_ord_id)
    assert told(bench).endswith("Over: stopped by alice.")


def test_the_entry_that_uses_its_bots_hour_up_sends_one_slice() -> None:
    bench = Bench(settings(repeated_execution_max=1, order_rate_max=NO_LIMIT))
    ask(bench)
    assert [halt.cause for halt in bench.desk.state.halts.values()] == ["REPEATED_EXECUTION"]
    assert the_parent(bench).ended == "stopped by the desk"
    assert not entries(bench)[0].cancel_asked_by


def test_a_short_is_sliced_too() -> None:
    bench = Bench()
    signal = bench.decide(decision(SignalKind.SELL, "0.6", twap=MINUTE, stop_loss=D(102), take_profit=D(96)))
    assert signal.side is Side.SELL
    fill_all(bench)
    assert bench.desk.stake().down == -(D("0.5") * D("99.99") * D("1.02") + D(10))
    for _ in range(5):
        next_slice(bench)
    assert bench.qty() == D("-0.6")


def test_it_replays_bit_for_bit() -> None:
    bench = slicing()
    for _ in range(5):
        next_slice(bench)
    again = Bench(is_ready=False)
    again.desk = type(bench.desk).new("paper")
    for event in bench.journal:
        again.desk.handle(event)
    assert again.desk.digest() == bench.desk.digest()
