"""The Desk's own loop: event in, state changed, written, and only then performed.

Rules of this file:
1. The Desk is touched here only, one event at a time, on the event loop.
2. Effects are performed when the commit that holds their event is done, in the journal's order; never before.
3. After a failed or fenced commit, or an event that raised, nothing of this Desk is true any more: it handles nothing further and
   the supervisor rebuilds it from the journal.
4. While the journal is behind, no event is handled: the inbox keeps what the venue says.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

import msgspec

from execution.core.desk import Desk
from execution.core.messages import Commanded, Effect, Event, Publish
from execution.core.state import CORE_VERSION
from execution.engine.clock import AccountClock, monotonic
from execution.engine.inbox import Inbox
from execution.engine.publisher import Stream
from execution.engine.writer import JournalWriter, Session, Write
from execution.store.journal import Entry, Image
from execution.store.projections import Repeat, SignalFold

#: events between two snapshots …
SNAPSHOT_EVERY: Final = 5000
#: … which stand this far apart, because one keeps orders waiting for 20 ms, …
SNAPSHOT_GAP_S: Final = 30.0
#: … unless so many times the events came meanwhile: a restart must not take long
SNAPSHOT_LATEST: Final = 6
#: writes the journal may be behind before the Desk waits for it
UNWRITTEN_MAX: Final = 2000

_ENCODER: Final = msgspec.msgpack.Encoder()
_LONG_AGO: Final = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


class EventFailed(Exception):
    """`Desk.handle` raised on this event: the Desk may be half changed and is thrown away."""

    def __init__(self, event: Event, trace: str) -> None:
        super().__init__(f"the Desk raised on {type(event).__name__}")
        self.event = event
        self.trace = trace


def fingerprint(event: Event) -> bytes:
    """The event without its time: the same event delivered again has the same one."""
    return _ENCODER.encode(msgspec.structs.replace(event, at=_LONG_AGO))


class DeskLoop:
    """Owns one account's Desk while it runs. `perform` gets each committed effect with the monotonic time its event was handled."""

    def __init__(
        self,
        desk: Desk,
        *,
        writer: JournalWriter,
        account_id: int,
        token: int,
        epoch: str,
        clock: AccountClock,
        fold: SignalFold,
        stream: Stream,
        perform: Callable[[Effect, float], None],
        broken: Callable[[Exception], None],
        poisoned: frozenset[bytes] = frozenset(),
        snapshot_every: int = SNAPSHOT_EVERY,
    ) -> None:
        self.desk = desk
        self.clock = clock
        self._writer = writer
        self._session = Session(
            account_id=account_id, token=token, epoch=epoch, committed=self._committed, broken=self._broken_by_writer
        )
        self._fold = fold
        self._stream = stream
        self._perform = perform
        self._broken = broken
        self._poisoned = poisoned
        self._snapshot_every = snapshot_every
        self._inbox = Inbox()
        self._imaged_seq = desk.seq
        self._imaged_at = monotonic()
        self._is_over = False
        self._room = asyncio.Event()
        self._room.set()
        #: halts this Desk let go, from that moment on: rows that were read before the commit must not bring them back
        self.halts_cleared: set[str] = set()

    @property
    def is_behind(self) -> bool:
        """True while events must wait for the journal, or for ever after a failure."""
        return self._is_over or self._session.unwritten >= UNWRITTEN_MAX

    @property
    def is_over(self) -> bool:
        return self._is_over

    @property
    def unwritten(self) -> int:
        return self._session.unwritten

    def take(self, event: Event) -> None:
        """Handle the event now, or after those that wait."""
        if self.is_behind or self._inbox:
            self._inbox.put(event)
        else:
            self._handle(event)

    async def room(self) -> None:
        """Wait until the journal is not far behind: a tape at full speed must not outrun the disk."""
        await self._room.wait()

    async def flushed(self) -> None:
        """Wait until everything handled is committed. Bounded by the caller."""
        while self._session.unwritten and not self._is_over:
            self._room.clear()
            await self._room.wait()

    def stop(self) -> None:
        """Handle nothing more."""
        self._is_over = True
        self._room.set()

    def image_write(self) -> None:
        """Write a snapshot of the state as it is."""
        if self.desk.seq:
            self._submit(Write(self.desk.seq, self.clock.now(), monotonic(), None, (), image=self._image()))

    @property
    def has_overflowed(self) -> bool:
        """True once the inbox threw events away; the caller reconciles. Reading it resets it."""
        overflowed, self._inbox.has_overflowed = self._inbox.has_overflowed, False
        return overflowed

    def _handle(self, event: Event) -> None:
        if self._poisoned and fingerprint(event) in self._poisoned:
            return
        desk, seq, born = self.desk, self.desk.seq, monotonic()
        try:
            effects = desk.handle(event)
        except Exception:  # a defect of the core, whatever it is: this Desk is not to be trusted any more
            self.stop()
            self._broken(EventFailed(event, traceback.format_exc()))
            return
        self.halts_cleared.update(e.key for e in effects if isinstance(e, Publish) and e.kind == "halt_cleared")
        if desk.seq == seq:
            if effects:
                self._submit(Write(seq, event.at, born, None, effects, fold=self._folded(effects)))
            return
        entry = Entry(desk.seq, event.at, event, desk.digest(), CORE_VERSION)
        by = event.command.by if isinstance(event, Commanded) else ""
        image = self._image() if self._is_image_due() else None
        self._submit(Write(desk.seq, event.at, born, entry, effects, by, self._folded(effects), image))

    def _submit(self, write: Write) -> None:
        if not self._session.is_broken:
            self._writer.submit(self._session, write)

    def _is_image_due(self) -> bool:
        events, every = self.desk.seq - self._imaged_seq, self._snapshot_every
        return events >= every and (monotonic() - self._imaged_at >= SNAPSHOT_GAP_S or events >= every * SNAPSHOT_LATEST)

    def _image(self) -> Image:
        self._imaged_seq, self._imaged_at = self.desk.seq, monotonic()
        return Image(self.desk.seq, self.clock.now(), _ENCODER.encode(self.desk.state))

    def _folded(self, effects: Sequence[Effect]) -> Repeat | None:
        """A signal that only repeats the denial before it. One event decides once."""
        for effect in effects:
            if isinstance(effect, Publish) and effect.kind == "signal":
                return self._fold.fold(effect.body)
        return None

    def _committed(self, writes: Sequence[Write]) -> None:
        for write in writes:
            for effect in write.effects:
                if not isinstance(effect, Publish):
                    self._perform(effect, write.born)
        for write in writes:
            self._stream.note(write.effects, seq=write.seq, fold=write.fold)
        if not self._session.unwritten or not self.is_behind:
            self._room.set()
        while not self.is_behind and (event := self._inbox.take()) is not None:
            self._handle(event)

    def _broken_by_writer(self, cause: Exception) -> None:
        if not self._is_over:
            self.stop()
            self._broken(cause)
