"""What the venue keeps and what it says: orders, holdings, and the reports made of them. Values only."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from hashlib import blake2b
from typing import Final

import msgspec

from execution.brokers.simulated.fees import NOTHING_TRADED, Traded
from execution.core.messages import Adjusted, ExecType, Reported, VenueFill
from execution.core.orders import OrdStatus
from risk.core.units import ZERO, OrdType, Side, TimeInForce

STOPS: Final = (OrdType.STOP, OrdType.STOP_LIMIT)
AT_ONCE: Final = (TimeInForce.IOC, TimeInForce.FOK)


class BookOrder(msgspec.Struct, kw_only=True):
    """An order at the venue. `since` is the market's time when it came or was last changed (None: before the venue was opened)."""

    order_id: str
    #: the id it came with, which is its identity here
    cl_ord_id: str
    #: the id of the last replace, which is what it is called since
    replaced_as: str = ""
    symbol: str
    side: Side
    ord_type: OrdType
    time_in_force: TimeInForce
    order_qty: Decimal
    cum_qty: Decimal = ZERO
    #: what self-trade prevention took: it neither filled nor will
    prevented_qty: Decimal = ZERO
    price: Decimal | None = None
    stop_px: Decimal | None = None
    reduce_only: bool = False
    post_only: bool = False
    is_triggered: bool = False
    ord_status: OrdStatus = OrdStatus.NEW
    text: str = ""
    created_at: datetime
    updated_at: datetime
    since: datetime | None = None
    #: True until it has met its first price: what fills then takes, what fills later makes
    is_arriving: bool = True
    fills: int = 0
    #: what it has paid fees for
    traded: Traded = NOTHING_TRADED

    @property
    def name(self) -> str:
        """The client id it is known by now."""
        return self.replaced_as or self.cl_ord_id

    @property
    def leaves_qty(self) -> Decimal:
        return self.order_qty - self.cum_qty - self.prevented_qty

    @property
    def is_working(self) -> bool:
        return self.ord_status in {OrdStatus.NEW, OrdStatus.PARTIALLY_FILLED}

    @property
    def is_stop_waiting(self) -> bool:
        return self.ord_type in STOPS and not self.is_triggered

    @property
    def rests(self) -> bool:
        """A limit that has met the market and waits for a better one."""
        return self.price is not None and not self.is_stop_waiting and not self.is_arriving

    @property
    def takes_any_price(self) -> bool:
        return self.ord_type is OrdType.MARKET or (self.ord_type is OrdType.STOP and self.is_triggered)


class Holding(msgspec.Struct):
    """Cash (quantity only) or a position: signed quantity, and what it cost at average prices."""

    qty: Decimal = ZERO
    cost: Decimal = ZERO

    def move(self, qty: Decimal, worth: Decimal) -> None:
        """Book a signed quantity at average cost: what reduces takes its share of the cost, what is left over opens at `worth`."""
        if self.qty * qty < 0:
            closed = min(abs(qty), abs(self.qty))
            self.cost -= self.cost * closed / abs(self.qty)
            opened = abs(qty) - closed
        else:
            opened = abs(qty)
        self.cost += opened * worth * (1 if qty > 0 else -1)
        self.qty += qty


class Outcome(msgspec.Struct):
    """What one request or event did: the orders it changed, their fills, the assets they moved, and the reports to send."""

    orders: dict[str, BookOrder] = {}
    fills: list[VenueFill] = []
    assets: set[str] = set()
    reports: list[Reported] = []
    #: what moved without a trade
    adjustments: list[Adjusted] = []
    #: ids of replaces that were done, and the order each names
    renamed: dict[str, BookOrder] = {}

    def join(self, later: Outcome) -> None:
        """Take what happened next into this one."""
        self.orders |= later.orders
        self.fills += later.fills
        self.assets |= later.assets
        self.reports += later.reports
        self.adjustments += later.adjustments
        self.renamed |= later.renamed


def chance(seed: int, *keys: object) -> float:
    """A number in [0, 1) that belongs to these keys."""
    return int.from_bytes(blake2b(repr((seed, *keys)).encode(), digest_size=8).digest(), "big") / 2**64


def report(order: BookOrder, exec_type: ExecType, now: datetime, at: datetime) -> Reported:
    return Reported(
        at=now,
        cl_ord_id=order.name,
        exec_type=exec_type,
        order_id=order.order_id,
        symbol=order.symbol,
        side=order.side,
        cum_qty=order.cum_qty,
        text=order.text,
        transact_at=at,
    )


def accepted_report(order: BookOrder, now: datetime) -> Reported:
    """The acknowledgement of an order that came."""
    return report(order, ExecType.NEW, now, order.since or now)


def fill_report(order: BookOrder, fill: VenueFill, now: datetime) -> Reported:
    """A trade, or one that is taken back or corrected."""
    return msgspec.structs.replace(
        report(order, fill.exec_type, now, fill.transact_at),
        exec_id=fill.exec_id,
        exec_ref_id=fill.exec_ref_id,
        last_qty=fill.last_qty,
        last_px=fill.last_px,
        leaves_qty=order.leaves_qty if order.is_working else ZERO,
        fee=fill.fee,
        fee_currency=fill.fee_currency,
        liquidity=fill.liquidity,
    )


def replaced_report(order: BookOrder, now: datetime, at: datetime) -> Reported:
    """The order as it is now, under its new id."""
    return msgspec.structs.replace(
        report(order, ExecType.REPLACED, now, at), order_qty=order.order_qty, price=order.price, stop_px=order.stop_px
    )
