"""The circuit breaker of one symbol: so many losses in a window stop entries for a cooldown. State only; rules are the functions of this file."""

from __future__ import annotations

from datetime import datetime

import msgspec


class CircuitBreaker(msgspec.Struct):
    """Times of recent losing closes and, while tripped, when it tripped. Expiry is a pure time check."""

    losses: list[datetime] = []
    tripped_at: datetime | None = None
