"""Ageing: what an order may take, by what it is for, and what happens when it took it.

Rules of this file.
1. A request is asked about when it was not answered for `send_timeout_ms`, and again each time; so is an order that should have finished
   by itself. A cancel is sent again. One that goes on for long is an alarm, until it is answered.
2. An entry that is not filled when its time is over is canceled, and what filled is kept.
3. An exit or leg that filled in part and does not finish is canceled, and what it left is closed at market: half out is not out.
   The time runs from its first fill; one that merely rests at its price may rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from execution.core.closing import close_out
from execution.core.orders import ENTRY, OrderState, OrdStatus, Purpose, answered
from execution.core.sending import ANSWERS, age_timer, backoff_ms, cancel, cancel_request, query, query_timer
from execution.core.turn import Turn
from risk.core.units import OrdType, TimeInForce
from risk.core.wording import number

#: how long an exit may be filled in part, in seconds. An entry's time is its `entry_ttl_s`.
AGES_S: Final[Mapping[Purpose, int]] = {
    Purpose.STOP_LOSS: 10,
    Purpose.TAKE_PROFIT: 120,
    Purpose.EXIT: 60,
    Purpose.OVERSHOOT: 60,
}
#: `cancel_asked_by` of an order that took too long
AGE: Final = "its age"
#: time-outs that a request goes without an answer before a person is told
_STUCK_TIMEOUTS: Final = 4
_AT_ONCE: Final = (TimeInForce.IOC, TimeInForce.FOK)


# --- by purpose --------------------------------------------------------------------------------------------------------------


def filled_in_part(turn: Turn, order: OrderState) -> None:
    """The first part of an order filled: from now on it has a time to finish."""
    if order.purpose is not ENTRY:
        turn.wake(age_timer(order), ms=AGES_S[order.purpose] * 1000)
        return
    ttl_s = turn.index.effective(order.bot, order.symbol).values.entry_ttl_s
    if ttl_s is not None and f"ttl:{order.cl_ord_id}" not in turn.state.timers:
        turn.wake(f"ttl:{order.cl_ord_id}", ms=ttl_s * 1000)


def age_due(turn: Turn, cl_ord_id: str) -> None:
    """An exit was filled in part for too long: its rest goes, and then to market."""
    order = turn.state.orders.get(cl_ord_id)
    if order is not None and order.done is None and order.cum_qty:
        cancel(turn, order, by=AGE)


def aged_out(turn: Turn, order: OrderState) -> None:
    """The rest of an exit that took too long is gone: what it left open is closed at market."""
    position = turn.state.positions.get(order.symbol)
    if position is None or position.closing_side is not order.side:
        return
    qty = min(order.order_qty - order.cum_qty, turn.closable(order.symbol))
    close_out(
        turn,
        order.symbol,
        bot=order.bot,
        side=order.side,
        qty=qty,
        purpose=Purpose.EXIT,
        bracket_id=order.bracket_id,
        why=f"the rest of an order that filled only {number(order.cum_qty)} of {number(order.order_qty)} in {AGES_S[order.purpose]} s",
    )


# --- requests nobody answered ------------------------------------------------------------------------------------------------


def answers_due(turn: Turn) -> None:
    """Ask about every order and cancel whose answer is overdue."""
    is_waiting = False
    for symbol in sorted(turn.index.orders):
        for order in turn.index.orders_of(symbol):
            since = _waits_since(order)
            if since is None:
                turn.clear_alarm(f"stuck:{order.cl_ord_id}")
            else:
                is_waiting = True
                _overdue(turn, order, since)
    if is_waiting:
        turn.wake(ANSWERS, ms=turn.timing.send_timeout_ms)


def _waits_since(order: OrderState) -> datetime | None:
    """Since when the venue owes a word about the order; None when it owes none."""
    if order.pending is not None:
        return order.pending_since
    if not order.is_accepted or order.is_unknown:
        return order.created_at
    should_finish = order.ord_type is OrdType.MARKET or order.time_in_force in _AT_ONCE
    return order.accepted_at if should_finish and order.hold is None else None


def _overdue(turn: Turn, order: OrderState, since: datetime) -> None:
    patience = timedelta(milliseconds=turn.timing.send_timeout_ms)
    waited = turn.at - since
    if waited < patience:
        turn.clear_alarm(f"stuck:{order.cl_ord_id}")
    if waited >= patience and not order.is_unknown:  # one that is UNKNOWN is asked about in its own time
        query(turn, order)
        if order.pending is OrdStatus.PENDING_CANCEL and order.is_accepted:
            turn.emit(cancel_request(order))
    if waited >= _STUCK_TIMEOUTS * patience:
        _stuck(turn, order, waited)


def _stuck(turn: Turn, order: OrderState, waited: timedelta) -> None:
    what = order.ord_status.value.replace("_", " ").lower()
    turn.alarm(
        f"stuck:{order.cl_ord_id}",
        priority=2,
        title=f"An order of {order.symbol} is stuck",
        cause=f"{order.side.value} {number(order.leaves_qty)} {order.symbol} is {what} for {waited.total_seconds():.0f} s.",
        consequence="It may still fill; it keeps its reservation, and is asked about until the venue answers.",
        to_do="Look for it on the venue's own page, and cancel it there if it is not wanted.",
        bot=order.bot,
        symbol=order.symbol,
    )


def query_due(turn: Turn, cl_ord_id: str) -> None:
    """Time to ask about an UNKNOWN order again."""
    order = turn.state.orders.get(cl_ord_id)
    if order is None or not order.is_unknown:
        return
    order.tries += 1
    turn.touch_order(order)
    query(turn, order)
    turn.wake(query_timer(order), ms=backoff_ms(order))


def cancel_due(turn: Turn, cl_ord_id: str) -> None:
    """Try a refused cancel again, if the order still works; one that filled is not asked for any more."""
    order = turn.state.orders.get(cl_ord_id)
    if order is not None and order.done is not None and order.pending is not None:
        answered(order)
        turn.touch_order(order)
    elif order is not None and order.is_resting and order.cancel_asked_by:
        cancel(turn, order, by=order.cancel_asked_by)


def replace_due(turn: Turn, cl_ord_id: str) -> None:
    """A refused replace may be tried again, if it is still wanted."""
    order = turn.state.orders.get(cl_ord_id)
    if order is not None and order.done is None and order.bracket_id:
        turn.dirty[order.bracket_id] = None
