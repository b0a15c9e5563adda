"""Seeded prices for demonstrations and tests; see README.md."""

from __future__ import annotations

from execution.feeds.synthetic.client import SyntheticFeed
from execution.feeds.synthetic.walk import ticks

__all__ = ["SyntheticFeed", "ticks"]
