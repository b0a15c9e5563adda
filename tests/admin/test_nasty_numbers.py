"""Nothing that is typed into a field for a number breaks the page: it is refused in a sentence at its field, and stays there."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.utils.html import escape

from execution.models import Account, Bot
from risk.core.settings import RiskSettings
from risk.core.units import NO_LIMIT, AssetClass
from risk.fields import DecimalText
from risk.models import AccountLimits, AuditEntry, ClassOverride, Instrument, RiskProfile, SymbolOverride
from tests.admin.conftest import form_of
from tests.admin.test_settings_pages import post, url

pytestmark = pytest.mark.db

NOT_NUMBERS = [
    *("1,000", "1000,5", "1,5", "abc", "1_000", "1e", "0x10", "१२", "--1", "∞", "NaN", "sNaN", "Infinity", "-inf", "no limit"),
    *("9" * 61, "1e9999999999"),
]
TOO_LARGE = ("1e400", "1e15", "-1e15", "1e9999999", "-1e9999999", "0e999999999", "1000000000000000.5")
TOO_FINE = ("1e-400", "0.0000000000000000001", "0e-999999999")
SENTENCES = {text: f"“{text}” is not a number. Write digits, like 0.25 or 1200." for text in NOT_NUMBERS}
SENTENCES |= dict.fromkeys(TOO_LARGE, "A number here is below 1,000,000,000,000,000.")
SENTENCES |= dict.fromkeys(TOO_FINE, "A number here has at most 18 decimals.")


def numbers(model: Any) -> list[str]:
    return [field.name for field in model._meta.concrete_fields if isinstance(field, DecimalText)]


def refused(client: Client, page: str, typed: dict[str, str], *, prefix: str = "") -> None:
    """Each field has the sentence of its text, and the text again; nothing is saved."""
    answer = post(client, page, reason="because", **{f"{prefix}{name}": text for name, text in typed.items()})
    assert answer.status_code == 200
    forms = [answer.context["adminform"].form]
    forms += [one for inline in answer.context["inline_admin_formsets"] for one in inline.formset.forms]
    form = next(one for one in forms if one.add_prefix("") == prefix)
    html = answer.content.decode()
    for name, text in typed.items():
        assert any(SENTENCES[text] in told for told in form.errors[name]), (name, text)
        assert f'name="{prefix}{name}" value="{escape(text)}"' in html
    assert not AuditEntry.objects.filter(action__in=["change", "create"]).exists()


def refused_all(client: Client, page: str, model: Any, *, prefix: str = "") -> None:
    """Every text in some field and every field with some text, as many at once as there are fields."""
    names, texts = numbers(model), list(SENTENCES)
    for start in range(0, len(texts), len(names)):
        some = texts[start : start + len(names)]
        refused(client, page, {name: some[at % len(some)] for at, name in enumerate(names)}, prefix=prefix)


@pytest.fixture
def overrides(profile: RiskProfile, btc: Instrument) -> None:
    ClassOverride.objects.create(profile=profile, asset_class=AssetClass.CRYPTO_SPOT, leverage=1)
    SymbolOverride.objects.create(profile=profile, instrument=btc, order_qty_max=NO_LIMIT)


@pytest.mark.parametrize("typed", SENTENCES)
@pytest.mark.usefixtures("overrides")
def test_one_field_alone_refuses_it(typed: str, profile: RiskProfile, risk_page: Client) -> None:
    refused(risk_page, url(profile), {"margin_per_trade": typed})


@pytest.mark.usefixtures("overrides")
def test_every_number_of_a_profile_and_its_overrides_refuses(profile: RiskProfile, risk_page: Client) -> None:
    refused_all(risk_page, url(profile), RiskProfile)
    refused_all(risk_page, url(profile), ClassOverride, prefix="classes-0-")
    refused_all(risk_page, url(profile), SymbolOverride, prefix="symbols-0-")


def test_limits_ceilings_and_instruments_refuse(account: Account, bot: Bot, btc: Instrument, risk_page: Client) -> None:
    refused_all(risk_page, f"/admin/risk/accountlimits/{account.limits_id}/change/", AccountLimits)
    refused_all(risk_page, f"/admin/risk/instrument/{btc.pk}/change/", Instrument)


@pytest.mark.parametrize(
    ("page", "model"), [("riskprofile", RiskProfile), ("accountlimits", AccountLimits), ("instrument", Instrument)]
)
def test_a_new_row_refuses_too(page: str, model: Any, risk_page: Client) -> None:
    refused_all(risk_page, f"/admin/risk/{page}/add/", model)


def test_a_new_account_refuses_it_as_its_cash(admin_client: Client) -> None:
    refused_all(admin_client, "/admin/execution/account/add/", Account)


@pytest.mark.parametrize("typed", ["1e99", "-1", "1,5", "1.5", "9" * 30, "NaN", "०"])
def test_whole_numbers_are_refused_or_taken_and_never_break_the_page(
    typed: str, profile: RiskProfile, account: Account, risk_page: Client
) -> None:
    whole = [
        name
        for name in RiskSettings.__struct_fields__
        if RiskProfile._meta.get_field(name).get_internal_type() == "PositiveIntegerField"
    ]
    page = post(risk_page, url(profile), reason="because", **dict.fromkeys(whole, typed))
    assert page.status_code == 200
    limits = f"/admin/risk/accountlimits/{account.limits_id}/change/"
    assert post(risk_page, limits, reason="because", positions_max=typed).status_code == 200


def test_the_page_of_a_refused_profile_computes_with_what_is_stored(
    profile: RiskProfile, btc: Instrument, risk_page: Client
) -> None:
    SymbolOverride.objects.create(profile=profile, instrument=btc, leverage=1)
    page = post(risk_page, url(profile), margin_per_trade="1,000")
    assert "inherits 500 from profile" in page.content.decode()


@pytest.mark.parametrize("typed", ["none", "None", " NONE "])
def test_the_word_none_alone_means_no_limit(typed: str, profile: RiskProfile, risk_page: Client) -> None:
    post(risk_page, url(profile), reason="because", order_notional_max="1000")
    assert form_of(risk_page.get(url(profile)))["order_notional_max"] == 1000
    post(risk_page, url(profile), reason="because", order_notional_max=typed)
    profile.refresh_from_db()
    assert profile.order_notional_max == NO_LIMIT


@pytest.mark.parametrize("typed", ["1e3", "+5", "0.000000000000000001", ".5", "5.", "999999999999999"])
def test_digits_are_taken_as_they_are_written(typed: str, profile: RiskProfile, risk_page: Client) -> None:
    post(risk_page, url(profile), reason="because", margin_per_trade=typed)
    profile.refresh_from_db()
    assert profile.margin_per_trade == Decimal(typed)
