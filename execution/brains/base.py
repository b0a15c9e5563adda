"""The protocol of a brain: market events and its own view in, a Decision out. Pure; never calls a broker.

A brain may use floats and indicator libraries inside; a Decision's numbers are quantised at the border.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import ClassVar, Protocol

import msgspec

from execution.core.messages import HOLD, Bar, Decision
from risk.core.units import Instrument, Quote

__all__ = ["HOLD", "Bar", "Brain", "Decision", "Quote", "View"]


class View(msgspec.Struct, frozen=True):
    """What a brain may know of its own standing in a symbol."""

    position_qty: Decimal
    avg_px: Decimal | None
    #: its entry orders that are pending or working
    entries_working: int
    exits_working: int
    #: code of the last denial for this symbol; empty after an approval
    last_denial: str


class Brain(Protocol):
    """One instance per bot and symbol. `params` were validated by `PARAMS` before."""

    #: the name people choose it by, e.g. "ema_cross"
    name: ClassVar[str]
    #: a sentence for the console
    summary: ClassVar[str]
    #: parameter → (default, lowest, highest), all as decimal strings
    PARAMS: ClassVar[Mapping[str, tuple[str, str, str]]]

    def __init__(self, instrument: Instrument, params: Mapping[str, Decimal]) -> None: ...

    @property
    def warm_up(self) -> int:
        """How many closed bars it must see before its decisions count."""

    def on_bar(self, bar: Bar, view: View) -> Decision:
        """A closed bar. Return HOLD to do nothing."""

    def on_quote(self, quote: Quote, view: View) -> Decision:
        """A new best price. Most brains return HOLD."""
