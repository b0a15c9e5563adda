"""TWAP schedules: what they sum to, when their slices go, and what no schedule can be made of."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execution.core.messages import Decision, SignalKind, SignalRecord, Twap
from execution.core.twap import HORIZON_S_MAX, SLICES_MAX, ParentState, ScheduleRefused, slices
from risk.core.units import OrdType, Side
from risk.core.verdict import OrderClass, Proposal
from tests.core.builders import BOT, BTC, NOON, D

LOT = D("0.001")


def twap(horizon_s: str | int, interval_s: str | int, **changes: Any) -> Twap:
    return Twap(D(horizon_s), D(interval_s), **changes)


def parent(asked: Twap, parts: tuple[Decimal, ...]) -> ParentState:
    record = SignalRecord(
        **dict.fromkeys(SignalRecord.__struct_fields__, None)  # type: ignore[arg-type]
        | {"decision_id": "d", "at": NOON, "market_at": NOON, "bot": BOT, "symbol": BTC, "signal": SignalKind.BUY}
    )
    proposal = Proposal(order_class=OrderClass.ENTRY, account="paper", bot=BOT, symbol=BTC, side=Side.BUY, ord_type=OrdType.MARKET)
    return ParentState(proposal=proposal, record=record, twap=asked, slices=parts, start_at=NOON, reserve_px=D(1))


@given(
    lots=st.integers(1, 10**9),
    lot=st.sampled_from([D("1"), D("0.001"), D("1e-9"), D("0.25"), D("100")]),
    interval=st.decimals("0.001", "3600", places=3),
    n=st.integers(1, SLICES_MAX - 1),
    is_end_included=st.booleans(),
)
def test_it_sums_to_the_quantity_in_whole_lots_and_differs_by_one_lot_at_most(
    lots: int, lot: Decimal, interval: Decimal, n: int, is_end_included: bool
) -> None:
    asked, n_slices = Twap(interval * n, interval, is_end_included), n + is_end_included
    if interval * n > HORIZON_S_MAX or lots < n_slices:
        with pytest.raises(ScheduleRefused):
            slices(lots * lot, asked, lot=lot)
        return
    parts = slices(lots * lot, asked, lot=lot)
    assert len(parts) == n_slices
    assert sum(parts) == lots * lot
    assert all(part % lot == 0 and part > 0 for part in parts)
    assert list(parts) == sorted(parts)
    assert parts[-1] - parts[0] <= lot


@given(interval=st.decimals("0.001", "3600", places=3), n=st.integers(1, 50), late_ms=st.integers(0, 10**9))
def test_it_knows_which_slice_is_due_at_any_time(interval: Decimal, n: int, late_ms: int) -> None:
    held = parent(Twap(interval * n, interval), (D(1),) * n)
    times = [held.time_of(slot) for slot in range(n + 1)]
    assert times[0] == NOON
    assert times == sorted(set(times))
    assert times[-1] - NOON == timedelta(microseconds=int(interval * n * 1_000_000))
    at = NOON + timedelta(milliseconds=late_ms)
    assert held.time_of(held.slot_at(at)) <= at < held.time_of(held.slot_at(at) + 1)


@pytest.mark.parametrize(
    ("qty", "asked", "lot", "sentence"),
    [
        ("0", twap(60, 20), LOT, "qty is 0; it must be a positive, finite number."),
        ("-1", twap(60, 20), LOT, "qty is -1; it must be a positive, finite number."),
        ("NaN", twap(60, 20), LOT, "qty is not a number; it must be a positive, finite number."),
        ("1", twap(60, 20), D(0), "lot is 0; it must be a positive, finite number."),
        ("1", twap(0, 20), LOT, "horizon_s is 0; it must be a positive, finite number."),
        ("1", twap("Infinity", 20), LOT, "horizon_s is infinite; it must be a positive, finite number."),
        ("1", twap(60, 0), LOT, "interval_s is 0; it must be a positive, finite number."),
        ("1", twap(60, -20), LOT, "interval_s is -20; it must be a positive, finite number."),
        ("1", twap(60, "sNaN"), LOT, "interval_s is not a number; it must be a positive, finite number."),
        ("1", twap(10, 20), LOT, "horizon_s is 10; it must be at least interval_s, which is 20."),
        ("1", twap("1e9", 20), LOT, "horizon_s is 1,000,000,000; it must be at most 2,592,000."),
        ("100", twap(60, "0.01"), LOT, "interval_s is 0.01; it must be more than 0.06, a thousandth of horizon_s."),
        ("0.002", twap(60, 20), LOT, "qty is 0.002; 3 slices need at least 0.003, a lot of 0.001 each."),
        ("0.0035", twap(60, 20), LOT, "qty is 0.0035; it must be in whole lots of 0.001."),
    ],
)
def test_it_says_what_is_wrong_and_what_is_right(qty: str, asked: Twap, lot: Decimal, sentence: str) -> None:
    with pytest.raises(ScheduleRefused) as refused:
        slices(D(qty), asked, lot=lot)
    assert str(refused.value) == sentence


def test_it_leaves_what_does_not_divide_to_the_last_slices() -> None:
    assert slices(D("0.011"), twap(60, 15), lot=LOT) == (D("0.002"), D("0.003"), D("0.003"), D("0.003"))


def test_it_sends_one_more_where_the_end_is_included() -> None:
    assert slices(D(7), twap(60, 10, is_end_included=True), lot=D(1)) == (D(1),) * 7


def test_a_decision_names_it() -> None:
    assert Decision(signal=SignalKind.BUY).twap is None
