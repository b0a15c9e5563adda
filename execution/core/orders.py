"""The order machine: what the venue says, and what we then believe of an order.

Rules of this file.
1. Everything that changes our belief about an order is a row of TRANSITIONS (`transitions.py`). What is not in it raises an alarm and
   changes nothing.
2. State is facts: `is_accepted`, `cum_qty`, `done`, `pending`, `hold`, `is_unknown`. `ord_status` is derived from them, never stored.
3. A fill moves money, so it is always booked: before the acknowledgement, after a cancel, after a reject. The status becomes FILLED
   only at the full quantity. A repeated `exec_id` changes nothing; `cum_qty` decreases only by a bust, and a filled order that is
   short of its quantity then works again, if the venue says so.
4. PENDING_CANCEL and PENDING_REPLACE cover the status beneath, FILLED too, and fall back to it when refused; a pending cancel covers a
   pending replace. What a replace asks for is kept apart in `replacing` until the venue says REPLACED.
5. UNKNOWN covers those: an order whose send was not answered may work or may not exist, and keeps its reservation until we know.
   STOPPED, SUSPENDED, DONE_FOR_DAY and CALCULATED are the venue's: it holds the order, until the next word about it.
6. Our own conclusions (NOT_SENT, NEVER_ARRIVED) may be wrong: such an order is over by presumption, and a later word of the venue
   revives it. A venue's final word is not undone by an older one that arrives late.

Theory of operation. `reports.py` looks up the row, and calls the function of its Move here on the order. This file knows one order
and no desk: positions, brackets and alarms follow from what the functions return.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final

import msgspec

from execution.core.messages import ExecType
from risk.core.units import ZERO, OrdType, Side, TimeInForce
from risk.core.verdict import OrderClass


class OrdStatus(StrEnum):
    PENDING_NEW = "PENDING_NEW"
    NEW = "NEW"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"
    UNKNOWN = "UNKNOWN"
    PENDING_CANCEL = "PENDING_CANCEL"
    PENDING_REPLACE = "PENDING_REPLACE"
    #: the venue guarantees a price and has not filled yet
    STOPPED = "STOPPED"
    #: not eligible to trade for now
    SUSPENDED = "SUSPENDED"
    #: no more fills today
    DONE_FOR_DAY = "DONE_FOR_DAY"
    #: no more fills today, and the day's average is calculated
    CALCULATED = "CALCULATED"


#: Members used at every event. In Python 3.11 `OrdStatus.NEW` is a search through the class that costs more than a dict lookup.
FILLED: Final = OrdStatus.FILLED
PENDING_CANCEL: Final = OrdStatus.PENDING_CANCEL
_PENDING_NEW: Final = OrdStatus.PENDING_NEW
_NEW: Final = OrdStatus.NEW
_PARTIALLY_FILLED: Final = OrdStatus.PARTIALLY_FILLED
_UNKNOWN: Final = OrdStatus.UNKNOWN
_SUSPENDED: Final = OrdStatus.SUSPENDED
#: what the venue holds and what covers FILLED by FIX precedence
_FOR_THE_DAY: Final = (OrdStatus.DONE_FOR_DAY, OrdStatus.CALCULATED)


class Purpose(StrEnum):
    """What an order is for; ageing, lanes and brackets read it."""

    ENTRY = "ENTRY"
    EXIT = "EXIT"
    STOP_LOSS = "STOP_LOSS"
    TAKE_PROFIT = "TAKE_PROFIT"
    OVERSHOOT = "OVERSHOOT"


ENTRY: Final = Purpose.ENTRY
STOP_LOSS: Final = Purpose.STOP_LOSS
LEGS: Final = (Purpose.STOP_LOSS, Purpose.TAKE_PROFIT)
EXITS: Final = (Purpose.EXIT, Purpose.OVERSHOOT)


class Replacing(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A replace that the venue has not answered: its own id, and the order as it is to be, whole."""

    cl_ord_id: str
    order_qty: Decimal
    price: Decimal | None
    stop_px: Decimal | None
    since: datetime
    #: when the venue first showed the order as it was, asked late enough to count
    unchanged_at: datetime | None = None


# kept by thousands and in no cycle: out of the collector's sight, a full collection takes a third of its time
class OrderState(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """Everything known of one order. Facts: `is_accepted`, `cum_qty`, `done`, `pending`, `is_unknown`.

    `cl_ord_id` is the order's identity for as long as it lives. A replace has an id of its own, as in FIX; the venue may report
    under either, and both name this order.
    """

    cl_ord_id: str
    bot: str
    symbol: str
    side: Side
    ord_type: OrdType
    time_in_force: TimeInForce
    order_class: OrderClass
    purpose: Purpose
    order_qty: Decimal
    price: Decimal | None = None
    stop_px: Decimal | None = None
    reduce_only: bool = False
    post_only: bool = False
    #: the entry's cl_ord_id whose bracket this order belongs to; empty for none
    bracket_id: str = ""
    decision_id: str = ""
    settings_version: int = 0
    created_at: datetime
    updated_at: datetime
    order_id: str = ""
    is_accepted: bool = False
    accepted_at: datetime | None = None
    cum_qty: Decimal = ZERO
    #: Σ last_qty × last_px: the average is derived
    cum_cost: Decimal = ZERO
    fees: Decimal = ZERO
    #: FILLED, CANCELED, REJECTED or EXPIRED once the order is over
    done: OrdStatus | None = None
    #: it is over only because we concluded so: no word of the venue says it
    is_presumed: bool = False
    #: the venue refused its id as one it knows: it is ours if symbol, side and quantity are
    is_duplicate: bool = False
    done_at: datetime | None = None
    #: PENDING_CANCEL or PENDING_REPLACE while such a request is unanswered
    pending: OrdStatus | None = None
    pending_since: datetime | None = None
    #: STOPPED, SUSPENDED, DONE_FOR_DAY or CALCULATED while the venue works it no further
    hold: OrdStatus | None = None
    is_unknown: bool = False
    #: money per unit set aside while the order works (entries only)
    reserve_px: Decimal = ZERO
    ord_rej_reason: str = ""
    text: str = ""
    #: why it was sent, where no decision says so: a sentence
    why: str = ""
    #: every execution of it the venue has spoken of, busts included: none is booked twice
    exec_ids: list[str] = []
    #: the fills that were taken back or corrected
    busted_ids: list[str] = []
    busted_qty: Decimal = ZERO
    cancel_asked_by: str = ""
    #: the replace that is on its way
    replacing: Replacing | None = None
    #: the ids of all replaces asked for, oldest first
    replace_ids: list[str] = []
    #: the id of the last replace the venue did; empty before the first
    replaced_as: str = ""
    #: how often the venue was asked about it, or asked to cancel it, since it last answered
    tries: int = 0
    #: when the venue first said, asked late enough to count, that it does not know the order
    absent_at: datetime | None = None

    @property
    def ord_status(self) -> OrdStatus:
        """By FIX precedence: what is asked for covers the status beneath."""
        if self.is_unknown:
            return _UNKNOWN
        return self.pending if self.pending is not None else self.status_beneath

    @property
    def status_beneath(self) -> OrdStatus:
        """The status without what was asked for: what the venue holds, what is over, what works."""
        if self.hold is not None and (self.done is None or self.hold in _FOR_THE_DAY):
            return self.hold
        if self.done is not None:
            return self.done
        if self.cum_qty:
            return _PARTIALLY_FILLED
        return _NEW if self.is_accepted else _PENDING_NEW

    @property
    def leaves_qty(self) -> Decimal:
        if self.done is not None or self.cum_qty > self.order_qty:
            return ZERO
        return self.order_qty - self.cum_qty

    @property
    def leaves_qty_asked(self) -> Decimal:
        """What may still fill once the replace on its way is done; `leaves_qty` where none is."""
        if self.replacing is None or self.done is not None:
            return self.leaves_qty
        return max(self.replacing.order_qty - self.cum_qty, ZERO)

    @property
    def leaves_qty_max(self) -> Decimal:
        """The most that may still fill, whatever becomes of a replace on its way: what a reservation is for."""
        return max(self.leaves_qty, self.leaves_qty_asked)

    @property
    def id_at_venue(self) -> str:
        """The ClOrdID under which the venue knows it, to ask about it or cancel it."""
        return self.replaced_as or self.cl_ord_id

    @property
    def avg_px(self) -> Decimal | None:
        return self.cum_cost / self.cum_qty if self.cum_qty else None

    @property
    def is_working(self) -> bool:
        """True while the venue may still fill it, as far as we know."""
        return self.done is None

    @property
    def is_resting(self) -> bool:
        """True when the venue has said that it works and nobody asked to take it away.

        One whose replace was not answered rests all the same, with `leaves_qty` or with `leaves_qty_asked`. One that is done for the
        day does, because nothing trades before it works again; a suspended one does not.
        """
        if not self.is_accepted or self.done is not None or self.pending is PENDING_CANCEL or self.hold is _SUSPENDED:
            return False
        return not self.is_unknown or self.replacing is not None

    @property
    def is_protective(self) -> bool:
        return self.order_class is OrderClass.PROTECTION


#: what an END leaves behind
_ENDS: Final[Mapping[ExecType, OrdStatus]] = {
    ExecType.CANCELED: OrdStatus.CANCELED,
    ExecType.EXPIRED: OrdStatus.EXPIRED,
    ExecType.REJECTED: OrdStatus.REJECTED,
    ExecType.NOT_SENT: OrdStatus.REJECTED,
    ExecType.SEND_REFUSED: OrdStatus.REJECTED,
    ExecType.NEVER_ARRIVED: OrdStatus.REJECTED,
}

#: the ends that are our own conclusion and that a word of the venue undoes
_OURS: Final = frozenset({ExecType.NOT_SENT, ExecType.NEVER_ARRIVED})


# --- the moves ---------------------------------------------------------------------------------------------------------


def accept(order: OrderState, *, at: datetime, order_id: str) -> None:
    """The venue works the order: whatever was unknown about it is known now."""
    if order.is_unknown:
        order.is_unknown = False
        order.tries = 0
    order.absent_at = order.hold = None
    order.order_id = order_id or order.order_id
    if not order.is_accepted:
        order.is_accepted = True
        order.accepted_at = at


def end(order: OrderState, exec_type: ExecType, *, at: datetime, text: str) -> None:
    """The order is over. What filled stays filled. What once worked and is not known any more did arrive, so it was canceled."""
    done = _ENDS[exec_type]
    if exec_type is ExecType.NEVER_ARRIVED and order.is_accepted:
        done = OrdStatus.CANCELED
    _finish(order, FILLED if order.cum_qty >= order.order_qty else done, at=at)
    answered(order)
    order.is_presumed = exec_type in _OURS
    order.text = text or order.text
    if order.done is OrdStatus.REJECTED:
        order.ord_rej_reason = exec_type.value


def _finish(order: OrderState, done: OrdStatus, *, at: datetime) -> None:
    order.done = done
    order.done_at = at
    order.hold = None
    order.is_unknown = False
    if done is not FILLED:
        order.replacing = None  # a larger order that the venue still makes of a filled one works again


def answered(order: OrderState) -> None:
    """Nothing asked for is on its way any more."""
    order.pending = order.pending_since = None


def arrive(order: OrderState, *, order_id: str) -> None:
    """The venue has it and has not accepted it yet."""
    order.is_unknown = False
    order.absent_at = None
    order.order_id = order_id or order.order_id


def hold(order: OrderState, status: OrdStatus, *, is_over: bool, at: datetime) -> None:
    """The venue works the order no further: for now, or, as a day order that is done for the day, for good."""
    if is_over and order.done is None:
        _finish(order, FILLED if order.cum_qty >= order.order_qty else OrdStatus.EXPIRED, at=at)
        answered(order)
    order.hold = status


def reinstate(order: OrderState) -> None:
    """The venue works an order again that was over."""
    order.done = order.done_at = order.hold = None
    order.is_presumed = False
    order.ord_rej_reason = ""


def ask(order: OrderState, pending: OrdStatus, *, at: datetime, by: str = "") -> None:
    """A cancel or replace is on its way; the status beneath is kept."""
    order.pending = pending
    order.pending_since = at
    order.cancel_asked_by = by or order.cancel_asked_by


def ask_replace(order: OrderState, replacing: Replacing) -> None:
    """A replace is on its way; until the venue has done it the order is what it was."""
    order.replacing = replacing
    order.replace_ids.append(replacing.cl_ord_id)
    ask(order, OrdStatus.PENDING_REPLACE, at=replacing.since)


def fall_back(order: OrderState, exec_type: ExecType, *, text: str) -> None:
    """A request was refused: what it covered shows again."""
    if exec_type is ExecType.REPLACE_REJECTED:
        order.replacing = None
        order.is_unknown = order.is_unknown and not order.is_accepted
    if exec_type is ExecType.CANCEL_REJECTED or order.pending is not PENDING_CANCEL:
        order.pending = OrdStatus.PENDING_REPLACE if order.replacing is not None else None
        order.pending_since = order.replacing.since if order.replacing is not None else None
    order.text = text or order.text


def answers(order: OrderState, *, replace_id: str, order_qty: Decimal | None = None, price: Decimal | None = None) -> bool:
    """Whether a word about a replace, under this id and in these terms, is the answer to the one on its way.

    A venue that keeps the order's id does not say which replace it did; there the terms must not contradict.
    """
    asked = order.replacing
    if asked is None or replace_id in order.replace_ids:
        return asked is not None and replace_id == asked.cl_ord_id
    return order_qty in (None, asked.order_qty) and price in (None, asked.price)


def shows_replace(order: OrderState, qty: Decimal) -> bool:
    """Whether a fill of so much can only be one of the larger order that was asked for: the venue did that, and its word is late or lost."""
    asked, filled = order.replacing, order.cum_qty + qty
    return asked is not None and order.order_qty < min(filled, asked.order_qty)


def is_superseded(order: OrderState, replace_id: str) -> bool:
    """Whether the venue has done that replace already, or a later one."""
    ids = order.replace_ids
    return replace_id in ids and order.replaced_as in ids and ids.index(replace_id) <= ids.index(order.replaced_as)


def resize(
    order: OrderState,
    *,
    at: datetime,
    order_qty: Decimal | None,
    price: Decimal | None,
    stop_px: Decimal | None,
    replace_id: str = "",
) -> None:
    """The venue did a replace: the order is what the venue says, else what was asked."""
    asked = order.replacing
    if asked is not None and answers(order, replace_id=replace_id, order_qty=order_qty, price=price):
        order_qty = asked.order_qty if order_qty is None else order_qty
        price = asked.price if price is None else price
        stop_px = asked.stop_px if stop_px is None else stop_px
        order.replacing = None
    order.replaced_as = replace_id if replace_id in order.replace_ids else order.replaced_as
    if order.pending is not PENDING_CANCEL and order.replacing is None:
        answered(order)
    restate(order, at=at, order_qty=order_qty, price=price, stop_px=stop_px)


def restate(order: OrderState, *, at: datetime, order_qty: Decimal | None, price: Decimal | None, stop_px: Decimal | None) -> None:
    """The order as the venue says it is; what is not said stays. What filled stays filled, so a quantity at or below it completes the
    order, and a larger one opens a filled order again.
    """
    order.order_qty = order.order_qty if order_qty is None else max(order_qty, order.cum_qty)
    order.price = order.price if price is None else price
    order.stop_px = order.stop_px if stop_px is None else stop_px
    if order.cum_qty >= order.order_qty:
        _finish(order, FILLED, at=at)
    elif order.done is FILLED:
        order.done = order.done_at = None


def lose(order: OrderState) -> None:
    """The answer to the send is lost: it may work, it may not exist."""
    order.is_unknown = True


def revive(order: OrderState) -> None:
    """The venue speaks of an order that we presumed over: what becomes of it is UNKNOWN until its word is heard."""
    order.done = order.done_at = None
    order.is_presumed = False
    order.is_unknown = True
    order.ord_rej_reason = ""
    order.absent_at = None


def book(order: OrderState, *, exec_id: str, qty: Decimal, px: Decimal, at: datetime, order_id: str = "") -> Decimal:
    """Book a fill not booked before; returns how far it overfills the order (zero as a rule)."""
    before = order.cum_qty
    order.exec_ids.append(exec_id)
    order.cum_qty += qty
    order.cum_cost += qty * px
    order.hold = None
    if order.done is None:
        accept(order, at=at, order_id=order_id)
    if order.cum_qty >= order.order_qty and order.done is not FILLED:
        _finish(order, FILLED, at=at)
        order.ord_rej_reason = ""
    return max(order.cum_qty - max(order.order_qty, before), ZERO)


def rebook(order: OrderState, *, qty: Decimal, cost: Decimal, works: bool | None, at: datetime) -> Decimal:
    """A fill was taken back or corrected: quantity and cost move. Returns how far it overfills the order now.

    A filled order that is short of its quantity then `works` on; unsaid, it is UNKNOWN. One that was over otherwise stays over.
    """
    before = order.cum_qty
    order.cum_qty += qty
    order.cum_cost += cost
    order.busted_qty -= min(qty, ZERO)
    if order.cum_qty >= order.order_qty:
        if order.done is not FILLED:
            _finish(order, FILLED, at=at)
    elif order.done is FILLED:
        order.done = OrdStatus.CANCELED if works is False else None
        order.done_at = order.done_at if works is False else None
        order.is_unknown = works is None
    return max(order.cum_qty - max(order.order_qty, before), ZERO)
