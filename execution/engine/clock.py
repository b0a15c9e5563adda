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
    """The clock of one account. It goes on from the last time its journal knows, and stands still where a tape holds it."""

    def __init__(self, clock: Clock, floor: datetime | None = None) -> None:
        self._clock = clock
        self._ahead = max(floor - clock.now(), timedelta(0)) if floor is not None else timedelta(0)
        self._held: datetime | None = None

    def now(self) -> datetime:
        return self._clock.now() + self._ahead if self._held is None else self._held

    @property
    def ahead(self) -> timedelta:
        """How far it is before everybody else's clock; below zero where it is behind."""
        return self._ahead if self._held is None else self._held - self._clock.now()

    @property
    def is_held(self) -> bool:
        return self._held is not None

    def hold(self, at: datetime) -> None:
        """Stand still at `at`, which moves nothing back."""
        self._held = max(at, self.now())

    def let_go(self) -> None:
        """Go on from where it stands, or from now where that is later."""
        self._ahead, self._held = max(self.ahead, timedelta(0)), None
