"""Timers of one account. They are state of the Desk (name → due); this only wakes it, and a late or stale wake-up changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

from execution.engine.clock import AccountClock


class Timers:
    """Calls `woke(name)` once when a timer is due. Setting a name again moves it."""

    def __init__(self, clock: AccountClock, *, woke: Callable[[str], None]) -> None:
        self._clock = clock
        self._woke = woke
        self._handles: dict[str, asyncio.TimerHandle] = {}

    def set(self, name: str, due_at: datetime) -> None:
        if (old := self._handles.pop(name, None)) is not None:
            old.cancel()
        delay_s = max(0.0, (due_at - self._clock.now()).total_seconds())
        self._handles[name] = asyncio.get_running_loop().call_later(delay_s, self._fire, name)

    def close(self) -> None:
        for handle in self._handles.values():
            handle.cancel()
        self._handles.clear()

    def _fire(self, name: str) -> None:
        del self._handles[name]
        self._woke(name)
