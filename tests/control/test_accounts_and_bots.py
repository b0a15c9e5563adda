"""Accounts and bots: what is refused, one owner per instrument, and every change numbers the settings of whom it concerns."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.test import override_settings
from django.utils import timezone

from execution import services
from execution.core import venues
from execution.models import Account, Bot, BotInstrument, Position
from execution.services import accounts as account_services
from execution.store.settings import settings_version_ensure
from risk import services as risk_services
from risk.core import gates
from risk.core.verdict import Capability
from risk.models import AuditEntry, Instrument, SettingsVersion
from risk.services import Refused
from tests.control.conftest import account_row, bot_row, profile_row

pytestmark = pytest.mark.db

D = Decimal


def save_bot(bot: Bot, *instruments: Instrument) -> Bot:
    return services.bot_save(bot=bot, instruments=instruments, version=bot.version if bot.pk else None, by="carol")


def new_bot(account: Account, profile: Any, **fields: Any) -> Bot:
    return Bot(**({"code": "new", "account": account, "brain": "ema_cross", "profile": profile, "bar_s": 60} | fields))


def test_it_saves_a_bot_with_its_instruments(bot: Bot, eth: Instrument) -> None:
    saved = save_bot(new_bot(bot.account, bot.profile, params={"fast": "5", "slow": "20"}), eth)
    assert list(saved.instruments.values_list("symbol", flat=True)) == ["ETHUSDT"]
    body = SettingsVersion.objects.order_by("-version")[0].body
    assert body["bots"]["new"]["symbols"] == ["ETHUSDT"]
    assert body["bots"]["new"]["params"]["fast"] == "5"
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.key, (entry.after or {})["instruments"]) == ("create", "new", ["ETHUSDT"])


@pytest.mark.parametrize(
    ("fields", "field", "sentence"),
    [
        ({"brain": "crystal_ball"}, "brain", "There is no brain “crystal_ball”"),
        ({"params": {"fast": "0"}}, "params", "fast must be from 2 to 400, was 0."),
        ({"params": {"fast": "quick"}}, "params", "fast must be a number"),
        ({"params": {"fast": "30", "slow": "20"}}, "params", "fast must be below slow."),
        ({"params": {"speed": "3"}}, "params", "has no parameter “speed”"),
        ({"params": {"fast": "NaN"}}, "params", "fast must be"),
        ({"bar_s": 0}, "bar_s", "Bar s must be 1 to 86400 seconds, was 0."),
        ({"bar_s": 100_000}, "bar_s", "Bar s must be 1 to 86400"),
        ({"code": "ema-btc"}, "code", "already exists"),
        ({"code": "two words"}, "code", "valid"),
    ],
)
def test_it_refuses_a_bot(fields: dict[str, Any], field: str, sentence: str, bot: Bot, eth: Instrument) -> None:
    with pytest.raises(Refused) as refused:
        save_bot(new_bot(bot.account, bot.profile, **fields), eth)
    assert sentence in refused.value.problems[field]
    assert Bot.objects.count() == 1
    assert not AuditEntry.objects.exists()


def test_a_bot_needs_an_instrument(bot: Bot) -> None:
    with pytest.raises(Refused, match="A bot needs at least one instrument"):
        save_bot(new_bot(bot.account, bot.profile))


def test_an_instrument_has_one_enabled_bot(bot: Bot, btc: Instrument) -> None:
    with pytest.raises(Refused, match="BTCUSDT belongs to ema-btc on this account: one enabled bot per instrument"):
        save_bot(new_bot(bot.account, bot.profile), btc)
    spare = save_bot(new_bot(bot.account, bot.profile, is_enabled=False), btc)
    spare.is_enabled = True
    with pytest.raises(Refused, match="BTCUSDT belongs to ema-btc"):
        save_bot(spare, btc)
    elsewhere = account_row("elsewhere")
    assert save_bot(new_bot(elsewhere, bot.profile, code="other"), btc).is_enabled


def test_the_database_refuses_a_second_owner_too(bot: Bot, btc: Instrument, eth: Instrument) -> None:
    other = bot_row("other", bot.account, eth)
    with pytest.raises(IntegrityError), transaction.atomic():
        BotInstrument.objects.create(bot=other, instrument=btc, account=bot.account)


def test_a_race_for_an_instrument_ends_in_a_sentence(bot: Bot, btc: Instrument, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account_services, "bot_problems", lambda bot, instruments: {})
    with pytest.raises(Refused, match="Another enabled bot took one of these instruments meanwhile"):
        save_bot(new_bot(bot.account, bot.profile), btc)
    assert Bot.objects.count() == 1


def test_disabling_a_bot_lets_its_instruments_go(bot: Bot, btc: Instrument) -> None:
    bot.is_enabled = False
    save_bot(bot, btc)
    assert save_bot(new_bot(bot.account, bot.profile), btc).pk


@pytest.mark.parametrize(
    ("fields", "field", "sentence"),
    [
        ({"broker": "moon"}, "broker", "There is no venue “moon”"),
        ({"feed": "gossip"}, "feed", "Feed is synthetic, synthetic:SEED or replay:PATH@SPEED."),
        ({"feed": "replay:"}, "feed", "Feed is synthetic"),
        ({"feed": "synthetic:x"}, "feed", "Feed is synthetic"),
        ({"starting_cash": D(0)}, "starting_cash", "must be above 0"),
        ({"starting_cash": D("NaN")}, "starting_cash", "must be above 0"),
        ({"starting_cash": D("Infinity")}, "starting_cash", "must be above 0"),
        ({"broker_options": {"latency_ms": "-1"}}, "broker_options", "latency_ms must be from 0 to 60000"),
        ({"broker_options": {"luck": "7"}}, "broker_options", "has no option “luck”"),
        ({"broker_options": {"fees": [{"minimum": "x"}]}}, "broker_options", "fees 1: minimum must be a number, was “x”."),
        ({"broker_options": {"without": ["LUCK"]}}, "broker_options", "without must be one of STOP_ORDERS"),
        ({"environment": "LIVE"}, "environment", "LIVE is refused"),
        ({"environment": "DREAM"}, "environment", "valid choice"),
    ],
)
def test_it_refuses_an_account(fields: dict[str, Any], field: str, sentence: str, account: Account) -> None:
    for name, value in fields.items():
        setattr(account, name, value)
    with pytest.raises(Refused) as refused:
        services.account_save(account=account, version=account.version, by="carol")
    assert sentence in refused.value.problems[field]
    assert Account.objects.filter(environment="PAPER", broker="simulated", feed="synthetic").count() == 1


@pytest.mark.parametrize(
    ("options", "allowed", "paper_only", "sentence"),
    [
        ({"without": ["ECHOES_CLIENT_ID"]}, True, (), "LIVE needs a venue that echoes our order ids"),
        ({}, False, (), "TRADINGDESK_ALLOW_LIVE=1"),
        ({}, True, ("simulated",), "at the venue “simulated” no money is real"),
        ({}, True, (), ""),
    ],
)
def test_live_takes_a_venue_of_real_money_and_a_word(
    options: dict[str, Any],
    allowed: bool,
    paper_only: tuple[str, ...],
    sentence: str,
    account: Account,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(venues, "PAPER_ONLY", frozenset(paper_only))
    monkeypatch.setattr(venues, "OPTIONS", {"simulated": {"without": venues.Words(tuple(Capability))}})
    account.environment, account.broker_options = "LIVE", options
    with override_settings(ALLOW_LIVE=allowed):
        found = account_services.account_problems(account).get("environment", "")
    assert (sentence in found) if sentence else not found


def test_live_takes_every_gate(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "GATES", (gates.GATES[0]._replace(function=None), *gates.GATES[1:]))
    account.environment = "LIVE"
    assert "has no gate 1 account ready" in account_services.account_problems(account)["environment"]


def test_an_account_that_traded_is_not_deleted(bot: Bot) -> None:
    with pytest.raises(Refused, match="Disable it instead"):
        services.account_delete(account=bot.account, by="carol", reason="old")
    empty = account_row("empty")
    services.account_delete(account=empty, by="carol", reason="never used")
    assert not Account.objects.filter(code="empty").exists()


def test_a_bot_that_holds_something_is_not_deleted(bot: Bot) -> None:
    position = Position.objects.create(
        account=bot.account, symbol="BTCUSDT", bot="ema-btc", qty=D(1), is_open=True, updated_at=timezone.now()
    )
    with pytest.raises(Refused, match="ema-btc holds a position"):
        services.bot_delete(bot=bot, by="carol", reason="old")
    position.delete()
    services.bot_delete(bot=bot, by="carol", reason="old")
    assert AuditEntry.objects.get().action == "delete"
    assert SettingsVersion.objects.get().body["bots"] == {}


def change_profile(bot: Bot) -> None:
    bot.profile.leverage = D(1)
    bot.profile.qty_max = D(1)
    risk_services.profile_save(profile=bot.profile, version=bot.profile.version, by="bob")


def change_override(bot: Bot) -> None:
    override = risk_services.symbol_override_new(profile=bot.profile, symbol="BTCUSDT")
    override.qty_max = D(1)
    risk_services.override_save(override=override, version=None, by="bob")


def change_limits(bot: Bot) -> None:
    bot.account.limits.daily_loss_pct = D(1)
    risk_services.limits_save(limits=bot.account.limits, version=1, by="bob")


def change_instrument(bot: Bot) -> None:
    instrument = bot.instruments.get()
    instrument.min_notional = D(20)
    risk_services.instrument_save(instrument=instrument, version=instrument.version, by="bob")


@pytest.mark.parametrize("change", [change_profile, change_override, change_limits, change_instrument])
def test_a_change_is_numbered_for_whom_it_concerns(change: Any, bot: Bot, eth: Instrument) -> None:
    other = account_row("other")
    Bot.objects.create(code="lone", account=other, brain="ema_cross", profile=profile_row("other"), bar_s=60).symbols.create(
        instrument=eth, account=other
    )
    for account in (bot.account, other):
        settings_version_ensure(account, by="seed")
    change(bot)
    counts = {code: SettingsVersion.objects.filter(account=code).count() for code in ("paper-crypto", "other")}
    assert counts == {"paper-crypto": 2, "other": 1}
    assert SettingsVersion.objects.get(account="paper-crypto", version=2).by == "bob"


def test_deleting_an_override_is_numbered_too(bot: Bot) -> None:
    change_override(bot)
    before = SettingsVersion.objects.count()
    risk_services.override_delete(override=bot.profile.symbols.get(), by="bob", reason="back to the profile")
    assert SettingsVersion.objects.count() == before + 1


def test_limits_belong_to_one_account(account: Account) -> None:
    twin = Account(code="twin", name="Twin", limits=account.limits)
    with pytest.raises(Refused, match="already exists"):
        services.account_save(account=twin, version=None, by="carol")
