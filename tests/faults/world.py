"""A desk of its own in a folder of its own: real processes, real files, and an auditor that asks the database itself."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

#: four bots that trade every few seconds, on prices that move
SEED = """
import django; django.setup()
from decimal import Decimal as D
import msgspec
from django.core.management import call_command
call_command("migrate", verbosity=0)
from tradingdesk.management.demo import demo_seed
demo_seed()
from execution.models import Account, Bot
from execution.store.settings import settings_version_ensure
from risk.models import RiskProfile, SymbolOverride
RiskProfile.objects.update(
    breaker_losses=1000, session_loss_limit=D(-100000), stop_distance_pct_min=D("0.001"), repeated_execution_max=100000
)
SymbolOverride.objects.update(margin_per_trade=D(500))
for code, brain, params in [
    ("ema-btc", "ema_cross", {"fast": "2", "slow": "3"}),
    ("ema-eth", "ema_cross", {"fast": "2", "slow": "4"}),
    ("mr-sol", "ema_cross", {"fast": "2", "slow": "3"}),
    ("chan-ltc", "channel_breakout", {"channel": "3", "exit_channel": "2"}),
]:
    Bot.objects.filter(code=code).update(brain=brain, params=params, bar_s=1)
account = Account.objects.get()
account.broker_options = {"latency_ms": 5, "partial_pct": 20, "lost_answer_pct": 5, "duplicate_pct": 10, "late_report_pct": 10}
account.save()
settings_version_ensure(account, by="seed")
"""


class World:
    """One folder, one SQLite database, one engine at a time."""

    def __init__(self, folder: Path, *, timing: str = "0.1") -> None:
        self.folder = folder
        self.database = folder / "desk.sqlite3"
        self.env = {
            **{name: value for name, value in os.environ.items() if name not in {"REDIS_URL", "TRADINGDESK_DEBUG"}},
            "DJANGO_SETTINGS_MODULE": "tradingdesk.settings",
            "TRADINGDESK_VAR": str(folder),
            "DATABASE_URL": f"sqlite:///{self.database}",
            "SECRET_KEY": "only-for-this-test",
            "TRADINGDESK_TIMING": timing,
        }
        self._engine: subprocess.Popen[bytes] | None = None
        self._log = (folder / "engine.log").open("ab")

    def seed(self) -> None:
        self._run("-c", SEED)

    def manage(self, *args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "manage.py", *args], cwd=ROOT, env=self.env, capture_output=True, text=True, check=False
        )

    def start(self) -> None:
        self._engine = subprocess.Popen(
            [sys.executable, "manage.py", "runworker", "execution"], cwd=ROOT, env=self.env, stdout=self._log, stderr=self._log
        )

    def kill(self) -> None:
        """kill -9, at whatever moment this is."""
        assert self._engine is not None
        self._engine.send_signal(signal.SIGKILL)
        self._engine.wait()
        self._engine = None

    def stop(self) -> int:
        """The polite stop; returns the exit code."""
        assert self._engine is not None
        self._engine.send_signal(signal.SIGTERM)
        code = self._engine.wait(timeout=20)
        self._engine = None
        return code

    def close(self) -> None:
        if self._engine is not None:
            self.kill()
        self._log.close()

    @property
    def is_running(self) -> bool:
        return self._engine is not None and self._engine.poll() is None

    @property
    def log(self) -> str:
        return (self.folder / "engine.log").read_text(errors="replace")

    def ask(self, sql: str, *args: Any) -> list[tuple[Any, ...]]:
        """Rows of the database, past every line of the product."""
        connection = sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=5)
        try:
            return connection.execute(sql, args).fetchall()
        finally:
            connection.close()

    def until(self, holds: Callable[[], bool], *, within_s: float, what: str) -> None:
        """Wait for a condition of the rows; fail with the end of the engine's log."""
        end = time.monotonic() + within_s
        while not holds():
            if time.monotonic() > end:
                raise AssertionError(f"{what} did not happen in {within_s} s\n{self.log[-4000:]}")
            assert self.is_running, f"the engine ended\n{self.log[-4000:]}"
            time.sleep(0.05)

    def _run(self, *args: str) -> None:
        done = subprocess.run([sys.executable, *args], cwd=ROOT, env=self.env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
