"""An order's life in memory: decide, all gates, send, acknowledge, fill, arm both legs, target fills, sibling canceled. With digest."""

from __future__ import annotations

import gc
import statistics
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec

from bench.figure import Figure
from execution.core.desk import Desk
from execution.core.messages import (
    BotChanged,
    BotSpec,
    Commanded,
    CommandKind,
    CommandSpec,
    Decided,
    Decision,
    DeskSettings,
    Effect,
    ExecType,
    LinkChanged,
    LinkKind,
    Reconciled,
    Reported,
    SendNewOrder,
    SettingsChanged,
    SignalKind,
    Started,
)
from execution.core.state import CORE_VERSION
from execution.core.venues import VENUES
from risk.core.settings import ACCOUNT_PRESET, PRESETS, Profile
from risk.core.units import AssetClass, Instrument, Quote, Scope, ScopeKind

D = Decimal
NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
SYMBOL, BOT, ACCOUNT = "BTCUSDT", "bench", "bench"
LIVES, ROUNDS = 200, 15
FEE = D("0.05")


def settings() -> DeskSettings:
    """The preset of perpetuals; no gate is switched off, and an hour may have as many entries as are lived in it."""
    base = msgspec.structs.replace(PRESETS[AssetClass.CRYPTO_PERP], margin_per_trade=D(100), repeated_execution_max=100_000)
    limits = msgspec.structs.replace(ACCOUNT_PRESET, concentration_pct=D(100))
    return DeskSettings(
        account=ACCOUNT,
        environment="PAPER",
        currency="USDT",
        version=1,
        digest="1",
        capabilities=tuple(sorted(VENUES["simulated"])),
        instruments={SYMBOL: Instrument(SYMBOL, AssetClass.CRYPTO_PERP, D("0.1"), D("0.001"), D(5), "USDT", "BTC")},
        bots={BOT: BotSpec(code=BOT, brain="ema_cross", symbols=(SYMBOL,), profile="demo")},
        profiles={"demo": Profile(code="demo", base=base)},
        limits=limits,
        starting_cash=D(1_000_000),
    )


def ready_desk() -> Desk:
    desk = Desk.new(ACCOUNT)
    desk.handle(Started(at=NOON, token=1, core_version=CORE_VERSION, epoch="0001"))
    desk.handle(SettingsChanged(at=NOON, settings=settings()))
    for link in LinkKind:
        desk.handle(LinkChanged(at=NOON, link=link, is_up=True))
    desk.handle(Reconciled(at=NOON, asked_seq=desk.seq, asked_at=NOON, query_id="", orders=(), fills=(), positions={}))
    start = CommandSpec(command_id="1", kind=CommandKind.START, scope=Scope(ScopeKind.BOT, BOT), by="bench", asked_at=NOON)
    desk.handle(Commanded(at=NOON, command=start))
    desk.handle(BotChanged(at=NOON, bot=BOT, is_warm=True))
    return desk


class Life:
    """One order after another on one Desk, each with quotes and times of its own."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.n = 0

    def live(self) -> None:
        self.n += 1
        at = NOON + timedelta(seconds=10 * self.n)
        quote = Quote(SYMBOL, D("60000.1"), D("60000.2"), D("60000.2"), at, at, at)
        decision = Decision(signal=SignalKind.BUY, stop_loss=D(59500), take_profit=D(61000))
        effects = self.desk.handle(
            Decided(
                at=at,
                bot=BOT,
                symbol=SYMBOL,
                decision=decision,
                quote=quote,
                decision_id=f"{BOT}:{SYMBOL}:{self.n}:0",
                market_at=at,
            )
        )
        (entry,) = [e for e in effects if isinstance(e, SendNewOrder)]
        self._say(at, entry.cl_ord_id, ExecType.NEW)
        effects = self._fill(at, entry.cl_ord_id, entry.approved.order_qty, D("60000.2"))
        stop, target = [e for e in effects if isinstance(e, SendNewOrder)]
        self._say(at, stop.cl_ord_id, ExecType.NEW)
        self._say(at, target.cl_ord_id, ExecType.NEW)
        self._fill(at, target.cl_ord_id, target.approved.order_qty, D(61000))
        self._say(at, stop.cl_ord_id, ExecType.CANCELED)

    def _say(self, at: datetime, cl_ord_id: str, exec_type: ExecType) -> None:
        self.desk.handle(Reported(at=at, cl_ord_id=cl_ord_id, exec_type=exec_type, order_id=f"v{cl_ord_id}"))

    def _fill(self, at: datetime, cl_ord_id: str, qty: Decimal, px: Decimal) -> tuple[Effect, ...]:
        return self.desk.handle(
            Reported(
                at=at,
                cl_ord_id=cl_ord_id,
                exec_type=ExecType.TRADE,
                order_id=f"v{cl_ord_id}",
                exec_id=f"x{cl_ord_id}",
                last_qty=qty,
                last_px=px,
                fee=FEE,
                fee_currency="USDT",
                liquidity="TAKER",
                transact_at=at,
            )
        )


def measured() -> list[float]:
    """Microseconds of processor time a life, per round: nothing here waits, and what else the machine does is not counted."""
    life = Life(ready_desk())
    for _ in range(LIVES):
        life.live()
    rounds = []
    gc.collect()
    for _ in range(ROUNDS):
        begun = time.process_time()
        for _ in range(LIVES):
            life.live()
        rounds.append((time.process_time() - begun) / LIVES * 1e6)
    assert life.desk.state.account.realised > 0
    return rounds


def run() -> list[Figure]:
    how = (
        f"{LIVES} lives of 7 events each, {ROUNDS} rounds, the median round per order, processor time: decide through every gate, acknowledge, fill, two "
        "legs acknowledged, target filled, sibling canceled; digest and published bodies included"
    )
    return [Figure("life_cycle_us", statistics.median(measured()), "µs", "<= 150", how)]
