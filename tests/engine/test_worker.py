"""The worker: hints over any weather, and the guard against a brain that never returns."""

from __future__ import annotations

import asyncio
import os
import signal
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest
from channels.layers import InMemoryChannelLayer
from django.utils import timezone

from execution.engine import guard as guards
from execution.engine import worker as workers
from execution.engine.clock import Clock
from execution.engine.guard import EXIT_STUCK, BrainGuard
from execution.engine.worker import EngineWorker
from execution.models import Alarm, Bot, BotLog
from execution.models import Engine as EngineRow
from execution.services import kill_by_file
from risk.core.units import ScopeKind
from risk.models import Halt
from tests.engine.desk import BOT, Place
from tests.engine.venue import until


class Weather(InMemoryChannelLayer):  # type: ignore[misc]
    """A layer that can be away, and that forgets everybody when it comes back."""

    is_away = False
    refused = 0

    async def new_channel(self, prefix: str = "specific") -> Any:
        self._look()
        return await super().new_channel(prefix)

    async def group_add(self, group: str, channel: str) -> None:
        self._look()
        await super().group_add(group, channel)

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        self._look()
        await super().group_send(group, message)

    def _look(self) -> None:
        if self.is_away:
            self.refused += 1
            raise OSError("the layer is away")


async def end(worker: EngineWorker, task: asyncio.Task[None]) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(15):
        await task


async def test_it_hears_hints_and_stops_politely_at_a_signal(place: Place, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.VAR_DIR = place.var_dir
    monkeypatch.setattr(workers, "REJOIN_S", 0.02)
    layer = Weather()
    worker = EngineWorker(["execution"], layer, killed=kill_by_file)
    task = asyncio.create_task(worker.arun())
    await until(lambda: "engines" in layer.groups and f"account.{place.account.pk}" in layer.groups)
    supervisor = worker._supervisor
    assert supervisor is not None
    hinted = asyncio.Event()
    monkeypatch.setattr(supervisor, "look", hinted.set)
    await layer.group_send(f"account.{place.account.pk}", {"type": "hint"})
    await asyncio.wait_for(hinted.wait(), 5)
    await end(worker, task)
    assert (await place.rows(EngineRow.objects.get)).stopped_at is not None


async def test_it_works_without_a_layer_and_hears_again_when_it_is_back(
    place: Place, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.VAR_DIR = place.var_dir
    monkeypatch.setattr(workers, "REJOIN_S", 0.02)
    monkeypatch.setattr(workers, "LAYER_RETRY_S", 0.02)
    layer = Weather()
    layer.is_away = True
    worker = EngineWorker(["execution"], layer, killed=kill_by_file)
    task = asyncio.create_task(worker.arun())
    await until(lambda: worker._supervisor is not None and bool(worker._supervisor.accounts))
    layer.is_away = False
    await until(lambda: "engines" in layer.groups)
    layer.groups.clear()
    await until(lambda: "engines" in layer.groups)
    layer.is_away = True
    await until(lambda: layer.refused > 3)
    layer.groups.clear()
    layer.is_away = False
    await until(lambda: "engines" in layer.groups)
    await end(worker, task)


async def test_it_ends_the_process_when_a_brain_never_returns(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = Event()
    codes: list[int] = []

    def leave(code: int) -> None:
        codes.append(code)
        ended.set()
        guard._stop.set()

    monkeypatch.setattr(guards, "STUCK_S", 0.2)
    monkeypatch.setattr(guards, "_LOOK_S", 0.05)
    monkeypatch.setattr(os, "_exit", leave)
    bot = await place.rows(Bot.objects.get)
    now = timezone.now()
    await place.rows(lambda: EngineRow.objects.create(name="one", pid=1, host="box", version="1", started_at=now, seen_at=now))
    seat: Any = SimpleNamespace(bot=SimpleNamespace(code=BOT))
    guard = BrainGuard(asyncio.get_running_loop(), thinking=lambda: seat, clock=Clock(), engine="one")
    guard.start()
    assert ended.wait(10)
    guard.stop()
    assert codes[0] == EXIT_STUCK
    halt = await place.rows(Halt.objects.get)
    assert (halt.scope, halt.scope_key) == (ScopeKind.BOT, bot.code)
    line = (await place.rows(BotLog.objects.get)).text
    assert ("did not return" in line, "ended.wait" in line) == (True, True), "what and where"
    alarm = await place.rows(Alarm.objects.get)
    assert (alarm.account_id, alarm.bot, alarm.priority) == (place.account.pk, BOT, 1)
    assert alarm.title == f"Bot {BOT} is stopped: its brain does not return"
    assert all((alarm.cause, alarm.consequence, alarm.to_do))
    assert (await place.rows(EngineRow.objects.get)).stopped_at is not None, "it was not killed: it ended itself"
