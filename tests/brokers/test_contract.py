"""What every broker must do. The adapters are listed once; a test that only one of them can pass belongs in its own file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from execution.brokers import open_broker
from execution.brokers.simulated import DatabaseStore, MemoryStore, SimulatedBroker
from execution.core.messages import ExecType
from execution.core.ports import Broker, Duplicate, NotSent, Refused, TakesMarket
from execution.core.venues import VENUES
from risk.core.units import OrdType, Side
from risk.core.verdict import Capability
from tests.brokers.builders import BTC, NOON, D, Told, broker, cancel, limit, order, quote, stop

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.db]


@pytest.fixture(params=["memory", "database"])
async def venue(request: pytest.FixtureRequest) -> AsyncIterator[SimulatedBroker]:
    """A venue whose price is 99.99 / 100.00."""
    venue = broker(MemoryStore() if request.param == "memory" else DatabaseStore("paper"))
    await venue.open()
    venue.on_market(quote("99.99", "100.00"))
    yield venue
    await venue.close()


async def test_it_is_what_its_name_promises() -> None:
    venue: Broker = open_broker(
        "simulated",
        account="paper",
        options={},
        instruments={"BTCUSDT": BTC},
        currency="USDT",
        starting_cash=D(1),
        clock=lambda: NOON,
    )
    assert venue.capabilities == VENUES["simulated"]
    assert isinstance(venue, TakesMarket)


async def test_it_acknowledges_then_fills(venue: SimulatedBroker) -> None:
    await venue.submit("a1", order("2"))
    new, fill = await Told(venue).next(2)
    assert (new.exec_type, fill.exec_type) == (ExecType.NEW, ExecType.TRADE)
    assert new.order_id == fill.order_id != ""
    assert (fill.last_qty, fill.last_px, fill.cum_qty) == (D(2), D("100.00"), D(2))
    assert fill.transact_at == NOON
    assert await venue.positions() == {"BTCUSDT": D(2)}
    assert await venue.balances() == {"USDT": D(100_000) - D(200)}


async def test_it_shows_working_orders_until_they_are_canceled(venue: SimulatedBroker) -> None:
    told = Told(venue)
    await venue.submit("a1", limit("99.00"))
    [found] = await venue.orders_open()
    assert (found.cl_ord_id, found.price, found.ord_status) == ("a1", D("99.00"), "NEW")
    await venue.cancel(cancel("a1"))
    assert (await told.of("a1", ExecType.CANCELED))[-1].exec_type is ExecType.CANCELED
    assert await venue.orders_open() == []


async def test_it_finds_an_order_by_our_id_whatever_became_of_it(venue: SimulatedBroker) -> None:
    await venue.submit("a1", order("2"))
    await Told(venue).of("a1", ExecType.TRADE)
    found = await venue.order_by_cl_ord_id("a1", "BTCUSDT")
    assert found is not None
    assert (found.cum_qty, found.ord_status, found.symbol, found.side, found.order_qty) == (
        D(2),
        "FILLED",
        "BTCUSDT",
        Side.BUY,
        D(2),
    )
    assert await venue.order_by_cl_ord_id("never", "BTCUSDT") is None


async def test_it_refuses_a_client_id_twice(venue: SimulatedBroker) -> None:
    """Also for an order that is long over: an id is submitted once in the life of an account."""
    told = Told(venue)
    await venue.submit("a1", order("2"))
    await told.of("a1", ExecType.TRADE)
    with pytest.raises(Duplicate, match="duplicate"):
        await venue.submit("a1", order("2"))
    await venue.submit("a2", limit("99.00"))
    with pytest.raises(Duplicate, match="duplicate"):
        await venue.submit("a2", limit("99.00"))
    assert await venue.positions() == {"BTCUSDT": D(2)}


async def test_it_refuses_one_of_two_orders_with_one_id_in_flight(venue: SimulatedBroker) -> None:
    answers = await asyncio.gather(venue.submit("a1", order("2")), venue.submit("a1", order("2")), return_exceptions=True)
    assert [type(answer) for answer in answers] == [type(None), Duplicate]
    assert await venue.positions() == {"BTCUSDT": D(2)}


async def test_it_answers_a_cancel_of_what_is_over(venue: SimulatedBroker) -> None:
    told = Told(venue)
    await venue.submit("a1", order())
    await told.of("a1", ExecType.TRADE)
    await venue.cancel(cancel("a1"))
    refused = (await told.of("a1", ExecType.CANCEL_REJECTED))[-1]
    assert (refused.cum_qty, refused.text) == (D(1), "the order is FILLED")
    await venue.cancel(cancel("never"))
    assert (await told.of("never", ExecType.CANCEL_REJECTED))[-1].text == "unknown order"


async def test_it_lists_fills_with_the_ids_of_the_stream(venue: SimulatedBroker) -> None:
    told = Told(venue)
    for cl_ord_id in ("a1", "a2", "a3"):
        await venue.submit(cl_ord_id, order())
    streamed = [(r.cl_ord_id, r.exec_id) for r in await told.next(6) if r.exec_type is ExecType.TRADE]
    listed = await venue.fills_since(NOON - timedelta(seconds=1))
    assert [(fill.cl_ord_id, fill.exec_id) for fill in listed] == streamed
    assert len({exec_id for _, exec_id in streamed}) == 3
    assert await venue.fills_since(NOON + timedelta(seconds=1)) == []


async def test_it_protects_a_position_with_reduce_only_legs(venue: SimulatedBroker) -> None:
    assert {Capability.STOP_ORDERS, Capability.REDUCE_ONLY} <= venue.capabilities
    told = Told(venue)
    await venue.submit("a1", order("2"))
    await venue.submit("s1", stop("98.00", "2"))
    await venue.submit("t1", limit("104.00", "2", side=Side.SELL, reduce_only=True))
    venue.on_market(quote("104.00", "104.01"))
    assert (await told.of("t1", ExecType.TRADE))[-1].last_px == D("104.00")
    assert [found.cl_ord_id for found in await venue.orders_open()] == ["s1"]
    assert await venue.positions() == {}


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (order("0.0001"), "lot"),
        (order("-1"), "lot"),
        (order(ord_type=OrdType.LIMIT), "needs a price"),
        (order(ord_type=OrdType.STOP), "needs a stop price"),
        (limit("99.001"), "tick"),
        (limit("99.00", "0.001"), "minimum"),
        (order(symbol="NOSUCH"), "symbol"),
        (limit("100.00", post_only=True), "post-only"),
        (stop("98.00"), "reduce-only"),
        (order("100000"), "margin"),
    ],
)
async def test_it_refuses_what_a_venue_refuses(venue: SimulatedBroker, wrong: object, why: str) -> None:
    with pytest.raises(Refused, match=why):
        await venue.submit("a1", wrong)  # type: ignore[arg-type]
    assert await venue.order_by_cl_ord_id("a1", "BTCUSDT") is None
    assert await venue.orders_open() == []


async def test_it_sends_nothing_while_it_is_closed() -> None:
    with pytest.raises(NotSent):
        await broker().submit("a1", order())


async def test_it_ends_its_reports_when_it_is_closed() -> None:
    venue = broker()
    await venue.open()
    await venue.close()
    assert [report async for report in venue.reports()] == []
