"""The guard against a brain that never returns: it holds the loop, so only another thread can see it."""

from __future__ import annotations

import asyncio
import os
import sys
import traceback
from collections.abc import Callable
from threading import Event, Thread, get_ident
from typing import Final

import structlog
from django.db import Error as AnyDatabaseError
from django.db import connections

from execution.engine.brains import Seat
from execution.engine.clock import Clock
from execution.store import faults

log = structlog.get_logger(__name__)

STUCK_S: Final = 2.0
_LOOK_S: Final = 0.25
#: the exit code of a process that ended itself over a brain
EXIT_STUCK: Final = 70


class BrainGuard:
    """Ends the process when the loop makes no progress for STUCK_S while a brain thinks, after halting that brain's bot.

    Made on the loop's own thread.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, thinking: Callable[[], Seat | None], clock: Clock, engine: str) -> None:
        self._loop = loop
        self._thinking = thinking
        self._clock = clock
        self._engine = engine
        self._turns = 0
        self._loop_thread = get_ident()
        self._stop = Event()
        self._thread = Thread(target=self._watch, name="guard", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _turn(self) -> None:
        self._turns += 1

    def _watch(self) -> None:
        seen, stuck_s = -1, 0.0
        while not self._stop.wait(_LOOK_S):
            if self._loop.is_closed():
                return
            stuck_s = stuck_s + _LOOK_S if self._turns == seen else 0.0
            if not stuck_s:
                seen = self._turns
                self._loop.call_soon_threadsafe(self._turn)
            elif stuck_s >= STUCK_S and (seat := self._thinking()) is not None:
                self._end(seat)

    def _end(self, seat: Seat) -> None:
        stack = "".join(traceback.format_stack(sys._current_frames().get(self._loop_thread)))
        reason = f"its brain did not return for {STUCK_S:g} s"
        log.critical("a brain holds the loop: its bot is halted and the engine ends", bot=seat.bot.code, stack=stack)
        try:
            at = self._clock.now()
            faults.brain_halt_write(seat.bot.code, reason=reason, stack=stack, at=at)
            faults.engine_end_write(self._engine, at=at)
        except AnyDatabaseError as e:
            log.error("the halt could not be written", error=str(e))
        connections.close_all()
        os._exit(EXIT_STUCK)
