"""One engine process: the real supervisor with its runners, on a loop of virtual time. It can die at any turn, freeze, or stop politely."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from execution.core.messages import Timing
from execution.engine.parts import Parts
from execution.engine.publisher import Publisher
from execution.engine.supervisor import Supervisor
from execution.engine.vitals import Vitals
from execution.simulator.facts import Fact
from execution.simulator.market import Ear
from execution.simulator.rows import Database, Rows, Writer
from execution.simulator.venue import Venue
from execution.simulator.virtual import Handle, Time, VirtualClock, VirtualLoop
from execution.simulator.wire import Fates, Wire
from risk.core.units import Quote

_NOWHERE: Final = Path("there is no such folder")


class Outside:
    """What all processes share: everything that survives them."""

    def __init__(
        self,
        *,
        time: Time,
        clock: VirtualClock,
        rows: Rows,
        venue: Venue,
        fates: Fates,
        timing: Timing,
        prices: Mapping[str, Decimal],
        snapshot_every: int,
        note: Callable[[Fact], None],
    ) -> None:
        self.time = time
        self.clock = clock
        self.rows = rows
        self.venue = venue
        self.fates = fates
        self.timing = timing
        self.prices = prices
        self.snapshot_every = snapshot_every
        self.note = note


class _Quiet(Publisher):
    """Nobody looks at the pages."""

    async def run(self) -> None:
        """No message leaves …"""

    async def write(self) -> None:
        """… and no row is written."""


class _NoVitals(Vitals):
    """Nobody measures: there is no lag in virtual time."""

    async def watch_lag(self) -> None:
        """There is none."""

    def read(self, *_: Any, **__: Any) -> dict[str, Any]:
        return {}


class _Supervisor(Supervisor):
    def __init__(self, parts: Parts) -> None:
        super().__init__(parts, kill_file=_NOWHERE / "KILL", killed=lambda made: None)
        self._vitals = _NoVitals()

    async def _kill_file_watch(self) -> None:
        """Nobody lays a kill file here, …"""

    async def _kill_file_tell(self) -> None:
        """… so there is none to be told of."""


class Process:
    """Starts at once. `ended` is called when it is over, however that came; what it left is let go of by `bury`."""

    def __init__(self, name: str, outside: Outside, *, ended: Callable[[Process], None], surprised: Callable[[str], None]) -> None:
        self.name = name
        self._outside = outside
        self._ended = ended
        self._surprised = surprised
        self.loop = VirtualLoop(outside.time, died=self._died, surprised=surprised)  # type: ignore[abstract]
        self.wire: Wire | None = None
        self.ear: Ear | None = None
        self._supervisor: Supervisor
        self._main: asyncio.Task[None]
        outside.time.soon(Handle(outside.time.now, self._boot, (), self.loop, None))

    @property
    def is_alive(self) -> bool:
        return not self.loop.is_dead

    @property
    def is_owner(self) -> bool:
        return self.is_alive and self._outside.rows.owner == self.name

    def _boot(self) -> None:
        outside = self._outside
        parts = Parts(
            self.name,
            outside.clock,
            outside.timing,
            Writer(self.loop, outside.rows, crashed=self._crashed),
            Database(outside.rows, self.loop),
            _Quiet(engine=self.name, clock=outside.clock, layer=None),
            open_broker=self._open_broker,
            open_feed=self._open_feed,
            snapshot_every=outside.snapshot_every,
        )
        self._supervisor = _Supervisor(parts)
        self._main = self.loop.create_task(self._supervisor.run())
        self._main.add_done_callback(self._over)

    def _open_broker(self, *_: Any, **__: Any) -> Wire:
        outside = self._outside
        self.wire = Wire(
            outside.venue,
            outside.fates,
            time=outside.time,
            loop=self.loop,
            held=lambda: outside.rows.held_by(self.name),
            note=outside.note,
        )
        return self.wire

    def _open_feed(self, *_: Any, **__: Any) -> Ear:
        self.ear = Ear(self.loop, self._outside.clock.now, self._outside.prices)
        return self.ear

    def tell(self, quote: Quote) -> None:
        """A price reaches this engine."""
        if self.ear is not None:
            self.ear.tell(quote)

    # --- ends ----------------------------------------------------------------------------------------------------------

    def crash(self, *, turns: int = 0) -> None:
        """Die between two turns of the loop, that many from now."""
        self.loop.die_after(turns)

    def freeze(self, seconds: float) -> None:
        """Stand still while the world goes on."""
        self.loop.freeze(seconds)

    def stop(self) -> None:
        """Stop politely: drain, give the lease back, end."""
        self.loop.call_soon(lambda: self.loop.create_task(self._drain()))

    async def _drain(self) -> None:
        await self._supervisor.drain()
        self._main.cancel()

    def _over(self, main: asyncio.Task[None]) -> None:
        """The supervisor's own end is the process's."""
        if not main.cancelled() and (error := main.exception()) is not None:
            self._surprised(f"the supervisor ended: {error!r}")
        self.loop.die_after(0)

    def _crashed(self, error: BaseException) -> None:
        self._surprised(f"the journal writer ended: {error!r}")
        self.loop.die_after(0)

    def _died(self) -> None:
        self._outside.time.call_at(self._outside.time.now, self.loop.bury)
        self._ended(self)
