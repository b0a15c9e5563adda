"""Commands: what people ask, each answered with what it did.

Rules of this file.
1. A command is applied once by its id, however often it arrives, and answered in a plain sentence.
2. One that waited longer than `valid_until` is EXPIRED and does nothing. Halts, kills and cancels never expire.
3. Clearing starts nothing: bots that ran come back paused, and the answer says how many to resume.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from execution.core import by_hand, decisions, disagreements, kills
from execution.core.account import rebase
from execution.core.controls import BotState, BotStatus, CommandRefused, CommandState
from execution.core.halts import bots_in, clear, impose, over_bot, pause_what_ran, pauses_of, put_in_force
from execution.core.messages import (
    AnswerCommand,
    Commanded,
    CommandKind,
    CommandSpec,
    CommandStatus,
    Decided,
    QueryVenue,
    SignalKind,
    StopMode,
)
from execution.core.orders import OrderState
from execution.core.sending import cancel_entries, query
from execution.core.symbols import forget_flips
from execution.core.turn import Turn
from risk.core import circuit_breaker
from risk.core.book import Halt
from risk.core.units import Scope, ScopeKind, Side
from risk.core.verdict import HaltCause, HaltMode
from risk.core.wording import exact

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
        text = _submit(turn, event) if spec.kind is CommandKind.SUBMIT_DECISION else _HANDLERS[spec.kind](turn, spec)
    except CommandRefused as e:
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
        raise CommandRefused(f"There is no enabled bot at {spec.scope}.")
    halted = {bot.code: halt for bot in bots if (halt := _halted(turn, bot)) is not None}
    if len(halted) == len(bots):
        raise CommandRefused(" ".join(_stays(code, halt) for code, halt in halted.items()))
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
        raise CommandRefused(f"There is no bot at {spec.scope}.")
    return " ".join(_stop_bot(turn, spec, bot) for bot in bots)


def _stop_bot(turn: Turn, spec: CommandSpec, bot: BotState) -> str:
    scope = Scope(ScopeKind.BOT, bot.code)
    canceled = cancel_entries(turn, scope, by=spec.by)
    forget_flips(turn, scope)
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
    return any(turn.closable(symbol) or turn.index.orders.get(symbol) for symbol in symbols)


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
    put_in_force(turn, halt)
    return kills.kill(turn, spec)


def _flatten(turn: Turn, spec: CommandSpec) -> str:
    return _flatten_disagreed(turn, spec) if spec.target else kills.flatten(turn, spec)


def _flatten_disagreed(turn: Turn, spec: CommandSpec) -> str:
    """Settle a disagreement about one symbol by having nothing of it: what the venue holds becomes ours and is closed."""
    booked = disagreements.adopted(turn, spec)
    if not turn.closable(spec.target):
        return booked
    try:
        return f"{booked} {by_hand.close(turn, spec)}"
    except CommandRefused as e:
        return f"{booked} It is not closed: {e}"


def _stop_flatten(turn: Turn, spec: CommandSpec) -> str:
    stopped = kills.stop_flatten(turn, spec)
    if not stopped:
        raise CommandRefused(f"No flatten runs at {spec.scope}.")
    return "The flatten is stopped. What was already sent may still fill; stops stay."


def _resume(turn: Turn, spec: CommandSpec) -> str:
    found = _named(turn, spec) or [h for h in turn.state.halts.values() if h.cause is HaltCause.PAUSE and h.scope == spec.scope]
    pauses = [halt for halt in found if halt.cause is HaltCause.PAUSE]
    if not pauses:
        raise CommandRefused(f"There is no pause at {spec.scope} to end.")
    for halt in pauses:
        clear(turn, halt)
    return f"Resumed at {spec.scope}.{_still(turn)}"


def _clear(turn: Turn, spec: CommandSpec) -> str:
    found = _named(turn, spec) or [h for h in turn.state.halts.values() if h.scope == spec.scope and h.at <= spec.asked_at]
    if not found:
        raise CommandRefused(f"There is no halt at {spec.scope} to clear.")
    baselines = ""
    for halt in found:
        clear(turn, halt)
        baselines += rebase(turn, halt, keeps_baseline=spec.keeps_baseline)
    if all(halt.cause is HaltCause.PAUSE for halt in found):
        return f"Cleared at {found[0].scope}.{_still(turn)}"
    paused = pause_what_ran(turn, found[0].scope, by=spec.by, reason="cleared: resume it to trade again")
    start = f" Resume the {len(paused)} that ran before." if paused else " No bot ran before."
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
        raise CommandRefused(f"There is no order or bracket {target}.")
    ids = [*bracket.stop_ids, *bracket.target_ids] if bracket is not None else []
    legs = [leg for leg_id in ids if (leg := turn.state.orders.get(leg_id)) is not None and leg.done is None]
    return ([order] if order is not None else []) + legs


def _submit(turn: Turn, event: Commanded) -> str:
    """Take a decision from a person or a program, as if the bot that owns the symbol had made it. A denied one is recorded too."""
    spec = event.command
    decision, symbol = spec.decision, spec.target
    if decision is None or decision.signal is SignalKind.HOLD:
        raise CommandRefused("A decision to hold asks for nothing.")
    made = Decided(
        at=turn.at,
        bot=spec.scope.key if spec.scope.kind is ScopeKind.BOT else turn.index.owner(symbol),
        symbol=symbol,
        decision=decision,
        quote=event.quote,
        decision_id=f"cmd:{spec.command_id}",
        market_at=event.quote.at if event.quote is not None else spec.asked_at,
    )
    denied = decisions.decide(turn, made, is_automatic=not spec.is_by_hand)
    if denied is not None:
        turn.touch("signal", made.decision_id, decisions.denial_record(turn, made, denied))
        raise CommandRefused(denied.text)
    record = turn.changed["signal", made.decision_id]
    price = "at market" if decision.price is None else f"at {exact(decision.price)}"
    wait = "" if record.cl_ord_id else " as soon as the venue has taken its stop away"
    parent = turn.state.parents.get(made.decision_id)
    spread = f" in {len(parent.slices)} slices" if parent is not None else ""
    return f"{'Buying' if record.side is Side.BUY else 'Selling'} {exact(record.order_qty)} {symbol} {price}{spread}{wait}, for {made.bot}."


def _reset_breaker(turn: Turn, spec: CommandSpec) -> str:
    symbol = spec.target or spec.scope.key
    held = turn.state.symbols.get(symbol)
    if held is None:
        raise CommandRefused(f"{symbol} has no breaker yet: it never traded.")
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
    CommandKind.CLOSE: by_hand.close,
    CommandKind.CANCEL_ORDER: by_hand.cancel_order,
    CommandKind.CANCEL_LEG: by_hand.cancel_leg,
    CommandKind.CANCEL_BRACKET: by_hand.cancel_bracket,
    CommandKind.MOVE_LEG: by_hand.move_leg,
    CommandKind.ARM: by_hand.arm,
    CommandKind.QUERY: _query,
    CommandKind.RESET_BREAKER: _reset_breaker,
    CommandKind.ADOPT: disagreements.adopted,
    CommandKind.IGNORE: disagreements.ignored,
}
