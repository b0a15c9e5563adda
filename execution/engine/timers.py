"""Timers of one account. They are state of the Desk (name → due); this only wakes it, and a late or stale wake-up changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Final

from execution.core.sending import RECONCILE
from execution.engine.clock import AccountClock

#: what looks after the world rather than the market: it goes by our own time even where a tape holds the clock
_OUR_TIME: Final = {RECONCILE}


class Timers:
    """Calls `woke(name)` once when a timer is due. Setting a name again moves it.

    While the account's clock is held nothing fires by itself: whoever holds it calls `fire_next`.
    """

    def __init__(self, clock: AccountClock, *, woke: Callable[[str], None]) -> None:
        self._clock = clock
        self._woke = woke
        self._handles: dict[str, asyncio.TimerHandle] = {}
        self._due: dict[str, datetime] = {}

    def set(self, name: str, due_at: datetime) -> None:
        if (old := self._handles.pop(name, None)) is not None:
            old.cancel()
        self._due[name] = due_at
        if not self._clock.is_held or name in _OUR_TIME:
            self._schedule(name, due_at)

    def hold(self) -> None:
        """The clock is held from now on."""
        for name in [name for name in self._handles if name not in _OUR_TIME]:
            self._handles.pop(name).cancel()

    def let_go(self) -> None:
        """The clock runs again."""
        for name, due_at in self._due.items():
            if name not in self._handles:
                self._schedule(name, due_at)

    def next_due(self, by: datetime) -> datetime | None:
        """When the first timer is due that is due by then; None when there is none."""
        return min((due_at for name, due_at in self._due.items() if name not in _OUR_TIME and due_at <= by), default=None)

    def fire_next(self) -> None:
        """Fire the timer that is due first; of two at one moment the one that was set first."""
        self._fire(min((name for name in self._due if name not in _OUR_TIME), key=self._due.__getitem__))

    def close(self) -> None:
        for handle in self._handles.values():
            handle.cancel()
        self._handles.clear()
        self._due.clear()

    def _schedule(self, name: str, due_at: datetime) -> None:
        delay_s = max(0.0, (due_at - self._clock.now()).total_seconds())
        self._handles[name] = asyncio.get_running_loop().call_later(delay_s, self._fire, name)

    def _fire(self, name: str) -> None:
        self._handles.pop(name, None)
        del self._due[name]
        self._woke(name)
