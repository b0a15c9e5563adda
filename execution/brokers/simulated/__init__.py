"""The simulated venue: the paper venue and the backtest venue; see README.md."""

from __future__ import annotations

from execution.brokers.simulated.client import SimulatedBroker
from execution.brokers.simulated.store import DatabaseStore, MemoryStore

__all__ = ["DatabaseStore", "MemoryStore", "SimulatedBroker"]
