"""What the venue says about orders, booked: the order moves by its table, money and positions by its fills.

Rules of this file.
1. Every word about an order goes through `tell()`, whoever brought it: a report, a failed send, an answered question, our own
   conclusion. What the table does not know raises an alarm and changes nothing.
2. `book_fill()` is the only place where a position or the account's money changes.
3. A word about an order nobody knows waits a little for its order, then its fills belong to EXTERNAL.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from execution.core import orders, pnl
from execution.core.brackets import BracketState, BracketStatus
from execution.core.halts import latch, over
from execution.core.messages import ExecType, Reported, SendFailed, SendOutcome, VenueFill
from execution.core.orders import Move, OrderState, OrdStatus, Purpose
from execution.core.pnl import Booked
from execution.core.positions import FillState, PositionState
from execution.core.protection import leg_accepted, leg_refused, overshot
from execution.core.sending import cancel, query
from execution.core.state import Parked
from execution.core.turn import Turn
from risk.core import circuit_breaker, session_pnl
from risk.core.book import EXTERNAL
from risk.core.units import ZERO, OrdType, Scope, ScopeKind, Side, TimeInForce
from risk.core.verdict import HaltCause, HaltMode, OrderClass
from risk.core.wording import number

_PARKED_MAX: Final = 1000
_LEGS: Final = (Purpose.STOP_LOSS, Purpose.TAKE_PROFIT)
#: the first pause before an unanswered order is asked about; doubled each time up to QUERY_MS_MAX
QUERY_MS: Final = 100
QUERY_MS_MAX: Final = 30_000


def reported(turn: Turn, report: Reported) -> None:
    """An execution report."""
    order = turn.state.orders.get(report.cl_ord_id)
    if order is None:
        _park(turn, report)
    else:
        tell(turn, order, report)


def send_failed(turn: Turn, event: SendFailed) -> None:
    """A request that no report answered."""
    order = turn.state.orders.get(event.cl_ord_id)
    if order is None or order.done is not None:
        return
    if event.request == "new":
        tell(turn, order, _own_word(turn, order, _SENDS[event.outcome], event.text))
    elif event.outcome is SendOutcome.UNKNOWN:
        query(turn, order)
    else:
        refused = ExecType.CANCEL_REJECTED if event.request == "cancel" else ExecType.REPLACE_REJECTED
        tell(turn, order, _own_word(turn, order, refused, event.text))


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
    move = orders.TRANSITIONS.get((order.ord_status, report.exec_type))
    match move:
        case None:
            _impossible(turn, order, report)
        case Move.LATE:
            _late(turn, order, report)
        case Move.BOOK:
            _book(turn, order, report)
        case Move.ACCEPT:
            _accept(turn, order, report)
        case Move.END:
            _end(turn, order, report)
        case Move.ASK:
            pending = OrdStatus(report.exec_type.value)
            orders.ask(order, pending, at=turn.at)
            turn.touch_order(order)
        case Move.FALL_BACK:
            _fall_back(turn, order, report)
        case Move.RESIZE:
            orders.resize(order)
            turn.touch_order(order)
        case Move.LOSE:
            _lose(turn, order, report)
        case Move.REVIVE:
            if orders.is_our_conclusion(order):
                revive(turn, order)
                _accept(turn, order, report)
        case Move.COMPARE:
            _compare(turn, order, report)


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
    if report.order_id and not order.order_id:
        order.order_id = report.order_id
        turn.touch_order(order)


def _accept(turn: Turn, order: OrderState, report: Reported) -> None:
    if order.is_accepted and not order.is_unknown:
        return _late(turn, order, report)
    was_unknown = order.is_unknown
    orders.accept(order, at=turn.at, order_id=report.order_id)
    turn.touch_order(order)
    turn.sleep(query_timer(order))
    if order.purpose in _LEGS:
        leg_accepted(turn, order)
    if was_unknown:
        _after_doubt(turn, order)
    return None


def _after_doubt(turn: Turn, order: OrderState) -> None:
    """An order we were not sure of works: an entry that somebody or a halt wanted gone meanwhile is canceled now."""
    is_unwanted = bool(order.cancel_asked_by)
    if order.order_class is OrderClass.ENTRY and over(turn, bot=order.bot, symbol=order.symbol):
        is_unwanted = True
    if is_unwanted:
        cancel(turn, order, by=order.cancel_asked_by or "halt")


def _end(turn: Turn, order: OrderState, report: Reported) -> None:
    was_asked = order.pending is OrdStatus.PENDING_CANCEL
    orders.end(order, report.exec_type, at=turn.at, text=report.text)
    order.order_id = report.order_id or order.order_id
    turn.touch_order(order)
    turn.sleep(query_timer(order))
    turn.clear_alarm(f"order:{order.cl_ord_id}")
    if order.done is OrdStatus.FILLED:
        return
    if order.purpose in _LEGS and not was_asked:
        leg_refused(turn, order)
    elif order.done is OrdStatus.REJECTED and order.purpose in (Purpose.EXIT, Purpose.OVERSHOOT):
        turn.alarm(
            f"exit:{order.symbol}",
            priority=2,
            title=f"An exit of {order.symbol} was refused",
            cause=f"{order.ord_rej_reason}: {order.text}".strip(": "),
            consequence="The position stays open; its stop stays.",
            to_do="Close it again, or close it at the venue.",
            bot=order.bot,
            symbol=order.symbol,
        )


def _fall_back(turn: Turn, order: OrderState, report: Reported) -> None:
    """The venue would not cancel: it may be over already, so ask; and try again if it is not."""
    orders.fall_back(order, text=report.text)
    order.tries += 1
    turn.touch_order(order)
    query(turn, order)
    turn.wake(cancel_timer(order), ms=backoff_ms(order))


def _lose(turn: Turn, order: OrderState, report: Reported) -> None:
    orders.lose(order)
    order.text = report.text or order.text
    order.tries = 0
    turn.touch_order(order)
    turn.wake(query_timer(order), ms=backoff_ms(order))


def _compare(turn: Turn, order: OrderState, report: Reported) -> None:
    """A snapshot books nothing itself; one that knows of more fills is a reason to ask for them."""
    if report.cum_qty is not None and report.cum_qty > order.cum_qty:
        query(turn, order)


def revive(turn: Turn, order: OrderState) -> None:
    """An order we had given up lives. It is taken back with its reservation, alarmed, and canceled if it is an entry."""
    orders.revive(order)
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
    _reopen(turn, turn.state.brackets.get(order.bracket_id))
    if order.order_class is OrderClass.ENTRY:
        order.is_accepted = True
        cancel(turn, order, by="the desk")


def _reopen(turn: Turn, bracket: BracketState | None) -> None:
    """A bracket we were done with has an order again."""
    if bracket is not None and bracket.status is BracketStatus.CLOSED:
        bracket.status = BracketStatus.CLOSING
        turn.index.bracket_changed(bracket)
        turn.touch_bracket(bracket)


def query_timer(order: OrderState) -> str:
    return f"query:{order.cl_ord_id}"


def cancel_timer(order: OrderState) -> str:
    return f"cancel:{order.cl_ord_id}"


def backoff_ms(order: OrderState) -> int:
    """100 ms doubled with each try, at most 30 s, spread by the id so that a thousand orders do not ask at once."""
    pause = min(QUERY_MS << min(order.tries, 16), QUERY_MS_MAX)
    spread = (sum(order.cl_ord_id.encode()) + 17 * order.tries) % 64
    return pause + pause * spread // 256


# --- fills -------------------------------------------------------------------------------------------------------------------


def _book(turn: Turn, order: OrderState, report: Reported) -> None:
    exec_id = report.exec_id or f"cum:{order.cl_ord_id}:{report.cum_qty}"
    if exec_id in order.exec_ids:
        return
    if not (report.last_qty > 0 and report.last_px.is_finite() and report.last_qty.is_finite()):
        _impossible(turn, order, report)
        return
    if orders.is_our_conclusion(order):
        revive(turn, order)
    book_fill(turn, order, report, exec_id)


def book_fill(turn: Turn, order: OrderState, report: Reported, exec_id: str) -> None:
    """Book a fill: on the order, the position, the account, the symbol's session and breaker, and the bracket."""
    was_accepted, was_first = order.is_accepted, not order.cum_qty
    excess = orders.book(order, exec_id=exec_id, qty=report.last_qty, px=report.last_px, at=turn.at, order_id=report.order_id)
    position = turn.position(order.symbol, bot=order.bot)
    if not position.qty:
        position.bot = order.bot
    if position.mark is None:
        position.mark, position.marked_at = report.last_px, turn.at
    booked = pnl.apply_fill(position, side=order.side, qty=report.last_qty, px=report.last_px, at=turn.at)
    if order.purpose is Purpose.ENTRY and was_first and position.qty:
        position.entries += 1
    fee = _charge(turn, order, position, report)
    _book_cash(turn, position, report, booked, side=order.side, fee=fee)
    _book_risk(turn, order, booked, fee)
    _publish_fill(turn, order, report, exec_id, booked)
    turn.touch("position", order.symbol, position)
    turn.index.position_changed(order.symbol)
    turn.touch_order(order)
    if order.done is not None:
        turn.sleep(query_timer(order))
    if order.purpose in _LEGS and not was_accepted:
        leg_accepted(turn, order)
    _book_brackets(turn, order, position, report.last_qty)
    if excess:
        _overfilled(turn, order, excess)
    if order.purpose is not Purpose.ENTRY and booked.opened_qty:
        position.bot = EXTERNAL
        overshot(turn, order.symbol)
    elif f"overshoot:{order.symbol}" in turn.state.alarms:
        overshot(turn, order.symbol)


def _charge(turn: Turn, order: OrderState, position: PositionState, report: Reported) -> Decimal:
    """The fee in the account's currency. One in another currency is kept apart, and said."""
    settings, account = turn.state.settings, turn.state.account
    if not report.fee:
        return ZERO
    if settings is not None and report.fee_currency not in ("", settings.currency):
        account.fees_other[report.fee_currency] = account.fees_other.get(report.fee_currency, ZERO) + report.fee
        turn.alarm(
            f"fees:{report.fee_currency}",
            priority=3,
            title=f"Fees in {report.fee_currency} are not in the results",
            cause=f"The venue charges in {report.fee_currency}, the account counts in {settings.currency}.",
            consequence="They are kept apart and shown apart; equity does not know them.",
            to_do="Pay fees in the account's currency at the venue, if it lets you.",
        )
        return ZERO
    order.fees += report.fee
    position.fees += report.fee
    account.fees += report.fee
    return report.fee


def _book_cash(turn: Turn, position: PositionState, report: Reported, booked: Booked, *, side: Side, fee: Decimal) -> None:
    account = turn.state.account
    account.realised += booked.realised
    account.cash -= fee
    account.cash += pnl.cash_moved(
        turn.instrument(position.symbol),
        booked,
        side=side,
        qty=report.last_qty,
        px=report.last_px,
        contract_value=position.contract_value,
    )
    turn.is_money_moved = True
    turn.touch_account()


def _book_risk(turn: Turn, order: OrderState, booked: Booked, fee: Decimal) -> None:
    """Feed the symbol's session and breaker. The session rolls first, so a late fill belongs to the session it is booked in."""
    held, settings = turn.symbol(order.symbol), turn.state.settings
    values = turn.index.effective(turn.index.owner(order.symbol), order.symbol).values
    boundaries = settings.sessions.get(order.symbol, ()) if settings else ()
    session_pnl.roll(held.session, at=turn.at, boundaries=boundaries)
    if not booked.closed_qty:
        session_pnl.record_fee(held.session, fee=fee, limit=values.session_loss_limit)
    elif session_pnl.record_close(held.session, gross=booked.realised, fee=fee, limit=values.session_loss_limit):
        circuit_breaker.record_loss(
            held.breaker,
            at=turn.at,
            limit=values.breaker_losses,
            window_s=values.breaker_window_s,
            cooldown_s=values.breaker_cooldown_s,
        )
    turn.touch("symbol", order.symbol, held)


def _publish_fill(turn: Turn, order: OrderState, report: Reported, exec_id: str, booked: Booked) -> None:
    fill = FillState(
        exec_id=exec_id,
        cl_ord_id=order.cl_ord_id,
        order_id=order.order_id,
        bot=order.bot,
        symbol=order.symbol,
        side=order.side,
        last_qty=report.last_qty,
        last_px=report.last_px,
        fee=report.fee,
        fee_currency=report.fee_currency,
        liquidity=report.liquidity,
        realised=booked.realised,
        at=turn.at,
        transact_at=report.transact_at,
    )
    turn.touch("fill", f"{order.cl_ord_id}:{exec_id}", fill)


def _book_brackets(turn: Turn, order: OrderState, position: PositionState, qty: Decimal) -> None:
    """Move what each bracket must protect: its entry adds, its legs take, other exits take from the oldest."""
    bracket = turn.state.brackets.get(order.bracket_id or order.cl_ord_id)
    if bracket is not None:
        if order.purpose is Purpose.ENTRY:
            bracket.entry_qty += qty
            bracket.open_qty += qty
            _reopen(turn, bracket)
        else:
            bracket.open_qty = max(bracket.open_qty - qty, ZERO)
        turn.touch_bracket(bracket)
    fit_brackets(turn, order.symbol, position)


def fit_brackets(turn: Turn, symbol: str, position: PositionState) -> None:
    """No bracket protects what is not there: what exits took is taken from the oldest, the other side of zero from all."""
    side = Side.BUY if position.qty > 0 else Side.SELL
    room = abs(position.qty)
    for bracket in reversed(turn.index.brackets_of(symbol)):
        open_qty = min(bracket.open_qty, room) if bracket.side is side else ZERO
        room -= open_qty
        if open_qty != bracket.open_qty:
            bracket.open_qty = open_qty
            turn.touch_bracket(bracket)
            turn.dirty[bracket.bracket_id] = None


def _overfilled(turn: Turn, order: OrderState, excess: Decimal) -> None:
    reason = f"{number(excess)} {order.symbol} more filled than was ordered ({order.cl_ord_id})."
    scope = Scope(ScopeKind.INSTRUMENT, order.symbol)
    if not any(halt.cause is HaltCause.OVERFILL and halt.scope == scope for halt in turn.state.halts.values()):
        latch(turn, scope, HaltMode.REDUCE_ONLY, HaltCause.OVERFILL, reason)
    turn.alarm(
        f"overfill:{order.cl_ord_id}",
        priority=1,
        title=f"An order of {order.symbol} overfilled",
        cause=reason,
        consequence="It is booked and protected; the symbol is reduce-only until a person clears it.",
        to_do="Compare the order's fills with the venue's own page.",
        bot=order.bot,
        symbol=order.symbol,
    )


# --- words about orders nobody knows -----------------------------------------------------------------------------------------


def _park(turn: Turn, report: Reported) -> None:
    """Keep a report for a while: its order may be on its way to us."""
    if report.exec_id and any(parked.report.exec_id == report.exec_id for parked in turn.state.parked):
        return
    turn.state.parked.append(Parked(report, turn.at + timedelta(milliseconds=turn.timing.park_ms)))
    del turn.state.parked[:-_PARKED_MAX]
    turn.is_changed = True
    turn.wake(f"park:{report.cl_ord_id}", ms=turn.timing.park_ms)


def parked_due(turn: Turn, cl_ord_id: str) -> None:
    """The wait is over: what is still nobody's belongs to EXTERNAL."""
    due = [parked.report for parked in turn.state.parked if parked.report.cl_ord_id == cl_ord_id]
    turn.state.parked = [parked for parked in turn.state.parked if parked.report.cl_ord_id != cl_ord_id]
    turn.is_changed = True
    for report in due:
        if report.exec_type is ExecType.TRADE and report.symbol and report.side is not None:
            book_foreign(turn, report)


def book_foreign(turn: Turn, report: Reported) -> None:
    """Book a fill of an order that is not ours: it moved our position all the same."""
    assert report.side is not None, "a fill without a side cannot be booked"
    order = turn.state.orders.get(report.cl_ord_id) or _foreign_order(turn, report, report.side)
    exec_id = report.exec_id or f"cum:{order.cl_ord_id}:{report.cum_qty}"
    if exec_id in order.exec_ids:
        return
    order.order_qty += report.last_qty
    book_fill(turn, order, report, exec_id)
    position = turn.state.positions[report.symbol]
    if position.qty:
        position.bot = EXTERNAL
    turn.alarm(
        f"foreign:{report.symbol}",
        priority=2,
        title=f"A foreign fill of {report.symbol}",
        cause=f"{report.side.value} {number(report.last_qty)} at {number(report.last_px)} for an order this desk did not send.",
        consequence=f"It is booked to {EXTERNAL}; while it holds the symbol, the symbol only reduces and has no stop from us.",
        to_do="Close it, or find out who traded on this account.",
        symbol=report.symbol,
    )


def _foreign_order(turn: Turn, report: Reported, side: Side) -> OrderState:
    cl_ord_id = report.cl_ord_id[:18] or f"x{report.order_id[:17]}"
    found = turn.state.orders.get(cl_ord_id)
    if found is None:
        found = turn.state.orders[cl_ord_id] = OrderState(
            cl_ord_id=cl_ord_id,
            bot=EXTERNAL,
            symbol=report.symbol,
            side=side,
            ord_type=OrdType.MARKET,
            time_in_force=TimeInForce.GTC,
            order_class=OrderClass.EXIT,
            purpose=Purpose.ENTRY,
            order_qty=ZERO,
            created_at=turn.at,
            updated_at=turn.at,
            order_id=report.order_id,
            is_accepted=True,
            text="not sent by this desk",
        )
    return found


def report_of(fill: VenueFill, *, at: datetime) -> Reported:
    """A fill of the venue's history as the report that its stream would have brought."""
    return Reported(
        at=at,
        cl_ord_id=fill.cl_ord_id,
        exec_type=ExecType.TRADE,
        order_id=fill.order_id,
        exec_id=fill.exec_id,
        symbol=fill.symbol,
        side=fill.side,
        last_qty=fill.last_qty,
        last_px=fill.last_px,
        fee=fill.fee,
        fee_currency=fill.fee_currency,
        liquidity=fill.liquidity,
        transact_at=fill.transact_at,
    )
