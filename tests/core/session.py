"""A session of the Desk made from one seed, and what it came to: run as a program it prints the digest, for a test to compare."""

from __future__ import annotations

import random
import sys

import msgspec

from execution.core.desk import Desk
from execution.core.messages import CommandKind, Event, ExecType, KillChoice, SendFailed, SendOutcome, SignalKind
from execution.core.orders import OrderState
from execution.core.state import DeskState
from risk.core.units import Scope, ScopeKind
from tests.core.builders import ACCOUNT, BOT, BTC, ETH, OTHER, Bench, D, decision


def played(seed: int, *, steps: int = 300) -> Bench:
    """Decisions, reports, lost answers, commands, marks and time, in an order drawn from the seed."""
    chance = random.Random(seed)
    bench = Bench()
    for n in range(steps):
        step(bench, chance, n)
    return bench


def step(bench: Bench, chance: random.Random, n: int) -> None:
    symbol, bot = chance.choice([(BTC, BOT), (ETH, OTHER)])
    working = bench.working()
    match chance.randrange(12):
        case 0 | 1 | 2:
            stops = {"stop_loss": D(98), "take_profit": D(104)}
            bench.decide(decision(SignalKind.BUY, str(chance.randint(1, 9)), **stops), symbol=symbol, bot=bot)
        case 3:
            bench.decide(decision(SignalKind.CLOSE), symbol=symbol, bot=bot)
        case 4 | 5 | 6 if working:
            answered(bench, chance, chance.choice(working))
        case 7 if working:
            outcome = chance.choice(list(SendOutcome))
            bench.take(SendFailed(at=bench.at, cl_ord_id=chance.choice(working).cl_ord_id, outcome=outcome))
        case 8:
            bench.mark(symbol, str(chance.randint(90, 110)))
        case 9:
            bench.reconcile()
        case 10 if not n % 40:
            asked(bench, chance, n)
        case _:
            bench.wait(chance.choice([0.05, 0.3, 2.0]))


def answered(bench: Bench, chance: random.Random, order: OrderState) -> None:
    word = chance.choice([ExecType.NEW, ExecType.NEW, ExecType.TRADE, ExecType.TRADE, ExecType.CANCELED, ExecType.REJECTED])
    bench.report(order, word, str(chance.randint(1, 5)), str(chance.randint(95, 105)))


def asked(bench: Bench, chance: random.Random, n: int) -> None:
    account = Scope(ScopeKind.ACCOUNT, ACCOUNT)
    bench.command(CommandKind.KILL, account, halt_id=f"k{n}", choice=chance.choice(list(KillChoice)))
    bench.command(CommandKind.CLEAR, account, halt_id=f"k{n}")
    for bot in (BOT, OTHER):
        bench.command(CommandKind.START, Scope(ScopeKind.BOT, bot))


def replayed(journal: list[Event], state: DeskState | None = None) -> Desk:
    desk = Desk(state) if state is not None else Desk.new(ACCOUNT)
    for event in journal:
        desk.handle(event)
    return desk


if __name__ == "__main__":
    journal = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=list[Event])
    sys.stdout.write(replayed(journal).digest().hex())
