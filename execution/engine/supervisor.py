"""The supervisor of one engine: claims accounts, renews their leases, keeps a runner alive for each, and asks the database for news.

What should run is in the database (accounts enabled); who runs it is the lease. A runner that fails is started again from the
journal with growing pauses; one that fails too often halts its account and goes on being started, so that protection is kept.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import structlog
from django.conf import settings
from django.db import Error as AnyDatabaseError

from execution.core.messages import Event
from execution.core.venues import live_refusal
from execution.engine import last_resort, leases, vitals
from execution.engine.brains import Seat
from execution.engine.clock import monotonic
from execution.engine.lanes import Budgets
from execution.engine.leases import Held
from execution.engine.loop import EventFailed, fingerprint
from execution.engine.parts import Parts
from execution.engine.recovery import ReplayDiffers
from execution.engine.runner import Runner
from execution.engine.writer import Lost
from execution.models import Account
from execution.store import faults, market
from execution.store.journal import JournalBroken
from execution.store.polls import poll
from execution.store.settings import settings_refresh
from risk.core.units import use_decimal_context
from risk.core.verdict import HaltCause

log = structlog.get_logger(__name__)

CLAIM_S: Final = 1.0
#: how often the engine looks whether a day has begun
DAY_LOOK_S: Final = 60.0
HEARTBEAT_S: Final = 1.0
DRAIN_S: Final = 6.0
BACKOFF_S_FIRST: Final = 0.1
BACKOFF_S_MAX: Final = 60.0
FAILURES_MAX: Final = 10
FAILURES_WINDOW_S: Final = 600.0
HEALTHY_S: Final = 300.0
RUNNER_FAILED: Final = "runner failed"
JOURNAL_BROKEN: Final = "journal"
ENTRIES_LEFT: Final = "entries left"
_KILLED: Final = "the kill file stands"


class Slot:
    """One account this engine owns: its lease, its runner, and what went wrong before."""

    def __init__(self, lease: Held) -> None:
        self.lease = lease
        self.runner: Runner | None = None
        self.task: asyncio.Task[None] | None = None
        self.failures: deque[float] = deque()
        #: events that raised once, and those that raised twice and are passed over
        self.suspects: Counter[bytes] = Counter()
        self.poisoned: frozenset[bytes] = frozenset()
        self.retry: Event | None = None
        self.is_leaving = False
        #: the journal cannot be replayed, and entries that no Desk knows may still work at the venue
        self.is_unreplayable = False
        self.has_lost_entries = False
        #: an alarm may say that the account does not run: one of ours, or of an engine before us
        self.is_ringing = True

    def failed(self) -> int:
        """Count a failure; how many there were lately. Health long enough forgets the ones before."""
        now = monotonic()
        if self.failures and now - self.failures[-1] > HEALTHY_S:
            self.failures.clear()
        self.failures.append(now)
        while self.failures[0] < now - FAILURES_WINDOW_S:
            self.failures.popleft()
        return len(self.failures)


class Supervisor:
    """Runs until `drain`. `look` makes the next poll come at once: that is all a hint does.

    `kill_file` is obeyed at once. `killed` writes it down as the kill it is, given when the file was made: asked again and again while
    the file stands, it writes once.
    """

    def __init__(self, parts: Parts, *, kill_file: Path, killed: Callable[[int], object], fsync_ms: float | None = None) -> None:
        self._parts = parts
        self._kill_file = kill_file
        self._killed = killed
        #: when the file was made whose kill no row tells yet
        self._kill_owed: int | None = None
        self._slots: dict[int, Slot] = {}
        self._look = asyncio.Event()
        self._is_draining = False
        self._refused: set[int] = set()
        self._budgets = Budgets()
        self._vitals = vitals.Vitals(fsync_ms)

    async def run(self) -> None:
        use_decimal_context()
        await self._heartbeat()
        async with asyncio.TaskGroup() as tasks:
            for work in (
                self._claims(),
                self._renewals(),
                self._polls(),
                self._heartbeats(),
                self._kill_file_watch(),
                self._kill_file_tell(),
                self._days(),
            ):
                tasks.create_task(work)
            tasks.create_task(self._vitals.watch_lag())
            tasks.create_task(self._parts.publisher.run())

    def look(self) -> None:
        """There is news: ask now instead of at the next poll."""
        self._look.set()

    @property
    def accounts(self) -> list[int]:
        return list(self._slots)

    def thinking(self) -> Seat | None:
        """The brain that holds the loop now, if one does. Read by the guard's thread."""
        runners = [runner for pk in list(self._slots) if (runner := self._running(pk)) is not None]
        return next((seat for runner in runners if (seat := runner.thinking) is not None), None)

    async def drain(self) -> None:
        """Give everything back in order: runners drained side by side, leases released, the heartbeat signed off."""
        self._is_draining = True
        await asyncio.gather(*(self._let_go(slot) for slot in list(self._slots.values())))
        await self._heartbeat(is_stopping=True)

    def _running(self, account_id: int) -> Runner | None:
        """The account's runner, once it is open."""
        slot = self._slots.get(account_id)
        return slot.runner if slot is not None and slot.runner is not None and slot.runner.is_open else None

    # --- accounts ----------------------------------------------------------------------------------------------------------

    async def _claims(self) -> None:
        while True:
            try:
                await self._claim_free()
            except AnyDatabaseError as e:
                log.warning("accounts could not be claimed", error=str(e))
            await asyncio.sleep(CLAIM_S * min(1.0, self._parts.timing.lease_renew_ms / 1000))

    async def _claim_free(self) -> None:
        wanted = await self._parts.database.run(_accounts_wanted)
        self._budgets.divide(await self._parts.database.run(leases.engines_by_venue))
        for slot in [slot for pk, slot in self._slots.items() if pk not in wanted]:
            await self._let_go(slot)
        for pk, account in wanted.items():
            if account.environment == Account.Environment.LIVE and (why := _live_refusal(account)):
                await self._refuse_live(account, why)
            elif pk not in self._slots and not self._is_draining:
                await self._claim(pk)
            elif (runner := self._running(pk)) is not None and runner.is_outdated(account):
                log.info("venue, feed or instruments changed: the account starts again", account=account.code)
                await runner.drain(within_s=DRAIN_S)

    async def _claim(self, account_id: int) -> None:
        timing, asked = self._parts.timing, monotonic()
        claim = await self._parts.database.run(
            leases.claim,
            account_id,
            engine=self._parts.engine,
            lease_s=timing.lease_ms / 1000,
            send_timeout_s=timing.send_timeout_ms / 1000,
        )
        if claim is None:
            return
        log.info("account claimed", account_id=account_id, token=claim.token)
        slot = self._slots[account_id] = Slot(Held(claim, asked=asked, answered=monotonic(), lease_s=timing.lease_ms / 1000))
        slot.task = asyncio.get_running_loop().create_task(self._keep(slot))

    async def _refuse_live(self, account: Account, text: str) -> None:
        """Say once, where people look, why no engine runs this account."""
        if account.pk in self._refused:
            return
        self._refused.add(account.pk)
        log.error(text, account=account.code)
        line = {"name": "environment", "is_passed": False, "text": text}
        await self._parts.database.run(market.phase_write, account.pk, phase="STOPPED", checklist=[line])

    async def _let_go(self, slot: Slot) -> None:
        """Drain one account and give its lease back."""
        account_id = slot.lease.account_id
        slot.is_leaving = True
        if (runner := self._running(account_id)) is not None:
            await runner.drain(within_s=DRAIN_S)
        if slot.task is not None:
            slot.task.cancel()
            await asyncio.wait([slot.task])
        self._slots.pop(account_id, None)
        try:
            await self._parts.database.run(market.phase_write, account_id, phase="STOPPED", checklist=[])
            await self._parts.database.run(leases.release, account_id, token=slot.lease.token)
        except AnyDatabaseError as e:
            log.warning("a lease was not released; it runs out by itself", account_id=account_id, error=str(e))

    async def _keep(self, slot: Slot) -> None:
        """Run the account again and again until it is let go or lost."""
        # from here on every record of this task, and of those it starts, says whose it is
        structlog.contextvars.bind_contextvars(account_id=slot.lease.account_id)
        while slot.lease.left_s > 0:
            runner = slot.runner = Runner(
                slot.lease.account_id,
                self._parts,
                slot.lease,
                budgets=self._budgets,
                vitals=self._vitals,
                poisoned=slot.poisoned,
                retry=slot.retry,
            )
            slot.retry = None
            if self._is_killed:
                runner.close_entries(_KILLED)
            try:
                if slot.has_lost_entries:
                    await self._cancel_lost_entries(slot)
                await runner.run()
            except Exception as error:  # whatever ended it: the account is rebuilt from its journal
                if slot.is_leaving:
                    # a task group that fails while it is canceled swallows the cancellation
                    return
                errors = list(_leaves(error))
                if any(isinstance(e, Lost) for e in errors):
                    break
                await self._failed(slot, errors)
            if slot.is_leaving:
                return
        log.warning("account lost", account_id=slot.lease.account_id, token=slot.lease.token)
        self._slots.pop(slot.lease.account_id, None)

    async def _failed(self, slot: Slot, errors: Sequence[BaseException]) -> None:
        account_id, count = slot.lease.account_id, slot.failed()
        await self._ring(slot, errors[0])
        for error in errors:
            log.error("the runner failed", account_id=account_id, failures=count, exc_info=error)
            if isinstance(error, EventFailed):
                await self._suspect(slot, error)
            elif isinstance(error, ReplayDiffers | JournalBroken):
                await self._cannot_rebuild(slot, error)
        if count >= FAILURES_MAX:
            reason = f"its runner failed {count} times in {FAILURES_WINDOW_S / 60:.0f} minutes"
            await self._write(faults.halt_write, account_id, cause=HaltCause.RUNNER_FAILURES, reason=reason)
        pause_s = min(BACKOFF_S_MAX, BACKOFF_S_FIRST * 2.0 ** (count - 1))
        await asyncio.sleep(random.uniform(0, pause_s))  # noqa: S311 - spreads restarts

    async def _ring(self, slot: Slot, error: BaseException) -> None:
        slot.is_ringing = True
        await self._write(
            faults.alarm_write,
            slot.lease.account_id,
            RUNNER_FAILED,
            title="The account failed and is started again",
            cause=f"{type(error).__name__}: {error}",
            consequence="Until it runs again nothing is decided, moved or canceled; what rests at the venue stays.",
            to_do="Nothing if it comes back; else read the cause, and the engine's log.",
        )

    async def _ring_off(self) -> None:
        """Take the alarms back where the account runs again and agrees with its venue; prices and brains have words of their own."""
        for pk, slot in list(self._slots.items()):
            if slot.is_ringing and (runner := self._running(pk)) is not None and runner.desk.state.account.is_reconciled:
                slot.is_ringing = slot.is_unreplayable = False
                for key in (RUNNER_FAILED, JOURNAL_BROKEN, ENTRIES_LEFT):
                    await self._write(faults.alarm_return, pk, key)

    async def _suspect(self, slot: Slot, error: EventFailed) -> None:
        """The first time an event raises it is delivered again to the rebuilt Desk; the second time it is poison."""
        key = fingerprint(error.event)
        slot.suspects[key] += 1
        if slot.suspects[key] < 2:
            slot.retry = error.event
            return
        slot.poisoned |= {key}
        await self._write(faults.poison_write, slot.lease.account_id, error.event, trace=error.trace)

    async def _cannot_rebuild(self, slot: Slot, error: Exception) -> None:
        await self._write(
            faults.alarm_write,
            slot.lease.account_id,
            JOURNAL_BROKEN,
            title="The journal cannot be replayed",
            cause=str(error),
            consequence="The account does not run: nothing is decided and no stop is moved. Its entries are canceled at the venue, "
            "stops and targets stay there.",
            to_do="Look at the venue's own page, then restore the database or ask for help with the journal.",
        )
        if not slot.is_unreplayable:
            slot.is_unreplayable = slot.has_lost_entries = True

    async def _cancel_lost_entries(self, slot: Slot) -> None:
        """Cancel the entries of an account that has no Desk. While one may still work an alarm stands, and the next start asks again."""
        left = ["each of them"]
        try:
            left = await last_resort.cancel_from_rows(
                slot.lease,
                database=self._parts.database,
                broker_of=self._parts.broker_of,
                timeout_s=self._parts.send_timeout_s,
            )
        finally:
            await self._tell_lost_entries(slot, left)

    async def _tell_lost_entries(self, slot: Slot, left: Sequence[str]) -> None:
        slot.has_lost_entries = bool(left)
        if not left:
            await self._write(faults.alarm_return, slot.lease.account_id, ENTRIES_LEFT)
            return
        await self._write(
            faults.alarm_write,
            slot.lease.account_id,
            ENTRIES_LEFT,
            title="Entries may still work at the venue",
            cause=f"The journal cannot be replayed, and the cancels were not answered: {', '.join(left)}",
            consequence="They may fill, and nobody here would protect what they open.",
            to_do="Cancel them on the venue's own page. They are asked for again until it answers.",
        )

    async def _write(self, function: Any, *args: Any, **kwargs: Any) -> None:
        try:
            await self._parts.database.run(function, *args, at=self._parts.clock.now(), **kwargs)
        except AnyDatabaseError as e:
            log.error("a fault could not be written down", error=str(e))

    # --- what goes on all the time -----------------------------------------------------------------------------------------

    async def _renewals(self) -> None:
        while True:
            await asyncio.sleep(self._parts.timing.lease_renew_ms / 1000)
            try:
                await self._renew()
            except AnyDatabaseError as e:
                log.warning("leases could not be renewed", error=str(e))

    async def _renew(self) -> None:
        held, asked = [slot.lease for slot in self._slots.values()], monotonic()
        if not held:
            return
        kept = await self._parts.database.run(
            leases.renew, held, engine=self._parts.engine, lease_s=self._parts.timing.lease_ms / 1000
        )
        for lease in held:
            slot = self._slots.get(lease.account_id)
            if lease.account_id in kept:
                lease.renewed(asked=asked)
            elif slot is not None and slot.runner is not None:
                slot.runner.lost()

    async def _polls(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._parts.timing.poll_ms / 1000):
                    await self._look.wait()
            except TimeoutError:
                pass
            self._look.clear()
            try:
                await self._poll()
            except AnyDatabaseError as e:
                log.warning("the database could not be asked for news", error=str(e))

    async def _poll(self) -> None:
        runners = {pk: runner for pk in self._slots if (runner := self._running(pk)) is not None}
        if not runners:
            return
        asked = monotonic()
        news = await self._parts.database.run(poll, {pk: runner.settings_version for pk, runner in runners.items()})
        for pk, runner in runners.items():
            if runner.is_open:
                runner.apply(news[pk], asked=asked)

    async def _days(self) -> None:
        """Each day (UTC) the hours of the markets are told a day further: an account whose hours run out takes no entry."""
        told = self._parts.clock.now().date()
        while True:
            await asyncio.sleep(DAY_LOOK_S)
            today = self._parts.clock.now().date()
            if today != told and await self._tell_hours():
                told = today

    async def _tell_hours(self) -> bool:
        try:
            await self._parts.database.run(settings_refresh, list(self._slots))
        except AnyDatabaseError as e:
            log.warning("the hours of the markets could not be told further", error=str(e))
            return False
        return True

    @property
    def _is_killed(self) -> bool:
        return self._kill_owed is not None or _made_at(self._kill_file) is not None

    async def _kill_file_watch(self) -> None:
        """A kill that needs neither database nor Redis: while the file stands no entry leaves, and working ones are canceled.

        A file that went before its kill could be written down counts as if it stood.
        """
        seen, was_killed = None, False
        while True:
            made = _made_at(self._kill_file)
            if made is not None and made != seen:
                log.critical("the kill file stands: entries are closed and canceled", file=str(self._kill_file))
                self._kill_owed = made
            is_killed = self._is_killed
            if is_killed or was_killed:
                await self._obey_kill_file(is_killed)
            seen, was_killed = made, is_killed
            await asyncio.sleep(self._parts.timing.poll_ms / 1000)

    async def _kill_file_tell(self) -> None:
        """Write the file's kill down as soon as that is possible, so that it is seen, verified, and outlives the file."""
        while True:
            made = self._kill_owed if self._kill_owed is not None else _made_at(self._kill_file)
            if made is not None:
                try:
                    await self._parts.database.run(self._killed, made)
                    await self._poll()
                except AnyDatabaseError as e:
                    log.warning("the kill of the kill file is not written down yet", error=str(e))
                else:
                    self._kill_owed = None if self._kill_owed == made else self._kill_owed
            await asyncio.sleep(self._parts.timing.poll_ms / 1000)

    async def _obey_kill_file(self, is_killed: bool) -> None:
        runners = [runner for pk in self._slots if (runner := self._running(pk)) is not None]
        for runner in runners:
            runner.close_entries(_KILLED if is_killed else "")
        if is_killed:
            await asyncio.gather(*(runner.entries_cancel() for runner in runners))

    async def _heartbeats(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            await self._heartbeat()
            await self._ring_off()

    async def _heartbeat(self, *, is_stopping: bool = False) -> None:
        waiting: Counter[str] = Counter()
        for slot in self._slots.values():
            waiting.update(slot.runner.waiting if slot.runner is not None else {})
        figures = self._vitals.read(self._parts.writer, waiting=waiting, dropped=self._parts.publisher.dropped)
        figures["accounts"] = len(self._slots)
        now = self._parts.clock.now()
        try:
            await self._parts.database.run(
                vitals.heartbeat_write, self._parts.engine, figures, at=now, stopped_at=now if is_stopping else None
            )
        except AnyDatabaseError as e:
            log.warning("the heartbeat was not written", error=str(e))


def _live_refusal(account: Account) -> str:
    return live_refusal(account.broker, account.broker_options, is_allowed=settings.ALLOW_LIVE)


def _accounts_wanted() -> dict[int, Account]:
    return {account.pk: account for account in Account.objects.filter(is_enabled=True).order_by("pk")}


def _made_at(file: Path) -> int | None:
    """When the file was made or touched last, in nanoseconds; None while there is none."""
    try:
        return file.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def _leaves(error: BaseException) -> Iterable[BaseException]:
    if not isinstance(error, BaseExceptionGroup):
        yield error
        return
    for inner in error.exceptions:
        yield from _leaves(inner)
