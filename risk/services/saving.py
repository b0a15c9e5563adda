"""How a row of settings is saved or deleted: checked, compared and set, told to whom it concerns, audited last.

`settings_changed` is sent inside the transaction, so that a receiver that fails undoes the change: whoever makes numbered settings of
these rows (execution) connects to it, and risk knows nothing of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.db.models import F, ProtectedError
from django.dispatch import Signal
from django.utils import timezone

from risk import audit
from risk.models import AuditEntry

#: sent with `row` (the saved or deleted row), `by` and `reason`, inside the transaction
settings_changed: Final = Signal()


class Refused(Exception):
    """A change that is not made, and nothing of it is. `problems` has a sentence per field; "" is the whole row."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__(" ".join(problems.values()))
        self.problems = dict(problems)


class Changed(Refused):
    """Someone else saved the row since it was shown."""


def row_save(
    row: Any, *, seen: int | None, by: str, reason: str, origin: str, problems: Mapping[str, str], loosened: list[str]
) -> None:
    """Save a row of settings whose `problems` and `loosened` fields were found by its own service.

    `seen` is the version the person looked at; None for a new row. Raises Refused, Changed.
    """
    check(problems, loosened=loosened, reason=reason)
    stored = row_stored(row)
    before = None if stored is None else told(stored)
    if before == told(row):
        return
    with transaction.atomic():
        if row.pk is None:
            row.save(force_insert=True)
        else:
            row_compare_and_set(row, seen)
        settings_changed.send(sender=type(row), row=row, by=by, reason=reason)
        change_record(row, before, told(row), by=by, reason=reason, origin=origin)


def row_delete(row: Any, *, by: str, reason: str, origin: str) -> None:
    """Delete a row of settings: always loosening, so always with a reason. Raises Refused."""
    if not reason.strip():
        raise Refused({"reason": f"Deleting {label(row)} loosens: say why."})
    key, before = object_key(row), told(row)
    with transaction.atomic():
        try:
            row.delete()
        except ProtectedError as e:
            users = ", ".join(sorted(str(found) for found in e.protected_objects))
            raise Refused({"": f"{label(row)} is in use by {users}."}) from e
        settings_changed.send(sender=type(row), row=row, by=by, reason=reason)
        audit.record(
            by=by, action="delete", model=row._meta.label, key=key, before=before, after=None, reason=reason, origin=origin
        )


def check(problems: Mapping[str, str], *, loosened: list[str], reason: str) -> None:
    """Raise Refused for the problems found, or where a loosening has no reason."""
    found = dict(problems)
    if problem := reason_problem(loosened, reason):
        found["reason"] = problem
    if found:
        raise Refused(found)


def reason_problem(loosened: list[str], reason: str) -> str:
    """The sentence that asks for a reason where a loosening has none; empty where all is well."""
    return f"This loosens {', '.join(loosened)}: say why." if loosened and not reason.strip() else ""


def model_problems(row: models.Model, *, exclude: frozenset[str] = frozenset()) -> dict[str, str]:
    """What the columns and constraints themselves refuse: not a number, an unknown choice, a second override of one class."""
    try:
        row.full_clean(exclude=exclude)
    except ValidationError as e:
        return {("" if field == "__all__" else field): " ".join(texts) for field, texts in e.message_dict.items()}
    return {}


def told(row: Any) -> dict[str, Any]:
    """The row's values as plain JSON, without its id and version; a related row by its name."""
    fields = (field for field in row._meta.concrete_fields if field.name not in {"id", "version"})
    return {field.name: _plain(row, field) for field in fields}


def label(row: Any) -> str:
    return f"{row._meta.verbose_name} {row}"


def object_key(row: Any) -> str:
    """The name an audit entry knows a row by."""
    return str(getattr(row, "code", None) or getattr(row, "symbol", None) or row)[:120]


def row_stored(row: Any) -> Any | None:
    """The row as the database has it; None for one that was never saved."""
    return type(row)._default_manager.filter(pk=row.pk).first() if row.pk is not None else None


def row_compare_and_set(row: Any, seen: int | None) -> None:
    """Write the row's columns if its version is still the one that was `seen`. Raises Changed."""
    values = {f.attname: getattr(row, f.attname) for f in row._meta.concrete_fields if f.name not in {"id", "version"}}
    stored = type(row)._default_manager.filter(pk=row.pk, version=seen)
    if not stored.update(**values, version=F("version") + 1):
        raise Changed({"": changed_sentence(row)})
    row.refresh_from_db(fields=["version"])


def changed_sentence(row: Any) -> str:
    """ "bob changed this 3 s ago": who was faster, from the audit."""
    last = AuditEntry.objects.filter(model=row._meta.label, key=object_key(row)).order_by("-seq").first()
    if last is None:
        return f"{label(row)} was changed meanwhile. Look at it again before you save."
    return f"{last.by} changed this {_age(timezone.now() - last.at)} ago. Look at it again before you save."


def _age(span: timedelta) -> str:
    seconds = int(span.total_seconds())
    return f"{seconds} s" if seconds < 120 else f"{seconds // 60} min"


def change_record(
    row: Any, before: Mapping[str, Any] | None, after: Mapping[str, Any], *, by: str, reason: str, origin: str
) -> None:
    """Audit what a save changed, and only that."""
    old = before or {}
    changed = sorted(name for name, value in after.items() if old.get(name) != value)
    audit.record(
        by=by,
        action="create" if before is None else "change",
        model=row._meta.label,
        key=object_key(row),
        before=None if before is None else {name: old[name] for name in changed},
        after={name: after[name] for name in changed},
        reason=reason,
        origin=origin,
    )


def _plain(row: Any, field: Any) -> Any:
    if field.is_relation:
        related = getattr(row, field.name)
        return None if related is None else object_key(related)
    value = field.value_from_object(row)
    if value is None or isinstance(value, bool | int | dict | list):
        return value
    return field.value_to_string(row)
