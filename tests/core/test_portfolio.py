"""The account at stake: exposures, losses, readings; reservations."""

from __future__ import annotations

import random
from decimal import Decimal
from itertools import product
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from risk.core.book import Exposure
from risk.core.portfolio import Reading, Standing, fallen_pct, has_fallen, readings
from risk.core.reservations import reservation_price
from risk.core.settings import AccountLimits
from risk.core.stake import Room, stake_of
from risk.core.units import NO_LIMIT, Side
from risk.core.verdict import Approved, Denied, OrderClass, Reason
from tests.core.builders import Bench
from tests.core.risk_builders import D, account, book, buy, exposure, judged, later, limits, sell, settings
from tests.core.session import step

FREE = msgspec.structs.replace(
    limits(),
    daily_loss_pct=NO_LIMIT,
    drawdown_pct=NO_LIMIT,
    positions_max=1000,
    gross_exposure_pct=NO_LIMIT,
    net_exposure_pct=NO_LIMIT,
    leverage_max=NO_LIMIT,
    concentration_pct=NO_LIMIT,
    bot_exposure_pct=NO_LIMIT,
)


def reason(verdict: Approved | Denied) -> Reason | None:
    return verdict.reason if isinstance(verdict, Denied) else None


# --- losses ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("equity", "base", "pct", "has"),
    [
        ("97001", "100000", "3", False),
        ("97000", "100000", "3", True),
        ("96999", "100000", "3", True),
        ("110000", "100000", "3", False),
        ("100000", "100000", "0", True),
        ("1", "100000", "Infinity", False),
        ("NaN", "100000", "3", True),
        ("NaN", "100000", "Infinity", True),
        ("Infinity", "100000", "3", True),
        ("97001", "NaN", "3", True),
        ("97001", "0", "3", True),
        ("97001", "100000", "NaN", True),
    ],
)
def test_it_reaches_a_loss_limit_at_it(equity: str, base: str, pct: str, has: bool) -> None:
    assert has_fallen(D(equity), D(base), D(pct)) is has


@pytest.mark.parametrize(
    ("equity", "base", "pct"), [("97", "100", "3"), ("103", "100", "0"), ("NaN", "100", "100"), ("1", "0", "100")]
)
def test_it_measures_a_fall_in_percent(equity: str, base: str, pct: str) -> None:
    assert fallen_pct(D(equity), D(base)) == D(pct)


def test_it_puts_losses_before_everything_else_of_the_account() -> None:
    portfolio = account(exposure("ETHUSDT", qty="1", mark="NaN"), equity=D(90_000))
    assert reason(judged(buy(), book(portfolio=portfolio))) is Reason.DAILY_LOSS


# --- positions and exposure --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("open_symbols", "positions_max", "verdict"),
    [
        (["A", "B"], 2, Reason.MAX_POSITIONS),
        (["A", "BTCUSDT"], 2, None),
        (["A", "B", "BTCUSDT"], 2, None),
        (["A"], 2, None),
        ([], 0, Reason.MAX_POSITIONS),
    ],
)
def test_it_counts_open_symbols(open_symbols: list[str], positions_max: int, verdict: Reason | None) -> None:
    portfolio = account(*(exposure(symbol, qty="1") for symbol in open_symbols))
    on = book(portfolio=portfolio, limits=msgspec.structs.replace(FREE, positions_max=positions_max))
    assert reason(judged(buy(), on)) is verdict


def test_it_counts_a_working_entry_as_an_open_symbol() -> None:
    on = book(portfolio=account(exposure("A", sells=D(1))), limits=msgspec.structs.replace(FREE, positions_max=1))
    assert reason(judged(buy(), on)) is Reason.MAX_POSITIONS


def test_it_ignores_an_exposure_of_nothing() -> None:
    stake = stake_of([exposure("A", mark="NaN")])
    assert (stake.positions, stake.gross, stake.unmarked) == (0, D(0), "")


@pytest.mark.parametrize(("open_value", "verdict"), [("8000", None), ("8980", None), ("8981", Reason.GROSS_EXPOSURE)])
def test_it_passes_a_gross_exposure_exactly_at_the_cap(open_value: str, verdict: Reason | None) -> None:
    portfolio = account(exposure("A", qty="1", mark=open_value))
    on = book(portfolio=portfolio, limits=msgspec.structs.replace(FREE, gross_exposure_pct=D(10)))
    assert reason(judged(buy(), on)) is verdict


def test_it_lets_an_order_against_a_position_in_where_one_with_it_is_not() -> None:
    portfolio = account(exposure("BTCUSDT", qty="100"))
    on = book(portfolio=portfolio, limits=msgspec.structs.replace(FREE, net_exposure_pct=D(10)))
    assert reason(judged(buy(), on)) is Reason.NET_EXPOSURE
    assert reason(judged(sell(), on)) is None


def test_it_counts_a_bots_symbols_together() -> None:
    portfolio = account(exposure("A", qty="10", bot="alpha"), exposure("B", qty="500", bot="beta"))
    on = book(portfolio=portfolio, limits=msgspec.structs.replace(FREE, bot_exposure_pct=D(2)))
    assert reason(judged(buy(), on)) is Reason.BOT_EXPOSURE
    assert reason(judged(buy(bot="beta"), on)) is Reason.BOT_EXPOSURE
    assert reason(judged(buy("9"), on)) is None


def test_it_values_positions_by_contract() -> None:
    stake = stake_of([exposure("A", qty="-30", contract_value=D("0.1"), sells=D(5), leverage=D(5))])
    assert (stake.gross, stake.open_value, stake.margin) == (D(305), D(300), D(61))


def test_it_names_the_symbol_without_a_usable_mark() -> None:
    verdict = judged(buy(), book(portfolio=account(exposure("A", qty="1"), exposure("B", qty="-1", mark="0"))))
    assert isinstance(verdict, Denied)
    assert verdict.reason is Reason.NO_PRICE
    assert "position in B" in verdict.text


def test_it_judges_by_the_oldest_mark() -> None:
    fresh, old = exposure("A", qty="1", marked_at=later(60)), exposure("B", qty="1", marked_at=later(-1))
    on = book(portfolio=account(fresh, old), settings=settings(price_age_ms_max=NO_LIMIT, price_frozen_s=NO_LIMIT))
    assert reason(judged(buy(), on, later(59))) is None
    assert reason(judged(buy(), on, later(59.001))) is Reason.NO_PRICE


SIGNED = st.integers(-50, 50).map(D)
PLUS = st.integers(0, 50).map(D)
EXPOSURES = st.lists(st.tuples(SIGNED, PLUS, PLUS), max_size=3)


@given(EXPOSURES)
def test_it_bounds_whatever_may_fill(parts: list[tuple[Decimal, Decimal, Decimal]]) -> None:
    """Whatever part of the working entries fills, at no more than their reservations, gross and net stay within the stake."""
    stake = stake_of(exposure(str(i), qty=str(q), mark="1", buys=b, sells=s) for i, (q, b, s) in enumerate(parts))
    for fills in product(*([qty, qty + buys, qty - sells, qty + buys - sells] for qty, buys, sells in parts)):
        assert sum(abs(f) for f in fills) <= stake.gross
        assert abs(sum(fills, D(0))) <= stake.net


@given(EXPOSURES, st.sampled_from(Side), PLUS)
def test_it_counts_the_order_as_if_it_worked_already(
    parts: list[tuple[Decimal, Decimal, Decimal]], side: Side, order: Decimal
) -> None:
    before = account(*(exposure(str(i), qty=str(q), mark="1", buys=b, sells=s) for i, (q, b, s) in enumerate(parts)))
    room = Room(before.exposures, symbol="0", bot="alpha", is_buy=side is Side.BUY, order=order)
    own = before.exposures.get("0") or exposure("0", mark="1")
    with_order = msgspec.structs.replace(
        own, buys=own.buys + (order if side is Side.BUY else 0), sells=own.sells + (order if side is Side.SELL else 0)
    )
    after = stake_of({**before.exposures, "0": with_order}.values())
    assert room.gross == after.gross
    assert (room.others.up + room.up, room.others.down + room.down) == (after.up, after.down)


# --- reservations ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "price", "stop_px", "collar", "expected"),
    [
        (Side.BUY, None, None, "2", "102"),
        (Side.BUY, "99", None, "2", "99"),
        (Side.BUY, "105", None, "2", "105"),
        (Side.BUY, None, "110", "2", "112.2"),
        (Side.BUY, "111", "110", "2", "111"),
        (Side.SELL, None, None, "2", "102"),
        (Side.SELL, "99", None, "2", "102"),
        (Side.SELL, "105", None, "2", "105"),
        (Side.SELL, None, "90", "2", "102"),
        (Side.BUY, None, None, "Infinity", "100"),
    ],
)
def test_it_reserves_at_the_worst_price(side: Side, price: str | None, stop_px: str | None, collar: str, expected: str) -> None:
    px = reservation_price(
        is_buy=side is Side.BUY,
        price=None if price is None else D(price),
        stop_px=None if stop_px is None else D(stop_px),
        reference=D(100),
        collar_pct=D(collar),
    )
    assert px == D(expected)


@pytest.mark.parametrize(
    ("side", "price", "stop_px", "collar", "expected"),
    [
        (Side.BUY, None, None, "2", "98"),
        (Side.BUY, "99", None, "2", "98"),
        (Side.BUY, "95", None, "2", "95"),
        (Side.BUY, None, "110", "2", "98"),
        (Side.SELL, None, None, "2", "98"),
        (Side.SELL, "101", None, "2", "101"),
        (Side.SELL, None, "90", "2", "88.2"),
        (Side.BUY, None, None, "Infinity", "100"),
        (Side.BUY, None, None, "100", "100"),
    ],
)
def test_it_reserves_an_inverse_contract_at_the_lowest_price(
    side: Side, price: str | None, stop_px: str | None, collar: str, expected: str
) -> None:
    """One contract is worth contract_value ÷ price: the less the price, the more is at stake, whichever side it is on."""
    px = reservation_price(
        is_buy=side is Side.BUY,
        price=None if price is None else D(price),
        stop_px=None if stop_px is None else D(stop_px),
        reference=D(100),
        collar_pct=D(collar),
        is_inverse=True,
    )
    assert px == D(expected)


# --- readings ----------------------------------------------------------------------------------------------------------


def standing(*exposures: Exposure, **changes: Any) -> Standing:
    stake = stake_of(exposures)
    base = Standing(
        equity=D(100_000),
        day_start_equity=D(100_000),
        peak_equity=D(100_000),
        gross=stake.gross,
        net=stake.net,
        positions=stake.positions,
    )
    return msgspec.structs.replace(base, **changes)


def test_it_reads_every_limit_of_the_account() -> None:
    now = standing(exposure("A", qty="100", buys=D(5000)), exposure("B", qty="-50"), equity=D(99_000), peak_equity=D(110_000))
    told = {r.code: r for r in readings(now, limits())}
    assert told[Reason.DAILY_LOSS].observed == 1
    assert (told[Reason.DRAWDOWN].observed, told[Reason.DRAWDOWN].used_pct) == (D(10), D(100))
    assert told[Reason.MAX_POSITIONS].observed == 2
    assert (told[Reason.GROSS_EXPOSURE].observed, told[Reason.GROSS_EXPOSURE].limit) == (D(20_000), D(198_000))
    assert (told[Reason.NET_EXPOSURE].observed, told[Reason.NET_EXPOSURE].limit) == (D(10_000), D(99_000))
    assert told[Reason.LEVERAGE].limit == 5


def test_it_reads_an_account_that_is_empty_or_unset() -> None:
    empty = standing(equity=D(0), day_start_equity=D(0), peak_equity=D(0))
    assert all(r.used_pct is None for r in readings(empty, AccountLimits()))
    assert all(r.used_pct is None for r in readings(standing(), msgspec.structs.replace(FREE, positions_max=None)))


def test_it_marks_a_reading_that_is_near_reached_or_unknown() -> None:
    """What cannot be known is worth a look, what is no limit is not."""
    near, reached = D(80), D(100)
    read = [Reading(Reason.GROSS_EXPOSURE, "x", used, D(100)) for used in (D("79.9"), near, D("99.9"), reached)]
    assert [(r.is_near, r.is_reached) for r in read] == [(False, False), (True, False), (True, False), (True, True)]
    unknown, unset, free = (Reading(Reason.GROSS_EXPOSURE, "x", *at) for at in ((D("NaN"), D(1)), (D(1), None), (D(1), NO_LIMIT)))
    assert [(r.is_near, r.is_reached) for r in (unknown, unset, free)] == [(True, False), (True, False), (False, False)]


@pytest.mark.parametrize("seed", range(5))
def test_it_shows_what_the_gate_compared(seed: int) -> None:
    """A meter and gate 14 count alike: once an order is approved, the account has at stake what its check observed."""
    bench, chance, compared = Bench(), random.Random(seed), 0
    for n in range(200):
        step(bench, chance, n)
        approved = [s for s in bench.published("signal") if s.is_approved and s.order_class is OrderClass.ENTRY]
        for signal in approved:
            seen = {check.gate: check.observed for check in signal.checks}
            stake = bench.desk.stake()
            assert (seen["Gross exposure"], seen["Net exposure"], seen["Positions"]) == (stake.gross, stake.net, stake.positions)
            compared += 1
    assert compared > 3
