"""The venue: the truth about orders, fills and positions. It lives outside every engine process, and says what it does as facts.

Rules of this file.
1. Buys happen at the ask, sells at the bid. Stops fire at the quote; a price that jumped over an order fills it at the first price
   after the jump, a limit no worse than its limit.
2. How much of an order fills at once is `share`: the rest waits for the next price.
3. A client id is taken once for ever. Reduce-only is honoured when the order would fill; without the capability it is refused.
4. Nothing here is chance: what is unfriendly was asked for by a step of the history.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import msgspec

from execution.core.messages import ExecType, Reported, SendReplace, VenueFill, VenueOrder
from execution.core.ports import Duplicate, Refused
from execution.simulator.facts import Busted, Changed, Fact, Filled, Hostile, Over, Taken
from execution.simulator.virtual import Time, VirtualClock
from risk.core.units import ONE, ZERO, Instrument, OrdType, Side, TimeInForce
from risk.core.verdict import Approved, Capability

_STOPS: Final = (OrdType.STOP, OrdType.STOP_LIMIT)
_AT_ONCE: Final = (TimeInForce.IOC, TimeInForce.FOK)
_FEE: Final = Decimal("0.0005")
_EXACT: Final = Decimal("0.00000001")


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
    cum_qty: Decimal = ZERO
    is_triggered: bool = False
    status: str = "NEW"
    is_foreign: bool = False

    @property
    def is_open(self) -> bool:
        return self.status in ("NEW", "PARTIALLY_FILLED")

    @property
    def leaves_qty(self) -> Decimal:
        return self.qty - self.cum_qty


class Venue:
    """`report` carries a word to whoever is connected; `note` takes the facts."""

    def __init__(
        self,
        instruments: Mapping[str, Instrument],
        *,
        capabilities: Iterable[Capability],
        keeps_id: bool,
        currency: str,
        cash: Decimal,
        time: Time,
        clock: VirtualClock,
        report: Callable[[Reported], None],
        note: Callable[[Fact], None],
    ) -> None:
        self._instruments = instruments
        self._capabilities = frozenset(capabilities)
        self._keeps_id = keeps_id
        self._time = time
        self._clock = clock
        self._report = report
        self._note = note
        self.orders: dict[str, Resting] = {}
        self._by_id: dict[str, Resting] = {}
        self.fills: list[tuple[datetime, VenueFill]] = []
        self.positions: dict[str, Decimal] = {}
        self.currency = currency
        self.cash = cash
        self.prices: dict[str, tuple[Decimal, Decimal]] = {}
        #: the part of an order that fills at one price
        self.share = ONE

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
        )
        self._take(order)
        if reject:
            self._end(order, ExecType.REJECTED, "the venue's own risk check")
            return
        self._say(order, ExecType.NEW)
        self._meet(order)

    def _refusal(self, asked: Approved) -> str:
        if asked.reduce_only and Capability.REDUCE_ONLY not in self._capabilities:
            return "there are no reduce-only orders here"
        if asked.ord_type in _STOPS and Capability.STOP_ORDERS not in self._capabilities:
            return "there are no stop orders here"
        if asked.reduce_only and not self._reducible(asked.symbol, asked.side):
            return "reduce-only: there is nothing to reduce"
        instrument = self._instruments[asked.symbol]
        if asked.order_qty <= 0 or asked.order_qty % instrument.lot_size:
            return f"{asked.order_qty} is not in lots of {instrument.lot_size}"
        return ""

    def _take(self, order: Resting) -> None:
        self.orders[order.order_id] = order
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

    def replace(self, request: SendReplace) -> None:
        """Change a working order in place."""
        order = self._by_id.get(request.orig_cl_ord_id)
        if Capability.REPLACE not in self._capabilities:
            raise Refused("orders are not replaced here")
        if order is None or not order.is_open or request.order_qty <= order.cum_qty:
            text = "unknown order" if order is None else f"too late: the order is {order.status}, {order.cum_qty} filled"
            self._refuse(ExecType.REPLACE_REJECTED, request.cl_ord_id, order, text)
            return
        order.qty, order.price, order.stop_px = request.order_qty, request.price, request.stop_px
        if not self._keeps_id:
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
        for order in [o for o in self.orders.values() if o.symbol == symbol and o.is_open]:
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
        order.cum_qty += qty
        order.status = "PARTIALLY_FILLED" if order.leaves_qty > 0 else "FILLED"
        fee = (instrument.notional(qty, px) * _FEE).quantize(_EXACT)
        exec_id = f"X{len(self.fills) + 1}"
        self._move(order.symbol, order.side.sign * qty, px, fee)
        fill = VenueFill(
            cl_ord_id=order.ids[-1],
            order_id=order.order_id,
            exec_id=exec_id,
            symbol=order.symbol,
            side=order.side,
            last_qty=qty,
            last_px=px,
            fee=fee,
            fee_currency=instrument.currency,
            liquidity="TAKER",
            transact_at=self._clock.now(),
        )
        self.fills.append((fill.transact_at, fill))
        self._note(Filled(self._time.now, order.order_id, exec_id, order.symbol, order.side, qty, px, fee))
        self._say(
            order,
            ExecType.TRADE,
            exec_id=exec_id,
            last_qty=qty,
            last_px=px,
            fee=fee,
            fee_currency=instrument.currency,
            liquidity="TAKER",
        )

    def _move(self, symbol: str, signed: Decimal, px: Decimal, fee: Decimal) -> None:
        self.positions[symbol] = self.positions.get(symbol, ZERO) + signed
        self.cash -= signed * px * self._instruments[symbol].contract_value + fee

    def _end(self, order: Resting, exec_type: ExecType, text: str) -> None:
        order.status = exec_type.value
        self._note(Over(self._time.now, order.order_id, exec_type.value))
        self._say(order, exec_type, text=text)

    # --- what it does by itself ------------------------------------------------------------------------------------------

    def working(self, symbol: str = "") -> list[Resting]:
        return [order for order in self.orders.values() if order.is_open and symbol in ("", order.symbol)]

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
        )
        self._take(order)
        self.fill(order, qty, quote[1] if side is Side.BUY else quote[0])

    def bust(self, n: int, *, px: Decimal | None = None) -> None:
        """Take a fill back; with a price, correct it to that."""
        _, fill = self.fills[n % len(self.fills)]
        order = self._by_id[fill.cl_ord_id]
        if not fill.last_qty:
            return
        self._note(Hostile(self._time.now, "bust" if px is None else "correction", fill.symbol))
        kept = ZERO if px is None else fill.last_qty
        signed = fill.side.sign * fill.last_qty
        if px is None:
            order.cum_qty -= fill.last_qty
            order.status = "CANCELED" if order.status == "FILLED" else order.status
            self._move(fill.symbol, -signed, fill.last_px, -fill.fee)
        else:
            self.cash += signed * (fill.last_px - px) * self._instruments[fill.symbol].contract_value
        changed = msgspec.structs.replace(fill, last_qty=kept, last_px=px or fill.last_px, fee=ZERO if px is None else fill.fee)
        self.fills[n % len(self.fills)] = (self._clock.now(), changed)
        self._note(
            Busted(
                self._time.now,
                order.order_id,
                fill.exec_id,
                fill.symbol,
                fill.side,
                fill.last_qty,
                fill.last_px,
                kept,
                changed.last_px,
            )
        )
        exec_type = ExecType.TRADE_CANCEL if px is None else ExecType.TRADE_CORRECT
        self._say(order, exec_type, exec_id=fill.exec_id, last_qty=fill.last_qty, last_px=changed.last_px, fee=changed.fee)

    # --- answers -------------------------------------------------------------------------------------------------------

    def order_by(self, cl_ord_id: str) -> VenueOrder | None:
        order = self._by_id.get(cl_ord_id)
        return None if order is None else _shown(order)

    def orders_open(self) -> list[VenueOrder]:
        return [_shown(order) for order in self.orders.values() if order.is_open]

    def fills_since(self, since: datetime) -> list[VenueFill]:
        return [fill for at, fill in self.fills if at >= since and fill.last_qty]

    def held(self) -> dict[str, Decimal]:
        return {symbol: qty for symbol, qty in self.positions.items() if qty}

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


def _shown(order: Resting) -> VenueOrder:
    return VenueOrder(
        cl_ord_id=order.ids[-1],
        order_id=order.order_id,
        symbol=order.symbol,
        side=order.side,
        order_qty=order.qty,
        cum_qty=order.cum_qty,
        ord_type=order.ord_type,
        ord_status=order.status,
        price=order.price,
        stop_px=order.stop_px,
        reduce_only=order.reduce_only,
    )
