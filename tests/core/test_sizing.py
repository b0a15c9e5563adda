"""Sizing: the published rows, and the laws that hold for every hint."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from risk.core.settings import RiskSettings
from risk.core.sizing import NEEDS, fixed_risk_qty, order_qty
from risk.core.units import NO_LIMIT, AssetClass, Instrument
from risk.core.verdict import HintKind, SizeHint
from tests.core.risk_builders import D

CONTRACTS = Instrument("PERP", AssetClass.CRYPTO_PERP, D("0.1"), D(1), D(0), "USDT", contract_value=D("0.001"))
COINS = msgspec.structs.replace(CONTRACTS, lot_size=D("0.1"), contract_value=D(1))
EQUITY = D(10_000)


def sized(
    hint: SizeHint | None = None,
    *,
    margin: str = "500",
    leverage: str = "5",
    cap: str = "50",
    price: str = "100",
    stop: str | None = None,
    equity: Decimal = EQUITY,
    risk_pct: str = "1",
    instrument: Instrument = COINS,
) -> Decimal:
    return order_qty(
        hint or SizeHint(),
        price=D(price),
        stop_loss=None if stop is None else D(stop),
        equity=equity,
        instrument=instrument,
        settings=RiskSettings(margin_per_trade=D(margin), leverage=D(leverage), qty_max=D(cap), risk_pct=D(risk_pct)),
    )


def hint(kind: str, value: str) -> SizeHint:
    return SizeHint(HintKind(kind), D(value))


@pytest.mark.parametrize(
    ("margin", "leverage", "price", "cap", "qty"),
    [
        ("500", "5", "50000", "100", "50"),
        ("500000", "100", "1", "10", "10"),
        ("1", "1", "1000000", "50", "0"),
        ("500", "5", "0", "50", "0"),
        ("500", "0", "100", "50", "0"),
        ("-500", "5", "100", "50", "0"),
        ("NaN", "5", "100", "50", "0"),
        ("500", "NaN", "100", "50", "0"),
        ("500", "5", "NaN", "50", "0"),
        ("500", "5", "100", "NaN", "0"),
        ("500", "5", "100", "0", "0"),
        ("500", "5", "100", "-1", "0"),
        ("Infinity", "5", "100", "50", "0"),
        ("500", "5", "50000", "Infinity", "50"),
    ],
)
def test_it_sizes_by_margin_in_whole_contracts(margin: str, leverage: str, price: str, cap: str, qty: str) -> None:
    assert sized(margin=margin, leverage=leverage, price=price, cap=cap, instrument=CONTRACTS) == D(qty)


@pytest.mark.parametrize(
    ("asked", "stop", "qty"),
    [
        (hint("DEFAULT", "0"), None, "25"),
        (hint("MARGIN_FRACTION", "0.5"), None, "12.5"),
        (hint("MARGIN_FRACTION", "1.5"), None, "25"),
        (hint("MARGIN_FRACTION", "0"), None, "0"),
        (hint("MARGIN_FRACTION", "-1"), None, "0"),
        (hint("NOTIONAL", "1234"), None, "12.3"),
        (hint("NOTIONAL", "1000000"), None, "50"),
        (hint("QUANTITY", "7.79"), None, "7.7"),
        (hint("QUANTITY", "700"), None, "50"),
        (hint("QUANTITY", "-7"), None, "0"),
        (hint("EQUITY_PCT", "30"), None, "30"),
        (hint("EQUITY_PCT", "-30"), None, "0"),
        (hint("RISK_PCT", "0.5"), "98", "25"),
        (hint("RISK_PCT", "0.5"), "102", "25"),
        (hint("RISK_PCT", "0"), "96", "25"),
        (hint("RISK_PCT", "0.5"), None, "0"),
        (hint("RISK_PCT", "0.5"), "100", "0"),
        (hint("RISK_PCT", "0.5"), "NaN", "0"),
        (hint("RISK_PCT", "-0.5"), "98", "0"),
    ],
)
def test_it_sizes_by_hint(asked: SizeHint, stop: str | None, qty: str) -> None:
    assert sized(asked, stop=stop) == D(qty)


@pytest.mark.parametrize("kind", list(HintKind))
@pytest.mark.parametrize("value", ["NaN", "sNaN", "Infinity", "-Infinity"])
def test_it_skips_a_hint_that_is_not_a_number(kind: HintKind, value: str) -> None:
    if kind is not HintKind.DEFAULT:
        assert sized(SizeHint(kind, D(value)), stop="98") == 0


@pytest.mark.parametrize("equity", ["NaN", "Infinity", "0", "-1"])
@pytest.mark.parametrize("kind", [HintKind.EQUITY_PCT, HintKind.RISK_PCT])
def test_it_skips_what_would_count_on_an_unreadable_equity(kind: HintKind, equity: str) -> None:
    assert sized(SizeHint(kind, D(1)), stop="98", equity=D(equity)) == 0


def test_it_skips_a_notional_without_leverage_to_hold_it() -> None:
    assert sized(hint("NOTIONAL", "1234"), leverage="0") == 0


def test_it_counts_lots_exactly() -> None:
    assert sized(hint("NOTIONAL", "0.3"), price="1") == D("0.3")
    assert sized(hint("QUANTITY", "0.3")) == D("0.3")
    whole = msgspec.structs.replace(COINS, lot_size=D(1))
    just_below_three = "2." + "9" * 33
    assert sized(hint("NOTIONAL", just_below_three), price="1", instrument=whole) == 2
    assert sized(hint("NOTIONAL", "89." + "9" * 32), price="30", instrument=whole) == 2


def test_it_counts_the_worth_of_a_contract() -> None:
    tenth = msgspec.structs.replace(COINS, contract_value=D("0.1"))
    assert sized(hint("NOTIONAL", "123"), instrument=tenth) == D("12.3")
    assert sized(hint("RISK_PCT", "0.05"), stop="98", instrument=tenth) == 25


def test_it_needs_no_more_settings_than_it_names() -> None:
    for kind, fields in NEEDS.items():
        settings = msgspec.structs.replace(RiskSettings(), **{field: D(5) for field in fields})
        qty = order_qty(SizeHint(kind, D(1)), price=D(1), stop_loss=D("0.5"), equity=EQUITY, instrument=COINS, settings=settings)
        assert qty > 0


@pytest.mark.parametrize(
    ("changes", "qty"),
    [
        ({}, "50"),
        ({"commission_rate": D("0.01")}, "49"),
        ({"exchange_rate": D(2)}, "25"),
        ({"hard_limit": D(20)}, "20"),
        ({"hard_limit": D(20), "units": 3}, "6.6"),
        ({"hard_limit": D(0)}, "0"),
        ({"units": 3}, "16.6"),
        ({"units": 3, "unit_batch_size": D(5)}, "15"),
        ({"unit_batch_size": D(40)}, "40"),
        ({"unit_batch_size": D(60)}, "0"),
        ({"units": 0}, "0"),
        ({"stop_loss": D(100)}, "0"),
        ({"stop_loss": D(102)}, "50"),
        ({"stop_loss": None}, "0"),
        ({"commission_rate": D("0.5")}, "0"),
        ({"hard_limit": D("NaN")}, "0"),
        *[
            ({name: D(bad)}, "0")
            for name in ("equity", "risk", "entry", "exchange_rate")
            for bad in ("0", "-1", "NaN", "sNaN", "Infinity")
        ],
        *[({"commission_rate": D(bad)}, "0") for bad in ("NaN", "Infinity")],
    ],
)
def test_it_sizes_by_what_may_be_lost(changes: dict[str, Any], qty: str) -> None:
    asked: dict[str, Any] = {"equity": EQUITY, "risk": D("0.01"), "entry": D(100), "stop_loss": D(98), "instrument": COINS}
    assert fixed_risk_qty(**(asked | changes)) == D(qty)


def test_it_caps_what_it_works_out_by_what_the_venue_takes() -> None:
    small = msgspec.structs.replace(COINS, order_qty_max=D("7.7"))
    for kind, value in (("DEFAULT", "0"), ("NOTIONAL", "1000"), ("EQUITY_PCT", "30"), ("RISK_PCT", "1")):
        assert sized(hint(kind, value), stop="98", instrument=small) == D("7.7")
    assert sized(hint("QUANTITY", "9"), instrument=small) == 9


AMOUNT = st.decimals(min_value=D("0.01"), max_value=D(1_000_000), places=2)
KINDS = st.sampled_from(HintKind)
INSTRUMENTS = st.sampled_from([CONTRACTS, COINS, msgspec.structs.replace(COINS, lot_size=D("0.00001"))])


@given(KINDS, AMOUNT, AMOUNT, AMOUNT, AMOUNT, INSTRUMENTS)
def test_it_never_exceeds_the_cap_and_always_gives_whole_lots(
    kind: HintKind, value: Decimal, margin: Decimal, price: Decimal, cap: Decimal, instrument: Instrument
) -> None:
    qty = sized(SizeHint(kind, value), margin=str(margin), price=str(price), cap=str(cap), stop="0.005", instrument=instrument)
    assert 0 <= qty <= cap
    assert qty % instrument.lot_size == 0


@given(KINDS, AMOUNT, AMOUNT, AMOUNT, INSTRUMENTS)
def test_it_never_spends_more_than_its_budget(
    kind: HintKind, value: Decimal, margin: Decimal, price: Decimal, instrument: Instrument
) -> None:
    qty = sized(SizeHint(kind, value), margin=str(margin), price=str(price), cap="Infinity", stop="0.005", instrument=instrument)
    worth = instrument.notional(qty, price)
    budgets = {
        HintKind.DEFAULT: margin * 5,
        HintKind.MARGIN_FRACTION: margin * 5 * min(value, D(1)),
        HintKind.NOTIONAL: value,
        HintKind.QUANTITY: instrument.notional(value, price),
        HintKind.EQUITY_PCT: EQUITY * value / 100,
        HintKind.RISK_PCT: NO_LIMIT,
    }
    assert worth <= budgets[kind]
    if kind is HintKind.RISK_PCT:
        assert qty * abs(price - D("0.005")) * instrument.contract_value <= EQUITY * value / 100
    elif kind is not HintKind.QUANTITY:
        assert budgets[kind] - worth < price * instrument.contract_value * instrument.lot_size


@given(KINDS, AMOUNT, AMOUNT, AMOUNT, st.integers(1, 100), st.integers(0, 100))
def test_it_grows_with_margin_leverage_and_value(
    kind: HintKind, value: Decimal, margin: Decimal, price: Decimal, leverage: int, more: int
) -> None:
    base = sized(SizeHint(kind, value), margin=str(margin), price=str(price), leverage=str(leverage), stop="0.005")
    for larger in (
        sized(SizeHint(kind, value), margin=str(margin + more), price=str(price), leverage=str(leverage), stop="0.005"),
        sized(SizeHint(kind, value), margin=str(margin), price=str(price), leverage=str(leverage + more), stop="0.005"),
        sized(SizeHint(kind, value + more), margin=str(margin), price=str(price), leverage=str(leverage), stop="0.005"),
    ):
        assert larger >= base
