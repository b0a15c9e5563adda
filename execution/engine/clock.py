"""The clock of the engine: wall time at process start plus monotonic time since, so that a stepped system clock moves nothing.

Waits, ages and deadlines are counted in the running loop's own time: whoever brings the loop brings the time.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta


def monotonic() -> float:
    """Seconds that never go back, by the running loop."""
    return asyncio.get_running_loop().time()


class Clock:
    """One per process."""

    def __init__(self) -> None:
        self._started_at = datetime.now(UTC)
        self._monotonic = time.monotonic()

    def now(self) -> datetime:
        return self._started_at + timedelta(seconds=time.monotonic() - self._monotonic)


class AccountClock:
    """The clock of one account: never below the last time its journal knows."""

    def __init__(self, clock: Clock, floor: datetime | None = None) -> None:
        self._clock = clock
        self._last = floor

    def now(self) -> datetime:
        now = self._clock.now()
        if self._last is not None and now < self._last:
            return self._last
        self._last = now
        return now
