"""Channel breakout: enters when the close leaves the range of the last bars, leaves when it comes back through a shorter one."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import ClassVar

from talipp.indicators import ATR, DonchianChannels

from execution.brains.base import EXTRAS, HOLD, Bar, Brain, Decision, View, by_range, close, plain
from execution.brains.indicators import latest, ohlcv, push, whole
from risk.core.units import Instrument, Side


class ChannelBreakout(Brain):
    name: ClassVar[str] = "channel_breakout"
    summary: ClassVar[str] = (
        "Buys a close above the highest of the last bars, sells one below the lowest, closes at a shorter channel."
    )
    PARAMS: ClassVar[Mapping[str, tuple[str, str, str]]] = {
        "channel": ("20", "2", "400"),
        "exit_channel": ("10", "2", "400"),
        "atr": ("14", "2", "200"),
        "stop_atr": ("2.0", "0.1", "50"),
        "target_atr": ("4.0", "0", "100"),
        **EXTRAS,
        "shorts": ("1", "0", "1"),
    }

    def __init__(self, instrument: Instrument, params: Mapping[str, Decimal]) -> None:
        super().__init__(instrument, params)
        self._channel = DonchianChannels(whole(params, "channel"))
        self._exit_channel = DonchianChannels(whole(params, "exit_channel"))
        self._atr = ATR(whole(params, "atr"))

    @classmethod
    def refusal(cls, params: Mapping[str, Decimal]) -> str:
        return "" if params["exit_channel"] <= params["channel"] else "exit_channel must not be longer than channel."

    @property
    def warm_up(self) -> int:
        return max(whole(self.params, "channel"), whole(self.params, "atr")) + 1

    def on_bar(self, bar: Bar, view: View) -> Decision:
        # the channels *before* this bar: a close cannot leave a range that it is part of
        outer, inner = (
            self._channel[-1] if len(self._channel) else None,
            self._exit_channel[-1] if len(self._exit_channel) else None,
        )
        push(self._channel, ohlcv(bar), period=self._channel.period)
        push(self._exit_channel, ohlcv(bar), period=self._exit_channel.period)
        push(self._atr, ohlcv(bar), period=self._atr.period)
        atr, price = latest(self._atr), float(bar.close)
        if outer is None or inner is None or atr is None:
            return HOLD
        if view.position_qty:
            return self._exit(price, inner.lb, inner.ub, view)
        return self._entry(bar, view, (outer.lb, outer.ub), atr)

    def _exit(self, price: float, low: float, high: float, view: View) -> Decision:
        if view.exits_working:
            return HOLD
        if view.position_qty > 0 and price < low:
            return close(f"close {plain(price)} is below the exit channel {plain(low)}")
        if view.position_qty < 0 and price > high:
            return close(f"close {plain(price)} is above the exit channel {plain(high)}")
        return HOLD

    def _entry(self, bar: Bar, view: View, channel: tuple[float, float], atr: float) -> Decision:
        (low, high), price = channel, float(bar.close)
        if price > high:
            side, note = Side.BUY, f"close {plain(price)} broke the high {plain(high)}"
        elif price < low and self.params["shorts"]:
            side, note = Side.SELL, f"close {plain(price)} broke the low {plain(low)}"
        else:
            return HOLD
        if not view.is_flat:
            return HOLD
        return by_range(self.instrument, side, bar, self.params, atr, note=note)
