"""`make bench`: run every module of this folder that measures, print a table, write var/bench.json. `python -m bench NAME …` runs some."""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path

import django

import bench
from bench.figure import Figure

WIDTHS = (30, 14, 8, 14, 5)


def measuring(names: list[str]) -> list[str]:
    """Modules with a `run`, in alphabetical order; only those named, where any is."""
    found = [module.name for module in pkgutil.iter_modules(bench.__path__) if not module.name.startswith("_")]
    unknown = set(names) - set(found)
    if unknown:
        sys.exit(f"There is no bench called {', '.join(sorted(unknown))}: there are {', '.join(found)}.")
    return [name for name in found if not names or name in names]


def row(*cells: str) -> str:
    return "  ".join(
        cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in enumerate(zip(cells, WIDTHS, strict=True))
    )


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.3g}"


def told(figure: Figure) -> str:
    verdict = "" if not figure.bound else "ok" if figure.ok else "MISS"
    return row(figure.name, number(figure.value), figure.unit, figure.bound, verdict)


def main(names: list[str]) -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tradingdesk.settings")
    django.setup()
    print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores\n")
    print(row("figure", "value", "unit", "bound", ""), flush=True)
    figures: list[Figure] = []
    for name in measuring(names):
        module = importlib.import_module(f"bench.{name}")
        for figure in module.run() if hasattr(module, "run") else []:
            figures.append(figure)
            print(told(figure), flush=True)
    written = write(figures)
    print(f"\nHow each was measured is in {written}")
    return 0 if all(figure.ok for figure in figures) else 1


def write(figures: list[Figure]) -> Path:
    target = Path(os.environ.get("TRADINGDESK_VAR", "var")) / "bench.json"
    target.parent.mkdir(exist_ok=True)
    rows = [{**figure._asdict(), "ok": figure.ok} for figure in figures]
    facts = {"at": datetime.now(UTC).isoformat(), "machine": platform.platform(), "python": platform.python_version()}
    target.write_text(json.dumps({**facts, "figures": rows}, indent=1) + "\n")
    return target


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
