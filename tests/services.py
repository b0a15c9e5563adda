"""A pytest plugin, loaded by `python -m tests`: a Valkey of its own for each worker, there before the settings are read."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

READY_S = 10
_running: list[tuple[subprocess.Popen[bytes], Path]] = []


def _valkey_start() -> str:
    from tradingdesk.valkey import valkey_argv, valkey_binary

    place = Path(tempfile.mkdtemp(prefix="tradingdesk-valkey-"))
    path = place / "valkey.sock"
    server = subprocess.Popen(valkey_argv(valkey_binary(), path), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    _running.append((server, place))
    _wait_for(path, server)
    return f"unix://{path}"


def _wait_for(path: Path, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + READY_S
    while not path.exists():
        if server.poll() is not None or time.monotonic() > deadline:
            raise pytest.UsageError("Valkey did not start.")
        time.sleep(0.01)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(args: list[str]) -> None:
    is_controller = any(arg.startswith("-n") for arg in args) and "PYTEST_XDIST_WORKER" not in os.environ
    if not is_controller:
        os.environ["REDIS_URL"] = _valkey_start()


def pytest_unconfigure() -> None:
    while _running:
        server, place = _running.pop()
        server.terminate()
        server.wait()
        shutil.rmtree(place, ignore_errors=True)
