"""The venue outlives us: what it took, filled and charged is in its own tables before anybody is told."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from django.db import connection

from execution.brokers.simulated import DatabaseStore, MemoryStore
from execution.brokers.simulated.store import Batch, Then
from execution.core.messages import ExecType
from execution.core.orders import OrdStatus
from execution.paper import PaperBalance, PaperFill, PaperOrder
from risk.core.units import Side, TimeInForce
from tests.brokers.builders import D, Told, broker, limit, order, quote, stop

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.db]


@pytest.fixture(params=["memory", "database"])
def store(request: pytest.FixtureRequest) -> MemoryStore | DatabaseStore:
    return MemoryStore() if request.param == "memory" else DatabaseStore("paper")


def again(store: MemoryStore | DatabaseStore) -> MemoryStore | DatabaseStore:
    """The store of a venue that is opened by another process."""
    return store if isinstance(store, MemoryStore) else DatabaseStore("paper")


async def test_it_goes_on_where_it_was(store: MemoryStore | DatabaseStore) -> None:
    venue = broker(store)
    await venue.open()
    venue.on_market(quote("99.99", "100.00"))
    await venue.submit("e1", order("2"))
    await venue.submit("s1", stop("98.00", "2"))
    await venue.submit("t1", limit("104.00", "2", side=Side.SELL, reduce_only=True))
    before = await venue.orders_open(), await venue.positions(), await venue.balances()
    await venue.close()

    venue = broker(again(store))
    await venue.open()
    assert (await venue.orders_open(), await venue.positions(), await venue.balances()) == before
    told = Told(venue)
    # the market went through the stop while nobody was here: it fills at the first price there is
    venue.on_market(quote("95.00", "95.01", after=3600))
    assert [(r.last_px, r.liquidity) for r in await told.of("s1", ExecType.TRADE)] == [(D("95.00"), "TAKER")]
    await venue.submit("e2", order("1"))
    fills = await venue.fills_since(quote("1", "1").at)
    assert len({fill.exec_id for fill in fills}) == len(fills) == 3
    assert len({fill.order_id for fill in fills}) == 3
    await venue.close()


@pytest.mark.parametrize("time_in_force", [TimeInForce.GTC, TimeInForce.IOC])
async def test_it_fills_what_waited_for_a_price(store: MemoryStore | DatabaseStore, time_in_force: TimeInForce) -> None:
    venue = broker(store)
    await venue.open()
    await venue.submit("e1", order("2", time_in_force=time_in_force))
    await venue.close()
    venue = broker(again(store))
    await venue.open()
    venue.on_market(quote("99.99", "100.00"))
    assert await venue.positions() == {"BTCUSDT": D(2)}
    await venue.close()


async def test_it_ends_at_once_what_could_not_wait_when_it_was_closed(store: MemoryStore | DatabaseStore) -> None:
    """An IOC order that had no price before the venue went away meets the first one and does not rest."""
    venue = broker(store)
    await venue.open()
    await venue.submit("e1", limit("99.00", time_in_force=TimeInForce.IOC))
    await venue.close()
    venue = broker(again(store))
    await venue.open()
    venue.on_market(quote("99.99", "100.00"))
    assert await venue.orders_open() == []
    await venue.close()


async def test_it_ends_a_day_that_ended_while_it_was_closed(store: MemoryStore | DatabaseStore) -> None:
    venue = broker(store)
    await venue.open()
    venue.on_market(quote("99.99", "100.00"))
    await venue.submit("e1", limit("99.00", time_in_force=TimeInForce.DAY))
    await venue.close()
    venue = broker(again(store))
    await venue.open()
    told = Told(venue)
    venue.on_market(quote("98.00", "98.01", after=86_400))
    assert [report.text for report in await told.of("e1", ExecType.EXPIRED)] == ["end of day"]
    await venue.close()


class HeldStore(MemoryStore):
    """Keeps nothing until it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.held: list[tuple[Batch, Then]] = []

    def write(self, batch: Batch, then: Then) -> None:
        self.held.append((batch, then))

    def let(self) -> None:
        held, self.held = self.held, []
        for batch, then in held:
            super().write(batch, then)


async def turns() -> None:
    """Let everything happen that can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_it_says_nothing_that_is_not_kept() -> None:
    store = HeldStore()
    venue = broker(store)
    await venue.open()
    told = venue.reports()
    venue.on_market(quote("99.99", "100.00"))
    next_report = asyncio.ensure_future(anext(aiter(told)))
    sent = asyncio.create_task(venue.submit("e1", order("1")))
    await turns()
    assert not sent.done()
    assert not next_report.done()
    store.let()
    await sent
    assert (await next_report).exec_type is ExecType.NEW  # type: ignore[union-attr]
    # the fill happened at the venue, and is not told before it is kept
    next_report = asyncio.ensure_future(anext(aiter(told)))
    await turns()
    assert not next_report.done()
    store.let()
    assert (await next_report).exec_type is ExecType.TRADE  # type: ignore[union-attr]
    next_report = asyncio.ensure_future(anext(aiter(told)))
    await venue.close()
    with pytest.raises(StopAsyncIteration):
        await next_report


async def test_it_takes_an_order_whose_sender_gave_up() -> None:
    """Our timeout is not the venue's: what it keeps after we stopped waiting is in the book, and fills."""
    store = HeldStore()
    venue = broker(store)
    await venue.open()
    venue.on_market(quote("99.99", "100.00"))
    sent = asyncio.create_task(venue.submit("e1", order("1")))
    await turns()
    sent.cancel()
    await turns()
    assert sent.cancelled()
    store.let()
    store.let()
    assert await venue.positions() == {"BTCUSDT": D(1)}
    await venue.close()


async def test_it_keeps_accounts_apart() -> None:
    one, two = broker(DatabaseStore("one")), broker(DatabaseStore("two"))
    for venue in (one, two):
        await venue.open()
        venue.on_market(quote("99.99", "100.00"))
        await venue.submit("a1", order("1"))
    await two.submit("a2", order("1"))
    assert (await one.positions(), await two.positions()) == ({"BTCUSDT": D(1)}, {"BTCUSDT": D(2)})
    assert await one.order_by_cl_ord_id("a2", "BTCUSDT") is None
    for venue in (one, two):
        await venue.close()


_TALKS = """
import asyncio, sys
import django
django.setup()
from execution.brokers.simulated import DatabaseStore
from tests.brokers.builders import Told, broker, limit, order, quote

async def talk():
    venue = broker(DatabaseStore("paper"))
    await venue.open()
    venue.on_market(quote("99.99", "100.00"))
    await asyncio.gather(hear(venue.reports()), send(venue))

async def hear(reports):
    async for report in reports:
        print(report.cl_ord_id, report.exec_type.value, report.exec_id, flush=True)

async def send(venue):
    for n in range(100000):
        await venue.submit(f"o{n}", order("1") if n % 2 else limit("99.00"))

asyncio.run(talk())
"""


def _database_url() -> str:
    """Where this test's database is, for a process of its own."""
    found = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{Path(found['NAME']).resolve()}"
    return f"postgresql://{found['USER']}:{found['PASSWORD']}@{found['HOST']}:{found['PORT']}/{found['NAME']}"


def test_it_has_kept_everything_it_told_when_it_is_killed() -> None:
    environment = {
        **os.environ,
        "DATABASE_URL": _database_url(),
        "DJANGO_SETTINGS_MODULE": "tradingdesk.settings",
        "SECRET_KEY": "x",
    }
    with subprocess.Popen([sys.executable, "-c", _TALKS], stdout=subprocess.PIPE, text=True, env=environment) as talker:
        assert talker.stdout is not None
        told = [talker.stdout.readline().split() for _ in range(50)]
        talker.send_signal(signal.SIGKILL)
        told += [line.split() for line in talker.stdout if line.endswith("\n")]
    kept = dict(PaperOrder.objects.values_list("cl_ord_id", "ord_status"))
    fills = set(PaperFill.objects.values_list("exec_id", flat=True))
    assert len(told) >= 50
    for cl_ord_id, exec_type, *exec_id in told:
        assert cl_ord_id in kept
        if exec_type == ExecType.TRADE:
            assert kept[cl_ord_id] == OrdStatus.FILLED
            assert set(exec_id) <= fills
    cash = PaperBalance.objects.get(asset="USDT").qty
    assert cash == 100_000 - sum(fill.last_qty * fill.last_px for fill in PaperFill.objects.all())
