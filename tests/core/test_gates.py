"""One row per limit: at it, one step past it, unset, not a number, and explicitly none. Then the laws no row can list."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from risk.core import gates
from risk.core.book import EXTERNAL, Book, Exposure, NotReady, NotReadyCause
from risk.core.circuit_breaker import CircuitBreaker
from risk.core.hours import Session
from risk.core.session_pnl import SessionPnl
from risk.core.settings import AccountLimits, RiskSettings, UnsupportedProtection
from risk.core.throttle import Approval, Throttle, record
from risk.core.units import NO_LIMIT, AssetClass, OrdType, ScopeKind, Side, TimeInForce
from risk.core.verdict import Approved, Capability, Denied, HaltMode, HintKind, OrderClass, Proposal, Reason, SizeHint
from risk.core.wording import WORDS, check_as_dict
from tests.core.risk_builders import (
    BTC,
    INF,
    NAN,
    NOON,
    D,
    account,
    book,
    buy,
    close,
    exposure,
    halt,
    judged,
    later,
    limits,
    protect,
    quote,
    sell,
    settings,
)


def denial(verdict: Approved | Denied) -> Reason | None:
    return verdict.reason if isinstance(verdict, Denied) else None


# --- rows: every limit -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A limit, the value at which the proposal still passes, and the next at which it does not."""

    field: str
    passes: str | int
    denies: str | int
    reason: Reason
    proposal: Proposal
    on: Callable[[], Book] = book
    at: datetime = NOON
    #: for a field that both the account and the profile have
    is_of_profile: bool = False

    def judge(self, limit: Any) -> Approved | Denied:
        value = D(limit) if isinstance(limit, str) else limit
        if self.field in AccountLimits.__struct_fields__ and not self.is_of_profile:
            return judged(self.proposal, msgspec.structs.replace(self.on(), limits=limits(**{self.field: value})), self.at)
        return judged(self.proposal, msgspec.structs.replace(self.on(), settings=settings(**{self.field: value})), self.at)


WIDE = quote(bid=D(99), ask=D(101))


def old_mark() -> Book:
    return book(portfolio=account(exposure("ETHUSDT", qty="1")))


def entered(*seconds: float, bot: str = "alpha", qty: str = "10", **changes: Any) -> Book:
    """A bot was let buy 10 that long ago."""
    throttle = Throttle()
    for s in sorted(seconds):
        record(throttle, Approval(later(s), "BTCUSDT", Side.BUY, D(qty), None, None))
    return book(throttles={bot: throttle}, **changes)


ROWS = [
    Row("session_loss_limit", "-50.01", "-50", Reason.SESSION_LOSS, buy(), lambda: book(session=SessionPnl(worst_net=D(-50)))),
    Row("price_age_ms_max", "1501", "1500", Reason.STALE_PRICE, buy(), at=later(1.5005)),
    Row("feed_lag_ms_max", "1501", "1500", Reason.STALE_PRICE, buy(quote=quote(at=later(-1.5005), is_synchronised=True))),
    Row("price_frozen_s", "60", "59.999", Reason.FROZEN_PRICE, buy(quote=quote(received_at=later(60))), at=later(60)),
    Row("is_stop_required", False, True, Reason.MISSING_STOP_LOSS, buy(stop_loss=None)),
    Row("stop_distance_pct_min", "2", "2.001", Reason.INVALID_DECISION, buy()),
    Row("stop_distance_pct_max", "2", "1.999", Reason.INVALID_DECISION, buy()),
    Row("entries_in_flight_max", 2, 1, Reason.ENTRY_IN_FLIGHT, buy(), lambda: book(entries_in_flight=1)),
    Row("adds_max", 1, 0, Reason.PYRAMIDING, buy(), lambda: book(position_qty=D(5))),
    Row("adds_max", 1, 0, Reason.PYRAMIDING, sell(), lambda: book(entries_coming=1)),
    Row("adds_max", 4, 3, Reason.PYRAMIDING, buy(), lambda: book(position_qty=D(5), adds=1, entries_coming=2)),
    Row(
        "qty_max",
        "0.001",
        "0.0009",
        Reason.SIZE_ZERO,
        buy(),
        lambda: book(instrument=msgspec.structs.replace(BTC, min_notional=D(0))),
    ),
    Row("order_qty_max", "10", "9.999", Reason.ORDER_QTY, buy()),
    Row("order_notional_max", "1000", "999.99", Reason.ORDER_NOTIONAL, buy()),
    Row("order_equity_pct_max", "1", "0.99999", Reason.ORDER_EQUITY_PCT, buy()),
    Row("price_collar_pct", "1.5", "1.49", Reason.PRICE_COLLAR, buy(ord_type=OrdType.LIMIT, price=D("101.5"), quote=WIDE)),
    Row("price_collar_pct", "1", "0.99", Reason.PRICE_COLLAR, buy(quote=WIDE)),
    Row("price_collar_pct", "1", "0.99", Reason.PRICE_COLLAR, sell(quote=WIDE)),
    Row("trade_risk_pct_max", "0.02", "0.0199", Reason.TRADE_RISK, buy()),
    Row("reward_risk_min", "2", "2.001", Reason.REWARD_RISK, buy()),
    Row("duplicate_window_s", "4", "4.001", Reason.DUPLICATE_ORDER, buy(), lambda: entered(-4)),
    Row("order_rate_max", "2", "1.9", Reason.ORDER_RATE, buy("11"), lambda: entered(-0.999), is_of_profile=True),
    Row("order_rate_max", "3", "2.9", Reason.ORDER_RATE, buy("11"), lambda: entered(-0.5, -0.9, bot="beta")),
    Row("repeated_execution_max", 3, 2, Reason.REPEATED_EXECUTION, buy(), lambda: entered(-3599, -9)),
    Row("daily_loss_pct", "3.001", "3", Reason.DAILY_LOSS, buy(), lambda: book(portfolio=account(equity=D(97_000)))),
    Row(
        "drawdown_pct",
        "10.001",
        "10",
        Reason.DRAWDOWN,
        buy(),
        lambda: book(portfolio=account(equity=D(90_000), day_start_equity=D(90_000))),
    ),
    Row("positions_max", 2, 1, Reason.MAX_POSITIONS, buy(), lambda: book(portfolio=account(exposure("ETHUSDT", qty="1")))),
    Row("mark_age_s_max", "60", "59.999", Reason.NO_PRICE, buy(quote=quote(received_at=later(60))), old_mark, later(60)),
    Row("gross_exposure_pct", "1.02", "1.0199", Reason.GROSS_EXPOSURE, buy()),
    Row("net_exposure_pct", "1.02", "1.0199", Reason.NET_EXPOSURE, buy()),
    Row("net_exposure_pct", "1.0199", "1.0198", Reason.NET_EXPOSURE, sell()),
    Row("leverage_max", "0.0102", "0.010199", Reason.LEVERAGE, buy()),
    Row("concentration_pct", "1.02", "1.0199", Reason.CONCENTRATION, buy()),
    Row("bot_exposure_pct", "1.02", "1.0199", Reason.BOT_EXPOSURE, buy()),
]


def named(rows: list[Row]) -> list[Any]:
    return [pytest.param(row, id=f"{row.field}-{row.reason}-{row.proposal.side}") for row in rows]


@pytest.mark.parametrize("row", named(ROWS))
def test_it_passes_at_the_limit(row: Row) -> None:
    assert denial(row.judge(row.passes)) is None


@pytest.mark.parametrize("row", named(ROWS))
def test_it_denies_one_step_past_the_limit(row: Row) -> None:
    assert denial(row.judge(row.denies)) is row.reason


@pytest.mark.parametrize("row", named(ROWS))
def test_it_denies_while_the_limit_is_unset(row: Row) -> None:
    verdict = row.judge(None)
    assert isinstance(verdict, Denied)
    assert verdict.reason is Reason.LIMIT_NOT_SET
    assert row.field in verdict.text


@pytest.mark.parametrize("row", named([row for row in ROWS if isinstance(row.passes, str)]))
def test_it_denies_when_the_limit_is_not_a_number(row: Row) -> None:
    assert denial(row.judge("NaN")) is row.reason


@pytest.mark.parametrize("row", named([row for row in ROWS if isinstance(row.passes, str)]))
def test_it_passes_when_a_person_chose_no_limit(row: Row) -> None:
    assert denial(row.judge("Infinity")) is None


@pytest.mark.parametrize("row", named(ROWS))
def test_it_names_both_numbers_and_the_level_in_a_denial(row: Row) -> None:
    verdict = row.judge(row.denies)
    assert isinstance(verdict, Denied)
    assert verdict.checks[-1].level in ("profile demo", "account limits")
    assert verdict.text.endswith(".")
    assert "Infinity" not in verdict.text
    assert [c.is_passed for c in verdict.checks] == [True] * (len(verdict.checks) - 1) + [False]


@pytest.mark.parametrize("row", named(ROWS))
def test_it_passes_what_it_said_would_pass(row: Row) -> None:
    verdict = row.judge(row.denies)
    assert isinstance(verdict, Denied)
    said = re.search(r"Up to ([\d.]+) would pass|A limit of ([\d.]+) would pass", verdict.text)
    if said is None:
        return
    qty, price = said.groups()
    changes: dict[str, Any] = (
        {"hint": SizeHint(HintKind.QUANTITY, D(qty))} if qty else {"ord_type": OrdType.LIMIT, "price": D(price)}
    )
    advised = replace(row, proposal=msgspec.structs.replace(row.proposal, **changes))
    assert denial(advised.judge(row.denies)) is None


def test_it_covers_every_limit_the_gates_read() -> None:
    rows = {row.field for row in ROWS}
    sizing = {
        "margin_per_trade",
        "leverage",
        "risk_pct",
        "breaker_losses",
        "breaker_window_s",
        "breaker_cooldown_s",
        "unsupported_protection",
    }
    of_brackets = {"entry_ttl_s", "naked_policy", "naked_after_ms", "leg_retries", "exit_wait_ms"}
    assert set(RiskSettings.__struct_fields__) - rows == sizing | of_brackets | {"flip_policy"}
    ceilings = {field for field in AccountLimits.__struct_fields__ if field.endswith("ceiling")}
    assert set(AccountLimits.__struct_fields__) - rows == ceilings | {"resume_at_rollover"}


# --- rows: everything that is not a limit ------------------------------------------------------------------------------

SPOT = frozenset({Capability.STOP_ORDERS})
NO_STOPS = frozenset(Capability) - {Capability.STOP_ORDERS, Capability.NATIVE_BRACKET, Capability.NATIVE_OCO}
REDUCE_ONLY, HALTED = halt(HaltMode.REDUCE_ONLY), halt(HaltMode.HALTED)
UNUSABLE = (NAN, D("sNaN"), INF, -INF, D(0), D(-1), D("1e15"))
UNBOUND = settings(order_equity_pct_max=NO_LIMIT, trade_risk_pct_max=NO_LIMIT)
TRIPPED = CircuitBreaker(losses=[NOON] * 4, tripped_at=NOON)
LONG = {"position_qty": D(10), "exit_capacity": D(10)}


def not_ready(cause: NotReadyCause) -> Book:
    return book(not_ready=(NotReady(cause, "why"),), **LONG)


def of_instrument(**changes: Any) -> Book:
    return book(instrument=msgspec.structs.replace(BTC, **changes))


def on_exchange(*sessions: Session) -> Book:
    return msgspec.structs.replace(of_instrument(calendar="XNYS"), sessions=sessions)


DENIED = [
    *[(buy(), not_ready(cause), Reason.NOT_READY) for cause in NotReadyCause],
    *[
        (order(), not_ready(c), Reason.NOT_READY)
        for order in (close, protect)
        for c in (NotReadyCause.LEASE, NotReadyCause.ORDER_LINK)
    ],
    (buy(), book(environment="LIVE", capabilities=frozenset(Capability) - {Capability.ECHOES_CLIENT_ID}), Reason.NOT_READY),
    (buy(), book(environment=""), Reason.NOT_READY),
    (buy(), book(halts=(REDUCE_ONLY,)), Reason.REDUCE_ONLY),
    (buy(), book(halts=(REDUCE_ONLY, HALTED)), Reason.HALTED),
    (buy(), book(halts=(halt(HaltMode.HALTED, ScopeKind.FIRM, ""),)), Reason.HALTED),
    (buy(), book(halts=(halt(HaltMode.HALTED, ScopeKind.BOT, "alpha"),)), Reason.HALTED),
    (buy(), book(halts=(halt(HaltMode.HALTED, ScopeKind.INSTRUMENT, "BTCUSDT"),)), Reason.HALTED),
    (close(), book(halts=(HALTED,), **LONG), Reason.HALTED),
    (buy(), book(portfolio=account(exposure("BTCUSDT", qty="-1", bot=EXTERNAL))), Reason.REDUCE_ONLY),
    (buy(), book(breaker=TRIPPED), Reason.CIRCUIT_BREAKER),
    *[
        (buy(), book(settings=settings(**{f"breaker_{f}": None})), Reason.LIMIT_NOT_SET)
        for f in ("losses", "window_s", "cooldown_s")
    ],
    (buy(quote=None), book(), Reason.NO_PRICE),
    (buy(quote=quote(symbol="ETHUSDT")), book(), Reason.NO_PRICE),
    *[(buy(quote=quote(bid=bad)), book(), Reason.NO_PRICE) for bad in (NAN, INF, D(0), D(-1))],
    *[(buy(quote=quote(ask=bad)), book(), Reason.NO_PRICE) for bad in (NAN, INF, D(0), D(-1))],
    *[(buy(quote=quote(last=bad)), book(), Reason.NO_PRICE) for bad in (NAN, INF, D(0), D(-1))],
    (buy(quote=quote(bid=D("100.01"))), book(), Reason.CROSSED_PRICE),
    (buy(), book(instrument=None), Reason.INSTRUMENT_NOT_ALLOWED),
    (buy(), of_instrument(is_tradable=False), Reason.INSTRUMENT_NOT_ALLOWED),
    (close(), msgspec.structs.replace(of_instrument(is_tradable=False), **LONG), Reason.INSTRUMENT_NOT_ALLOWED),
    (buy(), book(symbols=frozenset({"ETHUSDT"})), Reason.INSTRUMENT_NOT_ALLOWED),
    (buy(), of_instrument(calendar="XNYS"), Reason.MARKET_CLOSED),
    (buy(), on_exchange(Session(later(-60), NOON)), Reason.MARKET_CLOSED),
    (buy(), on_exchange(Session(later(60), later(90))), Reason.MARKET_CLOSED),
    (buy(), on_exchange(Session(later(-60), later(90), later(-1), later(1))), Reason.MARKET_CLOSED),
    (buy(), of_instrument(order_qty_min=D("10.001")), Reason.ORDER_QTY),
    (buy(), of_instrument(order_qty_max=D("9.999")), Reason.ORDER_QTY),
    (buy(), of_instrument(order_qty_max=NAN), Reason.ORDER_QTY),
    *[
        (buy(**{name: bad}), book(), Reason.INVALID_DECISION)
        for name in ("stop_loss", "take_profit", "order_qty")
        for bad in UNUSABLE
    ],
    *[(buy(ord_type=OrdType.LIMIT, price=bad), book(), Reason.INVALID_DECISION) for bad in UNUSABLE],
    *[(buy(ord_type=OrdType.STOP, stop_px=bad), book(), Reason.INVALID_DECISION) for bad in UNUSABLE],
    *[(close(order_qty=bad), book(**LONG), Reason.INVALID_DECISION) for bad in (*UNUSABLE, None)],
    *[(protect(stop_px=bad), book(), Reason.INVALID_DECISION) for bad in (*UNUSABLE, None)],
    *[(protect(order_qty=bad), book(), Reason.INVALID_DECISION) for bad in (*UNUSABLE, None)],
    *[(buy(confidence=bad), book(), Reason.INVALID_DECISION) for bad in (NAN, INF, D("-0.01"), D("1.01"))],
    (buy(stop_loss=D(100)), book(), Reason.INVALID_DECISION),
    (buy(take_profit=D(100)), book(), Reason.INVALID_DECISION),
    (sell(stop_loss=D("99.99")), book(), Reason.INVALID_DECISION),
    (sell(take_profit=D("99.99")), book(), Reason.INVALID_DECISION),
    (buy(price=D(100)), book(), Reason.INVALID_DECISION),
    (buy(ord_type=OrdType.LIMIT), book(), Reason.INVALID_DECISION),
    (buy(ord_type=OrdType.STOP), book(), Reason.INVALID_DECISION),
    (buy(ord_type=OrdType.STOP_LIMIT, price=D(101)), book(), Reason.INVALID_DECISION),
    (buy(ord_type=OrdType.LIMIT, price=D("0.004")), book(), Reason.INVALID_DECISION),
    (protect(side=Side.BUY, stop_px=D("0.004")), book(), Reason.INVALID_DECISION),
    (close("10.001"), book(**LONG), Reason.INVALID_DECISION),
    (close("6"), book(position_qty=D(10), exit_capacity=D("5.999")), Reason.INVALID_DECISION),
    (close("6", reduce_only=True), book(position_qty=D(5), exit_capacity=D(0)), Reason.INVALID_DECISION),
    (close("6", reduce_only=True), book(position_qty=D(6), exit_capacity=D(0), capabilities=SPOT), Reason.INVALID_DECISION),
    (close("1"), book(), Reason.INVALID_DECISION),
    (close("1"), book(position_qty=D(-10), exit_capacity=D(10)), Reason.INVALID_DECISION),
    (close("1"), book(position_qty=D(10), exit_capacity=NAN), Reason.INVALID_DECISION),
    *[(buy(value), book(), Reason.SIZE_ZERO) for value in ("0", "-1", "NaN", "Infinity", "0.0009")],
    (buy("0.049"), book(), Reason.MIN_NOTIONAL),
    (buy(ord_type=OrdType.STOP, stop_px=D(101)), book(capabilities=frozenset()), Reason.UNSUPPORTED_ORDER_KIND),
    (buy(post_only=True), book(), Reason.UNSUPPORTED_ORDER_KIND),
    (buy(ord_type=OrdType.LIMIT, price=D(100), post_only=True), book(capabilities=SPOT), Reason.UNSUPPORTED_ORDER_KIND),
    (buy(time_in_force=TimeInForce.IOC), book(capabilities=SPOT), Reason.UNSUPPORTED_ORDER_KIND),
    (buy(time_in_force=TimeInForce.FOK), book(capabilities=SPOT), Reason.UNSUPPORTED_ORDER_KIND),
    (buy(reduce_only=True), book(capabilities=SPOT), Reason.UNSUPPORTED_ORDER_KIND),
    (buy(), book(capabilities=NO_STOPS), Reason.UNSUPPORTED_PROTECTION),
    (buy(), book(capabilities=NO_STOPS, settings=settings(unsupported_protection=None)), Reason.LIMIT_NOT_SET),
    (buy(), of_instrument(currency="EUR"), Reason.NO_PRICE),
    (buy(), book(settings=settings(leverage=None)), Reason.LIMIT_NOT_SET),
    (buy(hint=SizeHint(HintKind.RISK_PCT, D(1))), book(settings=settings(risk_pct=None)), Reason.LIMIT_NOT_SET),
    *[(buy(), book(portfolio=account(exposure(s, qty="1", mark="NaN"))), Reason.NO_PRICE) for s in ("ETHUSDT", "BTCUSDT")],
    *[
        (buy(), book(portfolio=account(exposure(s, qty="1", marked_at=later(-61)))), Reason.NO_PRICE)
        for s in ("ETHUSDT", "BTCUSDT")
    ],
    (buy(), book(portfolio=account(Exposure("ETHUSDT", "other", D(1), qty=D(1)))), Reason.NO_PRICE),
    *[(buy(), book(portfolio=account(equity=bad), settings=UNBOUND), Reason.DAILY_LOSS) for bad in (NAN, INF, D(0), D(-1))],
    *[(buy(), book(portfolio=account(day_start_equity=bad)), Reason.DAILY_LOSS) for bad in (NAN, INF, D(0), D(-1))],
    *[(buy(), book(portfolio=account(peak_equity=bad)), Reason.DRAWDOWN) for bad in (NAN, INF, D(0), D(-1))],
]


@pytest.mark.parametrize(("proposal", "on", "reason"), DENIED)
def test_it_denies(proposal: Proposal, on: Book, reason: Reason) -> None:
    verdict = judged(proposal, on)
    assert isinstance(verdict, Denied)
    assert verdict.reason is reason
    assert verdict.text


STILL_OPEN = limits(gross_exposure_pct=NO_LIMIT)
APPROVED = [
    (buy(), book()),
    (sell(), book()),
    (buy(), book(environment="LIVE")),
    (buy("9.999"), entered(-1)),
    (sell(), entered(-1)),
    (buy(ord_type=OrdType.LIMIT, price=D("99.5")), entered(-1)),
    (buy(), entered(-1, bot="beta")),
    (buy(), entered(-1, -1, -1, settings=settings(duplicate_window_s=D(0)))),
    (buy("11"), entered(*[-3661] * 20)),
    (buy(), book(halts=(halt(HaltMode.HALTED, ScopeKind.BOT, "beta"), halt(HaltMode.HALTED, ScopeKind.INSTRUMENT, "ETHUSDT")))),
    (buy(), book(session=SessionPnl(session_end_at=NOON, worst_net=D(-500)))),
    (buy(), book(breaker=CircuitBreaker(losses=[NOON] * 4, tripped_at=later(-3600)))),
    (buy(quote=quote(bid=D(100))), book()),
    (buy(confidence=D(0)), book()),
    (buy(confidence=D(1)), book()),
    (buy("0.05"), book()),
    (buy(), on_exchange(Session(later(-60), later(1)))),
    (buy(), of_instrument(order_qty_min=D(10), order_qty_max=D(10))),
    (buy(quote=quote(at=later(-9))), book()),
    (buy(quote=quote(at=later(9), is_synchronised=True)), book()),
    (sell(), book(position_qty=D(5), settings=settings(adds_max=0))),
    (buy(), book(position_qty=D(5), settings=settings(adds_max=1))),
    (buy(ord_type=OrdType.LIMIT, price=D("99.5"), stop_loss=D(98), post_only=True), book()),
    (buy(ord_type=OrdType.STOP, stop_px=D(103), take_profit=D(110)), book()),
    (buy(ord_type=OrdType.STOP_LIMIT, stop_px=D(103), price=D(104), take_profit=D(110)), book()),
    (buy(), book(capabilities=NO_STOPS, settings=settings(unsupported_protection=UnsupportedProtection.EMULATE))),
    (buy(), book(capabilities=NO_STOPS, settings=settings(unsupported_protection=UnsupportedProtection.ALLOW_UNPROTECTED))),
    (buy(), book(portfolio=account(exposure("BTCUSDT", qty="0", bot=EXTERNAL)))),
    (close(), book(**LONG)),
    (close(quote=None), book(**LONG)),
    (close(), book(halts=(REDUCE_ONLY,), **LONG)),
    (close(is_automatic=False), book(halts=(HALTED,), **LONG)),
    (close("10", reduce_only=True), book(position_qty=D(10), exit_capacity=D(0))),
    (close(), book(environment="LIVE", **LONG)),
    *[(close(), not_ready(c)) for c in NotReadyCause if c not in (NotReadyCause.LEASE, NotReadyCause.ORDER_LINK)],
    *[(protect(), not_ready(c)) for c in NotReadyCause if c not in (NotReadyCause.LEASE, NotReadyCause.ORDER_LINK)],
    (protect(), book(halts=(HALTED,), environment="LIVE", instrument=None)),
]


@pytest.mark.parametrize(("proposal", "on"), APPROVED)
def test_it_approves(proposal: Proposal, on: Book) -> None:
    assert denial(judged(proposal, on)) is None


@pytest.mark.parametrize(
    ("leverage", "held", "enough", "short", "sentence"),
    [
        (
            "1",
            exposure("ETHUSDT", qty="3", buys=D(100)),
            "1420",
            "1419.99",
            "needs 1,020 of margin at leverage 1; 1,019.99 is free: equity 1,419.99 less 400 in use. Up to 9.999 would pass.",
        ),
        (
            "5",
            exposure("BTCUSDT", qty="3", buys=D(200), leverage=D(5)),
            "304",
            "303.99",
            "needs 204 of margin at leverage 5; 203.99 is free: equity 303.99 less 100 in use. Up to 9.999 would pass.",
        ),
    ],
)
def test_it_denies_what_the_free_margin_does_not_buy(leverage: str, held: Exposure, enough: str, short: str, sentence: str) -> None:
    free = limits(
        gross_exposure_pct=NO_LIMIT,
        net_exposure_pct=NO_LIMIT,
        leverage_max=NO_LIMIT,
        concentration_pct=NO_LIMIT,
        bot_exposure_pct=NO_LIMIT,
    )
    small = settings(leverage=D(leverage), order_equity_pct_max=NO_LIMIT, trade_risk_pct_max=NO_LIMIT)

    def with_equity(equity: str) -> Approved | Denied:
        portfolio = account(held, equity=D(equity), day_start_equity=D(equity), peak_equity=D(equity))
        return judged(buy(), book(limits=free, settings=small, portfolio=portfolio))

    assert denial(with_equity(enough)) is None
    verdict = with_equity(short)
    assert isinstance(verdict, Denied)
    assert verdict.reason is Reason.BUYING_POWER
    assert sentence in verdict.text


def test_it_says_where_an_exposure_comes_from_and_what_would_pass() -> None:
    portfolio = account(exposure("ETHUSDT", qty="-1000", mark="100.5", sells=D(20_000)), exposure("SOLUSDT", buys=D(10_000)))
    big = settings(qty_max=D(1000), order_equity_pct_max=NO_LIMIT, trade_risk_pct_max=NO_LIMIT)
    verdict = judged(
        buy("100"), book(portfolio=portfolio, settings=big, limits=limits(gross_exposure_pct=D(140), net_exposure_pct=D(500)))
    )
    assert isinstance(verdict, Denied)
    assert verdict.text == (
        "Gross exposure would reach 140,700; the limit is 140,000. 100,500 open + 30,000 working + 10,200 for this order. "
        "Up to 93.137 would pass."
    )


def test_it_says_from_where_an_order_is_large_enough() -> None:
    verdict = judged(buy("0.049"), book(instrument=msgspec.structs.replace(BTC, min_notional=D("5.03"))))
    assert isinstance(verdict, Denied)
    assert verdict.text == "The order is worth 4.9; the instrument's minimum is 5.03. From 0.051 up would pass."


@pytest.mark.parametrize(
    ("sessions", "sentence"),
    [
        ((Session(later(-60), NOON), Session(later(86400), later(90000))), "is closed. It opens at Tue 2026-01-06 12:00 UTC."),
        ((Session(later(-60), NOON),), "The hours of BTCUSDT (XNYS) are not known from here on."),
    ],
)
def test_it_says_when_a_market_opens(sessions: tuple[Session, ...], sentence: str) -> None:
    verdict = judged(buy(), on_exchange(*sessions))
    assert isinstance(verdict, Denied)
    assert sentence in verdict.text


def test_it_reserves_what_it_approves() -> None:
    verdict = judged(buy(), book())
    assert isinstance(verdict, Approved)
    assert (verdict.order_qty, verdict.reserve_px, verdict.reserved) == (D(10), D(102), D(1020))
    assert (verdict.price, verdict.stop_px) == (None, None)
    contracts = judged(buy(), of_instrument(contract_value=D("0.1")))
    assert isinstance(contracts, Approved)
    assert (contracts.reserve_px, contracts.reserved) == (D("10.2"), D(102))


def test_it_puts_prices_on_ticks_never_for_the_worse() -> None:
    bought = judged(buy(ord_type=OrdType.LIMIT, price=D("99.999")), book())
    stopped = judged(protect(stop_px=D("98.001")), book())
    assert isinstance(bought, Approved)
    assert isinstance(stopped, Approved)
    assert (bought.price, stopped.stop_px) == (D("99.99"), D("98.01"))


def test_it_reserves_nothing_for_what_closes() -> None:
    for proposal in (close(), protect()):
        verdict = judged(proposal, book(**LONG))
        assert isinstance(verdict, Approved)
        assert (verdict.order_qty, verdict.reserved) == (D(10), D(0))


def test_it_has_every_gate() -> None:
    assert [gate.number for gate in gates.GATES] == list(range(1, 15))
    assert gates.missing_gates() == ()


@pytest.mark.parametrize("number", range(1, 15))
def test_it_refuses_live_while_a_gate_is_missing(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = tuple(gate._replace(function=None) if gate.number == number else gate for gate in gates.GATES)
    monkeypatch.setattr(gates, "GATES", lacking)
    verdict = judged(buy(), book(environment="LIVE"))
    assert isinstance(verdict, Denied)
    assert f"no gate {number} {lacking[number - 1].name.lower()}" in verdict.text
    assert f"{lacking[number - 1].name} (**missing**: LIVE is refused)" in gates.table()
    assert denial(judged(buy(), book())) is None


def test_it_gives_every_code_of_the_table_and_no_other() -> None:
    seen = {row.reason for row in ROWS} | {reason for _, _, reason in DENIED} | {Reason.BUYING_POWER}
    built = {code for gate in gates.GATES if gate.function for code in gate.codes} | {Reason.LIMIT_NOT_SET}
    assert seen == built
    of_the_desk = {Reason.EXIT_IN_FLIGHT, Reason.NOTHING_TO_CLOSE, Reason.ALREADY_DECIDED}
    assert built | {code for gate in gates.missing_gates() for code in gate.codes} == set(Reason) - of_the_desk


def test_it_has_words_for_every_check() -> None:
    verdicts = [judged(proposal, on) for proposal, on in APPROVED] + [judged(proposal, on) for proposal, on, _ in DENIED]
    named = {check.gate for verdict in verdicts for check in verdict.checks}
    assert named == set(WORDS)
    for verdict in verdicts:
        for check in verdict.checks:
            told = check_as_dict(check)
            assert told["detail"].endswith(".")
            assert "{" not in told["detail"]


# --- laws --------------------------------------------------------------------------------------------------------------

ANY = st.one_of(
    st.decimals(), st.sampled_from([D(0), D(-1), NAN, D("sNaN"), INF, -INF, D("1E+999999"), D("1E-999999"), D(100), D("98")])
)
NEAR = st.decimals(min_value=D("0.01"), max_value=D(300), places=2)
MAYBE = st.none() | ANY
ENUM = st.sampled_from
HALTS = st.lists(
    st.builds(halt, ENUM(HaltMode), ENUM(ScopeKind), ENUM(["PAPER", "alpha", "BTCUSDT", "other", ""])), max_size=3
).map(tuple)


def proposals(number: st.SearchStrategy[Decimal | None], required: st.SearchStrategy[Decimal]) -> st.SearchStrategy[Proposal]:
    return st.builds(
        Proposal,
        order_class=ENUM(OrderClass),
        account=st.just("PAPER"),
        bot=ENUM(["alpha", "beta"]),
        symbol=ENUM(["BTCUSDT", "ETHUSDT"]),
        side=ENUM(Side),
        ord_type=ENUM(OrdType),
        time_in_force=ENUM(TimeInForce),
        order_qty=number,
        price=number,
        stop_px=number,
        post_only=st.booleans(),
        reduce_only=st.booleans(),
        hint=st.builds(SizeHint, ENUM(HintKind), required),
        stop_loss=number,
        take_profit=number,
        confidence=number,
        quote=st.none() | st.builds(lambda bid, ask: quote(bid=bid, ask=ask), required, required),
        is_automatic=st.booleans(),
    )


def books(number: st.SearchStrategy[Decimal]) -> st.SearchStrategy[Book]:
    exposures = st.builds(
        lambda symbol, qty, mark, buys, sells: Exposure(
            symbol, "alpha", D(1), qty=qty, mark=mark, marked_at=NOON, buys=buys, sells=sells
        ),
        ENUM(["BTCUSDT", "ETHUSDT"]),
        number,
        number,
        number,
        number,
    )
    portfolio = st.builds(
        lambda es, equity, start, peak: account(*es, equity=equity, day_start_equity=start, peak_equity=peak),
        st.lists(exposures, max_size=3),
        number,
        number,
        number,
    )
    return st.builds(
        lambda portfolio, limit, qty, halts, capabilities: book(
            portfolio=portfolio,
            halts=halts,
            position_qty=qty,
            exit_capacity=abs(qty) if not qty.is_snan() else qty,
            capabilities=capabilities,
            settings=settings(order_notional_max=limit, leverage=limit, session_loss_limit=limit),
            limits=limits(gross_exposure_pct=limit, daily_loss_pct=limit),
        ),
        portfolio,
        number,
        number,
        HALTS,
        st.sets(ENUM(Capability)).map(frozenset),
    )


@given(proposals(MAYBE, ANY), books(ANY))
def test_it_never_raises(proposal: Proposal, on: Book) -> None:
    verdict = judged(proposal, on)
    assert isinstance(verdict, Denied) == (not verdict.checks[-1].is_passed)
    for check in verdict.checks:
        assert check_as_dict(check)["detail"]


@given(proposals(MAYBE, ANY), books(ANY))
def test_it_approves_only_numbers_that_can_be_sent(proposal: Proposal, on: Book) -> None:
    verdict = judged(proposal, on)
    if isinstance(verdict, Approved):
        for value in (verdict.order_qty, verdict.price, verdict.stop_px):
            assert value is None or (value.is_finite() and value > 0)
        assert (verdict.price is not None) == (verdict.ord_type in (OrdType.LIMIT, OrdType.STOP_LIMIT))
        assert (verdict.stop_px is not None) == (verdict.ord_type in (OrdType.STOP, OrdType.STOP_LIMIT))


@given(proposals(st.none() | NEAR, NEAR), HALTS)
def test_it_only_gets_stricter_with_halts(proposal: Proposal, halts: tuple[Any, ...]) -> None:
    free = judged(proposal, book(**LONG))
    halted = judged(proposal, book(halts=halts, **LONG))
    assert isinstance(free, Approved) or isinstance(halted, Denied)
    if isinstance(halted, Approved):
        assert halted == free


@given(proposals(st.none() | NEAR, NEAR), HALTS)
def test_it_never_holds_protection_back_by_a_halt(proposal: Proposal, halts: tuple[Any, ...]) -> None:
    leg = msgspec.structs.replace(proposal, order_class=OrderClass.PROTECTION)
    assert judged(leg, book(halts=halts)) == judged(leg, book())


@given(
    st.decimals(min_value=D("0.001"), max_value=D(400), places=3),
    ENUM(Side),
    st.lists(st.tuples(ENUM(["ETHUSDT", "BTCUSDT"]), *[st.integers(-900, 900)] * 3), max_size=2),
)
def test_it_never_lets_an_account_exceed_its_limits(qty: Decimal, side: Side, held: list[tuple[str, int, int, int]]) -> None:
    exposures = [exposure(symbol, qty=str(n), buys=D(abs(b)), sells=D(abs(s))) for symbol, n, b, s in held]
    proposal = buy(qty) if side is Side.BUY else sell(qty)
    on = book(portfolio=account(*exposures), settings=settings(qty_max=D(500), order_equity_pct_max=D(100)))
    verdict = judged(proposal, on)
    if isinstance(verdict, Denied):
        return
    worst = {e.symbol: worst_case(e.qty * 100, e.buys, e.sells) for e in on.portfolio.exposures.values()}
    own = on.portfolio.exposures.get("BTCUSDT") or exposure("BTCUSDT")
    added = (verdict.reserved, D(0)) if side is Side.BUY else (D(0), verdict.reserved)
    worst["BTCUSDT"] = worst_case(own.qty * 100, own.buys + added[0], own.sells + added[1])
    assert sum(worst.values()) <= 200_000
    assert worst["BTCUSDT"] <= 30_000
    assert verdict.order_qty <= 500


def worst_case(value: Decimal, buys: Decimal, sells: Decimal) -> Decimal:
    """The largest exposure any set of fills can lead to: all buys, all sells, or none."""
    return max(abs(value + buys), abs(value - sells), abs(value))


@given(st.decimals(min_value=D("0.05"), max_value=D(60), places=3), st.decimals(min_value=D("0.05"), max_value=D(60), places=3))
def test_it_passes_less_wherever_it_passes_more(one: Decimal, other: Decimal) -> None:
    less, more = sorted((one, other))
    on = book(limits=limits(gross_exposure_pct=D(4)), settings=settings(qty_max=D(100)))
    assert isinstance(judged(buy(less), on), Approved) or isinstance(judged(buy(more), on), Denied)


def test_it_judges_an_instrument_of_any_class() -> None:
    for asset_class in AssetClass:
        assert denial(judged(buy(), of_instrument(asset_class=asset_class))) is None
