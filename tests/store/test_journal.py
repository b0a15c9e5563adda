"""The journal: what is committed can be read back, and only the owner commits."""

from __future__ import annotations

import msgspec
import pytest
from django.db import IntegrityError

from execution.core.controls import AccountState
from execution.core.state import DeskState
from execution.models import Account, JournalEntry, Lease, Order, Snapshot
from execution.models import AccountState as AccountRow
from execution.store import journal
from execution.store.journal import Image, JournalBroken
from risk.models import AccountLimits
from tests.store.values import at, entry, event, order, part, publish

pytestmark = [pytest.mark.django_db, pytest.mark.db]


def image(seq: int, account: str = "paper-crypto") -> Image:
    return Image(seq, at(seq), msgspec.msgpack.encode(DeskState(account=AccountState(account=account), seq=seq)))


def test_it_reads_back_what_was_committed(leased: Account) -> None:
    assert journal.append([part(leased.pk, entry(1), entry(2), entry(3))]) == set()
    loaded = journal.load(leased.pk)
    assert loaded is not None
    assert loaded.epoch == "e1"
    assert loaded.state is None
    assert [(e.seq, e.event, e.digest) for e in loaded.tail] == [(n, event(n), f"digest {n}".encode()) for n in (1, 2, 3)]


def test_it_knows_an_account_that_never_ran(leased: Account) -> None:
    assert journal.load(leased.pk) is None


def test_it_tells_the_stream_number_with_the_commit(leased: Account) -> None:
    journal.append([part(leased.pk, entry(1), entry(2))])
    assert AccountRow.objects.get(account=leased).seq == 2


def test_it_drops_the_part_of_a_lost_account_and_commits_the_others(leased: Account) -> None:
    other = Account.objects.create(code="other", name="Other", limits=_limits("other"))
    Lease.objects.create(account=other, engine="there", token=8)
    lost = journal.append(
        [
            part(leased.pk, entry(1), effects=(publish("order", "o1", order("o1")),)),
            part(other.pk, entry(1), token=7, effects=(publish("order", "o2", order("o2")),)),
        ]
    )
    assert lost == {other.pk}
    assert list(JournalEntry.objects.values_list("account_id", flat=True)) == [leased.pk]
    assert list(Order.objects.values_list("cl_ord_id", flat=True)) == ["o1"]


def test_it_refuses_an_account_without_a_lease(account: Account) -> None:
    assert journal.append([part(account.pk, entry(1))]) == {account.pk}
    assert not JournalEntry.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_it_writes_nothing_of_a_batch_that_repeats_a_number(leased: Account) -> None:
    journal.append([part(leased.pk, entry(1))])
    with pytest.raises(IntegrityError):
        journal.append([part(leased.pk, entry(2), entry(1), effects=(publish("order", "o1", order()),))])
    assert JournalEntry.objects.count() == 1
    assert not Order.objects.exists()


def test_it_starts_from_the_newest_snapshot(leased: Account) -> None:
    journal.append([part(leased.pk, entry(1), entry(2), image=image(2))])
    journal.append([part(leased.pk, entry(3))])
    loaded = journal.load(leased.pk)
    assert loaded is not None
    assert loaded.state is not None
    assert loaded.state.seq == 2
    assert [e.seq for e in loaded.tail] == [3]


def test_it_passes_over_a_damaged_snapshot(leased: Account) -> None:
    journal.append([part(leased.pk, entry(1), image=image(1))])
    journal.append([part(leased.pk, entry(2), image=image(2))])
    Snapshot.objects.filter(seq=2).update(state=b"\x00")
    loaded = journal.load(leased.pk)
    assert loaded is not None
    assert loaded.state is not None
    assert loaded.state.seq == 1
    assert [e.seq for e in loaded.tail] == [2]


def test_it_refuses_a_snapshot_that_is_what_was_written_and_cannot_be_read(leased: Account) -> None:
    journal.append([part(leased.pk, entry(1), image=image(1))])
    Snapshot.objects.update(state=b"\xc1", state_hash=journal.state_hash(b"\xc1"))
    with pytest.raises(JournalBroken, match="snapshot of event 1 cannot be read"):
        journal.load(leased.pk)


def test_it_refuses_a_journal_with_a_hole(leased: Account) -> None:
    journal.append([part(leased.pk, entry(1), entry(2), entry(3))])
    JournalEntry.objects.filter(seq=2).delete()
    with pytest.raises(JournalBroken, match="entry 2 of epoch e1 is missing"):
        journal.load(leased.pk)


def test_it_refuses_an_entry_that_cannot_be_read(leased: Account) -> None:
    journal.append([part(leased.pk, entry(1))])
    JournalEntry.objects.update(event=b"\xc1")
    with pytest.raises(JournalBroken, match="entry 1 cannot be read"):
        journal.load(leased.pk)


def _limits(name: str) -> AccountLimits:
    return AccountLimits.objects.create(name=name)
