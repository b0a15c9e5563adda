"""Positions, derived from fills and never from a refetch: quantity and cost sums are kept, averages derived."""

from __future__ import annotations

from datetime import datetime
from decimal import ROUND_DOWN, Decimal
from typing import Final

import msgspec

from execution.core.messages import AdjustmentKind
from risk.core.units import ONE, ZERO, Side, worth

#: where a quantity is cut that a split leaves endless
_EXACT: Final = Decimal("1e-12")


class PositionState(msgspec.Struct, kw_only=True, gc=False):
    """One symbol of the account. `qty` is signed; `cost` is Σ signed qty × worth(price) of the open part, without contract_value."""

    symbol: str
    bot: str
    qty: Decimal = ZERO
    cost: Decimal = ZERO
    contract_value: Decimal = ONE
    #: gross of fees, since the position row exists
    realised: Decimal = ZERO
    fees: Decimal = ZERO
    mark: Decimal | None = None
    marked_at: datetime | None = None
    opened_at: datetime | None = None
    updated_at: datetime | None = None
    #: entry orders that built the open part
    entries: int = 0
    is_inverse: bool = False

    @property
    def avg_px(self) -> Decimal | None:
        """The price at which the open part would have cost what it did; harmonic for an inverse contract."""
        if not self.qty:
            return None
        return -self.qty / self.cost if self.is_inverse else self.cost / self.qty

    def worth(self, px: Decimal) -> Decimal:
        """What a long of one unit counts at a price, before contract_value."""
        return worth(px, is_inverse=self.is_inverse)

    @property
    def unrealised(self) -> Decimal:
        if not self.qty or self.mark is None:
            return ZERO
        return (self.qty * self.worth(self.mark) - self.cost) * self.contract_value

    @property
    def value(self) -> Decimal:
        """What it is worth at its mark; at its cost while it has none."""
        return (self.cost if self.mark is None else self.qty * self.worth(self.mark)) * self.contract_value

    @property
    def closing_side(self) -> Side:
        """The side of an order that reduces it."""
        return Side.SELL if self.qty > 0 else Side.BUY


class FillState(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One booked fill, as published."""

    exec_id: str
    cl_ord_id: str
    order_id: str
    bot: str
    symbol: str
    side: Side
    last_qty: Decimal
    last_px: Decimal
    fee: Decimal
    fee_currency: str
    liquidity: str
    realised: Decimal
    at: datetime
    transact_at: datetime | None
    #: the fill that this one corrects; empty for none
    exec_ref_id: str = ""
    #: when the venue took it back
    busted_at: datetime | None = None
    #: the part of the fee that was taken out of the position itself
    fee_qty: Decimal = ZERO

    @property
    def key(self) -> str:
        return f"{self.cl_ord_id}:{self.exec_id}"


class AdjustmentState(msgspec.Struct, frozen=True, kw_only=True):
    """One booked adjustment, as published. `qty` is what was held before it; the rest as the venue said it."""

    adjustment_id: str
    kind: AdjustmentKind
    bot: str
    symbol: str
    qty: Decimal
    amount: Decimal
    new_units: Decimal
    old_units: Decimal
    at: datetime
    transact_at: datetime | None


def split_qty(qty: Decimal, new_units: Decimal, old_units: Decimal) -> Decimal:
    """What a quantity is after a split: what of it is endless is cut at twelve places, towards zero."""
    exact = qty * new_units / old_units
    cut = exact.quantize(_EXACT, rounding=ROUND_DOWN)
    return exact if exact == cut else cut


def split_px(px: Decimal, new_units: Decimal, old_units: Decimal) -> Decimal:
    """What a price is after a split, to twelve places."""
    exact = px * old_units / new_units
    near = exact.quantize(_EXACT)
    return exact if exact == near else near
