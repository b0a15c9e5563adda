"""What people see between two commits of the page: one message per engine every 50 ms, and price and bar rows once a second.

Nothing here is needed to trade. A channel layer that is away is counted and forgotten; the pages then read rows once a second.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Protocol

import structlog
from channels.exceptions import ChannelFull
from django.db import Error as AnyDatabaseError
from redis.exceptions import RedisError

from execution.core.messages import AnswerCommand, Bar, ClearAlarm, Effect, Publish, RaiseAlarm
from execution.engine.clock import Clock
from execution.engine.database import DatabaseThread
from execution.store import market
from execution.store.market import Glance
from execution.store.projections import Repeat
from risk.core.units import Quote

log = structlog.get_logger(__name__)

GROUP: Final = "console"
FLUSH_S: Final = 0.05
ROWS_S: Final = 1.0
_SEND_TIMEOUT_S: Final = 0.2


class Layer(Protocol):
    """A channel layer, as far as we use it."""

    async def group_send(self, group: str, message: dict[str, Any]) -> None: ...


class Stream:
    """One account's changes since the last message. The runner adds, the publisher takes."""

    def __init__(self, *, account_id: int, code: str) -> None:
        self.account_id = account_id
        self.code = code
        self.seq = 0
        self._keys: dict[str, dict[str, None]] = {}
        self._quotes: dict[str, Quote] = {}
        self._bars: list[Bar] = []

    def note(self, effects: Sequence[Effect], *, seq: int, fold: Repeat | None = None) -> None:
        """What a commit changed. A folded signal is told by the key of the row that counted it."""
        self.seq = max(self.seq, seq)
        for effect in effects:
            match effect:
                case Publish(kind="signal") if fold is not None:
                    self.touch("signal", fold.decision_id)
                case Publish():
                    self.touch(effect.kind, effect.key)
                case RaiseAlarm() | ClearAlarm():
                    self.touch("alarm", effect.key)
                case AnswerCommand() if effect.command_id.isdecimal():
                    # the engine's own commands have no row
                    self.touch("command", effect.command_id)
                case _:
                    pass

    def touch(self, kind: str, key: str) -> None:
        self._keys.setdefault(kind, {})[key] = None

    def bar(self, bar: Bar) -> None:
        self._bars.append(bar)

    def quotes(self, quotes: dict[str, Quote]) -> None:
        """The last quote of each symbol that moved; called once a second."""
        self._quotes.update(quotes)

    def take(self) -> dict[str, Any] | None:
        """The account's part of the next message; None when nothing happened."""
        if not (self._keys or self._quotes or self._bars):
            return None
        part = {
            "seq": self.seq,
            "keys": {kind: list(keys) for kind, keys in self._keys.items()},
            "quotes": {symbol: _quote(quote) for symbol, quote in self._quotes.items()},
            "bars": [_bar(bar) for bar in self._bars],
        }
        self._keys, self._quotes, self._bars = {}, {}, []
        return part


class Source(Protocol):
    """A running account, as the publisher sees it."""

    stream: Stream

    def glance(self) -> Glance | None:
        """What changed beside the journal since the last call; also moves the quotes into the stream."""


class Publisher:
    """Sends for all running accounts of the engine."""

    def __init__(self, *, engine: str, clock: Clock, layer: Layer | None) -> None:
        self._engine = engine
        self._clock = clock
        self._layer = layer
        self._sources: dict[int, Source] = {}
        self._database = DatabaseThread("prices")
        self.dropped: Counter[str] = Counter()

    def add(self, source: Source) -> None:
        self._sources[source.stream.account_id] = source

    def remove(self, source: Source) -> None:
        if self._sources.get(source.stream.account_id) is source:
            del self._sources[source.stream.account_id]

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._messages())
            tasks.create_task(self._rows())

    async def flush(self) -> None:
        """Send what there is. A layer that is slow, full or away costs this message and nothing else."""
        accounts = {source.stream.code: part for source in self._sources.values() if (part := source.stream.take()) is not None}
        if not accounts or self._layer is None:
            return
        message = {"type": "desk.changed", "engine": self._engine, "at": self._clock.now().isoformat(), "accounts": accounts}
        try:
            async with asyncio.timeout(_SEND_TIMEOUT_S):
                await self._layer.group_send(GROUP, message)
        except (RedisError, OSError, TimeoutError, ChannelFull) as e:
            self.dropped[type(e).__name__] += 1

    async def write(self) -> None:
        glances = [glance for source in list(self._sources.values()) if (glance := source.glance()) is not None]
        if not glances:
            return
        try:
            await self._database.run(market.write, glances)
        except AnyDatabaseError as e:
            self.dropped["rows"] += 1
            log.warning("prices and bars were not written", error=str(e))

    def close(self) -> None:
        self._database.close()

    async def _messages(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_S)
            await self.flush()

    async def _rows(self) -> None:
        while True:
            await asyncio.sleep(ROWS_S)
            await self.write()


def _quote(quote: Quote) -> list[Any]:
    return [str(quote.bid), str(quote.ask), str(quote.last), _ms(quote.received_at)]


def _bar(bar: Bar) -> list[Any]:
    prices: tuple[Decimal, ...] = (bar.open, bar.high, bar.low, bar.close, bar.volume)
    return [bar.symbol, bar.interval_s, _ms(bar.start_at), *map(str, prices)]


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)
