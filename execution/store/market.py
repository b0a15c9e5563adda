"""Prices, bars and vitals: rows that people look at and that no state depends on. They have no place in the journal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple

from django.db import connection, transaction

from execution.core.messages import Bar
from execution.models import AccountState, FeedOffset, SymbolState
from execution.models import Bar as BarRow
from execution.store.tables import Table
from risk.core.units import Quote

_PRICES: Final = Table(SymbolState, key=("account_id", "symbol"), columns=("bid", "ask", "last", "priced_at", "market_at"))
_BARS: Final = Table(
    BarRow, key=("account_id", "symbol", "interval_s", "start_at"), columns=("open", "high", "low", "close", "volume")
)
_EXPOSURES: Final = Table(
    AccountState, key=("account_id",), columns=("gross_exposure", "net_exposure", "orders_proof_at", "updated_at")
)
_OFFSETS: Final = Table(FeedOffset, key=("account_id",), columns=("feed", "offset", "broken_lines"))


class Glance(NamedTuple):
    """What the pages show of an account beside the journal, at most once a second. Exposures as gate 14 compares them."""

    account_id: int
    quotes: Sequence[Quote]
    bars: Sequence[Bar]
    gross_exposure: Decimal
    net_exposure: Decimal
    orders_proof_at: datetime | None
    at: datetime
    offset: tuple[str, int, int] | None = None


def write(glances: Sequence[Glance]) -> None:
    """Write all of them in one transaction.

    The journal writes the same rows at the same time. Both go by account, symbol, and the account's own row last, or each might hold
    what the other waits for, and the database would end one of them.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        for glance in sorted(glances, key=lambda glance: glance.account_id):
            pk, quotes = glance.account_id, sorted(glance.quotes, key=lambda quote: quote.symbol)
            _PRICES.write(cursor, ((pk, q.symbol, q.bid, q.ask, q.last, q.received_at, q.at) for q in quotes))
            _BARS.write(
                cursor,
                ((pk, b.symbol, b.interval_s, b.start_at, b.open, b.high, b.low, b.close, b.volume) for b in glance.bars),
            )
            _EXPOSURES.write(cursor, [(pk, glance.gross_exposure, glance.net_exposure, glance.orders_proof_at, glance.at)])
            if glance.offset is not None:
                _OFFSETS.write(cursor, [(pk, *glance.offset)])


def phase_write(account_id: int, *, phase: str, checklist: list[dict[str, Any]], **fields: Any) -> None:
    """Where an account's start-up stands. `fields` are other columns of its state row: engine, feed_label, …"""
    AccountState.objects.update_or_create(account_id=account_id, defaults={"phase": phase, "checklist": checklist, **fields})


def offset_of(account_id: int, feed: str) -> int:
    """Where the tape stands; 0 for a tape never played or another one."""
    row = FeedOffset.objects.filter(account_id=account_id, feed=feed).first()
    return row.offset if row else 0
