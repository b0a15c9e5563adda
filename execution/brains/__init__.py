"""Brains: one strategy a file. A file in this folder with a class that inherits from Brain is a brain; nothing else is needed.

They are somebody's own code, so nothing is imported before somebody asks for a brain, and a file that cannot be used takes nothing
away but its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import NamedTuple, cast

from execution.brains.base import Brain
from execution.core.ports import number_within


class NoBrain(ValueError):
    """There is no such brain; the text is one sentence for people, and says which files cannot be used."""


class Found(NamedTuple):
    """The brains of this folder by name, in the order of the files, and why a file cannot be used."""

    brains: dict[str, type[Brain]]
    broken: dict[str, str]


@cache
def found() -> Found:
    """What this folder had when this process first asked."""
    return look()


def brains() -> dict[str, type[Brain]]:
    return found().brains


def brain_of(name: str) -> type[Brain]:
    """The brain of this name. Raises NoBrain."""
    known, broken = found()
    if name in known:
        return known[name]
    files = "".join(f" {file} cannot be used: {why}." for file, why in broken.items())
    raise NoBrain(f"There is no brain “{name}” in execution/brains; there are {', '.join(known)}.{files}")


def look() -> Found:
    """Import every file of this folder; one that raises, or whose brain lacks something, is told with its error.

    Of two brains of one name neither counts: nobody knows which one its bots were meant to run.
    """
    named: dict[str, dict[str, type[Brain]]] = {}
    broken: dict[str, str] = {}
    for info in iter_modules(__path__):
        file = f"{info.name}.py"
        try:
            for brain in _brains_of(info.name):
                named.setdefault(brain.name, {})[file] = brain
        except (Exception, SystemExit) as e:  # somebody's own code: whatever it raises is told, and the other files count
            broken[file] = f"{type(e).__name__}: {e}"
    for name, having in named.items():
        if len(having) > 1:
            broken |= dict.fromkeys(having, f"{' and '.join(having)} have a brain “{name}” each")
    return Found({name: brain for name, having in named.items() if len(having) == 1 for brain in having.values()}, broken)


def _brains_of(file: str) -> Iterator[type[Brain]]:
    """The brains of one file, each with a name, a summary, and parameters whose defaults lie within their bounds."""
    module = import_module(f"{__name__}.{file}")
    for member in vars(module).values():
        if not isinstance(member, type) or Brain not in member.__mro__[1:] or member.__module__ != module.__name__:
            continue
        brain = cast("type[Brain]", member)
        for name, row in brain.PARAMS.items():
            number_within(name, row[0], row)
        if not brain.name or not brain.summary:
            raise ValueError("a brain has a name and a summary")
        yield brain


def params_validated(brain: str, params: Mapping[str, object]) -> dict[str, Decimal]:
    """Every parameter of the brain, given or default, within its bounds. ValueError with one plain sentence otherwise."""
    kind = brain_of(brain)
    known = kind.PARAMS
    for name in params:
        if name not in known:
            raise ValueError(f"The brain “{brain}” has no parameter “{name}”; it has {', '.join(known)}.")
    values = {name: number_within(name, params.get(name, row[0]), row) for name, row in known.items()}
    if refusal := kind.refusal(values):
        raise ValueError(refusal)
    return values
