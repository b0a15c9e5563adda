"""Settings: every refused value is a row, nothing is changed by it, and a loosening says why."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from risk import services
from risk.core.units import NO_LIMIT, AssetClass
from risk.models import AccountLimits, AuditEntry, ClassOverride, Instrument, RiskProfile, SymbolOverride
from tests.control.conftest import limits_row, profile_row

pytestmark = pytest.mark.db

D = Decimal


@pytest.fixture
def profile(btc: Instrument) -> RiskProfile:
    return profile_row("demo")


def save(row: Any, **more: Any) -> None:
    match row:
        case RiskProfile():
            services.profile_save(profile=row, version=row.version, by="bob", **more)
        case AccountLimits():
            services.limits_save(limits=row, version=row.version, by="bob", **more)
        case Instrument():
            services.instrument_save(instrument=row, version=row.version, by="bob", **more)
        case _:
            services.override_save(override=row, version=row.version if row.pk else None, by="bob", **more)


PROFILE_REFUSALS = [
    ("margin_per_trade", D(-1), "Margin per trade must be above 0, was -1."),
    ("margin_per_trade", D(0), "must be above 0"),
    ("margin_per_trade", D("NaN"), "must be a number, was NaN"),
    ("margin_per_trade", NO_LIMIT, "cannot be without limit"),
    ("margin_per_trade", D("-Infinity"), "must be finite"),
    ("margin_per_trade", "abc", "is not a number"),
    ("leverage", D(0), "Leverage must be at least 1, was 0."),
    ("leverage", D(-3), "must be at least 1"),
    ("leverage", D(201), "must be at most 200"),
    ("leverage", D("NaN"), "must be a number"),
    ("leverage", NO_LIMIT, "cannot be without limit"),
    ("qty_max", D(0), "must be above 0"),
    ("qty_max", D("0.0005"), "Qty max 0.0005 is below one lot of BTCUSDT (0.001): nothing could ever be ordered."),
    ("order_qty_max", D("0.0009"), "is below one lot"),
    ("risk_pct", D(101), "must be at most 100"),
    ("risk_pct", D(0), "must be above 0"),
    ("session_loss_limit", D(50), "Session loss limit is a loss: write it as a negative number, like -50, was 50."),
    ("session_loss_limit", D(0), "is a loss"),
    ("session_loss_limit", D("NaN"), "must be a number"),
    ("breaker_losses", 0, "must be at least 1"),
    ("breaker_window_s", 0, "must be at least 1"),
    ("entries_in_flight_max", 0, "must be at least 1"),
    ("stop_distance_pct_min", D(-1), "must be at least 0"),
    ("stop_distance_pct_min", D(30), "is above stop distance pct max 20"),
    ("stop_distance_pct_min", NO_LIMIT, "cannot be without limit"),
    ("stop_distance_pct_max", D(101), "must be at most 100"),
    ("price_collar_pct", D(51), "must be at most 50"),
    ("trade_risk_pct_max", D(101), "must be at most 100"),
    ("order_equity_pct_max", D(0), "must be above 0"),
    ("reward_risk_min", NO_LIMIT, "cannot be without limit"),
    ("price_age_ms_max", D("49.9"), "Price age ms max must be at least 50, was 49.9."),
    ("price_frozen_s", D("0.5"), "must be at least 1"),
    ("margin_per_trade", D("1e400"), "A number here is below 1,000,000,000,000,000."),
    ("naked_after_ms", 50, "must be at least 100"),
    ("order_rate_max", D(0), "must be at least 1"),
    ("order_rate_max", D(1001), "must be at most 1000"),
    ("unsupported_protection", "hope", "is not a valid choice"),
    ("naked_policy", "pray", "is not a valid choice"),
    ("code", "two words", "valid"),
]


@pytest.mark.parametrize(("field", "value", "sentence"), PROFILE_REFUSALS)
def test_it_refuses_in_a_profile(field: str, value: Any, sentence: str, profile: RiskProfile) -> None:
    before = RiskProfile.objects.values().get()
    setattr(profile, field, value)
    with pytest.raises(services.Refused) as refused:
        save(profile, reason="because")
    assert sentence in refused.value.problems[field]
    assert RiskProfile.objects.values().get() == before
    assert not AuditEntry.objects.exists()


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("leverage", D(0), "must be at least 1"),
        ("qty_max", D("0.0001"), "is below one lot of BTCUSDT"),
        ("stop_distance_pct_min", D(25), "is above stop distance pct max 20"),
        ("session_loss_limit", D(5), "is a loss"),
    ],
)
@pytest.mark.parametrize("kind", ["class", "symbol"])
def test_it_refuses_in_an_override(kind: str, field: str, value: Any, sentence: str, profile: RiskProfile, btc: Instrument) -> None:
    override = (
        ClassOverride(profile=profile, asset_class=AssetClass.CRYPTO_SPOT)
        if kind == "class"
        else services.symbol_override_new(profile=profile, symbol="BTCUSDT")
    )
    setattr(override, field, value)
    with pytest.raises(services.Refused) as refused:
        save(override, reason="because")
    assert sentence in refused.value.problems[field]
    assert not ClassOverride.objects.exists()
    assert not SymbolOverride.objects.exists()


def test_it_refuses_an_unknown_symbol(profile: RiskProfile) -> None:
    with pytest.raises(services.Refused, match="There is no instrument “DOGEUSDT”"):
        services.symbol_override_new(profile=profile, symbol="DOGEUSDT")


def test_it_refuses_an_unknown_class(profile: RiskProfile) -> None:
    with pytest.raises(services.Refused, match="not a valid choice"):
        save(ClassOverride(profile=profile, asset_class="TULIPS"), reason="because")


def test_it_refuses_a_second_override_of_a_symbol(profile: RiskProfile, btc: Instrument) -> None:
    SymbolOverride.objects.create(profile=profile, instrument=btc, leverage=D(1))
    with pytest.raises(services.Refused):
        save(SymbolOverride(profile=profile, instrument=btc, leverage=D(1)))


LIMIT_REFUSALS = [
    ("daily_loss_pct", D(0), "must be above 0"),
    ("daily_loss_pct", D(-3), "must be above 0"),
    ("daily_loss_pct", D(101), "must be at most 100"),
    ("drawdown_pct", D("NaN"), "must be a number"),
    ("drawdown_pct", D(250), "must be at most 100"),
    ("positions_max", 0, "must be at least 1"),
    ("gross_exposure_pct", D(-1), "must be above 0"),
    ("leverage_max", D(0), "must be above 0"),
    ("concentration_pct", "lots", "is not a number"),
    ("mark_age_s_max", D("0.5"), "must be at least 1"),
    ("order_notional_ceiling", D("1e15"), "A number here is below 1,000,000,000,000,000."),
    ("leverage_ceiling", D(0), "must be at least 1"),
    ("risk_pct_ceiling", D(101), "must be at most 100"),
]


@pytest.mark.parametrize(("field", "value", "sentence"), LIMIT_REFUSALS)
def test_it_refuses_in_limits(field: str, value: Any, sentence: str, db: None) -> None:
    limits = limits_row("paper")
    before = AccountLimits.objects.values().get()
    setattr(limits, field, value)
    with pytest.raises(services.Refused) as refused:
        save(limits, reason="because")
    assert sentence in refused.value.problems[field]
    assert AccountLimits.objects.values().get() == before


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("tick_size", D(0), "Tick size must be above 0"),
        ("tick_size", D("NaN"), "must be a number"),
        ("lot_size", D("-0.1"), "must be above 0"),
        ("contract_value", NO_LIMIT, "cannot be without limit"),
        ("min_notional", D(-1), "must be at least 0"),
        ("calendar", "XNYC", "There is no calendar “XNYC”. The nearest are XNYS"),
        ("order_qty_min", D(-1), "must be at least 0"),
        ("order_qty_max", D(0), "must be above 0"),
        ("order_qty_max", D("0.0001"), "is below the least order, 0.001"),
        ("asset_class", "TULIPS", "not a valid choice"),
    ],
)
def test_it_refuses_in_an_instrument(field: str, value: Any, sentence: str, btc: Instrument) -> None:
    setattr(btc, field, value)
    with pytest.raises(services.Refused) as refused:
        save(btc)
    assert sentence in refused.value.problems[field]


LOOSENING = [
    ("margin_per_trade", D(600)),
    ("leverage", D(2)),
    ("qty_max", D(51)),
    ("qty_max", NO_LIMIT),
    ("risk_pct", D("1.1")),
    ("session_loss_limit", D(-51)),
    ("session_loss_limit", NO_LIMIT),
    ("breaker_cooldown_s", 60),
    ("price_collar_pct", D(3)),
    ("stop_distance_pct_min", D(0)),
    ("is_stop_required", False),
    ("unsupported_protection", "allow_unprotected"),
    ("naked_policy", "keep"),
    ("duplicate_window_s", D(1)),
    ("flip_policy", "close_then_open"),
]


@pytest.mark.parametrize(("field", "value"), LOOSENING)
def test_it_asks_why_a_profile_is_loosened(field: str, value: Any, profile: RiskProfile) -> None:
    setattr(profile, field, value)
    with pytest.raises(services.Refused) as refused:
        save(profile)
    assert refused.value.problems == {"reason": f"This loosens {field.replace('_', ' ')}: say why."}
    save(profile, reason="measured for a month")
    entry = AuditEntry.objects.get()
    assert (entry.reason, list(entry.after or {})) == ("measured for a month", [field])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("margin_per_trade", D(400)),
        ("session_loss_limit", D(-40)),
        ("session_loss_limit", None),
        ("qty_max", D(10)),
        ("breaker_cooldown_s", 7200),
        ("leg_retries", 5),
    ],
)
def test_it_tightens_without_a_reason(field: str, value: Any, profile: RiskProfile) -> None:
    setattr(profile, field, value)
    save(profile)
    assert getattr(RiskProfile.objects.get(), field) == value


@pytest.mark.parametrize(
    ("field", "value", "loosens"),
    [
        ("daily_loss_pct", D(4), True),
        ("daily_loss_pct", D(2), False),
        ("daily_loss_pct", None, False),
        ("daily_loss_pct", NO_LIMIT, True),
        ("resume_at_rollover", True, True),
        ("leverage_ceiling", D(3), False),
    ],
)
def test_it_asks_why_limits_are_loosened(field: str, value: Any, loosens: bool, db: None) -> None:
    limits = limits_row("paper")
    setattr(limits, field, value)
    if loosens:
        with pytest.raises(services.Refused, match=f"This loosens {field.replace('_', ' ')}: say why"):
            save(limits)
    else:
        save(limits)


def test_taking_a_ceiling_away_loosens(db: None) -> None:
    limits = limits_row("paper")
    limits.leverage_ceiling = D(3)
    save(limits)
    limits.leverage_ceiling = None
    with pytest.raises(services.Refused, match="This loosens leverage ceiling"):
        save(limits)


@pytest.mark.parametrize(("margin", "loosens"), [(D(600), True), (D(500), False), (D(100), False)])
def test_an_override_is_compared_with_what_it_replaces(margin: Decimal, loosens: bool, profile: RiskProfile) -> None:
    override = services.symbol_override_new(profile=profile, symbol="BTCUSDT")
    override.margin_per_trade = margin
    if loosens:
        with pytest.raises(services.Refused, match="This loosens margin per trade"):
            save(override)
    else:
        save(override)


def test_it_counts_deleting_as_loosening(profile: RiskProfile, btc: Instrument) -> None:
    override = SymbolOverride.objects.create(profile=profile, instrument=btc, leverage=D(1))
    with pytest.raises(services.Refused, match="loosens: say why"):
        services.override_delete(override=override, by="bob", reason=" ")
    services.override_delete(override=override, by="bob", reason="no longer needed")
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.after, (entry.before or {})["leverage"]) == ("delete", None, "1")


def test_it_does_not_delete_what_is_in_use(profile: RiskProfile, btc: Instrument) -> None:
    SymbolOverride.objects.create(profile=profile, instrument=btc)
    with pytest.raises(services.Refused, match="instrument BTCUSDT is in use by demo · symbol BTCUSDT"):
        services.instrument_delete(instrument=btc, by="bob", reason="old")


def test_the_second_of_two_edits_is_told_who_was_first(profile: RiskProfile) -> None:
    other = RiskProfile.objects.get()
    other.leverage = D(1)
    other.qty_max = D(20)
    services.profile_save(profile=other, version=other.version, by="carol")
    profile.qty_max = D(10)
    with pytest.raises(services.Changed, match=r"carol changed this \d+ s ago"):
        save(profile)
    assert RiskProfile.objects.get().qty_max == D(20)


def test_saving_what_is_there_changes_nothing(profile: RiskProfile) -> None:
    save(profile)
    assert RiskProfile.objects.get().version == 1
    assert not AuditEntry.objects.exists()


def test_it_audits_what_changed_and_only_that(profile: RiskProfile) -> None:
    profile.margin_per_trade = D("250.50")
    save(profile, origin="admin")
    entry = AuditEntry.objects.get()
    assert (entry.before, entry.after) == ({"margin_per_trade": "500"}, {"margin_per_trade": "250.5"})
    assert (entry.by, entry.action, entry.model, entry.key, entry.origin) == ("bob", "change", "risk.RiskProfile", "demo", "admin")
