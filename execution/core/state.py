"""DeskState: everything a Desk knows, as one serialisable value. A snapshot is its encoding; recovery is its decoding plus the journal's tail."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import msgspec

from execution.core.brackets import BracketState, ExitState
from execution.core.controls import AccountState, AlarmState, BotState, CommandState, DiscrepancyState, SymbolState
from execution.core.ledger import Ledger
from execution.core.messages import DeskSettings, Reported, SignalRecord, Watch
from execution.core.orders import OrderState
from execution.core.positions import AdjustmentState, FillState, PositionState
from execution.core.twap import ParentState
from risk.core.book import Halt
from risk.core.throttle import Throttle
from risk.core.units import Instrument

#: Bumped when a change of the core may change what a replay gives. Digests are compared only within one version.
CORE_VERSION: Final = "3"
SCHEMA: Final = 1


class Parked(msgspec.Struct, frozen=True):
    """A report with an id we do not know, kept for a while."""

    report: Reported
    until: datetime


class DeskState(msgspec.Struct, kw_only=True):
    """The state of one account's Desk. Mutable, owned by one Desk, never shared."""

    schema: int = SCHEMA
    account: AccountState
    seq: int = 0
    digest: bytes = b""
    epoch: str = ""
    token: int = 0
    at: datetime | None = None
    settings: DeskSettings | None = None
    orders: dict[str, OrderState] = {}
    brackets: dict[str, BracketState] = {}
    #: symbol → the exit that waits for room
    exits: dict[str, ExitState] = {}
    positions: dict[str, PositionState] = {}
    #: symbol → the fills that can still be busted
    ledgers: dict[str, Ledger] = {}
    symbols: dict[str, SymbolState] = {}
    bots: dict[str, BotState] = {}
    #: symbol → its new terms, which wait until it is flat
    specs: dict[str, Instrument] = {}
    #: decision id → the entry that goes in slices
    parents: dict[str, ParentState] = {}
    #: bot → how often it entered lately
    throttles: dict[str, Throttle] = {}
    halts: dict[str, Halt] = {}
    commands: dict[str, CommandState] = {}
    #: command ids applied and finished, oldest first, bounded: a hint, a poll and a retry apply once
    applied: list[str] = []
    alarms: dict[str, AlarmState] = {}
    timers: dict[str, datetime] = {}
    watches: dict[str, Watch] = {}
    parked: list[Parked] = []
    #: symbol → what the venue and we disagree about now
    discrepancies: dict[str, DiscrepancyState] = {}
    #: symbol → the difference a person chose to ignore, the venue's quantity less ours
    ignored: dict[str, Decimal] = {}
    #: ids of the venue's adjustments that are booked, oldest first, bounded
    adjustments: list[str] = []


#: Publish.kind → the type of its body. The store writes each as a row; the hub re-reads the row by key.
#: A halt that was cleared is published as kind "halt_cleared" with the Halt as body; an alarm as "alarm" / "alarm_cleared".
ENTITIES: Final[Mapping[str, Any]] = {
    "order": OrderState,
    "fill": FillState,
    "bracket": BracketState,
    "position": PositionState,
    "symbol": SymbolState,
    "bot": BotState,
    "account": AccountState,
    "signal": SignalRecord,
    "halt": Halt,
    "halt_cleared": Halt,
    "alarm": AlarmState,
    "alarm_cleared": AlarmState,
    "discrepancy": DiscrepancyState,
    "adjustment": AdjustmentState,
}
