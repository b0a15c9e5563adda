"""Positions and PnL: rows by hand, and the cash identity for any fills."""

# mypy: disable-error-code="comparison-overlap"
from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from execution.core import pnl
from execution.core.messages import ExecType, RaiseAlarm, Woke
from execution.core.positions import PositionState
from risk.core.units import ZERO, AssetClass, Side
from tests.core.builders import BTC, INSTRUMENTS, NOON, Bench, D, settings

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


def test_it_says_once_a_day_that_fees_are_missing() -> None:
    bench = Bench()
    entry = bench.buy("10")
    for qty in ("4", "6"):
        bench.fill(entry, qty, fee=D("0.01"), fee_currency="BNB")
    assert [effect.key for effect in bench.everything if isinstance(effect, RaiseAlarm)] == ["fees:BNB"]
    bench.settle_legs()
    bench.later(12 * 3600)
    bench.take(Woke(at=bench.at, timer="day"))
    assert bench.alarms() == []
    bench.fill(bench.legs()[0][0], "3", fee=D("0.01"), fee_currency="BNB")
    assert bench.alarms() == ["fees"]


@pytest.mark.parametrize("fee", ["NaN", "sNaN", "Infinity", "1e15"])
def test_it_books_a_fill_without_a_fee_that_is_no_number_and_says_so(fee: str) -> None:
    bench = Bench()
    entry = bench.buy("10")
    bench.fill(entry, fee=D(fee), fee_currency="USDT")
    account = bench.desk.state.account
    assert (bench.qty(), account.fees, account.equity) == (10, 0, 100_000)
    assert "fees" in bench.alarms()


@pytest.mark.parametrize("px", ["0", "-5"])
def test_it_books_nothing_at_a_price_that_cannot_be(px: str) -> None:
    bench = Bench()
    entry = bench.buy("10")
    bench.report(entry, ExecType.TRADE, "4", px)
    assert (bench.qty(), entry.cum_qty, bench.desk.state.account.equity) == (0, 0, 100_000)
    assert "order" in bench.alarms()


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


def spot() -> Bench:
    config = settings()
    held = {
        symbol: msgspec.structs.replace(spec, asset_class=AssetClass.CRYPTO_SPOT) for symbol, spec in config.instruments.items()
    }
    return Bench(msgspec.structs.replace(config, instruments=held))


def test_it_pays_a_fee_in_the_base_currency_out_of_the_position() -> None:
    """As if that part were sold at the fill's price and the money paid: what is held and what was paid both say so."""
    bench = spot()
    entry = bench.buy("10")
    bench.fill(entry, "10", px="100", fee=D("0.01"), fee_currency="BTC")
    account, position = bench.desk.state.account, bench.desk.state.positions[BTC]
    assert (position.qty, position.avg_px, position.fees) == (D("9.99"), 100, 1)
    assert (account.cash, account.fees, account.fees_other, account.equity) == (99_000, 1, {}, D(99_999))
    assert bench.desk.state.symbols[BTC].session.fees == 1
    assert {order.order_qty for order in bench.working()} == {D("9.99")}, "the legs cover what is held"


def test_it_keeps_a_fee_in_the_base_currency_of_a_perpetual_apart() -> None:
    """A perpetual's position is no coin that a fee could be taken from."""
    bench = Bench()
    bench.fill(bench.buy("10"), "10", fee=D("0.01"), fee_currency="BTC")
    assert bench.desk.state.positions[BTC].qty == 10
    assert bench.desk.state.account.fees_other == {"BTC": D("0.01")}


@given(st.lists(st.tuples(st.sampled_from(Side), NUMBERS, NUMBERS, st.integers(-50, 50)), max_size=30), NUMBERS)
def test_it_earns_what_cash_and_mark_say_with_fees_in_kind(fills: list[tuple[Side, Decimal, Decimal, int]], mark: Decimal) -> None:
    """The identity with fees: realised + unrealised − fees = cash flow + value at the mark."""
    position = PositionState(symbol=BTC, bot="alpha", mark=mark)
    spec = msgspec.structs.replace(INSTRUMENTS[BTC], asset_class=AssetClass.CRYPTO_SPOT)
    cash = fees = ZERO
    for side, qty, px, bps in fills:
        fee_qty = pnl.fee_in_kind(spec, qty * bps / 10_000, "BTC")
        booked = pnl.apply_fill(position, side=side, qty=qty, px=px, at=NOON, fee_qty=fee_qty)
        cash += pnl.cash_moved(spec, booked, side=side, qty=qty, px=px, contract_value=position.contract_value, fee_qty=fee_qty)
        cash, fees = cash - fee_qty * px, fees + fee_qty * px
        assert position.realised + position.unrealised - fees == cash + position.qty * mark


@given(FILLS, NUMBERS)
def test_an_inverse_contract_earns_in_its_base_currency(fills: list[tuple[Side, Decimal, Decimal]], mark: Decimal) -> None:
    """The same identity, where one unit is worth contract_value ÷ price: as exact as twelve places are."""
    position = PositionState(symbol=BTC, bot="alpha", contract_value=D(100), is_inverse=True, mark=mark)
    cash = ZERO
    for side, qty, px in fills:
        pnl.apply_fill(position, side=side, qty=qty, px=px, at=NOON)
        cash -= side.sign * qty * (-1 / px) * position.contract_value
        value = position.qty * (-1 / mark) * position.contract_value
        assert abs(position.realised + position.unrealised - cash - value) <= D("1e-9") * len(fills)


def test_it_averages_an_inverse_contract_harmonically() -> None:
    """100 contracts of 1 USD at 10,000 and 100 at 20,000 cost 0.015 BTC: as much as 200 at 13,333.33."""
    position = PositionState(symbol=BTC, bot="alpha", is_inverse=True, mark=D(20_000))
    for px in (10_000, 20_000):
        pnl.apply_fill(position, side=BUY, qty=D(100), px=D(px), at=NOON)
    assert position.avg_px is not None
    assert round(position.avg_px, 2) == D("13333.33")
    assert position.unrealised == D("0.005")


def test_an_inverse_account_trades_and_counts_in_coins() -> None:
    config = settings(margin_per_trade=D(10), leverage=D(1), order_notional_max=D(10**6))
    inverse = msgspec.structs.replace(
        INSTRUMENTS[BTC],
        is_inverse=True,
        contract_value=D(100),
        lot_size=D(1),
        min_notional=ZERO,
        currency="BTC",
        base_currency="BTC",
    )
    bench = Bench(msgspec.structs.replace(config, currency="BTC", instruments={**config.instruments, BTC: inverse}))
    entry = bench.buy()
    assert (entry.order_qty, entry.reserve_px) == (10, D(100) / D("98"))
    bench.fill(entry, "10", px="100", fee=ZERO)
    assert bench.desk.state.account.equity == 100_000
    bench.mark(BTC, "200")
    assert bench.desk.state.account.equity == 100_005, "10 × 100 × (1/100 − 1/200)"
