"""A database of its own for each measurement: the module runs again as a child process on an empty SQLite file, and prints figures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable

from bench.figure import Figure


def in_scratch(module: str) -> list[Figure]:
    """Run `python -m module` in a temporary folder; its last line is what `told` printed."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        env = {
            **{name: value for name, value in os.environ.items() if name not in {"REDIS_URL", "TRADINGDESK_TIMING"}},
            "DJANGO_SETTINGS_MODULE": "tradingdesk.settings",
            "TRADINGDESK_VAR": folder,
            "DATABASE_URL": f"sqlite:///{folder}/bench.sqlite3",
            "SECRET_KEY": "only-for-benches",
        }
        done = subprocess.run([sys.executable, "-m", module], env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{module} failed:\n{done.stderr[-3000:]}")
    return [Figure(*row) for row in json.loads(done.stdout.strip().splitlines()[-1])]


def told(measure: Callable[[], list[Figure]]) -> None:
    """The child's side: prepare Django and the database, measure, print."""
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    print(json.dumps(measure()))


def share(values: list[float], part: float) -> float:
    """The value below which `part` of them lie."""
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]
