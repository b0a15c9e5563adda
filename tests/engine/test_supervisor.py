"""The supervisor: what fails is rebuilt, what fails again is put aside, what is not ours is let go."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError
from django.utils import timezone

from execution import services
from execution.brokers.simulated import SimulatedBroker
from execution.core.controls import BotStatus
from execution.core.desk import Desk
from execution.core.messages import Commanded, CommandKind, CommandStatus, Decision, Event, Marked, SendCancel, SignalKind
from execution.core.orders import OrdStatus
from execution.engine import leases
from execution.engine import supervisor as supervisors
from execution.engine.clock import Clock
from execution.engine.recovery import Recovered, recover
from execution.models import Account, AccountState, Act, Alarm, BotLog, Command, JournalEntry, Lease, Order, PoisonEvent
from execution.paper import PaperOrder
from execution.store import journal
from execution.store.settings import settings_version_ensure
from risk.core.units import OrdType, Scope, ScopeKind
from risk.core.verdict import HaltCause, HaltMode
from risk.models import Halt, Instrument, RiskProfile, SettingsVersion
from tests.engine.desk import BOT, D, Engine, Place, Scripted, buy
from tests.engine.test_runner import command, enter
from tests.engine.venue import until

pytestmark = pytest.mark.db


def resting() -> Decision:
    """An entry that rests at the venue far below the market."""
    return Decision(signal=SignalKind.BUY, ord_type=OrdType.LIMIT, price=D(60900), stop_loss=D(59000), take_profit=D(65000))


async def rest(place: Place, engine: Engine) -> None:
    await engine.active()
    Scripted.script.append(resting())
    place.market.quote(61000)
    await until(lambda: [o.ord_status for o in engine.runner.desk.state.orders.values()] == [OrdStatus.NEW])


async def test_it_rebuilds_a_desk_whose_commit_failed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    append, failing = journal.append, [False]

    def fail(parts: Any) -> set[int]:
        if failing[0]:
            raise DatabaseError("database is locked")
        return append(parts)

    monkeypatch.setattr(journal, "append", fail)
    async with place.engine() as engine:
        await engine.active()
        first = engine.runner
        failing[0] = True
        Scripted.script.append(buy())
        place.market.quote(61000)
        await until(lambda: first._loop.is_over)
        failing[0] = False
        await until(lambda: engine.runner is not first and engine.is_open)
        await engine.active()
        assert engine.runner.desk.state.orders == {}
    assert await place.rows(PaperOrder.objects.count) == 0


async def test_it_cancels_entries_when_the_journal_stays_away(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    from execution.engine.runner import Runner

    append, failing = journal.append, [False]

    def fail(parts: Any) -> set[int]:
        if failing[0]:
            raise DatabaseError("database is locked")
        return append(parts)

    async def cannot(self: Runner) -> bool:
        return not failing[0]

    monkeypatch.setattr(journal, "append", fail)
    monkeypatch.setattr(Runner, "_can_write", cannot)
    async with place.engine() as engine:
        await rest(place, engine)
        failing[0] = True
        place.market.quote(61010)
        await until_rows(place, lambda: PaperOrder.objects.get().ord_status == "CANCELED")
        failing[0] = False
        await until_rows(place, lambda: Order.objects.get().ord_status == "CANCELED")


async def test_it_obeys_the_kill_file_before_its_kill_can_be_written(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """And keeps to it when the file goes first, until it is."""
    may_write, write = [False], services.kill_by_file

    def killed(made: int) -> None:
        if not may_write[0]:
            raise DatabaseError("database is locked")
        write(made)

    async with place.engine() as engine:
        monkeypatch.setattr(engine.supervisor, "_killed", killed)
        await rest(place, engine)
        (place.var_dir / "KILL").touch()
        await until_rows(place, lambda: PaperOrder.objects.get().ord_status == "CANCELED")
        (place.var_dir / "KILL").unlink()
        await decide(place, engine)
        assert await place.rows(PaperOrder.objects.count) == 1
        assert not await place.rows(Halt.objects.exists)
        may_write[0] = True
        await until(lambda: not engine.runner._floor.is_closed)
        assert [halt.cause for halt in engine.runner.desk.state.halts.values()] == [HaltCause.KILL]


async def test_it_makes_a_kill_of_the_kill_file_that_outlives_it(place: Place) -> None:
    file = place.var_dir / "KILL"
    async with place.engine("one") as engine:
        await rest(place, engine)
        file.touch()
        await until_rows(place, lambda: Command.objects.filter(status=CommandStatus.DONE).exists())
        await engine.drain()
    async with place.engine("two") as engine:
        await engine.active()
        assert engine.runner._floor.is_closed
        file.unlink()
        await until(lambda: not engine.runner._floor.is_closed)
        await decide(place, engine)
        assert await place.rows(PaperOrder.objects.count) == 1
    halt, act = await place.rows(lambda: (Halt.objects.get(), Act.objects.get()))
    assert (halt.scope, halt.mode, halt.cause, halt.by) == (ScopeKind.FIRM, HaltMode.HALTED, HaltCause.KILL, "var/KILL")
    assert (act.kind, act.halt_id) == (CommandKind.KILL, halt.pk)


async def decide(place: Place, engine: Engine) -> None:
    """Let the brain want to buy, and the engine write what came of it."""
    decided = len(Scripted.views)
    Scripted.script.append(buy())
    place.market.quote(61000)
    await until(lambda: len(Scripted.views) > decided)
    await until(lambda: engine.runner._loop.unwritten == 0)


async def test_it_puts_an_event_aside_that_raises_twice(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    handle = Desk.handle

    def raise_on_resume(self: Desk, event: Event) -> Any:
        if isinstance(event, Commanded) and event.command.kind is CommandKind.QUERY:
            raise ZeroDivisionError("a defect of the core")
        return handle(self, event)

    monkeypatch.setattr(Desk, "handle", raise_on_resume)
    async with place.engine() as engine:
        await engine.active()
        row = await place.rows(lambda: command(place, CommandKind.QUERY, Scope(ScopeKind.ACCOUNT, place.account.code)))
        await until_rows(place, PoisonEvent.objects.exists)
        await until(lambda: engine.is_open and bool(engine.runner.desk.state.halts))
        await engine.active()
    poison, halt = await place.rows(lambda: (PoisonEvent.objects.get(), Halt.objects.get()))
    assert "a defect of the core" in poison.traceback
    assert (halt.scope_key, halt.mode, halt.cause) == (place.account.code, HaltMode.HALTED, HaltCause.POISON_EVENT)
    await place.rows(row.refresh_from_db)
    assert row.status == CommandStatus.REFUSED


async def test_it_delivers_an_event_once_more_that_raised_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    handle, raised = Desk.handle, [False]

    def raise_once(self: Desk, event: Event) -> Any:
        if isinstance(event, Marked) and event.marks[0].price == 61234 and not raised[0]:
            raised[0] = True
            raise ZeroDivisionError("a bad moment")
        return handle(self, event)

    monkeypatch.setattr(Desk, "handle", raise_once)
    async with place.engine() as engine:
        await engine.active()
        place.market.quote(61234)
        await until(lambda: raised[0])
        await until_rows(place, lambda: _marks(61234) > 0)
    assert not await place.rows(PoisonEvent.objects.exists)


def _marks(price: int) -> int:
    events = [journal.EVENT_DECODER.decode(bytes(raw)) for raw in JournalEntry.objects.values_list("event", flat=True)]
    return sum(isinstance(e, Marked) and e.marks[0].price == price for e in events)


async def test_it_stops_a_brain_that_raises_again_and_again(place: Place) -> None:
    async with place.engine() as engine:
        await engine.active()
        Scripted.script += [ValueError("no such indicator")] * 5
        for _ in range(5):
            place.market.quote(61000)
        await until_rows(place, lambda: Halt.objects.filter(cause=HaltCause.BRAIN_ERRORS).exists())
        await until_rows(place, lambda: BotLog.objects.filter(level="ERROR").exists())
    halt, line = await place.rows(lambda: (Halt.objects.get(), BotLog.objects.get(level="ERROR")))
    assert (halt.scope, halt.scope_key) == (ScopeKind.BOT, BOT)
    assert "no such indicator" in line.text
    assert "Traceback" in line.text


async def test_it_forgives_a_brain_that_raises_now_and_then(place: Place) -> None:
    async with place.engine() as engine:
        await engine.active()
        said = len(Scripted.views)
        Scripted.script += [*[ValueError("once")] * 4, Decision(signal=SignalKind.HOLD), *[ValueError("again")] * 4]
        for _ in range(10):
            place.market.quote(61000)
        await until(lambda: len(Scripted.views) == said + 10)
        await until(lambda: engine.runner._loop.unwritten == 0)
    assert not await place.rows(Halt.objects.exists)


async def test_it_ends_at_once_though_a_runner_fails_while_it_is_canceled(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    running = asyncio.Event()

    async def fail_when_canceled(_: Any) -> None:
        running.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ValueError("its own failure") from None

    monkeypatch.setattr("execution.engine.runner.Runner.run", fail_when_canceled)
    async with place.engine() as engine:
        await asyncio.wait_for(running.wait(), 10)
        await asyncio.wait_for(engine.drain(), 10)
    assert not await place.rows(Alarm.objects.exists), "nobody is told of a failure that was asked for"


async def test_it_lets_an_account_go_that_another_engine_took(place: Place) -> None:
    async with place.engine("one") as one:
        await one.active()
        runner = one.runner
        await place.rows(lambda: Lease.objects.update(engine="two", token=99))
        Scripted.script.append(buy())
        place.market.quote(61000)
        await until(lambda: not one.supervisor.accounts)
        assert runner._loop.is_over
    assert await place.rows(PaperOrder.objects.count) == 0


async def test_it_lets_an_account_go_that_was_taken_while_it_started(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    opening = asyncio.Event()

    async def hang(_: Any) -> None:
        opening.set()
        await asyncio.Event().wait()

    monkeypatch.setattr("execution.brokers.simulated.SimulatedBroker.open", hang)
    async with place.engine("one") as one:
        await opening.wait()
        await place.rows(lambda: Lease.objects.update(engine="two", token=99))
        await until(lambda: not one.supervisor.accounts)
        assert one.is_running


async def test_it_begins_under_a_halt_that_was_set_while_it_started(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    opening, go, opens = asyncio.Event(), asyncio.Event(), SimulatedBroker.open

    async def take_time(broker: SimulatedBroker) -> None:
        opening.set()
        await go.wait()
        await opens(broker)

    monkeypatch.setattr(SimulatedBroker, "open", take_time)
    async with place.engine() as engine:
        await opening.wait()
        await place.rows(
            lambda: Halt.objects.create(
                halt_id="h1",
                scope="FIRM",
                mode=HaltMode.HALTED,
                cause=HaltCause.MANUAL,
                reason="now",
                by="alice",
                at=timezone.now(),
            )
        )
        go.set()
        await until(lambda: engine.is_open and engine.runner.desk.state.account.is_reconciled)
        await until(lambda: engine.runner._loop.unwritten == 0)
        written = await place.rows(lambda: journal.load(place.account.pk))
    assert written is not None
    kinds = [type(entry.event).__name__ for entry in written.tail]
    assert kinds.index("HaltsLoaded") < kinds.index("LinkChanged")


async def test_it_halts_an_account_whose_runner_fails_again_and_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisors, "BACKOFF_S_FIRST", 0.001)
    monkeypatch.setattr(supervisors, "BACKOFF_S_MAX", 0.001)

    def cannot_open(*_: Any, **__: Any) -> None:
        raise ValueError("no such venue")

    monkeypatch.setattr(supervisors, "HEARTBEAT_S", 0.01)
    async with place.engine():
        with pytest.MonkeyPatch.context() as venue:
            venue.setattr("execution.engine.parts.open_broker", cannot_open)
            await until_rows(place, Halt.objects.exists)
        assert "no such venue" in (await place.rows(Alarm.objects.get)).cause
        # though no price has come yet: that is another matter
        await until_rows(place, lambda: Alarm.objects.get(key="runner failed").returned_at is not None)
    halt = await place.rows(Halt.objects.get)
    assert (halt.cause, halt.scope_key) == (HaltCause.RUNNER_FAILURES, place.account.code)


def _other_digest() -> None:
    JournalEntry.objects.filter(seq=5).update(digest=b"other")


def _unreadable_event() -> None:
    JournalEntry.objects.filter(seq=5).update(event=b"\xc1")


def _hole() -> None:
    JournalEntry.objects.filter(seq=5).delete()


async def broken_off(place: Place, engine: Engine, damage: Callable[[], object]) -> None:
    """The engine dies, its journal is damaged, and its lease is free."""
    await until(lambda: engine.runner._loop.unwritten == 0)
    await engine.crash()
    await place.rows(damage)
    await place.rows(lambda: Lease.objects.update(engine="", expires_at=None))


@pytest.mark.parametrize(
    ("damage", "cause"),
    [
        (_other_digest, "digest differs at event 5"),
        (_unreadable_event, "entry 5 cannot be read"),
        (_hole, "entry 5 of epoch"),
    ],
)
async def test_it_cancels_the_entries_of_an_account_whose_journal_cannot_be_replayed(
    place: Place, damage: Callable[[], object], cause: str
) -> None:
    async with place.engine("one") as engine:
        await rest(place, engine)
        await broken_off(place, engine, damage)
    async with place.engine("two") as engine:
        await until_rows(place, lambda: PaperOrder.objects.get().ord_status == "CANCELED")
        assert not engine.is_open
    alarm = await place.rows(lambda: Alarm.objects.get(key=supervisors.JOURNAL_BROKEN))
    assert cause in alarm.cause


async def test_it_leaves_the_legs_of_an_account_whose_journal_cannot_be_replayed(place: Place) -> None:
    async with place.engine("one") as engine:
        await enter(place, engine)
        await broken_off(place, engine, _other_digest)
    async with place.engine("two") as engine:
        await until_rows(place, lambda: Alarm.objects.filter(key=supervisors.JOURNAL_BROKEN).exists())
        await until(lambda: not any(slot.has_lost_entries for slot in engine.supervisor._slots.values()))
    assert await place.rows(lambda: sorted(PaperOrder.objects.values_list("ord_status", flat=True))) == ["FILLED", "NEW", "NEW"]


async def test_it_rings_until_the_venue_has_answered_each_cancel(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisors, "BACKOFF_S_MAX", 0.01)
    async with place.engine("one") as engine:
        await rest(place, engine)
        await broken_off(place, engine, _other_digest)

    async def no_answer(self: SimulatedBroker, request: SendCancel) -> None:
        raise ConnectionResetError("gone")

    entry = await place.rows(Order.objects.get)
    async with place.engine("two"):
        with pytest.MonkeyPatch.context() as venue:
            venue.setattr(SimulatedBroker, "cancel", no_answer)
            await until_rows(place, lambda: Alarm.objects.filter(key=supervisors.ENTRIES_LEFT).exists())
        assert entry.cl_ord_id in (await place.rows(lambda: Alarm.objects.get(key=supervisors.ENTRIES_LEFT))).cause
        await until_rows(place, lambda: Alarm.objects.get(key=supervisors.ENTRIES_LEFT).returned_at is not None)
    assert (await place.rows(PaperOrder.objects.get)).ord_status == "CANCELED"


async def test_it_takes_the_alarm_back_once_the_journal_is_restored(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisors, "BACKOFF_S_MAX", 0.01)
    monkeypatch.setattr(supervisors, "HEARTBEAT_S", 0.01)
    async with place.engine("one") as engine:
        await rest(place, engine)
        digest = await place.rows(lambda: JournalEntry.objects.get(seq=5).digest)
        await broken_off(place, engine, _other_digest)
    async with place.engine("two") as engine:
        await until_rows(place, lambda: PaperOrder.objects.get().ord_status == "CANCELED")
        await place.rows(lambda: JournalEntry.objects.filter(seq=5).update(digest=digest))
        await engine.active()
        await until_rows(place, lambda: not Alarm.objects.filter(returned_at=None).exists())
        await until(lambda: [o.ord_status for o in engine.runner.desk.state.orders.values()] == [OrdStatus.CANCELED])


async def test_it_renews_its_leases_while_a_long_journal_is_replayed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    renew, renewed, waited = leases.renew, threading.Event(), list[bool]()

    def seen(*args: Any, **kwargs: Any) -> set[int]:
        renewed.set()
        return renew(*args, **kwargs)

    def slow(account_id: int) -> Recovered:
        waited.append(renewed.wait(10))
        return recover(account_id)

    monkeypatch.setattr(leases, "renew", seen)
    monkeypatch.setattr("execution.engine.runner.recover", slow)
    async with place.engine() as engine:
        await engine.active()
    assert waited == [True]


async def test_it_runs_no_live_account(place: Place) -> None:
    await place.rows(lambda: Account.objects.update(environment="LIVE"))
    async with place.engine() as engine:
        await until_rows(place, AccountState.objects.exists)
        assert engine.supervisor.accounts == []
    state = await place.rows(AccountState.objects.get)
    assert "LIVE is refused" in state.checklist[0]["text"]


async def test_it_gives_an_account_back_that_is_disabled(place: Place) -> None:
    async with place.engine() as engine:
        await engine.active()
        await place.rows(lambda: Account.objects.update(is_enabled=False))
        await until_rows(place, lambda: Lease.objects.get().expires_at is None)
        assert not engine.supervisor.accounts


async def test_it_takes_new_settings_into_force_and_says_so(place: Place) -> None:
    async with place.engine() as engine:
        await engine.active()
        await place.rows(lambda: RiskProfile.objects.update(margin_per_trade=D(123)))
        version = await place.rows(lambda: settings_version_ensure(place.account, by="bob"))
        await until_rows(place, lambda: AccountState.objects.get().settings_digest == version.digest)
        settings = engine.runner.desk.state.settings
        assert settings is not None
        assert settings.profiles["wide"].base.margin_per_trade == 123


async def test_it_starts_an_account_again_whose_instruments_changed(place: Place) -> None:
    async with place.engine() as engine:
        await engine.active()
        first = engine.runner
        await place.rows(lambda: Instrument.objects.update(lot_size=D("0.01")))
        await place.rows(lambda: settings_version_ensure(place.account, by="bob"))
        await until(lambda: engine.is_open and engine.runner is not first, within_s=10)
        await engine.active()
        assert engine.runner.lease.token == first.lease.token
    assert await place.rows(SettingsVersion.objects.count) >= 2


async def test_it_tells_the_hours_of_a_market_further_when_a_day_begins(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisors, "DAY_LOOK_S", 0.01)
    await place.rows(lambda: Instrument.objects.update(calendar="XNYS"))
    async with place.engine() as engine:
        await engine.active()
        first = engine.runner.settings_version
        for clock, name in ((timezone, "now"), (Clock, "now")):
            now = getattr(clock, name)
            monkeypatch.setattr(clock, name, lambda *self, now=now: now(*self) + timedelta(days=7))
        await until(lambda: engine.runner.settings_version > first)
    version = await place.rows(lambda: SettingsVersion.objects.latest("version"))
    assert version.by == "the calendar"
    assert list(version.body["sessions"]) == ["XNYS"]


async def test_it_refuses_a_command_that_cannot_be_read_and_goes_on(place: Place) -> None:
    async with place.engine() as engine:
        await engine.active()
        row = await place.rows(lambda: _unreadable(place))
        await until_rows(place, lambda: Command.objects.get(pk=row.pk).status == CommandStatus.REFUSED)
        good = await place.rows(lambda: command(place, CommandKind.QUERY, Scope(ScopeKind.ACCOUNT, place.account.code)))
        await until_rows(place, lambda: Command.objects.get(pk=good.pk).applied_seq is not None)


def _unreadable(place: Place) -> Command:
    now = timezone.now()
    act = Act.objects.create(kind="QUERY", scope="FIRM", by="bob", idempotency_key="unreadable", at=now)
    return Command.objects.create(act=act, account=place.account, body={"kind": "DANCE"}, created_at=now)


async def test_it_loads_a_halt_that_was_written_while_no_engine_lived(place: Place) -> None:
    async with place.engine("before") as engine:
        await engine.active()
    await place.rows(
        lambda: Halt.objects.create(
            halt_id="h1", scope="FIRM", mode="HALTED", cause="MANUAL", reason="storm", by="bob", at=timezone.now()
        )
    )
    async with place.engine("after") as engine:
        await engine.active()
        assert list(engine.runner.desk.state.halts) == ["h1"]
        Scripted.script.append(buy())
        place.market.quote(61000)
        await until(lambda: not Scripted.script)
        await until(lambda: engine.runner._loop.unwritten == 0)
    assert await place.rows(PaperOrder.objects.count) == 0


async def until_rows(place: Place, ask: Any, *, within_s: float = 20.0) -> None:
    """Wait until the rows say so."""
    async with asyncio.timeout(within_s):
        while not await place.rows(ask):  # noqa: ASYNC110 - rows do not ring
            await asyncio.sleep(0.02)


async def test_it_seats_a_stopped_brain_anew_when_its_bot_is_started_again(place: Place) -> None:
    async with place.engine() as engine:
        await engine.active()
        Scripted.script += [ValueError("no such indicator")] * 5
        for _ in range(5):
            place.market.quote(61000)
        await until_rows(place, lambda: Halt.objects.filter(cause=HaltCause.BRAIN_ERRORS).exists())
        (halt_id,) = engine.runner.desk.state.halts
        scope = Scope(ScopeKind.BOT, BOT)
        await place.rows(lambda: command(place, CommandKind.CLEAR, scope, halt_id=halt_id))
        await until(lambda: not engine.runner.desk.state.halts)
        await place.rows(lambda: command(place, CommandKind.START, scope))
        await until(lambda: engine.runner.desk.state.bots[BOT].status is BotStatus.RUNNING)
