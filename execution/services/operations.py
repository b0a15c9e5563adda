"""Acts on what is there: bots, orders, brackets, positions, breakers, questions to the venue, alarms.

Cancels, stops and closes are never refused for being out of date: the Desk answers them on what it finds. Only what never existed is
refused here.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Unpack

from django.db import transaction
from django.utils import timezone

from execution.core.messages import CommandKind, Decision, Leg, StopMode
from execution.core.orders import LEGS
from execution.models import Account, Act, Alarm, Bot, Bracket, Order, Position
from execution.services.acts import (
    NO_TERMS,
    ActRefused,
    Ask,
    Asked,
    Terms,
    accounts_in,
    act_make,
    bot_scope,
    command_add,
    disabled_told,
    engine_runs,
)
from execution.services.halts import halt_named, halts_over
from risk import audit
from risk.core.units import Scope, ScopeKind
from risk.core.verdict import HaltMode
from risk.models import Instrument


def bot_start(*, bot: Bot, **asked: Unpack[Asked]) -> Act:
    """Start a bot, now and after every restart, until it is stopped. Raises ActRefused with what stands in the way."""
    ask = Ask(kind=CommandKind.START, scope=bot_scope(bot), **asked)

    def write(act: Act) -> None:
        _may_start(bot, act)
        Bot.objects.filter(pk=bot.pk).update(should_run=True)
        command_add(act, ask, [bot.account])

    return act_make(ask, write)


def bot_stop(*, bot: Bot, mode: StopMode, **asked: Unpack[Asked]) -> Act:
    """Stop a bot: now, once it is flat, or once its bracket is done. It stays stopped after a restart."""
    ask = Ask(kind=CommandKind.STOP, scope=bot_scope(bot), stop_mode=mode, **asked)

    def write(act: Act) -> None:
        Bot.objects.filter(pk=bot.pk).update(should_run=False)
        command_add(act, ask, [bot.account])

    return act_make(ask, write)


def order_cancel(*, account: Account, cl_ord_id: str, **asked: Unpack[Asked]) -> Act:
    """Cancel one order, a protective leg included."""
    _known_order(account, cl_ord_id)
    return _on_account(CommandKind.CANCEL_ORDER, account, cl_ord_id, **asked)


def bracket_leg_cancel(*, account: Account, cl_ord_id: str, leg: Leg | None = None, **asked: Unpack[Asked]) -> Act:
    """Cancel one leg of a bracket; the other stays. The Desk does not send the leg again until it is re-armed.

    With `leg`, `cl_ord_id` is the bracket's: a leg that is watched has no order.
    """
    if leg is not None:
        _known_bracket(account, cl_ord_id)
    elif _known_order(account, cl_ord_id).purpose not in LEGS:
        raise ActRefused(f"Order {cl_ord_id} is no leg of a bracket: cancel it as an order.")
    return _on_account(CommandKind.CANCEL_LEG, account, cl_ord_id, Terms(leg=leg), **asked)


def bracket_leg_move(*, account: Account, bracket_id: str, leg: Leg, price: Decimal, **asked: Unpack[Asked]) -> Act:
    """Move the stop or the target of a bracket to another price. The Desk refuses one it cannot use, and says which it can."""
    _known_bracket(account, bracket_id)
    return _on_account(CommandKind.MOVE_LEG, account, bracket_id, Terms(leg=leg, price=price), **asked)


def bracket_arm(
    *, account: Account, target: str, stop_px: Decimal | None = None, target_px: Decimal | None = None, **asked: Unpack[Asked]
) -> Act:
    """Protect what is open again, with a stop, a target or both. `target` is a bracket's id, or a symbol for all of its position."""
    if stop_px is None and target_px is None:
        raise ActRefused("Give a stop, a target or both.")
    if not Position.objects.filter(account=account, symbol=target).exists():
        _known_bracket(account, target)
    return _on_account(CommandKind.ARM, account, target, Terms(stop_px=stop_px, target_px=target_px), **asked)


def decision_submit(*, account: Account, symbol: str, decision: Decision, is_by_hand: bool = True, **asked: Unpack[Asked]) -> Act:
    """Ask the Desk for an order as the bot that owns the symbol would: through every gate. What it denies is recorded as a signal.

    `is_by_hand` is false for a program's decision: a halt refuses its exits too.
    """
    _known_instrument(symbol)
    return _on_account(CommandKind.SUBMIT_DECISION, account, symbol, Terms(decision=decision, is_by_hand=is_by_hand), **asked)


def bracket_cancel(*, account: Account, bracket_id: str, **asked: Unpack[Asked]) -> Act:
    """Cancel both legs of a bracket. The position stays, unprotected."""
    _known_bracket(account, bracket_id)
    return _on_account(CommandKind.CANCEL_BRACKET, account, bracket_id, **asked)


def position_close(*, account: Account, symbol: str, **asked: Unpack[Asked]) -> Act:
    """Close one position at market."""
    if not Position.objects.filter(account=account, symbol=symbol).exists():
        raise ActRefused(f"{account.name} never held {symbol}.")
    return _on_account(CommandKind.CLOSE, account, symbol, **asked)


def flatten(*, scope: Scope, **asked: Unpack[Asked]) -> Act:
    """Close every position in scope, symbol by symbol, and verify it at the venue. Blocks nothing afterwards: a kill does."""
    ask = Ask(kind=CommandKind.FLATTEN, scope=scope, **asked)
    return act_make(ask, lambda act: command_add(act, ask, accounts_in(scope)))


def flatten_stop(*, account: Account, **asked: Unpack[Asked]) -> Act:
    """Stop a flatten that runs on this account; what it closed stays closed, stops are put back."""
    return _on_account(CommandKind.STOP_FLATTEN, account, "", **asked)


def breaker_reset(*, account: Account, symbol: str, **asked: Unpack[Asked]) -> Act:
    """End the cooldown of a symbol's circuit breaker."""
    _known_instrument(symbol)
    return _on_account(CommandKind.RESET_BREAKER, account, symbol, **asked)


def discrepancy_adopt(*, account: Account, symbol: str, **asked: Unpack[Asked]) -> Act:
    """Believe the venue about a symbol: what it holds beyond ours, or less, is booked for EXTERNAL at the mark."""
    return _on_account(CommandKind.ADOPT, account, _disagreed(account, symbol), **asked)


def discrepancy_flatten(*, account: Account, symbol: str, **asked: Unpack[Asked]) -> Act:
    """Believe the venue about a symbol, then close all of it at market. Raises ActRefused where the venue holds nothing of it."""
    _disagreed(account, symbol)
    if not account.discrepancies.get(symbol=symbol, ended_at=None).theirs:
        raise ActRefused(f"The venue of {account.name} holds no {symbol}: adopt that, there is nothing to close.")
    return _on_account(CommandKind.FLATTEN, account, symbol, **asked)


def discrepancy_ignore(*, account: Account, symbol: str, **asked: Unpack[Asked]) -> Act:
    """Let the difference of a symbol be, exactly as it is now."""
    return _on_account(CommandKind.IGNORE, account, _disagreed(account, symbol), **asked)


def venue_query(*, account: Account, target: str = "", **asked: Unpack[Asked]) -> Act:
    """Ask the venue for its orders, fills and positions now; `target` names one order or bracket where only that is in doubt."""
    if target and not Bracket.objects.filter(account=account, bracket_id=target).exists():
        _known_order(account, target)
    return _on_account(CommandKind.QUERY, account, target, **asked)


def alarm_ack(*, alarm: Alarm, by: str, origin: str = "") -> Alarm:
    """Acknowledge an alarm: its sound stops, what is still true stays. The first to do so is remembered."""
    with transaction.atomic():
        at = timezone.now()
        if Alarm.objects.filter(pk=alarm.pk, acked_at=None).update(acked_at=at, acked_by=by):
            audit.record(
                by=by,
                action="alarm_ack",
                model="execution.Alarm",
                key=str(alarm.pk),
                before={"acked_by": ""},
                after={"acked_by": by, "title": alarm.title, "account": alarm.account.code},
                origin=origin,
            )
    alarm.refresh_from_db()
    return alarm


def _on_account(kind: CommandKind, account: Account, target: str, terms: Terms = NO_TERMS, **asked: Unpack[Asked]) -> Act:
    """One Command for this account about one thing of it."""
    ask = Ask(kind=kind, scope=Scope(ScopeKind.ACCOUNT, account.code), target=target, terms=terms, **asked)
    return act_make(ask, lambda act: command_add(act, ask, [account]))


def _disagreed(account: Account, symbol: str) -> str:
    if not account.discrepancies.filter(symbol=symbol, ended_at=None).exists():
        raise ActRefused(f"The venue of {account.name} does not disagree about {symbol}.")
    return symbol


def _known_order(account: Account, cl_ord_id: str) -> Order:
    order = Order.objects.filter(account=account, cl_ord_id=cl_ord_id).first()
    if order is None:
        raise ActRefused(f"{account.name} has no order {cl_ord_id}.")
    return order


def _known_instrument(symbol: str) -> None:
    if not Instrument.objects.filter(symbol=symbol).exists():
        raise ActRefused(f"There is no instrument “{symbol}”.")


def _known_bracket(account: Account, bracket_id: str) -> None:
    if not Bracket.objects.filter(account=account, bracket_id=bracket_id).exists():
        raise ActRefused(f"{account.name} has no bracket {bracket_id}.")


def _may_start(bot: Bot, act: Act) -> None:
    if not bot.is_enabled:
        raise ActRefused(disabled_told(bot))
    if not bot.account.is_enabled:
        raise ActRefused(f"{bot.account.name} is disabled, so nothing can start on it.")
    halted = halts_over(bot).filter(mode=HaltMode.HALTED).exclude(scope=ScopeKind.INSTRUMENT).first()
    if halted is not None:
        raise ActRefused(f"{bot.code} is stopped by a {halt_named(halted)} ({halted.scope.lower()}): clear that first.")
    if not engine_runs(bot.account, act.at):
        raise ActRefused(f"No engine runs {bot.account.code} now, so nothing can start there. Start an engine first.")
