"""Price and quantity: rounding that never adds risk, scopes, and the one Decimal context."""

from __future__ import annotations

from decimal import Decimal, DivisionByZero, FloatOperation, InvalidOperation, Overflow, getcontext, localcontext

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from risk.core.units import CONTEXT, NO_LIMIT, Scope, ScopeKind, Side, multiple_above, multiple_below, use_decimal_context
from tests.core.risk_builders import BTC, D, quote

COARSE = msgspec.structs.replace(BTC, tick_size=D("0.5"), lot_size=D("0.1"))


@pytest.mark.parametrize(
    ("qty", "floored"),
    [("3.79", "3.7"), ("3.70", "3.7"), ("0.3", "0.3"), ("0.09", "0"), ("0", "0"), ("-1", "0"), ("NaN", "0"), ("Infinity", "0")],
)
def test_it_floors_a_quantity_to_whole_lots(qty: str, floored: str) -> None:
    assert COARSE.qty_floor(D(qty)) == D(floored)


@pytest.mark.parametrize(
    ("price", "bought", "sold"),
    [("100.24", "100", "100.5"), ("100.5", "100.5", "100.5"), ("100.74", "100.5", "101"), ("0.1", "0", "0.5")],
)
def test_it_puts_a_limit_on_a_tick_never_worse_than_asked(price: str, bought: str, sold: str) -> None:
    assert COARSE.limit_price(D(price), Side.BUY) == D(bought)
    assert COARSE.limit_price(D(price), Side.SELL) == D(sold)


def test_it_puts_a_stop_on_a_tick_never_further_than_asked() -> None:
    assert COARSE.stop_price(D("98.1"), Side.SELL) == D("98.5")
    assert COARSE.stop_price(D("102.4"), Side.BUY) == D(102)


def test_it_values_contracts() -> None:
    contract = msgspec.structs.replace(BTC, contract_value=D("0.001"))
    assert contract.notional(D(-3), D(50_000)) == D(150)


def test_it_refers_to_the_price_its_side_trades_at() -> None:
    at = quote(bid=D(99), ask=D(101))
    assert (at.reference(Side.BUY), at.reference(Side.SELL), at.mid) == (D(101), D(99), D(100))
    assert (Side.BUY.opposite, Side.SELL.opposite, Side.BUY.sign, Side.SELL.sign) == (Side.SELL, Side.BUY, 1, -1)


@pytest.mark.parametrize(
    ("scope", "covers", "text"),
    [
        (Scope(ScopeKind.FIRM), True, "firm"),
        (Scope(ScopeKind.ACCOUNT, "PAPER"), True, "account PAPER"),
        (Scope(ScopeKind.ACCOUNT, "OTHER"), False, "account OTHER"),
        (Scope(ScopeKind.BOT, "alpha"), True, "bot alpha"),
        (Scope(ScopeKind.BOT, "beta"), False, "bot beta"),
        (Scope(ScopeKind.INSTRUMENT, "BTCUSDT"), True, "instrument BTCUSDT"),
        (Scope(ScopeKind.INSTRUMENT, "ETHUSDT"), False, "instrument ETHUSDT"),
    ],
)
def test_it_knows_what_a_scope_covers(scope: Scope, covers: bool, text: str) -> None:
    assert scope.covers(account="PAPER", bot="alpha", symbol="BTCUSDT") is covers
    assert str(scope) == text


def test_it_is_loud_about_what_is_not_a_number() -> None:
    with localcontext():
        use_decimal_context()
        assert getcontext().prec == CONTEXT.prec == 34
        with pytest.raises(InvalidOperation):
            _ = D("NaN") > 0
        with pytest.raises(DivisionByZero):
            _ = D(1) / 0
        with pytest.raises(Overflow):
            _ = D("9E+999999") * 10
        with pytest.raises(FloatOperation):
            _ = D(1) < 0.5
        assert D("1E+300") <= NO_LIMIT


STEP = st.sampled_from(["1", "0.1", "0.25", "0.001", "5"]).map(D)


@given(st.decimals(min_value=0, max_value=10**9, places=6), STEP)
def test_it_rounds_by_less_than_a_step(value: Decimal, step: Decimal) -> None:
    below, above = multiple_below(value, step), multiple_above(value, step)
    assert below <= value <= above
    assert above - below in (0, step)
    assert below % step == above % step == 0
