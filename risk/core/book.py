"""What the gates may look at: one read-only view of the desk at the moment of a proposal.

The Desk builds it; gates never see the Desk. Everything a denial explains is in here. Building one costs no copies: a Book holds
references to what the Desk keeps, and no gate writes to them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final

import msgspec

from risk.core.circuit_breaker import CircuitBreaker
from risk.core.hours import Session
from risk.core.session_pnl import SessionPnl
from risk.core.settings import AccountLimits, Effective
from risk.core.throttle import Throttle
from risk.core.units import ONE, ZERO, Instrument, Scope
from risk.core.verdict import Capability, HaltCause, HaltMode

#: The built-in bot that owns foreign fills and adopted positions. It never decides; while it holds a symbol, that symbol only reduces.
EXTERNAL: Final = "EXTERNAL"


class NotReadyCause(StrEnum):
    """Why an account (or this symbol of it) takes no entry. LEASE and ORDER_LINK stop every order: there is nowhere to send it."""

    LEASE = "LEASE"
    ORDER_LINK = "ORDER_LINK"
    JOURNAL = "JOURNAL"
    RECONCILING = "RECONCILING"
    DISCREPANCY = "DISCREPANCY"
    PRICE_LINK = "PRICE_LINK"
    SETTINGS = "SETTINGS"
    #: the bot is not running (stopped, warming, stopping)
    BOT = "BOT"
    #: an order of the symbol is UNKNOWN: nothing new until the venue has said what became of it
    UNKNOWN_ORDER = "UNKNOWN_ORDER"


class NotReady(msgspec.Struct, frozen=True):
    """One cause, in words for people: "order stream down since 12:03:11: connection reset"."""

    cause: NotReadyCause
    text: str = ""


class Halt(msgspec.Struct, frozen=True, kw_only=True):
    """A latched restriction at a scope. A person clears it."""

    halt_id: str
    scope: Scope
    mode: HaltMode
    cause: HaltCause
    reason: str
    by: str
    at: datetime


class Exposure(msgspec.Struct):
    """One symbol's part of the account: position and the money reserved by working entries, buys and sells apart.

    `qty` is signed. `buys` and `sells` are money in the account's currency: Σ leaves_qty × reserve_px of the working, pending and
    UNKNOWN entries of that side. `leverage` is the symbol's, and says how much of its exposure is margin.
    """

    symbol: str
    bot: str
    contract_value: Decimal
    qty: Decimal = ZERO
    mark: Decimal | None = None
    marked_at: datetime | None = None
    buys: Decimal = ZERO
    sells: Decimal = ZERO
    leverage: Decimal = ONE
    is_inverse: bool = False


class AccountBook(msgspec.Struct, kw_only=True):
    """The account as gate 14 sees it. Equity is cash plus open positions on marks."""

    currency: str
    equity: Decimal
    day_start_equity: Decimal
    peak_equity: Decimal
    #: keyed by symbol; symbols with neither position nor reservation may be absent
    exposures: Mapping[str, Exposure]


class Book(msgspec.Struct, kw_only=True):
    """The view one proposal is judged on."""

    account: str
    #: "PAPER"; anything else is treated as LIVE
    environment: str
    #: empty means ready
    not_ready: tuple[NotReady, ...]
    #: every halt in force on the account; gates pick those that cover the proposal
    halts: tuple[Halt, ...]
    instrument: Instrument | None
    settings: Effective
    limits: AccountLimits
    capabilities: frozenset[Capability]
    session: SessionPnl
    breaker: CircuitBreaker
    #: symbols the bot may trade
    symbols: frozenset[str]
    position_qty: Decimal
    #: entry orders of this bot and symbol that are pending, working or UNKNOWN
    entries_in_flight: int
    #: entries already added to the open position
    adds: int
    #: entries in flight on the order's side of which nothing has filled yet: each will be one more of the position
    entries_coming: int = 0
    #: entries in flight on the other side: nobody can know what both would come to
    entries_against: int = 0
    #: |position| − leaves of exit orders that are pending, working or UNKNOWN; protective legs do not count
    exit_capacity: Decimal
    portfolio: AccountBook
    #: bot → what it was let do lately, for every bot of the account
    throttles: Mapping[str, Throttle] = {}
    #: those of the instrument's calendar; without known hours a market that is not open 24/7 counts as closed
    sessions: Sequence[Session] = ()
