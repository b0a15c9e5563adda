"""The protocol of a brain: market events and its own view in, a Decision out. Pure; never calls a broker.

A brain may use floats and indicator libraries inside; a Decision's numbers are quantised at the border by `entry()`.
A class that inherits from Brain needs a name, a summary, PARAMS, `warm_up` and `on_bar`; the rest has a quiet default.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import ClassVar, Protocol

from execution.core.messages import HOLD, Bar, Decision, SignalKind, View
from risk.core.units import Instrument, Quote, Side

__all__ = ["HOLD", "Bar", "Brain", "Decision", "Quote", "SignalKind", "View", "close", "entry", "plain"]


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


def entry(instrument: Instrument, side: Side, price: Decimal, *, stop_away: float, target_away: float, note: str) -> Decision:
    """Enter at market with a stop and a target that far from `price`, on the tick grid and at least one tick away."""
    exit_side, sign = side.opposite, side.sign
    stop = price - sign * max(Decimal(plain(stop_away)), instrument.tick_size)
    target = price + sign * max(Decimal(plain(target_away)), instrument.tick_size)
    return Decision(
        signal=SignalKind(side.value),
        stop_loss=instrument.stop_price(stop, exit_side),
        take_profit=instrument.limit_price(target, exit_side),
        note=note,
    )


def close(note: str) -> Decision:
    """Leave the position at market."""
    return Decision(signal=SignalKind.CLOSE, note=note)
