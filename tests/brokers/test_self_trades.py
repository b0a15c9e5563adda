"""Our own orders against each other: only inside the market's spread, and by the mode the account was given."""

from __future__ import annotations

import pytest

from execution.brokers.simulated import DatabaseStore, MemoryStore
from execution.core.messages import ExecType
from risk.core.units import Side, TimeInForce
from tests.brokers.builders import D, Told, broker, limit, opened, order, quote, stop, told

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.db]
X = ExecType
SELL = Side.SELL
WIDE = quote("90.00", "110.00", after=1)

#: what is told of an order after its acknowledgement
Ends = dict[str, list[tuple[str, str, str]]]


async def ends(mode: str, *orders: tuple[str, object]) -> Ends:
    """What became of orders sent in this order into a market of 90 to 110."""
    venue = broker(self_trades=mode)
    await venue.open()
    reports = Told(venue)
    venue.on_market(WIDE)
    for cl_ord_id, approved in orders:
        await venue.submit(cl_ord_id, approved)  # type: ignore[arg-type]
    await venue.close()
    found: Ends = {cl_ord_id: [] for cl_ord_id, _ in orders}
    for report in await reports.rest():
        if report.exec_type is not X.NEW:
            found[report.cl_ord_id].append(told(report))
    return found


def traded(qty: str, price: str) -> tuple[str, str, str]:
    return ("TRADE", qty, price)


EXPIRED = ("EXPIRED", "0", "0")
MAKERS = (("m1", limit("100.00", "1.2")), ("m2", limit("99.00", "1.3")), ("m3", limit("98.00", "8.1")))
TAKER = ("t", limit("98.00", "3", side=SELL))


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (
            "NONE",
            {
                "m1": [traded("1.2", "100.00")],
                "m2": [traded("1.3", "99.00")],
                "m3": [traded("0.5", "98.00")],
                "t": [traded("1.2", "100.00"), traded("1.3", "99.00"), traded("0.5", "98.00")],
            },
        ),
        ("EXPIRE_MAKER", {"m1": [EXPIRED], "m2": [EXPIRED], "m3": [EXPIRED], "t": []}),
        ("EXPIRE_TAKER", {"m1": [], "m2": [], "m3": [], "t": [EXPIRED]}),
        ("EXPIRE_BOTH", {"m1": [EXPIRED], "m2": [], "m3": [], "t": [EXPIRED]}),
        ("DECREMENT", {"m1": [EXPIRED], "m2": [EXPIRED], "m3": [], "t": [EXPIRED]}),
    ],
)
async def test_it_does_as_its_mode_says(mode: str, expected: Ends) -> None:
    assert await ends(mode, *MAKERS, TAKER) == expected


@pytest.mark.parametrize("mode", ["NONE", "EXPIRE_MAKER", "EXPIRE_TAKER", "EXPIRE_BOTH", "DECREMENT"])
@pytest.mark.parametrize(
    "taker",
    [limit("100.01", side=SELL), limit("99.00", "1"), limit("89.00", "1")],
    ids=["beyond its own limit", "on the same side", "far away"],
)
async def test_it_leaves_alone_what_does_not_meet(mode: str, taker: object) -> None:
    assert await ends(mode, ("m1", limit("100.00")), ("t", taker)) == {"m1": [], "t": []}


async def test_it_lets_the_market_come_first_where_it_is_as_good() -> None:
    """A resting order at the market's own price does not stand before it."""
    venue = await opened(self_trades="EXPIRE_BOTH")
    reports = Told(venue)
    await venue.submit("m1", limit("100.00", side=SELL))
    await venue.submit("t", order("1"))
    assert [told(r) for r in await reports.of("t", X.TRADE)][-1] == traded("1", "100.00")
    assert [o.cl_ord_id for o in await venue.orders_open()] == ["m1"]


async def test_it_goes_on_to_the_market_with_what_is_left() -> None:
    found = await ends("NONE", ("m1", limit("100.00", "1")), ("t", order("3", side=SELL)))
    assert found == {"m1": [traded("1", "100.00")], "t": [traded("1", "100.00"), traded("2", "90.00")]}


async def test_a_fill_or_kill_order_meets_nobody_unless_it_fills_whole() -> None:
    fok = limit("99.00", "3", side=SELL, time_in_force=TimeInForce.FOK)
    found = await ends("NONE", ("m1", limit("100.00", "1")), ("t", fok))
    assert found == {"m1": [], "t": [("CANCELED", "0", "0")]}


async def test_a_stop_that_triggers_takes_as_well() -> None:
    venue = broker(self_trades="EXPIRE_MAKER")
    await venue.open()
    reports = Told(venue)
    venue.on_market(quote("99.99", "100.00"))
    await venue.submit("e1", order("1"))
    await venue.submit("s1", stop("95.00"))
    venue.on_market(WIDE)
    await reports.of("s1", X.TRADE)
    await venue.submit("b1", limit("100.00"))
    await venue.submit("s2", limit("92.00", side=SELL))
    assert told((await reports.of("b1", X.EXPIRED))[-1]) == EXPIRED


async def test_it_never_reduces_a_position_beyond_zero_by_its_own_order() -> None:
    venue = broker(self_trades="NONE")
    await venue.open()
    reports = Told(venue)
    venue.on_market(quote("99.99", "100.00"))
    await venue.submit("e1", order("1"))
    venue.on_market(WIDE)
    await venue.submit("m1", limit("99.00", "3"))
    await venue.submit("x1", limit("95.00", "3", side=SELL, reduce_only=True))
    fills = await reports.of("x1", X.TRADE)
    assert told(fills[-1]) == traded("1", "99.00")


@pytest.mark.parametrize("kind", ["memory", "database"])
async def test_it_ends_an_order_whose_rest_was_prevented(kind: str) -> None:
    """What DECREMENT took never fills: the order ends when the rest of it has filled, also after a crash between the two."""
    memory = MemoryStore()

    def store() -> MemoryStore | DatabaseStore:
        return memory if kind == "memory" else DatabaseStore("paper")

    venue = broker(store(), self_trades="DECREMENT")
    await venue.open()
    venue.on_market(WIDE)
    await venue.submit("m1", limit("100.00", "6"))
    await venue.submit("t", limit("100.00", "2", side=SELL))
    await venue.close()
    venue = broker(store(), self_trades="DECREMENT")
    await venue.open()
    reports = Told(venue)
    venue.on_market(quote("99.00", "99.50", after=2))
    assert [told(r) for r in await reports.next(2)] == [traded("4", "99.50"), EXPIRED]
    found = await venue.order_by_cl_ord_id("m1", "BTCUSDT")
    assert found is not None
    assert (found.ord_status, found.cum_qty, found.order_qty) == ("EXPIRED", D(4), D(6))
    await venue.close()
