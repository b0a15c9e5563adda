"""The synthetic market: plausible, repeatable, and going on where it stood."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from execution.core.messages import Bar, Trade
from execution.feeds import open_feed
from execution.feeds.bars import BarBuilder
from execution.feeds.synthetic import SyntheticFeed, ticks
from risk.core.units import Instrument, Quote
from tests.feeds.builders import NOON, D, heard, instrument

FOUR = [instrument("BTCUSDT", "0.1"), instrument("ETHUSDT"), instrument("SOLUSDT"), instrument("LTCUSDT")]


def seconds(count: float, *, seed: int = 1, offset_ms: int = 0) -> list[Quote | Trade]:
    """What happens in this time from the offset on."""
    end = NOON + timedelta(seconds=count)
    events: Iterator[Quote | Trade] = ticks(seed, FOUR, NOON, offset_ms=offset_ms)
    return list(itertools.takewhile(lambda event: event.at < end, events))


def prices(events: list[Quote | Trade]) -> list[tuple[str, str, str]]:
    """Quotes without their times."""
    return [(e.symbol, str(e.bid), str(e.ask)) for e in events if isinstance(e, Quote)]


def test_it_repeats_itself_by_seed() -> None:
    assert seconds(30) == seconds(30)
    assert prices(seconds(30)) != prices(seconds(30, seed=2))


def test_it_repeats_itself_in_another_process() -> None:
    code = "import json; from tests.feeds.test_synthetic import *; import sys; sys.stdout.write(json.dumps(prices(seconds(30))))"
    environment = {**os.environ, "PYTHONHASHSEED": "77", "DJANGO_SETTINGS_MODULE": "tradingdesk.settings"}
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env=environment)
    assert [tuple(row) for row in json.loads(told.stdout)] == prices(seconds(30))


def test_it_is_in_order_and_on_the_grid() -> None:
    by_symbol = {item.symbol: item for item in FOUR}
    events = seconds(120)
    assert [event.at for event in events] == sorted(event.at for event in events)
    assert events[0].at >= NOON
    for event in events:
        tick = by_symbol[event.symbol].tick_size
        if isinstance(event, Quote):
            assert D(0) < event.bid < event.ask
            assert event.bid % tick == event.ask % tick == event.last % tick == 0
        else:
            assert event.price % tick == 0
            assert event.qty > 0


def test_it_quotes_five_to_ten_times_a_second_and_trades_at_the_quote() -> None:
    last: dict[str, Quote] = {}
    counts: dict[str, list[int]] = {item.symbol: [0, 0] for item in FOUR}
    for event in seconds(300):
        if isinstance(event, Quote):
            last[event.symbol] = event
            counts[event.symbol][0] += 1
        else:
            assert event.price in (last[event.symbol].bid, last[event.symbol].ask)
            assert event.price == last[event.symbol].last
            counts[event.symbol][1] += 1
    assert all(1500 <= quotes <= 3000 and 300 <= trades <= 1200 for quotes, trades in counts.values())


@pytest.mark.parametrize(("symbol", "low", "high"), [("BTCUSDT", 50_000, 75_000), ("LTCUSDT", 55, 85), ("NEWUSDT", 10, 300)])
@pytest.mark.parametrize("day", [0, 1, 10])
def test_it_stays_plausible_for_days(symbol: str, low: int, high: int, day: int) -> None:
    """Reached without walking there: ten days in are as near as the first minute."""
    for event in itertools.islice(ticks(5, [instrument(symbol)], NOON, offset_ms=day * 86_400_000), 50):
        if isinstance(event, Quote):
            assert low < event.mid < high


def test_it_moves_enough_for_two_second_bars() -> None:
    """In five minutes a symbol goes somewhere: its range is between a fifth of a percent and a tenth of the price."""
    quotes = [event.mid for event in seconds(300) if isinstance(event, Quote) and event.symbol == "BTCUSDT"]
    assert D("0.002") < (max(quotes) - min(quotes)) / quotes[0] < D("0.1")


@pytest.mark.parametrize("offset_ms", [1, 31_999, 32_000, 100_000])
def test_it_goes_on_where_it_stood(offset_ms: int) -> None:
    whole = seconds(160)
    rest = [e for e in whole if e.at >= NOON + timedelta(milliseconds=offset_ms) and isinstance(e, Quote)]
    shift = timedelta(milliseconds=offset_ms)
    resumed = [e for e in seconds(160 - offset_ms / 1000, offset_ms=offset_ms) if isinstance(e, Quote)]
    assert [(e.symbol, e.bid, e.ask, e.last, e.at + shift) for e in resumed] == [
        (e.symbol, e.bid, e.ask, e.last, e.at) for e in rest
    ]


class Clock:
    """Noon, and later only by waiting."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now

    async def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(asyncio, "sleep", clock.wait)
    return clock


def feed(clock: Clock, *, offset: int = 0, spec: str = "synthetic:3") -> SyntheticFeed:
    opened = open_feed(spec, instruments={item.symbol: item for item in FOUR}, seed=9, offset=offset, clock=clock)
    assert isinstance(opened, SyntheticFeed)
    return opened


async def said(opened: SyntheticFeed, most: int) -> list[Quote | Trade]:
    return [event for event in await heard(opened, most) if not isinstance(event, Bar)]


async def test_it_says_what_it_is(clock: Clock) -> None:
    opened = feed(clock)
    assert (opened.label, opened.is_synthetic, opened.has_synchronised_clock, opened.broken_lines) == ("SYNTHETIC", True, True, 0)


async def test_it_takes_its_seed_from_the_text_or_the_caller(clock: Clock) -> None:
    told = {spec: prices(await said(feed(clock, spec=spec), 40)) for spec in ("synthetic:9", "synthetic", "synthetic:3")}
    assert told["synthetic:9"] == told["synthetic"] != told["synthetic:3"]


async def test_it_is_on_time_and_stamps_our_receipt(clock: Clock) -> None:
    events = await said(feed(clock), 200)
    assert all(timedelta(0) <= event.received_at - event.at < timedelta(milliseconds=1) for event in events)
    assert clock.now - NOON > timedelta(seconds=3)
    since: dict[str, tuple[object, datetime]] = {}
    for event in events:
        if isinstance(event, Quote):
            content = (event.bid, event.ask, event.last)
            before, changed_at = since.get(event.symbol, (None, NOON))
            assert event.changed_at == (changed_at if content == before else event.received_at)
            since[event.symbol] = (content, event.changed_at)


async def test_it_remembers_its_age(clock: Clock) -> None:
    first = feed(clock)
    before = await said(first, 100)
    assert (before[-1].at - NOON) // timedelta(milliseconds=1) == first.offset
    clock.now = opened_at = NOON + timedelta(hours=3)
    after = await said(feed(clock, offset=first.offset), 100)
    # time went on and the price did not: the moment we stopped at comes again, now, and then what follows it
    assert after[0].at == opened_at
    follows = [event for event in seconds(30, seed=3) if event.at >= before[-1].at]
    assert prices(after) == prices(follows[:100])


async def test_it_does_not_live_through_a_night_in_a_burst(clock: Clock) -> None:
    """A machine that slept: the market's next moment is now, not eight hours of moments at once."""
    opened = feed(clock)
    found: list[datetime] = []
    async for event in opened.events():
        assert not isinstance(event, Bar)
        found.append(event.at)
        if len(found) == 20:
            clock.now += timedelta(hours=8)
        if len(found) == 40:
            break
    assert opened.offset < 10_000
    assert all(at < NOON + timedelta(minutes=1) for at in found[:20])
    assert all(at > NOON + timedelta(hours=8) for at in found[20:])
    assert found == sorted(found)


@pytest.mark.parametrize("interval_s", [2, 60])
async def test_it_has_a_past_that_joins_the_present(clock: Clock, interval_s: int) -> None:
    opened = feed(clock, offset=50_000)
    bars = await opened.history("BTCUSDT", bars=30, interval_s=interval_s)
    assert len(bars) == 30
    assert [b.start_at - a.start_at for a, b in itertools.pairwise(bars)] == [timedelta(seconds=interval_s)] * 29
    end = bars[-1].start_at + timedelta(seconds=interval_s)
    assert NOON - timedelta(seconds=interval_s) <= end <= NOON + timedelta(seconds=1)
    assert [abs(b.open - a.close) / a.close < D("0.005") for a, b in itertools.pairwise(bars)] == [True] * 29
    first = next(event for event in await heard(opened, 20) if isinstance(event, Quote) and event.symbol == "BTCUSDT")
    assert abs(first.mid - bars[-1].close) / bars[-1].close < D("0.01")


async def test_its_past_is_what_it_streamed() -> None:
    """The bars built from the stream are the bars that a later start gives as history."""
    builder, built = BarBuilder("BTCUSDT", 2), []
    for event in seconds(60, seed=3):
        if event.symbol == "BTCUSDT" and (bar := builder.add(event)):
            built.append((bar.high, bar.low, bar.close))
    later = SyntheticFeed(
        instruments={item.symbol: item for item in FOUR}, seed=3, offset=60_000, clock=lambda: NOON + timedelta(seconds=60)
    )
    past = [(bar.high, bar.low, bar.close) for bar in await later.history("BTCUSDT", bars=20, interval_s=2)]
    assert past[:19] == built[-19:] or past[:19] == built[-20:-1]


def test_it_prices_symbols_it_never_heard_of() -> None:
    odd = Instrument("ODD", FOUR[0].asset_class, D("25"), D(1), D(5), "USDT")
    quote = next(iter(ticks(1, [odd], NOON)))
    assert isinstance(quote, Quote)
    assert quote.bid >= 1000
