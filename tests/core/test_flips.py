"""Flips: an opposite signal closes, and where the policy says so the brain is asked again once nothing is left of the position."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from execution.core.messages import AskBrain, CommandKind, ExecType, SignalKind
from execution.core.orders import OrderState
from risk.core.settings import FlipPolicy
from risk.core.units import Scope, ScopeKind, Side
from risk.core.verdict import Capability
from tests.core.builders import BOT, BTC, Bench, D, OrdType, decision, settings

OPEN_AGAIN: dict[str, Any] = {"flip_policy": FlipPolicy.CLOSE_THEN_OPEN}


def long(**changes: Any) -> Bench:
    bench = Bench(settings(**changes))
    bench.armed("10")
    return bench


def opposite(bench: Bench, **changes: Any) -> OrderState:
    """The exit that a SELL becomes while a long position is open."""
    signal = bench.decide(decision(SignalKind.SELL, stop_loss=D(102), **changes))
    assert signal.is_approved, signal.text
    return bench.desk.state.orders[signal.cl_ord_id]


def close(bench: Bench, exit_order: OrderState) -> None:
    """The exit fills and the legs are gone."""
    bench.ack(exit_order)
    bench.fill(exit_order, px="100")
    for leg in bench.working(BTC):
        bench.report(leg, ExecType.CANCELED)


def asked(bench: Bench) -> list[AskBrain]:
    return [effect for effect in bench.everything if isinstance(effect, AskBrain)]


def test_it_asks_again_once_nothing_is_left() -> None:
    bench = long(**OPEN_AGAIN)
    assert bench.desk.view(BOT, BTC).may_flip
    exit_order = opposite(bench)
    assert (exit_order.side, exit_order.order_qty) == (Side.SELL, D(10))
    bench.ack(exit_order)
    bench.fill(exit_order, "4", px="100")
    bench.fill(exit_order, px="100")
    assert bench.qty() == 0
    assert asked(bench) == []
    for leg in bench.working(BTC):
        bench.report(leg, ExecType.CANCELED)
    assert asked(bench) == [AskBrain(bot=BOT, symbol=BTC)]
    assert not bench.desk.view(BOT, BTC).may_flip
    entry = bench.sell("10")
    assert entry.side is Side.SELL
    bench.ack(entry)
    bench.fill(entry, px="100")
    assert (bench.qty(), len(asked(bench))) == (D(-10), 1)


@pytest.mark.parametrize("policy", [FlipPolicy.CLOSE_ONLY, None])
def test_it_only_closes_by_default(policy: FlipPolicy | None) -> None:
    bench = long(flip_policy=policy)
    assert not bench.desk.view(BOT, BTC).may_flip
    close(bench, opposite(bench))
    assert (bench.qty(), asked(bench)) == (D(0), [])


def test_it_does_not_ask_again_after_what_only_closes() -> None:
    bench = long(**OPEN_AGAIN)
    signal = bench.decide(decision(SignalKind.CLOSE))
    close(bench, bench.desk.state.orders[signal.cl_ord_id])
    by_hand = long(**OPEN_AGAIN)
    by_hand.command(CommandKind.CLOSE, Scope(ScopeKind.INSTRUMENT, BTC), target=BTC)
    close(by_hand, by_hand.desk.state.orders[by_hand.sent()[0].cl_ord_id])
    assert (bench.qty(), by_hand.qty(), asked(bench), asked(by_hand)) == (D(0), D(0), [], [])


def test_it_asks_again_after_an_exit_that_had_to_wait_for_room() -> None:
    config = settings(**OPEN_AGAIN)
    bench = Bench(msgspec.structs.replace(config, capabilities=(Capability.STOP_ORDERS, Capability.ECHOES_CLIENT_ID)))
    entry = bench.buy("10", take_profit=None)
    bench.ack(entry)
    bench.fill(entry)
    (stop,) = bench.legs()[0]
    bench.ack(stop)
    assert bench.decide(decision(SignalKind.SELL, stop_loss=D(102))).is_approved
    assert bench.sent() == []
    bench.report(stop, ExecType.CANCELED)
    (exit_order,) = bench.working(BTC)
    assert asked(bench) == []
    bench.ack(exit_order)
    bench.fill(exit_order, px="100")
    assert (bench.qty(), asked(bench)) == (D(0), [AskBrain(bot=BOT, symbol=BTC)])


@pytest.mark.parametrize("kind", [CommandKind.PAUSE, CommandKind.HALT, CommandKind.KILL, CommandKind.STOP])
def test_it_asks_nobody_again_after_a_halt_or_a_stop(kind: CommandKind) -> None:
    """Whatever is cleared or started before the position is flat: the decision is older than that."""
    bench = long(**OPEN_AGAIN)
    exit_order = opposite(bench)
    scope = Scope(ScopeKind.BOT, BOT)
    bench.command(kind, scope, halt_id="h1")
    if kind is not CommandKind.STOP:
        bench.command(CommandKind.CLEAR, scope, halt_id="h1")
    bench.command(CommandKind.START, scope)
    close(bench, exit_order)
    assert (bench.qty(), asked(bench)) == (D(0), [])


def test_it_forgets_a_flip_whose_exit_ended_without_closing() -> None:
    bench = long(**OPEN_AGAIN)
    bench.report(opposite(bench), ExecType.REJECTED)
    assert bench.desk.state.symbols[BTC].flip_bot == ""
    stop = bench.legs()[0][0]
    bench.fill(stop)
    for leg in bench.working(BTC):
        bench.report(leg, ExecType.CANCELED)
    assert (bench.qty(), asked(bench)) == (D(0), [])


def test_it_asks_after_a_stop_that_was_faster_than_the_exit() -> None:
    bench = long(**OPEN_AGAIN)
    exit_order = opposite(bench, ord_type=OrdType.LIMIT, price=D(101))
    bench.ack(exit_order)
    bench.fill(bench.legs()[0][0])
    for order in bench.working(BTC):
        bench.report(order, ExecType.CANCELED)
    assert (bench.qty(), len(asked(bench))) == (D(0), 1)
