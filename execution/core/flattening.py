"""Flatten: the positions of a scope, closed one by one, as the middle part of a kill or as a command of its own.

Rules of this file.
1. It begins when every cancel is confirmed. Where an exit could open a position (no reduce-only) the venue's own picture is read
   first, so that what filled unheard is booked; an answer that does not come is not waited for longer than the command's patience.
2. Each symbol has a step. An exit that was refused, denied or given up is asked for again; meanwhile the stop is back, and an alarm.
3. A market that is closed is a choice: its stops stay and it counts as done, or it is closed when the market opens.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec

from execution.core import closing
from execution.core.controls import CommandState
from execution.core.messages import ClosedMarket, KillChoice, QueryVenue, Step, StepState
from execution.core.orders import Purpose
from execution.core.sending import cancel
from execution.core.turn import Turn
from risk.core import hours
from risk.core.units import Scope
from risk.core.verdict import Capability, Denied, Reason
from risk.core.wording import exact, number

_READ: Final = "position_read"
_SYMBOL: Final = "flatten:"


def choices(command: CommandState) -> list[KillChoice]:
    """What the command does beyond blocking: what it was asked, and what the kills that joined it asked more."""
    return [choice for choice in (command.spec.choice, *command.joined) if choice is not KillChoice.CANCEL or not command.joined]


def is_flattening(command: CommandState) -> bool:
    """Whether positions are closed."""
    return KillChoice.CANCEL_FLATTEN in choices(command)


def moved(turn: Turn, command: CommandState) -> bool:
    """Go on with every position in scope. True when nothing is left to close."""
    if not _is_read(turn, command):
        return False
    is_done = True
    for symbol in symbols_in(turn, command.spec.scope):
        step = _step_of(command, symbol)
        if step is None:
            if not turn.closable(symbol):
                continue
            step = _begin(turn, command, symbol)
        is_done = _moved(turn, command, symbol, step) and is_done
    return is_done


def symbols_in(turn: Turn, scope: Scope) -> list[str]:
    """The symbols whose position is in scope."""
    return [s for s, p in sorted(turn.state.positions.items()) if turn.in_scope(scope, bot=p.bot, symbol=s)]


def left_open(turn: Turn, command: CommandState) -> list[str]:
    """The symbols that are to be flat and are not."""
    return [s for s in symbols_in(turn, command.spec.scope) if turn.closable(s) and not is_kept(command, s)]


def is_kept(command: CommandState, symbol: str) -> bool:
    """Whether a position stays because its market is closed."""
    return symbol in command.waiting.get("kept", ())


def outcome(command: CommandState) -> str:
    """What became of the positions, in words; empty where none was to be closed."""
    kept = command.waiting.get("kept", [])
    if not is_flattening(command):
        return ""
    return (
        f", {', '.join(kept)} {'stays' if len(kept) == 1 else 'stay'} because of a closed market"
        if kept
        else ", every position is flat"
    )


def retry(turn: Turn, command: CommandState) -> None:
    """Ask again for what is not flat; what the venue's picture did not tell in time is closed by our own count."""
    read = _find(command, _READ)
    if read is not None and read.state is StepState.RUNNING:
        read.state, read.at, read.text = StepState.TROUBLE, turn.at, "The venue did not tell its positions in time: ours are closed"
    for step in command.steps:
        if step.name.startswith(_SYMBOL) and step.state in (StepState.RUNNING, StepState.TROUBLE):
            _close(turn, command, step.name.removeprefix(_SYMBOL), step)


def opens_due(turn: Turn, command: CommandState) -> None:
    """A market that was closed opens."""
    for step in command.steps:
        if step.name.startswith(_SYMBOL) and step.state is StepState.WAITING:
            _close(turn, command, step.name.removeprefix(_SYMBOL), step)


def opens_at(turn: Turn, command: CommandState) -> datetime | None:
    """When the first market opens that the command waits for, if it waits for nothing else."""
    waiting = {s.name.removeprefix(_SYMBOL) for s in command.steps if s.name.startswith(_SYMBOL) and s.state is StepState.WAITING}
    if set(left_open(turn, command)) - waiting:
        return None
    return min((at for symbol in waiting if (at := _opening(turn, symbol)) is not None), default=None)


def stop(turn: Turn, command: CommandState, *, by: str) -> None:
    """Close nothing more: exits on their way are canceled, those that wait are forgotten."""
    if command.spec.choice is KillChoice.CANCEL_FLATTEN:
        command.spec = msgspec.structs.replace(command.spec, choice=KillChoice.CANCEL)
    command.joined = [choice for choice in command.joined if choice is not KillChoice.CANCEL_FLATTEN]
    for step in command.steps:
        if step.name.startswith(_SYMBOL) and step.state is not StepState.DONE:
            step.state, step.at, step.text = StepState.TROUBLE, turn.at, f"{step.text}: stopped by {by}"
    for order in [o for o in turn.orders_in(command.spec.scope) if o.purpose is Purpose.EXIT]:
        cancel(turn, order, by=by)
    for symbol in symbols_in(turn, command.spec.scope):
        closing.drop_waiting(turn, symbol)


# --- the venue's own picture -----------------------------------------------------------------------------------------------


def _is_read(turn: Turn, command: CommandState) -> bool:
    step = _find(command, _READ)
    if step is not None:
        return step.state is not StepState.RUNNING
    if turn.has(Capability.REDUCE_ONLY) or not left_open(turn, command):
        return True
    step = Step(_READ, "Reading the venue's positions before anything is closed", StepState.RUNNING)
    command.steps.insert(len(command.steps) - 1, step)
    command.needed_seq = turn.state.seq + 1
    turn.emit(QueryVenue(query_id=f"cmd:{command.spec.command_id}:{command.needed_seq}"))
    return False


def read(turn: Turn, command: CommandState, *, asked_seq: int) -> bool:
    """The venue told its picture, and what we lacked is booked. True when the flatten waited for it."""
    step = _find(command, _READ)
    if step is None or step.state is not StepState.RUNNING or asked_seq < command.needed_seq:
        return False
    step.state, step.at, step.text = StepState.DONE, turn.at, "The venue's positions are read"
    return True


# --- one symbol --------------------------------------------------------------------------------------------------------------


def _begin(turn: Turn, command: CommandState, symbol: str) -> Step:
    step = Step(f"{_SYMBOL}{symbol}", f"Close {number(abs(turn.qty(symbol)))} {symbol}", StepState.RUNNING, total=1)
    command.steps.insert(len(command.steps) - 1, step)
    _close(turn, command, symbol, step)
    return step


def _moved(turn: Turn, command: CommandState, symbol: str, step: Step) -> bool:
    """True when the symbol is flat, or is to stay."""
    if is_kept(command, symbol):
        return True
    if not turn.closable(symbol):
        if step.state is not StepState.DONE:
            rest = f" but for {exact(abs(qty))}, less than a lot" if (qty := turn.qty(symbol)) else ""
            step.state, step.done, step.at, step.text = StepState.DONE, 1, turn.at, f"{symbol} is flat{rest}"
        return True
    if step.state is StepState.DONE or (step.state is StepState.RUNNING and not turn.is_closing(symbol)):
        step.state, step.done, step.text = StepState.TROUBLE, 0, f"{number(abs(turn.qty(symbol)))} {symbol} is open again or still"
    return False


def _close(turn: Turn, command: CommandState, symbol: str, step: Step) -> None:
    """Send the market close of one position; it takes the place of limit exits, and waits for another one at market."""
    position = turn.state.positions[symbol]
    if not turn.closable(symbol):
        return
    if not turn.is_open(symbol):
        _close_later(turn, command, symbol, step)
        return
    proposal = closing.exit_proposal(turn, symbol=symbol, bot=position.bot, side=position.closing_side, qty=abs(position.qty))
    asked = closing.ask(turn, proposal, by=command.spec.by, why=f"flattened by {command.spec.by}")
    if isinstance(asked, Denied) and asked.reason is not Reason.EXIT_IN_FLIGHT:
        step.state, step.text = StepState.TROUBLE, f"{symbol} could not be closed: {asked.text}"
    else:
        step.state = StepState.RUNNING


def _close_later(turn: Turn, command: CommandState, symbol: str, step: Step) -> None:
    opening = _opening(turn, symbol)
    when = f"at {opening:%Y-%m-%d %H:%M} UTC" if opening is not None else "at a time that is not known"
    if command.spec.closed_market is ClosedMarket.KEEP_STOPS:
        command.waiting.setdefault("kept", []).append(symbol)
        step.state, step.done, step.at = StepState.DONE, 1, turn.at
        step.text = f"{symbol} stays with its stops: its market is closed and opens {when}"
        return
    step.state, step.text = StepState.WAITING, f"{symbol} is closed when its market opens, {when}"
    if opening is not None:
        timer = f"open:{command.spec.command_id}"
        turn.wake_at(timer, min(opening, turn.state.timers.get(timer, opening)))


def _opening(turn: Turn, symbol: str) -> datetime | None:
    return hours.opens_at(turn.settings.sessions_of(symbol) if turn.settings is not None else (), turn.at)


def _step_of(command: CommandState, symbol: str) -> Step | None:
    return _find(command, f"{_SYMBOL}{symbol}")


def _find(command: CommandState, name: str) -> Step | None:
    return next((step for step in command.steps if step.name == name), None)
