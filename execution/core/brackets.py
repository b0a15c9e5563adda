"""Brackets: the protection an entry owns, sized to what it filled.

Rules of this file.
1. `wanted()` says what protection the position should have now; `plan()` says what to send so that it has. Nothing else decides it,
   and every event that touches the entry, a leg or the position asks both again.
2. A leg that is asked for (PENDING_NEW, PENDING_REPLACE, UNKNOWN) counts as its requested size: it is never sent a second time.
3. Growing adds a leg for the difference. Shrinking sends the smaller leg first and cancels the larger one when the smaller works:
   legs only reduce, so having too much for a moment is safe and having too little is not.
4. A leg that a person took away stays away. A target that the venue will not take is given up; a stop never is.
5. `covered_qty` counts only stops the venue has acknowledged. A position that is not covered for `naked_after_ms` is NAKED.
6. `STATUSES` is the table of states: the first row whose condition holds is the state. No state is remembered but by its facts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final, NamedTuple

import msgspec

from execution.core.orders import PENDING_CANCEL, OrderState
from risk.core.units import ZERO, Side


class BracketStatus(StrEnum):
    PENDING = "PENDING"
    ARMING = "ARMING"
    ARMED = "ARMED"
    CLOSING = "CLOSING"
    CLOSED = "CLOSED"
    UNBALANCED = "UNBALANCED"
    NAKED = "NAKED"
    ORPHANED = "ORPHANED"


class BracketState(msgspec.Struct, kw_only=True):
    """One entry's protection. `bracket_id` is the entry's cl_ord_id, `side` the entry's side.

    `stop_ids` and `target_ids` list every leg ever sent, the live one last.
    """

    bracket_id: str
    bot: str
    symbol: str
    side: Side
    stop_px: Decimal | None
    target_px: Decimal | None
    status: BracketStatus = BracketStatus.PENDING
    entry_qty: Decimal = ZERO
    #: filled by the entry, less what exits took back: what must be protected now
    open_qty: Decimal = ZERO
    stop_ids: list[str] = []
    target_ids: list[str] = []
    #: a person took this leg away: it is not sent again until re-armed
    is_stop_waived: bool = False
    is_target_waived: bool = False
    #: since when the stop covers less than `open_qty`
    naked_since: datetime | None = None
    #: refusals in a row
    stop_tries: int = 0
    target_tries: int = 0
    created_at: datetime
    updated_at: datetime
    text: str = ""
    #: True once the target was given up: stop only
    is_target_given_up: bool = False
    #: True from the NAKED alarm until the position is covered or gone
    is_naked: bool = False


class Leg(StrEnum):
    STOP = "stop"
    TARGET = "target"


#: looked up at every event: see orders.FILLED
STOP: Final = Leg.STOP
TARGET: Final = Leg.TARGET


class Wanted(msgspec.Struct, frozen=True, gc=False):
    """What should rest at the venue now."""

    stop_qty: Decimal
    target_qty: Decimal


class Plan(msgspec.Struct, frozen=True):
    """What to send for one kind of leg: cancel these, and send one for `send_qty` (zero: none).

    `is_growth` is true when what rests already covers a part, so that the difference may wait a moment for more fills.
    """

    cancel: Sequence[OrderState]
    send_qty: Decimal
    is_growth: bool = False


#: cancels of one leg that the venue refused before its bracket counts as ORPHANED
STUCK_TRIES: Final = 3
NOTHING: Final = Plan((), ZERO)


class Facts(msgspec.Struct, frozen=True, gc=False):
    """What a bracket's state follows from."""

    #: something of the entry is open
    is_open: bool
    #: the entry may still fill
    entry_works: bool
    #: an exit of the symbol is on its way
    exit_works: bool
    #: legs are at the venue, or on their way to it or from it
    has_legs: bool
    #: legs that the venue would not cancel
    is_stuck: bool
    #: the stops the venue has acknowledged cover what is open, or no stop is wanted
    is_covered: bool
    #: the targets do
    is_targeted: bool


def wanted(bracket: BracketState) -> Wanted:
    """What protection the bracket should have now."""
    qty = bracket.open_qty
    has_stop = bracket.stop_px is not None and not bracket.is_stop_waived
    has_target = bracket.target_px is not None and not (bracket.is_target_waived or bracket.is_target_given_up)
    return Wanted(qty if has_stop else ZERO, qty if has_target else ZERO)


class Survey:
    """One kind of leg as it is now: the working ones, oldest first, and what they come to."""

    __slots__ = ("covered_qty", "in_flight", "is_stuck", "legs", "requested_qty")

    def __init__(self, orders: Mapping[str, OrderState], ids: Iterable[str]) -> None:
        self.legs: list[OrderState] = []
        #: what covers if all that is asked for works
        self.requested_qty = ZERO
        #: what the venue has acknowledged
        self.covered_qty = ZERO
        #: a leg is not acknowledged yet
        self.in_flight = False
        #: the venue keeps refusing to cancel one
        self.is_stuck = False
        for leg_id in ids:
            order = orders.get(leg_id)
            if order is not None and order.done is None:
                self.add(order)

    def add(self, order: OrderState) -> None:
        """Count a leg."""
        self.legs.append(order)
        if order.tries >= STUCK_TRIES:
            self.is_stuck = True
        if order.pending is PENDING_CANCEL:
            return
        leaves = order.leaves_qty
        self.requested_qty += leaves
        if order.is_resting:
            self.covered_qty += leaves
        else:
            self.in_flight = True

    @property
    def standing(self) -> list[OrderState]:
        """The legs that nobody takes away."""
        return [leg for leg in self.legs if leg.pending is not PENDING_CANCEL]


def plan(survey: Survey, wanted_qty: Decimal) -> Plan:
    """The difference between what one kind of leg is and should be."""
    missing = wanted_qty - survey.requested_qty
    if not missing:
        return NOTHING
    if not wanted_qty:
        return Plan([leg for leg in survey.standing if not leg.is_unknown], ZERO)
    if missing > 0:
        if not survey.requested_qty:
            return Plan((), wanted_qty)
        return NOTHING if survey.in_flight else Plan((), missing, is_growth=True)
    return _shrink(survey, wanted_qty)


def _shrink(survey: Survey, wanted_qty: Decimal) -> Plan:
    """Too much rests: keep the newest leg of the right size, else send one and wait until it works."""
    standing = survey.standing
    exact = next((leg for leg in reversed(standing) if leg.is_resting and leg.leaves_qty == wanted_qty), None)
    if exact is not None:
        return Plan([leg for leg in standing if leg is not exact and not leg.is_unknown], ZERO)
    return NOTHING if survey.in_flight else Plan((), wanted_qty)


class Row(NamedTuple):
    """One row of the table of states: the state, when a bracket is in it, in words and as a function of facts."""

    status: BracketStatus
    when: str
    holds: Callable[[BracketState, Facts], bool]


STATUSES: Final[tuple[Row, ...]] = (
    Row(BracketStatus.ORPHANED, "nothing is open, and the venue will not cancel a leg", lambda _, f: not f.is_open and f.is_stuck),
    Row(BracketStatus.CLOSING, "nothing is open, and legs are being canceled", lambda _, f: not f.is_open and f.has_legs),
    Row(BracketStatus.PENDING, "nothing filled yet, and the entry may still fill", lambda _, f: not f.is_open and f.entry_works),
    Row(BracketStatus.CLOSED, "nothing is open, and nothing works", lambda _, f: not f.is_open),
    Row(BracketStatus.NAKED, "no stop in time; stands until covered or closed", lambda b, _: b.is_naked),
    Row(BracketStatus.CLOSING, "an exit is on its way; the legs stay until it has filled", lambda _, f: f.exit_works),
    Row(BracketStatus.ARMING, "the stop does not yet cover what is open", lambda _, f: not f.is_covered),
    Row(BracketStatus.UNBALANCED, "the target was given up: stop only", lambda b, _: b.is_target_given_up),
    Row(BracketStatus.ARMED, "stop and target rest as wanted", lambda _, f: f.is_targeted),
    Row(BracketStatus.UNBALANCED, "the target was refused and is tried again", lambda b, _: bool(b.target_tries)),
    Row(BracketStatus.ARMING, "the target is on its way", lambda _, f: True),
)


def status_of(bracket: BracketState, facts: Facts) -> BracketStatus:
    """The bracket's state: the first row of STATUSES that holds."""
    for row in STATUSES:
        if row.holds(bracket, facts):
            return row.status
    raise AssertionError("the last row holds always")
