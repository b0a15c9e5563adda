"""positions_formulas.json: one formula each, asked of the product's own booking. What it has no notion of is said."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

from execution.core import pnl
from execution.core.positions import PositionState
from risk.core.units import ONE, ZERO, Side
from tests.cases.positions_fills import EPOCH, instrument_of
from tests.cases.reading import Case, agree, number

D = Decimal


def check(case: Case) -> None:
    method, inputs = str(case["method"]), case["inputs"]
    if method == "avg_entry_price":
        position = _opened(Side.BUY, number(inputs["current_quantity_abs"]), number(inputs["current_price_entry_average"]))
        pnl.apply_fill(
            position, side=Side.BUY, qty=number(inputs["trade_quantity_abs"]), px=number(inputs["trade_price"]), at=EPOCH
        )
        agree(case, {method: position.avg_px})
    elif method == "realized_pnl_of_close":
        agree(case, {method: _closed(inputs)})
    elif "interest" in case["expected"]:
        _without_interest(inputs)
        agree(case, {"interest": ZERO})
    elif "close_value" in case["expected"]:
        _without_interest(inputs)
        agree(case, {"close_value": _close_value(inputs)})
    elif "net_profit" in case["expected"]:
        _without_interest(inputs)
        agree(case, _net(inputs))
    else:
        pytest.xfail(f"the product has no notion of {method}")


def _opened(side: Side, qty: Decimal, px: Decimal) -> PositionState:
    position = PositionState(symbol="ONE", bot="one")
    pnl.apply_fill(position, side=side, qty=qty, px=px, at=EPOCH)
    return position


def _closed(inputs: Mapping[str, Any]) -> Decimal:
    side, qty = Side(inputs["side"]), number(inputs["closed_quantity"])
    position = _opened(side, qty, number(inputs["price_entry_average"]))
    booked = pnl.apply_fill(position, side=side.opposite, qty=qty, px=number(inputs["closed_price"]), at=EPOCH)
    return booked.realised - number(inputs["closed_fee"])


def _without_interest(inputs: Mapping[str, Any]) -> None:
    """Interest is charged where something is borrowed on margin: by a short always, by a long beyond its own money."""
    is_borrowing = inputs.get("is_short") or number(inputs.get("lev") or 1) > 1
    if inputs.get("trading_mode") == "margin" and is_borrowing:
        pytest.xfail("the product has no notion of margin interest")


def _moved(side: Side, qty: Decimal, px: Decimal, fee_rate: Decimal) -> Decimal:
    """How a fill of a spot instrument moves cash, with its fee."""
    position = PositionState(symbol="ONE", bot="one")
    booked = pnl.apply_fill(position, side=side, qty=qty, px=px, at=EPOCH)
    return pnl.cash_moved(instrument_of({}), booked, side=side, qty=qty, px=px, contract_value=ONE) - qty * px * fee_rate


def _close_value(inputs: Mapping[str, Any]) -> Decimal:
    side = Side.BUY if inputs["is_short"] else Side.SELL
    moved = _moved(
        side, number(inputs["amount"]), number(inputs["close_rate"]), number(inputs.get("fee_rate", inputs.get("fee_close")))
    )
    return abs(moved + number(inputs.get("funding_fees") or 0))


def _net(inputs: Mapping[str, Any]) -> dict[str, Decimal]:
    side = Side.SELL if inputs["is_short"] else Side.BUY
    opened = _moved(side, number(inputs["amount"]), number(inputs["open_rate"]), number(inputs["fee_open"]))
    closed = _moved(side.opposite, number(inputs["amount"]), number(inputs["close_rate"]), number(inputs["fee_close"]))
    net = opened + closed + number(inputs.get("funding_fees") or 0)
    return {"net_profit": net, "net_profit_ratio": net / abs(opened) * number(inputs.get("lev") or 1)}
