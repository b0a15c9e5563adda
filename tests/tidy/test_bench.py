"""The frame of the benches, in a process of its own; what they measure is nobody's test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: everything the benches are made of, which takes no time to load and measures nothing
PARTS = ("desks", "figure", "machine", "scratch")


def test_it_loads_every_part_and_writes_its_figures(tmp_path: Path) -> None:
    environ = {**os.environ, "TRADINGDESK_VAR": str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, "-m", "bench", *PARTS], cwd=ROOT, env=environ, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads((tmp_path / "bench.json").read_text())["figures"] == []
