"""Decimal columns that keep every digit on every database."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import ValidationError
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper

from risk.core.units import NO_LIMIT

if TYPE_CHECKING:
    _Field = models.Field[Any, Any]
else:
    _Field = models.Field


def _plain(value: Decimal) -> str:
    """Digits without exponent or trailing zeros: the one text form of a number."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


class DecimalText(_Field):
    """A Decimal stored exactly: TEXT on SQLite (whose numeric keeps 15 digits), numeric(38,18) on PostgreSQL. Sum it in Python."""

    description = "exact decimal"

    def db_type(self, connection: BaseDatabaseWrapper) -> str:
        return "numeric(38, 18)" if connection.vendor == "postgresql" else "text"

    def from_db_value(self, value: Any, expression: object, connection: object) -> Decimal | None:
        return None if value is None else Decimal(_plain(Decimal(value)))

    def to_python(self, value: Any) -> Decimal | None:
        if value is None or value == "":
            return None
        if isinstance(value, Decimal):
            return value
        try:
            return Decimal(str(value).strip())
        except InvalidOperation as e:
            raise ValidationError("“%(value)s” is not a number. Write digits, like 0.25 or 1200.", params={"value": value}) from e

    def get_prep_value(self, value: Any) -> str | None:
        number = self.to_python(super().get_prep_value(value))
        if number is None:
            return None
        if not number.is_finite():
            raise ValueError(f"{self.name} must be a finite number, was {number}")
        return _plain(number)

    def value_to_string(self, obj: models.Model) -> str:
        value = self.value_from_object(obj)
        return "" if value is None else self._text(value)

    def formfield(self, **kwargs: Any) -> forms.Field | None:
        return super().formfield(**{"form_class": forms.CharField, "empty_value": None, **kwargs})

    def _text(self, value: Decimal) -> str:
        return _plain(value)


class LimitText(DecimalText):
    """A limit: an exact Decimal or the explicit "none" (NO_LIMIT). TEXT on every database; NULL means that this level does not say."""

    description = "limit"

    def db_type(self, connection: BaseDatabaseWrapper) -> str:
        return "text"

    def from_db_value(self, value: Any, expression: object, connection: object) -> Decimal | None:
        return self.to_python(value)

    def to_python(self, value: Any) -> Decimal | None:
        if isinstance(value, str) and value.strip().lower() in {"none", "no limit"}:
            return NO_LIMIT
        return super().to_python(value)

    def get_prep_value(self, value: Any) -> str | None:
        number = self.to_python(value)
        return "none" if number == NO_LIMIT else super().get_prep_value(number)

    def formfield(self, **kwargs: Any) -> forms.Field | None:
        field = super().formfield(**kwargs)
        if field is not None and field.initial == NO_LIMIT:
            field.initial = "none"
        return field

    def value_from_object(self, obj: models.Model) -> Any:
        value = super().value_from_object(obj)
        return "none" if isinstance(value, Decimal) and value == NO_LIMIT else value

    def _text(self, value: Any) -> str:
        return value if isinstance(value, str) else _plain(value)
