"""The demo's first minute in virtual time: the real walk, bars, brains, Desk and venue, without a clock, a loop or a database.

`python -m tests.demo.minute` searches a seed whose first minute shows what the demo promises, however the desk's start falls on the bars.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

import msgspec

from execution.brokers.simulated.codec import behaviour_of
from execution.brokers.simulated.matching import Venue
from execution.brokers.simulated.orders import Holding, Outcome, accepted_report
from execution.core.brackets import BracketStatus
from execution.core.desk import Desk
from execution.core.messages import (
    Bar,
    BotChanged,
    Commanded,
    CommandKind,
    CommandSpec,
    Decided,
    Decision,
    DeskSettings,
    Event,
    LinkChanged,
    LinkKind,
    Marked,
    Publish,
    QueryVenue,
    Reconciled,
    SendCancel,
    SendNewOrder,
    SendReplace,
    SettingsChanged,
    SignalRecord,
    Started,
    View,
    WakeAt,
    Woke,
)
from execution.core.orders import OrdStatus, Purpose
from execution.core.state import CORE_VERSION
from execution.engine.brains import Brains, Seat
from execution.engine.marks import Marks
from execution.feeds.bars import BarBuilder, interval_start
from execution.feeds.synthetic.walk import ticks
from risk.core.units import Quote, Scope, ScopeKind
from risk.core.verdict import Reason

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
#: denials that are the doing of a limit somebody set, not of a decision or a state
LIMITS = frozenset(
    {
        Reason.ORDER_EQUITY_PCT,
        Reason.ORDER_NOTIONAL,
        Reason.ORDER_QTY,
        Reason.CONCENTRATION,
        Reason.GROSS_EXPOSURE,
        Reason.NET_EXPOSURE,
        Reason.MAX_POSITIONS,
        Reason.BOT_EXPOSURE,
        Reason.TRADE_RISK,
    }
)


class Seen(NamedTuple):
    """Seconds after the start at which each promise was first kept; None for never."""

    armed_s: float | None
    denied_s: float | None
    target_filled_s: float | None

    @property
    def is_whole(self) -> bool:
        return None not in self


class Minute:
    """One run of `seconds` from `start_at`. It is the listener of its brains and the shell of its Desk."""

    def __init__(self, settings: DeskSettings, *, seed: int, start_at: datetime = NOON) -> None:
        self._settings, self._seed, self._start_at, self._now = settings, seed, start_at, start_at
        self._desk = Desk.new(settings.account)
        rules, _ = behaviour_of({})
        self._venue = Venue(
            rules=rules,
            instruments=settings.instruments,
            currency=settings.currency,
            holdings={settings.currency: Holding(qty=settings.starting_cash)},
        )
        self._brains = Brains(self)
        self._marks = Marks()
        self._quotes: dict[str, Quote] = {}
        self._timers: list[tuple[datetime, str]] = []
        self._targets: dict[str, str] = {}
        self.armed_s: float | None = None
        self.denied_s: float | None = None
        self.target_filled_s: float | None = None

    def run(self, seconds: int = 60) -> Seen:
        self._start()
        next_mark = self._start_at
        for event in ticks(self._seed, self._settings.instruments.values(), self._start_at):
            if event.at >= self._start_at + timedelta(seconds=seconds):
                break
            self._wake_until(event.at)
            self._now = event.at
            self._happened(self._venue.market(event, self._now))
            if isinstance(event, Quote):
                self._quotes[event.symbol] = event
                self._brains.on_quote(event)
            else:
                self._brains.on_other(event)
            if self._now >= next_mark:
                next_mark = self._now + timedelta(seconds=1)
                self._brains.close_due()
                if marks := self._marks.due(self._quotes, self._now):
                    self._take(Marked(at=self._now, marks=marks))
        return Seen(self.armed_s, self.denied_s, self.target_filled_s)

    # --- the start -----------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        at = self._now
        self._take(Started(at=at, token=1, core_version=CORE_VERSION, epoch="demo"))
        self._take(SettingsChanged(at=at, settings=self._settings))
        for link in LinkKind:
            self._take(LinkChanged(at=at, link=link, is_up=True))
        for seat in self._brains.seat(self._settings):
            self._brains.warm(seat, self._history(seat))
            self._take(BotChanged(at=at, bot=seat.bot.code, is_warm=True))
        for bot in self._settings.bots:
            scope = Scope(ScopeKind.BOT, bot)
            command = CommandSpec(command_id=bot, kind=CommandKind.START, scope=scope, by="demo", asked_at=at)
            self._take(Commanded(at=at, command=command))

    def _history(self, seat: Seat) -> Iterator[Bar]:
        end_at = interval_start(self._now, seat.bot.bar_s)
        start_at = end_at - timedelta(seconds=seat.bot.bar_s * seat.brain.warm_up)
        offset_ms = (start_at - self._start_at) // timedelta(milliseconds=1)
        builder = BarBuilder(seat.symbol, seat.bot.bar_s)
        for event in ticks(self._seed, [seat.instrument], start_at, offset_ms=offset_ms):
            if event.at >= end_at:
                break
            if bar := builder.add(event):
                yield bar
        if bar := builder.close_due(end_at):
            yield bar

    # --- the shell -----------------------------------------------------------------------------------------------------

    def _wake_until(self, at: datetime) -> None:
        while self._timers and self._timers[0][0] <= at:
            self._now, timer = heapq.heappop(self._timers)
            self._take(Woke(at=self._now, timer=timer))

    def _take(self, event: Event) -> None:
        for effect in self._desk.handle(event):
            if isinstance(effect, SendNewOrder):
                self._submit(effect)
            elif isinstance(effect, SendCancel):
                self._cancel(effect)
            elif isinstance(effect, SendReplace):
                self._replace(effect)
            elif isinstance(effect, WakeAt):
                heapq.heappush(self._timers, (effect.due_at, effect.timer))
            elif isinstance(effect, QueryVenue):
                self._take(self._picture(effect))
            elif isinstance(effect, Publish):
                self._see(effect)

    def _submit(self, effect: SendNewOrder) -> None:
        assert not self._venue.refusal(effect.approved)
        order = self._venue.new_order(effect.cl_ord_id, effect.approved, self._now)
        self._take(accepted_report(order, self._now))
        self._happened(self._venue.accept(order, self._now))

    def _cancel(self, effect: SendCancel) -> None:
        order = self._venue.working(effect.cl_ord_id, effect.symbol)
        if order is not None:
            self._happened(self._venue.cancel(order, self._now))

    def _replace(self, effect: SendReplace) -> None:
        order = self._venue.working(effect.orig_cl_ord_id, effect.symbol)
        if order is not None:
            self._happened(self._venue.replace(order, effect, self._now))

    def _happened(self, outcome: Outcome | None) -> None:
        if outcome is None:
            return
        for adjusted in outcome.adjustments:
            self._take(msgspec.structs.replace(adjusted, at=self._now))
        for report in outcome.reports:
            self._take(msgspec.structs.replace(report, at=self._now))

    def _picture(self, effect: QueryVenue) -> Reconciled:
        positions = {s: h.qty for s, h in self._venue.holdings.items() if s in self._settings.instruments and h.qty}
        return Reconciled(
            at=self._now,
            asked_seq=self._desk.seq,
            asked_at=self._now,
            query_id=effect.query_id,
            orders=(),
            fills=(),
            positions=positions,
        )

    # --- what is seen --------------------------------------------------------------------------------------------------

    @property
    def _age_s(self) -> float:
        return (self._now - self._start_at).total_seconds()

    def _see(self, effect: Publish) -> None:
        state = self._desk.state
        if effect.kind == "bracket" and self.armed_s is None:
            if state.brackets[effect.key].status is BracketStatus.ARMED:
                self.armed_s = self._age_s
        elif effect.kind == "signal" and self.denied_s is None:
            if msgspec.msgpack.decode(effect.body, type=SignalRecord).reason in LIMITS:
                self.denied_s = self._age_s
        elif effect.kind == "order" and self.target_filled_s is None:
            order = state.orders[effect.key]
            if order.purpose is Purpose.TAKE_PROFIT and order.done is OrdStatus.FILLED:
                self._targets[order.bracket_id] = order.cl_ord_id
            is_sibling = order.purpose is Purpose.STOP_LOSS and order.bracket_id in self._targets
            if is_sibling and order.done is OrdStatus.CANCELED:
                self.target_filled_s = self._age_s

    # --- what the brains tell --------------------------------------------------------------------------------------------

    def view(self, seat: Seat) -> View:
        return self._desk.view(seat.bot.code, seat.symbol)

    def decided(self, seat: Seat, decision: Decision, market_at: datetime) -> None:
        n = seat.ordinal(market_at)
        self._take(
            Decided(
                at=self._now,
                bot=seat.bot.code,
                symbol=seat.symbol,
                decision=decision,
                quote=self._quotes.get(seat.symbol),
                decision_id=f"{seat.bot.code}:{seat.symbol}:{market_at.timestamp()}:{n}",
                market_at=market_at,
                n=n,
            )
        )

    def bar_closed(self, bar: Bar) -> None:
        """Nobody draws them here."""

    def brain_raised(self, seat: Seat, trace: str) -> None:
        raise AssertionError(f"{seat.bot.code} raised: {trace}")

    def brain_stopped(self, seat: Seat, errors: int, why: str, trace: str) -> None:
        raise AssertionError(f"{seat.bot.code} raised {errors} times: {trace}")


#: how the start of the desk may fall on the bars
PHASES = tuple(Decimal(n) / 4 for n in range(8))


def first_minutes(settings: DeskSettings, seed: int) -> Iterator[Seen]:
    """What the first minute shows, for every way the start may fall on the bars."""
    for phase in PHASES:
        yield Minute(settings, seed=seed, start_at=NOON + timedelta(seconds=float(phase))).run()
