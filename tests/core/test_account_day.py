"""The account's day: where its baseline stands, what trips its latches, and what clearing, editing and midnight do to them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from execution.core.messages import CommandKind, SettingsChanged
from risk.core.units import NO_LIMIT
from risk.core.verdict import HaltCause
from tests.core.builders import BTC, Bench, D, settings

MIDNIGHT = datetime(2026, 1, 6, tzinfo=UTC)
FREE: dict[str, Any] = {"daily_loss_pct": NO_LIMIT, "drawdown_pct": NO_LIMIT}


def holding(**limits: Any) -> Bench:
    """Long 100 at 100, of 100,000, with both legs working."""
    bench = Bench(settings(limits=FREE | limits))
    bench.armed("100")
    return bench


def causes(bench: Bench) -> list[HaltCause]:
    return [halt.cause for halt in bench.desk.state.halts.values()]


def edit(bench: Bench, **limits: Any) -> None:
    bench.take(SettingsChanged(at=bench.at, settings=settings(version=2, limits=FREE | limits)))


def test_it_begins_a_day_with_the_equity_that_stood_at_midnight() -> None:
    bench = holding()
    bench.mark(BTC, "99")
    bench.wait((MIDNIGHT - bench.at).total_seconds())
    account = bench.desk.state.account
    assert (account.day_start_at, account.day_start_equity) == (MIDNIGHT, D(99_900))


@pytest.mark.parametrize("first", ["mark", "fill"])
def test_it_counts_the_first_loss_after_a_silent_midnight_in_the_new_day(first: str) -> None:
    bench = holding(daily_loss_pct=D(1))
    bench.at = MIDNIGHT.replace(hour=9)
    if first == "mark":
        bench.mark(BTC, "89")
    else:
        stop = bench.legs()[0][0]
        bench.fill(stop, px="89")
    account = bench.desk.state.account
    assert (account.equity, account.day_start_equity) == (D(98_900), D(100_000))
    assert causes(bench) == [HaltCause.DAILY_LOSS]


@pytest.mark.parametrize(("cause", "field"), [(HaltCause.DAILY_LOSS, "daily_loss_pct"), (HaltCause.DRAWDOWN, "drawdown_pct")])
def test_it_trips_at_the_limit_and_stays_through_a_recovery(cause: HaltCause, field: str) -> None:
    bench = holding(**{field: D(1)})
    bench.mark(BTC, "90.01")
    assert causes(bench) == []
    bench.mark(BTC, "90")
    bench.mark(BTC, "120")
    assert causes(bench) == [cause]


@pytest.mark.parametrize("field", ["daily_loss_pct", "drawdown_pct"])
def test_it_judges_an_edited_limit_at_once_and_lets_only_a_person_clear(field: str) -> None:
    bench = holding()
    bench.mark(BTC, "90")
    edit(bench, **{field: D("1.01")})
    assert causes(bench) == []
    edit(bench, **{field: D(1)})
    assert len(causes(bench)) == 1
    edit(bench, **{field: D(5)})
    assert len(causes(bench)) == 1


def test_it_measures_a_drawdown_from_the_peak_across_days() -> None:
    bench = holding(drawdown_pct=D(2))
    bench.mark(BTC, "120")
    bench.wait(3 * 86_400)
    bench.mark(BTC, "99.61")
    assert causes(bench) == []
    bench.mark(BTC, "99.6")
    assert causes(bench) == [HaltCause.DRAWDOWN]
    assert bench.desk.state.account.peak_equity == 102_000


@pytest.mark.parametrize("resumes", [True, False])
def test_it_lets_a_daily_loss_go_at_midnight_only_where_a_person_chose_so(resumes: bool) -> None:
    bench = holding(daily_loss_pct=D(1), resume_at_rollover=resumes)
    bench.mark(BTC, "90")
    bench.wait((MIDNIGHT - bench.at).total_seconds() + 1)
    assert causes(bench) == ([] if resumes else [HaltCause.DAILY_LOSS])
    bench.mark(BTC, "80.11")
    assert len(causes(bench)) == 1 - resumes
    bench.mark(BTC, "80.1")
    assert len(causes(bench)) == 1


def test_it_keeps_a_drawdown_through_midnight_whatever_was_chosen() -> None:
    bench = holding(drawdown_pct=D(1), resume_at_rollover=True)
    bench.mark(BTC, "90")
    bench.wait(86_400)
    assert causes(bench) == [HaltCause.DRAWDOWN]


@pytest.mark.parametrize(("field", "what"), [("daily_loss_pct", "The day's loss"), ("drawdown_pct", "The drawdown")])
@pytest.mark.parametrize("is_limit_raised", [True, False])
def test_it_keeps_the_baseline_where_a_person_says_so(field: str, what: str, is_limit_raised: bool) -> None:
    bench = holding(**{field: D(1)})
    bench.mark(BTC, "90")
    (halt,) = bench.desk.state.halts.values()
    if is_limit_raised:
        edit(bench, **{field: D(2)})
    answer = bench.command(CommandKind.CLEAR, halt.scope, halt_id=halt.halt_id, keeps_baseline=True)
    assert f"{what} still counts from 100,000." in answer.text
    losses = [h for h in bench.desk.state.halts.values() if h.cause is halt.cause]
    assert [h.halt_id != halt.halt_id for h in losses] == ([] if is_limit_raised else [True])


@pytest.mark.parametrize("field", ["daily_loss_pct", "drawdown_pct"])
def test_it_starts_a_new_baseline_when_a_person_clears(field: str) -> None:
    bench = holding(**{field: D(1)})
    bench.mark(BTC, "90")
    (halt,) = bench.desk.state.halts.values()
    answer = bench.command(CommandKind.CLEAR, halt.scope, halt_id=halt.halt_id)
    assert "counts from 99,000 now" in answer.text
    bench.mark(BTC, "85")
    losses = {HaltCause.DAILY_LOSS, HaltCause.DRAWDOWN}
    assert not losses & set(causes(bench))
    bench.mark(BTC, "80")
    assert losses & set(causes(bench))
