"""Rows of risk: instruments, profiles with their overrides, account limits, settings versions, halts, the audit trail.

Nothing here points up: a Halt's scope and an AuditEntry's object are text.
"""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models import Q

from risk.core.settings import FlipPolicy, NakedPolicy, UnsupportedProtection
from risk.core.units import NO_LIMIT, AssetClass, ScopeKind
from risk.core.verdict import HaltCause, HaltMode
from risk.fields import DecimalText, LimitText


def _choices(enum: Any) -> list[tuple[str, str]]:
    return [(member.value, member.value.replace("_", " ").lower()) for member in enum]


class Instrument(models.Model):
    """A tradable symbol with its spec."""

    symbol = models.CharField(max_length=32, unique=True)
    asset_class = models.CharField(max_length=16, choices=_choices(AssetClass))
    tick_size = DecimalText()
    lot_size = DecimalText()
    min_notional = DecimalText(default=0)
    contract_value = DecimalText(default=1)
    is_inverse = models.BooleanField(default=False)
    currency = models.CharField(max_length=8, default="USDT")
    base_currency = models.CharField(max_length=8, blank=True, default="")
    order_qty_min = DecimalText(default=0)
    order_qty_max = LimitText(default=NO_LIMIT)
    calendar = models.CharField(max_length=32, default="24/7")
    is_tradable = models.BooleanField(default=True)
    version = models.PositiveIntegerField(default=1, editable=False)

    class Meta:
        ordering = ["symbol"]

    def __str__(self) -> str:
        return self.symbol


class RiskFields(models.Model):
    """The columns of RiskSettings, all optional: empty means "this level does not say". Names and units as in risk.core.settings."""

    margin_per_trade = LimitText(null=True, blank=True)
    leverage = LimitText(null=True, blank=True)
    qty_max = LimitText(null=True, blank=True)
    risk_pct = LimitText(null=True, blank=True)
    session_loss_limit = LimitText(null=True, blank=True)
    breaker_losses = models.PositiveIntegerField(null=True, blank=True)
    breaker_window_s = models.PositiveIntegerField(null=True, blank=True)
    breaker_cooldown_s = models.PositiveIntegerField(null=True, blank=True)
    price_age_ms_max = LimitText(null=True, blank=True)
    feed_lag_ms_max = LimitText(null=True, blank=True)
    price_frozen_s = LimitText(null=True, blank=True)
    entries_in_flight_max = models.PositiveIntegerField(null=True, blank=True)
    adds_max = models.PositiveIntegerField(null=True, blank=True)
    flip_policy = models.CharField(max_length=20, null=True, blank=True, choices=_choices(FlipPolicy))
    entry_ttl_s = models.PositiveIntegerField(null=True, blank=True)
    stop_distance_pct_min = LimitText(null=True, blank=True)
    stop_distance_pct_max = LimitText(null=True, blank=True)
    order_qty_max = LimitText(null=True, blank=True)
    order_notional_max = LimitText(null=True, blank=True)
    order_equity_pct_max = LimitText(null=True, blank=True)
    price_collar_pct = LimitText(null=True, blank=True)
    trade_risk_pct_max = LimitText(null=True, blank=True)
    reward_risk_min = LimitText(null=True, blank=True)
    is_stop_required = models.BooleanField(null=True, blank=True)
    unsupported_protection = models.CharField(max_length=20, null=True, blank=True, choices=_choices(UnsupportedProtection))
    naked_policy = models.CharField(max_length=20, null=True, blank=True, choices=_choices(NakedPolicy))
    naked_after_ms = models.PositiveIntegerField(null=True, blank=True)
    leg_retries = models.PositiveIntegerField(null=True, blank=True)
    exit_wait_ms = models.PositiveIntegerField(null=True, blank=True)
    duplicate_window_s = LimitText(null=True, blank=True)
    order_rate_max = LimitText(null=True, blank=True)
    repeated_execution_max = models.PositiveIntegerField(null=True, blank=True)
    version = models.PositiveIntegerField(default=1, editable=False)

    class Meta:
        abstract = True


class RiskProfile(RiskFields):
    """Sizing and limits shared by bots: the last level of resolution."""

    code = models.SlugField(max_length=40, unique=True)
    name = models.CharField(max_length=80)

    class Meta:
        ordering = ["code"]

    def __str__(self) -> str:
        return self.name


class ClassOverride(RiskFields):
    """What differs for one asset class of a profile."""

    profile = models.ForeignKey(RiskProfile, on_delete=models.CASCADE, related_name="classes")
    asset_class = models.CharField(max_length=16, choices=_choices(AssetClass))

    class Meta:
        ordering = ["asset_class"]
        constraints = [models.UniqueConstraint(fields=["profile", "asset_class"], name="one_override_per_class")]

    def __str__(self) -> str:
        return f"{self.profile.code} · class {self.asset_class}"


class SymbolOverride(RiskFields):
    """What differs for one symbol of a profile."""

    profile = models.ForeignKey(RiskProfile, on_delete=models.CASCADE, related_name="symbols")
    instrument = models.ForeignKey(Instrument, on_delete=models.PROTECT, related_name="+")

    class Meta:
        ordering = ["instrument__symbol"]
        constraints = [models.UniqueConstraint(fields=["profile", "instrument"], name="one_override_per_symbol")]

    def __str__(self) -> str:
        # a form that is refused shows a row whose instrument was not chosen
        return f"{self.profile.code} · symbol {self.instrument.symbol if self.instrument_id else ''}".rstrip()


class AccountLimits(models.Model):
    """Account-wide limits and ceilings. Empty is unset, and an unset limit denies every entry."""

    name = models.CharField(max_length=80, unique=True)
    daily_loss_pct = LimitText(null=True, blank=True)
    drawdown_pct = LimitText(null=True, blank=True)
    positions_max = models.PositiveIntegerField(null=True, blank=True)
    gross_exposure_pct = LimitText(null=True, blank=True)
    net_exposure_pct = LimitText(null=True, blank=True)
    leverage_max = LimitText(null=True, blank=True)
    concentration_pct = LimitText(null=True, blank=True)
    bot_exposure_pct = LimitText(null=True, blank=True)
    order_rate_max = LimitText(null=True, blank=True)
    mark_age_s_max = LimitText(null=True, blank=True)
    resume_at_rollover = models.BooleanField(default=False)
    margin_per_trade_ceiling = LimitText(null=True, blank=True)
    leverage_ceiling = LimitText(null=True, blank=True)
    order_notional_ceiling = LimitText(null=True, blank=True)
    risk_pct_ceiling = LimitText(null=True, blank=True)
    version = models.PositiveIntegerField(default=1, editable=False)

    class Meta:
        verbose_name_plural = "account limits"
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class SettingsVersion(models.Model):
    """The whole configuration of one account, immutable, by content hash. The newest per account is in force."""

    account = models.CharField(max_length=40)
    version = models.PositiveIntegerField()
    digest = models.CharField(max_length=64)
    body = models.JSONField()
    by = models.CharField(max_length=150, blank=True, default="")
    reason = models.CharField(max_length=300, blank=True, default="")
    created_at = models.DateTimeField()

    class Meta:
        ordering = ["account", "-version"]
        constraints = [models.UniqueConstraint(fields=["account", "version"], name="one_settings_version")]

    def __str__(self) -> str:
        return f"{self.account} v{self.version}"


class Halt(models.Model):
    """A latched restriction at a scope. A person clears it."""

    halt_id = models.CharField(max_length=80, primary_key=True)
    scope = models.CharField(max_length=12, choices=_choices(ScopeKind))
    scope_key = models.CharField(max_length=40, blank=True, default="")
    mode = models.CharField(max_length=12, choices=_choices(HaltMode))
    cause = models.CharField(max_length=24, choices=_choices(HaltCause))
    reason = models.CharField(max_length=300, blank=True, default="")
    by = models.CharField(max_length=150)
    at = models.DateTimeField()
    cleared_by = models.CharField(max_length=150, blank=True, default="")
    cleared_at = models.DateTimeField(null=True, blank=True)
    cleared_reason = models.CharField(max_length=300, blank=True, default="")

    class Meta:
        ordering = ["-at"]
        indexes = [models.Index(fields=["scope", "scope_key"], name="halt_active", condition=Q(cleared_at=None))]

    def __str__(self) -> str:
        return f"{self.mode} {self.scope} {self.scope_key}".strip()


class AuditEntry(models.Model):
    """Who did what to which object, before and after, chained by hash. Written only by risk.audit.record()."""

    seq = models.PositiveBigIntegerField(unique=True)
    at = models.DateTimeField()
    by = models.CharField(max_length=150)
    origin = models.CharField(max_length=80, blank=True, default="")
    action = models.CharField(max_length=60)
    model = models.CharField(max_length=60, blank=True, default="")
    key = models.CharField(max_length=120, blank=True, default="")
    before = models.JSONField(null=True)
    after = models.JSONField(null=True)
    reason = models.CharField(max_length=300, blank=True, default="")
    result = models.CharField(max_length=300, blank=True, default="")
    previous_hash = models.CharField(max_length=64)
    entry_hash = models.CharField(max_length=64)

    class Meta:
        ordering = ["-seq"]
        verbose_name_plural = "audit entries"
        indexes = [models.Index(fields=["model", "key"], name="audit_object")]

    def __str__(self) -> str:
        return f"{self.seq} {self.action} {self.key}"
