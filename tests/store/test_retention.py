"""What grows is kept short, and the journal is never cut where a restart would need it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from execution import tasks
from execution.models import Account, Alarm, Bar, JournalEntry, Lease, Snapshot
from execution.store import journal
from tests.conftest import NOON
from tests.store.test_journal import image
from tests.store.values import entry, part

pytestmark = [pytest.mark.django_db, pytest.mark.db]


def test_it_keeps_the_entries_that_no_snapshot_covers(leased: Account, settings: Any) -> None:
    settings.RETENTION_DAYS = {"journal": 1, "bars": 1, "bot_log": 1}
    journal.append([part(leased.pk, *(entry(n) for n in range(1, 1300)), image=image(1200))])
    tasks.journal_prune(leased)
    assert list(JournalEntry.objects.order_by("seq").values_list("seq", flat=True)) == list(range(1201, 1300))
    assert journal.load(leased.pk) is not None


def test_it_cuts_nothing_without_a_snapshot(leased: Account) -> None:
    journal.append([part(leased.pk, entry(1), entry(2))])
    assert tasks.journal_prune(leased) == 0


def test_it_cuts_nothing_that_is_young(leased: Account) -> None:
    journal.append([part(leased.pk, entry(1), entry(2), image=image(2))])
    JournalEntry.objects.update(at=timezone.now())
    assert tasks.journal_prune(leased) == 0


def test_it_keeps_the_newest_snapshots(leased: Account) -> None:
    for n in range(1, 7):
        journal.append([part(leased.pk, entry(n), image=image(n))])
    tasks.journal_prune(leased)
    assert list(Snapshot.objects.order_by("seq").values_list("seq", flat=True)) == [4, 5, 6]


def test_it_forgets_old_bars(leased: Account) -> None:
    fields = dict.fromkeys(("open", "high", "low", "close"), 1)
    for at in (NOON - timedelta(days=1000), timezone.now()):
        Bar.objects.create(account=leased, symbol="BTCUSDT", interval_s=60, start_at=at, **fields)
    assert tasks.retention()["bars"] == 1


def test_it_rings_when_no_engine_has_an_account_and_stops_when_one_does(leased: Account) -> None:
    assert tasks.watch() == 0
    Lease.objects.update(expires_at=timezone.now() - timedelta(hours=1))
    assert [tasks.watch(), tasks.watch()] == [1, 1]
    assert Alarm.objects.get().title == "No engine runs this account"
    Lease.objects.update(expires_at=timezone.now() + timedelta(hours=1))
    assert tasks.watch() == 0
    assert Alarm.objects.get().returned_at is not None
