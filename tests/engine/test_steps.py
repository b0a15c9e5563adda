"""A tape as fast as possible: however the machine is busy, one tape gives one history; and its account lives on the tape's time."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from execution.core.messages import CommandKind, CommandSpec
from execution.engine import parts as shared
from execution.engine.clock import AccountClock, Clock
from execution.engine.steps import Steps, in_time_of
from execution.engine.timers import Timers
from execution.feeds import open_feed
from execution.models import Account, AccountState, Bot, BotInstrument, Fill, Order, Signal
from execution.selectors import tape_is_over
from execution.store.settings import settings_version_ensure
from risk.core.units import Scope, ScopeKind
from risk.models import AccountLimits, Instrument, RiskProfile
from tests.conftest import NOON
from tests.engine.desk import SYMBOL, D, Place
from tests.engine.test_supervisor import until_rows
from tests.engine.venue import until

THEN = datetime(2024, 8, 8, 10, tzinfo=UTC)
BRAIN = {"channel": "4", "exit_channel": "2", "atr": "3", "stop_atr": "1.5", "target_atr": "1"}


def tape(folder: Path, *, quotes: int = 2400) -> Path:
    """Two quotes a second of a market that goes up and down enough to be traded."""
    chance, price, lines = random.Random(7), D(61000), []
    for n in range(quotes):
        price += D(chance.choice((-30, -15, -5, 5, 15, 30)))
        ns = int((THEN + timedelta(seconds=n / 2)).timestamp()) * 1_000_000_000 + n % 2 * 500_000_000
        data = {"u": n, "s": SYMBOL, "b": f"{price}", "B": "1", "a": f"{price + 1}", "A": "1"}
        lines.append(f"{ns} {json.dumps({'stream': 'btcusdt@bookTicker', 'data': data})}")
    path = folder / "btcusdt.gz"
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    return path


@pytest.fixture
def twins(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Account]:
    """Two accounts that play the same tape in one engine, so that each is in the other's way. Their limits have windows."""
    monkeypatch.setattr(shared, "open_feed", open_feed)
    RiskProfile.objects.update(
        duplicate_window_s=5,
        breaker_losses=2,
        breaker_window_s=60,
        breaker_cooldown_s=20,
        stop_distance_pct_min=D("0.001"),
        reward_risk_min=0,
        session_loss_limit=D(-100000),
    )
    limits = AccountLimits.objects.get()
    limits.pk, limits.name = None, "second"
    limits.save()
    first = place.account
    second = Account.objects.create(code="paper-second", name="Second", limits=limits)
    bot = Bot.objects.create(code="second", account=second, profile=RiskProfile.objects.get(), should_run=True)
    BotInstrument.objects.create(bot=bot, instrument=Instrument.objects.get(), account=second)
    Bot.objects.update(brain="channel_breakout", params=BRAIN, bar_s=2)
    Account.objects.update(feed=f"replay:{tape(tmp_path)}@max")
    for account in (first, second):
        account.refresh_from_db()
        settings_version_ensure(account, by="test")
    return [first, second]


def history(account: Account) -> Mapping[str, list[Any]]:
    """Everything that was decided, sent and filled, with its times. An order's id tells when it ran: its number stands for it."""
    signal = ("cl_ord_id", "at", "last_at", "market_at", "repeats", "signal", "side", "reason", "order_qty", "price", "stop_loss")
    order = ("cl_ord_id", "purpose", "side", "ord_type", "ord_status", "order_qty", "cum_qty", "avg_px", "stop_px", "created_at")
    fill = ("cl_ord_id", "exec_id", "last_qty", "last_px", "fee", "realised", "at", "transact_at")
    number = {
        cl_ord_id: n
        for n, cl_ord_id in enumerate(Order.objects.filter(account=account).order_by("id").values_list("cl_ord_id", flat=True))
    }
    found: dict[str, list[Any]] = {}
    for model, names in ((Signal, signal), (Order, order), (Fill, fill)):
        rows: Any = model._default_manager.filter(account=account).order_by("id").values_list(*names)
        found[model.__name__] = [(number.get(cl_ord_id), *rest) for cl_ord_id, *rest in rows]
    return found


async def test_one_tape_gives_one_history(place: Place, twins: list[Account]) -> None:
    def are_over() -> bool:
        return all(tape_is_over(AccountState.objects.filter(account=account).first()) for account in twins)

    async with place.engine() as engine:
        await until_rows(place, are_over, within_s=120)
        await engine.drain()
    first, second = [await place.rows(lambda account=account: history(account)) for account in twins]  # type: ignore[misc]
    assert first == second
    assert len(first["Fill"]) > 20
    assert {row[7] for row in first["Signal"]} > {"", "DUPLICATE_ORDER", "CIRCUIT_BREAKER"}
    _, at, _, market_at, *_ = first["Signal"][-1]
    assert (at - market_at) % timedelta(days=1) < timedelta(seconds=1)


class Still(Clock):
    """A clock that stands at noon until it is moved."""

    at = NOON

    def now(self) -> datetime:
        return self.at


def stepping(clock: AccountClock) -> tuple[Steps, Timers, list[tuple[str, datetime]]]:
    fired: list[tuple[str, datetime]] = []
    timers = Timers(clock, woke=lambda name: fired.append((name, clock.now())))
    return Steps(clock, timers, is_quiet=lambda: True, is_over=lambda: False), timers, fired


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


async def test_timers_fire_between_two_prices_at_their_own_moments() -> None:
    clock = AccountClock(Still())
    steps, timers, fired = stepping(clock)
    timers.set("second", after(20))
    timers.set("first", after(10))
    await steps.to(after(5))
    timers.set("set while it is held", after(15))
    timers.set("later", after(60))
    await steps.to(after(30))
    assert fired == [("first", after(10)), ("set while it is held", after(15)), ("second", after(20))]
    assert clock.now() == after(30)
    timers.close()


async def test_after_the_tape_time_passes_by_itself_and_what_is_due_fires() -> None:
    still = Still()
    clock = AccountClock(still)
    steps, timers, fired = stepping(clock)
    timers.set("due", after(10))
    await steps.to(after(9.99))
    steps.end()
    assert clock.now() == after(9.99)
    still.at = after(1)
    assert clock.now() == after(10.99)
    await until(lambda: bool(fired))
    assert fired == [("due", after(10.99))]


async def test_the_clock_never_goes_back() -> None:
    still = Still()
    clock = AccountClock(still)
    steps, _, _ = stepping(clock)
    await steps.to(after(10))
    await steps.to(after(5))
    assert clock.now() == after(10)
    still.at = after(100)
    assert clock.now() == after(10)
    steps.end()
    assert clock.now() == after(100)


async def test_it_waits_until_what_a_price_set_off_is_done_or_nobody_cares_any_more() -> None:
    clock, looks = AccountClock(Still()), iter([False, False, True])
    timers = Timers(clock, woke=lambda name: None)
    await Steps(clock, timers, is_quiet=lambda: next(looks), is_over=lambda: False).settled()
    assert next(looks, None) is None
    await Steps(clock, timers, is_quiet=lambda: False, is_over=lambda: True).settled()


def test_a_command_waits_by_our_own_time() -> None:
    clock, scope = AccountClock(Still()), Scope(ScopeKind.BOT, "b")
    asked = CommandSpec(command_id="7", kind=CommandKind.START, scope=scope, by="alice", asked_at=NOON, valid_until=after(10))
    assert in_time_of(clock, asked) == asked
    clock.hold(after(3600))
    told = in_time_of(clock, asked)
    assert (told.asked_at, told.valid_until) == (after(3600), after(3610))
