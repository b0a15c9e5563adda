"""Every adapter on a stage of its own: the broker, opened, and hands that move the market it trades at.

An adapter of a real venue gets a stage here when it comes: a stub that speaks the venue's protocol, whose prices the test sets.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, NamedTuple

from execution.brokers.simulated import DatabaseStore, MemoryStore
from execution.core.ports import Broker
from tests.brokers.builders import opened, quote


class Stage(NamedTuple):
    """`broker` trades BTCUSDT and has 100,000 USDT; `price` moves its market, which stands at 99.99 / 100.00."""

    broker: Broker
    price: Callable[[str, str], None]


@asynccontextmanager
async def _simulated(store: MemoryStore | DatabaseStore) -> AsyncIterator[Stage]:
    venue = await opened(store)
    yield Stage(venue, lambda bid, ask: venue.on_market(quote(bid, ask)))
    await venue.close()


STAGES: Final[Mapping[str, Callable[[], AbstractAsyncContextManager[Stage]]]] = {
    "simulated, in memory": lambda: _simulated(MemoryStore()),
    "simulated, in tables": lambda: _simulated(DatabaseStore("paper")),
}
