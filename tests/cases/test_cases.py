"""Every published case of every file found; see README.md."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Final

import pytest

from tests.cases.reading import CASES_DIR, Case, agree, cases, files

#: kinds whose product code is still to come, and what they wait for
LATER: Final = {
    "broker_payloads": "the adapters of real venues come with their own part",
    "circuit_breakers": "market-wide halts and price bands come with their own part",
    "options": "options come with their own part",
}
HERE: Final = Path(__file__).parent


def has_reader(kind: str) -> bool:
    return (HERE / f"{kind}.py").is_file()


def everything() -> list[object]:
    if not CASES_DIR.is_dir():
        return [pytest.param("", {}, id="none", marks=pytest.mark.skip(reason=f"there are no published cases at {CASES_DIR}"))]
    return [pytest.param(path.stem, case, id=f"{path.stem}/{case['id']}") for path in files() for case in cases(path)]


@pytest.mark.parametrize(("kind", "case"), everything())
def test_it_agrees_with_what_is_published(kind: str, case: Case) -> None:
    if has_reader(kind):
        importlib.import_module(f"tests.cases.{kind}").check(case)
    elif kind in LATER:
        pytest.xfail(LATER[kind])
    else:
        pytest.fail(f"nobody reads {kind}.json: write tests/cases/{kind}.py")


def test_it_waits_for_nothing_that_is_there() -> None:
    assert [kind for kind in LATER if has_reader(kind)] == []


@pytest.mark.parametrize(
    ("ours", "expected", "case", "agrees"),
    [
        ("1.50", "1.5", {}, True),
        (150, "150.000", {}, True),
        ("1.51", "1.5", {}, False),
        ("1.51", "1.5", {"tol": "0.01"}, True),
        ("1.52", "1.5", {"tol": "0.01"}, False),
        ("101", "100", {"tol_rel": 0.01}, True),
        ("102", "100", {"tol_rel": 0.01}, False),
        ({"a": 1, "more": 2}, {"a": "1.0"}, {}, True),
        ({"a": 1}, {"a": 1, "b": None}, {}, False),
        ({"a": "1.1", "b": 2}, {"a": 1, "b": 2}, {"tol": {"a": "0.1"}}, True),
        ({"a": "1.1", "b": "2.1"}, {"a": 1, "b": 2}, {"tol": {"a": "0.1"}}, False),
        (["1", "2"], ["1", "2.0"], {}, True),
        (["1"], ["1", "2"], {}, False),
        ("FILLED", "FILLED", {}, True),
        ("NEW", "FILLED", {"tol": 1}, False),
        (True, True, {}, True),
        (1, True, {}, False),
        (None, None, {}, True),
        ("0", None, {}, False),
        ("0.3", 0.1 + 0.2, {}, True),
        ("0.3000001", 0.3, {}, False),
    ],
)
def test_it_knows_what_agreeing_means(ours: object, expected: object, case: Case, agrees: bool) -> None:
    asked = {"id": "one", "expected": expected, **case}
    if agrees:
        agree(asked, ours)
    else:
        with pytest.raises(AssertionError, match="one: expected"):
            agree(asked, ours)
