"""One booking source per venue: trade ids, or cumulative quantity, never both."""

# mypy: disable-error-code="comparison-overlap"
from __future__ import annotations

from typing import Any

import msgspec
import pytest

from execution.core.messages import BooksBy, ExecType, OrderFound, QueryOrder, Reported, VenueFill
from execution.core.orders import OrderState, OrdStatus
from risk.core.book import EXTERNAL
from risk.core.units import Side
from tests.core.builders import BTC, NOON, Bench, D
from tests.core.builders import settings as config

X = ExecType


@pytest.fixture
def by_trade() -> Bench:
    return Bench()


@pytest.fixture
def by_cum() -> Bench:
    return Bench(msgspec.structs.replace(config(), books_by=BooksBy.CUM_QTY))


def filled(bench: Bench, order: OrderState, cum: str, **fields: Any) -> None:
    bench.report(order, X.TRADE, **{"exec_id": "", "cum_qty": D(cum), **fields})


def from_history(order: OrderState, **changes: Any) -> VenueFill:
    fields: dict[str, Any] = {
        "cl_ord_id": order.cl_ord_id,
        "order_id": "v1",
        "exec_id": "t1",
        "symbol": order.symbol,
        "side": order.side,
        "last_qty": D(4),
        "last_px": D(100),
        "fee": D(0),
        "fee_currency": "USDT",
        "liquidity": "TAKER",
        "transact_at": NOON,
    }
    return VenueFill(**(fields | changes))


# --- trade ids -----------------------------------------------------------------------------------------------------------------


def test_it_asks_for_the_id_of_a_fill_that_has_none(by_trade: Bench) -> None:
    order = by_trade.buy("10")
    filled(by_trade, order, "4", last_qty=D(4))
    assert (order.cum_qty, [e.cl_ord_id for e in by_trade.all(QueryOrder)]) == (0, [order.cl_ord_id])
    found = OrderFound(at=by_trade.at, cl_ord_id=order.cl_ord_id, asked_at=by_trade.at, order=None, fills=(from_history(order),))
    by_trade.take(found)
    assert (order.cum_qty, order.exec_ids) == (4, ["t1"])


def test_it_books_trades_whatever_the_venue_counts(by_trade: Bench) -> None:
    order = by_trade.buy("10")
    by_trade.report(order, X.TRADE, "4", exec_id="a", cum_qty=D(9))
    assert order.cum_qty == 4


def test_a_snapshot_books_nothing_and_asks_for_the_fills(by_trade: Bench, by_cum: Bench) -> None:
    for bench in (by_trade, by_cum):
        order = bench.buy("10")
        bench.ack(order)
        bench.report(order, X.STATUS, cum_qty=D(4))
        assert (order.cum_qty, bench.qty(), [e.cl_ord_id for e in bench.all(QueryOrder)]) == (0, 0, [order.cl_ord_id])
        bench.report(order, X.STATUS, cum_qty=D(0))
        assert bench.effects == ()


# --- cumulative quantity -------------------------------------------------------------------------------------------------------


def test_it_books_what_the_venue_has_more(by_cum: Bench) -> None:
    order = by_cum.buy("10")
    filled(by_cum, order, "4", last_qty=D(4), last_px=D(100))
    filled(by_cum, order, "10", last_qty=D(6), last_px=D(101))
    assert (order.ord_status, order.cum_qty, order.avg_px) == (OrdStatus.FILLED, 10, D("100.6"))
    assert order.exec_ids == [f"cum:{order.cl_ord_id}:4", f"cum:{order.cl_ord_id}:10"]


def test_it_books_once_whatever_the_trades_are_called_and_in_any_order(by_cum: Bench) -> None:
    order = by_cum.buy("10")
    filled(by_cum, order, "7", exec_id="b", last_qty=D(3), last_px=D(101), avg_px=D("100.5"))
    assert (order.cum_qty, order.avg_px) == (7, D("100.5")), "the report of the first four is lost or late"
    digest = by_cum.desk.digest()
    filled(by_cum, order, "4", exec_id="a", last_qty=D(4))
    filled(by_cum, order, "7.0", exec_id="c", last_qty=D(3))
    assert (order.cum_qty, by_cum.qty(), by_cum.desk.digest()) == (7, 7, digest)


def test_it_never_books_by_trades_there(by_cum: Bench) -> None:
    order = by_cum.buy("10")
    by_cum.report(order, X.TRADE, "4", exec_id="a")
    assert (order.cum_qty, [e.cl_ord_id for e in by_cum.all(QueryOrder)]) == (0, [order.cl_ord_id])
    by_cum.take(OrderFound(at=by_cum.at, cl_ord_id=order.cl_ord_id, asked_at=by_cum.at, order=None, fills=(from_history(order),)))
    assert (order.cum_qty, by_cum.all(QueryOrder)) == (0, []), "and does not ask for ever"
    counted = from_history(order, exec_id="", cum_qty=D(4), avg_px=D(100))
    by_cum.take(OrderFound(at=by_cum.at, cl_ord_id=order.cl_ord_id, asked_at=by_cum.at, order=None, fills=(counted,)))
    assert (order.cum_qty, order.exec_ids) == (4, [f"cum:{order.cl_ord_id}:4"])


def test_it_books_the_same_quantity_again_after_a_bust(by_cum: Bench) -> None:
    order = by_cum.buy("10")
    filled(by_cum, order, "4", last_qty=D(4))
    by_cum.report(order, X.TRADE_CANCEL, exec_id="", exec_ref_id=f"cum:{order.cl_ord_id}:4")
    assert order.cum_qty == 0
    filled(by_cum, order, "4", last_qty=D(4))
    assert (order.cum_qty, by_cum.qty(), len(set(order.exec_ids))) == (4, 4, 2)


@pytest.mark.parametrize("books_by", list(BooksBy))
def test_it_makes_no_order_of_a_foreign_fill_that_it_cannot_book(books_by: BooksBy) -> None:
    bench = Bench(msgspec.structs.replace(config(), books_by=books_by))
    wrong = {"exec_id": "f1"} if books_by is BooksBy.CUM_QTY else {"cum_qty": D(2)}
    fields: dict[str, Any] = {"symbol": BTC, "side": Side.BUY, "last_qty": D(2), "last_px": D(100)}
    bench.take(Reported(at=bench.at, cl_ord_id="foreign", exec_type=X.TRADE, **(fields | wrong)))
    bench.wait(6)
    assert (bench.qty(), bench.desk.state.orders) == (0, {})
    bench.take(Reported(at=bench.at, cl_ord_id="foreign", exec_type=X.TRADE, exec_id="f1", cum_qty=D(2), **fields))
    bench.wait(6)
    assert (bench.qty(), bench.desk.state.positions[BTC].bot) == (2, EXTERNAL)
