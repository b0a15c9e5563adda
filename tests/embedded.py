"""The embedded desk as a child process, in its own folder and on its own port: what a person starts by `make run`."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import urlopen

ROOT = Path(__file__).resolve().parent.parent
START_S = 60
STOP_S = 25


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(is_true: Callable[[], Any], *, within_s: float, what: str) -> Any:
    """Wait for a condition; what it returns, or AssertionError naming it."""
    deadline = time.monotonic() + within_s
    while not (found := is_true()):
        assert time.monotonic() < deadline, f"not within {within_s} s: {what}"
        time.sleep(0.05)
    return found


class EmbeddedDesk:
    """`manage.py desk` in `var`. Its words are in `output`, as a person would see them."""

    def __init__(self, var: Path, *, port: int | None = None, **environ: str) -> None:
        self.var = var
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        kept = {
            name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL", "DESK_URL", "SECRET_KEY")
        }
        self.environ = {**kept, "TRADINGDESK_VAR": str(var), **environ}
        self.process: subprocess.Popen[str] | None = None
        self._terminal = var.with_suffix(".terminal")

    @property
    def output(self) -> str:
        return self._terminal.read_text() if self._terminal.exists() else ""

    def start(self, *options: str) -> EmbeddedDesk:
        """Start, and wait until it greets. `options` go on the command line."""
        self.launch(*options)
        until(lambda: "Ctrl-C stops everything" in self.output or self.has_ended, within_s=START_S, what="the desk greets")
        assert not self.has_ended, self.output
        return self

    def launch(self, *options: str) -> None:
        argv = [sys.executable, "manage.py", "desk", "--port", str(self.port), *options]
        with self._terminal.open("w") as out:
            self.process = subprocess.Popen(
                argv,
                cwd=ROOT,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                text=True,
                start_new_session=True,
            )

    @property
    def has_ended(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def manage(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Another command of manage.py against the same folder."""
        environ = {**self.environ, "DESK_URL": self.url}
        return subprocess.run(
            [sys.executable, "manage.py", *argv], cwd=ROOT, env=environ, capture_output=True, text=True, check=False
        )

    @property
    def link(self) -> str:
        """The one-time sign-in link of the greeting."""
        found = re.search(r"http://\S+/enter/\S+", self.output)
        assert found, self.output
        return found[0]

    @property
    def logins(self) -> dict[str, str]:
        return dict(re.findall(r"^  (viewer|trader|risk|admin) +(\S+)$", self.output, re.MULTILINE))

    def pid(self, name: str) -> int:
        """The process group of one child."""
        return int(json.loads((self.var / "desk.json").read_text())["groups"][name]["pgid"])

    def pids(self) -> list[int]:
        """Every process of this desk that lives, its own leaders only."""
        try:
            groups = json.loads((self.var / "desk.json").read_text())["groups"]
        except OSError:
            return []
        return [group["pgid"] for group in groups.values() if is_alive(group["pgid"])]

    def is_ready(self) -> bool:
        try:
            with urlopen(f"{self.url}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def stop(self, number: int = signal.SIGINT) -> int:
        """Stop as Ctrl-C does; the exit code."""
        assert self.process is not None
        if not self.has_ended:
            self.process.send_signal(number)
        return self.process.wait(STOP_S)

    def __enter__(self) -> EmbeddedDesk:
        return self

    def __exit__(self, *_: object) -> None:
        if not self.has_ended:
            self.stop()
        for pid in self.pids():
            os.killpg(pid, signal.SIGKILL)


def is_alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        if Path("/proc/self").exists():
            return False
    return subprocess.run(["ps", "-p", str(pid)], capture_output=True, check=False).returncode == 0
