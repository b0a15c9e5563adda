"""Busts and corrections: the venue takes a trade back, or says that it was another.

Everything the fill did is undone as if it had never been: the order's quantity, the position, the money, the session's result. Then
protection is looked at again, and a person is told. A bust that overtakes its fill keeps the fill from being booked.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from execution.core import ledger as ledgers
from execution.core import orders, pnl, symbols
from execution.core.brackets import BracketState
from execution.core.closing import overshot
from execution.core.fills import book_fill, cash_of, charge, fit_brackets, overfilled, reopen
from execution.core.ledger import Ledger, Replayed
from execution.core.messages import ExecType, Reported
from execution.core.orders import ENTRY, LEGS, OrderState
from execution.core.pnl import Booked
from execution.core.positions import FillState, PositionState
from execution.core.sending import backoff_ms, cancel, query, query_timer, watch_for_answer
from execution.core.slicing import is_first_fill
from execution.core.turn import Turn
from risk.core.book import EXTERNAL
from risk.core.units import ZERO
from risk.core.verdict import OrderClass
from risk.core.wording import number


def busted(turn: Turn, order: OrderState, report: Reported) -> None:
    """TRADE_CANCEL or TRADE_CORRECT of the fill that `exec_ref_id` names. A repeated one changes nothing."""
    ref = report.exec_ref_id
    if ref in order.busted_ids or (report.exec_id and report.exec_id in order.exec_ids):
        return
    ledger, position = turn.state.ledgers.get(order.symbol), turn.state.positions.get(order.symbol)
    found = ledgers.find(ledger, order.cl_ord_id, ref)
    if ledger is not None and position is not None and found is not None and ledgers.is_current(ledger, position):
        _undo(turn, order, report, ledger=ledger, position=position, old=found)
    elif ref in order.exec_ids:
        _cannot_undo(turn, order, report)
    else:
        _forestall(turn, order, report)


def _undo(turn: Turn, order: OrderState, report: Reported, *, ledger: Ledger, position: PositionState, old: FillState) -> None:
    """Book everything again with the corrected fill, or nothing, in the place of the old one."""
    new = _corrected(turn, old, report) if report.exec_type is ExecType.TRADE_CORRECT else None
    moved_qty = (new.last_qty if new is not None else ZERO) - old.last_qty
    was_done, known = order.done, {fill.key: fill for fill in ledger.fills}
    replayed = ledgers.put(ledger, old, new)
    order.busted_ids.append(old.exec_id)
    order.exec_ids += [exec_id for exec_id in (new.exec_id if new is not None else report.exec_id,) if exec_id]
    excess = orders.rebook(order, qty=moved_qty, cost=_worth(new) - _worth(old), works=_works(report), at=turn.at)
    _book_money(turn, order, position, old=old, new=new, realised=replayed.realised_moved)
    _move(turn, order, position, replayed)
    for fill in replayed.fills:
        if known.get(fill.key) != fill:
            turn.touch("fill", fill.key, fill)
    turn.touch("fill", old.key, msgspec.structs.replace(old, busted_at=turn.at))
    _tell(turn, order, old, new)
    _refit_brackets(turn, order, position, moved_qty)
    _own(turn, position, replayed.opener)
    if excess:
        overfilled(turn, order, excess)
    if was_done is not None and order.done is None:
        _works_again(turn, order)


def _corrected(turn: Turn, old: FillState, report: Reported) -> FillState:
    """The fill as it truly was. A fee that is not told again stays."""
    fee, currency = (report.fee, report.fee_currency) if report.fee_currency else (old.fee, old.fee_currency)
    return msgspec.structs.replace(
        old,
        exec_id=report.exec_id or f"{old.exec_id}/{turn.state.seq + 1}",
        exec_ref_id=old.exec_id,
        last_qty=report.last_qty,
        last_px=report.last_px,
        fee=fee,
        fee_currency=currency,
        fee_qty=pnl.fee_in_kind(turn.instrument(old.symbol), fee, currency),
        at=turn.at,
        transact_at=report.transact_at,
    )


def _worth(fill: FillState | None) -> Decimal:
    return fill.last_qty * fill.last_px if fill is not None else ZERO


def _works(report: Reported) -> bool | None:
    """Whether the venue works the order on; None where it does not say."""
    return None if report.leaves_qty is None else report.leaves_qty > 0


def _book_money(
    turn: Turn, order: OrderState, position: PositionState, *, old: FillState, new: FillState | None, realised: Decimal
) -> None:
    """The account and the session as if the fill had been `new` all along; the difference belongs to the session of now."""
    account = turn.state.account
    fee = charge(turn, order, position, old, sign=-1)
    if new is not None:
        fee += charge(turn, order, position, new)
    account.realised += realised
    account.cash += _cash(turn, position, old, new, realised) - fee
    symbols.reverse(turn, order.symbol, gross=-realised, fee=-fee)
    turn.is_money_moved = True
    turn.touch_account()


def _cash(turn: Turn, position: PositionState, old: FillState, new: FillState | None, realised: Decimal) -> Decimal:
    now = new if new is not None else msgspec.structs.replace(old, last_qty=ZERO, fee_qty=ZERO)
    return cash_of(turn, position, now, Booked(realised, ZERO, ZERO)) - cash_of(turn, position, old, Booked(ZERO, ZERO, ZERO))


def _move(turn: Turn, order: OrderState, position: PositionState, replayed: Replayed) -> None:
    after = replayed.position
    position.qty, position.cost, position.opened_at = after.qty, after.cost, after.opened_at
    position.realised += replayed.realised_moved
    if not position.qty:
        position.entries = 0
    elif order.purpose is ENTRY and not order.cum_qty and is_first_fill(turn, order):
        position.entries = max(position.entries - 1, 0)
    position.updated_at = turn.at
    turn.touch("position", position.symbol, position)
    turn.index.position_changed(position.symbol)
    turn.touch_order(order)


def _tell(turn: Turn, order: OrderState, old: FillState, new: FillState | None) -> None:
    was = f"{old.side.value.lower()} {number(old.last_qty)} {old.symbol} at {number(old.last_px)}"
    now = f"It was {number(new.last_qty)} at {number(new.last_px)}." if new is not None else "It never was."
    turn.alarm(
        f"bust:{old.symbol}:{old.exec_id}",
        priority=1,
        title=f"The venue {'corrected' if new is not None else 'took back'} a trade of {old.symbol}",
        cause=f"{was[:1].upper()}{was[1:]} ({old.exec_id}). {now}",
        consequence="Position, results and protection are what they would have been.",
        to_do="Compare the position with the venue's own page.",
        bot=order.bot,
        symbol=old.symbol,
    )


# --- what follows ----------------------------------------------------------------------------------------------------------


def _refit_brackets(turn: Turn, order: OrderState, position: PositionState, moved_qty: Decimal) -> None:
    """What each bracket must protect now: an entry's bust takes from its own, an exit's bust gives back what the exit took."""
    bracket = turn.state.brackets.get(order.bracket_id or order.cl_ord_id)
    if bracket is not None and order.purpose is ENTRY:
        bracket.entry_qty += moved_qty
        _grow(turn, bracket, moved_qty)
    elif bracket is not None and order.purpose in LEGS:
        _grow(turn, bracket, -moved_qty)
    elif moved_qty < 0:
        _give_back(turn, position, -moved_qty)
    fit_brackets(turn, order.symbol, position)


def _give_back(turn: Turn, position: PositionState, qty: Decimal) -> None:
    """Exits take from the oldest bracket first, so what they took is given back to the newest first."""
    side = position.closing_side.opposite
    for bracket in reversed(turn.state.brackets.values()):
        room = bracket.entry_qty - bracket.open_qty
        if qty > 0 and bracket.symbol == position.symbol and bracket.side is side and room > 0:
            _grow(turn, bracket, min(room, qty))
            qty -= min(room, qty)


def _grow(turn: Turn, bracket: BracketState, qty: Decimal) -> None:
    bracket.open_qty = min(max(bracket.open_qty + qty, ZERO), bracket.entry_qty)
    reopen(turn, bracket)
    turn.touch_bracket(bracket)
    turn.dirty[bracket.bracket_id] = None


def _own(turn: Turn, position: PositionState, opener: FillState | None) -> None:
    """A position belongs to whose entry opened it; one that only an exit opened is nobody's."""
    order = turn.state.orders.get(opener.cl_ord_id) if opener is not None else None
    if position.qty and order is not None and order.purpose is not ENTRY:
        position.bot = EXTERNAL
        overshot(turn, position.symbol)
    elif f"overshoot:{position.symbol}" in turn.state.alarms:
        overshot(turn, position.symbol)
    elif opener is not None:
        position.bot = opener.bot


def _works_again(turn: Turn, order: OrderState) -> None:
    """A filled order is short of its quantity now. The venue is asked whether it works; an entry is canceled, it was decided long ago."""
    query(turn, order)
    if order.pending is not None:
        watch_for_answer(turn)
    if order.is_unknown:
        order.tries = 0
        turn.wake(query_timer(order), ms=backoff_ms(order))
    if order.order_class is OrderClass.ENTRY:
        cancel(turn, order, by="the desk")


# --- what cannot be undone -------------------------------------------------------------------------------------------------


def _forestall(turn: Turn, order: OrderState, report: Reported) -> None:
    """The fill has not come yet, so it will not be booked when it does; a corrected one is booked as it truly was."""
    order.exec_ids.append(report.exec_ref_id)
    order.busted_ids.append(report.exec_ref_id)
    turn.touch_order(order)
    if report.exec_type is ExecType.TRADE_CORRECT:
        exec_id = report.exec_id or f"{report.exec_ref_id}/{turn.state.seq + 1}"
        book_fill(turn, order, msgspec.structs.replace(report, exec_id=exec_id))


def _cannot_undo(turn: Turn, order: OrderState, report: Reported) -> None:
    turn.alarm(
        f"bust:{order.symbol}:{report.exec_ref_id}",
        priority=1,
        title=f"A trade of {order.symbol} was taken back and cannot be undone here",
        cause=f"The venue says {report.exec_type.value} of {report.exec_ref_id}, which is older than what is kept.",
        consequence="Position and results still count it; the next comparison with the venue shows the difference.",
        to_do="Compare with the venue's own page, and bring the position into line there.",
        bot=order.bot,
        symbol=order.symbol,
    )
