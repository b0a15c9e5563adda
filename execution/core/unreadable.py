"""Words of the venue whose numbers cannot be read: nothing of them is applied, a person is told, and the venue is asked.

Rules of this file.
1. A number can be read if it is finite and smaller than LARGEST, and a fill if what it is worth is within reason too: then all money
   made of them stays exact in the core's 34 digits.
2. A report with another one is not applied, and the venue is asked about its order. A fee alone spoils no fill (see `fills.py`), and
   an adjustment is judged where it is booked.
3. A picture of the venue with one is not used at all: what was known stays known, and the routine question comes again.
4. The alarm ends with the next picture that can be read: what a lost report told is in it.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from operator import attrgetter
from typing import Any, Final

from execution.core.messages import OrderFound, Reconciled, Reported, VenueFill, VenueOrder
from execution.core.sending import query
from execution.core.turn import Turn
from risk.core.units import LARGEST
from risk.core.wording import number

_ALARM: Final = "unreadable"
#: of one fill: twelve places of it, and of thousands such, stay exact
_LARGEST_WORTH: Final = Decimal("1e18")
_FILL: Final = ("last_qty", "last_px", "cum_qty", "avg_px")
#: the numbers of each kind of word
_NUMBERS: Final[dict[type[Any], tuple[str, ...]]] = {
    Reported: (*_FILL, "leaves_qty", "order_qty", "price", "stop_px"),
    VenueFill: _FILL,
    VenueOrder: ("order_qty", "cum_qty", "price", "stop_px"),
}
_VALUES: Final = {kind: attrgetter(*names) for kind, names in _NUMBERS.items()}


def is_readable(value: Decimal) -> bool:
    return value.is_finite() and -LARGEST < value < LARGEST


def guarded(handler: Callable[[Turn, Any], None]) -> Callable[[Turn, Any], None]:
    """The handler of an event that a venue fills with numbers, for those that can be read."""

    def handle(turn: Turn, event: Any) -> None:
        if found := _unreadable(event) if type(event) is Reported else _in_answer(event):
            _refused(turn, event, found)
            return
        if isinstance(event, Reconciled):
            turn.clear_alarm(_ALARM)
        handler(turn, event)

    return handle


def _in_answer(answer: Reconciled | OrderFound) -> str:
    """What of an answer cannot be read; empty for nothing."""
    alone = isinstance(answer, OrderFound) and answer.order
    orders = answer.orders if isinstance(answer, Reconciled) else (alone,) if alone else ()
    words: tuple[VenueOrder | VenueFill, ...] = (*orders, *answer.fills)
    if found := next((found for word in words if (found := _unreadable(word))), ""):
        return found
    positions = answer.positions if isinstance(answer, Reconciled) else {}
    return next((f"position of {name} {number(qty)}" for name, qty in positions.items() if not is_readable(qty)), "")


def _unreadable(word: Reported | VenueOrder | VenueFill) -> str:
    """What of a word cannot be read; empty for nothing, as a rule."""
    kind = type(word)
    values = _VALUES[kind](word)
    for value in values:
        if value and not is_readable(value):
            return next(f"{name} {number(v)}" for name, v in zip(_NUMBERS[kind], values, strict=True) if v and not is_readable(v))
    if isinstance(word, VenueOrder) or not word.last_qty or abs(word.last_qty * word.last_px) < _LARGEST_WORTH:
        return ""
    return f"{number(word.last_qty)} at {number(word.last_px)}"


def _refused(turn: Turn, event: Reported | Reconciled | OrderFound, found: str) -> None:
    about, then = "everything", "The account is not compared with the venue."
    if not isinstance(event, Reconciled):
        about, then = f"the order {event.cl_ord_id}", "It is asked about."
    turn.alarm(
        _ALARM,
        priority=1,
        title="The venue says a number that cannot be",
        cause=f"What it says about {about} holds: {found}.",
        consequence=f"Nothing of it is applied. {then}",
        to_do="Compare with the venue's own page; if that is right, its adapter reads it wrongly.",
    )
    order = turn.order(event.cl_ord_id) if isinstance(event, Reported) else None
    if order is not None:
        query(turn, order)
