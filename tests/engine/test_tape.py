"""A tape on the engine's floor: it waits for a desk that may trade, because what it says is said once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

from execution.core.desk import Desk
from execution.engine.clock import Clock
from execution.engine.floor import Floor
from execution.engine.publisher import Stream
from risk.core.units import Quote
from tests.conftest import NOON
from tests.core.builders import Bench

WITHIN_S = 10
D = Decimal


class Tape:
    """Three prices, and how many of them were taken."""

    label, is_synthetic, is_recorded, is_in_step = "TAPE", False, True, False
    has_synchronised_clock, offset, broken_lines, gap_ms = False, 0, 0, 0

    def __init__(self) -> None:
        self.taken = 0

    async def events(self) -> AsyncIterator[Quote]:
        for price in (Decimal(100), Decimal(101), Decimal(102)):
            self.taken += 1
            yield Quote("BTCUSDT", price, price + 1, price, NOON, NOON, NOON)

    async def history(self, symbol: str, *, bars: int, interval_s: int) -> list[Any]:
        return []


async def test_it_waits_after_its_first_price_until_the_desk_may_trade() -> None:
    tape, desk, told = Tape(), Desk.new("paper"), asyncio.Queue[Any]()
    loop: Any = SimpleNamespace(desk=desk, clock=Clock(), take=told.put_nowait, is_behind=False)
    floor = Floor(loop, tape, feed_spec="tape", shown=None, stream=Stream(account_id=1, code="paper"), note=lambda *words: None)
    running = asyncio.create_task(floor.run())
    await asyncio.wait_for(told.get(), WITHIN_S)
    await asyncio.wait({running}, timeout=0.2)
    assert (tape.taken, running.done()) == (1, False)
    desk.state.account.is_reconciled = True
    await asyncio.wait_for(running, WITHIN_S)
    assert tape.taken == 3


async def test_the_mark_of_a_bar_is_told_before_anything_is_decided_on_it() -> None:
    """The next price is a minute away: a mark that waits for its second would be a minute old when the next bar is decided on."""
    tape, desk, told = Tape(), Desk.new("paper"), list[Any]()
    desk.state.account.is_reconciled = True
    loop: Any = SimpleNamespace(desk=desk, clock=Clock(), take=told.append, is_behind=False)
    floor = Floor(loop, tape, feed_spec="tape", shown=None, stream=Stream(account_id=1, code="paper"), note=lambda *words: None)
    for n in range(3):
        at = NOON + timedelta(minutes=n)
        floor.on_quote(Quote("BTCUSDT", D(100 + n), D(101 + n), D(100 + n), at, at, at))
    assert not told, "prices that come as they happen wait for the second"
    tape.gap_ms = 60_000
    floor.on_quote(Quote("BTCUSDT", D(110), D(111), D(110), NOON, NOON, NOON))
    assert [(type(event).__name__, event.marks[0].price) for event in told] == [("Marked", D("110.5"))]


async def test_it_glances_at_what_the_gates_compare() -> None:
    """A working entry is at stake before it fills."""
    bench = Bench()
    bench.buy("10")
    loop: Any = SimpleNamespace(desk=bench.desk, clock=Clock())
    stream = Stream(account_id=1, code="paper")
    glance = Floor(loop, Tape(), feed_spec="tape", shown=None, stream=stream, note=lambda *words: None).glance()
    assert (glance.gross_exposure, glance.net_exposure) == (bench.desk.stake().gross, bench.desk.stake().net)
    assert glance.gross_exposure > 1000
