"""deploy/postgres: what each role may do, tried as that role. Roles are made in a transaction that is rolled back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.apps import apps
from django.db import ProgrammingError, connection, transaction
from django.test import Client

from execution import services
from execution.core.messages import KillChoice
from execution.models import Alarm, Bot
from risk.core.units import Scope, ScopeKind
from risk.models import AuditEntry
from risk.services.saving import Refused
from tests.conftest import PASSWORD
from tests.console import factories
from tests.console.factories import DeskRows
from tests.tidy.sources import ROOT

#: roles belong to the whole server: two workers would wait for each other
pytestmark = pytest.mark.xdist_group("roles")

WEB, ENGINE = "tradingdesk_web", "tradingdesk_engine"
#: written by the engine and by nobody else
ENGINE_ONLY = {
    "journalentry", "snapshot", "poisonevent", "lease", "engine", "order", "fill", "adjustment", "bracket", "position", "signal",
    "accountstate", "symbolstate", "discrepancy", "bar", "feedoffset",
    "paperorder", "paperreplace", "paperfill", "paperadjustment", "paperbalance",
}  # fmt: skip


@pytest.fixture
def desk(db: None) -> DeskRows:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite knows no roles")
    made = factories.desk()
    factories.alarm(made.account)
    with connection.cursor() as cursor:
        # as CREATE DATABASE … OWNER leaves it
        for name in ("roles.sql", "grants.sql"):
            cursor.execute((ROOT / "deploy" / "postgres" / name).read_text())
    return made


@contextmanager
def acting(role: str) -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL ROLE {role}")
        try:
            yield
        finally:
            cursor.execute("RESET ROLE")


def may(role: str, right: str, table: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT has_table_privilege(%s, %s, %s)", [role, table, right])
        return bool(cursor.fetchone()[0])


def tables() -> list[str]:
    return [model._meta.db_table for model in apps.get_models(include_auto_created=True)]


def test_both_read_everything(desk: DeskRows) -> None:
    assert [(role, table) for role in (WEB, ENGINE) for table in tables() if not may(role, "SELECT", table)] == []


def test_the_web_writes_nothing_that_only_the_engine_writes(desk: DeskRows) -> None:
    mine = {f"execution_{name}" for name in ENGINE_ONLY}
    assert mine <= set(tables())
    rights = ("INSERT", "UPDATE", "DELETE", "TRUNCATE")
    assert [(right, table) for right in rights for table in sorted(mine) if may(WEB, right, table)] == []
    assert [(right, table) for right in rights[:3] for table in sorted(mine) if not may(ENGINE, right, table)] == []


@pytest.mark.parametrize("role", [WEB, ENGINE])
def test_nobody_changes_the_audit_or_the_schema(desk: DeskRows, role: str) -> None:
    assert may(role, "INSERT", "risk_auditentry")
    kept = [("UPDATE", "risk_auditentry"), ("DELETE", "risk_auditentry"), ("TRUNCATE", "risk_auditentry")]
    kept += [(right, "django_migrations") for right in ("INSERT", "UPDATE", "DELETE", "TRUNCATE")]
    assert [right for right in kept if may(role, *right)] == []
    with acting(role), connection.cursor() as cursor, pytest.raises(ProgrammingError), transaction.atomic():
        cursor.execute("CREATE TABLE mine (id int)")


@contextmanager
def denied() -> Iterator[None]:
    with pytest.raises(ProgrammingError, match="permission denied"), transaction.atomic():
        yield


def test_the_web_cannot_touch_what_it_shows(desk: DeskRows) -> None:
    with acting(WEB), connection.cursor() as cursor:
        for statement in (
            "UPDATE execution_lease SET token = 99",
            "DELETE FROM execution_journalentry",
            "UPDATE execution_position SET qty = 0",
            "UPDATE execution_alarm SET returned_at = now()",
            "UPDATE risk_auditentry SET by = 'me'",
            "UPDATE risk_settingsversion SET version = 1",
        ):
            with denied():
                cursor.execute(statement)


def test_the_web_does_with_its_rights_what_people_ask(desk: DeskRows, settings: Any) -> None:
    person = factories.user("maria", "trader", "risk", accounts=[desk.account], is_staff=True)
    person.set_password(PASSWORD)
    person.save()
    with acting(WEB):
        browser = Client()
        assert browser.post("/accounts/login/", {"login": "maria", "password": PASSWORD}).status_code == 302
        for page in ("/", "/signals/", "/admin/"):
            assert browser.get(page).status_code == 200, page
        services.kill(
            scope=Scope(ScopeKind.FIRM), choice=KillChoice.CANCEL, by="maria", reason="prices look wrong", idempotency_key="one"
        )
        services.alarm_ack(alarm=Alarm.objects.latest("pk"), by="maria")
        services.account_save(account=desk.account, version=desk.account.version, by="maria", reason="asked")
        bot = Bot.objects.get(code="ema-ltc")
        services.bot_save(
            bot=bot, instruments=[row.instrument for row in bot.symbols.all()], version=bot.version, by="maria", reason="asked"
        )
    assert {"sign_in", "kill", "alarm_ack"} <= set(AuditEntry.objects.values_list("action", flat=True))


def test_the_web_deletes_a_bot_and_says_why_not_an_account(desk: DeskRows) -> None:
    quiet = factories.account("quiet")
    bot = factories.bot("ema-quiet", "BTCUSDT", quiet, at=desk.at)
    with acting(WEB):
        with transaction.atomic():
            Bot.objects.get(pk=bot.pk).delete()
        with pytest.raises(Refused) as refused, transaction.atomic():
            services.account_delete(account=quiet, by="maria", reason="asked")
    assert "Disable it instead" in str(refused.value.problems)
