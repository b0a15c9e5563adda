"""Funding of perpetuals: what a position pays, or is paid, at every instant of a grid that begins at the epoch.

With a rate above nothing longs pay shorts. The position is the one that was held when the instant passed, at the last price before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

from execution.core.messages import Adjusted, AdjustmentKind
from risk.core.units import ZERO, AssetClass, Instrument

#: settlements made up for at once, after a time without prices
_DUE_MAX: Final = 100
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_STEP: Final = Decimal("0.00000001")


class Funding:
    """When each symbol was last looked at, and what has become due since. `since`: for positions held when the venue was opened."""

    def __init__(self, rate: Decimal, interval: timedelta, since: Mapping[str, datetime]) -> None:
        self._rate = rate
        self._interval = interval
        self._seen = dict(since)

    def applies_to(self, instrument: Instrument) -> bool:
        return bool(self._rate) and instrument.asset_class is AssetClass.CRYPTO_PERP

    def due(self, symbol: str, at: datetime) -> list[datetime]:
        """The instants that passed since the symbol was last looked at, up to and including `at`."""
        last = self._seen.get(symbol, at)
        self._seen[symbol] = max(last, at)
        first, now = (last - _EPOCH) // self._interval, (at - _EPOCH) // self._interval
        return [_EPOCH + n * self._interval for n in range(max(first + 1, now + 1 - _DUE_MAX), now + 1)]

    def paid(self, instrument: Instrument, qty: Decimal, price: Decimal, *, settled_at: datetime, now: datetime) -> Adjusted:
        """What the position receives at an instant; negative when it pays."""
        amount = -qty * instrument.worth(price) * instrument.contract_value * self._rate
        return Adjusted(
            at=now,
            adjustment_id=f"F:{instrument.symbol}:{settled_at:%Y%m%dT%H%M}",
            kind=AdjustmentKind.FUNDING,
            symbol=instrument.symbol,
            amount=amount.quantize(_STEP) + ZERO,
            transact_at=settled_at,
        )
