"""Market data: one folder a source, opened by the text in Account.feed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

from execution.core.ports import Feed
from execution.feeds.replay import NotATape, ReplayFeed
from execution.feeds.replay.tape import open_tape
from execution.feeds.synthetic import SyntheticFeed
from risk.core.units import Instrument

__all__ = ["NotATape", "open_feed", "tape_intervals", "tape_is_over", "tape_symbols"]

_REPLAY = re.compile(r"replay:(?P<path>.+?)(?:@(?P<speed>max|\d+(?:\.\d+)?x?))?", re.IGNORECASE)
_SYNTHETIC = re.compile(r"synthetic(?::(?P<seed>\d+))?")


def open_feed(
    spec: str, *, instruments: Mapping[str, Instrument], seed: int, offset: int = 0, clock: Callable[[], datetime]
) -> Feed:
    """The feed that `spec` names: `synthetic[:SEED]` or `replay:PATH[@SPEED]`, SPEED being 1x, 60x, 60 or max.

    `seed` is used where the text gives none; `offset` is where the feed stood when it was last open. Raises NotATape for a file
    that cannot be replayed, ValueError for a text that names no feed; both with one sentence for people.
    """
    if found := _SYNTHETIC.fullmatch(spec):
        return SyntheticFeed(instruments=instruments, seed=int(found["seed"] or seed), offset=offset, clock=clock)
    if found := _REPLAY.fullmatch(spec):
        return ReplayFeed(found["path"], speed=_speed(found["speed"]), instruments=instruments, offset=offset, clock=clock)
    raise ValueError(f"“{spec}” is no feed: write synthetic, synthetic:SEED, or replay:PATH@SPEED (1x, 60x or max).")


def _speed(text: str | None) -> float | None:
    """None is as fast as possible."""
    if text is None:
        return 1.0
    if text.lower() == "max":
        return None
    if speed := float(text.lower().rstrip("x")):
        return speed
    raise ValueError("A tape cannot run at speed 0; write 1x, 60x or max.")


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
