"""What a venue moves without a trade: funding and splits, each booked once, and nothing protected loses its protection."""

# mypy: disable-error-code="comparison-overlap"
from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from execution.core.messages import Adjusted, AdjustmentKind, CommandKind, ExecType, OrderFound, Unwatch, VenueFill
from execution.core.orders import OrderState
from risk.core.verdict import Capability
from tests.core.builders import BOT, BTC, NOON, Bench, D, at_venue, settings


def funding(bench: Bench, amount: str, adjustment_id: str = "f1") -> None:
    bench.take(Adjusted(at=bench.at, adjustment_id=adjustment_id, kind=AdjustmentKind.FUNDING, symbol=BTC, amount=Decimal(amount)))


def split_of(bench: Bench, new: str, old: str, **changes: Any) -> Adjusted:
    fields: dict[str, Any] = {"adjustment_id": "s1", "new_units": Decimal(new), "old_units": Decimal(old)}
    return Adjusted(at=bench.at, kind=AdjustmentKind.SPLIT, symbol=BTC, **(fields | changes))


def split(bench: Bench, new: str = "2", old: str = "1") -> None:
    bench.take(split_of(bench, new, old))


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
    split(bench)
    state = bench.desk.state
    position = state.positions[BTC]
    assert (position.qty, position.avg_px, position.mark, state.account.equity) == (20, 50, 50, before)
    old = [order for order in bench.working() if order.cancel_asked_by]
    assert len(old) == 2
    for leg in old:
        bench.report(leg, ExecType.CANCELED)
    (stop,), (target,) = bench.legs()
    assert [(leg.order_qty, leg.stop_px, leg.price) for leg in (stop, target)] == [(20, 49, None), (20, None, 52)]


@pytest.mark.parametrize(
    "ratio", [("0", "1"), ("1", "0"), ("-2", "1"), ("NaN", "1"), ("1", "Infinity"), ("1000001", "1"), ("1", "1000001")]
)
def test_a_split_that_cannot_be_right_moves_nothing(ratio: tuple[str, str]) -> None:
    bench = Bench()
    bench.armed("10")
    split(bench, *ratio)
    assert bench.desk.state.positions[BTC].qty == 10
    assert f"adjustment:{BTC}:s1" in bench.desk.state.alarms
    assert bench.published("adjustment") == []


def test_it_does_not_split_an_inverse_contract() -> None:
    """Half the price is twice the worth of a unit: twice the units would be four times the money."""
    base = settings()
    coin = msgspec.structs.replace(base.instruments[BTC], is_inverse=True, contract_value=D(100))
    bench = Bench(msgspec.structs.replace(base, instruments=base.instruments | {BTC: coin}))
    bench.armed("10")
    before = bench.desk.state.account.equity
    split(bench)
    assert (bench.qty(), bench.desk.state.account.equity) == (10, before)
    assert f"adjustment:{BTC}:s1" in bench.desk.state.alarms
    assert not [order for order in bench.working() if order.cancel_asked_by]


def test_it_counts_every_ratio_exactly() -> None:
    """Three for one has no decimal price factor, one for thirty no decimal quantity factor."""
    bench = Bench()
    bench.armed("10")
    split(bench, "3", "1")
    assert bench.qty() == 30
    bench.take(split_of(bench, "1", "30", adjustment_id="s2"))
    assert bench.qty() == 1
    assert bench.desk.state.positions[BTC].avg_px == 1000


def test_what_a_split_leaves_below_a_lot_is_dust() -> None:
    bench = Bench()
    bench.armed("10")
    split(bench, "1", "3")
    bench.settle_legs()
    assert bench.qty() == D("3.333333333333")
    assert {leg.order_qty for kind in bench.legs() for leg in kind} == {D("3.333")}
    assert bench.alarms() == ["split"]


def test_it_publishes_what_it_books() -> None:
    bench = Bench()
    bench.armed("10")
    funding(bench, "-3.5")
    (paid,) = bench.published("adjustment")
    assert (paid.bot, paid.symbol, paid.kind, paid.qty, paid.amount) == (BOT, BTC, AdjustmentKind.FUNDING, 10, D("-3.5"))


def test_a_trail_begins_anew_after_a_split() -> None:
    """What watches it has followed prices of the old terms: at the first of the new ones it would close the position."""
    bench = Bench()
    entry = bench.buy("10", stop_loss=None, take_profit=None, trail_pct=D(5))
    bench.ack(entry)
    bench.fill(entry)
    split(bench)
    watch_id = f"trail:{entry.cl_ord_id}"
    assert [e.watch_id for e in bench.all(Unwatch)] == [watch_id]
    watch = bench.desk.state.watches[watch_id]
    assert watch.trail is not None
    assert (watch.trail.extreme, watch.price) == (50, D("47.5"))


def test_a_split_forgets_an_exit_that_waits_in_old_terms() -> None:
    bench = Bench(at_venue(Capability.STOP_ORDERS))
    bench.armed("10")
    bench.command(CommandKind.CLOSE, target=BTC)
    assert BTC in bench.desk.state.exits
    split(bench)
    assert BTC not in bench.desk.state.exits


# --- told late -----------------------------------------------------------------------------------------------------------------


def test_it_books_from_the_venues_answer_what_its_report_lost_once() -> None:
    bench = Bench()
    bench.armed("10")
    before = bench.desk.state.account.cash
    lost = Adjusted(at=bench.at, adjustment_id="f1", kind=AdjustmentKind.FUNDING, symbol=BTC, amount=D("-3.5"))
    for _ in range(2):
        bench.reconcile(adjustments=(lost,))
    funding(bench, "-3.5")
    assert bench.desk.state.account.cash == before - D("3.5")


def test_it_books_a_lost_split_before_it_compares() -> None:
    """The venue holds twenty; ten of ours are twenty by then, and nobody is called."""
    bench = Bench()
    bench.armed("10")
    bench.later(1)
    bench.reconcile(positions={BTC: "20"}, adjustments=(split_of(bench, "2", "1", transact_at=bench.at),))
    assert (bench.qty(), bench.alarms()) == (20, ["split"])
    bench.later(30)
    bench.reconcile(positions={BTC: "20"})
    assert (bench.desk.state.account.reconciled_text, bench.alarms()) == ("agrees", [])


@pytest.mark.parametrize("is_about_one_order", [False, True])
def test_it_books_fills_and_splits_of_one_answer_in_the_order_they_happened(is_about_one_order: bool) -> None:
    """Of ten a stop takes two, the eight that are left are split into sixteen, and an entry adds four of those."""
    bench = Bench()
    other = bench.armed("10")
    (stop,), _ = bench.legs()
    entry = bench.buy("10")
    bench.ack(entry)
    bench.later(5)
    two_for_one = split_of(bench, "2", "1", transact_at=NOON + timedelta(seconds=2))
    fills = (fill_of(stop, 1, "2", "98"), fill_of(entry, 2, "4", "50"))
    if is_about_one_order:
        shown = bench.shown(entry, cum_qty=D(4))
        asked: dict[str, Any] = {"cl_ord_id": entry.cl_ord_id, "asked_at": bench.at, "order": shown}
        bench.take(OrderFound(at=bench.at, fills=fills, adjustments=(two_for_one,), **asked))
    else:
        bench.reconcile(orders=(), fills=fills, adjustments=(two_for_one,))
    position = bench.desk.state.positions[BTC]
    assert (position.qty, position.cost) == (20, 8 * 100 + 4 * 50)
    assert (bench.bracket(other).open_qty, bench.bracket(entry).open_qty) == (16, 4)
    split(bench)
    bench.report(entry, ExecType.TRADE, "4", "50", exec_id="x2")
    assert bench.qty() == 20, "what comes again was booked"


def fill_of(order: OrderState, n: int, qty: str, px: str) -> VenueFill:
    return VenueFill(
        cl_ord_id=order.cl_ord_id,
        order_id="v1",
        exec_id=f"x{n}",
        symbol=BTC,
        side=order.side,
        last_qty=D(qty),
        last_px=D(px),
        fee=D(0),
        fee_currency="",
        liquidity="",
        transact_at=NOON + timedelta(seconds=n),
    )


def test_it_leaves_out_what_was_booked_before_it_began() -> None:
    """The first answer of an old account: its money is what it began with."""
    bench = Bench(is_ready=False)
    old = Adjusted(at=bench.at, adjustment_id="f0", kind=AdjustmentKind.FUNDING, symbol=BTC, amount=D("-3.5"))
    before = bench.desk.state.account.cash
    bench.reconcile(adjustments=(old,))
    funding(bench, "-3.5", "f0")
    assert bench.desk.state.account.cash == before
