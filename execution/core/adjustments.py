"""What a venue moves without a trade: funding of a perpetual, a split.

Each is applied once, by the venue's id. A split changes the terms everything is counted in: the position and its brackets are counted
anew, and every order that still rests in the old terms is canceled; protection comes back in the new ones.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import msgspec

from execution.core import symbols
from execution.core.brackets import BracketState
from execution.core.closing import drop_waiting
from execution.core.messages import Adjusted, AdjustmentKind
from execution.core.positions import AdjustmentState, split_px, split_qty
from execution.core.sending import cancel
from execution.core.turn import Turn
from execution.core.unreadable import is_readable
from execution.core.watching import watches_of
from risk.core.units import ONE, ZERO
from risk.core.wording import number

#: no split gives more for one, nor takes more for one
_RATIO_MAX: Final = Decimal(1_000_000)
#: ids kept, so that a repeated report changes nothing
_KEPT: Final = 500


def adjusted(turn: Turn, event: Adjusted) -> None:
    """Book an adjustment. One whose numbers cannot be right is alarmed and changes nothing else."""
    if not _is_first(turn, event):
        return
    if event.kind is AdjustmentKind.FUNDING and is_readable(event.amount):
        _fund(turn, event)
    elif event.kind is AdjustmentKind.SPLIT and _is_ratio(event.new_units, event.old_units) and not _is_inverse(turn, event.symbol):
        _split(turn, event)
    else:
        _unreadable(turn, event)


def told_late(turn: Turn, event: Adjusted) -> None:
    """Book an adjustment of the venue's history. One from before this desk is in what it began with."""
    if turn.state.account.reconciled_at is None:
        _is_first(turn, event)
    else:
        adjusted(turn, msgspec.structs.replace(event, at=turn.at))


def _is_first(turn: Turn, event: Adjusted) -> bool:
    if event.adjustment_id in turn.state.adjustments:
        return False
    turn.state.adjustments = [*turn.state.adjustments, event.adjustment_id][-_KEPT:]
    turn.is_changed = True
    return True


def _is_ratio(new_units: Decimal, old_units: Decimal) -> bool:
    is_one = all(is_readable(units) and units > 0 for units in (new_units, old_units))
    return is_one and ONE / _RATIO_MAX <= new_units / old_units <= _RATIO_MAX


def _is_inverse(turn: Turn, symbol: str) -> bool:
    """One unit of an inverse contract is worth more at half the price: twice as many at half of it would be four times the money."""
    instrument, position = turn.instrument(symbol), turn.state.positions.get(symbol)
    return (instrument is not None and instrument.is_inverse) or (position is not None and position.is_inverse)


def _record(turn: Turn, event: Adjusted, bot: str) -> None:
    """Publish what is about to be booked; called before it is."""
    state = AdjustmentState(
        adjustment_id=event.adjustment_id,
        kind=event.kind,
        bot=bot,
        symbol=event.symbol,
        qty=turn.qty(event.symbol),
        amount=event.amount,
        new_units=event.new_units,
        old_units=event.old_units,
        at=turn.at,
        transact_at=event.transact_at,
    )
    turn.touch("adjustment", event.adjustment_id, state)


def _fund(turn: Turn, event: Adjusted) -> None:
    """Money paid for holding a position is a part of its result."""
    account, position = turn.state.account, turn.position(event.symbol, bot=turn.index.owner(event.symbol))
    _record(turn, event, position.bot)
    account.cash += event.amount
    account.realised += event.amount
    position.realised += event.amount
    position.updated_at = turn.at
    symbols.reverse(turn, event.symbol, gross=-event.amount, fee=ZERO)
    turn.is_money_moved = True
    turn.touch("position", event.symbol, position)
    turn.touch_account()


def _split(turn: Turn, event: Adjusted) -> None:
    symbol, new_units, old_units = event.symbol, event.new_units, event.old_units
    position = turn.state.positions.get(symbol)
    _record(turn, event, position.bot if position is not None else turn.index.owner(symbol))
    for order in list(turn.index.orders_of(symbol)):
        cancel(turn, order, by="a split")
    drop_waiting(turn, symbol)
    if position is not None:
        position.qty = split_qty(position.qty, new_units, old_units)
        if position.mark is not None:
            position.mark = split_px(position.mark, new_units, old_units)
        position.updated_at = turn.at
        turn.touch("position", symbol, position)
        turn.index.position_changed(symbol)
    if symbol in turn.state.ignored:
        turn.state.ignored[symbol] = split_qty(turn.state.ignored[symbol], new_units, old_units)
    for bracket in turn.index.brackets_of(symbol):
        _split_bracket(turn, bracket, new_units, old_units)
    turn.is_money_moved = True
    turn.alarm(
        f"split:{symbol}:{event.adjustment_id}",
        priority=3,
        title=f"{symbol} was split",
        cause=f"The venue gives {number(new_units)} for every {number(old_units)}, and its prices follow.",
        consequence="Position and brackets are counted anew; orders in the old terms are canceled.",
        to_do="Look whether the bot's own levels still mean what they meant.",
        symbol=symbol,
    )


def _split_bracket(turn: Turn, bracket: BracketState, new_units: Decimal, old_units: Decimal) -> None:
    def moved(price: Decimal | None) -> Decimal | None:
        return None if price is None else split_px(price, new_units, old_units)

    bracket.stop_px, bracket.target_px = moved(bracket.stop_px), moved(bracket.target_px)
    bracket.stop_limit_offset = moved(bracket.stop_limit_offset)
    bracket.entry_qty = split_qty(bracket.entry_qty, new_units, old_units)
    bracket.open_qty = split_qty(bracket.open_qty, new_units, old_units)
    if (trail := bracket.trail) is not None:
        bracket.trail = msgspec.structs.replace(
            trail, offset=moved(trail.offset), activation_px=moved(trail.activation_px), extreme=moved(trail.extreme)
        )
    for watch_id in watches_of(bracket):
        if watch_id in turn.state.watches:
            turn.unwatch(watch_id)  # it has followed prices of the old terms
    turn.touch_bracket(bracket)
    turn.dirty[bracket.bracket_id] = None


def _unreadable(turn: Turn, event: Adjusted) -> None:
    said = number(event.amount) if event.kind is AdjustmentKind.FUNDING else f"{event.new_units} for {event.old_units}"
    turn.alarm(
        f"adjustment:{event.symbol}:{event.adjustment_id}",
        priority=1,
        title=f"An adjustment of {event.symbol} cannot be right",
        cause=f"The venue says {event.kind.value} {said}.",
        consequence="It is not booked; the next comparison with the venue shows the difference.",
        to_do="Compare with the venue's own page.",
        symbol=event.symbol,
    )
