"""The market and the minds: prices that are told to whoever listens, and a brain that does as it is told."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from typing import ClassVar

from execution.brains import brains
from execution.brains.base import HOLD, Bar, Brain, Decision, Quote, View
from execution.core.messages import Trade
from execution.simulator.virtual import VirtualLoop

NAME = "puppet"
Mind = Callable[[Quote, View], Decision]


class Ear:
    """One engine's feed."""

    label = "SIMULATED"
    is_synthetic = True
    is_recorded = False
    is_in_step = False
    has_synchronised_clock = True
    offset = 0
    broken_lines = 0
    gap_ms = 0

    def __init__(self, loop: VirtualLoop, now: Callable[[], datetime], prices: Mapping[str, Decimal]) -> None:
        self._loop = loop
        self._now = now
        self._prices = prices
        self._told: asyncio.Queue[Quote] = asyncio.Queue()

    def tell(self, quote: Quote) -> None:
        if not self._loop.is_dead:
            self._told.put_nowait(quote)

    async def events(self) -> AsyncIterator[Quote | Trade | Bar]:
        while True:
            yield await self._told.get()

    async def history(self, symbol: str, *, bars: int, interval_s: int) -> Sequence[Bar]:
        price, end = self._prices[symbol], self._now()
        starts = (end - timedelta(seconds=interval_s) * n for n in range(bars, 0, -1))
        return [Bar(symbol, interval_s, start, price, price, price, price, Decimal(1)) for start in starts]


class Puppet(Brain):
    """Decides what its strings say, one decision a quote of its symbol."""

    name: ClassVar[str] = NAME
    summary: ClassVar[str] = "Does as it is told."
    PARAMS: ClassVar[Mapping[str, tuple[str, str, str]]] = {}
    strings: ClassVar[dict[str, deque[Mind]]] = {}

    @property
    def warm_up(self) -> int:
        return 3

    def on_bar(self, bar: Bar, view: View) -> Decision:
        return HOLD

    def on_quote(self, quote: Quote, view: View) -> Decision:
        strings = self.strings.get(quote.symbol)
        return strings.popleft()(quote, view) if strings else HOLD


@contextmanager
def puppets() -> Iterator[dict[str, deque[Mind]]]:
    """Seat puppets for the length of one history; what is put into the answer is thought with the symbol's next quote."""
    strings: dict[str, deque[Mind]] = defaultdict(deque)
    brains()[NAME] = type("Strung", (Puppet,), {"strings": strings})
    try:
        yield strings
    finally:
        del brains()[NAME]
