"""The engine as a Channels worker: `manage.py runworker execution`.

The role is the channel's name and nothing is sent to it: a named channel reaches one arbitrary worker. Hints come to a channel of
our own, which is put into its groups again and again, because a layer that was emptied forgets us without an error.
"""

from __future__ import annotations

import asyncio
import gc
import os
import secrets
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import structlog
from channels.consumer import AsyncConsumer
from channels.exceptions import ChannelFull
from channels.worker import Worker
from django.conf import settings
from redis.exceptions import RedisError

from execution import brains
from execution.engine.clock import Clock
from execution.engine.database import DatabaseThread
from execution.engine.guard import BrainGuard
from execution.engine.parts import Parts
from execution.engine.publisher import Publisher
from execution.engine.supervisor import Supervisor
from execution.engine.vitals import fsync_ms
from execution.engine.writer import JournalWriter
from risk.core.units import use_decimal_context

log = structlog.get_logger(__name__)

ENGINES: Final = "engines"
REJOIN_S: Final = 5.0
LAYER_RETRY_S: Final = 1.0
_LAYER_TIMEOUT_S: Final = 2.0
DRAIN_S: Final = 8.0
#: threads take turns this often: the journal thread must not wait 5 ms for a busy loop
_SWITCH_S: Final = 0.0005


def process_prepare() -> None:
    """Make an engine of this process: exact decimals, brains, threads that take turns quickly, a collector that leaves the code alone.

    What is loaded by now lives as long as the process; searching it for garbage took 90 ms now and then, in which no order left.
    """
    use_decimal_context()
    for file, why in brains.found().broken.items():
        log.error("a brain cannot be used; its bots will be stopped", file=file, why=why)
    sys.setswitchinterval(_SWITCH_S)
    gc.collect()
    gc.freeze()


class ExecutionConsumer(AsyncConsumer):  # type: ignore[misc]
    """Hears hints. Whatever its type, a message means "look now": what there is to do is in the database."""

    channel_layer_alias = "none"

    def __init__(self, inbox: Callable[[], None]) -> None:
        self._look = inbox

    async def dispatch(self, message: dict[str, Any]) -> None:
        self._look()


class EngineWorker(Worker):  # type: ignore[misc]
    """Runs a Supervisor until a signal comes, then drains and returns. The channel layer may be away at any time.

    `killed` writes down what the kill file asks for; see Supervisor.
    """

    def __init__(self, channels: list[str], channel_layer: Any, *, killed: Callable[[int], object]) -> None:
        super().__init__(ExecutionConsumer.as_asgi(inbox=self._hinted), channels, channel_layer)
        self.name = f"{socket.gethostname()[:40]}-{os.getpid()}-{secrets.token_hex(3)}"
        self._killed = killed
        self._supervisor: Supervisor | None = None
        self._stop = asyncio.Event()
        self._crash: BaseException | None = None

    async def handle(self) -> None:
        """Run until SIGTERM or SIGINT; raises what ended the engine otherwise."""
        process_prepare()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        var_dir = Path(settings.VAR_DIR)
        clock = Clock()
        writer = JournalWriter(loop, crashed=self._crashed)
        publisher = Publisher(engine=self.name, clock=clock, layer=self.channel_layer)
        database, history = DatabaseThread("database"), DatabaseThread("history")
        parts = Parts(self.name, clock, settings.TIMING, writer, database, publisher, history=history)
        supervisor = self._supervisor = Supervisor(
            parts, kill_file=settings.KILL_FILE, killed=self._killed, fsync_ms=fsync_ms(var_dir)
        )
        guard = BrainGuard(loop, thinking=supervisor.thinking, clock=clock, engine=self.name)
        writer.start()
        guard.start()
        log.info("engine started", engine=self.name)
        try:
            await self._run(supervisor)
        finally:
            guard.stop()
            await writer.stop()
            database.close()
            history.close()
            publisher.close()
        if self._crash is not None:
            raise self._crash

    async def _run(self, supervisor: Supervisor) -> None:
        work = [asyncio.create_task(supervisor.run()), asyncio.create_task(self._hints())]
        stop = asyncio.create_task(self._stop.wait())
        await asyncio.wait([*work, stop], return_when=asyncio.FIRST_COMPLETED)
        log.info("engine stopping", engine=self.name)
        try:
            async with asyncio.timeout(DRAIN_S):
                await supervisor.drain()
        except TimeoutError:
            log.error("the engine did not drain in time")
        for task in (*work, stop):
            task.cancel()
        await asyncio.wait([*work, stop])
        for task in work:
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error

    def _crashed(self, error: BaseException) -> None:
        """The journal thread ended by something nobody named: the process ends, and is started again from the journal."""
        self._crash = error
        self._stop.set()

    def _hinted(self) -> None:
        if self._supervisor is not None:
            self._supervisor.look()

    async def _hints(self) -> None:
        """Listen for hints for ever; a layer that is away is asked again, and meanwhile the polls find everything."""
        while True:
            try:
                await self._listen()
            except* (RedisError, OSError, TimeoutError, ChannelFull) as group:
                log.warning("the channel layer is away; polling", error=repr(group.exceptions[0]))
            await asyncio.sleep(LAYER_RETRY_S)

    async def _listen(self) -> None:
        channel = await self.channel_layer.new_channel()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._rejoin(channel))
            tasks.create_task(self._receive(channel))

    async def _receive(self, channel: str) -> None:
        while True:
            message = await self.channel_layer.receive(channel)
            scope = {"type": "channel", "channel": channel}
            await self.get_or_create_application_instance(channel, scope).put(message)

    async def _rejoin(self, channel: str) -> None:
        while True:
            assert self._supervisor is not None
            groups = [ENGINES, *(f"account.{pk}" for pk in self._supervisor.accounts)]
            async with asyncio.timeout(_LAYER_TIMEOUT_S):
                for group in groups:
                    await self.channel_layer.group_add(group, channel)
            await asyncio.sleep(REJOIN_S)
