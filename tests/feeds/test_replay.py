"""Tapes: what is read, what is skipped, where they go on."""

from __future__ import annotations

import asyncio
import gzip
import logging
import os
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest

from execution.core.messages import Bar, Trade
from execution.core.ports import Feed
from execution.feeds import NotATape, open_feed, replay_of, tape_symbols
from risk.core.units import Quote
from tests.feeds.builders import NOON, THEN, D, Heard, after, book, deal, depth, heard, instrument, raw, replay, tape

#: what moves the tapes' time ahead of NOON
DAYS = NOON.replace(hour=0) - THEN.replace(hour=0, minute=0)

#: eight lines: two are history, six are streamed
LINES = [book(0, "99", "100"), deal(0.5, "100"), book(1, "99", "100"), deal(2, "101"), depth(2), book(3, "100", "101")]
MORE = [book(4, "100", "101"), deal(5, "101")]


def plot(events: list[Heard]) -> list[tuple[str, str]]:
    """Each event as its kind and price."""
    prices = {Quote: "bid", Trade: "price", Bar: "close"}
    return [(type(event).__name__, str(getattr(event, prices[type(event)]))) for event in events]


async def test_it_streams_quotes_and_trades_on_the_tapes_time(tmp_path: Path) -> None:
    feed = replay(tape(tmp_path, [*LINES, *MORE]))
    events = await heard(feed)
    assert plot(events) == [("Quote", "99"), ("Trade", "101"), ("Quote", "100"), ("Quote", "100"), ("Trade", "101")]
    quote = events[2]
    assert quote == Quote("BTCUSDT", D(100), D(101), D(101), after(3), after(3) + DAYS, after(3) + DAYS, D("1.5"), D("2.5"))
    assert feed.offset == 8
    assert feed.broken_lines == 0
    assert (feed.is_synthetic, feed.has_synchronised_clock, feed.label) == (False, False, "replay tape as fast as possible")


async def test_it_knows_when_a_price_last_changed(tmp_path: Path) -> None:
    """Content that keeps coming and never changes is a frozen price: the time of change is that of the first of its kind."""
    lines = [book(n, "99", "100") for n in range(8)] + [book(8, "99", "101"), deal(9, "101"), book(10, "99", "101")]
    ticking = iter(range(100))
    wanted = {"BTCUSDT": instrument("BTCUSDT")}
    clock = lambda: NOON + timedelta(seconds=next(ticking))  # noqa: E731
    feed = open_feed(f"replay:{tape(tmp_path, lines)}@9999999", instruments=wanted, seed=1, offset=1, clock=clock)
    quotes = [event for event in await heard(feed) if isinstance(event, Quote)]
    since = [(quote.changed_at - NOON).total_seconds() for quote in quotes]
    assert since == [0, 0, 0, 0, 0, 0, 0, 7, 9]


@pytest.mark.parametrize("name", ["tape.gz", "tape.zip", "tape.jsonl"])
async def test_it_tells_a_tape_by_what_is_in_it(tmp_path: Path, name: str) -> None:
    path = tape(tmp_path, [*LINES, *MORE], name)
    assert tape_symbols(path) == {"BTCUSDT"}
    assert len(await heard(replay(path))) == 5


async def test_it_goes_on_with_the_next_line(tmp_path: Path) -> None:
    """Broken off after any event and opened at its offset, it loses nothing and repeats nothing."""
    path = tape(tmp_path, [*LINES, *MORE])
    whole = plot(await heard(replay(path)))
    for most in range(1, len(whole)):
        first = replay(path)
        before = plot(await heard(first, most))
        rest = plot(await heard(replay(path, offset=first.offset)))
        assert before + rest == whole


BROKEN = [
    "rubbish",
    raw(4, {"stream": "btcusdt@bookTicker", "data": {"s": "BTCUSDT", "b": "NaN", "B": "1", "a": "1", "A": "1"}}),
    raw(4, {"stream": "btcusdt@bookTicker", "data": {"s": "BTCUSDT", "b": "-5", "B": "1", "a": "1", "A": "1"}}),
    raw(4, {"stream": "btcusdt@bookTicker", "data": {"s": "BTCUSDT", "b": "5x", "B": "1", "a": "1", "A": "1"}}),
    raw(4, {"stream": "btcusdt@bookTicker", "data": {"s": "BTCUSDT", "b": 5}}),
    book(4, "99", "100")[:-9],
    deal(4, "99")[:-3],
    "172316125x" + book(4, "99", "100")[10:],
    book(3, "99", "100")[:10] + "xxxxxx" + book(3, "99", "100")[16:],
]


@pytest.mark.parametrize("broken", BROKEN)
async def test_it_counts_logs_and_skips_a_broken_line(tmp_path: Path, broken: str, caplog: pytest.LogCaptureFixture) -> None:
    feed = replay(tape(tmp_path, [*LINES, broken, *MORE]))
    with caplog.at_level(logging.WARNING):
        events = await heard(feed)
    assert len(events) == 5
    assert feed.broken_lines == 1
    assert [record.getMessage().split(" of ")[0] for record in caplog.records] == ["Line 7"]


async def test_it_takes_a_tape_that_was_cut_off(tmp_path: Path) -> None:
    path = tape(tmp_path, [book(n, "99", str(100 + n * 7 % 13)) for n in range(5000)])
    path.write_bytes(path.read_bytes()[:-2000])
    feed = replay(path, offset=1)
    assert 0 < len(await heard(feed)) < 4999
    assert feed.broken_lines == 1


async def test_it_reads_past_messages_it_has_no_use_for(tmp_path: Path) -> None:
    lines = [raw(0, {"lastUpdateId": 1, "bids": []}), *LINES, raw(3, {"result": None, "id": 1}), "", *MORE]
    feed = replay(tape(tmp_path, lines), offset=1)
    assert len(await heard(feed)) == 7
    assert feed.broken_lines == 0


async def test_it_is_silent_on_what_is_not_traded_here(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tape(tmp_path, [book(n, "99", "100", symbol) for n in range(4) for symbol in ("BTCUSDT", "ETHUSDT")])
    assert tape_symbols(path) == {"BTCUSDT", "ETHUSDT"}
    assert {event.symbol for event in await heard(replay(path, "ETHUSDT"))} == {"ETHUSDT"}
    with caplog.at_level(logging.WARNING):
        assert await heard(replay(path, "LTCUSDT")) == []
    assert "carries BTCUSDT, ETHUSDT; none of them is traded here" in caplog.text


# --- history -----------------------------------------------------------------------------------------------------------


async def test_it_gives_the_first_quarter_as_history(tmp_path: Path) -> None:
    path = tape(tmp_path, [deal(n, str(100 + n)) for n in range(80)])
    feed = replay(path)
    assert feed.offset == 20
    bars = await feed.history("BTCUSDT", bars=5, interval_s=2)
    assert [bar.close for bar in bars] == [D(109), D(111), D(113), D(115), D(117)]
    assert bars[-1].start_at == after(16)
    first = (await heard(feed, 1))[0]
    assert isinstance(first, Trade)
    assert first.at == after(20)


async def test_it_gives_the_bars_before_an_offset_as_history(tmp_path: Path) -> None:
    feed = replay(tape(tmp_path, [deal(n, str(100 + n)) for n in range(80)]), offset=61)
    bars = await feed.history("BTCUSDT", bars=3, interval_s=2)
    assert [bar.start_at for bar in bars] == [after(54), after(56), after(58)]
    assert await feed.history("BTCUSDT", bars=500, interval_s=3600) == []


# --- bars --------------------------------------------------------------------------------------------------------------

MINUTES = ["datetime,open,high,low,close,volume"] + [
    f"2020-01-01 00:{n:02}:00,{100 + n},{102 + n},{99 + n},{101 + n},{n % 3}" for n in range(8)
]


async def test_it_tells_the_price_at_a_bars_end_before_the_bar(tmp_path: Path) -> None:
    feed = replay(tape(tmp_path, MINUTES, "bitstamp_btcusd_min_2020_01_01.csv"), "BTCUSD")
    events = await heard(feed)
    assert feed.offset == 8
    assert plot(events)[:4] == [("Quote", "103"), ("Bar", "103"), ("Quote", "104"), ("Bar", "104")]
    quote, bar = events[0], events[1]
    end, midnight = datetime(2020, 1, 1, 0, 3, tzinfo=UTC), datetime(2026, 1, 6, 0, 3, tzinfo=UTC)
    assert quote == Quote("BTCUSD", D(103), D("103.01"), D(103), end, midnight, midnight)
    assert bar == Bar("BTCUSD", 60, end - timedelta(seconds=60), D(102), D(104), D(101), D(103), D(2))


async def test_it_calls_a_price_without_volume_unchanged(tmp_path: Path) -> None:
    path = tape(tmp_path, MINUTES, "btcusd.csv")
    ticking = iter(range(100))
    wanted = {"BTCUSD": instrument("BTCUSD")}
    clock = lambda: NOON + timedelta(seconds=next(ticking))  # noqa: E731
    feed = open_feed(f"replay:{path}@9999999", instruments=wanted, seed=1, offset=1, clock=clock)
    quotes = [event for event in await heard(feed) if isinstance(event, Quote)]
    assert [(q.changed_at - NOON).total_seconds() for q in quotes] == [0, 1, 1, 3, 4, 4, 6]


async def test_it_freezes_no_price_of_a_tape_that_tells_no_volume(tmp_path: Path) -> None:
    path = tape(tmp_path, [row.rpartition(",")[0] for row in MINUTES], "btcusd.csv")
    ticking, wanted = count(), {"BTCUSD": instrument("BTCUSD")}
    feed = open_feed(
        f"replay:{path}@max", instruments=wanted, seed=1, offset=1, clock=lambda: NOON + timedelta(seconds=next(ticking))
    )
    quotes = [event for event in await heard(feed) if isinstance(event, Quote)]
    assert len({quote.received_at for quote in quotes}) == 7
    assert all(quote.changed_at == quote.received_at for quote in quotes)


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("2020-01-01 00:09:00,1,2", "3 columns are too few"),
        ("soon,100,102,99,101,1", "“soon” is not a time"),
        ("2020-01-01 00:09:00,100,102,99,abc,1", "“abc” is not a number"),
        ("2020-01-01 00:09:00,100,102,99,0,1", "0 is not a price"),
        ("2020-01-01 00:09:00,100,100.5,99,101,1", "open 100 and close 101 are not between low 99 and high 100.5"),
        ("2020-01-01 00:09:00,100,102,99,101,-1", "-1 is not a volume"),
    ],
)
async def test_it_counts_logs_and_skips_a_broken_bar(tmp_path: Path, row: str, why: str, caplog: pytest.LogCaptureFixture) -> None:
    feed = replay(tape(tmp_path, [*MINUTES[:4], row, *MINUTES[4:]], "btcusd.csv"), "BTCUSD")
    with caplog.at_level(logging.WARNING):
        assert len(await heard(feed)) == 12
    assert feed.broken_lines == 1
    assert [record.getMessage() for record in caplog.records] == [f"Line 5 of the tape is broken and skipped: {why}."]


async def test_it_puts_bars_in_the_order_of_time(tmp_path: Path) -> None:
    header, *rows = MINUTES
    bars = await heard(replay(tape(tmp_path, [header, *reversed(rows)], "btcusd.csv"), "BTCUSD"))
    assert [bar.at for bar in bars if isinstance(bar, Quote)] == sorted(bar.at for bar in bars if isinstance(bar, Quote))


@pytest.mark.parametrize(
    ("name", "symbol"),
    [
        ("bitstamp_btcusd_min_2020_01_01.csv", "BTCUSD"),
        ("binance_btcusdt_day_2020.csv", "BTCUSDT"),
        ("orcl-2000-yahoo.csv", "ORCL"),
        ("EURUSD.csv.gz", "EURUSD"),
    ],
)
def test_it_takes_the_symbol_from_the_name(tmp_path: Path, name: str, symbol: str) -> None:
    assert tape_symbols(tape(tmp_path, MINUTES, name)) == {symbol}


async def test_it_takes_the_symbol_from_a_column(tmp_path: Path) -> None:
    rows = [f"{symbol},2020-01-0{n},1,2,1,2,5" for symbol in ("AAPL", "IBM") for n in range(1, 5)]
    path = tape(tmp_path, ["Ticker,Date,Open,High,Low,Close,Volume", *rows], "stocks.csv.gz")
    assert tape_symbols(path) == {"AAPL", "IBM"}
    bars = [event for event in await heard(replay(path, "AAPL", "IBM")) if isinstance(event, Bar)]
    assert [(bar.symbol, bar.start_at.day, bar.interval_s) for bar in bars][:3] == [
        ("AAPL", 2, 86400),
        ("IBM", 2, 86400),
        ("AAPL", 3, 86400),
    ]


@pytest.mark.parametrize(
    ("folder", "rows", "start_at", "close"),
    [
        ("equity", ["34200000,6438000,6440600,6438000,6440600,100"] * 2, datetime(2014, 6, 5, 13, 30, tzinfo=UTC), "644.06"),
        ("crypto", ["0,611.78,611.91,611.78,611.9,1.1"] * 2, datetime(2014, 6, 5, tzinfo=UTC), "611.9"),
        ("crypto", ["0,10,10,10,10,1,12,12,12,12,1"] * 2, datetime(2014, 6, 5, tzinfo=UTC), "11"),
        ("crypto", ["20140605 01:00,10,10,10,10,1"] * 2, datetime(2014, 6, 5, 1, tzinfo=UTC), "10"),
    ],
)
async def test_it_reads_bars_without_a_header(tmp_path: Path, folder: str, rows: list[str], start_at: datetime, close: str) -> None:
    (tmp_path / folder).mkdir()
    name = "aapl.zip" if rows[0].startswith("2014") else "20140605_aapl_minute_trade.zip"
    path = tape(tmp_path / folder, rows, name)
    assert tape_symbols(path) == {"AAPL"}
    bar = next(event for event in await heard(replay(path, "AAPL", offset=1)) if isinstance(event, Bar))
    assert (bar.start_at, bar.close) == (start_at, D(close))


# --- what is not a tape, and how a feed is asked for -------------------------------------------------------------------


@pytest.mark.parametrize(
    "content", [b"", b"\n\n", b"hello\nworld\n", b"a,b,c\n1,2,3\n", b"\x1f\x8brubbish", b"PK\x03\x04rubbish", b"\xff\xfe"]
)
def test_it_refuses_what_is_not_a_tape_and_names_what_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "letter.txt"
    path.write_bytes(content)
    with pytest.raises(NotATape, match=r"letter\.txt is not a tape: .*CSV bars.*LEAN.*Binance.*gzipped"):
        tape_symbols(path)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("none.gz", "there is no such file"),
        ("btc.csv/none.gz", "there is no such file"),
        (".", "it is a folder; name one file in it"),
        ("pipe", "it is not a plain file"),
        ("loop", r"it cannot be read \(Too many levels of symbolic links\)"),
        ("btc.csv", "it holds no bar"),
        ("nothing.csv", "it is empty"),
        ("nothing.gz", "it is empty"),
        ("depth.gz", "its first 2,000 lines hold neither a book ticker nor a trade"),
    ],
)
def test_it_refuses_what_cannot_be_played_and_says_why(tmp_path: Path, name: str, why: str) -> None:
    tape(tmp_path, MINUTES[:1], "btc.csv")
    tape(tmp_path, [depth(0), depth(1)], "depth.gz")
    (tmp_path / "nothing.csv").touch()
    (tmp_path / "nothing.gz").write_bytes(gzip.compress(b"\n"))
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(NotATape, match=f"is not a tape: {why}"):
        open_feed(f"replay:{tmp_path}/{name}@60x", instruments={}, seed=1, clock=lambda: NOON)


@pytest.mark.parametrize("spec", ["", "replay:", "replay", "synthetic:", "synthetic:x", "alpaca"])
def test_it_refuses_a_text_that_names_no_feed(spec: str) -> None:
    with pytest.raises(ValueError, match="is no feed: write synthetic, synthetic:SEED, or replay:PATH@SPEED"):
        open_feed(spec, instruments={}, seed=1, clock=lambda: NOON)


@pytest.mark.parametrize(
    ("speed", "label"),
    [("", "1×"), ("@1x", "1×"), ("@60x", "60×"), ("@60", "60×"), ("@0.5x", "0.5×"), ("@max", "as fast as possible")],
)
def test_it_reads_a_speed(tmp_path: Path, speed: str, label: str) -> None:
    feed = open_feed(f"replay:{tape(tmp_path, LINES)}{speed}", instruments={}, seed=1, clock=lambda: NOON)
    assert feed.label == f"replay tape {label}"


@pytest.mark.parametrize("speed", ["0", "0x", "0.0", "-3", "fast", "", "1e3", "nan", "9" * 400])
def test_it_refuses_a_speed_that_is_none(tmp_path: Path, speed: str) -> None:
    with pytest.raises(ValueError, match=f"A tape cannot run at speed “{speed}”: write @1, @60 or @max"):
        open_feed(f"replay:{tape(tmp_path, LINES)}@{speed}", instruments={}, seed=1, clock=lambda: NOON)


def test_it_knows_a_file_with_an_at_in_its_name(tmp_path: Path) -> None:
    path = tape(tmp_path, LINES, "alice@home.gz")
    assert replay_of(f"replay:{path}") == (path, 1.0, "")
    assert replay_of(f"replay:{path}@60") == (path, 60.0, "@60")


@pytest.mark.parametrize("opened_at", [NOON, NOON.replace(hour=23, minute=53), NOON.replace(hour=23, minute=54), THEN])
async def test_as_fast_as_possible_it_moves_its_own_time_by_whole_days(tmp_path: Path, opened_at: datetime) -> None:
    """Each run of a tape then has the same windows and the same days, and its time begins after ours."""
    path = tape(tmp_path, [*LINES, *MORE])
    feed = open_feed(f"replay:{path}@max", instruments={"BTCUSDT": instrument("BTCUSDT")}, seed=1, clock=lambda: opened_at)
    events = [event for event in await heard(feed) if not isinstance(event, Bar)]
    (moved,) = {event.received_at - event.at for event in events}
    assert moved % timedelta(days=1) == timedelta(0)
    assert timedelta(minutes=1) <= events[0].received_at - opened_at < timedelta(days=1, minutes=1)
    assert (feed.is_in_step, replay(path, speed="60").is_in_step) == (True, False)


@pytest.mark.parametrize(("speed", "gap_ms"), [("1x", 60_000), ("60x", 1000), ("max", 0)])
def test_it_says_how_far_apart_its_bars_are(tmp_path: Path, speed: str, gap_ms: int) -> None:
    assert replay(tape(tmp_path, MINUTES, "btcusd.csv"), "BTCUSD", speed=speed).gap_ms == gap_ms
    assert replay(tape(tmp_path, LINES), speed=speed).gap_ms == 0


async def test_it_keeps_the_tapes_pace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At 60× the waits add up to a sixtieth of the tape. The loop's time is ours here: a wait moves it."""
    waited = await _waits(replay(tape(tmp_path, [*LINES, *MORE]), speed="60x", offset=1), monkeypatch)
    assert sum(waited) == pytest.approx(4.5 / 60, abs=1e-3)


async def test_it_goes_on_from_where_it_was_held_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever takes its prices may keep it waiting: what is left then comes at the tape's pace, not in a burst."""
    feed = replay(tape(tmp_path, [*LINES, *MORE]), speed="60x", offset=1)
    waited = await _waits(feed, monkeypatch, held_up_s=100.0)
    assert 0.5 * 4.5 / 60 < sum(waited) <= 4.5 / 60 + 1e-3


async def _waits(feed: Feed, monkeypatch: pytest.MonkeyPatch, *, held_up_s: float = 0.0) -> list[float]:
    loop, now, waited = asyncio.get_running_loop(), [0.0], []

    async def pass_time(seconds: float) -> None:
        waited.append(seconds)
        now[0] += seconds

    monkeypatch.setattr(loop, "time", lambda: now[0])
    monkeypatch.setattr(asyncio, "sleep", pass_time)
    async for _ in feed.events():
        now[0], held_up_s = now[0] + held_up_s, 0.0
    monkeypatch.undo()
    return waited


async def test_it_lets_others_work_while_it_runs_as_fast_as_possible(tmp_path: Path) -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(count())
    await heard(replay(tape(tmp_path, [book(n / 10, "99", "100") for n in range(4000)])))
    other.cancel()
    assert turns >= 10
