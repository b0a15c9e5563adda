"""Controls: bots' states, halts, commands in progress, kills."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum

import msgspec

from execution.core.messages import CommandSpec, CommandStatus, KillChoice, Step
from risk.core.circuit_breaker import CircuitBreaker
from risk.core.session_pnl import SessionPnl
from risk.core.units import ZERO


class CommandRefused(Exception):
    """A command that cannot be done; the message is the answer."""


class BotStatus(StrEnum):
    """What the bot itself does; halts and conditions come on top (a paused bot is RUNNING under a PAUSE halt)."""

    STOPPED = "STOPPED"
    WARMING = "WARMING"
    RUNNING = "RUNNING"
    STOPPING = "STOPPING"


class BotState(msgspec.Struct, kw_only=True):
    """A bot's own state and counters since the journal began."""

    code: str
    status: BotStatus = BotStatus.STOPPED
    stop_mode: str = ""
    is_warm: bool = False
    placed: int = 0
    #: kept at zero here: a denial changes nothing, so the store counts them
    denied: int = 0
    last_signal_at: datetime | None = None
    last_approved_at: dict[str, datetime] = {}
    last_approved_n: dict[str, int] = {}
    ran_before_halt: bool = False
    text: str = ""


class SymbolState(msgspec.Struct, kw_only=True):
    """Risk state of one symbol."""

    symbol: str
    session: SessionPnl
    breaker: CircuitBreaker
    #: the bot whose opposite signal is closing the position, and whose brain is asked again once it is flat
    flip_bot: str = ""


class AccountState(msgspec.Struct, kw_only=True):
    """The account's own numbers and readiness, as published."""

    account: str
    seq: int = 0
    cash: Decimal = ZERO
    equity: Decimal = ZERO
    realised: Decimal = ZERO
    fees: Decimal = ZERO
    day_start_equity: Decimal = ZERO
    peak_equity: Decimal = ZERO
    day_start_at: datetime | None = None
    day_end_at: datetime | None = None
    is_reconciled: bool = False
    reconciled_at: datetime | None = None
    reconciled_text: str = ""
    #: link kind → cause while it is down
    links_down: dict[str, str] = {}
    #: condition name → when it began; ends by itself
    conditions: dict[str, datetime] = {}
    settings_digest: str = ""
    settings_version: int = 0
    settings_applied_at: datetime | None = None
    #: fees in other currencies, kept apart: they are in no other number
    fees_other: dict[str, Decimal] = {}
    #: when the order link came back; a reconciliation begun after it makes the account ready
    orders_up_at: datetime | None = None


class CommandState(msgspec.Struct, kw_only=True):
    """A command the Desk has applied: its answer, and its steps while it runs."""

    spec: CommandSpec
    status: CommandStatus
    text: str = ""
    steps: list[Step] = []
    applied_at: datetime | None = None
    finished_at: datetime | None = None
    #: ids the command waits for, per step name
    waiting: dict[str, list[str]] = {}
    query_id: str = ""
    #: the venue's answer counts when it was asked at or after this seq
    needed_seq: int = 0
    #: when an eventually consistent venue was first asked and had nothing left
    clean_at: datetime | None = None
    #: fills that came while the command ran, in words
    fills: list[str] = []
    #: what the kills that joined it asked for beyond it
    joined: list[KillChoice] = []
    #: cl_ord_id → what the venue said when it refused the cancel
    refusals: dict[str, str] = {}


class DiscrepancyState(msgspec.Struct, kw_only=True):
    """One symbol of which the venue holds another quantity than we: as it was seen last, and how it ended."""

    symbol: str
    ours: Decimal
    theirs: Decimal
    since: datetime
    seen_at: datetime
    #: in words, with who and why where a person ended it; empty while it stands
    ended: str = ""
    ended_at: datetime | None = None

    @property
    def key(self) -> str:
        return f"{self.symbol}:{self.since.isoformat()}"


class AlarmState(msgspec.Struct, frozen=True, kw_only=True):
    """An alarm that is raised now."""

    key: str
    priority: int
    title: str
    cause: str
    consequence: str
    to_do: str
    bot: str
    symbol: str
    raised_at: datetime
