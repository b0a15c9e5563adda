"""Marks of one account: what its positions are worth, told to the Desk at most once a second and only where it matters."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from execution.core.messages import Mark
from risk.core.units import Quote

#: a mark is told again when it moved by this much …
STEP: Final = Decimal("0.0002")
#: … or when the last one is this old
AGE_MAX: Final = timedelta(seconds=30)


class Marks:
    """Remembers what the Desk was told last."""

    def __init__(self) -> None:
        self._told: dict[str, Mark] = {}

    def due(self, quotes: Mapping[str, Quote], at: datetime) -> tuple[Mark, ...]:
        """The marks to tell now: the middle of each quote that moved far enough, or whose last mark is old. A dead feed tells none."""
        found = tuple(
            Mark(symbol, quote.mid, quote.received_at)
            for symbol, quote in quotes.items()
            if self._is_due(self._told.get(symbol), quote, at)
        )
        self._told.update((mark.symbol, mark) for mark in found)
        return found

    @staticmethod
    def _is_due(told: Mark | None, quote: Quote, at: datetime) -> bool:
        if told is None:
            return True
        if quote.received_at <= told.at:
            return False
        return abs(quote.mid - told.price) >= told.price * STEP or at - told.at >= AGE_MAX
