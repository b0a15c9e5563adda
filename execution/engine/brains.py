"""The brains of one account, beside its Desk in the same loop: market events in, decisions out.

A brain always sees the market, so that it stays warm; whether its decisions count is the runner's to know. A brain that raises is
asked again with the next event; ERRORS_MAX times in a row stop it.
"""

from __future__ import annotations

import copy
import traceback
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, Protocol, TypeVar

import structlog

from execution.brains import BRAINS
from execution.brains.base import HOLD, Brain, View
from execution.core.messages import Bar, BotSpec, Decision, DeskSettings, SignalKind, Trade
from execution.feeds.bars import BarBuilder
from risk.core.units import Instrument, Quote

log = structlog.get_logger(__name__)

ERRORS_MAX: Final = 5
E = TypeVar("E")


class Seat:
    """One brain on one symbol."""

    def __init__(self, bot: BotSpec, instrument: Instrument) -> None:
        self.bot = bot
        self.instrument = instrument
        self.symbol = instrument.symbol
        self.brain: Brain = BRAINS[bot.brain](instrument, _params(bot))
        self.bars = BarBuilder(instrument.symbol, bot.bar_s)
        self.bars_seen = 0
        self.has_history = False
        self.errors = 0
        self.is_stopped = False
        #: the last closed bar, and the brain as it was before it, kept while a flip is possible
        self.before: tuple[Brain, Bar] | None = None
        self._market_at: datetime | None = None
        self._n = 0

    @property
    def bars_missing(self) -> int:
        return max(0, self.brain.warm_up - self.bars_seen)

    def on_bar(self, bar: Bar, view: View) -> Decision:
        """Ask the brain and keep what it was before, because it may be asked again with the same bar."""
        self.before = copy.deepcopy(self.brain), bar
        return self.brain.on_bar(bar, view)

    def ordinal(self, market_at: datetime) -> int:
        """0 for the first decision on a market event, then 1, 2 …"""
        self._n = self._n + 1 if market_at == self._market_at else 0
        self._market_at = market_at
        return self._n


class Listener(Protocol):
    """What the brains tell the runner."""

    def view(self, seat: Seat) -> View: ...

    def decided(self, seat: Seat, decision: Decision, market_at: datetime) -> None: ...

    def bar_closed(self, bar: Bar) -> None: ...

    def brain_stopped(self, seat: Seat, errors: int, text: str) -> None: ...


class Brains:
    """All seats of an account, by symbol."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._seats: dict[str, Seat] = {}
        self.market_at: datetime | None = None
        #: the seat that is thinking now, for the guard that looks for a brain that never returns
        self.thinking: Seat | None = None

    def seat(self, settings: DeskSettings) -> list[Seat]:
        """Take the seats that the settings name; returns the new ones, which know no bars yet. An unchanged seat stays warm."""
        seats: dict[str, Seat] = {}
        fresh: list[Seat] = []
        for bot in settings.bots.values():
            for symbol in bot.symbols if bot.is_enabled else ():
                instrument = settings.instruments[symbol]
                old = self._seats.get(symbol)
                if old is not None and _is_same(old, bot, instrument):
                    old.bot = bot
                    seats[symbol] = old
                else:
                    seats[symbol] = Seat(bot, instrument)
                    fresh.append(seats[symbol])
        self._seats = seats
        return fresh

    def reseat(self, seat: Seat) -> None:
        """A brain that was stopped and is started again begins anew, without a memory."""
        self._seats[seat.symbol] = Seat(seat.bot, seat.instrument)

    def seats_of(self, bot: str) -> list[Seat]:
        return [seat for seat in self._seats.values() if seat.bot.code == bot]

    @property
    def seats(self) -> Iterable[Seat]:
        return self._seats.values()

    def warm(self, seat: Seat, history: Iterable[Bar]) -> None:
        """Show a seat the past; what it decides on it is discarded."""
        for bar in history:
            seat.bars_seen += 1
            self._think(seat, seat.brain.on_bar, bar)

    def on_quote(self, quote: Quote) -> None:
        seat = self._seats.get(quote.symbol)
        if seat is None:
            return
        self.market_at = quote.at
        if (bar := seat.bars.add(quote)) is not None:
            self._on_bar(seat, bar)
        if not seat.is_stopped:
            self._ask(seat, seat.brain.on_quote, quote, quote.at)

    def on_other(self, event: Trade | Bar) -> None:
        """A public trade or a bar of the tape: counted into the seat's bar."""
        seat = self._seats.get(event.symbol)
        if seat is None:
            return
        self.market_at = event.at if isinstance(event, Trade) else event.start_at + timedelta(seconds=event.interval_s)
        if (bar := seat.bars.add(event)) is not None:
            self._on_bar(seat, bar)

    def close_due(self) -> None:
        """Close the bars whose time is over on the market's own clock, though nothing traded in their symbol since."""
        if (at := self.market_at) is None:
            return
        for seat in self._seats.values():
            if (bar := seat.bars.close_due(at)) is not None:
                self._on_bar(seat, bar)

    def _on_bar(self, seat: Seat, bar: Bar) -> None:
        seat.bars_seen += 1
        self._listener.bar_closed(bar)
        if not seat.is_stopped:
            seat.before = None
            think = seat.on_bar if self._listener.view(seat).may_flip else seat.brain.on_bar
            self._ask(seat, think, bar, bar.start_at + timedelta(seconds=bar.interval_s))

    def ask_again(self, bot: str, symbol: str) -> None:
        """Ask with the last bar once more, now that the position is flat: a copy from before it, so that no bar counts twice."""
        seat = self._seats.get(symbol)
        if seat is None or seat.bot.code != bot or seat.before is None or seat.is_stopped or self.market_at is None:
            return
        (brain, bar), seat.before = seat.before, None
        self._ask(seat, brain.on_bar, bar, self.market_at)

    def _ask(self, seat: Seat, think: Callable[[E, View], Decision], event: E, market_at: datetime) -> None:
        decision = self._think(seat, think, event)
        if decision.signal is not SignalKind.HOLD:
            self._listener.decided(seat, decision, market_at)

    def _think(self, seat: Seat, think: Callable[[E, View], Decision], event: E) -> Decision:
        self.thinking = seat
        try:
            decision = think(event, self._listener.view(seat))
        except Exception as e:  # a brain is somebody's own code: whatever it raises is counted, and its traceback is shown
            self._raised(seat, e)
            return HOLD
        finally:
            self.thinking = None
        seat.errors = 0
        return decision

    def _raised(self, seat: Seat, error: Exception) -> None:
        seat.errors += 1
        log.warning("a brain raised", bot=seat.bot.code, symbol=seat.symbol, errors=seat.errors, error=repr(error))
        if seat.errors >= ERRORS_MAX:
            seat.is_stopped = True
            self._listener.brain_stopped(seat, seat.errors, "".join(traceback.format_exception(error)))


def _is_same(seat: Seat, bot: BotSpec, instrument: Instrument) -> bool:
    old = seat.bot
    return (old.code, old.brain, old.params, old.bar_s) == (bot.code, bot.brain, bot.params, bot.bar_s) and (
        seat.instrument == instrument
    )


def _params(bot: BotSpec) -> Mapping[str, Decimal]:
    defaults = {name: Decimal(default) for name, (default, _, _) in BRAINS[bot.brain].PARAMS.items()}
    return defaults | {name: Decimal(value) for name, value in bot.params.items()}
