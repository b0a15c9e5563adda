"""An eventually consistent venue: an answer may be older than what its stream has told, so one answer proves neither too much nor too little."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from execution.core.messages import CommandKind, ExecType, KillChoice, QueryOrder, QueryVenue
from risk.core.units import Scope, ScopeKind
from tests.core.builders import ACCOUNT, BTC, Bench, D
from tests.core.builders import settings as config

SETTLE = timedelta(seconds=10)


@pytest.fixture
def bench() -> Bench:
    return Bench(msgspec.structs.replace(config(), is_eventually_consistent=True))


def is_apart(bench: Bench) -> bool:
    return "discrepancy" in bench.alarms()


def test_it_does_not_quarrel_about_what_moved_a_moment_ago(bench: Bench) -> None:
    bench.fill(bench.buy("10"))
    bench.later(1)
    bench.reconcile(positions={})
    assert not is_apart(bench)
    bench.later(10)
    bench.reconcile(positions={})
    assert is_apart(bench)
    bench.reconcile(positions={BTC: "10"})
    assert not is_apart(bench)


def test_it_does_not_miss_an_order_that_the_venue_does_not_show_yet(bench: Bench) -> None:
    order = bench.buy("10")
    bench.ack(order)
    bench.later(1)
    bench.reconcile(orders=())
    assert bench.all(QueryOrder) == []
    bench.later(10)
    bench.reconcile(orders=())
    assert [asked.cl_ord_id for asked in bench.all(QueryOrder)] == [order.cl_ord_id]


def test_it_verifies_a_kill_by_two_answers_far_enough_apart(bench: Bench) -> None:
    order = bench.buy("10")
    bench.ack(order)
    bench.command(CommandKind.KILL, Scope(ScopeKind.ACCOUNT, ACCOUNT), halt_id="k1", choice=KillChoice.CANCEL)
    bench.report(order, ExecType.CANCELED)
    (command,) = bench.desk.state.commands.values()
    bench.reconcile(orders=())
    assert "asked once more" in command.steps[-1].text
    bench.later(9)
    bench.reconcile(orders=())
    assert list(bench.desk.state.commands.values()) == [command]
    bench.later(1)
    bench.reconcile(orders=())
    assert bench.desk.state.commands == {}
    assert command.text.startswith("Verified by the venue after 10.0 s")


def test_it_asks_the_second_time_by_itself_and_calls_no_help_meanwhile(bench: Bench) -> None:
    bench.command(CommandKind.KILL, Scope(ScopeKind.ACCOUNT, ACCOUNT), halt_id="k1", choice=KillChoice.CANCEL)
    bench.reconcile(orders=())
    bench.everything.clear()
    bench.wait(SETTLE.total_seconds())
    assert len([effect for effect in bench.everything if isinstance(effect, QueryVenue)]) == 1
    assert "kill" not in bench.alarms()


def test_it_begins_anew_when_something_shows_between_the_two(bench: Bench) -> None:
    order = bench.buy("10")
    bench.ack(order)
    shown = bench.shown(order)
    bench.command(CommandKind.KILL, Scope(ScopeKind.ACCOUNT, ACCOUNT), halt_id="k1", choice=KillChoice.CANCEL)
    bench.report(order, ExecType.CANCELED)
    bench.reconcile(orders=())
    bench.later(10)
    bench.reconcile(orders=(shown,))
    bench.later(10)
    bench.reconcile(orders=())
    assert len(bench.desk.state.commands) == 1
    bench.later(10)
    bench.reconcile(orders=())
    assert bench.desk.state.commands == {}


def test_it_takes_one_answer_where_answers_do_not_lag() -> None:
    bench = Bench()
    bench.fill(bench.buy("10"))
    bench.later(1)
    bench.reconcile(positions={BTC: "9"})
    assert is_apart(bench)
    assert bench.desk.state.positions[BTC].qty == D(10)
