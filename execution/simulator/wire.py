"""The wires between an engine and the venue: a Broker whose requests and reports have fates.

What is on its way goes on its way whatever becomes of the engine: a request that left arrives, an answer comes back to nobody.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final, NamedTuple, TypeVar

from execution.core.messages import Adjusted, Reported, SendCancel, SendMassCancel, SendReplace, VenueFill, VenueOrder
from execution.core.ports import LinkDown, NotSent, Refused
from execution.simulator.facts import Began, Fact, Hostile
from execution.simulator.venue import Venue
from execution.simulator.virtual import Time, VirtualLoop
from risk.core.verdict import Approved, Capability

T = TypeVar("T")


class What(StrEnum):
    """Whose fate it is."""

    NEW = "new"
    CANCEL = "cancel"
    REPLACE = "replace"
    QUERY = "query"
    REPORT = "report"


class Fate(NamedTuple):
    """What becomes of the next request or report of a kind. `s` are the seconds of those that are slow."""

    name: str
    s: float = 0.0


#: fate → what it does, in words; by kind
FATES: Final[dict[What, dict[str, str]]] = {
    What.NEW: {
        "lost": "is lost on its way, and the connection with it",
        "swallowed": "is lost on its way and never answered",
        "cut": "is done, and the connection lost before the answer",
        "unanswered": "is done and never answered",
        "garbled": "is done and answered with something unreadable",
        "slow": "takes its time",
        "refused": "is refused by the venue",
        "not sent": "cannot be written to the wire",
        "rejected": "is taken and then rejected",
    },
    What.CANCEL: {
        "lost": "is lost on its way, and the connection with it",
        "swallowed": "is lost on its way and never answered",
        "cut": "is done, and the connection lost before the answer",
        "unanswered": "is done and never answered",
        "slow": "takes its time",
        "refused": "is refused by the venue",
        "not sent": "cannot be written to the wire",
        "ignored": "is answered and not done",
        "raced": "meets an order that fills first",
    },
    What.REPLACE: {
        "lost": "is lost on its way, and the connection with it",
        "swallowed": "is lost on its way and never answered",
        "cut": "is done, and the connection lost before the answer",
        "unanswered": "is done and never answered",
        "slow": "takes its time",
        "refused": "is refused by the venue",
        "not sent": "cannot be written to the wire",
        "raced": "meets an order that fills first",
    },
    What.QUERY: {"failed": "fails", "slow": "takes its time", "silent": "is never answered"},
    What.REPORT: {"late": "comes late, behind others", "twice": "comes twice", "dropped": "never comes"},
}


class Fates:
    """The fates that wait for their request, by kind, and the moods that hold until changed."""

    def __init__(self) -> None:
        self._waiting: dict[What, deque[Fate]] = defaultdict(deque)
        #: one way, in seconds
        self.latency_s = 0.002
        #: how a broken line answers requests; empty while it is whole
        self.line_down = ""

    def add(self, what: What, fate: Fate) -> None:
        self._waiting[what].append(fate)

    def next(self, what: What) -> Fate | None:
        waiting = self._waiting[what]
        return waiting.popleft() if waiting else None

    def forget(self) -> None:
        self._waiting.clear()
        self.latency_s = 0.002
        self.line_down = ""


class Wire:
    """One engine's connection. `held` says which token the engine holds and how long its lease lasts by the database's clock."""

    def __init__(
        self,
        venue: Venue,
        fates: Fates,
        *,
        time: Time,
        loop: VirtualLoop,
        held: Callable[[], tuple[int, float]],
        note: Callable[[Fact], None],
    ) -> None:
        self.capabilities = frozenset(venue.kind.capabilities)
        self.is_eventually_consistent = bool(venue.kind.lag_s)
        self._venue = venue
        self._fates = fates
        self._time = time
        self._loop = loop
        self._held = held
        self._note = note
        self._reports: asyncio.Queue[Reported | Adjusted | None] | None = None

    async def open(self) -> None:
        """There is nothing to open."""

    async def close(self) -> None:
        self._reports = None

    # --- requests ------------------------------------------------------------------------------------------------------

    async def submit(self, cl_ord_id: str, approved: Approved) -> None:
        self._begin(cl_ord_id, approved)
        fate = self._fate(What.NEW, approved.symbol)
        is_rejected = fate is not None and fate.name == "rejected"
        await self._request(lambda: self._venue.new(cl_ord_id, approved, reject=is_rejected), fate)

    async def cancel(self, request: SendCancel) -> None:
        self._begin(request.cl_ord_id, request)
        fate = self._fate(What.CANCEL, request.symbol)
        await self._request(lambda: self._cancel(request.cl_ord_id, fate), fate)

    async def replace(self, request: SendReplace) -> None:
        self._begin(request.cl_ord_id, request)
        fate = self._fate(What.REPLACE, request.symbol)
        await self._request(lambda: self._replace(request, fate), fate)

    async def cancel_all(self, symbol: str) -> None:
        self._begin("", SendMassCancel(symbol=symbol))
        fate = self._fate(What.CANCEL, symbol)
        await self._request(lambda: self._venue.cancel_all(symbol), fate)

    def _begin(self, cl_ord_id: str, request: Approved | SendCancel | SendReplace | SendMassCancel) -> None:
        if self._loop.is_dead:
            raise NotSent("the process is gone")
        token, left_s = self._held()
        self._note(Began(self._time.now, token, cl_ord_id, request, left_s))

    def _cancel(self, cl_ord_id: str, fate: Fate | None) -> None:
        if fate is not None and fate.name == "ignored":
            return
        if fate is not None and fate.name == "raced":
            self._venue.race(cl_ord_id)
        self._venue.cancel(cl_ord_id)

    def _replace(self, request: SendReplace, fate: Fate | None) -> None:
        if fate is not None and fate.name == "raced":
            self._venue.race(request.orig_cl_ord_id)
        self._venue.replace(request)

    def _fate(self, what: What, symbol: str) -> Fate | None:
        fate = self._fates.next(what)
        if fate is not None:
            self._note(Hostile(self._time.now, f"{what} {fate.name}", symbol))
        return fate

    async def _request(self, act: Callable[[], None], fate: Fate | None) -> None:
        if self._fates.line_down:
            raise NotSent("no line") if self._fates.line_down == "refused" else ConnectionResetError("the line is down")
        name = fate.name if fate is not None else ""
        match name:
            case "not sent":
                raise NotSent("the socket would not take it")
            case "lost":
                raise ConnectionResetError("the connection was lost")
            case "swallowed":
                await self._silence()
        answer = self._carry(act, extra_s=fate.s if fate is not None and name == "slow" else 0.0, is_refused=name == "refused")
        match name:
            case "unanswered":
                await self._silence()
            case "cut":
                await asyncio.sleep(self._fates.latency_s)
                raise ConnectionResetError("the connection was lost")
        await answer
        if name == "garbled":
            raise ValueError("the answer cannot be read")

    def _carry(self, act: Callable[[], None], *, extra_s: float = 0.0, is_refused: bool = False) -> asyncio.Future[None]:
        """Let it arrive after its time, whoever still waits for the answer."""
        answer: asyncio.Future[None] = self._loop.create_future()
        answer.add_done_callback(_heard)
        self._time.call_at(self._time.now + self._fates.latency_s + extra_s, self._arrive, act, answer, is_refused)
        return answer

    def _arrive(self, act: Callable[[], T], answer: asyncio.Future[T], is_refused: bool = False) -> None:
        try:
            if is_refused:
                raise Refused("the venue would not")
            value = act()
        except Refused as e:
            self._time.call_at(self._time.now + self._fates.latency_s, self._tell, answer.set_exception, e, answer)
        else:
            self._time.call_at(self._time.now + self._fates.latency_s, self._tell, answer.set_result, value, answer)

    def _tell(self, say: Callable[[T], None], what: T, answer: asyncio.Future[T]) -> None:
        if not self._loop.is_dead and not answer.done():
            say(what)

    async def _silence(self) -> None:
        await self._loop.create_future()

    # --- reports -------------------------------------------------------------------------------------------------------

    def deliver(self, report: Reported | Adjusted) -> None:
        """A word of the venue sets out for this engine."""
        fate = self._fate(What.REPORT, report.symbol) if self._reports is not None else None
        name = fate.name if fate is not None else ""
        if name != "dropped":
            late_s = fate.s if fate is not None and name == "late" else 0.0
            for _ in range(2 if name == "twice" else 1):
                self._time.call_at(self._time.now + self._fates.latency_s + late_s, self._hear, report)

    def _hear(self, report: Reported | Adjusted) -> None:
        if self._reports is not None and not self._loop.is_dead and not self._fates.line_down:
            self._reports.put_nowait(report)

    def cut(self) -> None:
        """The stream breaks; what is said until it is opened again is not heard."""
        if self._reports is not None and not self._loop.is_dead:
            self._reports.put_nowait(None)

    async def reports(self) -> AsyncIterator[Reported | Adjusted]:
        """What the venue says from now on."""
        if self._fates.line_down:
            raise LinkDown("the line is down")
        reports: asyncio.Queue[Reported | Adjusted | None] = asyncio.Queue()
        self._reports = reports
        try:
            while (report := await reports.get()) is not None:
                yield report
        finally:
            if self._reports is reports:
                self._reports = None
        raise LinkDown("the line is down")

    # --- questions -----------------------------------------------------------------------------------------------------

    async def _ask(self, ask: Callable[[], T]) -> T:
        fate = self._fate(What.QUERY, "")
        if self._fates.line_down or (fate is not None and fate.name == "failed"):
            raise LinkDown("the venue cannot be asked")
        if fate is not None and fate.name == "silent":
            await self._silence()
        answer: asyncio.Future[T] = self._loop.create_future()
        extra_s = fate.s if fate is not None else 0.0
        self._time.call_at(self._time.now + self._fates.latency_s + extra_s, self._arrive, ask, answer)
        return await answer

    async def order_by_cl_ord_id(self, cl_ord_id: str, symbol: str) -> VenueOrder | None:
        if Capability.QUERY_BY_CLIENT_ID not in self.capabilities:
            return None
        return await self._ask(lambda: self._venue.order_by(cl_ord_id))

    async def orders_open(self) -> Sequence[VenueOrder]:
        return await self._ask(self._venue.orders_open)

    async def fills_since(self, since: datetime) -> Sequence[VenueFill]:
        return await self._ask(lambda: self._venue.fills_since(since))

    async def adjustments_since(self, since: datetime) -> Sequence[Adjusted]:
        return await self._ask(lambda: self._venue.adjustments_since(since))

    async def positions(self) -> dict[str, Decimal]:
        return await self._ask(self._venue.held)

    async def balances(self) -> dict[str, Decimal]:
        return await self._ask(lambda: {self._venue.currency: self._venue.cash})


def _heard(answer: asyncio.Future[None]) -> None:
    """Nobody may have waited for this answer: it is no surprise then."""
    if not answer.cancelled():
        answer.exception()
