"""What the gates may look at: one read-only view of the desk at the moment of a proposal.

The Desk builds it; gates never see the Desk. Everything a denial explains is in here.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import msgspec

from risk.core.circuit_breaker import CircuitBreaker
from risk.core.session_pnl import SessionPnl
from risk.core.settings import AccountLimits, Effective
from risk.core.units import ZERO, Instrument, Scope
from risk.core.verdict import Capability, HaltCause, HaltMode


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

    `qty` is signed. `buys` and `sells` are notionals in the account's currency (leaves × reservation price).
    """

    symbol: str
    bot: str
    contract_value: Decimal
    qty: Decimal = ZERO
    mark: Decimal | None = None
    marked_at: datetime | None = None
    buys: Decimal = ZERO
    sells: Decimal = ZERO


class AccountBook(msgspec.Struct, kw_only=True):
    """The account as the portfolio gate sees it. Equity is cash plus open positions on marks."""

    equity: Decimal
    day_start_equity: Decimal
    peak_equity: Decimal
    cash: Decimal
    #: keyed by symbol; symbols with neither position nor reservation may be absent
    exposures: dict[str, Exposure]


class Book(msgspec.Struct, kw_only=True):
    """The view one proposal is judged on."""

    account: str
    #: causes why the account is not ready, in words; empty means ready
    not_ready: tuple[str, ...]
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
    #: |position| − leaves of exit orders in flight
    exit_capacity: Decimal
    portfolio: AccountBook
