"""Where the published cases are, and what it means to agree with one."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

CASES_DIR = Path(os.environ.get("CASES_DIR") or Path(__file__).resolve().parents[3] / "shared" / "data" / "cases")
#: how far a float of a source is from what it means, relative to itself
FLOAT_TOLERANCE = 1e-12

Case = Mapping[str, Any]


def files() -> list[Path]:
    return sorted(CASES_DIR.glob("*.json"))


def cases(path: Path) -> list[Case]:
    """The cases of one file. A file that is one table is one case, named as the file."""
    content = json.loads(path.read_text())
    return content if isinstance(content, list) else [{"id": path.stem, **content}]


def number(value: object) -> Decimal:
    """The number a case writes as text, integer or float. ValueError when it writes none."""
    try:
        return Decimal(str(value).replace(",", ""))
    except InvalidOperation:
        raise ValueError(f"{value!r} is not a number") from None


def agree(case: Case, ours: object, expected: object = ..., *, at: str = "expected") -> None:
    """Fail unless what we found is what the case expects (all of it, but nothing beyond it)."""
    wanted = case[at] if expected is ... else expected
    differences = list(_differences(case, ours, wanted, at))
    assert differences == [], f"{case['id']}: {'; '.join(differences)}"


def _differences(case: Case, ours: Any, expected: Any, at: str) -> Iterator[str]:
    if isinstance(expected, Mapping):
        for key, value in expected.items():
            if isinstance(ours, Mapping) and key in ours:
                yield from _differences(case, ours[key], value, f"{at}.{key}")
            else:
                yield f"{at}.{key} is {value!r}, and we have none"
    elif isinstance(expected, list):
        found = list(ours) if isinstance(ours, list | tuple) else [ours]
        if len(found) != len(expected):
            yield f"{at} has {len(expected)} rows, and we have {len(found)}: {found!r}"
        for n, (mine, theirs) in enumerate(zip(found, expected, strict=False)):
            yield from _differences(case, mine, theirs, f"{at}[{n}]")
    elif not _is_same(case, ours, expected, at):
        yield f"{at} is {expected!r}, and we have {ours!r}"


def _is_same(case: Case, ours: object, expected: object, at: str) -> bool:
    if isinstance(expected, bool) or expected is None or isinstance(ours, bool) or ours is None:
        return ours is expected
    try:
        mine, theirs = number(ours), number(expected)
    except ValueError:
        return str(ours) == str(expected)
    key = at.rsplit(".", 1)[-1].split("[", 1)[0]
    tolerance, relative = _tolerance(case.get("tol"), key), _tolerance(case.get("tol_rel"), key)
    if tolerance is None and relative is None:
        return math.isclose(mine, theirs, rel_tol=FLOAT_TOLERANCE) if isinstance(expected, float) else mine == theirs
    return abs(mine - theirs) <= max(tolerance or Decimal(0), (relative or Decimal(0)) * abs(theirs))


def _tolerance(told: object, key: str) -> Decimal | None:
    """One tolerance for all, or one for each key."""
    value = told.get(key) if isinstance(told, Mapping) else told
    return None if value is None else number(value)
