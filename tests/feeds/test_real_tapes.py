"""The recorded markets that a developer's machine may hold beside the project. Skipped, with a message, where they are absent."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from execution.core.messages import Bar
from execution.feeds import tape_symbols
from risk.core.units import Quote
from tests.feeds.builders import heard, replay

MARKET = Path(__file__).resolve().parents[3] / "shared" / "data" / "market"

pytestmark = pytest.mark.skipif(not MARKET.is_dir(), reason=f"there are no recorded markets at {MARKET}")


@pytest.mark.parametrize(
    ("name", "symbols", "whole"),
    [
        ("hftbacktest/spot/btcusdt_20240808.gz", {"BTCUSDT"}, {"Quote": 28040, "Trade": 9757}),
        ("basana/bitstamp_btcusd_min_2020_01_01.csv", {"BTCUSD"}, {"Quote": 1440, "Bar": 1440}),
        ("basana/bitstamp_btcusd_day_2015.csv", {"BTCUSD"}, {"Quote": 365, "Bar": 365}),
        ("basana/binance_btcusdt_day_2020.csv", {"BTCUSDT"}, {"Quote": 366, "Bar": 366}),
        ("basana/orcl-2000-yahoo.csv", {"ORCL"}, {"Quote": 252, "Bar": 252}),
        ("basana/orcl-2001-yahoo.csv", {"ORCL"}, {"Quote": 248, "Bar": 248}),
        ("bokeh_sampledata/stocks.csv.gz", {"AAPL", "FB", "GOOG", "IBM", "MSFT"}, {"Quote": 12154, "Bar": 12154}),
        ("lean/equity/usa/minute/aapl/20140605_quote.zip", {"AAPL"}, {"Quote": 830, "Bar": 830}),
        ("lean/equity/usa/daily/ibm.zip", {"IBM"}, {"Quote": 5849, "Bar": 5849}),
        ("lean/forex/oanda/minute/eurusd/20140507_quote.zip", {"EURUSD"}, {"Quote": 1406, "Bar": 1406}),
        ("lean/crypto/coinbase/daily/btcusd_trade.zip", {"BTCUSD"}, None),
    ],
)
async def test_it_replays_the_whole_tape(name: str, symbols: set[str], whole: dict[str, int] | None) -> None:
    assert tape_symbols(MARKET / name) == symbols
    fresh = replay(MARKET / name, *symbols)
    past = await fresh.history(min(symbols), bars=10, interval_s=2)
    streamed = await heard(fresh)
    from_the_start = await heard(replay(MARKET / name, *symbols, offset=1))
    assert fresh.broken_lines == 0
    assert 0 < len(streamed) < len(from_the_start)
    assert [event.at for event in streamed if isinstance(event, Quote)] == sorted(e.at for e in streamed if isinstance(e, Quote))
    assert past
    first = streamed[0]
    assert isinstance(past[-1], Bar)
    assert past[-1].start_at < (first.start_at if isinstance(first, Bar) else first.at)
    if whole is not None:
        events = Counter(type(event).__name__ for event in from_the_start)
        # opened after the first line, which is a depth update, a bar, or a header's first row
        assert all(0 <= count - events[kind] <= 1 for kind, count in whole.items())
