"""Commands: what people ask, each answered with what it did.

Rules of this file.
1. A command is applied once by its id, however often it arrives, and answered in a plain sentence.
2. One that waited longer than `valid_until` is EXPIRED and does nothing. Halts, kills and cancels never expire.
3. Clearing starts nothing: bots that ran come back paused, and the answer says how many to start.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from execution.core import kills
from execution.core.account import rebase
from execution.core.brackets import BracketState, Leg, Survey
from execution.core.conditions import not_sendable
from execution.core.controls import BotState, BotStatus, CommandState
from execution.core.decisions import exit_in_flight, exit_proposal
from execution.core.halts import bots_in, clear, impose, over_bot, pause_what_ran, pauses_of
from execution.core.messages import AnswerCommand, Commanded, CommandKind, CommandSpec, CommandStatus, QueryVenue, StopMode
from execution.core.orders import OrderState, OrdStatus, Purpose
from execution.core.sending import book_of, cancel, cancel_entries, query, send
from execution.core.turn import Turn
from risk.core import circuit_breaker
from risk.core.book import Halt
from risk.core.units import OrdType, Scope, ScopeKind
from risk.core.verdict import Denied, HaltCause, HaltMode
from risk.core.wording import number

_APPLIED_MAX: Final = 10_000
_NEVER_EXPIRE: Final = frozenset(
    {
        CommandKind.HALT,
        CommandKind.KILL,
        CommandKind.PAUSE,
        CommandKind.CANCEL_ORDER,
        CommandKind.CANCEL_LEG,
        CommandKind.CANCEL_BRACKET,
        CommandKind.STOP_FLATTEN,
    }
)


class _Refused(Exception):
    """The command cannot be done; the message is the answer."""


def commanded(turn: Turn, event: Commanded) -> None:
    """Apply a command, once."""
    spec, state = event.command, turn.state
    if spec.command_id in state.commands or spec.command_id in state.applied:
        return
    remember(turn, spec.command_id)
    if spec.valid_until is not None and turn.at > spec.valid_until and spec.kind not in _NEVER_EXPIRE:
        late_s = (turn.at - spec.valid_until).total_seconds()
        answer(turn, spec, CommandStatus.EXPIRED, f"Too late by {late_s:.1f} s: nothing was done. Ask again.")
        return
    try:
        text = _HANDLERS[spec.kind](turn, spec)
    except _Refused as e:
        answer(turn, spec, CommandStatus.REFUSED, str(e))
        return
    if text:
        answer(turn, spec, CommandStatus.DONE, text)


def remember(turn: Turn, command_id: str) -> None:
    turn.state.applied.append(command_id)
    del turn.state.applied[:-_APPLIED_MAX]


def answer(turn: Turn, spec: CommandSpec, status: CommandStatus, text: str) -> None:
    turn.emit(AnswerCommand(command_id=spec.command_id, status=status, text=text))


def _canceling(n: int) -> str:
    return f"Canceling {n} working {'entry' if n == 1 else 'entries'}." if n else "No entry was working."


# --- bots ----------------------------------------------------------------------------------------------------------------


def _start(turn: Turn, spec: CommandSpec) -> str:
    bots = [bot for bot in bots_in(turn, spec.scope) if _is_enabled(turn, bot)]
    if not bots:
        raise _Refused(f"There is no enabled bot at {spec.scope}.")
    halted = {bot.code: halt for bot in bots if (halt := _halted(turn, bot)) is not None}
    if len(halted) == len(bots):
        raise _Refused(" ".join(_stays(code, halt) for code, halt in halted.items()))
    return " ".join(_stays(bot.code, halted[bot.code]) if bot.code in halted else _start_bot(turn, bot) for bot in bots)


def _halted(turn: Turn, bot: BotState) -> Halt | None:
    return next((halt for halt in over_bot(turn, bot.code) if halt.mode is HaltMode.HALTED), None)


def _stays(code: str, halt: Halt) -> str:
    return f"{code} stays as it is: halted at {halt.scope} by {halt.by}. Clear that first."


def _is_enabled(turn: Turn, bot: BotState) -> bool:
    found = turn.settings.bots.get(bot.code) if turn.settings is not None else None
    return found is not None and found.is_enabled


def _start_bot(turn: Turn, bot: BotState) -> str:
    for halt in pauses_of(turn, bot.code):
        clear(turn, halt)
    bot.ran_before_halt = False
    bot.stop_mode = ""
    bot.text = ""
    bot.status = BotStatus.RUNNING if bot.is_warm else BotStatus.WARMING
    turn.touch_bot(bot)
    rest = next(iter(over_bot(turn, bot.code)), None)
    if rest is not None:
        return f"{bot.code} is started and still reduce-only at {rest.scope}."
    return f"{bot.code} runs." if bot.is_warm else f"{bot.code} is warming and then runs."


def _stop(turn: Turn, spec: CommandSpec) -> str:
    bots = bots_in(turn, spec.scope)
    if not bots:
        raise _Refused(f"There is no bot at {spec.scope}.")
    return " ".join(_stop_bot(turn, spec, bot) for bot in bots)


def _stop_bot(turn: Turn, spec: CommandSpec, bot: BotState) -> str:
    canceled = cancel_entries(turn, Scope(ScopeKind.BOT, bot.code), by=spec.by)
    bot.ran_before_halt = False
    if spec.stop_mode is StopMode.NOW or bot.status is BotStatus.STOPPED:
        bot.status, bot.stop_mode = BotStatus.STOPPED, ""
        turn.touch_bot(bot)
        return f"{bot.code} is stopped. {_canceling(canceled)} Positions and their stops stay."
    bot.status, bot.stop_mode = BotStatus.STOPPING, spec.stop_mode.value
    turn.touch_bot(bot)
    until = "it is flat" if spec.stop_mode is StopMode.WHEN_FLAT else "its brackets are done"
    return f"{bot.code} takes no new entry and stops when {until}. {_canceling(canceled)}"


def stopping(turn: Turn) -> None:
    """Bots that were asked to stop later, and can now."""
    for bot in [turn.state.bots[code] for code in sorted(turn.index.stopping)]:
        if not _is_busy(turn, bot):
            bot.status, bot.stop_mode = BotStatus.STOPPED, ""
            bot.text = "stopped as asked"
            turn.touch_bot(bot)


def _is_busy(turn: Turn, bot: BotState) -> bool:
    symbols = sorted(turn.index.symbols.get(bot.code, ()))
    if bot.stop_mode == StopMode.AFTER_BRACKET.value:
        return any(bracket.bot == bot.code for symbol in symbols for bracket in turn.index.brackets_of(symbol))
    return any(turn.qty(symbol) or turn.index.orders.get(symbol) for symbol in symbols)


# --- halts -----------------------------------------------------------------------------------------------------------------


def halt_of(turn: Turn, spec: CommandSpec, *, mode: HaltMode, cause: HaltCause) -> Halt:
    return Halt(
        halt_id=spec.halt_id or f"{cause.value.lower()}-{spec.command_id}",
        scope=spec.scope,
        mode=mode,
        cause=cause,
        reason=spec.reason,
        by=spec.by,
        at=spec.asked_at,
    )


def _pause(turn: Turn, spec: CommandSpec) -> str:
    canceled = impose(turn, halt_of(turn, spec, mode=HaltMode.REDUCE_ONLY, cause=HaltCause.PAUSE))
    return f"Paused at {spec.scope}: no new entries. {_canceling(canceled)} Stops stay."


def _halt(turn: Turn, spec: CommandSpec) -> str:
    mode = spec.mode or HaltMode.REDUCE_ONLY
    canceled = impose(turn, halt_of(turn, spec, mode=mode, cause=HaltCause.MANUAL))
    what = "no order of a bot passes" if mode is HaltMode.HALTED else "no new entries"
    return f"{'Halted' if mode is HaltMode.HALTED else 'Reduce-only'} at {spec.scope}: {what}. {_canceling(canceled)} Stops stay."


def _kill(turn: Turn, spec: CommandSpec) -> str:
    """The gates close first; the kill itself cancels, because it takes exits too."""
    halt = halt_of(turn, spec, mode=HaltMode.HALTED, cause=HaltCause.KILL)
    turn.state.halts[halt.halt_id] = halt
    turn.touch("halt", halt.halt_id, halt)
    return kills.kill(turn, spec)


def _flatten(turn: Turn, spec: CommandSpec) -> str:
    return kills.flatten(turn, spec)


def _stop_flatten(turn: Turn, spec: CommandSpec) -> str:
    stopped = kills.stop_flatten(turn, spec)
    if not stopped:
        raise _Refused(f"No flatten runs at {spec.scope}.")
    return "The flatten is stopped. What was already sent may still fill; stops stay."


def _resume(turn: Turn, spec: CommandSpec) -> str:
    found = _named(turn, spec) or [h for h in turn.state.halts.values() if h.cause is HaltCause.PAUSE and h.scope == spec.scope]
    pauses = [halt for halt in found if halt.cause is HaltCause.PAUSE]
    if not pauses:
        raise _Refused(f"There is no pause at {spec.scope} to end.")
    for halt in pauses:
        clear(turn, halt)
    return f"Resumed at {spec.scope}.{_still(turn)}"


def _clear(turn: Turn, spec: CommandSpec) -> str:
    found = _named(turn, spec) or [h for h in turn.state.halts.values() if h.scope == spec.scope and h.at <= spec.asked_at]
    if not found:
        raise _Refused(f"There is no halt at {spec.scope} to clear.")
    baselines = ""
    for halt in found:
        clear(turn, halt)
        baselines += rebase(turn, halt)
    if all(halt.cause is HaltCause.PAUSE for halt in found):
        return f"Cleared at {found[0].scope}.{_still(turn)}"
    paused = pause_what_ran(turn, found[0].scope, by=spec.by, reason="cleared: start it to trade again")
    start = f" Start the {len(paused)} that ran before." if paused else " No bot ran before."
    return f"Cleared at {found[0].scope}.{start}{baselines}{_still(turn)}"


def _named(turn: Turn, spec: CommandSpec) -> list[Halt]:
    halt = turn.state.halts.get(spec.halt_id)
    return [halt] if halt is not None else []


def _still(turn: Turn) -> str:
    """What else keeps bots from trading."""
    rest = [
        halt for halt in turn.state.halts.values() if halt.cause is not HaltCause.PAUSE and halt.scope.kind is not ScopeKind.BOT
    ]
    return f" Still {rest[0].mode.value.replace('_', ' ').lower()} at {rest[0].scope}." if rest else ""


# --- orders and brackets -----------------------------------------------------------------------------------------------------


def _close(turn: Turn, spec: CommandSpec) -> str:
    symbol = spec.target or spec.scope.key
    position = turn.state.positions.get(symbol)
    if position is None or not position.qty:
        raise _Refused(f"No position in {symbol} is open.")
    exits = turn.exits_of(symbol)
    resting = exits[0] if len(exits) == 1 and exits[0].ord_type is OrdType.LIMIT and exits[0].is_resting else None
    if exits and resting is None:
        raise _Refused(exit_in_flight(exits).text)
    qty, side = abs(position.qty), position.closing_side
    proposal = exit_proposal(turn, symbol=symbol, bot=position.bot, side=side, qty=qty, is_automatic=False)
    book = book_of(turn, bot=position.bot, symbol=symbol, not_ready=not_sendable(turn), superseded=resting)
    sent = send(turn, proposal, book, purpose=Purpose.EXIT)
    if isinstance(sent, Denied):
        raise _Refused(sent.text)
    if resting is not None:
        cancel(turn, resting, by=spec.by)
    word = "Selling" if side.sign < 0 else "Buying"
    return f"{word} {number(qty)} {symbol} at market to close. Its stop stays until that has filled."


def _cancel_order(turn: Turn, spec: CommandSpec) -> str:
    order = _order(turn, spec.target)
    if order.bracket_id and order.purpose is not Purpose.ENTRY:
        return _cancel_leg(turn, spec)
    return _cancel_asked(turn, order, spec.by)


def _order(turn: Turn, cl_ord_id: str) -> OrderState:
    order = turn.state.orders.get(cl_ord_id)
    if order is None:
        raise _Refused(f"There is no order {cl_ord_id}.")
    if order.done is not None:
        raise _Refused(f"The order is already {order.done.value.lower()}.")
    return order


def _cancel_asked(turn: Turn, order: OrderState, by: str) -> str:
    what = f"{order.side.value.lower()} {number(order.leaves_qty)} {order.symbol}"
    if order.pending is OrdStatus.PENDING_CANCEL:
        return f"The cancel of {what} is already on its way."
    if not cancel(turn, order, by=by):
        query(turn, order)
        return f"{what} was never answered: the venue is asked, and it is canceled as soon as it is found."
    return f"Canceling {what}; it may still fill until the venue confirms."


def _cancel_leg(turn: Turn, spec: CommandSpec) -> str:
    order = _order(turn, spec.target)
    bracket = turn.state.brackets.get(order.bracket_id)
    if bracket is None or order.purpose is Purpose.ENTRY:
        raise _Refused("That order is not a leg of a bracket.")
    leg = Leg.STOP if order.purpose is Purpose.STOP_LOSS else Leg.TARGET
    _waive(turn, bracket, leg, spec.by)
    return f"Canceling the {leg.value} of {bracket.symbol}. {_what_remains(bracket)}"


def _waive(turn: Turn, bracket: BracketState, leg: Leg, by: str) -> None:
    """A person takes a leg away: it stays away."""
    if leg is Leg.STOP:
        bracket.is_stop_waived = True
        _unprotected(turn, bracket, by)
    else:
        bracket.is_target_waived = True
    for order in Survey(turn.state.orders, bracket.stop_ids if leg is Leg.STOP else bracket.target_ids).legs:
        cancel(turn, order, by=by)
    turn.touch_bracket(bracket)
    turn.dirty[bracket.bracket_id] = None


def _unprotected(turn: Turn, bracket: BracketState, by: str) -> None:
    if not bracket.open_qty:
        return
    turn.alarm(
        f"nostop:{bracket.bracket_id}",
        priority=2,
        title=f"{bracket.symbol} has no stop",
        cause=f"{by} took it away.",
        consequence=f"{number(bracket.open_qty)} {bracket.symbol} is open without protection.",
        to_do="Close the position, or place a stop at the venue.",
        bot=bracket.bot,
        symbol=bracket.symbol,
    )


def _what_remains(bracket: BracketState) -> str:
    left = []
    if bracket.stop_px is not None and not bracket.is_stop_waived:
        left.append(f"the stop {number(bracket.stop_px)}")
    if bracket.target_px is not None and not bracket.is_target_waived and not bracket.is_target_given_up:
        left.append(f"the target {number(bracket.target_px)}")
    qty = number(bracket.open_qty)
    if not left:
        return f"Nothing remains: {qty} is open without protection." if bracket.open_qty else "Nothing remains."
    return f"{' and '.join(left).capitalize()} for {qty} {'remain' if len(left) > 1 else 'remains'}."


def _cancel_bracket(turn: Turn, spec: CommandSpec) -> str:
    bracket = turn.state.brackets.get(spec.target)
    if bracket is None or bracket.bracket_id not in turn.index.brackets.get(bracket.symbol, {}):
        raise _Refused(f"There is no open bracket {spec.target}.")
    entry = turn.state.orders.get(bracket.bracket_id)
    if entry is not None:
        cancel(turn, entry, by=spec.by)
    for leg in Leg:
        _waive(turn, bracket, leg, spec.by)
    return f"Canceling both legs of {bracket.symbol}. {_what_remains(bracket)}"


# --- others ------------------------------------------------------------------------------------------------------------------


def _query(turn: Turn, spec: CommandSpec) -> str:
    """Ask the venue: about an order, a bracket's orders, or everything. The answer comes with its reconciliation."""
    for order in _asked_about(turn, spec.target):
        query(turn, order)
    running = CommandState(spec=spec, status=CommandStatus.RUNNING, applied_at=turn.at, needed_seq=turn.state.seq + 1)
    running.query_id = f"cmd:{spec.command_id}"
    turn.state.commands[spec.command_id] = running
    turn.emit(QueryVenue(query_id=running.query_id))
    answer(turn, spec, CommandStatus.RUNNING, "The venue is asked.")
    return ""


def _asked_about(turn: Turn, target: str) -> list[OrderState]:
    """The orders that a target names: an order, or the entry and the working legs of a bracket. None for the whole account."""
    order, bracket = turn.order(target), turn.state.brackets.get(target)
    if order is None and bracket is None and target not in ("", turn.state.account.account):
        raise _Refused(f"There is no order or bracket {target}.")
    ids = [*bracket.stop_ids, *bracket.target_ids] if bracket is not None else []
    legs = [leg for leg_id in ids if (leg := turn.state.orders.get(leg_id)) is not None and leg.done is None]
    return ([order] if order is not None else []) + legs


def _reset_breaker(turn: Turn, spec: CommandSpec) -> str:
    symbol = spec.target or spec.scope.key
    held = turn.state.symbols.get(symbol)
    if held is None:
        raise _Refused(f"{symbol} has no breaker yet: it never traded.")
    losses = len(held.breaker.losses)
    circuit_breaker.reset(held.breaker)
    turn.touch("symbol", symbol, held)
    return f"The breaker of {symbol} is reset: {losses} {'loss' if losses == 1 else 'losses'} forgotten."


_HANDLERS: Final[Mapping[CommandKind, Callable[[Turn, CommandSpec], str]]] = {
    CommandKind.START: _start,
    CommandKind.PAUSE: _pause,
    CommandKind.RESUME: _resume,
    CommandKind.STOP: _stop,
    CommandKind.HALT: _halt,
    CommandKind.CLEAR: _clear,
    CommandKind.KILL: _kill,
    CommandKind.STOP_FLATTEN: _stop_flatten,
    CommandKind.FLATTEN: _flatten,
    CommandKind.CLOSE: _close,
    CommandKind.CANCEL_ORDER: _cancel_order,
    CommandKind.CANCEL_LEG: _cancel_leg,
    CommandKind.CANCEL_BRACKET: _cancel_bracket,
    CommandKind.QUERY: _query,
    CommandKind.RESET_BREAKER: _reset_breaker,
}
