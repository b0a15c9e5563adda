"""Session PnL of one symbol: what it won and lost since its session began. State only; rules are the functions of this file."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import msgspec

from risk.core.units import ZERO


class SessionPnl(msgspec.Struct):
    """Realised PnL of one symbol in the session that began at `session_start_at`. Net is realised minus all fees."""

    session_start_at: datetime | None = None
    session_end_at: datetime | None = None
    realised: Decimal = ZERO
    fees: Decimal = ZERO
    trades: int = 0
    wins: int = 0
    losses: int = 0
    breakevens: int = 0
    is_tripped: bool = False

    @property
    def net(self) -> Decimal:
        return self.realised - self.fees
