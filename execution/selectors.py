"""What pages and the status command read, in few queries. An Overview is one consistent look at every account a person may see."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cached_property
from typing import Any

from django.db.models import Q, QuerySet, Sum

from execution.core import pnl
from execution.core.conditions import TAPE_OVER
from execution.core.controls import BotStatus
from execution.core.lots import ClosedTrade, Grouping, LotFill, Lots, Matching
from execution.core.messages import AdjustmentKind, CommandKind, CommandStatus, LinkKind
from execution.core.orders import OrdStatus, Purpose
from execution.models import (
    Account,
    AccountState,
    Adjustment,
    Alarm,
    Bot,
    BotInstrument,
    BotLog,
    BotState,
    Bracket,
    Command,
    Discrepancy,
    Engine,
    Fill,
    Order,
    Position,
    Signal,
    SymbolState,
)
from risk.calendars import sessions_from
from risk.core.hours import ALWAYS, is_open, opens_at
from risk.core.portfolio import Reading, Standing, readings
from risk.core.units import ZERO, ScopeKind, Side, multiple_below
from risk.core.verdict import HaltCause, HaltMode
from risk.models import Halt, Instrument
from risk.selectors import instrument_value, limits_value

NAN = Decimal("NaN")
#: an order asked for longer than this without an answer is stuck
STUCK_AFTER = timedelta(seconds=5)
#: who is about to act is told what others did so recently
ACTS_RECENT = timedelta(seconds=60)
#: what a command's row may still become
UNFINISHED = (CommandStatus.PENDING, CommandStatus.RUNNING)


@dataclass(frozen=True)
class Effective:
    """What a bot or account may do now: the most restrictive of its own status, the halts over it and its conditions."""

    #: ACTIVE, WARMING, STOPPING, STOPPED, DISABLED, PAUSED, REDUCE_ONLY, HALTED
    name: str
    #: "firm", "account paper", "bot ema-btc", "instrument BTCUSDT", "breaker BTCUSDT"; empty where nothing restricts
    level: str = ""
    #: the halt to clear; None when no person has to
    halt: Halt | None = None
    detail: str = ""

    @property
    def is_normal(self) -> bool:
        return self.name in {"ACTIVE", "WARMING", "STOPPED", "STOPPING", "DISABLED"}


@dataclass(frozen=True)
class Protection:
    """What protects one open position: the stop resting at the venue and the quantity it covers, and what is watched from here."""

    bracket: Bracket | None
    stop: Order | None
    target: Order | None
    covered_qty: Decimal
    qty: Decimal
    #: what stops cover that the engine watches, because the venue cannot hold them
    watched_qty: Decimal = ZERO

    @property
    def is_full(self) -> bool:
        """Whether what is open is covered though this machine died now."""
        return self.covered_qty >= self.qty

    @property
    def is_watched(self) -> bool:
        """Whether it is covered, but not without the engine."""
        return not self.is_full and self.covered_qty + self.watched_qty >= self.qty

    @property
    def name(self) -> str:
        if self.is_watched:
            return "watched here"
        if not self.is_full:
            return "part" if self.covered_qty else "none"
        return "armed" if self.target is not None else "stop only"


@dataclass
class Overview:
    """One look at the desk. Lists hold what is open or working now; lookups are built when first asked."""

    at: datetime
    accounts: list[Account]
    bots: list[Bot]
    owned: list[BotInstrument]
    positions: list[Position]
    brackets: list[Bracket]
    orders: list[Order]
    symbol_states: list[SymbolState]
    halts: list[Halt]
    alarms: list[Alarm]
    engines: list[Engine]
    commands: list[Command]
    instruments: dict[str, Instrument] = field(default_factory=dict)
    #: (account, symbol) that more than one bot trades or traded → bot → result of its fills in this session
    shared_results: dict[tuple[int, str], dict[str, Decimal]] = field(default_factory=dict)

    @cached_property
    def accounts_by_id(self) -> dict[int, Account]:
        return {account.pk: account for account in self.accounts}

    @cached_property
    def states(self) -> dict[int, AccountState]:
        return {a.pk: state for a in self.accounts if (state := getattr(a, "state", None)) is not None}

    @cached_property
    def symbols_of(self) -> dict[int, list[str]]:
        found: dict[int, list[str]] = defaultdict(list)
        for row in self.owned:
            found[row.bot_id].append(row.instrument.symbol)
        return found

    @cached_property
    def orders_by_id(self) -> dict[tuple[int, str], Order]:
        return {(o.account_id, o.cl_ord_id): o for o in self.orders}

    @cached_property
    def positions_by_symbol(self) -> dict[tuple[int, str], Position]:
        return {(p.account_id, p.symbol): p for p in self.positions}

    @cached_property
    def prices(self) -> dict[tuple[int, str], SymbolState]:
        return {(s.account_id, s.symbol): s for s in self.symbol_states}

    @cached_property
    def engines_by_name(self) -> dict[str, Engine]:
        return {engine.name: engine for engine in self.engines}

    @cached_property
    def _brackets_of(self) -> dict[tuple[int, str], list[Bracket]]:
        found: dict[tuple[int, str], list[Bracket]] = defaultdict(list)
        for bracket in self.brackets:
            found[bracket.account_id, bracket.symbol].append(bracket)
        return found

    @cached_property
    def _stops_of(self) -> dict[tuple[int, str], list[Order]]:
        found: dict[tuple[int, str], list[Order]] = defaultdict(list)
        for order in self.orders:
            if order.purpose == Purpose.STOP_LOSS:
                found[order.account_id, order.symbol].append(order)
        return found

    @cached_property
    def entries(self) -> list[Order]:
        return [o for o in self.orders if o.purpose == Purpose.ENTRY]

    @cached_property
    def legs(self) -> list[Order]:
        return [o for o in self.orders if o.purpose in (Purpose.STOP_LOSS, Purpose.TAKE_PROFIT)]

    @cached_property
    def working_by_bot(self) -> Counter[tuple[int, str]]:
        return Counter((o.account_id, o.bot) for o in self.orders)

    @cached_property
    def stuck(self) -> list[Order]:
        return [o for o in self.orders if is_stuck(o, at=self.at)]

    @cached_property
    def uncovered(self) -> list[Position]:
        """Open positions whose resting stops do not cover them, for whatever reason."""
        return [p for p in self.positions if not self.protection_of(p).is_full]

    @cached_property
    def naked(self) -> list[Position]:
        """Those of the uncovered that nobody chose to leave so, and whose stop is not watched from here."""
        found = ((p, self.protection_of(p)) for p in self.uncovered)
        return [p for p, protection in found if not (protection.is_watched or _is_waived(protection.bracket))]

    def kill_commands(self, halt: Halt) -> list[Command]:
        """The commands of the kill that set this halt, and of those that joined it."""
        return [c for c in self.commands if c.act.kind == CommandKind.KILL and c.act.halt_id == halt.halt_id]

    def protection_of(self, position: Position) -> Protection:
        key = (position.account_id, position.symbol)
        brackets = self._brackets_of.get(key, [])
        bracket = brackets[-1] if brackets else None
        # a stop that somebody takes away protects no more, though the venue has not confirmed its end yet
        leaving = {row.bracket_id for row in brackets if row.is_stop_waived}
        resting = [o for o in self._stops_of.get(key, []) if is_resting(o) and o.bracket_id not in leaving]
        covered = sum((o.leaves_qty for o in resting), ZERO)
        target = self.orders_by_id.get((position.account_id, bracket.target_id)) if bracket else None
        watched = sum((row.open_qty for row in brackets if _is_watched(row)), ZERO)
        return Protection(bracket, resting[-1] if resting else None, target, covered, self._open_lots(position), watched)

    def _open_lots(self, position: Position) -> Decimal:
        """How much of it an order could close. What is less than a lot can neither be protected nor closed: it counts as flat."""
        instrument = self.instruments.get(position.symbol)
        return abs(position.qty) if instrument is None else multiple_below(abs(position.qty), instrument.lot_size)

    def bot_position(self, bot: Bot) -> list[Position]:
        """The open positions in the bot's symbols that are its own, and those of no bot in the symbols that only it may trade now."""
        found = (self.positions_by_symbol.get((bot.account_id, symbol)) for symbol in self.symbols_of.get(bot.pk, ()))
        return [p for p in found if p is not None and (p.bot == bot.code or self._falls_to(bot, p))]

    def _falls_to(self, bot: Bot, position: Position) -> bool:
        return position.bot not in self._codes and position.symbol in self.trades_now(bot)

    def session_result(self, bot: Bot, symbol: str) -> Decimal:
        """What the bot made in the symbol's session, fees off. Where others traded the symbol too, by its own fills alone."""
        own = self.shared_results.get((bot.account_id, symbol))
        if own is not None:
            return own.get(bot.code, ZERO)
        state = self.prices.get((bot.account_id, symbol))
        return state.session_realised - state.session_fees if state is not None else ZERO

    def market_closed(self, symbol: str) -> str:
        """ "market closed, opens Mon 14:30 UTC", by the symbol's calendar; empty while it is open."""
        instrument = self.instruments.get(symbol)
        if instrument is None or instrument.calendar == ALWAYS:
            return ""
        sessions = sessions_from(instrument.calendar, self.at.astimezone(UTC).date())
        if is_open(sessions, self.at):
            return ""
        opening = opens_at(sessions, self.at)
        return f"market closed, opens {opening:%a %H:%M} UTC" if opening else "market closed, its hours are not known"

    def trades_now(self, bot: Bot) -> set[str]:
        """The symbols that this bot alone may trade; none for a disabled one, whose symbols another may have taken over."""
        return {row.instrument.symbol for row in self._owners.get(bot.pk, ())}

    @cached_property
    def _owners(self) -> dict[int, list[BotInstrument]]:
        found: dict[int, list[BotInstrument]] = defaultdict(list)
        for row in self.owned:
            if row.is_owner:
                found[row.bot_id].append(row)
        return found

    @cached_property
    def _codes(self) -> set[str]:
        return {bot.code for bot in self.bots}

    def halts_over(self, bot: Bot) -> list[Halt]:
        if not self.halts:
            return []
        symbols = self.symbols_of.get(bot.pk, [])
        account = self.accounts_by_id[bot.account_id].code
        keys = {
            ScopeKind.FIRM: {""},
            ScopeKind.ACCOUNT: {account},
            ScopeKind.BOT: {bot.code},
            ScopeKind.INSTRUMENT: set(symbols),
        }
        return [h for h in self.halts if h.scope == ScopeKind.FIRM or h.scope_key in keys[ScopeKind(h.scope)]]

    @cached_property
    def _effective(self) -> dict[int, Effective]:
        return {}

    def effective(self, bot: Bot) -> Effective:
        """The bot's effective state with the level that restricts it most."""
        if bot.pk not in self._effective:
            self._effective[bot.pk] = self._judged(bot)
        return self._effective[bot.pk]

    def _judged(self, bot: Bot) -> Effective:
        if not bot.is_enabled:
            return self._disabled(bot)
        halts = sorted(self.halts_over(bot), key=lambda h: (h.mode != HaltMode.HALTED, h.cause == HaltCause.PAUSE))
        if halts:
            worst = halts[0]
            level = "firm" if worst.scope == ScopeKind.FIRM else f"{worst.scope.lower()} {worst.scope_key}"
            if worst.mode == HaltMode.HALTED:
                return Effective("HALTED", level, worst, worst.reason)
            name = "PAUSED" if worst.cause == HaltCause.PAUSE else "REDUCE_ONLY"
            return Effective(name, level, worst, worst.reason)
        status = bot_status(bot)
        if status != BotStatus.RUNNING:
            return Effective(status)
        return self._restricted_by_symbol(bot) or self._restricted_by_account(bot) or Effective("ACTIVE")

    def _disabled(self, bot: Bot) -> Effective:
        """Disabled, whatever else; a halt of its own that stands is told, and can be cleared."""
        told = "It trades nothing. It is enabled in the admin, and then started."
        own = next((h for h in self.halts_over(bot) if h.scope == ScopeKind.BOT and h.cause != HaltCause.PAUSE), None)
        if own is None:
            return Effective("DISABLED", detail=told)
        mode = "halted" if own.mode == HaltMode.HALTED else "reduce only"
        return Effective(
            "DISABLED", halt=own, detail=f"{told} It is {mode} besides, by {own.by}: {own.reason or own.cause.lower()}"
        )

    def _restricted_by_symbol(self, bot: Bot) -> Effective | None:
        for symbol in self.symbols_of.get(bot.pk, []):
            state = self.prices.get((bot.account_id, symbol))
            if state and state.breaker_tripped_at:
                return Effective("REDUCE_ONLY", f"breaker {symbol}", None, f"{_losses(state)}; ends by itself")
            if state and state.session_is_tripped:
                return Effective("REDUCE_ONLY", f"session loss {symbol}", None, "until the session ends")
        return None

    def _restricted_by_account(self, bot: Bot) -> Effective | None:
        state = self.states.get(bot.account_id)
        if state is None or state.phase in {"STOPPED", "STARTING"}:
            return Effective("REDUCE_ONLY", "account not ready", None, "no engine runs this account yet")
        if state.phase == "GUARD":
            return Effective("REDUCE_ONLY", "guard", None, "the watchdog holds this account")
        if tape_is_over(state):
            return Effective("REDUCE_ONLY", "the end of the tape", None, "no price comes any more")
        for link, cause in state.links_down.items():
            return Effective("REDUCE_ONLY", f"{link.lower()} link down", None, str(cause))
        for name in state.conditions:
            return Effective("REDUCE_ONLY", name.replace("_", " ").lower(), None, "ends by itself")
        return None

    def meters(self, account: Account) -> tuple[Reading, ...]:
        """The account's limits with the numbers that gate 14 compares; none before an engine has counted them.

        A position without a mark makes every exposure unknown, as it does for the gate.
        """
        state = self.states.get(account.pk)
        if state is None or state.day_end_at is None:
            return ()
        held = [p for p in self.positions if p.account_id == account.pk and self._open_lots(p)]
        is_marked = all(p.mark is not None for p in held)
        entered = {o.symbol for o in self.entries if o.account_id == account.pk}
        standing = Standing(
            equity=state.equity,
            day_start_equity=state.day_start_equity,
            peak_equity=state.peak_equity,
            gross=state.gross_exposure if is_marked else NAN,
            net=state.net_exposure if is_marked else NAN,
            positions=len(entered.union(p.symbol for p in held)),
        )
        return readings(standing, limits_value(account.limits))

    def of_accounts(self, account_ids: Collection[int]) -> Overview:
        """The same look, narrowed to some accounts."""
        bots = [b for b in self.bots if b.account_id in account_ids]
        codes = {b.code for b in bots}
        names = {a.code for a in self.accounts if a.pk in account_ids}
        return replace(
            self,
            accounts=[a for a in self.accounts if a.pk in account_ids],
            bots=bots,
            owned=[o for o in self.owned if o.account_id in account_ids],
            positions=[p for p in self.positions if p.account_id in account_ids],
            brackets=[b for b in self.brackets if b.account_id in account_ids],
            orders=[o for o in self.orders if o.account_id in account_ids],
            symbol_states=[s for s in self.symbol_states if s.account_id in account_ids],
            halts=[h for h in self.halts if _concerns(h, names, codes)],
            alarms=[a for a in self.alarms if a.account_id in account_ids],
            commands=[c for c in self.commands if c.account_id in account_ids],
        )


def tape_is_over(state: AccountState | None) -> bool:
    """Whether the account's prices were a tape and all of it was played."""
    return state is not None and state.links_down.get(LinkKind.PRICES) == TAPE_OVER


def _losses(state: SymbolState) -> str:
    return f"{state.breaker_losses} loss{'' if state.breaker_losses == 1 else 'es'}"


def _is_watched(bracket: Bracket) -> bool:
    """Whether the engine watches its stop, and has seen prices lately."""
    return bracket.is_stop_emulated and not bracket.is_stop_waived and bracket.naked_since is None


def _is_waived(bracket: Bracket | None) -> bool:
    return bracket is not None and bracket.is_stop_waived


def _concerns(halt: Halt, accounts: Collection[str], bots: Collection[str]) -> bool:
    match halt.scope:
        case ScopeKind.ACCOUNT:
            return halt.scope_key in accounts
        case ScopeKind.BOT:
            return halt.scope_key in bots
    return True


def bot_status(bot: Bot) -> BotStatus:
    state: BotState | None = getattr(bot, "state", None)
    return BotStatus(state.status) if state else BotStatus.STOPPED


def is_resting(order: Order) -> bool:
    """True for an order the venue has confirmed and may still fill."""
    return order.is_working and order.accepted_at is not None and order.ord_status != OrdStatus.UNKNOWN


def is_stuck(order: Order, *, at: datetime) -> bool:
    """Asked, or unknown, for longer than an answer should take."""
    waiting = {OrdStatus.PENDING_NEW, OrdStatus.PENDING_CANCEL, OrdStatus.PENDING_REPLACE, OrdStatus.UNKNOWN}
    since = order.pending_since or order.updated_at
    return order.is_working and order.ord_status in waiting and at - since > STUCK_AFTER


def overview(*, accounts: QuerySet[Account] | None = None, at: datetime) -> Overview:
    """Everything open or working on `accounts` (all enabled ones when None), in twelve queries whatever their number."""
    chosen = Account.objects.filter(is_enabled=True) if accounts is None else accounts
    rows = list(chosen.select_related("state", "limits", "lease").order_by("code"))
    ids = [account.pk for account in rows]
    bots = list(Bot.objects.filter(account__in=ids).select_related("state"))
    halts = [
        halt for halt in Halt.objects.filter(cleared_at=None) if _concerns(halt, {a.code for a in rows}, {b.code for b in bots})
    ]
    instruments = Instrument.objects.in_bulk()
    owned = _owned(ids, instruments)
    symbol_states = list(SymbolState.objects.filter(account__in=ids))
    return Overview(
        at=at,
        accounts=rows,
        bots=bots,
        owned=owned,
        positions=list(Position.objects.filter(account__in=ids, is_open=True)),
        brackets=list(Bracket.objects.filter(account__in=ids, is_open=True).order_by("id")),
        orders=list(Order.objects.filter(account__in=ids, is_working=True).order_by("id")),
        symbol_states=symbol_states,
        halts=halts,
        alarms=list(Alarm.objects.filter(account__in=ids, returned_at=None)),
        engines=list(Engine.objects.filter(seen_at__gt=at - timedelta(days=1)).order_by("started_at")),
        commands=list(_commands_that_matter(ids, halts, since=at - ACTS_RECENT)),
        instruments={i.symbol: i for i in instruments.values()},
        shared_results=_shared_results(rows, owned, symbol_states),
    )


def _shared_results(
    accounts: Iterable[Account], owned: Iterable[BotInstrument], states: Iterable[SymbolState]
) -> dict[tuple[int, str], dict[str, Decimal]]:
    """Each bot's own result in the sessions of symbols that passed from one bot to another: a query each, and they are rare."""
    of = {account.pk: account for account in accounts}
    rows = {(row.account_id, row.instrument.symbol): row for row in owned}
    shared = {key for key, times in Counter((row.account_id, row.instrument.symbol) for row in owned).items() if times > 1}
    found: dict[tuple[int, str], dict[str, Decimal]] = {}
    for state in states:
        key = (state.account_id, state.symbol)
        if key not in shared or state.session_start_at is None:
            continue
        instrument = instrument_value(rows[key].instrument)
        results: dict[str, Decimal] = defaultdict(Decimal)
        for fill in Fill.objects.filter(account=key[0], symbol=key[1], at__gte=state.session_start_at, busted_at=None):
            results[fill.bot] += fill.realised - _fee(of[key[0]], instrument, fill)
        found[key] = results
    return found


def _owned(account_ids: Collection[int], instruments: dict[int, Instrument]) -> list[BotInstrument]:
    """Which bot trades what, by symbol, with the instruments that are read already."""
    rows = list(BotInstrument.objects.filter(account__in=account_ids))
    for row in rows:
        row.instrument = instruments[row.instrument_id]
    return sorted(rows, key=lambda row: row.instrument.symbol)


def _commands_that_matter(account_ids: Iterable[int], halts: Iterable[Halt], *, since: datetime) -> QuerySet[Command]:
    """Commands without a final answer, those of the kills that stand (what "verified" rests on), and those of the last minute."""
    kills = [halt.halt_id for halt in halts if halt.cause == HaltCause.KILL]
    wanted = Q(status__in=UNFINISHED) | Q(created_at__gt=since)
    if kills:
        wanted |= Q(act__halt_id__in=kills)
    return Command.objects.filter(wanted, account__in=account_ids).select_related("act").order_by("id")


@dataclass(frozen=True)
class Resting:
    """An account that is not enabled and ran before: no engine looks after it, and what it holds stays open."""

    account: Account
    equity: Decimal
    positions: list[Position]

    @property
    def why(self) -> str:
        return TAPE_OVER if tape_is_over(self.account.state) else "disabled"


def accounts_resting(accounts: QuerySet[Account]) -> list[Resting]:
    """Of these accounts the ones at rest, those with something open first, then by code."""
    rows = accounts.filter(is_enabled=False, state__isnull=False).select_related("state").order_by("code")
    held: dict[int, list[Position]] = defaultdict(list)
    for position in Position.objects.filter(account__in=[row.pk for row in rows], is_open=True).order_by("symbol"):
        held[position.account_id].append(position)
    found = [Resting(row, row.state.equity, held[row.pk]) for row in rows]
    return sorted(found, key=lambda rest: not rest.positions)


# --- lists -------------------------------------------------------------------------------------------------------------


def orders_listed(account_ids: Iterable[int], *, state: str = "working", bot: str = "", symbol: str = "") -> QuerySet[Order]:
    """Orders newest first. `state` is working, done or all."""
    found = Order.objects.filter(account__in=account_ids).select_related("account").order_by("-id")
    if state in {"working", "done"}:
        found = found.filter(is_working=state == "working")
    return _of(found, bot, symbol)


def signals_listed(
    account_ids: Iterable[int], *, verdict: str = "", bot: str = "", symbol: str = "", reason: str = ""
) -> QuerySet[Signal]:
    """Signals newest first. `verdict` is approved, denied or empty for both."""
    found = Signal.objects.filter(account__in=account_ids).select_related("account").order_by("-id")
    if verdict == "approved":
        found = found.filter(reason="")
    if verdict == "denied":
        found = found.exclude(reason="")
    if reason:
        found = found.filter(reason=reason)
    return _of(found, bot, symbol)


def brackets_listed(account_ids: Iterable[int], *, state: str = "open", bot: str = "", symbol: str = "") -> QuerySet[Bracket]:
    found = Bracket.objects.filter(account__in=account_ids).select_related("account").order_by("-id")
    if state in {"open", "done"}:
        found = found.filter(is_open=state == "open")
    return _of(found, bot, symbol)


def positions_listed(account_ids: Iterable[int]) -> QuerySet[Position]:
    return Position.objects.filter(account__in=account_ids, is_open=True).select_related("account").order_by("symbol")


@dataclass(frozen=True)
class TradeRow:
    """A closed trade of an account's symbol, and the bot whose fill closed it."""

    account: Account
    symbol: str
    bot: str
    trade: ClosedTrade

    @property
    def net(self) -> Decimal:
        return self.trade.realised - self.trade.fees


def trades_closed(accounts: Collection[Account], matching: Matching, *, of_newest: int = 2000) -> list[TradeRow]:
    """The closed trades that the newest fills made, newest first, counted from where each position was flat.

    What the venue took back is left out; splits are counted in. A symbol whose fills reach back to no flat position tells none.
    """
    ids = [account.pk for account in accounts]
    fills = list(Fill.objects.filter(account__in=ids, busted_at=None).order_by("-id")[:of_newest])[::-1]
    by_symbol: dict[tuple[int, str], list[Fill | Adjustment]] = defaultdict(list)
    for fill in fills:
        by_symbol[fill.account_id, fill.symbol].append(fill)
    if fills:
        for split in Adjustment.objects.filter(account__in=ids, kind=AdjustmentKind.SPLIT, at__gte=fills[0].at).order_by("id"):
            by_symbol[split.account_id, split.symbol].append(split)
    specs = {row.symbol: row for row in Instrument.objects.filter(symbol__in={symbol for _, symbol in by_symbol})}
    held = {(row.account_id, row.symbol): row for row in Position.objects.filter(account__in=ids)}
    of = {account.pk: account for account in accounts}
    found: list[TradeRow] = []
    for (pk, symbol), events in by_symbol.items():
        if symbol in specs and (pk, symbol) in held:
            found += _trades(of[pk], specs[symbol], held[pk, symbol], sorted(events, key=lambda event: event.at), matching)
    return sorted(found, key=lambda row: row.trade.exit_at, reverse=True)


def _trades(
    account: Account, spec: Instrument, position: Position, events: list[Fill | Adjustment], matching: Matching
) -> list[TradeRow]:
    instrument = instrument_value(spec)
    lots = Lots(matching, Grouping.FILL_TO_FILL, contract_value=position.contract_value, is_inverse=position.is_inverse)
    rows: list[TradeRow] = []
    for event in _since_flat(instrument, position.qty, events):
        if isinstance(event, Adjustment):
            lots.split(event.new_units, event.old_units)
            continue
        lots.book(_lot_fill(account, instrument, event))
        rows += [TradeRow(account, event.symbol, event.bot, trade) for trade in lots.closed]
        lots.closed.clear()
    return rows


def _since_flat(instrument: Any, qty: Decimal, events: list[Fill | Adjustment]) -> list[Fill | Adjustment]:
    """The events after the earliest moment at which the position was flat, found by walking back from what is held now."""
    first = len(events)
    for n in range(len(events) - 1, -1, -1):
        event = events[n]
        if isinstance(event, Adjustment):
            qty = qty * event.old_units / event.new_units
        else:
            qty -= Side(event.side).sign * event.last_qty - pnl.fee_in_kind(instrument, event.fee, event.fee_currency)
        if not qty:
            first = n
    return events[first:]


def _lot_fill(account: Account, instrument: Any, fill: Fill) -> LotFill:
    """A fill as the report counts it: a fee in kind makes a buy smaller."""
    side = Side(fill.side)
    qty = fill.last_qty - side.sign * pnl.fee_in_kind(instrument, fill.fee, fill.fee_currency)
    fee = _fee(account, instrument, fill)
    return LotFill(cl_ord_id=fill.cl_ord_id, side=side, last_qty=qty, last_px=fill.last_px, fee=fee, at=fill.at)


def _fee(account: Account, instrument: Any, fill: Fill) -> Decimal:
    """A fill's fee in the account's currency: one in kind counts at the fill's price, one in another money is left out."""
    if fill.fee_currency in ("", account.currency):
        return Decimal(fill.fee)
    worth: Decimal = pnl.fee_in_kind(instrument, fill.fee, fill.fee_currency) * instrument.unit_value(fill.last_px)
    return worth


def discrepancies_open(account_ids: Iterable[int]) -> list[Discrepancy]:
    """Symbols of which the venue holds another quantity than we, the oldest difference first."""
    return list(Discrepancy.objects.filter(account__in=account_ids, ended_at=None).select_related("account").order_by("since"))


def adjustments_newest(account_ids: Iterable[int], *, limit: int = 20) -> list[Adjustment]:
    """What the venue moved without a trade, newest first."""
    return list(Adjustment.objects.filter(account__in=account_ids).select_related("account").order_by("-id")[:limit])


def _of(found: QuerySet[Any], bot: str, symbol: str) -> QuerySet[Any]:
    if bot:
        found = found.filter(bot=bot)
    return found.filter(symbol=symbol) if symbol else found


def fills_of_order(order: Order) -> QuerySet[Fill]:
    return Fill.objects.filter(account=order.account_id, cl_ord_id=order.cl_ord_id).order_by("id")


def signal_of_order(order: Order) -> Signal | None:
    if not order.decision_id:
        return None
    return Signal.objects.filter(account=order.account_id, decision_id=order.decision_id).first()


def orders_of_signal(signal: Signal) -> list[Order]:
    """What was ordered for a decision, in order: one order, or each slice so far where it goes in slices. No legs."""
    if not signal.cl_ord_id:
        return []
    first = Order.objects.filter(account=signal.account_id, cl_ord_id=signal.cl_ord_id).first()
    if first is None:
        return []
    # from the first on, along the index of the bot's orders
    later = Order.objects.filter(account=signal.account_id, bot=signal.bot, pk__gt=first.pk, decision_id=signal.decision_id)
    return [first, *later.filter(purpose=first.purpose).order_by("id")]


def commands_of_order(order: Order) -> QuerySet[Command]:
    targets = [order.cl_ord_id, order.bracket_id] if order.bracket_id else [order.cl_ord_id]
    return Command.objects.filter(account=order.account_id, act__target__in=targets).select_related("act").order_by("id")


def denials_by_reason(account_ids: Iterable[int], *, since: datetime) -> list[tuple[str, int]]:
    """Reasons of denials since then with their counts, most first."""
    denied = Signal.objects.filter(account__in=account_ids, last_at__gte=since).exclude(reason="").order_by()
    counted = denied.values_list("reason").annotate(times=Sum("repeats"))
    return [(reason, times) for reason, times in counted.order_by("-times", "reason")]


def bot_log_newest(bot: Bot, *, limit: int = 30) -> list[BotLog]:
    return list(bot.logs.order_by("-id")[:limit])
