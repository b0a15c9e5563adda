"""Words for the feeds' tests: tiny tapes, a clock that stands at noon, and everything a feed says."""

from __future__ import annotations

import gzip
import json
import zipfile
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from execution.core.messages import Bar, Trade
from execution.core.ports import Feed
from execution.feeds import open_feed
from risk.core.units import AssetClass, Instrument, Quote

D = Decimal
NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
#: when the tapes were recorded
THEN = datetime(2024, 8, 8, 23, 54, tzinfo=UTC)
Heard = Quote | Trade | Bar


def instrument(symbol: str, tick: str = "0.01") -> Instrument:
    return Instrument(symbol, AssetClass.CRYPTO_SPOT, D(tick), D("0.001"), D(5), "USDT")


def after(seconds: float) -> datetime:
    return THEN + timedelta(seconds=seconds)


def raw(seconds: float, message: Any) -> str:
    ns = int((after(seconds) - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1)) * 1000 + 1
    return f"{ns} {json.dumps(message, separators=(',', ':'))}"


def book(seconds: float, bid: str, ask: str, symbol: str = "BTCUSDT") -> str:
    data = {"u": 1, "s": symbol, "b": bid, "B": "1.5", "a": ask, "A": "2.5"}
    return raw(seconds, {"stream": f"{symbol.lower()}@bookTicker", "data": data})


def deal(seconds: float, price: str, qty: str = "0.1", symbol: str = "BTCUSDT") -> str:
    data = {"e": "trade", "E": 1, "s": symbol, "t": 1, "p": price, "q": qty, "T": 1, "m": True, "M": True}
    return raw(seconds, {"stream": f"{symbol.lower()}@trade", "data": data})


def depth(seconds: float) -> str:
    return raw(seconds, {"stream": "btcusdt@depth@100ms", "data": {"e": "depthUpdate", "s": "BTCUSDT", "b": [["1", "2"]], "a": []}})


def tape(folder: Path, lines: Iterable[str], name: str = "tape.gz") -> Path:
    """A tape with these lines: gzipped, zipped or plain by its name."""
    path, text = folder / name, "\n".join(lines) + "\n"
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(text.encode()))
    elif name.endswith(".zip"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(f"{path.stem}.csv", text)
    else:
        path.write_text(text)
    return path


def replay(path: Path, *symbols: str, offset: int = 0, speed: str = "max") -> Feed:
    wanted = {symbol: instrument(symbol) for symbol in symbols or ("BTCUSDT",)}
    return open_feed(f"replay:{path}@{speed}", instruments=wanted, seed=1, offset=offset, clock=lambda: NOON)


async def heard(feed: Feed, most: int | None = None) -> list[Heard]:
    """Everything the feed says, or its first words."""
    found: list[Heard] = []
    async for event in feed.events():
        found.append(event)
        if len(found) == most:
            break
    return found
