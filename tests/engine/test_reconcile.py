"""Questions to the venue: asked until answered, and what they carry."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from execution.core.messages import (
    Adjusted,
    AdjustmentKind,
    Event,
    OrderFound,
    QueryOrder,
    QueryVenue,
    Reconciled,
    Timing,
    VenueFill,
    VenueOrder,
)
from execution.engine import reconcile
from execution.engine.clock import AccountClock, Clock
from execution.engine.lanes import Budget
from execution.engine.reconcile import Reconciler
from risk.core.units import OrdType, Side
from tests.conftest import NOON
from tests.engine.venue import ScriptedVenue

D = Decimal


class Knows:
    """A Desk at seq 7."""

    seq = 7
    reconciled_at: datetime | None = None


def asked(venue: ScriptedVenue) -> tuple[Reconciler, list[Any]]:
    heard: list[Event] = []
    clock = AccountClock(Clock())
    budget, timing = Budget(1000.0), Timing(send_timeout_ms=500)
    return Reconciler(venue, Knows(), clock=clock, timing=timing, budget=budget, take=heard.append), heard


class TellingVenue(ScriptedVenue):
    """One that can be asked for its adjustments."""

    def __init__(self, *adjustments: Adjusted) -> None:
        super().__init__()
        self._adjustments = adjustments

    async def adjustments_since(self, since: datetime) -> Sequence[Adjusted]:
        return self._adjustments


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile, "pause_s", lambda key, attempt: 0.001)


async def test_it_answers_with_the_whole_picture_and_when_it_was_asked() -> None:
    questions, heard = asked(ScriptedVenue())
    await questions.venue(QueryVenue(query_id="q1"))
    (answer,) = heard
    assert isinstance(answer, Reconciled)
    assert (answer.query_id, answer.asked_seq, answer.asked_at <= answer.at) == ("q1", 7, True)


async def test_it_brings_what_the_venue_moved_without_a_trade_where_it_tells() -> None:
    paid = Adjusted(at=NOON, adjustment_id="f1", kind=AdjustmentKind.FUNDING, symbol="BTCUSDT", amount=D(-1))
    questions, heard = asked(TellingVenue(paid))
    await questions.venue(QueryVenue(query_id="q1"))
    assert heard[0].adjustments == (paid,)


async def test_it_asks_until_the_venue_answers() -> None:
    venue = ScriptedVenue()
    venue.failures = 3
    questions, heard = asked(venue)
    await questions.venue(QueryVenue(query_id="q1"))
    assert (len(heard), venue.failures) == (1, 0)


async def test_it_says_that_an_order_is_unknown_only_when_the_open_orders_lack_it_too() -> None:
    venue = ScriptedVenue()
    venue.failures = 1
    questions, heard = asked(venue)
    await questions.order(QueryOrder(cl_ord_id="o1", symbol="BTCUSDT"))
    (answer,) = heard
    assert isinstance(answer, OrderFound)
    assert (answer.order, answer.fills, venue.failures) == (None, (), 0)


async def test_it_finds_an_order_with_its_own_fills() -> None:
    venue = ScriptedVenue()
    venue.lookups["o1"] = VenueOrder(
        cl_ord_id="o1",
        order_id="v1",
        symbol="BTCUSDT",
        side=Side.BUY,
        order_qty=D(2),
        cum_qty=D(1),
        ord_type=OrdType.LIMIT,
        ord_status="PARTIALLY_FILLED",
    )
    venue.fills = [_fill("o1"), _fill("o2")]
    questions, heard = asked(venue)
    await questions.order(QueryOrder(cl_ord_id="o1", symbol="BTCUSDT"))
    (answer,) = heard
    assert isinstance(answer, OrderFound)
    assert answer.order == venue.lookups["o1"]
    assert [fill.cl_ord_id for fill in answer.fills] == ["o1"]


async def test_it_brings_the_splits_of_its_symbol_with_the_fills_of_an_order() -> None:
    """They change what the fills are counted in, and with them come the symbol's other fills, which may lie before one."""
    halved = Adjusted(at=NOON, adjustment_id="s1", kind=AdjustmentKind.SPLIT, symbol="BTCUSDT", new_units=D(2))
    venue = TellingVenue(halved, Adjusted(at=NOON, adjustment_id="s2", kind=AdjustmentKind.SPLIT, symbol="ETHUSDT", new_units=D(2)))
    venue.fills = [_fill("o1"), _fill("o2"), _fill("o3", "ETHUSDT")]
    questions, heard = asked(venue)
    await questions.order(QueryOrder(cl_ord_id="o1", symbol="BTCUSDT"))
    await questions.order(QueryOrder(cl_ord_id="o4", symbol="BTCUSDT"))
    assert [([fill.cl_ord_id for fill in answer.fills], answer.adjustments) for answer in heard] == [
        (["o1", "o2"], (halved,)),
        ([], ()),
    ]


def _fill(cl_ord_id: str, symbol: str = "BTCUSDT") -> VenueFill:
    return VenueFill(
        cl_ord_id=cl_ord_id,
        order_id="v1",
        exec_id=f"x {cl_ord_id}",
        symbol=symbol,
        side=Side.BUY,
        last_qty=D(1),
        last_px=D(100),
        fee=D(0),
        fee_currency="USDT",
        liquidity="TAKER",
        transact_at=NOON,
    )
