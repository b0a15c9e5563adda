"""Disagreements with the venue: shown with both numbers and their age, ended by agreement or by a person, never silently."""

# mypy: disable-error-code="comparison-overlap, unreachable"
from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from execution.core.controls import DiscrepancyState
from execution.core.desk import Desk
from execution.core.messages import CommandKind, CommandStatus, QueryVenue, SendFailed, SendOutcome, SignalKind
from execution.core.state import DeskState
from risk.core.book import EXTERNAL
from risk.core.verdict import Reason
from tests.core.builders import BTC, Bench, D, decision


@pytest.fixture
def bench() -> Bench:
    """Ten are open here, and the venue shows eight."""
    bench = Bench()
    bench.armed("10")
    bench.mark(BTC, "100")
    bench.later(1)
    bench.reconcile(positions={BTC: "8"})
    return bench


def shown(bench: Bench) -> list[DiscrepancyState]:
    found: list[DiscrepancyState] = bench.published("discrepancy")
    return found


def entry_reason(bench: Bench) -> Reason | None:
    bench.mark(BTC, "100")
    return bench.decide(decision(SignalKind.BUY, "1", stop_loss=D(98))).reason


def test_it_keeps_both_numbers_and_since_when(bench: Bench) -> None:
    (found,) = shown(bench)
    since = bench.at
    assert (found.ours, found.theirs, found.since, found.seen_at, found.ended) == (10, 8, since, since, "")
    bench.later(30)
    bench.reconcile(positions={BTC: "7"})
    (found,) = shown(bench)
    assert (found.ours, found.theirs, found.since, found.seen_at) == (10, 7, since, bench.at)
    assert bench.desk.state.alarms[f"discrepancy:{BTC}"].cause == "Ours is 10, the venue's 7."


def test_it_ends_when_both_agree(bench: Bench) -> None:
    bench.later(30)
    bench.reconcile()
    (found,) = shown(bench)
    assert (found.ended, found.ended_at, bench.desk.state.discrepancies, bench.alarms()) == ("the venue agrees", bench.at, {}, [])


@pytest.mark.parametrize(("theirs", "realised"), [("8", 20), ("12", 0), ("0", 100), ("-2", 100)])
def test_it_adopts_what_the_venue_holds_at_the_mark(theirs: str, realised: int) -> None:
    bench = Bench()
    bench.armed("10")
    bench.mark(BTC, "110")
    bench.later(1)
    bench.reconcile(positions={BTC: theirs})
    equity = bench.desk.state.account.equity
    answer = bench.command(CommandKind.ADOPT, target=BTC, reason="filled while we were away")
    assert answer.status is CommandStatus.DONE, answer.text
    account, position = bench.desk.state.account, bench.desk.state.positions[BTC]
    assert (position.qty, account.realised, account.equity) == (D(theirs), realised, equity), "adopting wins and loses nothing"
    assert not position.qty or position.bot == EXTERNAL
    assert len(bench.all(QueryVenue)) == 1
    (ended,) = shown(bench)
    assert ended.ended == "adopted by alice: filled while we were away"
    assert [fill.exec_id for fill in bench.published("fill")] == [f"adopted:{answer.command_id}"]
    bench.later(1)
    bench.reconcile()
    assert (bench.desk.state.account.reconciled_text, bench.desk.state.discrepancies) == ("agrees", {})


def test_its_brackets_protect_no_more_than_it_adopted(bench: Bench) -> None:
    bench.command(CommandKind.ADOPT, target=BTC)
    assert sum((b.open_qty for b in bench.desk.state.brackets.values()), D(0)) == 8


def test_it_ignores_exactly_this_difference(bench: Bench) -> None:
    answer = bench.command(CommandKind.IGNORE, target=BTC, reason="staked")
    assert (answer.status, bench.alarms()) == (CommandStatus.DONE, [])
    assert shown(bench)[0].ended == "ignored by alice: staked"
    bench.wait(11)
    bench.reconcile(positions={BTC: "8"})
    assert (bench.alarms(), bench.desk.state.account.reconciled_text) == ([], "BTCUSDT differs and is ignored")
    assert entry_reason(bench) is None
    bench.later(1)
    bench.reconcile(positions={BTC: "7"})
    assert (bench.alarms(), entry_reason(bench)) == (["discrepancy"], Reason.NOT_READY)
    bench.later(1)
    bench.reconcile(positions={BTC: "8"})
    assert bench.alarms() == ["discrepancy"], "what was ignored is not ignored again"


def test_it_forgets_what_it_ignored_when_both_agree(bench: Bench) -> None:
    bench.command(CommandKind.IGNORE, target=BTC)
    bench.later(1)
    bench.reconcile()
    bench.later(1)
    bench.reconcile(positions={BTC: "8"})
    assert bench.alarms() == ["discrepancy"]


@pytest.mark.parametrize("kind", [CommandKind.ADOPT, CommandKind.IGNORE])
def test_it_settles_only_what_stands(bench: Bench, kind: CommandKind) -> None:
    def refusal(symbol: str = BTC) -> str:
        before = msgspec.msgpack.encode(bench.desk.state.positions)
        answer = bench.command(kind, target=symbol)
        assert answer.status is CommandStatus.REFUSED
        assert msgspec.msgpack.encode(bench.desk.state.positions) == before
        return answer.text

    assert refusal("ETHUSDT") == "The venue does not disagree about ETHUSDT."
    bench.fill(bench.legs()[0][0], "1")
    assert refusal() == "BTCUSDT moved since the venue was asked. Ask it again first."


@pytest.mark.parametrize("theirs", ["8", "12"])
def test_it_flattens_what_the_venue_holds(theirs: str) -> None:
    """Of a symbol that is in doubt nothing is left: the venue's quantity is believed, then closed, and no more than that."""
    bench = Bench()
    bench.armed("10")
    bench.mark(BTC, "100")
    bench.later(1)
    bench.reconcile(positions={BTC: theirs})
    answer = bench.command(CommandKind.FLATTEN, target=BTC)
    assert answer.status is CommandStatus.DONE, answer.text
    assert answer.text.startswith("Booked for EXTERNAL: 2 BTCUSDT")
    assert f"Selling {theirs} BTCUSDT at market" in answer.text
    assert bench.qty() == D(theirs)
    assert bench.desk.state.discrepancies == {}
    assert not bench.desk.state.commands, "it is done at once, and verified by the next comparison"


def test_it_closes_nothing_where_the_venue_holds_nothing(bench: Bench) -> None:
    bench.later(1)
    bench.reconcile(positions={})
    answer = bench.command(CommandKind.FLATTEN, target=BTC)
    assert (answer.status, bench.qty(), bench.exits()) == (CommandStatus.DONE, 0, [])


def test_it_closes_nothing_that_it_cannot_adopt(bench: Bench) -> None:
    """Selling ours while the venue holds less would go through zero."""
    bench.command(CommandKind.CLOSE, target=BTC)
    (order,) = bench.exits()
    bench.take(SendFailed(at=bench.at, cl_ord_id=order.cl_ord_id, outcome=SendOutcome.UNKNOWN))
    answer = bench.command(CommandKind.FLATTEN, target=BTC)
    assert (answer.status, bench.qty(), bench.exits()) == (CommandStatus.REFUSED, 10, [order])


def test_it_adopts_nothing_that_an_unanswered_order_may_explain(bench: Bench) -> None:
    bench.command(CommandKind.CLOSE, target=BTC)
    (order,) = bench.exits()
    bench.take(SendFailed(at=bench.at, cl_ord_id=order.cl_ord_id, outcome=SendOutcome.UNKNOWN))
    answer = bench.command(CommandKind.ADOPT, target=BTC)
    assert (answer.status, bench.qty()) == (CommandStatus.REFUSED, 10)
    assert answer.text == "An order of BTCUSDT was not answered and may explain the difference. Ask again when it is known."


def test_it_adopts_nothing_without_a_price() -> None:
    bench = Bench()
    bench.reconcile(positions={BTC: "3"})
    answer = bench.command(CommandKind.ADOPT, target=BTC)
    assert (answer.status, answer.text.partition(",")[0]) == (CommandStatus.REFUSED, "BTCUSDT has no price yet")


def test_it_remembers_after_a_restart(bench: Bench) -> None:
    bench.command(CommandKind.IGNORE, target=BTC)
    state = msgspec.msgpack.decode(msgspec.msgpack.encode(bench.desk.state), type=DeskState)
    bench.desk = Desk(state)
    assert state.ignored == {BTC: Decimal(-2)}
    bench.later(1)
    bench.reconcile(positions={BTC: "8"})
    assert "discrepancy" not in bench.alarms()
