"""Questions to the venue: the whole picture (QueryVenue → Reconciled) and one order (QueryOrder → OrderFound).

A question that fails is asked again with growing pauses until it is answered: the absence of an answer is never an answer. The Desk
judges what it hears; `asked_seq` and `asked_at` tell it what it already knew when the question left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any, Protocol, TypeVar

import structlog

from execution.core.messages import Adjusted, Event, OrderFound, QueryOrder, QueryVenue, Reconciled, Timing
from execution.core.ports import FILLS_OVERLAP, Broker, BrokerError, TellsAdjustments
from execution.engine.clock import AccountClock
from execution.engine.lanes import Budget

log = structlog.get_logger(__name__)
T = TypeVar("T")

_PAUSE_S_MAX = 30.0
_FIRST_LOOK_BACK = timedelta(days=1)


class Knower(Protocol):
    """What the questions need of the Desk at the moment they leave."""

    @property
    def seq(self) -> int: ...

    @property
    def reconciled_at(self) -> datetime | None: ...


class Reconciler:
    """Builds the work of a question for the outbox's query lane. `budget` pays for each request of it."""

    def __init__(
        self,
        broker: Broker,
        desk: Knower,
        *,
        clock: AccountClock,
        timing: Timing,
        budget: Budget,
        take: Callable[[Event], None],
    ) -> None:
        self._broker = broker
        self._desk = desk
        self._clock = clock
        self._timeout_s = timing.send_timeout_ms / 1000
        self._budget = budget
        self._take = take
        #: order → how often it was asked for: an older asking gives up when a newer one runs
        self._askings: dict[str, int] = {}

    async def venue(self, effect: QueryVenue) -> None:
        """Orders first, fills last: whatever fills in between is in the fills."""
        attempt = 0
        while True:
            asked_seq, asked_at = self._desk.seq, self._clock.now()
            try:
                orders = await self._timed(self._broker.orders_open)
                positions = await self._timed(self._broker.positions)
                balances = await self._timed(self._broker.balances)
                fills = await self._timed(self._broker.fills_since, self._since(asked_at))
                adjustments = await self._adjustments(self._since(asked_at))
            except (BrokerError, TimeoutError, OSError) as e:
                attempt += 1
                await self._pause(effect.query_id, attempt, e)
                continue
            self._take(
                Reconciled(
                    at=self._clock.now(),
                    asked_seq=asked_seq,
                    asked_at=asked_at,
                    query_id=effect.query_id,
                    orders=tuple(orders),
                    fills=tuple(fills),
                    positions=dict(positions),
                    balances=dict(balances),
                    adjustments=tuple(adjustments),
                )
            )
            return

    async def order(self, effect: QueryOrder) -> None:
        attempt = 0
        key = f"order {effect.cl_ord_id}"
        asking = self._begin(key)
        while self._askings.get(key, asking) == asking:
            asked_at = self._clock.now()
            try:
                order = await self._timed(self._broker.order_by_cl_ord_id, effect.cl_ord_id, effect.symbol)
                if order is None:
                    found = await self._timed(self._broker.orders_open)
                    order = next((o for o in found if o.cl_ord_id == effect.cl_ord_id), None)
                fills = await self._timed(self._broker.fills_since, self._since(asked_at))
                has_filled = any(fill.cl_ord_id == effect.cl_ord_id for fill in fills)
                adjusted = await self._adjustments(self._since(asked_at)) if has_filled else ()
            except (BrokerError, TimeoutError, OSError) as e:
                attempt += 1
                await self._pause(key, attempt, e)
                continue
            if self._askings.get(key) == asking:
                del self._askings[key]
            self._take(
                OrderFound(
                    at=self._clock.now(),
                    cl_ord_id=effect.cl_ord_id,
                    asked_at=asked_at,
                    order=order,
                    fills=tuple(f for f in fills if f.cl_ord_id == effect.cl_ord_id or (adjusted and f.symbol == effect.symbol)),
                    adjustments=tuple(a for a in adjusted if a.symbol == effect.symbol),
                )
            )
            return

    async def _adjustments(self, since: datetime) -> Sequence[Adjusted]:
        """What the venue moved without a trade, where it tells."""
        if not isinstance(self._broker, TellsAdjustments):
            return ()
        return await self._timed(self._broker.adjustments_since, since)

    def _begin(self, key: str) -> int:
        self._askings[key] = self._askings.get(key, 0) + 1
        return self._askings[key]

    def _since(self, asked_at: datetime) -> datetime:
        last = self._desk.reconciled_at
        return last - FILLS_OVERLAP if last is not None else asked_at - _FIRST_LOOK_BACK

    async def _timed(self, ask: Callable[..., Awaitable[T]], *what: Any) -> T:
        await self._budget.spend()
        async with asyncio.timeout(self._timeout_s):
            return await ask(*what)

    async def _pause(self, key: str, attempt: int, error: Exception) -> None:
        log.warning("the venue did not answer a question", question=key, attempt=attempt, error=str(error) or type(error).__name__)
        await asyncio.sleep(pause_s(key, attempt))


def pause_s(key: str, attempt: int, *, first_s: float = 0.1, most_s: float = _PAUSE_S_MAX) -> float:
    """100 ms doubled each time up to 30 s, spread by a hash of the question and the attempt: the same in every run."""
    spread = blake2b(f"{key} {attempt}".encode(), digest_size=2).digest()
    share = int.from_bytes(spread) / 65536
    return min(most_s, first_s * 2.0 ** (attempt - 1)) * (0.5 + share / 2)
