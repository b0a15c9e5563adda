"""The configuration of an account as one numbered value."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import msgspec
import pytest
from django.utils import timezone

from execution.core.messages import DeskSettings
from execution.models import Bot
from execution.store.settings import (
    desk_settings_from_rows,
    settings_refresh,
    settings_version_ensure,
    settings_version_value,
)
from risk.calendars import sessions_from
from risk.core.settings import effective
from risk.core.units import NO_LIMIT, AssetClass
from risk.core.verdict import Capability
from risk.models import Instrument, RiskProfile, SettingsVersion, SymbolOverride

pytestmark = pytest.mark.db


def test_it_gives_back_what_the_rows_say(bot: Bot) -> None:
    SymbolOverride.objects.create(profile=bot.profile, instrument=bot.instruments.get(), margin_per_trade=Decimal("120.50"))
    version = SettingsVersion.objects.get(pk=settings_version_ensure(bot.account, by="alice", reason="first").pk)
    value = settings_version_value(version)
    assert value.version == 1
    assert value == msgspec.structs.replace(desk_settings_from_rows(bot.account), version=1)
    found = effective(value.profiles["demo"], value.limits, symbol="BTCUSDT", asset_class=AssetClass.CRYPTO_SPOT)
    assert (found.values.margin_per_trade, found.levels["margin_per_trade"]) == (Decimal("120.50"), "symbol BTCUSDT")
    assert found.values.order_qty_max == NO_LIMIT


def test_it_numbers_a_change_and_nothing_else(bot: Bot) -> None:
    first = settings_version_ensure(bot.account, by="alice")
    assert settings_version_ensure(bot.account, by="bob") == first
    RiskProfile.objects.filter(pk=bot.profile.pk).update(leverage=Decimal(2))
    second = settings_version_ensure(bot.account, by="bob", reason="calmer")
    assert (second.version, second.by, second.reason) == (2, "bob", "calmer")
    assert second.digest != first.digest
    assert SettingsVersion.objects.count() == 2


@pytest.mark.parametrize("enabled", [True, False])
def test_it_lists_a_bot_and_says_whether_it_owns(enabled: bool, bot: Bot) -> None:
    Bot.objects.filter(pk=bot.pk).update(is_enabled=enabled)
    value = desk_settings_from_rows(bot.account)
    assert value.bots["ema-btc"].is_enabled is enabled
    assert value.bots["ema-btc"].symbols == ("BTCUSDT",)
    assert list(value.instruments) == ["BTCUSDT"]


def test_it_tells_the_hours_of_a_market_and_a_day_further_each_day(bot: Bot, monkeypatch: pytest.MonkeyPatch) -> None:
    assert desk_settings_from_rows(bot.account).sessions == {}
    Instrument.objects.update(calendar="XNYS", order_qty_max=Decimal(500))

    def on(day: int) -> DeskSettings:
        monkeypatch.setattr(timezone, "now", lambda: datetime(2026, 1, day, 12, tzinfo=UTC))
        settings_refresh([bot.account.pk])
        return settings_version_value(SettingsVersion.objects.filter(account=bot.account.code).latest("version"))

    monday, evening, wednesday = on(5), on(5), on(7)
    assert (monday.version, evening.version, wednesday.version) == (1, 1, 2)
    assert monday.sessions_of("BTCUSDT") == sessions_from("XNYS", date(2026, 1, 5))
    assert wednesday.sessions_of("BTCUSDT")[-1].open_at > monday.sessions_of("BTCUSDT")[-1].open_at
    assert monday.instruments["BTCUSDT"].order_qty_max == 500
    assert monday.sessions_of("ETHUSDT") == ()


def test_it_tells_what_an_account_said_of_its_venue(bot: Bot) -> None:
    """The desk is told what a venue lacks, and that its answers lag, by the same options that make the venue so."""
    account = bot.account
    assert not desk_settings_from_rows(account).is_eventually_consistent
    account.broker_options = {"without": ["REDUCE_ONLY", "STOP_ORDERS"], "query_lag_ms": 500}
    account.save()
    told = desk_settings_from_rows(account)
    assert told.is_eventually_consistent
    assert {Capability.REDUCE_ONLY, Capability.STOP_ORDERS}.isdisjoint(told.capabilities)
    assert Capability.REPLACE in told.capabilities
