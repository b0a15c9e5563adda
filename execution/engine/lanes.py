"""The three lanes to a venue, and how much each may ask of it.

A venue grants a customer so many requests a second. An engine takes its share, which is the grant divided by the live engines with
accounts there, and its accounts at that venue spend it together. A lane never borrows from another: a storm of entries or questions
leaves the cancels what is theirs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from execution.engine.clock import monotonic


class Lane(StrEnum):
    SAFETY = "cancels, protection and exits"
    ENTRIES = "entries"
    QUERIES = "queries"


#: what each venue grants one customer, in requests a second, by the name an Account gives its broker
VENUE_RATES: Final[Mapping[str, Mapping[Lane, float]]] = {
    "simulated": {Lane.SAFETY: 5000.0, Lane.ENTRIES: 1000.0, Lane.QUERIES: 800.0},
}

#: requests of one account that may be on their way at once
WIDTHS: Final = {Lane.SAFETY: 64, Lane.ENTRIES: 16, Lane.QUERIES: 8}


class Budget:
    """A token bucket that holds one second's worth, and one request at the least."""

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._tokens = self._most
        self._at = monotonic()

    @property
    def _most(self) -> float:
        return max(1.0, self._per_s)

    def change(self, per_s: float) -> None:
        """Another share from now on; what was earned so far is kept."""
        self._earn()
        self._per_s = per_s
        self._earn()

    def take(self) -> bool:
        """Spend one request; False when none is left."""
        self._earn()
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    async def spend(self) -> None:
        """Spend one request as soon as there is one."""
        while not self.take():  # noqa: ASYNC110 - requests are earned by time alone
            await asyncio.sleep(self.wait_s)

    @property
    def wait_s(self) -> float:
        """How long until the next request."""
        return max(0.0, (1 - self._tokens) / self._per_s)

    def _earn(self) -> None:
        now = monotonic()
        self._tokens = min(self._most, self._tokens + (now - self._at) * self._per_s)
        self._at = now


class Budgets:
    """One engine's shares, by venue and lane. Lives on the loop."""

    def __init__(self, rates: Mapping[str, Mapping[Lane, float]] = VENUE_RATES) -> None:
        self._rates = rates
        self._engines: dict[str, int] = {}
        self._venues: dict[str, dict[Lane, Budget]] = {}

    def at(self, venue: str) -> Mapping[Lane, Budget]:
        """What this engine may ask of the venue, shared by its accounts there."""
        if venue not in self._venues:
            self._venues[venue] = {lane: Budget(self._share(venue, lane)) for lane in Lane}
        return self._venues[venue]

    def divide(self, engines: Mapping[str, int]) -> None:
        """How many live engines have accounts at each venue now."""
        if engines == self._engines:
            return
        self._engines = dict(engines)
        for venue, lanes in self._venues.items():
            for lane, budget in lanes.items():
                budget.change(self._share(venue, lane))

    def _share(self, venue: str, lane: Lane) -> float:
        return self._rates[venue][lane] / max(1, self._engines.get(venue, 1))
