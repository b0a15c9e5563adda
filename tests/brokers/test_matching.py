"""What fills, when, and at which price: one row a rule."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from execution.core.messages import Bar, ExecType, Trade
from risk.core.units import OrdType, Quote, Side, TimeInForce
from risk.core.verdict import Approved
from tests.brokers.builders import D, Told, bar, broker, limit, order, quote, stop, told, trade

SELL = Side.SELL
IOC, FOK, DAY = TimeInForce.IOC, TimeInForce.FOK, TimeInForce.DAY
START = quote("99.99", "100.00")

#: what is told of an order after its acknowledgement: (exec_type, last_qty, last_px) each
Story = list[tuple[str, str, str]]
CANCELED: Story = [("CANCELED", "0", "0")]
EXPIRED: Story = [("EXPIRED", "0", "0")]


def filled(price: str, qty: str = "1") -> Story:
    return [("TRADE", qty, price)]


def entry_stop(stop_px: str, **changes: Any) -> Approved:
    """A buy stop that opens a position."""
    return stop(stop_px, **{"side": Side.BUY, "reduce_only": False, **changes})


def stop_limit(stop_px: str, price: str, **changes: Any) -> Approved:
    return entry_stop(stop_px, ord_type=OrdType.STOP_LIMIT, price=price, **changes)


async def story(
    approved: Approved, *events: Quote | Trade | Bar, start: Quote | None = START, position: str = "0", **options: Any
) -> Story:
    """What is told of one order that came at `start` and then met these events, by a venue that holds this position."""
    venue = broker(**options)
    await venue.open()
    reports = Told(venue)
    if Decimal(position):
        venue.on_market(quote("99.99", "100.00", after=-60))
        await venue.submit("before", order(str(abs(D(position))), side=Side.BUY if D(position) > 0 else SELL))
        await reports.of("before", ExecType.TRADE)
    if start is not None:
        venue.on_market(start)
    await venue.submit("a1", approved)
    for event in events:
        venue.on_market(event)
    await venue.close()
    return [told(report) for report in await reports.rest() if report.cl_ord_id == "a1" and report.exec_type is not ExecType.NEW]


LOW, HIGH = quote("98.00", "98.01", after=1), quote("102.00", "102.01", after=1)


@pytest.mark.parametrize(
    ("approved", "events", "expected"),
    [
        pytest.param(order(), [], filled("100.00"), id="a market buy pays the ask"),
        pytest.param(order(side=SELL), [], filled("99.99"), id="a market sell gets the bid"),
        pytest.param(limit("100.50"), [], filled("100.00"), id="a marketable limit keeps its price improvement"),
        pytest.param(limit("99.00"), [quote("99.00", "99.01", after=1)], [], id="a resting buy waits for the ask"),
        pytest.param(limit("99.00"), [quote("98.99", "99.00", after=1)], filled("99.00"), id="an ask at the limit fills it"),
        pytest.param(limit("99.00"), [LOW], filled("98.01"), id="a gap through a buy limit fills at the gap"),
        pytest.param(limit("101.00", side=SELL), [HIGH], filled("102.00"), id="a gap through a sell limit fills at the gap"),
        pytest.param(limit("99.00"), [trade("99.00", after=1)], [], id="a print at the limit may have filled those before us"),
        pytest.param(
            limit("99.00"), [trade("98.99", after=1)], filled("99.00"), id="a print beyond the limit fills it at the limit"
        ),
        pytest.param(limit("101.00", side=SELL), [trade("102.00", after=1)], filled("101.00"), id="and so for a sell"),
        pytest.param(entry_stop("101.00"), [quote("100.00", "100.99", after=1)], [], id="a buy stop waits below its price"),
        pytest.param(
            entry_stop("101.00"), [quote("100.90", "101.00", after=1)], filled("101.00"), id="a buy stop fires at its price"
        ),
        pytest.param(entry_stop("101.00"), [HIGH], filled("102.01"), id="a gap through a buy stop fills after the gap"),
        pytest.param(entry_stop("101.00"), [trade("101.50", after=1)], filled("101.50"), id="a print fires a stop at its price"),
        pytest.param(stop_limit("101.00", "101.50"), [HIGH], [], id="a stop-limit does not follow a gap"),
        pytest.param(
            stop_limit("101.00", "101.50"),
            [HIGH, quote("101.00", "101.20", after=2)],
            filled("101.20"),
            id="but fills on the way back",
        ),
        pytest.param(
            stop_limit("101.00", "101.50"), [quote("101.0", "101.10", after=1)], filled("101.10"), id="or at once, if it can"
        ),
        pytest.param(limit("99.00", time_in_force=IOC), [LOW], CANCELED, id="IOC does not wait"),
        pytest.param(limit("100.00", time_in_force=IOC), [], filled("100.00"), id="IOC takes what is there"),
        pytest.param(limit("99.00", time_in_force=FOK), [LOW], CANCELED, id="FOK does not wait"),
        pytest.param(limit("100.00", time_in_force=FOK), [], filled("100.00"), id="FOK takes all at once"),
        pytest.param(limit("99.99", post_only=True), [LOW], filled("98.01"), id="post-only rests inside the spread"),
        pytest.param(
            limit("99.00", time_in_force=DAY), [quote("99.9", "100", after=43200)], EXPIRED, id="DAY ends at midnight UTC"
        ),
        pytest.param(limit("99.00"), [quote("98.50", "98.40", after=1)], [], id="a crossed quote is no market"),
    ],
)
async def test_it_fills_on_quotes_and_prints(approved: Approved, events: list[Quote | Trade], expected: Story) -> None:
    assert await story(approved, *events) == expected


@pytest.mark.parametrize(
    ("approved", "events", "expected"),
    [
        pytest.param(limit("95.00"), [bar("100", "101", "94", "99")], filled("95.00"), id="a low below a buy limit fills it"),
        pytest.param(limit("95.00"), [bar("90", "101", "89", "99")], filled("90"), id="a bar that opens below fills at its open"),
        pytest.param(limit("95.00"), [bar("100", "101", "95.01", "99")], [], id="a low above does not"),
        pytest.param(limit("105.00", side=SELL), [bar("110", "111", "99", "100")], filled("110"), id="a sell gains from a gap too"),
        pytest.param(entry_stop("105.00"), [bar("100", "106", "99", "103")], filled("105.00"), id="a stop fills at its level"),
        pytest.param(entry_stop("105.00"), [bar("108", "109", "99", "103")], filled("108"), id="a stop that gapped at the open"),
        pytest.param(
            stop_limit("105.00", "106.00"), [bar("100", "107", "99", "100")], filled("105.00"), id="stop-limit at its stop"
        ),
        pytest.param(
            stop_limit("105.00", "106.00"), [bar("108", "109", "99", "100")], [], id="not at a better price of the same bar"
        ),
        pytest.param(
            limit("95.00"), [bar("100", "101", "94", "99", after=-60)], [], id="a bar that began before the order is the past"
        ),
    ],
)
async def test_it_fills_on_bars(approved: Approved, events: list[Bar], expected: Story) -> None:
    assert await story(approved, *events) == expected


async def test_it_fills_a_new_order_only_in_the_bar_after_it() -> None:
    """On a bar tape a close comes as a quote and the bar after it: the order sent on that close must not meet the bar's low."""
    seen: list[Quote | Trade | Bar] = [bar("100", "101", "99", "100", after=-60), START, bar("100", "101", "90", "100", after=-60)]
    assert await story(limit("95.00"), *seen) == []
    assert await story(limit("95.00"), *seen, quote("96", "96.01", after=60), bar("100", "101", "94", "96")) == filled("95.00")


async def test_it_takes_the_bar_before_its_close() -> None:
    """A stop that the bar went through fills at its level, although the close, which is told first, is far beyond it."""
    events: list[Quote | Trade | Bar] = [
        bar("100", "101", "99", "100", after=-60),
        quote("90", "90.01", after=60),
        bar("100", "100", "89", "90"),
    ]
    assert await story(stop("95.00"), *events, position="1") == filled("95.00")


async def test_it_lets_the_stop_win_when_a_bar_reaches_both_legs() -> None:
    venue = broker()
    await venue.open()
    reports = Told(venue)
    venue.on_market(START)
    await venue.submit("e1", order("1"))
    await venue.submit("t1", limit("104.00", side=SELL, reduce_only=True))
    await venue.submit("s1", stop("96.00"))
    venue.on_market(bar("100", "105", "95", "100"))
    await venue.close()
    ends = {report.cl_ord_id: told(report) for report in await reports.rest()}
    assert ends == {"e1": ("TRADE", "1", "100.00"), "s1": ("TRADE", "1", "96.00"), "t1": ("CANCELED", "0", "0")}


async def test_it_waits_for_the_first_price() -> None:
    assert await story(order(), start=None) == []
    assert await story(order(), LOW, start=None) == filled("98.01")
    assert await story(limit("99.00", time_in_force=IOC), LOW, start=None) == filled("98.01")


@pytest.mark.parametrize(
    ("approved", "position", "expected"),
    [
        pytest.param(stop("98.00", "1"), "2", filled("98.00", "1"), id="within the position"),
        pytest.param(
            stop("98.00", "3"), "2", [("TRADE", "2", "98.00"), ("CANCELED", "0", "0")], id="cut to the position, the rest canceled"
        ),
        pytest.param(order("3", side=SELL, reduce_only=True), "2", [("TRADE", "2", "99.99"), *CANCELED], id="at market as well"),
        pytest.param(order("3", reduce_only=True), "-2", [("TRADE", "2", "100.00"), *CANCELED], id="a short is bought back"),
    ],
)
async def test_it_never_flips_a_position_by_a_reducing_order(approved: Approved, position: str, expected: Story) -> None:
    assert await story(approved, LOW, position=position) == expected


async def test_it_cancels_a_reducing_order_that_finds_no_position() -> None:
    venue = broker()
    await venue.open()
    reports = Told(venue)
    venue.on_market(START)
    await venue.submit("e1", order("1"))
    await venue.submit("s1", stop("98.00"))
    await venue.submit("x1", order("1", side=SELL))
    venue.on_market(LOW)
    await venue.close()
    last = [report for report in await reports.rest() if report.cl_ord_id == "s1"][-1]
    assert (last.exec_type, last.text) == (ExecType.CANCELED, "reduce-only: no position is left")


@pytest.mark.parametrize(
    ("approved", "events", "price"),
    [
        pytest.param(order(), [], "100.10", id="buys pay it"),
        pytest.param(order(side=SELL), [], "99.89", id="sells get less, on the tick"),
        pytest.param(limit("100.05"), [], "100.05", id="never past a limit"),
        pytest.param(limit("99.00"), [quote("98.99", "99.00", after=1)], "99.00", id="makers do not slip"),
        pytest.param(entry_stop("101.00"), [quote("100.9", "101.00", after=1)], "101.11", id="stops do, upwards on the tick"),
    ],
)
async def test_it_slips_by_ten_points(approved: Approved, events: list[Quote], price: str) -> None:
    assert await story(approved, *events, slippage_bps=10) == filled(price)


@pytest.mark.parametrize(
    ("approved", "events", "liquidity", "fee"),
    [
        pytest.param(order("2"), [], "TAKER", "0.1", id="5 points of 200 for taking"),
        pytest.param(limit("99.00", "2"), [quote("98.99", "99.00", after=1)], "MAKER", "0.0396", id="2 points of 198 for making"),
        pytest.param(entry_stop("101.00", qty="2"), [quote("100.9", "101.00", after=1)], "TAKER", "0.101", id="a stop takes"),
    ],
)
async def test_it_charges_fees_on_notional(approved: Approved, events: list[Quote], liquidity: str, fee: str) -> None:
    venue = broker(fee_maker_bps=2, fee_taker_bps=5)
    await venue.open()
    venue.on_market(START)
    await venue.submit("a1", approved)
    for event in events:
        venue.on_market(event)
    fill = (await Told(venue).of("a1", ExecType.TRADE))[-1]
    assert (fill.liquidity, fill.fee, fill.fee_currency) == (liquidity, D(fee), "USDT")
    assert await venue.balances() == {"USDT": D(100_000) - fill.last_qty * fill.last_px - fill.fee}


async def test_it_keeps_what_a_position_cost() -> None:
    """Cash moves by every fill, also through zero: bought 2 at 100, sold 3 at 102, so 106 more cash and one short."""
    venue = broker()
    await venue.open()
    venue.on_market(START)
    await venue.submit("a1", order("2"))
    venue.on_market(HIGH)
    await venue.submit("a2", order("3", side=SELL))
    assert await venue.positions() == {"BTCUSDT": D(-1)}
    assert await venue.balances() == {"USDT": D(100_000) - D(200) + D(306)}
