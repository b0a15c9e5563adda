"""Protection at work: sends the difference between what rests and what should.

`protect()` runs once after every event, for the brackets that it touched. It holds no state of its own: what
to do follows from the bracket, its legs, its position and the timers.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Final

import msgspec

from execution.core import naked, watching
from execution.core.brackets import STOP, TARGET, BracketState, BracketStatus, Facts, has_stop, status_of, wanted
from execution.core.closing import DESK, close_bracket, is_timed_out, protectable, retry_timer, room
from execution.core.conditions import not_sendable
from execution.core.legs import NOTHING, Plan, Survey, Terms, Want, plan, rests_at
from execution.core.messages import Leg
from execution.core.naked import limit_timer, retries
from execution.core.orders import OrderState, Purpose
from execution.core.sending import book_of, cancel, cancel_timer, has_replaces_left, replace, replace_timer, send
from execution.core.trailing import Trail, followed
from execution.core.turn import Turn
from risk.core.units import ZERO, OrdType, TimeInForce
from risk.core.verdict import Denied, OrderClass, Proposal
from risk.core.wording import exact

GROW_MS: Final = 200
_CLOSED: Final = BracketStatus.CLOSED
_NAKED: Final = BracketStatus.NAKED
_ORPHANED: Final = BracketStatus.ORPHANED
_LIMIT, _STOP, _STOP_LIMIT = OrdType.LIMIT, OrdType.STOP, OrdType.STOP_LIMIT


def protect(turn: Turn) -> None:
    """Bring the protection of every bracket the event touched to what it should be now."""
    for bracket_id in list(turn.dirty):
        bracket = turn.state.brackets.get(bracket_id)
        if bracket is not None and bracket.status is not _CLOSED:
            _protect(turn, bracket)
    turn.dirty.clear()


def _protect(turn: Turn, bracket: BracketState) -> None:
    orders, index, symbol = turn.state.orders, turn.index, bracket.symbol
    open_qty = turn.lots(symbol, bracket.open_qty)
    stop_qty, target_qty = wanted(bracket, open_qty if index.reduces_only else turn.lots(symbol, protectable(turn, bracket)))
    watching.emulate(turn, bracket)
    if open_qty:
        _open(turn, bracket)

    def is_waiting(order: OrderState) -> bool:
        return cancel_timer(order) in turn.state.timers or replace_timer(order) in turn.state.timers

    stops = Survey(orders, bracket.stop_ids, is_waiting=is_waiting)
    targets = Survey(orders, bracket.target_ids, is_waiting=is_waiting)
    _arm(turn, bracket, STOP, stops, stop_qty if index.holds.stop else ZERO)
    _arm(turn, bracket, TARGET, targets, target_qty if index.holds.target else ZERO)
    watching.watch(turn, bracket, is_open=bool(open_qty))
    if bracket.is_stop_emulated:
        is_covered = not (open_qty and watching.is_blind(turn, symbol))
    else:
        # what an exit is about to take needs no stop; but a naked position is only helped by one for all of it
        full_qty = open_qty if has_stop(bracket) else ZERO
        is_covered = stops.covered_qty >= (full_qty if bracket.is_naked else stop_qty) and not bracket.is_through
    if is_covered is not (bracket.naked_since is None) or bracket.is_naked:
        naked.watch_cover(turn, bracket, is_covered=is_covered)
    entry = orders.get(bracket.bracket_id)
    if entry is not None and entry.done is None and not open_qty and turn.lots(symbol, bracket.entry_qty - bracket.open_qty):
        cancel(turn, entry, by=DESK)  # no mere fee took it: it is closed again, and the rest of it is not wanted any more
    facts = Facts(
        is_open=bool(open_qty),
        entry_works=entry is not None and (entry.done is None or entry.decision_id in turn.state.parents),
        exit_works=turn.is_closing(symbol),
        has_legs=bool(stops.legs or targets.legs),
        is_stuck=stops.is_stuck or targets.is_stuck,
        is_covered=is_covered,
        is_targeted=bracket.is_target_emulated or targets.covered_qty >= target_qty,
        is_naked=bracket.is_naked,
        is_target_given_up=bracket.is_target_given_up,
        is_target_refused=bool(bracket.target_tries),
    )
    _conclude(turn, bracket, status_of(facts))


def _open(turn: Turn, bracket: BracketState) -> None:
    """What begins with the first fill: a waived stop is said, a trail without activation follows the price, the time limit counts."""
    if bracket.is_stop_waived:
        naked.unprotected(turn, bracket)
    if bracket.trail is not None and bracket.trail.extreme is None and bracket.trail.activation_px is None:
        entry = turn.state.orders.get(bracket.bracket_id)
        price = entry.avg_px if entry is not None else None
        if price is not None:
            bracket.trail = followed(bracket.trail, price)
            turn.touch_bracket(bracket)
    if bracket.time_limit_s is not None and bracket.close_at is None:
        bracket.close_at = turn.at + timedelta(seconds=bracket.time_limit_s)
        turn.wake_at(limit_timer(bracket), bracket.close_at)
        turn.touch_bracket(bracket)


def limit_due(turn: Turn, bracket_id: str) -> None:
    """A position was open as long as its decision allows."""
    bracket = turn.state.brackets.get(bracket_id)
    if bracket is not None and bracket.open_qty and is_timed_out(turn, bracket):
        close_bracket(turn, bracket)


def _arm(turn: Turn, bracket: BracketState, leg: Leg, survey: Survey, wanted_qty: Decimal) -> None:
    """Take one step towards what one kind of leg should be."""
    if not wanted_qty and not survey.legs:
        return
    terms = _terms(turn, bracket, leg) if wanted_qty else None
    step = _step(turn, bracket, leg, survey, Want(wanted_qty, terms))
    for order in step.cancel:
        if cancel_timer(order) not in turn.state.timers:
            cancel(turn, order, by=DESK)
    if terms is None or not (step.send_qty or step.change_qty) or _must_wait(turn, bracket, leg, step):
        return
    if step.change is not None:
        _change_leg(turn, step.change, step.change_qty, terms)
        return
    sent = _send_leg(turn, bracket, leg, step.send_qty, terms)
    if sent is not None:
        survey.add(sent)


def _step(turn: Turn, bracket: BracketState, leg: Leg, survey: Survey, want: Want) -> Plan:
    """The next step, another one where the venue will not change a leg in place any more."""
    way = turn.index.way
    step = plan(survey, want, way)
    order = step.change
    if order is None or want.terms is None or _may_change(turn, bracket, order):
        return step
    if order.tries and not way.may_overlap and not rests_at(order, want.terms):
        # taking it away for one at a price that the venue refuses would leave nothing
        naked.stay(turn, bracket, leg, order, order.text)
        return NOTHING
    return plan(survey, want, msgspec.structs.replace(way, can_replace=False))


def _may_change(turn: Turn, bracket: BracketState, order: OrderState) -> bool:
    """Whether the venue may still be asked to change a leg in place: one that it refused too often, or changed too often, is sent anew."""
    return order.tries <= retries(turn, bracket) and has_replaces_left(order)


def _must_wait(turn: Turn, bracket: BracketState, leg: Leg, step: Plan) -> bool:
    """A refused leg waits for its retry; a growing one waits a moment for more fills to come along."""
    if retry_timer(bracket, leg) in turn.state.timers:
        return True
    tries = bracket.stop_tries if leg is STOP else bracket.target_tries
    if tries > retries(turn, bracket):
        return True
    if step.is_growth:
        timer = f"grow:{leg}:{bracket.bracket_id}"
        if turn.state.timers.get(timer) is None and not _has_waited(turn, bracket, leg):
            turn.wake(timer, ms=GROW_MS)
        return timer in turn.state.timers
    return False


def _has_waited(turn: Turn, bracket: BracketState, leg: Leg) -> bool:
    """True in the turn in which the growth timer fired."""
    return f"{leg}:{bracket.bracket_id}" in turn.grown


def _terms(turn: Turn, bracket: BracketState, leg: Leg) -> Terms:
    """How a leg is to rest. Its prices are on the tick grid, never on the riskier side."""
    side, instrument = bracket.side.opposite, turn.instrument(bracket.symbol)
    price = bracket.stop_px if leg is STOP else bracket.target_px
    assert price is not None, "wanted() asks for no leg without a price"
    if leg is TARGET:
        return Terms(_LIMIT, instrument.limit_price(price, side) if instrument is not None else price, None)
    stop_px = instrument.stop_price(price, side) if instrument is not None else price
    limit = watching.stop_limit(turn, bracket)
    return Terms(_STOP if limit is None else _STOP_LIMIT, limit, stop_px)


def _change_leg(turn: Turn, order: OrderState, leaves_qty: Decimal, terms: Terms) -> None:
    """Change a leg in place so that this much is left of it; it grows no more than there is room for."""
    if not turn.index.reduces_only:
        leaves_qty = min(leaves_qty, order.leaves_qty + max(room(turn, order.symbol), ZERO))
    replace(turn, order, qty=order.cum_qty + leaves_qty, price=terms.price, stop_px=terms.stop_px, by=DESK)


def _send_leg(turn: Turn, bracket: BracketState, leg: Leg, qty: Decimal, terms: Terms) -> OrderState | None:
    """Send a leg. None when there is nowhere to send (the link's return asks again), or no room for it yet: what stands in its way is
    on its way out, and its end asks again.
    """
    if not turn.index.reduces_only:
        qty = min(qty, room(turn, bracket.symbol))
    if qty <= 0:
        return None
    proposal = Proposal(
        order_class=OrderClass.PROTECTION,
        account=turn.state.account.account,
        bot=bracket.bot,
        symbol=bracket.symbol,
        side=bracket.side.opposite,
        ord_type=terms.ord_type,
        time_in_force=TimeInForce.GTC,
        order_qty=qty,
        price=terms.price,
        stop_px=terms.stop_px,
        reduce_only=turn.index.reduces_only,
    )
    book = book_of(turn, bot=bracket.bot, symbol=bracket.symbol, not_ready=not_sendable(turn))
    purpose = Purpose.STOP_LOSS if leg is STOP else Purpose.TAKE_PROFIT
    sent = send(turn, proposal, book, purpose=purpose, bracket_id=bracket.bracket_id)
    if isinstance(sent, Denied):
        return None
    (bracket.stop_ids if leg is STOP else bracket.target_ids).append(sent.order.cl_ord_id)
    turn.touch_bracket(bracket)
    return sent.order


# --- what the bracket is now -----------------------------------------------------------------------------------------------


def _conclude(turn: Turn, bracket: BracketState, status: BracketStatus) -> None:
    text = bracket.text if status is _NAKED else _text(bracket)
    if status is bracket.status and text == bracket.text:
        return
    bracket.status, bracket.text = status, text
    turn.touch_bracket(bracket)
    turn.index.bracket_changed(bracket)
    if status is _CLOSED:
        naked.forget(turn, bracket)
    elif status is _ORPHANED:
        naked.orphaned(turn, bracket)


def _text(bracket: BracketState) -> str:
    """What is not as people take it for granted; empty as a rule."""
    if not bracket.open_qty:
        return ""
    return ", ".join([said for said in (_stop_text(bracket), _target_text(bracket), _time_text(bracket)) if said])


def _stop_text(bracket: BracketState) -> str:
    if bracket.is_stop_waived:
        return f"no stop: {bracket.waived_why.rstrip('.')}"
    said = [_trail_text(bracket.trail)] if bracket.trail is not None else []
    if bracket.stop_limit_offset is not None and has_stop(bracket):
        said.append(f"stop-limit, its limit {exact(bracket.stop_limit_offset)} behind its trigger")
    if bracket.is_stop_emulated:
        said.append("stop watched here, not at the venue")
    return ", ".join(said)


def _trail_text(trail: Trail) -> str:
    distance = f"{exact(trail.pct)} %" if trail.pct is not None else exact(trail.offset)
    begins = f" once the price was at {exact(trail.activation_px)}" if trail.extreme is None and trail.activation_px else ""
    return f"stop trails {distance} behind the best price{begins}, watched here"


def _time_text(bracket: BracketState) -> str:
    return f"closes at {bracket.close_at:%Y-%m-%d %H:%M:%S} UTC" if bracket.close_at is not None else ""


def _target_text(bracket: BracketState) -> str:
    if bracket.is_target_waived:
        return "target taken away by hand"
    if bracket.is_target_given_up:
        return "target given up"
    return "target watched here, not at the venue" if bracket.is_target_emulated else ""
