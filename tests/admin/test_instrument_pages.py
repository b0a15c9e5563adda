"""Instruments in the admin: hours of a market by its name, and what the venue takes in one order."""

from __future__ import annotations

import pytest
from django.test import Client

from execution.models import Account, Bot
from execution.store.settings import settings_version_value
from risk.core.units import NO_LIMIT
from risk.models import Instrument, SettingsVersion
from tests.admin.conftest import form_of

pytestmark = pytest.mark.db
ADD = "/admin/risk/instrument/add/"


def test_it_adds_an_instrument_without_a_largest_order(risk_page: Client, bot: Bot) -> None:
    page = risk_page.get(ADD)
    assert form_of(page)["order_qty_max"] == "none"
    typed = {"symbol": "AAPL", "asset_class": "EQUITY", "tick_size": "0.01", "lot_size": "1", "calendar": "XNYS", "currency": "USD"}
    risk_page.post(ADD, form_of(page) | typed)
    saved = Instrument.objects.get(symbol="AAPL")
    assert (saved.calendar, saved.order_qty_min, saved.order_qty_max) == ("XNYS", 0, NO_LIMIT)


def test_it_puts_a_calendar_into_the_settings_of_its_accounts(
    risk_page: Client, bot: Bot, account: Account, btc: Instrument
) -> None:
    url = f"/admin/risk/instrument/{btc.pk}/change/"
    refused = risk_page.post(url, form_of(risk_page.get(url)) | {"calendar": "XNYC", "order_qty_max": "0"})
    errors = refused.context["adminform"].form.errors
    assert "The nearest are XNYS" in str(errors["calendar"])
    assert "must be above 0" in str(errors["order_qty_max"])
    risk_page.post(url, form_of(risk_page.get(url)) | {"calendar": "XNYS", "order_qty_max": "12.5"})
    newest = settings_version_value(SettingsVersion.objects.filter(account=account.code).latest("version"))
    assert len(newest.sessions_of("BTCUSDT")) > 5
    assert newest.instruments["BTCUSDT"].order_qty_max == btc.__class__.objects.get(pk=btc.pk).order_qty_max
