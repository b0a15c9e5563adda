"""What the runners of an engine share, and how they open a venue and a feed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import NamedTuple

from execution.brokers import open_broker
from execution.core.messages import Timing
from execution.core.ports import Broker, Feed
from execution.engine.clock import Clock
from execution.engine.database import DatabaseThread
from execution.engine.loop import SNAPSHOT_EVERY
from execution.engine.publisher import Publisher
from execution.engine.writer import JournalWriter
from execution.feeds import open_feed
from execution.models import Account
from risk.core.units import Instrument


class Parts(NamedTuple):
    """What all runners of an engine share."""

    engine: str
    clock: Clock
    timing: Timing
    writer: JournalWriter
    database: DatabaseThread
    publisher: Publisher
    open_broker: Callable[..., Broker] = open_broker
    open_feed: Callable[..., Feed] = open_feed
    snapshot_every: int = SNAPSHOT_EVERY
    #: where journals are replayed, so that no lease waits seconds for its renewal; without it `database` does that too
    history: DatabaseThread | None = None

    @property
    def send_timeout_s(self) -> float:
        return self.timing.send_timeout_ms / 1000

    def broker_of(
        self, account: Account, instruments: Mapping[str, Instrument], *, clock: Callable[[], datetime] | None = None
    ) -> Broker:
        """The account's venue, not opened yet. One that runs here lives on the account's own clock."""
        return self.open_broker(
            account.broker,
            account=account.code,
            options=account.broker_options,
            instruments=instruments,
            currency=account.currency,
            starting_cash=account.starting_cash,
            clock=clock or self.clock.now,
        )
