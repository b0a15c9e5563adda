"""The linters are part of the tests: contracts, types, style."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.tidy.sources import ROOT

BIN = Path(sys.executable).parent


@pytest.mark.xdist_group("linters")
@pytest.mark.parametrize(
    "argv",
    [
        pytest.param(["lint-imports", "--no-logo", "--no-cache"], id="contracts"),
        pytest.param(["ruff", "check", "--quiet", "."], id="ruff"),
        pytest.param(["ruff", "format", "--quiet", "--check", "."], id="format"),
        pytest.param(["mypy", "--no-error-summary"], id="mypy"),
    ],
)
def test_it_passes(argv: list[str]) -> None:
    done = subprocess.run([BIN / argv[0], *argv[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
