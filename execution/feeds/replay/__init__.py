"""Recorded markets; see README.md."""

from __future__ import annotations

from execution.feeds.replay.client import ReplayFeed
from execution.feeds.replay.codec import NotATape

__all__ = ["NotATape", "ReplayFeed"]
