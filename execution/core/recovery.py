"""Asking the venue: after a start, when an answer is missing, and from time to time.

Rules of this file.
1. A start sends no order. It asks about every order it is not sure of, cancels again what was being canceled, sets timers and watches
   again, and asks for the whole picture; what that shows decides about protection.
2. An order is only given up (NEVER_ARRIVED) where the venue can be asked by our id, and after it twice did not know it, the second
   time at least `unknown_settle_ms` after the first, the first at least `send_timeout_ms` after the send.
3. A picture of the venue books only fills we do not have. Where it then disagrees, the symbol takes no entry and a person is told.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from heapq import merge
from typing import Final

import msgspec

from execution.core import adjustments, conditions, disagreements, kills
from execution.core.controls import BotStatus
from execution.core.foreign import release, report_of
from execution.core.messages import (
    Adjusted,
    AnswerCommand,
    BooksBy,
    CommandKind,
    CommandStatus,
    ExecType,
    OrderFound,
    QueryVenue,
    Reconciled,
    Reported,
    Started,
    VenueFill,
    VenueOrder,
    WakeAt,
)
from execution.core.orders import OrderState, OrdStatus, Replacing
from execution.core.ports import FILLS_OVERLAP
from execution.core.reports import conclude, tell
from execution.core.sending import RECONCILE, backoff_ms, cancel_request, query, query_timer
from execution.core.turn import Turn
from risk.core.verdict import Capability
from risk.core.wording import number

#: how soon the venue is asked again for fills that it counts and does not show yet
_FILLS_MS: Final = 1000
#: orders kept after they are done
_KEPT_ORDERS: Final = 5000
_KEPT_BRACKETS: Final = 2000
_UNSURE: Final = (OrdStatus.PENDING_NEW, OrdStatus.UNKNOWN, OrdStatus.PENDING_REPLACE)
#: questions about an absent order at a venue that cannot prove an absence, before a person is told
_ABSENT_TRIES: Final = 5


def started(turn: Turn, event: Started) -> None:
    """The first event after every recovery."""
    state = turn.state
    state.token, state.epoch = event.token, event.epoch
    conditions.start(turn)
    for bot in state.bots.values():
        bot.is_warm = False
        if bot.status is BotStatus.RUNNING:
            bot.status = BotStatus.WARMING
        turn.touch_bot(bot)
    for order in [o for working in state.orders.values() if (o := working).done is None]:
        if order.ord_status in _UNSURE:
            query(turn, order)
        if order.pending is OrdStatus.PENDING_CANCEL:
            turn.emit(cancel_request(order))
    for timer, due_at in state.timers.items():
        turn.emit(WakeAt(timer=timer, due_at=due_at))
    for watch in state.watches.values():
        turn.emit(watch)
    turn.emit(QueryVenue(query_id=f"start:{state.seq + 1}"))
    if RECONCILE not in state.timers:
        turn.wake(RECONCILE, ms=turn.timing.reconcile_ms)


def reconcile_due(turn: Turn) -> None:
    turn.emit(QueryVenue(query_id=f"routine:{turn.state.seq + 1}"))
    turn.wake(RECONCILE, ms=turn.timing.reconcile_ms)


# --- one order --------------------------------------------------------------------------------------------------------------


def order_found(turn: Turn, event: OrderFound) -> None:
    """The venue's answer about one order."""
    order = turn.order(event.cl_ord_id)
    if order is None:
        return
    _catch_up(turn, event)
    has_filled = any(turn.order(fill.cl_ord_id) is order for fill in event.fills)
    if event.order is not None:
        _compare(turn, order, event.order, asked_at=event.asked_at)
    elif order.done is None and (order.is_accepted or not has_filled) and event.cl_ord_id == order.id_at_venue:
        _absent(turn, order, event)


def _compare(turn: Turn, order: OrderState, shown: VenueOrder, *, asked_at: datetime) -> None:
    """What the venue shows under our id, as a word about our order, if it is our order."""
    is_ours = (shown.symbol, shown.side) == (order.symbol, order.side)
    if not is_ours or (not order.is_accepted and shown.order_qty != order.order_qty):
        _another(turn, order, shown)
        return
    if order.done is None and order.is_accepted:
        _compare_terms(turn, order, shown, asked_at)
    exec_type = _WORDS.get(shown.ord_status)
    if shown.cum_qty > order.cum_qty + order.busted_qty:
        query_soon(turn, order)
    elif exec_type is not None and (order.done is None or order.is_presumed):
        conclude_shown(turn, order, shown, exec_type)


def _another(turn: Turn, order: OrderState, shown: VenueOrder) -> None:
    """The venue shows another order under our id: it is not taken over, and one refused as a duplicate is refused."""
    if order.is_duplicate and order.is_unknown:
        conclude(turn, order, ExecType.SEND_REFUSED, "its id belongs to another order at the venue")
    turn.alarm(
        f"order:{order.cl_ord_id}",
        priority=1,
        title="The venue shows another order under our id",
        cause=f"{shown.side.value} {number(shown.order_qty)} {shown.symbol} instead of "
        f"{order.side.value} {number(order.order_qty)} {order.symbol}.",
        consequence="It was not taken over.",
        to_do="Look at the venue's own page.",
        bot=order.bot,
        symbol=order.symbol,
    )


def _compare_terms(turn: Turn, order: OrderState, shown: VenueOrder, asked_at: datetime) -> None:
    """The order as the venue shows it: with a replace on its way the answer to it, else what somebody else made of it."""
    if order.replacing is not None:
        _compare_replace(turn, order, order.replacing, shown, asked_at)
    elif shown.order_qty != order.order_qty and shown.order_qty >= order.cum_qty and asked_at > order.updated_at:
        word = Reported(
            at=turn.at,
            cl_ord_id=order.cl_ord_id,
            exec_type=ExecType.REPLACED,
            order_qty=shown.order_qty,
            price=shown.price,
            stop_px=shown.stop_px,
        )
        tell(turn, order, word)


def _compare_replace(turn: Turn, order: OrderState, asked: Replacing, shown: VenueOrder, asked_at: datetime) -> None:
    """Was a replace done whose answer is missing? Its id, or its terms, say yes; the old terms, shown twice far enough apart, no."""
    wanted = (asked.order_qty, asked.price, asked.stop_px)
    current = (order.order_qty, order.price, order.stop_px)
    seen = (shown.order_qty, shown.price, shown.stop_px)
    changed = [n for n in range(3) if wanted[n] != current[n]]
    if shown.cl_ord_id == asked.cl_ord_id or all(seen[n] == wanted[n] for n in changed):
        word = Reported(at=turn.at, cl_ord_id=shown.cl_ord_id, exec_type=ExecType.REPLACED, order_id=shown.order_id)
        tell(turn, order, word)
    elif all(seen[n] == current[n] for n in changed) and asked_at >= asked.since + timedelta(
        milliseconds=turn.timing.send_timeout_ms
    ):
        first = asked.unchanged_at
        if first is None:
            order.replacing = msgspec.structs.replace(asked, unchanged_at=asked_at)
            turn.touch_order(order)
        elif asked_at - first >= timedelta(milliseconds=turn.timing.unknown_settle_ms):
            conclude(turn, order, ExecType.REPLACE_REJECTED, "asked twice, the venue shows it unchanged")


_WORDS: Final = {
    "NEW": ExecType.NEW,
    "PARTIALLY_FILLED": ExecType.NEW,
    "PENDING_CANCEL": ExecType.NEW,
    "PENDING_REPLACE": ExecType.NEW,
    #: filled as far as it will be: short of its quantity when a fill was busted
    "FILLED": ExecType.CANCELED,
    "CANCELED": ExecType.CANCELED,
    "REJECTED": ExecType.REJECTED,
    "EXPIRED": ExecType.EXPIRED,
}


def conclude_shown(turn: Turn, order: OrderState, shown: VenueOrder, exec_type: ExecType) -> None:
    if exec_type is ExecType.NEW and order.is_accepted and not order.is_unknown and order.done is None:
        return
    order.order_id = order.order_id or shown.order_id
    conclude(turn, order, exec_type)


def query_soon(turn: Turn, order: OrderState) -> None:
    """The venue knows of fills that have not come yet: ask again in a moment."""
    order.tries += 1
    order.is_unknown = order.is_unknown or (order.done is None and not order.is_accepted)
    turn.touch_order(order)
    due_at = turn.at + timedelta(milliseconds=_FILLS_MS)
    if turn.state.timers.get(RECONCILE, due_at) >= due_at:
        turn.wake_at(RECONCILE, due_at)


def _absent(turn: Turn, order: OrderState, event: OrderFound) -> None:
    """The venue does not know an order that we think may work."""
    asked_late_enough = event.asked_at >= order.created_at + timedelta(milliseconds=turn.timing.send_timeout_ms)
    if not asked_late_enough:
        return _doubt(turn, order)
    if not (order.is_accepted or turn.has(Capability.QUERY_BY_CLIENT_ID)):
        return _cannot_prove(turn, order)  # what once worked and is no longer open is over; what never showed may still come
    if order.absent_at is None:
        order.absent_at = event.asked_at
        return _doubt(turn, order)
    if event.asked_at - order.absent_at < timedelta(milliseconds=turn.timing.unknown_settle_ms):
        return _doubt(turn, order)
    order.is_unknown = True
    conclude(turn, order, ExecType.NEVER_ARRIVED, "asked twice, the venue does not know it")
    return None


def _doubt(turn: Turn, order: OrderState) -> None:
    """Not sure: UNKNOWN, and asked again."""
    if not order.is_unknown:
        order.is_unknown = True
        order.tries = 0
    turn.touch_order(order)
    if query_timer(order) not in turn.state.timers:
        turn.wake(query_timer(order), ms=backoff_ms(order))


def _cannot_prove(turn: Turn, order: OrderState) -> None:
    _doubt(turn, order)
    if order.tries >= _ABSENT_TRIES:
        turn.alarm(
            f"unknown:{order.cl_ord_id}",
            priority=1,
            title=f"Nobody knows what became of an order of {order.symbol}",
            cause="The venue does not show it, and cannot be asked by our id.",
            consequence="It keeps its reservation; the symbol takes no entry.",
            to_do="Find it on the venue's own page.",
            bot=order.bot,
            symbol=order.symbol,
        )


# --- the whole picture -------------------------------------------------------------------------------------------------------


def reconciled(turn: Turn, event: Reconciled) -> None:
    """The venue's whole answer: what we lack is booked, orders and positions compared, protection looked at."""
    account = turn.state.account
    _catch_up(turn, event)
    shown = set()
    for order in event.orders:
        ours = turn.order(order.cl_ord_id)
        if ours is not None:
            shown.add(ours.cl_ord_id)
            _compare(turn, ours, order, asked_at=event.asked_at)
    _ask_about_missing(turn, event, shown)
    foreign = _foreign_orders(turn, event.orders)
    apart = disagreements.compare(turn, event, until=_shown_until(turn, event))
    if not account.links_down.get("ORDERS") and (account.orders_up_at is None or event.asked_at >= account.orders_up_at):
        conditions.is_reconciled(turn)
    account.reconciled_at = turn.at
    account.reconciled_text = _verdict(apart, foreign)
    turn.touch_account()
    turn.protect_all()
    kills.reconciled(turn, event)
    _answer_questions(turn, event)
    evict(turn)


def _catch_up(turn: Turn, event: Reconciled | OrderFound) -> None:
    """Book what the venue booked and we did not, in the order it happened: a split changes what the next fill is counted in."""

    def happened_at(moved: Adjusted | VenueFill) -> datetime:
        return moved.transact_at or event.asked_at

    adjusted: Iterable[Adjusted | VenueFill] = event.adjustments
    for moved in merge(adjusted, event.fills, key=happened_at):
        if isinstance(moved, Adjusted):
            adjustments.told_late(turn, moved)
        else:
            _book_missing(turn, moved)


def _book_missing(turn: Turn, fill: VenueFill) -> None:
    """Book a fill whose exec_id we do not have, as its report would have been."""
    by_cum_qty = turn.settings is not None and turn.settings.books_by is BooksBy.CUM_QTY
    if by_cum_qty and fill.cum_qty is None and fill.exec_type is ExecType.TRADE:
        return  # a trade of a venue that is not booked by trades
    order = turn.order(fill.cl_ord_id)
    report = report_of(fill, at=turn.at)
    if order is not None and fill.exec_id not in order.exec_ids:
        tell(turn, order, report)
    elif order is None and not _is_forgotten(turn, fill):
        release(turn, report)


def _is_forgotten(turn: Turn, fill: VenueFill) -> bool:
    """A fill from before this desk's journal, or of an order evicted long ago, was booked or is not ours to book."""
    since = turn.state.account.day_start_at
    first = turn.state.account.reconciled_at
    return first is None or since is None or fill.transact_at < first - timedelta(minutes=1)


def _shown_until(turn: Turn, event: Reconciled) -> datetime:
    """What moved at or after this moment need not be in the answer."""
    is_late = turn.settings is not None and turn.settings.is_eventually_consistent
    return event.asked_at - timedelta(milliseconds=turn.timing.unknown_settle_ms if is_late else 0)


def _ask_about_missing(turn: Turn, event: Reconciled, shown: set[str]) -> None:
    """An order that we think works, that was working when the venue was asked, and that it does not show."""
    until = _shown_until(turn, event)
    for symbol in sorted(turn.index.orders):
        for order in turn.index.orders_of(symbol):
            if order.cl_ord_id not in shown and order.is_accepted and not order.is_unknown and order.updated_at < until:
                query(turn, order)


def _foreign_orders(turn: Turn, shown: Iterable[VenueOrder]) -> int:
    foreign = [order for order in shown if turn.order(order.cl_ord_id) is None]
    if foreign:
        first = foreign[0]
        turn.alarm(
            "foreign-orders",
            priority=2,
            title="The venue works orders that are not ours",
            cause=f"{len(foreign)}, the first: {first.side.value} {number(first.order_qty)} {first.symbol}.",
            consequence="They are left alone; what they fill is booked to EXTERNAL.",
            to_do="Cancel them at the venue, or find out who trades on this account.",
        )
    else:
        turn.clear_alarm("foreign-orders")
    return len(foreign)


def _verdict(apart: list[str], foreign: int) -> str:
    parts = list(apart)
    if foreign:
        parts.append(f"{foreign} foreign {'order' if foreign == 1 else 'orders'}")
    return "; ".join(parts) or "agrees"


def _answer_questions(turn: Turn, event: Reconciled) -> None:
    """A person who asked the venue gets what it said."""
    for command in [c for c in turn.state.commands.values() if c.spec.kind is CommandKind.QUERY]:
        if event.asked_seq >= command.needed_seq:
            orders, positions = len(event.orders), _open(event)
            text = (
                f"The venue {_agreement(turn)}: {orders} open {'order' if orders == 1 else 'orders'}, "
                f"{positions} {'position' if positions == 1 else 'positions'}."
            )
            turn.emit(AnswerCommand(command_id=command.spec.command_id, status=CommandStatus.DONE, text=text))
            del turn.state.commands[command.spec.command_id]


def _agreement(turn: Turn) -> str:
    text = turn.state.account.reconciled_text
    return text if text == "agrees" else f"does not agree ({text})"


def _open(event: Reconciled) -> int:
    return sum(1 for qty in event.positions.values() if qty)


def evict(turn: Turn) -> None:
    """Forget orders and brackets that were done long ago: newest kept, and none that a question for fills could still bring up.

    Such a question reaches back to the last answer and a little further; an order is kept for twice that.
    """
    orders = turn.state.orders
    before = turn.at - 2 * (timedelta(milliseconds=turn.timing.reconcile_ms) + FILLS_OVERLAP)
    for order in list(orders.values())[: max(len(orders) - _KEPT_ORDERS, 0)]:
        bracket = turn.state.brackets.get(order.bracket_id)
        is_needed = order.decision_id in turn.state.parents or (
            bracket is not None and bracket.bracket_id in turn.index.brackets.get(bracket.symbol, {})
        )
        if order.done_at is not None and order.done_at < before and not is_needed:
            del orders[order.cl_ord_id]
            for replace_id in order.replace_ids:
                del turn.index.replaces[replace_id]
            for alarm in ("order", "revived", "unknown", "stuck"):
                turn.clear_alarm(f"{alarm}:{order.cl_ord_id}")
            turn.is_changed = True
    brackets = turn.state.brackets
    for bracket in list(brackets.values())[: max(len(brackets) - _KEPT_BRACKETS, 0)]:
        if bracket.bracket_id not in turn.index.brackets.get(bracket.symbol, {}):
            del brackets[bracket.bracket_id]
            turn.is_changed = True
