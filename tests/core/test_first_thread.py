"""One trade from decision to a canceled sibling."""

from __future__ import annotations

from datetime import timedelta

from execution.core.brackets import BracketStatus
from execution.core.messages import ExecType, SendNewOrder
from execution.core.orders import OrdStatus
from tests.core.builders import BTC, Bench, D


def test_it_trades_from_decision_to_canceled_sibling() -> None:
    bench = Bench()
    entry = bench.buy("10")
    assert [e.cl_ord_id for e in bench.all(SendNewOrder)] == [entry.cl_ord_id]
    bench.ack(entry)
    bench.fill(entry, "10", "100")
    assert len(bench.sent()) == 2
    (stop,), (target,) = bench.legs()
    assert (stop.stop_px, stop.order_qty, target.price, target.order_qty) == (D(98), D(10), D(104), D(10))
    assert bench.bracket(entry).status is BracketStatus.ARMING
    bench.ack(stop)
    bench.ack(target)
    assert bench.bracket(entry).status is BracketStatus.ARMED
    bench.fill(target, px="104")
    assert bench.canceled() == [stop.cl_ord_id]
    assert bench.qty(BTC) == 0
    bench.report(stop, ExecType.CANCELED)
    assert stop.ord_status is OrdStatus.CANCELED
    assert bench.bracket(entry).status is BracketStatus.CLOSED
    assert bench.desk.state.account.equity == D(100_040)
    assert not bench.desk.state.alarms


def test_it_records_when_an_order_was_made_and_when_the_venue_took_it() -> None:
    """So that anybody can tell how long the venue took."""
    bench = Bench()
    made_at = bench.at
    entry = bench.buy("10")
    bench.later(0.2)
    bench.ack(entry)
    assert (entry.created_at, entry.accepted_at) == (made_at, made_at + timedelta(seconds=0.2))
