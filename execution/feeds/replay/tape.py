"""Opening a tape: what is in the file, by its content; its lines from any offset, its moments in order."""

from __future__ import annotations

import gzip
import io
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from datetime import datetime, timedelta
from itertools import islice, pairwise
from pathlib import Path
from typing import IO, Any, Final, Protocol

from execution.core.messages import Bar, Trade
from execution.feeds.bars import EPOCH
from execution.feeds.replay.codec import (
    BarRow,
    BinanceLines,
    BrokenLine,
    CsvBars,
    LeanBars,
    NotATape,
    bar_of,
    closing_quote,
    line_at,
    symbol_of,
)
from risk.core.units import ZERO, Instrument, Quote

Events = tuple[Quote | Trade | Bar, ...]
#: told of a line that cannot be read: its number (from one) and why
OnBroken = Callable[[int, str], None]

_SNIFF_LINES: Final = 50
_SYMBOL_LINES: Final = 2000
_DAMAGED: Final = (gzip.BadGzipFile, zipfile.BadZipFile, zlib.error, EOFError, OSError)


class Tape(Protocol):
    """`size_up_to(n)` counts moments or lines, at most n. `moments(offset)` are those after it, as (offset after, time, raw)."""

    symbols: frozenset[str]
    #: seconds of a symbol's bars; a tape of quotes and trades has none
    intervals: Mapping[str, int]

    def size_up_to(self, most: int) -> int: ...

    def moments(self, offset: int, broken: OnBroken) -> Iterator[tuple[int, datetime, bytes | BarRow]]: ...

    def reader(self, instruments: Mapping[str, Instrument]) -> Callable[[Any, datetime, datetime], Events]: ...


def open_tape(path: str | Path) -> Tape:
    """The tape in this file. Raises NotATape, which names the formats that are read."""
    path = Path(path)
    _require_file(path)
    damage: list[Exception] = []
    try:
        member = _member(path)
        head = list(islice(_lines(path, damage.append), _SNIFF_LINES))
    except _DAMAGED as e:
        raise NotATape(path, f"it cannot be read ({_why(e)})") from e
    if damage and not head:
        raise NotATape(path, f"it cannot be read ({_why(damage[0])})")
    if any(line_at(line) for line in head):
        return _with_prices(path, LineTape(path), f"its first {_SYMBOL_LINES:,} lines hold neither a book ticker nor a trade")
    if not any(line.strip() for line in head):
        raise NotATape(path, "it is empty")
    first = next(line for line in head if line.strip()).decode("utf-8-sig", "replace").strip()
    name = member or path.name
    reader = CsvBars.of_header(first, symbol_of(name)) or LeanBars.of_member(name, path, first)
    if reader is None:
        raise NotATape(path, "its first lines are in none of the formats")
    return _with_prices(path, BarTape(path, reader), "it holds no bar")


def _require_file(path: Path) -> None:
    """Raises NotATape, which says what is there instead."""
    try:
        mode = path.stat().st_mode
    except OSError as e:
        is_absent = isinstance(e, FileNotFoundError | NotADirectoryError)
        raise NotATape(path, "there is no such file" if is_absent else f"it cannot be read ({_why(e)})") from e
    if stat.S_ISDIR(mode):
        raise NotATape(path, "it is a folder; name one file in it")
    if not stat.S_ISREG(mode):
        raise NotATape(path, "it is not a plain file")


def _why(error: Exception) -> str:
    """The error in its own words, without the number and the file's name."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def _with_prices(path: Path, tape: LineTape | BarTape, why_not: str) -> Tape:
    if not tape.symbols:
        raise NotATape(path, why_not)
    return tape


def _member(path: Path) -> str:
    """The name of the file inside an archive; empty for a file that is none."""
    name, stream = _open(path)
    stream.close()
    return name


def _open(path: Path) -> tuple[str, IO[bytes]]:
    """The uncompressed bytes, and the name of the file inside an archive."""
    with path.open("rb") as raw:
        magic = raw.read(4)
    if magic[:2] == b"\x1f\x8b":
        return "", io.BufferedReader(_Gunzip(path), 1 << 20)
    if magic == b"PK\x03\x04":
        archive = zipfile.ZipFile(path)
        member = min(archive.namelist(), default="")
        if not member or archive.getinfo(member).flag_bits & 1:
            raise zipfile.BadZipFile("the archive is empty or encrypted")
        return member, archive.open(member)
    return "", path.open("rb", 1 << 20)


class _Gunzip(io.RawIOBase):
    """A gzip file in small bites: where it is damaged, everything before the damage has been read."""

    def __init__(self, path: Path) -> None:
        self._file = gzip.GzipFile(path)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        bite = self._file.read1(len(buffer))
        buffer[: len(bite)] = bite
        return len(bite)

    def close(self) -> None:
        self._file.close()
        super().close()


def _lines(path: Path, damaged: Callable[[Exception], object] = lambda error: None) -> Iterator[bytes]:
    """Every line up to the end, or up to where the file is damaged, which is told."""
    _, stream = _open(path)
    with closing(stream):
        try:
            yield from stream
        except _DAMAGED as e:
            damaged(e)


class LineTape:
    """Raw lines, read as they come: the offset is the number of lines consumed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.symbols = self._symbols()
        self.intervals: Mapping[str, int] = {}

    def _symbols(self) -> frozenset[str]:
        found: set[str] = set()
        codec = BinanceLines(None)
        for line in islice(_lines(self._path), _SYMBOL_LINES):
            if at := line_at(line):
                with suppress(BrokenLine):
                    found.update(event.symbol for event in codec.read(line, at, at))
        return frozenset(found)

    def size_up_to(self, most: int) -> int:
        return sum(1 for _ in islice(_lines(self._path), most))

    def moments(self, offset: int, broken: OnBroken) -> Iterator[tuple[int, datetime, bytes | BarRow]]:
        number, second, second_at = offset, b"", EPOCH
        lines = _lines(self._path, lambda error: broken(number + 1, f"the file is damaged here and ends ({error})"))
        for line in islice(lines, offset, None):
            number += 1
            # the full depth of the book is the larger part of such a tape, and nobody here reads it
            if line.find(b"@depth", 20, 80) > 0:
                continue
            # as line_at() does it, but a second is computed once
            if line[:10] != second or line[19:21] != b" {" or not line[10:19].isdigit():
                if (at := line_at(line)) is None:
                    if line.strip():
                        broken(number, "it does not begin with a receive time in ns")
                    continue
                second, second_at = line[:10], at.replace(microsecond=0)
            yield number, second_at + timedelta(0, 0, int(line[10:16])), line

    def reader(self, instruments: Mapping[str, Instrument]) -> Callable[[Any, datetime, datetime], Events]:
        return BinanceLines(instruments).read


class BarTape:
    """Bars, read whole and put in the order of their ends (some files are newest first). The offset is the number of bars."""

    def __init__(self, path: Path, codec: CsvBars | LeanBars) -> None:
        self._rows: list[tuple[datetime, BarRow]] = []
        self._broken: list[tuple[int, str]] = []
        rows = list(self._read(path, codec))
        self.intervals: Mapping[str, int] = _intervals(rows)
        self._rows = sorted(((row.start_at + self._length(row), row) for row in rows), key=lambda pair: pair[0])
        self.symbols = frozenset(self.intervals)
        #: a tape that tells no volume at all says by each bar that somebody traded
        self._with_volume = frozenset(row.symbol for row in rows if row.volume > ZERO)

    def _read(self, path: Path, codec: CsvBars | LeanBars) -> Iterator[BarRow]:
        number = 0
        lines = _lines(path, lambda error: self._broken.append((number + 1, f"the file is damaged here and ends ({error})")))
        for number, line in enumerate(lines, start=1):
            text = line.decode("utf-8-sig", "replace").strip()
            if not text or text.startswith("#") or (number == 1 and isinstance(codec, CsvBars)):
                continue
            try:
                yield codec.read(text)
            except BrokenLine as e:
                self._broken.append((number, str(e)))

    def _length(self, row: BarRow) -> timedelta:
        return timedelta(seconds=self.intervals[row.symbol])

    def size_up_to(self, most: int) -> int:
        return min(most, len(self._rows))

    def moments(self, offset: int, broken: OnBroken) -> Iterator[tuple[int, datetime, bytes | BarRow]]:
        for number, why in self._broken:
            broken(number, why)
        for index in range(offset, len(self._rows)):
            yield index + 1, *self._rows[index]

    def reader(self, instruments: Mapping[str, Instrument]) -> Callable[[Any, datetime, datetime], Events]:
        changed: dict[str, datetime] = {}

        def events(row: BarRow, at: datetime, now: datetime) -> Events:
            if (instrument := instruments.get(row.symbol)) is None:
                return ()
            is_change = row.volume > ZERO or row.bid is not None or row.symbol not in self._with_volume
            if is_change or row.symbol not in changed:
                changed[row.symbol] = now
            # the price first, so that what is decided on the bar is decided on a fresh price
            quote = closing_quote(row, instrument, at, now, changed[row.symbol])
            return quote, bar_of(row, self.intervals[row.symbol])

        return events


def _intervals(rows: list[BarRow]) -> dict[str, int]:
    """The length of each symbol's bars: the shortest distance between two of them; a lone bar is a day's."""
    times: dict[str, list[datetime]] = {}
    for row in rows:
        times.setdefault(row.symbol, []).append(row.start_at)
    found = {}
    for symbol, starts in times.items():
        starts.sort()
        gaps = [int((b - a).total_seconds()) for a, b in pairwise(starts) if b > a]
        found[symbol] = max(1, min(gaps, default=86_400))
    return found
