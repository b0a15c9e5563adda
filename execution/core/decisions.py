"""From a decision to an order, or to a denial that says why.

Rules of this file.
1. CLOSE, and an opposite signal while a position is open, is an EXIT: it never opens anything. Everything else is an ENTRY and
   passes every gate. Where flip_policy is close_then_open, the brain is asked again once an opposite signal has closed.
2. One exit in flight a symbol. A market exit takes the place of a resting limit exit; any other second exit is EXIT_IN_FLIGHT.
3. A denial changes nothing: it leaves one Signal to be recorded, and the Desk exactly as it was.
4. A decision at or before the last approved one of its bot and symbol was already had, and one to hold asks for nothing: neither
   leaves anything at all.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Final

import msgspec

from execution.core import closing, slicing, symbols, throttles
from execution.core.brackets import BracketState
from execution.core.conditions import not_ready
from execution.core.messages import Decided, Decision, Effect, Publish, SignalKind, SignalRecord
from execution.core.orders import OrderState, Purpose
from execution.core.sending import book_of, cancel, portfolio_of, send
from execution.core.trailing import Trail
from execution.core.turn import ENCODER, Turn
from risk.core.hours import day_ends_at
from risk.core.settings import RiskSettings, UnsupportedProtection
from risk.core.sizing import is_positive
from risk.core.units import HUNDRED, LARGEST, ZERO, OrdType, Side, TimeInForce
from risk.core.verdict import Check, Denied, HintKind, OrderClass, Proposal, Reason
from risk.core.wording import exact, number

#: the longest a position may be wanted for, in seconds: a year
TIME_LIMIT_S_MAX: Final = 366 * 86_400
_RESTING = (OrdType.LIMIT, OrdType.STOP, OrdType.STOP_LIMIT)


class Outcome(msgspec.Struct, frozen=True):
    """What an approved decision came to. An exit that waits for room has no order yet; it will carry the decision's id."""

    checks: tuple[Check, ...]
    side: Side
    order_qty: Decimal
    cl_ord_id: str


def decided(turn: Turn, event: Decided) -> Denied | None:
    """Handle a brain's decision. Returns the denial, if it was one; nothing is changed then."""
    if event.decision.signal is SignalKind.HOLD or _is_old(turn, event):
        return None
    denied = decide(turn, event)
    if denied is None:
        bot = turn.bot(event.bot)
        bot.last_approved_at[event.symbol] = event.market_at
        bot.last_approved_n[event.symbol] = event.n
    return denied


def decide(turn: Turn, event: Decided, *, is_automatic: bool = True) -> Denied | None:
    """Handle a decision, whoever made it. `is_automatic` is false for what a person asked: no halt refuses a person's exit."""
    qty = turn.index.open_lots(event.symbol)
    return _exit(turn, event, qty, is_automatic=is_automatic) if _is_exit(event, qty) else _enter(turn, event)


def denial_published(turn: Turn, event: Decided, denied: Denied) -> tuple[Effect, ...]:
    """The only trace of a denial."""
    record = denial_record(turn, event, denied)
    return (Publish(kind="signal", key=record.decision_id, body=ENCODER.encode(record)),)


def denial_record(turn: Turn, event: Decided, denied: Denied) -> SignalRecord:
    return _record(turn, event, denied.checks, reason=denied.reason, text=denied.text)


def _is_old(turn: Turn, event: Decided) -> bool:
    bot = turn.state.bots.get(event.bot)
    last = bot.last_approved_at.get(event.symbol) if bot is not None else None
    if bot is None or last is None:
        return False
    return (event.market_at, event.n) <= (last, bot.last_approved_n.get(event.symbol, 0))


def _is_exit(event: Decided, qty: Decimal) -> bool:
    signal = event.decision.signal
    return signal is SignalKind.CLOSE or (bool(qty) and _side(signal) is not _holding(qty))


def _side(signal: SignalKind) -> Side:
    return Side.SELL if signal is SignalKind.SELL else Side.BUY


def _holding(qty: Decimal) -> Side:
    return Side.BUY if qty > 0 else Side.SELL


# --- entries -------------------------------------------------------------------------------------------------------------


def _enter(turn: Turn, event: Decided) -> Denied | None:
    decision = event.decision
    if odd := _odd_protection(decision):
        check = Check("Protection", False, level="decision", detail=odd, reason=Reason.INVALID_DECISION)
        return Denied(reason=Reason.INVALID_DECISION, checks=(check,))
    stop_loss = _stop_of(event)
    proposal = Proposal(
        order_class=OrderClass.ENTRY,
        account=turn.state.account.account,
        bot=event.bot,
        symbol=event.symbol,
        side=_side(decision.signal),
        ord_type=decision.ord_type,
        time_in_force=decision.time_in_force,
        price=decision.price,
        stop_px=decision.stop_px,
        post_only=decision.post_only,
        hint=decision.hint,
        stop_loss=stop_loss,
        take_profit=decision.take_profit,
        confidence=decision.confidence,
        quote=event.quote,
        decision_id=event.decision_id,
    )
    waits = not_ready(turn, bot=event.bot, symbol=event.symbol)
    book = book_of(turn, bot=event.bot, symbol=event.symbol, not_ready=waits, portfolio=portfolio_of(turn), side=proposal.side)
    planned = slicing.plan(turn, proposal, book, decision.twap) if decision.twap is not None else None
    if isinstance(planned, Denied):
        return planned
    sent = send(turn, planned.first(proposal) if planned else proposal, book, purpose=Purpose.ENTRY)
    if isinstance(sent, Denied):
        return sent
    order = sent.order
    if stop_loss is not None or decision.take_profit is not None or decision.time_limit_s is not None or _trails(decision):
        _open_bracket(turn, event, order, stop_loss)
    values = turn.index.effective(event.bot, event.symbol).values
    if order.ord_type in _RESTING:
        _let_age(turn, order, values)
    whole = planned.whole if planned else order
    record = _approved(turn, event, Outcome(sent.checks, order.side, whole.order_qty, order.cl_ord_id))
    if planned:
        slicing.begin(turn, planned, proposal, order, record)
    throttles.approved(turn, order)
    return None


def _odd_protection(decision: Decision) -> str:
    """What is wrong with how a decision wants to be protected, in a sentence; empty when nothing is."""
    for name in ("stop_limit_offset", "trail_offset", "trail_pct", "trail_activation"):
        value = getattr(decision, name)
        if value is not None and not (is_positive(value) and value < LARGEST):
            return f"{name} is {exact(value)}; it must be a positive number below {number(LARGEST)}."
    if decision.trail_offset is not None and decision.trail_pct is not None:
        return "A stop trails by trail_offset or by trail_pct, not by both."
    if decision.trail_pct is not None and decision.trail_pct >= HUNDRED:
        return f"trail_pct is {exact(decision.trail_pct)}; it must be below 100."
    if decision.trail_activation is not None and not _trails(decision):
        return "trail_activation needs a trail_offset or a trail_pct."
    if decision.stop_limit_offset is not None and decision.stop_loss is None and not _trails(decision):
        return "stop_limit_offset needs a stop."
    if decision.time_limit_s is not None and not 0 < decision.time_limit_s <= TIME_LIMIT_S_MAX:
        return f"time_limit_s is {decision.time_limit_s}; it must be from 1 to {TIME_LIMIT_S_MAX} seconds."
    return ""


def _trails(decision: Decision) -> bool:
    return decision.trail_offset is not None or decision.trail_pct is not None


def _stop_of(event: Decided) -> Decimal | None:
    """Where the stop is at first: where the decision says, else where its trail begins, seen from the price it would enter at."""
    decision = event.decision
    if decision.stop_loss is not None or not _trails(decision) or decision.trail_activation is not None:
        return decision.stop_loss
    entry = decision.price or decision.stop_px or (event.quote.reference(_side(decision.signal)) if event.quote else None)
    return None if entry is None or not entry.is_finite() else _trail(event).level(entry)


def _trail(event: Decided) -> Trail:
    """The trailing stop of an entry. It begins to track on the side of the market where its activation price lies."""
    decision, activation = event.decision, event.decision.trail_activation
    last = event.quote.last if event.quote is not None else ZERO
    return Trail(
        side=_side(decision.signal).opposite,
        offset=decision.trail_offset,
        pct=decision.trail_pct,
        activation_px=activation,
        is_activated_above=activation is not None and activation >= last,
    )


def _open_bracket(turn: Turn, event: Decided, order: OrderState, stop_loss: Decimal | None) -> None:
    decision = event.decision
    bracket = BracketState(
        bracket_id=order.cl_ord_id,
        bot=order.bot,
        symbol=order.symbol,
        side=order.side,
        stop_px=stop_loss,
        target_px=decision.take_profit,
        created_at=turn.at,
        updated_at=turn.at,
        stop_limit_offset=decision.stop_limit_offset,
        trail=_trail(event) if _trails(decision) else None,
        time_limit_s=decision.time_limit_s,
    )
    policy = turn.index.effective(order.bot, order.symbol).values.unsupported_protection
    if policy is UnsupportedProtection.ALLOW_UNPROTECTED and not turn.index.holds.stop:
        bracket.is_stop_waived = True
        bracket.waived_why = "The venue cannot hold it, and unsupported_protection is allow_unprotected."
    order.bracket_id = bracket.bracket_id
    turn.state.brackets[bracket.bracket_id] = bracket
    turn.index.bracket_changed(bracket)
    turn.touch_bracket(bracket)


def _let_age(turn: Turn, order: OrderState, values: RiskSettings) -> None:
    """A resting entry is canceled when the idea behind it is too old, a DAY order at the close at the latest."""
    ends = [turn.at + timedelta(seconds=values.entry_ttl_s)] if values.entry_ttl_s is not None else []
    if order.time_in_force is TimeInForce.DAY:
        ends.append(day_ends_at(turn.settings.sessions_of(order.symbol) if turn.settings is not None else (), turn.at))
    if ends:
        turn.wake_at(f"ttl:{order.cl_ord_id}", min(ends))


def ttl_due(turn: Turn, cl_ord_id: str) -> None:
    order = turn.state.orders.get(cl_ord_id)
    if order is not None:
        cancel(turn, order, by="its time to live")


# --- exits ---------------------------------------------------------------------------------------------------------------


def _exit(turn: Turn, event: Decided, qty: Decimal, *, is_automatic: bool) -> Denied | None:
    decision = event.decision
    if not qty:
        return closing.refused(Reason.NOTHING_TO_CLOSE, closing.nothing_open(turn, event.symbol))
    proposal = closing.exit_proposal(
        turn,
        symbol=event.symbol,
        bot=event.bot,
        side=_holding(qty).opposite,
        qty=_exit_qty(decision, abs(qty)),
        price=decision.price if decision.ord_type is OrdType.LIMIT else None,
        is_automatic=is_automatic,
        decision_id=event.decision_id,
    )
    asked = closing.ask(turn, proposal, by="a market exit")
    if isinstance(asked, Denied):
        return asked
    turn.clear_alarm(f"exit:{event.symbol}")
    if decision.signal is not SignalKind.CLOSE:
        symbols.closed_by_opposite(turn, bot=event.bot, symbol=event.symbol)
    _approved(turn, event, Outcome(asked.checks, proposal.side, asked.qty, asked.orders[0].cl_ord_id if asked.orders else ""))
    return None


def _exit_qty(decision: Decision, held: Decimal) -> Decimal:
    if decision.hint.kind is HintKind.QUANTITY and decision.hint.value.is_finite() and decision.hint.value > 0:
        return min(decision.hint.value, held)
    return held


# --- what is recorded ------------------------------------------------------------------------------------------------------


def _approved(turn: Turn, event: Decided, outcome: Outcome) -> SignalRecord:
    bot = turn.bot(event.bot)
    bot.placed += 1
    bot.last_signal_at = turn.at
    turn.touch_bot(bot)
    record = _record(turn, event, outcome.checks, outcome=outcome)
    turn.touch("signal", record.decision_id, record)
    return record


def _record(
    turn: Turn,
    event: Decided,
    checks: tuple[Check, ...],
    *,
    reason: Reason | None = None,
    text: str = "",
    outcome: Outcome | None = None,
) -> SignalRecord:
    decision = event.decision
    is_close = decision.signal is SignalKind.CLOSE
    is_exit = _is_exit(event, turn.index.open_lots(event.symbol))
    return SignalRecord(
        decision_id=event.decision_id,
        at=turn.at,
        market_at=event.market_at,
        bot=event.bot,
        symbol=event.symbol,
        signal=decision.signal,
        side=outcome.side if outcome is not None else None if is_close else _side(decision.signal),
        order_class=OrderClass.EXIT if is_exit else OrderClass.ENTRY,
        ord_type=decision.ord_type,
        reason=reason,
        text=text,
        checks=checks,
        order_qty=outcome.order_qty if outcome is not None else None,
        price=decision.price,
        quote=event.quote,
        stop_loss=decision.stop_loss,
        take_profit=decision.take_profit,
        note=decision.note,
        settings_version=turn.state.account.settings_version,
        cl_ord_id=outcome.cl_ord_id if outcome is not None else "",
    )
