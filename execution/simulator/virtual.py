"""Virtual time: one clock for the world, and an event loop for each engine process that lives in it.

Rules of this file.
1. Nothing waits: when nothing is ready, time jumps to the next timer. The order of everything is that of moments, then of asking.
2. A loop is a process. One that died runs nothing more: what was awaited there is never continued, as after a power cut.
3. A frozen loop stands still while the world goes on, and finds afterwards that time has passed.
"""

from __future__ import annotations

import asyncio
from asyncio import _set_running_loop
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from datetime import datetime, timedelta
from heapq import heappop, heappush
from typing import Any, Final

from execution.engine.clock import Clock

#: turns without any time passing, after which something spins
_SPIN_MAX: Final = 100_000
#: rounds of cancelling what a dead process left
_ROUNDS: Final = 20


class Spinning(Exception):
    """Something goes on for ever without time passing."""


class Handle:
    """A callback at a moment. Stands in for asyncio's handles."""

    __slots__ = ("_is_cancelled", "_when", "args", "callback", "context", "loop")

    def __init__(
        self, when: float, callback: Callable[..., object], args: tuple[Any, ...], loop: VirtualLoop | None, context: Context | None
    ) -> None:
        self._when = when
        self.callback = callback
        self.args = args
        self.loop = loop
        self.context = context
        self._is_cancelled = False

    def cancel(self) -> None:
        self._is_cancelled = True

    def cancelled(self) -> bool:
        return self._is_cancelled

    def when(self) -> float:
        return self._when


class Time:
    """The one clock, in seconds since the beginning of the history."""

    def __init__(self) -> None:
        self.now = 0.0
        self._ready: deque[Handle] = deque()
        self._timers: list[tuple[float, int, Handle]] = []
        self._count = 0
        self._running: VirtualLoop | None = None
        #: set to end the run after this turn
        self.is_stopped = False
        self.turns = 0

    def soon(self, handle: Handle) -> None:
        self._ready.append(handle)

    def later(self, handle: Handle) -> None:
        self._count += 1
        heappush(self._timers, (handle.when(), self._count, handle))

    def call_at(self, when: float, callback: Callable[..., object], *args: Any) -> Handle:
        """Something of the world itself: it happens whatever becomes of the engines."""
        handle = Handle(max(when, self.now), callback, args, None, None)
        self.later(handle)
        return handle

    def run(self, until: float) -> None:
        """Let everything happen that happens until then. What a callback raises comes out here."""
        try:
            self._run(until)
        finally:
            self.enter(None)

    def abandon(self) -> None:
        """Nothing happens any more: what dead processes still had before them goes to what they left behind."""
        for handle in self._ready:
            if handle.loop is not None:
                handle.loop.leave(handle)
        self._ready.clear()
        self._timers.clear()

    def enter(self, loop: VirtualLoop | None) -> None:
        """Make `loop` the running one."""
        if loop is not self._running:
            self._running = loop
            _set_running_loop(loop)

    def _run(self, until: float) -> None:
        ready, timers, turns = self._ready, self._timers, 0
        while not self.is_stopped:
            while ready and not self.is_stopped:
                self._turn(ready.popleft())
                turns += 1
                self.turns += 1
                if turns > _SPIN_MAX:
                    raise Spinning(f"nothing but turns at {self.now:.3f} s")
            if not timers or timers[0][0] > until:
                break
            when, _, handle = heappop(timers)
            if when > self.now:
                self.now = when
                turns = 0
            if not handle.cancelled():
                ready.append(handle)
        self.now = max(self.now, until)

    def _turn(self, handle: Handle) -> None:
        loop = handle.loop
        if handle.cancelled():
            return
        if loop is None:
            handle.callback(*handle.args)
            return
        if loop.is_dead:
            loop.leave(handle)
            return
        if loop.is_frozen:
            loop.hold(handle)
            return
        self.enter(loop)
        if handle.context is None:
            handle.callback(*handle.args)
        else:
            handle.context.run(handle.callback, *handle.args)
        loop.turned()


class VirtualLoop(asyncio.AbstractEventLoop):
    """The event loop of one engine process. `died` is called when it dies by its own count of turns."""

    def __init__(self, time: Time, *, died: Callable[[], None], surprised: Callable[[str], None]) -> None:
        self._time = time
        self._died = died
        self._surprised = surprised
        self.is_dead = False
        self.is_frozen = False
        self._frozen_until = 0.0
        #: turns that wait for the thaw
        self._held: deque[Handle] = deque()
        self._turns_left = -1
        self._left_behind: deque[Handle] = deque()

    # --- life ----------------------------------------------------------------------------------------------------------

    def die_after(self, turns: int) -> None:
        """Die between two turns of this loop: after that many more."""
        if turns <= 0:
            self._die()
        else:
            self._turns_left = turns

    def turned(self) -> None:
        if self._turns_left > 0:
            self._turns_left -= 1
            if not self._turns_left:
                self._die()

    def _die(self) -> None:
        if not self.is_dead:
            self.is_dead = True
            self._died()

    def kill(self) -> None:
        """Die now, and say nothing."""
        self.is_dead = True

    def freeze(self, seconds: float) -> None:
        """Take no turn for so long."""
        self.is_frozen = True
        self._frozen_until = max(self._frozen_until, self._time.now + seconds)
        self._time.call_at(self._frozen_until, self._thaw)

    def hold(self, handle: Handle) -> None:
        """A turn that comes when this loop takes turns again."""
        self._held.append(handle)

    def _thaw(self) -> None:
        if self._time.now >= self._frozen_until:
            self.thaw()

    def thaw(self) -> None:
        """Take the turns that waited, in their order."""
        self.is_frozen = False
        while self._held:
            self._time.soon(self._held.popleft())

    def leave(self, handle: Handle) -> None:
        """A turn that the process did not live to take; `bury` needs it to end what waits for it."""
        self._left_behind.append(handle)

    def bury(self) -> None:
        """Let go of what a dead process left behind. Whatever that does goes nowhere: its wires are cut."""
        assert self.is_dead
        self._left_behind.extendleft(reversed(self._held))
        self._held.clear()
        self._time.enter(self)
        try:
            for _ in range(_ROUNDS):
                tasks = asyncio.all_tasks(self)
                if not tasks:
                    return
                for task in tasks:
                    task.cancel()
                self._exhaust()
        finally:
            self._time.enter(None)

    def _exhaust(self) -> None:
        for _ in range(_SPIN_MAX):
            if not self._left_behind:
                return
            handle = self._left_behind.popleft()
            if not handle.cancelled():
                (handle.context or copy_context()).run(handle.callback, *handle.args)

    # --- asyncio -------------------------------------------------------------------------------------------------------

    def time(self) -> float:
        return self._time.now

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> Handle:  # type: ignore[override]
        handle = Handle(self._time.now, callback, args, self, context)
        if self.is_dead:
            self._left_behind.append(handle)
        else:
            self._time.soon(handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None) -> Handle:  # type: ignore[override]
        return self.call_at(self._time.now + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None) -> Handle:  # type: ignore[override]
        handle = Handle(when, callback, args, self, context)
        if not self.is_dead:
            self._time.later(handle)
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Coroutine[Any, Any, Any], **options: Any) -> asyncio.Task[Any]:  # type: ignore[override]
        return asyncio.Task(coro, loop=self, **options)

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self.is_dead:
            self._surprised(f"{context.get('message')}: {context.get('exception')!r}")


class VirtualClock(Clock):
    """The wall clock of all engines: one moment, plus virtual time."""

    def __init__(self, time: Time, begin_at: datetime) -> None:
        self._time = time
        self._begin_at = begin_at

    def now(self) -> datetime:
        return self._begin_at + timedelta(seconds=self._time.now)

    def seconds(self, at: datetime) -> float:
        """When that was, in virtual time."""
        return (at - self._begin_at).total_seconds()
