"""What the venue says about orders: the order moves by its table, and what follows from each move is done.

Rules of this file.
1. Every word about an order goes through `tell()`, whoever brought it: a report, a failed send, an answered question, our own
   conclusion. What the table does not know raises an alarm and changes nothing.
2. A venue's last word is believed; our own conclusion is given up for any word of the venue.
3. A request that was refused or not answered is asked about, never repeated blindly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from execution.core import orders
from execution.core.ageing import AGE, aged_out, filled_in_part
from execution.core.busts import busted
from execution.core.closing import exit_ended
from execution.core.fills import book_fill, fill_told, is_fill, reopen
from execution.core.foreign import park
from execution.core.messages import ExecType, Reported, SendFailed, SendOutcome
from execution.core.naked import leg_accepted, leg_refused
from execution.core.orders import EXITS, LEGS, OrderState, OrdStatus
from execution.core.sending import age_timer, backoff_ms, cancel, cancel_timer, query, query_timer, replace_timer, watch_for_answer
from execution.core.transitions import TRANSITIONS, Move
from execution.core.turn import Turn
from risk.core.units import TimeInForce
from risk.core.verdict import OrderClass


def reported(turn: Turn, report: Reported) -> None:
    """An execution report."""
    order = turn.order(report.cl_ord_id)
    if order is None:
        park(turn, report)
    else:
        tell(turn, order, report)


def send_failed(turn: Turn, event: SendFailed) -> None:
    """A request that no report answered."""
    order = turn.order(event.cl_ord_id)
    if order is None or order.done is not None:
        if order is not None and order.pending is not None and event.request != "new":
            _answered(turn, order)
        return
    if event.request == "new" and event.is_duplicate:
        _refused_as_duplicate(turn, order, event)
    elif event.request == "new":
        tell(turn, order, _own_word(turn, order, _SENDS[event.outcome], event.text))
    elif event.request == "replace" and event.outcome is SendOutcome.UNKNOWN:
        _lose_replace(turn, order, event.cl_ord_id)
    elif event.outcome is SendOutcome.UNKNOWN:
        query(turn, order)
    else:
        refused = ExecType.CANCEL_REJECTED if event.request == "cancel" else ExecType.REPLACE_REJECTED
        tell(turn, order, msgspec.structs.replace(_own_word(turn, order, refused, event.text), cl_ord_id=event.cl_ord_id))


def _refused_as_duplicate(turn: Turn, order: OrderState, event: SendFailed) -> None:
    """The venue knows the id already: this very order, sent and unanswered before, or another one. It is asked which."""
    order.is_duplicate = True
    tell(turn, order, _own_word(turn, order, ExecType.SEND_UNKNOWN, event.text))
    query(turn, order)


def _lose_replace(turn: Turn, order: OrderState, replace_id: str) -> None:
    """The answer to a replace is lost: the order works, in its old terms or in the new ones."""
    if order.replacing is not None and order.replacing.cl_ord_id == replace_id:
        orders.lose(order)
        order.tries = 0
        turn.touch_order(order)
        query(turn, order)
        turn.wake(query_timer(order), ms=backoff_ms(order))


_SENDS: Final = {
    SendOutcome.NOT_SENT: ExecType.NOT_SENT,
    SendOutcome.REFUSED: ExecType.SEND_REFUSED,
    SendOutcome.UNKNOWN: ExecType.SEND_UNKNOWN,
}


def _own_word(turn: Turn, order: OrderState, exec_type: ExecType, text: str = "") -> Reported:
    return Reported(at=turn.at, cl_ord_id=order.cl_ord_id, exec_type=exec_type, text=text)


def conclude(turn: Turn, order: OrderState, exec_type: ExecType, text: str = "") -> None:
    """Our own conclusion about an order, by the same table."""
    tell(turn, order, _own_word(turn, order, exec_type, text))


# --- the table at work -----------------------------------------------------------------------------------------------------


def tell(turn: Turn, order: OrderState, report: Reported) -> None:
    """Move an order by one word about it."""
    move = TRANSITIONS.get((order.ord_status, report.exec_type))
    if move is None:
        _impossible(turn, order, report)
    else:
        _MOVES[move](turn, order, report)


def _impossible(turn: Turn, order: OrderState, report: Reported) -> None:
    """Not in the table: a person must know, nothing else changes."""
    turn.alarm(
        f"order:{order.cl_ord_id}",
        priority=2,
        title=f"The venue contradicts itself about an order of {order.symbol}",
        cause=f"It reports {report.exec_type.value} for an order that is {order.ord_status.value}. {report.text}".strip(),
        consequence="The report was not applied.",
        to_do="Ask the venue about the order and compare.",
        bot=order.bot,
        symbol=order.symbol,
    )


def _late(turn: Turn, order: OrderState, report: Reported) -> None:
    """Old news, unless the order is over by presumption only: then the venue is asked why it speaks of it."""
    if order.is_presumed:
        query(turn, order)
    if report.order_id and not order.order_id:
        order.order_id = report.order_id
        turn.touch_order(order)


def _accept(turn: Turn, order: OrderState, report: Reported) -> None:
    if order.done is not None or (order.is_accepted and not order.is_unknown and order.hold is None):
        return _late(turn, order, report)
    was_unknown = order.is_unknown
    orders.accept(order, at=turn.at, order_id=report.order_id)
    turn.touch_order(order)
    turn.sleep(query_timer(order))
    if order.purpose in LEGS:
        leg_accepted(turn, order)
    if was_unknown:
        _after_doubt(turn, order)
    return None


def _arrive(turn: Turn, order: OrderState, report: Reported) -> None:
    """The venue has it, and will accept or reject it."""
    orders.arrive(order, order_id=report.order_id)
    turn.touch_order(order)
    turn.sleep(query_timer(order))
    watch_for_answer(turn)


def _after_doubt(turn: Turn, order: OrderState) -> None:
    """An order we were not sure of works: one that somebody, or a halt, wanted gone meanwhile is canceled now."""
    if order.cancel_asked_by:
        cancel(turn, order, by=order.cancel_asked_by)


def _end(turn: Turn, order: OrderState, report: Reported) -> None:
    if order.done is not None:
        return _answered(turn, order)
    if report.cum_qty is not None and report.cum_qty > order.cum_qty + order.busted_qty:
        return _await_fills(turn, order, report)
    was_asked = order.pending is OrdStatus.PENDING_CANCEL
    orders.end(order, report.exec_type, at=turn.at, text=report.text)
    order.order_id = report.order_id or order.order_id
    turn.touch_order(order)
    turn.sleep(query_timer(order))
    turn.sleep(age_timer(order))
    for alarm in ("order", "revived", "unknown", "stuck"):
        turn.clear_alarm(f"{alarm}:{order.cl_ord_id}")
    if order.cum_qty < order.order_qty:
        _ended(turn, order, was_asked=was_asked)
    return None


def _await_fills(turn: Turn, order: OrderState, report: Reported) -> None:
    """It ended, and filled more than was heard here: what is left of its position is not known before those fills are."""
    order.order_id = report.order_id or order.order_id
    order.is_unknown = True
    turn.touch_order(order)
    query(turn, order)
    turn.wake(query_timer(order), ms=backoff_ms(order))


def _answered(turn: Turn, order: OrderState) -> None:
    """What was asked of an order that is over is answered: it shows as what it is."""
    if order.pending is not None:
        orders.answered(order)
        turn.sleep(cancel_timer(order))
        turn.touch_order(order)


def _ended(turn: Turn, order: OrderState, *, was_asked: bool) -> None:
    """An order is over and not filled."""
    if was_asked and order.cancel_asked_by == AGE:
        aged_out(turn, order)
        return
    if order.purpose in LEGS and not was_asked:
        leg_refused(turn, order)
    elif order.purpose in EXITS and not was_asked:
        exit_ended(turn, order)


def _asked(turn: Turn, order: OrderState, report: Reported) -> None:
    """The venue says that a cancel or replace is pending: somebody asked, here or there."""
    orders.ask(order, OrdStatus(report.exec_type.value), at=turn.at)
    turn.touch_order(order)
    if order.done is not None:
        _await_answer(turn, order)


def _await_answer(turn: Turn, order: OrderState) -> None:
    """A filled order shows what was asked of it until that is answered, but not for ever."""
    turn.wake(cancel_timer(order), ms=turn.timing.send_timeout_ms)


def _hold(turn: Turn, order: OrderState, report: Reported) -> None:
    """The venue works it no further. A day order that is done for the day is over; where the report says what is left, that counts."""
    is_for_the_day = report.exec_type in (ExecType.DONE_FOR_DAY, ExecType.CALCULATED)
    is_day_order = order.time_in_force is TimeInForce.DAY
    is_over = is_for_the_day and (is_day_order if report.leaves_qty is None else not report.leaves_qty)
    was_working, was_asked = order.done is None, order.pending is OrdStatus.PENDING_CANCEL
    if was_working:
        orders.accept(order, at=turn.at, order_id=report.order_id)
    orders.hold(order, OrdStatus(report.exec_type.value), is_over=is_over, at=turn.at)
    turn.touch_order(order)
    turn.sleep(query_timer(order))
    if was_working and is_over and order.cum_qty < order.order_qty:
        _ended(turn, order, was_asked=was_asked)


def _restate(turn: Turn, order: OrderState, report: Reported) -> None:
    """The venue says unasked what the order is now; one that was over may work again."""
    works = report.leaves_qty is not None and report.leaves_qty > 0
    was_over = order.done is not None
    if was_over and not works:
        return _late(turn, order, report)
    if was_over:
        orders.reinstate(order)
    orders.accept(order, at=turn.at, order_id=report.order_id)
    orders.restate(order, at=turn.at, order_qty=report.order_qty, price=report.price, stop_px=report.stop_px)
    turn.touch_order(order)
    turn.sleep(query_timer(order))
    if was_over and order.done is None:
        _lives(turn, order)
    return None


def _resize(turn: Turn, order: OrderState, report: Reported) -> None:
    """The venue changed the order. A repeated word of an earlier replace says nothing about the one on its way."""
    replace_id = report.cl_ord_id
    if orders.is_superseded(order, replace_id):
        return
    is_answer = orders.answers(order, replace_id=replace_id, order_qty=report.order_qty, price=report.price)
    if report.order_qty is None and not is_answer:
        query(turn, order)
        return
    was_unknown = order.is_unknown
    orders.accept(order, at=turn.at, order_id=report.order_id)
    orders.resize(
        order,
        at=turn.at,
        order_qty=report.order_qty,
        price=report.price,
        stop_px=report.stop_px,
        replace_id=replace_id,
    )
    order.tries = 0
    turn.touch_order(order)
    turn.sleep(query_timer(order))
    reopen(turn, turn.state.brackets.get(order.bracket_id))
    if was_unknown:
        _after_doubt(turn, order)


def _revived(turn: Turn, order: OrderState, report: Reported) -> None:
    """A word about an order that is over. By presumption: it may work, and the word says what became of it. Else it is old news."""
    if not order.is_presumed:
        return _late(turn, order, report)
    orders.revive(order)
    tell(turn, order, report)
    if order.done is None:
        _lives(turn, order)
    return None


def _fall_back(turn: Turn, order: OrderState, report: Reported) -> None:
    """The venue would not cancel or change it: it may be over already, so ask; and try again if it is not."""
    is_replace, was_unknown = report.exec_type is ExecType.REPLACE_REJECTED, order.is_unknown
    if is_replace and order.replacing is not None and not orders.answers(order, replace_id=report.cl_ord_id):
        return
    orders.fall_back(order, report.exec_type, text=report.text)
    if order.done is not None:
        turn.sleep(cancel_timer(order))
        turn.touch_order(order)
        return
    order.tries += 1
    turn.touch_order(order)
    query(turn, order)
    turn.wake(replace_timer(order) if is_replace else cancel_timer(order), ms=backoff_ms(order))
    if was_unknown and not order.is_unknown:
        turn.sleep(query_timer(order))
        _after_doubt(turn, order)


def _lose(turn: Turn, order: OrderState, report: Reported) -> None:
    if order.done is not None:
        return
    orders.lose(order)
    order.text = report.text or order.text
    order.tries = 0
    turn.touch_order(order)
    turn.wake(query_timer(order), ms=backoff_ms(order))


def _compare(turn: Turn, order: OrderState, report: Reported) -> None:
    """A snapshot books nothing itself; one that knows of more fills is a reason to ask for them."""
    if order.is_presumed or (report.cum_qty is not None and report.cum_qty > order.cum_qty):
        query(turn, order)


def _lives(turn: Turn, order: OrderState) -> None:
    """An order we had given up lives. It is taken back with its reservation, alarmed, and canceled if it is an entry."""
    turn.touch_order(order)
    turn.alarm(
        f"revived:{order.cl_ord_id}",
        priority=2,
        title=f"An order of {order.symbol} was alive after all",
        cause="The venue reports an order that it had denied knowing.",
        consequence="It counts again; an entry is being canceled." if order.order_class is OrderClass.ENTRY else "It counts again.",
        to_do="Compare orders and positions with the venue's own page.",
        bot=order.bot,
        symbol=order.symbol,
    )
    reopen(turn, turn.state.brackets.get(order.bracket_id))
    if order.purpose in EXITS:
        turn.clear_alarm(f"exit:{order.symbol}")
    if order.order_class is OrderClass.ENTRY:
        cancel(turn, order, by="the desk")
    if order.is_unknown and query_timer(order) not in turn.state.timers:
        query(turn, order)
        turn.wake(query_timer(order), ms=backoff_ms(order))


def _book(turn: Turn, order: OrderState, report: Reported) -> None:
    fill = fill_told(turn, order, report)
    if fill is None:
        query(turn, order)  # the history has it under an id
        return
    if fill.exec_id in order.exec_ids or (fill is not report and not fill.last_qty):
        return
    if not is_fill(fill):
        _impossible(turn, order, report)
        return
    was_presumed, was_whole = order.is_presumed, not order.cum_qty
    if was_presumed:
        orders.revive(order)
    book_fill(turn, order, fill)
    if was_presumed:
        _lives(turn, order)
    if order.done is not None:
        turn.sleep(age_timer(order))
        turn.clear_alarm(f"stuck:{order.cl_ord_id}")
    elif was_whole:
        filled_in_part(turn, order)
    if order.done is not None and order.pending is not None:
        _await_answer(turn, order)


def _bust(turn: Turn, order: OrderState, report: Reported) -> None:
    is_told = report.exec_type is ExecType.TRADE_CANCEL or is_fill(report)
    if report.exec_ref_id and is_told:
        busted(turn, order, report)
    else:
        _impossible(turn, order, report)


_MOVES: Final[Mapping[Move, Callable[[Turn, OrderState, Reported], None]]] = {
    Move.ACCEPT: _accept,
    Move.ARRIVE: _arrive,
    Move.BOOK: _book,
    Move.BUST: _bust,
    Move.END: _end,
    Move.HOLD: _hold,
    Move.ASK: _asked,
    Move.FALL_BACK: _fall_back,
    Move.RESIZE: _resize,
    Move.RESTATE: _restate,
    Move.LOSE: _lose,
    Move.REVIVE: _revived,
    Move.COMPARE: _compare,
    Move.LATE: _late,
}
