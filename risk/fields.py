"""Decimal columns that keep every digit on every database."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from django import forms
from django.core.exceptions import ValidationError
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper

from risk.core.units import LARGEST, NO_LIMIT

if TYPE_CHECKING:
    _Field = models.Field[Any, Any]
else:
    _Field = models.Field


#: the decimals that every database keeps
_DECIMALS: Final = 18
#: digits with a point or an exponent, of a length that people write
_NUMBER: Final = re.compile(r"[+-]?(?=\.?\d)\d{0,60}(\.\d{0,60})?([eE][+-]?\d{1,9})?", re.ASCII)


def _plain(value: Decimal) -> str:
    """Digits without exponent or trailing zeros: the one text form of a number."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def number_bounded(value: Any) -> None:
    """Refuse what no column keeps and no money is: a number of LARGEST or more, or with more than 18 decimals. Raises ValidationError."""
    number = Decimal(value) if value is not None else None
    if number is None or not number.is_finite():
        # whether no limit may be said is the setting's own rule
        return
    exponent = int(number.as_tuple().exponent)
    if number.copy_abs() >= LARGEST or exponent > LARGEST.adjusted():
        raise ValidationError("A number here is below %(most)s.", params={"most": f"{LARGEST:,f}"})
    if exponent < -_DECIMALS:
        raise ValidationError("A number here has at most %(most)s decimals.", params={"most": _DECIMALS})


class DecimalText(_Field):
    """A Decimal stored exactly: TEXT on SQLite (whose numeric keeps 15 digits), numeric(38,18) on PostgreSQL. Sum it in Python.

    A text that is typed must be a finite number. `full_clean` refuses what is beyond reason.
    """

    description = "exact decimal"
    _unreadable = "“%(value)s” is not a number. Write digits, like 0.25 or 1200."
    default_validators = [number_bounded]

    def db_type(self, connection: BaseDatabaseWrapper) -> str:
        return "numeric(38, 18)" if connection.vendor == "postgresql" else "text"

    def from_db_value(self, value: Any, expression: object, connection: object) -> Decimal | None:
        return None if value is None else Decimal(_plain(Decimal(value)))

    def to_python(self, value: Any) -> Decimal | None:
        if value is None or value == "":
            return None
        if isinstance(value, Decimal):
            return value
        return self._typed(str(value).strip())

    def _typed(self, text: str) -> Decimal:
        # Decimal also reads "1_000" and the digits of other scripts, which nobody means to write
        if not _NUMBER.fullmatch(text):
            raise ValidationError(self._unreadable, params={"value": text})
        return Decimal(text)

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
    _unreadable = f"{DecimalText._unreadable} No limit is written none."

    def db_type(self, connection: BaseDatabaseWrapper) -> str:
        return "text"

    def from_db_value(self, value: Any, expression: object, connection: object) -> Decimal | None:
        return NO_LIMIT if value == "none" else super().from_db_value(value, expression, connection)

    def to_python(self, value: Any) -> Decimal | None:
        if isinstance(value, str) and value.strip().lower() == "none":
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
