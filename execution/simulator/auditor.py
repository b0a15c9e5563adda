"""The auditor: a second, simpler opinion of what happened, made of facts alone. It shares no code with a Desk.

Rules of this file.
1. A promise is a method that reads one kind of fact. The first that is broken ends the history.
2. What is owed in time is owed by an engine that can act: alive, with its lease, its line and its database. Time counts from the
   last of: when it was owed, when the engine could act again, and the last unfriendly act that concerns it.
3. What the desk says is compared with what is true; what it says is never taken for true.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from execution.core.messages import (
    AnswerCommand,
    Commanded,
    CommandKind,
    CommandSpec,
    CommandStatus,
    DeskSettings,
    KillChoice,
    Publish,
    RaiseAlarm,
    Reconciled,
    SendCancel,
    SendMassCancel,
    SendNewOrder,
    SendReplace,
)
from execution.simulator import promises as promised
from execution.simulator.books import Bare, DeskBooks, OrderRow, SignalRow, Truth, VenueBooks, covers
from execution.simulator.facts import (
    Asked,
    Began,
    Busted,
    Changed,
    Cleared,
    Committed,
    Died,
    Edited,
    Fact,
    Filled,
    Funded,
    Hostile,
    Over,
    Owned,
    Rested,
    Rose,
    Taken,
    Told,
    Troubled,
    Unable,
)
from execution.simulator.limits import judged
from execution.simulator.peace import compared, doubts
from execution.simulator.promises import Broken
from risk.core.book import Halt
from risk.core.settings import RiskSettings, UnsupportedProtection
from risk.core.units import ZERO, OrdType, Quote, ScopeKind, Side
from risk.core.verdict import Approved, Capability, OrderClass

_LONG_AGO: Final = float("-inf")
#: what a word of the venue takes to be heard and acted on, where nothing holds it up
_HEARD_S: Final = 0.05
#: what a foreign fill takes to be known for one: it is parked, in case its order's report is only late
_PARKED_S: Final = 6.0
#: commands that restrict or take away: nothing may hold them up
_SAFETY: Final = frozenset({CommandKind.HALT, CommandKind.KILL, CommandKind.PAUSE})
#: commands by which a person takes the protection of a symbol into their own hands
_BY_HAND: Final = frozenset(
    {CommandKind.CANCEL_LEG, CommandKind.CANCEL_BRACKET, CommandKind.CANCEL_ORDER, CommandKind.MOVE_LEG, CommandKind.ARM}
)
_ALARMS: Final = frozenset({"naked", "nostop", "overshoot", "foreign", "discrepancy"})

_RESTING: Final = (OrdType.LIMIT, OrdType.STOP, OrdType.STOP_LIMIT)
_REQUESTS: Final = {Approved: "new", SendCancel: "cancel", SendReplace: "replace", SendMassCancel: "all"}


class Auditor:
    """Takes every fact in order. `broken` is the first promise that did not hold."""

    def __init__(self, settings: DeskSettings, *, lag_s: float = 0.0) -> None:
        #: how old the venue's answers are
        self._lag_s = lag_s
        self.broken: Broken | None = None
        self.venue = VenueBooks()
        self.desk = DeskBooks(settings)
        self.checks: Counter[str] = Counter()
        timing = settings.timing
        #: until a row that people wrote is in force
        self._notice_s = (timing.poll_ms + timing.send_age_ms_max) / 1000 + 0.5
        #: until every doubt about an order is over
        self._doubt_s = (4 * timing.unknown_settle_ms + 2 * timing.send_timeout_ms + timing.reconcile_ms) / 1000 + 5
        self._send_timeout_s = timing.send_timeout_ms / 1000
        self._t = 0.0
        self._token = 0
        self._is_ready = False
        self._able_since = 0.0
        self._hostile: dict[str, float] = {}
        self._hostile_t = self._died_t = _LONG_AGO
        self._unable_until = _LONG_AGO
        self._lease_until = 0.0
        self._submitted: dict[str, Approved] = {}
        self._began_t: dict[str, float] = {}
        self._effects: Counter[tuple[str, str]] = Counter()
        self._cancels_begun: dict[str, float] = {}
        #: decision → its entries, each with its quantity
        self._entries_of: dict[str, dict[str, Decimal]] = {}
        #: decision that goes in slices → all of it
        self._whole: dict[str, Decimal] = {}
        self._approved: set[str] = set()
        #: our id → the order as it is at the venue
        self._truths: dict[str, Truth] = {}
        #: entry that rests → how long it may, in seconds
        self._ttl: dict[str, int] = {}
        #: orders that are over by the desk's own conclusion
        self._given_up: set[str] = set()
        self._quotes: dict[str, Quote] = {}
        self._rows: dict[str, tuple[Halt, float]] = {}
        self._asked: dict[str, tuple[CommandSpec, float]] = {}
        self._answers: dict[str, CommandStatus] = {}
        self._bare: dict[str, Bare] = defaultdict(Bare)
        self._waived: set[str] = set()
        #: the stops of entries that nobody but the desk holds, and when the price was beyond all of them first
        self._stops: dict[str, dict[str, Decimal]] = defaultdict(dict)
        self._beyond_since: dict[str, float] = {}
        self._holds_stops = Capability.STOP_ORDERS in settings.capabilities
        self._reduces = Capability.REDUCE_ONLY in settings.capabilities
        self._alarmed: dict[str, float] = {}
        #: symbols that somebody else moved too, or whose fills were taken back, and when
        self._odd: dict[str, float] = {}
        #: when an entry of this symbol and side last filled
        self._entered: dict[tuple[str, Side], float] = {}
        self._reads = self._readers()

    def _readers(self) -> dict[type[Fact], tuple[Callable[[Any], None], ...]]:
        """What looks at each kind of fact, in order."""
        return {
            Taken: (self._comes_after_all, self.venue.taken, self._remember_order, self._look),
            Changed: (self.venue.changed, self._look),
            Filled: (self._kept_to_its_side, self.venue.filled, self._look),
            Busted: (self.venue.busted, self._look),
            Funded: (self.venue.funded,),
            Over: (self.venue.over, self._look),
            Hostile: (self._unfriendly,),
            Unable: (self._unable,),
            Owned: (self._owned,),
            Died: (self._gone,),
            Began: (self._was_committed, self._was_not_sent_before, self._was_fenced, self._was_allowed, self._note_cancel),
            Told: (self._remember_quote, self._on_time),
            Committed: (self._committed,),
            Asked: (self._remember_command,),
            Cleared: (self._halt_ended,),
            Edited: (lambda fact: self.desk.edited(fact.settings),),
            Troubled: (lambda fact: self.holds(False, promised.ALIVE, f"{fact.key}: {fact.cause}"),),
            Rested: (self._at_rest,),
            Rose: (),
        }

    def note(self, fact: Fact) -> None:
        self._t = fact.t
        for read in self._reads[type(fact)]:
            read(fact)

    def holds(self, is_so: bool, promise: str, how: str) -> None:
        """Look at a promise; the first that does not hold is kept."""
        self.checks[promise] += 1
        if not is_so and self.broken is None:
            self.broken = Broken(promise, how, self._t)

    # --- who can act ---------------------------------------------------------------------------------------------------

    def _unfriendly(self, fact: Hostile) -> None:
        if fact.symbol:
            self._hostile[fact.symbol] = fact.t
        else:
            self._hostile_t = fact.t
        if fact.what in ("foreign fill", "overfill", "bust", "correction"):
            self._odd[fact.symbol] = fact.t

    def _unable(self, fact: Unable) -> None:
        self._unable_until = max(self._unable_until, fact.until)

    def _owned(self, fact: Owned) -> None:
        if fact.t > self._lease_until:
            self._is_ready = False
        self._lease_until = fact.until

    def _gone(self, fact: Died) -> None:
        self._died_t = fact.t
        if fact.was_owner:
            self._is_ready = False

    def _overdue(self, since: float, bound_s: float, symbol: str = "") -> bool:
        """Whether something owed since then is late, for an engine that could act."""
        if not self._is_ready:
            return False
        hostile_t = max(self._hostile_t, self._hostile.get(symbol, _LONG_AGO) if symbol else _LONG_AGO)
        return self._t - max(since, self._able_since, self._unable_until, hostile_t) > bound_s

    def _bound_s(self, symbol: str, since: float, *, quick_s: float) -> float:
        """How long what is owed may take: `quick_s` where nothing unfriendly concerned the symbol since then, nor the engine."""
        is_quiet = max(self._hostile_t, self._died_t, self._unable_until, self._hostile.get(symbol, _LONG_AGO)) < since
        return min(quick_s, self._doubt_s) if is_quiet else self._doubt_s

    # --- commits -------------------------------------------------------------------------------------------------------

    def _committed(self, commit: Committed) -> None:
        if commit.token > self._token:
            self._token, self._is_ready = commit.token, False
        for effect in commit.effects:
            match effect:
                case SendNewOrder():
                    self._effects["new", effect.cl_ord_id] += 1
                    self._let_go(effect, commit)
                case SendCancel():
                    self._effects["cancel", effect.cl_ord_id] += 1
                case SendReplace():
                    self._effects["replace", effect.cl_ord_id] += 1
                case SendMassCancel():
                    self._effects["all", ""] += 1
                case Publish():
                    self._published(effect, commit)
                case AnswerCommand():
                    self._answered(effect, commit)
                case RaiseAlarm() if effect.key.partition(":")[0] in _ALARMS:
                    self._alarmed[effect.symbol] = self._t
                case _:
                    pass

    def _published(self, effect: Publish, commit: Committed) -> None:
        row = self.desk.publish(effect)
        match effect.kind:
            case "signal":
                self._explained(row, commit)
            case "order":
                self._one_order_a_decision(row)
                self._not_given_up_too_early(row)
                self._all_of_it_heard(row)
            case "account":
                links = row.links_down
                is_ready = row.is_reconciled and "ORDERS" not in links and "LEASE" not in links
                if is_ready and not self._is_ready:
                    self._able_since = self._t
                self._is_ready = is_ready
            case "halt_cleared":
                self._cleared_by_a_person(row, commit)

    def _cleared_by_a_person(self, halt: Halt, commit: Committed) -> None:
        event = commit.event
        kind = event.command.kind if isinstance(event, Commanded) else None
        is_asked = kind in (CommandKind.CLEAR, CommandKind.RESUME, CommandKind.START)
        self.holds(is_asked, promised.SURVIVES, f"{halt.halt_id} at {halt.scope} ended by {type(event).__name__}")
        self._rows.pop(halt.halt_id, None)

    def _explained(self, row: SignalRow, commit: Committed) -> None:
        self.holds(bool(row.checks), promised.EXPLAINED, f"{row.decision_id} names no check")
        if row.reason is not None:
            self.holds(bool(row.text), promised.EXPLAINED, f"{row.decision_id} was denied with {row.reason} and no sentence")
            is_asked = isinstance(commit.event, Commanded) and not any(isinstance(e, SendNewOrder) for e in commit.effects)
            is_silent = is_asked or (commit.event is None and len(commit.effects) == 1)
            self.holds(
                is_silent, promised.DENIED, f"{row.decision_id}, {row.reason}, left with {len(commit.effects) - 1} other effects"
            )
        else:
            is_news = row.decision_id not in self._approved
            self.holds(is_news or row.decision_id in self._whole, promised.ONCE, f"{row.decision_id} was approved twice")
            if is_news and row.order_qty is not None and commit.twap is not None:
                self._whole[row.decision_id] = row.order_qty
            self._approved.add(row.decision_id)
            if is_news and row.stop_loss is not None and row.cl_ord_id and row.order_class == "ENTRY":
                self._stops[row.symbol][row.cl_ord_id] = row.stop_loss

    def _one_order_a_decision(self, row: OrderRow) -> None:
        """A decision becomes one entry, or slices that come to no more than what it was approved for."""
        if row.decision_id and row.order_class == "ENTRY":
            entries = self._entries_of.setdefault(row.decision_id, {})
            entries[row.cl_ord_id] = row.order_qty
            whole = self._whole.get(row.decision_id, ZERO)
            is_one = len(entries) == 1 or sum(entries.values()) <= whole
            self.holds(is_one, promised.ONCE, f"{row.decision_id} became {' and '.join(entries)}, of {whole} in slices")

    def _not_given_up_too_early(self, row: OrderRow) -> None:
        """What the desk concludes of itself to be over neither works at the venue, nor is on its way there."""
        if row.done is None or not row.is_presumed:
            self._given_up.discard(row.cl_ord_id)
        elif row.cl_ord_id not in self._given_up:
            self._given_up.add(row.cl_ord_id)
            truth = self._truths.get(row.cl_ord_id)
            works = truth is not None and truth.is_open
            self.holds(not works, promised.GIVEN_UP, f"{row.cl_ord_id} ({row.ord_rej_reason or row.done}) works at the venue")

    def _all_of_it_heard(self, row: OrderRow) -> None:
        """What the venue ended short of its quantity has filled here what it filled there: what its position needs depends on it."""
        truth = self._truths.get(row.cl_ord_id)
        if truth is not None and row.done not in (None, "FILLED") and not row.is_presumed:
            how = f"{row.cl_ord_id} is over with {row.cum_qty} filled, and {truth.filled} filled at the venue"
            self.holds(truth.filled <= row.cum_qty, promised.NOTHING_LOST, how)

    def _comes_after_all(self, taken: Taken) -> None:
        how = f"{taken.cl_ord_id} reached the venue after it was given up"
        self.holds(taken.cl_ord_id not in self._given_up, promised.GIVEN_UP, how)

    def _remember_order(self, taken: Taken) -> None:
        self._truths[taken.cl_ord_id] = self.venue.orders[taken.key]

    # --- requests --------------------------------------------------------------------------------------------------------

    def _was_committed(self, began: Began) -> None:
        kind = _REQUESTS[type(began.request)]
        if kind == "cancel" and self._is_emergency(began):
            return
        self.holds(
            self._effects[kind, began.cl_ord_id] > 0, promised.JOURNAL_FIRST, f"the {kind} {began.cl_ord_id} was not committed"
        )

    def _is_emergency(self, began: Began) -> bool:
        """With its journal lost an engine may take entries away all the same."""
        request = began.request
        return self._t <= self._unable_until and isinstance(request, SendCancel) and request.order_class is OrderClass.ENTRY

    def _was_not_sent_before(self, began: Began) -> None:
        if isinstance(began.request, Approved):
            self.holds(began.cl_ord_id not in self._submitted, promised.ONCE, f"{began.cl_ord_id} left a second time")
            self._submitted[began.cl_ord_id] = began.request
            self._began_t[began.cl_ord_id] = self._t

    def _was_fenced(self, began: Began) -> None:
        how = f"{began.cl_ord_id} left with {began.lease_left_s:.3f} s of the lease left, and a request may take {self._send_timeout_s} s"
        self.holds(began.lease_left_s >= self._send_timeout_s - 1e-9, promised.FENCED, how)

    def _was_allowed(self, began: Began) -> None:
        asked = began.request
        if not isinstance(asked, Approved) or asked.order_class is not OrderClass.ENTRY:
            return
        for halt in self.desk.halts.values():
            if covers(halt.scope, bot=asked.bot, symbol=asked.symbol):
                self.holds(
                    False, promised.HALTED, f"the entry {began.cl_ord_id} left under the halt {halt.halt_id} at {halt.scope}"
                )
        for halt, since in self._rows.values():
            if covers(halt.scope, bot=asked.bot, symbol=asked.symbol):
                how = f"the entry {began.cl_ord_id} left {self._t - since:.3f} s after {halt.halt_id} at {halt.scope} was committed"
                self.holds(self._t - since <= self._notice_s, promised.HALTED, how)

    def _note_cancel(self, began: Began) -> None:
        if isinstance(began.request, SendCancel):
            self._cancels_begun[began.cl_ord_id] = self._t

    def _let_go(self, effect: SendNewOrder, commit: Committed) -> None:
        """An entry that leaves was allowed to, and has its time."""
        asked = effect.approved
        if asked.order_class is not OrderClass.ENTRY:
            return
        for is_so, promise, how in judged(effect, commit, self.desk, self._quotes):
            self.holds(is_so, promise, how)
        values = self._values(asked.symbol)
        if asked.ord_type in _RESTING and values is not None and values.entry_ttl_s is not None:
            self._ttl[effect.cl_ord_id] = values.entry_ttl_s

    # --- fills -------------------------------------------------------------------------------------------------------------

    def _kept_to_its_side(self, fill: Filled) -> None:
        """An exit or a leg opens nothing, unless the venue itself played a trick on this symbol."""
        order = self.venue.orders[fill.key]
        asked = self._submitted.get(order.cl_ord_id)
        held = self.venue.positions[fill.symbol]
        signed = fill.side.sign * fill.qty
        if asked is not None and asked.order_class is OrderClass.ENTRY:
            self._entered[fill.symbol, fill.side] = self._t
        if asked is None or asked.order_class is OrderClass.ENTRY or self._is_odd(fill.symbol):
            return
        known_t = self._began_t.get(order.cl_ord_id, order.taken_t) - _HEARD_S
        if not self._reduces and self._entered.get((fill.symbol, fill.side), _LONG_AGO) >= known_t:
            return  # where exits open, an entry of the other side that filled unheard took the exit's part away
        is_closing = held * signed < 0 and abs(signed) <= abs(held)
        self.holds(is_closing, promised.NOT_THROUGH_ZERO, f"{order.cl_ord_id} moved {fill.symbol} from {held} by {signed}")

    def _is_odd(self, symbol: str) -> bool:
        """Whether the desk may not know all that moved the position; it ends when both have long been told of it, and are flat."""
        since = self._odd.get(symbol)
        if since is None:
            return False
        if self._t - since > _PARKED_S and not self.venue.positions[symbol] and not self.desk.qty(symbol):
            del self._odd[symbol]
        return symbol in self._odd

    # --- in time -------------------------------------------------------------------------------------------------------------

    def _remember_quote(self, told: Told) -> None:
        self._quotes[told.quote.symbol] = told.quote

    def _look(self, fact: Any) -> None:
        """A position may be bare, or covered, from this moment."""
        for symbol in self.venue.positions:
            uncovered = self.venue.uncovered(symbol)
            self._bare[symbol].see(fact.t, uncovered)
            if not uncovered:
                self._alarmed.pop(symbol, None)
            is_its_own = isinstance(fact, Filled) and fact.symbol == symbol and not self.venue.orders[fact.key].is_foreign
            if is_its_own and not self.venue.positions[symbol]:
                self._waived.discard(symbol)
                self._stops[symbol] = {key: px for key, px in self._stops[symbol].items() if self._may_fill(key)}
                self._beyond_since.pop(symbol, None)

    def _on_time(self, told: Told) -> None:
        if self._t > self._lease_until:
            self._is_ready = False
        if self._holds_stops:
            for symbol, bare in self._bare.items():
                if bare.since is not None:
                    self._protected(symbol, bare.since)
        else:
            self._watched(told.quote)
        for halt, since in self._rows.values():
            self._in_force(halt, since)
        for order in list(self.venue.open.values()):
            self._taken_away(order)
            self._not_too_old(order)

    def _protected(self, symbol: str, since: float) -> None:
        if symbol in self._waived or self._is_odd(symbol):
            return
        values = self._values(symbol)
        naked_s = (values.naked_after_ms or 1000) / 1000 if values is not None else 1.0
        if not self._reduces and values is not None:
            naked_s += (
                values.exit_wait_ms or 2000
            ) / 1000  # its stop goes before its exit leaves, and is put back when that takes long
        is_known = self.desk.qty(symbol) == self.venue.positions[symbol]
        if is_known and self._hostile.get(symbol, _LONG_AGO) < self.venue.opened_t.get(symbol, 0.0):
            is_late = self._overdue(since, naked_s + 1.0, symbol) and symbol not in self._alarmed
            self.holds(
                not is_late,
                promised.PROTECTED,
                f"{self.venue.uncovered(symbol)} {symbol} is bare since {since:.3f} s, without an alarm",
            )
        is_late = self._overdue(since, self._doubt_s, symbol)
        self.holds(not is_late, promised.PROTECTED, f"{self.venue.uncovered(symbol)} {symbol} is bare since {since:.3f} s")

    def _watched(self, quote: Quote) -> None:
        """Where the venue holds no stops, a price beyond all of them closes the position, if the settings have them watched.

        One that was heard does, whatever the price did then; of one that perhaps was not, only what lasts.
        """
        symbol, stops, values = quote.symbol, self._stops.get(quote.symbol), self._values(quote.symbol)
        held = self.venue.positions[symbol]
        if not stops or not held or values is None or symbol in self._waived or self._is_odd(symbol):
            return
        if values.unsupported_protection is not UnsupportedProtection.EMULATE or not ZERO < quote.bid <= quote.ask:
            return
        is_beyond = quote.ask <= min(stops.values()) if held > 0 else quote.bid >= max(stops.values())
        since = self._beyond_since.get(symbol)
        if since is not None and self._t_entered(symbol) >= since:
            since = None
        if not (is_beyond or (since is not None and self._was_heard(since, symbol))):
            self._beyond_since.pop(symbol, None)
            return
        since = self._beyond_since[symbol] = self._t if since is None else since
        # a target makes room first where it could open something
        quick_s = (values.exit_wait_ms or 2000) / 1000 + 1.0
        # and an exit of the position before it may still be asked about
        bound_s = self._bound_s(symbol, self.venue.opened_t.get(symbol, 0.0) - self._doubt_s, quick_s=quick_s)
        is_late = self._overdue(since, bound_s, symbol) and not self.venue.is_leaving(symbol)
        how = f"{held} {symbol} is open, and the price was beyond all of {[*map(str, stops.values())]} at {since:.3f} s"
        self.holds(not is_late, promised.PROTECTED, how)

    def _t_entered(self, symbol: str) -> float:
        """When an entry of the symbol last filled."""
        return max(self._entered.get((symbol, side), _LONG_AGO) for side in Side)

    def _may_fill(self, cl_ord_id: str) -> bool:
        truth = self._truths.get(cl_ord_id)
        return truth is None or truth.is_open

    def _was_heard(self, since: float, symbol: str) -> bool:
        """Whether what was told then was heard for certain: by an engine that could act then, and could go on."""
        return self._able_since < since and self._overdue(since, _HEARD_S, symbol)

    def _values(self, symbol: str) -> RiskSettings | None:
        settings = self.desk.settings
        bot = settings.bots.get(self.desk.owner(symbol))
        return settings.profiles[bot.profile].base if bot is not None else None

    def _in_force(self, halt: Halt, since: float) -> None:
        is_late = halt.halt_id not in self.desk.halts and self._overdue(since, self._notice_s)
        self.holds(
            not is_late,
            promised.HALTED,
            f"{halt.halt_id} at {halt.scope} is not in force {self._t - since:.3f} s after it was committed",
        )

    def _taken_away(self, order: Truth) -> None:
        """An entry that works under a halt is canceled."""
        asked = self._submitted.get(order.cl_ord_id)
        if asked is None or asked.order_class is not OrderClass.ENTRY:
            return
        for halt, since in self._rows.values():
            if covers(halt.scope, bot=asked.bot, symbol=asked.symbol):
                is_asked = self._cancels_begun.get(order.cl_ord_id, _LONG_AGO) >= order.taken_t
                bound_s = self._bound_s(order.symbol, order.taken_t, quick_s=self._notice_s + 1.0)
                is_late = not is_asked and self._overdue(max(since, order.taken_t), bound_s, order.symbol)
                self.holds(
                    not is_late, promised.NOT_BLOCKED, f"the entry {order.cl_ord_id} works under {halt.halt_id} and is not canceled"
                )

    def _not_too_old(self, order: Truth) -> None:
        """An entry that rests is canceled when its time is over."""
        ttl_s = self._ttl.get(order.cl_ord_id)
        if ttl_s is not None:
            is_asked = self._cancels_begun.get(order.cl_ord_id, _LONG_AGO) >= order.taken_t
            bound_s = self._bound_s(order.symbol, order.taken_t, quick_s=1.0)
            is_late = not is_asked and self._overdue(order.taken_t + ttl_s, bound_s, order.symbol)
            self.holds(
                not is_late, promised.LIMITS, f"entry_ttl_s was {ttl_s}, and {order.cl_ord_id} works since {order.taken_t:.3f} s"
            )

    # --- people ------------------------------------------------------------------------------------------------------------

    def _remember_command(self, asked: Asked) -> None:
        spec = asked.command
        self._asked[spec.command_id] = (spec, asked.t)
        if asked.halt is not None:
            self._rows.setdefault(asked.halt.halt_id, (asked.halt, asked.t))
        if spec.kind in _BY_HAND:
            row = self.desk.orders.get(spec.target)
            self._waived.add(row.symbol if row is not None else spec.target)
        elif spec.kind is CommandKind.KILL and spec.choice is KillChoice.CANCEL_ALL:
            symbols = self.desk.settings.instruments
            self._waived.update(s for s in symbols if covers(spec.scope, bot=self.desk.owner(s), symbol=s))

    def _halt_ended(self, fact: Cleared) -> None:
        self._rows.pop(fact.halt_id, None)

    def _answered(self, answer: AnswerCommand, commit: Committed) -> None:
        spec, _ = self._asked.get(answer.command_id, (None, 0.0))
        if spec is None:
            return
        self._answers[answer.command_id] = answer.status
        is_long = spec.kind in (CommandKind.KILL, CommandKind.FLATTEN)
        if is_long and answer.status is CommandStatus.DONE and isinstance(commit.event, Reconciled):
            self._verified(spec, answer, commit.event)

    def _verified(self, spec: CommandSpec, answer: AnswerCommand, event: Reconciled) -> None:
        """What stood against it during the whole question was there, and was not seen."""
        known_t = self._t - (event.at - event.asked_at).total_seconds() - self._lag_s
        for order in self.venue.open.values():
            asked = self._submitted.get(order.cl_ord_id)
            if asked is None or order.taken_t >= known_t or not covers(spec.scope, bot=asked.bot, symbol=asked.symbol):
                continue
            is_kept = asked.order_class is OrderClass.PROTECTION and spec.choice is not KillChoice.CANCEL_ALL
            self.holds(is_kept, promised.KILLED, f"“{answer.text}”, while {order.cl_ord_id} of {order.symbol} works at the venue")
        is_flat = "every position is flat" in answer.text
        for symbol, qty in self.venue.positions.items():
            is_not_its_own = spec.scope.kind is ScopeKind.BOT and self._is_odd(symbol)
            if is_flat and qty and not is_not_its_own and covers(spec.scope, bot=self.desk.owner(symbol), symbol=symbol):
                since = self.venue.opened_t.get(symbol, 0.0)
                self.holds(since >= known_t, promised.KILLED, f"“{answer.text}”, while the venue holds {qty} {symbol}")

    # --- at the end --------------------------------------------------------------------------------------------------------

    def _at_rest(self, _: Rested) -> None:
        self.holds(True, promised.ALIVE, "")
        for is_so, promise, how in compared(self.venue, self.desk):
            self.holds(is_so, promise, how)
        for halt, _since in self._rows.values():
            self.holds(
                halt.halt_id in self.desk.halts,
                promised.SURVIVES,
                f"{halt.halt_id} at {halt.scope} stands, and the desk does not hold it",
            )
        for spec, _since in self._asked.values():
            status = self._answers.get(spec.command_id, CommandStatus.PENDING)
            is_over = status not in (CommandStatus.PENDING, CommandStatus.RUNNING) or (
                doubts(self.desk) and spec.kind in (CommandKind.KILL, CommandKind.FLATTEN)
            )
            self.holds(is_over, promised.ANSWERED, f"{spec.kind} at {spec.scope} is still {status}")
