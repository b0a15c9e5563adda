"""The matching of the simulated venue: orders and market events in, fills out. Pure: no clock, no storage, no waiting.

Rules of this file.
- A price is never better than the market's: buys pay the ask, sells get the bid, and what gaps is filled at the first price after
  the gap. A limit keeps its price improvement; slippage never carries a fill past a limit.
- A bar fills only orders that were here when it began. Inside a bar stops come before limits: the worst of what may have happened.
- Reduce-only is honoured when the order would fill: its quantity is cut to the position, and it is canceled when nothing is left.
- Chance (partial fills) is a hash of seed, order and fill, so one seed gives one history on every machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from decimal import ROUND_CEILING, Decimal
from hashlib import blake2b
from typing import Final

import msgspec

from execution.core.messages import Bar, ExecType, Reported, Trade, VenueFill
from execution.core.orders import OrdStatus
from risk.core.units import ONE, ZERO, Instrument, OrdType, Quote, Side, TimeInForce, multiple_above, multiple_below
from risk.core.verdict import Approved

_FEE_STEP: Final = Decimal("0.00000001")
_STOPS: Final = (OrdType.STOP, OrdType.STOP_LIMIT)
_AT_ONCE: Final = (TimeInForce.IOC, TimeInForce.FOK)


class BookOrder(msgspec.Struct, kw_only=True):
    """An order at the venue. `since` is the market's time when it came (None: before the venue was opened)."""

    order_id: str
    cl_ord_id: str
    symbol: str
    side: Side
    ord_type: OrdType
    time_in_force: TimeInForce
    order_qty: Decimal
    cum_qty: Decimal = ZERO
    price: Decimal | None = None
    stop_px: Decimal | None = None
    reduce_only: bool = False
    post_only: bool = False
    is_triggered: bool = False
    ord_status: OrdStatus = OrdStatus.NEW
    text: str = ""
    created_at: datetime
    updated_at: datetime
    since: datetime | None = None
    #: True until it has met its first price: what fills then takes, what fills later makes
    is_arriving: bool = True
    fills: int = 0

    @property
    def leaves_qty(self) -> Decimal:
        return self.order_qty - self.cum_qty

    @property
    def is_working(self) -> bool:
        return self.ord_status in {OrdStatus.NEW, OrdStatus.PARTIALLY_FILLED}

    @property
    def is_stop_waiting(self) -> bool:
        return self.ord_type in _STOPS and not self.is_triggered

    @property
    def takes_any_price(self) -> bool:
        return self.ord_type is OrdType.MARKET or (self.ord_type is OrdType.STOP and self.is_triggered)


class Holding(msgspec.Struct):
    """Cash (quantity only) or a position: signed quantity, and what it cost at average prices."""

    qty: Decimal = ZERO
    cost: Decimal = ZERO


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """How the venue behaves. Rates are parts of one, `partial` the chance that a fill is only a part."""

    seed: int = 1
    fee_maker: Decimal = ZERO
    fee_taker: Decimal = ZERO
    slippage: Decimal = ZERO
    leverage_max: Decimal = Decimal(20)
    partial: float = 0.0


class Outcome(msgspec.Struct):
    """What one request or event did: the orders it changed, their fills, the assets they moved, and the reports to send."""

    orders: dict[str, BookOrder] = {}
    fills: list[VenueFill] = []
    assets: set[str] = set()
    reports: list[Reported] = []


def chance(seed: int, *keys: object) -> float:
    """A number in [0, 1) that belongs to these keys."""
    return int.from_bytes(blake2b(repr((seed, *keys)).encode(), digest_size=8).digest(), "big") / 2**64


class _Book:
    """The working orders of one symbol, and the prices at which any of them could move: most events end at four comparisons."""

    __slots__ = ("buy_limit", "buy_stop", "is_stale", "is_urgent", "orders", "quote", "sell_limit", "sell_stop", "takes_bars")

    def __init__(self) -> None:
        self.orders: dict[str, BookOrder] = {}
        self.quote: Quote | None = None
        self.takes_bars = False
        self.is_stale = True
        self.is_urgent = False
        self.buy_limit: Decimal | None = None
        self.sell_limit: Decimal | None = None
        self.buy_stop: Decimal | None = None
        self.sell_stop: Decimal | None = None

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
        return sorted(self.orders.values(), key=lambda order: order.ord_type not in _STOPS)


class Turn(msgspec.Struct):
    """One event's turn at one book: buys happen at `ask`, sells at `bid`; `printed` is a trade's price, else None."""

    book: _Book
    bid: Decimal
    ask: Decimal
    at: datetime
    now: datetime
    printed: Decimal | None = None
    outcome: Outcome = msgspec.field(default_factory=Outcome)

    def market(self, side: Side) -> Decimal:
        return self.ask if side is Side.BUY else self.bid


class Venue:
    """All books of one account at the venue. Every method returns what it did; storing and reporting are the caller's."""

    def __init__(
        self,
        *,
        rules: Rules,
        instruments: Mapping[str, Instrument],
        currency: str,
        holdings: Mapping[str, Holding],
        orders: Iterable[BookOrder] = (),
        orders_so_far: int = 0,
        fills_so_far: int = 0,
    ) -> None:
        self._rules = rules
        self._instruments = instruments
        self._currency = currency
        self.holdings = dict(holdings)
        self._books: dict[str, _Book] = {}
        self._orders_so_far = orders_so_far
        self._fills_so_far = fills_so_far
        for order in orders:
            self._book(order.symbol).orders[order.cl_ord_id] = order

    def _book(self, symbol: str) -> _Book:
        return self._books.get(symbol) or self._books.setdefault(symbol, _Book())

    def working(self, cl_ord_id: str, symbol: str) -> BookOrder | None:
        return self._book(symbol).orders.get(cl_ord_id)

    # --- requests -------------------------------------------------------------------------------------------------------

    def refusal(self, approved: Approved) -> str:
        """Why the venue would not take this order, in its words; empty when it would."""
        instrument = self._instruments.get(approved.symbol)
        if instrument is None or not instrument.is_tradable:
            return f"unknown or closed symbol {approved.symbol}"
        return (
            _refused_shape(approved)
            or _refused_numbers(approved, instrument)
            or self._refused_post_only(approved)
            or self._refused_reduce_only(approved)
            or self._refused_margin(approved, instrument)
        )

    def _refused_post_only(self, approved: Approved) -> str:
        quote = self._book(approved.symbol).quote
        if not approved.post_only or quote is None or approved.price is None:
            return ""
        market = quote.reference(approved.side)
        crosses = approved.price >= market if approved.side is Side.BUY else approved.price <= market
        return f"post-only order would take at {market}" if crosses else ""

    def _refused_reduce_only(self, approved: Approved) -> str:
        if approved.reduce_only and not self._reducible(approved.symbol, approved.side):
            return "reduce-only order would not reduce a position"
        return ""

    def _refused_margin(self, approved: Approved, instrument: Instrument) -> str:
        quote = self._book(approved.symbol).quote
        reference = approved.price or (quote.ask if quote else None)
        if approved.reduce_only or reference is None or approved.order_qty <= self._reducible(approved.symbol, approved.side):
            return ""
        equity, gross = self._equity_and_gross()
        needed = gross + instrument.notional(approved.order_qty, reference)
        allowed = equity * self._rules.leverage_max
        return f"insufficient margin: {needed:.2f} needed, {allowed:.2f} allowed" if needed > allowed else ""

    def _equity_and_gross(self) -> tuple[Decimal, Decimal]:
        equity, gross = self.holdings.get(self._currency, Holding()).qty, ZERO
        for symbol, holding in self.holdings.items():
            if not holding.qty or (instrument := self._instruments.get(symbol)) is None:
                continue
            quote = self._book(symbol).quote
            value = (holding.qty * quote.mid if quote else holding.cost) * instrument.contract_value
            equity, gross = equity + value, gross + abs(value)
        return equity, gross

    def new_order(self, cl_ord_id: str, approved: Approved, now: datetime) -> BookOrder:
        """The order as the venue keeps it; not yet in the book."""
        self._orders_so_far += 1
        quote = self._book(approved.symbol).quote
        return BookOrder(
            order_id=f"S{self._orders_so_far:09d}",
            cl_ord_id=cl_ord_id,
            symbol=approved.symbol,
            side=approved.side,
            ord_type=approved.ord_type,
            time_in_force=approved.time_in_force,
            order_qty=approved.order_qty,
            price=approved.price,
            stop_px=approved.stop_px,
            reduce_only=approved.reduce_only,
            post_only=approved.post_only,
            created_at=now,
            updated_at=now,
            since=quote.at if quote else None,
        )

    def accept(self, order: BookOrder, now: datetime) -> Outcome:
        """Put the order in its book and let it meet the price; without a price it waits for one."""
        book = self._book(order.symbol)
        book.orders[order.cl_ord_id] = order
        book.is_stale = True
        if (quote := book.quote) is None:
            return Outcome()
        turn = Turn(book, quote.bid, quote.ask, quote.at, now)
        self._meet(turn, order)
        return turn.outcome

    def reject(self, order: BookOrder, text: str, now: datetime) -> Outcome:
        """Answer an order that came with a rejection."""
        return self._ended(order, OrdStatus.REJECTED, text, now)

    def cancel(self, order: BookOrder, now: datetime) -> Outcome:
        return self._ended(order, OrdStatus.CANCELED, "", now)

    def _ended(self, order: BookOrder, status: OrdStatus, text: str, now: datetime) -> Outcome:
        book = self._book(order.symbol)
        turn = Turn(book, ZERO, ZERO, book.quote.at if book.quote else now, now)
        self._end(turn, order, status, text)
        return turn.outcome

    # --- market ---------------------------------------------------------------------------------------------------------

    def market(self, event: Quote | Trade | Bar, now: datetime) -> Outcome | None:
        """Let a market event happen; None when it changed nothing, which is the usual case."""
        book = self._books.get(event.symbol) or self._book(event.symbol)
        if isinstance(event, Quote):
            if not ZERO < event.bid <= event.ask:
                return None
            book.quote = event
            # on a bar tape this is a bar's close: the bar itself follows, and comes first for orders that were here
            if not book.orders or book.takes_bars or not book.moves(asks=(event.ask, event.ask), bids=(event.bid, event.bid)):
                return None
            return self._match(Turn(book, event.bid, event.ask, event.at, now))
        if isinstance(event, Trade):
            prices = (event.price, event.price)
            if not book.orders or not event.price > ZERO or not book.moves(asks=prices, bids=prices):
                return None
            return self._match(_turn_of_trade(book, event, now))
        book.takes_bars = True
        prices = (event.low, event.high)
        if not book.orders or not book.moves(asks=prices, bids=prices):
            return None
        return self._match_bar(book, event, now)

    def _match(self, turn: Turn) -> Outcome | None:
        for order in turn.book.in_turn():
            if order.is_working:
                self._meet(turn, order)
        return turn.outcome if turn.outcome.orders else None

    def _match_bar(self, book: _Book, bar: Bar, now: datetime) -> Outcome | None:
        turn = Turn(book, bar.open, bar.open, bar.start_at, now)
        for order in book.in_turn():
            if order.is_working and (order.since is None or order.since <= bar.start_at):
                self._meet_bar(turn, order, bar)
        if (quote := book.quote) and quote.at >= bar.start_at + timedelta(seconds=bar.interval_s):
            turn.bid, turn.ask, turn.at = quote.bid, quote.ask, quote.at
            self._match(turn)
        return turn.outcome if turn.outcome.orders else None

    def _meet(self, turn: Turn, order: BookOrder) -> None:
        """One order against one price."""
        if order.time_in_force is TimeInForce.DAY and turn.at.date() > (order.since or order.created_at).date():
            self._end(turn, order, OrdStatus.EXPIRED, "end of day")
            return
        takes, order.is_arriving = order.is_arriving, False
        buys, market = order.side is Side.BUY, turn.market(order.side)
        if order.is_stop_waiting:
            if order.stop_px is None or (market < order.stop_px if buys else market > order.stop_px):
                return
            self._trigger(turn, order)
            takes = True
        if order.takes_any_price:
            self._fill(turn, order, self._slipped(order, market), "TAKER")
        elif order.price is not None and _is_reached(order.side, order.price, turn):
            at = order.price if turn.printed is not None else self._slipped(order, market) if takes else market
            self._fill(turn, order, (min if buys else max)(at, order.price), "TAKER" if takes else "MAKER")
        self._end_at_once(turn, order)

    def _meet_bar(self, turn: Turn, order: BookOrder, bar: Bar) -> None:
        """One order against a bar that began after it came: filled at its level, or at the open when the bar opened beyond it."""
        buys, level, is_new = order.side is Side.BUY, bar.open, False
        order.is_arriving = False
        if order.is_stop_waiting:
            if order.stop_px is None or (bar.high < order.stop_px if buys else bar.low > order.stop_px):
                return
            self._trigger(turn, order)
            level, is_new = (max if buys else min)(bar.open, order.stop_px), True
        if order.takes_any_price:
            self._fill(turn, order, self._slipped(order, level), "TAKER")
        elif order.price is not None:
            # a stop that has just become a limit meets the price that triggered it, not a better one of the same bar
            best = level if is_new else bar.low if buys else bar.high
            if best <= order.price if buys else best >= order.price:
                self._fill(turn, order, (min if buys else max)(level, order.price), "TAKER" if is_new else "MAKER")
        self._end_at_once(turn, order)

    def _trigger(self, turn: Turn, order: BookOrder) -> None:
        order.is_triggered, order.updated_at, turn.book.is_stale = True, turn.now, True
        turn.outcome.orders[order.cl_ord_id] = order

    def _slipped(self, order: BookOrder, market: Decimal) -> Decimal:
        """The market's price made worse by the slippage, on the tick grid."""
        if not self._rules.slippage:
            return market
        tick = self._instruments[order.symbol].tick_size
        if order.side is Side.BUY:
            return multiple_above(market * (ONE + self._rules.slippage), tick)
        return max(multiple_below(market * (ONE - self._rules.slippage), tick), tick)

    # --- fills and ends -------------------------------------------------------------------------------------------------

    def _reducible(self, symbol: str, side: Side) -> Decimal:
        """How much an order of this side can take off the position."""
        holding = self.holdings.get(symbol)
        return max(ZERO, -side.sign * holding.qty) if holding else ZERO

    def _fill(self, turn: Turn, order: BookOrder, price: Decimal, liquidity: str) -> None:
        qty = order.leaves_qty
        if order.reduce_only:
            qty = min(qty, self._reducible(order.symbol, order.side))
        if qty:
            self._fill_qty(turn, order, self._part_of(order, qty), price, liquidity)
        if order.is_working and order.reduce_only and not self._reducible(order.symbol, order.side):
            self._end(turn, order, OrdStatus.CANCELED, "reduce-only: no position is left")

    def _fill_qty(self, turn: Turn, order: BookOrder, qty: Decimal, price: Decimal, liquidity: str) -> None:
        fill = self._booked(turn, order, qty, price, liquidity)
        order.cum_qty, order.fills, order.updated_at = order.cum_qty + qty, order.fills + 1, turn.now
        order.ord_status = OrdStatus.PARTIALLY_FILLED if order.leaves_qty else OrdStatus.FILLED
        turn.outcome.orders[order.cl_ord_id] = order
        turn.outcome.reports.append(_fill_report(order, fill, turn.now))
        if not order.leaves_qty:
            del turn.book.orders[order.cl_ord_id]
            turn.book.is_stale = True

    def _part_of(self, order: BookOrder, qty: Decimal) -> Decimal:
        """What of `qty` finds somebody now: all of it, or by chance three to nine tenths."""
        if not self._rules.partial or order.time_in_force is TimeInForce.FOK:
            return qty
        if chance(self._rules.seed, "partial", order.cl_ord_id, order.fills) >= self._rules.partial:
            return qty
        share = 3 + int(7 * chance(self._rules.seed, "share", order.cl_ord_id, order.fills))
        return self._instruments[order.symbol].qty_floor(qty * share / 10) or qty

    def _booked(self, turn: Turn, order: BookOrder, qty: Decimal, price: Decimal, liquidity: str) -> VenueFill:
        """The fill, with its fee, and the cash and position it moves."""
        instrument = self._instruments[order.symbol]
        rate = self._rules.fee_maker if liquidity == "MAKER" else self._rules.fee_taker
        self._fills_so_far += 1
        fill = VenueFill(
            cl_ord_id=order.cl_ord_id,
            order_id=order.order_id,
            exec_id=f"X{self._fills_so_far:09d}",
            symbol=order.symbol,
            side=order.side,
            last_qty=qty,
            last_px=price,
            fee=(instrument.notional(qty, price) * rate).quantize(_FEE_STEP, ROUND_CEILING),
            fee_currency=instrument.currency,
            liquidity=liquidity,
            transact_at=turn.at,
        )
        turn.outcome.fills.append(fill)
        signed = order.side.sign * qty
        self.holdings.setdefault(instrument.currency, Holding()).qty -= signed * price * instrument.contract_value + fill.fee
        _move(self.holdings.setdefault(order.symbol, Holding()), signed, price)
        turn.outcome.assets |= {instrument.currency, order.symbol}
        return fill

    def _end_at_once(self, turn: Turn, order: BookOrder) -> None:
        if order.time_in_force in _AT_ONCE and order.is_working:
            self._end(turn, order, OrdStatus.CANCELED, f"{order.time_in_force}: not filled at once")

    def _end(self, turn: Turn, order: BookOrder, status: OrdStatus, text: str) -> None:
        order.ord_status, order.text, order.updated_at = status, text, turn.now
        turn.book.orders.pop(order.cl_ord_id, None)
        turn.book.is_stale = True
        turn.outcome.orders[order.cl_ord_id] = order
        turn.outcome.reports.append(_report(order, ExecType(status.value), turn.now, turn.at))


def _turn_of_trade(book: _Book, trade: Trade, now: datetime) -> Turn:
    """A print moves stops at its price or the quote's, whichever is worse for them; limits look at the print alone."""
    bid, ask = (book.quote.bid, book.quote.ask) if book.quote else (trade.price, trade.price)
    return Turn(book, min(bid, trade.price), max(ask, trade.price), trade.at, now, printed=trade.price)


def _is_reached(side: Side, limit: Decimal, turn: Turn) -> bool:
    """A quote at the limit fills it; a print must be beyond it, since nobody knows our place in the queue."""
    if turn.printed is not None:
        return turn.printed < limit if side is Side.BUY else turn.printed > limit
    return turn.ask <= limit if side is Side.BUY else turn.bid >= limit


def _move(holding: Holding, qty: Decimal, price: Decimal) -> None:
    """Book a signed quantity at average cost: what reduces takes its share of the cost, what is left over opens at `price`."""
    if holding.qty * qty < 0:
        closed = min(abs(qty), abs(holding.qty))
        holding.cost -= holding.cost * closed / abs(holding.qty)
        opened = abs(qty) - closed
    else:
        opened = abs(qty)
    holding.cost += opened * price * (1 if qty > 0 else -1)
    holding.qty += qty


def _report(order: BookOrder, exec_type: ExecType, now: datetime, at: datetime) -> Reported:
    return Reported(
        at=now,
        cl_ord_id=order.cl_ord_id,
        exec_type=exec_type,
        order_id=order.order_id,
        symbol=order.symbol,
        side=order.side,
        cum_qty=order.cum_qty,
        text=order.text,
        transact_at=at,
    )


def _fill_report(order: BookOrder, fill: VenueFill, now: datetime) -> Reported:
    return msgspec.structs.replace(
        _report(order, ExecType.TRADE, now, fill.transact_at),
        exec_id=fill.exec_id,
        last_qty=fill.last_qty,
        last_px=fill.last_px,
        fee=fill.fee,
        fee_currency=fill.fee_currency,
        liquidity=fill.liquidity,
    )


def accepted_report(order: BookOrder, now: datetime) -> Reported:
    """The acknowledgement of an order that came."""
    return _report(order, ExecType.NEW, now, order.since or now)


def _refused_shape(approved: Approved) -> str:
    needs_price = approved.ord_type in {OrdType.LIMIT, OrdType.STOP_LIMIT}
    if needs_price and approved.price is None:
        return f"a {approved.ord_type} order needs a price"
    if approved.ord_type in _STOPS and approved.stop_px is None:
        return f"a {approved.ord_type} order needs a stop price"
    if approved.ord_type in _STOPS and approved.time_in_force in _AT_ONCE:
        return f"a {approved.ord_type} order cannot be {approved.time_in_force}"
    if approved.post_only and (approved.ord_type is not OrdType.LIMIT or approved.time_in_force in _AT_ONCE):
        return "only a resting limit order can be post-only"
    return ""


def _refused_numbers(approved: Approved, instrument: Instrument) -> str:
    qty = approved.order_qty
    if not qty.is_finite() or qty <= 0 or qty % instrument.lot_size:
        return f"quantity {qty} is not a positive multiple of the lot {instrument.lot_size}"
    for price in (approved.price, approved.stop_px):
        if price is not None and (not price.is_finite() or price <= 0 or price % instrument.tick_size):
            return f"price {price} is not a positive multiple of the tick {instrument.tick_size}"
    if not approved.reduce_only and approved.price and instrument.notional(qty, approved.price) < instrument.min_notional:
        return f"notional is below the minimum {instrument.min_notional}"
    return ""
