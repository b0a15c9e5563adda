"""Trades that the venue takes back or corrects: the same words on the stream and in the history, and books that are right after them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from execution.brokers.simulated import DatabaseStore, MemoryStore
from execution.core.messages import ExecType, VenueFill
from risk.core.units import Side
from tests.brokers.builders import NOON, D, Told, limit, opened, order, quote

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.db]
X = ExecType
NOW: dict[str, Any] = {"bust_after_ms": 0}


def money(executions: list[VenueFill]) -> tuple[Decimal, Decimal]:
    """Cash and position as the history of executions tells them: a bust undoes its fill, a correction takes its place."""
    standing: dict[str, VenueFill] = {}
    for execution in executions:
        standing.pop(execution.exec_ref_id, None)
        if execution.exec_type is not X.TRADE_CANCEL:
            standing[execution.exec_id] = execution
    moved = sum((f.side.sign * f.last_qty * f.last_px + f.fee for f in standing.values()), D(0))
    return D(100_000) - moved, sum((f.side.sign * f.last_qty for f in standing.values()), D(0))


@pytest.mark.parametrize("kind", ["memory", "database"])
@pytest.mark.parametrize("options", [{"bust_pct": 30}, {"correct_pct": 30}, {"bust_pct": 20, "correct_pct": 20}])
async def test_it_tells_the_same_on_the_stream_and_in_its_books(kind: str, options: dict[str, Any]) -> None:
    memory = MemoryStore()

    def store() -> MemoryStore | DatabaseStore:
        return memory if kind == "memory" else DatabaseStore("paper")

    venue = await opened(store(), fee_taker_bps=5, **NOW, **options)
    reports = Told(venue)
    for n in range(40):
        await venue.submit(f"o{n}", order("2" if n % 3 else "3", side=Side.SELL if n % 2 else Side.BUY))
    await reports.until(lambda all_: sum(r.exec_type in (X.TRADE_CANCEL, X.TRADE_CORRECT) for r in all_) >= 5)
    await venue.close()
    told = [r for r in await reports.rest() if r.exec_type is not X.NEW]

    venue = await opened(store())
    listed = list(await venue.fills_since(NOON))
    same = ("exec_type", "exec_id", "exec_ref_id", "cl_ord_id", "last_qty", "last_px", "fee")
    assert [[getattr(f, name) for name in same] for f in listed] == [[getattr(r, name) for name in same] for r in told]
    cash, position = money(listed)
    assert await venue.balances() == {"USDT": cash}
    assert await venue.positions() == ({"BTCUSDT": position} if position else {})
    await venue.close()


async def test_it_works_on_for_what_was_busted_of_a_working_order() -> None:
    venue = await opened(bust_pct=100, partial_pct=100, seed=3, **NOW)
    reports = Told(venue)
    await venue.submit("a1", limit("100.00", "10"))
    bust = (await reports.of("a1", X.TRADE_CANCEL))[-1]
    fill = next(r for r in reports.reports if r.exec_type is X.TRADE)
    assert (bust.exec_ref_id, bust.last_qty, bust.cum_qty, bust.leaves_qty) == (fill.exec_id, fill.last_qty, D(0), D(10))
    assert bust.exec_id != fill.exec_id
    [found] = await venue.orders_open()
    assert (found.ord_status, found.cum_qty) == ("NEW", D(0))
    assert await venue.positions() == {}


async def test_it_leaves_over_what_is_over() -> None:
    venue = await opened(bust_pct=100, **NOW)
    reports = Told(venue)
    await venue.submit("a1", order("2"))
    bust = (await reports.of("a1", X.TRADE_CANCEL))[-1]
    assert (bust.cum_qty, bust.leaves_qty) == (D(0), D(0))
    found = await venue.order_by_cl_ord_id("a1", "BTCUSDT")
    assert found is not None
    assert (found.ord_status, found.cum_qty) == ("CANCELED", D(0))
    assert await venue.balances() == {"USDT": D(100_000)}


async def test_it_corrects_by_a_few_ticks() -> None:
    venue = await opened(correct_pct=100, **NOW)
    reports = Told(venue)
    await venue.submit("a1", order("2"))
    corrected = (await reports.of("a1", X.TRADE_CORRECT))[-1]
    away = abs(corrected.last_px - D("100.00"))
    assert D("0.01") <= away <= D("0.05")
    assert (corrected.last_qty, corrected.cum_qty) == (D(2), D(2))
    assert await venue.balances() == {"USDT": D(100_000) - 2 * corrected.last_px}


async def test_it_takes_back_nothing_unless_told() -> None:
    venue = await opened()
    reports = Told(venue)
    for n in range(40):
        await venue.submit(f"o{n}", order("1"))
    venue.on_market(quote("99.99", "100.00", after=9))
    await venue.close()
    assert {r.exec_type for r in await reports.rest()} == {X.NEW, X.TRADE}
