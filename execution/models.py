"""Rows of execution. Orders, fills, brackets, positions and signals are projections of the journal; the engine never restores from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from django.db import models
from django.db.models import Q

import execution.paper  # noqa: F401 - rows as well: Django looks for them here
from execution.core.brackets import BracketStatus
from execution.core.controls import BotStatus
from execution.core.messages import AdjustmentKind, CommandKind, CommandStatus, SignalKind
from execution.core.orders import OrdStatus, Purpose
from risk.core.units import OrdType, ScopeKind, Side, TimeInForce
from risk.core.verdict import Check, OrderClass
from risk.core.wording import WORDS, check_as_dict
from risk.fields import DecimalText

if TYPE_CHECKING:
    _Json = models.JSONField[Any, Any]
else:
    _Json = models.JSONField


def _choices(enum: Any) -> list[tuple[str, str]]:
    return [(member.value, member.value.replace("_", " ").lower()) for member in enum]


class ChecksField(_Json):
    """Checks kept as numbers and put into words when somebody reads them: they are written on the way of every order."""

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        found = super().from_db_value(value, expression, connection)
        return [check if isinstance(check, dict) else _worded(check) for check in found or []]

    def deconstruct(self) -> Any:
        name, _, args, kwargs = super().deconstruct()
        return name, "django.db.models.JSONField", args, kwargs


def _worded(raw: Any) -> dict[str, Any]:
    """A check in words; one of a gate that has another name by now keeps its plain numbers."""
    check = msgspec.convert(raw, Check)
    if check.gate in WORDS:
        return check_as_dict(check)
    plain: dict[str, Any] = msgspec.to_builtins(dict(zip(Check.__struct_fields__, raw, strict=False)))
    return plain


class Account(models.Model):
    """One broker account in one environment. The unit of ownership: one engine writes it."""

    class Environment(models.TextChoices):
        PAPER = "PAPER", "PAPER"
        LIVE = "LIVE", "LIVE"

    code = models.SlugField(max_length=40, unique=True)
    name = models.CharField(max_length=80)
    environment = models.CharField(max_length=5, choices=Environment.choices, default=Environment.PAPER)
    broker = models.CharField(max_length=40, default="simulated")
    feed = models.CharField(max_length=300, default="synthetic", help_text="synthetic[:SEED] or replay:PATH[@SPEED]")
    currency = models.CharField(max_length=8, default="USDT")
    starting_cash = DecimalText(default=100000)
    limits = models.OneToOneField("risk.AccountLimits", on_delete=models.PROTECT, related_name="account")
    is_enabled = models.BooleanField(default=True)
    #: where to call when this desk cannot help: rendered into every page beforehand
    venue_page = models.URLField(blank=True, default="")
    venue_phone = models.CharField(max_length=40, blank=True, default="")
    venue_account = models.CharField(max_length=60, blank=True, default="")
    broker_options = models.JSONField(
        default=dict, blank=True, help_text="options of the simulated venue: seed, latency_ms, reject_pct …"
    )
    version = models.PositiveIntegerField(default=1, editable=False)

    class Meta:
        ordering = ["code"]

    def __str__(self) -> str:
        return self.name


class Bot(models.Model):
    """A brain with parameters, the instruments it may trade, and a risk profile, on one account."""

    code = models.SlugField(max_length=40, unique=True)
    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="bots")
    brain = models.CharField(max_length=40)
    params = models.JSONField(default=dict, blank=True)
    instruments = models.ManyToManyField("risk.Instrument", through="BotInstrument", related_name="+")
    profile = models.ForeignKey("risk.RiskProfile", on_delete=models.PROTECT, related_name="bots")
    bar_s = models.PositiveIntegerField(default=60)
    is_enabled = models.BooleanField(default=True, help_text="an enabled bot owns its instruments on the account")
    #: what a person last asked: the engine starts what should run
    should_run = models.BooleanField(default=False)
    version = models.PositiveIntegerField(default=1, editable=False)

    class Meta:
        ordering = ["code"]

    def __str__(self) -> str:
        return self.code


class BotInstrument(models.Model):
    """One instrument of one bot. `is_owner` and `account` copy the bot's, so that the database can refuse two enabled owners."""

    bot = models.ForeignKey(Bot, on_delete=models.CASCADE, related_name="symbols")
    instrument = models.ForeignKey("risk.Instrument", on_delete=models.PROTECT, related_name="+")
    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="+", editable=False)
    is_owner = models.BooleanField(default=True, editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["bot", "instrument"], name="bot_instrument_once"),
            models.UniqueConstraint(
                fields=["account", "instrument"], condition=Q(is_owner=True), name="one_enabled_bot_per_instrument"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.bot} {self.instrument}"


class Signal(models.Model):
    """A non-HOLD Decision with the verdict of every gate. Identical denials in a row are one row with a count and the last time."""

    # written all day: Signal, Order, Fill and Bracket have no index on the account alone, their others begin with it
    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="+", db_index=False)
    decision_id = models.CharField(max_length=120)
    at = models.DateTimeField()
    last_at = models.DateTimeField()
    market_at = models.DateTimeField()
    repeats = models.PositiveIntegerField(default=1)
    bot = models.CharField(max_length=40)
    symbol = models.CharField(max_length=32)
    signal = models.CharField(max_length=8, choices=_choices(SignalKind))
    side = models.CharField(max_length=4, blank=True, default="", choices=_choices(Side))
    order_class = models.CharField(max_length=12, blank=True, default="", choices=_choices(OrderClass))
    ord_type = models.CharField(max_length=12, choices=_choices(OrdType))
    #: empty when approved
    reason = models.CharField(max_length=32, blank=True, default="")
    text = models.CharField(max_length=500, blank=True, default="")
    #: list of checks in the gates' order, read as `risk.core.wording.check_as_dict` words them
    checks = ChecksField(default=list)
    order_qty = DecimalText(null=True)
    price = DecimalText(null=True)
    bid = DecimalText(null=True)
    ask = DecimalText(null=True)
    stop_loss = DecimalText(null=True)
    take_profit = DecimalText(null=True)
    note = models.CharField(max_length=300, blank=True, default="")
    settings_version = models.PositiveIntegerField(default=0)
    cl_ord_id = models.CharField(max_length=18, blank=True, default="")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["account", "decision_id"], name="one_signal_per_decision")]
        indexes = [
            models.Index(fields=["account", "-id"], name="signal_newest"),
            models.Index(fields=["account", "bot", "symbol", "-id"], name="signal_of_bot"),
            models.Index(fields=["account", "last_at"], name="signal_denied", condition=~Q(reason="")),
        ]

    def __str__(self) -> str:
        return self.decision_id


class Order(models.Model):
    """An order as the Desk knows it."""

    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="orders", db_index=False)
    cl_ord_id = models.CharField(max_length=18)
    order_id = models.CharField(max_length=64, blank=True, default="")
    bot = models.CharField(max_length=40)
    symbol = models.CharField(max_length=32)
    side = models.CharField(max_length=4, choices=_choices(Side))
    ord_type = models.CharField(max_length=12, choices=_choices(OrdType))
    time_in_force = models.CharField(max_length=4, choices=_choices(TimeInForce))
    order_class = models.CharField(max_length=12, choices=_choices(OrderClass))
    purpose = models.CharField(max_length=12, choices=_choices(Purpose))
    ord_status = models.CharField(max_length=20, choices=_choices(OrdStatus))
    is_working = models.BooleanField()
    order_qty = DecimalText()
    cum_qty = DecimalText(default=0)
    leaves_qty = DecimalText(default=0)
    avg_px = DecimalText(null=True)
    price = DecimalText(null=True)
    stop_px = DecimalText(null=True)
    fees = DecimalText(default=0)
    reduce_only = models.BooleanField(default=False)
    post_only = models.BooleanField(default=False)
    bracket_id = models.CharField(max_length=18, blank=True, default="")
    decision_id = models.CharField(max_length=120, blank=True, default="")
    settings_version = models.PositiveIntegerField(default=0)
    ord_rej_reason = models.CharField(max_length=60, blank=True, default="")
    text = models.CharField(max_length=300, blank=True, default="")
    cancel_asked_by = models.CharField(max_length=150, blank=True, default="")
    created_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True)
    pending_since = models.DateTimeField(null=True)
    updated_at = models.DateTimeField()
    done_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["account", "cl_ord_id"], name="one_order_per_id")]
        indexes = [
            models.Index(fields=["account", "symbol"], name="order_working", condition=Q(is_working=True)),
            models.Index(fields=["account", "-id"], name="order_newest"),
            models.Index(fields=["account", "bot", "-id"], name="order_of_bot"),
        ]

    def __str__(self) -> str:
        return self.cl_ord_id


class Fill(models.Model):
    """A booked fill. `transact_at` is the venue's time, `at` ours."""

    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="fills", db_index=False)
    exec_id = models.CharField(max_length=64)
    cl_ord_id = models.CharField(max_length=18)
    order_id = models.CharField(max_length=64, blank=True, default="")
    bot = models.CharField(max_length=40)
    symbol = models.CharField(max_length=32)
    side = models.CharField(max_length=4, choices=_choices(Side))
    last_qty = DecimalText()
    last_px = DecimalText()
    fee = DecimalText(default=0)
    fee_currency = models.CharField(max_length=8, blank=True, default="")
    liquidity = models.CharField(max_length=8, blank=True, default="")
    realised = DecimalText(default=0)
    at = models.DateTimeField()
    transact_at = models.DateTimeField(null=True)
    #: the fill that this one corrects
    exec_ref_id = models.CharField(max_length=64, blank=True, default="")
    #: when the venue took it back
    busted_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["account", "cl_ord_id", "exec_id"], name="one_fill_per_exec_id")]
        indexes = [models.Index(fields=["account", "symbol", "-id"], name="fill_of_symbol")]

    def __str__(self) -> str:
        return self.exec_id


class Adjustment(models.Model):
    """What the venue moved without a trade: funding, a split. `qty` is what was held before it, `amount` what was received."""

    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="adjustments", db_index=False)
    adjustment_id = models.CharField(max_length=60)
    kind = models.CharField(max_length=8, choices=_choices(AdjustmentKind))
    bot = models.CharField(max_length=40)
    symbol = models.CharField(max_length=32)
    qty = DecimalText()
    amount = DecimalText()
    new_units = DecimalText()
    old_units = DecimalText()
    at = models.DateTimeField()
    transact_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["account", "adjustment_id"], name="one_adjustment_per_id")]
        indexes = [models.Index(fields=["account", "symbol", "-id"], name="adjustment_of_symbol")]

    def __str__(self) -> str:
        return self.adjustment_id


class Bracket(models.Model):
    """An entry's protection. The legs are Orders with this bracket_id."""

    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="brackets", db_index=False)
    bracket_id = models.CharField(max_length=18)
    bot = models.CharField(max_length=40)
    symbol = models.CharField(max_length=32)
    side = models.CharField(max_length=4, choices=_choices(Side))
    status = models.CharField(max_length=12, choices=_choices(BracketStatus))
    stop_px = DecimalText(null=True)
    target_px = DecimalText(null=True)
    entry_qty = DecimalText(default=0)
    open_qty = DecimalText(default=0)
    #: cl_ord_id of the live leg; empty for none
    stop_id = models.CharField(max_length=18, blank=True, default="")
    target_id = models.CharField(max_length=18, blank=True, default="")
    is_stop_waived = models.BooleanField(default=False)
    is_target_waived = models.BooleanField(default=False)
    #: watched by the engine, because the venue cannot hold it: it works only while the engine and its prices do
    is_stop_emulated = models.BooleanField(default=False)
    is_target_emulated = models.BooleanField(default=False)
    naked_since = models.DateTimeField(null=True)
    text = models.CharField(max_length=300, blank=True, default="")
    is_open = models.BooleanField(default=True)
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["account", "bracket_id"], name="one_bracket_per_entry")]
        indexes = [
            models.Index(fields=["account", "symbol"], name="bracket_open", condition=Q(is_open=True)),
            models.Index(fields=["account", "-id"], name="bracket_newest"),
        ]

    def __str__(self) -> str:
        return self.bracket_id


class Position(models.Model):
    """One symbol of an account; kept at quantity zero once it existed."""

    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="positions")
    symbol = models.CharField(max_length=32)
    bot = models.CharField(max_length=40)
    qty = DecimalText(default=0)
    avg_px = DecimalText(null=True)
    contract_value = DecimalText(default=1)
    is_inverse = models.BooleanField(default=False)
    realised = DecimalText(default=0)
    fees = DecimalText(default=0)
    unrealised = DecimalText(default=0)
    mark = DecimalText(null=True)
    marked_at = models.DateTimeField(null=True)
    opened_at = models.DateTimeField(null=True)
    updated_at = models.DateTimeField()
    is_open = models.BooleanField(default=False)

    class Meta:
        ordering = ["symbol"]
        constraints = [models.UniqueConstraint(fields=["account", "symbol"], name="one_position_per_symbol")]

    def __str__(self) -> str:
        return f"{self.symbol} {self.qty}"


class Act(models.Model):
    """What a person or an API client asked, at a scope. It becomes one Command per account."""

    kind = models.CharField(max_length=16, choices=_choices(CommandKind))
    scope = models.CharField(max_length=12, choices=_choices(ScopeKind))
    scope_key = models.CharField(max_length=40, blank=True, default="")
    target = models.CharField(max_length=64, blank=True, default="")
    choice = models.CharField(max_length=16, blank=True, default="")
    halt_id = models.CharField(max_length=80, blank=True, default="")
    by = models.CharField(max_length=150)
    reason = models.CharField(max_length=300, blank=True, default="")
    #: what the page showed when it was asked ("8 entries, 5 positions")
    seen = models.CharField(max_length=300, blank=True, default="")
    idempotency_key = models.CharField(max_length=64, unique=True)
    at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["-at"], name="act_newest")]

    def __str__(self) -> str:
        return f"{self.kind} {self.scope} {self.scope_key}".strip()


class Command(models.Model):
    """One act for one account, with the engine's answer."""

    act = models.ForeignKey(Act, on_delete=models.CASCADE, related_name="commands")
    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="commands")
    #: CommandSpec as JSON
    body = models.JSONField()
    status = models.CharField(max_length=8, choices=_choices(CommandStatus), default=CommandStatus.PENDING)
    applied_seq = models.PositiveBigIntegerField(null=True)
    text = models.CharField(max_length=500, blank=True, default="")
    #: list of Step as JSON objects
    steps = models.JSONField(default=list)
    created_at = models.DateTimeField()
    answered_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [models.Index(fields=["account", "id"], name="command_pending", condition=Q(status="PENDING"))]

    def __str__(self) -> str:
        return f"command {self.pk}"


class JournalEntry(models.Model):
    """One event that changed a Desk."""

    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="+")
    epoch = models.CharField(max_length=8)
    seq = models.PositiveBigIntegerField()
    at = models.DateTimeField()
    event = models.BinaryField()
    digest = models.BinaryField()
    core_version = models.CharField(max_length=16)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["account", "epoch", "seq"], name="one_entry_per_seq")]

    def __str__(self) -> str:
        return f"{self.account_id}/{self.epoch}/{self.seq}"


class Snapshot(models.Model):
    """A Desk's whole state after `seq`."""

    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="+")
    epoch = models.CharField(max_length=8)
    seq = models.PositiveBigIntegerField()
    at = models.DateTimeField()
    state = models.BinaryField()
    state_hash = models.CharField(max_length=64)
    schema = models.PositiveIntegerField()
    core_version = models.CharField(max_length=16)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["account", "epoch", "seq"], name="one_snapshot_per_seq")]

    def __str__(self) -> str:
        return f"{self.account_id}/{self.epoch}/{self.seq}"


class PoisonEvent(models.Model):
    """An event that raised twice: kept aside with its traceback."""

    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="+")
    at = models.DateTimeField()
    event = models.BinaryField()
    traceback = models.TextField()

    def __str__(self) -> str:
        return f"poison {self.pk}"


class Lease(models.Model):
    """Who owns an account, with a fencing token that grows at each claim. Times are the database's."""

    account = models.OneToOneField(Account, on_delete=models.CASCADE, primary_key=True, related_name="lease")
    engine = models.CharField(max_length=64, blank=True, default="")
    token = models.PositiveBigIntegerField(default=0)
    expires_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"lease {self.token} of {self.account_id}"


class Engine(models.Model):
    """An engine process: heartbeat and vitals, written each second."""

    name = models.CharField(max_length=64, primary_key=True)
    pid = models.PositiveIntegerField()
    host = models.CharField(max_length=100)
    version = models.CharField(max_length=40)
    started_at = models.DateTimeField()
    seen_at = models.DateTimeField()
    #: set by a clean stop; empty for one that runs or was killed
    stopped_at = models.DateTimeField(null=True)
    #: loop lag, fsync, queue lengths, journal commit times, memory: names end in their unit
    vitals = models.JSONField(default=dict)

    def __str__(self) -> str:
        return self.name


class AccountState(models.Model):
    """The account's numbers and readiness, as last committed. `seq` is the stream's sequence number of the account."""

    account = models.OneToOneField(Account, on_delete=models.CASCADE, primary_key=True, related_name="state")
    seq = models.PositiveBigIntegerField(default=0)
    #: ACTIVE, STARTING, GUARD, STOPPED
    phase = models.CharField(max_length=10, default="STOPPED")
    #: the start-up gate: list of {name, is_passed, text}
    checklist = models.JSONField(default=list)
    cash = DecimalText(default=0)
    equity = DecimalText(default=0)
    day_start_equity = DecimalText(default=0)
    peak_equity = DecimalText(default=0)
    realised = DecimalText(default=0)
    fees = DecimalText(default=0)
    gross_exposure = DecimalText(default=0)
    net_exposure = DecimalText(default=0)
    day_end_at = models.DateTimeField(null=True)
    #: condition name → ISO time it began
    conditions = models.JSONField(default=dict)
    links_down = models.JSONField(default=dict)
    reconciled_at = models.DateTimeField(null=True)
    reconciled_text = models.CharField(max_length=200, blank=True, default="")
    #: the last proof that the order stream is alive
    orders_proof_at = models.DateTimeField(null=True)
    feed_label = models.CharField(max_length=120, blank=True, default="")
    feed_is_synthetic = models.BooleanField(default=False)
    #: how far apart its prices are by nature; see core.ports.Feed
    feed_gap_ms = models.PositiveIntegerField(default=0)
    settings_digest = models.CharField(max_length=64, blank=True, default="")
    settings_version = models.PositiveIntegerField(default=0)
    settings_applied_at = models.DateTimeField(null=True)
    engine = models.CharField(max_length=64, blank=True, default="")
    updated_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"state of {self.account_id}"


class BotState(models.Model):
    """A bot's own state and counters, as last committed. Its effective state also depends on halts and conditions."""

    bot = models.OneToOneField(Bot, on_delete=models.CASCADE, primary_key=True, related_name="state")
    status = models.CharField(max_length=10, choices=_choices(BotStatus), default=BotStatus.STOPPED)
    stop_mode = models.CharField(max_length=16, blank=True, default="")
    placed = models.PositiveIntegerField(default=0)
    denied = models.PositiveIntegerField(default=0)
    last_signal_at = models.DateTimeField(null=True)
    text = models.CharField(max_length=500, blank=True, default="")

    def __str__(self) -> str:
        return f"state of {self.bot_id}"


class SymbolState(models.Model):
    """Risk state and last price of one symbol on one account."""

    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="symbol_states")
    symbol = models.CharField(max_length=32)
    session_realised = DecimalText(default=0)
    session_fees = DecimalText(default=0)
    session_trades = models.PositiveIntegerField(default=0)
    session_is_tripped = models.BooleanField(default=False)
    session_start_at = models.DateTimeField(null=True)
    session_end_at = models.DateTimeField(null=True)
    breaker_losses = models.PositiveIntegerField(default=0)
    breaker_tripped_at = models.DateTimeField(null=True)
    bid = DecimalText(null=True)
    ask = DecimalText(null=True)
    last = DecimalText(null=True)
    #: our receipt of the last price, and the market's own time of it
    priced_at = models.DateTimeField(null=True)
    market_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["symbol"]
        constraints = [models.UniqueConstraint(fields=["account", "symbol"], name="one_symbol_state")]

    def __str__(self) -> str:
        return f"{self.account_id} {self.symbol}"


class Alarm(models.Model):
    """Something a person must know. Raised once per key; returned when its cause is gone."""

    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="alarms")
    key = models.CharField(max_length=120)
    priority = models.PositiveSmallIntegerField()
    title = models.CharField(max_length=120)
    cause = models.CharField(max_length=300)
    consequence = models.CharField(max_length=300)
    to_do = models.CharField(max_length=300)
    bot = models.CharField(max_length=40, blank=True, default="")
    symbol = models.CharField(max_length=32, blank=True, default="")
    raised_at = models.DateTimeField()
    returned_at = models.DateTimeField(null=True)
    acked_at = models.DateTimeField(null=True)
    acked_by = models.CharField(max_length=150, blank=True, default="")

    class Meta:
        ordering = ["priority", "-raised_at"]
        constraints = [
            models.UniqueConstraint(fields=["account", "key"], condition=Q(returned_at=None), name="one_active_alarm_per_key")
        ]

    def __str__(self) -> str:
        return self.title


class Discrepancy(models.Model):
    """A symbol of which the venue holds another quantity than we: from the first look to how it ended."""

    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="discrepancies")
    symbol = models.CharField(max_length=32)
    ours = DecimalText()
    theirs = DecimalText()
    since = models.DateTimeField()
    seen_at = models.DateTimeField()
    #: in words, with who and why where a person ended it
    ended = models.CharField(max_length=300, blank=True, default="")
    ended_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-since"]
        constraints = [models.UniqueConstraint(fields=["account", "symbol", "since"], name="one_discrepancy_per_symbol_and_time")]

    def __str__(self) -> str:
        return f"{self.symbol}: ours {self.ours}, the venue's {self.theirs}"


class Bar(models.Model):
    """A closed bar, for charts and warm-up. Times are the market's."""

    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="+")
    symbol = models.CharField(max_length=32)
    interval_s = models.PositiveIntegerField()
    start_at = models.DateTimeField()
    open = DecimalText()
    high = DecimalText()
    low = DecimalText()
    close = DecimalText()
    volume = DecimalText(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["account", "symbol", "interval_s", "start_at"], name="one_bar")]

    def __str__(self) -> str:
        return f"{self.symbol} {self.start_at}"


class BotLog(models.Model):
    """A line of a bot's log: started, warmed, stopped, raised."""

    bot = models.ForeignKey(Bot, on_delete=models.CASCADE, related_name="logs")
    at = models.DateTimeField()
    level = models.CharField(max_length=8)
    text = models.TextField()

    class Meta:
        indexes = [models.Index(fields=["bot", "-id"], name="botlog_newest")]

    def __str__(self) -> str:
        return self.text[:60]


class FeedOffset(models.Model):
    """Where a tape stands, so that it resumes there."""

    account = models.OneToOneField(Account, on_delete=models.CASCADE, primary_key=True, related_name="+")
    feed = models.CharField(max_length=300)
    offset = models.PositiveBigIntegerField(default=0)
    broken_lines = models.PositiveIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.feed} at {self.offset}"
