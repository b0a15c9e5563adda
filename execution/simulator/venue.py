"""The venue: the truth about orders, fills and positions. It lives outside every engine process, and says what it does as facts.

Rules of this file.
1. Buys happen at the ask, sells at the bid. Stops fire at the quote; a price that jumped over an order fills it at the first price
   after the jump, a limit no worse than its limit.
2. How much of an order fills at once is `share`: the rest waits for the next price.
3. A client id is taken once for ever. What the venue cannot do it refuses: reduce-only, stops, replaces, selling what is not there.
4. Answers may lag by `lag_s`: they are as things were then. The stream never lags.
5. Nothing here is chance: what is unfriendly was asked for by a step of the history.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import msgspec

from execution.core.messages import Adjusted, AdjustmentKind, BooksBy, ExecType, Reported, SendReplace, VenueFill, VenueOrder
from execution.core.ports import Duplicate, Refused
from execution.simulator.facts import Busted, Changed, Fact, Filled, Funded, Hostile, Over, Taken
from execution.simulator.scene import VenueKind
from execution.simulator.virtual import Time, VirtualClock
from risk.core.units import ONE, ZERO, AssetClass, Instrument, OrdType, Side, TimeInForce
from risk.core.verdict import Approved, Capability

_STOPS: Final = (OrdType.STOP, OrdType.STOP_LIMIT)
_AT_ONCE: Final = (TimeInForce.IOC, TimeInForce.FOK)
_FEE: Final = Decimal("0.0005")
_EXACT: Final = Decimal("0.00000001")
_NEVER: Final = float("inf")


class Resting(msgspec.Struct, kw_only=True):
    """An order at the venue. `ids` are all client ids it ever had, the current one last."""

    order_id: str
    ids: list[str]
    symbol: str
    side: Side
    ord_type: OrdType
    time_in_force: TimeInForce
    qty: Decimal
    price: Decimal | None
    stop_px: Decimal | None
    reduce_only: bool
    is_foreign: bool = False
    taken_t: float
    over_t: float = _NEVER
    cum_qty: Decimal = ZERO
    #: what was filled, busts undone: Σ quantity × price, and each fill's time and quantity
    cost: Decimal = ZERO
    moves: list[tuple[float, Decimal]] = []
    is_triggered: bool = False
    status: str = "NEW"

    @property
    def is_open(self) -> bool:
        return self.over_t == _NEVER

    @property
    def leaves_qty(self) -> Decimal:
        return self.qty - self.cum_qty

    def cum_qty_at(self, t: float) -> Decimal:
        return sum((qty for moved_t, qty in self.moves if moved_t <= t), ZERO)


class Venue:
    """`report` carries a word to whoever is connected; `note` takes the facts."""

    def __init__(
        self,
        kind: VenueKind,
        instruments: Mapping[str, Instrument],
        *,
        currency: str,
        cash: Decimal,
        time: Time,
        clock: VirtualClock,
        report: Callable[[Reported | Adjusted], None],
        note: Callable[[Fact], None],
    ) -> None:
        self.kind = kind
        self._instruments = instruments
        self._time = time
        self._clock = clock
        self._report = report
        self._note = note
        self.orders: dict[str, Resting] = {}
        self.open: dict[str, Resting] = {}
        self._by_id: dict[str, Resting] = {}
        self.fills: list[tuple[datetime, VenueFill]] = []
        self.adjustments: list[Adjusted] = []
        self.positions: dict[str, Decimal] = {}
        self._moves: list[tuple[float, str, Decimal]] = []
        self.currency = currency
        self.cash = cash
        self.prices: dict[str, tuple[Decimal, Decimal]] = {}
        #: the part of an order that fills at one price
        self.share = ONE
        self.lag_s = kind.lag_s

    def _has(self, capability: Capability) -> bool:
        return capability in self.kind.capabilities

    # --- requests ------------------------------------------------------------------------------------------------------

    def new(self, cl_ord_id: str, asked: Approved, *, reject: bool = False) -> None:
        """Take a new order and let it meet the price. Raises Refused for what it will not take."""
        if cl_ord_id in self._by_id:
            raise Duplicate("duplicate client order id")
        if why := self._refusal(asked):
            raise Refused(why)
        order = Resting(
            order_id=f"V{len(self.orders) + 1}",
            ids=[cl_ord_id],
            symbol=asked.symbol,
            side=asked.side,
            ord_type=asked.ord_type,
            time_in_force=asked.time_in_force,
            qty=asked.order_qty,
            price=asked.price,
            stop_px=asked.stop_px,
            reduce_only=asked.reduce_only,
            taken_t=self._time.now,
        )
        self._take(order)
        if reject:
            self._end(order, ExecType.REJECTED, "the venue's own risk check")
            return
        self._say(order, ExecType.NEW)
        self._meet(order)

    def _refusal(self, asked: Approved) -> str:
        if asked.reduce_only and not self._has(Capability.REDUCE_ONLY):
            return "there are no reduce-only orders here"
        if asked.ord_type in _STOPS and not self._has(Capability.STOP_ORDERS):
            return "there are no stop orders here"
        if asked.reduce_only and not self._reducible(asked.symbol, asked.side):
            return "reduce-only: there is nothing to reduce"
        instrument = self._instruments[asked.symbol]
        if asked.order_qty <= 0 or asked.order_qty % instrument.lot_size:
            return f"{asked.order_qty} is not in lots of {instrument.lot_size}"
        if instrument.asset_class is AssetClass.CRYPTO_SPOT and asked.side is Side.SELL:
            return self._short_of(asked)
        return ""

    def _short_of(self, asked: Approved) -> str:
        """What is offered already cannot be offered again."""
        offered = sum((o.leaves_qty for o in self.working(asked.symbol) if o.side is Side.SELL), ZERO)
        free = self.positions.get(asked.symbol, ZERO) - offered
        return f"insufficient balance: {free} is free" if asked.order_qty > free else ""

    def _take(self, order: Resting) -> None:
        self.orders[order.order_id] = self.open[order.order_id] = order
        self._by_id[order.ids[-1]] = order
        self._note(
            Taken(
                self._time.now,
                order.order_id,
                order.ids[0],
                order.symbol,
                order.side,
                order.qty,
                order.ord_type,
                order.price,
                order.stop_px,
                order.reduce_only,
                order.is_foreign,
            )
        )

    def cancel(self, cl_ord_id: str) -> None:
        """Cancel a working order; what is over already is answered with why."""
        order = self._by_id.get(cl_ord_id)
        if order is not None and order.is_open:
            self._end(order, ExecType.CANCELED, "")
            return
        text = "unknown order" if order is None else f"the order is {order.status}"
        self._refuse(ExecType.CANCEL_REJECTED, cl_ord_id, order, text)

    def cancel_all(self, symbol: str) -> None:
        """Cancel whatever works, of one symbol or of all."""
        for order in self.working(symbol):
            self._end(order, ExecType.CANCELED, "all were canceled")

    def replace(self, request: SendReplace) -> None:
        """Change a working order in place."""
        order = self._by_id.get(request.orig_cl_ord_id)
        if not self._has(Capability.REPLACE):
            raise Refused("orders are not replaced here")
        if order is None or not order.is_open or request.order_qty <= order.cum_qty:
            text = "unknown order" if order is None else f"too late: the order is {order.status}, {order.cum_qty} filled"
            self._refuse(ExecType.REPLACE_REJECTED, request.cl_ord_id, order, text)
            return
        order.qty, order.price, order.stop_px = request.order_qty, request.price, request.stop_px
        if not self.kind.keeps_id:
            order.ids.append(request.cl_ord_id)
        self._by_id[request.cl_ord_id] = order
        self._note(Changed(self._time.now, order.order_id, order.qty, order.price, order.stop_px))
        self._say(order, ExecType.REPLACED, order_qty=order.qty, price=order.price, stop_px=order.stop_px)
        self._meet(order)

    def _refuse(self, exec_type: ExecType, cl_ord_id: str, order: Resting | None, text: str) -> None:
        if order is not None:
            self._say(order, exec_type, cl_ord_id=cl_ord_id, text=text)
            return
        now = self._clock.now()
        self._report(Reported(at=now, cl_ord_id=cl_ord_id, exec_type=exec_type, text=text, transact_at=now))

    # --- the market ----------------------------------------------------------------------------------------------------

    def price(self, symbol: str, bid: Decimal, ask: Decimal) -> None:
        """A new price; what can fill at it does. A market that is crossed trades nothing."""
        if not ZERO < bid <= ask:
            return
        self.prices[symbol] = (bid, ask)
        for order in self.working(symbol):
            self._meet(order)

    def _meet(self, order: Resting) -> None:
        if not order.is_open or (quote := self.prices.get(order.symbol)) is None:
            return
        buys = order.side is Side.BUY
        market = quote[1] if buys else quote[0]
        if order.ord_type in _STOPS and not order.is_triggered:
            if order.stop_px is None or (market < order.stop_px if buys else market > order.stop_px):
                return
            order.is_triggered = True
        is_limit = order.ord_type in (OrdType.LIMIT, OrdType.STOP_LIMIT) and order.price is not None
        if not is_limit or (market <= order.price if buys else market >= order.price):  # type: ignore[operator]
            self._fill(order, self._part(order), market)
        if order.time_in_force in _AT_ONCE and order.is_open:
            self._end(order, ExecType.CANCELED, "not filled at once")

    def _part(self, order: Resting) -> Decimal:
        lot = self._instruments[order.symbol].lot_size
        part = (order.leaves_qty * self.share // lot) * lot
        return order.leaves_qty if self.share == ONE or not part else part

    def _reducible(self, symbol: str, side: Side) -> Decimal:
        return max(ZERO, -side.sign * self.positions.get(symbol, ZERO))

    def _fill(self, order: Resting, qty: Decimal, px: Decimal) -> None:
        if order.reduce_only:
            qty = min(qty, self._reducible(order.symbol, order.side))
        if qty:
            self.fill(order, qty, px)
        if order.is_open and order.reduce_only and not self._reducible(order.symbol, order.side):
            self._end(order, ExecType.CANCELED, "reduce-only: no position is left")

    def fill(self, order: Resting, qty: Decimal, px: Decimal) -> None:
        """Fill so much of an order, whatever its terms: more than it asked for as well."""
        instrument = self._instruments[order.symbol]
        order.cost += qty * px
        self._move(order, qty)
        order.status = "PARTIALLY_FILLED" if order.leaves_qty > 0 else "FILLED"
        if order.leaves_qty <= 0:
            self._close(order)
        # a venue that counts tells no fee with a count: which part of it was booked before, nobody could say
        rate = _FEE if self.kind.books_by is BooksBy.TRADE_ID else ZERO
        fee = (instrument.notional(qty, px) * rate).quantize(_EXACT)
        exec_id = f"X{len(self.fills) + 1}"
        self.cash -= order.side.sign * qty * px * instrument.contract_value + fee
        self._tell_fill(order, ExecType.TRADE, exec_id, qty=qty, px=px, fee=fee)
        self._note(Filled(self._time.now, order.order_id, exec_id, order.symbol, order.side, qty, px, fee))

    def _tell_fill(
        self, order: Resting, exec_type: ExecType, exec_id: str, *, qty: Decimal, px: Decimal, fee: Decimal, ref: str = ""
    ) -> None:
        """A fill, or a word that takes one back, in the history and on the stream."""
        word: dict[str, Any] = {"last_qty": qty, "last_px": px, "fee": fee, "fee_currency": self.currency, "liquidity": "TAKER"}
        if self.kind.books_by is BooksBy.CUM_QTY:
            word["avg_px"] = order.cost / order.cum_qty if order.cum_qty else None
        fill = VenueFill(
            cl_ord_id=order.ids[-1],
            order_id=order.order_id,
            exec_id=exec_id,
            symbol=order.symbol,
            side=order.side,
            transact_at=self._clock.now(),
            exec_type=exec_type,
            exec_ref_id=ref,
            cum_qty=order.cum_qty if self.kind.books_by is BooksBy.CUM_QTY else None,
            **word,
        )
        self.fills.append((fill.transact_at, fill))
        leaves = order.leaves_qty if order.is_open else ZERO
        self._say(order, exec_type, exec_id=exec_id, exec_ref_id=ref, leaves_qty=leaves, **word)

    def _move(self, order: Resting, qty: Decimal) -> None:
        signed = order.side.sign * qty
        order.cum_qty += qty
        order.moves.append((self._time.now, qty))
        self.positions[order.symbol] = self.positions.get(order.symbol, ZERO) + signed
        self._moves.append((self._time.now, order.symbol, signed))

    def _end(self, order: Resting, exec_type: ExecType, text: str) -> None:
        order.status = exec_type.value
        self._close(order)
        self._note(Over(self._time.now, order.order_id, exec_type.value))
        self._say(order, exec_type, text=text)

    def _close(self, order: Resting) -> None:
        order.over_t = self._time.now
        self.open.pop(order.order_id, None)

    # --- what it does by itself ------------------------------------------------------------------------------------------

    def working(self, symbol: str = "") -> list[Resting]:
        return [order for order in self.open.values() if symbol in ("", order.symbol)]

    def overfill(self, order: Resting, lots: int) -> None:
        """Fill more than was asked for."""
        quote = self.prices.get(order.symbol)
        if quote is None or not order.is_open:
            return
        self._note(Hostile(self._time.now, "overfill", order.symbol))
        extra = self._instruments[order.symbol].lot_size * lots
        self.fill(order, order.leaves_qty + extra, quote[1] if order.side is Side.BUY else quote[0])

    def race(self, cl_ord_id: str) -> None:
        """Fill an order in the moment in which somebody wants it gone."""
        order = self._by_id.get(cl_ord_id)
        quote = self.prices.get(order.symbol) if order is not None else None
        if order is not None and quote is not None and order.is_open:
            self._fill(order, order.leaves_qty, order.price or order.stop_px or quote[0])

    def expire(self, order: Resting, exec_type: ExecType) -> None:
        """End an order that nobody asked to end."""
        if order.is_open:
            self._note(Hostile(self._time.now, f"{exec_type.value.lower()} unasked", order.symbol))
            self._end(order, exec_type, "the venue ended it")

    def foreign(self, symbol: str, side: Side, qty: Decimal) -> None:
        """Somebody trades on this account past the desk."""
        if (quote := self.prices.get(symbol)) is None:
            return
        self._note(Hostile(self._time.now, "foreign fill", symbol))
        order = Resting(
            order_id=f"V{len(self.orders) + 1}",
            ids=[f"hand-{len(self.orders) + 1}"],
            symbol=symbol,
            side=side,
            ord_type=OrdType.MARKET,
            time_in_force=TimeInForce.GTC,
            qty=qty,
            price=None,
            stop_px=None,
            reduce_only=False,
            is_foreign=True,
            taken_t=self._time.now,
        )
        self._take(order)
        self.fill(order, qty, quote[1] if side is Side.BUY else quote[0])

    def bust(self, pick: int, *, px_bps: int = 0) -> None:
        """Take one of the last fills back; or, with basis points, correct its price by so much. What filled once is not undone twice."""
        undone = {fill.exec_ref_id for _, fill in self.fills}
        found = [f for _, f in self.fills[-20:] if f.exec_type is ExecType.TRADE and f.exec_id not in undone]
        if not found or self.kind.books_by is BooksBy.CUM_QTY:
            return  # a venue that counts does not name its trades
        fill = found[pick % len(found)]
        order, instrument = self._by_id[fill.cl_ord_id], self._instruments[fill.symbol]
        self._note(Hostile(self._time.now, "correction" if px_bps else "bust", fill.symbol))
        px = fill.last_px * (10_000 + px_bps) / 10_000
        kept = fill.last_qty if px_bps else ZERO
        order.cost += kept * px - fill.last_qty * fill.last_px
        if not px_bps:
            self._move(order, -fill.last_qty)
        fee = fill.fee if px_bps else ZERO
        self.cash -= fill.side.sign * (kept * px - fill.last_qty * fill.last_px) * instrument.contract_value + fee - fill.fee
        exec_id = f"X{len(self.fills) + 1}"
        exec_type = ExecType.TRADE_CORRECT if px_bps else ExecType.TRADE_CANCEL
        self._tell_fill(order, exec_type, exec_id, qty=kept or fill.last_qty, px=px, fee=fee, ref=fill.exec_id)
        self._note(
            Busted(self._time.now, order.order_id, fill.exec_id, exec_id, fill.symbol, fill.side, fill.last_qty, kept, px, fee)
        )

    def fund(self, symbol: str, bps: int) -> None:
        """Pay or take funding on what is held."""
        held, quote = self.positions.get(symbol, ZERO), self.prices.get(symbol)
        if not held or quote is None:
            return
        amount = (-held * quote[0] * self._instruments[symbol].contract_value * bps / 10_000).quantize(_EXACT)
        now = self._clock.now()
        adjusted = Adjusted(
            at=now,
            adjustment_id=f"A{len(self.adjustments) + 1}",
            kind=AdjustmentKind.FUNDING,
            symbol=symbol,
            amount=amount,
            transact_at=now,
        )
        self.adjustments.append(adjusted)
        self.cash += amount
        self._note(Funded(self._time.now, adjusted.adjustment_id, amount))
        self._report(adjusted)

    # --- answers -------------------------------------------------------------------------------------------------------

    @property
    def _then(self) -> float:
        """The moment that answers are about."""
        return self._time.now - self.lag_s

    def order_by(self, cl_ord_id: str) -> VenueOrder | None:
        order = self._by_id.get(cl_ord_id)
        return None if order is None or order.taken_t > self._then else self._shown(order)

    def orders_open(self) -> list[VenueOrder]:
        """What worked then."""
        then = self._then
        if not self.lag_s:
            return [self._shown(order) for order in self.open.values()]
        return [self._shown(order) for order in self.orders.values() if order.taken_t <= then < order.over_t]

    def fills_since(self, since: datetime) -> list[VenueFill]:
        until = self._clock.now() - timedelta(seconds=self.lag_s)
        return [fill for at, fill in self.fills if since <= at <= until]

    def adjustments_since(self, since: datetime) -> list[Adjusted]:
        until = self._clock.now() - timedelta(seconds=self.lag_s)
        return [adjusted for adjusted in self.adjustments if since <= adjusted.at <= until]

    def held(self) -> dict[str, Decimal]:
        if not self.lag_s:
            return {symbol: qty for symbol, qty in self.positions.items() if qty}
        then, found = self._then, dict.fromkeys(self.positions, ZERO)
        for t, symbol, signed in self._moves:
            if t <= then:
                found[symbol] += signed
        return {symbol: qty for symbol, qty in found.items() if qty}

    def _shown(self, order: Resting) -> VenueOrder:
        cum_qty = order.cum_qty_at(self._then) if self.lag_s else order.cum_qty
        is_open = self._then < order.over_t if self.lag_s else order.is_open
        return VenueOrder(
            cl_ord_id=order.ids[-1],
            order_id=order.order_id,
            symbol=order.symbol,
            side=order.side,
            order_qty=order.qty,
            cum_qty=cum_qty,
            ord_type=order.ord_type,
            ord_status=("PARTIALLY_FILLED" if cum_qty else "NEW") if is_open else order.status,
            price=order.price,
            stop_px=order.stop_px,
            reduce_only=order.reduce_only,
        )

    def _say(self, order: Resting, exec_type: ExecType, *, cl_ord_id: str = "", text: str = "", **more: Any) -> None:
        now = self._clock.now()
        self._report(
            Reported(
                at=now,
                cl_ord_id=cl_ord_id or order.ids[-1],
                exec_type=exec_type,
                order_id=order.order_id,
                symbol=order.symbol,
                side=order.side,
                cum_qty=order.cum_qty,
                text=text,
                transact_at=now,
                **more,
            )
        )
