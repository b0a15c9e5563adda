"""A thousand histories of three hundred steps: whole engines, a hostile venue, crashes at every turn, and no promise broken."""

from __future__ import annotations

from collections import Counter

import pytest

from execution.simulator.promises import PROMISES
from execution.simulator.running import Told, seeds_run
from execution.simulator.steps import KINDS

SEEDS = range(1, 1001)
STEPS = 300


@pytest.fixture(scope="module")
def histories() -> list[Told]:
    return list(seeds_run(SEEDS, steps=STEPS, workers=2))


@pytest.mark.xdist_group("simulator")
def test_it_keeps_every_promise(histories: list[Told]) -> None:
    broken = ["\n".join([f"seed {told.seed}: {told.how}", told.scene, *told.steps]) for told in histories if told.promise]
    assert not broken, "\n\n".join(broken)


@pytest.mark.xdist_group("simulator")
def test_it_does_everything_it_can_do(histories: list[Told]) -> None:
    """A kind of step that never happens, a promise that is never looked at, would prove nothing."""
    happened, looked_at = Counter[str](), Counter[str]()
    for told in histories:
        happened.update(told.counts)
        looked_at.update(told.checks)
    assert [kind for kind in KINDS if not happened[kind]] == []
    assert [promise for promise in PROMISES if not looked_at[promise]] == []
    assert happened["fills"] > 10 * len(SEEDS)
    assert happened["engines"] > 3 * len(SEEDS)
