"""An entry in slices, from the brain to the rows: each on a price of its own time, all of them on one Signal and in one bracket."""

from __future__ import annotations

from typing import Any

import pytest

from execution.core.messages import Twap
from execution.models import Bracket, Order, Signal
from risk.core.verdict import HintKind, SizeHint
from tests.engine.desk import D, Place, Scripted, buy
from tests.engine.venue import until

pytestmark = pytest.mark.db


async def test_it_sends_slice_by_slice_and_says_how_far_it_is(place: Place) -> None:
    async with place.engine() as engine:
        await engine.active()
        Scripted.script.append(buy(twap=Twap(D("1.5"), D("0.5")), hint=SizeHint(HintKind.QUANTITY, D("0.03"))))
        place.market.quote(61000)
        await until(lambda: bool(engine.runner.desk.state.parents))
        await until(lambda: not engine.runner.desk.state.parents)
        await until(lambda: {b.status for b in engine.runner.desk.state.brackets.values()} == {"ARMED"})
        await engine.drain()

    def story() -> dict[str, Any]:
        signal = Signal.objects.get()
        slices = Order.objects.filter(purpose="ENTRY")
        return {
            "signal": (signal.order_qty, signal.text),
            "slices": [(o.order_qty, o.ord_status, o.decision_id == signal.decision_id) for o in slices.order_by("id")],
            "bracket": Bracket.objects.values_list("open_qty", "status").get(),
        }

    assert await place.rows(story) == {
        "signal": (D("0.03"), "TWAP: 3 of 3 slices sent, 0.03 of 0.03 filled. Over: its time is over."),
        "slices": [(D("0.01"), "FILLED", True)] * 3,
        "bracket": (D("0.03"), "ARMED"),
    }
