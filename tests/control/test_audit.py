"""The audit trail: written with what it records, and broken wherever it is touched."""

from __future__ import annotations

import pytest
from django.db import transaction

from risk import audit
from risk.models import AuditEntry

pytestmark = [pytest.mark.django_db, pytest.mark.db]


def entries(count: int) -> None:
    for n in range(count):
        with transaction.atomic():
            audit.record(
                by="alice",
                action="change",
                model="risk.RiskProfile",
                key="demo",
                before={"leverage": str(n)},
                after={"leverage": "2"},
            )


def test_it_numbers_and_chains() -> None:
    entries(3)
    rows = list(AuditEntry.objects.order_by("seq"))
    assert [row.seq for row in rows] == [1, 2, 3]
    assert rows[0].previous_hash == audit.GENESIS
    assert [row.previous_hash for row in rows[1:]] == [row.entry_hash for row in rows[:2]]
    assert audit.verify() is None


@pytest.mark.parametrize(
    "change",
    [
        {"by": "mallory"},
        {"reason": "better"},
        {"before": {"leverage": "9"}},
        {"after": None},
        {"action": "delete"},
        {"previous_hash": "0" * 64},
        {"entry_hash": "f" * 64},
    ],
)
def test_it_names_the_entry_that_was_touched(change: dict[str, object]) -> None:
    entries(4)
    AuditEntry.objects.filter(seq=2).update(**change)
    assert audit.verify() == 2


def test_it_names_the_entry_that_is_missing() -> None:
    entries(4)
    AuditEntry.objects.filter(seq=3).delete()
    assert audit.verify() == 3


@pytest.mark.django_db(transaction=True)
def test_it_refuses_to_record_outside_of_a_transaction() -> None:
    with pytest.raises(transaction.TransactionManagementError):
        audit.record(by="alice", action="change", model="", key="", before=None, after=None)


@pytest.mark.django_db(transaction=True)
def test_an_entry_dies_with_its_transaction() -> None:
    entries(1)
    with transaction.atomic():
        audit.record(by="alice", action="change", model="", key="", before=None, after=None)
        transaction.set_rollback(True)
    entries(1)
    assert (AuditEntry.objects.count(), audit.verify()) == (2, None)
