"""Words for the venue's tests: BTCUSDT near 100, orders, prices, bars, and a venue that is shown them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec

from execution.brokers.simulated import DatabaseStore, MemoryStore, SimulatedBroker
from execution.core.messages import Adjusted, Bar, ExecType, Reported, SendCancel, SendReplace, Trade
from execution.core.ports import Broker
from risk.core.units import AssetClass, Instrument, OrdType, Quote, Side, TimeInForce
from risk.core.verdict import Approved, OrderClass

D = Decimal
NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
BTC = Instrument("BTCUSDT", AssetClass.CRYPTO_PERP, D("0.01"), D("0.001"), D(5), "USDT", "BTC")
FREE = {"latency_ms": 0, "fee_maker_bps": 0, "fee_taker_bps": 0}


def later(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def order(qty: str = "1", *, side: Side = Side.BUY, **changes: Any) -> Approved:
    """A market buy of `qty`."""
    base = Approved(
        order_class=OrderClass.ENTRY,
        account="paper",
        bot="alpha",
        symbol="BTCUSDT",
        side=side,
        order_qty=D(qty),
        ord_type=OrdType.MARKET,
        time_in_force=TimeInForce.GTC,
        price=None,
        stop_px=None,
        post_only=False,
        reduce_only=False,
        reserved=D(0),
        checks=(),
    )
    numbers = {name: D(value) for name, value in changes.items() if name in {"price", "stop_px"}}
    return msgspec.structs.replace(base, **{**changes, **numbers})


def limit(price: str, qty: str = "1", **changes: Any) -> Approved:
    return order(qty, **{"ord_type": OrdType.LIMIT, "price": price, **changes})


def stop(stop_px: str, qty: str = "1", **changes: Any) -> Approved:
    """A reduce-only sell stop."""
    base = {"ord_type": OrdType.STOP, "stop_px": stop_px, "side": Side.SELL, "reduce_only": True}
    return order(qty, **{**base, **changes})


def quote(bid: str, ask: str, *, after: float = 0) -> Quote:
    at = later(after)
    return Quote("BTCUSDT", D(bid), D(ask), D(bid), at, at, at)


def trade(price: str, *, after: float = 0) -> Trade:
    return Trade("BTCUSDT", D(price), D(1), later(after), later(after))


def bar(open_: str, high: str, low: str, close: str, *, after: float = 0) -> Bar:
    """A minute bar that begins `after` noon."""
    return Bar("BTCUSDT", 60, later(after), D(open_), D(high), D(low), D(close), D(10))


def cancel(cl_ord_id: str, *, side: Side = Side.BUY) -> SendCancel:
    return SendCancel(cl_ord_id=cl_ord_id, order_id="", symbol="BTCUSDT", side=side, order_class=OrderClass.ENTRY)


def replace(
    cl_ord_id: str, orig_cl_ord_id: str, *, qty: str = "1", price: str | None = None, stop_px: str | None = None
) -> SendReplace:
    """Change an order into these terms, which are whole: a limit order's price is told again."""
    return SendReplace(
        cl_ord_id=cl_ord_id,
        orig_cl_ord_id=orig_cl_ord_id,
        order_id="",
        symbol="BTCUSDT",
        order_qty=D(qty),
        price=None if price is None else D(price),
        stop_px=None if stop_px is None else D(stop_px),
    )


def broker(
    store: MemoryStore | DatabaseStore | None = None,
    *,
    instrument: Instrument = BTC,
    clock: Callable[[], datetime] = lambda: NOON,
    **options: Any,
) -> SimulatedBroker:
    """A venue without fees or latency, with 100,000 to spend, at noon."""
    return SimulatedBroker(
        store=store or MemoryStore(),
        options={**FREE, **options},
        instruments={instrument.symbol: instrument},
        currency=instrument.currency,
        starting_cash=D(100_000),
        clock=clock,
    )


async def opened(store: MemoryStore | DatabaseStore | None = None, **options: Any) -> SimulatedBroker:
    """The venue, open, at 99.99 / 100.00."""
    venue = broker(store, **options)
    await venue.open()
    venue.on_market(quote("99.99", "100.00"))
    return venue


class Told:
    """What a venue reported so far."""

    def __init__(self, venue: Broker) -> None:
        self._stream = venue.reports()
        self.reports: list[Reported] = []
        self.adjusted: list[Adjusted] = []

    async def until(self, is_enough: Callable[[list[Reported]], bool]) -> list[Reported]:
        async with asyncio.timeout(5):
            while not is_enough(self.reports):
                self._hear(await anext(self._stream))
        return self.reports

    def _hear(self, said: Reported | Adjusted) -> None:
        if isinstance(said, Reported):
            self.reports.append(said)
        else:
            self.adjusted.append(said)

    async def next(self, count: int = 1) -> list[Reported]:
        """The next reports."""
        enough = len(self.reports) + count
        return (await self.until(lambda seen: len(seen) >= enough))[-count:]

    async def of(self, cl_ord_id: str, *kinds: ExecType) -> list[Reported]:
        """Every report of one order, once these kinds have come."""
        wanted = set(kinds)
        seen = await self.until(lambda all_: wanted <= {r.exec_type for r in all_ if r.cl_ord_id == cl_ord_id})
        return [report for report in seen if report.cl_ord_id == cl_ord_id]

    async def rest(self) -> list[Reported]:
        """Everything, once the venue is closed."""
        async for said in self._stream:
            self._hear(said)
        return self.reports


def told(report: Reported) -> tuple[str, str, str]:
    """A report in three words: what happened, how much, at which price."""
    return report.exec_type.value, format(report.last_qty, "f"), format(report.last_px, "f")
