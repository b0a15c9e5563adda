"""What risk's rows say, as core values: effective settings with the level of each, and what an override would inherit."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, Final, cast

import msgspec
from django.dispatch import Signal

from risk import models
from risk.core.settings import AccountLimits, Effective, Profile, Resolved, RiskSettings, effective, resolve
from risk.core.units import AssetClass, Instrument

_INSTRUMENT: Final = tuple(name for name in Instrument.__struct_fields__ if name != "asset_class")
_NO_CEILINGS: Final = AccountLimits()


class Size(msgspec.Struct, frozen=True):
    """What a default order of one bot would be at the last price; quantity zero is an order that would be skipped."""

    bot: str
    symbol: str
    order_qty: Decimal
    price: Decimal
    notional: Decimal
    currency: str
    #: the gate that would deny it and why; empty where it would pass
    denial: str = ""


class InForce(msgspec.Struct, frozen=True):
    """How far one account is with the settings a row is part of: the newest version, and the one its engine took, when.

    `sizes` are by the newest version.
    """

    account: str
    newest: int
    taken: int
    taken_at: datetime | None
    #: no engine is expected to take anything while it is not
    is_enabled: bool = True
    sizes: tuple[Size, ...] = ()

    @property
    def is_taken(self) -> bool:
        return self.taken >= self.newest

    @property
    def denials(self) -> list[tuple[str, list[str]]]:
        """Each reason why default orders would be denied, once, with the symbols it holds for."""
        found: dict[str, list[str]] = {}
        for size in self.sizes:
            if size.denial:
                found.setdefault(size.denial, []).append(size.symbol)
        return list(found.items())


#: asked with `row`: whoever numbers settings answers with a list of InForce
in_force_asked: Final = Signal()


def settings_in_force(row: Any) -> list[InForce]:
    """Every account that reads this row of settings, and whether its engine took the newest version."""
    answers = cast("list[tuple[Any, list[InForce]]]", in_force_asked.send(sender=type(row), row=row))
    return [found for _, answer in answers for found in answer]


def instrument_value(row: models.Instrument) -> Instrument:
    return Instrument(asset_class=AssetClass(row.asset_class), **{name: getattr(row, name) for name in _INSTRUMENT})


def profile_value(row: models.RiskProfile) -> Profile:
    """The profile with its overrides, read from the database."""
    return Profile(
        code=row.code,
        base=risk_value(row),
        classes={AssetClass(override.asset_class): risk_value(override) for override in row.classes.order_by("asset_class")},
        symbols={
            override.instrument.symbol: risk_value(override)
            for override in row.symbols.select_related("instrument").order_by("instrument__symbol")
        },
    )


def risk_value(row: models.RiskFields) -> RiskSettings:
    return msgspec.convert(_fields(row, RiskSettings), RiskSettings)


def limits_value(row: models.AccountLimits) -> AccountLimits:
    return AccountLimits(**_fields(row, AccountLimits))


def settings_effective(profile: models.RiskProfile, limits: models.AccountLimits, instrument: models.Instrument) -> Effective:
    """Every field in force for one instrument under this profile and these ceilings, with the level that set it."""
    return effective(
        profile_value(profile),
        limits_value(limits),
        symbol=instrument.symbol,
        asset_class=AssetClass(instrument.asset_class),
    )


def settings_inherited(override: models.ClassOverride | models.SymbolOverride) -> dict[str, Resolved]:
    """What each field of this override would be if it said nothing. Ceilings are the account's and not looked at."""
    whole = profile_value(override.profile)
    if isinstance(override, models.ClassOverride):
        parent = msgspec.structs.replace(whole, classes={}, symbols={})
        symbol, asset_class = "", AssetClass(override.asset_class)
    else:
        parent = msgspec.structs.replace(whole, symbols={})
        symbol, asset_class = override.instrument.symbol, AssetClass(override.instrument.asset_class)
    return {
        field: resolve(parent, _NO_CEILINGS, symbol=symbol, asset_class=asset_class, field=field)
        for field in RiskSettings.__struct_fields__
    }


def _fields(row: Any, value: type[msgspec.Struct]) -> dict[str, Any]:
    return {name: getattr(row, name) for name in value.__struct_fields__}
