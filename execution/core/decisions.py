"""From a decision to an order, or to a denial that says why.

Rules of this file.
1. CLOSE, and an opposite signal while a position is open, is an EXIT: it never opens anything. Everything else is an ENTRY and
   passes every gate. Where flip_policy is close_then_open, the brain is asked again once an opposite signal has closed.
2. One exit in flight a symbol. A market exit takes the place of a resting limit exit; any other second exit is EXIT_IN_FLIGHT.
3. A denial changes nothing: it leaves one Signal to be recorded, and the Desk exactly as it was.
4. A decision at or before the last approved one of its bot and symbol was already had: it leaves nothing at all.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from execution.core import symbols, throttles
from execution.core.brackets import BracketState
from execution.core.conditions import not_ready, not_sendable
from execution.core.messages import Decided, Decision, Effect, Publish, SignalKind, SignalRecord
from execution.core.orders import OrderState, Purpose
from execution.core.sending import Sent, book_of, cancel, portfolio_of, send
from execution.core.turn import ENCODER, Turn
from risk.core.hours import day_ends_at
from risk.core.settings import RiskSettings
from risk.core.units import OrdType, Side, TimeInForce
from risk.core.verdict import Capability, Check, Denied, HintKind, OrderClass, Proposal, Reason
from risk.core.wording import number

_RESTING = (OrdType.LIMIT, OrdType.STOP, OrdType.STOP_LIMIT)


def decided(turn: Turn, event: Decided) -> Denied | None:
    """Handle a decision. Returns the denial, if it was one; nothing is changed then."""
    if _is_old(turn, event):
        return None
    qty = turn.qty(event.symbol)
    return _exit(turn, event, qty) if _is_exit(event, qty) else _enter(turn, event)


def denial_published(turn: Turn, event: Decided, denied: Denied) -> tuple[Effect, ...]:
    """The only trace of a denial."""
    record = _record(turn, event, checks=denied.checks, reason=denied.reason, text=denied.text, order=None)
    return (Publish(kind="signal", key=record.decision_id, body=ENCODER.encode(record)),)


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
        stop_loss=decision.stop_loss,
        take_profit=decision.take_profit,
        confidence=decision.confidence,
        quote=event.quote,
        decision_id=event.decision_id,
    )
    waits = not_ready(turn, bot=event.bot, symbol=event.symbol)
    book = book_of(turn, bot=event.bot, symbol=event.symbol, not_ready=waits, portfolio=portfolio_of(turn))
    sent = send(turn, proposal, book, purpose=Purpose.ENTRY)
    if isinstance(sent, Denied):
        return sent
    order = sent.order
    throttles.approved(turn, order)
    if decision.stop_loss is not None or decision.take_profit is not None:
        _open_bracket(turn, order, decision)
    values = turn.index.effective(event.bot, event.symbol).values
    if order.ord_type in _RESTING:
        _let_age(turn, order, values)
    _approved(turn, event, sent)
    return None


def _open_bracket(turn: Turn, order: OrderState, decision: Decision) -> None:
    bracket = BracketState(
        bracket_id=order.cl_ord_id,
        bot=order.bot,
        symbol=order.symbol,
        side=order.side,
        stop_px=decision.stop_loss,
        target_px=decision.take_profit,
        created_at=turn.at,
        updated_at=turn.at,
    )
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


def _exit(turn: Turn, event: Decided, qty: Decimal) -> Denied | None:
    decision = event.decision
    if not qty:
        return _refuse(Reason.NOTHING_TO_CLOSE, f"No position in {event.symbol} is open, so there is nothing to close.")
    exits = turn.exits_of(event.symbol)
    superseded = _superseded(decision, exits)
    if exits and superseded is None:
        return exit_in_flight(exits)
    proposal = exit_proposal(
        turn,
        symbol=event.symbol,
        bot=event.bot,
        side=_holding(qty).opposite,
        qty=_exit_qty(decision, abs(qty)),
        is_automatic=True,
        decision=decision,
        decision_id=event.decision_id,
    )
    waits = not_sendable(turn)
    book = book_of(turn, bot=event.bot, symbol=event.symbol, not_ready=waits, superseded=superseded)
    sent = send(turn, proposal, book, purpose=Purpose.EXIT)
    if isinstance(sent, Denied):
        return sent
    if superseded is not None:
        cancel(turn, superseded, by="a market exit")
    turn.clear_alarm(f"exit:{event.symbol}")
    if decision.signal is not SignalKind.CLOSE:
        symbols.closed_by_opposite(turn, bot=event.bot, symbol=event.symbol)
    _approved(turn, event, sent)
    return None


def exit_proposal(
    turn: Turn,
    *,
    symbol: str,
    bot: str,
    side: Side,
    qty: Decimal,
    is_automatic: bool,
    decision: Decision | None = None,
    decision_id: str = "",
) -> Proposal:
    """An order that only closes. Without a price it goes to market."""
    is_limit = decision is not None and decision.ord_type is OrdType.LIMIT and decision.price is not None
    return Proposal(
        order_class=OrderClass.EXIT,
        account=turn.state.account.account,
        bot=bot,
        symbol=symbol,
        side=side,
        ord_type=OrdType.LIMIT if is_limit else OrdType.MARKET,
        order_qty=qty,
        price=decision.price if is_limit and decision is not None else None,
        reduce_only=turn.has(Capability.REDUCE_ONLY),
        decision_id=decision_id,
        is_automatic=is_automatic,
    )


def _superseded(decision: Decision, exits: list[OrderState]) -> OrderState | None:
    """The resting limit exit that a market exit takes the place of."""
    if len(exits) == 1 and decision.ord_type is not OrdType.LIMIT and exits[0].ord_type is OrdType.LIMIT and exits[0].is_resting:
        return exits[0]
    return None


def exit_in_flight(exits: list[OrderState]) -> Denied:
    order = exits[0]
    return _refuse(
        Reason.EXIT_IN_FLIGHT,
        f"An exit of {order.symbol} for {number(order.leaves_qty)} is already {order.ord_status.value.replace('_', ' ').lower()}.",
    )


def _exit_qty(decision: Decision, held: Decimal) -> Decimal:
    if decision.hint.kind is HintKind.QUANTITY and decision.hint.value.is_finite() and decision.hint.value > 0:
        return min(decision.hint.value, held)
    return held


def _refuse(reason: Reason, text: str) -> Denied:
    """The desk's own answer, in the shape of a gate's."""
    return Denied(reason=reason, checks=(Check("Exit capacity", False, detail=text, reason=reason),))


# --- what is recorded ------------------------------------------------------------------------------------------------------


def _approved(turn: Turn, event: Decided, sent: Sent) -> None:
    bot = turn.bot(event.bot)
    bot.placed += 1
    bot.last_signal_at = turn.at
    bot.last_approved_at[event.symbol] = event.market_at
    bot.last_approved_n[event.symbol] = event.n
    turn.touch_bot(bot)
    record = _record(turn, event, checks=sent.checks, reason=None, text="", order=sent.order)
    turn.touch("signal", record.decision_id, record)


def _record(
    turn: Turn, event: Decided, *, checks: tuple[Check, ...], reason: Reason | None, text: str, order: OrderState | None
) -> SignalRecord:
    decision = event.decision
    is_close = decision.signal is SignalKind.CLOSE
    is_exit = _is_exit(event, turn.qty(event.symbol))
    return SignalRecord(
        decision_id=event.decision_id,
        at=turn.at,
        market_at=event.market_at,
        bot=event.bot,
        symbol=event.symbol,
        signal=decision.signal,
        side=order.side if order is not None else None if is_close else _side(decision.signal),
        order_class=order.order_class if order is not None else OrderClass.EXIT if is_exit else OrderClass.ENTRY,
        ord_type=decision.ord_type,
        reason=reason,
        text=text,
        checks=checks,
        order_qty=order.order_qty if order is not None else None,
        price=decision.price,
        quote=event.quote,
        stop_loss=decision.stop_loss,
        take_profit=decision.take_profit,
        note=decision.note,
        settings_version=turn.state.account.settings_version,
        cl_ord_id=order.cl_ord_id if order is not None else "",
    )
