"""Brains: one strategy a file. A file in this folder with a class that inherits from Brain is a brain; nothing else is needed."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from importlib import import_module
from pkgutil import iter_modules
from typing import cast

from execution.brains.base import Brain
from execution.core.ports import number_within


def _brains() -> dict[str, type[Brain]]:
    """Every brain of this folder by its name, in the order of the files."""
    found: dict[str, type[Brain]] = {}
    for info in iter_modules(__path__):
        module = import_module(f"{__name__}.{info.name}")
        for member in vars(module).values():
            if not isinstance(member, type) or Brain not in member.__mro__[1:] or member.__module__ != module.__name__:
                continue
            brain = cast("type[Brain]", member)
            if brain.name in found:
                raise ValueError(f"Two brains are called “{brain.name}”.")
            found[brain.name] = brain
    return found


BRAINS: dict[str, type[Brain]] = _brains()


def params_validated(brain: str, params: Mapping[str, object]) -> dict[str, Decimal]:
    """Every parameter of the brain, given or default, within its bounds. ValueError with one plain sentence otherwise."""
    if brain not in BRAINS:
        raise ValueError(f"There is no brain “{brain}”; there are {', '.join(BRAINS)}.")
    known = BRAINS[brain].PARAMS
    for name in params:
        if name not in known:
            raise ValueError(f"The brain “{brain}” has no parameter “{name}”; it has {', '.join(known)}.")
    values = {name: number_within(name, params.get(name, row[0]), row) for name, row in known.items()}
    if refusal := BRAINS[brain].refusal(values):
        raise ValueError(refusal)
    return values
