"""From a decision to its order in the venue client's hands, the intent durable on the way: 200 decisions a second on SQLite FULL."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any, Final

from bench.figure import Figure
from bench.scratch import in_scratch, share, told

RATE: Final = 200
SECONDS: Final = 12
WARM_S: Final = 2
SYMBOLS: Final = 100


def run() -> list[Figure]:
    return in_scratch("bench.decision_to_venue")


class Road:
    """The way of every order: when its decision was handled, and when the venue's client got it."""

    def __init__(self) -> None:
        self.born: dict[str, float] = {}
        self.waits: list[float] = []
        self.from_then = float("inf")

    def arrived(self, cl_ord_id: str) -> None:
        born = self.born.pop(cl_ord_id, None)
        if born is not None and born > self.from_then:
            self.waits.append((time.monotonic() - born) * 1000)


def measure() -> list[Figure]:
    from bench.desks import account_make
    from execution.engine.worker import process_prepare

    process_prepare()
    account_id = account_make().pk
    waits = asyncio.run(_drive(account_id))
    if len(waits) < RATE * (SECONDS - WARM_S) * 0.99:
        sys.exit(f"only {len(waits)} decisions became orders: something denies them, and nothing was measured")
    how = (
        f"{len(waits):,} orders at {RATE} decisions/s over {SYMBOLS} symbols with brackets, acknowledgements, fills and exits; "
        "handled → submit called, journal and rows committed between"
    )
    return [
        Figure("decision_to_venue_ms_p50", round(share(waits, 0.5), 3), "ms", "<= 1", how),
        Figure("decision_to_venue_ms_p99", round(share(waits, 0.99), 3), "ms", "<= 4", how),
    ]


async def _drive(account_id: int) -> list[float]:
    from bench.desks import settings_of
    from bench.machine import Machine

    road = Road()
    machine = Machine(settings_of(*(f"S{n:03}USDT" for n in range(SYMBOLS))), account_id, arrived=road.arrived, born=road.born)
    async with machine:
        begun = time.monotonic()
        road.from_then = begun + WARM_S
        for n in range(RATE * SECONDS):
            await asyncio.sleep(max(0.0, begun + n / RATE - time.monotonic()))
            _decide(machine, n)
            if not n % RATE:
                machine.mark_all()
    return road.waits


def _decide(machine: Any, n: int) -> None:
    """Each symbol in turn: in, then out."""
    symbol = machine.symbols[n % SYMBOLS]
    if n // SYMBOLS % 2:
        machine.close(symbol)
    else:
        machine.buy(symbol)


if __name__ == "__main__":
    told(measure)
