"""Brackets: the protection an entry owns, sized to what it filled.

Rules of this file.
1. `wanted()` says what protection the position should have now, `HOLDS` where the venue lets it rest; `legs.plan()` says the next step
   there. Nothing else decides it, and every event that touches the entry, a leg or the position asks again.
2. A leg that a person took away stays away. A target that the venue will not take is given up; a stop never is.
3. A position that is not covered for `naked_after_ms` is NAKED. What the venue cannot hold is watched here, and says so.
4. `STATUSES` is the table of states: the first row whose condition holds is the state. No state is remembered but by its facts.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from functools import cache
from typing import Final, NamedTuple

import msgspec

from execution.core.messages import Leg
from execution.core.orders import Purpose
from execution.core.trailing import Trail
from risk.core.units import ZERO, Side
from risk.core.verdict import Capability, Proposal


class BracketStatus(StrEnum):
    PENDING = "PENDING"
    ARMING = "ARMING"
    ARMED = "ARMED"
    CLOSING = "CLOSING"
    CLOSED = "CLOSED"
    UNBALANCED = "UNBALANCED"
    NAKED = "NAKED"
    ORPHANED = "ORPHANED"


class BracketState(msgspec.Struct, kw_only=True, gc=False):
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
    #: the stop is a stop-limit, its limit this far behind its trigger; None: it sells or buys at any price
    stop_limit_offset: Decimal | None = None
    #: how the stop trails, and the best price so far; None: it stands
    trail: Trail | None = None
    #: the position is closed when it was open this long
    time_limit_s: int | None = None
    close_at: datetime | None = None
    #: watched by the Desk, because the venue cannot hold it: it works only while the Desk and its prices do
    is_stop_emulated: bool = False
    is_target_emulated: bool = False
    #: the price went through the limit of its stop-limit, and it did not fill: it covers nothing any more
    is_through: bool = False
    #: why it has no stop, where one is waived: a sentence
    waived_why: str = ""


#: looked up at every event: see orders.FILLED
STOP: Final = Leg.STOP
TARGET: Final = Leg.TARGET


class Holds(NamedTuple):
    """Which legs rest at the venue. What does not is watched by the Desk."""

    stop: bool
    target: bool


#: whether a venue has STOP_ORDERS, and REDUCE_ONLY → what rests there. Without reduce-only a second resting leg could open a position
HOLDS: Final[Mapping[tuple[bool, bool], Holds]] = {
    (True, True): Holds(stop=True, target=True),
    (True, False): Holds(stop=True, target=False),
    (False, True): Holds(stop=False, target=True),
    (False, False): Holds(stop=False, target=False),
}


def holds(capabilities: Collection[Capability]) -> Holds:
    """Where the legs go at a venue with these capabilities."""
    return HOLDS[Capability.STOP_ORDERS in capabilities, Capability.REDUCE_ONLY in capabilities]


class ExitState(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An exit that waits until what rests against the position leaves room for it: a venue without reduce-only would open one else."""

    proposal: Proposal
    purpose: Purpose
    #: the bracket whose watched leg or time limit asked; empty for an exit of the position
    bracket_id: str = ""
    asked_at: datetime
    #: as the order's
    why: str = ""


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
    #: the alarm of a missing stop stands
    is_naked: bool
    is_target_given_up: bool
    #: the target was refused, and is tried again
    is_target_refused: bool


def wanted(bracket: BracketState, qty: Decimal) -> tuple[Decimal, Decimal]:
    """What should rest for `qty` of what the bracket opened: of its stop, and of its target."""
    return qty if has_stop(bracket) else ZERO, qty if has_target(bracket) else ZERO


def has_stop(bracket: BracketState) -> bool:
    return bracket.stop_px is not None and not bracket.is_stop_waived


def has_target(bracket: BracketState) -> bool:
    return bracket.target_px is not None and not (bracket.is_target_waived or bracket.is_target_given_up)


class Row(NamedTuple):
    """One row of the table of states: the state, when a bracket is in it, in words and as a function of facts."""

    status: BracketStatus
    when: str
    holds: Callable[[Facts], bool]


STATUSES: Final[tuple[Row, ...]] = (
    Row(BracketStatus.ORPHANED, "nothing is open, and the venue will not cancel a leg", lambda f: not f.is_open and f.is_stuck),
    Row(BracketStatus.CLOSING, "nothing is open, and legs are being canceled", lambda f: not f.is_open and f.has_legs),
    Row(BracketStatus.PENDING, "nothing filled yet, and the entry may still fill", lambda f: not f.is_open and f.entry_works),
    Row(BracketStatus.CLOSED, "nothing is open, and nothing works", lambda f: not f.is_open),
    Row(BracketStatus.NAKED, "no stop in time; stands until covered or closed", lambda f: f.is_naked),
    Row(BracketStatus.CLOSING, "an exit is on its way", lambda f: f.exit_works),
    Row(BracketStatus.ARMING, "the stop does not yet cover what is open", lambda f: not f.is_covered),
    Row(BracketStatus.UNBALANCED, "the target was given up: stop only", lambda f: f.is_target_given_up),
    Row(BracketStatus.ARMED, "stop and target rest as wanted", lambda f: f.is_targeted),
    Row(BracketStatus.UNBALANCED, "the target was refused and is tried again", lambda f: f.is_target_refused),
    Row(BracketStatus.ARMING, "the target is on its way", lambda f: True),
)


@cache
def status_of(facts: Facts) -> BracketStatus:
    """The bracket's state: the first row of STATUSES that holds."""
    for row in STATUSES:
        if row.holds(facts):
            return row.status
    raise AssertionError("the last row holds always")
