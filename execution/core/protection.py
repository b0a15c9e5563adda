"""Protection at work: sends the difference between what rests and what should, and closes what cannot be protected.

`protect()` runs once after every event, for the brackets that it touched. It holds no state of its own: what
to do follows from the bracket, its legs, its position and the timers.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from execution.core.brackets import (
    NOTHING,
    STOP,
    TARGET,
    BracketState,
    BracketStatus,
    Facts,
    Leg,
    Plan,
    Survey,
    plan,
    status_of,
    wanted,
)
from execution.core.conditions import not_sendable
from execution.core.orders import STOP_LOSS, OrderState, Purpose
from execution.core.sending import Sent, book_of, cancel, send
from execution.core.turn import Turn
from risk.core.settings import NakedPolicy
from risk.core.units import OrdType, Side, TimeInForce
from risk.core.verdict import Capability, Denied, OrderClass, Proposal
from risk.core.wording import number

LEG_RETRY_MS: Final = 250
GROW_MS: Final = 200
#: a position that must not stay open is closed again this often, for as long as it takes
CLOSE_RETRY_MS: Final = 1000
#: what holds where nobody set it: a position outlives the bot and the settings it was opened under
_LEG_RETRIES: Final = 3
_NAKED_AFTER_MS: Final = 1000
_DESK: Final = "bracket"
_CLOSED: Final = BracketStatus.CLOSED
_NAKED: Final = BracketStatus.NAKED


def protect(turn: Turn) -> None:
    """Bring the protection of every bracket the event touched to what it should be now."""
    for bracket_id in list(turn.dirty):
        bracket = turn.state.brackets.get(bracket_id)
        if bracket is not None and bracket.status is not _CLOSED:
            _protect(turn, bracket)
    turn.dirty.clear()


def _protect(turn: Turn, bracket: BracketState) -> None:
    orders = turn.state.orders
    want = wanted(bracket)
    stop_qty, target_qty = want.stop_qty, want.target_qty
    stops, targets = Survey(orders, bracket.stop_ids), Survey(orders, bracket.target_ids)
    _arm(turn, bracket, STOP, stops, stop_qty)
    _arm(turn, bracket, TARGET, targets, target_qty)
    is_covered = stops.covered_qty >= stop_qty
    if is_covered is not (bracket.naked_since is None) or bracket.is_naked:
        _watch_cover(turn, bracket, is_covered=is_covered)
    entry = orders.get(bracket.bracket_id)
    if entry is not None and entry.done is None and bracket.entry_qty and not bracket.open_qty:
        cancel(turn, entry, by=_DESK)  # what filled is closed again: the rest of it is not wanted any more
    facts = Facts(
        is_open=bool(bracket.open_qty),
        entry_works=entry is not None and entry.done is None,
        exit_works=bool(turn.index.exits.get(bracket.symbol)),
        has_legs=bool(stops.legs or targets.legs),
        is_stuck=stops.is_stuck or targets.is_stuck,
        is_covered=is_covered,
        is_targeted=targets.covered_qty >= target_qty,
    )
    _conclude(turn, bracket, status_of(bracket, facts))


def _arm(turn: Turn, bracket: BracketState, leg: Leg, survey: Survey, wanted_qty: Decimal) -> None:
    """Send one kind of leg's difference."""
    difference = plan(survey, wanted_qty)
    if difference is NOTHING:
        return
    for order in difference.cancel:
        if order.tries == 0:
            cancel(turn, order, by=_DESK)
    if not difference.send_qty or _must_wait(turn, bracket, leg, difference):
        return
    sent = _send_leg(turn, bracket, leg, difference.send_qty)
    if isinstance(sent, Sent):  # else there is nowhere to send: the link's return asks again
        (bracket.stop_ids if leg is STOP else bracket.target_ids).append(sent.order.cl_ord_id)
        survey.add(sent.order)
        turn.touch_bracket(bracket)


def _must_wait(turn: Turn, bracket: BracketState, leg: Leg, difference: Plan) -> bool:
    """A refused leg waits for its retry; a growing one waits a moment for more fills to come along."""
    if _retry_timer(bracket, leg) in turn.state.timers:
        return True
    tries = bracket.stop_tries if leg is STOP else bracket.target_tries
    if tries > _retries(turn, bracket):
        return True
    if difference.is_growth:
        timer = f"grow:{leg}:{bracket.bracket_id}"
        if turn.state.timers.get(timer) is None and not _has_waited(turn, bracket, leg):
            turn.wake(timer, ms=GROW_MS)
        return timer in turn.state.timers
    return False


def _has_waited(turn: Turn, bracket: BracketState, leg: Leg) -> bool:
    """True in the turn in which the growth timer fired."""
    return f"{leg}:{bracket.bracket_id}" in turn.grown


def _send_leg(turn: Turn, bracket: BracketState, leg: Leg, qty: Decimal) -> Sent | Denied:
    side, instrument = bracket.side.opposite, turn.instrument(bracket.symbol)
    is_stop = leg is STOP
    price = bracket.stop_px if is_stop else bracket.target_px
    assert price is not None, "wanted() asks for no leg without a price"
    if instrument is not None:
        price = instrument.stop_price(price, side) if is_stop else instrument.limit_price(price, side)
    proposal = Proposal(
        order_class=OrderClass.PROTECTION,
        account=turn.state.account.account,
        bot=bracket.bot,
        symbol=bracket.symbol,
        side=side,
        ord_type=OrdType.STOP if is_stop else OrdType.LIMIT,
        time_in_force=TimeInForce.GTC,
        order_qty=qty,
        price=None if is_stop else price,
        stop_px=price if is_stop else None,
        reduce_only=turn.has(Capability.REDUCE_ONLY),
    )
    book = book_of(turn, bot=bracket.bot, symbol=bracket.symbol, not_ready=not_sendable(turn))
    purpose = Purpose.STOP_LOSS if is_stop else Purpose.TAKE_PROFIT
    return send(turn, proposal, book, purpose=purpose, bracket_id=bracket.bracket_id)


# --- refusals ------------------------------------------------------------------------------------------------------------


def leg_refused(turn: Turn, order: OrderState) -> None:
    """A leg ended without filling and without our asking: count it, and try again in a moment or give up."""
    bracket = turn.state.brackets.get(order.bracket_id)
    if bracket is None or not bracket.open_qty:
        return
    leg = STOP if order.purpose is STOP_LOSS else TARGET
    if leg is STOP:
        bracket.stop_tries += 1
    else:
        bracket.target_tries += 1
    turn.touch_bracket(bracket)
    tries = bracket.stop_tries if leg is STOP else bracket.target_tries
    turn.dirty[bracket.bracket_id] = None
    if tries <= _retries(turn, bracket):
        turn.wake(_retry_timer(bracket, leg), ms=LEG_RETRY_MS)
    elif leg is TARGET:
        _give_target_up(turn, bracket, order)
    else:
        _naked(turn, bracket, f"the venue refused the stop {tries} times: {order.text or order.ord_rej_reason}")


def leg_accepted(turn: Turn, order: OrderState) -> None:
    """A leg works: its refusals are forgotten, and what is still uncovered was filled after the leg was sent."""
    bracket = turn.state.brackets.get(order.bracket_id)
    if bracket is None:
        return
    if order.purpose is STOP_LOSS:
        if bracket.naked_since is not None:
            bracket.naked_since = max(bracket.naked_since, order.created_at)
        if bracket.stop_tries:
            bracket.stop_tries = 0
            turn.touch_bracket(bracket)
    elif bracket.target_tries:
        bracket.target_tries = 0
        turn.touch_bracket(bracket)


def _give_target_up(turn: Turn, bracket: BracketState, order: OrderState) -> None:
    bracket.is_target_given_up = True
    turn.alarm(
        f"target:{bracket.bracket_id}",
        priority=2,
        title=f"No target for {bracket.symbol}",
        cause=f"The venue refused the target {bracket.target_tries} times: {order.text or order.ord_rej_reason}.",
        consequence="The stop stays; the position has no take-profit.",
        to_do="Close by hand when it is time, or cancel the bracket and place another.",
        bot=bracket.bot,
        symbol=bracket.symbol,
    )


# --- naked -----------------------------------------------------------------------------------------------------------------


def _watch_cover(turn: Turn, bracket: BracketState, *, is_covered: bool) -> None:
    """Keep `naked_since` true: while the cover is short, a timer counts our patience."""
    if is_covered:
        if bracket.naked_since is not None:
            bracket.naked_since = None
            turn.sleep(_naked_timer(bracket))
            turn.touch_bracket(bracket)
        if bracket.is_naked:
            bracket.is_naked = False
            turn.clear_alarm(f"naked:{bracket.bracket_id}")
            turn.sleep(_close_timer(bracket.symbol))
            turn.touch_bracket(bracket)
    elif bracket.naked_since is None:
        bracket.naked_since = turn.at
        turn.wake(_naked_timer(bracket), ms=_naked_after_ms(turn, bracket))
        turn.touch_bracket(bracket)


def naked_due(turn: Turn, bracket_id: str) -> None:
    """The patience with a missing stop is over, unless what is missing was filled only now."""
    bracket = turn.state.brackets.get(bracket_id)
    if bracket is None or bracket.naked_since is None:
        return
    waited_ms = (turn.at - bracket.naked_since).total_seconds() * 1000
    left_ms = _naked_after_ms(turn, bracket) - waited_ms
    if left_ms > 0:
        turn.wake(_naked_timer(bracket), ms=left_ms)
        return
    _naked(turn, bracket, f"no stop works at the venue after {number(Decimal(int(waited_ms)))} ms")


def _naked(turn: Turn, bracket: BracketState, cause: str) -> None:
    values = turn.index.effective(bracket.bot, bracket.symbol).values
    is_kept = values.naked_policy is NakedPolicy.KEEP
    if not bracket.is_naked:
        bracket.is_naked = True
        bracket.text = cause
        turn.touch_bracket(bracket)
    turn.alarm(
        f"naked:{bracket.bracket_id}",
        priority=1,
        title=f"{bracket.symbol} has no stop",
        cause=f"{cause[:1].upper()}{cause[1:]}.",
        consequence=f"{number(bracket.open_qty)} {bracket.symbol} is unprotected; "
        + ("it is kept, as its settings say." if is_kept else "it is being closed at market."),
        to_do="Place a stop at the venue, or close the position."
        if is_kept
        else "Watch it close; close it at the venue if it does not.",
        bot=bracket.bot,
        symbol=bracket.symbol,
    )
    if is_kept:
        bracket.stop_tries = 0
        turn.wake(_retry_timer(bracket, STOP), ms=CLOSE_RETRY_MS)
    else:
        close_out(turn, bracket.symbol, bot=bracket.bot, side=bracket.side.opposite, qty=bracket.open_qty, purpose=Purpose.EXIT)


def close_out(turn: Turn, symbol: str, *, bot: str, side: Side, qty: Decimal, purpose: Purpose) -> None:
    """Close at market what may not stay open. One exit in flight a symbol; what fails is tried again until it is gone."""
    turn.wake(_close_timer(symbol), ms=CLOSE_RETRY_MS)
    if turn.exits_of(symbol) or not qty:
        return
    proposal = Proposal(
        order_class=OrderClass.PROTECTION,
        account=turn.state.account.account,
        bot=bot,
        symbol=symbol,
        side=side,
        order_qty=qty,
        reduce_only=turn.has(Capability.REDUCE_ONLY),
        is_automatic=False,
    )
    book = book_of(turn, bot=bot, symbol=symbol, not_ready=not_sendable(turn))
    send(turn, proposal, book, purpose=purpose)


def close_due(turn: Turn, symbol: str) -> None:
    """Try again to close what is still naked or overshot."""
    for bracket in turn.index.brackets_of(symbol):
        if bracket.is_naked and bracket.open_qty:
            close_out(turn, symbol, bot=bracket.bot, side=bracket.side.opposite, qty=bracket.open_qty, purpose=Purpose.EXIT)
            return
    if f"overshoot:{symbol}" in turn.state.alarms:
        overshot(turn, symbol)


def overshot(turn: Turn, symbol: str) -> None:
    """An exit opened a position. It belongs to nobody and is closed at once."""
    position = turn.state.positions[symbol]
    if not position.qty:
        turn.clear_alarm(f"overshoot:{symbol}")
        turn.sleep(_close_timer(symbol))
        return
    qty = number(abs(position.qty))
    turn.alarm(
        f"overshoot:{symbol}",
        priority=1,
        title=f"An exit of {symbol} went through zero",
        cause=f"More filled than was open: {qty} are open on the other side.",
        consequence="It is being closed at market; the symbol only reduces until it is flat.",
        to_do="Watch it close; then look at the fills of the exits.",
        bot=position.bot,
        symbol=symbol,
    )
    close_out(turn, symbol, bot=position.bot, side=position.closing_side, qty=abs(position.qty), purpose=Purpose.OVERSHOOT)


# --- what the bracket is now -----------------------------------------------------------------------------------------------


def _conclude(turn: Turn, bracket: BracketState, status: BracketStatus) -> None:
    text = bracket.text if status is _NAKED else _text(bracket)
    if status is bracket.status and text == bracket.text:
        return
    bracket.status, bracket.text = status, text
    turn.touch_bracket(bracket)
    turn.index.bracket_changed(bracket)
    if status is _CLOSED:
        _forget(turn, bracket)
    elif status is BracketStatus.ORPHANED:
        _orphaned(turn, bracket)


def _text(bracket: BracketState) -> str:
    """What is not as the entry asked for; empty as a rule."""
    if not bracket.open_qty or not (bracket.is_stop_waived or bracket.is_target_waived or bracket.is_target_given_up):
        return ""
    stop = "stop taken away by hand" if bracket.is_stop_waived else ""
    target = "target taken away by hand" if bracket.is_target_waived else "target given up" if bracket.is_target_given_up else ""
    return ", ".join(part for part in (stop, target) if part)


def _forget(turn: Turn, bracket: BracketState) -> None:
    """A closed bracket leaves no timer and no alarm behind."""
    bracket.naked_since = None
    bracket.is_naked = False
    for timer in (_naked_timer(bracket), _retry_timer(bracket, STOP), _retry_timer(bracket, TARGET)):
        turn.sleep(timer)
    for alarm in ("naked", "target", "nostop", "orphan"):
        turn.clear_alarm(f"{alarm}:{bracket.bracket_id}")


def _orphaned(turn: Turn, bracket: BracketState) -> None:
    turn.alarm(
        f"orphan:{bracket.bracket_id}",
        priority=2,
        title=f"A leg of {bracket.symbol} will not go",
        cause="The position is closed, and the venue keeps refusing to cancel a leg.",
        consequence="The leg only reduces, so it opens nothing; it is canceled again and again.",
        to_do="Cancel it at the venue.",
        bot=bracket.bot,
        symbol=bracket.symbol,
    )


def _retries(turn: Turn, bracket: BracketState) -> int:
    found = turn.index.effective(bracket.bot, bracket.symbol).values.leg_retries
    return _LEG_RETRIES if found is None else found


def _naked_after_ms(turn: Turn, bracket: BracketState) -> int:
    found = turn.index.effective(bracket.bot, bracket.symbol).values.naked_after_ms
    return _NAKED_AFTER_MS if found is None else found


def _retry_timer(bracket: BracketState, leg: Leg) -> str:
    return f"leg:{leg}:{bracket.bracket_id}"


def _naked_timer(bracket: BracketState) -> str:
    return f"naked:{bracket.bracket_id}"


def _close_timer(symbol: str) -> str:
    return f"close:{symbol}"
