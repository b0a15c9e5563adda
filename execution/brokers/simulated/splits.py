"""Splits that an account was told to meet: which are ahead, and what each does to a price."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal

import msgspec

from execution.core.messages import Adjusted, AdjustmentKind
from execution.core.positions import split_px
from risk.core.units import Quote


class Split(msgspec.Struct, frozen=True, kw_only=True):
    """`new_units` for every `old_units`, from the first price at or after `at`, which is one in the new terms."""

    symbol: str
    new_units: Decimal
    old_units: Decimal
    at: datetime

    def told(self, now: datetime) -> Adjusted:
        return Adjusted(
            at=now,
            adjustment_id=f"S:{self.symbol}:{self.at:%Y%m%dT%H%M%S}",
            kind=AdjustmentKind.SPLIT,
            symbol=self.symbol,
            new_units=self.new_units,
            old_units=self.old_units,
            transact_at=self.at,
        )

    def quote(self, quote: Quote) -> Quote:
        """A quote from before it, in the new terms."""
        moved = {name: split_px(getattr(quote, name), self.new_units, self.old_units) for name in ("bid", "ask", "last")}
        return msgspec.structs.replace(quote, **moved)


class Splits:
    """The splits that are ahead of each symbol, soonest first. `moved_at`: what moved a position last came after those up to it."""

    def __init__(self, splits: Iterable[Split], moved_at: Mapping[str, datetime]) -> None:
        self._ahead: dict[str, list[Split]] = {}
        self._last: dict[str, datetime] = {}
        for split in sorted(splits, key=lambda split: split.at):
            if split.symbol not in moved_at or split.at > moved_at[split.symbol]:
                self._ahead.setdefault(split.symbol, []).append(split)

    def due(self, symbol: str, at: datetime) -> list[Split]:
        """The splits of the symbol up to `at` that were not told yet."""
        ahead = self._ahead.get(symbol)
        if not ahead or ahead[0].at > at:
            return []
        due = [split for split in ahead if split.at <= at]
        self._ahead[symbol], self._last[symbol] = ahead[len(due) :], due[-1].at
        return due

    def is_before(self, symbol: str, at: datetime) -> bool:
        """Whether the symbol was split since `at`, so that what happened then is in other terms."""
        return symbol in self._last and at < self._last[symbol]
