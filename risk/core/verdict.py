"""What is asked and what is answered: Proposal in, Approved or Denied out, with every check that ran.

*Denied is ours, rejected is the venue's.* Only `gates.judge()` makes an Approved, and a broker accepts nothing else.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

import msgspec

from risk.core.units import ZERO, OrdType, Quote, Side, TimeInForce


class OrderClass(StrEnum):
    """Three classes of order. PROTECTION passes in every state; EXIT runs few gates; ENTRY runs all."""

    PROTECTION = "PROTECTION"
    EXIT = "EXIT"
    ENTRY = "ENTRY"


class HintKind(StrEnum):
    DEFAULT = "DEFAULT"
    MARGIN_FRACTION = "MARGIN_FRACTION"
    NOTIONAL = "NOTIONAL"
    QUANTITY = "QUANTITY"
    EQUITY_PCT = "EQUITY_PCT"
    RISK_PCT = "RISK_PCT"


class SizeHint(msgspec.Struct, frozen=True):
    """How much a decision would like: the meaning of `value` is in `kind` (see 2.3 of the theory of operation).

    MARGIN_FRACTION is clamped to 0..1; NOTIONAL is money; QUANTITY is units; EQUITY_PCT 30 means thirty percent of equity;
    RISK_PCT is percent of equity lost if the stop is hit (value 0: the settings' risk_pct).
    """

    kind: HintKind = HintKind.DEFAULT
    value: Decimal = Decimal(0)


class Capability(StrEnum):
    """What a venue can do. Gate 12 and the bracket function read these; nothing is ever downgraded silently."""

    STOP_ORDERS = "STOP_ORDERS"
    NATIVE_BRACKET = "NATIVE_BRACKET"
    NATIVE_OCO = "NATIVE_OCO"
    REPLACE = "REPLACE"
    POST_ONLY = "POST_ONLY"
    IOC = "IOC"
    FOK = "FOK"
    REDUCE_ONLY = "REDUCE_ONLY"
    QUERY_BY_CLIENT_ID = "QUERY_BY_CLIENT_ID"
    ECHOES_CLIENT_ID = "ECHOES_CLIENT_ID"
    ORDER_TRACKING = "ORDER_TRACKING"
    FILL_STREAM = "FILL_STREAM"
    MASS_CANCEL = "MASS_CANCEL"
    NOTIONAL_ORDERS = "NOTIONAL_ORDERS"
    FRACTIONAL = "FRACTIONAL"
    MULTI_LEG = "MULTI_LEG"
    DEAD_MAN_TIMER = "DEAD_MAN_TIMER"


class Reason(StrEnum):
    """Every code a denial can carry. The gates' table in the documents is generated from GATES and checked."""

    NOT_READY = "NOT_READY"
    HALTED = "HALTED"
    REDUCE_ONLY = "REDUCE_ONLY"
    SESSION_LOSS = "SESSION_LOSS"
    CIRCUIT_BREAKER = "CIRCUIT_BREAKER"
    NO_PRICE = "NO_PRICE"
    STALE_PRICE = "STALE_PRICE"
    CROSSED_PRICE = "CROSSED_PRICE"
    FROZEN_PRICE = "FROZEN_PRICE"
    INSTRUMENT_NOT_ALLOWED = "INSTRUMENT_NOT_ALLOWED"
    MARKET_CLOSED = "MARKET_CLOSED"
    INVALID_DECISION = "INVALID_DECISION"
    MISSING_STOP_LOSS = "MISSING_STOP_LOSS"
    ENTRY_IN_FLIGHT = "ENTRY_IN_FLIGHT"
    PYRAMIDING = "PYRAMIDING"
    SIZE_ZERO = "SIZE_ZERO"
    MIN_NOTIONAL = "MIN_NOTIONAL"
    ORDER_QTY = "ORDER_QTY"
    ORDER_NOTIONAL = "ORDER_NOTIONAL"
    ORDER_EQUITY_PCT = "ORDER_EQUITY_PCT"
    PRICE_COLLAR = "PRICE_COLLAR"
    TRADE_RISK = "TRADE_RISK"
    REWARD_RISK = "REWARD_RISK"
    UNSUPPORTED_ORDER_KIND = "UNSUPPORTED_ORDER_KIND"
    UNSUPPORTED_PROTECTION = "UNSUPPORTED_PROTECTION"
    DUPLICATE_ORDER = "DUPLICATE_ORDER"
    ORDER_RATE = "ORDER_RATE"
    REPEATED_EXECUTION = "REPEATED_EXECUTION"
    DAILY_LOSS = "DAILY_LOSS"
    DRAWDOWN = "DRAWDOWN"
    MAX_POSITIONS = "MAX_POSITIONS"
    GROSS_EXPOSURE = "GROSS_EXPOSURE"
    NET_EXPOSURE = "NET_EXPOSURE"
    LEVERAGE = "LEVERAGE"
    CONCENTRATION = "CONCENTRATION"
    BOT_EXPOSURE = "BOT_EXPOSURE"
    BUYING_POWER = "BUYING_POWER"
    LIMIT_NOT_SET = "LIMIT_NOT_SET"
    # answers of the desk that are not a gate's
    EXIT_IN_FLIGHT = "EXIT_IN_FLIGHT"
    NOTHING_TO_CLOSE = "NOTHING_TO_CLOSE"
    ALREADY_DECIDED = "ALREADY_DECIDED"


class Proposal(msgspec.Struct, frozen=True, kw_only=True):
    """An order before the gates. `order_qty` is set for EXIT and PROTECTION; an ENTRY is sized by gate 9 from its `hint`."""

    order_class: OrderClass
    account: str
    bot: str
    symbol: str
    side: Side
    ord_type: OrdType = OrdType.MARKET
    time_in_force: TimeInForce = TimeInForce.GTC
    order_qty: Decimal | None = None
    price: Decimal | None = None
    stop_px: Decimal | None = None
    post_only: bool = False
    reduce_only: bool = False
    hint: SizeHint = SizeHint()
    stop_loss: Decimal | None = None
    take_profit: Decimal | None = None
    confidence: Decimal | None = None
    quote: Quote | None = None
    decision_id: str = ""
    #: a later part of an entry that was let through whole: no add to the position, no duplicate, no further entry of the hour
    is_slice: bool = False
    #: True for a brain's or API client's order; an operator's close is never refused by HALTED.
    is_automatic: bool = True


class Check(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One test of a gate that ran, with its number, its limit and the level the limit came from.

    Kept as numbers, because it is made at every order: `wording.describe()` turns it into the sentence people read and
    `wording.check_as_dict()` into what a Signal's row keeps. Only a denial carries its sentence in `detail` from the start: it
    names both numbers and what would pass. Numbers that could not be read are None.
    """

    gate: str
    is_passed: bool
    observed: Decimal | None = None
    limit: Decimal | None = None
    level: str = ""
    detail: str = ""
    reason: Reason | None = None


class Approved(msgspec.Struct, frozen=True, kw_only=True):
    """A judged, sized order: the only thing a broker accepts. Made by `gates.judge()` and nowhere else (a test reads the source)."""

    order_class: OrderClass
    account: str
    bot: str
    symbol: str
    side: Side
    order_qty: Decimal
    ord_type: OrdType
    time_in_force: TimeInForce
    price: Decimal | None
    stop_px: Decimal | None
    post_only: bool
    reduce_only: bool
    #: money set aside for the order until it fills or ends; zero for EXIT and PROTECTION
    reserved: Decimal
    checks: tuple[Check, ...]
    #: `reserved` per unit of order_qty: reservation price × contract_value
    reserve_px: Decimal = ZERO


class Denied(msgspec.Struct, frozen=True, kw_only=True):
    """Our refusal. The last of `checks` is the gate that denied; its detail is the sentence people read."""

    reason: Reason
    checks: tuple[Check, ...]

    @property
    def text(self) -> str:
        return self.checks[-1].detail


Verdict = Approved | Denied


class HaltMode(StrEnum):
    REDUCE_ONLY = "REDUCE_ONLY"
    HALTED = "HALTED"


class HaltCause(StrEnum):
    """Why a halt stands. A person clears it, whatever the cause."""

    MANUAL = "MANUAL"
    PAUSE = "PAUSE"
    KILL = "KILL"
    DAILY_LOSS = "DAILY_LOSS"
    DRAWDOWN = "DRAWDOWN"
    OVERFILL = "OVERFILL"
    REPEATED_EXECUTION = "REPEATED_EXECUTION"
    BRAIN_ERRORS = "BRAIN_ERRORS"
    POISON_EVENT = "POISON_EVENT"
    RUNNER_FAILURES = "RUNNER_FAILURES"
