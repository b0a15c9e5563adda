"""Upserts, compiled once per table: the engine writes thousands of rows a second and needs no model instances for it.

The statements are plain `INSERT … ON CONFLICT … DO UPDATE`, which SQLite and PostgreSQL both speak.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import Any

import msgspec
from django.db import models
from django.db.backends.utils import CursorWrapper

from risk.fields import DecimalText

Adapter = Callable[[Any], Any]


def sqlite_time(value: datetime | None) -> str | None:
    """The text form Django itself stores on SQLite: UTC without an offset."""
    if value is None:
        return None
    return (value if value.tzinfo is UTC else value.astimezone(UTC)).isoformat(" ")[:-6]


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _number(value: Decimal | None) -> str | None:
    """What DecimalText stores: digits without exponent or trailing zeros. Raises ValueError for what is not finite."""
    if value is None:
        return None
    text = format(value, "f")
    if "." in text:
        return text.rstrip("0").rstrip(".")
    if not value.is_finite():
        raise ValueError(f"only a finite number has a place in a row, not {value}")
    return text


def _text(length: int | None) -> Adapter:
    """Venues write long texts; PostgreSQL refuses a long one, so it is cut here."""
    return lambda value: None if value is None else value[:length]


@cache
def adapter(field: models.Field[Any, Any], vendor: str) -> Adapter | None:
    """How a value of this column is handed to the driver; None where it goes as it is."""
    match field:
        case DecimalText():
            return _number
        case models.DateTimeField() if vendor == "sqlite":
            return sqlite_time
        case models.JSONField():
            return _json
        case models.CharField() | models.TextField() if not field.choices:
            return _text(field.max_length)
        case _:
            return None


class Table:
    """One model's upsert. `key` are the conflicting columns, `columns` all that a row carries, key first.

    Columns that a row does not carry get the model's default when the row is new and stay as they are when it exists; so do
    those in `once`, which a row carries for its first write only. `where` names a partial unique index.
    """

    def __init__(
        self, model: type[models.Model], *, key: Sequence[str], columns: Sequence[str], once: Iterable[str] = (), where: str = ""
    ) -> None:
        carried = (*key, *columns)
        fields = {field.column: field for field in model._meta.concrete_fields}
        defaults = {
            column: field
            for column, field in fields.items()
            if column not in carried and not field.null and not isinstance(field, models.AutoField)
        }
        names = (*carried, *defaults)
        changed = [column for column in columns if column not in once]
        action = "UPDATE SET " + ", ".join(f'"{c}" = excluded."{c}"' for c in changed)
        self._insert = f'INSERT INTO "{model._meta.db_table}" ({_quoted(names)}) VALUES ({", ".join(["%s"] * len(names))})'  # noqa: S608
        self._upsert = f"{self._insert} ON CONFLICT ({_quoted(key)}) {where} DO {action}"
        self._fields = [fields[column] for column in carried]
        self._defaults = list(defaults.values())

    def insert(self, cursor: CursorWrapper, rows: Iterable[Sequence[Any]]) -> None:
        """Insert; a row that exists is an IntegrityError."""
        if values := self._values(cursor.db.vendor, rows):
            execute_many(cursor, self._insert, values)

    def write(self, cursor: CursorWrapper, rows: Iterable[Sequence[Any]]) -> None:
        """Insert or update; each row has its values in the order of key and columns."""
        if values := self._values(cursor.db.vendor, rows):
            execute_many(cursor, self._upsert, values)

    def _values(self, vendor: str, rows: Iterable[Sequence[Any]]) -> list[list[Any]]:
        """The rows as the driver wants them: only columns that need it are touched."""
        adapters, tail = self._plan(vendor)
        values = []
        for row in rows:
            value = [*row, *tail]
            for place, adapt in adapters:
                value[place] = adapt(value[place])
            values.append(value)
        return values

    @cache  # noqa: B019 - tables live as long as the process
    def _plan(self, vendor: str) -> tuple[list[tuple[int, Adapter]], list[Any]]:
        found = [(place, adapter(field, vendor)) for place, field in enumerate(self._fields)]
        tail = [(field.get_default(), adapter(field, vendor)) for field in self._defaults]
        return [(place, adapt) for place, adapt in found if adapt], [adapt(value) if adapt else value for value, adapt in tail]


def execute_many(cursor: CursorWrapper, statement: str, values: Sequence[Sequence[Any]]) -> None:
    """`cursor.executemany`, without what Django does to each statement on SQLite: it searches it for placeholders every time."""
    if cursor.db.vendor != "sqlite":
        cursor.executemany(statement, values)
        return
    with cursor.db.wrap_database_errors:
        sqlite3.Cursor.executemany(cursor.cursor, _question_marks(statement), values)


@cache
def _question_marks(statement: str) -> str:
    return statement.replace("%s", "?")


def _quoted(columns: Iterable[str | None]) -> str:
    return ", ".join(f'"{column}"' for column in columns)
