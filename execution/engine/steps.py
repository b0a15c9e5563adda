"""A tape played as fast as possible, in step with its account, so that the same tape gives the same history.

Rules of this file.
1. The account lives on the tape's time: its clock stands at the price that is looked at, and its timers fire between two prices.
   Windows, ages and days are the market's, however fast the tape is played.
2. The tape waits after each event until what that set off is written, sent, answered and heard.
3. Before the tape and after it, time passes as it does for everybody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Final

import msgspec

from execution.core.messages import CommandSpec
from execution.engine.clock import AccountClock
from execution.engine.timers import Timers

#: between two looks whether everything is done: less than a commit takes
_LOOK_S: Final = 0.0005


def in_time_of(clock: AccountClock, command: CommandSpec) -> CommandSpec:
    """A command waits by our own time: where the account's clock is ahead, what it says of times is moved along."""
    if not (ahead := clock.ahead):
        return command
    until = command.valid_until and command.valid_until + ahead
    return msgspec.structs.replace(command, asked_at=command.asked_at + ahead, valid_until=until)


class Steps:
    """`is_quiet` says whether nothing is under way any more; after `is_over` nothing is waited for."""

    def __init__(self, clock: AccountClock, timers: Timers, *, is_quiet: Callable[[], bool], is_over: Callable[[], bool]) -> None:
        self._clock = clock
        self._timers = timers
        self._is_quiet = is_quiet
        self._is_over = is_over

    async def to(self, at: datetime) -> None:
        """Let the account's time pass up to `at`."""
        if not self._clock.is_held:
            self._clock.hold(self._clock.now())
            self._timers.hold()
        while not self._is_over() and (due_at := self._timers.next_due(at)) is not None:
            self._clock.hold(due_at)
            self._timers.fire_next()
            await self.settled()
        self._clock.hold(at)

    async def settled(self) -> None:
        """Wait until what was set off is done."""
        while not self._is_quiet() and not self._is_over():  # noqa: ASYNC110 - three threads and a venue would have to tell
            await asyncio.sleep(_LOOK_S)

    def end(self) -> None:
        """The tape is over: time passes by itself again."""
        self._clock.let_go()
        self._timers.let_go()
