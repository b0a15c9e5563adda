"""Brains that fail: each stops its own bot, nobody else's, and is not run again before a person has looked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any, ClassVar

import msgspec
import pytest
from django.utils import timezone

from execution.brains import brains
from execution.brains.base import HOLD, Bar, Brain, Decision, View
from execution.core.controls import BotStatus
from execution.core.messages import BotSpec, CommandKind, SignalKind
from execution.engine.brains import ERRORS_MAX, Brains, Seat
from execution.models import Alarm, Bot, BotInstrument, BotLog
from execution.models import BotState as BotRow
from execution.paper import PaperOrder
from execution.store import faults
from execution.store.settings import settings_version_ensure
from risk.core.units import Instrument, Quote, Scope, ScopeKind
from risk.core.verdict import HaltCause, HaltMode
from risk.models import Halt
from risk.models import Instrument as InstrumentRow
from tests.conftest import NOON
from tests.core.builders import BTC, D, settings
from tests.engine.desk import BOT, Engine, Place, Scripted
from tests.engine.test_runner import command, enter
from tests.engine.test_supervisor import until_rows
from tests.engine.venue import until

FLAT = View(position_qty=D(0), avg_px=None, entries_working=0, exits_working=0, last_denial="")


class Failing(Brain):
    """Does on each bar what the test says; a quote always goes well."""

    name: ClassVar[str] = "failing"
    summary: ClassVar[str] = "Fails."
    PARAMS: ClassVar[Mapping[str, tuple[str, str, str]]] = {}
    warm_up = 0
    bars: ClassVar[Iterator[Any]]

    def on_bar(self, bar: Bar, view: View) -> Decision:
        said = next(self.bars)
        if isinstance(said, Exception):
            raise said
        answer: Decision = said
        return answer


class Listening:
    """Hears what becomes of the brains."""

    def __init__(self) -> None:
        self.raised: list[str] = []
        self.stopped: list[tuple[int, str]] = []
        self.decisions: list[Decision] = []

    def view(self, seat: Seat) -> View:
        return FLAT

    def decided(self, seat: Seat, decision: Decision, market_at: Any) -> None:
        self.decisions.append(decision)

    def bar_closed(self, bar: Bar) -> None: ...

    def brain_raised(self, seat: Seat, trace: str) -> None:
        self.raised.append(trace)

    def brain_stopped(self, seat: Seat, errors: int, why: str, trace: str) -> None:
        assert "Traceback" in trace
        self.stopped.append((errors, why))


def seated(listener: Listening, brain: str = "failing") -> Brains:
    seats = Brains(listener)
    spec = BotSpec(code="f", brain=brain, symbols=(BTC,), profile="demo")
    seats.seat(msgspec.structs.replace(settings(), bots={"f": spec}))
    return seats


def minute(seats: Brains, n: int) -> None:
    """A quote, and a bar that closes."""
    at = NOON + timedelta(minutes=n)
    seats.on_quote(Quote(BTC, D(99), D(101), D(100), at, at, at))
    seats.on_other(Bar(BTC, 60, at, D(100), D(100), D(100), D(100), D(1)))


def test_it_stops_a_brain_that_fails_on_bars_though_its_quotes_go_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(brains(), "failing", Failing)
    Failing.bars = iter([ValueError("boom")] * 9)
    listener = Listening()
    seats = seated(listener)
    for n in range(ERRORS_MAX + 2):
        minute(seats, n)
    assert listener.stopped == [(ERRORS_MAX, "ValueError: boom")]
    assert len(list(Failing.bars)) == 9 - ERRORS_MAX
    assert len(listener.raised) == 1, "the same error again and again is one line of its log"


def test_it_forgives_a_brain_that_answers_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(brains(), "failing", Failing)
    Failing.bars = iter([*[ValueError("a")] * (ERRORS_MAX - 1), HOLD, *[ValueError("b")] * (ERRORS_MAX - 1)])
    listener = Listening()
    seats = seated(listener)
    for n in range(2 * ERRORS_MAX - 1):
        minute(seats, n)
    assert listener.stopped == []
    assert ["ValueError: a" in trace for trace in listener.raised] == [True, False]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (None, "not with None"),
        (Decision(signal=SignalKind.BUY, stop_loss="low"), "$.stop_loss"),  # type: ignore[arg-type]
        (Decision(signal=SignalKind.BUY, hint=5), "$.hint"),  # type: ignore[arg-type]
    ],
)
def test_it_takes_an_answer_that_is_no_decision_for_an_error(answer: Any, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It must not reach the Desk, whose halt would be the whole account's."""
    monkeypatch.setitem(brains(), "failing", Failing)
    Failing.bars = iter([answer] * ERRORS_MAX)
    listener = Listening()
    seats = seated(listener)
    for n in range(ERRORS_MAX):
        minute(seats, n)
    assert why in listener.stopped[0][1]
    assert listener.decisions == []


def test_it_takes_floats_for_the_decimals_they_stand_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(brains(), "failing", Failing)
    Failing.bars = iter([Decision(signal=SignalKind.BUY, stop_loss=95.1)])  # type: ignore[arg-type]
    listener = Listening()
    minute(seated(listener), 0)
    assert listener.decisions == [Decision(signal=SignalKind.BUY, stop_loss=D("95.1"))]


@pytest.mark.parametrize(
    ("brain", "why"), [("gone", "There is no brain “gone” in execution/brains"), ("failing", "KeyError: 'no such file'")]
)
def test_it_stops_what_cannot_begin_at_once(brain: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    thinking: list[Seat | None] = []

    def fail(self: Brain, instrument: Instrument, params: Mapping[str, Decimal]) -> None:
        thinking.append(seats.thinking)
        raise KeyError("no such file")

    monkeypatch.setitem(brains(), "failing", Failing)
    listener = Listening()
    seats = Brains(listener)
    monkeypatch.setattr(Failing, "__init__", fail)
    spec = BotSpec(code="f", brain=brain, symbols=(BTC,), profile="demo")
    seats.seat(msgspec.structs.replace(settings(), bots={"f": spec}))
    ((errors, said),) = listener.stopped
    assert (errors, said.startswith(why)) == (1, True)
    assert [seat.bot.code for seat in thinking if seat] == ["f"] * len(thinking), "the guard sees who does not return"
    minute(seats, 0)
    assert len(listener.stopped) == 1


# --- in an engine ------------------------------------------------------------------------------------------------------


def add_bot(place: Place, brain: str) -> None:
    scripted = Bot.objects.get()
    instrument = InstrumentRow.objects.create(
        symbol="ETHUSDT", asset_class="CRYPTO_PERP", tick_size="0.1", lot_size="0.001", base_currency="ETH", min_notional="5"
    )
    bot = Bot.objects.create(code="other", account=place.account, brain=brain, profile=scripted.profile, bar_s=1, should_run=True)
    BotInstrument.objects.create(bot=bot, instrument=instrument, account=place.account)
    settings_version_ensure(place.account, by="test")


@pytest.mark.db
async def test_it_stops_only_the_bot_whose_brain_is_gone(place: Place) -> None:
    await place.rows(lambda: add_bot(place, "gone"))
    async with place.engine() as engine:
        await enter(place, engine)
        await until(lambda: engine.runner.checklist.phase == "ACTIVE")
        await until_rows(place, lambda: BotLog.objects.filter(bot__code="other", level="ERROR").exists())
        await engine.drain()
    halt, alarm, state = await place.rows(lambda: (Halt.objects.get(), Alarm.objects.get(), BotRow.objects.get(bot__code="other")))
    assert (halt.scope, halt.scope_key, halt.mode, halt.cause) == (ScopeKind.BOT, "other", HaltMode.HALTED, HaltCause.BRAIN_ERRORS)
    assert "There is no brain “gone” in execution/brains" in alarm.cause
    assert state.status == BotStatus.STOPPED
    async with place.engine("two") as engine:
        await engine.active()
        await engine.drain()
    assert await place.rows(Halt.objects.count) == 1, "a restart finds it halted and does not halt it again"


@pytest.mark.db
async def test_it_does_not_run_the_brain_of_a_bot_that_was_halted_for_it(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not after a restart, not to warm up, not on a quote: one that never returned would end the engine again."""
    made: list[str] = []
    monkeypatch.setattr(Scripted, "__init__", lambda self, instrument, params: made.append(instrument.symbol))
    await place.rows(lambda: faults.brain_halt_write(BOT, reason="its brain did not return for 2 s", stack="", at=timezone.now()))
    async with place.engine() as engine:
        await engine.active()
        await until(lambda: engine.runner.checklist.phase == "ACTIVE")
        assert (made, Scripted.views) == ([], [])
        (halt_id,) = engine.runner.desk.state.halts
        alarm = await place.rows(Alarm.objects.get)
        assert (alarm.title, alarm.bot, alarm.returned_at) == (f"Bot {BOT} is stopped: its brain does not return", BOT, None)
        scope = Scope(ScopeKind.BOT, BOT)
        await place.rows(lambda: command(place, CommandKind.CLEAR, scope, halt_id=halt_id))
        await place.rows(lambda: command(place, CommandKind.START, scope))
        await until(lambda: engine.runner.desk.state.bots[BOT].status is BotStatus.RUNNING)
        assert made == ["BTCUSDT"]
        await enter(place, engine)
        await until_rows(place, lambda: Alarm.objects.exclude(returned_at=None).exists())
    assert await place.rows(PaperOrder.objects.count) == 3


def _is_shown(engine: Engine, quote: Quote) -> bool:
    return engine.runner._floor.quote(quote.symbol) == quote


@pytest.mark.db
async def test_it_runs_no_line_of_a_brain_whose_bot_is_not_started(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither to make it, nor to warm up, nor on a price: Start does all that, and Stop ends it."""
    made: list[str] = []
    monkeypatch.setattr(Scripted, "__init__", lambda self, instrument, params: made.append(instrument.symbol))
    await place.rows(lambda: Bot.objects.update(should_run=False))
    scope = Scope(ScopeKind.BOT, BOT)
    async with place.engine() as engine:
        await engine.active()
        await until(lambda: engine.runner.checklist.phase == "ACTIVE")
        bots = engine.runner.desk.state.bots
        assert (made, Scripted.views, bots[BOT].status) == ([], [], BotStatus.STOPPED)
        for n in (1, 2):
            await place.rows(lambda: command(place, CommandKind.START, scope))
            await until(lambda: bots[BOT].status is BotStatus.RUNNING)
            assert made == ["BTCUSDT"] * n
            place.market.quote(61000 + n)
            await until(lambda: bool(Scripted.views))
            await place.rows(lambda: command(place, CommandKind.STOP, scope))
            await until(lambda: bots[BOT].status is BotStatus.STOPPED and not bots[BOT].is_warm)
            Scripted.views.clear()
            last = place.market.quote(61010 + n)
            await until(partial(_is_shown, engine, last))
            assert Scripted.views == []
