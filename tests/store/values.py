"""Words for core values that the store writes."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec

from execution.core.messages import Effect, Event, LinkChanged, LinkKind, Publish, SignalKind, SignalRecord
from execution.core.orders import OrderState, Purpose
from execution.core.positions import FillState
from execution.core.state import CORE_VERSION
from execution.store.journal import Entry, Part
from execution.store.projections import Projection
from risk.core.units import OrdType, Side, TimeInForce
from risk.core.verdict import Check, OrderClass, Reason
from tests.conftest import NOON

D = Decimal


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def order(cl_ord_id: str = "o1", **fields: Any) -> OrderState:
    given: dict[str, Any] = {
        "bot": "trend",
        "symbol": "BTCUSDT",
        "side": Side.BUY,
        "ord_type": OrdType.LIMIT,
        "time_in_force": TimeInForce.GTC,
        "order_class": OrderClass.ENTRY,
        "purpose": Purpose.ENTRY,
        "order_qty": D("0.000123456789012345"),
        "price": D("61000.1"),
        "created_at": NOON,
        "updated_at": NOON,
    }
    return OrderState(cl_ord_id=cl_ord_id, **{**given, **fields})


def fill(exec_id: str = "x1", **fields: Any) -> FillState:
    given: dict[str, Any] = {
        "cl_ord_id": "o1",
        "order_id": "v1",
        "bot": "trend",
        "symbol": "BTCUSDT",
        "side": Side.BUY,
        "last_qty": D("0.5"),
        "last_px": D("61000.123456789012345"),
        "fee": D("0.01"),
        "fee_currency": "USDT",
        "liquidity": "TAKER",
        "realised": D(0),
        "at": NOON,
        "transact_at": NOON,
    }
    return FillState(exec_id=exec_id, **{**given, **fields})


def signal(n: int, reason: Reason | None = Reason.HALTED, **fields: Any) -> SignalRecord:
    given: dict[str, Any] = {
        "at": at(n),
        "market_at": at(n),
        "bot": "trend",
        "symbol": "BTCUSDT",
        "signal": SignalKind.BUY,
        "side": Side.BUY,
        "order_class": OrderClass.ENTRY,
        "ord_type": OrdType.MARKET,
        "reason": reason,
        "text": "the firm is halted",
        "checks": (Check("Halts", is_passed=False, level="firm", detail="the firm is halted", reason=reason),),
        "order_qty": None,
        "price": None,
        "quote": None,
        "stop_loss": None,
        "take_profit": None,
        "note": "",
        "settings_version": 1,
    }
    return SignalRecord(decision_id=f"d{n}", **{**given, **fields})


def publish(kind: str, key: str, body: Any) -> Publish:
    return Publish(kind=kind, key=key, body=msgspec.msgpack.encode(body))


def event(seq: int) -> Event:
    return LinkChanged(at=at(seq), link=LinkKind.PRICES, is_up=bool(seq % 2))


def entry(seq: int) -> Entry:
    return Entry(seq, at(seq), event(seq), f"digest {seq}".encode(), CORE_VERSION)


def part(account_id: int, *entries: Entry, token: int = 1, effects: tuple[Effect, ...] = (), by: str = "", **fields: Any) -> Part:
    projection = Projection(account_id)
    seq = entries[-1].seq if entries else 0
    projection.add(effects, seq=seq, at=at(seq), by=by)
    return Part(account_id, token, "e1", entries, projection, **fields)
