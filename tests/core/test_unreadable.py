"""Whatever numbers the venue says, and a person sets, the desk goes on: what cannot be read is not applied, a person is told, and the venue is asked."""

# mypy: disable-error-code="comparison-overlap"
from __future__ import annotations

import random
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from execution.core.messages import (
    Adjusted,
    AdjustmentKind,
    Event,
    ExecType,
    Mark,
    Marked,
    OrderFound,
    QueryOrder,
    Reconciled,
    Reported,
    SettingsChanged,
    SignalKind,
    VenueFill,
    VenueOrder,
)
from risk.core.settings import AccountLimits, RiskSettings
from risk.core.units import OrdType, Side
from risk.core.verdict import Reason
from tests.core.builders import BTC, Bench, D, decision, settings
from tests.core.session import step

IMPOSSIBLE = ["NaN", "sNaN", "Infinity", "-Infinity", "1e15"]
OF_REPORT = ["last_qty", "last_px", "cum_qty", "avg_px", "leaves_qty", "order_qty", "price", "stop_px"]


@pytest.fixture
def bench() -> Bench:
    made = Bench()
    made.ack(made.buy("10"))
    return made


def entry_of(bench: Bench) -> str:
    return next(iter(bench.desk.state.orders))


def venue_fill(bench: Bench, **changes: Any) -> VenueFill:
    fields: dict[str, Any] = {"last_qty": D(4), "last_px": D(100), "fee": D(0), "fee_currency": "USDT", "liquidity": ""}
    return VenueFill(
        cl_ord_id=entry_of(bench),
        order_id="v1",
        exec_id="f1",
        symbol=BTC,
        side=Side.BUY,
        transact_at=bench.at,
        **(fields | changes),
    )


@pytest.mark.parametrize("bad", IMPOSSIBLE)
@pytest.mark.parametrize("field", OF_REPORT)
def test_it_applies_nothing_of_a_report_and_asks(bench: Bench, field: str, bad: str) -> None:
    before = bench.desk.state.orders[entry_of(bench)].cum_qty
    changes: dict[str, Any] = {field: D(bad)}
    bench.report(entry_of(bench), ExecType.TRADE, "4", **changes)
    assert (bench.desk.state.orders[entry_of(bench)].cum_qty, bench.qty(), bench.alarms()) == (before, 0, ["unreadable"])
    assert [asked.cl_ord_id for asked in bench.all(QueryOrder)] == [entry_of(bench)]
    bench.reconcile()
    assert bench.alarms() == []


def test_it_refuses_what_two_readable_numbers_come_to(bench: Bench) -> None:
    bench.report(entry_of(bench), ExecType.TRADE, "1e10", "1e8")
    assert (bench.qty(), bench.alarms()) == (0, ["unreadable"])


@pytest.mark.parametrize("bad", IMPOSSIBLE)
@pytest.mark.parametrize("where", ["position", "order", "fill"])
def test_it_uses_nothing_of_a_picture(bench: Bench, where: str, bad: str) -> None:
    bench.desk.state.account.is_reconciled = False
    order = bench.desk.state.orders[entry_of(bench)]
    orders = (bench.shown(order, **({"cum_qty": D(bad)} if where == "order" else {})),)
    fills = (venue_fill(bench, **({"last_px": D(bad)} if where == "fill" else {})),)
    bench.reconcile(orders=orders, fills=fills, positions={BTC: bad if where == "position" else "4"})
    assert (bench.qty(), bench.alarms(), bench.desk.state.account.is_reconciled) == (0, ["unreadable"], False)
    assert bench.decide(decision(SignalKind.BUY, "1", stop_loss=D(98))).reason is Reason.NOT_READY
    bench.reconcile(fills=(venue_fill(bench),), positions={BTC: "4"})
    assert (bench.qty(), bench.desk.state.account.is_reconciled) == (4, True)
    assert "unreadable" not in bench.alarms()


def test_it_uses_nothing_of_an_answer_about_one_order(bench: Bench) -> None:
    shown = bench.shown(bench.desk.state.orders[entry_of(bench)], cum_qty=D("NaN"))
    bench.take(OrderFound(at=bench.at, cl_ord_id=entry_of(bench), asked_at=bench.at, order=shown, fills=(venue_fill(bench),)))
    assert (bench.qty(), bench.alarms()) == (0, ["unreadable"])


# --- whatever it says --------------------------------------------------------------------------------------------------------

ODD = st.sampled_from(
    [*map(Decimal, IMPOSSIBLE), *map(Decimal, ("0", "-1", "1e-30", "999999999999999", "0.0005", "4", "10", "100"))]
)
MAYBE = st.none() | ODD
WORDS = st.fixed_dictionaries(
    {
        "exec_type": st.sampled_from(ExecType),
        "exec_id": st.sampled_from(["", "e1", "e2", "e3"]),
        "exec_ref_id": st.sampled_from(["", "e1", "e2"]),
        "symbol": st.sampled_from(["", BTC, "XX"]),
        "side": st.none() | st.sampled_from(Side),
        "last_qty": ODD,
        "last_px": st.just(D(100)) | ODD,
        "cum_qty": MAYBE,
        "avg_px": MAYBE,
        "leaves_qty": MAYBE,
        "order_qty": MAYBE,
        "price": MAYBE,
        "stop_px": MAYBE,
        "fee": st.just(D(0)) | ODD,
        "fee_currency": st.sampled_from(["USDT", "BTC", "BNB", ""]),
    }
)
SHOWN = st.fixed_dictionaries(
    {"order_qty": ODD, "cum_qty": ODD, "ord_status": st.sampled_from(["NEW", "CANCELED", "FILLED", "PARTIALLY_FILLED"])}
)
PICTURES = st.tuples(st.lists(SHOWN, max_size=2), ODD)
SPLITS = st.tuples(st.sampled_from(AdjustmentKind), ODD, ODD, ODD)


def spoken(bench: Bench, n: int, word: Any) -> Event:
    """An event of what hypothesis made up, about the orders there are."""
    ids = [*bench.desk.state.orders, "nobody"]
    if isinstance(word, dict):
        return Reported(at=bench.at, cl_ord_id=ids[n % len(ids)], **word)
    if isinstance(word, Decimal):
        return Marked(at=bench.at, marks=(Mark(BTC, word, bench.at),))
    if len(word) == 4:
        kind, amount, new, old = word
        return Adjusted(at=bench.at, adjustment_id=f"a{n}", kind=kind, symbol=BTC, amount=amount, new_units=new, old_units=old)
    shown, held = word
    orders = tuple(
        VenueOrder(cl_ord_id=ids[i % len(ids)], order_id="v", symbol=BTC, side=Side.BUY, ord_type=OrdType.LIMIT, **fields)
        for i, fields in enumerate(shown)
    )
    return Reconciled(
        at=bench.at, asked_seq=bench.desk.seq, asked_at=bench.at, query_id="", orders=orders, fills=(), positions={BTC: held}
    )


@given(st.lists(WORDS | ODD | PICTURES | SPLITS, max_size=12))
def test_it_goes_on_whatever_the_venue_says(words: list[Any]) -> None:
    bench = Bench()
    bench.buy("10")
    for n, word in enumerate(words):
        bench.later(1)
        bench.take(spoken(bench, n, word))
        assert bench.desk.state.account.equity.is_finite()
    bench.wait(10)


# --- whatever a person sets -------------------------------------------------------------------------------------------------

NUMBERS: dict[str, st.SearchStrategy[Any]] = {
    field.name: st.none() | (st.sampled_from([0, 1, 2_592_000]) if "int" in str(field.type) else ODD)
    for kind in (RiskSettings, AccountLimits)
    for field in msgspec.structs.fields(kind)
    if "int" in str(field.type) or "Decimal" in str(field.type)
}


@given(st.integers(0, 99), st.data())
def test_it_goes_on_whatever_the_settings_say(seed: int, data: st.DataObject) -> None:
    """Settings that deny everything, or nothing, or are no numbers: entries may stop, the desk may not."""
    bench, chance = Bench(), random.Random(seed)
    for n in range(40):
        if n % 10 == 5:
            changed = {
                name: data.draw(NUMBERS[name], name) for name in data.draw(st.sets(st.sampled_from(sorted(NUMBERS)), max_size=4))
            }
            base = settings(version=n, **{k: v for k, v in changed.items() if k in RiskSettings.__struct_fields__})
            limits = {k: v for k, v in changed.items() if k in AccountLimits.__struct_fields__}
            odd = msgspec.structs.replace(base, limits=msgspec.structs.replace(base.limits, **limits))
            bench.take(SettingsChanged(at=bench.at, settings=odd))
        step(bench, chance, n)
    assert bench.desk.state.account.equity.is_finite()
