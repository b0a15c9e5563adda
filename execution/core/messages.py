"""Everything that goes through the one door: market data, decisions, events in, effects out. Frozen values, no behaviour.

Rules of this file. Events are past tense, effects imperative. An event or effect only ever *gains* fields, with defaults, so that
an old journal can be read. Encoding is msgspec's msgpack; Decimals keep their digits, datetimes are aware UTC.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum

import msgspec

from execution.core.trailing import Trail
from risk.core.book import Halt
from risk.core.hours import Session
from risk.core.settings import AccountLimits, Profile
from risk.core.units import ONE, ZERO, Instrument, OrdType, Quote, Scope, Side, TimeInForce
from risk.core.verdict import Approved, Capability, Check, HaltMode, OrderClass, Reason, SizeHint

# --- market data -------------------------------------------------------------------------------------------------------


class Trade(msgspec.Struct, frozen=True):
    """One public trade. `at` is the venue's time."""

    symbol: str
    price: Decimal
    qty: Decimal
    at: datetime
    received_at: datetime


class Bar(msgspec.Struct, frozen=True):
    """A closed bar over [start_at, start_at + interval_s) in the venue's time."""

    symbol: str
    interval_s: int
    start_at: datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal


# --- what a brain or a person wants ------------------------------------------------------------------------------------


class SignalKind(StrEnum):
    BUY = "BUY"
    SELL = "SELL"
    CLOSE = "CLOSE"
    HOLD = "HOLD"


class Twap(msgspec.Struct, frozen=True, omit_defaults=True):
    """How an entry is spread over time: for `horizon_s` seconds a slice every `interval_s`, the first at once.

    With `is_end_included` one more goes at the end of the horizon; without, the last goes an interval before it.
    """

    horizon_s: Decimal
    interval_s: Decimal
    is_end_included: bool = False


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What a brain (or an API client) wants. Prices are absolute; `note` is the brain's own words ("fast 412.18 crossed slow 412.02")."""

    signal: SignalKind
    hint: SizeHint = SizeHint()
    ord_type: OrdType = OrdType.MARKET
    price: Decimal | None = None
    stop_px: Decimal | None = None
    time_in_force: TimeInForce = TimeInForce.GTC
    post_only: bool = False
    stop_loss: Decimal | None = None
    take_profit: Decimal | None = None
    confidence: Decimal | None = None
    note: str = ""
    #: the stop is a stop-limit whose limit lies this far behind its trigger
    stop_limit_offset: Decimal | None = None
    #: the stop trails: this far behind the best price, or this many percent of it; from the activation price on, if there is one
    trail_offset: Decimal | None = None
    trail_pct: Decimal | None = None
    trail_activation: Decimal | None = None
    #: the position is closed at market when it was open this long
    time_limit_s: int | None = None
    #: an entry goes in slices; what closes goes at once, whatever is here
    twap: Twap | None = None


HOLD = Decision(signal=SignalKind.HOLD)


class View(msgspec.Struct, frozen=True):
    """What a brain may know of its own standing in a symbol."""

    position_qty: Decimal
    avg_px: Decimal | None
    #: its entries that are pending or working, and those whose next slice waits for its time
    entries_working: int
    exits_working: int
    #: code of the last denial for this symbol; empty after an approval
    last_denial: str
    #: an opposite signal now would close the position, and be asked for again once it is flat
    may_flip: bool = False

    @property
    def is_flat(self) -> bool:
        """No position and nothing on its way to one."""
        return not self.position_qty and not self.entries_working


# --- settings ----------------------------------------------------------------------------------------------------------


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """Every wait of the desk in one value, in whole milliseconds, so that fault tests run it at a tenth."""

    lease_ms: int = 10000
    lease_renew_ms: int = 3000
    poll_ms: int = 250
    send_timeout_ms: int = 3000
    send_age_ms_max: int = 1000
    unknown_settle_ms: int = 10000
    park_ms: int = 5000
    condition_clear_ms: int = 10000
    reconcile_ms: int = 30000
    journal_grace_ms: int = 5000
    engine_loss_grace_ms: int = 30000
    kill_verify_ms: int = 5000
    clear_hold_live_ms: int = 60000
    clear_hold_paper_ms: int = 10000
    mark_interval_ms: int = 1000
    #: how long no price may come for a symbol whose stop is watched here and does not rest at the venue
    emulated_stale_ms: int = 5000


class StopMode(StrEnum):
    """How a bot stops: brain off and entries canceled at once; once flat; once its bracket is done."""

    NOW = "now"
    WHEN_FLAT = "when_flat"
    AFTER_BRACKET = "after_bracket"


class BooksBy(StrEnum):
    """What a venue's fills are counted by, never by both: trade ids proven equal on stream and history, or cumulative quantity."""

    TRADE_ID = "TRADE_ID"
    CUM_QTY = "CUM_QTY"


class BotSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A bot as the Desk needs it. `is_enabled` bots own their symbols; `profile` names a Profile of the DeskSettings."""

    code: str
    brain: str
    params: dict[str, str] = {}
    symbols: tuple[str, ...]
    profile: str
    bar_s: int = 60
    is_enabled: bool = True


class DeskSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The whole configuration of one account's Desk, as one immutable value. `version` counts, `digest` is its content hash."""

    account: str
    environment: str
    currency: str
    version: int
    digest: str
    capabilities: tuple[Capability, ...]
    instruments: dict[str, Instrument]
    bots: dict[str, BotSpec]
    profiles: dict[str, Profile]
    limits: AccountLimits
    #: calendar → its session in progress and those of fourteen days ahead; 24/7 has none
    sessions: dict[str, tuple[Session, ...]] = {}
    timing: Timing = Timing()
    starting_cash: Decimal = ZERO
    #: the venue's answers may lag its stream: what moved less than `unknown_settle_ms` before a question is not judged by the answer
    is_eventually_consistent: bool = False
    books_by: BooksBy = BooksBy.TRADE_ID

    def sessions_of(self, symbol: str) -> tuple[Session, ...]:
        """The sessions of a symbol's calendar."""
        instrument = self.instruments.get(symbol)
        return self.sessions.get(instrument.calendar, ()) if instrument is not None else ()


# --- commands ----------------------------------------------------------------------------------------------------------


class CommandKind(StrEnum):
    START = "START"
    PAUSE = "PAUSE"
    RESUME = "RESUME"
    STOP = "STOP"
    HALT = "HALT"
    CLEAR = "CLEAR"
    KILL = "KILL"
    STOP_FLATTEN = "STOP_FLATTEN"
    FLATTEN = "FLATTEN"
    CLOSE = "CLOSE"
    CANCEL_ORDER = "CANCEL_ORDER"
    CANCEL_LEG = "CANCEL_LEG"
    CANCEL_BRACKET = "CANCEL_BRACKET"
    QUERY = "QUERY"
    RESET_BREAKER = "RESET_BREAKER"
    MOVE_LEG = "MOVE_LEG"
    ARM = "ARM"
    SUBMIT_DECISION = "SUBMIT_DECISION"
    #: settle a disagreement with the venue about a symbol: believe the venue, or let the difference be
    ADOPT = "ADOPT"
    IGNORE = "IGNORE"


class KillChoice(StrEnum):
    """What a kill does beyond blocking. Of two kills the stronger choice counts: `cancel` is the weakest, the other two add up."""

    CANCEL = "cancel"
    CANCEL_FLATTEN = "cancel+flatten"
    CANCEL_ALL = "cancel_all"


class Leg(StrEnum):
    """The two sides of a bracket."""

    STOP = "stop"
    TARGET = "target"


class ClosedMarket(StrEnum):
    """What a flatten does with a position whose market is closed: its stops stay, or it is closed when the market opens."""

    KEEP_STOPS = "keep_stops"
    AT_OPEN = "at_open"


class CommandSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One durable command for one account, as the Desk sees it. `target` is a cl_ord_id, bracket id or symbol where the kind needs one.

    `halt_id` is the Halt row written in the command's own transaction (HALT, KILL, PAUSE) or the one to clear (CLEAR, RESUME).
    MOVE_LEG names a bracket, a `leg` and its new `price`; CANCEL_LEG a leg's cl_ord_id, or a bracket and a `leg`. ARM names a bracket
    or a symbol, and `stop_px`, `target_px` or both. SUBMIT_DECISION names a symbol and carries the `decision`.
    """

    command_id: str
    kind: CommandKind
    scope: Scope
    by: str
    reason: str = ""
    target: str = ""
    halt_id: str = ""
    mode: HaltMode | None = None
    choice: KillChoice = KillChoice.CANCEL
    stop_mode: StopMode = StopMode.NOW
    #: a loss's latch is cleared without starting its baseline anew
    keeps_baseline: bool = False
    asked_at: datetime
    valid_until: datetime | None = None
    leg: Leg | None = None
    price: Decimal | None = None
    stop_px: Decimal | None = None
    target_px: Decimal | None = None
    decision: Decision | None = None
    #: a person asked, and no program: a halt does not refuse what a person closes
    is_by_hand: bool = True
    closed_market: ClosedMarket = ClosedMarket.KEEP_STOPS


class CommandStatus(StrEnum):
    """PENDING is the row before any engine saw it; the rest are the Desk's answers."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    DONE = "DONE"
    REFUSED = "REFUSED"
    EXPIRED = "EXPIRED"


class StepState(StrEnum):
    WAITING = "WAITING"
    RUNNING = "RUNNING"
    DONE = "DONE"
    TROUBLE = "TROUBLE"


class Step(msgspec.Struct):
    """One step of a kill, flatten or other long command: shown live. `done`/`total` count what the text says; `at` is when it ended."""

    name: str
    text: str
    state: StepState = StepState.WAITING
    done: int = 0
    total: int = 0
    at: datetime | None = None


# --- events ------------------------------------------------------------------------------------------------------------


class ExecType(StrEnum):
    """What a venue report says happened, in FIX's words. The last four are our own conclusions, kept in the same table."""

    PENDING_NEW = "PENDING_NEW"
    NEW = "NEW"
    TRADE = "TRADE"
    CANCELED = "CANCELED"
    REPLACED = "REPLACED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"
    DONE_FOR_DAY = "DONE_FOR_DAY"
    STOPPED = "STOPPED"
    SUSPENDED = "SUSPENDED"
    CALCULATED = "CALCULATED"
    #: the venue says unasked what the order is now
    RESTATED = "RESTATED"
    CANCEL_REJECTED = "CANCEL_REJECTED"
    REPLACE_REJECTED = "REPLACE_REJECTED"
    TRADE_CANCEL = "TRADE_CANCEL"
    TRADE_CORRECT = "TRADE_CORRECT"
    STATUS = "STATUS"
    PENDING_CANCEL = "PENDING_CANCEL"
    PENDING_REPLACE = "PENDING_REPLACE"
    #: nothing was written to the venue
    NOT_SENT = "NOT_SENT"
    #: the venue refused the request with a final code
    SEND_REFUSED = "SEND_REFUSED"
    #: the request was written and its answer is lost
    SEND_UNKNOWN = "SEND_UNKNOWN"
    #: asked twice, the venue has never heard of it
    NEVER_ARRIVED = "NEVER_ARRIVED"


class SendOutcome(StrEnum):
    NOT_SENT = "NOT_SENT"
    REFUSED = "REFUSED"
    UNKNOWN = "UNKNOWN"


class LinkKind(StrEnum):
    ORDERS = "ORDERS"
    PRICES = "PRICES"
    LEASE = "LEASE"
    JOURNAL = "JOURNAL"


class VenueOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An order as the venue shows it in a query."""

    cl_ord_id: str
    order_id: str
    symbol: str
    side: Side
    order_qty: Decimal
    cum_qty: Decimal
    ord_type: OrdType
    ord_status: str
    price: Decimal | None = None
    stop_px: Decimal | None = None
    reduce_only: bool = False


class VenueFill(msgspec.Struct, frozen=True, kw_only=True):
    """A fill as the venue's history shows it, or the word that takes one back or corrects it. `exec_id` equals the stream's."""

    cl_ord_id: str
    order_id: str
    exec_id: str
    symbol: str
    side: Side
    last_qty: Decimal
    last_px: Decimal
    fee: Decimal
    fee_currency: str
    liquidity: str
    transact_at: datetime
    exec_type: ExecType = ExecType.TRADE
    #: the fill that a TRADE_CANCEL or TRADE_CORRECT is about
    exec_ref_id: str = ""
    #: what the order came to with it, at a venue that books by cumulative quantity
    cum_qty: Decimal | None = None
    avg_px: Decimal | None = None


class _Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="e", omit_defaults=True):
    at: datetime


class Started(_Event, frozen=True, tag="started"):
    """The first event after every recovery."""

    token: int
    core_version: str
    epoch: str


class Decided(_Event, frozen=True, tag="decided"):
    """A brain's (or API client's) non-HOLD decision, made on `quote`. `decision_id` is bot:symbol:market time in ns:n."""

    bot: str
    symbol: str
    decision: Decision
    quote: Quote | None
    decision_id: str
    #: the market event's time and its ordinal: a decision at or before the last approved one is ignored
    market_at: datetime
    n: int = 0


class Reported(_Event, frozen=True, tag="reported"):
    """A venue execution report."""

    cl_ord_id: str
    exec_type: ExecType
    order_id: str = ""
    exec_id: str = ""
    symbol: str = ""
    side: Side | None = None
    last_qty: Decimal = ZERO
    last_px: Decimal = ZERO
    cum_qty: Decimal | None = None
    #: the average price of `cum_qty`, for a venue that books by it
    avg_px: Decimal | None = None
    fee: Decimal = ZERO
    fee_currency: str = ""
    liquidity: str = ""
    text: str = ""
    transact_at: datetime | None = None
    #: the fill that a TRADE_CANCEL or TRADE_CORRECT is about
    exec_ref_id: str = ""
    leaves_qty: Decimal | None = None
    #: the order as it is now, where a REPLACED or RESTATED says so
    order_qty: Decimal | None = None
    price: Decimal | None = None
    stop_px: Decimal | None = None


class AdjustmentKind(StrEnum):
    FUNDING = "FUNDING"
    SPLIT = "SPLIT"


class Adjusted(_Event, frozen=True, tag="adjusted"):
    """The venue moved money or quantity without a trade. `adjustment_id` is its own, and is booked once.

    FUNDING: `amount` received, in the account's currency (negative: paid). SPLIT: `new_units` for every `old_units`, at prices that
    are as much lower (three for one: 3 and 1; a reverse split: 1 and 30).
    """

    adjustment_id: str
    kind: AdjustmentKind
    symbol: str
    amount: Decimal = ZERO
    new_units: Decimal = ONE
    old_units: Decimal = ONE
    transact_at: datetime | None = None


class SendFailed(_Event, frozen=True, tag="send_failed"):
    """A request that was not answered by a report. `request` says which: new, cancel or replace; `cl_ord_id` is the request's own."""

    cl_ord_id: str
    outcome: SendOutcome
    request: str = "new"
    text: str = ""
    #: a new order was refused because the venue knows its id already
    is_duplicate: bool = False


class Commanded(_Event, frozen=True, tag="commanded"):
    """A command. `quote` is the symbol's newest one where the command carries a decision."""

    command: CommandSpec
    quote: Quote | None = None


class HaltsLoaded(_Event, frozen=True, tag="halts_loaded"):
    """Active Halt rows this Desk does not hold, found by the poll or at start-up: the more restrictive of row and state wins."""

    halts: tuple[Halt, ...]


class Mark(msgspec.Struct, frozen=True):
    symbol: str
    price: Decimal
    at: datetime


class Marked(_Event, frozen=True, tag="marked"):
    marks: tuple[Mark, ...]


class Touched(_Event, frozen=True, tag="touched"):
    watch_id: str
    price: Decimal


class Trailed(_Event, frozen=True, tag="trailed"):
    """The best price since a trailing watch began to track; told when it improved by a tick, at most once a second."""

    watch_id: str
    extreme: Decimal


class PriceAged(_Event, frozen=True, tag="price_aged"):
    """No price came for a watched symbol for `stale_ms`, or one came again. `last_at` is when the last one came, None for none yet."""

    symbol: str
    is_stale: bool
    last_at: datetime | None = None


class Woke(_Event, frozen=True, tag="woke"):
    """A timer the Desk asked for. A late one fires once; one that is no longer in the state changes nothing.

    `quote` is the newest one of the symbol that `Desk.quoted()` names for the timer.
    """

    timer: str
    quote: Quote | None = None


class Reconciled(_Event, frozen=True, tag="reconciled"):
    """The venue's whole answer to a query begun when the journal stood at `asked_seq`.

    `fills` and `adjustments` are those since the last reconciliation, oldest first.
    """

    asked_seq: int
    asked_at: datetime
    query_id: str
    orders: tuple[VenueOrder, ...]
    fills: tuple[VenueFill, ...]
    positions: dict[str, Decimal]
    balances: dict[str, Decimal] = {}
    adjustments: tuple[Adjusted, ...] = ()


class OrderFound(_Event, frozen=True, tag="order_found"):
    """The venue's answer to QueryOrder: what it knows under our id, or None. Absence in open orders and fills is included.

    `adjustments` are those of the symbol since the last reconciliation, where the order has fills: a split changes what they are counted
    in. With them come the symbol's other `fills`, which may lie before it.
    """

    cl_ord_id: str
    asked_at: datetime
    order: VenueOrder | None
    fills: tuple[VenueFill, ...] = ()
    adjustments: tuple[Adjusted, ...] = ()


class LinkChanged(_Event, frozen=True, tag="link_changed"):
    link: LinkKind
    is_up: bool
    cause: str = ""


class SettingsChanged(_Event, frozen=True, tag="settings_changed"):
    settings: DeskSettings


class BotChanged(_Event, frozen=True, tag="bot_changed"):
    """The runner's word on a brain: warming done, or stopped because it raised `errors` times in a row; 1 where it could not begin."""

    bot: str
    is_warm: bool
    errors: int = 0
    text: str = ""


Event = (
    Started
    | Decided
    | Reported
    | Adjusted
    | SendFailed
    | Commanded
    | HaltsLoaded
    | Marked
    | Touched
    | Trailed
    | PriceAged
    | Woke
    | Reconciled
    | OrderFound
    | LinkChanged
    | SettingsChanged
    | BotChanged
)


# --- effects -----------------------------------------------------------------------------------------------------------


class _Effect(msgspec.Struct, frozen=True, kw_only=True, tag_field="f", omit_defaults=True):
    pass


class SendNewOrder(_Effect, frozen=True, tag="send_new_order"):
    cl_ord_id: str
    approved: Approved


class SendCancel(_Effect, frozen=True, tag="send_cancel"):
    """Cancel at the venue. `order_class` of the order to cancel: all cancels ride the first lane."""

    cl_ord_id: str
    order_id: str
    symbol: str
    side: Side
    order_class: OrderClass


class SendReplace(_Effect, frozen=True, tag="send_replace"):
    """Change a working order in place; only where the venue has REPLACE. The terms are the order's as it is to be, whole.

    `cl_ord_id` is the request's own id, `orig_cl_ord_id` the one the venue knows the order by. A venue that keeps the old id
    reports under that.
    """

    cl_ord_id: str
    orig_cl_ord_id: str
    order_id: str
    symbol: str
    order_qty: Decimal
    price: Decimal | None = None
    stop_px: Decimal | None = None


class SendMassCancel(_Effect, frozen=True, tag="send_mass_cancel"):
    """Cancel every working order of the account at once, or of one symbol; only where the venue has MASS_CANCEL.

    It goes beside each order's own cancel, whose answer counts: it is faster, and it reaches orders that are not ours.
    """

    symbol: str = ""


class DropUnsent(_Effect, frozen=True, tag="drop_unsent"):
    """Take unsent ENTRY orders of the scope out of the outbox; each comes back NOT_SENT."""

    scope: Scope


class QueryOrder(_Effect, frozen=True, tag="query_order"):
    cl_ord_id: str
    symbol: str


class QueryVenue(_Effect, frozen=True, tag="query_venue"):
    """Ask for open orders, fills and positions; answered by Reconciled with the same query_id."""

    query_id: str


class Watch(_Effect, frozen=True, tag="watch"):
    """Test every quote: fires Touched when the price is at or beyond `price` in direction `is_above`, and is gone until set again.

    With a `trail` the quotes move its extreme, and it fires when that triggers; each improvement by `tick` is told as Trailed, at most
    once a second. `stale_ms`: a symbol without a quote for so long is told as PriceAged, and again when one comes. Zero asks for neither.
    """

    watch_id: str
    symbol: str
    price: Decimal
    is_above: bool
    trail: Trail | None = None
    tick: Decimal = ZERO
    stale_ms: int = 0


class Unwatch(_Effect, frozen=True, tag="unwatch"):
    watch_id: str


class WakeAt(_Effect, frozen=True, tag="wake_at"):
    """(Re)set the named timer."""

    timer: str
    due_at: datetime


class RaiseAlarm(_Effect, frozen=True, tag="raise_alarm"):
    """Raised once per key; cleared by the core when the cause is gone. Priority 1 (critical) to 3."""

    key: str
    priority: int
    title: str
    cause: str
    consequence: str
    to_do: str
    bot: str = ""
    symbol: str = ""


class ClearAlarm(_Effect, frozen=True, tag="clear_alarm"):
    key: str


class Publish(_Effect, frozen=True, tag="publish"):
    """An entity of the Desk changed: `body` is its state, msgpack. The journal's transaction writes it as a row; the hub is told the key.

    `kind` is a key of `state.ENTITIES`.
    """

    kind: str
    key: str
    body: bytes


class AskBrain(_Effect, frozen=True, tag="ask_brain"):
    """The position that an opposite signal closed is flat: ask the bot's brain again with the current event. Nothing old is kept."""

    bot: str
    symbol: str


class AnswerCommand(_Effect, frozen=True, tag="answer_command"):
    """The state of a Command, written to its row. Sent again whenever it moves."""

    command_id: str
    status: CommandStatus
    text: str
    steps: tuple[Step, ...] = ()


Effect = (
    SendNewOrder
    | SendCancel
    | SendReplace
    | SendMassCancel
    | DropUnsent
    | QueryOrder
    | QueryVenue
    | Watch
    | Unwatch
    | WakeAt
    | RaiseAlarm
    | ClearAlarm
    | Publish
    | AskBrain
    | AnswerCommand
)


# --- what is recorded of a decision ------------------------------------------------------------------------------------


class SignalRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A non-HOLD Decision with the verdict of every gate: `Publish(kind="signal")`. A denied one is recorded, not journaled."""

    decision_id: str
    at: datetime
    market_at: datetime
    bot: str
    symbol: str
    signal: SignalKind
    side: Side | None
    order_class: OrderClass | None
    ord_type: OrdType
    reason: Reason | None
    text: str
    checks: tuple[Check, ...]
    order_qty: Decimal | None
    price: Decimal | None
    quote: Quote | None
    stop_loss: Decimal | None
    take_profit: Decimal | None
    note: str
    settings_version: int
    cl_ord_id: str = ""

    @property
    def is_approved(self) -> bool:
        return self.reason is None
