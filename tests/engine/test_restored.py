"""`manage.py restored`: a database out of a backup is proven, and goes on under ids that were never drawn."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from execution.core.orders import OrdStatus
from execution.models import Account, JournalEntry, Lease, Order, Snapshot
from execution.store import journal
from execution.store.journal import JournalBroken
from execution.tasks import journal_prune
from risk import audit
from risk.models import AuditEntry
from tests.engine.desk import CLOSE, Place, Scripted
from tests.engine.test_runner import enter
from tests.engine.venue import until

pytestmark = pytest.mark.db


def restored(**options: Any) -> tuple[str, str, int]:
    out, err = StringIO(), StringIO()
    try:
        call_command("restored", stdout=out, stderr=err, **options)
    except SystemExit as e:
        return out.getvalue(), err.getvalue(), int(str(e.code))
    return out.getvalue(), err.getvalue(), 0


async def traded(place: Place) -> None:
    async with place.engine() as engine:
        await enter(place, engine)
        await engine.drain()


async def test_it_goes_on_where_it_was_under_ids_that_were_never_drawn(place: Place) -> None:
    await traded(place)
    before = await place.rows(lambda: journal.load(place.account.pk))
    out, err, code = await place.rows(restored)
    assert (err, code) == ("", 0)
    assert "every digest equal" in out
    assert "The audit is whole." in out
    after = await place.rows(lambda: journal.load(place.account.pk))
    assert before is not None
    assert after is not None
    assert after.epoch != before.epoch
    assert f"under epoch {after.epoch}" in out
    old_ids = set(await place.rows(lambda: list(Order.objects.values_list("cl_ord_id", flat=True))))
    async with place.engine("two") as engine:
        await engine.active()
        held = engine.runner.desk.state
        assert [b.status for b in held.brackets.values()] == ["ARMED"]
        Scripted.script.append(CLOSE)
        place.market.quote(61000)
        await until(lambda: all(o.ord_status in (OrdStatus.FILLED, OrdStatus.CANCELED) for o in held.orders.values()))
        await until(lambda: not any(p.qty for p in engine.runner.desk.state.positions.values()))
        await engine.drain()
    new_ids = set(await place.rows(lambda: list(Order.objects.values_list("cl_ord_id", flat=True)))) - old_ids
    assert new_ids
    assert all(after.epoch in cl_ord_id and before.epoch not in cl_ord_id for cl_ord_id in new_ids)
    out, err, code = await place.rows(lambda: restored(only_verify=True))
    assert (err, code) == ("", 0)
    assert f"of epoch {after.epoch}, every digest equal" in out


async def test_it_leaves_behind_every_engine_that_ran_on_what_was_lost(place: Place) -> None:
    await traded(place)
    token = await place.rows(lambda: Lease.objects.get().token)
    await place.rows(restored)
    lease = await place.rows(Lease.objects.get)
    assert lease.token > token + 1000
    assert (lease.engine, lease.expires_at) == ("", None)
    entry = await place.rows(lambda: AuditEntry.objects.get(action="restored"))
    assert entry.key == place.account.code
    assert await place.rows(audit.verify) is None


async def test_it_only_verifies_when_told_so(place: Place) -> None:
    await traded(place)
    before = await place.rows(lambda: (list(Snapshot.objects.values_list("pk", "epoch")), Lease.objects.get().token))
    assert (await place.rows(lambda: restored(only_verify=True)))[2] == 0
    assert await place.rows(lambda: (list(Snapshot.objects.values_list("pk", "epoch")), Lease.objects.get().token)) == before


async def test_it_changes_nothing_where_something_is_broken(place: Place) -> None:
    await traded(place)
    await place.rows(lambda: JournalEntry.objects.filter(seq=4).update(digest=b"other"))
    images = await place.rows(Snapshot.objects.count)
    _, err, code = await place.rows(restored)
    assert code == 1
    assert "the digest differs at event 4" in err
    assert await place.rows(Snapshot.objects.count) == images


@pytest.mark.django_db
def test_it_finds_an_audit_that_was_changed(account: Account) -> None:
    from django.db import transaction

    for n in range(3):
        with transaction.atomic():
            audit.record(by="alice", action="halt", model="m", key=str(n), before=None, after=None)
    AuditEntry.objects.filter(seq=2).update(by="bob")
    _, err, code = restored()
    assert (err, code) == ("The audit is broken at entry 2: it, or the one before it, is not what was written.\n", 1)


@pytest.mark.django_db
def test_it_refuses_while_an_engine_has_an_account(account: Account) -> None:
    Lease.objects.create(account=account, engine="one", token=1, expires_at=timezone.now() + timedelta(seconds=10))
    with pytest.raises(CommandError, match=f"An engine has {account.code}: stop every engine first"):
        restored()
    assert restored(only_verify=True)[2] == 0


async def test_it_never_starts_empty_where_the_renewed_state_cannot_be_read(place: Place) -> None:
    await traded(place)
    await place.rows(restored)
    await place.rows(lambda: Snapshot.objects.filter(pk=Snapshot.objects.latest("pk").pk).update(state_hash="other"))
    with pytest.raises(JournalBroken, match="no entry, and no snapshot that can be read"):
        await place.rows(lambda: journal.load(place.account.pk))


async def test_it_lets_old_epochs_grow_old(place: Place) -> None:
    await traded(place)
    await place.rows(restored)
    long_ago = timezone.now() - timedelta(days=400)
    await place.rows(lambda: JournalEntry.objects.update(at=long_ago))
    entries = await place.rows(JournalEntry.objects.count)
    assert await place.rows(lambda: journal_prune(place.account)) == entries
    assert await place.rows(lambda: journal.load(place.account.pk)) is not None
