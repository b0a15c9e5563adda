"""`make bench-peer`: one tape and one bracket rule through this desk and through nautilus_trader, side by side, each in its own process.

The peer lives in an environment of its own, `var/peer`, installed from `requirements-peer.lock`: nothing of it comes into the desk's. Both
halves compute two averages of every quote's middle; the second run of each also enters with a stop and a target whenever it is
flat at every n-th quote. What a bracket costs is the difference of the two runs, divided by the three orders of a bracket. Ours runs
feed events through the simulated venue, brain and Desk, with every gate, published bodies and the digest; neither half writes to a disk.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

QUOTES: Final = 200_000
EVERY: Final = 20
ROUNDS: Final = 3
ORDERS_A_BRACKET: Final = 3
ROOT: Final = Path(__file__).resolve().parents[2]
LOCK: Final = ROOT / "requirements-peer.lock"
#: our half in a process of its own, with the applications loaded
OURS: Final = (
    "import sys, json, django; django.setup(); from bench.peer.desk import ours; print(json.dumps(ours(*map(int, sys.argv[1:]))))"
)


def peer_python() -> Path:
    """The peer's own environment, made and filled from the lock where it is not yet."""
    home = Path(os.environ.get("TRADINGDESK_VAR", ROOT / "var")) / "peer"
    python, stamp = home / "bin" / "python", home / "installed"
    if not stamp.exists() or stamp.read_bytes() != LOCK.read_bytes():
        print("Installing the peer into var/peer …", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True)
        options = ["--quiet", "--disable-pip-version-check", "--only-binary", ":all:", "--require-hashes", "--no-deps"]
        subprocess.run([str(python), "-m", "pip", "install", *options, "-r", str(LOCK)], check=True)
        stamp.write_bytes(LOCK.read_bytes())
    return python


def half(command: Sequence[str | Path], every: int) -> dict[str, Any]:
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "tradingdesk.settings"}
    done = subprocess.run(
        [*map(str, command), str(QUOTES), str(every)], cwd=ROOT, env=env, stdout=subprocess.PIPE, check=True, text=True
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def figures(runs: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> tuple[float, float]:
    """Quotes a second without a decision, and microseconds an order: medians of the rounds."""
    quotes = statistics.median(QUOTES / quiet["seconds"] for quiet, _ in runs)
    orders = statistics.median(
        (busy["seconds"] - quiet["seconds"]) / busy["lives"] / ORDERS_A_BRACKET * 1e6 for quiet, busy in runs
    )
    return quotes, orders


def main() -> None:
    commands: dict[str, Sequence[str | Path]] = {
        "tradingdesk": [sys.executable, "-c", OURS],
        "nautilus_trader": [peer_python(), ROOT / "bench" / "peer" / "nautilus.py"],
    }
    runs: dict[str, list[tuple[dict[str, Any], dict[str, Any]]]] = {name: [] for name in commands}
    for _ in range(ROUNDS):
        for name, command in commands.items():
            runs[name].append((half(command, 0), half(command, EVERY)))
    found = {name: figures(rounds) for name, rounds in runs.items()}
    print(f"{'':18}{'quotes/s':>12}{'µs an order':>14}{'brackets':>10}")
    for name, (quotes, orders) in found.items():
        print(f"{name:18}{quotes:12,.0f}{orders:14,.0f}{runs[name][0][1]['lives']:10,.0f}")
    (our_quotes, our_orders), (peer_quotes, peer_orders) = found["tradingdesk"], found["nautilus_trader"]
    print(f"{'ratio':18}{our_quotes / peer_quotes:12.2f}{peer_orders / our_orders:14.2f}")
    print(f"Processor time, medians of {ROUNDS} rounds in turn, {QUOTES:,} quotes each. Above 1 the desk is the faster.")


if __name__ == "__main__":
    main()
