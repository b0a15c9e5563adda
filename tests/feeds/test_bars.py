"""The one bar builder."""

from __future__ import annotations

from datetime import timedelta

import pytest

from execution.core.messages import Bar, Trade
from execution.feeds.bars import BarBuilder, interval_start
from risk.core.units import Quote
from tests.feeds.builders import THEN, D, after


def deal(seconds: float, price: str, qty: str = "1") -> Trade:
    return Trade("BTCUSDT", D(price), D(qty), after(seconds), after(seconds))


def seen(seconds: float, last: str) -> Quote:
    return Quote("BTCUSDT", D("1"), D("999"), D(last), after(seconds), after(seconds), after(seconds))


def minute(number: int, *prices: str) -> Bar:
    first, high, low, close = (D(price) for price in prices)
    return Bar("BTCUSDT", 60, after(60 * number), first, high, low, close, D(2))


def built(interval_s: int, *events: Quote | Trade | Bar) -> list[str]:
    """The bars these events close, as start:open/high/low/close/volume."""
    builder = BarBuilder("BTCUSDT", interval_s)
    return [told(bar) for event in events if (bar := builder.add(event))]


def told(bar: Bar) -> str:
    seconds = int((bar.start_at - THEN).total_seconds())
    return f"{seconds}:{bar.open}/{bar.high}/{bar.low}/{bar.close}/{bar.volume}"


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        pytest.param([deal(0, "5"), deal(1, "7"), deal(1.9, "4")], [], id="a bar is open until its interval is over"),
        pytest.param([deal(0, "5"), deal(1, "7"), deal(1.9, "4"), deal(2, "6")], ["0:5/7/4/4/3"], id="the next event closes it"),
        pytest.param([deal(0.5, "5"), deal(9, "6"), deal(11, "6")], ["0:5/5/5/5/1", "8:6/6/6/6/1"], id="no bars where nothing was"),
        pytest.param([seen(0, "5"), seen(1, "7"), seen(2, "7")], ["0:5/7/5/7/0"], id="quotes move it by their last price"),
        pytest.param([deal(0, "5"), seen(1, "5"), seen(2, "5")], ["0:5/5/5/5/1"], id="quotes keep time"),
        pytest.param(
            [deal(0, "5"), deal(2, "6"), deal(1, "9"), deal(4, "6")], ["0:5/5/5/5/1", "2:6/9/6/9/2"], id="late is counted now"
        ),
    ],
)
def test_it_builds_bars_on_the_markets_time(events: list[Quote | Trade], expected: list[str]) -> None:
    assert built(2, *events) == expected


def test_it_closes_the_bar_of_a_quiet_market() -> None:
    builder = BarBuilder("BTCUSDT", 2)
    builder.add(deal(0, "5"))
    assert builder.close_due(after(1.9)) is None
    bar = builder.close_due(after(2))
    assert bar is not None
    assert told(bar) == "0:5/5/5/5/1"
    assert builder.close_due(after(3)) is None
    assert builder.add(deal(1.99, "9")) is None
    assert builder.add(deal(4.5, "6")) is None
    assert builder.close_due(after(6)) is not None


@pytest.mark.parametrize(
    ("interval_s", "expected"),
    [
        pytest.param(2, ["0:5/8/4/6", "60:6/6/5/5", "120:5/9/5/9", "180:9/9/9/9"], id="coarser bars pass as they are"),
        pytest.param(60, ["0:5/8/4/6", "60:6/6/5/5", "120:5/9/5/9", "180:9/9/9/9"], id="equal ones too"),
        pytest.param(120, ["0:5/8/4/5", "120:5/9/5/9"], id="finer ones are merged"),
    ],
)
def test_it_hears_only_the_bars_of_a_tape_that_has_them(interval_s: int, expected: list[str]) -> None:
    events: list[Quote | Bar] = []
    for n, prices in enumerate([("5", "8", "4", "6"), ("6", "6", "5", "5"), ("5", "9", "5", "9"), ("9", "9", "9", "9")]):
        events += [seen(60 * n + 60, prices[3]), minute(n, *prices)]
    assert [bar.rsplit("/", 1)[0] for bar in built(interval_s, *events)] == expected


def test_it_counts_intervals_from_the_epoch() -> None:
    assert interval_start(after(59), 60) == THEN
    assert interval_start(after(61), 7) == THEN + timedelta(seconds=61 - int((after(61)).timestamp()) % 7)
