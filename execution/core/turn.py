"""One event being handled: what it reads, what it changed, what it lets out.

A Turn is the only way to change a Desk. Every changed entity is touched once and leaves as one Publish at the end, so that rows,
screens and digest see the state after the event and never a step of it. The Index is what can be computed from the state and is
kept for speed: it is rebuilt when a Desk is, and never stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import msgspec

from execution.core.brackets import BracketState, BracketStatus, Holds, holds
from execution.core.controls import AlarmState, BotState, BotStatus, SymbolState
from execution.core.legs import Way
from execution.core.messages import ClearAlarm, DeskSettings, Effect, Publish, RaiseAlarm, Timing, Unwatch, WakeAt, Watch
from execution.core.orders import ENTRY, EXITS, LEGS, OrderState
from execution.core.positions import PositionState
from execution.core.state import DeskState
from risk.core import hours
from risk.core.book import EXTERNAL, Exposure
from risk.core.circuit_breaker import CircuitBreaker
from risk.core.session_pnl import SessionPnl
from risk.core.settings import Effective, RiskSettings, effective
from risk.core.units import ONE, ZERO, Instrument, Scope, ScopeKind, Side
from risk.core.verdict import Capability

ENCODER: Final = msgspec.msgpack.Encoder()
_NO_SETTINGS: Final = Effective(RiskSettings(), dict.fromkeys(RiskSettings.__struct_fields__, "unset"))
_DEFAULT_TIMING: Final = Timing()
_CLOSED: Final = BracketStatus.CLOSED


class Index:
    """What the state implies, kept for speed: working orders and open brackets by symbol, exposures, resolved settings."""

    def __init__(self, state: DeskState) -> None:
        self._state = state
        self.orders: dict[str, dict[str, OrderState]] = {}
        self.exits: dict[str, dict[str, OrderState]] = {}
        #: bots that were asked to stop later
        self.stopping: set[str] = {code for code, bot in state.bots.items() if bot.status is BotStatus.STOPPING}
        self.brackets: dict[str, dict[str, BracketState]] = {}
        self._exposures: dict[str, Exposure] = {}
        self._stale: set[str] = set()
        self._effective: dict[tuple[str, str], Effective] = {}
        self.capabilities: frozenset[Capability] = frozenset()
        #: what the capabilities come to, for all that closes and protects
        self.reduces_only = False
        self.holds: Holds = holds(())
        self.way = Way(can_replace=False, may_overlap=False)
        self.symbols: dict[str, frozenset[str]] = {}
        #: id of a replace → cl_ord_id of the order it changes
        self.replaces: dict[str, str] = {}
        self._owners: dict[str, str] = {}
        #: symbols whose position is being closed by an opposite signal
        self.flipping: set[str] = {symbol for symbol, held in state.symbols.items() if held.flip_bot}
        for order in state.orders.values():
            for replace_id in order.replace_ids:
                self.replaces[replace_id] = order.cl_ord_id
            if order.done is None:
                self.orders.setdefault(order.symbol, {})[order.cl_ord_id] = order
                if order.purpose in EXITS:
                    self.exits.setdefault(order.symbol, {})[order.cl_ord_id] = order
        for bracket in state.brackets.values():
            if bracket.status is not _CLOSED:
                self.brackets.setdefault(bracket.symbol, {})[bracket.bracket_id] = bracket
        self._stale.update(self.orders, state.positions, (parent.proposal.symbol for parent in state.parents.values()))
        self.settings_changed()

    def settings_changed(self) -> None:
        self._effective.clear()
        settings = self._state.settings
        self.capabilities = frozenset(settings.capabilities) if settings else frozenset()
        self.reduces_only = Capability.REDUCE_ONLY in self.capabilities
        self.holds = holds(self.capabilities)
        self.way = Way(can_replace=Capability.REPLACE in self.capabilities, may_overlap=self.reduces_only)
        self.symbols = {bot.code: frozenset(bot.symbols) for bot in settings.bots.values()} if settings else {}
        bots = settings.bots.values() if settings else ()
        self._owners = {symbol: bot.code for bot in bots if bot.is_enabled for symbol in bot.symbols}
        self._stale.update(self._exposures)

    def order_changed(self, order: OrderState) -> None:
        working = self.orders.setdefault(order.symbol, {})
        if order.done is None:
            if order.cl_ord_id not in working:
                self._add(working, order)
        else:
            working.pop(order.cl_ord_id, None)
        self._stale.add(order.symbol)
        if order.purpose in EXITS:
            self._exit_changed(order)

    def _exit_changed(self, order: OrderState) -> None:
        exits = self.exits.setdefault(order.symbol, {})
        if order.done is None:
            exits[order.cl_ord_id] = order
        else:
            exits.pop(order.cl_ord_id, None)

    def _add(self, working: dict[str, OrderState], order: OrderState) -> None:
        """Keep the ids in order, also when an old order comes back to life."""
        is_last = not working or next(reversed(working)) < order.cl_ord_id
        working[order.cl_ord_id] = order
        if not is_last:
            self.orders[order.symbol] = dict(sorted(working.items()))

    def bracket_changed(self, bracket: BracketState) -> None:
        found = self.brackets.setdefault(bracket.symbol, {})
        if bracket.status is _CLOSED:
            found.pop(bracket.bracket_id, None)
        else:
            found[bracket.bracket_id] = bracket

    def position_changed(self, symbol: str) -> None:
        self._stale.add(symbol)

    def position_marked(self, position: PositionState) -> None:
        """A new mark moves nothing else of an exposure, so the rest is not computed again."""
        exposure = self._exposures.get(position.symbol)
        if exposure is None:
            self._stale.add(position.symbol)
        else:
            exposure.mark, exposure.marked_at = position.mark, position.marked_at

    def orders_of(self, symbol: str) -> Iterable[OrderState]:
        """The working orders of a symbol, oldest first."""
        found = self.orders.get(symbol)
        return list(found.values()) if found else ()

    def entries_in_flight(self, bot: str, symbol: str, *, part_of: str = "") -> int:
        """The entries of a bot and symbol that are pending, working or UNKNOWN, and those whose next slice waits for its time.

        `part_of` is the decision whose slice asks: the rest of that one is not in its way.
        """
        working = [order.decision_id for order in self.orders_of(symbol) if order.purpose is ENTRY and order.bot == bot]
        return len(working) + sum(
            key not in working and key != part_of and (parent.proposal.bot, parent.proposal.symbol) == (bot, symbol)
            for key, parent in self._state.parents.items()
        )

    def brackets_of(self, symbol: str) -> Sequence[BracketState]:
        """The brackets of a symbol that are not closed, oldest first."""
        found = self.brackets.get(symbol)
        if not found:
            return ()
        return [found[key] for key in sorted(found)] if len(found) > 1 else list(found.values())

    def exposures(self) -> dict[str, Exposure]:
        """Every symbol's part of the account, recomputed where something changed."""
        if self._stale:
            is_new = not self._stale <= self._exposures.keys()
            for symbol in self._stale:
                self._exposures[symbol] = self._exposure(symbol)
            self._stale.clear()
            if is_new:
                self._exposures = dict(sorted(self._exposures.items()))
        return self._exposures

    def open_lots(self, symbol: str) -> Decimal:
        """The position as decisions and gates see it: signed, in whole lots. What is less than one is dust, which counts as flat."""
        position, settings = self._state.positions.get(symbol), self._state.settings
        if position is None or not position.qty:
            return ZERO
        instrument = settings.instruments.get(symbol) if settings is not None else None
        return position.qty if instrument is None else instrument.qty_floor(abs(position.qty)).copy_sign(position.qty)

    def effective(self, bot: str, symbol: str) -> Effective:
        """The settings in force for a bot and symbol; everything unset where there are none."""
        found = self._effective.get((bot, symbol))
        if found is None:
            found = self._effective[bot, symbol] = self._resolve(bot, symbol)
        return found

    def owner(self, symbol: str) -> str:
        """The enabled bot that owns the symbol; EXTERNAL where none does."""
        return self._owners.get(symbol, EXTERNAL)

    def _resolve(self, bot: str, symbol: str) -> Effective:
        settings = self._state.settings
        spec = settings.bots.get(bot) if settings else None
        instrument = settings.instruments.get(symbol) if settings else None
        if settings is None or spec is None or instrument is None or spec.profile not in settings.profiles:
            return _NO_SETTINGS
        profile = settings.profiles[spec.profile]
        return effective(profile, settings.limits, symbol=symbol, asset_class=instrument.asset_class)

    def _exposure(self, symbol: str) -> Exposure:
        position = self._state.positions.get(symbol)
        buys = sells = ZERO
        bot = ""
        for order in self.orders.get(symbol, {}).values():
            if order.reserve_px:
                reserved = order.leaves_qty_max * order.reserve_px
                bot = bot or order.bot
                if order.side is Side.BUY:
                    buys += reserved
                else:
                    sells += reserved
        for parent in self._state.parents.values():
            if parent.proposal.symbol == symbol:
                unsent = parent.unsent_qty * parent.reserve_px
                bot = bot or parent.proposal.bot
                if parent.proposal.side is Side.BUY:
                    buys += unsent
                else:
                    sells += unsent
        settings = self._state.settings
        instrument = settings.instruments.get(symbol) if settings else None
        is_open = bool(self.open_lots(symbol))
        owner = position.bot if position is not None and is_open else bot or self.owner(symbol)
        leverage = self.effective(owner, symbol).values.leverage
        exposure = Exposure(symbol, owner, instrument.contract_value if instrument else ONE, buys=buys, sells=sells)
        exposure.leverage = leverage if leverage is not None and leverage.is_finite() and leverage > 0 else ONE
        if position is not None:
            exposure.qty = position.qty if is_open else ZERO
            exposure.mark, exposure.marked_at = position.mark, position.marked_at
            exposure.contract_value, exposure.is_inverse = position.contract_value, position.is_inverse
        return exposure


class Turn:
    """The handling of one event."""

    __slots__ = (
        "at",
        "changed",
        "dirty",
        "effects",
        "grown",
        "id_prefix",
        "index",
        "is_changed",
        "is_money_moved",
        "sent",
        "state",
    )

    def __init__(self, state: DeskState, index: Index, at: datetime) -> None:
        self.state = state
        self.index = index
        self.at = at
        self.effects: list[Effect] = []
        self.changed: dict[tuple[str, str], Any] = {}
        #: ids of the brackets whose protection must be looked at again
        self.dirty: dict[str, None] = {}
        #: brackets whose pause for more fills is over
        self.grown: set[str] = set()
        self.is_changed = False
        self.is_money_moved = False
        #: orders made in this turn
        self.sent = 0
        self.id_prefix = ""

    # --- reading -------------------------------------------------------------------------------------------------------

    @property
    def settings(self) -> DeskSettings | None:
        return self.state.settings

    @property
    def timing(self) -> Timing:
        return self.state.settings.timing if self.state.settings else _DEFAULT_TIMING

    def instrument(self, symbol: str) -> Instrument | None:
        return self.state.settings.instruments.get(symbol) if self.state.settings else None

    def has(self, capability: Capability) -> bool:
        return capability in self.index.capabilities

    def order(self, cl_ord_id: str) -> OrderState | None:
        """The order that an id names: its own, or that of one of its replaces."""
        orders = self.state.orders
        return orders.get(cl_ord_id) or orders.get(self.index.replaces.get(cl_ord_id, ""))

    def in_scope(self, scope: Scope, *, bot: str, symbol: str) -> bool:
        return scope.covers(account=self.state.account.account, bot=bot, symbol=symbol)

    def orders_in(self, scope: Scope) -> Iterator[OrderState]:
        """The working orders in a scope, in the order they were made."""
        symbols = (scope.key,) if scope.kind is ScopeKind.INSTRUMENT else sorted(self.index.orders)
        for symbol in symbols:
            for order in self.index.orders_of(symbol):
                if self.in_scope(scope, bot=order.bot, symbol=symbol):
                    yield order

    def exits_of(self, symbol: str) -> list[OrderState]:
        """The exits of a symbol that are pending, working or UNKNOWN, oldest first."""
        found = self.index.exits.get(symbol)
        return [found[key] for key in sorted(found)] if found else []

    def is_closing(self, symbol: str) -> bool:
        """Whether an exit of the symbol is on its way, or waits for room."""
        return symbol in self.state.exits or bool(self.index.exits.get(symbol))

    def is_open(self, symbol: str) -> bool:
        """Whether the market of a symbol is open; one whose hours are not known is not."""
        instrument = self.instrument(symbol)
        if instrument is None or instrument.calendar == hours.ALWAYS or self.settings is None:
            return True
        return hours.is_open(self.settings.sessions_of(symbol), self.at)

    # --- entities ------------------------------------------------------------------------------------------------------

    def touch(self, kind: str, key: str, entity: Any) -> None:
        """The entity changed: it is published once, as it stands when the event is done."""
        self.changed[kind, key] = entity
        self.is_changed = True

    def touch_order(self, order: OrderState) -> None:
        order.updated_at = self.at
        self.changed["order", order.cl_ord_id] = order
        self.is_changed = True
        self.index.order_changed(order)
        if order.purpose in EXITS or (order.purpose in LEGS and order.done is not None):
            self.protect_symbol(order.symbol)  # what it took of the position is free for others
        if order.bracket_id and (order.purpose is not ENTRY or order.done is not None):
            self.dirty[order.bracket_id] = None

    def protect_symbol(self, symbol: str) -> None:
        """Have the protection of a whole symbol looked at again."""
        for bracket in self.index.brackets_of(symbol):
            self.dirty[bracket.bracket_id] = None

    def protect_all(self) -> None:
        """Have all protection looked at again."""
        for symbol in sorted(self.index.brackets):
            self.protect_symbol(symbol)

    def touch_bot(self, bot: BotState) -> None:
        self.touch("bot", bot.code, bot)
        if bot.status is BotStatus.STOPPING:
            self.index.stopping.add(bot.code)
        else:
            self.index.stopping.discard(bot.code)

    def touch_bracket(self, bracket: BracketState) -> None:
        bracket.updated_at = self.at
        self.changed["bracket", bracket.bracket_id] = bracket
        self.is_changed = True

    def touch_account(self) -> None:
        self.touch("account", self.state.account.account, self.state.account)

    def position(self, symbol: str, *, bot: str) -> PositionState:
        """The position of a symbol, made if there is none yet."""
        found = self.state.positions.get(symbol)
        if found is None:
            instrument = self.instrument(symbol)
            found = PositionState(symbol=symbol, bot=bot, contract_value=instrument.contract_value if instrument else ONE)
            self.state.positions[symbol] = found
        return found

    def qty(self, symbol: str) -> Decimal:
        found = self.state.positions.get(symbol)
        return found.qty if found is not None else ZERO

    def lots(self, symbol: str, qty: Decimal) -> Decimal:
        """What of a quantity can be ordered: whole lots of it. A fee taken in kind leaves less than that behind."""
        instrument = self.instrument(symbol)
        return instrument.qty_floor(qty) if instrument is not None else qty

    def closable(self, symbol: str) -> Decimal:
        """How much of a position can be closed."""
        return abs(self.index.open_lots(symbol))

    def symbol(self, symbol: str) -> SymbolState:
        found = self.state.symbols.get(symbol)
        if found is None:
            found = self.state.symbols[symbol] = SymbolState(symbol=symbol, session=SessionPnl(), breaker=CircuitBreaker())
        return found

    def bot(self, code: str) -> BotState:
        found = self.state.bots.get(code)
        if found is None:
            found = self.state.bots[code] = BotState(code=code)
        return found

    # --- effects -------------------------------------------------------------------------------------------------------

    def emit(self, effect: Effect) -> None:
        self.effects.append(effect)
        self.is_changed = True

    def wake(self, timer: str, *, ms: int | float) -> None:
        """(Re)set a timer."""
        self.wake_at(timer, self.at + timedelta(milliseconds=ms))

    def wake_at(self, timer: str, due_at: datetime) -> None:
        self.state.timers[timer] = due_at
        self.emit(WakeAt(timer=timer, due_at=due_at))

    def sleep(self, timer: str) -> None:
        """Forget a timer: when it fires it changes nothing."""
        if self.state.timers.pop(timer, None) is not None:
            self.is_changed = True

    def watch(self, watch: Watch) -> None:
        """(Re)set a watch."""
        self.state.watches[watch.watch_id] = watch
        self.emit(watch)

    def unwatch(self, watch_id: str) -> None:
        del self.state.watches[watch_id]
        self.emit(Unwatch(watch_id=watch_id))

    def alarm(
        self, key: str, *, priority: int, title: str, cause: str, consequence: str, to_do: str, bot: str = "", symbol: str = ""
    ) -> None:
        """Raise an alarm, once per key."""
        if key in self.state.alarms:
            return
        raised = AlarmState(
            key=key,
            priority=priority,
            title=title,
            cause=cause,
            consequence=consequence,
            to_do=to_do,
            bot=bot,
            symbol=symbol,
            raised_at=self.at,
        )
        self.state.alarms[key] = raised
        self.emit(RaiseAlarm(**{name: getattr(raised, name) for name in RaiseAlarm.__struct_fields__}))
        self.touch("alarm", key, raised)

    def clear_alarm(self, key: str) -> None:
        """The cause of the alarm is gone."""
        raised = self.state.alarms.pop(key, None)
        if raised is not None:
            self.emit(ClearAlarm(key=key))
            self.changed.pop(("alarm", key), None)
            self.touch("alarm_cleared", key, raised)

    def close(self) -> tuple[Effect, ...]:
        """Everything the event lets out: what to do, then what changed."""
        encode, effects = ENCODER.encode, self.effects
        for (kind, key), entity in self.changed.items():
            effects.append(Publish(kind=kind, key=key, body=encode(entity)))
        return tuple(effects)
