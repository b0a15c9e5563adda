"""The outbox of one account: what was committed leaves for the venue, in three lanes with budgets of their own.

Rules of this file:
1. Only what a commit released is put here, in the journal's order, and a lane starts its requests in that order.
2. A cancel or replace never overtakes its order. If the order has not started, it is taken out and comes back NOT_SENT; if it
   has, the cancel waits for its answer or its time-out.
3. A request starts only while our own lease lasts longer than the request may take.
4. Entries grow old and come back NOT_SENT; exits, protection and cancels never do.
5. A send ends in one of: answered (a report will tell), NOT_SENT, REFUSED, UNKNOWN. What we cannot name is UNKNOWN.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from enum import Enum
from typing import Any, NamedTuple

import structlog

from execution.core.messages import SendCancel, SendFailed, SendNewOrder, SendOutcome, SendReplace, Timing
from execution.core.ports import Broker, Duplicate, NotSent, Refused
from execution.engine.clock import AccountClock, monotonic
from execution.engine.leases import Held
from risk.core.units import Scope
from risk.core.verdict import OrderClass

log = structlog.get_logger(__name__)

Send = SendNewOrder | SendCancel | SendReplace


class Lane(Enum):
    """Each with its width (requests on their way at once) and its budget (requests a second)."""

    SAFETY = "cancels, protection and exits"
    ENTRIES = "entries"
    QUERIES = "queries"


class LaneLimits(NamedTuple):
    width: int
    per_s: float


#: What a venue grants one account. An adapter with tighter limits names its own.
LANE_LIMITS = {Lane.SAFETY: LaneLimits(64, 5000.0), Lane.ENTRIES: LaneLimits(16, 1000.0), Lane.QUERIES: LaneLimits(8, 200.0)}


class Budget:
    """A token bucket that holds one second's worth."""

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._tokens = per_s
        self._at = monotonic()

    def take(self) -> bool:
        now = monotonic()
        self._tokens = min(self._per_s, self._tokens + (now - self._at) * self._per_s)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    @property
    def wait_s(self) -> float:
        return max(0.0, (1 - self._tokens) / self._per_s)


class Waiting(NamedTuple):
    """A request that has not started. `born` is when its event was handled (monotonic)."""

    effect: Send | None
    work: Callable[[], Coroutine[Any, Any, None]]
    born: float


class _Queue:
    def __init__(self, limits: LaneLimits) -> None:
        self.waiting: deque[Waiting] = deque()
        self.width = limits.width
        self.budget = Budget(limits.per_s)
        self.in_flight = 0
        self.retry: asyncio.TimerHandle | None = None


class Outbox:
    """Hands requests to a Broker by the rules above. Lives on the loop; `failed` takes what did not become a report."""

    def __init__(
        self,
        broker: Broker,
        *,
        lease: Held,
        clock: AccountClock,
        timing: Timing,
        failed: Callable[[SendFailed], None],
        crashed: Callable[[BaseException], None],
    ) -> None:
        self._broker = broker
        self._lease = lease
        self._clock = clock
        self._timeout_s = timing.send_timeout_ms / 1000
        self._age_s_max = timing.send_age_ms_max / 1000
        self._failed = failed
        self._crashed = crashed
        self._queues = {lane: _Queue(limits) for lane, limits in LANE_LIMITS.items()}
        #: orders whose submit has started and has no answer yet
        self._sending: dict[str, asyncio.Event] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._entries_closed = ""
        self._is_closed = False

    def put(self, effect: Send, *, born: float) -> None:
        """Queue a committed request; it usually starts at once."""
        if isinstance(effect, SendNewOrder):
            self._put(_lane(effect), Waiting(effect, lambda: self._submit(effect), born))
            return
        target = effect.cl_ord_id if isinstance(effect, SendCancel) else effect.orig_cl_ord_id
        if self._drop(lambda order: order.cl_ord_id == target, "canceled before it was sent"):
            return
        self._put(Lane.SAFETY, Waiting(effect, lambda: self._change(effect, target), born))

    def ask(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Queue a query."""
        self._put(Lane.QUERIES, Waiting(None, work, monotonic()))

    def drop_unsent(self, scope: Scope) -> None:
        """Take every entry of the scope that has not started out of the queue; each comes back NOT_SENT."""
        self._drop(lambda order: _covers(scope, order), "dropped by a halt")

    def close_entries(self, why: str) -> None:
        """From now on every entry comes back NOT_SENT, those waiting first. An empty `why` opens again."""
        self._entries_closed = why
        if why:
            self._drop(lambda order: order.approved.order_class is OrderClass.ENTRY, why)

    def close(self) -> None:
        """Start nothing more: the lease or the journal is lost. What is on its way ends by itself or by its time-out."""
        self._is_closed = True
        for queue in self._queues.values():
            queue.waiting.clear()
            if queue.retry is not None:
                queue.retry.cancel()

    async def finished(self) -> None:
        """Wait until nothing waits and nothing is on its way. Bounded by the caller."""
        while self._tasks or any(queue.waiting for queue in self._queues.values()):
            if self._tasks:
                await asyncio.wait(set(self._tasks), return_when=asyncio.FIRST_COMPLETED)
            else:
                await asyncio.sleep(0.005)

    def abandon(self) -> None:
        """Drop everything at once, requests on their way included."""
        self.close()
        for task in self._tasks:
            task.cancel()

    @property
    def waiting(self) -> dict[str, int]:
        return {lane.name: len(queue.waiting) + queue.in_flight for lane, queue in self._queues.items()}

    def _put(self, lane: Lane, waiting: Waiting) -> None:
        if self._is_closed:
            return
        self._queues[lane].waiting.append(waiting)
        self._pump(lane)

    def _pump(self, lane: Lane) -> None:
        """Start what may start. Called at each put, each end of a request, and when a wait for budget or lease is over."""
        queue = self._queues[lane]
        while queue.waiting and queue.in_flight < queue.width:
            if lane is Lane.ENTRIES and (why := self._refusal(queue.waiting[0])):
                self._not_sent(queue.waiting.popleft(), why)
            elif self._lease.left_s <= self._timeout_s:
                self._pump_later(lane, 0.05)
                return
            elif not queue.budget.take():
                self._pump_later(lane, queue.budget.wait_s)
                return
            else:
                self._start(lane, queue)

    def _pump_later(self, lane: Lane, delay_s: float) -> None:
        queue = self._queues[lane]
        if queue.retry is not None:
            queue.retry.cancel()
        queue.retry = asyncio.get_running_loop().call_later(delay_s, self._pump, lane)

    def _start(self, lane: Lane, queue: _Queue) -> None:
        request = queue.waiting.popleft()
        if isinstance(request.effect, SendNewOrder):
            self._sending[request.effect.cl_ord_id] = asyncio.Event()
        queue.in_flight += 1
        task = asyncio.get_running_loop().create_task(request.work())
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._ended(lane, done))

    def _ended(self, lane: Lane, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._queues[lane].in_flight -= 1
        if not task.cancelled() and (error := task.exception()) is not None:
            self._crashed(error)
        self._pump(lane)

    def _refusal(self, request: Waiting) -> str:
        if self._entries_closed:
            return self._entries_closed
        return "waited too long to be sent" if monotonic() - request.born > self._age_s_max else ""

    def _drop(self, matches: Callable[[SendNewOrder], bool], why: str) -> bool:
        """Take unsent orders out of the lanes; True if any was there."""
        dropped = []
        for queue in (self._queues[Lane.SAFETY], self._queues[Lane.ENTRIES]):
            found = [w for w in queue.waiting if isinstance(w.effect, SendNewOrder) and matches(w.effect)]
            for request in found:
                queue.waiting.remove(request)
            dropped += found
        for request in dropped:
            self._not_sent(request, why)
        return bool(dropped)

    def _not_sent(self, request: Waiting, why: str) -> None:
        assert isinstance(request.effect, SendNewOrder)
        self._fail(request.effect.cl_ord_id, SendOutcome.NOT_SENT, "new", why)

    async def _submit(self, effect: SendNewOrder) -> None:
        cl_ord_id = effect.cl_ord_id
        try:
            await self._send(cl_ord_id, "new", self._broker.submit(cl_ord_id, effect.approved))
        finally:
            self._sending.pop(cl_ord_id).set()

    async def _change(self, effect: SendCancel | SendReplace, target: str) -> None:
        if (sending := self._sending.get(target)) is not None:
            await sending.wait()
        if isinstance(effect, SendCancel):
            await self._send(effect.cl_ord_id, "cancel", self._broker.cancel(effect))
        else:
            await self._send(effect.cl_ord_id, "replace", self._broker.replace(effect))

    async def _send(self, cl_ord_id: str, request: str, sending: Coroutine[Any, Any, None]) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                await sending
        except NotSent as e:
            self._fail(cl_ord_id, SendOutcome.NOT_SENT, request, str(e))
        except Refused as e:
            self._fail(cl_ord_id, SendOutcome.REFUSED, request, str(e), is_duplicate=isinstance(e, Duplicate))
        except TimeoutError:
            self._fail(cl_ord_id, SendOutcome.UNKNOWN, request, f"no answer in {self._timeout_s:g} s")
        except Exception as e:  # the port's contract: whatever else escapes a send leaves its outcome unknown
            is_network = isinstance(e, OSError)
            log.warning(
                "the outcome of a send is unknown", cl_ord_id=cl_ord_id, request=request, error=repr(e), exc_info=not is_network
            )
            self._fail(cl_ord_id, SendOutcome.UNKNOWN, request, f"{type(e).__name__}: {e}")

    def _fail(self, cl_ord_id: str, outcome: SendOutcome, request: str, text: str, *, is_duplicate: bool = False) -> None:
        failed = SendFailed(
            at=self._clock.now(), cl_ord_id=cl_ord_id, outcome=outcome, request=request, text=text, is_duplicate=is_duplicate
        )
        self._failed(failed)


def _lane(effect: SendNewOrder) -> Lane:
    return Lane.ENTRIES if effect.approved.order_class is OrderClass.ENTRY else Lane.SAFETY


def _covers(scope: Scope, order: SendNewOrder) -> bool:
    approved = order.approved
    if approved.order_class is not OrderClass.ENTRY:
        return False
    return scope.covers(account=approved.account, bot=approved.bot, symbol=approved.symbol)
