"""A denied signal leads to the audit of exactly what its limit came from."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from execution.models import Bot, Signal
from risk import services
from risk.models import AccountLimits, AuditEntry, ClassOverride, Instrument, RiskProfile, SymbolOverride
from risk.services.saving import object_key
from tests.console import factories
from tests.console.conftest import client_of
from tests.console.factories import DeskRows
from tradingdesk.people.models import User


def touch(row: Any, by: str) -> None:
    """Two changes by `by`, saved as the admin does."""
    for value in (7, 6):
        field = next(name for name in ("order_qty_max", "daily_loss_pct") if hasattr(row, name))
        setattr(row, field, value)
        told: dict[str, Any] = {"version": row.pk and row.version, "by": by, "reason": "because"}
        match row:
            case RiskProfile():
                services.profile_save(profile=row, **told)
            case AccountLimits():
                services.limits_save(limits=row, **told)
            case Instrument():
                services.instrument_save(instrument=row, **told)
            case _:
                services.override_save(override=row, **told)


def denied_at(desk: DeskRows, level: str) -> Signal:
    row = factories.signal(desk.account, "ema-btc", "BTCUSDT", reason="GROSS_EXPOSURE")
    row.checks[-1]["level"] = level
    row.save()
    return row


def page_of(client: Client, signal: Signal) -> str:
    return str(client.get(reverse("console:signal", args=[signal.pk])).content.decode())


@pytest.fixture
def touched(desk: DeskRows) -> dict[str, Any]:
    """Each level's object, changed by someone of its own; the newest entry is of none of them."""
    bot = Bot.objects.get(code="ema-btc")
    instrument = Instrument.objects.get(symbol="BTCUSDT")
    rows: dict[str, Any] = {
        "profile demo": bot.profile,
        f"class {instrument.asset_class}": ClassOverride(profile=bot.profile, asset_class=instrument.asset_class),
        "symbol BTCUSDT": SymbolOverride(profile=bot.profile, instrument=instrument),
        "account limits": bot.account.limits,
        "instrument": instrument,
    }
    for at, row in enumerate(rows.values()):
        touch(row, f"person{at}")
    touch(factories.profile("other"), "stranger")
    return rows


def test_it_leads_to_the_audit_of_that_object_alone(desk: DeskRows, touched: dict[str, Any], alice: User) -> None:
    client = client_of(alice)
    for at, (level, row) in enumerate(touched.items()):
        html = page_of(client, denied_at(desk, level))
        assert f"last touched by person{at} on" in html
        link = re.search(r'<a href="([^"]+)">History</a>', html)
        assert link
        audit = client.get(unescape(link.group(1)))
        entries = [entry for entry, *_ in audit.context["entries"]]
        assert [(entry.by, entry.key, entry.model) for entry in entries] == [(f"person{at}", object_key(row), row._meta.label)] * 2


def test_a_ceiling_is_of_the_limits(desk: DeskRows, touched: dict[str, Any], alice: User) -> None:
    assert "last touched by person3 on" in page_of(client_of(alice), denied_at(desk, "account ceiling"))


@pytest.mark.parametrize("level", ["account", "FIRM", "bot ema-btc", "decision"])
def test_it_names_no_history_where_no_setting_was_the_limit(level: str, desk: DeskRows, alice: User) -> None:
    html = page_of(client_of(alice), denied_at(desk, level))
    assert "History" not in html


def test_the_object_stays_chosen_while_the_audit_is_filtered_further(desk: DeskRows, touched: dict[str, Any], alice: User) -> None:
    entry = AuditEntry.objects.filter(by="person2").latest("seq")
    audit = client_of(alice).get(reverse("console:audit"), {"model": entry.model, "key": entry.key})
    html = audit.content.decode()
    assert f'<input type="hidden" name="key" value="{entry.key}">' in html
    assert f'<input type="hidden" name="model" value="{entry.model}">' in html
    assert "of the symbol override <b>demo · symbol BTCUSDT</b> alone" in html
