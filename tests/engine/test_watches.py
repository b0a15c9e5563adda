"""Price watches: what a quote has to tell, and what it has not."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from execution.core.messages import PriceAged, Touched, Watch
from execution.core.trailing import Trail
from execution.engine.watches import Watches
from risk.core.units import Quote, Side
from tests.conftest import NOON

D = Decimal
#: a bid above the ask, none at all, and one that is no price
BAD = [("200", "100"), ("0", "100"), ("-1", "100")]


def quote(bid: str, ask: str) -> Quote:
    mid = (D(bid) + D(ask)) / 2
    return Quote("BTCUSDT", D(bid), D(ask), mid, NOON, NOON, NOON)


def watching(*watches: Watch) -> Watches:
    made = Watches()
    for watch in watches:
        made.set(watch)
    return made


STOP = Watch(watch_id="stop:1", symbol="BTCUSDT", price=D(90), is_above=False, stale_ms=2000)
TARGET = Watch(watch_id="target:1", symbol="BTCUSDT", price=D(110), is_above=True)
TRAIL = Watch(watch_id="trail:1", symbol="BTCUSDT", price=D(95), is_above=False, trail=Trail(side=Side.SELL, offset=D(5)))


def test_it_fires_once_at_its_price() -> None:
    watches = watching(STOP, TARGET)
    assert watches.on_quote(quote("90.5", "91"), NOON) == []
    assert watches.on_quote(quote("89", "90"), NOON) == [Touched(at=NOON, watch_id="stop:1", price=D("89.5"))]
    assert watches.on_quote(quote("89", "90"), NOON) == []


@pytest.mark.parametrize(("bid", "ask"), BAD)
def test_it_does_not_fire_on_a_quote_that_nobody_can_trade_at(bid: str, ask: str) -> None:
    watches = watching(STOP, TARGET, TRAIL)
    assert watches.on_quote(quote(bid, ask), NOON) == []
    watches.on_quote(quote("100", "101"), NOON)
    assert watches.on_quote(quote("96", "97"), NOON) == []


@pytest.mark.parametrize(("bid", "ask"), BAD)
def test_it_takes_such_quotes_for_none(bid: str, ask: str) -> None:
    """So a stop that sees nothing else is soon known to see nothing."""
    watches, late = watching(STOP), NOON + timedelta(seconds=2)
    watches.on_quote(quote("100", "101"), NOON)
    watches.on_quote(quote(bid, ask), late)
    assert watches.on_time(late) == [PriceAged(at=late, symbol="BTCUSDT", is_stale=True, last_at=NOON)]
    assert watches.on_quote(quote(bid, ask), late) == []
    assert watches.on_quote(quote("100", "101"), late) == [PriceAged(at=late, symbol="BTCUSDT", is_stale=False, last_at=late)]
