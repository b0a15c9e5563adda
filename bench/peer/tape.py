"""The tape that both halves of `make bench-peer` run: a middle price per quote. Python's own library only, so that both can read it."""

from __future__ import annotations

from typing import Final

#: nanoseconds between quotes, and the first one's time: 2026-01-05 12:00 UTC
STEP_NS: Final = 10_000_000
START_NS: Final = 1_767_614_400_000_000_000
HALF_SPREAD: Final = 0.5
#: stop and target, this far from the price at entry
AWAY: Final = 5.0


def middle(n: int) -> float:
    """A triangle wave of 40 steps of one unit, a step every seven quotes: every bracket meets its target or its stop."""
    at = (n // 7) % 80
    return 61000.0 + (at if at <= 40 else 80 - at)
