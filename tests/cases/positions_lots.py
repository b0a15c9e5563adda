"""positions_lots.json: fills matched into closed trades; and how far one trade fell from its best.

The source charges an order's fee with the order's first fill; a fee it writes again on the order's next fill is the same fee.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from execution.core.lots import ClosedTrade, Grouping, LotFill, Lots, Matching
from risk.core.units import Side
from tests.cases.reading import Case, agree, number

NOON: Final = datetime(2024, 1, 5, 12, tzinfo=UTC)
GROUPINGS: Final = {
    "FillToFill": Grouping.FILL_TO_FILL,
    "FlatToFlat": Grouping.FLAT_TO_FLAT,
    "FlatToReduced": Grouping.FLAT_TO_REDUCED,
}


def check(case: Case) -> None:
    if "price_path" in case:
        _check_drawdown(case)
        return
    first = next(event for event in case["events"] if event["type"] == "fill")
    lots = Lots(Matching(case["matching"]), GROUPINGS[case["grouping"]], contract_value=number(first.get("multiplier", 1)))
    opens = {row["after_event"]: row["open"] for row in case.get("open_checks", ())}
    for n, (event, fee) in enumerate(_with_fees(case["events"]), start=1):
        _tell(lots, event, fee)
        if n in opens:
            assert lots.is_open is opens[n], f"{case['id']}: after event {n}"
    agree(case, [_told(trade) for trade in lots.closed], at="expected_closed_trades")
    agree(case, len(lots.closed), at="n_closed_trades")


def _with_fees(events: list[Mapping[str, Any]]) -> Iterator[tuple[Mapping[str, Any], Decimal]]:
    charged: set[object] = set()
    for event in events:
        fee = Decimal(0)
        if event["type"] == "fill" and event["order_id"] not in charged:
            charged.add(event["order_id"])
            fee = number(event["fee"])
        yield event, fee


def _tell(lots: Lots, event: Mapping[str, Any], fee: Decimal) -> None:
    if event["type"] == "fill":
        lots.book(_fill(number(event["signed_qty"]), number(event["px"]), fee, str(event["order_id"]), number(event["t_min"])))
    elif event["type"] == "split":
        lots.split(Decimal(1), number(event["factor"]))
    else:
        lots.mark(number(event["px"]))


def _fill(signed: Decimal, px: Decimal, fee: Decimal, order_id: str, minute: Decimal) -> LotFill:
    return LotFill(
        cl_ord_id=order_id,
        side=Side.BUY if signed > 0 else Side.SELL,
        last_qty=abs(signed),
        last_px=px,
        fee=fee,
        at=NOON + timedelta(minutes=float(minute)),
    )


def _told(trade: ClosedTrade) -> dict[str, object]:
    return {
        "entry_t_min": _minute(trade.entry_at),
        "exit_t_min": _minute(trade.exit_at),
        "entry_px": trade.entry_px,
        "exit_px": trade.exit_px,
        "direction": "Long" if trade.side is Side.BUY else "Short",
        "abs_qty": trade.qty,
        "gross_pnl": trade.realised,
        "fees": trade.fees,
        "mae_ccy": trade.mae,
        "mfe_ccy": trade.mfe,
        "order_ids": list(trade.cl_ord_ids),
    }


def _minute(at: datetime) -> Decimal:
    return Decimal((at - NOON) // timedelta(microseconds=1)) / 60_000_000


def _check_drawdown(case: Case) -> None:
    first, *marks, last = (number(px) for px in case["price_path"])
    sign = 1 if case["side"] == "LONG" else -1
    qty = number(case["qty"])
    lots = Lots(Matching.FIFO, Grouping.FLAT_TO_FLAT)
    lots.book(_fill(sign * qty, first, Decimal(0), "1", Decimal(0)))
    for px in marks:
        lots.mark(px)
    lots.book(_fill(-sign * qty, last, Decimal(0), "2", Decimal(1)))
    (trade,) = lots.closed
    agree(case, {"trade_drawdown_per_share": trade.drawdown / qty, "trade_drawdown_ccy": trade.drawdown})
