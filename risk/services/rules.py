"""Which values a setting may have, and which change of it loosens. One row per field; a refusal is one plain sentence.

A limit may be the explicit "none"; sizing may not, nor may a minimum, where 0 says the same. Empty means "this level does not say"
for a profile and its overrides, and "unset, so every entry is denied" for an account's limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

import msgspec

from risk.core.settings import FlipPolicy, NakedPolicy, UnsupportedProtection
from risk.core.units import NO_LIMIT
from risk.services.meanings import called


class Rule(msgspec.Struct, frozen=True):
    """Bounds of a number, in the field's own unit. `looser` is +1 where a larger value allows more, -1 where a smaller one does."""

    looser: int
    low: Decimal | None = None
    high: Decimal | None = None
    #: the low bound itself is refused
    above: bool = False
    may_be_none: bool = True


def _above(low: str, high: str | None = None, *, looser: int = 1, none: bool = True) -> Rule:
    return Rule(looser, Decimal(low), Decimal(high) if high else None, above=True, may_be_none=none)


def _from(low: str, high: str | None = None, *, looser: int = 1, none: bool = True) -> Rule:
    return Rule(looser, Decimal(low), Decimal(high) if high else None, may_be_none=none)


#: fields of RiskSettings
RISK: Final[Mapping[str, Rule]] = {
    "margin_per_trade": _above("0", none=False),
    "leverage": _from("1", "200", none=False),
    "qty_max": _above("0"),
    "risk_pct": _above("0", "100", none=False),
    "session_loss_limit": Rule(-1, high=Decimal(0)),
    "breaker_losses": _from("1", "1000"),
    "breaker_window_s": _from("1", "2592000", looser=-1),
    "breaker_cooldown_s": _from("1", "2592000", looser=-1),
    # below these every price is too old, or has not moved: nothing would ever pass
    "price_age_ms_max": _from("50"),
    "feed_lag_ms_max": _above("0"),
    "price_frozen_s": _from("1"),
    "entries_in_flight_max": _from("1", "100"),
    "adds_max": _from("0", "100"),
    "entry_ttl_s": _from("1", "2592000"),
    "stop_distance_pct_min": _from("0", "100", looser=-1, none=False),
    "stop_distance_pct_max": _above("0", "100"),
    "order_qty_max": _above("0"),
    "order_notional_max": _above("0"),
    "order_equity_pct_max": _above("0", "1000"),
    "price_collar_pct": _above("0", "50"),
    "trade_risk_pct_max": _above("0", "100"),
    "reward_risk_min": _from("0", "100", looser=-1, none=False),
    "naked_after_ms": _from("100", "60000"),
    "leg_retries": _from("0", "10", looser=-1),
    "exit_wait_ms": _from("100", "60000"),
    "duplicate_window_s": _from("0", "3600", looser=-1, none=False),
    "order_rate_max": _from("1", "1000"),
    "repeated_execution_max": _from("1", "100000"),
}
#: fields of AccountLimits
LIMITS: Final[Mapping[str, Rule]] = {
    "daily_loss_pct": _above("0", "100"),
    "drawdown_pct": _above("0", "100"),
    "positions_max": _from("1", "100000"),
    "gross_exposure_pct": _above("0", "10000"),
    "net_exposure_pct": _above("0", "10000"),
    "leverage_max": _above("0", "200"),
    "concentration_pct": _above("0", "10000"),
    "bot_exposure_pct": _above("0", "10000"),
    "order_rate_max": _from("1", "1000"),
    "mark_age_s_max": _from("1"),
    "margin_per_trade_ceiling": _above("0"),
    "leverage_ceiling": _from("1", "200"),
    "order_notional_ceiling": _above("0"),
    "risk_pct_ceiling": _above("0", "100"),
}
#: fields of Instrument
POSITIVE: Final = _above("0", looser=0, none=False)
NOT_NEGATIVE: Final = _from("0", looser=0, none=False)
POSITIVE_OR_NONE: Final = _above("0", looser=0)
#: words, from the strictest to the loosest
_RANKS: Final[Mapping[str, tuple[Any, ...]]] = {
    "is_stop_required": (True, False),
    "unsupported_protection": tuple(UnsupportedProtection),
    "naked_policy": tuple(NakedPolicy),
    "flip_policy": tuple(FlipPolicy),
    "resume_at_rollover": (False, True),
}


#: of which empty denies no entry: they say how and not how much, or only some orders ask for them
NOT_GATED: Final = frozenset(
    [
        "risk_pct",
        "flip_policy",
        "entry_ttl_s",
        "unsupported_protection",
        "naked_policy",
        "naked_after_ms",
        "leg_retries",
        "exit_wait_ms",
    ]
)


def value_problem(name: str, value: Any, rule: Rule) -> str | None:
    """Why this number may not be the value of this field, in one sentence; None when it may."""
    if value is None:
        return None
    number = Decimal(value)
    if number.is_nan():
        return f"{called(name)} must be a number, was NaN."
    if number == NO_LIMIT:
        return None if rule.may_be_none else f"{called(name)} cannot be without limit: write a finite number."
    if not number.is_finite():
        return f"{called(name)} must be finite, was {value}."
    return _bound_problem(name, number, rule)


def _bound_problem(name: str, number: Decimal, rule: Rule) -> str | None:
    if name == "session_loss_limit":
        return None if number < 0 else f"{called(name)} is a loss: write it as a negative number, like -50, was {number}."
    if rule.low is not None and (number <= rule.low if rule.above else number < rule.low):
        return f"{called(name)} must be {'above' if rule.above else 'at least'} {rule.low}, was {number}."
    if rule.high is not None and number > rule.high:
        return f"{called(name)} must be at most {rule.high}, was {number}."
    return None


def loosens(name: str, before: Any, after: Any, *, empty_is_loose: bool = False) -> bool:
    """True when the change lets more happen. A gate's empty limit denies every entry, so filling one loosens and emptying one tightens.

    `empty_is_loose` is for ceilings, where empty means that nothing bounds.
    """
    if before == after:
        return False
    if after is None:
        return empty_is_loose or name in NOT_GATED
    if before is None:
        return not empty_is_loose
    if (ranks := _RANKS.get(name)) is not None:
        return ranks.index(after) > ranks.index(before)
    rule = RISK.get(name) or LIMITS[name]
    if NO_LIMIT in (before, after):
        return bool(after == NO_LIMIT)
    return bool((Decimal(after) - Decimal(before)) * rule.looser > 0)
