"""Words for the risk tests: an account of 100,000 in order, a bot that may trade BTCUSDT near 100, and a buy of it that passes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec

from risk.core.book import AccountBook, Book, Exposure, Halt
from risk.core.circuit_breaker import CircuitBreaker
from risk.core.gates import judge
from risk.core.session_pnl import SessionPnl
from risk.core.settings import ACCOUNT_PRESET, PRESETS, AccountLimits, Effective, Profile, effective
from risk.core.units import AssetClass, Instrument, OrdType, Quote, Scope, ScopeKind, Side, use_decimal_context
from risk.core.verdict import Approved, Capability, Denied, HaltCause, HaltMode, HintKind, OrderClass, Proposal, SizeHint

use_decimal_context()

D = Decimal
NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
NAN = Decimal("NaN")
INF = Decimal("Infinity")
BTC = Instrument("BTCUSDT", AssetClass.CRYPTO_PERP, D("0.01"), D("0.001"), D(5), "USDT", "BTC")


def later(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def quote(**changes: Any) -> Quote:
    base = Quote("BTCUSDT", D("99.99"), D("100"), D("100"), NOON, NOON, NOON)
    return msgspec.structs.replace(base, **changes)


def settings(**changes: Any) -> Effective:
    """The perpetuals preset with `changes`, all of them on the profile's level."""
    base = msgspec.structs.replace(PRESETS[AssetClass.CRYPTO_PERP], **changes)
    return effective(Profile(code="demo", base=base), ACCOUNT_PRESET, symbol="BTCUSDT", asset_class=AssetClass.CRYPTO_PERP)


def limits(**changes: Any) -> AccountLimits:
    """The preset of a new account with `changes`."""
    return msgspec.structs.replace(ACCOUNT_PRESET, **changes)


def exposure(symbol: str, *, qty: str = "0", mark: str = "100", bot: str = "other", **changes: Any) -> Exposure:
    base = Exposure(symbol, bot, D(1), qty=D(qty), mark=D(mark), marked_at=NOON)
    return msgspec.structs.replace(base, **changes)


def account(*exposures: Exposure, **changes: Any) -> AccountBook:
    base = AccountBook(
        currency="USDT",
        equity=D(100_000),
        day_start_equity=D(100_000),
        peak_equity=D(100_000),
        exposures={e.symbol: e for e in exposures},
    )
    return msgspec.structs.replace(base, **changes)


def book(**changes: Any) -> Book:
    base = Book(
        account="PAPER",
        environment="PAPER",
        not_ready=(),
        halts=(),
        instrument=BTC,
        settings=settings(),
        limits=ACCOUNT_PRESET,
        capabilities=frozenset(Capability),
        session=SessionPnl(),
        breaker=CircuitBreaker(),
        symbols=frozenset({"BTCUSDT"}),
        position_qty=D(0),
        entries_in_flight=0,
        adds=0,
        exit_capacity=D(0),
        portfolio=account(),
    )
    return msgspec.structs.replace(base, **changes)


def buy(qty: str | Decimal = "10", **changes: Any) -> Proposal:
    """A market entry of `qty` with a stop at 98 and a target at 104."""
    base = Proposal(
        order_class=OrderClass.ENTRY,
        account="PAPER",
        bot="alpha",
        symbol="BTCUSDT",
        side=Side.BUY,
        hint=SizeHint(HintKind.QUANTITY, D(qty)),
        stop_loss=D(98),
        take_profit=D(104),
        quote=quote(),
    )
    return msgspec.structs.replace(base, **changes)


def sell(qty: str | Decimal = "10", **changes: Any) -> Proposal:
    """A market entry of `qty` the other way round."""
    return buy(qty, **{"side": Side.SELL, "stop_loss": D(102), "take_profit": D(96), **changes})


def close(qty: str = "10", **changes: Any) -> Proposal:
    """A brain's exit of a long position."""
    base = Proposal(
        order_class=OrderClass.EXIT, account="PAPER", bot="alpha", symbol="BTCUSDT", side=Side.SELL, order_qty=D(qty), quote=quote()
    )
    return msgspec.structs.replace(base, **changes)


def protect(qty: str = "10", **changes: Any) -> Proposal:
    """The stop leg of a long position."""
    return close(
        qty, **{"order_class": OrderClass.PROTECTION, "ord_type": OrdType.STOP, "stop_px": D(98), "reduce_only": True, **changes}
    )


def halt(mode: HaltMode, kind: ScopeKind = ScopeKind.ACCOUNT, key: str = "PAPER") -> Halt:
    return Halt(halt_id="h1", scope=Scope(kind, key), mode=mode, cause=HaltCause.MANUAL, reason="lunch", by="bob", at=NOON)


def judged(proposal: Proposal, on: Book, at: datetime = NOON) -> Approved | Denied:
    return judge(proposal, on, at=at)
