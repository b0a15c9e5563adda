"""Orders that close: on the side that closes, only as much as is open, past what stops entries, and without protection of their own."""

# mypy: disable-error-code="comparison-overlap"
from __future__ import annotations

import pytest

from execution.core.messages import CommandKind, Decision, SignalKind
from execution.core.orders import Purpose
from risk.core.units import Scope, ScopeKind, Side
from risk.core.verdict import OrderClass, Reason
from tests.core.builders import BTC, NOON, Bench, D, decision


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.mark.parametrize(
    ("opened", "how", "qty"),
    [
        pytest.param(Side.BUY, Decision(signal=SignalKind.CLOSE), 10, id="close a long"),
        pytest.param(Side.SELL, Decision(signal=SignalKind.CLOSE), 10, id="close a short"),
        pytest.param(Side.BUY, decision(SignalKind.SELL, "4", stop_loss=D(102)), 4, id="trim a long"),
        pytest.param(Side.SELL, decision(SignalKind.BUY, "4", stop_loss=D(98)), 4, id="cover a part of a short"),
    ],
)
def test_it_closes_on_the_side_that_closes(bench: Bench, opened: Side, how: Decision, qty: int) -> None:
    entry = bench.buy("10") if opened is Side.BUY else bench.sell("10")
    bench.fill(entry)
    for leg in (*bench.legs()[0], *bench.legs()[1]):
        bench.ack(leg)
    signal = bench.decide(how)
    assert signal.is_approved, signal.text
    order = bench.desk.state.orders[signal.cl_ord_id]
    assert (order.purpose, order.order_class, order.side, order.order_qty) == (
        Purpose.EXIT,
        OrderClass.EXIT,
        opened.opposite,
        qty,
    )
    assert list(bench.desk.state.brackets) == [entry.cl_ord_id], "an exit has no protection of its own"


def test_it_closes_while_a_loss_or_a_breaker_stops_entries(bench: Bench) -> None:
    """A loss limit that trapped a losing position would make the loss it limits larger."""
    bench.armed("10")
    held = bench.desk.state.symbols[BTC]
    held.breaker.tripped_at, held.session.worst_net = NOON, D(-10_000)
    assert bench.decide(decision(SignalKind.BUY, "1", stop_loss=D(98))).reason is Reason.SESSION_LOSS
    assert bench.decide(decision(SignalKind.SELL, "4", stop_loss=D(102))).is_approved
    for order in [o for o in bench.working() if o.purpose is Purpose.EXIT]:
        bench.fill(order)
    assert bench.decide(Decision(signal=SignalKind.CLOSE)).is_approved


def test_a_person_closes_under_every_halt(bench: Bench) -> None:
    bench.armed("10")
    for n, scope in enumerate((Scope(ScopeKind.FIRM), Scope(ScopeKind.ACCOUNT, bench.desk.state.account.account))):
        bench.command(CommandKind.HALT, scope, halt_id=f"h{n}")
    bench.command(CommandKind.CLOSE, Scope(ScopeKind.INSTRUMENT, BTC), target=BTC)
    assert [(o.side, o.order_qty) for o in bench.working() if o.purpose is Purpose.EXIT] == [(Side.SELL, 10)]
