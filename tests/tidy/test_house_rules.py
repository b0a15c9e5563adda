"""The habits of the house that no linter knows, each with what breaks it."""

from __future__ import annotations

import ast
import re
import statistics
from collections.abc import Iterator

import pytest

from tests.tidy.sources import ROOT, Source, pythons, texts

type_of_function = (ast.FunctionDef, ast.AsyncFunctionDef)


def places(sources: tuple[Source, ...], *kinds: type[ast.AST]) -> Iterator[tuple[str, ast.AST]]:
    """Every node of these kinds with the place a reader finds it at."""
    for source in sources:
        for node in ast.walk(source.tree):
            if isinstance(node, kinds):
                yield f"{source.path}:{getattr(node, 'lineno', 0)}", node


def called(node: ast.AST) -> str:
    """The dotted name of what a call calls."""
    return ast.unparse(node.func) if isinstance(node, ast.Call) else ""


def test_it_keeps_floats_out_of_the_core() -> None:
    core = tuple(source for source in pythons() if "/core/" in source.path)
    assert core
    assert [place for place, node in places(core, ast.Constant) if isinstance(getattr(node, "value", None), float)] == []


def test_it_catches_what_it_can_name() -> None:
    """A broad handler guards code that is not ours (a brain): it says why on its line, and there are few. One that raises again is none."""
    broad = []
    for source in pythons():
        lines = source.text.splitlines()
        for place, node in places((source,), ast.ExceptHandler):
            assert isinstance(node, ast.ExceptHandler)
            caught = ast.unparse(node.type) if node.type else "everything"
            is_passed_on = ast.unparse(node.body[-1]) == "raise"
            if re.search(r"\b(everything|Exception|BaseException)\b", caught) and not is_passed_on:
                assert "#" in lines[node.lineno - 1], f"{place} catches {caught} and does not say why"
                broad.append(place)
    assert len(broad) <= 8, broad


def test_it_writes_short_functions() -> None:
    lengths = {
        place: node.end_lineno - node.lineno + 1
        for place, node in places(pythons(), *type_of_function)
        if isinstance(node, type_of_function) and node.end_lineno
    }
    assert {place: length for place, length in lengths.items() if length > 60} == {}
    assert statistics.median(lengths.values()) < 10


def test_it_writes_short_files() -> None:
    """Lines of code: a file may explain itself at length."""
    assert {source.path: code_lines(source) for source in pythons() if code_lines(source) > 500} == {}


def code_lines(source: Source) -> int:
    """Lines that are neither blank, nor comment, nor docstring."""
    told: set[int] = set()
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            told.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = enumerate(source.text.splitlines(), start=1)
    return sum(1 for number, line in lines if number not in told and line.strip() and not line.strip().startswith("#"))


def test_it_approves_in_the_gates_and_nowhere_else() -> None:
    made = {place.split(":")[0] for place, node in places(pythons(), ast.Call) if called(node).split(".")[-1] == "Approved"}
    assert made == {"risk/core/gates.py"}


#: besides settings.py: entry points name the settings, and the desk hands its own environment on to its children
ENVIRON = {"tradingdesk/settings.py", "tradingdesk/asgi.py", "tradingdesk/celery.py", "tradingdesk/management/commands/desk.py"}


def test_it_reads_the_environment_in_the_settings() -> None:
    found = {
        place.split(":")[0] for place, node in places(pythons(), ast.Attribute) if ast.unparse(node) in ("os.environ", "os.getenv")
    }
    assert found <= ENVIRON


def test_it_names_modules_by_what_they_know() -> None:
    named = re.compile(r"(^|/)\w*(utils?|helpers?|common|managers?|misc)\.py$")
    assert [
        source.path for source in pythons("risk", "execution", "tradingdesk", "tests", "bench") if named.search(source.path)
    ] == []


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(r"\b(TODO|FIXME|XXX|HACK)\b", id="nothing is left for later"),
        pytest.param(
            r"(--(extra-)?index-url|--find-links|pypi\.org/simple|registry\.npmjs|files\.pythonhosted)", id="no registry address"
        ),
        pytest.param(r"(^|[\s\"'(=])/(work|root|opt)/", id="no path of one machine"),
    ],
)
def test_it_finds_no_such_words(words: str) -> None:
    rule = re.compile(words)
    here = "tests/tidy/test_house_rules.py"
    found = [
        f"{s.path}:{n}" for s in texts() if s.path != here for n, line in enumerate(s.text.splitlines(), 1) if rule.search(line)
    ]
    assert [place for place in found if not place.startswith("tests/postgres.py")] == []


PRINTERS = {"tradingdesk/install.py"}


def test_it_logs_and_does_not_print() -> None:
    printed = [place for place, node in places(pythons(), ast.Call) if called(node) == "print"]
    assert [place for place in printed if place.split(":")[0] not in PRINTERS and "/commands/" not in place] == []


def test_it_waits_for_conditions_and_never_sleeps() -> None:
    """A sleep stands inside a function that waits for a condition and says so in its name, or says on its line why it is none."""
    slept = []
    for source in pythons("tests"):
        lines = source.text.splitlines()
        for place, function in places((source,), *type_of_function):
            assert isinstance(function, type_of_function)
            if function.name.lstrip("_").startswith(("until", "wait", "eventually")):
                continue
            for node in ast.walk(function):
                is_sleep = called(node).split(".")[-1] == "sleep" and ast.unparse(node) != "asyncio.sleep(0)"
                if is_sleep and "#" not in lines[getattr(node, "lineno", 1) - 1]:
                    slept.append(f"{place} {function.name}")
    assert slept == []


def test_it_names_tests_as_claims() -> None:
    """A test's name is a sentence: it refuses, a second kill joins the first."""
    tests = [source for source in pythons("tests") if "/test_" in source.path]
    odd = []
    for place, node in places(tuple(tests), *type_of_function):
        name = getattr(node, "name", "")
        if name.startswith("test") and not name.startswith("test_it_") and name.count("_") < 3:
            odd.append(f"{place} {name}")
    assert odd == []


def test_it_lists_every_top_folder() -> None:
    """A new package is placed in a contract, in mypy's files and here."""
    found = {path.name for path in ROOT.iterdir() if path.is_dir() and any(path.glob("*.py"))}
    assert found <= {"risk", "execution", "tradingdesk", "tests", "bench", "docs"}
