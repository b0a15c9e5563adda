"""What each brain trades on, in bars small enough to do by hand."""

from __future__ import annotations

import pytest

from execution.core.messages import Decision, Twap
from tests.brains.builders import D, bars, brain, decisions, spoken, view

FALLS_THEN_JUMPS = [110, 109, 108, 107, 106, 105, 120]
SINKS = [100, 101, 100, 101, 100, 99, 98, 97, 96, 95]


def last(said: list[Decision]) -> Decision:
    return [decision for decision in said if decision.signal != "HOLD"][-1]


def test_it_buys_when_the_fast_average_crosses_above() -> None:
    """Closes 105 and 120: the mean of the last two, then weighted 2/3, stands above the same of four."""
    said = decisions(brain("ema_cross", fast=2, slow=4, atr=2), bars(FALLS_THEN_JUMPS))
    assert spoken(said) == ["BUY"]
    assert last(said).note == "fast 115.16667 crossed slow 111.9"


def test_it_brackets_by_the_true_range() -> None:
    """True ranges are 2 a bar and 16 on the jump: smoothed over two bars (2 + 16) / 2 = 9; stop 2 × 9 below 120, target 3 × 9 above."""
    said = last(decisions(brain("ema_cross", fast=2, slow=4, atr=2), bars(FALLS_THEN_JUMPS)))
    assert (said.stop_loss, said.take_profit) == (D(102), D(147))


#: the same jump in each brain's own terms, with an average true range of 9
JUMPS = {"ema_cross": {"fast": 2, "slow": 4}, "channel_breakout": {"channel": 4, "exit_channel": 2}}


@pytest.mark.parametrize("name", JUMPS)
def test_it_trails_limits_and_times_its_stop_where_that_is_wanted(name: str) -> None:
    """By the same range of 9: the stop trails 13.5 behind, its limit lies 2.25 behind its trigger, which is 2 on the grid of 0.5."""
    wants = {"target_atr": 0, "trail_atr": 1.5, "stop_limit_atr": 0.25, "time_limit_bars": 20}
    said = last(decisions(brain(name, atr=2, **JUMPS[name], **wants), bars(FALLS_THEN_JUMPS)))
    assert (said.trail_offset, said.stop_limit_offset, said.time_limit_s) == (D("13.5"), D("2.0"), 20 * 60)
    assert (said.stop_loss, said.take_profit) == (D(102), None)


@pytest.mark.parametrize("name", JUMPS)
def test_it_enters_in_slices_where_that_is_wanted(name: str) -> None:
    wants = {"twap_slices": 6, "twap_interval_s": 10}
    assert last(decisions(brain(name, atr=2, **JUMPS[name], **wants), bars(FALLS_THEN_JUMPS))).twap == Twap(D(60), D(10))


def test_it_wants_none_of_that_unasked() -> None:
    said = last(decisions(brain("mean_reversion", rsi=3, atr=2), bars(SINKS)))
    assert (said.trail_offset, said.stop_limit_offset, said.time_limit_s, said.twap) == (None, None, None, None)


def test_it_is_a_tick_away_at_the_least() -> None:
    said = last(decisions(brain("mean_reversion", rsi=3, atr=2, trail_atr=0.01), bars(SINKS)))
    assert said.trail_offset == D("0.5")


def test_it_closes_on_the_cross_against_it() -> None:
    said = decisions(brain("ema_cross", fast=2, slow=4, atr=2), bars(FALLS_THEN_JUMPS), view("-1"))
    assert spoken(said) == ["CLOSE"]
    assert last(said).note.startswith("fast 115.16667 crossed")


def test_it_buys_what_fell_below_its_low_mark_once() -> None:
    said = decisions(brain("mean_reversion", rsi=3, atr=2), bars(SINKS))
    assert spoken(said) == ["BUY"]
    assert "fell below 30.0" in last(said).note


def test_it_closes_when_the_index_is_back_in_the_middle() -> None:
    trader = brain("mean_reversion", rsi=3, atr=2)
    said = decisions(trader, bars([*SINKS, 99, 103]), view("1"))
    assert [decision.signal.value for decision in said][-2:] == ["CLOSE", "CLOSE"]
    assert "is back at 50.0" in last(said).note


def test_it_asks_once_for_an_exit_that_is_on_its_way() -> None:
    said = decisions(brain("mean_reversion", rsi=3, atr=2), bars([*SINKS, 99, 103]), view("1", exits_working=1))
    assert spoken(said) == []


RANGE = [100, 102, 101, 100, 102, 101]


@pytest.mark.parametrize(
    ("close", "expected", "note"),
    [
        (103, [], ""),
        (103.5, ["BUY"], "close 103.5 broke the high 103"),
        (98.5, ["SELL"], "close 98.5 broke the low 99"),
        (99, [], ""),
    ],
)
def test_it_enters_beyond_the_channel_of_the_bars_before(close: float, expected: list[str], note: str) -> None:
    said = decisions(brain("channel_breakout", channel=4, exit_channel=2, atr=2), bars([*RANGE, close]))
    assert spoken(said) == expected
    assert not expected or last(said).note == note


@pytest.mark.parametrize(
    ("position", "close", "expected"),
    [("1", 99.4, []), ("1", 98.9, []), ("1", 98.4, ["CLOSE"]), ("-1", 103.5, []), ("-1", 103.6, ["CLOSE"])],
)
def test_it_leaves_through_the_shorter_channel(position: str, close: float, expected: list[str]) -> None:
    trader = brain("channel_breakout", channel=4, exit_channel=4, atr=2)
    assert spoken(decisions(trader, bars([*RANGE, close], reach=1.5), view(position))) == expected
