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
from execution.core.messages import Adjusted, AdjustmentKind
from execution.core.sending import cancel
from execution.core.turn import Turn
from risk.core.units import ZERO
from risk.core.wording import number

#: ids kept, so that a repeated report changes nothing
_KEPT: Final = 500


def adjusted(turn: Turn, event: Adjusted) -> None:
    """Book an adjustment. One whose number cannot be right is alarmed and changes nothing else."""
    if event.adjustment_id in turn.state.adjustments:
        return
    turn.state.adjustments = [*turn.state.adjustments, event.adjustment_id][-_KEPT:]
    turn.is_changed = True
    if event.kind is AdjustmentKind.FUNDING and event.amount.is_finite():
        _fund(turn, event)
    elif event.kind is AdjustmentKind.SPLIT and event.factor.is_finite() and event.factor > 0:
        _split(turn, event)
    else:
        _unreadable(turn, event)


def _fund(turn: Turn, event: Adjusted) -> None:
    """Money paid for holding a position is a part of its result."""
    account, position = turn.state.account, turn.position(event.symbol, bot=turn.index.owner(event.symbol))
    account.cash += event.amount
    account.realised += event.amount
    position.realised += event.amount
    position.updated_at = turn.at
    symbols.reverse(turn, event.symbol, gross=-event.amount, fee=ZERO)
    turn.is_money_moved = True
    turn.touch("position", event.symbol, position)
    turn.touch_account()


def _split(turn: Turn, event: Adjusted) -> None:
    factor = event.factor
    for order in list(turn.index.orders_of(event.symbol)):
        cancel(turn, order, by="a split")
    position = turn.state.positions.get(event.symbol)
    if position is not None:
        position.qty /= factor
        if position.mark is not None:
            position.mark *= factor
        position.updated_at = turn.at
        turn.touch("position", event.symbol, position)
        turn.index.position_changed(event.symbol)
    for bracket in turn.index.brackets_of(event.symbol):
        _split_bracket(turn, bracket, factor)
    turn.is_money_moved = True
    turn.alarm(
        f"split:{event.symbol}:{event.adjustment_id}",
        priority=3,
        title=f"{event.symbol} was split",
        cause=f"The venue multiplies its prices by {number(factor)} and divides its quantities by it.",
        consequence="Position and brackets are counted anew; orders in the old terms are canceled.",
        to_do="Look whether the bot's own levels still mean what they meant.",
        symbol=event.symbol,
    )


def _split_bracket(turn: Turn, bracket: BracketState, factor: Decimal) -> None:
    def scaled(price: Decimal | None) -> Decimal | None:
        return None if price is None else price * factor

    bracket.stop_px, bracket.target_px = scaled(bracket.stop_px), scaled(bracket.target_px)
    bracket.stop_limit_offset = scaled(bracket.stop_limit_offset)
    bracket.entry_qty, bracket.open_qty = bracket.entry_qty / factor, bracket.open_qty / factor
    if (trail := bracket.trail) is not None:
        bracket.trail = msgspec.structs.replace(
            trail, offset=scaled(trail.offset), activation_px=scaled(trail.activation_px), extreme=scaled(trail.extreme)
        )
    turn.touch_bracket(bracket)
    turn.dirty[bracket.bracket_id] = None


def _unreadable(turn: Turn, event: Adjusted) -> None:
    turn.alarm(
        f"adjustment:{event.symbol}:{event.adjustment_id}",
        priority=1,
        title=f"An adjustment of {event.symbol} cannot be right",
        cause=f"The venue says {event.kind.value} with amount {event.amount} and factor {event.factor}.",
        consequence="It is not booked; the next comparison with the venue shows the difference.",
        to_do="Compare with the venue's own page.",
        symbol=event.symbol,
    )
