"""One bar builder: closed bars from quotes, trades or finer bars, on the market's own time.

A bar closes when the first event of a later interval arrives, or when `close_due()` is told that its end has passed, so that a
quiet market closes its bars too. An interval in which nothing happened has no bar.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

from execution.core.messages import Bar, Trade
from risk.core.units import ZERO, Quote

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LONG_AGO: Final = datetime(1, 1, 1, tzinfo=UTC)


def interval_start(at: datetime, interval_s: int) -> datetime:
    """The start of the interval that `at` lies in; intervals are counted from the epoch."""
    seconds = (at - EPOCH) // timedelta(seconds=1)
    return EPOCH + timedelta(seconds=seconds - seconds % interval_s)


class BarBuilder:
    """Builds the bars of one symbol. Prices are last prices: a quote moves the bar only when its `last` does.

    A tape that brings bars of its own is heard for those only: finer ones are merged, coarser ones pass as they are, because
    nothing can be known inside them.
    """

    def __init__(self, symbol: str, interval_s: int) -> None:
        self.symbol = symbol
        self.interval_s = interval_s
        self._end = _LONG_AGO
        self._is_open = False
        self._takes_bars = False
        self._open = self._high = self._low = self._last = self._volume = ZERO

    def add(self, event: Quote | Trade | Bar) -> Bar | None:
        """Count an event of this symbol in; returns the bar it closed, if it closed one."""
        if isinstance(event, Quote):
            if event.at < self._end and event.last is self._last:
                return None
            return None if self._takes_bars else self._count(event.last, ZERO, event.at)
        if isinstance(event, Trade):
            return None if self._takes_bars else self._count(event.price, event.qty, event.at)
        return self._count_bar(event)

    def close_due(self, at: datetime) -> Bar | None:
        """The bar whose interval has ended by `at`, if one is open."""
        return self._close() if self._is_open and at >= self._end else None

    def _count(self, price: Decimal, qty: Decimal, at: datetime) -> Bar | None:
        closed = None
        if at >= self._end:
            closed = self._close() if self._is_open else None
            self._begin(price, at)
        elif not self._is_open:
            return None
        elif price > self._high:
            self._high = price
        elif price < self._low:
            self._low = price
        self._last = price
        if qty:
            self._volume += qty
        return closed

    def _count_bar(self, bar: Bar) -> Bar | None:
        if not self._takes_bars:
            self._takes_bars, self._is_open, self._end = True, False, _LONG_AGO
        if bar.interval_s >= self.interval_s:
            return bar
        closed = None
        if bar.start_at >= self._end:
            closed = self._close() if self._is_open else None
            self._begin(bar.open, bar.start_at)
        self._high, self._low = max(self._high, bar.high), min(self._low, bar.low)
        self._last = bar.close
        self._volume += bar.volume
        if closed is None and bar.start_at + timedelta(seconds=bar.interval_s) >= self._end:
            return self._close()
        return closed

    def _begin(self, price: Decimal, at: datetime) -> None:
        self._end = interval_start(at, self.interval_s) + timedelta(seconds=self.interval_s)
        self._open = self._high = self._low = self._last = price
        self._volume = ZERO
        self._is_open = True

    def _close(self) -> Bar:
        self._is_open = False
        return Bar(
            symbol=self.symbol,
            interval_s=self.interval_s,
            start_at=self._end - timedelta(seconds=self.interval_s),
            open=self._open,
            high=self._high,
            low=self._low,
            close=self._last,
            volume=self._volume,
        )
