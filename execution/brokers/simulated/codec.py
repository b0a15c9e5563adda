"""Rows of the venue's own tables ↔ its values, and options → rules. Pure: no database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from execution.brokers.simulated.fees import Schedule, Tier, TierBy
from execution.brokers.simulated.matching import Rules, SelfTrades
from execution.brokers.simulated.orders import AT_ONCE, BookOrder, Holding
from execution.brokers.simulated.slippage import Model, Slippage
from execution.brokers.simulated.splits import Split
from execution.core.messages import Adjusted, AdjustmentKind, ExecType, VenueFill, VenueOrder
from execution.core.orders import OrdStatus
from execution.core.venues import capabilities_of, venue_options
from risk.core.units import NO_LIMIT, OrdType, Side, TimeInForce

ORDER_COLUMNS: Final = (
    "order_id",
    "cl_ord_id",
    "replaced_as",
    "symbol",
    "side",
    "ord_type",
    "time_in_force",
    "order_qty",
    "cum_qty",
    "prevented_qty",
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
#: the statuses of a working order
OPEN: Final = (OrdStatus.NEW.value, OrdStatus.PARTIALLY_FILLED.value)
#: what changes after an order came
ORDER_CHANGES: Final = (
    "replaced_as",
    "order_qty",
    "cum_qty",
    "prevented_qty",
    "price",
    "stop_px",
    "is_triggered",
    "ord_status",
    "text",
    "updated_at",
)
FILL_COLUMNS: Final = (
    "cl_ord_id",
    "order_id",
    "exec_id",
    "symbol",
    "side",
    "last_qty",
    "last_px",
    "fee",
    "fee_currency",
    "liquidity",
    "transact_at",
    "exec_type",
    "exec_ref_id",
    "booked_at",
)
ADJUSTMENT_COLUMNS: Final = (
    "adjustment_id",
    "kind",
    "symbol",
    "amount",
    "new_units",
    "old_units",
    "transact_at",
    "booked_at",
)
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
    order.is_arriving = order.takes_any_price or order.time_in_force in AT_ONCE
    return order


def venue_order(row: Sequence[Any]) -> VenueOrder:
    return venue_order_of(order_of(row))


def venue_order_of(order: BookOrder) -> VenueOrder:
    """The order as a query shows it."""
    return VenueOrder(
        cl_ord_id=order.name,
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
    return VenueFill(**{**values, "side": Side(values["side"]), "exec_type": ExecType(values["exec_type"])})


def adjustment_row(adjusted: Adjusted) -> Row:
    same = (getattr(adjusted, column) for column in ADJUSTMENT_COLUMNS[:-1])
    return (*same, adjusted.at)


def adjustment_of(row: Sequence[Any]) -> Adjusted:
    values = dict(zip(ADJUSTMENT_COLUMNS, row, strict=True))
    at = values.pop("booked_at")
    return Adjusted(at=at, **{**values, "kind": AdjustmentKind(values["kind"])})


def balance_row(asset: str, holding: Holding) -> Row:
    return asset, holding.qty, holding.cost


class Faults:
    """How unfriendly the venue is: chances of one, times in seconds."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.seed = int(options["seed"])
        self.latency_s = float(options["latency_ms"]) / 1000
        self.late_s = float(options["late_report_ms"]) / 1000
        self.bust_after_s = float(options["bust_after_ms"]) / 1000
        self.reject = float(options["reject_pct"]) / 100
        self.replace_reject = float(options["replace_reject_pct"]) / 100
        self.lost_answer = float(options["lost_answer_pct"]) / 100
        self.duplicate = float(options["duplicate_pct"]) / 100
        self.late = float(options["late_report_pct"]) / 100
        self.bust = float(options["bust_pct"]) / 100
        self.correct = float(options["correct_pct"]) / 100
        self.query_lag = timedelta(milliseconds=int(options["query_lag_ms"]))


def behaviour_of(options: Mapping[str, object]) -> tuple[Rules, Faults]:
    """The venue's rules and faults from Account.broker_options. ValueError with one plain sentence for a wrong one."""
    values = venue_options("simulated", options)
    plain_fees = Schedule(tiers=(Tier(maker=_part(values["fee_maker_bps"]), taker=_part(values["fee_taker_bps"])),))
    plain_slippage = Slippage(rate=_part(values["slippage_bps"]))
    rules = Rules(
        seed=int(values["seed"]),
        fees=(*map(_schedule, values["fees"]), plain_fees),
        slippage=(*map(_slippage, values["slippage"]), plain_slippage),
        funding=_part(values["funding_bps"]),
        funding_interval=timedelta(hours=int(values["funding_interval_h"])),
        splits=tuple(map(_split, values["splits"])),
        leverage_max=values["leverage_max"],
        self_trades=SelfTrades(values["self_trades"]),
        partial=float(values["partial_pct"]) / 100,
        capabilities=capabilities_of("simulated", options),
    )
    return rules, Faults(values)


def _part(bps: Decimal) -> Decimal:
    return bps / 10000


def _split(row: Mapping[str, Any]) -> Split:
    return Split(symbol=row["symbol"], new_units=row["new"], old_units=row["old"], at=row["at"])


def _schedule(row: Mapping[str, Any]) -> Schedule:
    return Schedule(
        tiers=tuple(_tier(tier) for tier in row["tiers"] or (row,)),
        tier_by=TierBy(row["tier_by"]),
        minimum=row["minimum"],
        maximum=None if row["maximum_pct"] is None else row["maximum_pct"] / 100,
        is_taken_from_received=row["taken_from"] == "RECEIVED",
        is_regulated=row["regulatory"] == "US_EQUITY",
        applies_to=frozenset(row["for"]),
    )


def _tier(row: Mapping[str, Any]) -> Tier:
    up_to = row.get("up_to")
    return Tier(
        up_to=NO_LIMIT if up_to is None else up_to,
        maker=_part(row["maker_bps"]),
        taker=_part(row["taker_bps"]),
        per_unit=row["per_unit"],
        per_order=row["per_order"],
    )


def _slippage(row: Mapping[str, Any]) -> Slippage:
    same = ("amount", "fraction", "volume_limit", "price_impact", "coefficient", "exponent", "volume", "factor")
    return Slippage(
        model=Model(row["model"]),
        rate=_part(row["bps"]),
        exit_rate=None if row["exit_bps"] is None else _part(row["exit_bps"]),
        applies_to=frozenset(row["for"]),
        **{name: row[name] for name in same},
    )
