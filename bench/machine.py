"""A Desk with its journal, its outbox and the simulated venue in memory: an engine without feed, brains and supervisor."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from types import TracebackType
from typing import Any, Self

import msgspec

from bench.desks import loop_of, venue_of
from execution.core.messages import (
    AnswerCommand,
    Commanded,
    CommandSpec,
    Decided,
    Decision,
    DeskSettings,
    DropUnsent,
    Effect,
    Marked,
    QueryOrder,
    QueryVenue,
    SendCancel,
    SendNewOrder,
    SendReplace,
    SignalKind,
    Timing,
    WakeAt,
    Woke,
)
from execution.core.orders import OrderState
from execution.engine.clock import Clock, monotonic
from execution.engine.lanes import Budgets, Lane
from execution.engine.leases import Claim, Held
from execution.engine.marks import Marks
from execution.engine.outbox import Outbox
from execution.engine.reconcile import Reconciler
from execution.engine.timers import Timers
from execution.engine.writer import JournalWriter
from risk.core.units import OrdType, Quote, use_decimal_context
from risk.core.verdict import Approved

PRICE = Decimal(100)
HALF = Decimal("0.1")


class Machine:
    """Used as `async with`. `arrived` is called as the venue's client gets an order, `born` keeps when its decision was handled."""

    def __init__(
        self,
        settings: DeskSettings,
        account_id: int,
        *,
        arrived: Callable[[str], None] | None = None,
        born: dict[str, float] | None = None,
    ) -> None:
        use_decimal_context()
        self.settings = settings
        self.symbols = tuple(settings.instruments)
        self.clock = Clock()
        self.venue = venue_of(settings, self.clock)
        self._arrived = arrived
        self._born = born
        self._n = 0
        self._marks = Marks()
        #: command → the status it was last answered with
        self.answers: dict[str, str] = {}
        self.writer = JournalWriter(asyncio.get_running_loop(), crashed=self._crash)
        self._account_id = account_id
        self._reports: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self.venue.open()
        self.writer.start()
        self.loop = loop_of(self.settings, self.writer, account_id=self._account_id, clock=self.clock, perform=self._perform)
        timing, clock = Timing(), self.loop.clock
        budgets = Budgets().at("simulated")
        lease = Held(Claim(self._account_id, 1, 0.0), asked=1e9, lease_s=1e9)
        self.outbox = Outbox(
            _Noticed(self.venue, self._arrived) if self._arrived else self.venue,
            lease=lease,
            clock=clock,
            timing=timing,
            budgets=budgets,
            failed=self.loop.take,
            crashed=self._crash,
        )
        self.timers = Timers(clock, woke=lambda name: self.loop.take(Woke(at=clock.now(), timer=name)))
        self._questions = Reconciler(
            self.venue, self, clock=clock, timing=timing, budget=budgets[Lane.QUERIES], take=self.loop.take
        )
        self._reports = asyncio.get_running_loop().create_task(self._carry_reports())
        for symbol in self.symbols:
            self.venue.on_market(self.quote(symbol))
        await self.until(lambda: self.loop.desk.state.account.is_reconciled)
        self.mark_all()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.timers.close()
        self.outbox.abandon()
        if self._reports is not None:
            self._reports.cancel()
        await self.venue.close()
        await self.writer.stop()

    @property
    def seq(self) -> int:
        return self.loop.desk.seq

    @property
    def reconciled_at(self) -> Any:
        return self.loop.desk.state.account.reconciled_at

    @property
    def orders(self) -> dict[str, OrderState]:
        return self.loop.desk.state.orders

    def quote(self, symbol: str) -> Quote:
        now = self.clock.now()
        return Quote(symbol, PRICE - HALF, PRICE + HALF, PRICE, now, now, now)

    def buy(self, symbol: str) -> None:
        self._decide(symbol, Decision(signal=SignalKind.BUY, stop_loss=PRICE * 9 / 10, take_profit=PRICE * 12 / 10))

    def bid(self, symbol: str, price: Decimal) -> None:
        """A limit buy that rests."""
        decision = Decision(
            signal=SignalKind.BUY, ord_type=OrdType.LIMIT, price=price, stop_loss=price * 9 / 10, take_profit=PRICE * 2
        )
        self._decide(symbol, decision)

    def close(self, symbol: str) -> None:
        self._decide(symbol, Decision(signal=SignalKind.CLOSE))

    def command(self, command: CommandSpec) -> None:
        self.loop.take(Commanded(at=self.loop.clock.now(), command=command))

    def mark_all(self) -> None:
        """Tell the Desk the marks that are due, as the engine does once a second."""
        now = self.loop.clock.now()
        if marks := self._marks.due({symbol: self.quote(symbol) for symbol in self.symbols}, now):
            self.loop.take(Marked(at=now, marks=marks))

    async def until(self, holds: Callable[[], bool], *, within_s: float = 60.0) -> None:
        async with asyncio.timeout(within_s):
            while not holds():  # noqa: ASYNC110 - any condition
                await asyncio.sleep(0.0005)

    def _decide(self, symbol: str, decision: Decision) -> None:
        self.outbox.news_heard(asked=monotonic())
        self._n += 1
        now = self.loop.clock.now()
        self.loop.take(
            Decided(
                at=now,
                bot=f"bot-{symbol.lower()}",
                symbol=symbol,
                decision=decision,
                quote=self.quote(symbol),
                decision_id=f"{symbol}:{self._n}",
                market_at=now + timedelta(microseconds=self._n),
                n=0,
            )
        )

    def _perform(self, effect: Effect, born: float) -> None:
        match effect:
            case SendNewOrder() if self._born is not None and not effect.approved.order_class.startswith("PROT"):
                self._born[effect.cl_ord_id] = born
                self.outbox.put(effect, born=born)
            case SendNewOrder() | SendCancel() | SendReplace():
                self.outbox.put(effect, born=born)
            case DropUnsent():
                self.outbox.drop_unsent(effect.scope)
            case QueryOrder():
                self.outbox.ask(lambda: self._questions.order(effect))
            case QueryVenue():
                self.outbox.ask(lambda: self._questions.venue(effect))
            case AnswerCommand():
                self.answers[effect.command_id] = effect.status.value
            case WakeAt():
                self.timers.set(effect.timer, effect.due_at)
            case _:
                pass

    async def _carry_reports(self) -> None:
        async for report in self.venue.reports():
            self.loop.take(msgspec.structs.replace(report, at=self.loop.clock.now()))

    def _crash(self, error: BaseException) -> None:
        raise error


class _Noticed:
    """The venue, with a note of each order that reaches it."""

    def __init__(self, venue: Any, arrived: Callable[[str], None]) -> None:
        self._venue = venue
        self._arrived = arrived

    def __getattr__(self, name: str) -> Any:
        return getattr(self._venue, name)

    async def submit(self, cl_ord_id: str, approved: Approved) -> None:
        self._arrived(cl_ord_id)
        await self._venue.submit(cl_ord_id, approved)
