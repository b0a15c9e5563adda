"""The words of price and quantity: Side, Instrument, Quote, Scope, and rounding that never adds risk.

Money, price and quantity are Decimal from the wire to the row. Everything here is frozen and pure.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import (
    ROUND_CEILING,
    ROUND_FLOOR,
    Context,
    Decimal,
    DivisionByZero,
    FloatOperation,
    InvalidOperation,
    Overflow,
    setcontext,
)
from enum import StrEnum

import msgspec

from risk.core.hours import ALWAYS

ZERO = Decimal(0)
ONE = Decimal(1)
HUNDRED = Decimal(100)
#: one percent: money × pct × PERCENT is exact, and cheaper than a division
PERCENT = Decimal("0.01")
#: The explicit "no limit" a person may choose: every comparison with it passes. Never a default.
NO_LIMIT = Decimal("Infinity")

#: a thousand million million: beyond every quantity, price and amount there is; below it all money stays exact in 34 digits
LARGEST = Decimal("1e15")

#: The one Decimal context of the core: 34 digits, half even, and loud about everything that is not a number.
CONTEXT = Context(prec=34, traps=[InvalidOperation, DivisionByZero, Overflow, FloatOperation])


def use_decimal_context() -> None:
    """Install CONTEXT in this thread. Each thread that runs a Desk calls this once."""
    setcontext(CONTEXT.copy())


class Side(StrEnum):
    BUY = "BUY"
    SELL = "SELL"

    @property
    def opposite(self) -> Side:
        return _SELL if self is _BUY else _BUY

    @property
    def sign(self) -> int:
        """+1 for BUY, -1 for SELL."""
        return 1 if self is _BUY else -1


#: In Python 3.11 `Side.BUY` is a search through the class that costs more than a dict lookup.
_BUY, _SELL = Side.BUY, Side.SELL


class OrdType(StrEnum):
    MARKET = "MARKET"
    LIMIT = "LIMIT"
    STOP = "STOP"
    STOP_LIMIT = "STOP_LIMIT"


class TimeInForce(StrEnum):
    DAY = "DAY"
    GTC = "GTC"
    IOC = "IOC"
    FOK = "FOK"


class AssetClass(StrEnum):
    CRYPTO_SPOT = "CRYPTO_SPOT"
    CRYPTO_PERP = "CRYPTO_PERP"
    FX = "FX"
    FUTURES = "FUTURES"
    EQUITY = "EQUITY"


class ScopeKind(StrEnum):
    FIRM = "FIRM"
    ACCOUNT = "ACCOUNT"
    BOT = "BOT"
    INSTRUMENT = "INSTRUMENT"


class Scope(msgspec.Struct, frozen=True):
    """Where an act or a halt applies. `key` is the account code, bot code or symbol; empty for FIRM."""

    kind: ScopeKind
    key: str = ""

    def covers(self, *, account: str, bot: str, symbol: str) -> bool:
        match self.kind:
            case ScopeKind.FIRM:
                return True
            case ScopeKind.ACCOUNT:
                return self.key == account
            case ScopeKind.BOT:
                return self.key == bot
            case ScopeKind.INSTRUMENT:
                return self.key == symbol

    def __str__(self) -> str:
        return "firm" if self.kind is ScopeKind.FIRM else f"{self.kind.value.lower()} {self.key}"


class Quote(msgspec.Struct, frozen=True):
    """The best prices of a symbol as last heard.

    `at` is the venue's time, `received_at` ours (price age counts from it), `changed_at` ours when bid, ask or last
    last differed (a frozen price is one whose content keeps coming and never changes). `is_synchronised` says that the venue's
    clock agrees with ours, so that the difference of the first two is how long the price was under way.
    """

    symbol: str
    bid: Decimal
    ask: Decimal
    last: Decimal
    at: datetime
    received_at: datetime
    changed_at: datetime
    bid_qty: Decimal = ZERO
    ask_qty: Decimal = ZERO
    is_synchronised: bool = False

    @property
    def mid(self) -> Decimal:
        return (self.bid + self.ask) / 2

    def reference(self, side: Side) -> Decimal:
        """The price at which `side` would trade now: the ask for a buy, the bid for a sell."""
        return self.ask if side is _BUY else self.bid


def multiple_below(value: Decimal, step: Decimal) -> Decimal:
    """The largest multiple of `step` not above `value`; exact: 0.3 over 0.1 is three steps."""
    return (value / step).to_integral_value(ROUND_FLOOR) * step


def multiple_above(value: Decimal, step: Decimal) -> Decimal:
    """The smallest multiple of `step` not below `value`."""
    return (value / step).to_integral_value(ROUND_CEILING) * step


def worth(price: Decimal, *, is_inverse: bool) -> Decimal:
    """What a long of one unit counts at `price`, before contract_value: the price, or minus its inverse. More is always better."""
    return -ONE / price if is_inverse else price


class Instrument(msgspec.Struct, frozen=True):
    """A tradable symbol with its spec. Quantities are in lots of `lot_size`; one unit is worth price × contract_value.

    An inverse contract is quoted in one currency and settled in `currency`, the other: one unit is worth contract_value ÷ price.
    """

    symbol: str
    asset_class: AssetClass
    tick_size: Decimal
    lot_size: Decimal
    min_notional: Decimal
    currency: str
    base_currency: str = ""
    #: what one unit stands for: of the base currency, or of the quote currency where the contract is inverse
    contract_value: Decimal = ONE
    is_inverse: bool = False
    calendar: str = ALWAYS
    is_tradable: bool = True
    #: what the venue takes in one order
    order_qty_min: Decimal = ZERO
    order_qty_max: Decimal = NO_LIMIT

    def qty_floor(self, qty: Decimal) -> Decimal:
        """`qty` in whole lots, never more than asked; zero for what is not a positive finite number."""
        if not qty.is_finite() or qty <= 0:
            return ZERO
        return multiple_below(qty, self.lot_size)

    def limit_price(self, price: Decimal, side: Side) -> Decimal:
        """A limit on the tick grid, never worse than asked: a buy rounds down, a sell up."""
        return self._on_tick(price, multiple_below if side is _BUY else multiple_above)

    def stop_price(self, price: Decimal, side: Side) -> Decimal:
        """A stop on the tick grid, never further from the market than asked: a sell stop rounds up, a buy stop down."""
        return self._on_tick(price, multiple_above if side is _SELL else multiple_below)

    def notional(self, qty: Decimal, price: Decimal) -> Decimal:
        """|qty| × price × contract_value, in the instrument's currency."""
        return abs(qty) * self.unit_value(price)

    def unit_value(self, price: Decimal) -> Decimal:
        """What one unit is worth at `price`, in the instrument's currency."""
        return abs(self.worth(price)) * self.contract_value

    def worth(self, price: Decimal) -> Decimal:
        """What a long of one unit counts at `price`, before contract_value."""
        return worth(price, is_inverse=self.is_inverse)

    def unit_loss(self, entry: Decimal, stop: Decimal) -> Decimal:
        """What one unit loses, or wins, from `entry` to `stop`, in the instrument's currency."""
        return abs(self.worth(entry) - self.worth(stop)) * self.contract_value

    def _on_tick(self, price: Decimal, rounding: Callable[[Decimal, Decimal], Decimal]) -> Decimal:
        return rounding(price, self.tick_size)
