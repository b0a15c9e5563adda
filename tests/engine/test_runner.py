"""An account from claim to drain: what is decided becomes rows and orders, and a crash loses nothing and repeats nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from execution.core.messages import CommandKind, CommandSpec, CommandStatus
from execution.core.orders import OrdStatus
from execution.models import (
    AccountState,
    Act,
    Bracket,
    Command,
    Fill,
    JournalEntry,
    Lease,
    Order,
    Position,
    Signal,
    Snapshot,
)
from execution.models import Engine as EngineRow
from execution.paper import PaperOrder
from execution.store.polls import Poll
from risk.core.book import Halt
from risk.core.units import Scope, ScopeKind
from risk.core.verdict import HaltCause, HaltMode
from tests.engine.desk import BOT, CLOSE, D, Engine, Place, Scripted, buy
from tests.engine.venue import until

pytestmark = pytest.mark.db


async def enter(place: Place, engine: Engine) -> None:
    """Buy, and wait until both legs rest at the venue."""
    await engine.active()
    Scripted.script.append(buy())
    place.market.quote(61000)
    await until(lambda: any(b.status == "ARMED" for b in engine.runner.desk.state.brackets.values()))


async def test_it_carries_a_decision_to_the_venue_and_its_story_to_the_rows(place: Place) -> None:
    async with place.engine() as engine:
        await enter(place, engine)
        await engine.drain()

    def story() -> dict[str, Any]:
        return {
            "signal": Signal.objects.values_list("reason", flat=True).get(),
            "orders": sorted(Order.objects.values_list("purpose", "ord_status")),
            "fills": Fill.objects.count(),
            "bracket": Bracket.objects.values_list("status", flat=True).get(),
            "position": Position.objects.get().qty > 0,
            "venue": sorted(PaperOrder.objects.values_list("ord_status", flat=True)),
        }

    assert await place.rows(story) == {
        "signal": "",
        "orders": [("ENTRY", "FILLED"), ("STOP_LOSS", "NEW"), ("TAKE_PROFIT", "NEW")],
        "fills": 1,
        "bracket": "ARMED",
        "position": True,
        "venue": ["FILLED", "NEW", "NEW"],
    }


async def test_it_leaves_a_snapshot_and_no_lease_behind_when_it_drains(place: Place) -> None:
    async with place.engine() as engine:
        await engine.active()
        seq = engine.runner.seq
        await engine.drain()
    snapshot, lease, row = await place.rows(lambda: (Snapshot.objects.get(), Lease.objects.get(), EngineRow.objects.get()))
    assert snapshot.seq >= seq
    assert (lease.engine, lease.expires_at) == ("", None)
    assert row.stopped_at is not None
    assert (await place.rows(AccountState.objects.get)).phase == "STOPPED"


async def test_it_goes_on_after_a_crash_without_sending_anything_twice(place: Place) -> None:
    async with place.engine("one") as engine:
        await enter(place, engine)
        before = engine.runner.desk.digest(), engine.runner.seq
        await until(lambda: engine.runner._loop.unwritten == 0)
        await engine.crash()
    async with place.engine("two") as engine:
        await engine.active()
        assert engine.runner.seq > before[1]
        entry = await place.rows(lambda: JournalEntry.objects.get(seq=before[1]))
        assert bytes(entry.digest) == before[0]
        Scripted.script.append(CLOSE)
        place.market.quote(61000)
        await until(lambda: all(not p.qty for p in engine.runner.desk.state.positions.values()))
        await until(lambda: all(not o.is_working for o in engine.runner.desk.state.orders.values()))
        await engine.drain()

    def audit() -> tuple[Any, ...]:
        ours = set(Order.objects.values_list("cl_ord_id", "cum_qty"))
        venue = set(PaperOrder.objects.values_list("cl_ord_id", "cum_qty"))
        return ours == venue, PaperOrder.objects.count(), PaperOrder.objects.filter(ord_status="NEW").count()

    assert await place.rows(audit) == (True, 4, 0)


async def test_it_sends_nothing_of_an_event_that_was_not_committed(place: Place) -> None:
    """The crash comes between handling and commit: after it the decision was never made."""
    async with place.engine("one") as engine:
        await engine.active()
        await until(lambda: engine.runner._loop.unwritten == 0)
        engine.runner._loop._session.is_broken = True
        Scripted.script.append(buy())
        place.market.quote(61000)
        await until(lambda: bool(engine.runner.desk.state.orders))
        await engine.crash()
    async with place.engine("two") as engine:
        await engine.active()
        assert engine.runner.desk.state.orders == {}
    assert await place.rows(lambda: (Order.objects.count(), PaperOrder.objects.count())) == (0, 0)


async def test_it_finds_out_what_became_of_an_order_that_was_committed_and_never_sent(place: Place) -> None:
    """The crash comes between commit and send: the order is asked for, found unknown twice, and ends REJECTED."""
    async with place.engine("one") as engine:
        await engine.active()
        engine.runner._outbox.close()
        Scripted.script.append(buy())
        place.market.quote(61000)
        await until(lambda: bool(engine.runner.desk.state.orders) and engine.runner._loop.unwritten == 0)
        await engine.crash()
    async with place.engine("two") as engine:
        await engine.active()
        (order,) = engine.runner.desk.state.orders.values()
        await until(lambda: order.ord_status is OrdStatus.REJECTED, within_s=10)
    assert await place.rows(PaperOrder.objects.count) == 0


async def test_it_answers_a_command_on_its_row(place: Place) -> None:
    async with place.engine() as engine:
        await engine.active()
        pk = await place.rows(lambda: command(place, CommandKind.PAUSE, Scope(ScopeKind.BOT, BOT)).pk)
        engine.supervisor.look()
        await until(lambda: bool(engine.layer.keys("command")))
        row = await place.rows(lambda: Command.objects.get(pk=pk))
    assert row.status in {CommandStatus.DONE, CommandStatus.RUNNING, CommandStatus.REFUSED}
    assert row.applied_seq is not None
    assert engine.layer.keys("command")[0] == str(pk)


def command(place: Place, kind: CommandKind, scope: Scope, **fields: Any) -> Command:
    import msgspec
    from django.utils import timezone

    now = timezone.now()
    act = Act.objects.create(kind=kind, scope=scope.kind, scope_key=scope.key, by="bob", idempotency_key=f"{kind}{now}", at=now)
    spec = CommandSpec(command_id="", kind=kind, scope=scope, by="bob", asked_at=now, **fields)
    return Command.objects.create(act=act, account=place.account, body=msgspec.to_builtins(spec), created_at=now)


async def test_it_tells_the_pages_what_changed(place: Place) -> None:
    async with place.engine() as engine:
        await enter(place, engine)
        await engine.drain()
    assert len(engine.layer.keys("order")) >= 3
    assert engine.layer.keys("bracket")
    seqs = [part["seq"] for message in engine.layer.messages for part in message["accounts"].values()]
    assert seqs == sorted(seqs)
    quotes = [part["quotes"] for message in engine.layer.messages for part in message["accounts"].values() if part["quotes"]]
    assert quotes[-1]["BTCUSDT"][:3] == ["60999.5", "61000.5", "61000"]


async def test_it_tells_the_brain_what_it_holds(place: Place) -> None:
    async with place.engine() as engine:
        await enter(place, engine)
        place.market.quote(61000)
        await until(lambda: Scripted.views[-1].position_qty > D(0))


async def test_it_does_not_bring_a_halt_back_that_an_old_poll_still_saw(place: Place) -> None:
    halt = Halt(
        halt_id="h1",
        scope=Scope(ScopeKind.ACCOUNT, place.account.code),
        mode=HaltMode.HALTED,
        cause=HaltCause.MANUAL,
        reason="storm",
        by="bob",
        at=datetime.now(UTC),
    )
    async with place.engine() as engine:
        await engine.active()
        engine.runner.apply(Poll([], [halt]))
        assert list(engine.runner.desk.state.halts) == ["h1"]
        await place.rows(lambda: command(place, CommandKind.CLEAR, halt.scope, halt_id="h1"))
        await until(lambda: "h1" not in engine.runner.desk.state.halts)
        engine.runner.apply(Poll([], [halt]))
        assert "h1" not in engine.runner.desk.state.halts
        await until(lambda: engine.runner._loop.unwritten == 0)
        engine.runner.apply(Poll([], [halt]))
        assert "h1" not in engine.runner.desk.state.halts
