"""What a venue moves without a trade: funding and splits, each booked once, and nothing protected loses its protection."""

# mypy: disable-error-code="comparison-overlap"
from __future__ import annotations

from decimal import Decimal

import pytest

from execution.core.messages import Adjusted, AdjustmentKind, ExecType
from tests.core.builders import BTC, Bench, D


def funding(bench: Bench, amount: str, adjustment_id: str = "f1") -> None:
    bench.take(Adjusted(at=bench.at, adjustment_id=adjustment_id, kind=AdjustmentKind.FUNDING, symbol=BTC, amount=Decimal(amount)))


def split(bench: Bench, factor: str, adjustment_id: str = "s1") -> None:
    bench.take(Adjusted(at=bench.at, adjustment_id=adjustment_id, kind=AdjustmentKind.SPLIT, symbol=BTC, factor=Decimal(factor)))


def test_it_counts_funding_as_a_part_of_the_result_once() -> None:
    bench = Bench()
    bench.armed("10")
    before = bench.desk.state.account.equity
    for _ in range(2):
        funding(bench, "-3.5")
    state = bench.desk.state
    assert state.account.equity == before - D("3.5")
    assert (state.positions[BTC].realised, state.symbols[BTC].session.net) == (D("-3.5"), D("-3.5"))
    digest = bench.desk.digest()
    funding(bench, "-3.5")
    assert bench.desk.digest() == digest


def test_funding_that_costs_too_much_ends_the_session() -> None:
    bench = Bench()
    bench.armed("1")
    limit = bench.desk.state.settings.profiles["demo"].base.session_loss_limit  # type: ignore[union-attr]
    assert limit is not None
    funding(bench, str(limit))
    assert bench.desk.state.symbols[BTC].session.is_tripped


def test_a_split_moves_no_money_and_protects_in_the_new_terms() -> None:
    bench = Bench()
    bench.armed("10")
    before = bench.desk.state.account.equity
    split(bench, "0.5")
    state = bench.desk.state
    position = state.positions[BTC]
    assert (position.qty, position.avg_px, position.mark, state.account.equity) == (20, 50, 50, before)
    old = [order for order in bench.working() if order.cancel_asked_by]
    assert len(old) == 2
    for leg in old:
        bench.report(leg, ExecType.CANCELED)
    (stop,), (target,) = bench.legs()
    assert [(leg.order_qty, leg.stop_px, leg.price) for leg in (stop, target)] == [(20, 49, None), (20, None, 52)]


@pytest.mark.parametrize("factor", ["0", "-2", "NaN", "Infinity"])
def test_a_split_that_cannot_be_right_moves_nothing(factor: str) -> None:
    bench = Bench()
    bench.armed("10")
    split(bench, factor)
    assert bench.desk.state.positions[BTC].qty == 10
    assert f"adjustment:{BTC}:s1" in bench.desk.state.alarms
