"""The configuration of an account as one numbered value."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from execution.models import Bot
from execution.store.settings import desk_settings_from_rows, settings_version_ensure, settings_version_value
from risk.core.settings import effective
from risk.core.units import NO_LIMIT, AssetClass
from risk.models import RiskProfile, SettingsVersion, SymbolOverride

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
