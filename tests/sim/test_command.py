"""`manage.py simulate`: says what it ran, and fails with the history that broke a promise."""

from __future__ import annotations

from decimal import Decimal
from io import StringIO

import msgspec
import pytest
from django.core.management import CommandError, call_command

from execution.core import fills


def simulate(*args: str) -> str:
    out = StringIO()
    call_command("simulate", *args, "--workers", "1", stdout=out)
    return out.getvalue()


def test_it_says_what_it_ran() -> None:
    assert simulate("--seeds", "3..4", "--steps", "40").startswith("2 histories of 40 steps: every promise held. ")


def test_it_tells_each_seed_as_json() -> None:
    lines = simulate("--seeds", "3..4", "--steps", "40", "--json").splitlines()
    assert [msgspec.json.decode(line)["seed"] for line in lines] == [3, 4]


# a history that ends at its first broken promise leaves requests behind that nobody awaits
@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore:coroutine .* was never awaited:RuntimeWarning"
)
def test_it_fails_with_the_shortest_history_and_how_to_see_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fills, "charge", lambda *_, **__: Decimal(0))
    out = StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("simulate", "--seeds", "1..3", "--steps", "150", "--workers", "1", stdout=out)
    assert ended.value.code == 1
    assert "no fill is lost" in out.getvalue()
    assert "manage.py simulate --seeds" in out.getvalue()


@pytest.mark.parametrize("seeds", ["nine", "9..3", "1.."])
def test_it_refuses_seeds_that_are_none(seeds: str) -> None:
    with pytest.raises(CommandError):
        simulate("--seeds", seeds)
