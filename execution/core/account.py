"""The account's own numbers: cash, equity, the day, and the two latches that a loss sets.

Rules of this file.
1. Equity is cash plus what is open, at marks. It is computed after every event that moved money or a mark, never refetched.
2. A day begins at midnight UTC, at its timer or before the first event after it is counted: its baseline is the equity that stood
   at midnight, so what the event brings, a late fill or a first mark after a night, belongs to the new day.
3. Daily loss and drawdown trip at the limit and latch a REDUCE_ONLY halt on the account: brains may still reduce, nothing adds.
   A person clears it, and says whether the baseline it tripped on starts anew (as a rule) or is kept; the answer says which.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

import msgspec

from execution.core import pnl, slicing, symbols, throttles
from execution.core.halts import clear, latch
from execution.core.messages import DeskSettings, Marked, SettingsChanged
from execution.core.sending import RECONCILE
from execution.core.turn import Turn
from execution.core.unreadable import is_readable
from risk.core.book import Halt
from risk.core.hours import next_midnight
from risk.core.portfolio import has_fallen
from risk.core.units import Instrument, Scope, ScopeKind
from risk.core.verdict import HaltCause
from risk.core.wording import number

DAY: Final = "day"
#: how the keys of alarms about fees begin; a new day clears them, and its first such fee raises one again
FEES: Final = "fees:"
#: a loss's latch → the field of its baseline, and what people call the loss
_BASELINES: Final = {
    HaltCause.DAILY_LOSS: ("day_start_equity", "The day's loss"),
    HaltCause.DRAWDOWN: ("peak_equity", "The drawdown"),
}


def settings_changed(turn: Turn, event: SettingsChanged) -> None:
    """New settings are in force at once: what they trip trips now, what they release is released now."""
    state, account, settings = turn.state, turn.state.account, _with_old_terms(turn, event.settings)
    if account.day_start_at is None:
        account.cash = settings.starting_cash
    terms = slicing.terms(turn)
    state.settings = settings
    account.settings_digest = settings.digest
    account.settings_version = settings.version
    account.settings_applied_at = turn.at
    turn.index.settings_changed()
    for code in settings.bots:
        if code not in state.bots:
            turn.touch_bot(turn.bot(code))
    due_at = turn.at + timedelta(milliseconds=settings.timing.reconcile_ms)
    if turn.state.timers.get(RECONCILE, due_at) > due_at:
        turn.wake_at(RECONCILE, due_at)
    symbols.reevaluate(turn)
    slicing.settings_changed(turn, terms)
    turn.touch_account()
    turn.is_money_moved = True


def _with_old_terms(turn: Turn, settings: DeskSettings) -> DeskSettings:
    """The settings with the old tick, lot and contract value of every symbol that is not flat: orders and fills are counted in them."""
    old, waited = turn.settings.instruments if turn.settings is not None else {}, turn.state.specs
    turn.state.specs = {
        symbol: new
        for symbol, new in settings.instruments.items()
        if symbol in old and _terms(old[symbol]) != _terms(new) and not _is_flat(turn, symbol, old[symbol], new)
    }
    for symbol in [symbol for symbol in waited if symbol not in turn.state.specs]:
        turn.clear_alarm(f"terms:{symbol}")
    for symbol in turn.state.specs:
        turn.alarm(
            f"terms:{symbol}",
            priority=3,
            title=f"New terms of {symbol} wait",
            cause="Its tick, lot or contract value changed while a position or an order is open.",
            consequence="It is traded in the old terms until then.",
            to_do="Nothing: they are in force once it is flat.",
            symbol=symbol,
        )
    kept = {symbol: msgspec.structs.replace(new, **_terms(old[symbol])) for symbol, new in turn.state.specs.items()}
    return msgspec.structs.replace(settings, instruments=settings.instruments | kept) if kept else settings


def specs_due(turn: Turn) -> None:
    """New terms of symbols that are flat now."""
    settings = turn.settings
    if settings is None:
        return
    old = settings.instruments
    due = {symbol: new for symbol, new in turn.state.specs.items() if _is_flat(turn, symbol, old.get(symbol, new), new)}
    if not due:
        return
    turn.state.settings = msgspec.structs.replace(settings, instruments=settings.instruments | due)
    turn.state.specs = {symbol: spec for symbol, spec in turn.state.specs.items() if symbol not in due}
    turn.index.settings_changed()
    for symbol in due:
        turn.clear_alarm(f"terms:{symbol}")


def _is_flat(turn: Turn, symbol: str, old: Instrument, new: Instrument) -> bool:
    """Whether nothing is counted in the old terms any more. What is less than a lot is, where a unit is worth something else now."""
    is_worth_the_same = (old.contract_value, old.is_inverse) == (new.contract_value, new.is_inverse)
    open_qty = turn.closable(symbol) if is_worth_the_same else turn.qty(symbol)
    return not open_qty and not turn.index.orders.get(symbol)


def _terms(spec: Instrument) -> dict[str, Any]:
    return {name: getattr(spec, name) for name in ("tick_size", "lot_size", "contract_value", "is_inverse")}


def marked(turn: Turn, event: Marked) -> None:
    """New marks. A price that is not a positive number is no mark: the old one ages until it stops entries."""
    for mark in event.marks:
        if not is_readable(mark.price) or mark.price <= 0:
            continue
        position = turn.position(mark.symbol, bot=turn.index.owner(mark.symbol))
        position.mark, position.marked_at = mark.price, mark.at
        turn.index.position_marked(position)
        turn.is_changed = True
        if position.qty:
            turn.touch("position", mark.symbol, position)
            turn.is_money_moved = True


def settle(turn: Turn) -> None:
    """After money moved or midnight passed: equity, baselines, latches."""
    account, settings = turn.state.account, turn.state.settings
    if settings is None:
        return
    if account.day_end_at is not None and turn.at >= account.day_end_at:
        _begin_day(turn)
    before = account.equity
    account.equity = pnl.equity(account.cash, turn.state.positions.values(), settings.instruments)
    if account.day_end_at is None:
        _begin_day(turn)
    account.peak_equity = max(account.peak_equity, account.equity)
    if account.equity != before:
        turn.touch_account()
    _latch_losses(turn)


def _begin_day(turn: Turn) -> None:
    account = turn.state.account
    account.day_start_at = turn.at
    account.day_end_at = next_midnight(turn.at)
    account.day_start_equity = account.equity
    turn.wake_at(DAY, account.day_end_at)
    turn.touch_account()
    for key in [key for key in turn.state.alarms if key.startswith(FEES)]:
        turn.clear_alarm(key)
    if turn.settings is not None and turn.settings.limits.resume_at_rollover:
        for halt in [h for h in turn.state.halts.values() if h.cause is HaltCause.DAILY_LOSS]:
            clear(turn, halt)


def _latch_losses(turn: Turn) -> None:
    account, settings = turn.state.account, turn.state.settings
    assert settings is not None, "settle() looked"
    limits = settings.limits
    _latch_loss(turn, HaltCause.DAILY_LOSS, account.day_start_equity, limits.daily_loss_pct, "the day's opening")
    _latch_loss(turn, HaltCause.DRAWDOWN, account.peak_equity, limits.drawdown_pct, "its peak")


def _latch_loss(turn: Turn, cause: HaltCause, base: Decimal, pct: Decimal | None, of: str) -> None:
    account = turn.state.account
    if pct is None or not has_fallen(account.equity, base, pct):
        return
    if any(halt.cause is cause for halt in turn.state.halts.values()):
        return
    latch(
        turn,
        Scope(ScopeKind.ACCOUNT, account.account),
        cause,
        f"Equity {number(account.equity)} has fallen {number(pct)} % or more below {of}, {number(base)}.",
        title=f"{cause.value.capitalize().replace('_', ' ')} limit reached",
        to_do="Look at what lost; clearing the halt starts a new baseline.",
    )


def rebase(turn: Turn, halt: Halt, *, keeps_baseline: bool) -> str:
    """Start the baseline of a cleared latch anew, or keep it; returns the sentence that says so, empty for other causes.

    A baseline that is kept is judged at once: where the limit is still reached, the account halts again.
    """
    account = turn.state.account
    if halt.cause is HaltCause.REPEATED_EXECUTION:
        return throttles.cleared(turn, halt.scope.key)
    if halt.cause not in _BASELINES:
        return ""
    field, what = _BASELINES[halt.cause]
    if keeps_baseline:
        turn.is_money_moved = True
        return f" {what} still counts from {number(getattr(account, field))}."
    setattr(account, field, account.equity)
    turn.touch_account()
    return f" {what} counts from {number(account.equity)} now."
