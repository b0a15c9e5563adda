"""Words for the brains' tests: bars from closes, and a brain that is shown them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from execution.brains import brain_of, params_validated
from execution.brains.base import Brain, Decision, View
from execution.core.messages import Bar
from risk.core.units import AssetClass, Instrument, use_decimal_context

use_decimal_context()

D = Decimal
NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
BTC = Instrument("BTCUSDT", AssetClass.CRYPTO_PERP, D("0.5"), D("0.001"), D(5), "USDT", "BTC")


def brain(name: str, **params: Any) -> Brain:
    return brain_of(name)(BTC, params_validated(name, params))


def bars(closes: Iterable[float], *, reach: float = 1) -> list[Bar]:
    """A bar a minute that closes at each of these, reaching `reach` beyond on both sides."""
    found = []
    for n, close in enumerate(closes):
        at, price = NOON + timedelta(minutes=n), D(str(close))
        found.append(Bar("BTCUSDT", 60, at, price, price + D(str(reach)), price - D(str(reach)), price, D(1)))
    return found


def view(position: str = "0", **changes: Any) -> View:
    base = {"position_qty": D(position), "avg_px": None, "entries_working": 0, "exits_working": 0, "last_denial": ""}
    return View(**{**base, **changes})


def decisions(trader: Brain, shown: Iterable[Bar], seen: View | None = None) -> list[Decision]:
    """What the brain says to every bar after its warm-up, always with the same view."""
    return [trader.on_bar(bar, seen or view()) for bar in shown][trader.warm_up :]


def spoken(said: Iterable[Decision]) -> list[str]:
    """The signals that are not HOLD."""
    return [decision.signal.value for decision in said if decision.signal != "HOLD"]
