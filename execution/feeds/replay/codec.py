"""What is written on a tape, as messages of the port. Pure: bytes and rows in, quotes, trades and bars out.

Two kinds of tape. *Lines*: raw Binance streams, one JSON message a line after our local receive time in nanoseconds; that time is
the market's time here, because book tickers carry none of their own and one clock must order them all. *Bars*: CSV rows with
open, high, low and close, whose market time is the bar's end.
"""

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import PurePath
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from execution.core.messages import Bar, Trade
from execution.feeds.bars import EPOCH
from risk.core.units import NO_LIMIT, ZERO, Instrument, Quote

FORMATS: Final = (
    "CSV bars with a header (time, open, high, low, close, volume), LEAN minute, hour or daily bars, and raw Binance streams"
    " as lines of “receive time in ns, JSON”; each plain, zipped or gzipped"
)


class NotATape(ValueError):
    """The file cannot be replayed; the text is one sentence for people."""

    def __init__(self, path: object, why: str) -> None:
        super().__init__(f"{path} is not a tape: {why}. A tape is {FORMATS}.")


class BrokenLine(ValueError):
    """One line cannot be read. It is counted, logged and skipped."""


# --- raw Binance lines -------------------------------------------------------------------------------------------------


class _Book(msgspec.Struct, gc=False):
    s: str
    b: str
    B: str
    a: str
    A: str


class _BookLine(msgspec.Struct, gc=False):
    data: _Book


class _Trade(msgspec.Struct, gc=False):
    s: str
    p: str
    q: str


class _TradeLine(msgspec.Struct, gc=False):
    data: _Trade


_decode_book: Final = msgspec.json.Decoder(_BookLine).decode
_decode_trade: Final = msgspec.json.Decoder(_TradeLine).decode
#: a tape repeats its prices: each text becomes a Decimal once, and equal prices are the same object
_NUMBERS_MAX: Final = 50_000


def line_at(line: bytes) -> datetime | None:
    """The receive time that opens a raw line; None when the line does not open with one."""
    try:
        return EPOCH + timedelta(0, int(line[:10]), int(line[10:16])) if line[16:19].isdigit() and line[19:21] == b" {" else None
    except ValueError:
        return None


class BinanceLines:
    """Reads raw lines in their order; remembers each symbol's last trade and when its prices last changed.

    `symbols` are the ones wanted, None for all.
    """

    def __init__(self, symbols: Container[str] | None) -> None:
        self._symbols = symbols
        self._numbers: dict[str, Decimal] = {}
        self._number = self._numbers.get
        self._last: dict[str, Decimal] = {}
        self._seen: dict[str, tuple[Decimal, Decimal, Decimal, datetime]] = {}

    def read(self, line: bytes, at: datetime, now: datetime) -> tuple[Quote] | tuple[Trade] | tuple[()]:
        """The quote or trade of a line, or nothing for a message that carries neither. Raises BrokenLine."""
        try:
            if line.find(b"@bookTicker", 20, 80) > 0:
                return self._quote(_decode_book(line[20:]).data, at, now)
            if line.find(b"@trade", 20, 80) > 0:
                return self._trade(_decode_trade(line[20:]).data, at, now)
        except (msgspec.MsgspecError, InvalidOperation, UnicodeDecodeError) as e:
            raise BrokenLine(str(e) or type(e).__name__) from e
        if not line.rstrip().endswith(b"}"):
            raise BrokenLine("the line is cut off")
        return ()

    def _quote(self, book: _Book, at: datetime, now: datetime) -> tuple[Quote] | tuple[()]:
        number, new, symbol = self._number, self._new_number, book.s
        if self._symbols is not None and symbol not in self._symbols:
            return ()
        bid, ask = number(book.b) or new(book.b), number(book.a) or new(book.a)
        last, seen = self._last.get(symbol, bid), self._seen.get(symbol)
        if seen is None or seen[0] is not bid or seen[1] is not ask or seen[2] is not last:
            seen = self._seen[symbol] = (bid, ask, last, now)
        return (Quote(symbol, bid, ask, last, at, now, seen[3], _size(book.B), _size(book.A)),)

    def _trade(self, trade: _Trade, at: datetime, now: datetime) -> tuple[Trade] | tuple[()]:
        if self._symbols is not None and trade.s not in self._symbols:
            return ()
        price = self._last[trade.s] = self._number(trade.p) or self._new_number(trade.p)
        return (Trade(trade.s, price, _size(trade.q), at, now),)

    def _new_number(self, text: str) -> Decimal:
        value = Decimal(text)
        if not value.is_finite() or value <= 0:
            raise BrokenLine(f"{text} is not a price")
        if len(self._numbers) >= _NUMBERS_MAX:
            self._numbers.clear()
        self._numbers[text] = value
        return value


def _size(text: str) -> Decimal:
    value = Decimal(text)
    # NaN fails this comparison by raising
    if not ZERO <= value < NO_LIMIT:
        raise BrokenLine(f"{text} is not a size")
    return value


# --- bars --------------------------------------------------------------------------------------------------------------


class BarRow(msgspec.Struct, frozen=True):
    """A row of a bar tape. `bid` and `ask` are the closing ones where the tape has them."""

    symbol: str
    start_at: datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    bid: Decimal | None = None
    ask: Decimal | None = None


def bar_of(row: BarRow, interval_s: int) -> Bar:
    return Bar(row.symbol, interval_s, row.start_at, row.open, row.high, row.low, row.close, row.volume)


def closing_quote(row: BarRow, instrument: Instrument, at: datetime, now: datetime, changed_at: datetime) -> Quote:
    """The price at a bar's end: its own bid and ask, else its close and one tick above."""
    bid = row.close if row.bid is None else row.bid
    ask = row.close + instrument.tick_size if row.ask is None else row.ask
    return Quote(row.symbol, bid, ask, row.close, at, now, changed_at)


_TIME_NAMES: Final = ("datetime", "date", "time", "timestamp", "open_time")
_SYMBOL_NAMES: Final = ("symbol", "ticker")
_NEW_YORK: Final = ZoneInfo("America/New_York")
_LEAN_TIME: Final = "%Y%m%d %H:%M"


def _price(text: str) -> Decimal:
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise BrokenLine(f"“{text}” is not a number") from None
    if not value.is_finite() or value <= 0:
        raise BrokenLine(f"{text} is not a price")
    return value


def _volume(text: str) -> Decimal:
    try:
        value = Decimal(text or "0")
    except InvalidOperation:
        raise BrokenLine(f"“{text}” is not a number") from None
    if not value.is_finite() or value < 0:
        raise BrokenLine(f"{text} is not a volume")
    return value


def _prices(texts: Sequence[str]) -> tuple[Decimal, Decimal, Decimal, Decimal]:
    first, high, low, close = (_price(text) for text in texts)
    if not low <= min(first, close) or not high >= max(first, close):
        raise BrokenLine(f"open {first} and close {close} are not between low {low} and high {high}")
    return first, high, low, close


def _time(text: str) -> datetime:
    """ISO date or time (UTC unless it says otherwise), or seconds or milliseconds since the epoch."""
    try:
        if text.isdigit() and len(text) >= 9:
            return EPOCH + (timedelta(milliseconds=int(text)) if len(text) >= 12 else timedelta(seconds=int(text)))
        at = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise BrokenLine(f"“{text}” is not a time") from None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


class CsvBars:
    """Bars under a header: the columns by their names, the symbol from a column or from the file's name."""

    def __init__(self, columns: Sequence[str], symbol: str) -> None:
        self._symbol = symbol
        self._time = next(columns.index(name) for name in _TIME_NAMES if name in columns)
        self._prices = tuple(columns.index(name) for name in ("open", "high", "low", "close"))
        self._volume = columns.index("volume") if "volume" in columns else None
        self._ticker = next((columns.index(name) for name in _SYMBOL_NAMES if name in columns), None)

    @classmethod
    def of_header(cls, header: str, symbol: str) -> CsvBars | None:
        """A reader for this first line, None when it is no header of bars."""
        columns = [name.strip().strip('"').lower() for name in header.split(",")]
        is_bars = {"open", "high", "low", "close"} <= set(columns) and any(name in columns for name in _TIME_NAMES)
        return cls(columns, symbol) if is_bars else None

    def read(self, line: str) -> BarRow:
        fields = [field.strip().strip('"') for field in line.split(",")]
        try:
            prices = _prices([fields[index] for index in self._prices])
            volume = ZERO if self._volume is None else _volume(fields[self._volume])
            symbol = self._symbol if self._ticker is None else fields[self._ticker].upper()
            return BarRow(symbol, _time(fields[self._time]), *prices, volume)
        except IndexError:
            raise BrokenLine(f"{len(fields)} columns are too few") from None


class LeanBars:
    """Bars without a header in LEAN's layout: trades have six columns, quotes eleven (bid bar, size, ask bar, size).

    Equities are in New York time with prices × 10,000, everything else in UTC with plain prices.
    """

    _MINUTE = re.compile(r"(\d{8})_([a-z0-9.]+)_(?:minute|second)_(?:trade|quote)(?:_\d{6})?\.csv")

    def __init__(self, symbol: str, day: datetime | None, *, is_equity: bool) -> None:
        self._symbol = symbol
        self._day = day
        self._zone = _NEW_YORK if is_equity else UTC
        self._scale = Decimal("0.0001") if is_equity else Decimal(1)

    @classmethod
    def of_member(cls, member: str, path: PurePath, first: str) -> LeanBars | None:
        """A reader for a file of this name with this first line, None when it is not LEAN's."""
        is_equity = "equity" in path.parts
        if found := cls._MINUTE.fullmatch(member):
            return cls(found[2].upper(), datetime.strptime(found[1], "%Y%m%d"), is_equity=is_equity)  # noqa: DTZ007 — zone added per row
        if re.match(r"\d{8} \d\d:\d\d,", first) and first.count(",") in {5, 10}:
            return cls(symbol_of(member), None, is_equity=is_equity)
        return None

    def read(self, line: str) -> BarRow:
        fields = line.strip().split(",")
        if len(fields) not in {6, 11}:
            raise BrokenLine(f"{len(fields)} columns, not 6 or 11")
        start_at = self._start_at(fields[0])
        bid = self._scaled(fields[1:5])
        if len(fields) == 6:
            return BarRow(self._symbol, start_at, *bid, _volume(fields[5]))
        ask = self._scaled(fields[6:10])
        first, high, low, close = ((b + a) / 2 for b, a in zip(bid, ask, strict=True))
        return BarRow(self._symbol, start_at, first, high, low, close, _volume(fields[5]), bid[3], ask[3])

    def _scaled(self, texts: Sequence[str]) -> tuple[Decimal, Decimal, Decimal, Decimal]:
        first, high, low, close = _prices(texts)
        return first * self._scale, high * self._scale, low * self._scale, close * self._scale

    def _start_at(self, text: str) -> datetime:
        try:
            at = datetime.strptime(text, _LEAN_TIME) if self._day is None else self._day + timedelta(milliseconds=int(text))  # noqa: DTZ007
        except (ValueError, OverflowError):
            raise BrokenLine(f"“{text}” is not a time") from None
        return at.replace(tzinfo=self._zone).astimezone(UTC)


# --- names -------------------------------------------------------------------------------------------------------------

_CURRENCIES: Final = ("usdt", "usdc", "usd", "eur", "gbp", "jpy", "btc", "eth")
_NOT_SYMBOLS: Final = frozenset(
    [
        "bitstamp",
        "binance",
        "coinbase",
        "kraken",
        "yahoo",
        "oanda",
        "min",
        "minute",
        "day",
        "daily",
        "hour",
        "hourly",
        "second",
        "trade",
        "quote",
        "csv",
        "gz",
        "zip",
        "bars",
        "data",
    ]
)


def symbol_of(name: str) -> str:
    """The symbol in a file's name: the part that ends in a currency, else the first part that is neither number nor venue."""
    parts = [part for part in re.split(r"[^a-z0-9]+", name.lower()) if part and not part.isdigit() and part not in _NOT_SYMBOLS]
    pairs = [part for part in parts if part.endswith(_CURRENCIES) and len(part) >= 6]
    return (pairs or parts or ["unnamed"])[0].upper()
