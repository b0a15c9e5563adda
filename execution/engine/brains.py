"""The brains of one account, beside its Desk in the same loop: market events in, decisions out.

The brain of a bot that was started sees the market, also under a pause, so that it stays warm; whether its decisions count is the
runner's to know. The brain of any other bot rests: not one line of its code runs, so that what was only added can harm nobody. A brain
that raises is asked again with the next event; ERRORS_MAX times in a row on events of one kind stop it. One that cannot even begin is
stopped at once. A stopped or resting brain is not run, not even to warm up, until its halt is cleared and its bot started.
"""

from __future__ import annotations

import copy
import traceback
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, Protocol, TypeVar

import msgspec
import structlog

from execution.brains import NoBrain, brain_of
from execution.brains.base import HOLD, Brain, View
from execution.core.messages import Bar, BotSpec, Decision, DeskSettings, SignalKind, Trade
from execution.feeds.bars import BarBuilder
from risk.core.units import Instrument, Quote

log = structlog.get_logger(__name__)

ERRORS_MAX: Final = 5
E = TypeVar("E")


class Seat:
    """One brain on one symbol. It has no brain before `Brains` gave it one, and none at all while it rests from the start."""

    brain: Brain

    def __init__(self, bot: BotSpec, instrument: Instrument) -> None:
        self.bot = bot
        self.instrument = instrument
        self.symbol = instrument.symbol
        self.warm_up = 0
        self.bars = BarBuilder(instrument.symbol, bot.bar_s)
        self.bars_seen = 0
        self.has_history = False
        #: how often in a row it raised, by kind of event: a quote that went well forgives no bar
        self.errors: Counter[type] = Counter()
        #: what it raised last, so that its log has each error once
        self.told = ""
        self.is_stopped = False
        #: the last closed bar, and the brain as it was before it, kept while a flip is possible
        self.before: tuple[Brain, Bar] | None = None
        self._market_at: datetime | None = None
        self._n = 0

    @property
    def bars_missing(self) -> int:
        return max(0, self.warm_up - self.bars_seen)

    def begin(self) -> None:
        """Make the brain. Raises NoBrain, and whatever the brain's own code raises."""
        brain = brain_of(self.bot.brain)
        self.brain = brain(self.instrument, _params(brain, self.bot.params))
        self.warm_up = self.brain.warm_up

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

    def brain_raised(self, seat: Seat, trace: str) -> None: ...

    def brain_stopped(self, seat: Seat, errors: int, why: str, trace: str) -> None: ...


class Brains:
    """All seats of an account, by symbol."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._seats: dict[str, Seat] = {}
        self.market_at: datetime | None = None
        #: the seat that is thinking now, for the guard that looks for a brain that never returns
        self.thinking: Seat | None = None

    def seat(self, settings: DeskSettings, *, resting: Collection[str] = ()) -> list[Seat]:
        """Take the seats that the settings name; returns the new ones, which know no bars yet. An unchanged seat stays warm.

        The brains of `resting` bots are not touched.
        """
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
                    seats[symbol] = self._seated(bot, instrument, is_resting=bot.code in resting)
                    fresh.append(seats[symbol])
        self._seats = seats
        return fresh

    def reseat(self, seat: Seat) -> None:
        """A brain that rested begins anew, without a memory; the bar that is open goes on."""
        self._seats[seat.symbol] = fresh = self._seated(seat.bot, seat.instrument)
        fresh.bars = seat.bars

    def rest(self, bots: Collection[str]) -> list[Seat]:
        """Run the brains of these bots no more. Returns the seats that ran until now."""
        found = [seat for seat in self._seats.values() if seat.bot.code in bots and not seat.is_stopped]
        for seat in found:
            seat.is_stopped = True
        return found

    def _seated(self, bot: BotSpec, instrument: Instrument, *, is_resting: bool = False) -> Seat:
        seat = Seat(bot, instrument)
        seat.is_stopped = is_resting
        if not is_resting:
            self._begin(seat)
        return seat

    def _begin(self, seat: Seat) -> None:
        self.thinking = seat
        try:
            seat.begin()
        except Exception as e:  # a brain is somebody's own code: what cannot begin stops its bot, and the others trade
            self._stop(seat, 1, e)
        finally:
            self.thinking = None

    def seats_of(self, bot: str) -> list[Seat]:
        return [seat for seat in self._seats.values() if seat.bot.code == bot]

    @property
    def seats(self) -> Iterable[Seat]:
        return self._seats.values()

    def warm(self, seat: Seat, history: Iterable[Bar]) -> None:
        """Show a seat the past; what it decides on it is discarded."""
        for bar in history:
            if seat.is_stopped:
                return
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
            decision = _checked(think(event, self._listener.view(seat)))
        except Exception as e:  # a brain is somebody's own code: whatever it raises is counted, and its traceback is shown
            self._raised(seat, type(event), e)
            return HOLD
        finally:
            self.thinking = None
        if seat.errors:
            del seat.errors[type(event)]
        return decision

    def _raised(self, seat: Seat, kind: type, error: Exception) -> None:
        seat.errors[kind] += 1
        errors = seat.errors[kind]
        log.warning("a brain raised", bot=seat.bot.code, symbol=seat.symbol, errors=errors, error=repr(error))
        if errors >= ERRORS_MAX:
            self._stop(seat, errors, error)
        elif seat.told != repr(error):
            seat.told = repr(error)
            self._listener.brain_raised(seat, _trace(error))

    def _stop(self, seat: Seat, errors: int, error: Exception) -> None:
        seat.is_stopped = True
        why = str(error) if isinstance(error, NoBrain) else f"{type(error).__name__}: {error}"
        self._listener.brain_stopped(seat, errors, why, _trace(error))


def _is_same(seat: Seat, bot: BotSpec, instrument: Instrument) -> bool:
    old = seat.bot
    return (old.code, old.brain, old.params, old.bar_s) == (bot.code, bot.brain, bot.params, bot.bar_s) and (
        seat.instrument == instrument
    )


def _params(brain: type[Brain], given: Mapping[str, str]) -> Mapping[str, Decimal]:
    defaults = {name: Decimal(default) for name, (default, _, _) in brain.PARAMS.items()}
    return defaults | {name: Decimal(value) for name, value in given.items()}


def _checked(answer: object) -> Decision:
    """The answer as a Decision whose fields are what they should be; floats become Decimals. Raises TypeError, ValidationError."""
    if answer is HOLD:
        return HOLD
    if not isinstance(answer, Decision):
        raise TypeError(f"a brain answers with a Decision, with HOLD to do nothing, and not with {answer!r}")
    return msgspec.convert(msgspec.to_builtins(answer), Decision)


def _trace(error: Exception) -> str:
    return "".join(traceback.format_exception(error))
