"""Replaces at the simulated venue: what crosses them, who keeps a place in the queue, and what a crash leaves of them."""

from __future__ import annotations

import pytest

from execution.brokers.simulated import DatabaseStore, MemoryStore
from execution.core.messages import ExecType
from execution.core.ports import Refused
from risk.core.units import Side
from tests.brokers.builders import D, Told, bar, broker, limit, opened, order, quote, replace, stop, told

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.db]
X = ExecType
SELL = Side.SELL


async def test_it_calls_the_order_by_the_id_of_its_last_replace() -> None:
    venue = await opened()
    reports = Told(venue)
    await venue.submit("a1", limit("99.00", "2"))
    await venue.replace(replace("a2", "a1", qty="3", price="98.00"))
    await venue.replace(replace("a3", "a2", qty="3", price="97.00"))
    venue.on_market(quote("96.99", "97.00", after=1))
    told_of = [(r.cl_ord_id, r.exec_type) for r in await reports.next(4)]
    assert told_of == [("a1", X.NEW), ("a2", X.REPLACED), ("a3", X.REPLACED), ("a3", X.TRADE)]
    [fill] = await venue.fills_since(quote("1", "1").at)
    assert fill.cl_ord_id == "a3"
    for cl_ord_id in ("a1", "a2", "a3"):
        found = await venue.order_by_cl_ord_id(cl_ord_id, "BTCUSDT")
        assert found is not None
        assert (found.cl_ord_id, found.cum_qty) == ("a3", D(3))


async def test_it_fills_at_once_what_a_new_price_reaches() -> None:
    venue = await opened()
    reports = Told(venue)
    await venue.submit("a1", limit("99.00", "2"))
    await venue.replace(replace("a2", "a1", qty="2", price="100.50"))
    assert [told(r) for r in await reports.next(3)][1:] == [("REPLACED", "0", "0"), ("TRADE", "2", "100.00")]
    assert reports.reports[-1].liquidity == "TAKER"


@pytest.mark.parametrize(
    ("more", "status"),
    [("2", "PARTIALLY_FILLED"), ("0", "FILLED"), ("-1", "FILLED")],
    ids=["above what filled", "at what filled", "below what filled"],
)
async def test_it_counts_what_filled_while_the_replace_was_on_its_way(more: str, status: str) -> None:
    """A replace asks for a whole quantity; what filled is part of it, and one at or below it completes the order."""
    venue = await opened(partial_pct=100, seed=3)
    reports = Told(venue)
    await venue.submit("p1", order("10"))
    first = (await reports.of("p1", X.TRADE))[-1].last_qty
    assert 1 < first < 10
    await venue.replace(replace("p2", "p1", qty=str(first + D(more))))
    done = (await reports.of("p2", X.REPLACED))[-1]
    found = await venue.order_by_cl_ord_id("p2", "BTCUSDT")
    assert found is not None
    assert (found.ord_status, found.order_qty, found.cum_qty) == (status, max(first, first + D(more)), first)
    assert done.order_qty == found.order_qty
    assert [o.cl_ord_id for o in await venue.orders_open()] == (["p2"] if status == "PARTIALLY_FILLED" else [])


@pytest.mark.parametrize(
    ("change", "first"),
    [
        pytest.param({"qty": "1", "price": "99.00"}, "a", id="a smaller quantity keeps its place"),
        pytest.param({"qty": "3", "price": "99.00"}, "b", id="a larger one goes to the end"),
        pytest.param({"qty": "2", "price": "99.01"}, "b", id="so does a new price"),
    ],
)
async def test_it_keeps_the_place_in_the_queue_of_what_only_shrinks(change: dict[str, str], first: str) -> None:
    venue = await opened()
    reports = Told(venue)
    for cl_ord_id in ("a1", "b1"):
        await venue.submit(cl_ord_id, limit("99.00", "2"))
    await venue.replace(replace("a2", "a1", **change))
    venue.on_market(quote("98.00", "98.01", after=1))
    fills = [r for r in await reports.next(5) if r.exec_type is X.TRADE]
    assert fills[0].cl_ord_id.startswith(first)


async def test_it_does_not_move_a_stop_that_was_triggered() -> None:
    venue = await opened(partial_pct=100, seed=3)
    await venue.submit("e1", order("10"))
    for after in range(1, 30):
        venue.on_market(quote("99.99", "100.00", after=after))
    await venue.submit("s1", stop("98.00", "10"))
    venue.on_market(quote("97.99", "98.01", after=40))
    with pytest.raises(Refused, match="triggered"):
        await venue.replace(replace("s2", "s1", qty="10", stop_px="97.00"))


async def test_it_does_not_let_a_bar_of_the_past_fill_a_new_price() -> None:
    """The bar was over before the price changed: only a bar that began after it may fill there."""
    venue = broker()
    await venue.open()
    reports = Told(venue)
    venue.on_market(bar("100", "101", "99", "100", after=-60))
    venue.on_market(quote("100", "100", after=0))
    await venue.submit("a1", limit("90.00", "2"))
    venue.on_market(quote("100", "100", after=60))
    await venue.replace(replace("a2", "a1", qty="2", price="95.00"))
    venue.on_market(bar("100", "101", "94", "100", after=0))
    assert (await venue.positions()) == {}
    venue.on_market(bar("100", "101", "94", "100", after=60))
    assert (await reports.of("a2", X.TRADE))[-1].last_px == D("95.00")


async def test_it_refuses_changes_by_chance_and_leaves_the_order_alone() -> None:
    venue = await opened(replace_reject_pct=50)
    reports = Told(venue)
    names = [f"a{n}" for n in range(30)]
    for name in names:
        await venue.submit(name, limit("99.00", "2"))
        await venue.replace(replace(f"{name}r", name, qty="3", price="99.00"))
    answers = {r.cl_ord_id: r.exec_type for r in await reports.next(60) if r.exec_type is not X.NEW}
    refused = [name for name in names if answers[f"{name}r"] is X.REPLACE_REJECTED]
    assert 0 < len(refused) < 30
    shown = {found.cl_ord_id: found.order_qty for found in await venue.orders_open()}
    assert shown == {name: D(2) for name in refused} | {f"{name}r": D(3) for name in names if name not in refused}


async def test_it_loses_the_answers_to_replaces_before_and_after_it_did_them() -> None:
    venue = await opened(lost_answer_pct=100)
    for n in range(20):
        with pytest.raises(ConnectionResetError):
            await venue.submit(f"a{n}", limit("99.00", "2"))
        with pytest.raises(ConnectionResetError):
            await venue.replace(replace(f"r{n}", f"a{n}", qty="3", price="99.00"))
    shown = await venue.orders_open()
    assert {found.order_qty for found in shown} == {D(2), D(3)}
    assert all((found.order_qty == 3) == found.cl_ord_id.startswith("r") for found in shown)


async def test_it_replaces_nothing_where_it_was_told_so() -> None:
    venue = await opened(without=["REPLACE"])
    await venue.submit("a1", limit("99.00", "2"))
    with pytest.raises(Refused, match="does not replace"):
        await venue.replace(replace("a2", "a1", qty="3", price="99.00"))


@pytest.mark.parametrize("kind", ["memory", "database"])
async def test_it_keeps_replaces_through_a_crash(kind: str) -> None:
    memory = MemoryStore()

    def store() -> MemoryStore | DatabaseStore:
        return memory if kind == "memory" else DatabaseStore("paper")

    venue = await opened(store())
    await venue.submit("a1", limit("99.00", "2"))
    await venue.replace(replace("a2", "a1", qty="3", price="98.00"))
    await venue.close()
    venue = await opened(store())
    reports = Told(venue)
    for cl_ord_id in ("a1", "a2"):
        found = await venue.order_by_cl_ord_id(cl_ord_id, "BTCUSDT")
        assert found is not None
        assert (found.cl_ord_id, found.order_qty, found.price) == ("a2", D(3), D("98.00"))
    await venue.replace(replace("a3", "a2", qty="1", price="98.00"))
    venue.on_market(quote("97.99", "98.00", after=1))
    assert told((await reports.of("a3", X.TRADE))[-1]) == ("TRADE", "1", "98.00")
    await venue.close()
