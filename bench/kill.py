"""A kill with 1,000 working orders: from the command to "verified", on the simulated venue with the journal on disk."""

from __future__ import annotations

import asyncio
import sys
import time
from decimal import Decimal
from typing import Final

from bench.figure import Figure
from bench.scratch import in_scratch, told

ORDERS: Final = 1000
SYMBOLS: Final = 20


def run() -> list[Figure]:
    return in_scratch("bench.kill")


def measure() -> list[Figure]:
    from bench.desks import account_make

    sys.setswitchinterval(0.0005)
    seconds = asyncio.run(_drive(account_make().pk))
    how = f"{ORDERS:,} resting entries on {SYMBOLS} symbols; command handled → answered DONE with nothing left at the venue"
    return [Figure("kill_1000_s", round(seconds, 3), "s", "<= 1", how)]


async def _drive(account_id: int) -> float:
    from bench.desks import settings_of
    from bench.machine import Machine
    from execution.core.messages import CommandKind, CommandSpec
    from execution.core.orders import OrdStatus
    from risk.core.units import Scope, ScopeKind
    from risk.core.verdict import HaltMode

    async with Machine(settings_of(*(f"S{n:03}USDT" for n in range(SYMBOLS))), account_id) as machine:
        for n in range(ORDERS):
            machine.bid(machine.symbols[n % SYMBOLS], Decimal(99))
            if not n % 50:
                await asyncio.sleep(0.05)
        await machine.until(lambda: sum(o.ord_status is OrdStatus.NEW for o in machine.orders.values()) == ORDERS)
        started = time.perf_counter()
        machine.command(
            CommandSpec(
                command_id="kill",
                kind=CommandKind.KILL,
                scope=Scope(ScopeKind.ACCOUNT, "bench"),
                by="bench",
                halt_id="kill",
                mode=HaltMode.HALTED,
                asked_at=machine.loop.clock.now(),
            )
        )
        await machine.until(lambda: machine.answers.get("kill") == "DONE")
        seconds = time.perf_counter() - started
        assert not await machine.venue.orders_open()
    return seconds


if __name__ == "__main__":
    told(measure)
