"""The replay feed: a tape, released at its own pace, N times as fast, or as fast as it is taken."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import chain, takewhile
from pathlib import Path
from typing import Final

from execution.core.messages import Bar, Trade
from execution.feeds.bars import BarBuilder
from execution.feeds.replay.codec import BrokenLine
from execution.feeds.replay.tape import Tape, open_tape
from risk.core.units import Instrument, Quote

log = logging.getLogger(__name__)

#: a fresh tape gives its first quarter, at most this many lines, as history for the brains' warm-up
_HISTORY_MAX: Final = 100_000
_HISTORY_SHARE: Final = 4
#: a wait shorter than this is not waited for: the next one will be longer
_WAIT_MIN_S: Final = 0.002
#: a tape that was held up this long goes on from where it was; it does not catch up in a burst
_BEHIND_MAX_S: Final = 1.0
_YIELD_EVERY: Final = 200
_DAY: Final = timedelta(days=1)
#: how long an account may take to begin before its tape's time does
_LEAD: Final = timedelta(minutes=1)
_BROKEN_LOGGED_MAX: Final = 1000


class ReplayFeed:
    """A recorded market. `offset` is how much of the tape has been consumed; opened again there, it goes on with the next line.

    Market time is the tape's; `received_at` is ours, now. As fast as possible it is the market time moved ahead by whole days, so that
    it begins after now: windows and days are then as long as they were, and every run of the tape has the same ones.
    """

    is_synthetic = False
    is_recorded = True
    has_synchronised_clock = False

    def __init__(
        self,
        path: str | Path,
        *,
        speed: float | None,
        instruments: Mapping[str, Instrument],
        offset: int,
        clock: Callable[[], datetime],
    ) -> None:
        self.broken_lines = 0
        self._tape: Tape = open_tape(path)
        self._speed = speed
        self.is_in_step = speed is None
        self._moved = timedelta(0)
        self.gap_ms = 0 if speed is None else round(1000 * max(self._tape.intervals.values(), default=0) / speed)
        self._instruments = dict(instruments)
        self._clock = clock
        self.offset = offset or min(self._tape.size_up_to(_HISTORY_SHARE * _HISTORY_MAX) // _HISTORY_SHARE, _HISTORY_MAX)
        pace = "as fast as possible" if speed is None else f"{speed:g}×"
        self.label = f"replay {Path(path).name.split('.')[0]} {pace}"
        if not self._tape.symbols & set(self._instruments):
            log.warning("The tape %s carries %s; none of them is traded here.", path, ", ".join(sorted(self._tape.symbols)))

    async def events(self) -> AsyncIterator[Quote | Trade | Bar]:
        clock, read, count = self._clock, self._tape.reader(self._instruments), 0
        pace = None if self._speed is None else _Pace(self._speed)
        moments = self._tape.moments(self.offset, self._broken)
        # finding the place again on a long tape takes seconds that nobody else should wait for
        first = await asyncio.to_thread(next, moments, None)
        if self.is_in_step and first is not None:
            self._moved = -((first[1] - clock() - _LEAD) // _DAY) * _DAY
        for number, at, raw in chain(() if first is None else (first,), moments):
            count += 1
            wait_s = 0.0 if pace is None else pace.wait_s(at)
            if wait_s > _WAIT_MIN_S or count % _YIELD_EVERY == 0:
                await asyncio.sleep(max(wait_s, 0.0))
            try:
                events = read(raw, at, at + self._moved if self.is_in_step else clock())
            except BrokenLine as e:
                self._broken(number, str(e))
                continue
            self.offset = number
            for event in events:
                yield event

    def _broken(self, number: int, why: str) -> None:
        self.broken_lines += 1
        if self.broken_lines <= _BROKEN_LOGGED_MAX:
            log.warning("Line %s of the tape is broken and skipped: %s.", number, why)
        if self.broken_lines == _BROKEN_LOGGED_MAX:
            log.warning("Further broken lines are counted and not logged.")

    async def history(self, symbol: str, *, bars: int, interval_s: int) -> Sequence[Bar]:
        return await asyncio.to_thread(self._bars_before, symbol, self.offset, bars, interval_s)

    def _bars_before(self, symbol: str, offset: int, bars: int, interval_s: int) -> list[Bar]:
        read = self._tape.reader({s: i for s, i in self._instruments.items() if s == symbol})
        builder, found, now = BarBuilder(symbol, interval_s), [], self._clock()
        past = self._tape.moments(max(0, offset - _HISTORY_MAX), lambda number, why: None)
        for _, at, raw in takewhile(lambda moment: moment[0] <= offset, past):
            try:
                events = read(raw, at, now)
            except BrokenLine:
                continue
            found += [closed for event in events if (closed := builder.add(event))]
        return found[-bars:]


class _Pace:
    """How long to wait so that the tape's time runs `speed` times as fast as ours."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._loop = asyncio.get_running_loop()
        self._began: tuple[datetime, float] | None = None

    def wait_s(self, at: datetime) -> float:
        if self._began is None:
            self._began = (at, self._loop.time())
        first_at, began_s = self._began
        wait_s = began_s + (at - first_at).total_seconds() / self._speed - self._loop.time()
        if wait_s < -_BEHIND_MAX_S:
            self._began, wait_s = (at, self._loop.time()), 0.0
        return wait_s
