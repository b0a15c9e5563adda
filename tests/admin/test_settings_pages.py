"""A risk officer edits sizing and limits: refused with the reason, saved with the version, audited; nobody else may."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import msgspec
import pytest
from django.contrib import admin
from django.template.loader import render_to_string
from django.test import Client
from django.utils import timezone

from execution.models import Account, AccountState, SymbolState
from risk.admin import GROUPS, AuditedAdmin
from risk.core.gates import judge
from risk.core.settings import AccountLimits as Limits
from risk.core.settings import RiskSettings
from risk.core.units import NO_LIMIT
from risk.core.verdict import Denied, Reason, SizeHint
from risk.models import AccountLimits, AuditEntry, Instrument, RiskProfile, SettingsVersion, SymbolOverride
from risk.selectors import InForce, Size
from risk.services import meanings, rules
from tests.admin.conftest import form_of, sentences
from tests.core.risk_builders import NOON, book, buy, quote, settings
from tradingdesk.people.models import User


def url(profile: RiskProfile) -> str:
    return f"/admin/risk/riskprofile/{profile.pk}/change/"


def post(client: Client, page: str, **changes: Any) -> Any:
    return client.post(page, form_of(client.get(page)) | changes, follow=True)


def test_it_saves_and_says_the_version(profile: RiskProfile, risk_page: Client) -> None:
    page = post(risk_page, url(profile), margin_per_trade="250")
    assert "Settings: Paper Crypto v2" in sentences(page)
    assert RiskProfile.objects.get().margin_per_trade == Decimal(250)
    entry = AuditEntry.objects.get()
    assert (entry.by, entry.before, entry.after) == ("bob", {"margin_per_trade": "500"}, {"margin_per_trade": "250"})
    assert entry.origin.startswith("admin")
    assert SettingsVersion.objects.filter(account="paper-crypto").count() == 2


@pytest.mark.parametrize(
    ("field", "typed", "sentence"),
    [
        ("margin_per_trade", "-1", "Margin per trade must be above 0, was -1."),
        ("margin_per_trade", "NaN", "“NaN” is not a number. Write digits, like 0.25 or 1200."),
        ("margin_per_trade", "none", "Margin per trade cannot be without limit"),
        ("order_qty_max", "inf", "“inf” is not a number. Write digits, like 0.25 or 1200. No limit is written none."),
        ("price_age_ms_max", "1.5", "Price age ms max must be at least 50, was 1.5."),
        ("margin_per_trade", "lots", "is not a number"),
        ("leverage", "0", "Leverage must be at least 1, was 0."),
        ("qty_max", "0.0001", "below one lot of BTCUSDT"),
        ("session_loss_limit", "50", "write it as a negative number, like -50"),
        ("risk_pct", "150", "Risk pct must be at most 100"),
        ("breaker_losses", "0", "Breaker losses must be at least 1"),
    ],
)
def test_it_refuses_at_the_field(field: str, typed: str, sentence: str, profile: RiskProfile, risk_page: Client) -> None:
    page = post(risk_page, url(profile), **{field: typed, "reason": "because"})
    assert sentence in sentences(page).replace("&quot;", "").replace("&#x27;", "'")
    assert field in page.context["adminform"].form.errors
    assert not AuditEntry.objects.exists()
    assert SettingsVersion.objects.count() == 1


def test_it_asks_why_and_then_saves(profile: RiskProfile, risk_page: Client) -> None:
    page = post(risk_page, url(profile), leverage="3")
    assert "This loosens leverage: say why." in sentences(page)
    assert RiskProfile.objects.get().leverage == 1
    post(risk_page, url(profile), leverage="3", reason="hedged")
    assert RiskProfile.objects.get().leverage == 3
    assert AuditEntry.objects.get().reason == "hedged"


def test_it_refuses_what_someone_changed_meanwhile(profile: RiskProfile, risk_page: Client) -> None:
    shown = form_of(risk_page.get(url(profile)))
    post(risk_page, url(profile), qty_max="40")
    page = risk_page.post(url(profile), shown | {"qty_max": "30"})
    assert "bob changed this" in sentences(page)
    assert RiskProfile.objects.get().qty_max == 40


def inline(**fields: Any) -> dict[str, Any]:
    return {
        "symbols-TOTAL_FORMS": "1",
        "symbols-INITIAL_FORMS": "0",
        **{f"symbols-0-{name}": value for name, value in fields.items()},
    }


def test_it_adds_an_override_and_shows_what_it_inherits(profile: RiskProfile, btc: Instrument, risk_page: Client) -> None:
    post(risk_page, url(profile), **inline(instrument=btc.pk, margin_per_trade="200"))
    assert SymbolOverride.objects.get().margin_per_trade == 200
    page = risk_page.get(url(profile))
    (form,) = page.context["inline_admin_formsets"][0].formset.initial_forms
    assert form.fields["leverage"].widget.attrs["placeholder"] == "inherits 1"
    assert form.fields["leverage"].help_text == "inherits 1 from profile demo"
    assert form.fields["is_stop_required"].widget.choices[0] == ("unknown", "inherits yes")
    assert form.fields["naked_policy"].choices[0] == ("", "inherits close_position")
    assert SettingsVersion.objects.order_by("-version")[0].body["profiles"]["demo"]["symbols"]["BTCUSDT"] == {
        "margin_per_trade": "200"
    }


def test_an_override_inherits_from_its_class_first(profile: RiskProfile, btc: Instrument, risk_page: Client) -> None:
    profile.classes.create(asset_class="CRYPTO_SPOT", leverage=Decimal(2))
    profile.symbols.create(instrument=btc)
    page = risk_page.get(url(profile))
    (form,) = page.context["inline_admin_formsets"][0].formset.initial_forms
    assert form.fields["leverage"].help_text == "inherits 2 from class CRYPTO_SPOT"


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"leverage": "0"}, "Leverage must be at least 1"),
        ({"qty_max": "0.0001"}, "below one lot of BTCUSDT"),
        ({"margin_per_trade": "900"}, "This loosens margin per trade: say why."),
        ({"instrument": "999"}, "Select a valid choice"),
    ],
)
def test_it_refuses_in_an_inline(
    fields: dict[str, str], sentence: str, profile: RiskProfile, btc: Instrument, risk_page: Client
) -> None:
    page = post(risk_page, url(profile), **inline(**({"instrument": btc.pk} | fields)))
    assert sentence in sentences(page)
    assert not SymbolOverride.objects.exists()


def test_it_says_at_the_top_what_was_refused_and_leads_there(profile: RiskProfile, btc: Instrument, risk_page: Client) -> None:
    """The page is long, and the field may be in an override far below."""
    override = profile.symbols.create(instrument=btc, leverage=Decimal(1))
    page = post(risk_page, url(profile), **{"symbols-0-id": override.pk, "symbols-0-leverage": "0"}).content.decode()
    top, _, fields = page.partition('name="code"')
    assert re.search(r'<a href="#id_symbols-0-leverage">[^<]*BTCUSDT, Leverage: Leverage must be at least 1, was 0\.</a>', top)
    assert 'id="id_symbols-0-leverage"' in fields


def test_it_deletes_an_override_with_a_reason_only(profile: RiskProfile, btc: Instrument, risk_page: Client) -> None:
    override = profile.symbols.create(instrument=btc, leverage=Decimal(1))
    changes = {f"symbols-0-{name}": value for name, value in {"id": override.pk, "DELETE": "on"}.items()}
    assert "Deleting an override loosens" in sentences(post(risk_page, url(profile), **changes))
    post(risk_page, url(profile), **changes, reason="same as the profile")
    assert not SymbolOverride.objects.exists()
    assert (AuditEntry.objects.get().action, AuditEntry.objects.get().reason) == ("delete", "same as the profile")


def test_it_shows_when_the_engine_took_it(profile: RiskProfile, account: Account, risk_page: Client) -> None:
    post(risk_page, url(profile), margin_per_trade="250")
    engines = f"/admin/risk/riskprofile/{profile.pk}/engines/"
    assert "v2 saved; no engine has taken them yet" in sentences(risk_page.get(engines))
    AccountState.objects.create(account=account, settings_version=1, settings_applied_at=timezone.now() - timedelta(hours=1))
    assert "v2 saved; its engine still runs on v1" in sentences(risk_page.get(engines))
    AccountState.objects.update(settings_version=2, settings_applied_at=timezone.now())
    page = sentences(risk_page.get(engines))
    assert "runs on settings v2 since" in page
    assert "data-waiting" not in page
    assert "runs on settings v2" in sentences(risk_page.get(url(profile)))


def test_it_says_a_denial_once_with_the_symbols_it_holds_for() -> None:
    size = partial(Size, "bot", order_qty=Decimal(0), price=Decimal(1), notional=Decimal(0), currency="USDT")
    sizes = (size(symbol="BTCUSDT", denial="Breaker"), size(symbol="ETHUSDT"), size(symbol="LTCUSDT", denial="Breaker"))
    found = InForce(account="paper", newest=1, taken=1, taken_at=None, sizes=sizes)
    assert found.denials == [("Breaker", ["BTCUSDT", "LTCUSDT"])]
    told = " ".join(render_to_string("admin/engines.html", {"engines": [found]}).split())
    assert told.count("would be denied by Breaker") == 1
    assert 'BTCUSDT, LTCUSDT <strong class="denied">would be denied by Breaker' in told


def test_it_heads_columns_in_plain_words(profile: RiskProfile, risk_page: Client) -> None:
    page = sentences(risk_page.get("/admin/risk/riskprofile/"))
    assert "Margin per trade" in page
    assert "margin_per_trade</" not in page


def test_it_does_not_wait_for_a_disabled_account(profile: RiskProfile, account: Account, risk_page: Client) -> None:
    Account.objects.update(is_enabled=False)
    page = sentences(risk_page.get(f"/admin/risk/riskprofile/{profile.pk}/engines/"))
    assert "is disabled: it takes settings v1 when it is enabled" in page
    assert "data-waiting" not in page


def test_it_shows_what_a_default_order_would_be(profile: RiskProfile, account: Account, risk_page: Client) -> None:
    engines = f"/admin/risk/riskprofile/{profile.pk}/engines/"
    assert "A default order now" not in sentences(risk_page.get(engines))
    SymbolState.objects.create(account=account, symbol="BTCUSDT", last=Decimal(60000))
    assert "BTCUSDT 0.008 at 60,000 = 480 USDT" in sentences(risk_page.get(engines))
    post(risk_page, url(profile), margin_per_trade="250")
    assert "BTCUSDT 0.004 at 60,000 = 240 USDT" in sentences(risk_page.get(engines))
    post(risk_page, url(profile), margin_per_trade="1")
    assert "The settings give less than one lot of 0.001 at 60,000" in sentences(risk_page.get(engines))


def test_it_says_of_a_default_order_which_gate_would_deny_it(profile: RiskProfile, account: Account, risk_page: Client) -> None:
    SymbolState.objects.create(account=account, symbol="BTCUSDT", last=Decimal(60000))
    post(risk_page, url(profile), order_notional_max="400")
    page = sentences(risk_page.get(f"/admin/risk/riskprofile/{profile.pk}/engines/"))
    assert "BTCUSDT 0.008 at 60,000 = 480 USDT" in page
    assert "would be denied by Order notional: The order is worth 480; the limit is 400." in page
    post(risk_page, url(profile), margin_per_trade="")
    page = sentences(risk_page.get(f"/admin/risk/riskprofile/{profile.pk}/engines/"))
    assert "Size: margin_per_trade is not set." in page


@pytest.mark.parametrize(
    ("field", "before", "after", "told"),
    [
        ("margin_per_trade", "500", "250", "margin per trade 500 → 250: tightens"),
        ("margin_per_trade", "500", "1000", "margin per trade 500 → 1000: loosens"),
        ("margin_per_trade", "500", "", "margin per trade 500 → unset, which denies every entry: tightens"),
        ("margin_per_trade", "", "500", "margin per trade unset → 500: loosens"),
        ("qty_max", "50", "none", "qty max 50 → none: loosens"),
        ("session_loss_limit", "-50", "-20", "session loss limit -50 → -20: tightens"),
        ("naked_policy", "keep", "", "naked policy keep → unset: loosens"),
        ("is_stop_required", "true", "false", "is stop required yes → no: loosens"),
    ],
)
def test_it_says_what_a_change_does(
    field: str, before: str, after: str, told: str, profile: RiskProfile, risk_page: Client
) -> None:
    post(risk_page, url(profile), **{field: before, "reason": "as it was"})
    asked = sentences(post(risk_page, url(profile), **{field: after}))
    assert ("say why" in asked) == told.endswith("loosens")
    page = asked if told.endswith("tightens") else sentences(post(risk_page, url(profile), **{field: after, "reason": "because"}))
    assert told in page


@pytest.mark.parametrize(("own", "told", "is_looser"), [("3", "tightens", False), ("9", "tightens", False), ("1", "loosens", True)])
def test_emptying_an_override_is_what_it_inherits(
    own: str, told: str, is_looser: bool, profile: RiskProfile, btc: Instrument, risk_page: Client
) -> None:
    inherited = {"3": "2", "9": "5", "1": "5"}[own]
    profile.classes.create(asset_class="CRYPTO_SPOT", leverage=Decimal(inherited))
    override = profile.symbols.create(instrument=btc, leverage=Decimal(own))
    emptied = {"symbols-0-id": override.pk, "symbols-0-leverage": "", "classes-0-id": profile.classes.get().pk}
    if is_looser:
        page = sentences(post(risk_page, url(profile), **emptied))
        assert f"This loosens leverage (inherits {inherited} from class CRYPTO_SPOT): say why." in page
    page = sentences(post(risk_page, url(profile), **emptied, reason="as the class"))
    assert f"BTCUSDT: leverage {own} → inherits {inherited} from class CRYPTO_SPOT: {told}" in page


@pytest.mark.parametrize(("after", "told"), [("", "empty, which bounds nothing: loosens"), ("2", "2: tightens")])
def test_a_ceiling_taken_away_loosens(after: str, told: str, account: Account, profile: RiskProfile, risk_page: Client) -> None:
    page = f"/admin/risk/accountlimits/{account.limits.pk}/change/"
    post(risk_page, page, leverage_ceiling="5")
    assert f"leverage ceiling 5 → {told}" in sentences(post(risk_page, page, leverage_ceiling=after, reason="so"))


def test_it_opens_a_folded_group_that_holds_an_error(profile: RiskProfile, btc: Instrument, risk_page: Client) -> None:
    override = profile.symbols.create(instrument=btc, leverage=Decimal(1))
    wrong = {"symbols-0-id": override.pk, "symbols-0-session_loss_limit": "500"}
    page = sentences(post(risk_page, url(profile), **wrong)).replace("&#x27;", "'")
    [group] = re.findall(r"<details open>.*?</details>", page, re.DOTALL)
    assert "Session and breaker" in group
    assert 'value="500"' in group
    sentence = "Session loss limit is a loss: write it as a negative number, like -50, was 500."
    assert sentence in group
    top = page.partition('name="code"')[0]
    assert f"BTCUSDT, Session loss limit: {sentence}" in top
    assert "<details open>" not in sentences(risk_page.get(url(profile)))


def test_every_field_says_what_it_means_with_an_example(profile: RiskProfile, account: Account, risk_page: Client) -> None:
    for page in (url(profile), f"/admin/risk/accountlimits/{account.limits.pk}/change/"):
        form = risk_page.get(page).context["adminform"].form
        silent = [name for name, field in form.fields.items() if not field.help_text and not field.widget.is_hidden]
        assert silent == []
    assert set(meanings.SETTINGS) == set(RiskSettings.__struct_fields__)
    assert set(meanings.LIMITS) == set(Limits.__struct_fields__)
    unlike = [
        name
        for name, text in {**meanings.SETTINGS, **meanings.LIMITS}.items()
        if not re.search(r"\d|no|yes|Without|close|deny", text)
    ]
    assert unlike == []


def test_what_is_not_gated_is_known() -> None:
    """Of every other setting an empty one denies: that is why emptying it tightens."""
    base = settings(margin_per_trade=Decimal(1000), leverage=Decimal(1), adds_max=5).values
    for name in RiskSettings.__struct_fields__:
        found = judge(
            buy(hint=SizeHint(), quote=quote(is_synchronised=True)),
            book(
                settings=settings(**{**msgspec.structs.asdict(base), name: None}), position_qty=Decimal(1), exit_capacity=Decimal(1)
            ),
            at=NOON,
        )
        is_denied = isinstance(found, Denied) and found.reason is Reason.LIMIT_NOT_SET
        assert is_denied == (name not in rules.NOT_GATED), name


def test_it_edits_limits(account: Account, profile: RiskProfile, risk_page: Client) -> None:
    page = f"/admin/risk/accountlimits/{account.limits.pk}/change/"
    assert "Daily loss pct must be at most 100" in sentences(post(risk_page, page, daily_loss_pct="500", reason="x"))
    assert "This loosens daily loss pct: say why." in sentences(post(risk_page, page, daily_loss_pct="none"))
    post(risk_page, page, daily_loss_pct="2")
    assert AccountLimits.objects.get().daily_loss_pct == 2
    assert SettingsVersion.objects.count() == 2


def test_deleting_takes_a_reason(profile: RiskProfile, risk_page: Client) -> None:
    spare = RiskProfile.objects.create(code="spare", name="Spare")
    page = f"/admin/risk/riskprofile/{spare.pk}/delete/"
    assert 'name="reason"' in sentences(risk_page.get(page))
    assert "loosens: say why" in sentences(risk_page.post(page, {"post": "yes"}, follow=True))
    assert RiskProfile.objects.filter(code="spare").exists()
    risk_page.post(page, {"post": "yes", "reason": "unused"})
    assert not RiskProfile.objects.filter(code="spare").exists()
    assert AuditEntry.objects.get().action == "delete"


def test_deleting_many_takes_a_reason_each_audited(profile: RiskProfile, risk_page: Client) -> None:
    spares = [RiskProfile.objects.create(code=f"spare-{n}", name=f"Spare {n}") for n in range(2)]
    form = {"action": "delete_selected", "_selected_action": [spare.pk for spare in spares], "post": "yes"}
    risk_page.post("/admin/risk/riskprofile/", form)
    assert RiskProfile.objects.count() == 3
    risk_page.post("/admin/risk/riskprofile/", form | {"reason": "unused"})
    assert RiskProfile.objects.count() == 1
    assert AuditEntry.objects.filter(action="delete", reason="unused").count() == 2


def test_its_history_is_the_audit(profile: RiskProfile, risk_page: Client) -> None:
    post(risk_page, url(profile), margin_per_trade="250", reason="calmer")
    page = sentences(risk_page.get(f"/admin/risk/riskprofile/{profile.pk}/history/"))
    assert "margin_per_trade 500" in page
    assert "margin_per_trade 250" in page
    assert "calmer" in page


def test_it_lists_and_shows_what_has_no_limit(profile: RiskProfile, account: Account, risk_page: Client) -> None:
    AccountLimits.objects.update(daily_loss_pct=NO_LIMIT)
    RiskProfile.objects.update(qty_max=NO_LIMIT)
    for path in ("accountlimits", "riskprofile"):
        assert ">none<" in sentences(risk_page.get(f"/admin/risk/{path}/"))
    post(risk_page, url(profile), margin_per_trade="250")
    assert RiskProfile.objects.get().qty_max == NO_LIMIT


@pytest.mark.parametrize("name", ["alice", "charlie"])
@pytest.mark.parametrize("path", ["/admin/", "/admin/risk/riskprofile/"])
def test_it_lets_only_staff_in(path: str, name: str, alice: User, charlie: User, client: Client) -> None:
    client.force_login({"alice": alice, "charlie": charlie}[name])
    assert client.get(path).status_code in {302, 403}


def test_a_trader_on_the_staff_may_look_and_not_edit(profile: RiskProfile, alice: User, client: Client) -> None:
    User.objects.filter(pk=alice.pk).update(is_staff=True)
    client.force_login(alice)
    assert client.get(url(profile)).status_code == 200
    assert client.post(url(profile), {"margin_per_trade": "1"}).status_code == 403


def test_the_audit_is_read_only_even_for_a_superuser(profile: RiskProfile, admin_client: Client) -> None:
    assert admin_client.get("/admin/risk/auditentry/").status_code == 200
    assert admin_client.get("/admin/risk/auditentry/add/").status_code == 403


def test_every_admin_of_the_desk_writes_through_services() -> None:
    ours = {model: page for model, page in admin.site._registry.items() if model._meta.app_label in {"risk", "execution"}}
    for model, page in ours.items():
        assert isinstance(page, AuditedAdmin) or not any(
            getattr(page, f"has_{verb}_permission").__func__ is getattr(admin.ModelAdmin, f"has_{verb}_permission")
            for verb in ("add", "change", "delete")
        ), model
        assert not page.list_editable


def test_it_shows_every_field_once() -> None:
    shown = [name for names in GROUPS.values() for name in names.split()]
    assert sorted(shown) == sorted(RiskSettings.__struct_fields__)
