"""`make test`: three runs, one answer. `python -m tests PATH …` is the first run on those paths only.

1. everything but e2e and faults, on PostgreSQL and Valkey, two workers with a database and a Valkey each
2. what is marked `db`, on SQLite with the in-memory channel layer
3. e2e and faults, alone
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import NamedTuple

from tests.postgres import NoPostgres, postgres

#: pytest's exit code when nothing was selected
NOTHING_SELECTED = 5


class Run(NamedTuple):
    name: str
    args: list[str]
    environ: dict[str, str]


class Outcome(NamedTuple):
    name: str
    code: int
    totals: str
    seconds: float


def run(wanted: Run) -> Outcome:
    """Run pytest, its words passing through; its last line are the totals."""
    print(f"\n=== {wanted.name}", flush=True)
    begun = time.monotonic()
    argv = [sys.executable, "-m", "pytest", "-q", *wanted.args]
    last = ""
    with subprocess.Popen(
        argv, env={**os.environ, **wanted.environ}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    ) as process:
        for line in process.stdout or []:
            print(line, end="", flush=True)
            last = line.strip() or last
    code = 0 if process.returncode == NOTHING_SELECTED else process.returncode
    return Outcome(wanted.name, code, last, time.monotonic() - begun)


def everything(database_url: str) -> list[Run]:
    fresh = {"DATABASE_URL": "", "REDIS_URL": ""}
    two = ["-p", "tests.services", "-n", "2", "--dist", "loadgroup"]
    return [
        Run("PostgreSQL and Valkey", [*two, "-m", "not e2e and not faults"], {"DATABASE_URL": database_url}),
        Run("SQLite, in memory", ["-m", "db and not e2e and not faults"], fresh),
        Run("browser and faults", ["-m", "e2e or faults"], fresh),
    ]


def main(paths: list[str]) -> int:
    try:
        with postgres() as database_url:
            chosen = [Run("PostgreSQL and Valkey", ["-p", "tests.services", *paths], {"DATABASE_URL": database_url})]
            outcomes = [run(wanted) for wanted in (chosen if paths else everything(database_url))]
    except NoPostgres as error:
        sys.exit(str(error))
    print()
    for outcome in outcomes:
        print(f"{outcome.name}: {outcome.totals}" + ("" if outcome.code == 0 else f" (exit code {outcome.code})"))
    return max(outcome.code for outcome in outcomes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
