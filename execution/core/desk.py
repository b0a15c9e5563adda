"""The Desk: the pure aggregate that runs one account. One door in, `handle(event)`; effects out; a digest of everything that passed.

Rules of this file.
1. No clock, no chance, no input or output: the same events give the same effects, bit for bit, in every process.
2. An event that changes the Desk gets the next `seq` and moves the digest; one that changes nothing does neither. A denied decision
   changes nothing, and its only effect is the Signal to be recorded.
3. After the event did its own work, the symbols it touched get their protection, kills their progress, the account its equity and
   latches, and every changed entity leaves once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any, Final

from execution.core import (
    account,
    adjustments,
    ageing,
    closing,
    commands,
    conditions,
    decisions,
    foreign,
    halts,
    kills,
    naked,
    protection,
    recovery,
    reports,
    slicing,
    symbols,
    watching,
)
from execution.core.controls import AccountState, BotStatus
from execution.core.messages import (
    Adjusted,
    BotChanged,
    Commanded,
    Decided,
    Effect,
    Event,
    HaltsLoaded,
    LinkChanged,
    Marked,
    OrderFound,
    PriceAged,
    Reconciled,
    Reported,
    SendFailed,
    SendNewOrder,
    SettingsChanged,
    Started,
    Touched,
    Trailed,
    View,
    Woke,
)
from execution.core.orders import Purpose
from execution.core.state import DeskState
from execution.core.turn import ENCODER, Index, Turn
from execution.core.unreadable import guarded
from risk.core.settings import FlipPolicy
from risk.core.stake import Stake, stake_of
from risk.core.units import Scope, ScopeKind, use_decimal_context
from risk.core.verdict import HaltCause, HaltMode


class Desk:
    """One account's Desk. `state` is the Desk's own: read it, never write to it."""

    def __init__(self, state: DeskState) -> None:
        use_decimal_context()
        self.state = state
        self._index = Index(state)
        #: last denial per bot and symbol: a brain may see it, and no state depends on it
        self._denials: dict[tuple[str, str], str] = {}

    @classmethod
    def new(cls, account: str) -> Desk:
        """A Desk without history."""
        return cls(DeskState(account=AccountState(account=account)))

    @property
    def seq(self) -> int:
        """How many events changed this Desk."""
        return self.state.seq

    def digest(self) -> bytes:
        """What every event and effect so far comes to, in 32 bytes."""
        return self.state.digest

    def handle(self, event: Event) -> tuple[Effect, ...]:
        """Handle one event. Whatever this raises is a defect: the Desk must then be thrown away and rebuilt from its journal."""
        turn = Turn(self.state, self._index, event.at)
        if isinstance(event, Decided):
            denied = decisions.decided(turn, event)
            if denied is not None:
                self._denials[event.bot, event.symbol] = denied.reason.value
                return decisions.denial_published(turn, event, denied)
            self._denials.pop((event.bot, event.symbol), None)
        else:
            _HANDLERS[type(event)](turn, event)
        if not turn.is_changed:
            return ()
        _settle(turn)
        return self._commit(turn, event)

    def view(self, bot: str, symbol: str) -> View:
        """What a brain may know of its standing in a symbol."""
        position = self.state.positions.get(symbol)
        qty = self._index.open_lots(symbol)
        working = [order for order in self._index.orders_of(symbol) if order.bot == bot]
        is_waiting = symbol in self.state.exits
        return View(
            position_qty=qty,
            avg_px=position.avg_px if position is not None and qty else None,
            entries_working=self._index.entries_in_flight(bot, symbol),
            exits_working=is_waiting + sum(order.purpose is Purpose.EXIT for order in working),
            last_denial=self._denials.get((bot, symbol), ""),
            may_flip=bool(qty) and self._index.effective(bot, symbol).values.flip_policy is FlipPolicy.CLOSE_THEN_OPEN,
        )

    def quoted(self, timer: str) -> str:
        """The symbol whose newest quote the timer's Woke is to carry; empty for all that need no price."""
        kind, _, decision_id = timer.partition(":")
        parent = self.state.parents.get(decision_id) if kind == "slice" else None
        return parent.proposal.symbol if parent is not None else ""

    def stake(self) -> Stake:
        """What the account has at stake now, as gate 14 counts it: positions at marks, working entries at their reservations."""
        return stake_of(self._index.exposures().values())

    def _commit(self, turn: Turn, event: Event) -> tuple[Effect, ...]:
        state = self.state
        state.seq += 1
        state.at = event.at
        if state.account is turn.changed.get(("account", state.account.account)):
            state.account.seq = state.seq
        effects = turn.close()
        # what an order is sent with is said by the order that is published beside it
        said = [effect for effect in effects if type(effect) is not SendNewOrder] if turn.sent else effects
        state.digest = blake2b(state.digest + ENCODER.encode((event, said)), digest_size=32).digest()
        return effects


def _settle(turn: Turn) -> None:
    """What follows from any change."""
    if turn.state.parents:
        slicing.follow(turn)
    if turn.dirty:
        protection.protect(turn)
    if turn.state.exits or turn.is_money_moved:
        closing.go_on(turn)
        protection.protect(turn)
    if turn.state.commands:
        kills.orders_moved(turn)
    if turn.index.stopping:
        commands.stopping(turn)
    if turn.index.flipping:
        symbols.flips(turn)
    if turn.state.specs:
        account.specs_due(turn)
    if turn.is_money_moved:
        account.settle(turn)


# --- one function per event that has no file of its own ----------------------------------------------------------------------


def _halts_loaded(turn: Turn, event: HaltsLoaded) -> None:
    """Halts that stand in the database and not here: the more restrictive of both wins."""
    for halt in event.halts:
        held = turn.state.halts.get(halt.halt_id)
        if held is None or (held.mode is HaltMode.REDUCE_ONLY and halt.mode is HaltMode.HALTED):
            halts.impose(turn, halt)


def _bot_changed(turn: Turn, event: BotChanged) -> None:
    """The runner's word on a brain. One that raised again and again is stopped, and its bot halted."""
    bot = turn.bot(event.bot)
    if not event.errors:
        if bot.is_warm == event.is_warm:
            return
        bot.is_warm = event.is_warm
        if bot.status in (BotStatus.WARMING, BotStatus.RUNNING):
            bot.status = BotStatus.RUNNING if event.is_warm else BotStatus.WARMING
        bot.text = event.text
        turn.touch_bot(bot)
        return
    bot.is_warm = False
    bot.status = BotStatus.STOPPED
    bot.text = event.text
    turn.touch_bot(bot)
    halts.latch(
        turn,
        Scope(ScopeKind.BOT, bot.code),
        HaltCause.BRAIN_ERRORS,
        f"The brain raised {event.errors} times in a row: {event.text}" if event.errors > 1 else event.text,
        mode=HaltMode.HALTED,
        title=f"Bot {bot.code} is stopped: its brain failed",
        to_do="Read the traceback on the bot's page, repair the brain and start the engine again; then clear the halt.",
    )


def _woke(turn: Turn, event: Woke) -> None:
    """A timer. One that comes a little early (clocks round) is set again; one that is not in the state is old news."""
    due_at = turn.state.timers.get(event.timer)
    if due_at is None:
        return
    if turn.at < due_at:
        turn.wake_at(event.timer, due_at)
        return
    turn.sleep(event.timer)
    name, _, rest = event.timer.partition(":")
    if name == "slice":
        slicing.slice_due(turn, rest, event.quote)
    else:
        _TIMERS[name](turn, rest)


def _leg_due(turn: Turn, rest: str) -> None:
    """A refused leg may be tried again."""
    turn.dirty[rest.partition(":")[2]] = None


def _grow_due(turn: Turn, rest: str) -> None:
    """The pause for more fills is over."""
    turn.grown.add(rest)
    _leg_due(turn, rest)


def _day_due(turn: Turn, _: str) -> None:
    turn.is_money_moved = True


_TIMERS: Final[Mapping[str, Callable[[Turn, str], None]]] = {
    "age": ageing.age_due,
    "answers": lambda turn, _: ageing.answers_due(turn),
    "breaker": symbols.cooldown_due,
    "cancel": ageing.cancel_due,
    "close": closing.close_due,
    "day": _day_due,
    "exit": closing.wait_due,
    "grow": _grow_due,
    "health": conditions.health_due,
    "leg": _leg_due,
    "limit": protection.limit_due,
    "naked": naked.naked_due,
    "open": kills.opens_due,
    "park": foreign.parked_due,
    "query": ageing.query_due,
    "replace": ageing.replace_due,
    "reconcile": lambda turn, _: recovery.reconcile_due(turn),
    "session": symbols.session_due,
    "through": watching.through_due,
    "ttl": decisions.ttl_due,
    "verify": kills.verify_due,
}

_HANDLERS: Final[Mapping[type[Any], Callable[[Turn, Any], None]]] = {
    Started: recovery.started,
    Reported: guarded(reports.reported),
    Adjusted: adjustments.adjusted,
    SendFailed: reports.send_failed,
    Commanded: commands.commanded,
    HaltsLoaded: _halts_loaded,
    Marked: account.marked,
    Touched: watching.touched,
    Trailed: watching.trailed,
    PriceAged: watching.price_aged,
    Woke: _woke,
    Reconciled: guarded(recovery.reconciled),
    OrderFound: guarded(recovery.order_found),
    LinkChanged: conditions.link_changed,
    SettingsChanged: account.settings_changed,
    BotChanged: _bot_changed,
}
