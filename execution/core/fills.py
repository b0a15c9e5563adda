"""Fills: the only place where a position or the account's money changes.

One fill is booked in one event everywhere at once: on its order, the position, the cash, the symbol's session and breaker, and the
bracket that must protect what it opened or no longer protects what it closed.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from execution.core import orders, pnl, symbols
from execution.core.account import FEES
from execution.core.brackets import BracketState, BracketStatus
from execution.core.closing import overshot
from execution.core.halts import latch
from execution.core.ledger import keep, ledger_for
from execution.core.messages import BooksBy, Reported
from execution.core.naked import leg_accepted
from execution.core.orders import ENTRY, EXITS, LEGS, OrderState
from execution.core.pnl import Booked
from execution.core.positions import FillState, PositionState
from execution.core.sending import query_timer
from execution.core.slicing import is_first_fill
from execution.core.turn import Turn
from execution.core.unreadable import is_readable
from risk.core.book import EXTERNAL
from risk.core.units import ZERO, Scope, ScopeKind
from risk.core.verdict import HaltCause
from risk.core.wording import number


def fill_told(turn: Turn, order: OrderState, report: Reported) -> Reported | None:
    """The fill that a report tells, under the id it is booked by; None when it tells none that can be booked.

    Where the venue books by cumulative quantity, the fill is what it has more than we, at the price that makes its average, and what
    its trades are called says nothing.
    """
    if turn.settings is None or turn.settings.books_by is BooksBy.TRADE_ID:
        return report if report.exec_id else None
    if report.cum_qty is None or not report.cum_qty.is_finite():
        return None
    qty = report.cum_qty - order.cum_qty
    exec_id = f"cum:{order.cl_ord_id}:{report.cum_qty.normalize():f}"
    while exec_id in order.exec_ids:  # a bust took it back to less, and it came to the same again
        exec_id += "+"
    px = report.last_px
    if report.avg_px is not None and report.avg_px.is_finite() and qty > 0 and qty != report.last_qty:
        px = (report.avg_px * report.cum_qty - order.cum_cost) / qty
    return msgspec.structs.replace(report, exec_id=exec_id, last_qty=max(qty, ZERO), last_px=px)


def is_fill(report: Reported) -> bool:
    """Whether a report tells a quantity and a price at all. Nothing we trade has a price of zero or less."""
    return all(told.is_finite() and told > 0 for told in (report.last_qty, report.last_px))


def book_fill(turn: Turn, order: OrderState, report: Reported) -> None:
    """Book a fill under the report's `exec_id`: on the order, the position, the account, the symbol's session and breaker, and the bracket."""
    report = _with_readable_fee(turn, order, report)
    was_accepted, was_first = order.is_accepted, not order.cum_qty
    if order.replacing is not None and orders.shows_replace(order, report.last_qty):
        orders.resize(order, at=turn.at, order_qty=None, price=None, stop_px=None, replace_id=order.replacing.cl_ord_id)
        order.tries = 0
        reopen(turn, turn.state.brackets.get(order.bracket_id))
    excess = orders.book(
        order, exec_id=report.exec_id, qty=report.last_qty, px=report.last_px, at=turn.at, order_id=report.order_id
    )
    position = turn.position(order.symbol, bot=order.bot)
    if not turn.closable(order.symbol):
        _claim(turn, position, order)
    if position.mark is None:
        position.mark, position.marked_at = report.last_px, turn.at
    ledger = turn.state.ledgers[order.symbol] = ledger_for(turn.state.ledgers.get(order.symbol), position)
    fill = _fill_of(turn, order, report)
    booked = pnl.apply_fill(position, side=fill.side, qty=fill.last_qty, px=fill.last_px, at=turn.at, fee_qty=fill.fee_qty)
    fill = msgspec.structs.replace(fill, realised=booked.realised)
    if order.purpose is ENTRY and was_first and position.qty and is_first_fill(turn, order):
        position.entries += 1
    fee = charge(turn, order, position, fill)
    _book_cash(turn, position, fill, booked, fee=fee)
    symbols.book(turn, order.symbol, booked, fee)
    keep(ledger, fill, position)
    turn.touch("fill", fill.key, fill)
    turn.touch("position", order.symbol, position)
    turn.index.position_changed(order.symbol)
    turn.touch_order(order)
    if order.done is not None:
        turn.sleep(query_timer(order))
        turn.clear_alarm(f"revived:{order.cl_ord_id}")
    if order.purpose in LEGS and not was_accepted:
        leg_accepted(turn, order)
    _book_brackets(turn, order, position, report.last_qty)
    is_flat = not turn.closable(order.symbol)
    if is_flat or order.purpose in EXITS:
        turn.clear_alarm(f"exit:{order.symbol}")
    if is_flat:
        turn.clear_alarm(f"foreign:{order.symbol}")
        if order.purpose is not ENTRY:
            position.entries = 0
    if excess:
        overfilled(turn, order, excess)
    if order.purpose is not ENTRY and booked.opened_qty and not is_flat:
        position.bot = EXTERNAL
        overshot(turn, order.symbol)
    elif f"overshoot:{order.symbol}" in turn.state.alarms:
        overshot(turn, order.symbol)


def _with_readable_fee(turn: Turn, order: OrderState, report: Reported) -> Reported:
    """A fee that is no number would make all money after it none: the fill is booked without, and said."""
    if is_readable(report.fee):
        return report
    turn.alarm(
        f"{FEES}{order.symbol}:{report.exec_id}",
        priority=2,
        title=f"A fee of {order.symbol} cannot be read",
        cause=f"The venue says {number(report.fee)} {report.fee_currency} for {report.exec_id}, order {order.cl_ord_id}.",
        consequence="The fill is booked without it: cash and results are better than they should be by what it was.",
        to_do="Look the fee up on the venue's own page.",
        bot=order.bot,
        symbol=order.symbol,
    )
    return msgspec.structs.replace(report, fee=ZERO)


def _claim(turn: Turn, position: PositionState, order: OrderState) -> None:
    """A flat position belongs to whoever opens it, in the instrument's terms of now; dust comes along, in the terms it has."""
    position.bot = order.bot
    if order.purpose is ENTRY:
        position.opened_at = turn.at
    instrument = turn.instrument(order.symbol)
    if instrument is not None and not position.qty:
        position.contract_value, position.is_inverse = instrument.contract_value, instrument.is_inverse


def charge(turn: Turn, order: OrderState, position: PositionState, fill: FillState, *, sign: int = 1) -> Decimal:
    """Charge a fill's fee, or give it back (`sign` -1); returns it in the account's currency.

    One that was paid in kind counts at the fill's price. One in any other currency is kept apart, and said.
    """
    settings, account = turn.state.settings, turn.state.account
    fee, currency = sign * fill.fee, fill.fee_currency
    instrument = turn.instrument(fill.symbol)
    if fill.fee_qty and instrument is not None:
        fee, currency = sign * fill.fee_qty * fill.last_px * position.contract_value, instrument.currency
    if not fee:
        return ZERO
    if settings is not None and currency not in ("", settings.currency):
        account.fees_other[currency] = account.fees_other.get(currency, ZERO) + fee
        turn.alarm(
            f"{FEES}{currency}",
            priority=3,
            title=f"Fees in {currency} are not in the results",
            cause=f"The venue charges in {currency}, the account counts in {settings.currency}.",
            consequence="They are kept apart and shown apart; equity does not know them.",
            to_do="Pay fees in the account's currency at the venue, if it lets you.",
        )
        return ZERO
    order.fees += fee
    position.fees += fee
    account.fees += fee
    return fee


def cash_of(turn: Turn, position: PositionState, fill: FillState, booked: Booked) -> Decimal:
    """How a fill moved the account's cash, its fee apart."""
    return pnl.cash_moved(
        turn.instrument(fill.symbol),
        booked,
        side=fill.side,
        qty=fill.last_qty,
        px=fill.last_px,
        contract_value=position.contract_value,
        fee_qty=fill.fee_qty,
    )


def _book_cash(turn: Turn, position: PositionState, fill: FillState, booked: Booked, *, fee: Decimal) -> None:
    account = turn.state.account
    account.realised += booked.realised
    account.cash += cash_of(turn, position, fill, booked) - fee
    turn.is_money_moved = True
    turn.touch_account()


def _fill_of(turn: Turn, order: OrderState, report: Reported) -> FillState:
    return FillState(
        exec_id=report.exec_id,
        cl_ord_id=order.cl_ord_id,
        order_id=order.order_id,
        bot=order.bot,
        symbol=order.symbol,
        side=order.side,
        last_qty=report.last_qty,
        last_px=report.last_px,
        fee=report.fee,
        fee_currency=report.fee_currency,
        liquidity=report.liquidity,
        realised=ZERO,
        at=turn.at,
        transact_at=report.transact_at,
        exec_ref_id=report.exec_ref_id,
        fee_qty=pnl.fee_in_kind(turn.instrument(order.symbol), report.fee, report.fee_currency),
    )


def _book_brackets(turn: Turn, order: OrderState, position: PositionState, qty: Decimal) -> None:
    """Move what each bracket must protect: its entry adds, its legs take, other exits take from the oldest."""
    bracket = turn.state.brackets.get(order.bracket_id or order.cl_ord_id)
    if bracket is not None:
        if order.purpose is ENTRY:
            bracket.entry_qty += qty
            bracket.open_qty += qty
            reopen(turn, bracket)
        else:
            bracket.open_qty = max(bracket.open_qty - qty, ZERO)
        turn.touch_bracket(bracket)
        turn.dirty[bracket.bracket_id] = None
    fit_brackets(turn, order.symbol, position)


def fit_brackets(turn: Turn, symbol: str, position: PositionState) -> None:
    """No bracket protects what is not there: what exits took is taken from the oldest, the other side of zero from all."""
    side = position.closing_side.opposite
    room = abs(position.qty)
    for bracket in reversed(turn.index.brackets_of(symbol)):
        open_qty = min(bracket.open_qty, room) if bracket.side is side else ZERO
        room -= open_qty
        if open_qty != bracket.open_qty:
            bracket.open_qty = open_qty
            turn.touch_bracket(bracket)
            turn.dirty[bracket.bracket_id] = None


def overfilled(turn: Turn, order: OrderState, excess: Decimal) -> None:
    """More filled than was ordered: it is booked and protected, and nothing is added until a person has looked."""
    scope = Scope(ScopeKind.INSTRUMENT, order.symbol)
    if any(halt.cause is HaltCause.OVERFILL and halt.scope == scope for halt in turn.state.halts.values()):
        return
    latch(
        turn,
        scope,
        HaltCause.OVERFILL,
        f"{number(excess)} {order.symbol} more filled than was ordered ({order.cl_ord_id}).",
        title=f"An order of {order.symbol} overfilled",
        to_do="Compare the order's fills with the venue's own page.",
    )


def reopen(turn: Turn, bracket: BracketState | None) -> None:
    """A bracket we were done with has an order again."""
    if bracket is not None and bracket.status is BracketStatus.CLOSED:
        bracket.status = BracketStatus.CLOSING
        turn.index.bracket_changed(bracket)
        turn.touch_bracket(bracket)
