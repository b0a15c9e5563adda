"""What trading costs at the simulated venue: fee schedules and slippage models, and that they are charged as they are told."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from execution.brokers.simulated import DatabaseStore, MemoryStore
from execution.brokers.simulated.codec import behaviour_of
from execution.brokers.simulated.fees import Schedule, Tier, Traded, fill_fee, section_31, trading_activity
from execution.brokers.simulated.slippage import Model, Seen, Slippage, amount
from execution.core.messages import ExecType
from risk.core.units import AssetClass, Instrument, Quote, Side
from risk.core.verdict import Approved
from tests.brokers.builders import BTC, D, Told, bar, broker, later, limit, opened, order, quote, stop, trade

X = ExecType
SELL = Side.SELL
STOCK = Instrument("AAPL", AssetClass.EQUITY, D("0.01"), D(1), D(0), "USD", calendar="XNYS")
SPOT = msgspec.structs.replace(BTC, asset_class=AssetClass.CRYPTO_SPOT)
IBKR = {"per_unit": "0.005", "minimum": "1", "maximum_pct": "1"}
PREMIUM = {"tier_by": "PRICE", "tiers": [{"up_to": "1", "per_unit": "0.1"}, {"per_unit": "0.5"}]}


# --- fees ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fees", "qty", "price", "fee"),
    [
        pytest.param({"taker_bps": "10"}, "2", "100", "0.2", id="on notional"),
        pytest.param(IBKR, "1000", "100", "5", id="per share"),
        pytest.param(IBKR, "100", "100", "1", id="at least the minimum"),
        pytest.param(IBKR, "1", "50", "0.5", id="at most the maximum, which wins over the minimum"),
        pytest.param({"per_order": "0.99"}, "7", "100", "0.99", id="per order"),
        pytest.param(PREMIUM, "3", "1", "0.3", id="by premium, up to and including"),
        pytest.param(PREMIUM, "3", "1.01", "1.5", id="by premium, beyond"),
        pytest.param(
            {"tier_by": "QTY", "tiers": [{"up_to": "9", "per_unit": "1"}, {"per_unit": "0.5"}]}, "10", "1", "5", id="by size"
        ),
    ],
)
def test_it_prices_an_order_by_its_schedule(fees: dict[str, Any], qty: str, price: str, fee: str) -> None:
    rules, _ = behaviour_of({"fees": [fees]})
    traded = Traded(D(0), D(qty) * D(price), D(qty))
    assert fill_fee(rules.fees[0], STOCK, before=Traded(D(0), D(0), D(0)), after=traded) == D(fee)


parts = st.lists(st.integers(1, 500), min_size=1, max_size=6)


@given(parts=parts, price=st.integers(1, 300))
def test_it_charges_an_order_the_same_in_one_fill_or_in_many(parts: list[int], price: int) -> None:
    schedule = Schedule(tiers=(Tier(per_unit=D("0.005"), taker=D("0.0007")),), minimum=D(1), maximum=D("0.01"))
    traded, paid = Traded(D(0), D(0), D(0)), D(0)
    for part in parts:
        after = traded.plus(D(part), D(part * price), "TAKER")
        paid += fill_fee(schedule, STOCK, before=traded, after=after)
        traded = after
    assert paid == fill_fee(schedule, STOCK, before=Traded(D(0), D(0), D(0)), after=traded)


async def test_it_takes_the_first_schedule_that_names_the_symbol_or_its_class() -> None:
    fees = [{"for": ["FX"], "per_order": "9"}, {"for": ["BTCUSDT"], "per_order": "3"}, {"for": ["CRYPTO_PERP"], "per_order": "5"}]
    for without, fee in ((3, "3"), (1, "5"), (0, "0.05")):
        venue = await opened(fees=fees[:without] if without == 3 else fees[2:] if without else [], fee_taker_bps=5)
        await venue.submit("a1", order("1"))
        assert (await Told(venue).of("a1", X.TRADE))[-1].fee == D(fee)


async def test_it_charges_the_minimum_once_an_order() -> None:
    venue = await opened(partial_pct=100, seed=3, fees=[{"minimum": "1", "taker_bps": "0.01"}])
    reports = Told(venue)
    await venue.submit("a1", limit("100.00", "10"))
    for after in range(1, 40):
        venue.on_market(quote("99.99", "100.00", after=after))
    seen = await reports.until(lambda all_: all_[-1].cum_qty == 10 if all_ else False)
    fees = [r.fee for r in seen if r.exec_type is X.TRADE]
    assert len(fees) > 2
    assert (fees[0], sum(fees)) == (D(1), D(1))
    assert await venue.balances() == {"USDT": D(100_000) - 1000 - 1}


@pytest.mark.django_db(transaction=True)
@pytest.mark.db
@pytest.mark.parametrize("kind", ["memory", "database"])
async def test_it_remembers_after_a_crash_what_an_order_has_paid(kind: str) -> None:
    memory = MemoryStore()

    def store() -> MemoryStore | DatabaseStore:
        return memory if kind == "memory" else DatabaseStore("paper")

    options: dict[str, Any] = {"partial_pct": 100, "seed": 3, "fees": [{"minimum": "1", "taker_bps": "0.01"}]}
    venue = await opened(store(), **options)
    await venue.submit("a1", limit("100.00", "10"))
    await venue.close()
    venue = await opened(store(), **options)
    for after in range(1, 40):
        venue.on_market(quote("99.99", "100.00", after=after))
    fills = await venue.fills_since(later(-1))
    assert len(fills) > 2
    assert sum(fill.fee for fill in fills) == 1
    await venue.close()


async def test_it_takes_its_fee_from_what_a_buy_brings() -> None:
    venue = await opened(instrument=SPOT, fees=[{"taker_bps": "25", "taken_from": "RECEIVED"}])
    reports = Told(venue)
    await venue.submit("a1", order("2"))
    fill = (await reports.of("a1", X.TRADE))[-1]
    assert (fill.fee, fill.fee_currency) == (D("0.005"), "BTC")
    assert await venue.positions() == {"BTCUSDT": D("1.995")}
    assert await venue.balances() == {"USDT": D(100_000) - 200}
    await venue.submit("a2", order("1", side=SELL))
    fill = (await reports.of("a2", X.TRADE))[-1]
    assert (fill.fee, fill.fee_currency) == (D("0.249975"), "USDT")


async def test_it_takes_money_where_a_buy_brings_nothing_but_a_position() -> None:
    venue = await opened(fees=[{"taker_bps": "25", "taken_from": "RECEIVED"}])
    await venue.submit("a1", order("2"))
    fill = (await Told(venue).of("a1", X.TRADE))[-1]
    assert (fill.fee, fill.fee_currency) == (D("0.5"), "USDT")


async def test_it_charges_what_regulators_charge_on_sales() -> None:
    """SEC Section 31 on the proceeds and FINRA's fee per share, each rounded up to the cent, on sales of US equities alone."""
    venue = broker(instrument=STOCK, fees=[{"regulatory": "US_EQUITY"}])
    await venue.open()
    at = later(-366 * 86_400)
    venue.on_market(Quote("AAPL", D("100.00"), D("100.01"), D(100), at, at, at))
    reports = Told(venue)
    await venue.submit("b1", order("300", symbol="AAPL"))
    await venue.submit("s1", order("300", symbol="AAPL", side=SELL))
    bought, sold = (await reports.of("b1", X.TRADE))[-1], (await reports.of("s1", X.TRADE))[-1]
    assert bought.fee == 0
    assert sold.fee == section_31(D(30_000), at.date()) + trading_activity(D(300), at.date()) == D("0.84") + D("0.05")


@pytest.mark.parametrize(
    ("day", "section", "activity"),
    [
        (date(2001, 12, 27), "0", "0"),
        (date(2021, 2, 24), "22.10", "0.12"),
        (date(2021, 2, 25), "5.10", "0.12"),
        (date(2025, 5, 13), "27.80", "0.17"),
        (date(2025, 5, 14), "0.00", "0.17"),
    ],
)
def test_it_knows_the_rate_of_the_day(day: date, section: str, activity: str) -> None:
    assert section_31(D(1_000_000), day) == D(section)
    assert trading_activity(D(1000), day) == D(activity)


def test_it_caps_the_fee_of_one_trade() -> None:
    day = date(2024, 6, 3)
    assert trading_activity(D(50_000), day) == trading_activity(D(5_000_000), day) == D("8.30")


# --- slippage ------------------------------------------------------------------------------------------------------------------


SEEN = Seen(price=D(100), qty=D(10), half_spread=D("0.10"), volume=D(100), volume_mean=D(1000), volatility=D("0.02"))


@pytest.mark.parametrize(
    ("model", "seen", "expected"),
    [
        pytest.param(Slippage(rate=D("0.001")), {}, "0.1", id="points of the price"),
        pytest.param(Slippage(rate=D("0.001"), exit_rate=D("0.002")), {"reduces": True}, "0.2", id="other points for exits"),
        pytest.param(Slippage(model=Model.FIXED, amount=D("0.03")), {}, "0.03", id="money"),
        pytest.param(Slippage(model=Model.SPREAD), {}, "-0.05", id="half of the half spread, inside the touch"),
        pytest.param(Slippage(model=Model.SPREAD, fraction=D(2)), {}, "0.10", id="twice the half spread"),
        pytest.param(Slippage(model=Model.SPREAD), {"is_touch": False}, "0.05", id="from the middle"),
        pytest.param(Slippage(model=Model.VOLUME_SHARE), {}, "0.00625", id="the share, up to its limit"),
        pytest.param(Slippage(model=Model.VOLUME_SHARE, volume_limit=D(1)), {}, "0.1", id="the share squared"),
        pytest.param(Slippage(model=Model.VOLUME_SHARE), {"volume": D(0)}, "0.00625", id="nobody trades: the limit"),
        pytest.param(Slippage(model=Model.VOLUME_IMPACT), {}, "1", id="the root of the share of the average"),
        pytest.param(Slippage(model=Model.VOLUME_IMPACT, exponent=D(1)), {}, "0.1", id="linear impact"),
        pytest.param(Slippage(model=Model.VOLATILITY, factor=D("0.5")), {}, "1", id="half a standard deviation"),
    ],
)
def test_it_slips_by_its_formula(model: Slippage, seen: dict[str, Any], expected: str) -> None:
    assert amount(model, msgspec.structs.replace(SEEN, **seen)).normalize() == D(expected).normalize()


WIDE = quote("99.90", "100.10")


@pytest.mark.parametrize(
    ("model", "approved", "price"),
    [
        pytest.param({"model": "SPREAD", "fraction": "0.5"}, order(), "100.05", id="a spread model has a quote to go by"),
        pytest.param({"model": "SPREAD", "fraction": "0.5"}, order(side=SELL), "99.95", id="and so for a sell"),
        pytest.param({"model": "SPREAD", "fraction": "1"}, order(), "100.10", id="a fraction of one is the touch"),
        pytest.param({"model": "FIXED", "amount": "0.025"}, order(), "100.13", id="rounded against us"),
        pytest.param({"model": "FIXED", "amount": "5"}, limit("100.50"), "100.50", id="never past a limit"),
        pytest.param({"model": "BPS", "bps": "10", "for": ["ETHUSDT"]}, order(), "100.10", id="for another symbol"),
        pytest.param({"model": "BPS", "bps": "10", "for": ["CRYPTO_PERP"]}, order(), "100.21", id="for the class"),
    ],
)
async def test_it_fills_by_the_model(model: dict[str, Any], approved: Approved, price: str) -> None:
    venue = broker(slippage=[model])
    await venue.open()
    venue.on_market(WIDE)
    await venue.submit("a1", approved)
    assert (await Told(venue).of("a1", X.TRADE))[-1].last_px == D(price)


async def test_a_stop_slips_more_than_an_entry_where_exits_do() -> None:
    venue = await opened(slippage=[{"model": "BPS", "bps": "5", "exit_bps": "20"}])
    reports = Told(venue)
    await venue.submit("e1", order("1"))
    await venue.submit("s1", stop("95.00"))
    venue.on_market(quote("95.00", "95.01", after=1))
    assert (await reports.of("e1", X.TRADE))[-1].last_px == D("100.05")
    assert (await reports.of("s1", X.TRADE))[-1].last_px == D("94.81")


async def fill_px(model: dict[str, Any], *seen: Any, qty: str = "10") -> Decimal:
    """At which price a market buy fills at 99.99 / 100.00 after the market did this."""
    venue = broker(slippage=[model])
    await venue.open()
    for event in seen:
        venue.on_market(event)
    venue.on_market(quote("99.99", "100.00", after=600))
    await venue.submit("a1", order(qty))
    return (await Told(venue).of("a1", X.TRADE))[-1].last_px


async def test_it_learns_the_volume_from_bars_or_from_prints() -> None:
    model = {"model": "VOLUME_SHARE", "volume_limit": "1", "price_impact": "1"}
    bars = [bar("100", "100", "100", "100", after=after) for after in (0, 60)]
    assert await fill_px(model, *bars, qty="1") == D("101")
    prints = [trade("100", after=after) for after in (0, 70, 75, 80, 85)]
    assert await fill_px(model, *prints, qty="1") == D("106.25")
    told = {**model, "volume": "1000"}
    assert await fill_px(told, qty="10") == D("100.01")


async def test_it_learns_the_volatility_from_closes() -> None:
    model = {"model": "VOLATILITY", "factor": "1"}
    still = [bar("100", "100", "100", "100", after=60 * n) for n in range(5)]
    assert await fill_px(model, *still) == D("100.00")
    wild = [bar("100", "110", "90", close, after=60 * n) for n, close in enumerate(("100", "102", "100", "102", "100"))]
    assert D("102") < await fill_px(model, *wild) < D("103")


@given(volume=st.integers(1, 10_000), qty=st.integers(1, 1000), model=st.sampled_from(list(Model)))
def test_it_never_slips_in_our_favour_but_for_the_spread(volume: int, qty: int, model: Model) -> None:
    seen = msgspec.structs.replace(SEEN, volume=D(volume), volume_mean=D(volume), qty=D(qty))
    slip = amount(Slippage(model=model, rate=D("0.001"), amount=D("0.01")), seen)
    assert slip >= 0 or (model is Model.SPREAD and slip >= -seen.half_spread)
