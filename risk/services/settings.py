"""Instruments, profiles, overrides and account limits: what makes a good one, and how it is saved."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from risk.calendars import calendar_problem
from risk.core.units import AssetClass
from risk.models import AccountLimits, ClassOverride, Instrument, RiskFields, RiskProfile, SymbolOverride
from risk.selectors import settings_inherited
from risk.services import rules
from risk.services.changes import limits_changes, loosened, override_changes, profile_changes
from risk.services.meanings import called
from risk.services.saving import Refused, model_problems, row_delete, row_save

Override = ClassOverride | SymbolOverride
_INSTRUMENT_RULES: Final = {
    "tick_size": rules.POSITIVE,
    "lot_size": rules.POSITIVE,
    "contract_value": rules.POSITIVE,
    "min_notional": rules.NOT_NEGATIVE,
    "order_qty_min": rules.NOT_NEGATIVE,
    "order_qty_max": rules.POSITIVE_OR_NONE,
}


def instrument_save(*, instrument: Instrument, version: int | None, by: str, reason: str = "", origin: str = "") -> Instrument:
    """Save an instrument; `version` is the one that was looked at, None for a new one. Raises Refused."""
    problems = instrument_problems(instrument)
    row_save(instrument, seen=version, by=by, reason=reason, origin=origin, problems=problems, loosened=[])
    return instrument


def instrument_delete(*, instrument: Instrument, by: str, reason: str, origin: str = "") -> None:
    row_delete(instrument, by=by, reason=reason, origin=origin)


def profile_save(*, profile: RiskProfile, version: int | None, by: str, reason: str = "", origin: str = "") -> RiskProfile:
    """Save a profile without its overrides, which are saved one by one. Raises Refused."""
    problems = profile_problems(profile)
    found = [] if problems else loosened(profile_changes(profile))
    row_save(profile, seen=version, by=by, reason=reason, origin=origin, problems=problems, loosened=found)
    return profile


def profile_delete(*, profile: RiskProfile, by: str, reason: str, origin: str = "") -> None:
    row_delete(profile, by=by, reason=reason, origin=origin)


def override_save(*, override: Override, version: int | None, by: str, reason: str = "", origin: str = "") -> Override:
    """Save a class's or symbol's override of a profile; an empty field inherits. Raises Refused."""
    problems = override_problems(override)
    found = [] if problems else loosened(override_changes(override))
    row_save(override, seen=version, by=by, reason=reason, origin=origin, problems=problems, loosened=found)
    return override


def override_delete(*, override: Override, by: str, reason: str, origin: str = "") -> None:
    row_delete(override, by=by, reason=reason, origin=origin)


def limits_save(*, limits: AccountLimits, version: int | None, by: str, reason: str = "", origin: str = "") -> AccountLimits:
    """Save an account's limits and ceilings. Raises Refused."""
    problems = limits_problems(limits)
    found = [] if problems else loosened(limits_changes(limits))
    row_save(limits, seen=version, by=by, reason=reason, origin=origin, problems=problems, loosened=found)
    return limits


def limits_delete(*, limits: AccountLimits, by: str, reason: str, origin: str = "") -> None:
    row_delete(limits, by=by, reason=reason, origin=origin)


def symbol_override_new(*, profile: RiskProfile, symbol: str) -> SymbolOverride:
    """An override to fill in, for a symbol given by name. Raises Refused for a symbol nobody knows."""
    instrument = Instrument.objects.filter(symbol=symbol).first()
    if instrument is None:
        raise Refused({"instrument": f"There is no instrument “{symbol}”."})
    return SymbolOverride(profile=profile, instrument=instrument)


def instrument_problems(instrument: Instrument) -> dict[str, str]:
    found = model_problems(instrument)
    found |= _rule_problems(instrument, _INSTRUMENT_RULES, found)
    is_contract = instrument.asset_class in (AssetClass.CRYPTO_PERP, AssetClass.FUTURES)
    if instrument.is_inverse and not (is_contract and instrument.currency == instrument.base_currency):
        found["is_inverse"] = (
            f"An inverse contract is a perpetual or a future that is settled in its base currency; {instrument.symbol} is "
            f"{instrument.asset_class} settled in {instrument.currency}."
        )
    if "calendar" not in found and (problem := calendar_problem(instrument.calendar)):
        found["calendar"] = problem
    if not found and not instrument.lot_size <= instrument.order_qty_max >= instrument.order_qty_min:
        least = max(instrument.lot_size, instrument.order_qty_min)
        found["order_qty_max"] = (
            f"Order qty max {instrument.order_qty_max} is below the least order, {least}: nothing could ever be ordered."
        )
    return found


def profile_problems(profile: RiskProfile) -> dict[str, str]:
    found = _risk_problems(profile, lambda name: getattr(profile, name))
    return found | _lot_problems(profile, Instrument.objects.all(), found)


def override_problems(override: Override) -> dict[str, str]:
    """Also what only shows together with what is inherited: a minimum above its maximum."""
    if not _is_placed(override):
        return model_problems(override)
    inherited = settings_inherited(override)

    def effective(name: str) -> Any:
        own = getattr(override, name)
        return inherited[name].value if own is None else own

    found = _risk_problems(override, effective)
    return found | _lot_problems(override, _instruments_of(override), found)


def limits_problems(limits: AccountLimits) -> dict[str, str]:
    found = model_problems(limits)
    return found | _rule_problems(limits, rules.LIMITS, found)


def _risk_problems(row: RiskFields, effective: Callable[[str], Any]) -> dict[str, str]:
    found = model_problems(row)
    found |= _rule_problems(row, rules.RISK, found)
    if found:
        return found
    low, high = effective("stop_distance_pct_min"), effective("stop_distance_pct_max")
    if None not in (low, high) and low > high:
        found["stop_distance_pct_min"] = f"Stop distance pct min {low} is above stop distance pct max {high}: no stop would do."
    return found


def _rule_problems(row: Any, table: Mapping[str, rules.Rule], found: Mapping[str, str]) -> dict[str, str]:
    """What the rules say of the values that are values at all."""
    readable = ((name, rule) for name, rule in table.items() if name not in found)
    checked = ((name, rules.value_problem(name, getattr(row, name), rule)) for name, rule in readable)
    return {name: problem for name, problem in checked if problem is not None}


def _lot_problems(row: RiskFields, instruments: Iterable[Instrument], found: Mapping[str, str]) -> dict[str, str]:
    """A quantity cap below one lot of everything it applies to: nothing could ever be ordered."""
    lots = {instrument.symbol: instrument.lot_size for instrument in instruments}
    if not lots:
        return {}
    symbol, lot = min(lots.items(), key=lambda item: item[1])
    return {
        name: f"{called(name)} {cap} is below one lot of {symbol} ({lot}): nothing could ever be ordered."
        for name in ("qty_max", "order_qty_max")
        if name not in found and (cap := getattr(row, name)) is not None and cap < lot
    }


def _instruments_of(override: Override) -> Iterable[Instrument]:
    if isinstance(override, SymbolOverride):
        return [override.instrument]
    return Instrument.objects.filter(asset_class=override.asset_class)


def _is_placed(override: Override) -> bool:
    if isinstance(override, SymbolOverride):
        return override.instrument_id is not None
    return override.asset_class in set(AssetClass)
