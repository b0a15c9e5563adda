"""A small desk in rows: one paper account, two bots, their instruments and limits."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from execution.models import Account, Bot, BotInstrument, Lease
from risk.core.settings import ACCOUNT_PRESET, PRESETS
from risk.core.units import AssetClass
from risk.models import AccountLimits, Instrument, RiskProfile


def instrument_row(symbol: str) -> Instrument:
    Instrument.objects.create(
        symbol=symbol,
        asset_class=AssetClass.CRYPTO_SPOT,
        tick_size=Decimal("0.01"),
        lot_size=Decimal("0.001"),
        min_notional=Decimal(10),
        currency="USDT",
        base_currency=symbol.removesuffix("USDT"),
    )
    return Instrument.objects.get(symbol=symbol)


def limits_row(name: str) -> AccountLimits:
    fields = {name: getattr(ACCOUNT_PRESET, name) for name in ACCOUNT_PRESET.__struct_fields__}
    return AccountLimits.objects.get(pk=AccountLimits.objects.create(name=name, **fields).pk)


def account_row(code: str, *, environment: str = "PAPER") -> Account:
    return Account.objects.create(code=code, name=code.replace("-", " ").title(), environment=environment, limits=limits_row(code))


def profile_row(code: str) -> RiskProfile:
    """The spot preset, read back as the database gives it."""
    preset = PRESETS[AssetClass.CRYPTO_SPOT]
    RiskProfile.objects.create(code=code, name=code.title(), **{name: getattr(preset, name) for name in preset.__struct_fields__})
    return RiskProfile.objects.get(code=code)


def bot_row(code: str, account: Account, *symbols: Instrument, should_run: bool = True) -> Bot:
    profile = RiskProfile.objects.filter(code="demo").first() or profile_row("demo")
    bot = Bot.objects.create(code=code, account=account, brain="ema_cross", profile=profile, bar_s=2, should_run=should_run)
    for symbol in symbols:
        BotInstrument.objects.create(bot=bot, instrument=symbol, account=account)
    return bot


def engine_takes(account: Account) -> None:
    """A lease of an engine that runs."""
    Lease.objects.update_or_create(
        account=account, defaults={"engine": "engine-1", "token": 1, "expires_at": timezone.now() + timedelta(hours=1)}
    )


@pytest.fixture
def btc(db: None) -> Instrument:
    return instrument_row("BTCUSDT")


@pytest.fixture
def eth(db: None) -> Instrument:
    return instrument_row("ETHUSDT")


@pytest.fixture
def account(db: None) -> Account:
    return account_row("paper-crypto")


@pytest.fixture
def bot(account: Account, btc: Instrument) -> Bot:
    return bot_row("ema-btc", account, btc)
