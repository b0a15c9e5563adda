"""The small parts: timers, watches, marks, the inbox, the checklist, the clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from execution.core.messages import LinkChanged, LinkKind, PriceAged, Touched, Trailed, Watch
from execution.core.trailing import Trail
from execution.engine import checklist as lines
from execution.engine.checklist import Checklist
from execution.engine.clock import AccountClock, Clock
from execution.engine.inbox import Inbox
from execution.engine.marks import Marks
from execution.engine.reconcile import pause_s
from execution.engine.timers import Timers
from execution.engine.watches import Watches
from risk.core.units import Quote, Side
from tests.conftest import NOON
from tests.engine.venue import until

D = Decimal


def quote(price: str, *, symbol: str = "BTCUSDT", at: datetime = NOON) -> Quote:
    return Quote(symbol, D(price) - 1, D(price) + 1, D(price), at, at, at)


def watch(watch_id: str, price: int, *, is_above: bool, symbol: str = "BTCUSDT") -> Watch:
    return Watch(watch_id=watch_id, symbol=symbol, price=D(price), is_above=is_above)


async def test_it_wakes_once_and_at_the_last_time_set() -> None:
    woke: list[str] = []
    clock = AccountClock(Clock())
    timers = Timers(clock, woke=woke.append)
    timers.set("late", clock.now() + timedelta(hours=1))
    timers.set("moved", clock.now() + timedelta(hours=1))
    timers.set("moved", clock.now() - timedelta(seconds=1))
    timers.set("soon", clock.now() + timedelta(milliseconds=5))
    await until(lambda: len(woke) == 2)
    assert sorted(woke) == ["moved", "soon"]
    timers.close()


@pytest.mark.parametrize(
    ("is_above", "price", "fires"),
    [
        (True, "99", False),
        (True, "100", True),
        (True, "101", True),
        (False, "101", False),
        (False, "100", True),
        (False, "99", True),
    ],
)
def test_it_fires_a_watch_at_its_price_and_beyond(price: str, *, is_above: bool, fires: bool) -> None:
    watches = Watches()
    watches.set(watch("w", 100, is_above=is_above))
    assert watches.on_quote(quote(price), NOON) == ([Touched(at=NOON, watch_id="w", price=D(price))] if fires else [])


def test_it_fires_a_watch_once_until_it_is_set_again() -> None:
    watches = Watches()
    watches.set(watch("w", 100, is_above=True))
    watches.set(watch("other", 100, is_above=True, symbol="ETHUSDT"))
    assert len(watches.on_quote(quote("100"), NOON)) == 1
    assert (watches.on_quote(quote("100"), NOON), "BTCUSDT" in watches) == ([], False)
    watches.set(watch("w", 100, is_above=True))
    watches.drop("w")
    assert watches.on_quote(quote("100"), NOON) == []


def heard(watches: Watches, path: str, *, every_s: float = 0.4) -> list[str]:
    """What a path of prices tells, one quote every so often; each as its name and number."""
    told = []
    for n, price in enumerate(path.split()):
        at = NOON + timedelta(seconds=n * every_s)
        for event in watches.on_quote(quote(price, at=at), at):
            assert not isinstance(event, PriceAged)
            told.append(f"{type(event).__name__} {event.price if isinstance(event, Touched) else event.extreme}")
    return told


@pytest.mark.parametrize(
    ("trail", "path", "told"),
    [
        (Trail(side=Side.SELL, offset=D(5), extreme=D(100)), "100 99 96 95", ["Touched 95"]),
        (
            Trail(side=Side.SELL, offset=D(5), extreme=D(100)),
            "103 104 105 106 101 100",
            ["Trailed 103", "Trailed 106", "Touched 101"],
        ),
        (Trail(side=Side.SELL, offset=D(5), extreme=D(100)), "100.005 100.02", ["Trailed 100.02"]),
        (Trail(side=Side.BUY, pct=D(10)), "100 90 95 99", ["Trailed 100", "Touched 99"]),
        (Trail(side=Side.SELL, offset=D(1), activation_px=D(110)), "109 100 110 109", ["Trailed 110", "Touched 109"]),
    ],
)
def test_it_follows_every_quote_and_tells_of_a_better_price_once_a_second(trail: Trail, path: str, told: list[str]) -> None:
    watches = Watches()
    price = trail.trigger_px or D(0)
    watches.set(Watch(watch_id="t", symbol="BTCUSDT", price=price, is_above=False, trail=trail, tick=D("0.01")))
    assert heard(watches, path) == told


def test_it_tells_a_better_price_that_had_to_wait_when_no_other_comes() -> None:
    watches = Watches()
    trail = Trail(side=Side.SELL, offset=D(5), extreme=D(100))
    watches.set(Watch(watch_id="t", symbol="BTCUSDT", price=D(95), is_above=False, trail=trail, tick=D("0.01")))
    assert heard(watches, "101 102") == ["Trailed 101"]
    assert watches.on_time(NOON + timedelta(seconds=0.9)) == []
    later = NOON + timedelta(seconds=1.1)
    assert watches.on_time(later) == [Trailed(at=later, watch_id="t", extreme=D(102))]


def test_it_tells_once_when_prices_stop_and_once_when_they_are_back() -> None:
    watches = Watches()
    watches.set(Watch(watch_id="s", symbol="BTCUSDT", price=D(90), is_above=False, stale_ms=5000))
    watches.set(watch("plain", 90, is_above=False, symbol="ETHUSDT"))
    watches.on_quote(quote("100"), NOON)
    found = [watches.on_time(NOON + timedelta(seconds=s)) for s in (1, 4.9, 5, 6)]
    gone = PriceAged(at=NOON + timedelta(seconds=5), symbol="BTCUSDT", is_stale=True, last_at=NOON)
    assert found == [[], [], [gone], []]
    watches.drop("s")
    assert "BTCUSDT" in watches, "the desk still believes that there are no prices"
    at = NOON + timedelta(seconds=9)
    assert watches.on_quote(quote("100", at=at), at) == [PriceAged(at=at, symbol="BTCUSDT", is_stale=False, last_at=at)]
    assert watches.on_quote(quote("100", at=at), at) == []


def test_it_counts_the_silence_of_a_symbol_that_never_had_a_price_from_when_it_was_watched() -> None:
    watches = Watches()
    watches.set(Watch(watch_id="s", symbol="BTCUSDT", price=D(90), is_above=False, stale_ms=5000))
    assert [len(watches.on_time(NOON + timedelta(seconds=s))) for s in (0, 4, 5, 6)] == [0, 0, 1, 0]


def test_it_marks_what_moved_or_what_is_old_and_never_a_dead_price() -> None:
    marks = Marks()
    assert [m.price for m in marks.due({"BTCUSDT": quote("10000")}, NOON)] == [10000]
    later = NOON + timedelta(seconds=1)
    assert marks.due({"BTCUSDT": quote("10001", at=later)}, later) == ()
    assert [m.price for m in marks.due({"BTCUSDT": quote("10002", at=later)}, later)] == [10002]
    old = NOON + timedelta(seconds=40)
    assert marks.due({"BTCUSDT": quote("10002", at=later)}, old) == ()
    assert [m.price for m in marks.due({"BTCUSDT": quote("10002", at=old)}, old)] == [10002]


def test_it_throws_everything_away_when_the_inbox_overflows() -> None:
    inbox = Inbox(3)
    events = [LinkChanged(at=NOON + timedelta(seconds=n), link=LinkKind.ORDERS, is_up=True) for n in range(5)]
    for event in events[:3]:
        inbox.put(event)
    assert [inbox.take(), len(inbox)] == [events[0], 2]
    for event in events[3:]:
        inbox.put(event)
    assert (len(inbox), inbox.has_overflowed, inbox.take()) == (0, True, None)


def test_it_is_active_once_every_line_has_passed_and_stays_so() -> None:
    checklist = Checklist()
    for line in lines.LINES:
        assert checklist.phase == "STARTING"
        checklist.note(line, True, "ok")
    assert checklist.phase == "ACTIVE"
    checklist.note(lines.FEEDS, False, "the tape has ended")
    assert checklist.phase == "ACTIVE"
    assert checklist.rows[lines.LINES.index(lines.FEEDS)] == {"name": lines.FEEDS, "is_passed": False, "text": "the tape has ended"}


def test_it_never_runs_an_accounts_clock_backwards() -> None:
    floor = datetime.now(UTC) + timedelta(days=1)
    clock = AccountClock(Clock(), floor)
    assert floor <= clock.now() < clock.now() < floor + timedelta(minutes=1)
    clock = AccountClock(Clock())
    assert clock.now() <= clock.now()


def test_it_pauses_longer_each_time_up_to_a_bound_and_the_same_in_every_run() -> None:
    pauses = [pause_s("order a", attempt) for attempt in range(1, 20)]
    assert pauses == [pause_s("order a", attempt) for attempt in range(1, 20)]
    assert all(0.5 * min(30, 0.1 * 2**n) <= pause <= min(30, 0.1 * 2**n) for n, pause in enumerate(pauses))
