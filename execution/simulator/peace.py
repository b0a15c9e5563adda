"""In peace: what the venue holds and what the desk says, side by side. Each comparison is whether it holds, the promise, and how not."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Final, TypeAlias

from execution.core.messages import BooksBy
from execution.simulator import promises as promised
from execution.simulator.books import DeskBooks, VenueBooks, total
from risk.core.units import ZERO
from risk.core.verdict import Capability

Compared: TypeAlias = Iterator[tuple[bool, str, str]]

#: how exactly money must agree
_CENT: Final = Decimal("0.000001")


def compared(venue: VenueBooks, desk: DeskBooks) -> Compared:
    """Fills, positions, orders and money."""
    if desk.settings.books_by is BooksBy.TRADE_ID:
        yield from _trades(venue, desk)
    yield from _positions(venue, desk)
    yield from _orders(venue, desk)
    yield from _money(venue, desk)


def doubts(desk: DeskBooks) -> bool:
    """Orders that nobody can ever know about, where the venue cannot be asked by id: they are left to a person."""
    return not _can_ask(desk) and any(row.is_unknown for row in desk.working.values())


def _can_ask(desk: DeskBooks) -> bool:
    return Capability.QUERY_BY_CLIENT_ID in desk.settings.capabilities


def _trades(venue: VenueBooks, desk: DeskBooks) -> Compared:
    theirs = {exec_id: (s, q, px, fee) for exec_id, (s, q, px, fee) in venue.fills.items() if q}
    ours = {
        row.exec_id: (row.symbol, row.side.sign * row.last_qty, row.last_px, row.fee)
        for row in desk.fills.values()
        if row.busted_at is None
    }
    for exec_id in sorted(theirs.keys() ^ ours.keys()):
        whose = "the venue has and the desk does not" if exec_id in theirs else "the desk has and the venue does not"
        yield False, promised.NOTHING_LOST, f"there is a fill {exec_id} that {whose}"
    for exec_id in sorted(theirs.keys() & ours.keys()):
        how = f"{exec_id} is {theirs[exec_id]} there, {ours[exec_id]} here"
        yield theirs[exec_id] == ours[exec_id], promised.NOTHING_LOST, how


def _positions(venue: VenueBooks, desk: DeskBooks) -> Compared:
    for symbol in sorted({*venue.positions, *desk.positions}):
        theirs, ours = venue.positions[symbol], desk.qty(symbol)
        yield theirs == ours, promised.NOTHING_LOST, f"the venue holds {theirs} {symbol}, the desk {ours}"


def _orders(venue: VenueBooks, desk: DeskBooks) -> Compared:
    theirs = {order.key: order for order in venue.open.values() if not order.is_foreign}
    #: where the venue cannot be asked by id, an order that never came is a doubt for a person
    ours = {row.order_id: row for row in desk.working.values() if _can_ask(desk) or not row.is_unknown or row.order_id}
    for key in sorted(theirs.keys() - ours.keys()):
        yield False, promised.AGREED, f"{theirs[key].cl_ord_id} works at the venue, and the desk does not know it"
    for key, row in sorted(ours.items()):
        yield key in theirs, promised.AGREED, f"{row.cl_ord_id} ({row.purpose}) is over at the venue, and works for the desk"
        if key in theirs:
            leaves = theirs[key].leaves
            how = f"{row.cl_ord_id} has {leaves} left at the venue, {row.leaves} at the desk"
            yield leaves == row.leaves, promised.AGREED, how


def _money(venue: VenueBooks, desk: DeskBooks) -> Compared:
    """Equity is what was paid in, less what fills cost, plus what is held at the desk's marks."""
    spent = total(signed * px * desk.value(s) + fee for s, signed, px, fee in venue.fills.values())
    held = total(venue.positions[s] * (row.mark or ZERO) * desk.value(s) for s, row in desk.positions.items())
    worth = desk.settings.starting_cash - spent + held + venue.funding
    equity = desk.account.equity
    yield abs(worth - equity) <= _CENT, promised.NOTHING_LOST, f"the account is worth {worth}, and the desk says {equity}"
