"""The market side of one account: the feed, shown to the venue that matches here, to the watches, then to the brains; marks and bars."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import msgspec
import structlog

from execution.brains.base import View
from execution.core.conditions import TAPE_OVER
from execution.core.controls import BotStatus
from execution.core.messages import (
    Bar,
    BotChanged,
    Decided,
    Decision,
    DeskSettings,
    LinkChanged,
    LinkKind,
    Marked,
    Trade,
)
from execution.core.ports import Feed
from execution.engine.brains import Brains, Seat
from execution.engine.lag import Lag
from execution.engine.loop import DeskLoop
from execution.engine.marks import Marks
from execution.engine.publisher import Stream
from execution.engine.steps import Steps
from execution.engine.watches import Watches
from execution.store.market import Glance
from risk.core.units import Quote
from risk.core.verdict import HaltCause

log = structlog.get_logger(__name__)

#: market events between two turns of the loop: about a millisecond's worth
_BURST: Final = 128
#: how long a tape waits for a desk that cannot trade: long enough for a link that was lost to count as healthy
_READY_LOOKS: Final = 400
_READY_LOOK_S: Final = 0.05
_MARKS_EVERY: Final = timedelta(seconds=1)

Shown = Callable[[Quote | Trade | Bar], None]


class Floor:
    """Feeds an account's Desk with what the market does. `note` writes a line of a bot's log: code, level, text."""

    def __init__(
        self,
        loop: DeskLoop,
        feed: Feed,
        *,
        feed_spec: str,
        shown: Shown | None,
        stream: Stream,
        note: Callable[[str, str, str], None],
        steps: Steps | None = None,
    ) -> None:
        self._loop = loop
        self._feed = feed
        self._steps = steps if feed.is_in_step else None
        #: when the marks are told next, where that goes by the prices' own time
        self._marks_at: datetime | None = None
        self._feed_spec = feed_spec
        self._shown = shown
        self._stream = stream
        self._note = note
        self.watches = Watches(gap_ms=feed.gap_ms)
        self.brains = Brains(self)
        self._marks = Marks()
        self._lag = Lag(feed)
        self._quotes: dict[str, Quote] = {}
        self._moved: dict[str, Quote] = {}
        self._bars: list[Bar] = []
        self._views: dict[str, tuple[int, View]] = {}
        self.is_closed = False
        self.has_prices = False
        self.has_ended = False
        self.orders_proof_at: datetime | None = None

    # --- market events in --------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Carry the feed to its end. Yields often, and waits for the journal: a tape at full speed must not outrun the disk."""
        shown, steps, count = self._shown, self._steps, 0
        async for event in self._feed.events():
            if not count:
                self._prices_are_up()
                if self._feed.is_recorded:
                    await self._ready()
            if steps is not None and not isinstance(event, Bar):
                await steps.to(event.received_at)
            if shown is not None:
                shown(event)
            if isinstance(event, Quote):
                self.on_quote(event)
            else:
                self.brains.on_other(event)
            count += 1
            if steps is not None:
                await steps.settled()
            if not count % _BURST:
                await self._breathe()
        if steps is not None:
            steps.end()
        self.has_ended = True
        self._loop.take(LinkChanged(at=self._loop.clock.now(), link=LinkKind.PRICES, is_up=False, cause=TAPE_OVER))

    async def _ready(self) -> None:
        """Hold a tape at its first price until the desk may trade: the part that ran meanwhile would be lost to it."""
        for _ in range(_READY_LOOKS):
            if self._may_trade():
                return
            await asyncio.sleep(_READY_LOOK_S)

    def _may_trade(self) -> bool:
        account = self._loop.desk.state.account
        return account.is_reconciled and not account.links_down and not account.conditions and not self.cold

    async def _breathe(self) -> None:
        await asyncio.sleep(0)
        if self._loop.is_behind:
            await self._loop.room()

    def on_quote(self, quote: Quote) -> None:
        self._quotes[quote.symbol] = self._moved[quote.symbol] = quote
        if self._tells_marks_itself:
            self._marks_tell_by(quote.received_at)
        if quote.symbol in self.watches:
            for told in self.watches.on_quote(quote, self._loop.clock.now()):
                self._loop.take(told)
        self.brains.on_quote(quote)

    @property
    def _tells_marks_itself(self) -> bool:
        """Whether a mark must not wait for the second to be over: the next price, and what is decided on it, may be a minute later."""
        return self._steps is not None or self._feed.gap_ms > 0

    def _marks_tell_by(self, at: datetime) -> None:
        if self._marks_at is None or at >= self._marks_at:
            self._marks_at = at + _MARKS_EVERY
            self.marks_tell()

    def seconds_passed(self) -> None:
        """What is done once a second. A tape in step does it by its own seconds."""
        if self._steps is None or self.has_ended:
            self.marks_tell()

    def quote(self, symbol: str) -> Quote | None:
        """The newest quote of a symbol."""
        return self._quotes.get(symbol)

    def _prices_are_up(self) -> None:
        self.has_prices = True
        self._loop.take(LinkChanged(at=self._loop.clock.now(), link=LinkKind.PRICES, is_up=True))

    def marks_tell(self) -> None:
        """Tell the Desk what moved, and what comes late or not at all. Also closes the bars of quiet markets."""
        self.brains.close_due()
        self._lag_tell()
        at = self._loop.clock.now()
        for told in self.watches.on_time(at):
            self._loop.take(told)
        if marks := self._marks.due(self._quotes, at):
            self._loop.take(Marked(at=at, marks=marks))

    def _lag_tell(self) -> None:
        """The link to the prices is as good as down while they all come late."""
        if not self.has_prices or self.has_ended:
            return
        was_late = self.is_late
        self._lag.look(self._quotes.values())
        if self.is_late != was_late:
            at = self._loop.clock.now()
            self._loop.take(LinkChanged(at=at, link=LinkKind.PRICES, is_up=not self.is_late, cause=self._lag.text))

    @property
    def is_late(self) -> bool:
        return bool(self._lag.text)

    # --- what brains say -----------------------------------------------------------------------------------------------------

    def view(self, seat: Seat) -> View:
        """The bot's standing in its symbol; it can only change when the Desk does."""
        seq, view = self._views.get(seat.symbol, (-1, None))
        if view is None or seq != self._loop.desk.seq:
            view = self._loop.desk.view(seat.bot.code, seat.symbol)
            self._views[seat.symbol] = (self._loop.desk.seq, view)
        return view

    def decided(self, seat: Seat, decision: Decision, market_at: datetime) -> None:
        """A decision counts while its bot runs, warm, and the journal keeps up; a late one is worth nothing and is not kept."""
        bot = self._loop.desk.state.bots.get(seat.bot.code)
        if bot is None or bot.status not in (BotStatus.RUNNING, BotStatus.STOPPING):
            return
        if self.is_closed or seat.bars_missing or self._loop.is_behind:
            return
        n = seat.ordinal(market_at)
        self._loop.take(
            Decided(
                at=self._loop.clock.now(),
                bot=seat.bot.code,
                symbol=seat.symbol,
                decision=decision,
                quote=self._quote_of(seat.symbol),
                decision_id=f"{seat.bot.code}:{seat.symbol}:{_nanoseconds(market_at)}:{n}",
                market_at=market_at,
                n=n,
            )
        )

    def ask_again(self, bot: str, symbol: str) -> None:
        """What an opposite signal closed is flat: its brain decides anew."""
        self.brains.ask_again(bot, symbol)

    def _quote_of(self, symbol: str) -> Quote | None:
        """The last quote, with the word whether its two times are of clocks that agree."""
        quote = self._quotes.get(symbol)
        if quote is None or not self._feed.has_synchronised_clock:
            return quote
        return msgspec.structs.replace(quote, is_synchronised=True)

    def bar_closed(self, bar: Bar) -> None:
        self._bars.append(bar)
        self._stream.bar(bar)

    def brain_raised(self, seat: Seat, trace: str) -> None:
        self._note(seat.bot.code, "WARNING", trace)

    def brain_stopped(self, seat: Seat, errors: int, why: str, trace: str) -> None:
        self._loop.take(BotChanged(at=self._loop.clock.now(), bot=seat.bot.code, is_warm=False, errors=errors, text=why[:300]))
        self._note(seat.bot.code, "ERROR", trace)

    # --- seats ---------------------------------------------------------------------------------------------------------------

    def seat(self, settings: DeskSettings) -> None:
        """Take the seats that the settings name; new ones warm up in `seats_warm`."""
        self._views.clear()
        self._lag.settle(settings)
        for seat in self.brains.seat(settings, resting=settings.bots.keys() - self._started):
            self._tell_warm(seat, is_warm=False)

    @property
    def _halted(self) -> set[str]:
        """The bots whose brains must not run until a person has looked."""
        return {halt.scope.key for halt in self._loop.desk.state.halts.values() if halt.cause is HaltCause.BRAIN_ERRORS}

    @property
    def _started(self) -> set[str]:
        """The bots whose brains may run: started, and not halted for their brain until a person has looked."""
        started = {code for code, bot in self._loop.desk.state.bots.items() if bot.status is not BotStatus.STOPPED}
        return started - self._halted

    def brains_settle(self) -> None:
        """Let the brains of bots that were stopped or halted for them rest, and give those that were started a seat, empty."""
        seats, started = list(self.brains.seats), self._started
        for seat in self.brains.rest({seat.bot.code for seat in seats} - started):
            self._tell_warm(seat, is_warm=False)
        bots = self._loop.desk.state.bots
        for seat in seats:
            if seat.is_stopped and seat.bot.code in started and bots[seat.bot.code].status is BotStatus.WARMING:
                self.brains.reseat(seat)

    async def seats_warm(self) -> None:
        """Show new seats the past. Live bars that come meanwhile count as well, in their own order."""
        for seat in list(self.brains.seats):
            if not (seat.is_stopped or seat.has_history):
                seat.has_history = True
                await self._show_history(seat)
            if self._is_warm(seat.bot.code):
                self._tell_warm(seat, is_warm=True)

    async def _show_history(self, seat: Seat) -> None:
        if missing := seat.bars_missing:
            history = await self._feed.history(seat.symbol, bars=missing, interval_s=seat.bot.bar_s)
            self._bars.extend(history)
            self.brains.warm(seat, history)

    def _is_warm(self, bot: str) -> bool:
        return not any(seat.bars_missing or seat.is_stopped for seat in self.brains.seats_of(bot))

    def _tell_warm(self, seat: Seat, *, is_warm: bool) -> None:
        state = self._loop.desk.state.bots.get(seat.bot.code)
        if state is not None and state.is_warm == is_warm:
            return
        self._loop.take(BotChanged(at=self._loop.clock.now(), bot=seat.bot.code, is_warm=is_warm))
        if is_warm:
            self._note(seat.bot.code, "INFO", f"warm after {seat.bars_seen} bars")

    @property
    def feed_text(self) -> str:
        if self.has_ended:
            return f"{self._feed.label}: {TAPE_OVER}"
        if not self.has_prices:
            return f"{self._feed.label}: no price yet"
        return f"{self._feed.label}: {self._lag.text}" if self.is_late else self._feed.label

    @property
    def cold(self) -> list[str]:
        """The bots that still want bars, with how many."""
        seats = (seat for seat in self.brains.seats if not seat.is_stopped)
        return [f"{seat.bot.code} wants {seat.bars_missing} more bars" for seat in seats if seat.bars_missing]

    # --- what people see -------------------------------------------------------------------------------------------------------

    def glance(self) -> Glance:
        """Prices that moved, bars that closed and exposures since the last call; the prices go into the stream too."""
        moved, self._moved = self._moved, {}
        bars, self._bars = self._bars, []
        self._stream.quotes(moved)
        stake = self._loop.desk.stake()
        return Glance(
            account_id=self._stream.account_id,
            quotes=list(moved.values()),
            bars=bars,
            gross_exposure=stake.gross,
            net_exposure=stake.net,
            orders_proof_at=self.orders_proof_at,
            at=self._loop.clock.now(),
            offset=(self._feed_spec, self._feed.offset, self._feed.broken_lines),
        )


def _nanoseconds(at: datetime) -> int:
    return int(at.timestamp()) * 1_000_000_000 + at.microsecond * 1000
