"""An unfriendly venue: what it does by chance it does by seed, and however it answers, its books stay right."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from execution.brokers.simulated import MemoryStore
from execution.core.messages import ExecType, Reported
from execution.core.ports import Refused
from risk.core.units import Side
from tests.brokers.builders import D, Told, broker, cancel, limit, order, quote

#: what a run leaves behind: how each send ended, the reports in their order, the position
Run = tuple[list[str], list[Reported], dict[str, object]]


async def run(orders: int = 60, **options: Any) -> Run:
    """Market orders, one a second, with prices between them."""
    venue = broker(**options)
    await venue.open()
    told, sends = Told(venue), []
    for n in range(orders):
        venue.on_market(quote("99.99", "100.00", after=n))
        try:
            await venue.submit(f"o{n}", order("1"))
            sends.append("taken")
        except (ConnectionResetError, Refused) as e:
            sends.append(str(e))
    for n in range(40):
        venue.on_market(quote("99.99", "100.00", after=orders + n))
    positions = await venue.positions()
    await venue.close()
    return sends, await told.rest(), dict(positions)


def kinds(reports: list[Reported]) -> Counter[ExecType]:
    return Counter(report.exec_type for report in reports)


async def test_it_repeats_itself_by_seed() -> None:
    faults: dict[str, Any] = {"partial_pct": 40, "reject_pct": 10, "lost_answer_pct": 20, "duplicate_pct": 20}
    assert await run(seed=7, **faults) == await run(seed=7, **faults)
    assert await run(seed=7, **faults) != await run(seed=8, **faults)


async def test_it_is_friendly_unless_told() -> None:
    sends, reports, positions = await run()
    assert sends == ["taken"] * 60
    assert kinds(reports) == {ExecType.NEW: 60, ExecType.TRADE: 60}
    assert positions == {"BTCUSDT": D(60)}


async def test_it_fills_in_parts() -> None:
    _, reports, positions = await run(partial_pct=50)
    fills = [report for report in reports if report.exec_type is ExecType.TRADE]
    assert len(fills) > 60
    assert positions == {"BTCUSDT": D(60)}
    for n in range(60):
        parts = [report for report in fills if report.cl_ord_id == f"o{n}"]
        assert [part.cum_qty for part in parts] == [sum(p.last_qty for p in parts[: i + 1]) for i in range(len(parts))]
        assert parts[-1].cum_qty == 1


async def test_it_rejects_after_it_took_the_order() -> None:
    sends, reports, positions = await run(reject_pct=50)
    rejected = kinds(reports)[ExecType.REJECTED]
    assert sends == ["taken"] * 60
    assert 0 < rejected < 60
    assert positions == {"BTCUSDT": D(60 - rejected)}


async def test_it_loses_answers_before_and_after_it_took_the_order() -> None:
    sends, reports, positions = await run(lost_answer_pct=60)
    ways = Counter(sends)
    before = ways["the connection was lost before the order arrived"]
    after = ways["the connection was lost before the answer came"]
    assert before > 0
    assert after > 0
    assert positions == {"BTCUSDT": D(60 - before)}
    # nobody is told that a lost order was taken, but its fill is
    assert kinds(reports) == {ExecType.NEW: 60 - before - after, ExecType.TRADE: 60 - before}


async def test_it_finds_what_was_lost_when_it_is_asked() -> None:
    store = MemoryStore()
    venue = broker(store, lost_answer_pct=100)
    await venue.open()
    lost = 0
    for n in range(20):
        with pytest.raises(ConnectionResetError) as why:
            await venue.submit(f"o{n}", limit("99.00"))
        arrived = await venue.order_by_cl_ord_id(f"o{n}", "BTCUSDT") is not None
        assert arrived == ("answer" in str(why.value))
        lost += not arrived
    assert 0 < lost < 20


async def test_it_reports_twice() -> None:
    _, reports, positions = await run(duplicate_pct=50)
    assert len(reports) > 120
    assert len({(report.cl_ord_id, report.exec_type) for report in reports}) == 120
    assert positions == {"BTCUSDT": D(60)}


async def test_it_reports_late_and_out_of_order() -> None:
    venue = broker(late_report_pct=50, late_report_ms=20)
    await venue.open()
    venue.on_market(quote("99.99", "100.00"))
    told = Told(venue)
    for n in range(40):
        await venue.submit(f"o{n}", order("1"))
    reports = await told.next(80)
    assert kinds(reports) == {ExecType.NEW: 40, ExecType.TRADE: 40}
    in_order = sorted(reports, key=lambda report: (int(report.cl_ord_id[1:]), report.exec_type is ExecType.TRADE))
    assert reports != in_order
    await venue.close()


async def test_it_keeps_the_order_of_reports_whatever_the_latency() -> None:
    venue = broker(latency_ms=1)
    await venue.open()
    venue.on_market(quote("99.99", "100.00"))
    told = Told(venue)
    for n in range(20):
        await venue.submit(f"o{n}", order("1"))
    reports = await told.next(40)
    assert [(r.cl_ord_id, r.exec_type) for r in reports] == [
        (f"o{n}", kind) for n in range(20) for kind in (ExecType.NEW, ExecType.TRADE)
    ]
    await venue.close()


async def test_it_loses_the_answers_to_cancels_as_well() -> None:
    venue = broker(lost_answer_pct=100)
    await venue.open()
    venue.on_market(quote("99.99", "100.00"))
    told = Told(venue)
    for n in range(20):
        with pytest.raises(ConnectionResetError):
            await venue.submit(f"o{n}", limit("99.00"))
        with pytest.raises(ConnectionResetError):
            await venue.cancel(cancel(f"o{n}"))
    still_open = len(await venue.orders_open())
    await venue.close()
    assert 0 < still_open < 20
    assert kinds(await told.rest())[ExecType.CANCELED] > 0


async def test_it_sells_what_it_may_not_buy() -> None:
    """Margin stops what opens, never what reduces."""
    venue = broker(leverage_max=1)
    await venue.open()
    venue.on_market(quote("99.99", "100.00"))
    await venue.submit("a1", order("900"))
    with pytest.raises(Refused, match="margin"):
        await venue.submit("a2", order("200"))
    await venue.submit("a3", order("900", side=Side.SELL))
    assert await venue.positions() == {}
