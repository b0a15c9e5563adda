"""Rows of the venue's own tables ↔ its values. Pure: no database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from execution.brokers.simulated.matching import BookOrder, Holding, Rules
from execution.core.messages import VenueFill, VenueOrder
from execution.core.orders import OrdStatus
from execution.core.ports import venue_options
from risk.core.units import OrdType, Side, TimeInForce

ORDER_COLUMNS: Final = (
    "order_id",
    "cl_ord_id",
    "symbol",
    "side",
    "ord_type",
    "time_in_force",
    "order_qty",
    "cum_qty",
    "price",
    "stop_px",
    "reduce_only",
    "post_only",
    "is_triggered",
    "ord_status",
    "text",
    "created_at",
    "updated_at",
)
#: what changes after an order came
ORDER_CHANGES: Final = ("cum_qty", "is_triggered", "ord_status", "text", "updated_at")
FILL_COLUMNS: Final = (*VenueFill.__struct_fields__, "booked_at")
BALANCE_COLUMNS: Final = ("asset", "qty", "cost")

Row = tuple[Any, ...]


def order_row(order: BookOrder) -> Row:
    return tuple(getattr(order, column) for column in ORDER_COLUMNS)


def order_of(row: Sequence[Any]) -> BookOrder:
    """The order as the venue takes it up again: what waits for a price still arrives, the rest rested here before."""
    values = dict(zip(ORDER_COLUMNS, row, strict=True))
    order = BookOrder(
        **{
            **values,
            "side": Side(values["side"]),
            "ord_type": OrdType(values["ord_type"]),
            "time_in_force": TimeInForce(values["time_in_force"]),
            "ord_status": OrdStatus(values["ord_status"]),
        }
    )
    order.is_arriving = order.takes_any_price or order.time_in_force in {TimeInForce.IOC, TimeInForce.FOK}
    return order


def venue_order(row: Sequence[Any]) -> VenueOrder:
    """The order as a query shows it."""
    order = order_of(row)
    return VenueOrder(
        cl_ord_id=order.cl_ord_id,
        order_id=order.order_id,
        symbol=order.symbol,
        side=order.side,
        order_qty=order.order_qty,
        cum_qty=order.cum_qty,
        ord_type=order.ord_type,
        ord_status=order.ord_status.value,
        price=order.price,
        stop_px=order.stop_px,
        reduce_only=order.reduce_only,
    )


def fill_row(fill: VenueFill, booked_at: datetime) -> Row:
    return (*(getattr(fill, column) for column in FILL_COLUMNS[:-1]), booked_at)


def fill_of(row: Sequence[Any]) -> VenueFill:
    values = dict(zip(FILL_COLUMNS[:-1], row, strict=False))
    return VenueFill(**{**values, "side": Side(values["side"])})


def balance_row(asset: str, holding: Holding) -> Row:
    return asset, holding.qty, holding.cost


class Faults:
    """How unfriendly the venue is: chances of one, times in seconds."""

    def __init__(self, options: Mapping[str, Decimal]) -> None:
        self.seed = int(options["seed"])
        self.latency_s = float(options["latency_ms"]) / 1000
        self.late_s = float(options["late_report_ms"]) / 1000
        self.reject = float(options["reject_pct"]) / 100
        self.lost_answer = float(options["lost_answer_pct"]) / 100
        self.duplicate = float(options["duplicate_pct"]) / 100
        self.late = float(options["late_report_pct"]) / 100


def behaviour_of(options: Mapping[str, object]) -> tuple[Rules, Faults]:
    """The venue's rules and faults from Account.broker_options. ValueError with one plain sentence for a wrong one."""
    values = venue_options("simulated", options)
    rules = Rules(
        seed=int(values["seed"]),
        fee_maker=values["fee_maker_bps"] / 10000,
        fee_taker=values["fee_taker_bps"] / 10000,
        slippage=values["slippage_bps"] / 10000,
        leverage_max=values["leverage_max"],
        partial=float(values["partial_pct"]) / 100,
    )
    return rules, Faults(values)
