"""The journal thread: one per engine, with group commit.

Whatever queued while the last commit ran goes into the next one, up to BATCH_MAX events; nobody waits for company: what leads to a
request is queued as soon as it is handled, the rest with whatever the same turn of the loop still brings. The database is tidied
after a commit was told, when nothing waits. A failed commit breaks every session in the batch: their Desks are ahead of the journal
and must be rebuilt from it.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Final, NamedTuple

from django.db import Error as AnyDatabaseError
from django.db import connection, connections

from execution.core.messages import Effect, SendCancel, SendMassCancel, SendNewOrder, SendReplace
from execution.engine.database import checkpoint, connection_prepare
from execution.store import journal
from execution.store.journal import Entry, Image, Part
from execution.store.projections import Projection, Repeat
from risk.core.units import use_decimal_context

BATCH_MAX: Final = 100
#: events between two checkpoints of the database while the journal now and then rests; under a load that never rests, TIDY_LATEST
TIDY_EVERY: Final = 128
TIDY_LATEST: Final = 2048

_REQUESTS: Final = frozenset({SendNewOrder, SendCancel, SendReplace, SendMassCancel})


class Lost(Exception):
    """The account's lease was taken by another engine: nothing more may be written or sent."""


class JournalFailed(Exception):
    """The commit failed; the Desk is ahead of the journal and must be rebuilt."""


class Write(NamedTuple):
    """What one handled event leaves behind. Without an entry it changed no Desk (a denied decision) and only its rows are kept."""

    seq: int
    at: datetime
    #: monotonic seconds when the event was handled: entries grow old from here
    born: float
    entry: Entry | None
    effects: tuple[Effect, ...]
    by: str = ""
    fold: Repeat | None = None
    image: Image | None = None


class Session:
    """One runner's line to the journal. Its callbacks run on the loop; after `broken` nothing of it is written any more."""

    def __init__(
        self,
        *,
        account_id: int,
        token: int,
        epoch: str,
        committed: Callable[[Sequence[Write]], None],
        broken: Callable[[Exception], None],
    ) -> None:
        self.account_id = account_id
        self.token = token
        self.epoch = epoch
        self.committed = committed
        self.broken = broken
        self.is_broken = False
        #: handled and not committed yet; touched by the loop only
        self.unwritten = 0


Item = tuple[Session, Write]
#: commits parts and returns the accounts that were lost, as `store.journal.append` does
Append = Callable[[Sequence[Part]], set[int]]


class JournalWriter:
    """Takes writes from the loop, commits them in groups, and tells the sessions on the loop."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, *, crashed: Callable[[BaseException], None], append: Append | None = None
    ) -> None:
        self._loop = loop
        self._crashed = crashed
        self._append = append or _append
        self._turn: list[Item] = []
        self._queue: SimpleQueue[Item | None] = SimpleQueue()
        self._untidied = 0
        self._thread = Thread(target=self._run, name="journal", daemon=True)
        #: seconds of the last commits, for the vitals
        self.commits: deque[float] = deque(maxlen=500)

    def start(self) -> None:
        self._thread.start()

    def submit(self, session: Session, write: Write) -> None:
        """Queue a write: at once where a request waits for it, else at the end of this turn of the loop."""
        session.unwritten += 1
        if not self._turn:
            self._loop.call_soon(self._flush)
        self._turn.append((session, write))
        if any(type(effect) in _REQUESTS for effect in write.effects):
            self._flush()

    def _flush(self) -> None:
        for item in self._turn:
            self._queue.put(item)
        self._turn.clear()

    @property
    def backlog(self) -> int:
        return len(self._turn) + self._queue.qsize()

    async def stop(self) -> None:
        """Commit what is queued and end the thread."""
        self._flush()
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        use_decimal_context()
        try:
            while (batch := self._take()) is not None:
                self._commit(batch)
                self._tidy(len(batch))
        except BaseException as e:
            self._tell(self._crashed, e)
            raise
        finally:
            connections.close_all()

    def _take(self) -> list[Item] | None:
        first = self._queue.get()
        if first is None:
            return None
        batch = [first]
        while len(batch) < BATCH_MAX:
            try:
                item = self._queue.get_nowait()
            except Empty:
                break
            if item is None:
                self._queue.put(None)
                break
            batch.append(item)
        return batch

    def _commit(self, batch: Iterable[Item]) -> None:
        groups: dict[Session, list[Write]] = {}
        for session, write in batch:
            if not session.is_broken:
                groups.setdefault(session, []).append(write)
        if not groups:
            return
        started = time.perf_counter()
        try:
            lost = self._append([_part(session, writes) for session, writes in groups.items()])
        except AnyDatabaseError as e:
            self._break(groups, JournalFailed(str(e)))
            return
        self.commits.append(time.perf_counter() - started)
        self._break((s for s in groups if s.account_id in lost), Lost())
        kept = [(session, writes) for session, writes in groups.items() if session.account_id not in lost]
        self._tell(_deliver, kept)

    def _tidy(self, written: int) -> None:
        """Pay for the commits before this one where no decision waits for it. Whoever brings an `append` keeps its own house."""
        self._untidied += written
        is_due = self._untidied >= (TIDY_EVERY if self._queue.empty() else TIDY_LATEST)
        if not is_due or self._append is not _append:
            return
        self._untidied = 0
        try:
            checkpoint()
        except AnyDatabaseError:
            # the next commit opens the connection anew and says what is wrong
            connection.close()

    def _break(self, sessions: Iterable[Session], cause: Exception) -> None:
        for session in sessions:
            session.is_broken = True
            self._tell(session.broken, cause)

    def _tell(self, callback: Callable[..., None], *args: object) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(callback, *args)


def _append(parts: Sequence[Part]) -> set[int]:
    """Commit on this thread's connection; one that failed is opened again with the next commit."""
    try:
        connection_prepare(checkpoints=False)
        return journal.append(parts)
    except AnyDatabaseError:
        connection.close()
        raise


def _deliver(kept: Sequence[tuple[Session, Sequence[Write]]]) -> None:
    for session, writes in kept:
        session.unwritten -= len(writes)
        session.committed(writes)


def _part(session: Session, writes: Sequence[Write]) -> Part:
    projection = Projection(session.account_id)
    for write in writes:
        projection.add(write.effects, seq=write.seq, at=write.at, by=write.by, fold=write.fold)
    entries = [write.entry for write in writes if write.entry is not None]
    image = next((write.image for write in reversed(writes) if write.image is not None), None)
    return Part(session.account_id, session.token, session.epoch, entries, projection, image)
