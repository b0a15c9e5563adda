"""What people ask: start, pause, stop, halt, kill, flatten, clear, and the words they are answered with."""

# mypy: disable-error-code="comparison-overlap"
from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from execution.core import kills
from execution.core.brackets import BracketStatus
from execution.core.controls import BotStatus
from execution.core.messages import (
    AnswerCommand,
    BotChanged,
    Commanded,
    CommandKind,
    CommandSpec,
    CommandStatus,
    Decision,
    DropUnsent,
    ExecType,
    HaltsLoaded,
    KillChoice,
    QueryVenue,
    Reported,
    SendCancel,
    SendFailed,
    SendMassCancel,
    SendOutcome,
    SettingsChanged,
    SignalKind,
    Step,
    StepState,
    StopMode,
    WakeAt,
    Woke,
)
from execution.core.orders import OrderState, OrdStatus, Purpose
from risk.core.book import EXTERNAL, Halt
from risk.core.units import NO_LIMIT, OrdType, Scope, ScopeKind, Side
from risk.core.verdict import Capability, HaltCause, HaltMode, Reason
from tests.core.builders import ACCOUNT, BOT, BTC, ETH, NOON, OTHER, Bench, D, decision
from tests.core.builders import settings as config

K = CommandKind
X = ExecType
FIRM = Scope(ScopeKind.FIRM)
ON_ACCOUNT = Scope(ScopeKind.ACCOUNT, ACCOUNT)
ON_BOT = Scope(ScopeKind.BOT, BOT)
ON_BTC = Scope(ScopeKind.INSTRUMENT, BTC)
SCOPES = [FIRM, ON_ACCOUNT, ON_BOT, ON_BTC]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def limit_buy(bench: Bench, qty: str = "10", *, symbol: str = BTC, bot: str = BOT) -> OrderState:
    """A working limit entry."""
    order = bench.buy(qty, symbol=symbol, bot=bot, ord_type=OrdType.LIMIT, price=D(100))
    bench.ack(order)
    return order


def a_buy(bench: Bench, *, symbol: str = BTC, bot: str = BOT) -> Reason | None:
    return bench.decide(decision(SignalKind.BUY, "1", stop_loss=D(98)), symbol=symbol, bot=bot).reason


# --- bots ------------------------------------------------------------------------------------------------------------------


def test_it_starts_a_bot_once_it_is_warm() -> None:
    bench = Bench(is_ready=False)
    assert bench.command(K.START, ON_BOT).text == "alpha is warming and then runs."
    bench.ready()
    bench.take(BotChanged(at=bench.at, bot=BOT, is_warm=False))
    assert bench.desk.state.bots[BOT].status is BotStatus.WARMING
    assert a_buy(bench) is Reason.NOT_READY
    bench.take(BotChanged(at=bench.at, bot=BOT, is_warm=True))
    assert bench.desk.state.bots[BOT].status is BotStatus.RUNNING
    assert a_buy(bench) is None


def test_it_stops_a_bot_now(bench: Bench) -> None:
    bench.armed("10")
    entry = limit_buy(bench)
    answer = bench.command(K.STOP, ON_BOT)
    assert answer.text == "alpha is stopped. Canceling 1 working entry. Positions and their stops stay."
    assert bench.canceled() == [entry.cl_ord_id]
    assert a_buy(bench) is Reason.NOT_READY


@pytest.mark.parametrize("mode", [StopMode.WHEN_FLAT, StopMode.AFTER_BRACKET])
def test_it_stops_a_bot_when_its_trade_is_over(bench: Bench, mode: StopMode) -> None:
    bench.armed("10")
    bench.command(K.STOP, ON_BOT, stop_mode=mode)
    bot = bench.desk.state.bots[BOT]
    assert (bot.status, a_buy(bench)) == (BotStatus.STOPPING, Reason.NOT_READY)
    (stop,), (target,) = bench.legs()
    bench.fill(target)
    bench.report(stop, X.CANCELED)
    assert bench.desk.state.bots[BOT].status is BotStatus.STOPPED


def test_it_takes_nothing_from_a_bot_that_was_disabled_while_it_ran(bench: Bench) -> None:
    base = config(version=2)
    disabled = msgspec.structs.replace(base.bots[BOT], is_enabled=False)
    bench.take(SettingsChanged(at=bench.at, settings=msgspec.structs.replace(base, bots=base.bots | {BOT: disabled})))
    denied = bench.decide(decision(SignalKind.BUY, "1", stop_loss=D(98)))
    assert (denied.reason, f"bot {BOT} is disabled" in denied.text) == (Reason.NOT_READY, True)


def test_it_halts_a_bot_whose_brain_raises(bench: Bench) -> None:
    bench.take(BotChanged(at=bench.at, bot=BOT, is_warm=False, errors=5, text="ZeroDivisionError"))
    (halt,) = bench.desk.state.halts.values()
    assert (halt.scope, halt.mode, halt.cause) == (ON_BOT, HaltMode.HALTED, HaltCause.BRAIN_ERRORS)
    assert bench.desk.state.bots[BOT].status is BotStatus.STOPPED
    answer = bench.command(K.START, ON_BOT)
    assert "Clear that first" in answer.text


# --- pause, halt, clear ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", SCOPES, ids=str)
def test_it_pauses_a_scope_and_leaves_its_stops(bench: Bench, scope: Scope) -> None:
    bench.armed("10")
    entry = limit_buy(bench)
    answer = bench.command(K.PAUSE, scope, halt_id="h1")
    assert answer.status is CommandStatus.DONE
    assert answer.text == f"Paused at {scope}: no new entries. Canceling 1 working entry. Stops stay."
    assert (bench.canceled(), bench.all(DropUnsent)) == ([entry.cl_ord_id], [DropUnsent(scope=scope)])
    assert a_buy(bench) is Reason.REDUCE_ONLY
    assert bench.decide(Decision(signal=SignalKind.CLOSE)).is_approved
    assert bench.command(K.RESUME, scope, halt_id="h1").status is CommandStatus.DONE
    bench.report(entry, X.CANCELED)
    assert bench.desk.state.halts == {}


@pytest.mark.parametrize("scope", SCOPES, ids=str)
def test_it_lets_nothing_of_a_bot_pass_a_halt_but_protection_and_a_persons_close(bench: Bench, scope: Scope) -> None:
    entry = bench.buy("10")
    bench.command(K.HALT, scope, halt_id="h1", mode=HaltMode.HALTED)
    bench.fill(entry)
    assert [len(legs) for legs in bench.legs()] == [1, 1]
    assert a_buy(bench) is Reason.HALTED
    assert bench.decide(Decision(signal=SignalKind.CLOSE)).reason is Reason.HALTED
    assert (
        bench.command(K.CLOSE, ON_BTC, target=BTC).text
        == "Selling 10 BTCUSDT at market to close. Its stop stays until that has filled."
    )


def test_it_keeps_each_scope_latched_on_its_own(bench: Bench) -> None:
    bench.command(K.HALT, ON_BOT, halt_id="h1")
    bench.command(K.HALT, ON_ACCOUNT, halt_id="h2")
    bench.command(K.CLEAR, ON_BOT, halt_id="h1")
    assert set(bench.desk.state.halts) >= {"h2"}
    assert a_buy(bench) is Reason.REDUCE_ONLY


def test_it_counts_entries_that_the_row_of_a_pause_already_took_away(bench: Bench) -> None:
    """The poll may bring the halt before the command that wrote it."""
    limit_buy(bench)
    halt = Halt(halt_id="p1", scope=ON_BOT, mode=HaltMode.REDUCE_ONLY, cause=HaltCause.PAUSE, reason="", by="alice", at=NOON)
    bench.take(HaltsLoaded(at=bench.at, halts=(halt,)))
    assert (
        bench.command(K.PAUSE, ON_BOT, halt_id="p1").text
        == "Paused at bot alpha: no new entries. Canceling 1 working entry. Stops stay."
    )


def test_it_lets_a_kill_beat_a_clear_that_was_asked_before(bench: Bench) -> None:
    bench.command(K.HALT, ON_ACCOUNT, halt_id="h1")
    asked_at = bench.at
    bench.later(1)
    bench.command(K.KILL, ON_ACCOUNT, halt_id="k1")
    clear = CommandSpec(command_id="c", kind=K.CLEAR, scope=ON_ACCOUNT, by="bob", asked_at=asked_at)
    bench.take(Commanded(at=bench.at, command=clear))
    assert "k1" in bench.desk.state.halts
    assert a_buy(bench) is Reason.HALTED


def test_it_wakes_again_for_a_timer_that_came_a_moment_early(bench: Bench) -> None:
    due_at = bench.desk.state.timers["reconcile"]
    bench.take(Woke(at=due_at - timedelta(microseconds=1), timer="reconcile"))
    assert bench.all(WakeAt) == [WakeAt(timer="reconcile", due_at=due_at)]
    assert bench.take(Woke(at=due_at, timer="nothing")) == ()


def test_it_starts_nothing_when_a_halt_is_cleared(bench: Bench) -> None:
    bench.command(K.KILL, ON_ACCOUNT, halt_id="k1")
    bench.reconcile()
    answer = bench.command(K.CLEAR, ON_ACCOUNT, halt_id="k1", by="bob")
    assert answer.text == "Cleared at account paper. Resume the 2 that ran before."
    assert bench.published("halt_cleared")[0].halt_id == "k1"
    assert a_buy(bench) is Reason.REDUCE_ONLY
    assert {halt.cause for halt in bench.desk.state.halts.values()} == {HaltCause.PAUSE}
    bench.command(K.START, ON_BOT)
    assert a_buy(bench) is None
    assert a_buy(bench, symbol=ETH, bot=OTHER) is Reason.REDUCE_ONLY


@pytest.mark.parametrize("why", ["halted", "reduced", "disabled"])
def test_only_what_ran_comes_back_paused(bench: Bench, why: str) -> None:
    """A bot that is disabled, or under a halt of its own, did not run and is not there to be resumed."""
    if why == "disabled":
        made = config(version=2)
        bots = {**made.bots, OTHER: msgspec.structs.replace(made.bots[OTHER], is_enabled=False)}
        bench.take(SettingsChanged(at=bench.at, settings=msgspec.structs.replace(made, bots=bots)))
    else:
        mode = HaltMode.HALTED if why == "halted" else HaltMode.REDUCE_ONLY
        bench.command(K.HALT, Scope(ScopeKind.BOT, OTHER), halt_id="own", mode=mode)
    bench.command(K.KILL, FIRM, halt_id="k1")
    bench.reconcile()
    assert bench.command(K.CLEAR, FIRM, halt_id="k1", by="bob").text == "Cleared at firm. Resume the 1 that ran before."
    pauses = [halt.scope.key for halt in bench.desk.state.halts.values() if halt.cause is HaltCause.PAUSE]
    assert pauses == [BOT]
    if why != "disabled":
        answer = bench.command(K.CLEAR, Scope(ScopeKind.BOT, OTHER), halt_id="own", by="bob")
        assert answer.text == f"Cleared at bot {OTHER}. Resume the 1 that ran before."


def test_it_refuses_to_start_a_bot_under_a_halt(bench: Bench) -> None:
    bench.command(K.HALT, FIRM, halt_id="h1", mode=HaltMode.HALTED)
    answer = bench.command(K.START, ON_BOT)
    assert (answer.status, answer.text) == (
        CommandStatus.REFUSED,
        "alpha stays as it is: halted at firm by alice. Clear that first.",
    )


def test_it_takes_the_more_restrictive_of_row_and_state(bench: Bench) -> None:
    halt = Halt(halt_id="r1", scope=FIRM, mode=HaltMode.REDUCE_ONLY, cause=HaltCause.MANUAL, reason="", by="bob", at=NOON)
    bench.take(HaltsLoaded(at=bench.at, halts=(halt,)))
    assert a_buy(bench) is Reason.REDUCE_ONLY
    bench.take(HaltsLoaded(at=bench.at, halts=(msgspec.structs.replace(halt, mode=HaltMode.HALTED),)))
    assert a_buy(bench) is Reason.HALTED
    assert bench.take(HaltsLoaded(at=bench.at, halts=(halt,))) == ()


# --- kill ------------------------------------------------------------------------------------------------------------------


def states(answer: AnswerCommand) -> dict[str, str]:
    return {step.name: step.state.value for step in answer.steps}


def step(answer: AnswerCommand, name: str) -> Step:
    return next(s for s in answer.steps if s.name == name)


def test_it_verifies_a_kill_only_by_a_question_asked_after_the_last_confirmation(bench: Bench) -> None:
    bench.armed("10")
    orders = [limit_buy(bench) for _ in range(3)]
    answer = bench.command(K.KILL, ON_ACCOUNT, halt_id="k1")
    assert sorted(bench.canceled()) == sorted(o.cl_ord_id for o in orders)
    assert answer.status is CommandStatus.RUNNING
    assert states(answer) == {
        "gates_closed": "DONE",
        "unsent_dropped": "DONE",
        "cancels_sent": "DONE",
        "cancels_confirmed": "RUNNING",
        "filled_before_cancel": "WAITING",
        "verified": "WAITING",
    }
    early = bench.desk.seq
    for n, order in enumerate(orders):
        bench.report(order, X.CANCELED)
        confirmed = step(bench.last(AnswerCommand), "cancels_confirmed")
        assert (confirmed.done, confirmed.total) == (n + 1, 3)
    assert len(bench.all(QueryVenue)) == 1
    bench.reconcile(asked_seq=early)
    assert not bench.all(AnswerCommand), "the question was asked before the last confirmation"
    bench.reconcile()
    answer = bench.last(AnswerCommand)
    assert (answer.status, step(answer, "verified").state) == (CommandStatus.DONE, StepState.DONE)
    assert answer.text == "Verified by the venue after 0.0 s: 2 protective legs stay."
    assert [len(legs) for legs in bench.legs()] == [1, 1]


def test_it_says_what_is_left_and_tries_again_until_it_is_gone(bench: Bench) -> None:
    order = limit_buy(bench)
    bench.command(K.KILL, ON_ACCOUNT, halt_id="k1")
    bench.wait(5)
    assert "kill" in bench.alarms()
    bench.later(0)
    bench.report(order, X.CANCELED)
    bench.reconcile(orders=(bench.shown(order),))
    answer = bench.last(AnswerCommand)
    assert step(answer, "verified").state is StepState.TROUBLE
    assert step(answer, "verified").text == "Not verified yet: buy 10 BTCUSDT works at the venue"
    bench.wait(1.1)
    assert any(isinstance(e, QueryVenue) for e in bench.everything[-20:])
    bench.reconcile()
    assert bench.last(AnswerCommand).status is CommandStatus.DONE
    assert "kill" not in bench.alarms()


def test_it_waits_for_an_unknown_order_before_a_kill_is_verified(bench: Bench) -> None:
    order = bench.buy("10")
    bench.take(SendFailed(at=bench.at, cl_ord_id=order.cl_ord_id, outcome=SendOutcome.UNKNOWN))
    bench.command(K.KILL, ON_ACCOUNT, halt_id="k1")
    assert bench.canceled() == []
    bench.ack(order)
    assert bench.canceled() == [order.cl_ord_id]
    bench.report(order, X.CANCELED)
    bench.reconcile()
    assert bench.last(AnswerCommand).status is CommandStatus.DONE


def test_it_counts_what_was_never_sent(bench: Bench) -> None:
    order = bench.buy("10")
    bench.command(K.KILL, ON_ACCOUNT, halt_id="k1")
    assert bench.all(DropUnsent)
    bench.take(SendFailed(at=bench.at, cl_ord_id=order.cl_ord_id, outcome=SendOutcome.NOT_SENT))
    answer = bench.last(AnswerCommand)
    assert (step(answer, "unsent_dropped").done, step(answer, "cancels_confirmed").done) == (1, 1)


def test_it_lists_and_protects_what_fills_during_a_kill(bench: Bench) -> None:
    order = limit_buy(bench)
    bench.command(K.KILL, ON_ACCOUNT, halt_id="k1")
    bench.fill(order, "4")
    assert [len(legs) for legs in bench.legs()] == [1, 1]
    bench.report(order, X.CANCELED)
    filled = step(bench.last(AnswerCommand), "filled_before_cancel")
    assert (filled.done, filled.text) == (1, "Filled before the cancel, protected: buy 4 BTCUSDT")


@pytest.mark.parametrize("choice", [KillChoice.CANCEL_FLATTEN, KillChoice.CANCEL_ALL])
def test_it_does_what_the_choice_says(bench: Bench, choice: KillChoice) -> None:
    entry = bench.armed("10")
    legs = [leg for kind in bench.legs() for leg in kind]
    bench.command(K.KILL, ON_ACCOUNT, halt_id="k1", choice=choice)
    if choice is KillChoice.CANCEL_ALL:
        assert sorted(bench.canceled()) == sorted(leg.cl_ord_id for leg in legs)
        for leg in legs:
            bench.report(leg, X.CANCELED)
        bench.wait(2)
        bench.reconcile()
        assert (bench.last(AnswerCommand).status, bench.working(), bench.alarms()) == (CommandStatus.DONE, [], ["nostop"])
        return
    (close,) = [o for o in bench.working() if o.purpose is Purpose.EXIT]
    assert (close.side, close.order_qty, bench.canceled()) == (Side.SELL, 10, [])
    bench.fill(close)
    assert sorted(bench.canceled()) == sorted(leg.cl_ord_id for leg in legs)
    assert states(bench.last(AnswerCommand))[f"flatten:{BTC}"] == "DONE"
    for leg in legs:
        bench.report(leg, X.CANCELED)
    bench.reconcile()
    answer = bench.last(AnswerCommand)
    assert answer.text == "Verified by the venue after 0.0 s: no order is left, every position is flat."
    assert bench.bracket(entry).status is BracketStatus.CLOSED


def test_it_does_not_call_a_flatten_verified_while_the_venue_holds_something(bench: Bench) -> None:
    bench.armed("10")
    bench.command(K.KILL, ON_ACCOUNT, halt_id="k1", choice=KillChoice.CANCEL_FLATTEN)
    (close,) = [o for o in bench.working() if o.purpose is Purpose.EXIT]
    bench.fill(close)
    for leg in bench.working():
        bench.report(leg, X.CANCELED)
    bench.later(1)
    bench.reconcile(positions={BTC: "2"})
    assert step(bench.last(AnswerCommand), "verified").text == "Not verified yet: 2 BTCUSDT is open at the venue"


def test_it_flattens_a_bot_though_a_foreign_position_stands_in_its_symbol(bench: Bench) -> None:
    """It is EXTERNAL's: neither closed by the bot's flatten, nor in the way of its end. The account's flatten closes it."""
    bench.report("hand-1", X.TRADE, "2", symbol=BTC, side=Side.BUY)
    bench.wait(5)
    assert bench.desk.state.positions[BTC].bot == EXTERNAL
    bench.command(K.FLATTEN, Scope(ScopeKind.BOT, BOT))
    bench.reconcile()
    assert bench.last(AnswerCommand).status is CommandStatus.DONE
    bench.command(K.FLATTEN)
    assert [order.order_qty for order in bench.working(BTC)] == [2]


def test_it_closes_again_what_was_refused_during_a_flatten(bench: Bench) -> None:
    bench.armed("10")
    bench.command(K.FLATTEN, ON_BOT, valid_until=bench.at + timedelta(seconds=60))
    (close,) = [o for o in bench.working() if o.purpose is Purpose.EXIT]
    bench.report(close, X.REJECTED)
    assert states(bench.last(AnswerCommand))[f"flatten:{BTC}"] == "TROUBLE"
    assert [len(legs) for legs in bench.legs()] == [1, 1], "the stop never left"
    bench.wait(5.1)
    (again,) = [o for o in bench.working() if o.purpose is Purpose.EXIT]
    bench.fill(again)
    for leg in bench.working():
        bench.report(leg, X.CANCELED)
    bench.reconcile()
    assert bench.last(AnswerCommand).status is CommandStatus.DONE


def test_it_stops_a_running_flatten(bench: Bench) -> None:
    bench.armed("10")
    first = bench.command(K.KILL, ON_ACCOUNT, halt_id="k1", choice=KillChoice.CANCEL_FLATTEN)
    (close,) = [o for o in bench.working() if o.purpose is Purpose.EXIT]
    answer = bench.command(K.STOP_FLATTEN, ON_ACCOUNT, by="bob")
    assert answer.text == "The flatten is stopped. What was already sent may still fill; stops stay."
    assert bench.canceled() == [close.cl_ord_id]
    bench.report(close, X.CANCELED)
    bench.reconcile()
    last = bench.last(AnswerCommand)
    assert (last.command_id, last.status, bench.qty()) == (first.command_id, CommandStatus.DONE, 10)


def test_a_stopped_flatten_is_over_and_leaves_the_bots_alone(bench: Bench) -> None:
    """It halts nothing: what bots order later is none of what it has left to cancel."""
    bench.armed("10")
    first = bench.command(K.FLATTEN, ON_ACCOUNT)
    (close,) = bench.exits()
    bench.command(K.STOP_FLATTEN, ON_ACCOUNT, by="bob")
    answers = [e for e in bench.everything if isinstance(e, AnswerCommand) and e.command_id == first.command_id]
    assert (answers[-1].status, answers[-1].text) == (
        CommandStatus.REFUSED,
        "Stopped by bob: nothing more is closed; what was already sent may still fill.",
    )
    bench.report(close, X.CANCELED)
    later = bench.buy("1", ord_type=OrdType.LIMIT, price=D(99))
    bench.ack(later)
    bench.wait(30)
    assert later.cl_ord_id not in bench.canceled()
    assert bench.desk.state.commands == {}


def test_it_stops_the_flatten_of_its_own_scope_alone(bench: Bench) -> None:
    bench.armed("10")
    bench.command(K.FLATTEN, ON_BOT)
    (close,) = bench.exits()
    for scope in (Scope(ScopeKind.BOT, OTHER), ON_BTC):
        answer = bench.command(K.STOP_FLATTEN, scope)
        assert (answer.status, answer.text) == (CommandStatus.REFUSED, f"No flatten runs at {scope}.")
    assert close.pending is None
    assert bench.command(K.STOP_FLATTEN, FIRM).status is CommandStatus.DONE
    assert bench.canceled() == [close.cl_ord_id]


@pytest.mark.parametrize(
    ("first", "second", "text"),
    [
        (KillChoice.CANCEL, KillChoice.CANCEL, "Joined the kill of 12:00:00 UTC by alice, which runs."),
        (
            KillChoice.CANCEL_FLATTEN,
            KillChoice.CANCEL,
            "Already stronger: the kill of 12:00:00 UTC by alice (cancel+flatten) runs.",
        ),
        (KillChoice.CANCEL, KillChoice.CANCEL_FLATTEN, "Escalated the kill of 12:00:00 UTC by alice to cancel+flatten."),
    ],
)
def test_it_joins_a_second_kill_to_the_first(bench: Bench, first: KillChoice, second: KillChoice, text: str) -> None:
    bench.armed("10")
    limit_buy(bench)
    bench.command(K.KILL, ON_ACCOUNT, halt_id="k1", choice=first)
    command_id = "second"
    bench.command(K.KILL, ON_ACCOUNT, halt_id="k2", choice=second, command_id=command_id, by="bob")
    (answer,) = [a for a in bench.all(AnswerCommand) if a.command_id == command_id]
    assert (answer.status, answer.text) == (CommandStatus.DONE, text)
    assert set(bench.desk.state.halts) == {"k1", "k2"}
    assert len(bench.desk.state.commands) == 1


@pytest.mark.parametrize("can_mass_cancel", [False, True])
def test_a_kill_that_closes_goes_on_closing_when_another_strips_protection(can_mass_cancel: bool) -> None:
    """Neither is weaker than the other: taking stops away must not leave what was being closed open, and naked as well."""
    made = config()
    more = (Capability.MASS_CANCEL,) if can_mass_cancel else ()
    bench = Bench(msgspec.structs.replace(made, capabilities=(*made.capabilities, *more)))
    bench.armed("10")
    legs = sorted(leg.cl_ord_id for kind in bench.legs() for leg in kind)
    bench.command(K.KILL, ON_ACCOUNT, halt_id="k1", choice=KillChoice.CANCEL_FLATTEN)
    (close,) = bench.exits()
    answer = second(bench, KillChoice.CANCEL_ALL)
    assert answer.text == "Escalated the kill of 12:00:00 UTC by alice to cancel+flatten and cancel_all."
    assert (sorted(bench.canceled()), bench.all(SendMassCancel)) == (legs, []), "the close itself goes on"
    for leg in legs:
        bench.report(leg, X.CANCELED)
    bench.fill(close)
    bench.reconcile()
    done = bench.last(AnswerCommand)
    assert (done.status, done.text) == (
        CommandStatus.DONE,
        "Verified by the venue after 0.0 s: no order is left, every position is flat.",
    )


def test_a_kill_that_strips_protection_closes_as_well_when_another_asks_that(bench: Bench) -> None:
    bench.armed("10")
    legs = [leg for kind in bench.legs() for leg in kind]
    bench.command(K.KILL, ON_ACCOUNT, halt_id="k1", choice=KillChoice.CANCEL_ALL)
    answer = second(bench, KillChoice.CANCEL_FLATTEN)
    assert answer.text == "Escalated the kill of 12:00:00 UTC by alice to cancel_all and cancel+flatten."
    assert second(bench, KillChoice.CANCEL_ALL, "third").text == "Joined the kill of 12:00:00 UTC by alice, which runs."
    for leg in legs:
        bench.report(leg, X.CANCELED)
    (close,) = bench.exits()
    assert bench.command(K.STOP_FLATTEN, ON_ACCOUNT).status is CommandStatus.DONE
    bench.report(close, X.CANCELED)
    bench.reconcile()
    assert (bench.last(AnswerCommand).status, bench.qty(), bench.working()) == (CommandStatus.DONE, 10, [])


def second(bench: Bench, choice: KillChoice, command_id: str = "second") -> AnswerCommand:
    """The answer to another kill of the account."""
    bench.command(K.KILL, ON_ACCOUNT, halt_id=command_id, choice=choice, command_id=command_id, by="bob")
    (answer,) = [a for a in bench.all(AnswerCommand) if a.command_id == command_id]
    return answer


def test_it_keeps_a_kill_to_its_scope(bench: Bench) -> None:
    ours, theirs = limit_buy(bench), limit_buy(bench, symbol=ETH, bot=OTHER)
    bench.command(K.KILL, ON_BOT, halt_id="k1")
    assert (bench.canceled(), theirs.is_resting) == ([ours.cl_ord_id], True)
    bench.report(ours, X.CANCELED)
    bench.reconcile()
    assert bench.last(AnswerCommand).status is CommandStatus.DONE


def test_it_is_as_patient_with_a_kill_as_its_cancels_take(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty cancels at two a second are twenty seconds."""
    monkeypatch.setattr(kills, "_CANCELS_PER_S", 2)
    bench.take(SettingsChanged(at=bench.at, settings=config(version=2, entries_in_flight_max=50, adds_max=50)))
    for _ in range(40):
        limit_buy(bench, "0.1")
    bench.command(K.KILL, FIRM, halt_id="k1")
    bench.wait(19.9)
    assert "kill" not in bench.alarms()
    bench.wait(0.2)
    assert "kill" in bench.alarms()


def test_it_kills_a_thousand_orders_and_verifies() -> None:
    bench = Bench(
        config(
            entries_in_flight_max=2000,
            adds_max=2000,
            limits={"gross_exposure_pct": D(10000), "net_exposure_pct": D(10000), "leverage_max": D(1000)},
        )
    )
    orders = [limit_buy(bench, "0.1") for _ in range(300)]
    bench.command(K.KILL, FIRM, halt_id="k1")
    assert len(bench.all(SendCancel)) == 300
    for order in orders:
        bench.report(order, X.CANCELED)
    bench.reconcile()
    assert bench.last(AnswerCommand).status is CommandStatus.DONE


# --- commands ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(K))
def test_it_applies_a_command_once_and_answers_in_a_sentence(bench: Bench, kind: CommandKind) -> None:
    bench.armed("10")
    target = "" if kind is K.FLATTEN else BTC
    changes: dict[str, Any] = {"target": target, "halt_id": "h", "stop_px": D(97), "decision": decision(SignalKind.CLOSE)}
    spec = CommandSpec(command_id="c", kind=kind, scope=ON_BOT, by="alice", asked_at=NOON, **changes)
    bench.take(Commanded(at=bench.at, command=spec))
    (answer,) = bench.all(AnswerCommand)
    assert answer.command_id == "c"
    assert re.fullmatch(r"[A-Za-z].*\.", answer.text)
    digest = bench.desk.digest()
    assert bench.take(Commanded(at=bench.at, command=spec)) == ()
    assert bench.desk.digest() == digest


NEVER_TOO_LATE = {K.PAUSE, K.HALT, K.KILL, K.STOP_FLATTEN, K.CANCEL_ORDER, K.CANCEL_LEG, K.CANCEL_BRACKET}


@pytest.mark.parametrize("kind", list(K))
def test_it_expires_what_came_too_late_but_never_what_protects(bench: Bench, kind: CommandKind) -> None:
    bench.armed("10")
    before = bench.desk.state.orders.copy()
    answer = bench.command(kind, ON_BOT, valid_until=NOON - timedelta(milliseconds=1), halt_id="h")
    assert (answer.status is CommandStatus.EXPIRED) is (kind not in NEVER_TOO_LATE)
    if kind not in NEVER_TOO_LATE:
        assert (bench.desk.state.orders, bench.desk.state.halts, bench.sent()) == (before, {}, [])
        assert "nothing was done" in answer.text


@pytest.mark.parametrize(
    ("kind", "changes", "text"),
    [
        (K.CANCEL_ORDER, {"target": "nothing"}, "There is no order nothing."),
        (K.CANCEL_BRACKET, {"target": "nothing"}, "There is no open bracket nothing."),
        (K.CLOSE, {"target": BTC}, "No position in BTCUSDT is open."),
        (K.CLEAR, {"halt_id": "none"}, "There is no halt at account paper to clear."),
        (K.RESUME, {}, "There is no pause at account paper to end."),
        (K.STOP_FLATTEN, {}, "No flatten runs at account paper."),
        (K.RESET_BREAKER, {"target": BTC}, "BTCUSDT has no breaker yet: it never traded."),
    ],
)
def test_it_refuses_with_a_sentence(bench: Bench, kind: CommandKind, changes: dict[str, Any], text: str) -> None:
    answer = bench.command(kind, **changes)
    assert (answer.status, answer.text) == (CommandStatus.REFUSED, text)


def test_it_answers_a_question_with_what_the_venue_said(bench: Bench) -> None:
    bench.armed("10")
    assert bench.command(K.QUERY).status is CommandStatus.RUNNING
    bench.reconcile()
    assert bench.last(AnswerCommand).text == "The venue agrees: 2 open orders, 1 position."


# --- losses ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("px", "is_latched"), [("71", False), ("70", True), ("69", True)])
def test_it_latches_the_daily_loss_at_its_limit(bench: Bench, px: str, is_latched: bool) -> None:
    bench.armed("100")
    bench.mark(BTC, px)
    assert bool(bench.desk.state.halts) is is_latched
    if is_latched:
        (halt,) = bench.desk.state.halts.values()
        assert (halt.cause, halt.mode, halt.scope) == (HaltCause.DAILY_LOSS, HaltMode.REDUCE_ONLY, ON_ACCOUNT)


def test_it_judges_an_edited_limit_at_once(bench: Bench) -> None:
    bench.armed("100")
    bench.mark(BTC, "90")
    assert not bench.desk.state.halts
    bench.take(SettingsChanged(at=bench.at, settings=config(version=2, limits={"daily_loss_pct": D(1)})))
    assert [halt.cause for halt in bench.desk.state.halts.values()] == [HaltCause.DAILY_LOSS]


def test_it_starts_a_new_baseline_when_a_loss_is_cleared(bench: Bench) -> None:
    bench.armed("100")
    bench.mark(BTC, "60")
    (halt,) = bench.desk.state.halts.values()
    answer = bench.command(K.CLEAR, ON_ACCOUNT, halt_id=halt.halt_id)
    assert "The day's loss counts from 96,000 now." in answer.text
    bench.mark(BTC, "59")
    assert HaltCause.DAILY_LOSS not in {h.cause for h in bench.desk.state.halts.values()}


def test_it_latches_a_drawdown_and_starts_a_new_peak_when_that_is_cleared(bench: Bench) -> None:
    bench.take(SettingsChanged(at=bench.at, settings=config(version=2, limits={"daily_loss_pct": NO_LIMIT})))
    bench.armed("100")
    bench.mark(BTC, "150")
    bench.mark(BTC, "40")
    (halt,) = bench.desk.state.halts.values()
    assert halt.cause is HaltCause.DRAWDOWN
    bench.command(K.CLEAR, ON_ACCOUNT, halt_id=halt.halt_id)
    bench.mark(BTC, "39")
    assert HaltCause.DRAWDOWN not in {h.cause for h in bench.desk.state.halts.values()}


def test_it_cancels_an_unknown_entry_under_a_halt_as_soon_as_it_is_found(bench: Bench) -> None:
    entry = bench.buy("10", ord_type=OrdType.LIMIT, price=D(100))
    bench.take(SendFailed(at=bench.at, cl_ord_id=entry.cl_ord_id, outcome=SendOutcome.UNKNOWN))
    bench.command(K.HALT, ON_BTC, halt_id="h1")
    assert bench.canceled() == []
    bench.ack(entry)
    assert bench.canceled() == [entry.cl_ord_id]


def test_it_begins_a_day_at_midnight(bench: Bench) -> None:
    bench.armed("100")
    bench.mark(BTC, "99")
    assert bench.desk.state.account.day_start_equity == D(100_000)
    bench.wait(12 * 3600)
    assert bench.desk.state.account.day_start_equity == D(99_900)


def test_it_ignores_a_mark_that_is_not_a_price(bench: Bench) -> None:
    bench.armed("10")
    bench.mark(BTC, "99")
    for bad in ("NaN", "0", "-1", "Infinity"):
        bench.mark(BTC, bad)
    assert bench.desk.state.positions[BTC].mark == 99


# --- the law -----------------------------------------------------------------------------------------------------------------

CAUSES = st.tuples(st.sampled_from(SCOPES), st.sampled_from(HaltMode))


@settings(max_examples=60, deadline=None)
@given(st.lists(CAUSES, max_size=3), st.sampled_from([SignalKind.BUY, SignalKind.SELL, SignalKind.CLOSE]), st.booleans())
def test_it_only_ever_restricts_by_a_halt(halts: list[tuple[Scope, HaltMode]], signal: SignalKind, has_position: bool) -> None:
    """Whatever passes under halts passes without them, and more halts never let more pass."""
    passed = []
    for n in range(len(halts) + 1):
        bench = Bench()
        if has_position:
            bench.armed("10")
        for i, (scope, mode) in enumerate(halts[:n]):
            bench.command(K.HALT, scope, mode=mode, halt_id=f"h{i}")
        stops = {"stop_loss": D(98)} if signal is SignalKind.BUY else {"stop_loss": D(102)} if signal is SignalKind.SELL else {}
        passed.append(bench.decide(decision(signal, "1", **stops)).is_approved)
    assert passed == sorted(passed, reverse=True)


def test_it_waits_for_the_venue_before_calling_an_order_canceled(bench: Bench) -> None:
    order = limit_buy(bench)
    bench.command(K.CANCEL_ORDER, target=order.cl_ord_id)
    assert (order.ord_status, order.leaves_qty) == (OrdStatus.PENDING_CANCEL, 10)
    assert bench.command(K.CANCEL_ORDER, target=order.cl_ord_id).text == "The cancel of buy 10 BTCUSDT is already on its way."
    bench.take(Reported(at=bench.at, cl_ord_id=order.cl_ord_id, exec_type=X.CANCELED))
    assert order.ord_status is OrdStatus.CANCELED
