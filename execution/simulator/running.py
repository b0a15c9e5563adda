"""Many seeds on several processes: what each came to, and for those that broke a promise the shortest history that does."""

from __future__ import annotations

import gc
import multiprocessing
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Final

import django
import msgspec

from execution.simulator.histories import History, happen, shortest
from execution.simulator.scene import scene_of
from execution.simulator.steps import steps_of

#: histories between two collections of garbage, which is mostly tasks that ended
_COLLECT_EVERY: Final = 20


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What one seed came to, in plain values."""

    seed: int
    scene: str
    #: the promise that was broken and how; empty when all held
    promise: str = ""
    how: str = ""
    #: the shortest history that breaks it: numbers of its steps, and the steps in words
    only: tuple[int, ...] = ()
    steps: tuple[str, ...] = ()
    #: what happened, and what was looked at how often
    counts: dict[str, int] = {}
    checks: dict[str, int] = {}


def told(history: History, *, counted: History) -> Told:
    """A history in plain values. `counted` is the whole of which it is the shortest part."""
    world, broken = counted.world, history.broken
    counts = {
        "events": world.rows.seq,
        "orders": len(world.venue.orders),
        "fills": len(world.venue.fills),
        "engines": world.engines_born,
    }
    return Told(
        seed=history.scene.seed,
        scene=history.scene.told(),
        promise=broken.promise if broken else "",
        how=broken.told() if broken else "",
        only=tuple(step.n for step in history.steps) if broken else (),
        steps=tuple(step.told() for step in history.steps) if broken else (),
        counts=counts | dict(Counter(step.kind for step in counted.steps)),
        checks=dict(world.auditor.checks),
    )


def seed_run(seed: int, *, steps: int, only: Iterable[int] = (), shrinks: bool = True) -> Told:
    """One seed: its history, or only these steps of it."""
    scene, wanted = scene_of(seed), frozenset(only)
    whole = happen(scene, [step for step in steps_of(scene, steps) if not wanted or step.n in wanted])
    if whole.broken is None or wanted or not shrinks:
        return told(whole, counted=whole)
    return told(shortest(whole), counted=whole)


def seeds_run(seeds: Sequence[int], *, steps: int, workers: int = 1, shrinks: bool = True) -> Iterator[Told]:
    """All seeds, in their order, on so many processes."""
    if workers <= 1:
        yield from _share(seeds, steps, shrinks=shrinks)
        return
    # processes of their own from the beginning: whoever asks may have threads, and databases open
    context = multiprocessing.get_context("spawn")
    size = max(1, min(25, -(-len(seeds) // workers)))
    parts = [seeds[start : start + size] for start in range(0, len(seeds), size)]
    with ProcessPoolExecutor(workers, mp_context=context, initializer=django.setup) as pool:
        for part in pool.map(_part, [(part, steps, shrinks) for part in parts]):
            yield from part


def _part(job: tuple[Sequence[int], int, bool]) -> list[Told]:
    seeds, steps, shrinks = job
    return list(_share(seeds, steps, shrinks=shrinks))


def _share(seeds: Sequence[int], steps: int, *, shrinks: bool) -> Iterator[Told]:
    gc.disable()
    try:
        for n, seed in enumerate(seeds, start=1):
            yield seed_run(seed, steps=steps, shrinks=shrinks)
            if not n % _COLLECT_EVERY:
                gc.collect()
    finally:
        gc.enable()
