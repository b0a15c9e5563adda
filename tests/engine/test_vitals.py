"""Vitals: what only the engine can measure reaches its row."""

from __future__ import annotations

import pytest

from execution import services
from execution.engine.vitals import BOUNDS_S, Timings
from execution.models import Engine as EngineRow
from tests.engine.desk import D, Place, Scripted, buy
from tests.engine.test_runner import enter
from tests.engine.venue import until


def test_it_counts_a_time_in_every_bound_that_it_is_within() -> None:
    timings = Timings()
    for seconds in (0.0005, 0.0006, 4.0, 60.0):
        timings.add(seconds)
    told = timings.read()
    within = dict(told["buckets"])
    assert (within["0.0005"], within["0.001"], within["1.0"], within["5.0"], within["+Inf"]) == (1, 2, 2, 3, 4)
    assert told["sum_s"] == 64.0011
    assert len(within) == len(BOUNDS_S)


@pytest.mark.db
async def test_it_tells_latencies_and_denials_with_the_heartbeat(place: Place) -> None:
    async with place.engine() as engine:
        await enter(place, engine)
        Scripted.script.append(buy(stop_loss=D(70000)))
        place.market.quote(61000)
        await until(lambda: not Scripted.script)
        asked = {"by": "alice", "reason": "", "idempotency_key": "one"}
        await place.rows(lambda: services.venue_query(account=place.account, **asked))
        await until(lambda: engine.supervisor._vitals.commanded.read()["sum_s"] > 0)
        await engine.supervisor._heartbeat()
        orders = len(engine.runner.desk.state.orders)
        vitals = (await place.rows(EngineRow.objects.get)).vitals
    assert dict(vitals["decision_to_venue_seconds"]["buckets"])["+Inf"] == orders == 3
    assert dict(vitals["command_to_engine_seconds"]["buckets"])["+Inf"] == 1
    assert list(vitals["denials"].values()) == [1]


@pytest.mark.db
async def test_every_record_of_a_runner_says_whose_it_is(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    async with place.engine() as engine:
        await engine.active()
        await engine.drain()
    of_runner = [record.msg for record in caplog.records if record.name == "execution.engine.runner"]
    assert [told["event"] for told in of_runner if isinstance(told, dict)] == ["the journal is replayed"]
    assert of_runner[0]["account_id"] == place.account.pk  # type: ignore[index]
