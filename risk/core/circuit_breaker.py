"""The circuit breaker of one symbol: so many losing closes within a window stop its entries for a cooldown.

Rules.
- It trips on the loss that makes `limit` losses within `window_s`; a loss exactly `window_s` old still counts. A limit of 0 is 1.
- A loss while tripped does not extend the cooldown, a win does not end it.
- The cooldown ends by the clock alone, and ends the window with it: the next loss is the first again.
- Edited settings are judged at once, as if they had stood when the losses came.
- Times are absolute, so downtime counts.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import msgspec

#: losses kept at most; a limit above it trips at it
_KEPT: Final = 1000


class CircuitBreaker(msgspec.Struct):
    """Times of recent losing closes, oldest first, and, while tripped, when it tripped."""

    losses: list[datetime] = []
    tripped_at: datetime | None = None


def record_loss(breaker: CircuitBreaker, *, at: datetime, limit: int | None, window_s: int | None, cooldown_s: int | None) -> bool:
    """Count a losing close. True when it tripped the breaker. Unset settings count but do not trip: gate 4 denies without them."""
    expire(breaker, at=at, cooldown_s=cooldown_s)
    breaker.losses.append(at)
    if breaker.tripped_at is not None:
        del breaker.losses[:-_KEPT]
        return False
    _trip(breaker, at=at, limit=limit, window_s=window_s)
    return breaker.tripped_at is not None


def expire(breaker: CircuitBreaker, *, at: datetime, cooldown_s: int | None) -> bool:
    """Clear the trip and the window once the cooldown is over. True when it did."""
    if breaker.tripped_at is None or is_tripped(breaker, at=at, cooldown_s=cooldown_s):
        return False
    reset(breaker)
    return True


def reset(breaker: CircuitBreaker) -> None:
    """Forget losses and trip: a person's act, or the end of a cooldown."""
    breaker.losses.clear()
    breaker.tripped_at = None


def reevaluate(breaker: CircuitBreaker, *, at: datetime, limit: int | None, window_s: int | None, cooldown_s: int | None) -> None:
    """Judge the recorded losses by edited settings: a tighter limit trips, a looser one lets go.

    The cooldown counts from the loss that would have tripped it, so an edit that changes nothing here extends nothing.
    """
    expire(breaker, at=at, cooldown_s=cooldown_s)
    recorded, breaker.losses, breaker.tripped_at = breaker.losses, [], None
    for loss in recorded:
        record_loss(breaker, at=loss, limit=limit, window_s=window_s, cooldown_s=cooldown_s)


def ends_at(breaker: CircuitBreaker, *, cooldown_s: int | None) -> datetime | None:
    """When the cooldown ends; None when not tripped, or when no cooldown is set (it then lasts until one is)."""
    if breaker.tripped_at is None or cooldown_s is None:
        return None
    return breaker.tripped_at + timedelta(seconds=cooldown_s)


def is_tripped(breaker: CircuitBreaker, *, at: datetime, cooldown_s: int | None) -> bool:
    """Whether entries are stopped at `at`: a pure time check."""
    if breaker.tripped_at is None:
        return False
    end = ends_at(breaker, cooldown_s=cooldown_s)
    return end is None or at < end


def losses_within(breaker: CircuitBreaker, *, at: datetime, window_s: int) -> int:
    """How many losses count at `at`."""
    if not breaker.losses:
        return 0
    since = at - timedelta(seconds=window_s)
    return sum(1 for loss in breaker.losses if loss >= since)


def _trip(breaker: CircuitBreaker, *, at: datetime, limit: int | None, window_s: int | None) -> None:
    """Drop what is older than the window and trip at `at` if enough is left."""
    if window_s is not None:
        since = at - timedelta(seconds=window_s)
        breaker.losses[:] = [loss for loss in breaker.losses if loss >= since]
    del breaker.losses[:-_KEPT]
    if limit is not None and window_s is not None and len(breaker.losses) >= min(max(limit, 1), _KEPT):
        breaker.tripped_at = at
