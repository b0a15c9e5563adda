"""Words about orders nobody here knows: kept for a while, then what they filled belongs to EXTERNAL.

A report may overtake the order it speaks of, so it waits; a venue that trades by itself (a liquidation, a person at its own page)
moves our position all the same, so it is booked. So is a position that was there before the desk was.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from execution.core import pnl
from execution.core.busts import busted
from execution.core.fills import book_fill, fill_told, is_fill
from execution.core.ledger import find
from execution.core.messages import ExecType, Reported, VenueFill
from execution.core.orders import OrderState, Purpose
from execution.core.positions import PositionState
from execution.core.state import Parked
from execution.core.turn import Turn
from risk.core.book import EXTERNAL
from risk.core.units import ZERO, OrdType, TimeInForce
from risk.core.verdict import OrderClass
from risk.core.wording import number

_PARKED_MAX: Final = 1000


def park(turn: Turn, report: Reported) -> None:
    """Keep a report for a while: its order may be on its way to us."""
    if report.exec_id and any(parked.report.exec_id == report.exec_id for parked in turn.state.parked):
        return
    turn.state.parked.append(Parked(report, turn.at + timedelta(milliseconds=turn.timing.park_ms)))
    if len(turn.state.parked) > _PARKED_MAX:
        release(turn, turn.state.parked.pop(0).report)
    turn.is_changed = True
    turn.wake(f"park:{report.cl_ord_id}", ms=turn.timing.park_ms)


def parked_due(turn: Turn, cl_ord_id: str) -> None:
    """The wait is over: what is still nobody's belongs to EXTERNAL."""
    due = [parked.report for parked in turn.state.parked if parked.report.cl_ord_id == cl_ord_id]
    turn.state.parked = [parked for parked in turn.state.parked if parked.report.cl_ord_id != cl_ord_id]
    turn.is_changed = True
    for report in due:
        release(turn, report)


def release(turn: Turn, report: Reported) -> None:
    """What a report says that is nobody's: a fill, or its bust, moved our position all the same; the rest says nothing of ours."""
    if report.exec_type is ExecType.TRADE and report.symbol and report.side is not None:
        book_foreign(turn, report)
    elif report.exec_type in (ExecType.TRADE_CANCEL, ExecType.TRADE_CORRECT):
        _bust_foreign(turn, report)


def _bust_foreign(turn: Turn, report: Reported) -> None:
    """A bust names its fill; whose order that was, our books say."""
    found = next(
        (fill for ledger in turn.state.ledgers.values() if (fill := find(ledger, "", report.exec_ref_id)) is not None), None
    )
    order = turn.state.orders.get(found.cl_ord_id) if found is not None else None
    if order is not None:
        busted(turn, order, report)
        return
    turn.alarm(
        f"bust:{report.symbol}:{report.exec_ref_id}",
        priority=1,
        title=f"A trade was taken back that nobody here knows{f' ({report.symbol})' if report.symbol else ''}",
        cause=f"The venue says {report.exec_type.value} of {report.exec_ref_id or 'no execution'}, order {report.cl_ord_id or 'unnamed'}.",
        consequence="Nothing was changed; the next comparison with the venue shows whether the positions agree.",
        to_do="Compare with the venue's own page.",
        symbol=report.symbol,
    )


def book_foreign(turn: Turn, report: Reported) -> None:
    """Book a fill of an order that is not ours: it moved our position all the same."""
    order = turn.order(report.cl_ord_id) or _foreign_order(turn, report)
    fill = fill_told(turn, order, report)
    if fill is None or fill.exec_id in order.exec_ids or not is_fill(fill):
        return
    turn.state.orders[order.cl_ord_id] = order
    order.order_qty += fill.last_qty
    book_fill(turn, order, fill)
    position = turn.state.positions[order.symbol]
    if position.qty:
        position.bot = EXTERNAL
    turn.alarm(
        f"foreign:{order.symbol}",
        priority=2,
        title=f"A foreign fill of {order.symbol}",
        cause=f"{order.side.value} {number(fill.last_qty)} at {number(fill.last_px)} for an order this desk did not send.",
        consequence=f"It is booked to {EXTERNAL}; while it holds the symbol, the symbol only reduces. Stops that rest stay; "
        "what was added has none from us.",
        to_do="Close it, or find out who traded on this account.",
        symbol=order.symbol,
    )


def _foreign_order(turn: Turn, report: Reported) -> OrderState:
    """The order behind a foreign fill, as far as it is known. The same order's next fill finds it again."""
    assert report.side is not None, "a fill without a side cannot be booked"
    cl_ord_id = report.cl_ord_id[:18] or f"x{report.order_id[:17]}"
    return turn.state.orders.get(cl_ord_id) or OrderState(
        cl_ord_id=cl_ord_id,
        bot=EXTERNAL,
        symbol=report.symbol,
        side=report.side,
        ord_type=OrdType.MARKET,
        time_in_force=TimeInForce.GTC,
        order_class=OrderClass.EXIT,
        purpose=Purpose.ENTRY,
        order_qty=ZERO,
        created_at=turn.at,
        updated_at=turn.at,
        order_id=report.order_id,
        is_accepted=True,
        text="not sent by this desk",
    )


# --- what was there before us --------------------------------------------------------------------------------------------------


def adopt(turn: Turn, symbol: str, qty: Decimal) -> bool:
    """Take over a position the venue shows in a symbol that nothing here ever touched. True when it was.

    It belongs to EXTERNAL, at its mark, so it has won and lost nothing; what it adds to the equity it adds to the baselines of the loss
    latches too. Without a mark it has no worth yet: it stays a disagreement until there is one.
    """
    position, settings = turn.state.positions.get(symbol), turn.settings
    if settings is None or position is None or position.mark is None or not _is_untouched(turn, symbol, position):
        return False
    account, positions = turn.state.account, turn.state.positions
    before = pnl.equity(account.cash, positions.values(), settings.instruments)
    instrument = turn.instrument(symbol)
    if instrument is not None:
        position.contract_value, position.is_inverse = instrument.contract_value, instrument.is_inverse
    position.bot, position.qty, position.cost = EXTERNAL, qty, qty * position.worth(position.mark)
    position.opened_at = position.updated_at = turn.at
    worth = pnl.equity(account.cash, positions.values(), settings.instruments) - before
    account.day_start_equity += worth
    account.peak_equity += worth
    turn.is_money_moved = True
    turn.touch_account()
    turn.touch("position", symbol, position)
    turn.index.position_changed(symbol)
    turn.alarm(
        f"foreign:{symbol}",
        priority=2,
        title=f"A position of {symbol} was here before us",
        cause=f"The venue holds {number(qty)} {symbol}; no order of this desk ever touched the symbol.",
        consequence=f"It is taken over by {EXTERNAL} at {number(position.mark)}; while it is open, the symbol only reduces and has no stop from us.",
        to_do="Close it, or leave it alone and trade other symbols.",
        symbol=symbol,
    )
    return True


def _is_untouched(turn: Turn, symbol: str, position: PositionState) -> bool:
    """Whether no fill can explain the position: none was booked, none is parked, and no order could have brought one."""
    parked = any(parked.report.symbol == symbol for parked in turn.state.parked)
    return position.opened_at is None and not parked and not any(order.symbol == symbol for order in turn.state.orders.values())


def report_of(fill: VenueFill, *, at: datetime) -> Reported:
    """A fill of the venue's history, or a bust, as the report that its stream would have brought."""
    return Reported(
        at=at,
        cl_ord_id=fill.cl_ord_id,
        exec_type=fill.exec_type,
        order_id=fill.order_id,
        exec_id=fill.exec_id,
        exec_ref_id=fill.exec_ref_id,
        cum_qty=fill.cum_qty,
        avg_px=fill.avg_px,
        symbol=fill.symbol,
        side=fill.side,
        last_qty=fill.last_qty,
        last_px=fill.last_px,
        fee=fill.fee,
        fee_currency=fill.fee_currency,
        liquidity=fill.liquidity,
        transact_at=fill.transact_at,
    )
