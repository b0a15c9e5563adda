"""/metrics: who may read it, that every family is told, and that the numbers are the rows'."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError
from django.test import Client
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from execution.core.messages import CommandStatus
from execution.engine.vitals import Vitals
from execution.models import Account, Alarm, Bracket, Engine, Lease, Order, PoisonEvent
from execution.tasks import watch
from tests.conftest import person
from tests.console import factories
from tests.console.factories import DeskRows
from tradingdesk import metrics as told
from tradingdesk.metrics import FAMILIES, PREFIX

TOKEN = "a-token-of-prometheus"
Numbers = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def desk(db: None, settings: Any) -> DeskRows:
    settings.METRICS_TOKEN = TOKEN
    return factories.desk()


def scrape() -> Numbers:
    answer = Client().get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200
    families = text_string_to_metric_families(answer.content.decode())
    return {(s.name.removeprefix(PREFIX), frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def number(name: str, **labels: str) -> float | None:
    return scrape().get((name, frozenset(labels.items())))


@pytest.mark.parametrize("brought", ["", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"bearer{TOKEN}"])
def test_it_refuses_who_brings_no_token(desk: DeskRows, brought: str) -> None:
    answer = Client().get("/metrics", headers={"Authorization": brought})
    assert (answer.status_code, answer.content, answer.headers["WWW-Authenticate"]) == (401, b"", "Bearer")


def test_it_opens_for_nobody_without_a_token_in_the_settings(desk: DeskRows, settings: Any) -> None:
    settings.METRICS_TOKEN = ""
    for brought in ("Bearer ", "Bearer  ", ""):
        assert Client().get("/metrics", headers={"Authorization": brought}).status_code == 401


@pytest.mark.parametrize(("is_staff", "status"), [(True, 200), (False, 401)])
def test_it_is_for_staff(desk: DeskRows, is_staff: bool, status: int) -> None:
    user, browser = person("mia"), Client()
    user.is_staff = is_staff
    user.save()
    browser.force_login(user)
    assert browser.get("/metrics").status_code == status


def test_it_tells_every_family_by_its_name_and_no_money(desk: DeskRows) -> None:
    answer = Client().get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    found = {family.name for family in text_string_to_metric_families(answer.content.decode())}
    assert found == {PREFIX + name for name in FAMILIES}
    assert not any(word in name for name in found for word in ("equity", "cash", "pnl", "exposure", "notional"))


def test_it_tells_what_an_engine_wrote_of_itself(desk: DeskRows) -> None:
    vitals = Vitals(fsync_ms=0.5)
    vitals.handed.add(0.0008)
    vitals.denials["STALE_PRICE"] += 2
    wrote = {"fsync_ms": 0.5, "loop_lag_ms_max": 3.0, "commit_ms_p99": 0.7, "memory_mb": 2, "waiting": {"ENTRIES": 4}}
    wrote |= {"decision_to_venue_seconds": vitals.handed.read(), "denials": dict(vitals.denials)}
    Engine.objects.update(vitals=wrote)
    found = scrape()
    engine = ("engine", "desk-1")
    wanted = {
        ("engine_fsync_seconds", frozenset({engine})): 0.0005,
        ("engine_loop_lag_seconds", frozenset({engine})): 0.003,
        ("engine_commit_seconds", frozenset({engine, ("quantile", "0.99")})): 0.0007,
        ("engine_memory_bytes", frozenset({engine})): 2097152,
        ("engine_requests_waiting", frozenset({engine, ("lane", "ENTRIES")})): 4,
        ("denials_total", frozenset({engine, ("reason", "STALE_PRICE")})): 2,
        ("decision_to_venue_seconds_bucket", frozenset({engine, ("le", "0.0005")})): 0,
        ("decision_to_venue_seconds_bucket", frozenset({engine, ("le", "0.001")})): 1,
        ("decision_to_venue_seconds_count", frozenset({engine})): 1,
    }
    assert {key: found.get(key) for key in wanted} == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("change", "is_up"),
    [
        ({}, 1),
        ({"seen_at": timedelta(seconds=-30)}, 0),
        ({"stopped_at": timedelta(0)}, 0),
        ({"seen_at": timedelta(hours=-1)}, None),
    ],
    ids=["runs", "silent", "stopped", "long gone"],
)
def test_it_tells_whether_an_engine_is_there(desk: DeskRows, change: dict[str, timedelta], is_up: int | None) -> None:
    Engine.objects.update(**{name: timezone.now() + by for name, by in change.items()})
    engine = Engine.objects.get()
    assert number("engine_up", engine=engine.name, host=engine.host, version=engine.version) == is_up


def silent(account: Account) -> None:
    Lease.objects.update(expires_at=timezone.now() - timedelta(seconds=60))


def naked(account: Account) -> None:
    Bracket.objects.filter(is_open=True).update(naked_since=timezone.now() - timedelta(seconds=9))


def down(account: Account) -> None:
    account.state.links_down = {"ORDERS": "2026-01-05T12:00:00+00:00"}
    account.state.conditions = {"ORDERS_DOWN": "2026-01-05T12:00:00+00:00"}
    account.state.save()


def poisoned(account: Account) -> None:
    PoisonEvent.objects.create(account=account, at=timezone.now(), event=b"", traceback="")


def alarmed(account: Account) -> None:
    Alarm.objects.all().delete()
    factories.alarm(account)


def unheard(account: Account) -> None:
    factories.kill(account, status=CommandStatus.PENDING)


@pytest.mark.parametrize(
    ("trouble", "name", "labels", "least"),
    [
        (silent, "account_active", {}, 0),
        (naked, "bracket_naked_age_seconds", {}, 9),
        (down, "account_link_down", {"link": "ORDERS"}, 1),
        (down, "account_condition", {"condition": "ORDERS_DOWN"}, 1),
        (poisoned, "poison_events", {}, 1),
        (alarmed, "alarms", {"priority": "2", "is_acked": "no"}, 1),
        (unheard, "commands_pending", {}, 1),
        (unheard, "command_pending_age_seconds", {}, 0),
    ],
)
def test_it_tells_trouble(
    desk: DeskRows, trouble: Callable[[Account], None], name: str, labels: dict[str, str], least: float
) -> None:
    code = desk.account.code
    before = number(name, account=code, **labels)
    trouble(desk.account)
    after = number(name, account=code, **labels)
    assert after is not None
    assert after != before
    assert least <= after < least + 60


def test_it_counts_working_orders_by_status(desk: DeskRows) -> None:
    working = Order.objects.filter(is_working=True)
    counts = {status: working.filter(ord_status=status).count() for status in set(working.values_list("ord_status", flat=True))}
    assert counts
    found = scrape()
    for status, count in counts.items():
        assert found["orders", frozenset({("account", desk.account.code), ("status", status)})] == count


def test_it_says_that_there_is_no_layer(desk: DeskRows, settings: Any) -> None:
    settings.REDIS_URL = "unix:///nowhere/at/all.sock"
    found = scrape()
    assert found["layer_up", frozenset()] == 0
    assert ("watchdog_age_seconds", frozenset()) not in found


def test_it_tells_when_the_watchdog_last_looked(desk: DeskRows, settings: Any) -> None:
    if not settings.REDIS_URL:
        pytest.skip("there is no Valkey in this run")
    watch()
    found = scrape()
    assert found["layer_up", frozenset()] == 1
    assert 0 <= found["watchdog_age_seconds", frozenset()] < 60
    assert found["queue_length", frozenset({("queue", "jobs")})] == 0


def test_it_says_with_503_that_the_database_is_gone(desk: DeskRows, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(at: object) -> None:
        raise DatabaseError("the connection is closed")

    monkeypatch.setattr(told, "_accounts", gone)
    assert Client().get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 503
