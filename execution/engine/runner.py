"""One running account: its Desk's loop with feed, brains, venue, outbox, timers, watches and marks around it.

The runner only carries. It knows when it may not: without a lease, without a journal, while draining, and while the kill file
stands, nothing that adds risk leaves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import datetime
from typing import Any, Final

import msgspec
import structlog
from django.db import Error as AnyDatabaseError

from execution.core.controls import BotStatus
from execution.core.desk import Desk
from execution.core.messages import (
    AskBrain,
    Commanded,
    CommandKind,
    CommandSpec,
    DropUnsent,
    Effect,
    Event,
    HaltsLoaded,
    LinkChanged,
    LinkKind,
    QueryOrder,
    QueryVenue,
    SendCancel,
    SendMassCancel,
    SendNewOrder,
    SendReplace,
    SettingsChanged,
    Started,
    Unwatch,
    WakeAt,
    Watch,
    Woke,
)
from execution.core.ports import Broker, BrokerError, Feed, TakesMarket
from execution.core.state import CORE_VERSION
from execution.engine import checklist as lines
from execution.engine import last_resort
from execution.engine.brains import Seat
from execution.engine.checklist import Checklist
from execution.engine.clock import AccountClock, monotonic
from execution.engine.floor import Floor
from execution.engine.lanes import Budgets, Lane
from execution.engine.leases import Held
from execution.engine.loop import DeskLoop
from execution.engine.outbox import Outbox
from execution.engine.parts import Parts
from execution.engine.publisher import Stream
from execution.engine.reconcile import Reconciler
from execution.engine.recovery import Recovered, recover
from execution.engine.steps import Steps, in_time_of
from execution.engine.timers import Timers
from execution.engine.vitals import Vitals
from execution.engine.writer import JournalFailed, Lost
from execution.models import Account
from execution.store import faults, market
from execution.store.market import Glance
from execution.store.polls import Poll, poll
from risk.core.units import Instrument, Scope, ScopeKind, use_decimal_context

log = structlog.get_logger(__name__)

_REOPEN_S: Final = 1.0
#: of a synthetic feed whose account names none
_FEED_SEED: Final = 1


class _Done(Exception):
    """The runner was drained."""


class Runner:
    """Runs one account until drained, lost or failed; `run` returns only after `drain`, and raises for everything else."""

    def __init__(
        self,
        account_id: int,
        parts: Parts,
        lease: Held,
        *,
        budgets: Budgets,
        vitals: Vitals,
        poisoned: frozenset[bytes] = frozenset(),
        retry: Event | None = None,
    ) -> None:
        self.account_id = account_id
        self.lease = lease
        self._parts = parts
        self._budgets = budgets
        self._vitals = vitals
        self._poisoned = poisoned
        self._retry = retry
        self._end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.checklist = Checklist()
        self.checklist.note(lines.LEASE, True, f"token {lease.token}")
        self._entries_closed = ""
        self._asked: set[str] = set()
        self.is_open = False
        self._opened: tuple[object, ...] = ()
        self._instruments: dict[str, Instrument] = {}
        self._beside: set[asyncio.Task[None]] = set()
        self._clock: AccountClock
        self._broker: Broker
        self._loop: DeskLoop
        self._floor: Floor
        self._outbox: Outbox
        self._timers: Timers
        self._questions: Reconciler
        self.stream: Stream

    # --- life ----------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        use_decimal_context()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._finish())
                await self._start()
                for work in (self._reports(), self._floor.run(), self._seconds()):
                    tasks.create_task(work)
        except* _Done:
            pass
        finally:
            await self._close()

    async def drain(self, *, within_s: float) -> None:
        """Stop politely: entries closed, unsent ones dropped, everything written, a snapshot left."""
        self.close_entries("the engine is stopping")
        try:
            async with asyncio.timeout(within_s):
                await self._outbox.finished()
                await self._loop.flushed()
                self._loop.image_write()
                await self._loop.flushed()
                await self._parts.publisher.write()
                await self._parts.publisher.flush()
        except TimeoutError:
            log.warning("the account did not drain in time", account=self.stream.code)
        self._loop.stop()
        self._finish_with(_Done())

    def is_outdated(self, account: Account) -> bool:
        """True when venue, feed or instruments are not those this runner opened: it must be drained and run anew."""
        return self._opened != (account.broker, account.broker_options, account.feed, self._instruments)

    def lost(self) -> None:
        """The lease went to another engine."""
        self._broken(Lost())

    def close_entries(self, why: str) -> None:
        """No entry leaves and no brain decides while `why` stands; empty opens again."""
        self._entries_closed = why
        if self.is_open:
            self._outbox.close_entries(why)
            self._floor.is_closed = bool(why)

    async def entries_cancel(self) -> None:
        """Cancel every working entry straight at the venue, past Desk and journal: for a lost journal and the kill file."""
        requests = last_resort.entries_of(self._loop.desk.state)
        await last_resort.cancel_straight(self._broker, requests, lease=self.lease, timeout_s=self._parts.send_timeout_s)

    async def _start(self) -> None:
        """Recover, open the venue, and let the Desk say what to ask and do. Nothing leaves before the old owner's requests are over."""
        parts = self._parts
        recovered = await (parts.history or parts.database).run(recover, self.account_id)
        account = await parts.database.run(Account.objects.get, pk=self.account_id)
        replayed = f"{recovered.events} events in {recovered.seconds:.2f} s"
        self.checklist.note(lines.JOURNAL, True, replayed)
        log.info("the journal is replayed", account=account.code, seq=recovered.desk.seq, took=replayed)
        await asyncio.sleep(self.lease.quiet_s)
        self._opened = (account.broker, account.broker_options, account.feed, recovered.settings.instruments)
        self._clock = AccountClock(parts.clock, recovered.desk.state.at)
        self._broker = parts.broker_of(account, recovered.settings.instruments, clock=self._clock.now)
        await self._broker.open()
        self.checklist.note(lines.VENUE, True, account.broker)
        self.checklist.note(lines.CLOCK, True, "the venue runs on this machine's clock")
        offset = await parts.database.run(market.offset_of, self.account_id, account.feed)
        feed = parts.open_feed(
            account.feed, instruments=recovered.settings.instruments, seed=_FEED_SEED, offset=offset, clock=self._clock.now
        )
        # last, because opening may take its time: a halt that was set meanwhile stands before anything can leave
        news = await parts.database.run(poll, {self.account_id: 0})
        self._build(recovered, feed, account)
        await self._row_write(
            feed_label=feed.label, feed_is_synthetic=feed.is_synthetic, feed_gap_ms=feed.gap_ms, engine=parts.engine
        )
        parts.publisher.add(self)
        self._begin(recovered, news[self.account_id])

    def _build(self, recovered: Recovered, feed: Feed, account: Account) -> None:
        parts, budgets, clock = self._parts, self._budgets.at(account.broker), self._clock
        self.stream = Stream(account_id=self.account_id, code=recovered.account_code)
        self._loop = DeskLoop(
            recovered.desk,
            writer=parts.writer,
            account_id=self.account_id,
            token=self.lease.token,
            epoch=recovered.epoch,
            clock=clock,
            fold=recovered.fold,
            stream=self.stream,
            perform=self._perform,
            broken=self._broken,
            poisoned=self._poisoned,
            snapshot_every=parts.snapshot_every,
        )
        self._timers = Timers(clock, woke=self._woke)
        recovered.fold.denials = self._vitals.denials
        self._floor = Floor(
            self._loop,
            feed,
            feed_spec=account.feed,
            shown=self._broker.on_market if isinstance(self._broker, TakesMarket) else None,
            stream=self.stream,
            note=self._log_bot,
            steps=Steps(clock, self._timers, is_quiet=self._is_quiet, is_over=lambda: self._loop.is_over),
        )
        self._outbox = Outbox(
            self._broker,
            lease=self.lease,
            clock=clock,
            timing=parts.timing,
            budgets=budgets,
            failed=self.take,
            crashed=self._broken,
            handed=self._vitals.handed.add,
        )
        self._questions = Reconciler(
            self._broker, self, clock=clock, timing=parts.timing, budget=budgets[Lane.QUERIES], take=self._answered
        )
        self.is_open = True
        self.close_entries(self._entries_closed)

    def _woke(self, timer: str) -> None:
        """A timer is due. While entries are closed it brings no price: what would enter waits, instead of coming back unsent."""
        symbol = self._loop.desk.quoted(timer)
        is_priced = bool(symbol) and not self._floor.is_closed
        self.take(Woke(at=self.now(), timer=timer, quote=self._floor.quote(symbol) if is_priced else None))

    def _begin(self, recovered: Recovered, news: Poll) -> None:
        """The journaled start: who we are, the settings in force, the halts that stand, the links that are up."""
        self.take(Started(at=self.now(), token=self.lease.token, core_version=CORE_VERSION, epoch=recovered.epoch))
        commands, news.commands = news.commands, []
        news.settings = news.settings or recovered.settings
        self.apply(news)
        for link in (LinkKind.LEASE, LinkKind.JOURNAL, LinkKind.ORDERS):
            self.take(LinkChanged(at=self.now(), link=link, is_up=True))
        for bot in recovered.wanted:
            self._start_bot(bot)
        if self._retry is not None:
            self.take(msgspec.structs.replace(self._retry, at=self.now()))
        self.apply(Poll(commands, []))

    def _start_bot(self, bot: str) -> None:
        """Start a bot that should run and does not: its row says so, whoever was asleep when a person did."""
        state = self._loop.desk.state.bots.get(bot)
        if state is not None and state.status is not BotStatus.STOPPED:
            return
        command = CommandSpec(
            command_id=f"engine:{self.lease.token}:{bot}",
            kind=CommandKind.START,
            scope=Scope(ScopeKind.BOT, bot),
            by="engine",
            reason="it should run",
            asked_at=self.now(),
        )
        self.take(Commanded(at=self.now(), command=command))

    async def _finish(self) -> None:
        await self._end

    def _finish_with(self, cause: Exception) -> None:
        if not self._end.done():
            self._end.set_exception(cause)

    def _broken(self, cause: BaseException) -> None:
        """The Desk is not to be trusted, or not ours: nothing more starts. A lost journal still gets its entries canceled."""
        if self.is_open:
            self._outbox.close()
            self._timers.close()
            self._loop.stop()
        if isinstance(cause, JournalFailed):
            self._spawn(self._journal_lost(cause))
        elif not self._end.done():
            self._end.set_exception(cause)

    async def _journal_lost(self, cause: JournalFailed) -> None:
        """Wait for the database; past the grace, cancel entries while the lease still lets us."""
        log.error("the journal failed", account=self.stream.code, error=str(cause))
        failed_at = monotonic()
        is_cut = False
        while not self._end.done() and not await self._can_write():
            if not is_cut and monotonic() - failed_at > self._parts.timing.journal_grace_ms / 1000:
                is_cut = True
                await self.entries_cancel()
            await asyncio.sleep(0.1)
        self._finish_with(cause)

    async def _can_write(self) -> bool:
        try:
            await self._parts.database.run(market.write, [])
        except AnyDatabaseError:
            return False
        return True

    async def _close(self) -> None:
        if self.is_open:
            self._parts.publisher.remove(self)
            self._loop.stop()
            self._timers.close()
            self._outbox.abandon()
            await self._broker.close()

    # --- the Desk's events and effects -----------------------------------------------------------------------------------

    @property
    def seq(self) -> int:
        return self._loop.desk.seq

    @property
    def reconciled_at(self) -> datetime | None:
        return self._loop.desk.state.account.reconciled_at

    @property
    def desk(self) -> Desk:
        return self._loop.desk

    @property
    def waiting(self) -> dict[str, int]:
        """How much waits, by lane; what the journal has not written yet among it."""
        return {**self._outbox.waiting, "JOURNAL": self._loop.unwritten} if self.is_open else {}

    def now(self) -> datetime:
        return self._loop.clock.now()

    def take(self, event: Event) -> None:
        self._loop.take(event)

    def _answered(self, event: Event) -> None:
        self._floor.orders_proof_at = event.at
        self.take(event)

    def _is_quiet(self) -> bool:
        """Whether nothing that was decided, written, sent or reported is under way."""
        if self._loop.unwritten or (isinstance(self._broker, TakesMarket) and not self._broker.is_idle):
            return False
        return not any(self._outbox.waiting.values())

    @property
    def thinking(self) -> Seat | None:
        return self._floor.brains.thinking

    def glance(self) -> Glance:
        return self._floor.glance()

    def _perform(self, effect: Effect, born: float) -> None:
        match effect:
            case SendNewOrder() | SendCancel() | SendReplace() | SendMassCancel():
                self._outbox.put(effect, born=born)
            case DropUnsent():
                self._outbox.drop_unsent(effect.scope)
            case QueryOrder():
                self._outbox.ask(lambda: self._questions.order(effect))
            case QueryVenue():
                self._outbox.ask(lambda: self._questions.venue(effect))
            case WakeAt():
                self._timers.set(effect.timer, effect.due_at)
            case AskBrain():
                self._floor.ask_again(effect.bot, effect.symbol)
            case Watch():
                self._floor.watches.set(effect)
            case Unwatch():
                self._floor.watches.drop(effect.watch_id)
            case _:
                pass

    def apply(self, news: Poll, *, asked: float | None = None) -> None:
        """What the poll found: settings before halts before commands, and the brains last: one of them may never return.

        `asked` (monotonic) is when it was asked for: entries go on by it, unless it tells of a halt that must first be in force.
        """
        state = self._loop.desk.state
        if news.settings is not None and (state.settings is None or news.settings.digest != state.settings.digest):
            self.take(SettingsChanged(at=self.now(), settings=news.settings))
        if news.settings is not None:
            self._instruments = news.settings.instruments
        missing = tuple(h for h in news.halts if h.halt_id not in state.halts and h.halt_id not in self._loop.halts_cleared)
        if missing:
            self.take(HaltsLoaded(at=self.now(), halts=missing))
        elif asked is not None:
            self._outbox.news_heard(asked=asked)
        if news.settings is not None:
            self._floor.seat(news.settings)
        for command in news.commands:
            if command.command_id not in self._asked:
                self._vitals.commanded.add((self._parts.clock.now() - command.asked_at).total_seconds())
                quote = self._floor.quote(command.target) if command.decision is not None else None
                self.take(Commanded(at=self.now(), command=in_time_of(self._clock, command), quote=quote))
        self._asked = {command.command_id for command in news.commands}
        self._floor.brains_settle()

    @property
    def settings_version(self) -> int:
        return self._loop.desk.state.account.settings_version

    # --- what goes on all the time -----------------------------------------------------------------------------------------

    async def _reports(self) -> None:
        """The venue's reports, restamped by our clock. A stream that breaks is opened again; what it missed is reconciled."""
        while True:
            try:
                async for report in self._broker.reports():
                    self._floor.orders_proof_at = now = self.now()
                    self.take(msgspec.structs.replace(report, at=now))
            except (BrokerError, OSError) as e:
                await self._orders_link_again(str(e) or type(e).__name__)
            else:
                await self._orders_link_again("the venue ended the stream")

    async def _orders_link_again(self, cause: str) -> None:
        self.take(LinkChanged(at=self.now(), link=LinkKind.ORDERS, is_up=False, cause=cause))
        await asyncio.sleep(_REOPEN_S)
        self.take(LinkChanged(at=self.now(), link=LinkKind.ORDERS, is_up=True))

    async def _seconds(self) -> None:
        """Once a mark interval: marks, quiet bars, new seats, the checklist, and whether we may still be here at all."""
        while True:
            if self.lease.left_s <= 0:
                self.lost()
            self._floor.seconds_passed()
            await self._floor.seats_warm()
            if self._loop.has_overflowed:
                self._reconcile_again()
            self._check()
            if self.checklist.is_dirty:
                await self._row_write()
            await asyncio.sleep(self._parts.timing.mark_interval_ms / 1000)

    def _reconcile_again(self) -> None:
        """Reports were thrown away: a link that went down and up is what makes the Desk ask for everything."""
        self.take(LinkChanged(at=self.now(), link=LinkKind.ORDERS, is_up=False, cause="more reports than could be kept"))
        self.take(LinkChanged(at=self.now(), link=LinkKind.ORDERS, is_up=True))

    def _check(self) -> None:
        state, note = self._loop.desk.state, self.checklist.note
        note(lines.RECONCILED, state.account.is_reconciled, state.account.reconciled_text or "asking the venue")
        note(lines.FEEDS, self._floor.has_ended or (self._floor.has_prices and not self._floor.is_late), self._floor.feed_text)
        note(lines.SETTINGS, state.settings is not None, f"version {state.account.settings_version}")
        missing = [] if state.settings is None else lines.limits_missing(state.settings.limits)
        note(lines.LIMITS, not missing, f"not set: {', '.join(missing)}" if missing else "all set")
        cold = self._floor.cold
        note(lines.BRAINS, not cold, "; ".join(cold) or "all")

    async def _row_write(self, **fields: object) -> None:
        self.checklist.is_dirty = False
        try:
            await self._parts.database.run(
                market.phase_write, self.account_id, phase=self.checklist.phase, checklist=self.checklist.rows, **fields
            )
        except AnyDatabaseError as e:
            self.checklist.is_dirty = True
            log.warning("the checklist was not written", account_id=self.account_id, error=str(e))

    def _log_bot(self, bot: str, level: str, text: str) -> None:
        self._spawn(self._bot_log_write(bot, level, text))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Let something run beside; the loop itself would forget it."""
        task = asyncio.get_running_loop().create_task(work)
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)

    async def _bot_log_write(self, bot: str, level: str, text: str) -> None:
        try:
            await self._parts.database.run(faults.botlog_write, bot, level=level, text=text, at=self.now())
        except AnyDatabaseError as e:
            log.warning("a line of a bot's log was not written", bot=bot, error=str(e))
