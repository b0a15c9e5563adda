"""Histories: one seed, one history, always the same; and the shortest part of it that still breaks the promise."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import NamedTuple

from execution.simulator.auditor import Broken
from execution.simulator.market import puppets
from execution.simulator.scene import Scene, scene_of
from execution.simulator.steps import KINDS, Step, steps_of
from execution.simulator.world import World


class History(NamedTuple):
    """What happened: the world as it stands, and the promise it broke, if any."""

    scene: Scene
    steps: tuple[Step, ...]
    world: World

    @property
    def broken(self) -> Broken | None:
        return self.world.auditor.broken


def happen(scene: Scene, steps: Iterable[Step]) -> History:
    """Let these steps happen in this scene."""
    steps = tuple(steps)
    with puppets() as strings:
        world = World(scene, strings)
        world.run([(step.at, partial(KINDS[step.kind].do, **step.args)) for step in steps])
    return History(scene, steps, world)


def history_of(seed: int, *, steps: int) -> History:
    """The history of a seed."""
    scene = scene_of(seed)
    return happen(scene, steps_of(scene, steps))
