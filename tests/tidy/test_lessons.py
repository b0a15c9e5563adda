"""docs/lessons.md: every row names a test that is there, or says why none is."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from tests.tidy.sources import ROOT

ROW = re.compile(r"^\| ([A-Z])(\d+) \| (.+?) \| (.+) \|$", re.MULTILINE)
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
PAGE = (ROOT / "docs" / "lessons.md").read_text()
ROWS = ROW.findall(PAGE)
#: how many weaknesses each list had
LISTS = {"R": 44, "C": 36, "M": 23}


@cache
def names_in(path: str) -> set[str]:
    file = ROOT / path
    tree = ast.parse(file.read_text()) if file.is_file() else ast.Module([], [])
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_it_has_a_row_for_every_weakness() -> None:
    told = {f"{letter}{number}" for letter, number, _, _ in ROWS} | set(re.findall(r"\b([RCM]\d+)\b(?= and | are )", PAGE))
    assert {f"{letter}{n}" for letter, count in LISTS.items() for n in range(1, count + 1)} - told == set()
    assert len(ROWS) == len({row[:2] for row in ROWS})


@pytest.mark.parametrize("row", ROWS, ids=[f"{letter}{number}" for letter, number, _, _ in ROWS])
def test_it_names_tests_that_are_there(row: tuple[str, str, str, str]) -> None:
    here = row[3]
    assert [f"{path}::{name}" for path, name in NAMED.findall(here) if name not in names_in(path)] == []
    assert here.count("::") == len(NAMED.findall(here)), "a test that is named in another form is not looked for"
    assert NAMED.search(here) or "Does not apply: " in here or "To be built: " in here
