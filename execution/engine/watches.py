"""Price watches of one account: the Desk's emulated stops and targets and its trailing stops, tested against every quote."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from execution.core.messages import PriceAged, Touched, Trailed, Watch
from execution.core.trailing import Trail, followed, is_triggered
from risk.core.units import ZERO, Quote

#: the Desk hears of a better extreme at most this often
_TELL_EVERY: Final = timedelta(seconds=1)

Told = Touched | Trailed | PriceAged


class _Trailing:
    """A trail as far as the quotes have moved it, and how far the Desk knows."""

    __slots__ = ("told", "told_at", "trail")

    def __init__(self, trail: Trail) -> None:
        self.trail = trail
        self.told = trail.extreme
        self.told_at: datetime | None = None


class Watches:
    """A watch fires once and is gone until the Desk sets it again. Prices that are `gap_ms` apart by nature are stale so much later."""

    def __init__(self, *, gap_ms: int = 0) -> None:
        self._gap_ms = gap_ms
        self._by_symbol: dict[str, dict[str, Watch]] = {}
        self._trailing: dict[str, _Trailing] = {}
        #: when each symbol with a watch last had a quote, or was first looked at
        self._heard: dict[str, datetime] = {}
        #: symbols that the Desk believes to be without prices
        self._stale: set[str] = set()

    def __contains__(self, symbol: str) -> bool:
        """Whether somebody must be told of this symbol's quotes."""
        return symbol in self._by_symbol or symbol in self._stale

    def set(self, watch: Watch) -> None:
        self.drop(watch.watch_id)
        self._by_symbol.setdefault(watch.symbol, {})[watch.watch_id] = watch
        if watch.trail is not None:
            self._trailing[watch.watch_id] = _Trailing(watch.trail)

    def drop(self, watch_id: str) -> None:
        self._trailing.pop(watch_id, None)
        for symbol, watches in list(self._by_symbol.items()):
            if watches.pop(watch_id, None) is not None and not watches:
                del self._by_symbol[symbol]
                self._heard.pop(symbol, None)

    def on_quote(self, quote: Quote, at: datetime) -> list[Told]:
        """What a quote has to tell: that prices are back, that a watch fired, that a trail's extreme is better.

        One that nobody can trade at, crossed or without a price, is none: a stop that fired on it would close on an error.
        """
        told: list[Told] = []
        if not ZERO < quote.bid <= quote.ask:
            return told
        if quote.symbol in self._stale:
            self._stale.discard(quote.symbol)
            told.append(PriceAged(at=at, symbol=quote.symbol, is_stale=False, last_at=at))
        if quote.symbol in self._by_symbol:
            self._heard[quote.symbol] = at
        for watch in list(self._by_symbol.get(quote.symbol, {}).values()):
            found = self._trails(watch, quote, at) if watch.trail is not None else self._stands(watch, quote, at)
            if found is not None:
                told.append(found)
        return told

    def on_time(self, at: datetime) -> list[Told]:
        """What the clock has to tell, called about once a second: symbols without prices, extremes that had to wait."""
        told: list[Told] = []
        for symbol, watches in self._by_symbol.items():
            heard = self._heard.setdefault(symbol, at)
            stale_ms = min((watch.stale_ms for watch in watches.values() if watch.stale_ms), default=0)
            if stale_ms and symbol not in self._stale and at - heard >= timedelta(milliseconds=stale_ms + self._gap_ms):
                self._stale.add(symbol)
                told.append(PriceAged(at=at, symbol=symbol, is_stale=True, last_at=heard))
            told += [better for watch in watches.values() if (better := self._better(watch, at)) is not None]
        return told

    def _stands(self, watch: Watch, quote: Quote, at: datetime) -> Touched | None:
        is_there = quote.last >= watch.price if watch.is_above else quote.last <= watch.price
        return self._fired(watch, quote, at) if is_there else None

    def _trails(self, watch: Watch, quote: Quote, at: datetime) -> Touched | Trailed | None:
        trailing = self._trailing[watch.watch_id]
        trailing.trail = followed(trailing.trail, quote.last)
        if is_triggered(trailing.trail, quote.last):
            return self._fired(watch, quote, at)
        return self._better(watch, at)

    def _fired(self, watch: Watch, quote: Quote, at: datetime) -> Touched:
        self.drop(watch.watch_id)
        return Touched(at=at, watch_id=watch.watch_id, price=quote.last)

    def _better(self, watch: Watch, at: datetime) -> Trailed | None:
        trailing = self._trailing.get(watch.watch_id)
        extreme = trailing.trail.extreme if trailing is not None else None
        if trailing is None or extreme is None or extreme == trailing.told:
            return None
        is_small = trailing.told is not None and abs(extreme - trailing.told) < watch.tick
        if is_small or (trailing.told_at is not None and at - trailing.told_at < _TELL_EVERY):
            return None
        trailing.told, trailing.told_at = extreme, at
        return Trailed(at=at, watch_id=watch.watch_id, extreme=extreme)
