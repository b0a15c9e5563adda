"""What the Desk watches, because the venue cannot hold it: emulated stops and targets, and trailing stops.

Rules of this file.
1. A watch stands for as long as its leg is wanted. One that fired is gone, and set again when what it asked for is over and failed.
2. A touched stop closes at market, a touched target with a limit at its price. A stop takes the place of a limit exit that rests.
3. A trailing stop is watched whatever the venue can do. Where a resting stop can be changed in place it is moved after the trail, so
   that it survives the Desk; elsewhere the stop that rests stays where the entry put it, behind the trail.
4. A watched stop sees nothing while no price comes: then the position is naked.
5. A stop-limit that rests is watched at its limit: one that the price went through may never fill, and then the position is naked.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import msgspec

from execution.core import conditions
from execution.core.brackets import STOP, TARGET, BracketState, has_stop, has_target
from execution.core.closing import LEG_RETRY_MS, Asked, ask, exit_proposal, retry_timer
from execution.core.messages import PriceAged, Touched, Trailed, Watch
from execution.core.naked import call_naked
from execution.core.trailing import Trail
from execution.core.turn import Turn
from risk.core.units import ZERO, OrdType, Side
from risk.core.verdict import Capability, OrderClass
from risk.core.wording import exact

_STALE: Final = "stale price "
_TRAIL: Final = "trail"
_THROUGH: Final = "through"
_NAMES: Final = (STOP.value, TARGET.value, _TRAIL, _THROUGH)
#: how long a stop-limit may take once the price went through its limit, where nobody set exit_wait_ms
_THROUGH_MS: Final = 2000


def watch(turn: Turn, bracket: BracketState, *, is_open: bool) -> None:
    """Set and drop the watches of a bracket, so that they are what it needs now."""
    needs_more = bracket.trail is not None or bracket.stop_limit_offset is not None
    is_watched = is_open and (bracket.is_stop_emulated or bracket.is_target_emulated or needs_more)
    wanted = _wanted(turn, bracket) if is_watched and not conditions.not_sendable(turn) else {}
    if not (wanted or turn.state.watches):
        return
    for name in _NAMES:
        watch_id = f"{name}:{bracket.bracket_id}"
        found, due = turn.state.watches.get(watch_id), wanted.get(name)
        if due is None:
            if found is not None:
                turn.unwatch(watch_id)
        elif found is None or _is_other(found, due):
            turn.watch(due)


def watches_of(bracket: BracketState) -> tuple[str, ...]:
    """The ids that a bracket's watches have, where they stand."""
    return tuple(f"{name}:{bracket.bracket_id}" for name in _NAMES)


def _is_other(found: Watch, due: Watch) -> bool:
    """Whether the shell must be told; how far it has followed the price by itself is no difference."""
    if found.trail is not None and due.trail is not None:
        due = msgspec.structs.replace(due, price=found.price, trail=msgspec.structs.replace(due.trail, extreme=found.trail.extreme))
    return found != due


def _wanted(turn: Turn, bracket: BracketState) -> dict[str, Watch]:
    """The watches of an open bracket, by name. While an exit works, only a stop that could take its place is watched."""
    is_closing, timers = turn.is_closing(bracket.symbol), turn.state.timers
    found: dict[str, Watch] = {}
    if (not is_closing or _has_limit_exit(turn, bracket.symbol)) and retry_timer(bracket, STOP) not in timers:
        found |= _stops(turn, bracket)
    limit = stop_limit(turn, bracket)
    is_stop_limit = limit is not None and has_stop(bracket) and not (bracket.is_stop_emulated or bracket.is_through)
    if limit is not None and is_stop_limit and _through_timer(bracket) not in timers:
        found[_THROUGH] = _watch(turn, bracket, _THROUGH, limit, is_above=bracket.side is Side.SELL)
    is_target_free = not is_closing and retry_timer(bracket, TARGET) not in timers
    if has_target(bracket) and bracket.is_target_emulated and is_target_free and bracket.target_px is not None:
        found[TARGET.value] = _watch(turn, bracket, TARGET.value, bracket.target_px, is_above=bracket.side is Side.BUY)
    return found


def _stops(turn: Turn, bracket: BracketState) -> dict[str, Watch]:
    """The watches that close a bracket at a loss, or before it becomes one: its emulated stop, and its trail."""
    found: dict[str, Watch] = {}
    is_above = bracket.side is Side.SELL
    if bracket.is_stop_emulated and bracket.stop_px is not None:
        found[STOP.value] = _watch(turn, bracket, STOP.value, bracket.stop_px, is_above=is_above)
    if bracket.trail is not None and not bracket.is_stop_waived:
        price = bracket.trail.trigger_px or bracket.trail.activation_px or ZERO
        found[_TRAIL] = _watch(turn, bracket, _TRAIL, price, is_above=is_above, trail=bracket.trail)
    return found


def _has_limit_exit(turn: Turn, symbol: str) -> bool:
    """Whether every exit under way has a limit, so that a touched stop would take its place."""
    waiting = turn.state.exits.get(symbol)
    kinds = [order.ord_type for order in turn.exits_of(symbol)] + ([waiting.proposal.ord_type] if waiting else [])
    return all(kind is OrdType.LIMIT for kind in kinds)


def _watch(turn: Turn, bracket: BracketState, name: str, price: Decimal, *, is_above: bool, trail: Trail | None = None) -> Watch:
    instrument = turn.instrument(bracket.symbol)
    return Watch(
        watch_id=f"{name}:{bracket.bracket_id}",
        symbol=bracket.symbol,
        price=price,
        is_above=is_above,
        trail=trail,
        tick=instrument.tick_size if instrument is not None else ZERO,
        stale_ms=turn.timing.emulated_stale_ms if bracket.is_stop_emulated else 0,
    )


# --- what they tell ----------------------------------------------------------------------------------------------------------


def touched(turn: Turn, event: Touched) -> None:
    """A watch fired: its leg closes what is open of the bracket."""
    if turn.state.watches.pop(event.watch_id, None) is None:
        return
    turn.is_changed = True
    name, _, bracket_id = event.watch_id.partition(":")
    bracket = turn.state.brackets.get(bracket_id)
    if bracket is None or not bracket.open_qty:
        return
    turn.dirty[bracket_id] = None
    if name == _THROUGH:
        wait_ms = turn.index.effective(bracket.bot, bracket.symbol).values.exit_wait_ms
        turn.wake(_through_timer(bracket), ms=_THROUGH_MS if wait_ms is None else wait_ms)
        return
    leg = TARGET if name == TARGET.value else STOP
    proposal = exit_proposal(
        turn,
        symbol=bracket.symbol,
        bot=bracket.bot,
        side=bracket.side.opposite,
        qty=bracket.open_qty,
        price=_limit(turn, bracket, name),
        order_class=OrderClass.PROTECTION,
    )
    what = "trailing stop" if name == _TRAIL else name
    asked = ask(turn, proposal, bracket_id=bracket_id, by=f"its {name}", why=f"its {what} was touched at {exact(event.price)}")
    if not isinstance(asked, Asked):
        turn.wake(retry_timer(bracket, leg), ms=LEG_RETRY_MS)


def _limit(turn: Turn, bracket: BracketState, name: str) -> Decimal | None:
    """The limit of what a touched leg sends; None sends it to market."""
    if name == TARGET.value:
        return bracket.target_px
    return stop_limit(turn, bracket) if name == STOP.value and not turn.is_closing(bracket.symbol) else None


def stop_limit(turn: Turn, bracket: BracketState) -> Decimal | None:
    """The limit of a stop-limit, on the tick grid: further from its trigger rather than nearer, where it would fill less."""
    if bracket.stop_limit_offset is None or bracket.stop_px is None:
        return None
    side, instrument = bracket.side.opposite, turn.instrument(bracket.symbol)
    price = bracket.stop_px + side.sign * bracket.stop_limit_offset
    return instrument.limit_price(price, side.opposite) if instrument is not None else price


def through_due(turn: Turn, bracket_id: str) -> None:
    """A stop-limit had time to fill after the price went through its limit."""
    bracket = turn.state.brackets.get(bracket_id)
    if (
        bracket is None
        or not turn.lots(bracket.symbol, bracket.open_qty)
        or not has_stop(bracket)
        or turn.is_closing(bracket.symbol)
    ):
        return
    bracket.is_through = True
    turn.dirty[bracket_id] = None
    call_naked(
        turn, bracket, f"the price went through {exact(stop_limit(turn, bracket))}, the limit of its stop-limit, which did not fill"
    )


def _through_timer(bracket: BracketState) -> str:
    return f"through:{bracket.bracket_id}"


def trailed(turn: Turn, event: Trailed) -> None:
    """The price got better: the trail follows, and the stop that rests where it can be changed in place."""
    _, _, bracket_id = event.watch_id.partition(":")
    bracket, found = turn.state.brackets.get(bracket_id), turn.state.watches.get(event.watch_id)
    if bracket is None or bracket.trail is None or found is None or found.trail is None:
        return
    extreme, side = bracket.trail.extreme, bracket.side
    if extreme is not None and (event.extreme - extreme) * side.sign <= 0:
        return
    bracket.trail = msgspec.structs.replace(bracket.trail, extreme=event.extreme)
    level = bracket.trail.level(event.extreme)
    turn.state.watches[event.watch_id] = msgspec.structs.replace(found, price=level, trail=bracket.trail)
    instrument = turn.instrument(bracket.symbol)
    level = instrument.stop_price(level, side.opposite) if instrument is not None else level
    may_move = turn.has(Capability.REPLACE) and turn.index.holds.stop
    if bracket.stop_px is None or (may_move and (level - bracket.stop_px) * side.sign > 0):
        bracket.stop_px = level  # without one before, where the trail begins: a watch dies with the Desk
    turn.touch_bracket(bracket)
    turn.dirty[bracket_id] = None


# --- prices that do not come ---------------------------------------------------------------------------------------------------


def price_aged(turn: Turn, event: PriceAged) -> None:
    """The prices of a symbol stopped, or came again: what is watched on them is naked meanwhile."""
    name = _STALE + event.symbol
    if event.is_stale:
        conditions.begin(turn, name)
    else:
        conditions.finish(turn, name)
    for bracket in turn.index.brackets_of(event.symbol):
        turn.dirty[bracket.bracket_id] = None
        if is_blind(turn, event.symbol) and bracket.open_qty and bracket.is_stop_emulated and has_stop(bracket):
            since = f" since {event.last_at:%H:%M:%S} UTC" if event.last_at is not None else ""
            call_naked(turn, bracket, f"its stop is watched here, and no price came{since}")


def is_blind(turn: Turn, symbol: str) -> bool:
    """Whether no price comes for a symbol whose stop is watched. A closed market has none, and nothing could be done there."""
    return _STALE + symbol in turn.state.account.conditions and turn.is_open(symbol)


def emulate(turn: Turn, bracket: BracketState) -> None:
    """Say of each leg whether the venue holds it."""
    rest = turn.index.holds
    is_stop, is_target = not rest.stop and has_stop(bracket), not rest.target and has_target(bracket)
    if is_stop is not bracket.is_stop_emulated or is_target is not bracket.is_target_emulated:
        bracket.is_stop_emulated, bracket.is_target_emulated = is_stop, is_target
        turn.touch_bracket(bracket)
