"""Writing risk's rows. Each call is one transaction: checked with a sentence per problem, compared and set, audited last."""

from __future__ import annotations

from risk.services.saving import Changed, Refused, settings_changed
from risk.services.settings import (
    instrument_delete,
    instrument_save,
    limits_delete,
    limits_save,
    override_delete,
    override_save,
    profile_delete,
    profile_save,
    symbol_override_new,
)

__all__ = [
    "Changed",
    "Refused",
    "instrument_delete",
    "instrument_save",
    "limits_delete",
    "limits_save",
    "override_delete",
    "override_save",
    "profile_delete",
    "profile_save",
    "settings_changed",
    "symbol_override_new",
]
