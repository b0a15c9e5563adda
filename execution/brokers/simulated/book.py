"""One symbol's book: the working orders, the prices at which any of them could move, and what the market has been doing."""

from __future__ import annotations

from collections import deque
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Final

import msgspec

from execution.brokers.simulated.orders import STOPS, BookOrder, Outcome
from execution.brokers.simulated.slippage import Slippage
from execution.core.messages import Bar, Trade
from risk.core.units import ZERO, Quote, Side, TimeInForce

#: how many bars or minutes are remembered
_MEMORY: Final = 20
_MINUTE: Final = timedelta(minutes=1)


class Activity:
    """The closes and volumes of the last bars; of the last minutes where the market tells quotes and trades instead."""

    __slots__ = ("_close", "_minute", "_takes_bars", "_volume", "closes", "volumes")

    def __init__(self) -> None:
        self.closes: deque[Decimal] = deque(maxlen=_MEMORY + 1)
        self.volumes: deque[Decimal] = deque(maxlen=_MEMORY)
        self._takes_bars = False
        self._minute: datetime | None = None
        self._close = self._volume = ZERO

    def see(self, event: Quote | Trade | Bar) -> None:
        if isinstance(event, Bar):
            if not self._takes_bars:
                self._takes_bars = True
                self.closes.clear()
                self.volumes.clear()
            self._keep(event.close, event.volume)
        elif not self._takes_bars:
            self._see_within(event)

    def _see_within(self, event: Quote | Trade) -> None:
        minute = event.at.replace(second=0, microsecond=0)
        if self._minute is not None and minute >= self._minute + _MINUTE:
            self._keep(self._close, self._volume)
            self._volume = ZERO
        self._minute = minute
        if isinstance(event, Trade):
            self._close, self._volume = event.price, self._volume + event.qty
        else:
            self._close = event.mid

    def _keep(self, close: Decimal, volume: Decimal) -> None:
        self.closes.append(close)
        self.volumes.append(volume)

    @property
    def volume(self) -> Decimal:
        """Units traded in the last bar or minute; zero when nobody says."""
        return self.volumes[-1] if self.volumes else ZERO

    @property
    def volume_mean(self) -> Decimal:
        return sum(self.volumes, ZERO) / len(self.volumes) if self.volumes else ZERO

    @property
    def volatility(self) -> Decimal:
        """Standard deviation of the returns from close to close, as a part of one; zero before there are two."""
        closes = list(self.closes)
        returns = [after / before - 1 for before, after in pairwise(closes) if before]
        if len(returns) < 2:
            return ZERO
        mean = sum(returns, ZERO) / len(returns)
        return (sum(((r - mean) ** 2 for r in returns), ZERO) / (len(returns) - 1)).sqrt()


class Book:
    """The working orders of one symbol: most events end at four comparisons."""

    __slots__ = (
        "activity",
        "buy_limit",
        "buy_stop",
        "is_stale",
        "is_urgent",
        "orders",
        "quote",
        "sell_limit",
        "sell_stop",
        "slippage",
        "takes_bars",
    )

    def __init__(self, slippage: Slippage) -> None:
        self.orders: dict[str, BookOrder] = {}
        self.quote: Quote | None = None
        self.slippage = slippage
        #: kept only where slippage depends on it
        self.activity = Activity() if slippage.needs_activity else None
        self.takes_bars = False
        self.is_stale = True
        self.is_urgent = False
        self.buy_limit: Decimal | None = None
        self.sell_limit: Decimal | None = None
        self.buy_stop: Decimal | None = None
        self.sell_stop: Decimal | None = None

    def put(self, order: BookOrder) -> None:
        """Last in the queue."""
        self.orders.pop(order.cl_ord_id, None)
        self.orders[order.cl_ord_id] = order
        self.is_stale = True

    def take(self, order: BookOrder) -> None:
        self.orders.pop(order.cl_ord_id, None)
        self.is_stale = True

    def refresh(self) -> None:
        orders = self.orders.values()
        self.is_urgent = any(o.takes_any_price or o.is_arriving or o.time_in_force is TimeInForce.DAY for o in orders)
        stops = [o for o in orders if o.is_stop_waiting and o.stop_px is not None]
        limits = [o for o in orders if not o.is_stop_waiting and o.price is not None]
        self.buy_limit = max((o.price for o in limits if o.side is Side.BUY and o.price), default=None)
        self.sell_limit = min((o.price for o in limits if o.side is Side.SELL and o.price), default=None)
        self.buy_stop = min((o.stop_px for o in stops if o.side is Side.BUY and o.stop_px), default=None)
        self.sell_stop = max((o.stop_px for o in stops if o.side is Side.SELL and o.stop_px), default=None)
        self.is_stale = False

    def moves(self, *, asks: tuple[Decimal, Decimal], bids: tuple[Decimal, Decimal]) -> bool:
        """True when buys at these prices (lowest, highest) or sells at those could do something to an order here."""
        if self.is_stale:
            self.refresh()
        return (
            self.is_urgent
            or (self.buy_limit is not None and asks[0] <= self.buy_limit)
            or (self.sell_limit is not None and bids[1] >= self.sell_limit)
            or (self.buy_stop is not None and asks[1] >= self.buy_stop)
            or (self.sell_stop is not None and bids[0] <= self.sell_stop)
        )

    def in_turn(self) -> list[BookOrder]:
        """Stops before limits, each in the order they came."""
        return sorted(self.orders.values(), key=lambda order: order.ord_type not in STOPS)

    def inside(self, side: Side, limit: Decimal | None, *, bid: Decimal, ask: Decimal) -> list[BookOrder]:
        """The resting limits that an order of `side` meets before the market: inside the spread, and within its own limit.

        Best price first, then the one that came first.
        """
        met = [o for o in self.orders.values() if o.side is not side and o.rests and bid < (o.price or ZERO) < ask]
        if limit is not None:
            met = [o for o in met if ((o.price or ZERO) - limit) * side.sign <= 0]
        return sorted(met, key=lambda o: (o.price or ZERO) * side.sign)


class Turn(msgspec.Struct):
    """One event's turn at one book: buys happen at `ask`, sells at `bid`; `printed` is a trade's price, else None."""

    book: Book
    bid: Decimal
    ask: Decimal
    at: datetime
    now: datetime
    printed: Decimal | None = None
    outcome: Outcome = msgspec.field(default_factory=Outcome)

    def market(self, side: Side) -> Decimal:
        return self.ask if side is Side.BUY else self.bid

    def reaches(self, side: Side, limit: Decimal) -> bool:
        """A quote at the limit fills it; a print must be beyond it, since nobody knows our place in the queue."""
        if self.printed is not None:
            return self.printed < limit if side is Side.BUY else self.printed > limit
        return self.ask <= limit if side is Side.BUY else self.bid >= limit
