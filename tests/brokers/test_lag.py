"""An eventually consistent venue: its answers are those of a moment ago, its stream is not."""

from __future__ import annotations

from datetime import datetime

import pytest

from execution.core.messages import ExecType
from execution.core.orders import OrdStatus
from tests.brokers.builders import NOON, D, Told, cancel, later, limit, opened, order, quote, replace

X = ExecType


class Clock:
    """The venue's clock, set by hand."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now

    def at(self, seconds: float) -> None:
        self.now = later(seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def test_it_shows_an_order_only_after_a_while(clock: Clock) -> None:
    venue = await opened(clock=clock, query_lag_ms=1000)
    assert venue.is_eventually_consistent
    told = Told(venue)
    await venue.submit("a1", limit("99.00", "2"))
    assert (await told.next())[0].exec_type is X.NEW
    assert (await venue.orders_open(), await venue.order_by_cl_ord_id("a1", "BTCUSDT")) == ([], None)
    clock.at(0.999)
    assert await venue.orders_open() == []
    clock.at(1)
    [found] = await venue.orders_open()
    assert found == await venue.order_by_cl_ord_id("a1", "BTCUSDT")


async def test_it_still_shows_what_is_over_and_what_it_was(clock: Clock) -> None:
    venue = await opened(clock=clock, query_lag_ms=1000)
    await venue.submit("a1", limit("99.00", "2"))
    await venue.submit("b1", limit("98.00", "2"))
    clock.at(2)
    await venue.cancel(cancel("a1"))
    await venue.replace(replace("b2", "b1", qty="3", price="98.00"))
    assert {(o.cl_ord_id, o.order_qty) for o in await venue.orders_open()} == {("a1", D(2)), ("b1", D(2))}
    before = await venue.order_by_cl_ord_id("b1", "BTCUSDT")
    assert before is not None
    assert (before.cl_ord_id, before.order_qty) == ("b1", D(2))
    assert await venue.order_by_cl_ord_id("b2", "BTCUSDT") is None
    clock.at(3)
    assert [(o.cl_ord_id, o.order_qty) for o in await venue.orders_open()] == [("b2", D(3))]
    gone = await venue.order_by_cl_ord_id("a1", "BTCUSDT")
    assert gone is not None
    assert gone.ord_status == OrdStatus.CANCELED


async def test_it_hides_fills_positions_and_money_together(clock: Clock) -> None:
    venue = await opened(clock=clock, query_lag_ms=1000)
    await venue.submit("a1", order("2"))
    clock.at(0.5)
    await venue.submit("a2", order("3"))
    assert (await venue.fills_since(NOON), await venue.positions()) == ([], {})
    assert await venue.balances() == {"USDT": D(100_000)}
    clock.at(1.2)
    assert [fill.cl_ord_id for fill in await venue.fills_since(NOON)] == ["a1"]
    assert (await venue.positions(), await venue.balances()) == ({"BTCUSDT": D(2)}, {"USDT": D(100_000) - 200})
    clock.at(1.5)
    assert [fill.cl_ord_id for fill in await venue.fills_since(NOON)] == ["a1", "a2"]
    assert (await venue.positions(), await venue.balances()) == ({"BTCUSDT": D(5)}, {"USDT": D(100_000) - 500})


async def test_a_bust_is_hidden_for_a_while_as_well(clock: Clock) -> None:
    venue = await opened(clock=clock, query_lag_ms=1000, bust_pct=100, bust_after_ms=0)
    told = Told(venue)
    await venue.submit("a1", order("2"))
    clock.at(5)
    venue.on_market(quote("99.99", "100.00", after=5))
    await told.of("a1", X.TRADE_CANCEL)
    found = await venue.order_by_cl_ord_id("a1", "BTCUSDT")
    assert found is not None
    assert (found.ord_status, found.cum_qty) == ("FILLED", D(2))
    clock.at(6)
    found = await venue.order_by_cl_ord_id("a1", "BTCUSDT")
    assert found is not None
    assert (found.ord_status, found.cum_qty) == ("CANCELED", D(0))


async def test_it_answers_at_once_unless_told() -> None:
    venue = await opened()
    assert not venue.is_eventually_consistent
    await venue.submit("a1", limit("99.00"))
    assert [o.cl_ord_id for o in await venue.orders_open()] == ["a1"]
