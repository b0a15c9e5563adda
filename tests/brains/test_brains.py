"""What every brain must do."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import execution.brains
from execution.brains import NoBrain, brain_of, brains, look, params_validated
from execution.brains.base import HOLD, Brain, SignalKind
from risk.core.units import Quote, Side
from tests.brains.builders import BTC, NOON, D, bars, brain, decisions, spoken, view

ALL = sorted(brains())
#: a market that swings far and slowly enough for any of them
SWINGS = [100 + 20 * math.sin(n / 12) + 3 * math.sin(n / 3) for n in range(600)]


FIFTEEN_LINES = """
from execution.brains.base import HOLD, Bar, Brain, Decision, View, entry
from risk.core.units import Side


class BuyDips(Brain):
    name = "buy_dips"
    summary = "Buys a bar that fell by drop_pct percent."
    PARAMS = {"drop_pct": ("1.0", "0.1", "50")}
    warm_up = 1

    def on_bar(self, bar: Bar, view: View) -> Decision:
        before, self.close = getattr(self, "close", bar.close), bar.close
        if not view.is_flat or bar.close > before * (1 - self.params["drop_pct"] / 100):
            return HOLD
        return entry(self.instrument, Side.BUY, bar.close, stop_away=1, target_away=1, note=f"fell from {before}")
"""


def test_it_finds_every_brain_by_its_file() -> None:
    assert ALL == ["channel_breakout", "ema_cross", "mean_reversion"]


def test_it_finds_a_brain_that_somebody_adds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fifteen lines of the README: one file, nothing to register."""
    (tmp_path / "buy_dips.py").write_text(FIFTEEN_LINES)
    monkeypatch.setattr(execution.brains, "__path__", [*execution.brains.__path__, str(tmp_path)])
    found = look().brains["buy_dips"]
    dips = found(BTC, {"drop_pct": D("1.0")})
    assert dips.warm_up == 1
    said = [dips.on_bar(bar, view()) for bar in bars([100, 99.5, 97])]
    assert spoken(said) == ["BUY"]
    assert (said[-1].stop_loss, said[-1].take_profit) == (D("96.0"), D("98.0"))
    assert dips.on_quote(Quote("BTCUSDT", D(1), D(2), D(1), NOON, NOON, NOON), view()) is HOLD


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("class Broken(\n", "SyntaxError: '(' was never closed (broken.py, line 1)"),
        ("import no_such_package\n", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("raise SystemExit(3)\n", "SystemExit: 3"),
        (FIFTEEN_LINES.replace("name = ", "other = "), "AttributeError: type object 'BuyDips' has no attribute 'name'"),
        (FIFTEEN_LINES.replace('"buy_dips"', '""'), "ValueError: a brain has a name and a summary"),
        (FIFTEEN_LINES.replace('"1.0"', '"0.01"'), "ValueError: drop_pct must be from 0.1 to 50, was 0.01."),
    ],
)
def test_it_leaves_a_file_out_that_cannot_be_used_and_says_why(
    code: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(code, tmp_path, monkeypatch)
    assert look().broken == {"broken.py": why}
    assert sorted(brains()) == ALL
    with pytest.raises(NoBrain, match=re.escape(f"broken.py cannot be used: {why}")):
        brain_of("broken")


def test_it_runs_neither_of_two_brains_of_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add(FIFTEEN_LINES.replace("buy_dips", "ema_cross"), tmp_path, monkeypatch)
    found = look()
    why = "ema_cross.py and broken.py have a brain “ema_cross” each"
    assert found.broken == {"ema_cross.py": why, "broken.py": why}
    assert sorted(found.brains) == ["channel_breakout", "mean_reversion"]


def add(code: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One file more, `broken.py`, for this test."""
    (folder / "broken.py").write_text(code)
    monkeypatch.setattr(execution.brains, "__path__", [*execution.brains.__path__, str(folder)])
    monkeypatch.setattr(execution.brains, "found", look)
    monkeypatch.delitem(sys.modules, "execution.brains.broken", raising=False)


def test_it_imports_no_brain_before_somebody_asks_for_one() -> None:
    """A brain that never returns from its import must not keep anybody from a kill."""
    asked = "import django; django.setup(); import sys, execution.management.commands.kill, execution.management.commands.status"
    told = "print(*(name for name in sys.modules if name.startswith('execution.brains.')))"
    environ = {**os.environ, "DJANGO_SETTINGS_MODULE": "tradingdesk.settings"}
    done = subprocess.run([sys.executable, "-c", f"{asked}; {told}"], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["execution.brains.base"]


@pytest.mark.parametrize("name", ALL)
def test_it_says_who_it_is(name: str) -> None:
    assert brain_of(name).name == name
    assert brain_of(name).summary.endswith(".")
    assert params_validated(name, {}) == {key: D(row[0]) for key, row in brain_of(name).PARAMS.items()}


@pytest.mark.parametrize("name", ALL)
def test_it_trades_both_ways_with_a_bracket_on_the_tick(name: str) -> None:
    said = [decision for decision in decisions(brain(name), bars(SWINGS)) if decision.signal is not SignalKind.HOLD]
    assert {decision.signal for decision in said} == {SignalKind.BUY, SignalKind.SELL}
    for decision in said:
        assert decision.note
        assert decision.stop_loss is not None
        assert decision.take_profit is not None
        assert decision.stop_loss % BTC.tick_size == decision.take_profit % BTC.tick_size == 0
        is_buy = decision.signal is SignalKind.BUY
        assert (decision.stop_loss < decision.take_profit) is is_buy


@pytest.mark.parametrize("name", ALL)
def test_it_buys_only_when_shorts_are_off(name: str) -> None:
    assert set(spoken(decisions(brain(name, shorts=0), bars(SWINGS)))) == {"BUY"}


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("seen", [view(entries_working=1), view("1"), view("-1")], ids=["on its way in", "long", "short"])
def test_it_adds_to_nothing(name: str, seen: object) -> None:
    assert set(spoken(decisions(brain(name), bars(SWINGS), seen))) <= {"CLOSE"}  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("position", ["1", "-1"])
def test_it_leaves_a_position(name: str, position: str) -> None:
    said = decisions(brain(name), bars(SWINGS), view(position))
    assert "CLOSE" in spoken(said)
    assert all(decision.note for decision in said if decision.signal is SignalKind.CLOSE)


@pytest.mark.parametrize("name", ALL)
def test_it_is_warm_when_it_says_so(name: str) -> None:
    """With fewer bars it holds; a market that never moves gives it nothing to say, and no division by zero."""
    trader = brain(name)
    assert spoken(trader.on_bar(bar, view()) for bar in bars(SWINGS[: trader.warm_up - 1])) == []
    assert spoken(decisions(brain(name), bars([100] * 200, reach=0))) == []


@pytest.mark.parametrize("name", ALL)
def test_it_remembers_a_bounded_past(name: str) -> None:
    """The same words as a twin that forgets nothing, over thousands of bars, with a bounded memory."""
    trader: Brain = brain(name)
    many = bars(SWINGS * 6)
    said = decisions(trader, many)
    kept = [value for value in vars(trader).values() if hasattr(value, "input_values")]
    assert kept
    assert all(len(value.input_values) <= 1200 for value in kept)
    half = brain(name)
    assert spoken(decisions(half, many[:1500])) == spoken(said[: 1500 - trader.warm_up])


@pytest.mark.parametrize(
    ("name", "params", "why"),
    [
        ("no_such", {}, "There is no brain “no_such” in execution/brains; there are channel_breakout, ema_cross, mean_reversion."),
        ("ema_cross", {"fats": 3}, "The brain “ema_cross” has no parameter “fats”; it has fast, slow,"),
        ("ema_cross", {"fast": 1}, "fast must be from 2 to 400, was 1."),
        ("ema_cross", {"fast": 2.5}, "fast must be a whole number, was 2.5."),
        ("ema_cross", {"fast": "soon"}, "fast must be a number, was “soon”."),
        ("ema_cross", {"stop_atr": "NaN"}, "stop_atr must be from 0.1 to 50, was NaN."),
        ("ema_cross", {"fast": 30, "slow": 20}, "fast must be below slow."),
        ("mean_reversion", {"middle": 20}, "middle must lie between low and high."),
        ("channel_breakout", {"channel": 5, "exit_channel": 6}, "exit_channel must not be longer than channel."),
    ],
)
def test_it_refuses_wrong_parameters_in_one_sentence(name: str, params: dict[str, object], why: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(why)}"):
        params_validated(name, params)


@pytest.mark.parametrize(
    ("side", "price", "away", "stop", "target"),
    [
        (Side.BUY, "100", 2.3, "98.0", "102.5"),
        (Side.SELL, "100", 2.3, "102.0", "97.5"),
        (Side.BUY, "100", 0.0, "99.5", "100.5"),
    ],
)
def test_it_rounds_a_stop_towards_and_a_target_away(side: Side, price: str, away: float, stop: str, target: str) -> None:
    decision = execution.brains.base.entry(BTC, side, D(price), stop_away=away, target_away=away, note="why")
    assert (decision.stop_loss, decision.take_profit) == (D(stop), D(target))
