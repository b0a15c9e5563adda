"""Two people, one moment: one act per key, one winner per version, one unbroken trail."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from threading import Barrier
from typing import Any

import pytest
from django.db import connection, transaction

from execution import services
from execution.core.messages import KillChoice
from execution.models import Account, AccountState, Act, Bot, Command, Lease
from execution.store import journal
from execution.store.settings import settings_version_ensure
from risk import audit
from risk import services as risk_services
from risk.core.units import Scope, ScopeKind
from risk.models import AuditEntry, Halt, RiskProfile, SettingsVersion
from tests.control.conftest import account_row, bot_row, instrument_row
from tests.store.values import entry, part

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.db]
THREADS = 4


def at_once(work: Callable[[int], Any]) -> list[Any]:
    """What each thread's `work` gave, an exception included, all begun together."""
    barrier = Barrier(THREADS)

    def one(number: int) -> Any:
        barrier.wait(timeout=10)
        try:
            return work(number)
        except risk_services.Refused as e:
            return e
        finally:
            connection.close()

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(one, range(THREADS)))


@pytest.fixture
def desk() -> Bot:
    return bot_row("ema-btc", account_row("paper-crypto"), instrument_row("BTCUSDT"))


def test_it_makes_one_act_of_one_key(desk: Bot) -> None:
    acts = at_once(
        lambda _: services.kill(scope=Scope(ScopeKind.FIRM), choice=KillChoice.CANCEL, by="alice", idempotency_key="one").pk
    )
    assert len(set(acts)) == 1
    assert (Act.objects.count(), Command.objects.count(), Halt.objects.count(), AuditEntry.objects.count()) == (1, 1, 1, 1)


def kill(number: int) -> Act:
    return services.kill(
        scope=Scope(ScopeKind.FIRM), choice=KillChoice.CANCEL, by=f"person-{number}", idempotency_key=f"kill-{number}"
    )


def test_it_joins_kills_that_come_together(desk: Bot) -> None:
    acts = at_once(kill)
    halt = Halt.objects.get()
    assert {act.halt_id for act in acts} == {halt.halt_id}
    assert {command.body["halt_id"] for command in Command.objects.all()} == {halt.halt_id}
    assert (Act.objects.count(), Command.objects.count()) == (THREADS, THREADS)


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite lets one transaction write at a time")
def test_it_joins_a_kill_that_is_not_committed_yet(desk: Bot) -> None:
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            first = kill(1)
            second = pool.submit(closing, lambda: kill(2))
            while not _somebody_waits():
                pass
        joined = second.result(timeout=10)
    assert joined.halt_id == first.halt_id == Halt.objects.get().halt_id


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite lets one transaction write at a time")
def test_it_keeps_the_journal_running_while_settings_are_saved(desk: Bot) -> None:
    Lease.objects.create(account=desk.account, engine="one", token=1)
    AccountState.objects.create(account=desk.account)
    with ThreadPoolExecutor(1) as pool, transaction.atomic():
        settings_version_ensure(desk.account, by="bob")
        assert pool.submit(closing, lambda: journal.append([part(desk.account.pk, entry(1))])).result(timeout=10) == set()


def closing(work: Callable[[], Any]) -> Any:
    """Work of another thread, with a connection of its own that gives up waiting."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '8s'")
        return work()
    finally:
        connection.close()


def _somebody_waits() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        return bool(cursor.fetchone()[0])


def test_it_lets_one_of_many_edits_win(desk: Bot) -> None:
    def edit(number: int) -> RiskProfile:
        profile = RiskProfile.objects.get()
        profile.qty_max = Decimal(10 + number)
        return risk_services.profile_save(profile=profile, version=1, by=f"person-{number}")

    told = at_once(edit)
    assert sum(isinstance(one, RiskProfile) for one in told) == 1
    assert sum(isinstance(one, risk_services.Changed) for one in told) == THREADS - 1
    assert RiskProfile.objects.get().version == 2


def test_it_numbers_and_chains_what_happens_together(desk: Bot) -> None:
    def edit(number: int) -> None:
        override = risk_services.symbol_override_new(profile=RiskProfile.objects.get(), symbol=f"S{number}USDT")
        override.qty_max = Decimal(1)
        risk_services.override_save(override=override, version=None, by=f"person-{number}")

    for number in range(THREADS):
        instrument_row(f"S{number}USDT")
    at_once(edit)
    versions = SettingsVersion.objects.order_by("version")
    assert list(versions.values_list("version", flat=True)) == list(range(1, THREADS + 1))
    last = versions.last()
    assert last is not None
    assert len(last.body["profiles"]["demo"]["symbols"]) == THREADS
    assert (AuditEntry.objects.count(), audit.verify()) == (THREADS, None)
    assert Account.objects.count() == 1
