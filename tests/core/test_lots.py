"""Closed trades: whatever the matching and the grouping, nothing is earned, paid or traded that the fills did not."""

# mypy: disable-error-code="comparison-overlap"
from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from execution.core.lots import Grouping, LotFill, Lots, Matching
from risk.core.units import Side
from tests.core.builders import NOON

D = Decimal
WAYS = [(matching, grouping) for matching in Matching for grouping in Grouping]


def fill(n: int, side: Side, qty: int, px: int, fee: int = 1) -> LotFill:
    return LotFill(cl_ord_id=f"o{n}", side=side, last_qty=D(qty), last_px=D(px), fee=D(fee), at=NOON + timedelta(minutes=n))


fills = st.lists(
    st.tuples(st.sampled_from(Side), st.integers(1, 9), st.integers(90, 110), st.integers(0, 3)), min_size=1, max_size=20
)


@pytest.mark.parametrize(("matching", "grouping"), WAYS)
@given(rows=fills)
def test_it_earns_what_the_cash_says(matching: Matching, grouping: Grouping, rows: list[tuple[Side, int, int, int]]) -> None:
    lots = Lots(matching, grouping, contract_value=D(2))
    booked = [fill(n, *row) for n, row in enumerate(rows)]
    net = sum((f.side.sign * f.last_qty for f in booked), D(0))
    if net:  # flat at the end, so that everything is told
        booked.append(fill(len(rows), Side.SELL if net > 0 else Side.BUY, int(abs(net)), 100))
    for each in booked:
        lots.book(each)
    cash = sum((-f.side.sign * f.last_qty * f.last_px * 2 for f in booked), D(0))
    assert abs(sum((trade.realised for trade in lots.closed), D(0)) - cash) < D("1e-20")
    assert sum(trade.fees for trade in lots.closed) == sum(f.fee for f in booked)
    assert not lots.is_open
    for trade in lots.closed:
        assert trade.mae <= min(trade.realised, D(0)) + D("1e-20")
        assert trade.mfe >= max(trade.realised, D(0)) - D("1e-20")
        assert trade.entry_at <= trade.exit_at


def test_it_takes_the_oldest_or_the_newest_first() -> None:
    found = {}
    for matching in Matching:
        lots = Lots(matching, Grouping.FILL_TO_FILL)
        for each in (fill(1, Side.BUY, 1, 100), fill(2, Side.BUY, 1, 104), fill(3, Side.SELL, 1, 110)):
            lots.book(each)
        (trade,) = lots.closed
        found[matching] = (trade.realised, trade.cl_ord_ids)
    assert found == {Matching.FIFO: (D(10), ("o1", "o3")), Matching.LIFO: (D(6), ("o2", "o3"))}


def test_it_opens_the_other_side_with_what_is_left_and_no_fee() -> None:
    lots = Lots(Matching.FIFO, Grouping.FILL_TO_FILL)
    for each in (fill(1, Side.BUY, 1, 100), fill(2, Side.SELL, 3, 110), fill(3, Side.BUY, 2, 105)):
        lots.book(each)
    assert [(t.side, t.qty, t.realised, t.fees) for t in lots.closed] == [(Side.BUY, 1, 10, 2), (Side.SELL, 2, 10, 1)]


@pytest.mark.parametrize(("matching", "grouping"), WAYS)
def test_it_lets_a_split_change_nothing_that_was_earned(matching: Matching, grouping: Grouping) -> None:
    lots = Lots(matching, grouping)
    for each in (fill(1, Side.BUY, 4, 100), fill(2, Side.BUY, 4, 104), fill(3, Side.SELL, 2, 110)):
        lots.book(each)
    lots.split(D(2), D(1))
    lots.book(fill(4, Side.SELL, 12, 55))
    assert sum(trade.realised for trade in lots.closed) == 2 * 110 + 12 * 55 - 400 - 416
    assert not lots.is_open


@given(rows=fills)
@example(rows=[(Side.BUY, 3, 108, 0), (Side.BUY, 8, 108, 0)])
def test_an_inverse_contract_earns_what_the_coins_say(rows: list[tuple[Side, int, int, int]]) -> None:
    """One unit is worth 100 ÷ price of the coin: what was bought and sold comes to the same, whatever the matching."""
    booked = [fill(n, *row) for n, row in enumerate(rows)]
    net = sum((f.side.sign * f.last_qty for f in booked), D(0))
    if net:
        booked.append(fill(len(rows), Side.SELL if net > 0 else Side.BUY, int(abs(net)), 100))
    coins = sum((f.side.sign * f.last_qty * 100 / f.last_px for f in booked), D(0))
    for matching in Matching:
        lots = Lots(matching, Grouping.FLAT_TO_FLAT, contract_value=D(100), is_inverse=True)
        for each in booked:
            lots.book(each)
        assert abs(sum((trade.realised for trade in lots.closed), D(0)) - coins) < D("1e-20")
        assert all(trade.mae <= 0 <= trade.mfe for trade in lots.closed)
