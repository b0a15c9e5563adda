"""The outbox of one account: what was committed leaves for the venue, in three lanes with budgets of their own.

Rules of this file:
1. Only what a commit released is put here, in the journal's order, and a lane starts its requests in that order.
2. A cancel or replace never overtakes its order. A cancel of an order that has not started takes it out, and the order comes back
   NOT_SENT. Otherwise they wait, beside the lanes, for the order's answer or its time-out; of an order that came back NOT_SENT they
   come back as well.
3. A request starts only while our own lease lasts longer than the request may take.
4. Entries grow old and come back NOT_SENT; exits, protection and cancels never do. An entry waits, too, while what the database
   says of halts is older than an entry may be: a process that stood still, or cannot ask, does not know what it may.
5. A send ends in one of: answered (a report will tell), NOT_SENT, REFUSED, UNKNOWN. What we cannot name is UNKNOWN.
6. A question asks as often as it must; each of its requests is spent by itself.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, NamedTuple

import structlog

from execution.core.messages import SendCancel, SendFailed, SendMassCancel, SendNewOrder, SendOutcome, SendReplace, Timing
from execution.core.ports import Broker, BrokerError, CancelsAll, Duplicate, NotSent, Refused
from execution.engine.clock import AccountClock, monotonic
from execution.engine.lanes import WIDTHS, Budget, Lane
from execution.engine.leases import Held
from risk.core.units import Scope
from risk.core.verdict import Capability, OrderClass

log = structlog.get_logger(__name__)

Send = SendNewOrder | SendCancel | SendReplace

#: what SendFailed calls them
_REQUESTS: Final = {SendNewOrder: "new", SendCancel: "cancel", SendReplace: "replace"}


class Waiting(NamedTuple):
    """A request that has not started. `born` is when its event was handled (monotonic)."""

    effect: Send | None
    work: Callable[[], Coroutine[Any, Any, None]]
    born: float


class _Queue:
    def __init__(self, lane: Lane, budget: Budget) -> None:
        self.waiting: deque[Waiting] = deque()
        self.width = WIDTHS[lane]
        self.budget = budget
        self.in_flight = 0
        self.retry: asyncio.TimerHandle | None = None


class Outbox:
    """Hands requests to a Broker by the rules above. Lives on the loop; `failed` takes what did not become a report.

    `handed` is told of each order how many seconds after its event it was given to the venue's client.
    """

    def __init__(
        self,
        broker: Broker,
        *,
        lease: Held,
        clock: AccountClock,
        timing: Timing,
        budgets: Mapping[Lane, Budget],
        failed: Callable[[SendFailed], None],
        crashed: Callable[[BaseException], None],
        handed: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._broker = broker
        self._lease = lease
        self._clock = clock
        self._timeout_s = timing.send_timeout_ms / 1000
        self._age_s_max = timing.send_age_ms_max / 1000
        self._failed = failed
        self._crashed = crashed
        self._handed = handed
        self._queues = {lane: _Queue(lane, budgets[lane]) for lane in Lane}
        #: orders whose task has not taken its first step: a halt or a cancel of the same moment still takes them out
        self._starting: dict[str, Waiting] = {}
        #: orders that have no answer yet, with the cancels and replaces that wait for it
        self._unanswered: dict[str, list[Waiting]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._entries_closed = ""
        self._is_closed = False
        #: when the database was last asked for halts and answered
        self._news_asked = monotonic()

    def put(self, effect: Send | SendMassCancel, *, born: float) -> None:
        """Queue a committed request; it usually starts at once."""
        if self._is_closed:
            return
        match effect:
            case SendNewOrder():
                self._unanswered[effect.cl_ord_id] = []
                self._put(_lane(effect), Waiting(effect, lambda: self._submit(effect, born), born))
            case SendCancel():
                if not self._drop(lambda order: order.cl_ord_id == effect.cl_ord_id, "canceled before it was sent"):
                    self._put_after(effect.cl_ord_id, Waiting(effect, lambda: self._cancel(effect), born))
            case SendReplace():
                self._put_after(effect.orig_cl_ord_id, Waiting(effect, lambda: self._replace(effect), born))
            case SendMassCancel():
                self._put(Lane.SAFETY, Waiting(None, lambda: self._cancel_all(effect), born))

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

    def news_heard(self, *, asked: float) -> None:
        """What the database said when it was asked (monotonic) is in force: entries may go on by it."""
        self._news_asked = asked
        self._pump(Lane.ENTRIES)

    def close(self) -> None:
        """Start nothing more: the lease or the journal is lost. What is on its way ends by itself or by its time-out."""
        self._is_closed = True
        self._starting.clear()
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
        """How many requests of each lane have no answer yet."""
        waiting = {lane.name: len(queue.waiting) + queue.in_flight for lane, queue in self._queues.items()}
        waiting[Lane.SAFETY.name] += sum(map(len, self._unanswered.values()))
        return waiting

    def _put_after(self, cl_ord_id: str, waiting: Waiting) -> None:
        """Queue a change of an order; while the order has no answer, beside the lanes: it must not hold one up."""
        if (changes := self._unanswered.get(cl_ord_id)) is not None:
            changes.append(waiting)
        else:
            self._put(Lane.SAFETY, waiting)

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
            elif self._lease.left_s <= self._timeout_s or (lane is Lane.ENTRIES and self._is_out_of_date):
                self._pump_later(lane, 0.05)
                return
            elif lane is not Lane.QUERIES and not queue.budget.take():
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
        queue.in_flight += 1
        request = queue.waiting.popleft()
        if isinstance(request.effect, SendNewOrder):
            self._starting[request.effect.cl_ord_id] = request
        task = asyncio.get_running_loop().create_task(request.work())
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._ended(lane, done))

    def _ended(self, lane: Lane, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._queues[lane].in_flight -= 1
        if not task.cancelled() and (error := task.exception()) is not None:
            self._crashed(error)
        self._pump(lane)

    @property
    def _is_out_of_date(self) -> bool:
        return monotonic() - self._news_asked > self._age_s_max

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
        for request in list(self._starting.values()):
            if isinstance(request.effect, SendNewOrder) and matches(request.effect):
                del self._starting[request.effect.cl_ord_id]
                dropped.append(request)
        for request in dropped:
            self._not_sent(request, why)
        return bool(dropped)

    def _not_sent(self, request: Waiting, why: str) -> None:
        """It never left."""
        effect = request.effect
        assert effect is not None
        self._fail(effect.cl_ord_id, SendOutcome.NOT_SENT, _REQUESTS[type(effect)], why)
        if isinstance(effect, SendNewOrder):
            self._answered(effect.cl_ord_id, is_sent=False)

    def _answered(self, cl_ord_id: str, *, is_sent: bool) -> None:
        """The order has its answer, or never will: the changes that waited for it leave now, or come back with it."""
        for change in self._unanswered.pop(cl_ord_id, ()):
            if is_sent:
                self._put(Lane.SAFETY, change)
            else:
                self._not_sent(change, "its order was not sent")

    async def _submit(self, effect: SendNewOrder, born: float) -> None:
        if self._starting.pop(effect.cl_ord_id, None) is None:
            return  # taken out since
        self._handed(monotonic() - born)
        is_sent = await self._send(effect, self._broker.submit(effect.cl_ord_id, effect.approved))
        self._answered(effect.cl_ord_id, is_sent=is_sent)

    async def _cancel(self, effect: SendCancel) -> None:
        await self._send(effect, self._broker.cancel(effect))

    async def _replace(self, effect: SendReplace) -> None:
        if Capability.REPLACE not in self._broker.capabilities:
            self._fail(effect.cl_ord_id, SendOutcome.REFUSED, "replace", "this venue does not replace orders")
            return
        await self._send(effect, self._broker.replace(effect))

    async def _cancel_all(self, effect: SendMassCancel) -> None:
        """Nobody waits for its answer: each order has a cancel of its own."""
        if not isinstance(self._broker, CancelsAll):
            return
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._broker.cancel_all(effect.symbol)
        except (BrokerError, TimeoutError, OSError) as e:
            log.warning(
                "not everything could be canceled at once", account_id=self._lease.account_id, symbol=effect.symbol, error=repr(e)
            )

    async def _send(self, effect: Send, sending: Coroutine[Any, Any, None]) -> bool:
        """Wait for the answer and tell the Desk of one that is none. False where we know that nothing was written."""
        cl_ord_id, request = effect.cl_ord_id, _REQUESTS[type(effect)]
        try:
            async with asyncio.timeout(self._timeout_s):
                await sending
        except NotSent as e:
            self._fail(cl_ord_id, SendOutcome.NOT_SENT, request, str(e))
            return False
        except Refused as e:
            self._fail(cl_ord_id, SendOutcome.REFUSED, request, str(e), is_duplicate=isinstance(e, Duplicate))
        except TimeoutError:
            self._fail(cl_ord_id, SendOutcome.UNKNOWN, request, f"no answer in {self._timeout_s:g} s")
        except Exception as e:  # the port's contract: whatever else escapes a send leaves its outcome unknown
            is_network = isinstance(e, OSError)
            log.warning(
                "the outcome of a send is unknown",
                account_id=self._lease.account_id,
                cl_ord_id=cl_ord_id,
                request=request,
                error=repr(e),
                exc_info=not is_network,
            )
            self._fail(cl_ord_id, SendOutcome.UNKNOWN, request, f"{type(e).__name__}: {e}")
        return True

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
