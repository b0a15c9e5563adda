"""The protocol of a brain: market events and its own view in, a Decision out. Pure; never calls a broker.

A brain may use floats and indicator libraries inside; a Decision's numbers are quantised at the border by `entry()`.
A class that inherits from Brain needs a name, a summary, PARAMS, `warm_up` and `on_bar`; the rest has a quiet default.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import ClassVar, Protocol

import msgspec

from execution.core.messages import HOLD, Bar, Decision, SignalKind, Twap, View
from risk.core.units import Instrument, Quote, Side

__all__ = ["EXTRAS", "HOLD", "Bar", "Brain", "Decision", "Quote", "SignalKind", "View", "by_range", "close", "entry", "plain"]

#: what `by_range()` can do beside a stop and a target, for a brain's PARAMS; zero is without, and one slice is all at once
EXTRAS: Mapping[str, tuple[str, str, str]] = {
    "trail_atr": ("0.0", "0", "50"),
    "stop_limit_atr": ("0.0", "0", "50"),
    "time_limit_bars": ("0", "0", "100000"),
    "twap_slices": ("1", "1", "500"),
    "twap_interval_s": ("60", "1", "3600"),
}


class Brain(Protocol):
    """One instance per bot and symbol. `params` were validated by `PARAMS` before."""

    #: the name people choose it by, e.g. "ema_cross"
    name: ClassVar[str]
    #: a sentence for the console
    summary: ClassVar[str]
    #: parameter → (default, lowest, highest), all as decimal strings; whole numbers where no text has a point
    PARAMS: ClassVar[Mapping[str, tuple[str, str, str]]]

    instrument: Instrument
    params: Mapping[str, Decimal]

    def __init__(self, instrument: Instrument, params: Mapping[str, Decimal]) -> None:
        self.instrument = instrument
        self.params = params

    @classmethod
    def refusal(cls, params: Mapping[str, Decimal]) -> str:
        """Why these parameters do not go together, in one sentence; empty when they do."""
        return ""

    @property
    def warm_up(self) -> int:
        """How many closed bars it must see before its decisions count."""
        ...

    def on_bar(self, bar: Bar, view: View) -> Decision:
        """A closed bar. Return HOLD to do nothing."""
        ...

    def on_quote(self, quote: Quote, view: View) -> Decision:
        """A new best price. Most brains return HOLD."""
        return HOLD


def plain(number: float) -> str:
    """A float in the words of a note: at most eight significant digits, no exponent for prices people trade."""
    return f"{number:.8g}"


def entry(
    instrument: Instrument, side: Side, price: Decimal, *, stop_away: float, target_away: float | None, note: str
) -> Decision:
    """Enter at market with a stop and a target that far from `price`, on the tick grid and at least one tick away."""
    exit_side, sign = side.opposite, side.sign
    target = None if target_away is None else price + sign * _away(instrument, target_away)
    return Decision(
        signal=SignalKind(side.value),
        stop_loss=instrument.stop_price(price - sign * _away(instrument, stop_away), exit_side),
        take_profit=None if target is None else instrument.limit_price(target, exit_side),
        note=note,
    )


def _away(instrument: Instrument, distance: float) -> Decimal:
    """A distance in exact digits, one tick at the least."""
    return max(Decimal(plain(distance)), instrument.tick_size)


def by_range(instrument: Instrument, side: Side, bar: Bar, params: Mapping[str, Decimal], atr: float, *, note: str) -> Decision:
    """Enter at market at the close of `bar`, protected by multiples of the average true range.

    `params` are a stop's and a target's (`stop_atr`, `target_atr`; a target of zero is none) and those of EXTRAS: how far the stop
    trails behind the best price, how far behind its trigger the limit of a stop-limit lies, after how many bars the position is closed,
    in how many slices it is entered and how far apart they are.
    """

    def away(name: str) -> float | None:
        return float(params[name]) * atr if params[name] else None

    def offset(name: str) -> Decimal | None:
        distance = away(name)
        return None if distance is None else instrument.tick_size * round(_away(instrument, distance) / instrument.tick_size)

    made = entry(instrument, side, bar.close, stop_away=float(params["stop_atr"]) * atr, target_away=away("target_atr"), note=note)
    bars = int(params["time_limit_bars"])
    return msgspec.structs.replace(
        made,
        trail_offset=offset("trail_atr"),
        stop_limit_offset=offset("stop_limit_atr"),
        time_limit_s=bars * bar.interval_s if bars else None,
        twap=_twap(params["twap_slices"], params["twap_interval_s"]),
    )


def _twap(slices: Decimal, interval_s: Decimal) -> Twap | None:
    """So many slices so far apart; None where the whole goes at once."""
    return Twap(slices * interval_s, interval_s) if slices > 1 else None


def close(note: str) -> Decision:
    """Leave the position at market."""
    return Decision(signal=SignalKind.CLOSE, note=note)
