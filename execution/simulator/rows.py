"""The database, as far as an engine asks it: a journal in its real encoding, leases, commands, halts, settings.

Every question of the engine is a method here named like the function it would run on its database thread, so that one that is
missing is missed at once. What is committed survives every crash; what is not is gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from django.db import IntegrityError, OperationalError

from execution.core.messages import AnswerCommand, CommandSpec, CommandStatus, DeskSettings, Effect, Publish
from execution.core.state import CORE_VERSION
from execution.engine.database import DatabaseThread
from execution.engine.leases import Claim, Held
from execution.engine.recovery import Recovered, rebuild
from execution.engine.writer import Item, JournalWriter, Session, Write
from execution.models import Account
from execution.simulator.facts import Fact, Owned
from execution.simulator.virtual import Time, VirtualLoop
from execution.store.journal import EVENT_DECODER, EVENT_ENCODER, Entry, Loaded, Part, state_decode
from execution.store.polls import Poll
from execution.store.projections import SignalFold
from risk.core.book import Halt
from risk.core.units import Scope, ScopeKind
from risk.core.verdict import HaltCause, HaltMode

ACCOUNT_ID: Final = 1
EPOCH: Final = "0001"
#: what a question to the database takes, and a commit
ANSWER_S: Final = 0.0005
COMMIT_S: Final = 0.0003

_HALT: Final = msgspec.msgpack.Decoder(Halt)


class CommandRow:
    """A command with the desk's answer."""

    def __init__(self, spec: CommandSpec) -> None:
        self.spec = spec
        self.status = CommandStatus.PENDING
        self.text = ""


class Rows:
    """All tables. `committed` is told of every commit, in the moment of the commit."""

    def __init__(
        self,
        account: Account,
        settings: DeskSettings,
        *,
        time: Time,
        committed: Callable[[Session, Sequence[Write]], None],
        troubled: Callable[[str, str], None],
        note: Callable[[Fact], None],
    ) -> None:
        self.account = account
        self.settings = settings
        self._time = time
        self._committed = committed
        self._troubled = troubled
        self._note = note
        self.commands: dict[str, CommandRow] = {}
        self.halts: dict[str, Halt] = {}
        self._halts_ended: set[str] = set()
        #: the bots that people want running
        self.wanted = [code for code, bot in settings.bots.items() if bot.is_enabled]
        self._journal: list[tuple[datetime, bytes, bytes]] = []
        self._image: tuple[int, bytes] | None = None
        #: whose the account is, and until when; None once it was given back
        self.owner = ""
        self.token = 0
        self.expires: float | None = None
        self._tokens: dict[str, int] = {}
        #: engine processes that are gone
        self.gone: set[str] = set()
        #: the database cannot be reached
        self.is_away = False
        #: what engines raised by themselves: key → cause
        self.alarms: dict[str, str] = {}
        self.poison: list[str] = []

    # --- the journal ---------------------------------------------------------------------------------------------------

    @property
    def seq(self) -> int:
        return len(self._journal)

    def append(self, parts: Sequence[Part]) -> set[int]:
        """As `store.journal.append`: the part of a token that was passed on is lost. Raises what a database raises."""
        self.reach()
        lost = {part.account_id for part in parts if part.token != self.token}
        for part in parts:
            if part.account_id not in lost:
                self._append(part)
        return lost

    def _append(self, part: Part) -> None:
        for entry in part.entries:
            if entry.seq != self.seq + 1:
                raise IntegrityError(f"entry {entry.seq} after {self.seq}")
            self._journal.append((entry.at, EVENT_ENCODER.encode(entry.event), entry.digest))
        if part.image is not None:
            self._image = (part.image.seq, part.image.state)

    def written(self, session: Session, writes: Sequence[Write]) -> None:
        """The rows that a commit's effects come to."""
        for write in writes:
            for effect in write.effects:
                self._project(effect)
        self._committed(session, writes)

    def _project(self, effect: Effect) -> None:
        match effect:
            case AnswerCommand() if (row := self.commands.get(effect.command_id)) is not None:
                row.status, row.text = effect.status, effect.text
            case Publish(kind="halt") if effect.key not in self._halts_ended:
                self.halts[effect.key] = _HALT.decode(effect.body)
            case Publish(kind="halt_cleared"):
                self.halt_end(effect.key)
            case _:
                pass

    def load(self, *, with_image: bool = True) -> Loaded:
        """What a Desk is rebuilt from; without its snapshot, from the first event."""
        after, state = 0, None
        if with_image and self._image is not None:
            after, state = self._image[0], state_decode(self._image[1])
        tail = [
            Entry(seq, at, EVENT_DECODER.decode(event), digest, CORE_VERSION)
            for seq, (at, event, digest) in enumerate(self._journal[after:], start=after + 1)
        ]
        return Loaded(EPOCH, state, tail)

    def reach(self) -> None:
        """Raises what a database raises that is away."""
        if self.is_away:
            raise OperationalError("the database is away")

    # --- rows that people write ------------------------------------------------------------------------------------------

    def want(self, bot: str, *, is_wanted: bool) -> None:
        self.wanted = [code for code in self.wanted if code != bot] + ([bot] if is_wanted else [])

    def command_add(self, spec: CommandSpec) -> None:
        self.commands[spec.command_id] = CommandRow(spec)

    def halt_add(self, halt: Halt) -> Halt:
        """The active halt of this scope, cause and mode: the one that stands, or this one."""
        wanted = (halt.scope, halt.cause, halt.mode)
        standing = next((h for h in self.halts.values() if (h.scope, h.cause, h.mode) == wanted), None)
        if standing is None:
            standing = self.halts[halt.halt_id] = halt
        return standing

    def halt_end(self, halt_id: str) -> None:
        self._halts_ended.add(halt_id)
        self.halts.pop(halt_id, None)

    def held_by(self, engine: str) -> tuple[int, float]:
        """The token this engine was last given, and how many seconds its lease lasts; negative once it is over or passed on."""
        token = self._tokens.get(engine, 0)
        if token != self.token or self.expires is None:
            return token, -1.0
        return token, self.expires - self._time.now

    # --- what an engine asks: each named as the function it runs on its database thread ------------------------------------

    def accounts_wanted(self) -> dict[int, Account]:
        return {ACCOUNT_ID: self.account}

    def get(self, *, pk: int) -> Account:
        return self.account

    def claim(self, account_id: int, *, engine: str, lease_s: float, send_timeout_s: float) -> Claim | None:
        since = None if self.expires is None else self._time.now - self.expires
        if since is not None and since < 0 and self.owner != engine and self.owner not in self.gone:
            return None
        self.owner, self.token, self.expires = engine, self.token + 1, self._time.now + lease_s
        self._tokens[engine] = self.token
        self._note(Owned(self._time.now, self.token, self.expires))
        quiet_s = 0.0 if since is None else max(0.0, send_timeout_s - max(0.0, since))
        return Claim(account_id, self.token, quiet_s)

    def renew(self, held: Iterable[Held], *, engine: str, lease_s: float) -> set[int]:
        kept = {lease.account_id for lease in held if lease.token == self.token and self.owner == engine}
        if kept:
            self.expires = self._time.now + lease_s
            self._note(Owned(self._time.now, self.token, self.expires))
        return kept

    def release(self, account_id: int, *, token: int) -> None:
        if token == self.token:
            self.owner, self.expires = "", None

    def recover(self, account_id: int) -> Recovered:
        loaded = self.load()
        desk = rebuild(self.account.code, loaded)
        return Recovered(
            self.account.code, desk, EPOCH, self.settings, SignalFold(), tuple(self.wanted), len(loaded.tail), self._time.now
        )

    def poll(self, accounts: dict[int, int]) -> dict[int, Poll]:
        pending = [row.spec for row in self.commands.values() if row.status is CommandStatus.PENDING]
        newer = self.settings if self.settings.version > accounts[ACCOUNT_ID] else None
        return {ACCOUNT_ID: Poll(pending, list(self.halts.values()), newer)}

    def engines_by_venue(self) -> dict[str, int]:
        return {self.account.broker: 1}

    def settings_refresh(self, accounts: Sequence[int]) -> None:
        """Markets here have no hours that could run out."""

    def offset_of(self, account_id: int, feed: str) -> int:
        return 0

    def phase_write(self, account_id: int, **fields: Any) -> None:
        """Where the start-up stands is for people."""

    def write(self, glances: Sequence[Any]) -> None:
        """Prices and bars are for people."""

    def heartbeat_write(self, name: str, figures: dict[str, Any], **times: Any) -> None:
        """Vitals are for people."""

    def botlog_write(self, bot: str, **line: Any) -> None:
        """A bot's log is for people."""

    def alarm_write(self, account_id: int, key: str, *, cause: str, **words: Any) -> None:
        self.alarms[key] = cause
        self._troubled(key, cause)

    def alarm_return(self, account_id: int, key: str, *, at: datetime) -> None:
        self.alarms.pop(key, None)

    def halt_write(self, account_id: int, *, cause: HaltCause, reason: str, at: datetime) -> None:
        halt_id, scope = f"{cause.value.lower()}:{at.timestamp()}", Scope(ScopeKind.ACCOUNT, self.account.code)
        self.halt_add(Halt(halt_id=halt_id, scope=scope, mode=HaltMode.HALTED, cause=cause, reason=reason, by="engine", at=at))

    def poison_write(self, account_id: int, event: Any, *, trace: str, at: datetime) -> None:
        self.poison.append(trace)
        self.halt_write(account_id, cause=HaltCause.POISON_EVENT, reason=type(event).__name__, at=at)


class Database(DatabaseThread):
    """One process's way to the rows; there is no thread."""

    def __init__(self, rows: Rows, loop: VirtualLoop) -> None:
        self._rows = rows
        self._loop = loop

    async def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        await asyncio.sleep(ANSWER_S)
        if self._loop.is_dead:
            raise OperationalError("the process is gone")
        self._rows.reach()
        return getattr(self._rows, function.__name__.lstrip("_"))(*args, **kwargs)

    def close(self) -> None:
        """There is nothing to close."""


class Writer(JournalWriter):
    """The journal writer without its thread: the same groups, the same commit, at a moment of virtual time."""

    def __init__(self, loop: VirtualLoop, rows: Rows, *, crashed: Callable[[BaseException], None]) -> None:
        super().__init__(loop, crashed=crashed, append=self._append_rows)
        self._loop: VirtualLoop = loop
        self._rows = rows
        self._items: list[Item] = []
        self._batch: list[Item] = []

    def submit(self, session: Session, write: Write) -> None:
        session.unwritten += 1
        self._items.append((session, write))
        if len(self._items) == 1:
            self._loop.call_later(COMMIT_S, self._commit_next)

    def _commit_next(self) -> None:
        if self._loop.is_dead:
            return
        self._batch, self._items = self._items, []
        self._commit(self._batch)

    def _append_rows(self, parts: Sequence[Part]) -> set[int]:
        lost = self._rows.append(parts)
        by_session: dict[Session, list[Write]] = {}
        for session, write in self._batch:
            if not session.is_broken and session.account_id not in lost:
                by_session.setdefault(session, []).append(write)
        for session, writes in by_session.items():
            self._rows.written(session, writes)
        return lost

    @property
    def backlog(self) -> int:
        return len(self._items)

    async def stop(self) -> None:
        """There is no thread to end."""
