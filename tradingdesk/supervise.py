"""The children of `manage.py desk`: started, watched, restarted, stopped in order.

Rules of this file.
- Each child leads its own session: Ctrl-C reaches only us. We ask the leader to end, and kill its whole group when it does not.
- Children append to the log file themselves. A terminal that is frozen, a supervisor that is stopped or killed: nobody waits for it.
- What runs is written down with its start time, so the next desk knows the survivors of a killed one and never ends a stranger.
- A child that ends is started again, ever more slowly while it keeps ending.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

BACKOFF_S_MIN = 0.5
BACKOFF_S_MAX = 30.0
#: a child that ran this long is healthy: its next end is a first one
HEALTHY_S = 30.0
LOG_BYTES_MAX = 50_000_000
SURVIVOR_S = 8.0
READY_S = 5.0


class CannotStart(Exception):
    """Why the desk cannot start, in one sentence that says what to do."""


class Child(NamedTuple):
    """A process to keep alive. `stop_s` is how long it may take to end; `is_ready` is awaited before the next child starts."""

    name: str
    argv: Sequence[str]
    stop_s: float
    environ: dict[str, str]
    fds: Sequence[int] = ()
    is_ready: Callable[[], Awaitable[bool]] | None = None


class Log:
    """The one log file: children append to it, `show` brings the terminal what it has not seen yet."""

    def __init__(self, path: Path, *, is_verbose: bool) -> None:
        self.fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._path = path
        self._is_verbose = is_verbose
        self._reader = path.open(errors="replace")
        self._reader.seek(0, os.SEEK_END)

    def say(self, words: str, *, level: str = "INFO") -> None:
        stamp = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        os.write(self.fd, f"{stamp} desk {level} supervise: {words}\n".encode())

    def show(self) -> None:
        """Bring the terminal our own lines and what is a warning or worse; everything when asked."""
        for line in self._reader:
            if self._is_verbose or _is_loud(line):
                # the terminal may go away; the log file has every line
                with contextlib.suppress(OSError):
                    sys.stdout.write(line)
                    sys.stdout.flush()

    def rotate(self) -> None:
        """Keep one older file. Writers append, so they go on at the start of the emptied file."""
        if os.fstat(self.fd).st_size <= LOG_BYTES_MAX:
            return
        shutil.copyfile(self._path, self._path.with_suffix(".log.1"))
        os.ftruncate(self.fd, 0)
        self._reader.seek(0)


def _is_loud(line: str) -> bool:
    """Whether a line of the log is for the terminal. What opens no record (a traceback) is for the file."""
    words = line.split(maxsplit=3)
    return len(words) > 3 and words[0].endswith("Z") and (words[1] == "desk" or words[2] in ("WARNING", "ERROR", "CRITICAL"))


class Record:
    """`var/desk.json`: which process groups are ours, and where the private Valkey listens. Replaced whole, never half-written."""

    def __init__(self, path: Path, **facts: Any) -> None:
        self.path = path
        self.facts = facts
        self.groups: dict[str, dict[str, Any]] = {}

    def add(self, name: str, pgid: int) -> None:
        self.groups[name] = {"pgid": pgid, "started": process_started(pgid)}
        self.write()

    def write(self) -> None:
        draft = self.path.with_suffix(".json.new")
        draft.write_text(json.dumps({**self.facts, "groups": self.groups}, indent=1))
        draft.replace(self.path)

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


def process_started(pid: int) -> str:
    """When a process started, in words that no other process of this machine, now or after a reboot, shares; empty if there is none."""
    stat = Path(f"/proc/{pid}/stat")
    if not Path("/proc/self/stat").exists():
        return subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout.strip()
    try:
        ticks = stat.read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""
    return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()}+{ticks}"


def _group_signal(pgid: int, number: int) -> bool:
    """Signal a group; False when there is none (or none of ours) left."""
    try:
        os.killpg(pgid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _leader_ask(pgid: int) -> None:
    """Ask a group to end: its leader, who tells its own; all of them where the leader is gone."""
    try:
        os.kill(pgid, signal.SIGTERM)
    except ProcessLookupError:
        _group_signal(pgid, signal.SIGTERM)


def survivors_end(record: Path) -> list[str]:
    """End what a killed desk left behind, politely first. Returns the names of the groups ended."""
    try:
        groups: dict[str, dict[str, Any]] = json.loads(record.read_text())["groups"]
    except (OSError, ValueError, KeyError):
        return []
    ours = {name: group["pgid"] for name, group in groups.items() if _is_survivor(group)}
    for pgid in ours.values():
        _leader_ask(pgid)
    deadline = time.monotonic() + SURVIVOR_S
    while time.monotonic() < deadline and any(_group_signal(pgid, 0) for pgid in ours.values()):
        time.sleep(0.05)
    for pgid in ours.values():
        _group_signal(pgid, signal.SIGKILL)
    return sorted(ours)


def _is_survivor(group: dict[str, Any]) -> bool:
    """The leader we started, or what it left in its group. A leader with another start time is a stranger."""
    started = process_started(group["pgid"])
    return started in ("", group["started"]) and _group_signal(group["pgid"], 0)


class Supervisor:
    """Keeps children alive until a signal comes; then stops them in the order `stop_order`."""

    def __init__(self, children: Sequence[Child], *, stop_order: Sequence[str], log: Log, record: Record, folder: Path) -> None:
        self._children = {child.name: child for child in children}
        self._stop_order = stop_order
        self._log = log
        self._record = record
        self._folder = folder
        self._running: dict[str, asyncio.subprocess.Process] = {}
        self._stop = asyncio.Event()
        self._is_hurried = False

    async def run(self, *, announce: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start everything, `announce` once all are started, and keep them until SIGINT, SIGTERM or SIGHUP."""
        self._listen()
        follower = asyncio.create_task(self._follow())
        keepers = await self._start()
        announcement = asyncio.create_task(announce())
        await self._stop.wait()
        announcement.cancel()
        self._log.say("stopping")
        for name in self._stop_order:
            await self._end(name)
        await asyncio.gather(*keepers)
        self._record.remove()
        self._log.say("stopped")
        follower.cancel()
        self._log.show()

    async def _follow(self) -> None:
        while True:
            self._log.show()
            self._log.rotate()
            await asyncio.sleep(0.1)

    def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # nohup asks us to outlive the terminal; a shell's & ignores SIGINT too, but there we still want to be stopped
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                loop.add_signal_handler(number, self._asked_to_stop)

    def _asked_to_stop(self) -> None:
        if self._stop.is_set():
            self._is_hurried = True
            for process in self._running.values():
                _group_signal(process.pid, signal.SIGKILL)
        self._stop.set()

    async def _start(self) -> list[asyncio.Task[None]]:
        keepers = []
        for child in self._children.values():
            keepers.append(asyncio.create_task(self._keep(child)))
            if child.is_ready is not None:
                await self._until_ready(child, child.is_ready)
        return keepers

    async def _until_ready(self, child: Child, is_ready: Callable[[], Awaitable[bool]]) -> None:
        deadline = time.monotonic() + READY_S
        while not self._stop.is_set() and not await is_ready():
            if time.monotonic() > deadline:
                self._log.say(f"{child.name} does not answer; going on without it", level="WARNING")
                return
            await asyncio.sleep(0.02)

    async def _keep(self, child: Child) -> None:
        wait_s = BACKOFF_S_MIN
        while not self._stop.is_set():
            begun = time.monotonic()
            process = await self._spawn(child)
            code = await process.wait()
            # what it forked goes with it: a new child must not meet the pool of the old one
            _group_signal(process.pid, signal.SIGKILL)
            if self._stop.is_set():
                return
            wait_s = BACKOFF_S_MIN if time.monotonic() - begun > HEALTHY_S else wait_s
            self._log.say(
                f"{child.name} ended {_how(code)}; starting it again in {wait_s:g} s (the log says more)", level="WARNING"
            )
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), wait_s)
            wait_s = min(wait_s * 2, BACKOFF_S_MAX)

    async def _spawn(self, child: Child) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *child.argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=self._log.fd,
            stderr=self._log.fd,
            env=child.environ,
            cwd=self._folder,
            pass_fds=child.fds,
            start_new_session=True,
        )
        self._running[child.name] = process
        self._record.add(child.name, process.pid)
        return process

    async def _end(self, name: str) -> None:
        process = self._running.get(name)
        if process is None:
            return
        if process.returncode is None and not self._is_hurried:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), self._children[name].stop_s)
            except TimeoutError:
                self._log.say(f"{name} did not end within {self._children[name].stop_s:g} s and was killed", level="WARNING")
        _group_signal(process.pid, signal.SIGKILL)


def _how(code: int) -> str:
    return f"by {signal.Signals(-code).name}" if code < 0 else f"with code {code}"
