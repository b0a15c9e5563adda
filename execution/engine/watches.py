"""Price watches of one account: the Desk's emulated stops and targets, tested against every quote."""

from __future__ import annotations

from decimal import Decimal

from execution.core.messages import Watch
from risk.core.units import Quote


class Watches:
    """A watch fires once and is gone until the Desk sets it again."""

    def __init__(self) -> None:
        self._by_symbol: dict[str, dict[str, Watch]] = {}

    def set(self, watch: Watch) -> None:
        self.drop(watch.watch_id)
        self._by_symbol.setdefault(watch.symbol, {})[watch.watch_id] = watch

    def drop(self, watch_id: str) -> None:
        for symbol, watches in list(self._by_symbol.items()):
            if watches.pop(watch_id, None) is not None and not watches:
                del self._by_symbol[symbol]

    def touched(self, quote: Quote) -> list[tuple[str, Decimal]]:
        """The watches this quote reaches, each with the last price that did."""
        watches = self._by_symbol.get(quote.symbol)
        if not watches:
            return []
        found = [(w.watch_id, quote.last) for w in watches.values() if _reaches(w, quote.last)]
        for watch_id, _ in found:
            self.drop(watch_id)
        return found


def _reaches(watch: Watch, price: Decimal) -> bool:
    return price >= watch.price if watch.is_above else price <= watch.price
