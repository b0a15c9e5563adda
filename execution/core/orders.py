"""The order machine. State is facts; `ord_status` is derived from them by FIX precedence."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum

import msgspec

from risk.core.units import ZERO, OrdType, Side, TimeInForce
from risk.core.verdict import OrderClass


class OrdStatus(StrEnum):
    PENDING_NEW = "PENDING_NEW"
    NEW = "NEW"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"
    UNKNOWN = "UNKNOWN"
    PENDING_CANCEL = "PENDING_CANCEL"
    PENDING_REPLACE = "PENDING_REPLACE"


class Purpose(StrEnum):
    """What an order is for; ageing, lanes and brackets read it."""

    ENTRY = "ENTRY"
    EXIT = "EXIT"
    STOP_LOSS = "STOP_LOSS"
    TAKE_PROFIT = "TAKE_PROFIT"
    OVERSHOOT = "OVERSHOOT"


class OrderState(msgspec.Struct, kw_only=True):
    """Everything known of one order. Facts: `is_accepted`, `cum_qty`, `done`, `pending`, `is_unknown`."""

    cl_ord_id: str
    bot: str
    symbol: str
    side: Side
    ord_type: OrdType
    time_in_force: TimeInForce
    order_class: OrderClass
    purpose: Purpose
    order_qty: Decimal
    price: Decimal | None = None
    stop_px: Decimal | None = None
    reduce_only: bool = False
    post_only: bool = False
    #: the entry's cl_ord_id whose bracket this order belongs to; empty for none
    bracket_id: str = ""
    decision_id: str = ""
    settings_version: int = 0
    created_at: datetime
    updated_at: datetime
    order_id: str = ""
    is_accepted: bool = False
    accepted_at: datetime | None = None
    cum_qty: Decimal = ZERO
    #: Σ last_qty × last_px: the average is derived
    cum_cost: Decimal = ZERO
    fees: Decimal = ZERO
    #: FILLED, CANCELED, REJECTED or EXPIRED once the order is over
    done: OrdStatus | None = None
    done_at: datetime | None = None
    #: PENDING_CANCEL or PENDING_REPLACE while such a request is unanswered
    pending: OrdStatus | None = None
    pending_since: datetime | None = None
    is_unknown: bool = False
    #: money per unit set aside while the order works (entries only)
    reserve_px: Decimal = ZERO
    ord_rej_reason: str = ""
    text: str = ""
    exec_ids: list[str] = []
    cancel_asked_by: str = ""

    @property
    def leaves_qty(self) -> Decimal:
        return ZERO if self.done else self.order_qty - self.cum_qty

    @property
    def avg_px(self) -> Decimal | None:
        return self.cum_cost / self.cum_qty if self.cum_qty else None

    @property
    def is_working(self) -> bool:
        """True while the venue may still fill it, as far as we know."""
        return self.done is None
