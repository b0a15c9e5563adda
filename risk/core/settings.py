"""RiskSettings: sizing and limits, and how a value is resolved, and from where.

Every field is optional at every level. Resolution is by field: symbol override → class override → profile, then under the
account's ceiling. A value that no level sets is *unset*, and an unset limit denies with LIMIT_NOT_SET: "no limit" is an
explicit choice, `units.NO_LIMIT`.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Any, Final

import msgspec

from risk.core.units import NO_LIMIT, AssetClass


class UnsupportedProtection(StrEnum):
    """What to do with an entry whose protection the venue cannot hold."""

    DENY = "deny"
    EMULATE = "emulate"
    ALLOW_UNPROTECTED = "allow_unprotected"


class NakedPolicy(StrEnum):
    """What to do with a position whose stop could not be placed after its retries."""

    CLOSE_POSITION = "close_position"
    KEEP = "keep"


class FlipPolicy(StrEnum):
    """What an opposite signal does while a position is open."""

    #: it closes the position
    CLOSE_ONLY = "close_only"
    #: it closes the position, and once that is flat the brain is asked again
    CLOSE_THEN_OPEN = "close_then_open"


class RiskSettings(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Sizing and limits of one level (profile, class or symbol). None means: this level does not say.

    Units are in the name: `_pct` percent (2 is two percent), `_ms` and `_s` times, `_max`/`_min` bounds. Losses are
    negative numbers. Quantities are in the instrument's units, money in the account's currency.
    """

    # sizing
    margin_per_trade: Decimal | None = None
    leverage: Decimal | None = None
    qty_max: Decimal | None = None
    risk_pct: Decimal | None = None
    # session and breaker, per symbol
    session_loss_limit: Decimal | None = None
    breaker_losses: int | None = None
    breaker_window_s: int | None = None
    breaker_cooldown_s: int | None = None
    # price
    price_age_ms_max: Decimal | None = None
    feed_lag_ms_max: Decimal | None = None
    price_frozen_s: Decimal | None = None
    # entries
    entries_in_flight_max: int | None = None
    adds_max: int | None = None
    flip_policy: FlipPolicy | None = None
    entry_ttl_s: int | None = None
    # order limits
    stop_distance_pct_min: Decimal | None = None
    stop_distance_pct_max: Decimal | None = None
    order_qty_max: Decimal | None = None
    order_notional_max: Decimal | None = None
    order_equity_pct_max: Decimal | None = None
    price_collar_pct: Decimal | None = None
    trade_risk_pct_max: Decimal | None = None
    reward_risk_min: Decimal | None = None
    # protection
    is_stop_required: bool | None = None
    unsupported_protection: UnsupportedProtection | None = None
    naked_policy: NakedPolicy | None = None
    naked_after_ms: int | None = None
    leg_retries: int | None = None
    exit_wait_ms: int | None = None
    # throttles
    duplicate_window_s: Decimal | None = None
    order_rate_max: Decimal | None = None
    repeated_execution_max: int | None = None


class AccountLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Account-wide limits (gate 14) and ceilings. None is unset and denies; NO_LIMIT is the explicit choice.

    `daily_loss_pct` 3 trips at three percent below the day's opening equity; `drawdown_pct` 10 at ten percent below the peak.
    Exposures are percent of equity. A ceiling bounds what any profile may resolve to.
    """

    daily_loss_pct: Decimal | None = None
    drawdown_pct: Decimal | None = None
    positions_max: int | None = None
    gross_exposure_pct: Decimal | None = None
    net_exposure_pct: Decimal | None = None
    leverage_max: Decimal | None = None
    concentration_pct: Decimal | None = None
    bot_exposure_pct: Decimal | None = None
    order_rate_max: Decimal | None = None
    mark_age_s_max: Decimal | None = None
    resume_at_rollover: bool = False
    # ceilings
    margin_per_trade_ceiling: Decimal | None = None
    leverage_ceiling: Decimal | None = None
    order_notional_ceiling: Decimal | None = None
    risk_pct_ceiling: Decimal | None = None


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """A risk profile with its overrides, as one value."""

    code: str
    base: RiskSettings
    classes: dict[AssetClass, RiskSettings] = {}
    symbols: dict[str, RiskSettings] = {}


class Resolved(msgspec.Struct, frozen=True):
    """A value and the level it came from: 'symbol BTCUSDT', 'class CRYPTO_SPOT', 'profile demo', 'account ceiling' or 'unset'."""

    value: Any
    level: str

    @property
    def is_unset(self) -> bool:
        return self.value is None


class Effective(msgspec.Struct, frozen=True):
    """The settings in force for one bot and symbol: every field resolved, with the level of each."""

    values: RiskSettings
    levels: dict[str, str]


#: RiskSettings field → the AccountLimits field that bounds it.
CEILINGS: Final = {
    "margin_per_trade": "margin_per_trade_ceiling",
    "leverage": "leverage_ceiling",
    "order_notional_max": "order_notional_ceiling",
    "risk_pct": "risk_pct_ceiling",
}


def resolve(profile: Profile, limits: AccountLimits, *, symbol: str, asset_class: AssetClass, field: str) -> Resolved:
    """The value of `field` for `symbol`, and the level that set it. Nothing resolves above the account's ceilings.

    A value or ceiling that is not a number resolves to itself, and every gate takes it for a breach.
    """
    levels: tuple[tuple[str, RiskSettings | None], ...] = (
        (f"symbol {symbol}", profile.symbols.get(symbol)),
        (f"class {asset_class}", profile.classes.get(asset_class)),
        (f"profile {profile.code}", profile.base),
    )
    value, level = next(
        ((value, name) for name, settings in levels if settings is not None and (value := getattr(settings, field)) is not None),
        (None, "unset"),
    )
    ceiling: Decimal | None = getattr(limits, CEILINGS[field]) if field in CEILINGS else None
    if value is None or ceiling is None or value.is_nan():
        return Resolved(value, level)
    return Resolved(ceiling, "account ceiling") if ceiling.is_nan() or value > ceiling else Resolved(value, level)


def effective(profile: Profile, limits: AccountLimits, *, symbol: str, asset_class: AssetClass) -> Effective:
    """Every field resolved for one symbol; computed once per settings change, read at every decision."""
    found: dict[str, Resolved] = {
        field: resolve(profile, limits, symbol=symbol, asset_class=asset_class, field=field)
        for field in RiskSettings.__struct_fields__
    }
    return Effective(RiskSettings(**{f: r.value for f, r in found.items()}), {f: r.level for f, r in found.items()})


#: What seeding writes into every preset, so that LIMIT_NOT_SET means that someone removed one.
_COMMON: Final = RiskSettings(
    risk_pct=Decimal(1),
    price_age_ms_max=Decimal(2000),
    feed_lag_ms_max=Decimal(5000),
    price_frozen_s=Decimal(60),
    entries_in_flight_max=1,
    adds_max=0,
    flip_policy=FlipPolicy.CLOSE_ONLY,
    entry_ttl_s=300,
    stop_distance_pct_min=Decimal("0.1"),
    stop_distance_pct_max=Decimal(20),
    order_qty_max=NO_LIMIT,
    order_notional_max=NO_LIMIT,
    order_equity_pct_max=Decimal(25),
    price_collar_pct=Decimal(2),
    trade_risk_pct_max=Decimal(2),
    reward_risk_min=Decimal(0),
    is_stop_required=True,
    unsupported_protection=UnsupportedProtection.DENY,
    naked_policy=NakedPolicy.CLOSE_POSITION,
    naked_after_ms=1000,
    leg_retries=3,
    exit_wait_ms=2000,
    duplicate_window_s=Decimal(5),
    order_rate_max=Decimal(2),
    repeated_execution_max=20,
    breaker_losses=4,
    breaker_window_s=14400,
    breaker_cooldown_s=3600,
)


def _preset(**changes: Any) -> RiskSettings:
    return msgspec.structs.replace(_COMMON, **changes)


#: Presets per asset class: session loss, breaker, margin, leverage, quantity cap.
PRESETS: Final[dict[AssetClass, RiskSettings]] = {
    AssetClass.CRYPTO_PERP: _preset(
        session_loss_limit=Decimal(-50), margin_per_trade=Decimal(500), leverage=Decimal(5), qty_max=Decimal(50)
    ),
    AssetClass.CRYPTO_SPOT: _preset(
        session_loss_limit=Decimal(-50), margin_per_trade=Decimal(500), leverage=Decimal(1), qty_max=Decimal(50)
    ),
    AssetClass.FX: _preset(
        session_loss_limit=Decimal(-100),
        margin_per_trade=Decimal(1000),
        leverage=Decimal(20),
        qty_max=Decimal(50),
        breaker_losses=3,
        breaker_window_s=7200,
    ),
    AssetClass.FUTURES: _preset(
        session_loss_limit=Decimal(-200), margin_per_trade=Decimal(1000), leverage=Decimal(10), qty_max=Decimal(20)
    ),
    AssetClass.EQUITY: _preset(
        session_loss_limit=Decimal(-200), margin_per_trade=Decimal(1000), leverage=Decimal(1), qty_max=Decimal(20)
    ),
}

#: What seeding writes into a new account's limits.
ACCOUNT_PRESET: Final = AccountLimits(
    daily_loss_pct=Decimal(3),
    drawdown_pct=Decimal(10),
    positions_max=10,
    gross_exposure_pct=Decimal(200),
    net_exposure_pct=Decimal(100),
    leverage_max=Decimal(5),
    concentration_pct=Decimal(30),
    bot_exposure_pct=Decimal(50),
    order_rate_max=Decimal(10),
    mark_age_s_max=Decimal(60),
)
