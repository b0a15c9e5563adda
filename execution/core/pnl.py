"""Profit and loss: what a fill does to a position, by average cost, and what an account is worth.

    realised + unrealised = cash flow + value at the mark

holds after every fill, and the tests say so. A flip realises the closed part and opens the rest at the fill's price.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Final

import msgspec

from execution.core.positions import PositionState
from risk.core.units import ZERO, AssetClass, Instrument, Side

#: classes where a position is held on margin: opening one moves no cash, closing it pays the difference
_MARGINED: Final = frozenset({AssetClass.CRYPTO_PERP, AssetClass.FX, AssetClass.FUTURES})

#: the cost of a part is cut here, so that sums stay exact however often they are split
_EXACT: Final = Decimal("1e-12")
_BUY: Final = Side.BUY


class Booked(msgspec.Struct, frozen=True, gc=False):
    """What a fill did: gross PnL of the closed part, the quantity closed, and the quantity opened or added."""

    realised: Decimal
    closed_qty: Decimal
    opened_qty: Decimal


def apply_fill(position: PositionState, *, side: Side, qty: Decimal, px: Decimal, at: datetime, fee_qty: Decimal = ZERO) -> Booked:
    """Book `qty` at `px` into the position; `fee_qty` of it is sold again at once to pay a fee in kind (below zero: a rebate is bought)."""
    booked = _apply(position, side=side, qty=qty, px=px, at=at)
    if not fee_qty:
        return booked
    paying = Side.SELL if fee_qty > 0 else Side.BUY
    paid = _apply(position, side=paying, qty=abs(fee_qty), px=px, at=at)
    opened = booked.opened_qty + (paid.opened_qty if side is paying else -min(paid.closed_qty, booked.opened_qty))
    return Booked(booked.realised + paid.realised, booked.closed_qty, opened)


def fee_in_kind(instrument: Instrument | None, fee: Decimal, currency: str) -> Decimal:
    """The part of a fee that a spot venue takes out of the position: one in the instrument's base currency. Zero for any other."""
    if instrument is None or instrument.asset_class in _MARGINED or not currency or currency != instrument.base_currency:
        return ZERO
    return fee


def _apply(position: PositionState, *, side: Side, qty: Decimal, px: Decimal, at: datetime) -> Booked:
    signed = qty if side is _BUY else -qty
    held = position.qty
    closed = min(abs(held), qty) if held * signed < 0 else ZERO
    opened = qty - closed
    realised = ZERO
    if closed:
        realised = _close(position, closed if held > 0 else -closed, px)
    if opened:
        if closed == abs(held):
            position.opened_at = at
            position.entries = 0
        added = (opened * position.worth(px)).quantize(_EXACT) if position.is_inverse else opened * px
        position.cost += added if side is _BUY else -added
    position.qty = held + signed
    if not position.qty:
        position.cost = ZERO
        position.entries = 0
    position.updated_at = at
    return Booked(realised, closed, opened)


def _close(position: PositionState, part: Decimal, px: Decimal) -> Decimal:
    """Take a signed part of the position out at its average cost; returns what that earned."""
    is_all = part == position.qty
    share = position.cost if is_all else (position.cost / position.qty * part).quantize(_EXACT)
    realised = (part * position.worth(px) - share) * position.contract_value
    position.cost -= share
    position.realised += realised
    return realised


def cash_moved(
    instrument: Instrument | None,
    booked: Booked,
    *,
    side: Side,
    qty: Decimal,
    px: Decimal,
    contract_value: Decimal,
    fee_qty: Decimal = ZERO,
) -> Decimal:
    """How the fill changed the account's cash, fees apart: the money paid, or on margin the profit realised.

    What was sold to pay a fee in kind brought money, which the fee itself takes again.
    """
    if instrument is not None and instrument.asset_class in _MARGINED:
        return booked.realised
    return (fee_qty - side.sign * qty) * px * contract_value


def equity(cash: Decimal, positions: Iterable[PositionState], instruments: dict[str, Instrument]) -> Decimal:
    """Cash plus what the open positions are worth at their marks."""
    total = cash
    for position in positions:
        if position.qty:
            instrument = instruments.get(position.symbol)
            is_margined = instrument is not None and instrument.asset_class in _MARGINED
            total += position.unrealised if is_margined else position.value
    return total
