"""One journal of every kind of venue comes to one digest, in processes of other hash seeds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec

from execution.simulator.histories import happen
from execution.simulator.scene import ACCOUNT, VENUES, scene_of
from execution.simulator.steps import steps_of

STEPS = 80


def digests_elsewhere(journals: dict[str, list[bytes]], *, hash_seed: str) -> dict[str, str]:
    """What a fresh process makes of the journals under a hash seed of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.golden.reading", ACCOUNT],
        input=msgspec.msgpack.encode(journals),
        capture_output=True,
        check=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        timeout=60,
    )
    return msgspec.json.decode(done.stdout, type=dict[str, str])


def test_it_comes_to_one_digest_at_every_venue_under_any_hash_seed() -> None:
    journals, expected = {}, {}
    for n, venue in enumerate(VENUES, start=1):
        scene = scene_of(n, venue=venue)
        journal = happen(scene, steps_of(scene, STEPS)).world.rows.load(with_image=False).tail
        journals[venue.name] = [msgspec.msgpack.encode(entry.event) for entry in journal]
        expected[venue.name] = journal[-1].digest.hex()
    assert len(set(expected.values())) == len(VENUES)
    for hash_seed in ("1", "2"):
        assert digests_elsewhere(journals, hash_seed=hash_seed) == expected
