"""Positions and PnL: rows by hand, and the cash identity for any fills."""

# mypy: disable-error-code="comparison-overlap"
from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execution.core import pnl
from execution.core.messages import ExecType
from execution.core.positions import PositionState
from risk.core.units import ZERO, Side
from tests.core.builders import BTC, NOON, Bench, D

BUY, SELL = Side.BUY, Side.SELL


@pytest.mark.parametrize(
    ("fills", "qty", "avg", "realised"),
    [
        ([(BUY, 10, 100)], 10, 100, 0),
        ([(BUY, 10, 100), (BUY, 10, 110)], 20, 105, 0),
        ([(BUY, 10, 100), (SELL, 4, 110)], 6, 100, 40),
        ([(BUY, 10, 100), (SELL, 10, 90)], 0, None, -100),
        ([(BUY, 10, 100), (SELL, 15, 110)], -5, 110, 100),
        ([(SELL, 10, 100), (BUY, 4, 90)], -6, 100, 40),
        ([(SELL, 10, 100), (BUY, 15, 90)], 5, 90, 100),
    ],
)
def test_it_books_by_average_cost(fills: list[tuple[Side, int, int]], qty: int, avg: int | None, realised: int) -> None:
    position = PositionState(symbol=BTC, bot="alpha")
    for side, n, px in fills:
        pnl.apply_fill(position, side=side, qty=D(n), px=D(px), at=NOON)
    assert (position.qty, position.avg_px, position.realised) == (qty, avg, realised)


NUMBERS = st.integers(1, 10**9).map(lambda n: Decimal(n).scaleb(-4))
FILLS = st.lists(st.tuples(st.sampled_from(Side), NUMBERS, NUMBERS), max_size=30)


@given(FILLS, NUMBERS, st.sampled_from(["1", "0.1", "50"]))
def test_it_earns_what_cash_and_mark_say(fills: list[tuple[Side, Decimal, Decimal]], mark: Decimal, contract_value: str) -> None:
    """realised + unrealised = cash flow + value at the mark, exactly."""
    position = PositionState(symbol=BTC, bot="alpha", contract_value=D(contract_value), mark=mark)
    cash = ZERO
    for side, qty, px in fills:
        pnl.apply_fill(position, side=side, qty=qty, px=px, at=NOON)
        cash -= side.sign * qty * px * position.contract_value
        assert position.realised + position.unrealised == cash + position.qty * mark * position.contract_value


def test_it_charges_every_fee_and_keeps_foreign_ones_apart() -> None:
    bench = Bench()
    entry = bench.buy("10")
    bench.fill(entry, "5", fee=D("0.5"), fee_currency="USDT")
    bench.fill(entry, "5", fee=D("0.01"), fee_currency="BNB")
    account = bench.desk.state.account
    assert (account.fees, account.fees_other, account.equity) == (D("0.5"), {"BNB": D("0.01")}, D("99999.5"))
    assert bench.desk.state.symbols[BTC].session.fees == D("0.5")
    assert "fees" in bench.alarms()


def test_it_feeds_session_and_breaker_with_realised_losses() -> None:
    bench = Bench()
    for _ in range(4):
        bench.armed("1")
        (stop,), (target,) = bench.legs()
        bench.fill(stop, px="98")
        for leg in bench.working():
            bench.report(leg, ExecType.CANCELED)
        assert target.done
    held = bench.desk.state.symbols[BTC]
    assert (held.session.realised, held.session.losses, held.breaker.tripped_at) == (-8, 4, bench.at)
    bench.wait(3600)
    assert (held.breaker.tripped_at, held.breaker.losses) == (None, [])


def test_it_ends_a_session_at_its_boundary_though_nothing_trades() -> None:
    bench = Bench()
    bench.armed("1")
    (stop,), (target,) = bench.legs()
    bench.fill(stop, px="98")
    bench.report(target, ExecType.CANCELED)
    assert bench.desk.state.symbols[BTC].session.net == -2
    bench.wait(12 * 3600)
    assert bench.desk.state.symbols[BTC].session.net == 0
