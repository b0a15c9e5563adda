"""Slices at work: an entry that a TWAP spreads over time, as a parent and the orders it sends one by one.

Rules of this file.
1. The whole is judged once, when it is decided, and what is not sent yet stays reserved. Each slice is judged again when it goes, by
   every gate; it is no add to the position, no duplicate and no further entry of the hour, because it is a part of one.
2. A slice goes at its time. One that may not go is tried again each second until the next one is due, and then it is not sent at
   all: after a restart, a halt of prices or a refusal nothing is caught up.
3. A schedule ends as an entry is taken away: by a halt, a kill, a pause, a stop, by settings that are not those it was approved
   under, by whatever closes the position, and by a person who cancels one of its slices. What was not sent is told on its Signal.
4. What filled is what orders filled. A slice that was refused or canceled is not sent again.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any, Final, NamedTuple

import msgspec

from execution.core import throttles
from execution.core.conditions import not_ready
from execution.core.messages import SignalRecord, Twap
from execution.core.orders import OrderState, Purpose
from execution.core.sending import book_of, cancel, end_schedule, portfolio_of, send, slice_timer
from execution.core.turn import Turn
from execution.core.twap import ParentState, ScheduleRefused, slices
from risk.core.book import Book
from risk.core.gates import judge
from risk.core.units import OrdType, Quote
from risk.core.verdict import Approved, Check, Denied, HintKind, Proposal, Reason, SizeHint

#: a slice that may not go now is tried again this often, while its time lasts
_RETRY: Final = timedelta(seconds=1)
#: letters that a Signal's row keeps of a text
_TEXT_MAX: Final = 500
_OVER: Final = "its time is over"
_DESK: Final = "the desk"


class Planned(NamedTuple):
    """An entry that may go in slices: the whole as it was approved, and its slices."""

    whole: Approved
    twap: Twap
    slices: tuple[Decimal, ...]

    def first(self, proposal: Proposal) -> Proposal:
        return _slice_of(proposal, self.slices[0])


def plan(turn: Turn, proposal: Proposal, book: Book, twap: Twap) -> Planned | Denied:
    """Judge the whole of an entry, and cut it. Changes nothing."""
    whole = judge(proposal, book, at=turn.at)
    if isinstance(whole, Denied):
        return whole
    if whole.ord_type is not OrdType.MARKET:
        return _refused(whole, f"A TWAP sends MARKET orders; {whole.ord_type} would wait for its price, and its time would pass.")
    assert book.instrument is not None, "gate 6 has seen it"
    try:
        return Planned(whole, twap, slices(whole.order_qty, twap, lot=book.instrument.lot_size))
    except ScheduleRefused as e:
        return _refused(whole, str(e))


def _refused(whole: Approved, text: str) -> Denied:
    check = Check("Schedule", False, level="decision", detail=text, reason=Reason.INVALID_DECISION)
    return Denied(reason=Reason.INVALID_DECISION, checks=(*whole.checks, check))


def _slice_of(proposal: Proposal, qty: Decimal) -> Proposal:
    return msgspec.structs.replace(proposal, hint=SizeHint(HintKind.QUANTITY, qty))


def begin(turn: Turn, planned: Planned, proposal: Proposal, first: OrderState, record: SignalRecord) -> None:
    """The first slice is sent: the rest follows by the clock."""
    parent = ParentState(
        proposal=msgspec.structs.replace(proposal, is_slice=True),
        record=record,
        twap=planned.twap,
        slices=planned.slices,
        start_at=turn.at,
        reserve_px=planned.whole.reserve_px,
        bracket_id=first.bracket_id,
        slot=1,
        orders=[first.cl_ord_id],
    )
    turn.state.parents[record.decision_id] = parent
    _wait(turn, parent)


def _wait(turn: Turn, parent: ParentState) -> None:
    """Wait for the next slice's time, if there is one."""
    if parent.slot < len(parent.slices):
        turn.wake_at(slice_timer(parent), parent.time_of(parent.slot))
    else:
        end_schedule(turn, parent, why=_OVER)


# --- slice by slice --------------------------------------------------------------------------------------------------------


def slice_due(turn: Turn, decision_id: str, quote: Quote | None) -> None:
    """The time of a slice has come, or it may be tried again."""
    parent = turn.state.parents.get(decision_id)
    if parent is None or parent.ended:
        return
    if why := _over(turn, parent):
        _end(turn, parent, why)
        return
    parent.slot = max(parent.slot, parent.slot_at(turn.at))
    if parent.slot < len(parent.slices) and turn.at >= parent.time_of(parent.slot):
        _send(turn, parent, quote)
    else:
        _wait(turn, parent)


def _send(turn: Turn, parent: ParentState, quote: Quote | None) -> None:
    """Send the slice that is due. What it reserves is set free first: it is counted as the order that it becomes."""
    bot, symbol, slot = parent.proposal.bot, parent.proposal.symbol, parent.slot
    bracket = turn.state.brackets.get(parent.bracket_id)
    stop_loss = parent.proposal.stop_loss if bracket is None else bracket.stop_px
    whole = msgspec.structs.replace(parent.proposal, quote=quote, stop_loss=stop_loss)
    _move_on(turn, parent, slot + 1)
    waits = not_ready(turn, bot=bot, symbol=symbol)
    book = book_of(turn, bot=bot, symbol=symbol, not_ready=waits, portfolio=portfolio_of(turn), part_of=whole.decision_id)
    sent = send(turn, _slice_of(whole, parent.slices[slot]), book, purpose=Purpose.ENTRY, bracket_id=parent.bracket_id)
    if isinstance(sent, Denied):
        _move_on(turn, parent, slot)
        parent.held = sent.text
        turn.wake_at(slice_timer(parent), min(turn.at + _RETRY, parent.time_of(slot + 1)))
        return
    parent.held = ""
    parent.orders.append(sent.order.cl_ord_id)
    throttles.approved(turn, sent.order, is_slice=True)
    _wait(turn, parent)


def _move_on(turn: Turn, parent: ParentState, slot: int) -> None:
    parent.slot = slot
    turn.index.position_changed(parent.proposal.symbol)


# --- what it follows -------------------------------------------------------------------------------------------------------


def follow(turn: Turn) -> None:
    """After an event: end what must end, tell how far each is, forget what is over."""
    for decision_id, parent in list(turn.state.parents.items()):
        if not parent.ended and (why := _over(turn, parent)):
            _end(turn, parent, why)
        _tell(turn, parent)
        if parent.ended and not _working(turn, parent):
            del turn.state.parents[decision_id]
            if parent.bracket_id:
                turn.dirty[parent.bracket_id] = None


def _over(turn: Turn, parent: ParentState) -> str:
    """Why no further slice may go; empty while one may."""
    symbol, side = parent.proposal.symbol, parent.proposal.side
    if turn.is_closing(symbol):
        return "the position is being closed"
    if turn.index.open_lots(symbol) * side.sign < 0:
        return "the position is on the other side"
    bracket, orders = turn.state.brackets.get(parent.bracket_id), turn.state.orders
    legs = [*bracket.stop_ids, *bracket.target_ids] if bracket is not None else []
    if any(key in orders and orders[key].cum_qty for key in legs):
        return "its stop or target filled"
    by = next((by for key in parent.orders if (by := orders[key].cancel_asked_by)), "")
    return f"a slice was canceled by {by}" if by else ""


def _end(turn: Turn, parent: ParentState, why: str) -> None:
    """End a schedule, and take the slice away that still works."""
    end_schedule(turn, parent, why=why)
    for order in _working(turn, parent):
        cancel(turn, order, by=_DESK)


def _working(turn: Turn, parent: ParentState) -> list[OrderState]:
    return [order for key in parent.orders if (order := turn.state.orders[key]).done is None]


def _tell(turn: Turn, parent: ParentState) -> None:
    text = parent.told(turn.state.orders)[:_TEXT_MAX]
    if text != parent.record.text:
        parent.record = msgspec.structs.replace(parent.record, text=text)
        turn.touch("signal", parent.record.decision_id, parent.record)


def is_first_fill(turn: Turn, order: OrderState) -> bool:
    """Whether a first fill of this order is the first of its entry: the slices of a parent are one entry."""
    parent, orders = turn.state.parents.get(order.decision_id), turn.state.orders
    return parent is None or not any(orders[key].cum_qty for key in parent.orders if key != order.cl_ord_id)


# --- settings --------------------------------------------------------------------------------------------------------------


def terms(turn: Turn) -> dict[str, Any]:
    """What each schedule that runs was approved under."""
    settings = turn.settings
    return {
        key: (
            turn.index.effective(parent.proposal.bot, parent.proposal.symbol),
            turn.index.owner(parent.proposal.symbol),
            turn.instrument(parent.proposal.symbol),
            settings.limits if settings is not None else None,
        )
        for key, parent in turn.state.parents.items()
        if not parent.ended
    }


def settings_changed(turn: Turn, before: dict[str, Any]) -> None:
    """End the schedules that were approved under other terms than those of now."""
    now = terms(turn)
    for key in [key for key, held in before.items() if held != now[key]]:
        end_schedule(turn, turn.state.parents[key], why="its settings changed")
