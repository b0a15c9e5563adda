"""Numbers and times as people read them: decimals by the instrument's step, thousands apart, a real minus sign, ages in words.

Also a template library ("figures"): every function here is a filter.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from django import template
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from execution.models import AccountState
from risk.core.portfolio import Reading
from risk.core.units import HUNDRED, NO_LIMIT, ZERO

NONE = "—"
#: further ahead than clocks of two machines differ
_AHEAD = timedelta(seconds=5)
_TENTH = Decimal("0.1")
_TWO = Decimal("0.01")
#: where the next word of a CamelCase name begins
_WORD = re.compile(r"(?<=[a-z])(?=[A-Z])")

register = template.Library()


def _grouped(value: Decimal, *, is_signed: bool) -> str:
    sign = "−" if value < 0 else "+" if is_signed and value > 0 else ""
    return f"{sign}{abs(value):,f}"


def _at_step(value: Decimal, step: Decimal | None) -> Decimal:
    """`value` with the decimals of `step`; more digits than that are kept, since they are what the venue said."""
    if step is None or not step.is_finite():
        return value.normalize() if value == value.to_integral_value() else value
    exponent = step.normalize().as_tuple().exponent
    places = max(0, -exponent) if isinstance(exponent, int) else 0
    rounded = value.quantize(Decimal(1).scaleb(-places))
    return rounded if abs(value - rounded) < Decimal("1e-9") or places >= 2 else value


def figure(value: Decimal | None, step: Decimal | None = None, *, is_signed: bool = False) -> str:
    """A price or quantity with the decimals of its tick or lot."""
    return NONE if value is None else _grouped(_at_step(value, step), is_signed=is_signed)


@register.filter
def plain(value: Decimal | str | int | None) -> str:
    """A number as it is, thousands apart."""
    if value is None or value == "":
        return NONE
    if isinstance(value, Decimal):
        return "no limit" if value == NO_LIMIT else _grouped(value.normalize() + 0, is_signed=False)
    return f"{value:,}" if isinstance(value, int) else str(value)


@register.filter
def money(value: Decimal | None) -> str:
    """Two decimals: 104,218.40."""
    return NONE if value is None else _grouped(value.quantize(_TWO), is_signed=False)


@register.filter
def whole(value: Decimal | None) -> str:
    """No decimals: 48,120."""
    if value is None:
        return NONE
    return "no limit" if value == NO_LIMIT else _grouped(value.quantize(Decimal(1)), is_signed=False)


@register.filter
def signed(value: Decimal | None) -> str:
    """Two decimals with the sign shown: +412.18."""
    return NONE if value is None else _grouped(value.quantize(_TWO), is_signed=True)


@register.filter
def short(value: Decimal | None) -> str:
    """One decimal, two below one, no idle zeros: 1.9, 0.03, 5."""
    if value is None or not value.is_finite():
        return NONE
    return _grouped(value.quantize(_TENTH if abs(value) >= 1 else _TWO).normalize(), is_signed=False)


@register.filter
def measured(reading: Reading) -> str:
    """A meter in words: 48,120 of 150,000, 0.6 % of 5 %, 3 of 8."""
    if reading.limit is None:
        return "not set: denies every entry"
    if not reading.observed.is_finite():
        return "not known: a position has no mark"
    write = short if reading.unit else whole
    told = f"{write(reading.observed)}{reading.unit}"
    return f"{told}, no limit" if reading.limit == NO_LIMIT else f"{told} of {write(reading.limit)}{reading.unit}"


@register.filter
def bar(reading: Reading) -> str:
    """The length of a meter's bar, of a hundred."""
    return f"{max(ZERO, min(reading.used_pct or ZERO, HUNDRED)):.1f}"


@register.filter
def direction(value: Decimal | None) -> str:
    """The class that colours a gain or a loss; empty for zero."""
    return "" if not value else "up" if value > 0 else "down"


def _day(at: datetime) -> str:
    """The day before a time that is not today's, as the times of a tape are; empty today."""
    return "" if at.astimezone(UTC).date() == timezone.now().astimezone(UTC).date() else f"{at.astimezone(UTC):%Y-%m-%d} "


@register.filter
def clock(at: datetime | None) -> str:
    """Seconds, UTC: 16:03:22, with its day where that is not today."""
    return NONE if at is None else f"{_day(at)}{at.astimezone(UTC):%H:%M:%S}"


@register.filter
def clock_ms(at: datetime | None) -> str:
    """Milliseconds, UTC: 16:03:22.011, with its day where that is not today."""
    return NONE if at is None else f"{_day(at)}{at.astimezone(UTC):%H:%M:%S.%f}"[:-3]


@register.filter
def day_clock(at: datetime | None) -> str:
    """Day and second, UTC: 2026-11-18 16:03:22."""
    return NONE if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def several(n: int, word: str) -> str:
    """1 bot, 2 bots."""
    return f"{n} {word}{'' if n == 1 else 's'}"


def span(delta: timedelta) -> str:
    """A length of time in words: 0.4 s, 48 s, 41 min, 5 h 57 min, 3 d 4 h."""
    seconds = max(0.0, delta.total_seconds())
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 90:
        return f"{int(seconds)} s"
    minutes = int(seconds // 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // 1440} d {minutes // 60 % 24} h"


def age(at: datetime | None, now: datetime) -> SafeString | str:
    """The age of `at`, which the page keeps counting. A time that is still to come, as a tape's may be, has none: it is told itself."""
    if at is None:
        return NONE
    if at - now > _AHEAD:
        return clock(at)
    return format_html('<time data-age="{}" datetime="{}">{}</time>', _epoch_ms(at), at.isoformat(), span(now - at))


@register.filter(name="age")
def age_filter(at: datetime | None, now: datetime) -> SafeString | str:
    return age(at, now)


def _epoch_ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)


@register.filter
def epoch_ms(at: datetime) -> int:
    return _epoch_ms(at)


@register.filter
def words(code: str) -> str:
    """A code as words: GROSS_EXPOSURE → Gross exposure."""
    return code.replace("_", " ").capitalize()


@register.filter
def noun(model: str) -> str:
    """A model as a person calls it: risk.SymbolOverride → Symbol override."""
    return _WORD.sub(" ", model.rpartition(".")[2]).capitalize()


@register.filter
def took(start: datetime, end: datetime) -> str:
    """How long it took: 0.05 s."""
    seconds = (end - start).total_seconds()
    return f"{seconds:.2f} s" if seconds < 10 else span(end - start)


@register.filter
def day_pnl(state: AccountState) -> Decimal:
    """Equity against the day's opening."""
    pnl: Decimal = state.equity - state.day_start_equity
    return pnl
