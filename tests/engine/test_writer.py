"""The journal thread: group commit, fencing, and what a failed commit means."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from channels.db import database_sync_to_async
from django.db import DatabaseError, connection

from execution.core.messages import Effect, SendCancel
from execution.engine import writer as writers
from execution.engine.writer import JournalFailed, JournalWriter, Lost, Session, Write
from execution.models import Account, AccountState, JournalEntry, Lease
from execution.store import journal
from risk.core.units import Side
from risk.core.verdict import OrderClass
from tests.engine.venue import until
from tests.store.values import at, entry

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.db]


class Line:
    """A session that writes down what it is told."""

    def __init__(self, account: Account, *, token: int = 1) -> None:
        self.committed: list[int] = []
        self.broken: list[Exception] = []
        self.session = Session(account_id=account.pk, token=token, epoch="e1", committed=self._committed, broken=self.broken.append)

    def _committed(self, writes: Sequence[Write]) -> None:
        self.committed += [write.seq for write in writes]


CANCEL = SendCancel(cl_ord_id="o1", order_id="", symbol="BTCUSDT", side=Side.BUY, order_class=OrderClass.ENTRY)


def write(seq: int, *effects: Effect) -> Write:
    return Write(seq, at(seq), 0.0, entry(seq), effects)


@pytest.fixture
def leased(account: Account) -> Account:
    Lease.objects.create(account=account, engine="here", token=1)
    AccountState.objects.create(account=account)
    return account


@asynccontextmanager
async def running() -> AsyncIterator[JournalWriter]:
    crashed: list[BaseException] = []
    writer = JournalWriter(asyncio.get_running_loop(), crashed=crashed.append)
    writer.start()
    try:
        yield writer
    finally:
        await writer.stop()
    assert crashed == []


async def seqs() -> list[int]:
    found: list[int] = await database_sync_to_async(_seqs)()
    return found


def _seqs() -> list[int]:
    return list(JournalEntry.objects.order_by("seq").values_list("seq", flat=True))


async def test_it_commits_in_order_and_tells_in_order(leased: Account) -> None:
    line = Line(leased)
    async with running() as writer:
        for n in range(1, 251):
            writer.submit(line.session, write(n))
        await until(lambda: len(line.committed) == 250)
    assert line.committed == list(range(1, 251))
    assert await seqs() == list(range(1, 251))
    assert line.session.unwritten == 0


async def test_it_writes_what_queued_during_a_commit_together(leased: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    is_first, gate, append = threading.Event(), threading.Event(), journal.append

    def slow(parts: Sequence[journal.Part]) -> set[int]:
        sizes.append(sum(len(part.entries) for part in parts))
        is_first.set()
        gate.wait()
        return append(parts)

    monkeypatch.setattr(journal, "append", slow)
    line = Line(leased)
    async with running() as writer:
        writer.submit(line.session, write(1))
        await until(is_first.is_set)
        for n in range(2, 200):
            writer.submit(line.session, write(n))
        gate.set()
        await until(lambda: len(line.committed) == 199)
    assert sizes == [1, 100, 98]


async def test_it_writes_no_more_of_an_account_that_was_lost(leased: Account) -> None:
    mine, lost = Line(leased), Line(leased, token=0)
    async with running() as writer:
        writer.submit(lost.session, write(1))
        await until(lambda: bool(lost.broken))
        writer.submit(lost.session, write(2))
        writer.submit(mine.session, write(1))
        await until(lambda: mine.committed == [1])
    assert isinstance(lost.broken[0], Lost)
    assert lost.committed == []
    assert await seqs() == [1]


async def test_it_breaks_every_session_of_a_commit_that_failed(leased: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    append = journal.append
    failing = [True]

    def fail_once(parts: Sequence[journal.Part]) -> set[int]:
        if failing and failing.pop():
            raise DatabaseError("database is locked")
        return append(parts)

    monkeypatch.setattr(journal, "append", fail_once)
    broken, fresh = Line(leased), Line(leased)
    async with running() as writer:
        writer.submit(broken.session, write(1))
        await until(lambda: bool(broken.broken))
        writer.submit(broken.session, write(2))
        writer.submit(fresh.session, write(1))
        await until(lambda: fresh.committed == [1])
    assert isinstance(broken.broken[0], JournalFailed)
    assert broken.committed == []
    assert await seqs() == [1]


async def test_it_starts_at_once_where_a_request_waits_and_else_when_the_turn_is_over(leased: Account) -> None:
    """This test holds the loop on purpose: nothing else could have begun the commit."""
    begun = threading.Event()

    def append(parts: Sequence[journal.Part]) -> set[int]:
        begun.set()
        return set()

    line, writer = Line(leased), JournalWriter(asyncio.get_running_loop(), crashed=print, append=append)
    writer.start()
    writer.submit(line.session, write(1))
    assert writer._queue.empty()
    writer.submit(line.session, write(2, CANCEL))
    assert begun.wait(10)
    writer.submit(line.session, write(3))
    await until(lambda: line.committed == [1, 2, 3])
    await writer.stop()


async def test_it_commits_what_the_last_turn_brought_when_it_stops(leased: Account) -> None:
    line = Line(leased)
    async with running() as writer:
        writer.submit(line.session, write(1))
        assert writer.backlog == 1
    assert await seqs() == [1]


async def test_it_tells_what_was_committed_before_it_tidies_the_database(leased: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    told, waited = threading.Event(), list[bool]()
    monkeypatch.setattr(writers, "TIDY_EVERY", 3)
    monkeypatch.setattr(writers, "checkpoint", lambda: waited.append(told.wait(10)))
    line = Line(leased)
    async with running() as writer:
        for n in range(1, 4):
            writer.submit(line.session, write(n))
        await until(lambda: line.committed == [1, 2, 3])
        told.set()
    assert waited == [True]


async def test_it_survives_a_database_that_cannot_be_tidied(leased: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> int:
        raise DatabaseError("disk I/O error")

    monkeypatch.setattr(writers, "TIDY_EVERY", 1)
    monkeypatch.setattr(writers, "checkpoint", fail)
    line = Line(leased)
    async with running() as writer:
        for n in (1, 2):
            await commit_alone(writer, line, n)
    assert line.broken == []
    assert await seqs() == [1, 2]


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL tidies by itself")
async def test_it_keeps_the_write_ahead_log_short(leased: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "TIDY_EVERY", 16)
    line = Line(leased)
    async with running() as writer:
        for n in range(1, 401):
            await commit_alone(writer, line, n)
        assert _log_size() < 1_000_000


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL tidies by itself")
async def test_it_tidies_in_no_commit(leased: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """Left to itself SQLite copies its log back in the commit that brings it to a thousand pages, and the log starts anew."""
    monkeypatch.setattr(writers, "TIDY_EVERY", 10_000)
    line = Line(leased)
    async with running() as writer:
        for n in range(1, 401):
            await commit_alone(writer, line, n)
        assert _log_size() > 1100 * 4096


def _log_size() -> int:
    return Path(f"{connection.settings_dict['NAME']}-wal").stat().st_size


async def commit_alone(writer: JournalWriter, line: Line, n: int) -> None:
    writer.submit(line.session, write(n))
    await until(lambda: len(line.committed) == n)
