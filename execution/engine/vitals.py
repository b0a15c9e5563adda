"""Vitals of the engine process, written to its row each second. Names end in their unit."""

from __future__ import annotations

import asyncio
import math
import os
import resource
import socket
import statistics
import sys
import tempfile
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from execution.core.state import CORE_VERSION
from execution.engine.writer import JournalWriter
from execution.models import Engine

_LAG_STEP_S: Final = 0.02
#: seconds; the budget's own bounds among them
BOUNDS_S: Final = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.3, 1.0, 5.0, math.inf)


class Timings:
    """How many times fell within each of BOUNDS_S, and their sum, since the process began: Prometheus' histogram."""

    def __init__(self) -> None:
        self._counts = [0] * len(BOUNDS_S)
        self._sum_s = 0.0

    def add(self, seconds: float) -> None:
        self._counts[bisect_left(BOUNDS_S, seconds)] += 1
        self._sum_s += seconds

    def read(self) -> dict[str, Any]:
        """`buckets` are pairs of a bound, as Prometheus writes it, and how many times were within it."""
        within, buckets = 0, []
        for bound, count in zip(BOUNDS_S, self._counts, strict=True):
            within += count
            buckets.append(["+Inf" if bound == math.inf else str(bound), within])
        return {"buckets": buckets, "sum_s": round(self._sum_s, 6)}


class Vitals:
    """Loop lag, commit times, queue lengths and memory since the last reading; latencies and denials since the process began."""

    def __init__(self, fsync_ms: float | None = None) -> None:
        self._lags: list[float] = []
        self.fsync_ms = fsync_ms
        #: of orders: from the event that decided to the venue's client
        self.handed = Timings()
        #: of people's acts: from the asking to the engine's Desk
        self.commanded = Timings()
        self.denials: Counter[str] = Counter()

    async def watch_lag(self) -> None:
        """How late the loop wakes: the time every order waits before it is even looked at."""
        while True:
            due = time.monotonic() + _LAG_STEP_S
            await asyncio.sleep(_LAG_STEP_S)
            self._lags.append(time.monotonic() - due)

    def read(self, writer: JournalWriter, *, waiting: Mapping[str, int], dropped: Mapping[str, int]) -> dict[str, Any]:
        lags, self._lags = self._lags, []
        commits = list(writer.commits)
        return {
            "loop_lag_ms_max": _ms(max(lags, default=0.0)),
            "loop_lag_ms_p50": _ms(_share(lags, 0.5)),
            "commit_ms_p50": _ms(_share(commits, 0.5)),
            "commit_ms_p99": _ms(_share(commits, 0.99)),
            "fsync_ms": self.fsync_ms,
            "journal_backlog": writer.backlog,
            "waiting": dict(waiting),
            "messages_dropped": sum(dropped.values()),
            "memory_mb": memory_mb(),
            "decision_to_venue_seconds": self.handed.read(),
            "command_to_engine_seconds": self.commanded.read(),
            "denials": dict(self.denials),
        }


def _share(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else 0.0


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 2)


def memory_mb() -> int:
    """The largest resident memory this process has had."""
    unit = 1024 if sys.platform != "darwin" else 1
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit // 1_048_576


def fsync_ms(folder: Path) -> float:
    """The middle of ten small writes forced to the disk: what a commit costs here at the least."""
    times = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(10):
            started = time.perf_counter()
            file.write(b"x" * 512)
            file.flush()
            os.fsync(file.fileno())
            times.append(time.perf_counter() - started)
    return _ms(statistics.median(times))


def heartbeat_write(name: str, figures: dict[str, Any], *, at: datetime, stopped_at: datetime | None) -> None:
    Engine.objects.update_or_create(
        name=name,
        defaults={"seen_at": at, "stopped_at": stopped_at, "vitals": figures},
        create_defaults={
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "version": CORE_VERSION,
            "started_at": at,
            "seen_at": at,
            "vitals": figures,
        },
    )
