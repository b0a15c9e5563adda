"""Disagreements: a symbol of which the venue holds another quantity than we, from the first look to how it ended.

While one stands the symbol takes no entry. It ends when both agree again, or by a person: *adopt* takes the venue's word and books the
difference at the mark, *ignore* lets exactly this difference be. Nothing is ever taken over silently where a fill may still explain it.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Final

from execution.core import conditions
from execution.core.controls import CommandRefused, DiscrepancyState
from execution.core.foreign import adopt, book_foreign
from execution.core.messages import CommandSpec, ExecType, QueryVenue, Reconciled, Reported
from execution.core.turn import Turn
from risk.core.book import EXTERNAL
from risk.core.units import ZERO, Side
from risk.core.wording import number

#: alarms about a symbol that say no more than: look whether the venue agrees
_UNTIL_AGREED: Final = ("bust", "split", "adjustment")


def compare(turn: Turn, event: Reconciled, *, until: datetime) -> list[str]:
    """The symbols whose quantity the venue sees otherwise, in words. One that moved at or after `until` is judged next time."""
    apart = []
    for symbol in sorted({*event.positions, *turn.state.positions, *turn.state.discrepancies, *conditions.disagreed(turn)}):
        position = turn.state.positions.get(symbol)
        if position is not None and position.updated_at is not None and position.updated_at >= until:
            continue
        ours, theirs = turn.qty(symbol), event.positions.get(symbol, ZERO)
        if theirs - ours == turn.state.ignored.get(symbol, ZERO) or adopt(turn, symbol, theirs):
            _agreed(turn, symbol)
            if symbol in turn.state.ignored:
                apart.append(f"{symbol} differs and is ignored")
        else:
            turn.state.ignored.pop(symbol, None)
            _stands(turn, symbol, ours, theirs)
            apart.append(f"{symbol} differs")
    return apart


def _agreed(turn: Turn, symbol: str) -> None:
    conditions.agreed(turn, symbol)
    _ended(turn, symbol, "the venue agrees")
    for key in [key for key in turn.state.alarms if key.startswith(tuple(f"{kind}:{symbol}:" for kind in _UNTIL_AGREED))]:
        turn.clear_alarm(key)


def _ended(turn: Turn, symbol: str, how: str) -> None:
    turn.clear_alarm(f"discrepancy:{symbol}")
    found = turn.state.discrepancies.pop(symbol, None)
    if found is not None:
        found.ended, found.ended_at = how, turn.at
        turn.touch("discrepancy", found.key, found)


def _stands(turn: Turn, symbol: str, ours: Decimal, theirs: Decimal) -> None:
    conditions.begin(turn, conditions.discrepancy(symbol))
    found = turn.state.discrepancies.get(symbol)
    if found is None:
        found = DiscrepancyState(symbol=symbol, ours=ours, theirs=theirs, since=turn.at, seen_at=turn.at)
        turn.state.discrepancies[symbol] = found
    elif (found.ours, found.theirs) != (ours, theirs):
        turn.clear_alarm(f"discrepancy:{symbol}")
    found.ours, found.theirs, found.seen_at = ours, theirs, turn.at
    turn.touch("discrepancy", found.key, found)
    turn.alarm(
        f"discrepancy:{symbol}",
        priority=1,
        title=f"The venue does not agree about {symbol}",
        cause=f"Ours is {number(ours)}, the venue's {number(theirs)}.",
        consequence=f"{symbol} takes no entry until both agree; its stops stay.",
        to_do="Ask the venue again; if it stays, adopt what the venue holds, or ignore the difference.",
        symbol=symbol,
    )


# --- settled by a person -----------------------------------------------------------------------------------------------------------


def adopted(turn: Turn, spec: CommandSpec) -> str:
    """Believe the venue: the difference is booked for EXTERNAL at the mark, like the fill that we missed."""
    found = _standing(turn, spec.target)
    difference = found.theirs - found.ours
    position = turn.state.positions.get(found.symbol)
    if position is None or position.mark is None:
        raise CommandRefused(f"{found.symbol} has no price yet, so what the venue holds has no worth. Ask again when it has one.")
    if any(order.is_unknown for order in turn.index.orders_of(found.symbol)):
        raise CommandRefused(
            f"An order of {found.symbol} was not answered and may explain the difference. Ask again when it is known."
        )
    fill = Reported(
        at=turn.at,
        cl_ord_id=f"x{spec.command_id}",
        exec_type=ExecType.TRADE,
        exec_id=f"adopted:{spec.command_id}",
        symbol=found.symbol,
        side=Side.BUY if difference > 0 else Side.SELL,
        last_qty=abs(difference),
        last_px=position.mark,
        cum_qty=abs(difference),
    )
    book_foreign(turn, fill)
    _settled(turn, found.symbol, "adopted", spec)
    what = f"{number(abs(difference))} {found.symbol} {'bought' if difference > 0 else 'sold'} at {number(fill.last_px)}"
    return f"Booked for {EXTERNAL}: {what}. {number(turn.qty(found.symbol))} are open now; the venue is asked again."


def ignored(turn: Turn, spec: CommandSpec) -> str:
    """Let exactly this difference be; any other is a disagreement again."""
    found = _standing(turn, spec.target)
    turn.state.ignored[found.symbol] = found.theirs - found.ours
    _settled(turn, found.symbol, "ignored", spec)
    return f"The difference of {number(found.theirs - found.ours)} {found.symbol} is ignored until it changes. The venue is asked again."


def _standing(turn: Turn, symbol: str) -> DiscrepancyState:
    found = turn.state.discrepancies.get(symbol)
    if found is None:
        raise CommandRefused(f"The venue does not disagree about {symbol}.")
    if turn.qty(symbol) != found.ours:
        raise CommandRefused(f"{symbol} moved since the venue was asked. Ask it again first.")
    return found


def _settled(turn: Turn, symbol: str, how: str, spec: CommandSpec) -> None:
    conditions.agreed(turn, symbol)
    _ended(turn, symbol, f"{how} by {spec.by}{f': {spec.reason}' if spec.reason else ''}")
    turn.emit(QueryVenue(query_id=f"settled:{spec.command_id}"))
