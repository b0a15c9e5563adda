"""Closed trades: fills matched against each other, first in first out or last in first out, as a report.

The desk's own book is by average cost (`pnl.py`) and never reads this. Here every reducing fill takes from the lots that are open:

| grouping | a trade is |
|---|---|
| FILL_TO_FILL | one lot, or the part of it, that one fill closed |
| FLAT_TO_REDUCED | everything one fill closed |
| FLAT_TO_FLAT | everything from flat to flat |

Gross PnL leaves fees out; they stand beside it. The fee of a fill goes whole to the first trade that it opens or closes: a divided
fee would be a number that no statement shows. What a trade saw (`mae`, `mfe`, `drawdown`) is what its position saw since it was
opened, at the prices it was shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

import msgspec

from execution.core.positions import split_px, split_qty
from risk.core.units import ONE, ZERO, Side, worth


class Matching(StrEnum):
    FIFO = "FIFO"
    LIFO = "LIFO"


class Grouping(StrEnum):
    FILL_TO_FILL = "FILL_TO_FILL"
    FLAT_TO_REDUCED = "FLAT_TO_REDUCED"
    FLAT_TO_FLAT = "FLAT_TO_FLAT"


class LotFill(msgspec.Struct, frozen=True, kw_only=True):
    """A fill as the report needs it. `fee` is in the account's currency."""

    cl_ord_id: str
    side: Side
    last_qty: Decimal
    last_px: Decimal
    fee: Decimal
    at: datetime


class ClosedTrade(msgspec.Struct, frozen=True, kw_only=True):
    """A trade that is over. Prices are averages where it joins several fills; money is qty × worth(price) × contract_value.

    `mae` and `mfe` are the worst and the best it could have been closed at (maximum adverse and favourable excursion), `drawdown`
    the largest fall from a best.
    """

    side: Side
    qty: Decimal
    entry_px: Decimal
    exit_px: Decimal
    entry_at: datetime
    exit_at: datetime
    realised: Decimal
    fees: Decimal
    mae: Decimal
    mfe: Decimal
    drawdown: Decimal
    cl_ord_ids: tuple[str, ...]


class _Lot(msgspec.Struct):
    """What is left of an opening fill."""

    cl_ord_id: str
    qty: Decimal
    px: Decimal
    fee: Decimal
    at: datetime


class _Part(msgspec.Struct):
    """What a reducing fill took of one lot. `fee` is what the lot's own fill still has to be charged for."""

    qty: Decimal
    entry_px: Decimal
    exit_px: Decimal
    fee: Decimal
    entry: tuple[datetime, str]
    exit: tuple[datetime, str]


class Lots:
    """The open lots of one symbol, in the order they were opened, and the trades that came of those that closed."""

    def __init__(self, matching: Matching, grouping: Grouping, *, contract_value: Decimal = ONE, is_inverse: bool = False) -> None:
        self.closed: list[ClosedTrade] = []
        self._matching, self._grouping = matching, grouping
        self._contract_value, self._is_inverse = contract_value, is_inverse
        self._lots: list[_Lot] = []
        self._side = Side.BUY
        #: closed, and not yet told as a trade (FLAT_TO_FLAT)
        self._parts: list[_Part] = []
        #: fees not yet given to a trade
        self._fees = ZERO
        self._best = self._worst = self._drawdown = ZERO

    @property
    def is_open(self) -> bool:
        return bool(self._lots)

    def mark(self, px: Decimal) -> None:
        """A price the open position was worth."""
        if not self._lots:
            return
        self._best = max(self._best, px) if self._side is Side.BUY else min(self._best, px)
        self._worst = min(self._worst, px) if self._side is Side.BUY else max(self._worst, px)
        self._drawdown = max(self._drawdown, self._won(px, self._best))

    def split(self, new_units: Decimal, old_units: Decimal) -> None:
        """The instrument was split: `new_units` for every `old_units`."""

        def moved(px: Decimal) -> Decimal:
            return split_px(px, new_units, old_units)

        for lot in self._lots:
            lot.px, lot.qty = moved(lot.px), split_qty(lot.qty, new_units, old_units)
        for part in self._parts:
            part.entry_px, part.exit_px = moved(part.entry_px), moved(part.exit_px)
            part.qty = split_qty(part.qty, new_units, old_units)
        self._best, self._worst, self._drawdown = moved(self._best), moved(self._worst), moved(self._drawdown)

    def book(self, fill: LotFill) -> None:
        """Book a fill. What closes more than is open opens the rest on the other side, with no fee of its own."""
        self.mark(fill.last_px)
        is_opening = not self._lots or fill.side is self._side
        opened = fill.last_qty if is_opening else self._reduce(fill)
        if opened:
            if not self._lots:
                self._side, self._best, self._worst, self._drawdown = fill.side, fill.last_px, fill.last_px, ZERO
            self._lots.append(_Lot(fill.cl_ord_id, opened, fill.last_px, fill.fee if is_opening else ZERO, fill.at))

    def _reduce(self, fill: LotFill) -> Decimal:
        """Take a fill out of the open lots; returns what it closes beyond them."""
        parts, left = [], fill.last_qty
        while self._lots and left:
            lot = self._lots[0 if self._matching is Matching.FIFO else -1]
            qty = min(lot.qty, left)
            parts.append(_Part(qty, lot.px, fill.last_px, lot.fee, (lot.at, lot.cl_ord_id), (fill.at, fill.cl_ord_id)))
            lot.qty, lot.fee, left = lot.qty - qty, ZERO, left - qty
            if not lot.qty:
                self._lots.remove(lot)
        self._tell(parts, fill)
        return left

    def _tell(self, parts: Sequence[_Part], fill: LotFill) -> None:
        if self._grouping is Grouping.FILL_TO_FILL:
            fee = fill.fee
            for part in parts:
                self.closed.append(self._trade([part], part.fee + fee))
                fee = ZERO
            return
        self._fees += fill.fee + sum((part.fee for part in parts), ZERO)
        self._parts.extend(parts)
        if self._grouping is Grouping.FLAT_TO_REDUCED or not self._lots:
            for lot in self._lots:  # a position's fees are told with its first trade
                self._fees, lot.fee = self._fees + lot.fee, ZERO
            self.closed.append(self._trade(self._parts, self._fees))
            self._parts, self._fees = [], ZERO

    def _trade(self, parts: Sequence[_Part], fees: Decimal) -> ClosedTrade:
        qty = sum((part.qty for part in parts), ZERO)
        entry_px = self._average([(part.qty, part.entry_px) for part in parts], qty)
        exit_px = self._average([(part.qty, part.exit_px) for part in parts], qty)
        fills = sorted([part.entry for part in parts] + [part.exit for part in parts])
        return ClosedTrade(
            side=self._side,
            qty=qty,
            entry_px=entry_px,
            exit_px=exit_px,
            entry_at=min(part.entry[0] for part in parts),
            exit_at=parts[-1].exit[0],
            realised=sum((self._money(self._won(part.entry_px, part.exit_px), part.qty) for part in parts), ZERO),
            fees=fees,
            # an average is rounded, so that the price of the one fill it is made of may lie beside it
            mae=min(self._money(self._won(entry_px, self._worst), qty), ZERO),
            mfe=max(self._money(self._won(entry_px, self._best), qty), ZERO),
            drawdown=self._money(self._drawdown, qty),
            cl_ord_ids=tuple(dict.fromkeys(cl_ord_id for _, cl_ord_id in fills)),
        )

    def _average(self, taken: Sequence[tuple[Decimal, Decimal]], qty: Decimal) -> Decimal:
        """The one price at which all of it would be worth as much; harmonic for an inverse contract."""
        total = sum((part * worth(px, is_inverse=self._is_inverse) for part, px in taken), ZERO)
        return -qty / total if self._is_inverse else total / qty

    def _won(self, entry_px: Decimal, exit_px: Decimal) -> Decimal:
        """What one unit earns from one price to another, before contract_value."""
        of = self._is_inverse
        return (worth(exit_px, is_inverse=of) - worth(entry_px, is_inverse=of)) * self._side.sign

    def _money(self, difference: Decimal, qty: Decimal) -> Decimal:
        return difference * qty * self._contract_value
