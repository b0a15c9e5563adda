"""Upserts, compiled once per table: the engine writes thousands of rows a second and needs no model instances for it.

The statements are plain `INSERT … ON CONFLICT … DO UPDATE`, which SQLite and PostgreSQL both speak.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

import msgspec
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

from risk.fields import DecimalText

Adapter = Callable[[Any], Any]


def as_is(value: Any) -> Any:
    return value


def sqlite_time(value: datetime | None) -> str | None:
    """The text form Django itself stores on SQLite: UTC without an offset."""
    return None if value is None else str(value.astimezone(UTC).replace(tzinfo=None))


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _text(length: int | None) -> Adapter:
    """Venues write long texts; PostgreSQL refuses a long one, so it is cut here. A slice also turns an enum into plain text."""
    return lambda value: None if value is None else value[:length]


@cache
def adapter(field: models.Field[Any, Any], vendor: str) -> Adapter:
    """How a value of this column is handed to the driver."""
    match field:
        case DecimalText():
            return field.get_prep_value
        case models.DateTimeField():
            return sqlite_time if vendor == "sqlite" else as_is
        case models.JSONField():
            return _json
        case models.CharField() | models.TextField():
            return _text(field.max_length)
        case _:
            return as_is


class Table:
    """One model's upsert. `key` are the conflicting columns, `columns` all that a row carries, key first.

    Columns that a row does not carry get the model's default when the row is new and stay as they are when it exists; so do
    those in `once`, which a row carries for its first write only.
    """

    def __init__(self, model: type[models.Model], *, key: Sequence[str], columns: Sequence[str], once: Iterable[str] = ()) -> None:
        self.model = model
        self.key = tuple(key)
        self.columns = self.key + tuple(columns)
        self.once = frozenset(once)
        self._fields = {field.column: field for field in model._meta.concrete_fields}
        self._defaults = {
            column: field.get_default()
            for column, field in self._fields.items()
            if column not in self.columns and not field.null and not isinstance(field, models.AutoField)
        }

        names = (*self.columns, *self._defaults)
        places = ", ".join(["%s"] * len(names))
        self._insert = f'INSERT INTO "{model._meta.db_table}" ({_quoted(names)}) VALUES ({places})'  # noqa: S608

    def insert(self, cursor: CursorWrapper, rows: Iterable[Sequence[Any]]) -> None:
        """Insert; a row that exists is an IntegrityError."""
        if values := self._values(cursor.db, rows):
            cursor.executemany(self._insert, values)

    def write(self, cursor: CursorWrapper, rows: Iterable[Sequence[Any]], *, where: str = "") -> None:
        """Insert or update; each row has its values in the order of `columns`. `where` names a partial unique index."""
        if values := self._values(cursor.db, rows):
            cursor.executemany(f"{self._insert} ON CONFLICT ({_quoted(self.key)}) {where} DO {self._action()}", values)

    def _action(self) -> str:
        changed = [column for column in self.columns if column not in self.key and column not in self.once]
        return "UPDATE SET " + ", ".join(f'"{c}" = excluded."{c}"' for c in changed) if changed else "NOTHING"

    def _values(self, connection: BaseDatabaseWrapper, rows: Iterable[Sequence[Any]]) -> list[list[Any]]:
        adapters = [adapter(self._fields[column], connection.vendor) for column in self.columns]
        tail = [adapter(self._fields[column], connection.vendor)(value) for column, value in self._defaults.items()]
        return [[*(adapt(v) for adapt, v in zip(adapters, row, strict=True)), *tail] for row in rows]


def _quoted(columns: Iterable[str | None]) -> str:
    return ", ".join(f'"{column}"' for column in columns)
