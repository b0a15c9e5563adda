"""The legs of a bracket that rest at the venue: what they are, what they should be, and the next step from one to the other.

Rules of this file.
1. A leg that is asked for (PENDING_NEW, PENDING_REPLACE, UNKNOWN) counts as its requested size: it is never sent a second time.
2. One change in flight a leg; every answer asks again. A leg whose change was refused rests until its order may be asked again.
3. Where the venue replaces, a leg is changed in place. Else growing adds a leg for the difference; shrinking and moving send the new
   leg first and cancel the old one when the new one works, if legs only reduce; if they could open something, the old one goes first.
4. `covered_qty` counts only what the venue has acknowledged, at whatever price: a stop that is to be moved protects until it is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Final

import msgspec

from execution.core.orders import PENDING_CANCEL, OrderState
from risk.core.units import ZERO, OrdType

#: cancels of one leg that the venue refused before its bracket counts as ORPHANED
STUCK_TRIES: Final = 3


class Terms(msgspec.Struct, frozen=True, gc=False):
    """How a leg is to rest: its kind and its prices, on the tick grid."""

    ord_type: OrdType
    price: Decimal | None
    stop_px: Decimal | None


class Want(msgspec.Struct, frozen=True, gc=False):
    """What one kind of leg should come to. `terms` is None only where nothing is wanted."""

    qty: Decimal
    terms: Terms | None


class Plan(msgspec.Struct, frozen=True):
    """The next step for one kind of leg: cancel these, change that one so that `qty` is left of it, send one for `send_qty`.

    `is_growth` is true when what rests already covers a part, so that the difference may wait a moment for more fills.
    """

    cancel: Sequence[OrderState] = ()
    change: OrderState | None = None
    change_qty: Decimal = ZERO
    send_qty: Decimal = ZERO
    is_growth: bool = False


NOTHING: Final = Plan()


class Survey:
    """One kind of leg as it is now: the working ones, oldest first, and what they come to.

    `is_waiting` says of an order that it may not be asked again yet.
    """

    __slots__ = ("covered_qty", "in_flight", "is_stuck", "legs", "requested_qty", "standing")

    def __init__(self, orders: Mapping[str, OrderState], ids: Iterable[str], *, is_waiting: Callable[[OrderState], bool]) -> None:
        self.legs: list[OrderState] = []
        #: the legs that nobody takes away
        self.standing: list[OrderState] = []
        #: what covers if all that is asked for works
        self.requested_qty = ZERO
        #: what the venue has acknowledged
        self.covered_qty = ZERO
        #: a request about a leg is not answered yet
        self.in_flight = False
        #: the venue keeps refusing to cancel one
        self.is_stuck = False
        for leg_id in ids:
            order = orders.get(leg_id)
            if order is not None and order.done is None:
                self.add(order, is_waiting=is_waiting(order) if order.tries else False)

    def add(self, order: OrderState, *, is_waiting: bool = False) -> None:
        """Count a leg."""
        self.legs.append(order)
        if order.cancel_asked_by and order.tries >= STUCK_TRIES:
            self.is_stuck = True
        if order.pending is PENDING_CANCEL:
            return
        self.standing.append(order)
        is_resting, leaves_qty = order.is_resting, order.leaves_qty
        asked_qty = leaves_qty if order.replacing is None else order.leaves_qty_asked
        self.requested_qty += asked_qty
        if is_resting:
            self.covered_qty += leaves_qty if order.replacing is None else min(leaves_qty, asked_qty)
        if is_waiting or order.replacing is not None or not is_resting:
            self.in_flight = True


class Way(msgspec.Struct, frozen=True, gc=False):
    """How legs may be changed: in place, and whether an old and a new one may rest beside each other."""

    can_replace: bool
    may_overlap: bool


def plan(survey: Survey, want: Want, way: Way) -> Plan:
    """The next step from what one kind of leg is to what it should be."""
    terms = want.terms
    if not want.qty or terms is None:
        found = [leg for leg in survey.standing if not _is_unsure(leg)]
        return Plan(found) if found else NOTHING
    elsewhere = [leg for leg in survey.standing if not rests_at(leg, terms)]
    if elsewhere:
        return _move(survey, elsewhere, want.qty, way)
    missing = want.qty - survey.requested_qty
    if not missing:
        return NOTHING
    return _grow(survey, missing, way) if missing > 0 else _shrink(survey, want.qty, way)


def _is_unsure(leg: OrderState) -> bool:
    """Sent and never answered: it is asked about, and taken away when it is found."""
    return leg.is_unknown and not leg.is_accepted


def rests_at(leg: OrderState, terms: Terms) -> bool:
    """Whether the leg is where it should be, or on its way there."""
    now = leg.replacing or leg
    return now.price == terms.price and now.stop_px == terms.stop_px and leg.ord_type is terms.ord_type


def _move(survey: Survey, elsewhere: list[OrderState], wanted_qty: Decimal, way: Way) -> Plan:
    """Legs rest at another price: bring them over one by one, or send what should be and then take them away."""
    there_qty = survey.requested_qty - sum([leg.leaves_qty_asked for leg in elsewhere], ZERO)
    if survey.in_flight:
        return NOTHING
    if there_qty >= wanted_qty:
        return Plan(elsewhere)
    last = elsewhere[-1]
    if way.can_replace:
        return Plan(change=last, change_qty=min(last.leaves_qty, wanted_qty - there_qty))
    return Plan(send_qty=wanted_qty - there_qty) if way.may_overlap else Plan(elsewhere)


def _grow(survey: Survey, missing: Decimal, way: Way) -> Plan:
    if not survey.requested_qty:
        return Plan(send_qty=missing)
    if survey.in_flight:
        return NOTHING
    last = survey.standing[-1]
    if way.can_replace:
        return Plan(change=last, change_qty=last.leaves_qty + missing, is_growth=True)
    return Plan(send_qty=missing, is_growth=True)


def _shrink(survey: Survey, wanted_qty: Decimal, way: Way) -> Plan:
    """Too much rests. What can go as it is goes; then one leg is made smaller in place, or by a smaller one that takes its place."""
    excess, standing = survey.requested_qty - wanted_qty, survey.standing
    if survey.in_flight:
        return NOTHING
    kept = next((leg for leg in standing if leg.leaves_qty == wanted_qty), standing[-1])
    spare = [leg for leg in standing if leg is not kept and leg.leaves_qty <= excess]
    if spare:
        return Plan([max(spare, key=lambda leg: leg.leaves_qty)])
    largest = max(standing, key=lambda leg: leg.leaves_qty)
    if way.can_replace:
        return Plan(change=largest, change_qty=largest.leaves_qty - excess)
    return Plan(send_qty=wanted_qty) if way.may_overlap else Plan([largest])
