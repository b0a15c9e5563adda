"""The Desk's loop by itself: when it takes a picture of the Desk."""

from __future__ import annotations

from typing import Any

import pytest

from execution.core.desk import Desk
from execution.core.messages import LinkChanged, LinkKind, Started
from execution.core.state import CORE_VERSION
from execution.engine import loop as loops
from execution.engine.clock import AccountClock, Clock
from execution.engine.loop import DeskLoop
from execution.engine.publisher import Stream
from execution.engine.writer import Session, Write
from execution.store.projections import SignalFold


class Paper:
    """A journal that only remembers after how many events it got a snapshot."""

    def __init__(self) -> None:
        self.imaged: list[int] = []

    def submit(self, session: Session, write: Write) -> None:
        if write.image is not None:
            self.imaged.append(write.image.seq)


def snapshots(*, events: int) -> list[int]:
    """The numbers of the events after which a Desk that takes one every ten was pictured."""
    paper: Any = Paper()
    clock = AccountClock(Clock())
    loop = DeskLoop(
        Desk.new("paper"),
        writer=paper,
        account_id=1,
        token=1,
        epoch="e000",
        clock=clock,
        fold=SignalFold(),
        stream=Stream(account_id=1, code="paper"),
        perform=lambda effect, born: None,
        broken=lambda error: None,
        snapshot_every=10,
    )
    loop.take(Started(at=clock.now(), token=1, core_version=CORE_VERSION, epoch="e000"))
    for n in range(events - 1):
        loop.take(LinkChanged(at=clock.now(), link=LinkKind.PRICES, is_up=not n % 2))
    assert loop.desk.seq == events
    imaged: list[int] = paper.imaged
    return imaged


async def test_it_takes_a_snapshot_every_so_many_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "SNAPSHOT_GAP_S", 0.0)
    assert snapshots(events=35) == [10, 20, 30]


async def test_it_takes_none_soon_after_another_until_a_restart_would_take_long() -> None:
    assert snapshots(events=125) == [60, 120]
