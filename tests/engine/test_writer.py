"""The journal thread: group commit, fencing, and what a failed commit means."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from channels.db import database_sync_to_async
from django.db import DatabaseError

from execution.engine.writer import JournalFailed, JournalWriter, Lost, Session, Write
from execution.models import Account, AccountState, JournalEntry, Lease
from execution.store import journal
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


def write(seq: int) -> Write:
    return Write(seq, at(seq), 0.0, entry(seq), ())


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
