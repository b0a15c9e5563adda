"""The last fills of a symbol, so that one of them can be taken out or corrected as if it had never been otherwise.

Average cost depends on the order of fills, so a bust cannot be booked by subtracting: the position before the first kept fill is
kept too, and the fills are booked again without the busted one. What changes a position without a fill begins a new ledger.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from decimal import Decimal
from typing import Final

import msgspec

from execution.core import pnl
from execution.core.positions import FillState, PositionState
from risk.core.units import ZERO

#: fills kept a symbol; an older one cannot be undone
_KEPT: Final = 500


class Ledger(msgspec.Struct, kw_only=True):
    """`base` is the position before the first of `fills`; `qty` and `cost` are what it was after the last."""

    base: PositionState
    fills: list[FillState] = []
    qty: Decimal
    cost: Decimal


class Replayed(msgspec.Struct, frozen=True):
    """A ledger booked again: the position it comes to, its fills with what each realised now, and the fill that opened what is open."""

    position: PositionState
    fills: list[FillState]
    opener: FillState | None
    #: how far the result moved, where something was taken out or corrected
    realised_moved: Decimal = ZERO


def ledger_for(found: Ledger | None, position: PositionState) -> Ledger:
    """The ledger to go on with from this position: the one there is, or a new one where something else moved the position."""
    if found is not None and is_current(found, position):
        return found
    return Ledger(base=deepcopy(position), qty=position.qty, cost=position.cost)


def is_current(ledger: Ledger, position: PositionState) -> bool:
    """Whether nothing but its fills has moved the position since."""
    is_same_contract = ledger.base.contract_value == position.contract_value
    return is_same_contract and (ledger.qty, ledger.cost) == (position.qty, position.cost)


def keep(ledger: Ledger, fill: FillState, position: PositionState) -> None:
    """Remember a fill that the position has booked; the oldest becomes part of the base."""
    ledger.fills.append(fill)
    ledger.qty, ledger.cost = position.qty, position.cost
    if len(ledger.fills) > _KEPT:
        _book(ledger.base, ledger.fills.pop(0))


def find(ledger: Ledger | None, cl_ord_id: str, exec_id: str) -> FillState | None:
    """The kept fill of an order under this exec_id, or the one that corrected it. An empty `cl_ord_id` stands for any order."""
    fills: Sequence[FillState] = ledger.fills if ledger is not None else ()
    mine = [fill for fill in fills if cl_ord_id in ("", fill.cl_ord_id)]
    found = next((fill for fill in mine if fill.exec_id == exec_id), None)
    while found is None and (later := next((fill for fill in mine if fill.exec_ref_id == exec_id), None)) is not None:
        found = later
    return found


def put(ledger: Ledger, old: FillState, new: FillState | None) -> Replayed:
    """Book the ledger again with `new`, or nothing, in the place of `old`."""
    place, before = ledger.fills.index(old), replay(ledger).position.realised
    ledger.fills[place : place + 1] = [] if new is None else [new]
    replayed = replay(ledger)
    replayed = msgspec.structs.replace(replayed, realised_moved=replayed.position.realised - before)
    ledger.fills[:] = replayed.fills
    ledger.qty, ledger.cost = replayed.position.qty, replayed.position.cost
    return replayed


def replay(ledger: Ledger) -> Replayed:
    """What the base and the fills come to."""
    position, fills, opener = deepcopy(ledger.base), [], None
    for fill in ledger.fills:
        before = position.qty
        realised = _book(position, fill)
        if not position.qty:
            opener = None
        elif before * position.qty <= 0:
            opener = fill
        fills.append(fill if fill.realised == realised else msgspec.structs.replace(fill, realised=realised))
    return Replayed(position, fills, opener)


def _book(position: PositionState, fill: FillState) -> Decimal:
    booked = pnl.apply_fill(position, side=fill.side, qty=fill.last_qty, px=fill.last_px, at=fill.at, fee_qty=fill.fee_qty)
    return booked.realised
