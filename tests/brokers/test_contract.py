"""What every broker must do. The adapters are listed once, in `stages`; a test that only one of them can pass belongs in its own file.

What an adapter cannot do it must not claim, and where it claims nothing the test of it is skipped.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from execution import brokers
from execution.brokers import open_broker
from execution.core.messages import BooksBy, ExecType, Reported
from execution.core.ports import Broker, CancelsAll, Duplicate, LinkDown, NotSent, Refused, TakesMarket
from execution.core.venues import BOOKS_BY, VENUES
from risk.core.units import OrdType, Side
from risk.core.verdict import Approved, Capability
from tests.brokers.builders import BTC, NOON, D, Told, broker, cancel, limit, order, replace, stop
from tests.brokers.stages import STAGES, Stage

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.db]
X = ExecType


@pytest.fixture(params=list(STAGES))
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    async with STAGES[request.param]() as stage:
        yield stage


@pytest.fixture
def venue(stage: Stage) -> Broker:
    return stage.broker


@pytest.fixture
def told(venue: Broker) -> Told:
    return Told(venue)


def needs(venue: Broker, *capabilities: Capability) -> None:
    """Skip where the venue does not claim to be able."""
    if missing := [capability.value for capability in capabilities if capability not in venue.capabilities]:
        pytest.skip(f"the venue has no {', '.join(missing)}")


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


@pytest.mark.parametrize("name", sorted(VENUES))
def test_its_readme_names_the_one_source_its_fills_are_booked_by(name: str) -> None:
    words = {BooksBy.TRADE_ID: "**Booking source**: trade ids", BooksBy.CUM_QTY: "**Booking source**: cumulative quantity"}
    readme = Path(brokers.__file__).parent / name / "README.md"
    assert words[BOOKS_BY[name]] in readme.read_text()


# --- orders --------------------------------------------------------------------------------------------------------------------


async def test_it_acknowledges_then_fills(venue: Broker, told: Told) -> None:
    await venue.submit("a1", order("2"))
    new, fill = await told.next(2)
    assert (new.exec_type, fill.exec_type) == (X.NEW, X.TRADE)
    assert new.order_id == fill.order_id != ""
    assert (fill.last_qty, fill.last_px, fill.cum_qty) == (D(2), D("100.00"), D(2))
    assert (fill.symbol, fill.side, fill.fee_currency) == ("BTCUSDT", Side.BUY, "USDT")
    assert fill.transact_at == NOON
    assert await venue.positions() == {"BTCUSDT": D(2)}
    assert await venue.balances() == {"USDT": D(100_000) - D(200)}


async def test_it_shows_working_orders_until_they_are_canceled(venue: Broker, told: Told) -> None:
    await venue.submit("a1", limit("99.00"))
    [found] = await venue.orders_open()
    assert (found.cl_ord_id, found.price, found.ord_status) == ("a1", D("99.00"), "NEW")
    await venue.cancel(cancel("a1"))
    assert (await told.of("a1", X.CANCELED))[-1].exec_type is X.CANCELED
    assert await venue.orders_open() == []


async def test_it_fills_a_resting_order_when_the_market_comes(stage: Stage, told: Told) -> None:
    await stage.broker.submit("a1", limit("99.00", "2"))
    stage.price("98.99", "99.00")
    [_, fill] = await told.of("a1", X.NEW, X.TRADE)
    assert (fill.last_qty, fill.last_px, fill.liquidity) == (D(2), D("99.00"), "MAKER")


async def test_it_finds_an_order_by_our_id_whatever_became_of_it(venue: Broker, told: Told) -> None:
    needs(venue, Capability.QUERY_BY_CLIENT_ID)
    await venue.submit("a1", order("2"))
    await told.of("a1", X.TRADE)
    found = await venue.order_by_cl_ord_id("a1", "BTCUSDT")
    assert found is not None
    assert (found.cum_qty, found.ord_status, found.symbol, found.side, found.order_qty) == (
        D(2),
        "FILLED",
        "BTCUSDT",
        Side.BUY,
        D(2),
    )


async def test_it_knows_nothing_of_ids_it_never_saw(venue: Broker, told: Told) -> None:
    assert await venue.order_by_cl_ord_id("never", "BTCUSDT") is None
    await venue.cancel(cancel("never"))
    refused = (await told.of("never", X.CANCEL_REJECTED))[-1]
    assert refused.text == "unknown order"
    assert await venue.orders_open() == []


async def test_it_refuses_a_client_id_twice(venue: Broker, told: Told) -> None:
    """Also for an order that is long over: an id is submitted once in the life of an account."""
    await venue.submit("a1", order("2"))
    await told.of("a1", X.TRADE)
    with pytest.raises(Duplicate, match="duplicate"):
        await venue.submit("a1", order("2"))
    await venue.submit("a2", limit("99.00"))
    with pytest.raises(Duplicate, match="duplicate"):
        await venue.submit("a2", limit("99.00"))
    assert await venue.positions() == {"BTCUSDT": D(2)}


async def test_it_refuses_one_of_two_orders_with_one_id_in_flight(venue: Broker) -> None:
    answers = await asyncio.gather(venue.submit("a1", order("2")), venue.submit("a1", order("2")), return_exceptions=True)
    assert [type(answer) for answer in answers] == [type(None), Duplicate]
    assert await venue.positions() == {"BTCUSDT": D(2)}


async def test_it_answers_a_cancel_of_what_is_over(venue: Broker, told: Told) -> None:
    await venue.submit("a1", order())
    await told.of("a1", X.TRADE)
    await venue.cancel(cancel("a1"))
    refused = (await told.of("a1", X.CANCEL_REJECTED))[-1]
    assert (refused.cum_qty, refused.text) == (D(1), "the order is FILLED")


async def test_it_protects_a_position_with_reduce_only_legs(stage: Stage, told: Told) -> None:
    venue = stage.broker
    needs(venue, Capability.STOP_ORDERS, Capability.REDUCE_ONLY)
    await venue.submit("a1", order("2"))
    await venue.submit("s1", stop("98.00", "2"))
    await venue.submit("t1", limit("104.00", "2", side=Side.SELL, reduce_only=True))
    stage.price("104.00", "104.01")
    assert (await told.of("t1", X.TRADE))[-1].last_px == D("104.00")
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
async def test_it_refuses_what_a_venue_refuses(venue: Broker, wrong: Approved, why: str) -> None:
    with pytest.raises(Refused, match=why):
        await venue.submit("a1", wrong)
    assert await venue.order_by_cl_ord_id("a1", "BTCUSDT") is None
    assert await venue.orders_open() == []


# --- replaces ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({"qty": "3", "price": "99.00"}, (D(3), D("99.00"))),
        ({"qty": "2", "price": "98.50"}, (D(2), D("98.50"))),
        ({"qty": "1", "price": "98.00"}, (D(1), D("98.00"))),
    ],
)
async def test_it_replaces_a_limit_in_place(venue: Broker, told: Told, change: dict[str, str], shown: tuple[object, ...]) -> None:
    needs(venue, Capability.REPLACE)
    await venue.submit("a1", limit("99.00", "2"))
    [new] = await told.of("a1", X.NEW)
    await venue.replace(replace("a2", "a1", **change))
    done = await replaced(told, "a1", "a2")
    assert (done.order_qty, done.price, done.order_id) == (*shown, new.order_id)
    [found] = await venue.orders_open()
    assert (found.order_qty, found.price, found.order_id) == (*shown, new.order_id)


async def replaced(told: Told, *names: str) -> Reported:
    """The venue's word that a replace was done, under whichever of the ids it keeps."""
    seen = await told.until(lambda all_: any(r.exec_type is X.REPLACED and r.cl_ord_id in names for r in all_))
    return next(report for report in reversed(seen) if report.exec_type is X.REPLACED)


async def test_it_replaces_a_stop_in_place(stage: Stage, told: Told) -> None:
    venue = stage.broker
    needs(venue, Capability.REPLACE, Capability.STOP_ORDERS, Capability.REDUCE_ONLY)
    await venue.submit("e1", order("2"))
    await venue.submit("s1", stop("98.00", "1"))
    await venue.replace(replace("s2", "s1", qty="2", stop_px="99.50"))
    done = await replaced(told, "s1", "s2")
    stage.price("99.49", "99.51")
    [fill] = [r for r in await told.of(done.cl_ord_id, X.REPLACED, X.TRADE) if r.exec_type is X.TRADE]
    assert (fill.last_qty, fill.last_px) == (D(2), D("99.49"))
    assert await venue.positions() == {}


async def test_it_fills_cancels_and_finds_a_replaced_order(stage: Stage, told: Told) -> None:
    """Under the id it is known by now; and who asks by an older one finds the same order."""
    venue = stage.broker
    needs(venue, Capability.REPLACE, Capability.QUERY_BY_CLIENT_ID)
    await venue.submit("a1", limit("99.00", "2"))
    await venue.replace(replace("a2", "a1", qty="3", price="98.00"))
    name = (await replaced(told, "a1", "a2")).cl_ord_id
    await venue.replace(replace("a3", name, qty="4", price="98.00"))
    name = (await replaced(told, "a1", "a3")).cl_ord_id
    found = [await venue.order_by_cl_ord_id(cl_ord_id, "BTCUSDT") for cl_ord_id in ("a1", "a3")]
    assert {(o.cl_ord_id, o.order_qty) for o in found if o is not None} == {(name, D(4))}
    stage.price("97.99", "98.00")
    fill = (await told.of(name, X.TRADE))[-1]
    assert (fill.last_qty, fill.last_px) == (D(4), D("98.00"))
    await venue.cancel(cancel(name))
    assert (await told.of(name, X.CANCEL_REJECTED))[-1].text == "the order is FILLED"


async def test_it_answers_a_replace_of_what_is_over_or_never_was(venue: Broker, told: Told) -> None:
    needs(venue, Capability.REPLACE)
    await venue.submit("a1", order())
    await told.of("a1", X.TRADE)
    await venue.replace(replace("a2", "a1", qty="2"))
    assert (await told.of("a2", X.REPLACE_REJECTED))[-1].text == "the order is FILLED"
    await venue.replace(replace("b2", "never", qty="2"))
    assert (await told.of("b2", X.REPLACE_REJECTED))[-1].text == "unknown order"
    assert await venue.positions() == {"BTCUSDT": D(1)}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"qty": "0.0001", "price": "99.00"}, "lot"),
        ({"qty": "1", "price": "99.001"}, "tick"),
        ({"qty": "0.001", "price": "99.00"}, "minimum"),
        ({"qty": "1"}, "type"),
    ],
)
async def test_it_refuses_a_wrong_replace_and_changes_nothing(venue: Broker, change: dict[str, str], why: str) -> None:
    needs(venue, Capability.REPLACE)
    await venue.submit("a1", limit("99.00", "2"))
    with pytest.raises(Refused, match=why):
        await venue.replace(replace("a2", "a1", **change))
    [found] = await venue.orders_open()
    assert (found.cl_ord_id, found.order_qty, found.price) == ("a1", D(2), D("99.00"))


# --- queries -------------------------------------------------------------------------------------------------------------------


async def test_it_lists_all_open_orders_however_many(venue: Broker) -> None:
    """More than a page of any venue: a list that stops early hides working orders."""
    wanted = {f"o{n}": D("90.00") + n * D("0.01") for n in range(120)}
    for cl_ord_id, price in wanted.items():
        await venue.submit(cl_ord_id, limit(str(price)))
    assert {found.cl_ord_id: found.price for found in await venue.orders_open()} == wanted


async def test_it_lists_all_fills_however_many(venue: Broker, told: Told) -> None:
    for n in range(120):
        await venue.submit(f"o{n}", order())
    streamed = [r.exec_id for r in await told.next(240) if r.exec_type is X.TRADE]
    listed = await venue.fills_since(NOON - timedelta(seconds=1))
    assert [fill.exec_id for fill in listed] == streamed
    assert len(set(streamed)) == 120


async def test_it_lists_fills_as_the_stream_told_them(venue: Broker, told: Told) -> None:
    await venue.submit("a1", order("2"))
    await venue.submit("a2", order("1", side=Side.SELL))
    streamed = [report for report in await told.next(4) if report.exec_type is X.TRADE]
    listed = await venue.fills_since(NOON - timedelta(seconds=1))
    same = ("cl_ord_id", "order_id", "exec_id", "symbol", "side", "last_qty", "last_px", "fee", "fee_currency", "liquidity")
    assert [[getattr(fill, name) for name in same] for fill in listed] == [
        [getattr(report, name) for name in same] for report in streamed
    ]


async def test_it_lists_fills_since_a_moment(venue: Broker, told: Told) -> None:
    await venue.submit("a1", order())
    await told.of("a1", X.TRADE)
    assert len(await venue.fills_since(NOON)) == 1
    assert await venue.fills_since(NOON + timedelta(seconds=1)) == []


# --- the link ------------------------------------------------------------------------------------------------------------------


async def test_it_sends_nothing_and_answers_nothing_while_it_is_closed() -> None:
    venue = broker()
    with pytest.raises(NotSent):
        await venue.submit("a1", order())
    with pytest.raises(NotSent):
        await venue.cancel(cancel("a1"))
    with pytest.raises(NotSent):
        await venue.replace(replace("a2", "a1"))
    for question in (venue.orders_open, venue.positions, venue.balances):
        with pytest.raises(LinkDown):
            await question()


async def test_it_ends_its_reports_when_it_is_closed() -> None:
    venue = broker()
    await venue.open()
    await venue.close()
    assert [report async for report in venue.reports()] == []


# --- everything at once --------------------------------------------------------------------------------------------------------


async def canceled_at_once(venue: Broker, told: Told, symbol: str) -> None:
    needs(venue, Capability.MASS_CANCEL)
    assert isinstance(venue, CancelsAll)
    for n in range(5):
        await venue.submit(f"o{n}", limit("99.00"))
    await venue.cancel_all(symbol)
    assert await venue.orders_open() == []
    ends = await told.until(lambda all_: sum(r.exec_type is X.CANCELED for r in all_) == 5)
    assert {r.cl_ord_id for r in ends} == {f"o{n}" for n in range(5)}


async def test_it_cancels_everything_at_once_and_reports_each(venue: Broker, told: Told) -> None:
    await canceled_at_once(venue, told, "")


async def test_it_cancels_a_symbol_at_once_and_no_other(venue: Broker, told: Told) -> None:
    await canceled_at_once(venue, told, "BTCUSDT")
    assert isinstance(venue, CancelsAll)
    await venue.submit("a1", limit("99.00"))
    await venue.cancel_all("ETHUSDT")
    assert [o.cl_ord_id for o in await venue.orders_open()] == ["a1"]
