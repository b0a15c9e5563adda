"""The auditor: a second, simpler opinion of what happened, made of facts alone. It shares no code with a Desk.

Each promise is a method that reads one kind of fact; the first that is broken ends the history.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec

from execution.core.messages import DeskSettings, Publish, SendCancel, SendNewOrder, SendReplace
from execution.simulator.facts import Began, Committed, Fact, Filled, Rested
from risk.core.units import ZERO
from risk.core.verdict import Approved


class Broken(msgspec.Struct, frozen=True):
    """A promise that did not hold: which, how, and when (virtual seconds)."""

    promise: str
    how: str
    t: float

    def told(self) -> str:
        return f"“{self.promise}” is broken at {self.t:.3f} s: {self.how}"


class Auditor:
    """Takes every fact in order. `broken` is the first promise that did not hold."""

    def __init__(self, settings: DeskSettings) -> None:
        self.broken: Broken | None = None
        self._t = 0.0
        self._positions: dict[str, Decimal] = {}
        self._claimed: dict[str, Decimal] = {}
        self._submitted: set[str] = set()
        self._effects: dict[str, int] = {}
        self._reads: dict[type[Fact], tuple[Callable[[Any], None], ...]] = {
            Began: (self._had_an_entry, self._was_not_sent_before),
            Committed: (self._remember,),
            Filled: (self._moved,),
            Rested: (self._lost_no_fill,),
        }

    def note(self, fact: Fact) -> None:
        self._t = fact.t
        for read in self._reads.get(type(fact), ()):
            read(fact)

    def breach(self, promise: str, how: str) -> None:
        if self.broken is None:
            self.broken = Broken(promise, how, self._t)

    # --- books -----------------------------------------------------------------------------------------------------------

    def _moved(self, fill: Filled) -> None:
        self._positions[fill.symbol] = self._positions.get(fill.symbol, ZERO) + fill.side.sign * fill.qty

    def _remember(self, commit: Committed) -> None:
        for effect in commit.effects:
            match effect:
                case SendNewOrder() | SendReplace() | SendCancel():
                    self._effects[effect.cl_ord_id] = self._effects.get(effect.cl_ord_id, 0) + 1
                case Publish(kind="position"):
                    self._claimed[effect.key] = Decimal(msgspec.msgpack.decode(effect.body)["qty"])
                case _:
                    pass

    # --- promises --------------------------------------------------------------------------------------------------------

    def _had_an_entry(self, began: Began) -> None:
        if began.cl_ord_id not in self._effects:
            self.breach("nothing reaches a venue that a restart would not know about", f"{began.cl_ord_id} was not committed")

    def _was_not_sent_before(self, began: Began) -> None:
        if isinstance(began.request, Approved):
            if began.cl_ord_id in self._submitted:
                self.breach("nothing is sent twice", f"{began.cl_ord_id} left a second time")
            self._submitted.add(began.cl_ord_id)

    def _lost_no_fill(self, _: Rested) -> None:
        for symbol in sorted({*self._positions, *self._claimed}):
            theirs, ours = self._positions.get(symbol, ZERO), self._claimed.get(symbol, ZERO)
            if theirs != ours:
                self.breach("no fill is lost", f"the venue holds {theirs} {symbol}, the desk {ours}")
