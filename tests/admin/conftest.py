"""A risk officer in the admin, with a profile, limits and a bot to change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client

from execution.models import Account, Bot
from execution.store.settings import settings_version_ensure
from risk.models import Instrument, RiskProfile
from tests.control.conftest import bot_row, instrument_row
from tradingdesk.people.models import User

Post = Callable[..., HttpResponse]


@pytest.fixture
def btc(db: None) -> Instrument:
    return instrument_row("BTCUSDT")


@pytest.fixture
def bot(account: Account, btc: Instrument) -> Bot:
    bot = bot_row("ema-btc", account, btc)
    settings_version_ensure(account, by="seed")
    return bot


@pytest.fixture
def profile(bot: Bot) -> RiskProfile:
    return bot.profile


@pytest.fixture
def risk_page(bob: User, client: Client) -> Client:
    client.force_login(bob)
    return client


def form_of(page: Any) -> dict[str, Any]:
    """What the browser would send if the page's form were submitted untouched."""
    context = page.context
    fields = _initial(context["adminform"].form)
    for formset in context["inline_admin_formsets"]:
        fields |= _initial(formset.formset.management_form)
        for form in formset.formset.initial_forms:
            fields |= _initial(form)
    return fields


def _initial(form: Any) -> dict[str, Any]:
    found = {}
    for bound in form:
        value = bound.value()
        if value is not None and value is not False and value != []:
            found[bound.html_name] = value
    return found


def sentences(page: Any) -> str:
    return str(page.content.decode())
