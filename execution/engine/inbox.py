"""The inbox of one account: events wait here while its Desk may not handle them, and no longer.

Bounded: a venue that reports faster than we can write must not eat the machine. When it overflows, what waited is thrown away
and the account is reconciled instead, which books whatever was lost.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from execution.core.messages import Event

CAPACITY: Final = 10_000


class Inbox:
    """A bounded queue that remembers that it overflowed."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._waiting: deque[Event] = deque()
        self._capacity = capacity
        self.has_overflowed = False

    def put(self, event: Event) -> None:
        if self.has_overflowed:
            return
        if len(self._waiting) >= self._capacity:
            self._waiting.clear()
            self.has_overflowed = True
            return
        self._waiting.append(event)

    def take(self) -> Event | None:
        return self._waiting.popleft() if self._waiting else None

    def __len__(self) -> int:
        return len(self._waiting)
