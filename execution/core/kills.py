"""Kill and flatten: the long commands, finished when the venue says so.

Rules of this file.
1. Steps: gates closed → unsent dropped → cancels sent → confirmed → (flatten per symbol) → verified. Each is timed, and the answer
   goes out each time one moves.
2. `cancel` takes every order that does not protect; `cancel_all` takes protection too, and says so; `cancel+flatten` then closes.
3. Verified means: a question begun after the last confirmation was answered, and the answer shows no order in scope but protective
   legs that stay, and, for a flatten, no position. Nothing of ours in scope is unsent, pending or UNKNOWN. Where the venue's answers
   lag, two such answers, asked for far enough apart.
4. Not verified in time is an alarm with what is left, and everything is asked again until it is gone.
5. A second kill of the same scope joins the first; a stronger choice escalates it; a weaker one is told so. To close everything and to
   strip protection is neither weaker than the other: who asks for both gets both.
6. What fills during a kill is listed and protected like any fill.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Final

import msgspec

from execution.core import closing, flattening
from execution.core.by_hand import waive_stop
from execution.core.controls import BotStatus, CommandState
from execution.core.halts import bots_in
from execution.core.messages import (
    AnswerCommand,
    CommandKind,
    CommandSpec,
    CommandStatus,
    DropUnsent,
    KillChoice,
    QueryVenue,
    Reconciled,
    SendMassCancel,
    Step,
    StepState,
)
from execution.core.orders import OrderState, Purpose
from execution.core.sending import RECONCILE, cancel, cancel_request, cancel_timer, end_schedules, query
from execution.core.turn import Turn
from risk.core.units import Scope, ScopeKind
from risk.core.verdict import Capability, OrderClass
from risk.core.wording import number

_CANCELS: Final = "cancels"
_CONFIRMED: Final = "Cancels confirmed by the venue"
#: cancels the venue takes in a second, for the patience with a large kill
_CANCELS_PER_S: Final = 200
_RETRY_MS: Final = 1000


# --- how they begin --------------------------------------------------------------------------------------------------------


def kill(turn: Turn, spec: CommandSpec) -> str:
    """Begin a kill, or join the one that runs. The halt is already in force. Returns the answer of one that joined."""
    running = _running_kill(turn, spec.scope)
    if running is not None:
        return _join(turn, running, spec)
    for bot in bots_in(turn, spec.scope):
        if bot.status is not BotStatus.STOPPED:
            bot.ran_before_halt = True
            turn.touch_bot(bot)
    command = _begin(turn, spec)
    command.steps.insert(0, Step("gates_closed", f"Gates closed at {spec.scope}", StepState.DONE, at=turn.at))
    _take_away(turn, command)
    return ""


def flatten(turn: Turn, spec: CommandSpec) -> str:
    """Begin to flatten: entries away, then each position closed, then verified. It halts nothing."""
    flat = msgspec.structs.replace(spec, choice=KillChoice.CANCEL_FLATTEN)
    _take_away(turn, _begin(turn, flat))
    return ""


def stop_flatten(turn: Turn, spec: CommandSpec) -> bool:
    """Stop closing positions. True when a flatten ran in the scope.

    A kill goes on without it. A flatten is over: it halts nothing, so bots trade on, and it may not take their orders for what is left.
    """
    found = [c for c in _running(turn) if flattening.is_flattening(c) and _is_within(turn, c.spec.scope, spec)]
    for command in found:
        flattening.stop(turn, command, by=spec.by)
        if command.spec.kind is CommandKind.FLATTEN:
            step = _step(command, "verified")
            step.state, step.at, step.text = StepState.TROUBLE, turn.at, f"Not verified: stopped by {spec.by}"
            text = f"Stopped by {spec.by}: nothing more is closed; what was already sent may still fill."
            _end(turn, command, CommandStatus.REFUSED, text)
        else:
            progress(turn, command)
            _answer(turn, command)
    return bool(found)


def _is_within(turn: Turn, scope: Scope, spec: CommandSpec) -> bool:
    return spec.target in ("", scope.key) and (scope == spec.scope or spec.scope.kind in (ScopeKind.FIRM, ScopeKind.ACCOUNT))


def _running(turn: Turn) -> list[CommandState]:
    return [c for c in turn.state.commands.values() if c.spec.kind in (CommandKind.KILL, CommandKind.FLATTEN)]


def _running_kill(turn: Turn, scope: Scope) -> CommandState | None:
    return next((c for c in _running(turn) if c.spec.kind is CommandKind.KILL and c.spec.scope == scope), None)


def _join(turn: Turn, running: CommandState, spec: CommandSpec) -> str:
    first = f"the kill of {running.applied_at:%H:%M:%S} UTC by {running.spec.by}"
    ours, theirs = flattening.choices(running), spec.choice
    if theirs in ours:
        return f"Joined {first}, which runs."
    if theirs is KillChoice.CANCEL:
        return f"Already stronger: {first} ({_named(ours)}) runs."
    is_closing = flattening.is_flattening(running)
    running.joined.append(theirs)
    _take_away(turn, running, spares_exits=is_closing)
    return f"Escalated {first} to {_named(flattening.choices(running))}."


def _named(choices: Iterable[KillChoice]) -> str:
    return " and ".join(choice.value for choice in choices)


def _begin(turn: Turn, spec: CommandSpec) -> CommandState:
    word = "Kill" if spec.kind is CommandKind.KILL else "Flatten"
    command = CommandState(spec=spec, status=CommandStatus.RUNNING, applied_at=turn.at)
    command.text = f"{word} at {spec.scope} runs: {spec.choice.value}."
    command.steps = [
        Step("unsent_dropped", "Unsent entries dropped"),
        Step("cancels_sent", "Cancels sent"),
        Step("cancels_confirmed", _CONFIRMED),
        Step("filled_before_cancel", "Filled before the cancel"),
        Step("verified", "Verified at the venue"),
    ]
    command.waiting = {_CANCELS: []}
    turn.state.commands[spec.command_id] = command
    return command


def _take_away(turn: Turn, command: CommandState, *, spares_exits: bool = False) -> None:
    """Send every cancel of the kill at once. One that closes positions already goes on closing them."""
    spec, strips = command.spec, _strips(command)
    end_schedules(turn, spec.scope, by=spec.by)
    turn.emit(DropUnsent(scope=spec.scope))
    _step(command, "unsent_dropped").state = StepState.DONE
    _step(command, "unsent_dropped").at = turn.at
    if strips:
        _strip(turn, spec)
    targets = [order for order in turn.orders_in(spec.scope) if _is_target(order, strips=strips)]
    _cancel(turn, command, [order for order in targets if not (spares_exits and order.purpose is Purpose.EXIT)])
    if strips:
        _cancel_all(turn, spec, spares_exits=spares_exits)
    for symbol, exit_state in list(turn.state.exits.items()) if not spares_exits else ():
        bot, is_protective = exit_state.proposal.bot, exit_state.proposal.order_class is OrderClass.PROTECTION
        if (strips or not is_protective) and turn.in_scope(spec.scope, bot=bot, symbol=symbol):
            closing.drop_waiting(turn, symbol)
    sent, confirmed = _step(command, "cancels_sent"), _step(command, "cancels_confirmed")
    sent.state, sent.at = StepState.DONE, turn.at
    confirmed.state = StepState.RUNNING if command.waiting[_CANCELS] else confirmed.state
    turn.wake(f"verify:{spec.command_id}", ms=_patience_ms(turn, command))
    progress(turn, command)
    _answer(turn, command)


def _cancel(turn: Turn, command: CommandState, orders: Iterable[OrderState]) -> None:
    """Cancel what is not being waited for yet."""
    waiting = command.waiting[_CANCELS]
    known = set(waiting)
    for order in orders:
        if order.cl_ord_id not in known:
            waiting.append(order.cl_ord_id)
            if not cancel(turn, order, by=command.spec.by) and order.is_unknown:
                query(turn, order)
    sent, confirmed = _step(command, "cancels_sent"), _step(command, "cancels_confirmed")
    sent.total = sent.done = confirmed.total = confirmed.done + len(waiting)


def _cancel_all(turn: Turn, spec: CommandSpec, *, spares_exits: bool) -> None:
    """Where everything goes, one request takes it all, orders that are not ours included: they would be left over."""
    whole = {ScopeKind.FIRM: "", ScopeKind.ACCOUNT: "", ScopeKind.INSTRUMENT: spec.scope.key}.get(spec.scope.kind)
    if whole is not None and not spares_exits and turn.has(Capability.MASS_CANCEL):
        turn.emit(SendMassCancel(symbol=whole))


def _strips(command: CommandState) -> bool:
    return KillChoice.CANCEL_ALL in flattening.choices(command)


def _is_target(order: OrderState, *, strips: bool) -> bool:
    return strips or not order.is_protective


def _strip(turn: Turn, spec: CommandSpec) -> None:
    """Protection is taken away by choice, so nothing sends it again; a person is told what is open without it."""
    for symbol in sorted(turn.index.brackets):
        for bracket in turn.index.brackets_of(symbol):
            if turn.in_scope(spec.scope, bot=bracket.bot, symbol=symbol):
                bracket.is_target_waived = True
                waive_stop(turn, bracket, f"{spec.by} killed with the choice to remove protection.")


def _patience_ms(turn: Turn, command: CommandState) -> int:
    is_late = turn.settings is not None and turn.settings.is_eventually_consistent
    settle_ms = 2 * turn.timing.unknown_settle_ms if is_late else 0
    return settle_ms + max(turn.timing.kill_verify_ms, len(command.waiting[_CANCELS]) * 1000 // _CANCELS_PER_S)


# --- how they move ---------------------------------------------------------------------------------------------------------


def orders_moved(turn: Turn) -> None:
    """After an event: every running kill looks at the orders it changed."""
    for command in _running(turn):
        moved = [order for (kind, _), order in turn.changed.items() if kind == "order"]
        fills = [fill for (kind, _), fill in turn.changed.items() if kind == "fill" and fill.at == turn.at and not fill.busted_at]
        is_news = _note(turn, command, moved) | _note_fills(turn, command, fills)
        if is_news or (flattening.is_flattening(command) and _ends_exit(moved)):
            progress(turn, command)
            _answer(turn, command)


def _ends_exit(moved: Iterable[OrderState]) -> bool:
    return any(order.done is not None and order.purpose is not Purpose.ENTRY for order in moved)


def _note(turn: Turn, command: CommandState, moved: Iterable[OrderState]) -> bool:
    """Count what is confirmed. True when something counted."""
    waiting = command.waiting[_CANCELS]
    is_news = False
    for order in moved:
        if order.cl_ord_id not in waiting:
            continue
        if order.done is None:
            is_news |= _note_refusal(turn, command, order)
        else:
            waiting.remove(order.cl_ord_id)
            if command.refusals.pop(order.cl_ord_id, None):
                _tell_refusals(command)
            _step(command, "cancels_confirmed").done += 1
            if order.ord_rej_reason == "NOT_SENT":
                _step(command, "unsent_dropped").done += 1
            is_news = True
    return is_news


def _note_refusal(turn: Turn, command: CommandState, order: OrderState) -> bool:
    """The venue will not cancel yet, and says why: "not cancelable until 16:00". It is asked again, after growing pauses."""
    said = f"{order.symbol}: {order.text or 'the venue does not say why'}"
    if cancel_timer(order) not in turn.state.timers or command.refusals.get(order.cl_ord_id) == said:
        return False
    command.refusals[order.cl_ord_id] = said
    _tell_refusals(command)
    return True


def _tell_refusals(command: CommandState) -> None:
    confirmed, said = _step(command, "cancels_confirmed"), sorted(set(command.refusals.values()))
    confirmed.text = f"Cancels refused, and asked for again: {'; '.join(said[:3])}" if said else _CONFIRMED
    confirmed.state = StepState.TROUBLE if said else StepState.RUNNING


def _note_fills(turn: Turn, command: CommandState, fills: Iterable[object]) -> bool:
    """List the fills of entries that the cancel came too late for."""
    is_news = False
    for fill in fills:
        order = turn.state.orders[fill.cl_ord_id]  # type: ignore[attr-defined]
        if order.purpose is not Purpose.ENTRY or not turn.in_scope(command.spec.scope, bot=order.bot, symbol=order.symbol):
            continue
        command.fills.append(f"{order.side.value.lower()} {number(fill.last_qty)} {order.symbol}")  # type: ignore[attr-defined]
        step = _step(command, "filled_before_cancel")
        step.done = step.total = len(command.fills)
        step.text = f"Filled before the cancel, protected: {', '.join(command.fills[-5:])}"
        step.at = turn.at
        is_news = True
    return is_news


def progress(turn: Turn, command: CommandState) -> None:
    """Go as far as the facts allow."""
    if command.waiting[_CANCELS]:
        return
    confirmed = _step(command, "cancels_confirmed")
    if confirmed.state is not StepState.DONE:
        confirmed.state, confirmed.at = StepState.DONE, turn.at
        filled = _step(command, "filled_before_cancel")
        filled.state, filled.at = StepState.DONE, turn.at
        if not command.fills:
            filled.text = "Nothing filled before the cancel"
    if flattening.is_flattening(command) and (not flattening.moved(turn, command) or _idle_legs(turn, command)):
        return
    verified = _step(command, "verified")
    if verified.state is StepState.WAITING:
        verified.state = StepState.RUNNING
        _ask(turn, command)


def _idle_legs(turn: Turn, command: CommandState) -> list[OrderState]:
    """Protective orders of what is flat by now: they are being canceled, and until they are gone they are no "legs that stay"."""
    return [order for order in turn.orders_in(command.spec.scope) if order.is_protective and not turn.qty(order.symbol)]


def _ask(turn: Turn, command: CommandState) -> None:
    """Ask the venue; only an answer to a question begun after this event counts."""
    command.needed_seq = turn.state.seq + 1
    command.query_id = f"cmd:{command.spec.command_id}:{command.needed_seq}"
    turn.emit(QueryVenue(query_id=command.query_id))


# --- how they end ----------------------------------------------------------------------------------------------------------


def reconciled(turn: Turn, event: Reconciled) -> None:
    """The venue answered: a flatten that waits to begin begins; a kill that waits for it ends, or says what is left."""
    for command in _running(turn):
        if flattening.read(turn, command, asked_seq=event.asked_seq):
            progress(turn, command)
            _answer(turn, command)
    for command in [c for c in _running(turn) if _step(c, "verified").state is not StepState.WAITING]:
        if event.asked_seq >= command.needed_seq:
            residue = _residue(turn, command, event)
            if residue:
                command.clean_at = None
                _trouble(turn, command, residue)
            elif _is_settled(turn, command, event):
                _verified(turn, command, event)


def _is_settled(turn: Turn, command: CommandState, event: Reconciled) -> bool:
    """An answer that may lag proves nothing alone: two, far enough apart, and the second is asked for."""
    if turn.settings is None or not turn.settings.is_eventually_consistent:
        return True
    settle = timedelta(milliseconds=turn.timing.unknown_settle_ms)
    if command.clean_at is None:
        command.clean_at = event.asked_at
        _step(command, "verified").text = "The venue shows nothing; its answers lag, so it is asked once more"
        _answer(turn, command)
    if event.asked_at - command.clean_at >= settle:
        return True
    due_at = command.clean_at + settle
    if turn.state.timers.get(RECONCILE, due_at) >= due_at:
        turn.wake_at(RECONCILE, due_at)
    return False


def _residue(turn: Turn, command: CommandState, event: Reconciled) -> list[str]:
    """What keeps the kill from being verified, in words."""
    spec, strips, left = command.spec, _strips(command), []
    for shown in event.orders:
        order = turn.order(shown.cl_ord_id)
        bot = order.bot if order is not None else ""
        is_target = order is None or _is_target(order, strips=strips)
        if is_target and turn.in_scope(spec.scope, bot=bot, symbol=shown.symbol):
            left.append(f"{shown.side.value.lower()} {number(shown.order_qty - shown.cum_qty)} {shown.symbol} works at the venue")
    for order in turn.orders_in(spec.scope):
        if _is_target(order, strips=strips):
            left.append(f"an order of {order.symbol} is {order.ord_status.value.replace('_', ' ').lower()}")
    if flattening.is_flattening(command):
        left.extend(_still_open(turn, command, event))
    return sorted(set(left))


def _still_open(turn: Turn, command: CommandState, event: Reconciled) -> list[str]:
    scope = command.spec.scope
    theirs = (s for s in event.positions if turn.in_scope(scope, bot=_holder(turn, s), symbol=s))
    symbols = {s for s in (*flattening.symbols_in(turn, scope), *theirs) if not flattening.is_kept(command, s)}
    found = [
        f"{number(abs(q))} {s} is open at the venue"
        for s in sorted(symbols)
        if (q := event.positions.get(s)) and turn.lots(s, abs(q))
    ]
    return found + [f"{number(abs(q))} {s} is open" for s in sorted(symbols) if (q := turn.closable(s))]


def _holder(turn: Turn, symbol: str) -> str:
    """Whose a position is: a bot's own scope does not reach what EXTERNAL holds in its symbol."""
    position = turn.state.positions.get(symbol)
    return position.bot if position is not None and position.qty else turn.index.owner(symbol)


def _verified(turn: Turn, command: CommandState, event: Reconciled) -> None:
    spec = command.spec
    kept = sum(1 for order in turn.orders_in(spec.scope) if order.is_protective)
    step = _step(command, "verified")
    step.state, step.at, step.done = StepState.DONE, turn.at, 1
    stays = f"{kept} protective {'leg stays' if kept == 1 else 'legs stay'}" if kept else "no order is left"
    flat = flattening.outcome(command)
    step.text = f"Verified at the venue: {stays}{flat}"
    took = (turn.at - command.applied_at).total_seconds() if command.applied_at is not None else 0
    _end(turn, command, CommandStatus.DONE, f"Verified by the venue after {took:.1f} s: {stays}{flat}.")


def _end(turn: Turn, command: CommandState, status: CommandStatus, text: str) -> None:
    """The last answer. Only what the venue proved is DONE."""
    command_id = command.spec.command_id
    command.status, command.finished_at, command.text = status, turn.at, text
    turn.clear_alarm(f"kill:{command_id}")
    turn.sleep(f"verify:{command_id}")
    turn.sleep(f"open:{command_id}")
    _answer(turn, command)
    del turn.state.commands[command_id]


def _trouble(turn: Turn, command: CommandState, residue: list[str]) -> None:
    step = _step(command, "verified")
    step.state, step.text = StepState.TROUBLE, f"Not verified yet: {'; '.join(residue[:5])}"
    if f"verify:{command.spec.command_id}" not in turn.state.timers:
        turn.wake(f"verify:{command.spec.command_id}", ms=_RETRY_MS)
    _answer(turn, command)


def verify_due(turn: Turn, command_id: str) -> None:
    """Patience is over, or it is time to try again: say what is left, and ask for all of it once more."""
    command = turn.state.commands.get(command_id)
    if command is None:
        return
    spec = command.spec
    # a flatten halts nothing, so a bot may have entered again
    end_schedules(turn, spec.scope, by=spec.by)
    _cancel(turn, command, [order for order in turn.orders_in(spec.scope) if order.purpose is Purpose.ENTRY])
    left = [turn.state.orders[cl_ord_id] for cl_ord_id in command.waiting[_CANCELS] if cl_ord_id in turn.state.orders]
    opening = flattening.opens_at(turn, command)
    if opening is not None and not left and turn.at < opening:
        turn.wake_at(f"verify:{command_id}", opening + timedelta(milliseconds=_patience_ms(turn, command)))
        return
    open_symbols = flattening.left_open(turn, command) if flattening.is_flattening(command) else []
    what = (
        [f"{len(left)} {'cancel' if len(left) == 1 else 'cancels'} not confirmed", *sorted(set(command.refusals.values()))[:3]]
        if left
        else [f"{s} is not flat" for s in open_symbols] or ["the venue has not answered"]
    )
    turn.alarm(
        f"kill:{command_id}",
        priority=1,
        title=f"The {spec.kind.value.lower()} at {spec.scope} is not verified",
        cause=f"{', '.join(what)}.",
        consequence="It is asked again every second until it is gone.",
        to_do="Look at the venue's own page, and cancel or close there what is left.",
    )
    for order in left:
        query(turn, order)
        if cancel_timer(order) in turn.state.timers:
            continue  # refused a moment ago: it is asked again in its own time
        if not cancel(turn, order, by=spec.by) and not order.is_unknown and order.done is None:
            turn.emit(cancel_request(order))
    if flattening.is_flattening(command) and not left:
        flattening.retry(turn, command)
    if _step(command, "verified").state is not StepState.WAITING:
        _ask(turn, command)
    turn.wake(f"verify:{command_id}", ms=_RETRY_MS)
    progress(turn, command)
    _answer(turn, command)


def opens_due(turn: Turn, command_id: str) -> None:
    """A market opens that a flatten waits for."""
    command = turn.state.commands.get(command_id)
    if command is not None:
        flattening.opens_due(turn, command)
        progress(turn, command)
        _answer(turn, command)


def _step(command: CommandState, name: str) -> Step:
    return next(step for step in command.steps if step.name == name)


def _answer(turn: Turn, command: CommandState) -> None:
    """The command's state, once per event: a later answer in the same event takes the place of an earlier one."""
    steps = tuple(msgspec.structs.replace(step) for step in command.steps)
    answer = AnswerCommand(command_id=command.spec.command_id, status=command.status, text=command.text, steps=steps)
    turn.effects[:] = [e for e in turn.effects if not (isinstance(e, AnswerCommand) and e.command_id == answer.command_id)]
    turn.emit(answer)
