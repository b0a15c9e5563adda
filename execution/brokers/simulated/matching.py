"""The matching of the simulated venue: orders and market events in, fills out. Pure: no clock, no storage, no waiting.

Rules of this file.
- A price is never better than the market's: buys pay the ask, sells get the bid, and what gaps is filled at the first price after
  the gap. A limit keeps its price improvement; slippage never carries a fill past a limit. (The SPREAD model alone fills inside.)
- A bar fills only orders that were here when it began. Inside a bar stops come before limits: the worst of what may have happened.
- Reduce-only is honoured when the order would fill: its quantity is cut to the position, and it is canceled when nothing is left.
- What takes meets our own orders inside the market's spread first: they trade with each other, or self-trade prevention says which
  of them ends.
- Chance (partial fills) is a hash of seed, order and fill, so one seed gives one history on every machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

import msgspec

from execution.brokers.simulated import refusals
from execution.brokers.simulated.book import Activity, Book, Turn
from execution.brokers.simulated.fees import Schedule
from execution.brokers.simulated.funding import Funding
from execution.brokers.simulated.ledger import Ledger
from execution.brokers.simulated.orders import (
    AT_ONCE,
    BookOrder,
    Holding,
    Outcome,
    chance,
    fill_report,
    replaced_report,
    report,
)
from execution.brokers.simulated.slippage import Seen, Slippage, amount, slippage_of
from execution.brokers.simulated.splits import Split, Splits
from execution.core.messages import Adjusted, Bar, ExecType, SendReplace, Trade, VenueFill
from execution.core.orders import OrdStatus
from execution.core.venues import VENUES
from risk.core.units import ZERO, Instrument, Quote, Side, TimeInForce, multiple_above, multiple_below
from risk.core.verdict import Approved, Capability


class SelfTrades(StrEnum):
    """What happens when an order would trade with one of our own, in the words of Binance's self-trade prevention."""

    NONE = "NONE"
    EXPIRE_MAKER = "EXPIRE_MAKER"
    EXPIRE_TAKER = "EXPIRE_TAKER"
    EXPIRE_BOTH = "EXPIRE_BOTH"
    DECREMENT = "DECREMENT"


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """How the venue behaves. `funding` is a part of one, `partial` the chance that a fill is only a part; the last schedule and model are for everything."""

    seed: int = 1
    fees: tuple[Schedule, ...] = (Schedule(),)
    slippage: tuple[Slippage, ...] = (Slippage(),)
    funding: Decimal = ZERO
    funding_interval: timedelta = timedelta(hours=8)
    splits: tuple[Split, ...] = ()
    leverage_max: Decimal = Decimal(20)
    self_trades: SelfTrades = SelfTrades.NONE
    partial: float = 0.0
    capabilities: frozenset[Capability] = VENUES["simulated"]


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
        fills: Iterable[VenueFill] = (),
        moved_at: Mapping[str, datetime] | None = None,
        orders_so_far: int = 0,
        fills_so_far: int = 0,
    ) -> None:
        self._rules = rules
        self._instruments = instruments
        self._ledger = Ledger(
            instruments=instruments, currency=currency, holdings=holdings, fees=rules.fees, fills_so_far=fills_so_far
        )
        self._funding = Funding(rules.funding, rules.funding_interval, moved_at or {})
        self._splits = Splits(rules.splits, moved_at or {})
        self._adjusts = bool(rules.funding or rules.splits)
        self._books: dict[str, Book] = {}
        #: the ids that replaces gave to working orders → the ids they came with
        self._renamed: dict[str, str] = {}
        self._orders_so_far = orders_so_far
        for order in orders:
            self._book(order.symbol).put(order)
            if order.replaced_as:
                self._renamed[order.replaced_as] = order.cl_ord_id
        self._count(fills)

    def _count(self, fills: Iterable[VenueFill]) -> None:
        """What the working orders have traded so far, which their next fees depend on."""
        orders = {order.order_id: order for order in self.working_all()}
        for fill in fills:
            order, instrument = orders[fill.order_id], self._instruments.get(fill.symbol)
            if instrument is not None:
                notional = instrument.notional(fill.last_qty, fill.last_px)
                order.traded = order.traded.plus(fill.last_qty, notional, fill.liquidity)

    @property
    def holdings(self) -> Mapping[str, Holding]:
        return self._ledger.holdings

    def _book(self, symbol: str) -> Book:
        if (book := self._books.get(symbol)) is None:
            instrument = self._instruments.get(symbol)
            slippage = slippage_of(self._rules.slippage, instrument) if instrument else Slippage()
            book = self._books[symbol] = Book(slippage)
        return book

    def working(self, cl_ord_id: str, symbol: str) -> BookOrder | None:
        """The working order of that id, be it the first or one that a replace gave it."""
        return self._book(symbol).orders.get(self._renamed.get(cl_ord_id, cl_ord_id))

    def working_all(self, symbol: str = "") -> list[BookOrder]:
        """The working orders of the symbol, or of all."""
        books = [self._book(symbol)] if symbol else self._books.values()
        return [order for book in books for order in book.orders.values()]

    # --- requests -------------------------------------------------------------------------------------------------------

    def refusal(self, approved: Approved) -> str:
        """Why the venue would not take this order, in its words; empty when it would."""
        instrument = self._instruments.get(approved.symbol)
        if instrument is None or not instrument.is_tradable:
            return f"unknown or closed symbol {approved.symbol}"
        quote = self._book(approved.symbol).quote
        return (
            refusals.lacking(approved, self._rules.capabilities)
            or refusals.misshapen(approved)
            or refusals.wrong_numbers(
                instrument,
                qty=approved.order_qty,
                price=approved.price,
                stop_px=approved.stop_px,
                reduce_only=approved.reduce_only,
            )
            or refusals.would_take(approved.side, approved.price, quote, post_only=approved.post_only)
            or self._refused_reduce_only(approved)
            or self._refused_margin(approved, instrument)
        )

    def _refused_reduce_only(self, approved: Approved) -> str:
        if approved.reduce_only and not self._ledger.reducible(approved.symbol, approved.side):
            return "reduce-only order would not reduce a position"
        return ""

    def _refused_margin(self, approved: Approved, instrument: Instrument) -> str:
        quote = self._book(approved.symbol).quote
        reference = approved.price or (quote.ask if quote else None)
        if (
            approved.reduce_only
            or reference is None
            or approved.order_qty <= self._ledger.reducible(approved.symbol, approved.side)
        ):
            return ""
        equity, gross = self._ledger.equity_and_gross({symbol: book.quote for symbol, book in self._books.items()})
        needed = gross + instrument.notional(approved.order_qty, reference)
        allowed = equity * self._rules.leverage_max
        return f"insufficient margin: {needed:.2f} needed, {allowed:.2f} allowed" if needed > allowed else ""

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
        book.put(order)
        turn = self._turn(book, now)
        if book.quote is not None:
            self._meet(turn, order)
        return turn.outcome

    def reject(self, order: BookOrder, text: str, now: datetime) -> Outcome:
        """Answer an order that came with a rejection."""
        return self._ended(order, OrdStatus.REJECTED, text, now)

    def cancel(self, order: BookOrder, now: datetime) -> Outcome:
        return self._ended(order, OrdStatus.CANCELED, "", now)

    def _ended(self, order: BookOrder, status: OrdStatus, text: str, now: datetime) -> Outcome:
        turn = self._turn(self._book(order.symbol), now)
        self._end(turn, order, status, text)
        return turn.outcome

    def _turn(self, book: Book, now: datetime) -> Turn:
        quote = book.quote
        return Turn(book, quote.bid, quote.ask, quote.at, now) if quote else Turn(book, ZERO, ZERO, now, now)

    def replace_refusal(self, order: BookOrder, request: SendReplace) -> str:
        """Why the venue would not change this working order so, in its words; empty when it would."""
        if order.is_triggered and request.stop_px != order.stop_px:
            return "the stop is triggered already"
        if (request.price is None) != (order.price is None) or (request.stop_px is None) != (order.stop_px is None):
            return "a replace does not change the order's type"
        moved = request.price if request.price != order.price else None
        return refusals.wrong_numbers(
            self._instruments[order.symbol],
            qty=request.order_qty,
            price=request.price,
            stop_px=request.stop_px,
            reduce_only=order.reduce_only,
        ) or refusals.would_take(order.side, moved, self._book(order.symbol).quote, post_only=order.post_only)

    def replace(self, order: BookOrder, request: SendReplace, now: datetime) -> Outcome:
        """Change a working order in place; it is called by the request's id from now on.

        As in FIX a quantity at or below what filled already completes the order. Only a smaller quantity keeps the place in the
        queue; a new price meets the market as a new order does.
        """
        book = self._book(order.symbol)
        is_moved = (request.price, request.stop_px) != (order.price, order.stop_px)
        is_grown = request.order_qty > order.order_qty
        order.order_qty = max(request.order_qty, order.cum_qty + order.prevented_qty)
        order.price, order.stop_px = request.price, request.stop_px
        order.replaced_as, order.updated_at = request.cl_ord_id, now
        self._renamed[request.cl_ord_id] = order.cl_ord_id
        if is_moved or is_grown:
            book.put(order)
        book.is_stale = True
        if is_moved:
            order.is_arriving, order.since = True, book.quote.at if book.quote else None
        turn = self._turn(book, now)
        turn.outcome.orders[order.cl_ord_id] = order
        turn.outcome.renamed[request.cl_ord_id] = order
        turn.outcome.reports.append(replaced_report(order, now, turn.at))
        if not order.leaves_qty:
            order.ord_status = OrdStatus.FILLED
            book.take(order)
        elif is_moved and book.quote is not None:
            self._meet(turn, order)
        return turn.outcome

    def bust(self, order: BookOrder, fill: VenueFill, now: datetime) -> Outcome:
        """Take a trade back. A working order works for the quantity again; one that is over stays over."""
        busted = self._ledger.bust(order, fill)
        order.cum_qty -= fill.last_qty
        if order.is_working:
            order.ord_status = OrdStatus.PARTIALLY_FILLED if order.cum_qty else OrdStatus.NEW
        elif order.ord_status is OrdStatus.FILLED:
            order.ord_status, order.text = OrdStatus.CANCELED, "a trade was busted"
        return self._revised(order, busted, now)

    def correct(self, order: BookOrder, fill: VenueFill, price: Decimal, now: datetime) -> Outcome:
        """Say that a trade was at another price."""
        return self._revised(order, self._ledger.correct(fill, price), now)

    def _revised(self, order: BookOrder, execution: VenueFill, now: datetime) -> Outcome:
        turn = self._turn(self._book(order.symbol), now)
        order.updated_at = now
        turn.outcome.orders[order.cl_ord_id] = order
        turn.outcome.fills.append(execution)
        turn.outcome.assets |= {self._instruments[order.symbol].currency, order.symbol}
        turn.outcome.reports.append(fill_report(order, execution, now))
        return turn.outcome

    # --- market ---------------------------------------------------------------------------------------------------------

    def market(self, event: Quote | Trade | Bar, now: datetime) -> Outcome | None:
        """Let a market event happen; None when it changed nothing, which is the usual case."""
        if not self._adjusts:
            return self._happen(event, now)
        before = Outcome()
        if adjustments := self._fund(event, now):
            before.adjustments = adjustments
            before.assets.add(self._instruments[event.symbol].currency)
        for split in self._splits.due(event.symbol, event.start_at if isinstance(event, Bar) else event.at):
            before.join(self._split(split, now))
        after = self._happen(event, now)
        if after is not None:
            before.join(after)
        return before if before.adjustments else after

    def _split(self, split: Split, now: datetime) -> Outcome:
        """Count the position in new terms and cancel what rests in old ones. Where there is neither, nobody needs to hear of it."""
        book = self._book(split.symbol)
        turn = self._turn(book, now)
        outcome = turn.outcome
        if not book.orders and not self._ledger.holdings.get(split.symbol, Holding()).qty:
            return outcome
        for order in list(book.orders.values()):
            self._end(turn, order, OrdStatus.CANCELED, "the instrument was split")
        self._ledger.split(split.symbol, split.new_units, split.old_units)
        if book.quote is not None:
            book.quote = split.quote(book.quote)
        if book.activity is not None:
            book.activity = Activity()
        outcome.assets.add(split.symbol)
        outcome.adjustments.append(split.told(now))
        return outcome

    def is_of_old_terms(self, fill: VenueFill) -> bool:
        """Whether the fill's instrument was split since."""
        return self._splits.is_before(fill.symbol, fill.transact_at)

    def _fund(self, event: Quote | Trade | Bar, now: datetime) -> list[Adjusted]:
        """Settle what became due before the event, on the position as it was."""
        instrument = self._instruments.get(event.symbol)
        if instrument is None or not self._funding.applies_to(instrument):
            return []
        quote = self._book(event.symbol).quote
        price = (
            quote.mid if quote else event.mid if isinstance(event, Quote) else event.open if isinstance(event, Bar) else event.price
        )
        due = self._funding.due(event.symbol, event.start_at if isinstance(event, Bar) else event.at)
        qty = self._ledger.holdings.get(event.symbol, Holding()).qty
        if not qty or not price > ZERO:
            return []
        paid = [self._funding.paid(instrument, qty, price, settled_at=at, now=now) for at in due]
        self._ledger.receive(instrument.currency, sum((adjusted.amount for adjusted in paid), ZERO))
        return paid

    def _happen(self, event: Quote | Trade | Bar, now: datetime) -> Outcome | None:
        book = self._books.get(event.symbol) or self._book(event.symbol)
        if book.activity is not None:
            book.activity.see(event)
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

    def _match_bar(self, book: Book, bar: Bar, now: datetime) -> Outcome | None:
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
        if takes:
            self._meet_own(turn, order)
        if not order.is_working:
            return
        if order.takes_any_price:
            self._fill(turn, order, self._slipped(turn, order, market), "TAKER")
        elif order.price is not None and turn.reaches(order.side, order.price):
            is_print = turn.printed is not None
            at = order.price if is_print else self._slipped(turn, order, market) if takes else market
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
            self._fill(turn, order, self._slipped(turn, order, level, is_touch=False), "TAKER")
        elif order.price is not None:
            # a stop that has just become a limit meets the price that triggered it, not a better one of the same bar
            best = level if is_new else bar.low if buys else bar.high
            if best <= order.price if buys else best >= order.price:
                self._fill(turn, order, (min if buys else max)(level, order.price), "TAKER" if is_new else "MAKER")
        self._end_at_once(turn, order)

    def _trigger(self, turn: Turn, order: BookOrder) -> None:
        order.is_triggered, order.updated_at, turn.book.is_stale = True, turn.now, True
        turn.outcome.orders[order.cl_ord_id] = order

    def _slipped(self, turn: Turn, order: BookOrder, price: Decimal, *, is_touch: bool = True) -> Decimal:
        """The price made worse by the slippage, on the tick grid and never in our favour by rounding."""
        if turn.book.slippage.is_none:
            return price
        instrument, quote, activity = self._instruments[order.symbol], turn.book.quote, turn.book.activity
        seen = Seen(
            price=price,
            qty=order.leaves_qty,
            reduces=order.leaves_qty <= self._ledger.reducible(order.symbol, order.side),
            half_spread=(quote.ask - quote.bid) / 2 if quote else ZERO,
            is_touch=is_touch,
            volume=activity.volume if activity else ZERO,
            volume_mean=activity.volume_mean if activity else ZERO,
            volatility=activity.volatility if activity else ZERO,
        )
        slip = amount(turn.book.slippage, seen)
        if not slip:
            return price
        tick = instrument.tick_size
        return multiple_above(price + slip, tick) if order.side is Side.BUY else max(multiple_below(price - slip, tick), tick)

    # --- our own orders against each other ------------------------------------------------------------------------------

    def _meet_own(self, turn: Turn, taker: BookOrder) -> None:
        """The taker against our own orders inside the spread, which come before the market."""
        makers = turn.book.inside(taker.side, taker.price, bid=turn.bid, ask=turn.ask)
        if taker.time_in_force is TimeInForce.FOK and not self._fills_whole(turn, taker, makers):
            return
        for maker in makers:
            if not taker.is_working:
                return
            if self._rules.self_trades is SelfTrades.NONE:
                self._trade_own(turn, taker, maker)
            else:
                self._prevent(turn, taker, maker)

    def _fills_whole(self, turn: Turn, taker: BookOrder, makers: list[BookOrder]) -> bool:
        if taker.takes_any_price or (taker.price is not None and turn.reaches(taker.side, taker.price)):
            return True
        return sum((maker.leaves_qty for maker in makers), ZERO) >= taker.leaves_qty

    def _trade_own(self, turn: Turn, taker: BookOrder, maker: BookOrder) -> None:
        qty = min(
            taker.leaves_qty, maker.leaves_qty, *(self._ledger.reducible(o.symbol, o.side) for o in (taker, maker) if o.reduce_only)
        )
        if qty and maker.price is not None:
            self._fill_qty(turn, maker, qty, maker.price, "MAKER")
            self._fill_qty(turn, taker, qty, maker.price, "TAKER")

    def _prevent(self, turn: Turn, taker: BookOrder, maker: BookOrder) -> None:
        mode = self._rules.self_trades
        if mode is SelfTrades.DECREMENT:
            prevented = min(taker.leaves_qty, maker.leaves_qty)
            for order in (taker, maker):
                order.prevented_qty += prevented
                turn.outcome.orders[order.cl_ord_id] = order
        ends = {
            SelfTrades.EXPIRE_MAKER: (maker,),
            SelfTrades.EXPIRE_TAKER: (taker,),
            SelfTrades.EXPIRE_BOTH: (maker, taker),
            SelfTrades.DECREMENT: tuple(order for order in (maker, taker) if not order.leaves_qty),
        }
        for order in ends[mode]:
            other = taker if order is maker else maker
            self._end(turn, order, OrdStatus.EXPIRED, f"self-trade prevention: it would have traded with {other.name}")

    # --- fills and ends -------------------------------------------------------------------------------------------------

    def _fill(self, turn: Turn, order: BookOrder, price: Decimal, liquidity: str) -> None:
        qty = order.leaves_qty
        if order.reduce_only:
            qty = min(qty, self._ledger.reducible(order.symbol, order.side))
        if qty:
            self._fill_qty(turn, order, self._part_of(order, qty), price, liquidity)
        if order.is_working and order.reduce_only and not self._ledger.reducible(order.symbol, order.side):
            self._end(turn, order, OrdStatus.CANCELED, "reduce-only: no position is left")

    def _fill_qty(self, turn: Turn, order: BookOrder, qty: Decimal, price: Decimal, liquidity: str) -> None:
        fill = self._ledger.book(order, qty, price, liquidity, turn.at)
        turn.outcome.fills.append(fill)
        turn.outcome.assets |= {self._instruments[order.symbol].currency, order.symbol}
        order.cum_qty, order.fills, order.updated_at = order.cum_qty + qty, order.fills + 1, turn.now
        order.ord_status = OrdStatus.FILLED if order.cum_qty == order.order_qty else OrdStatus.PARTIALLY_FILLED
        turn.outcome.orders[order.cl_ord_id] = order
        turn.outcome.reports.append(fill_report(order, fill, turn.now))
        if order.ord_status is OrdStatus.FILLED:
            turn.book.take(order)
        elif not order.leaves_qty:
            self._end(turn, order, OrdStatus.EXPIRED, f"self-trade prevention took {order.prevented_qty}")

    def _part_of(self, order: BookOrder, qty: Decimal) -> Decimal:
        """What of `qty` finds somebody now: all of it, or by chance three to nine tenths."""
        if not self._rules.partial or order.time_in_force is TimeInForce.FOK:
            return qty
        if chance(self._rules.seed, "partial", order.cl_ord_id, order.fills) >= self._rules.partial:
            return qty
        share = 3 + int(7 * chance(self._rules.seed, "share", order.cl_ord_id, order.fills))
        return self._instruments[order.symbol].qty_floor(qty * share / 10) or qty

    def _end_at_once(self, turn: Turn, order: BookOrder) -> None:
        if order.time_in_force in AT_ONCE and order.is_working:
            self._end(turn, order, OrdStatus.CANCELED, f"{order.time_in_force}: not filled at once")

    def _end(self, turn: Turn, order: BookOrder, status: OrdStatus, text: str) -> None:
        order.ord_status, order.text, order.updated_at = status, text, turn.now
        turn.book.take(order)
        turn.outcome.orders[order.cl_ord_id] = order
        turn.outcome.reports.append(report(order, ExecType(status.value), turn.now, turn.at))


def _turn_of_trade(book: Book, trade: Trade, now: datetime) -> Turn:
    """A print moves stops at its price or the quote's, whichever is worse for them; limits look at the print alone."""
    bid, ask = (book.quote.bid, book.quote.ask) if book.quote else (trade.price, trade.price)
    return Turn(book, min(bid, trade.price), max(ask, trade.price), trade.at, now, printed=trade.price)
