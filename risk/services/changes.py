"""What a change of settings does, field by field, in words: from what, to what, and whether it loosens.

Empty is looked through: in an override it is what the field would inherit, in a profile and in an account's limits it is unset, and in a
ceiling it bounds nothing. Raising, taking a ceiling away, and inheriting more loosen; taking a limit of a gate away does not, for what is
unset lets no entry pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

from risk.core.settings import CEILINGS, RiskSettings
from risk.core.units import NO_LIMIT
from risk.models import AccountLimits, ClassOverride, RiskProfile, SymbolOverride
from risk.selectors import settings_inherited
from risk.services import rules
from risk.services.saving import row_stored

_RISK: Final = RiskSettings.__struct_fields__
_LIMITS: Final = (*rules.LIMITS, "resume_at_rollover")
_CEILINGS: Final = frozenset(CEILINGS.values())


class Change(NamedTuple):
    """One field that a save changes. `told` says of an empty one what it means."""

    name: str
    before: str
    after: str
    is_looser: bool
    #: True where what is in force stays what it was
    is_same: bool = False

    @property
    def phrase(self) -> str:
        """The field, and what it comes to where nobody wrote that."""
        name = self.name.replace("_", " ")
        return f"{name} ({self.after})" if " " in self.after else name

    def __str__(self) -> str:
        effect = "changes nothing" if self.is_same else "loosens" if self.is_looser else "tightens"
        return f"{self.name.replace('_', ' ')} {self.before} → {self.after}: {effect}"


def limit_text(value: Any) -> str:
    """A value as people write it."""
    if value is None:
        return "unset"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value == NO_LIMIT else str(value)


def profile_changes(profile: RiskProfile) -> list[Change]:
    """None for a new profile: no bot runs on it yet."""
    return _changes(_RISK, row_stored(profile), profile)


def limits_changes(limits: AccountLimits) -> list[Change]:
    return _changes(_LIMITS, row_stored(limits), limits)


def override_changes(override: ClassOverride | SymbolOverride) -> list[Change]:
    """A new override is compared with what it replaces."""
    stored, inherited = row_stored(override), settings_inherited(override)

    def told(row: Any, name: str) -> tuple[Any, str]:
        own = getattr(row, name) if row is not None else None
        found = inherited[name]
        return (
            (own, limit_text(own)) if own is not None else (found.value, f"inherits {limit_text(found.value)} from {found.level}")
        )

    return [
        Change(name, was_told, told_now, rules.loosens(name, was, now), is_same=was == now)
        for name in _RISK
        for (was, was_told), (now, told_now) in [(told(stored, name), told(override, name))]
        if was_told != told_now
    ]


def _changes(names: Iterable[str], before: Any, after: Any) -> list[Change]:
    if before is None:
        return []
    return [
        Change(
            name,
            _text(name, was),
            _text(name, now, empty=_empty_told(name)),
            rules.loosens(name, was, now, empty_is_loose=name in _CEILINGS),
        )
        for name in names
        for was, now in [(getattr(before, name), getattr(after, name))]
        if was != now
    ]


def _text(name: str, value: Any, *, empty: str = "") -> str:
    return empty or ("empty" if name in _CEILINGS else "unset") if value is None else limit_text(value)


def _empty_told(name: str) -> str:
    if name in _CEILINGS:
        return "empty, which bounds nothing"
    return "unset" if name in rules.NOT_GATED else "unset, which denies every entry"


def loosened(changes: Iterable[Change]) -> list[str]:
    return [change.phrase for change in changes if change.is_looser]


#: how the changes of a row are found, by its model
CHANGES: Final[dict[type[Any], Callable[[Any], list[Change]]]] = {
    RiskProfile: profile_changes,
    ClassOverride: override_changes,
    SymbolOverride: override_changes,
    AccountLimits: limits_changes,
}
