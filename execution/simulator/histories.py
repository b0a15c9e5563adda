"""Histories: one seed, one history, always the same; and the shortest part of it that still breaks the promise."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

from execution.simulator.market import puppets
from execution.simulator.promises import Broken
from execution.simulator.scene import Scene, scene_of
from execution.simulator.steps import KINDS, Step, steps_of
from execution.simulator.world import Act, World


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
    return History(scene, steps, played(scene, [(step.at, partial(KINDS[step.kind].do, **step.args)) for step in steps]))


def played(scene: Scene, acts: Sequence[Act]) -> World:
    """The world of this scene after these acts, however it ended."""
    with puppets() as strings, _silence():
        world = World(scene, strings)
        world.run(acts)
        world.close()
    return world


@contextmanager
def _silence() -> Iterator[None]:
    """What engines log of a hostile world is no news."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def history_of(seed: int, *, steps: int) -> History:
    """The history of a seed."""
    scene = scene_of(seed)
    return happen(scene, steps_of(scene, steps))


def shortest(history: History, *, runs_max: int = 400) -> History:
    """The shortest part of the history that still breaks the same promise, found by leaving out ever smaller pieces.

    Delta debugging (Zeller and Hildebrandt, 2002), on complements only: steps do not depend on each other.
    """
    assert history.broken is not None
    promise, best, runs = history.broken.promise, history, 0
    pieces = 2
    while runs < runs_max and len(best.steps) > 1:
        found = None
        for part in _without(best.steps, pieces):
            runs += 1
            tried = happen(history.scene, part)
            if tried.broken is not None and tried.broken.promise == promise:
                found = tried
                break
            if runs >= runs_max:
                break
        if found is not None:
            best, pieces = found, max(pieces - 1, 2)
        elif pieces >= len(best.steps):
            break
        else:
            pieces = min(pieces * 2, len(best.steps))
    return best


def _without(steps: tuple[Step, ...], pieces: int) -> Iterator[tuple[Step, ...]]:
    """The steps without one of so many pieces, the last one first: what came later is needed least."""
    size = -(-len(steps) // pieces)
    for start in range((len(steps) - 1) // size * size, -1, -size):
        yield steps[:start] + steps[start + size :]
