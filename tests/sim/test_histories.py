"""One history: the same every time, whatever is left out of it."""

from __future__ import annotations

from execution.simulator.histories import happen, history_of
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
