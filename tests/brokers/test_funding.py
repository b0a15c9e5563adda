"""Funding at the simulated venue: paid for holding a perpetual when an instant of the grid passes, kept before it is told, told to who asks."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from execution.brokers.simulated import DatabaseStore, MemoryStore
from execution.core.messages import Adjusted, AdjustmentKind, ExecType
from risk.core.units import AssetClass, Instrument, Side
from tests.brokers.builders import BTC, NOON, D, Told, broker, later, opened, order, quote

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.db]
#: noon lies on the grid of four hours
OPTIONS: dict[str, Any] = {"funding_bps": "10", "funding_interval_h": 4}
HOUR = 3600
INVERSE = msgspec.structs.replace(BTC, is_inverse=True, currency="BTC", base_currency="BTC", contract_value=D(100))


async def adjusted(told: Told, count: int) -> list[Adjusted]:
    await told.until(lambda _: len(told.adjusted) >= count)
    return told.adjusted


@pytest.mark.parametrize(("side", "amount"), [(Side.BUY, "-0.22"), (Side.SELL, "0.22")], ids=["a long pays", "a short is paid"])
async def test_it_settles_what_is_held_when_the_instant_passes(side: Side, amount: str) -> None:
    venue = await opened(**OPTIONS)
    told = Told(venue)
    await venue.submit("a1", order("2", side=side))
    venue.on_market(quote("109.99", "110.01", after=3 * HOUR))
    assert told.adjusted == []
    before = await venue.balances()
    venue.on_market(quote("120.00", "120.02", after=4 * HOUR))
    [paid] = await adjusted(told, 1)
    assert (paid.kind, paid.symbol, paid.amount) == (AdjustmentKind.FUNDING, "BTCUSDT", D(amount))
    assert paid.transact_at == later(4 * HOUR)
    assert await venue.balances() == {"USDT": before["USDT"] + D(amount)}


async def test_it_settles_every_instant_that_passed_without_a_price() -> None:
    venue = await opened(**OPTIONS)
    told = Told(venue)
    await venue.submit("a1", order("2"))
    venue.on_market(quote("99.99", "100.01", after=13 * HOUR))
    paid = await adjusted(told, 3)
    assert [p.transact_at for p in paid] == [later(n * HOUR) for n in (4, 8, 12)]
    assert len({p.adjustment_id for p in paid}) == 3


@pytest.mark.parametrize(
    ("instrument", "qty"),
    [
        pytest.param(msgspec.structs.replace(BTC, asset_class=AssetClass.CRYPTO_SPOT), "2", id="what is no perpetual"),
        pytest.param(BTC, "0", id="what is not held"),
    ],
)
async def test_it_settles_nothing_for(instrument: Instrument, qty: str) -> None:
    venue = await opened(instrument=instrument, **OPTIONS)
    told = Told(venue)
    if D(qty):
        await venue.submit("a1", order(qty))
    venue.on_market(quote("99.99", "100.00", after=9 * HOUR))
    await venue.submit("a2", order("1", side=Side.SELL))
    await told.of("a2", ExecType.TRADE)
    assert told.adjusted == []


async def test_it_settles_an_inverse_contract_in_what_it_is_worth() -> None:
    venue = broker(instrument=INVERSE, **OPTIONS)
    await venue.open()
    venue.on_market(quote("100.00", "100.00"))
    told = Told(venue)
    await venue.submit("a1", order("3"))
    venue.on_market(quote("100.00", "100.00", after=4 * HOUR))
    [paid] = await adjusted(told, 1)
    assert paid.amount == D("0.003")


async def test_it_pays_nobody_where_it_was_told_no_rate() -> None:
    venue = await opened()
    told = Told(venue)
    await venue.submit("a1", order("2"))
    venue.on_market(quote("99.99", "100.00", after=24 * HOUR))
    await venue.close()
    await told.rest()
    assert told.adjusted == []


@pytest.mark.parametrize("kind", ["memory", "database"])
async def test_it_settles_what_passed_while_it_was_closed_and_tells_who_asks(kind: str) -> None:
    """Whoever opens it may have missed what was told; the id says that it is the same."""
    memory = MemoryStore()

    def store() -> MemoryStore | DatabaseStore:
        return memory if kind == "memory" else DatabaseStore("paper")

    venue = await opened(store(), **OPTIONS)
    told = Told(venue)
    await venue.submit("a1", order("2"))
    venue.on_market(quote("99.99", "100.01", after=5 * HOUR))
    [first] = await adjusted(told, 1)
    cash = (await venue.balances())["USDT"]
    await venue.close()

    venue = broker(store(), **OPTIONS)
    await venue.open()
    told = Told(venue)
    assert await venue.adjustments_since(NOON) == [first]
    venue.on_market(quote("99.99", "100.01", after=9 * HOUR))
    [second] = await adjusted(told, 1)
    assert second.transact_at == later(8 * HOUR)
    assert await venue.adjustments_since(NOON) == [first, second]
    assert await venue.adjustments_since(later(1)) == [], "asked by the venue's own clock, which stands still here"
    assert (await venue.balances())["USDT"] == cash - D("0.2")
    await venue.close()
