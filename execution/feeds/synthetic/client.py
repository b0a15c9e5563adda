"""The synthetic feed: the walk of `walk.py`, released on our clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from execution.core.messages import Bar, Trade
from execution.feeds.bars import BarBuilder, interval_start
from execution.feeds.synthetic.walk import ticks
from risk.core.units import Instrument, Quote

#: a machine that slept goes on from where it was; it does not live through the night in a burst
_BEHIND_MAX: Final = timedelta(seconds=5)
_YIELD_EVERY: Final = 64


class SyntheticFeed:
    """Seeded prices for every instrument given. `offset` is the market's age in milliseconds: opened again there, it goes on."""

    label = "SYNTHETIC"
    is_synthetic = True
    is_recorded = False
    is_in_step = False
    has_synchronised_clock = True
    broken_lines = 0
    gap_ms = 0

    def __init__(self, *, instruments: Mapping[str, Instrument], seed: int, offset: int, clock: Callable[[], datetime]) -> None:
        self.offset = offset
        self._instruments = dict(instruments)
        self._seed = seed
        self._clock = clock
        self._changed_at: dict[str, datetime] = {}
        #: when the market's age was zero, on our clock; set once, by whoever asks first
        self._zero_at: datetime | None = None

    def _zero(self) -> datetime:
        if self._zero_at is None:
            self._zero_at = self._clock() - timedelta(milliseconds=self.offset)
        return self._zero_at

    async def events(self) -> AsyncIterator[Quote | Trade | Bar]:
        start_at = self._zero() + timedelta(milliseconds=self.offset)
        late = timedelta(0)
        for count, event in enumerate(ticks(self._seed, self._instruments.values(), start_at, offset_ms=self.offset)):
            ahead = event.at + late - self._clock()
            if ahead > timedelta(0):
                await asyncio.sleep(ahead.total_seconds())
            elif count % _YIELD_EVERY == 0:
                await asyncio.sleep(0)
            if ahead < -_BEHIND_MAX:
                late -= ahead
                self._zero_at = self._zero() - ahead
            self.offset = (event.at + late - self._zero()) // timedelta(milliseconds=1)
            yield self._received(event, event.at + late)

    def _received(self, event: Quote | Trade, at: datetime) -> Quote | Trade:
        now = self._clock()
        if isinstance(event, Trade):
            return Trade(event.symbol, event.price, event.qty, at, now)
        if event.changed_at == event.at or event.symbol not in self._changed_at:
            self._changed_at[event.symbol] = now
        return Quote(
            symbol=event.symbol,
            bid=event.bid,
            ask=event.ask,
            last=event.last,
            at=at,
            received_at=now,
            changed_at=self._changed_at[event.symbol],
            bid_qty=event.bid_qty,
            ask_qty=event.ask_qty,
        )

    async def history(self, symbol: str, *, bars: int, interval_s: int) -> Sequence[Bar]:
        zero_at = self._zero()
        now = zero_at + timedelta(milliseconds=self.offset)
        return await asyncio.to_thread(self._bars_before, self._instruments[symbol], now, zero_at, bars, interval_s)

    def _bars_before(self, instrument: Instrument, now: datetime, zero_at: datetime, bars: int, interval_s: int) -> list[Bar]:
        end_at = interval_start(now, interval_s)
        start_at = end_at - timedelta(seconds=bars * interval_s)
        builder = BarBuilder(instrument.symbol, interval_s)
        found: list[Bar] = []
        from_ms = (start_at - zero_at) // timedelta(milliseconds=1)
        for event in ticks(self._seed, [instrument], start_at, offset_ms=from_ms):
            if event.at >= end_at:
                break
            if closed := builder.add(event):
                found.append(closed)
        last = builder.close_due(end_at)
        return [*found, last] if last else found
