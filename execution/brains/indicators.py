"""Indicators of talipp, fed with bars and kept short: the library keeps every value it ever saw."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from talipp.ohlcv import OHLCV

from execution.core.messages import Bar

_KEEP: Final = 512


def ohlcv(bar: Bar) -> OHLCV:
    return OHLCV(float(bar.open), float(bar.high), float(bar.low), float(bar.close), float(bar.volume))


def push(indicator: Any, value: OHLCV | float, *, period: int) -> None:
    """Add a value; forget the oldest once there are many more than the period needs."""
    indicator.add(value)
    if len(indicator.input_values) > 2 * (period + _KEEP):
        indicator.purge_oldest(len(indicator.input_values) - period - _KEEP)


def latest(indicator: Any) -> float | None:
    """The newest value, None while it warms up."""
    value = indicator[-1] if len(indicator) else None
    return None if value is None else float(value)


def whole(params: Mapping[str, Decimal], name: str) -> int:
    return int(params[name])
