"""What the engine's measurements share: settings wide enough to let everything through, and an account in a scratch database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import msgspec

from execution.brokers.simulated import MemoryStore, SimulatedBroker
from execution.core.desk import Desk
from execution.core.messages import (
    BotChanged,
    BotSpec,
    Commanded,
    CommandKind,
    CommandSpec,
    DeskSettings,
    Effect,
    LinkChanged,
    LinkKind,
    SettingsChanged,
    Started,
)
from execution.core.ports import Feed
from execution.core.state import CORE_VERSION
from execution.core.venues import VENUES
from execution.engine.clock import AccountClock, Clock
from execution.engine.floor import Floor
from execution.engine.loop import DeskLoop
from execution.engine.publisher import Stream
from execution.engine.writer import JournalWriter
from execution.models import Account, AccountState, Lease
from execution.store.projections import SignalFold
from risk.core.settings import ACCOUNT_PRESET, PRESETS, Profile
from risk.core.units import NO_LIMIT, AssetClass, Instrument, Scope, ScopeKind
from risk.models import AccountLimits

NOON: Final = datetime(2026, 1, 5, 12, tzinfo=UTC)
SYMBOL: Final = "BTCUSDT"
D = Decimal


def instrument(symbol: str) -> Instrument:
    return Instrument(symbol, AssetClass.CRYPTO_PERP, D("0.1"), D("0.001"), D(5), "USDT", symbol.removesuffix("USDT"))


def settings_of(*symbols: str, brain: str = "ema_cross", **changes: Any) -> DeskSettings:
    """One bot a symbol; no limit is in the way of what is measured, and every gate still runs."""
    wide: dict[str, Any] = {
        "order_equity_pct_max": NO_LIMIT,
        "order_rate_max": NO_LIMIT,
        "repeated_execution_max": 10**9,
        "duplicate_window_s": D(0),
        "entries_in_flight_max": 10**9,
        "adds_max": 10**9,
        "breaker_losses": 10**9,
        "session_loss_limit": D(-(10**9)),
        **changes,
    }
    unbounded = ("positions_max", "gross_exposure_pct", "net_exposure_pct", "leverage_max", "concentration_pct")
    limits = msgspec.structs.replace(
        ACCOUNT_PRESET,
        order_rate_max=NO_LIMIT,
        bot_exposure_pct=NO_LIMIT,
        **dict.fromkeys(unbounded[1:], NO_LIMIT),
        positions_max=10**9,
    )
    base = msgspec.structs.replace(PRESETS[AssetClass.CRYPTO_PERP], margin_per_trade=D(20), **wide)
    return DeskSettings(
        account="bench",
        environment="PAPER",
        currency="USDT",
        version=1,
        digest="bench",
        capabilities=tuple(sorted(VENUES["simulated"])),
        instruments={symbol: instrument(symbol) for symbol in symbols},
        bots={f"bot-{s.lower()}": BotSpec(code=f"bot-{s.lower()}", brain=brain, symbols=(s,), profile="bench") for s in symbols},
        profiles={"bench": Profile(code="bench", base=base)},
        limits=limits,
        starting_cash=D(100_000_000),
    )


def account_make() -> Account:
    """An account whose lease is ours, in the scratch database."""
    limits = AccountLimits.objects.create(name="bench")
    account = Account.objects.create(code="bench", name="Bench", limits=limits)
    Lease.objects.create(account=account, engine="bench", token=1)
    AccountState.objects.create(account=account)
    return account


def venue_of(settings: DeskSettings, clock: Clock) -> SimulatedBroker:
    return SimulatedBroker(
        store=MemoryStore(),
        options={"latency_ms": 0},
        instruments=settings.instruments,
        currency="USDT",
        starting_cash=settings.starting_cash,
        clock=clock.now,
    )


def loop_of(
    settings: DeskSettings, writer: JournalWriter, *, account_id: int, clock: Clock, perform: Callable[[Effect, float], None]
) -> DeskLoop:
    """A Desk in its loop, started, with its links up and its bots running."""
    account_clock = AccountClock(clock)
    loop = DeskLoop(
        Desk.new("bench"),
        writer=writer,
        account_id=account_id,
        token=1,
        epoch="b000",
        clock=account_clock,
        fold=SignalFold(),
        stream=Stream(account_id=account_id, code="bench"),
        perform=perform,
        broken=_raise,
    )
    loop.take(Started(at=account_clock.now(), token=1, core_version=CORE_VERSION, epoch="b000"))
    loop.take(SettingsChanged(at=account_clock.now(), settings=settings))
    for link in LinkKind:
        loop.take(LinkChanged(at=account_clock.now(), link=link, is_up=True))
    for bot in settings.bots:
        now, scope = account_clock.now(), Scope(ScopeKind.BOT, bot)
        start = CommandSpec(command_id=f"start {bot}", kind=CommandKind.START, scope=scope, by="bench", asked_at=now)
        loop.take(Commanded(at=now, command=start))
        loop.take(BotChanged(at=account_clock.now(), bot=bot, is_warm=True))
    return loop


async def floor_of(feed: Feed) -> Floor:
    """The market side of an account that trades nothing, with the simulated venue listening and no database behind it."""
    clock = Clock()
    settings = settings_of(SYMBOL)
    writer = JournalWriter(asyncio.get_running_loop(), crashed=_raise)
    loop = loop_of(settings, writer, account_id=1, clock=clock, perform=_forget)
    venue = venue_of(settings, clock)
    await venue.open()
    floor = Floor(
        loop, feed, feed_spec="bench", shown=venue.on_market, stream=Stream(account_id=1, code="bench"), note=_say_nothing
    )
    floor.seat(settings)
    return floor


def _raise(error: BaseException) -> None:
    raise error


def _forget(effect: Effect, born: float) -> None: ...


def _say_nothing(bot: str, level: str, text: str) -> None: ...
