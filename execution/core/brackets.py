"""Brackets: the protection an entry owns, sized to what it filled."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum

import msgspec

from risk.core.units import ZERO, Side


class BracketStatus(StrEnum):
    PENDING = "PENDING"
    ARMING = "ARMING"
    ARMED = "ARMED"
    CLOSING = "CLOSING"
    CLOSED = "CLOSED"
    UNBALANCED = "UNBALANCED"
    NAKED = "NAKED"
    ORPHANED = "ORPHANED"


class BracketState(msgspec.Struct, kw_only=True):
    """One entry's protection. `bracket_id` is the entry's cl_ord_id, `side` the entry's side.

    `stop_ids` and `target_ids` list every leg ever sent, the live one last.
    """

    bracket_id: str
    bot: str
    symbol: str
    side: Side
    stop_px: Decimal | None
    target_px: Decimal | None
    status: BracketStatus = BracketStatus.PENDING
    entry_qty: Decimal = ZERO
    #: filled by the entry, less what exits took back: what must be protected now
    open_qty: Decimal = ZERO
    stop_ids: list[str] = []
    target_ids: list[str] = []
    #: a person took this leg away: it is not sent again until re-armed
    is_stop_waived: bool = False
    is_target_waived: bool = False
    naked_since: datetime | None = None
    stop_tries: int = 0
    target_tries: int = 0
    created_at: datetime
    updated_at: datetime
    text: str = ""
