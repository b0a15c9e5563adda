"""Settings: by field, from symbol to class to profile, under the account's ceilings, and with the level that won."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execution.core.closing import LEG_RETRY_MS
from execution.core.messages import Timing
from risk.core.settings import (
    ACCOUNT_PRESET,
    CEILINGS,
    PRESETS,
    AccountLimits,
    FlipPolicy,
    NakedPolicy,
    Profile,
    RiskSettings,
    UnsupportedProtection,
    effective,
    resolve,
)
from risk.core.units import NO_LIMIT, AssetClass
from tests.core.risk_builders import D

PROFILE = Profile(
    code="demo",
    base=RiskSettings(leverage=D(5), qty_max=D(50), margin_per_trade=D(500)),
    classes={AssetClass.FX: RiskSettings(leverage=D(20), qty_max=D(10))},
    symbols={"EURUSD": RiskSettings(leverage=D(7))},
)


@pytest.mark.parametrize(
    ("symbol", "asset_class", "field", "value", "level"),
    [
        ("EURUSD", AssetClass.FX, "leverage", D(7), "symbol EURUSD"),
        ("EURUSD", AssetClass.FX, "qty_max", D(10), "class FX"),
        ("EURUSD", AssetClass.FX, "margin_per_trade", D(500), "profile demo"),
        ("GBPUSD", AssetClass.FX, "leverage", D(20), "class FX"),
        ("BTCUSDT", AssetClass.CRYPTO_PERP, "leverage", D(5), "profile demo"),
        ("BTCUSDT", AssetClass.CRYPTO_PERP, "risk_pct", None, "unset"),
    ],
)
def test_it_resolves_by_field_and_names_the_level(
    symbol: str, asset_class: AssetClass, field: str, value: Decimal | None, level: str
) -> None:
    found = resolve(PROFILE, AccountLimits(), symbol=symbol, asset_class=asset_class, field=field)
    assert (found.value, found.level) == (value, level)
    assert found.is_unset is (value is None)


@pytest.mark.parametrize(
    ("ceiling", "value", "level"),
    [
        (None, D(7), "symbol EURUSD"),
        (D(7), D(7), "symbol EURUSD"),
        (D("6.9"), D("6.9"), "account ceiling"),
        (NO_LIMIT, D(7), "symbol EURUSD"),
    ],
)
def test_it_resolves_to_nothing_above_the_ceiling(ceiling: Decimal | None, value: Decimal, level: str) -> None:
    found = resolve(PROFILE, AccountLimits(leverage_ceiling=ceiling), symbol="EURUSD", asset_class=AssetClass.FX, field="leverage")
    assert (found.value, found.level) == (value, level)


def test_it_brings_a_choice_of_no_limit_under_the_ceiling() -> None:
    profile = Profile(code="wild", base=RiskSettings(order_notional_max=NO_LIMIT))
    found = resolve(
        profile,
        AccountLimits(order_notional_ceiling=D(1000)),
        symbol="BTCUSDT",
        asset_class=AssetClass.FX,
        field="order_notional_max",
    )
    assert (found.value, found.level) == (D(1000), "account ceiling")


def test_it_does_not_take_a_ceiling_for_a_value() -> None:
    found = resolve(PROFILE, AccountLimits(risk_pct_ceiling=D(1)), symbol="EURUSD", asset_class=AssetClass.FX, field="risk_pct")
    assert found.is_unset


def test_it_resolves_every_field_at_once() -> None:
    found = effective(PROFILE, AccountLimits(), symbol="EURUSD", asset_class=AssetClass.FX)
    assert set(found.levels) == set(RiskSettings.__struct_fields__)
    assert (found.values.leverage, found.levels["leverage"]) == (D(7), "symbol EURUSD")
    assert (found.values.risk_pct, found.levels["risk_pct"]) == (None, "unset")


def test_it_bounds_fields_that_exist() -> None:
    assert set(CEILINGS) <= set(RiskSettings.__struct_fields__)
    assert set(CEILINGS.values()) == {f for f in AccountLimits.__struct_fields__ if f.endswith("_ceiling")}


@pytest.mark.parametrize("asset_class", list(AssetClass))
def test_it_leaves_no_limit_of_a_preset_unset(asset_class: AssetClass) -> None:
    preset = PRESETS[asset_class]
    assert [f for f in RiskSettings.__struct_fields__ if getattr(preset, f) is None] == []
    assert preset.session_loss_limit is not None
    assert preset.session_loss_limit < 0


def test_it_leaves_no_limit_of_a_new_account_unset() -> None:
    unset = [f for f in AccountLimits.__struct_fields__ if getattr(ACCOUNT_PRESET, f) is None]
    assert unset == list(CEILINGS.values())


@pytest.mark.parametrize(
    ("asset_class", "loss", "margin", "leverage", "cap", "losses", "window_s"),
    [
        (AssetClass.CRYPTO_PERP, -50, 500, 5, 50, 4, 14400),
        (AssetClass.CRYPTO_SPOT, -50, 500, 1, 50, 4, 14400),
        (AssetClass.FX, -100, 1000, 20, 50, 3, 7200),
        (AssetClass.FUTURES, -200, 1000, 10, 20, 4, 14400),
        (AssetClass.EQUITY, -200, 1000, 1, 20, 4, 14400),
    ],
)
def test_it_presets_each_asset_class(
    asset_class: AssetClass, loss: int, margin: int, leverage: int, cap: int, losses: int, window_s: int
) -> None:
    p = PRESETS[asset_class]
    assert [p.session_loss_limit, p.margin_per_trade, p.leverage, p.qty_max] == [D(loss), D(margin), D(leverage), D(cap)]
    assert (p.breaker_losses, p.breaker_window_s, p.breaker_cooldown_s) == (losses, window_s, 3600)


#: the safety numbers of every new profile, whatever it trades
OF_EVERY_PRESET = {
    "price_age_ms_max": D(2000),
    "feed_lag_ms_max": D(5000),
    "price_frozen_s": D(60),
    "entries_in_flight_max": 1,
    "adds_max": 0,
    "flip_policy": FlipPolicy.CLOSE_ONLY,
    "stop_distance_pct_min": D("0.1"),
    "stop_distance_pct_max": D(20),
    "price_collar_pct": D(2),
    "trade_risk_pct_max": D(2),
    "reward_risk_min": D(0),
    "order_equity_pct_max": D(25),
    "order_qty_max": NO_LIMIT,
    "order_notional_max": NO_LIMIT,
    "risk_pct": D(1),
    "is_stop_required": True,
    "unsupported_protection": UnsupportedProtection.DENY,
    "naked_policy": NakedPolicy.CLOSE_POSITION,
    "duplicate_window_s": D(5),
    "order_rate_max": D(2),
    "repeated_execution_max": 20,
    "entry_ttl_s": 300,
    "leg_retries": 3,
    "naked_after_ms": 1000,
    "exit_wait_ms": 2000,
}
OF_A_NEW_ACCOUNT = {
    "mark_age_s_max": D(60),
    "order_rate_max": D(10),
    "daily_loss_pct": D(3),
    "drawdown_pct": D(10),
    "positions_max": 10,
    "gross_exposure_pct": D(200),
    "net_exposure_pct": D(100),
    "leverage_max": D(5),
    "concentration_pct": D(30),
    "bot_exposure_pct": D(50),
    "resume_at_rollover": False,
}
OF_THE_DESK = {"send_age_ms_max": 1000, "send_timeout_ms": 3000, "unknown_settle_ms": 10_000, "condition_clear_ms": 10_000}


@pytest.mark.parametrize("asset_class", list(AssetClass))
def test_it_presets_the_same_safety_for_every_class(asset_class: AssetClass) -> None:
    preset = PRESETS[asset_class]
    assert {name: getattr(preset, name) for name in OF_EVERY_PRESET} == OF_EVERY_PRESET
    of_a_class = {"session_loss_limit", "margin_per_trade", "leverage", "qty_max"}
    breaker = {"breaker_losses", "breaker_window_s", "breaker_cooldown_s"}
    assert set(RiskSettings.__struct_fields__) == set(OF_EVERY_PRESET) | of_a_class | breaker


def test_it_presets_an_account_and_the_desk() -> None:
    assert {name: getattr(ACCOUNT_PRESET, name) for name in OF_A_NEW_ACCOUNT} == OF_A_NEW_ACCOUNT
    assert set(AccountLimits.__struct_fields__) == set(OF_A_NEW_ACCOUNT) | set(CEILINGS.values())
    assert {name: getattr(Timing(), name) for name in OF_THE_DESK} == OF_THE_DESK
    assert LEG_RETRY_MS == 250


LEVEL = st.none() | st.integers(1, 20).map(D)


@given(LEVEL, LEVEL, LEVEL, LEVEL)
def test_it_takes_the_nearest_level_that_says_something(
    symbol: Decimal | None, of_class: Decimal | None, base: Decimal | None, ceiling: Decimal | None
) -> None:
    profile = Profile(
        code="p",
        base=RiskSettings(leverage=base),
        classes={AssetClass.FX: RiskSettings(leverage=of_class)},
        symbols={"S": RiskSettings(leverage=symbol)},
    )
    found = resolve(profile, AccountLimits(leverage_ceiling=ceiling), symbol="S", asset_class=AssetClass.FX, field="leverage")
    nearest = next((v for v in (symbol, of_class, base) if v is not None), None)
    assert found.value == (nearest if nearest is None or ceiling is None else min(nearest, ceiling))
