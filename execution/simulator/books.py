"""The auditor's own books: what is true at the venue, and what the desk says, both from facts alone."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import msgspec

from execution.core.messages import DeskSettings, Publish
from execution.simulator.facts import Busted, Changed, Filled, Funded, Over, Taken
from risk.core.book import Halt
from risk.core.units import ONE, ZERO, OrdType, Scope, ScopeKind, Side

_STOPS: Final = (OrdType.STOP, OrdType.STOP_LIMIT)
_NEVER: Final = float("inf")


class Truth(msgspec.Struct):
    """One order at the venue, and when it began and ceased to work."""

    key: str
    cl_ord_id: str
    symbol: str
    side: Side
    qty: Decimal
    is_stop: bool
    price: Decimal | None
    is_foreign: bool
    taken_t: float
    filled: Decimal = ZERO
    over_t: float = _NEVER

    @property
    def is_open(self) -> bool:
        return self.over_t == _NEVER

    @property
    def leaves(self) -> Decimal:
        return max(self.qty - self.filled, ZERO) if self.is_open else ZERO


class VenueBooks:
    """Orders, positions and money as the venue has them."""

    def __init__(self) -> None:
        self.orders: dict[str, Truth] = {}
        self.open: dict[str, Truth] = {}
        self.positions: dict[str, Decimal] = defaultdict(Decimal)
        #: symbol → when its position last was, or became, zero and other than zero
        self.flat_t: dict[str, float] = {}
        self.opened_t: dict[str, float] = {}
        #: exec_id → (symbol, signed quantity, price, fee) as it stands
        self.fills: dict[str, tuple[str, Decimal, Decimal, Decimal]] = {}
        self.funding = ZERO

    def taken(self, fact: Taken) -> None:
        truth = Truth(
            fact.key,
            fact.cl_ord_id,
            fact.symbol,
            fact.side,
            fact.qty,
            fact.ord_type in _STOPS,
            fact.price,
            fact.is_foreign,
            fact.t,
        )
        self.orders[fact.key] = self.open[fact.key] = truth

    def changed(self, fact: Changed) -> None:
        order = self.orders[fact.key]
        order.qty, order.price = fact.qty, fact.price

    def filled(self, fact: Filled) -> None:
        order = self.orders[fact.key]
        order.filled += fact.qty
        if order.filled >= order.qty:
            self._close(order, fact.t)
        signed = fact.side.sign * fact.qty
        self.fills[fact.exec_id] = (fact.symbol, signed, fact.px, fact.fee)
        self._move(fact.symbol, signed, fact.t)

    def busted(self, fact: Busted) -> None:
        self.orders[fact.key].filled -= fact.qty - fact.new_qty
        self._move(fact.symbol, fact.side.sign * (fact.new_qty - fact.qty), fact.t)
        del self.fills[fact.exec_id]
        if fact.new_qty:
            self.fills[fact.new_id] = (fact.symbol, fact.side.sign * fact.new_qty, fact.new_px, fact.new_fee)

    def funded(self, fact: Funded) -> None:
        self.funding += fact.amount

    def over(self, fact: Over) -> None:
        self._close(self.orders[fact.key], fact.t)

    def _close(self, order: Truth, t: float) -> None:
        order.over_t = t
        self.open.pop(order.key, None)

    def _move(self, symbol: str, signed: Decimal, t: float) -> None:
        before = self.positions[symbol]
        after = self.positions[symbol] = before + signed
        if not after:
            self.flat_t[symbol] = t
        if (not before or before * after < 0) and after:
            self.opened_t[symbol] = t

    def uncovered(self, symbol: str) -> Decimal:
        """How much of the position no working stop would close."""
        return self._left(symbol, lambda order: order.is_stop)

    def is_leaving(self, symbol: str) -> bool:
        """Whether all of the position is on its way out at market, however slowly the venue fills it."""
        return not self._left(symbol, lambda order: not order.is_stop and order.price is None)

    def _left(self, symbol: str, counts: Callable[[Truth], bool]) -> Decimal:
        """How much of the position remains when the open orders that count have closed what they can."""
        held = self.positions[symbol]
        if not held:
            return ZERO
        side = Side.SELL if held > 0 else Side.BUY
        closing = sum((o.leaves for o in self.open.values() if o.symbol == symbol and o.side is side and counts(o)), ZERO)
        return max(abs(held) - closing, ZERO)


class Bare:
    """What of a position no stop covers, and since when: what was bare first is covered first."""

    def __init__(self) -> None:
        #: since when, and how much
        self._parts: deque[tuple[float, Decimal]] = deque()
        self._qty = ZERO

    @property
    def since(self) -> float | None:
        return self._parts[0][0] if self._parts else None

    def see(self, t: float, qty: Decimal) -> None:
        """So much is bare at this moment."""
        more, self._qty = qty - self._qty, qty
        if more > 0:
            self._parts.append((t, more))
        while more < 0:
            since, part = self._parts.popleft()
            more += part
            if more > 0:
                self._parts.appendleft((since, more))


# --- what the desk says --------------------------------------------------------------------------------------------------


class OrderRow(msgspec.Struct):
    """The part of a published order that is looked at."""

    cl_ord_id: str
    bot: str
    symbol: str
    side: Side
    order_class: str
    purpose: str
    order_qty: Decimal
    price: Decimal | None = None
    decision_id: str = ""
    order_id: str = ""
    cum_qty: Decimal = ZERO
    done: str | None = None
    pending: str | None = None
    is_unknown: bool = False
    is_accepted: bool = False
    is_presumed: bool = False
    ord_rej_reason: str = ""
    reserve_px: Decimal = ZERO

    @property
    def leaves(self) -> Decimal:
        return ZERO if self.done else max(self.order_qty - self.cum_qty, ZERO)


class PositionRow(msgspec.Struct):
    symbol: str
    bot: str
    qty: Decimal = ZERO
    mark: Decimal | None = None


class AccountRow(msgspec.Struct):
    links_down: dict[str, str] = {}
    is_reconciled: bool = False
    settings_version: int = 0
    equity: Decimal = ZERO
    cash: Decimal = ZERO


class FillRow(msgspec.Struct):
    exec_id: str
    cl_ord_id: str
    symbol: str
    side: Side
    last_qty: Decimal
    last_px: Decimal
    fee: Decimal
    at: datetime
    busted_at: datetime | None = None


class SignalRow(msgspec.Struct):
    decision_id: str
    bot: str
    symbol: str
    reason: str | None
    text: str
    checks: list[Any]
    order_class: str = ""
    stop_loss: Decimal | None = None
    cl_ord_id: str = ""
    order_qty: Decimal | None = None


def _decoder(row: Any) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(row)


_ROWS: Final = {
    "order": _decoder(OrderRow),
    "position": _decoder(PositionRow),
    "account": _decoder(AccountRow),
    "fill": _decoder(FillRow),
    "signal": _decoder(SignalRow),
    "halt": _decoder(Halt),
    "halt_cleared": _decoder(Halt),
}


class DeskBooks:
    """The desk's last published word on everything, and the settings it says it runs on."""

    def __init__(self, settings: DeskSettings) -> None:
        self.settings = settings
        self._versions = {settings.version: settings}
        self.orders: dict[str, OrderRow] = {}
        self.working: dict[str, OrderRow] = {}
        self.positions: dict[str, PositionRow] = {}
        self.fills: dict[str, FillRow] = {}
        self.halts: dict[str, Halt] = {}
        self.account = AccountRow()

    def edited(self, settings: DeskSettings) -> None:
        self._versions[settings.version] = settings

    def publish(self, effect: Publish) -> Any:
        """Take one published body; returns its row, None for kinds that are not looked at."""
        decoder = _ROWS.get(effect.kind)
        if decoder is None:
            return None
        row = decoder.decode(effect.body)
        match effect.kind:
            case "order":
                self._order(row)
            case "position":
                self.positions[row.symbol] = row
            case "account":
                self.account = row
                self.settings = self._versions.get(row.settings_version, self.settings)
            case "fill":
                self.fills[row.exec_id] = row
            case "halt":
                self.halts[row.halt_id] = row
            case "halt_cleared":
                self.halts.pop(row.halt_id, None)
        return row

    def _order(self, row: OrderRow) -> None:
        self.orders[row.cl_ord_id] = row
        if row.done is None:
            self.working[row.cl_ord_id] = row
        else:
            self.working.pop(row.cl_ord_id, None)

    def entries(self) -> Iterator[OrderRow]:
        return (row for row in self.working.values() if row.order_class == "ENTRY")

    def owner(self, symbol: str) -> str:
        return next((bot.code for bot in self.settings.bots.values() if symbol in bot.symbols), "")

    def qty(self, symbol: str) -> Decimal:
        row = self.positions.get(symbol)
        return row.qty if row is not None else ZERO

    def value(self, symbol: str) -> Decimal:
        spec = self.settings.instruments.get(symbol)
        return spec.contract_value if spec is not None else ONE


def covers(scope: Scope, *, bot: str, symbol: str) -> bool:
    """Whether a scope of this account's concerns a bot and symbol."""
    match scope.kind:
        case ScopeKind.BOT:
            return scope.key == bot
        case ScopeKind.INSTRUMENT:
            return scope.key == symbol
        case _:
            return True


def total(values: Iterable[Decimal]) -> Decimal:
    return sum(values, ZERO)
