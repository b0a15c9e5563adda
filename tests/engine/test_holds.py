"""A brain that holds leaves no trace: nothing is decided, recorded or sent."""

from __future__ import annotations

import pytest

from execution.core.messages import Decision, SignalKind
from execution.models import Order, Signal
from execution.paper import PaperOrder
from tests.engine.desk import Place, Scripted
from tests.engine.venue import until

pytestmark = pytest.mark.db


async def test_it_tells_nobody_of_a_hold(place: Place) -> None:
    async with place.engine() as engine:
        await engine.active()
        await until(lambda: engine.runner._loop.unwritten == 0)
        Scripted.script += [Decision(signal=SignalKind.HOLD)] * 3
        for _ in range(3):
            place.market.quote(61000)
        await until(lambda: not Scripted.script)
        await engine.drain()

    def traces() -> tuple[int, int, int]:
        return Signal.objects.count(), Order.objects.count(), PaperOrder.objects.count()

    assert await place.rows(traces) == (0, 0, 0)
