"""The place where engines run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from execution.models import Account
from tests.engine.desk import Place, place_make


@pytest.fixture
def place(account: Account, transactional_db: None, monkeypatch: pytest.MonkeyPatch, settings: Any, tmp_path: Path) -> Place:
    return place_make(account, monkeypatch, settings, tmp_path)
