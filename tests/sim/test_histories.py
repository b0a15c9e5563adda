"""One history: the same every time, whatever is left out of it."""

from __future__ import annotations

from decimal import Decimal

import pytest

from execution.core import fills
from execution.core.messages import CommandKind
from execution.simulator.histories import happen, history_of
from execution.simulator.people import COMMANDS, NOT_ASKED
from execution.simulator.promises import NOTHING_LOST
from execution.simulator.running import seed_run
from execution.simulator.scene import scene_of
from execution.simulator.steps import steps_of


def test_it_gives_one_seed_one_history() -> None:
    once, again = (history_of(7, steps=150) for _ in range(2))
    assert once.world.rows.load(with_image=False) == again.world.rows.load(with_image=False)
    assert once.world.time.turns == again.world.time.turns
    assert len(once.world.venue.fills) > 0


def test_it_keeps_the_other_steps_when_some_are_left_out() -> None:
    scene = scene_of(7)
    steps = steps_of(scene, 150)
    assert steps_of(scene, 60) == steps[:60]
    rest = happen(scene, steps[::2])
    assert rest.broken is None


def test_it_knows_every_command() -> None:
    """A new kind of command is a row, or is named with the reason why not."""
    assert {*COMMANDS, *NOT_ASKED} == set(CommandKind)


def test_it_finds_the_shortest_history(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where fees are forgotten a single fill is enough; what it printed breaks the same promise again."""
    monkeypatch.setattr(fills, "charge", lambda *_, **__: Decimal(0))
    found = next(told for seed in range(1, 20) if (told := seed_run(seed, steps=150)).promise)
    assert found.promise == NOTHING_LOST
    assert len(found.steps) <= 5
    assert any("the brain decides to" in step for step in found.steps)
    again = seed_run(found.seed, steps=150, only=found.only)
    assert (again.promise, again.how) == (found.promise, found.how)
    monkeypatch.undo()
    assert seed_run(found.seed, steps=150, only=found.only).promise == ""
