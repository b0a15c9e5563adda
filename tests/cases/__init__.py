"""Published cases: what others state as input and outcome, asked of our code. See README.md."""

from __future__ import annotations

from pathlib import Path

import pytest

# the readers are no test modules, and their assertions shall say as much
pytest.register_assert_rewrite(*(f"tests.cases.{path.stem}" for path in Path(__file__).parent.glob("[a-z]*.py")))
