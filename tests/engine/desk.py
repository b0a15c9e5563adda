"""An engine in the test's own process: real supervisor, runner, journal and simulated venue; the market and the brain are scripted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import msgspec
import pytest
from channels.db import database_sync_to_async

from execution.brains import brains
from execution.brains.base import HOLD, Bar, Brain, Decision, Quote, View
from execution.core.controls import AccountState, BotStatus
from execution.core.messages import SignalKind, Timing, Trade
from execution.core.ports import Broker, Feed
from execution.core.state import DeskState
from execution.engine import parts as shared
from execution.engine.clock import Clock
from execution.engine.database import DatabaseThread
from execution.engine.parts import Parts
from execution.engine.publisher import Publisher
from execution.engine.runner import Runner
from execution.engine.supervisor import Supervisor
from execution.engine.writer import JournalWriter
from execution.models import Account, Bot, BotInstrument
from execution.services import kill_by_file
from execution.store.settings import settings_version_ensure
from risk.core.settings import ACCOUNT_PRESET, PRESETS
from risk.core.units import AssetClass, Instrument
from risk.core.verdict import HaltCause
from risk.models import AccountLimits, RiskProfile
from risk.models import Instrument as InstrumentRow
from tests.engine.venue import until

T = TypeVar("T")
SYMBOL = "BTCUSDT"
BOT = "scripted"
D = Decimal

#: everything a twentieth of what it is, but nothing so short that a busy machine trips over it
TIMING = Timing(
    lease_ms=2000,
    lease_renew_ms=300,
    poll_ms=20,
    send_timeout_ms=400,
    send_age_ms_max=2000,
    unknown_settle_ms=200,
    park_ms=200,
    condition_clear_ms=50,
    reconcile_ms=500,
    journal_grace_ms=100,
    kill_verify_ms=500,
    mark_interval_ms=50,
)


class Market:
    """A feed that says what the test says; what it said stays to be heard by the next engine only if it is said again."""

    label = "SCRIPTED"
    is_synthetic = True
    is_recorded = False
    is_in_step = False
    has_synchronised_clock = True
    offset = 0
    broken_lines = 0
    gap_ms = 0

    def __init__(self) -> None:
        self._said: asyncio.Queue[Quote | Trade | Bar | None] = asyncio.Queue()
        self.price = D(61000)

    def quote(self, price: Decimal | int, *, symbol: str = SYMBOL) -> Quote:
        """Say a price, one tick either side."""
        now, self.price = datetime.now(UTC), D(price)
        said = Quote(symbol, self.price - D("0.5"), self.price + D("0.5"), self.price, now, now, now)
        self._said.put_nowait(said)
        return said

    def end(self) -> None:
        self._said.put_nowait(None)

    async def events(self) -> AsyncIterator[Quote | Trade | Bar]:
        while (event := await self._said.get()) is not None:
            yield event

    async def history(self, symbol: str, *, bars: int, interval_s: int) -> Sequence[Bar]:
        start, price = datetime(2026, 1, 1, tzinfo=UTC), D(61000)
        return [
            Bar(symbol, interval_s, start + n * timedelta(seconds=interval_s), price, price, price, price, D(1))
            for n in range(bars)
        ]


class Scripted(Brain):
    """Decides what the test put into `script`, one decision a quote."""

    name: ClassVar[str] = BOT
    summary: ClassVar[str] = "Does as it is told."
    PARAMS: ClassVar[Mapping[str, tuple[str, str, str]]] = {}
    script: ClassVar[list[Decision | Exception]] = []
    views: ClassVar[list[View]] = []

    def __init__(self, instrument: Instrument, params: Mapping[str, Decimal]) -> None: ...

    @property
    def warm_up(self) -> int:
        return 3

    def on_bar(self, bar: Bar, view: View) -> Decision:
        return HOLD

    def on_quote(self, quote: Quote, view: View) -> Decision:
        self.views.append(view)
        if not self.script:
            return HOLD
        said = self.script.pop(0)
        if isinstance(said, Exception):
            raise said
        return said


def buy(**fields: Any) -> Decision:
    """A market buy with a stop and a target far away."""
    return msgspec.structs.replace(Decision(signal=SignalKind.BUY, stop_loss=D(59000), take_profit=D(65000)), **fields)


CLOSE = Decision(signal=SignalKind.CLOSE)


class Recorder:
    """A channel layer that remembers what was sent."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        assert group == "console"
        self.messages.append(message)

    def keys(self, kind: str) -> list[str]:
        parts = [part for message in self.messages for part in message["accounts"].values()]
        return [key for part in parts for key in part["keys"].get(kind, [])]


def _open_broker(*args: Any, **options: Any) -> Broker:
    """What the runner would open, looked up late so that a test may change it."""
    broker: Broker = vars(shared)["open_broker"](*args, **options)
    return broker


def _open_feed(*args: Any, **options: Any) -> Feed:
    feed: Feed = vars(shared)["open_feed"](*args, **options)
    return feed


class Engine:
    """One engine process, as far as the database can tell."""

    def __init__(self, name: str, market: Market, var_dir: Path) -> None:
        self.market = market
        self.layer = Recorder()
        self.crashed: list[BaseException] = []
        clock, loop = Clock(), asyncio.get_running_loop()
        self.writer = JournalWriter(loop, crashed=self.crashed.append)
        self.parts = Parts(
            name,
            clock,
            TIMING,
            self.writer,
            DatabaseThread(name),
            Publisher(engine=name, clock=clock, layer=self.layer),
            open_broker=_open_broker,
            open_feed=_open_feed,
            history=DatabaseThread(f"{name}-history"),
        )
        self.supervisor = Supervisor(self.parts, kill_file=var_dir / "KILL", killed=kill_by_file)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self.writer.start()
        self._task = asyncio.get_running_loop().create_task(self.supervisor.run())

    @property
    def runner(self) -> Runner:
        """The runner of the only account; KeyError while there is none."""
        (slot,) = self.supervisor._slots.values()
        assert slot.runner is not None
        return slot.runner

    @property
    def is_open(self) -> bool:
        slots = list(self.supervisor._slots.values())
        return len(slots) == 1 and slots[0].runner is not None and slots[0].runner.is_open

    async def active(self) -> None:
        """Wait until the account has started, agrees with the venue, is warm (but for who does not run), and knows a price."""
        await until(lambda: self.is_open and self._is_warm(self.runner.desk.state))
        self.market.quote(self.market.price)
        await until(lambda: self.is_open and self._is_ready(self.runner.desk.state.account))

    def _is_warm(self, state: DeskState) -> bool:
        has_started = state.token == self.runner.lease.token and state.account.is_reconciled
        halted = {halt.scope.key for halt in state.halts.values() if halt.cause is HaltCause.BRAIN_ERRORS}
        return has_started and all(
            bot.is_warm or bot.code in halted or bot.status is BotStatus.STOPPED for bot in state.bots.values()
        )

    @staticmethod
    def _is_ready(account: AccountState) -> bool:
        return not account.links_down and not account.conditions

    @property
    def is_running(self) -> bool:
        return self._task is not None and not self._task.done()

    async def drain(self) -> None:
        await self.supervisor.drain()
        await self._end()

    async def crash(self) -> None:
        """As if the process had died: nothing is flushed, released or said."""
        for slot in self.supervisor._slots.values():
            if slot.runner is not None and slot.runner.is_open:
                slot.runner._loop._session.is_broken = True
                slot.runner._outbox.abandon()
            slot.is_leaving = True
            if slot.task is not None:
                slot.task.cancel()
                await asyncio.wait([slot.task])
        await self._end()

    async def _end(self) -> None:
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.wait([self._task])
        self._task = None
        await self.writer.stop()
        self.parts.publisher.close()
        for thread in (self.parts.database, self.parts.history):
            assert thread is not None
            await asyncio.to_thread(thread.close)
        assert self.crashed == []


class Place:
    """The account, its market, and the engines that come and go."""

    def __init__(self, account: Account, market: Market, var_dir: Path) -> None:
        self.account = account
        self.market = market
        self.var_dir = var_dir
        self._engines: list[Engine] = []

    @asynccontextmanager
    async def engine(self, name: str = "one") -> AsyncIterator[Engine]:
        """A running engine, crashed at the end unless the test drained it."""
        engine = Engine(name, self.market, self.var_dir)
        engine.start()
        try:
            yield engine
        finally:
            await engine.crash()

    async def rows(self, ask: Callable[[], T]) -> T:
        answer: T = await database_sync_to_async(ask)()
        return answer


def place_make(account: Account, monkeypatch: pytest.MonkeyPatch, settings: Any, var_dir: Path) -> Place:
    """The paper account with one scripted bot, wired to a scripted market."""
    settings.TIMING = TIMING
    settings.KILL_FILE = var_dir / "KILL"
    preset = msgspec.structs.replace(PRESETS[AssetClass.CRYPTO_PERP], order_equity_pct_max=D(100), order_rate_max=D(1000))
    fields = {name: getattr(preset, name) for name in preset.__struct_fields__}
    profile = RiskProfile.objects.create(code="wide", name="Wide", **fields)
    instrument = InstrumentRow.objects.create(
        symbol=SYMBOL, asset_class="CRYPTO_PERP", tick_size="0.1", lot_size="0.001", base_currency="BTC", min_notional="5"
    )
    bot = Bot.objects.create(code=BOT, account=account, brain=BOT, profile=profile, bar_s=1, should_run=True)
    BotInstrument.objects.create(bot=bot, instrument=instrument, account=account)
    AccountLimits.objects.update(**{**_limits(), "concentration_pct": D(100), "order_rate_max": D(1000)})
    settings_version_ensure(account, by="test")
    monkeypatch.setitem(brains(), BOT, Scripted)
    Scripted.script, Scripted.views = [], []
    place = Place(account, Market(), var_dir)
    monkeypatch.setattr(shared, "open_feed", lambda *_, **__: place.market)
    return place


def _limits() -> dict[str, Any]:
    return {name: getattr(ACCOUNT_PRESET, name) for name in ACCOUNT_PRESET.__struct_fields__}
