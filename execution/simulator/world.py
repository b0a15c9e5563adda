"""One history: engines come and go, the venue, the market and the people do what the steps say, and the auditor is told everything."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Final

import msgspec

from execution.core.messages import Adjusted, CommandSpec, DeskSettings, Reported
from execution.engine.recovery import ReplayDiffers, rebuild
from execution.engine.writer import Session, Write
from execution.models import Account
from execution.simulator.auditor import Auditor
from execution.simulator.facts import Asked, Cleared, Committed, Died, Edited, Fact, Hostile, Rested, Rose, Told, Troubled, Unable
from execution.simulator.market import Mind
from execution.simulator.process import Outside, Process
from execution.simulator.promises import ALIVE, REPLAYED
from execution.simulator.rows import Rows
from execution.simulator.scene import ACCOUNT, CASH, CURRENCY, Scene
from execution.simulator.venue import Venue
from execution.simulator.virtual import Time, VirtualClock
from execution.simulator.wire import Fates
from risk.core.book import Halt
from risk.core.units import Quote, Scope, ScopeKind, use_decimal_context

#: how often a quiet market repeats its price
_TICK_S: Final = 0.5
_UP_AGAIN_S: Final = 0.3
ENGINES_MAX: Final = 2

#: when something happens, and what
Act = tuple[float, Callable[["World"], None]]


class World:
    """Everything of one history. Steps reach into it through the methods here."""

    def __init__(self, scene: Scene, strings: dict[str, deque[Mind]]) -> None:
        self.scene = scene
        self.time = Time()
        self.clock = VirtualClock(self.time, scene.begin_at)
        self.strings = strings
        self.auditor = Auditor(scene.settings, lag_s=scene.venue.lag_s)
        account = Account(
            pk=1, code=ACCOUNT, name="Simulated", broker="simulated", feed="told", currency=CURRENCY, starting_cash=CASH
        )
        self.rows = Rows(
            account, scene.settings, time=self.time, committed=self._committed, troubled=self._troubled, note=self.note
        )
        self.fates = Fates()
        self.venue = Venue(
            scene.venue,
            scene.settings.instruments,
            currency=CURRENCY,
            cash=CASH,
            time=self.time,
            clock=self.clock,
            report=self._report,
            note=self.note,
        )
        self.prices = dict(scene.prices)
        self._outside = Outside(
            time=self.time,
            clock=self.clock,
            rows=self.rows,
            venue=self.venue,
            fates=self.fates,
            timing=scene.settings.timing,
            prices=self.prices,
            snapshot_every=scene.snapshot_every,
            note=self.note,
        )
        self.processes: list[Process] = []
        self._born = 0
        self._last: dict[str, Quote] = {}
        self._is_over = False
        self._silent_until = 0.0
        self._away_until = 0.0
        self._line_until = 0.0
        self._commands = 0
        self._deaths = deque[int]()

    # --- the history -----------------------------------------------------------------------------------------------------

    def run(self, acts: Sequence[Act]) -> None:
        """Let it happen, to its end or to the first promise that is broken."""
        use_decimal_context()
        random.seed(self.scene.seed)
        self.start_engine()
        self._tick()
        for at, act in acts:
            self.time.call_at(at, act, self)
        self.time.run(acts[-1][0] if acts else 1.0)
        self._rest()

    def _rest(self) -> None:
        """Peace: everything works, and nobody wants anything. Then a last power cut, and peace again: what is true stays true."""
        self.fates.forget()
        self.rows.is_away = False
        self.venue.share = Decimal(1)
        self._be_up()
        self.time.run(self.time.now + self.peace_s)
        self._crash_all()
        self.time.run(self.time.now + self.peace_s / 2)
        self.note(Rested(self.time.now))
        self._is_over = True
        self._crash_all()
        self.time.run(self.time.now)
        self._replay()

    @property
    def engines_born(self) -> int:
        return self._born

    @property
    def peace_s(self) -> float:
        """Long enough for every doubt to end: what was not answered is asked about twice, with pauses."""
        timing = self.scene.settings.timing
        ms = (
            3 * timing.unknown_settle_ms
            + 2 * timing.send_timeout_ms
            + timing.reconcile_ms
            + timing.lease_ms
            + timing.kill_verify_ms
        )
        return ms / 1000 + 10

    def _be_up(self) -> None:
        for process in self.processes:
            process.loop.thaw()
        if not self.processes:
            self.start_engine()

    def close(self) -> None:
        """Let go of every process, however the history ended."""
        self._is_over = True
        for process in self.processes:
            process.loop.kill()
        self.time.abandon()
        for process in self.processes:
            process.loop.bury()

    def _crash_all(self) -> None:
        for process in list(self.processes):
            process.crash()

    def _replay(self) -> None:
        """The whole journal, from its first event, comes to the same digests."""
        try:
            rebuild(ACCOUNT, self.rows.load(with_image=False))
        except ReplayDiffers as e:
            self.auditor.holds(False, REPLAYED, str(e))
        else:
            self.auditor.holds(True, REPLAYED, "")

    # --- engines -----------------------------------------------------------------------------------------------------------

    def start_engine(self) -> None:
        if self._is_over or len(self.processes) >= ENGINES_MAX:
            return
        self._born += 1
        name = f"engine-{self._born}"
        self.note(Rose(self.time.now, name))
        self.processes.append(Process(name, self._outside, ended=self._ended, surprised=self._surprised))

    def _ended(self, process: Process) -> None:
        self.processes.remove(process)
        self.rows.gone.add(process.name)
        self.note(Died(self.time.now, process.name, self.rows.owner in ("", process.name)))
        if not self.processes:
            self.time.call_at(self.time.now + _UP_AGAIN_S, self._up_again)

    def _up_again(self) -> None:
        if not self.processes:
            self.start_engine()

    def crash(self, *, turns: int, at_write: bool) -> None:
        """The owner dies, so many turns from now, or from its next write to the journal."""
        if at_write:
            self._deaths.append(turns)
        elif (owner := self.owner) is not None:
            owner.crash(turns=turns)

    def freeze(self, s: float) -> None:
        """The owner stands still, its machine with it; another engine may take the account meanwhile."""
        if (owner := self.owner) is not None:
            self.note(Unable(self.time.now, "an engine stands still", self.time.now + s))
            owner.freeze(s)

    def database_away(self, s: float) -> None:
        self.rows.is_away = True
        self._away_until = max(self._away_until, self.time.now + s)
        self.note(Unable(self.time.now, "the database is away", self._away_until))
        self.time.call_at(self._away_until, self._database_back)

    def _database_back(self) -> None:
        if self.time.now >= self._away_until:
            self.rows.is_away = False

    def line_down(self, how: str, s: float) -> None:
        """The wires to the venue are cut: what is said meanwhile is not heard."""
        self.hostile("line down")
        self.fates.line_down = how
        self._line_until = max(self._line_until, self.time.now + s)
        for process in self.processes:
            if process.wire is not None:
                process.wire.cut()
        self.time.call_at(self._line_until, self._line_up)

    def _line_up(self) -> None:
        if self.time.now >= self._line_until:
            self.hostile("line up")
            self.fates.line_down = ""

    @property
    def owner(self) -> Process | None:
        return next((process for process in self.processes if process.is_owner), None)

    def _surprised(self, what: str) -> None:
        self.auditor.holds(False, ALIVE, what)
        self.time.is_stopped = True

    # --- what is told ------------------------------------------------------------------------------------------------------

    def note(self, fact: Fact) -> None:
        self.auditor.note(fact)
        if self.auditor.broken is not None:
            self.time.is_stopped = True

    def hostile(self, what: str, symbol: str = "") -> None:
        self.note(Hostile(self.time.now, what, symbol))

    def _report(self, report: Reported | Adjusted) -> None:
        for process in self.processes:
            if process.wire is not None:
                process.wire.deliver(report)

    def _committed(self, session: Session, writes: Sequence[Write]) -> None:
        for write in writes:
            event = write.entry.event if write.entry is not None else None
            self.note(Committed(self.time.now, session.token, write.seq, event, write.effects))
        if self._deaths and (owner := self.owner) is not None and session.token == self.rows.token:
            owner.crash(turns=self._deaths.popleft())

    def _troubled(self, key: str, cause: str) -> None:
        """An engine rings. Only what the world itself did may be the cause."""
        if "JournalFailed" not in cause and "OperationalError" not in cause:
            self.note(Troubled(self.time.now, key, cause))

    # --- the market --------------------------------------------------------------------------------------------------------

    def quote(self, symbol: str, bid: Decimal, ask: Decimal, *, age_s: float = 0.0, still_s: float | None = None) -> None:
        """A price happens at the venue and is told to the engines; `age_s` ago, or unchanged for `still_s`."""
        now, last = self.clock.now(), self._last.get(symbol)
        received_at = now - timedelta(seconds=age_s)
        changed_at = received_at
        if last is not None and (last.bid, last.ask) == (bid, ask):
            changed_at = last.changed_at
        if still_s is not None:
            changed_at = now - timedelta(seconds=still_s)
        quote = Quote(symbol, bid, ask, (bid + ask) / 2, now, received_at, changed_at)
        self._last[symbol] = quote
        if 0 < bid <= ask:
            self.prices[symbol] = bid
        self.venue.price(symbol, bid, ask)
        if self.time.now < self._silent_until:
            return
        self.note(Told(self.time.now, quote))
        for process in self.processes:
            process.tell(quote)

    def repeat(self, symbol: str) -> None:
        """The last price once more, as a new market event."""
        if (last := self._last.get(symbol)) is not None:
            self.quote(symbol, last.bid, last.ask)

    def _tick(self) -> None:
        """A market that is alive: a price that nobody moved moves by a tick, there and back."""
        if self._is_over:
            return
        for symbol, price in self.prices.items():
            self.quote(symbol, price, price + self.scene.settings.instruments[symbol].tick_size)
        self.time.call_at(self.time.now + _TICK_S, self._tick)

    def market_silent(self, s: float) -> None:
        """No price reaches anybody; the venue's own goes on."""
        self._silent_until = self.time.now + s

    # --- people ------------------------------------------------------------------------------------------------------------

    def next_command_id(self) -> str:
        self._commands += 1
        return str(self._commands)

    def ask(self, command: CommandSpec, halt: Halt | None = None, *, ended: str = "") -> None:
        """A person's act is committed, with the halt it sets or ends."""
        if self.rows.is_away:
            return
        if halt is not None:
            halt = self.rows.halt_add(halt)
            command = msgspec.structs.replace(command, halt_id=halt.halt_id)
        if ended:
            self.rows.halt_end(ended)
            self.note(Cleared(self.time.now, ended))
        self.rows.command_add(command)
        self.note(Asked(self.time.now, command, halt))

    def want(self, scope: Scope, *, is_wanted: bool) -> None:
        """Which bots run after the next start."""
        for code, bot in self.scene.settings.bots.items():
            if _concerns(scope, code, bot.symbols):
                self.rows.want(code, is_wanted=is_wanted)

    def edit(self, settings: DeskSettings) -> None:
        if not self.rows.is_away:
            self.rows.settings = settings
            self.note(Edited(self.time.now, settings))


def _concerns(scope: Scope, bot: str, symbols: tuple[str, ...]) -> bool:
    match scope.kind:
        case ScopeKind.BOT:
            return scope.key == bot
        case ScopeKind.INSTRUMENT:
            return scope.key in symbols
        case _:
            return True
