"""Quotes through feed, venue, watches, bar builder, brain and Desk with no decision, on one core."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

from bench.figure import Figure
from bench.scratch import in_scratch, told

QUOTES: Final = 400_000
ROUNDS: Final = 3


def run() -> list[Figure]:
    return in_scratch("bench.quotes")


class Loaded:
    """A feed of quotes made beforehand: what it costs to make one is the venue's codec, and measured there."""

    label = "BENCH"
    is_synthetic = True
    is_recorded = False
    is_in_step = False
    has_synchronised_clock = True
    offset = 0
    broken_lines = 0
    gap_ms = 0

    def __init__(self, quotes: Sequence[Any]) -> None:
        self._quotes = quotes

    async def events(self) -> AsyncIterator[Any]:
        for quote in self._quotes:
            yield quote

    async def history(self, symbol: str, *, bars: int, interval_s: int) -> Sequence[Any]:
        return []


def measure() -> list[Figure]:
    from risk.core.units import use_decimal_context

    use_decimal_context()
    best = max(asyncio.run(_round()) for _ in range(ROUNDS))
    how = (
        f"per second of one core's time; best of {ROUNDS} rounds of {QUOTES:,} quotes of one symbol, "
        "an EMA brain on one-minute bars, the simulated venue listening"
    )
    return [Figure("quotes_per_s", round(best), "1/s", ">= 200000", how)]


async def _round() -> float:
    from bench.desks import floor_of

    quotes = _quotes()
    floor = await floor_of(Loaded(quotes))
    started = time.thread_time()
    await floor.run()
    return QUOTES / (time.thread_time() - started)


def _quotes() -> list[Any]:
    from bench.desks import NOON, SYMBOL
    from risk.core.units import Quote

    half, found = Decimal("0.5"), []
    for n in range(QUOTES):
        at = NOON + timedelta(milliseconds=10 * n)
        price = Decimal(61000 + (n // 7) % 40)
        found.append(Quote(SYMBOL, price - half, price + half, price, at, at, at))
    return found


if __name__ == "__main__":
    told(measure)
