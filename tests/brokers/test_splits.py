"""Splits at the simulated venue: counted in new terms from the first price after their time, with nothing left in the old ones."""

# mypy: disable-error-code="comparison-overlap"
from __future__ import annotations

from typing import Any

import pytest

from execution.brokers.simulated import DatabaseStore, MemoryStore
from execution.core.messages import Adjusted, AdjustmentKind, ExecType
from execution.core.venues import venue_options
from risk.core.units import OrdType, Side
from tests.brokers.builders import NOON, D, Told, broker, later, opened, order, quote

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.db]
HOUR = 3600
THREE_FOR_ONE = {"symbol": "BTCUSDT", "new": 3, "at": later(HOUR).isoformat()}


@pytest.fixture(params=["memory", "database"])
def store(request: pytest.FixtureRequest) -> MemoryStore | DatabaseStore:
    return MemoryStore() if request.param == "memory" else DatabaseStore("paper")


def again(store: MemoryStore | DatabaseStore) -> MemoryStore | DatabaseStore:
    return store if isinstance(store, MemoryStore) else DatabaseStore("paper")


async def adjusted(told: Told) -> Adjusted:
    await told.until(lambda _: bool(told.adjusted))
    [only] = told.adjusted
    return only


async def test_it_counts_a_position_anew_and_cancels_what_rests_in_old_terms(store: MemoryStore | DatabaseStore) -> None:
    venue = await opened(store, splits=[THREE_FOR_ONE])
    told = Told(venue)
    await venue.submit("a1", order("2"))
    await venue.submit("a2", order("2", side=Side.SELL, ord_type=OrdType.STOP, stop_px="90"))
    cash = await venue.balances()
    venue.on_market(quote("33.30", "33.40", after=HOUR))
    split = await adjusted(told)
    assert (split.kind, split.new_units, split.old_units, split.transact_at) == (AdjustmentKind.SPLIT, 3, 1, later(HOUR))
    (*_, ended) = await told.of("a2", ExecType.CANCELED)
    assert (ended.text, ended.cum_qty) == ("the instrument was split", 0), "the new price is none that its stop was meant for"
    assert await venue.positions() == {"BTCUSDT": 6}
    assert (await venue.balances(), await venue.orders_open()) == (cash, [])
    await venue.submit("a3", order("6", side=Side.SELL))
    await told.of("a3", ExecType.TRADE)
    assert await venue.positions() == {}
    await venue.close()


async def test_it_is_split_once(store: MemoryStore | DatabaseStore) -> None:
    """Also by whoever opens it next, who may ask for what it missed."""
    venue = await opened(store, splits=[THREE_FOR_ONE])
    told = Told(venue)
    await venue.submit("a1", order("2"))
    for after in (HOUR, HOUR + 1):
        venue.on_market(quote("33.30", "33.40", after=after))
    split = await adjusted(told)
    await venue.close()

    venue = broker(again(store), splits=[THREE_FOR_ONE])
    await venue.open()
    venue.on_market(quote("33.30", "33.40", after=2 * HOUR))
    assert await venue.adjustments_since(NOON) == [split]
    assert await venue.positions() == {"BTCUSDT": 6}
    await venue.close()


async def test_it_is_split_while_it_was_closed(store: MemoryStore | DatabaseStore) -> None:
    venue = await opened(store, splits=[THREE_FOR_ONE])
    await venue.submit("a1", order("2"))
    await venue.orders_open()
    await venue.close()

    venue = broker(again(store), splits=[THREE_FOR_ONE])
    await venue.open()
    told = Told(venue)
    venue.on_market(quote("33.30", "33.40", after=5 * HOUR))
    assert (await adjusted(told)).transact_at == later(HOUR)
    assert await venue.positions() == {"BTCUSDT": 6}
    await venue.close()


async def test_it_splits_nothing_that_was_bought_after_it() -> None:
    venue = broker(splits=[THREE_FOR_ONE])
    await venue.open()
    told = Told(venue)
    venue.on_market(quote("33.30", "33.40", after=2 * HOUR))
    await venue.submit("a1", order("2"))
    venue.on_market(quote("33.30", "33.40", after=3 * HOUR))
    assert await venue.positions() == {"BTCUSDT": 2}
    await venue.close()
    await told.rest()
    assert told.adjusted == []


async def test_it_takes_back_no_trade_of_old_terms() -> None:
    venue = await opened(splits=[THREE_FOR_ONE], bust_pct=100, bust_after_ms=20)
    told = Told(venue)
    await venue.submit("a1", order("2"))
    venue.on_market(quote("33.30", "33.40", after=HOUR))
    await venue.submit("a2", order("1"))
    await told.of("a2", ExecType.TRADE_CANCEL)
    assert await venue.positions() == {"BTCUSDT": 6}
    await venue.close()


async def test_a_reverse_split_leaves_a_part_of_a_unit() -> None:
    venue = await opened(splits=[THREE_FOR_ONE | {"new": 1, "old": 30}])
    await venue.submit("a1", order("100"))
    venue.on_market(quote("2999.00", "3000.00", after=HOUR))
    assert await venue.positions() == {"BTCUSDT": D("3.333333333333")}
    await venue.close()


@pytest.mark.parametrize(
    ("split", "told"),
    [
        (
            {"symbol": "A", "new": 2},
            "splits 1: at must be a time with its offset from UTC, such as 2026-11-21T14:30:00Z, was “None”.",
        ),
        (
            {"symbol": "A", "new": 2, "at": "2026-11-21T14:30:00"},
            "splits 1: at must be a time with its offset from UTC, such as 2026-11-21T14:30:00Z, was “2026-11-21T14:30:00”.",
        ),
        ({"new": 2, "at": "2026-11-21T14:30:00Z"}, "splits 1: symbol must be a word, was “None”."),
        ({"symbol": "A", "at": "2026-11-21T14:30:00Z"}, "splits 1: new and old are both 1, which splits nothing."),
        ({"symbol": "A", "new": 1.5, "at": "2026-11-21T14:30:00Z"}, "splits 1: new must be a whole number, was 1.5."),
        ({"symbol": "A", "factor": 2}, "splits 1 has no “factor”; it has symbol, new, old, at."),
    ],
    ids=["no time", "no offset", "no symbol", "no ratio", "a part of a unit", "another word"],
)
def test_it_says_what_is_wrong_with_a_split(split: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match="splits 1") as refused:
        venue_options("simulated", {"splits": [split]})
    assert str(refused.value) == told
