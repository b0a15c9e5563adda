"""Mean reversion: buys what fell too fast and sells what rose too fast, by the relative strength index."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import ClassVar

from talipp.indicators import ATR, RSI

from execution.brains.base import EXTRAS, HOLD, Bar, Brain, Decision, View, by_range, close
from execution.brains.indicators import latest, ohlcv, push, whole
from risk.core.units import Instrument, Side


class MeanReversion(Brain):
    name: ClassVar[str] = "mean_reversion"
    summary: ClassVar[str] = "Buys when RSI falls below its low mark, sells when it rises above its high one, closes in the middle."
    PARAMS: ClassVar[Mapping[str, tuple[str, str, str]]] = {
        "rsi": ("14", "2", "200"),
        "low": ("30.0", "1", "49"),
        "high": ("70.0", "51", "99"),
        "middle": ("50.0", "10", "90"),
        "atr": ("14", "2", "200"),
        "stop_atr": ("2.5", "0.1", "50"),
        "target_atr": ("2.0", "0", "100"),
        **EXTRAS,
        "shorts": ("1", "0", "1"),
    }

    def __init__(self, instrument: Instrument, params: Mapping[str, Decimal]) -> None:
        super().__init__(instrument, params)
        self._rsi = RSI(whole(params, "rsi"))
        self._atr = ATR(whole(params, "atr"))
        self._was: float | None = None

    @classmethod
    def refusal(cls, params: Mapping[str, Decimal]) -> str:
        return "" if params["low"] < params["middle"] < params["high"] else "middle must lie between low and high."

    @property
    def warm_up(self) -> int:
        return max(whole(self.params, "rsi") + 1, whole(self.params, "atr")) + 1

    def on_bar(self, bar: Bar, view: View) -> Decision:
        push(self._rsi, float(bar.close), period=self._rsi.period)
        push(self._atr, ohlcv(bar), period=self._atr.period)
        now, before, atr = latest(self._rsi), self._was, latest(self._atr)
        self._was = now
        if now is None or before is None or atr is None:
            return HOLD
        return self._exit(now, view) if view.position_qty else self._entry(now, before, atr, bar, view)

    def _exit(self, rsi: float, view: View) -> Decision:
        middle = float(self.params["middle"])
        is_back = rsi >= middle if view.position_qty > 0 else rsi <= middle
        return close(f"RSI {rsi:.1f} is back at {middle:.1f}") if is_back and not view.exits_working else HOLD

    def _entry(self, rsi: float, before: float, atr: float, bar: Bar, view: View) -> Decision:
        low, high = float(self.params["low"]), float(self.params["high"])
        if rsi < low <= before:
            side, note = Side.BUY, f"RSI {rsi:.1f} fell below {low:.1f}"
        elif rsi > high >= before and self.params["shorts"]:
            side, note = Side.SELL, f"RSI {rsi:.1f} rose above {high:.1f}"
        else:
            return HOLD
        if not view.is_flat:
            return HOLD
        return by_range(self.instrument, side, bar, self.params, atr, note=note)
