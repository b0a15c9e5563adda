"""Asking a brain again after a flip: with the bar it decided on, on a copy from before it, and once."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, ClassVar

import msgspec
import pytest

from execution.brains import brains
from execution.brains.base import Bar, Brain, Decision, View
from execution.core.messages import BotSpec, SignalKind
from execution.engine.brains import Brains, Seat
from execution.store.settings import settings_version_ensure
from risk.models import RiskProfile
from tests.conftest import NOON
from tests.core.builders import BTC, D, settings
from tests.engine.desk import Place, Scripted
from tests.engine.test_runner import enter
from tests.engine.venue import until

SELL = Decision(signal=SignalKind.SELL, stop_loss=D(65000), take_profit=D(59000))


def bar(n: int, *, price: int = 100) -> Bar:
    return Bar(BTC, 60, NOON + timedelta(minutes=n), D(price), D(price), D(price), D(price), D(1))


class Counting(Brain):
    """Sells on every bar and says how many it has seen."""

    name: ClassVar[str] = "counting"
    summary: ClassVar[str] = "Counts."
    PARAMS: ClassVar[Mapping[str, tuple[str, str, str]]] = {}
    warm_up = 0
    seen = 0
    #: what cannot be copied
    held: Any = None

    def on_bar(self, bar: Bar, view: View) -> Decision:
        self.seen += 1
        return Decision(signal=SignalKind.SELL, note=str(self.seen))


class Listening:
    """Hears decisions; the position is what the test says."""

    def __init__(self) -> None:
        self.may_flip = True
        self.heard: list[tuple[str, Any]] = []

    def view(self, seat: Seat) -> View:
        return View(position_qty=D(1), avg_px=None, entries_working=0, exits_working=0, last_denial="", may_flip=self.may_flip)

    def decided(self, seat: Seat, decision: Decision, market_at: Any) -> None:
        self.heard.append((decision.note, market_at))

    def bar_closed(self, bar: Bar) -> None: ...

    def brain_raised(self, seat: Seat, trace: str) -> None: ...

    def brain_stopped(self, seat: Seat, errors: int, why: str, trace: str) -> None: ...


@pytest.fixture
def listening(monkeypatch: pytest.MonkeyPatch) -> tuple[Brains, Listening]:
    monkeypatch.setitem(brains(), "counting", Counting)
    listener = Listening()
    seats = Brains(listener)
    base = settings()
    seats.seat(msgspec.structs.replace(base, bots={"c": BotSpec(code="c", brain="counting", symbols=(BTC,), profile="demo")}))
    return seats, listener


def test_it_asks_again_with_the_same_bar_and_counts_it_once(listening: tuple[Brains, Listening]) -> None:
    brains, listener = listening
    brains.on_other(bar(0))
    brains.on_other(bar(1))
    brains.ask_again("c", BTC)
    brains.ask_again("c", BTC)
    brains.on_other(bar(2))
    assert [note for note, _ in listener.heard] == ["1", "2", "2", "3"]
    assert listener.heard[2][1] == NOON + timedelta(minutes=2)


def test_it_asks_nobody_else_and_nothing_without_a_flip(listening: tuple[Brains, Listening]) -> None:
    brains, listener = listening
    brains.on_other(bar(0))
    brains.ask_again("other", BTC)
    brains.ask_again("c", "ETHUSDT")
    listener.may_flip = False
    brains.on_other(bar(1))
    brains.ask_again("c", BTC)
    assert [note for note, _ in listener.heard] == ["1", "2"]


def test_it_takes_a_brain_that_cannot_be_copied_for_one_that_raised(listening: tuple[Brains, Listening]) -> None:
    brains, listener = listening
    (seat,) = brains.seats
    seat.brain.held = (n for n in range(3))  # type: ignore[attr-defined]
    brains.on_other(bar(0))
    brains.ask_again("c", BTC)
    assert (listener.heard, seat.errors) == ([], {Bar: 1})


@pytest.mark.db
async def test_it_turns_a_position_round_on_one_bar(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    await place.rows(lambda: RiskProfile.objects.update(flip_policy="close_then_open"))
    await place.rows(lambda: settings_version_ensure(place.account, by="bob"))
    async with place.engine() as engine:
        await enter(place, engine)
        said: list[Bar] = []

        def on_bar(self: Scripted, heard: Bar, view: View) -> Decision:
            said.append(heard)
            return SELL

        monkeypatch.setattr(Scripted, "on_bar", on_bar)
        quote = place.market.quote(61000)
        place.market._said.put_nowait(msgspec.structs.replace(bar(0, price=61000), interval_s=1, start_at=quote.at))
        await until(lambda: engine.runner.desk.state.positions["BTCUSDT"].qty < 0)
        assert len(said) == 2
        assert said[0] is said[1]
