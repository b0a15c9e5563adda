"""Halts: latched restrictions at a scope, and the bots that stand under them.

Each scope latches on its own; trading resumes only when all are clear. Every halt takes away the entries it covers, because a
resting entry would add risk the moment it fills; protective legs are never touched by one. Clearing starts nothing.
"""

from __future__ import annotations

from execution.core.controls import BotState, BotStatus
from execution.core.sending import cancel_entries
from execution.core.symbols import forget_flips
from execution.core.turn import Turn
from risk.core.book import Halt
from risk.core.units import Scope, ScopeKind
from risk.core.verdict import HaltCause, HaltMode

DESK = "the desk"
_WORDS = {HaltMode.REDUCE_ONLY: ("reduce-only", "no new entries"), HaltMode.HALTED: ("halted", "no order of a bot passes")}


def impose(turn: Turn, halt: Halt, *, spared: str = "") -> int:
    """Put a halt in force. Returns how many entries of its scope, but the `spared` one, are being canceled now."""
    put_in_force(turn, halt)
    return cancel_entries(turn, halt.scope, by=halt.by, spared=spared)


def put_in_force(turn: Turn, halt: Halt) -> None:
    """A halt stands from now on, and no brain is asked again for what it wanted before."""
    turn.state.halts[halt.halt_id] = halt
    turn.touch("halt", halt.halt_id, halt)
    forget_flips(turn, halt.scope)


def latch(
    turn: Turn,
    scope: Scope,
    cause: HaltCause,
    reason: str,
    *,
    title: str,
    to_do: str,
    mode: HaltMode = HaltMode.REDUCE_ONLY,
    priority: int = 1,
    spared: str = "",
) -> None:
    """A halt the desk sets by itself, with an alarm that stands as long as it does."""
    halt = Halt(
        halt_id=f"{turn.state.account.account}-{cause.value.lower()}-{turn.state.epoch}-{turn.state.seq + 1}-{len(turn.state.halts)}",
        scope=scope,
        mode=mode,
        cause=cause,
        reason=reason,
        by=DESK,
        at=turn.at,
    )
    impose(turn, halt, spared=spared)
    word, effect = _WORDS[mode]
    turn.alarm(
        f"halt:{halt.halt_id}",
        priority=priority,
        title=title,
        cause=reason,
        consequence=f"The {scope} is {word} until a person clears it: {effect}, working entries are canceled, stops stay.",
        to_do=to_do,
        bot=scope.key if scope.kind is ScopeKind.BOT else "",
        symbol=scope.key if scope.kind is ScopeKind.INSTRUMENT else "",
    )


def clear(turn: Turn, halt: Halt) -> None:
    """Take a halt away. What it stopped stays stopped."""
    del turn.state.halts[halt.halt_id]
    turn.changed.pop(("halt", halt.halt_id), None)
    turn.touch("halt_cleared", halt.halt_id, halt)
    turn.clear_alarm(f"halt:{halt.halt_id}")


def over(turn: Turn, *, bot: str, symbol: str) -> list[Halt]:
    """The halts that cover a bot and symbol."""
    return [halt for halt in turn.state.halts.values() if turn.in_scope(halt.scope, bot=bot, symbol=symbol)]


def over_bot(turn: Turn, code: str) -> list[Halt]:
    """The halts that cover everything a bot does: those of the firm, the account and the bot itself."""
    return [halt for halt in turn.state.halts.values() if turn.in_scope(halt.scope, bot=code, symbol="")]


def bots_in(turn: Turn, scope: Scope) -> list[BotState]:
    """The bots a scope touches; for an instrument those that trade it."""
    return [bot for code, bot in sorted(turn.state.bots.items()) if _is_in(turn, scope, code)]


def _is_in(turn: Turn, scope: Scope, code: str) -> bool:
    if scope.kind is ScopeKind.INSTRUMENT:
        return scope.key in turn.index.symbols.get(code, ())
    return turn.in_scope(scope, bot=code, symbol="")


def pause_what_ran(turn: Turn, scope: Scope, *, by: str, reason: str) -> list[BotState]:
    """After a clear: bots that ran come back paused, each under a halt of its own that Start takes away."""
    paused = [bot for bot in bots_in(turn, scope) if _ran(turn, bot)]
    for bot in paused:
        bot.ran_before_halt = True
        turn.touch_bot(bot)
        if not pauses_of(turn, bot.code):
            halt = Halt(
                halt_id=f"{bot.code}-pause-{turn.state.epoch}{turn.state.seq + 1}",
                scope=Scope(ScopeKind.BOT, bot.code),
                mode=HaltMode.REDUCE_ONLY,
                cause=HaltCause.PAUSE,
                reason=reason,
                by=by,
                at=turn.at,
            )
            impose(turn, halt)
    return paused


def _ran(turn: Turn, bot: BotState) -> bool:
    """Whether only what was cleared kept it from trading: it was neither disabled nor under a halt of its own, which stands."""
    spec = turn.settings.bots.get(bot.code) if turn.settings is not None else None
    is_enabled = spec is None or spec.is_enabled
    return bot.status is not BotStatus.STOPPED and is_enabled and len(_halts_of(turn, bot.code)) == len(pauses_of(turn, bot.code))


def _halts_of(turn: Turn, code: str) -> list[Halt]:
    scope = Scope(ScopeKind.BOT, code)
    return [halt for halt in turn.state.halts.values() if halt.scope == scope]


def pauses_of(turn: Turn, code: str) -> list[Halt]:
    """The pauses of one bot itself."""
    return [halt for halt in _halts_of(turn, code) if halt.cause is HaltCause.PAUSE]
