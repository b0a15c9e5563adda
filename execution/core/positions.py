"""Positions, derived from fills and never from a refetch: quantity and cost sums are kept, averages derived."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import msgspec

from risk.core.units import ONE, ZERO, Side, worth


class PositionState(msgspec.Struct, kw_only=True):
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


class FillState(msgspec.Struct, frozen=True, kw_only=True):
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
