"""Closing: how an exit reaches the venue, and what makes room for it.

Rules of this file.
1. No sequence of fills of what is on its way may take a position through zero. A venue with reduce-only sees to that itself: there an
   exit goes at once, and the legs go when it has filled. Elsewhere everything that closes shares the position (`room()`): an exit
   waits until legs were taken away and the venue has said so, what they filled meanwhile deducted.
2. An exit that waits, or works, for longer than `exit_wait_ms` while protection waits for its room is given up: what remains open is
   protected again, and an alarm says so.
3. One exit in flight a symbol; one above the order quantity limit goes in parts. A market exit takes the place of resting limit
   exits. An UNKNOWN exit counts as working; only where the venue knows reduce-only may another be sent beside it.
4. What may not stay open (naked, overshot, timed out) is asked for again every second, for as long as it takes.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Final

import msgspec

from execution.core.brackets import STOP, TARGET, BracketState, ExitState, has_stop
from execution.core.conditions import not_sendable
from execution.core.messages import Leg
from execution.core.orders import EXITS, LEGS, PENDING_CANCEL, STOP_LOSS, OrderState, Purpose
from execution.core.sending import book_of, cancel, send
from execution.core.turn import Turn
from risk.core.gates import judge
from risk.core.units import ZERO, OrdType, Side, multiple_below
from risk.core.verdict import Capability, Check, Denied, OrderClass, Proposal, Reason
from risk.core.wording import exact, number

#: a refused leg, or what asked for a refused exit, waits so long
LEG_RETRY_MS: Final = 250
#: who asks, where the desk itself does
DESK: Final = "bracket"
#: a position that must not stay open is closed again this often, for as long as it takes
CLOSE_RETRY_MS: Final = 1000
#: what holds where nobody set it: a position outlives the settings it was opened under
_EXIT_WAIT_MS: Final = 2000
#: and this often while its market is closed
_CLOSED_RETRY_MS: Final = 60_000
#: UNKNOWN exits of a symbol beside which no other is sent, of those younger than `unknown_settle_ms`: what may not stay open is
#: asked for again also where the venue can never say what became of the ones before
_UNKNOWN_MAX: Final = 2
#: orders that one exit may be cut into
_PARTS_MAX: Final = 100


class Asked(msgspec.Struct, frozen=True):
    """An exit on its way: its orders (none while it waits for room), how much of it, and the checks it passed."""

    orders: tuple[OrderState, ...]
    qty: Decimal
    checks: tuple[Check, ...]


def exit_proposal(
    turn: Turn,
    *,
    symbol: str,
    bot: str,
    side: Side,
    qty: Decimal,
    price: Decimal | None = None,
    order_class: OrderClass = OrderClass.EXIT,
    is_automatic: bool = False,
    decision_id: str = "",
) -> Proposal:
    """An order that only closes. Without a price it goes to market."""
    return Proposal(
        order_class=order_class,
        account=turn.state.account.account,
        bot=bot,
        symbol=symbol,
        side=side,
        ord_type=OrdType.MARKET if price is None else OrdType.LIMIT,
        order_qty=qty,
        price=price,
        reduce_only=turn.has(Capability.REDUCE_ONLY),
        decision_id=decision_id,
        is_automatic=is_automatic,
    )


# --- asking --------------------------------------------------------------------------------------------------------------


def ask(
    turn: Turn, proposal: Proposal, *, purpose: Purpose = Purpose.EXIT, bracket_id: str = "", by: str, why: str = ""
) -> Asked | Denied:
    """Send an exit, or have it wait for room. A denial changes nothing; it is EXIT_IN_FLIGHT while another one works."""
    symbol, qty = proposal.symbol, proposal.order_qty or ZERO
    superseded = _superseded(turn, proposal)
    if superseded is None:
        return in_flight(turn, symbol)
    if not turn.lots(symbol, qty):
        return refused(Reason.NOTHING_TO_CLOSE, _too_little(symbol, qty))
    proposal = msgspec.structs.replace(proposal, order_qty=turn.lots(symbol, qty))
    has_room = turn.has(Capability.REDUCE_ONLY) or room(turn, symbol) >= (proposal.order_qty or ZERO)
    asked = (_send if has_room else _wait)(turn, proposal, superseded, purpose=purpose, bracket_id=bracket_id, why=why)
    if isinstance(asked, Denied):
        return asked
    for order in superseded:
        cancel(turn, order, by=by)
    if not turn.has(Capability.REDUCE_ONLY):
        _wake(turn, symbol)
    return asked


def in_flight(turn: Turn, symbol: str) -> Denied:
    """The answer to an exit while another one is in flight."""
    exits = turn.exits_of(symbol)
    if exits:
        qty = sum((order.leaves_qty for order in exits), ZERO)
        is_what = exits[0].ord_status.value.replace("_", " ").lower()
    else:
        qty, is_what = turn.state.exits[symbol].proposal.order_qty or ZERO, "waiting until the venue has taken its stop away"
    return refused(Reason.EXIT_IN_FLIGHT, f"An exit of {symbol} for {number(qty)} is already {is_what}.")


def nothing_open(turn: Turn, symbol: str) -> str:
    """Why there is nothing to close, in a sentence: nothing is open, or only dust."""
    dust = turn.qty(symbol)
    return _too_little(symbol, abs(dust)) if dust else f"No position in {symbol} is open, so there is nothing to close."


def _too_little(symbol: str, qty: Decimal) -> str:
    return f"{exact(qty)} {symbol} is less than one lot, which is the least that can be closed."


def dust_left(turn: Turn, symbol: str) -> str:
    """What a close of everything leaves, as a sentence of its own; empty where it leaves nothing."""
    left = abs(turn.qty(symbol)) - turn.closable(symbol)
    return f" {exact(left)} {symbol} is less than one lot and stays." if left else ""


def refused(reason: Reason, text: str) -> Denied:
    """The desk's own answer, in the shape of a gate's."""
    return Denied(reason=reason, checks=(Check("Exit capacity", False, detail=text, reason=reason),))


def _superseded(turn: Turn, proposal: Proposal) -> tuple[OrderState, ...] | None:
    """The exits that this one takes the place of; None when one is in flight that it may not."""
    is_market = proposal.ord_type is OrdType.MARKET
    waiting = turn.state.exits.get(proposal.symbol)
    if waiting is not None and not (is_market and waiting.proposal.ord_type is OrdType.LIMIT):
        return None
    exits = turn.exits_of(proposal.symbol)
    if turn.has(Capability.REDUCE_ONLY) and sum(_is_in_doubt(turn, order) for order in exits) < _UNKNOWN_MAX:
        exits = [order for order in exits if not order.is_unknown]
    is_limit = all(order.ord_type is OrdType.LIMIT and order.is_resting for order in exits)
    return tuple(exits) if not exits or (is_market and is_limit) else None


def _is_in_doubt(turn: Turn, order: OrderState) -> bool:
    return order.is_unknown and turn.at - order.created_at < timedelta(milliseconds=turn.timing.unknown_settle_ms)


def _send(
    turn: Turn, proposal: Proposal, superseded: tuple[OrderState, ...], *, purpose: Purpose, bracket_id: str, why: str
) -> Asked | Denied:
    """Judge and send, in parts where the whole is above the order quantity limit."""
    orders: list[OrderState] = []
    checks: tuple[Check, ...] = ()
    for qty in parts(turn, proposal):
        waits = not_sendable(turn)
        book = book_of(turn, bot=proposal.bot, symbol=proposal.symbol, not_ready=waits, superseded=superseded)
        part = msgspec.structs.replace(proposal, order_qty=qty)
        sent = send(turn, part, book, purpose=purpose, bracket_id=bracket_id, why=why)
        if isinstance(sent, Denied):
            if not orders:
                return sent
            break  # what a later part is denied for is asked for again by whoever wants it closed
        orders.append(sent.order)
        checks = checks or sent.checks
    turn.state.exits.pop(proposal.symbol, None)
    return Asked(tuple(orders), sum((order.order_qty for order in orders), ZERO), checks)


def parts(turn: Turn, proposal: Proposal) -> list[Decimal]:
    """The quantity of each order of an exit. Without a limit, or where no lot fits in it, it goes whole."""
    qty, limit = proposal.order_qty or ZERO, turn.index.effective(proposal.bot, proposal.symbol).values.order_qty_max
    instrument = turn.instrument(proposal.symbol)
    if limit is None or instrument is None or not limit.is_finite() or qty <= limit:
        return [qty]
    most = multiple_below(limit, instrument.lot_size) if limit > 0 else ZERO
    if not most:
        return [qty]
    whole = min(int(qty // most), _PARTS_MAX - 1)
    rest = qty - whole * most
    return [most] * whole + ([rest] if rest else [])


def _wait(
    turn: Turn, proposal: Proposal, superseded: tuple[OrderState, ...], *, purpose: Purpose, bracket_id: str, why: str
) -> Asked | Denied:
    """Judge now, so that who asks is answered now; send when there is room. What stands in the way is looked at in this turn."""
    book = book_of(turn, bot=proposal.bot, symbol=proposal.symbol, not_ready=not_sendable(turn), superseded=superseded)
    verdict = judge(proposal, book, at=turn.at)
    if isinstance(verdict, Denied):
        return verdict
    turn.state.exits[proposal.symbol] = ExitState(
        proposal=proposal, purpose=purpose, bracket_id=bracket_id, asked_at=turn.at, why=why
    )
    turn.is_changed = True
    turn.protect_symbol(proposal.symbol)
    return Asked((), proposal.order_qty or ZERO, verdict.checks)


# --- room ------------------------------------------------------------------------------------------------------------------


def room(turn: Turn, symbol: str) -> Decimal:
    """How much more may be sent to close the position: what is open, less all that could still fill against it.

    The legs of one bracket count as the larger of its stop and target: the venue, or we, cancel the other.
    """
    position = turn.state.positions.get(symbol)
    if position is None or not position.qty:
        return ZERO
    taken = ZERO
    stops: dict[str, Decimal] = {}
    targets: dict[str, Decimal] = {}
    for order in turn.index.orders_of(symbol):
        if order.side is not position.closing_side:
            continue
        if order.purpose in LEGS:
            legs = stops if order.purpose is STOP_LOSS else targets
            legs[order.bracket_id] = legs.get(order.bracket_id, ZERO) + order.leaves_qty_max
        elif order.purpose in EXITS:
            taken += order.leaves_qty_max
    largest = [max(stops.get(bracket_id, ZERO), targets.get(bracket_id, ZERO)) for bracket_id in stops | targets]
    return abs(position.qty) - taken - sum(largest, ZERO)


def protectable(turn: Turn, bracket: BracketState) -> Decimal:
    """What of a bracket should be protected now: what is open of it, less what an exit is about to take.

    Where the venue knows reduce-only that is all of it. Elsewhere an exit takes from the bracket that asked for it, or from the
    oldest first, and what it does not take stays protected meanwhile.
    """
    symbol = bracket.symbol
    if turn.index.reduces_only or not turn.is_closing(symbol):
        return bracket.open_qty
    taken: dict[str, Decimal] = {}
    for bracket_id, qty in _taken(turn, symbol):
        taken[bracket_id] = taken.get(bracket_id, ZERO) + qty
    left, qty = max(abs(turn.qty(symbol)) - sum(taken.values(), ZERO), ZERO), ZERO
    for other in reversed(turn.index.brackets_of(symbol)):
        qty = min(max(other.open_qty - taken.get(other.bracket_id, ZERO), ZERO), left)
        if other is bracket:
            break
        left -= qty
    return qty


def _taken(turn: Turn, symbol: str) -> list[tuple[str, Decimal]]:
    """What exits are about to take, and from which bracket; one that is being canceled is not waited for."""
    found = [(order.bracket_id, order.leaves_qty) for order in turn.exits_of(symbol) if not _is_leaving(order)]
    waiting = turn.state.exits.get(symbol)
    if waiting is not None:
        found.append((waiting.bracket_id, waiting.proposal.order_qty or ZERO))
    return found


def _is_leaving(order: OrderState) -> bool:
    """Whether it is being canceled, now or as soon as it is found."""
    return order.pending is PENDING_CANCEL or bool(order.is_unknown and order.cancel_asked_by)


# --- going on --------------------------------------------------------------------------------------------------------------


def go_on(turn: Turn) -> None:
    """After every event: send the exits that have room now, drop those that have nothing left to close, sent or not.

    A left-over exit would close the next position, reduce-only or not.
    """
    for symbol, exits in turn.index.exits.items() if turn.is_money_moved else ():
        position = turn.state.positions.get(symbol)
        is_flat = position is None or not turn.closable(symbol)
        for order in [o for o in exits.values() if is_flat or (position and o.side is not position.closing_side)]:
            cancel(turn, order, by=DESK)
    for symbol, waiting in list(turn.state.exits.items()):
        position, proposal = turn.state.positions.get(symbol), waiting.proposal
        if position is None or not position.qty or proposal.side is not position.closing_side:
            _drop(turn, symbol)
            continue
        qty = turn.lots(symbol, min(proposal.order_qty or ZERO, abs(position.qty)))
        if not qty:
            _drop(turn, symbol)
            continue
        if room(turn, symbol) < qty or not_sendable(turn):
            continue
        del turn.state.exits[symbol]
        proposal = msgspec.structs.replace(proposal, order_qty=qty)
        sent = _send(turn, proposal, (), purpose=waiting.purpose, bracket_id=waiting.bracket_id, why=waiting.why)
        turn.is_changed = True
        if isinstance(sent, Denied):
            _unfilled(turn, symbol, "An exit of {} was denied", sent.text)
        turn.protect_symbol(symbol)


def _drop(turn: Turn, symbol: str) -> None:
    del turn.state.exits[symbol]
    turn.sleep(_wait_timer(symbol))
    turn.is_changed = True
    turn.protect_symbol(symbol)


def drop_waiting(turn: Turn, symbol: str) -> None:
    """Forget an exit that waits for room, if there is one: it was never sent."""
    if symbol in turn.state.exits:
        _drop(turn, symbol)


def wait_due(turn: Turn, symbol: str) -> None:
    """An exit took too long: what remains open is protected again."""
    waiting = turn.state.exits.get(symbol)
    exits = [order for order in turn.exits_of(symbol) if not _is_leaving(order)]
    if not (waiting or exits):
        return
    if not _is_awaited(turn, symbol):
        _wake(turn, symbol)
        return
    if waiting is not None:
        _drop(turn, symbol)
    for order in exits:
        cancel(turn, order, by="the wait for it")
    _unfilled(turn, symbol, "An exit of {} did not fill", "It took longer than exit_wait_ms.")


def _is_awaited(turn: Turn, symbol: str) -> bool:
    """Whether a stop waits for the room that exits take."""
    brackets = [bracket for bracket in turn.index.brackets_of(symbol) if has_stop(bracket)]
    return turn.index.holds.stop and any(protectable(turn, b) < b.open_qty for b in brackets)


def _wake(turn: Turn, symbol: str) -> None:
    bot = turn.state.positions[symbol].bot if symbol in turn.state.positions else turn.index.owner(symbol)
    wait_ms = turn.index.effective(bot, symbol).values.exit_wait_ms
    turn.wake(_wait_timer(symbol), ms=_EXIT_WAIT_MS if wait_ms is None else wait_ms)


def exit_ended(turn: Turn, order: OrderState) -> None:
    """An exit ended without filling and without our asking: a person is told, and what asked for it waits a moment."""
    for leg in (STOP, TARGET):
        if order.bracket_id in turn.state.brackets:
            turn.wake(retry_timer(turn.state.brackets[order.bracket_id], leg), ms=LEG_RETRY_MS)
    why = order.text if order.ord_rej_reason in ("", order.text) else f"{order.ord_rej_reason}: {order.text}"
    _unfilled(turn, order.symbol, "An exit of {} was refused", why.strip(": ") or "The venue took it away.")


def _unfilled(turn: Turn, symbol: str, title: str, cause: str) -> None:
    turn.alarm(
        _alarm(symbol),
        priority=2,
        title=title.format(symbol),
        cause=cause,
        consequence="The position stays open; its stop is put back.",
        to_do="Close it again, or close it at the venue.",
        symbol=symbol,
    )


# --- what may not stay open --------------------------------------------------------------------------------------------------


def close_out(
    turn: Turn, symbol: str, *, bot: str, side: Side, qty: Decimal, purpose: Purpose, bracket_id: str = "", why: str
) -> None:
    """Close at market what may not stay open. One exit in flight a symbol; what fails is tried again until it is gone."""
    turn.wake(close_timer(symbol), ms=CLOSE_RETRY_MS if turn.is_open(symbol) else _CLOSED_RETRY_MS)
    if turn.lots(symbol, qty):
        proposal = exit_proposal(turn, symbol=symbol, bot=bot, side=side, qty=qty, order_class=OrderClass.PROTECTION)
        ask(turn, proposal, purpose=purpose, bracket_id=bracket_id, by=DESK, why=why)


def close_bracket(turn: Turn, bracket: BracketState) -> None:
    """Close what is open of a bracket."""
    close_out(
        turn,
        bracket.symbol,
        bot=bracket.bot,
        side=bracket.side.opposite,
        qty=bracket.open_qty,
        purpose=Purpose.EXIT,
        bracket_id=bracket.bracket_id,
        why=bracket.text if bracket.is_naked else f"open for its time limit of {bracket.time_limit_s} s",
    )


def close_due(turn: Turn, symbol: str) -> None:
    """Try again to close what is still naked, over its time or overshot."""
    for bracket in turn.index.brackets_of(symbol):
        if bracket.open_qty and (bracket.is_naked or is_timed_out(turn, bracket)):
            close_bracket(turn, bracket)
            return
    if f"overshoot:{symbol}" in turn.state.alarms:
        overshot(turn, symbol)


def is_timed_out(turn: Turn, bracket: BracketState) -> bool:
    return bracket.close_at is not None and turn.at >= bracket.close_at


def overshot(turn: Turn, symbol: str) -> None:
    """An exit opened a position. It belongs to nobody and is closed at once."""
    position = turn.state.positions[symbol]
    if not turn.closable(symbol):
        turn.clear_alarm(f"overshoot:{symbol}")
        turn.sleep(close_timer(symbol))
        return
    qty, what = number(abs(position.qty)), f"An exit of {symbol} went through zero"
    turn.alarm(
        f"overshoot:{symbol}",
        priority=1,
        title=what,
        cause=f"More filled than was open: {qty} are open on the other side.",
        consequence="It is being closed at market; the symbol only reduces until it is flat.",
        to_do="Watch it close; then look at the fills of the exits.",
        bot=position.bot,
        symbol=symbol,
    )
    side, open_qty = position.closing_side, abs(position.qty)
    close_out(turn, symbol, bot=position.bot, side=side, qty=open_qty, purpose=Purpose.OVERSHOOT, why=what)


def _alarm(symbol: str) -> str:
    return f"exit:{symbol}"


def _wait_timer(symbol: str) -> str:
    return f"exit:{symbol}"


def retry_timer(bracket: BracketState, leg: Leg) -> str:
    return f"leg:{leg}:{bracket.bracket_id}"


def close_timer(symbol: str) -> str:
    return f"close:{symbol}"
