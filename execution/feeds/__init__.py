"""Market data: one folder a source, opened by the text in Account.feed."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from execution.core.ports import Feed
from execution.feeds.replay import NotATape, ReplayFeed
from execution.feeds.replay.tape import open_tape
from execution.feeds.synthetic import SyntheticFeed
from risk.core.units import Instrument

__all__ = ["NotATape", "Replay", "is_synthetic", "open_feed", "replay_of", "tape_intervals", "tape_is_over", "tape_symbols"]

_SYNTHETIC = re.compile(r"synthetic(?::(?P<seed>\d+))?")
_SPEED = re.compile(r"\d+(?:\.\d+)?x?", re.IGNORECASE)


class Replay(NamedTuple):
    """A tape and how fast it is played, as `replay:PATH@SPEED` says it. A speed of None is as fast as possible."""

    path: Path
    speed: float | None
    #: the speed as it was written, with its @; empty where none was
    at: str


def open_feed(
    spec: str, *, instruments: Mapping[str, Instrument], seed: int, offset: int = 0, clock: Callable[[], datetime]
) -> Feed:
    """The feed that `spec` names: `synthetic[:SEED]` or `replay:PATH[@SPEED]`, SPEED being 1, 60 (or 60x) or max.

    `seed` is used where the text gives none; `offset` is where the feed stood when it was last open. Raises NotATape for a file
    that cannot be replayed, ValueError for a text that names no feed; both with one sentence for people.
    """
    if found := _SYNTHETIC.fullmatch(spec):
        return SyntheticFeed(instruments=instruments, seed=int(found["seed"] or seed), offset=offset, clock=clock)
    replay = replay_of(spec)
    return ReplayFeed(replay.path, speed=replay.speed, instruments=instruments, offset=offset, clock=clock)


def is_synthetic(spec: str) -> bool:
    """Whether `spec` names the made-up market."""
    return _SYNTHETIC.fullmatch(spec) is not None


def replay_of(spec: str) -> Replay:
    """The tape that `replay:PATH[@SPEED]` names. ValueError with one sentence for a text that names none, or no speed."""
    kind, _, text = spec.partition(":")
    if kind.lower() != "replay" or not text or text.startswith("@"):
        raise ValueError(f"“{spec}” is no feed: write synthetic, synthetic:SEED, or replay:PATH@SPEED (@1, @60 or @max).")
    path, at, speed = text.rpartition("@")
    # an @ may also be part of the file's name
    if not at or os.path.exists(text):
        return Replay(Path(text), 1.0, "")
    return Replay(Path(path), _speed(speed), at + speed)


def _speed(text: str) -> float | None:
    if text.lower() == "max":
        return None
    speed = float(text.lower().rstrip("x")) if _SPEED.fullmatch(text) else 0.0
    if not 0.0 < speed < float("inf"):
        raise ValueError(f"A tape cannot run at speed “{text}”: write @1, @60 or @max.")
    return speed


def tape_symbols(path: str | Path) -> frozenset[str]:
    """The symbols that a tape carries. Raises NotATape."""
    return open_tape(path).symbols


def tape_intervals(path: str | Path) -> dict[str, int]:
    """For each symbol of a tape the seconds of its bars; 0 where it has quotes and trades. Raises NotATape."""
    tape = open_tape(path)
    return {symbol: tape.intervals.get(symbol, 0) for symbol in tape.symbols}


def tape_is_over(path: str | Path, offset: int) -> bool:
    """Whether nothing is left of a tape that was consumed up to `offset`. Raises NotATape."""
    return next(open_tape(path).moments(offset, lambda number, why: None), None) is None
