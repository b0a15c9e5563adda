"""Busts and corrections: what the venue takes back is undone everywhere, as if it had never been."""

# mypy: disable-error-code="comparison-overlap"
from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from execution.core.brackets import BracketStatus
from execution.core.messages import ExecType, QueryOrder, SignalKind
from execution.core.orders import OrderState, OrdStatus
from execution.core.positions import FillState
from risk.core.book import EXTERNAL
from risk.core.units import ZERO, AssetClass, OrdType
from risk.core.verdict import HaltCause
from tests.core.builders import BTC, INSTRUMENTS, Bench, D, decision
from tests.core.builders import settings as config

S, X = OrdStatus, ExecType


@pytest.fixture
def bench() -> Bench:
    return Bench()


def bust(bench: Bench, order: OrderState, ref: str, exec_id: str = "b1", **fields: Any) -> None:
    bench.report(order, X.TRADE_CANCEL, exec_id=exec_id, exec_ref_id=ref, **fields)


def correct(bench: Bench, order: OrderState, ref: str, qty: str, px: str, exec_id: str = "c1", **fields: Any) -> None:
    bench.report(order, X.TRADE_CORRECT, qty, px, exec_id=exec_id, exec_ref_id=ref, **fields)


def money(bench: Bench) -> tuple[Decimal, ...]:
    """Everything a fill moves, as numbers."""
    state = bench.desk.state
    account, position, session = state.account, state.positions[BTC], state.symbols[BTC].session
    numbers = (account.cash, account.equity, account.realised, account.fees, position.qty, position.cost, position.realised)
    return (*numbers, position.fees, session.realised, session.fees)


# --- the published sequence ---------------------------------------------------------------------------------------------------


def test_it_follows_a_filled_order_through_busts_and_corrections(bench: Bench) -> None:
    bench.fill(bench.buy("100"))
    signal = bench.decide(decision(SignalKind.CLOSE, "100", ord_type=OrdType.LIMIT, price=D(101)))
    order = bench.desk.state.orders[signal.cl_ord_id]
    bench.ack(order)

    def now() -> tuple[OrdStatus, Decimal, Decimal, Decimal | None]:
        return order.ord_status, order.cum_qty, order.leaves_qty, order.avg_px

    bench.fill(order, "10", "100", exec_id="C")
    bench.fill(order, "90", "110", exec_id="D")
    assert now() == (S.FILLED, 100, 0, 109)
    bust(bench, order, "C", "E", leaves_qty=D(10))
    assert now() == (S.PARTIALLY_FILLED, 90, 10, 110)
    correct(bench, order, "D", "90", "100", "F", leaves_qty=D(10))
    assert now() == (S.PARTIALLY_FILLED, 90, 10, 100)
    bench.fill(order, "10", "120", exec_id="G")
    assert now() == (S.FILLED, 100, 0, 102)
    correct(bench, order, "F", "90", "120", "H", leaves_qty=D(0))
    assert now() == (S.FILLED, 100, 0, 120)
    assert bench.qty() == 0


# --- undone everywhere ---------------------------------------------------------------------------------------------------------


def session_of(asset_class: AssetClass) -> Bench:
    base = config()
    spot = {symbol: msgspec.structs.replace(value, asset_class=asset_class) for symbol, value in INSTRUMENTS.items()}
    return Bench(msgspec.structs.replace(base, instruments=spot))


STEPS = [("buy", "10", "100"), ("buy", "4", "110"), ("sell", "6", "120"), ("sell", "8", "90"), ("buy", "3", "95")]


def played(
    bench: Bench, *, without: int | None = None, corrected: tuple[int, str, str] | None = None, fee_currency: str = "USDT"
) -> None:
    """Fills of two resting orders, one of each side, in turn; one of them left out, or as it truly was."""
    bench.mark(BTC, "100")
    buys = bench.buy("100", ord_type=OrdType.LIMIT, price=D(100), stop_loss=D(98), take_profit=None)
    bench.ack(buys)
    sells: OrderState | None = None
    for n, (side, *seen) in enumerate(STEPS):
        qty, px = corrected[1:] if corrected is not None and n == corrected[0] else seen
        if side == "sell" and sells is None:
            signal = bench.decide(decision(SignalKind.CLOSE, ord_type=OrdType.LIMIT, price=D(101)))
            sells = bench.desk.state.orders.get(signal.cl_ord_id)
        order = buys if side == "buy" else sells
        if n != without and order is not None:
            bench.report(order, X.TRADE, qty, px, exec_id=f"f{n}", fee=D("0.1"), fee_currency=fee_currency)


def order_of(bench: Bench, step: int) -> OrderState:
    is_buy = STEPS[step][0] == "buy"
    (found,) = [o for o in bench.desk.state.orders.values() if o.cum_qty and (o.side.sign > 0) is is_buy]
    return found


@pytest.mark.parametrize("fee_currency", ["USDT", "BTC"])
@pytest.mark.parametrize("asset_class", [AssetClass.CRYPTO_PERP, AssetClass.CRYPTO_SPOT])
@pytest.mark.parametrize("step", range(len(STEPS)))
def test_it_counts_as_if_the_busted_fill_had_never_been(step: int, asset_class: AssetClass, fee_currency: str) -> None:
    bench, never = session_of(asset_class), session_of(asset_class)
    played(bench, fee_currency=fee_currency)
    played(never, without=step, fee_currency=fee_currency)
    bust(bench, order_of(bench, step), f"f{step}")
    assert money(bench) == money(never)
    assert f"bust:{BTC}:f{step}" in bench.desk.state.alarms


@pytest.mark.parametrize("asset_class", [AssetClass.CRYPTO_PERP, AssetClass.CRYPTO_SPOT])
@pytest.mark.parametrize("step", range(len(STEPS)))
def test_it_counts_as_if_the_corrected_fill_had_been_so_all_along(step: int, asset_class: AssetClass) -> None:
    bench, truly = session_of(asset_class), session_of(asset_class)
    played(bench)
    played(truly, corrected=(step, "5", "105"))
    correct(bench, order_of(bench, step), f"f{step}", "5", "105")
    assert money(bench) == money(truly)
    assert order_of(bench, step).cum_qty == order_of(truly, step).cum_qty


@given(busts=st.lists(st.integers(0, len(STEPS) - 1), min_size=1, max_size=8))
def test_it_undoes_each_fill_once_in_any_order(busts: list[int]) -> None:
    bench = session_of(AssetClass.CRYPTO_PERP)
    played(bench)
    buys, sells = order_of(bench, 0), order_of(bench, 2)
    for n, step in enumerate(busts):
        bust(bench, buys if STEPS[step][0] == "buy" else sells, f"f{step}", f"b{n}")
    left = [(side, D(qty), D(px)) for n, (side, qty, px) in enumerate(STEPS) if n not in busts]
    assert bench.qty() == sum((qty if side == "buy" else -qty for side, qty, _ in left), ZERO)
    flow = sum((-qty * px if side == "buy" else qty * px for side, qty, px in left), ZERO)
    position, account = bench.desk.state.positions[BTC], bench.desk.state.account
    assert account.realised == position.realised == flow + position.cost
    assert account.fees == D("0.1") * len(left)
    assert (buys.cum_qty + sells.cum_qty) == sum((qty for _, qty, _ in left), ZERO)


def test_it_publishes_the_busted_fill_as_busted_and_what_others_realise_now(bench: Bench) -> None:
    played(bench)
    bust(bench, order_of(bench, 0), "f0")
    fills = {fill.exec_id: fill for fill in bench.published("fill")}
    assert {exec_id for exec_id, fill in fills.items() if fill.busted_at == bench.at} == {"f0"}
    assert fills["f2"].realised == D(6 * 120) - D(4 * 110) - D(2) * 120, "six sold, four of them bought before"


def test_it_publishes_a_corrected_fill_beside_the_one_it_corrects(bench: Bench) -> None:
    order = bench.buy("10")
    bench.fill(order, "10", "100", exec_id="a")
    correct(bench, order, "a", "9", "101", "b", leaves_qty=D(0))
    fills: dict[str, FillState] = {fill.exec_id: fill for fill in bench.published("fill")}
    assert fills["a"].busted_at == bench.at
    assert (fills["b"].last_qty, fills["b"].last_px, fills["b"].exec_ref_id, fills["b"].busted_at) == (9, 101, "a", None)


@pytest.mark.parametrize("ref", ["a", "b"])
def test_it_undoes_a_corrected_fill_under_its_old_name_and_its_new(bench: Bench, ref: str) -> None:
    order = bench.buy("10")
    bench.fill(order, "4", "100", exec_id="a")
    correct(bench, order, "a", "5", "100", "b")
    bust(bench, order, ref)
    expected = 5 if ref == "a" else 0
    assert order.cum_qty == bench.qty() == expected, "the old name was taken back already when it was corrected"


def test_it_takes_the_fee_back_or_charges_the_corrected_one(bench: Bench) -> None:
    order = bench.buy("10")
    bench.fill(order, "4", "100", exec_id="a", fee=D("0.4"), fee_currency="USDT")
    bench.fill(order, "4", "100", exec_id="b", fee=D("0.4"), fee_currency="BNB")
    correct(bench, order, "a", "4", "100", "c", fee=D("0.3"), fee_currency="USDT")
    bust(bench, order, "b")
    account = bench.desk.state.account
    assert (order.fees, account.fees, account.fees_other) == (D("0.3"), D("0.3"), {"BNB": 0})


# --- in any order, twice --------------------------------------------------------------------------------------------------------


def test_it_undoes_a_fill_once(bench: Bench) -> None:
    order = bench.buy("10")
    bench.fill(order, "4", exec_id="a")
    bust(bench, order, "a", "b1")
    digest = bench.desk.digest()
    bust(bench, order, "a", "b1")
    bust(bench, order, "a", "b2")
    bench.fill(order, "4", exec_id="a")
    assert (order.cum_qty, bench.qty(), bench.desk.digest()) == (0, 0, digest)


def test_it_does_not_book_a_fill_whose_bust_came_first(bench: Bench) -> None:
    order = bench.buy("10")
    bust(bench, order, "a")
    bench.fill(order, "4", exec_id="a")
    assert (order.cum_qty, bench.qty()) == (0, 0)


def test_it_books_a_correction_that_came_before_its_fill_as_the_fill(bench: Bench) -> None:
    order = bench.buy("10")
    correct(bench, order, "a", "5", "101", "c")
    bench.fill(order, "4", exec_id="a")
    assert (order.cum_qty, order.avg_px, bench.qty()) == (5, 101, 5)


@pytest.mark.parametrize(
    ("word", "qty", "ref"), [(X.TRADE_CANCEL, "4", ""), (X.TRADE_CORRECT, "0", "a"), (X.TRADE_CORRECT, "4", "")]
)
def test_it_changes_nothing_for_a_bust_that_names_no_fill_or_no_quantity(bench: Bench, word: ExecType, qty: str, ref: str) -> None:
    order = bench.buy("10")
    bench.fill(order, "4", exec_id="a")
    before = msgspec.msgpack.encode((order, bench.desk.state.positions))
    bench.report(order, word, qty, exec_id="z", exec_ref_id=ref)
    assert msgspec.msgpack.encode((order, bench.desk.state.positions)) == before
    assert "order" in bench.alarms()


def test_it_does_not_look_for_what_was_taken_back(bench: Bench) -> None:
    order = bench.buy("10")
    bench.fill(order, "4", exec_id="a")
    bench.fill(order, "2", exec_id="b")
    bust(bench, order, "a")
    bench.later(1)
    shown = bench.shown(order, cum_qty=D(6))
    before = bench.desk.state.timers["reconcile"]
    bench.reconcile(orders=(shown,))
    assert bench.desk.state.timers["reconcile"] == before, "the venue still counts the busted trade in its order"
    bench.reconcile(orders=(bench.shown(order, cum_qty=D(7)),))
    assert bench.desk.state.timers["reconcile"] < before


def test_it_says_when_a_fill_is_too_old_to_be_undone(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("execution.core.ledger._KEPT", 2)
    order = bench.buy("10")
    for exec_id in ("a", "b", "c"):
        bench.fill(order, "2", exec_id=exec_id)
    bust(bench, order, "a")
    assert (order.cum_qty, bench.qty(), bench.alarms()) == (6, 6, ["bust"])
    bust(bench, order, "b", "b2")
    assert (order.cum_qty, bench.qty()) == (4, 4)


def test_it_keeps_a_bounded_number_of_fills(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("execution.core.ledger._KEPT", 3)
    order = bench.buy("100")
    for n in range(20):
        bench.fill(order, "1", str(100 + n))
    ledger = bench.desk.state.ledgers[BTC]
    assert (len(ledger.fills), ledger.base.qty) == (3, 17)


def test_the_alarm_ends_when_the_venue_agrees(bench: Bench) -> None:
    order = bench.buy("10")
    bench.fill(order, "4", exec_id="a")
    bust(bench, order, "a")
    bench.later(1)
    bench.reconcile(positions={BTC: "4"})
    assert "bust" in bench.alarms()
    bench.later(1)
    bench.reconcile()
    assert bench.alarms() == []


# --- what follows ----------------------------------------------------------------------------------------------------------------


def test_it_opens_a_filled_order_again_and_asks_whether_it_works(bench: Bench) -> None:
    bench.armed("10")
    signal = bench.decide(decision(SignalKind.CLOSE))
    order = bench.desk.state.orders[signal.cl_ord_id]
    bench.fill(order, "10", exec_id="a")
    bust(bench, order, "a")
    assert (order.ord_status, order.leaves_qty) == (S.UNKNOWN, 10)
    assert [e.cl_ord_id for e in bench.all(QueryOrder)] == [order.cl_ord_id]
    assert not bench.decide(decision(SignalKind.BUY, "1", stop_loss=D(98))).is_approved


def test_it_leaves_an_order_over_that_the_venue_does_not_work_again(bench: Bench) -> None:
    order = bench.buy("10")
    bench.fill(order, "10", exec_id="a")
    bust(bench, order, "a", leaves_qty=D(0))
    assert (order.ord_status, order.leaves_qty, order.is_working) == (S.CANCELED, 0, False)


def test_it_leaves_a_canceled_order_canceled(bench: Bench) -> None:
    order = bench.buy("10")
    bench.fill(order, "4", exec_id="a")
    bench.report(order, X.CANCELED)
    bust(bench, order, "a", leaves_qty=D(0))
    assert (order.ord_status, order.cum_qty, order.leaves_qty) == (S.CANCELED, 0, 0)


def test_it_cancels_an_entry_that_works_again(bench: Bench) -> None:
    order = bench.buy("10")
    bench.fill(order, "10", exec_id="a")
    bust(bench, order, "a", leaves_qty=D(10))
    assert (order.ord_status, bench.canceled()[0]) == (S.PENDING_CANCEL, order.cl_ord_id)


def test_it_protects_less_after_an_entrys_bust(bench: Bench) -> None:
    entry = bench.buy("10")
    bench.fill(entry, "6", exec_id="a")
    bench.fill(entry, "4", exec_id="b")
    for leg in bench.working()[1:]:
        bench.ack(leg)
    bust(bench, entry, "b", leaves_qty=D(0))
    assert (bench.bracket(entry).open_qty, bench.bracket(entry).entry_qty) == (6, 6)


def test_it_protects_again_what_a_busted_exit_had_closed(bench: Bench) -> None:
    entry = bench.armed("10")
    signal = bench.decide(decision(SignalKind.CLOSE))
    order = bench.desk.state.orders[signal.cl_ord_id]
    bench.fill(order, "10", exec_id="a")
    for leg in bench.working():
        bench.report(leg, X.CANCELED)
    assert bench.bracket(entry).status is BracketStatus.CLOSED
    bust(bench, order, "a", leaves_qty=D(0))
    assert (bench.qty(), bench.bracket(entry).open_qty) == (10, 10)
    assert [o.order_qty for kind in bench.legs() for o in kind] == [10, 10]


def test_it_protects_again_what_a_busted_stop_had_closed(bench: Bench) -> None:
    entry = bench.armed("10")
    (stop,), (target,) = bench.legs()
    bench.fill(stop, "10", exec_id="s")
    bench.report(target, X.CANCELED)
    bust(bench, stop, "s", leaves_qty=D(0))
    assert (bench.qty(), bench.bracket(entry).open_qty, stop.ord_status) == (10, 10, S.CANCELED)
    assert [o.order_qty for kind in bench.legs() for o in kind] == [10, 10]


def test_a_position_that_a_bust_leaves_to_an_exit_is_nobodys_and_closed(bench: Bench) -> None:
    entry = bench.buy("10")
    bench.fill(entry, "10", exec_id="a")
    signal = bench.decide(decision(SignalKind.CLOSE))
    bench.fill(bench.desk.state.orders[signal.cl_ord_id], "10")
    bust(bench, entry, "a", leaves_qty=D(0))
    assert (bench.qty(), bench.desk.state.positions[BTC].bot) == (-10, EXTERNAL)
    assert "overshoot" in bench.alarms()
    assert bench.sent()[-1].approved.order_qty == 10


def test_a_loss_that_a_bust_uncovers_latches(bench: Bench) -> None:
    """Sold at 110 what was bought at 100: the sale is taken back when the price is 60, and the loss is there."""
    bench.fill(bench.buy("100"))
    signal = bench.decide(decision(SignalKind.CLOSE))
    order = bench.desk.state.orders[signal.cl_ord_id]
    bench.fill(order, "100", "110", exec_id="s")
    bench.mark(BTC, "60")
    assert not bench.desk.state.halts
    bust(bench, order, "s", leaves_qty=D(0))
    assert bench.desk.state.account.equity == 100_000 - 4000
    assert {halt.cause for halt in bench.desk.state.halts.values()} == {HaltCause.DAILY_LOSS}
