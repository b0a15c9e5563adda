"""Our half of `make bench-peer`: feed events through the simulated venue, brain and Desk, in memory, with every gate and the digest."""

from __future__ import annotations

import gc
import heapq
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import ClassVar

import msgspec

from bench.desks import SYMBOL, settings_of
from bench.peer.tape import AWAY, HALF_SPREAD, START_NS, STEP_NS, middle
from execution.brains import brains
from execution.brains.base import HOLD, Brain, Decision, View, entry
from execution.brokers.simulated.codec import behaviour_of
from execution.brokers.simulated.matching import Venue
from execution.brokers.simulated.orders import Holding, Outcome, accepted_report
from execution.core.desk import Desk
from execution.core.messages import (
    Bar,
    BotChanged,
    Commanded,
    CommandKind,
    CommandSpec,
    Decided,
    Event,
    LinkChanged,
    LinkKind,
    Marked,
    QueryVenue,
    Reconciled,
    SendCancel,
    SendNewOrder,
    SendReplace,
    SettingsChanged,
    Started,
    WakeAt,
    Woke,
)
from execution.core.state import CORE_VERSION
from execution.engine.brains import Brains, Seat
from execution.engine.marks import Marks
from risk.core.units import Instrument, Quote, Scope, ScopeKind, Side, use_decimal_context
from risk.core.verdict import OrderClass


class BracketEvery(Brain):
    """Two averages of the middle; when flat, a bracket at every n-th quote. `every` 0 never decides."""

    name: ClassVar[str] = "bracket_every"
    summary: ClassVar[str] = "Enters with a bracket at every n-th quote when flat."
    PARAMS: ClassVar[Mapping[str, tuple[str, str, str]]] = {"every": ("0", "0", "1000000")}
    warm_up = 0

    def __init__(self, instrument: Instrument, params: Mapping[str, Decimal]) -> None:
        super().__init__(instrument, params)
        self._every, self._quotes = int(params["every"]), 0
        self._fast: float | None = None
        self._slow: float | None = None

    def on_bar(self, bar: Bar, view: View) -> Decision:
        return HOLD

    def on_quote(self, quote: Quote, view: View) -> Decision:
        self._quotes += 1
        px = (float(quote.bid) + float(quote.ask)) / 2
        self._fast = px if self._fast is None else self._fast + (px - self._fast) * 2 / 10
        self._slow = px if self._slow is None else self._slow + (px - self._slow) * 2 / 22
        if not self._every or self._quotes % self._every or not view.is_flat:
            return HOLD
        return entry(self.instrument, Side.BUY, quote.ask, stop_away=AWAY, target_away=AWAY, note="")


class Ours:
    """The desk in memory: the listener of its brain and the shell of its Desk."""

    def __init__(self, every: int) -> None:
        brains()[BracketEvery.name] = BracketEvery
        settings = settings_of(
            SYMBOL,
            brain=BracketEvery.name,
            stop_distance_pct_min=Decimal(0),
            duplicate_window_s=Decimal(0),
            reward_risk_min=Decimal(0),
            breaker_window_s=1,
        )
        bots = {code: msgspec.structs.replace(bot, params={"every": str(every)}) for code, bot in settings.bots.items()}
        self._settings = msgspec.structs.replace(settings, bots=bots)
        self._desk = Desk.new(settings.account)
        self._venue = Venue(
            rules=behaviour_of({})[0],
            instruments=settings.instruments,
            currency=settings.currency,
            holdings={settings.currency: Holding(qty=settings.starting_cash)},
        )
        self._brains, self._marks = Brains(self), Marks()
        self._timers: list[tuple[datetime, str]] = []
        self._quote: Quote | None = None
        #: brackets entered
        self.lives = 0
        self._now = datetime.fromtimestamp(START_NS / 1e9, UTC)

    def start(self) -> None:
        at = self._now
        self._take(Started(at=at, token=1, core_version=CORE_VERSION, epoch="peer"))
        self._take(SettingsChanged(at=at, settings=self._settings))
        for link in LinkKind:
            self._take(LinkChanged(at=at, link=link, is_up=True))
        self._brains.seat(self._settings)
        for bot in self._settings.bots:
            self._take(BotChanged(at=at, bot=bot, is_warm=True))
            scope = Scope(ScopeKind.BOT, bot)
            self._take(
                Commanded(at=at, command=CommandSpec(command_id=bot, kind=CommandKind.START, scope=scope, by="bench", asked_at=at))
            )

    def run(self, quotes: Sequence[Quote]) -> None:
        next_mark = self._now
        for quote in quotes:
            while self._timers and self._timers[0][0] <= quote.at:
                self._now, timer = heapq.heappop(self._timers)
                self._take(Woke(at=self._now, timer=timer))
            self._now, self._quote = quote.at, quote
            if (outcome := self._venue.market(quote, self._now)) is not None:
                self._happened(outcome)
            self._brains.on_quote(quote)
            if self._now >= next_mark:
                next_mark = self._now + timedelta(seconds=1)
                if marks := self._marks.due({SYMBOL: quote}, self._now):
                    self._take(Marked(at=self._now, marks=marks))

    def _take(self, event: Event) -> None:
        for effect in self._desk.handle(event):
            if isinstance(effect, SendNewOrder):
                self.lives += effect.approved.order_class is OrderClass.ENTRY
                order = self._venue.new_order(effect.cl_ord_id, effect.approved, self._now)
                self._take(accepted_report(order, self._now))
                self._happened(self._venue.accept(order, self._now))
            elif isinstance(effect, SendCancel):
                if (resting := self._venue.working(effect.cl_ord_id, effect.symbol)) is not None:
                    self._happened(self._venue.cancel(resting, self._now))
            elif isinstance(effect, SendReplace):
                if (resting := self._venue.working(effect.orig_cl_ord_id, effect.symbol)) is not None:
                    self._happened(self._venue.replace(resting, effect, self._now))
            elif isinstance(effect, WakeAt):
                heapq.heappush(self._timers, (effect.due_at, effect.timer))
            elif isinstance(effect, QueryVenue) and not self.lives:
                self._take(self._picture(effect.query_id))  # later pictures would be of a venue in our own memory: not asked

    def _happened(self, outcome: Outcome) -> None:
        for adjusted in outcome.adjustments:
            self._take(adjusted)
        for report in outcome.reports:
            self._take(report)

    def _picture(self, query_id: str) -> Reconciled:
        seq = self._desk.seq
        return Reconciled(at=self._now, asked_seq=seq, asked_at=self._now, query_id=query_id, orders=(), fills=(), positions={})

    # --- what the brain tells ----------------------------------------------------------------------------------------------

    def view(self, seat: Seat) -> View:
        return self._desk.view(seat.bot.code, seat.symbol)

    def decided(self, seat: Seat, decision: Decision, market_at: datetime) -> None:
        decision_id = f"{seat.bot.code}:{seat.symbol}:{market_at.timestamp()}:0"
        self._take(
            Decided(
                at=self._now,
                bot=seat.bot.code,
                symbol=seat.symbol,
                decision=decision,
                quote=self._quote,
                decision_id=decision_id,
                market_at=market_at,
            )
        )

    def bar_closed(self, bar: Bar) -> None:
        """Nobody draws them here."""

    def brain_raised(self, seat: Seat, trace: str) -> None:
        raise AssertionError(f"{seat.bot.code} raised: {trace}")

    def brain_stopped(self, seat: Seat, errors: int, why: str, trace: str) -> None:
        raise AssertionError(f"{seat.bot.code} raised {errors} times: {trace}")


def tape(quotes: int) -> list[Quote]:
    found, half = [], Decimal(str(HALF_SPREAD))
    for n in range(quotes):
        at = datetime.fromtimestamp(START_NS / 1e9, UTC) + timedelta(microseconds=n * STEP_NS // 1000)
        px = Decimal(str(middle(n)))
        found.append(Quote(SYMBOL, px - half, px + half, px, at, at, at))
    return found


def ours(quotes: int, every: int) -> dict[str, float]:
    """Our half: seconds of processor time, and brackets completed."""
    use_decimal_context()
    events, desk = tape(quotes), Ours(every)
    desk.start()
    gc.collect()
    gc.freeze()
    begun = time.process_time()
    desk.run(events)
    return {"seconds": time.process_time() - begun, "lives": desk.lives}
