"""EMA cross: two exponential averages of the close, and a bracket by average true range."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import ClassVar

from talipp.indicators import ATR, EMA

from execution.brains.base import EXTRAS, HOLD, Bar, Brain, Decision, View, by_range, close, plain
from execution.brains.indicators import latest, ohlcv, push, whole
from risk.core.units import Instrument, Side


class EmaCross(Brain):
    name: ClassVar[str] = "ema_cross"
    summary: ClassVar[str] = "Buys when the fast average crosses above the slow one and sells when it crosses below."
    PARAMS: ClassVar[Mapping[str, tuple[str, str, str]]] = {
        "fast": ("9", "2", "400"),
        "slow": ("21", "3", "800"),
        "atr": ("14", "2", "200"),
        "stop_atr": ("2.0", "0.1", "50"),
        "target_atr": ("3.0", "0", "100"),
        **EXTRAS,
        "shorts": ("1", "0", "1"),
    }

    def __init__(self, instrument: Instrument, params: Mapping[str, Decimal]) -> None:
        super().__init__(instrument, params)
        self._fast = EMA(whole(params, "fast"))
        self._slow = EMA(whole(params, "slow"))
        self._atr = ATR(whole(params, "atr"))
        #: the side of the last clear difference: +1 fast above slow, -1 below, 0 not known yet
        self._was = 0

    @classmethod
    def refusal(cls, params: Mapping[str, Decimal]) -> str:
        return "" if params["fast"] < params["slow"] else "fast must be below slow."

    @property
    def warm_up(self) -> int:
        return max(whole(self.params, "slow"), whole(self.params, "atr")) + 1

    def on_bar(self, bar: Bar, view: View) -> Decision:
        push(self._fast, float(bar.close), period=self._fast.period)
        push(self._slow, float(bar.close), period=self._slow.period)
        push(self._atr, ohlcv(bar), period=self._atr.period)
        fast, slow, atr = latest(self._fast), latest(self._slow), latest(self._atr)
        if fast is None or slow is None or atr is None or fast == slow:
            return HOLD
        now, before = (1 if fast > slow else -1), self._was
        self._was = now
        if not before or now == before:
            return HOLD
        side = Side.BUY if now > 0 else Side.SELL
        return self._crossed(side, bar, view, atr, f"fast {plain(fast)} crossed slow {plain(slow)}")

    def _crossed(self, side: Side, bar: Bar, view: View, atr: float, note: str) -> Decision:
        if view.position_qty * side.sign < 0:
            return close(note)
        if not view.is_flat or (side is Side.SELL and not self.params["shorts"]):
            return HOLD
        return by_range(self.instrument, side, bar, self.params, atr, note=note)
