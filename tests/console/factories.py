"""Rows for the console's tests, written straight into the tables: a desk as an engine would have left it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

from django.contrib.auth.models import Group
from django.utils import timezone

from execution.core.brackets import BracketStatus
from execution.core.controls import BotStatus
from execution.core.messages import CommandKind, CommandStatus
from execution.core.orders import OrdStatus, Purpose
from execution.models import (
    Account,
    AccountState,
    Act,
    Alarm,
    Bar,
    Bot,
    BotInstrument,
    BotLog,
    BotState,
    Bracket,
    Command,
    Discrepancy,
    Engine,
    Fill,
    Lease,
    Order,
    Position,
    Signal,
    SymbolState,
)
from risk.models import AccountLimits, Halt, Instrument, RiskProfile
from tradingdesk.people.models import AccountAccess, User

D = Decimal
_ids = count(1)

#: symbol → tick, lot, price
MARKET = {
    "BTCUSDT": (D("0.1"), D("0.001"), D("61402.1")),
    "ETHUSDT": (D("0.01"), D("0.01"), D("2684.5")),
    "SOLUSDT": (D("0.01"), D("0.1"), D("141.22")),
    "LTCUSDT": (D("0.01"), D("0.1"), D("68.41")),
}
BRAINS = {"ema-btc": "ema_cross", "mr-eth": "mean_reversion", "chan-sol": "channel_breakout", "ema-ltc": "ema_cross"}


@dataclass
class DeskRows:
    """What `desk()` made."""

    account: Account
    bots: list[Bot]
    at: datetime


def user(name: str, *groups: str, accounts: list[Account] | None = None, **fields: Any) -> User:
    """A person in these groups with access to these accounts."""
    made = User.objects.create_user(name, password="correct horse", **fields)
    made.groups.set([Group.objects.get_or_create(name=group)[0] for group in groups])
    for account_ in accounts or []:
        AccountAccess.objects.create(user=made, account=account_)
    return made


def account(code: str = "paper", *, at: datetime | None = None, **fields: Any) -> Account:
    """An account with limits, an engine that holds it, and its numbers."""
    now = at or timezone.now()
    limits = AccountLimits.objects.create(
        name=f"{code} limits",
        daily_loss_pct=D(3),
        drawdown_pct=D(5),
        positions_max=8,
        gross_exposure_pct=D(150),
        net_exposure_pct=D(100),
        leverage_max=D(5),
        concentration_pct=D(30),
        bot_exposure_pct=D(50),
        order_rate_max=D(10),
        mark_age_s_max=D(60),
    )
    made = Account.objects.create(code=code, name=fields.pop("name", "Paper Crypto"), limits=limits, **fields)
    engine, _ = Engine.objects.get_or_create(
        name="desk-1",
        defaults={"pid": 4242, "host": "box", "version": "0.1.0", "started_at": now - timedelta(hours=2), "seen_at": now},
    )
    Lease.objects.create(account=made, engine=engine.name, token=7, expires_at=now + timedelta(seconds=10))
    AccountState.objects.create(
        account=made,
        seq=100,
        phase="ACTIVE",
        cash=D("55000"),
        equity=D("104218.40"),
        day_start_equity=D("103806.22"),
        peak_equity=D("104850"),
        gross_exposure=D("48120"),
        net_exposure=D("30000"),
        day_end_at=now + timedelta(hours=6),
        reconciled_at=now - timedelta(seconds=12),
        reconciled_text="agrees",
        orders_proof_at=now - timedelta(milliseconds=400),
        feed_label="SYNTHETIC",
        feed_is_synthetic=True,
        settings_version=12,
        settings_applied_at=now - timedelta(minutes=40),
        engine=engine.name,
        updated_at=now,
    )
    return made


def instrument(symbol: str) -> Instrument:
    tick, lot, _ = MARKET.get(symbol, (D("0.01"), D("0.01"), D(100)))
    return Instrument.objects.get_or_create(
        symbol=symbol, defaults={"asset_class": "CRYPTO_SPOT", "tick_size": tick, "lot_size": lot, "min_notional": D(5)}
    )[0]


def profile(code: str = "demo") -> RiskProfile:
    return RiskProfile.objects.get_or_create(
        code=code,
        defaults={
            "name": "Demo",
            "margin_per_trade": D(500),
            "leverage": D(1),
            "qty_max": D(50),
            "session_loss_limit": D(-50),
            "breaker_losses": 4,
            "price_age_ms_max": D(2000),
            "entries_in_flight_max": 1,
            "is_stop_required": True,
        },
    )[0]


def bot(code: str, symbol: str, account_: Account, *, status: BotStatus = BotStatus.RUNNING, at: datetime | None = None) -> Bot:
    """A bot with its state, its symbol, and that symbol's last price."""
    now = at or timezone.now()
    made = Bot.objects.create(
        code=code,
        account=account_,
        brain=BRAINS.get(code, "ema_cross"),
        profile=profile(),
        bar_s=2,
        should_run=status != BotStatus.STOPPED,
    )
    BotInstrument.objects.create(bot=made, instrument=instrument(symbol), account=account_)
    BotState.objects.create(bot=made, status=status, placed=38, denied=11, last_signal_at=now - timedelta(seconds=3))
    price = MARKET.get(symbol, (D(1), D(1), D(100)))[2]
    SymbolState.objects.get_or_create(
        account=account_,
        symbol=symbol,
        defaults={
            "session_realised": D("201.14"),
            "session_fees": D("3.20"),
            "session_trades": 6,
            "session_start_at": now - timedelta(hours=18),
            "session_end_at": now + timedelta(hours=6),
            "breaker_losses": 1,
            "bid": price - D("0.1"),
            "ask": price + D("0.1"),
            "last": price,
            "priced_at": now - timedelta(milliseconds=200),
            "market_at": now - timedelta(milliseconds=300),
        },
    )
    return made


def order(account_: Account, bot_: str, symbol: str, side: str, qty: str, **fields: Any) -> Order:
    """An order, working at the venue unless told otherwise."""
    now = fields.pop("at", None) or timezone.now()
    n = next(_ids)
    status = fields.pop("ord_status", OrdStatus.NEW)
    is_working = status not in {OrdStatus.FILLED, OrdStatus.CANCELED, OrdStatus.REJECTED, OrdStatus.EXPIRED}
    values = {
        "cl_ord_id": f"1e{n:06d}",
        "order_id": "" if status == OrdStatus.PENDING_NEW else f"V{n:06d}",
        "ord_type": "LIMIT",
        "time_in_force": "GTC",
        "order_class": "ENTRY",
        "purpose": Purpose.ENTRY,
        "order_qty": D(qty),
        "leaves_qty": D(qty) if is_working else D(0),
        "is_working": is_working,
        "created_at": now - timedelta(seconds=30),
        "accepted_at": None if status == OrdStatus.PENDING_NEW else now - timedelta(seconds=29),
        "updated_at": now - timedelta(seconds=1),
        "done_at": None if is_working else now - timedelta(seconds=5),
        "settings_version": 12,
        **fields,
    }
    return Order.objects.create(account=account_, bot=bot_, symbol=symbol, side=side, ord_status=status, **values)


def position(
    account_: Account, bot_: str, symbol: str, qty: str, *, is_protected: bool = True, at: datetime | None = None
) -> Position:
    """An open position with its entry, its bracket and, unless told otherwise, both legs resting at the venue."""
    now = at or timezone.now()
    price = MARKET[symbol][2]
    size, is_long = abs(D(qty)), D(qty) > 0
    side, exit_side = ("BUY", "SELL") if is_long else ("SELL", "BUY")
    stop_px = price * (D("0.98") if is_long else D("1.02"))
    target_px = price * (D("1.03") if is_long else D("0.97"))
    stop_px, target_px = (x.quantize(MARKET[symbol][0]) for x in (stop_px, target_px))
    entry = order(
        account_,
        bot_,
        symbol,
        side,
        str(size),
        at=now,
        ord_type="MARKET",
        ord_status=OrdStatus.FILLED,
        cum_qty=size,
        avg_px=price,
        decision_id=f"{bot_}:{symbol}:1",
    )
    Order.objects.filter(pk=entry.pk).update(bracket_id=entry.cl_ord_id)
    fill(entry, str(size), str(price), at=now)
    legs = {"order_class": "PROTECTION", "reduce_only": True, "bracket_id": entry.cl_ord_id, "at": now}
    stop = target = None
    if is_protected:
        stop = order(
            account_, bot_, symbol, exit_side, str(size), ord_type="STOP", stop_px=stop_px, purpose=Purpose.STOP_LOSS, **legs
        )
        target = order(account_, bot_, symbol, exit_side, str(size), price=target_px, purpose=Purpose.TAKE_PROFIT, **legs)
    Bracket.objects.create(
        account=account_,
        bracket_id=entry.cl_ord_id,
        bot=bot_,
        symbol=symbol,
        side=side,
        status=BracketStatus.ARMED if is_protected else BracketStatus.NAKED,
        stop_px=stop_px,
        target_px=target_px,
        entry_qty=size,
        open_qty=size,
        stop_id=stop.cl_ord_id if stop else "",
        target_id=target.cl_ord_id if target else "",
        naked_since=None if is_protected else now - timedelta(seconds=2),
        created_at=now - timedelta(minutes=2),
        updated_at=now,
    )
    return Position.objects.create(
        account=account_,
        symbol=symbol,
        bot=bot_,
        qty=D(qty),
        avg_px=price,
        realised=D("12.5"),
        fees=D("1.1"),
        unrealised=D("31.60") if is_long else D("-12.40"),
        mark=price,
        marked_at=now - timedelta(milliseconds=300),
        opened_at=now - timedelta(minutes=2),
        updated_at=now,
        is_open=True,
    )


def fill(order_: Order, qty: str, price: str, *, at: datetime | None = None) -> Fill:
    now = at or timezone.now()
    return Fill.objects.create(
        account=order_.account,
        exec_id=f"E{next(_ids):06d}",
        cl_ord_id=order_.cl_ord_id,
        order_id=order_.order_id,
        bot=order_.bot,
        symbol=order_.symbol,
        side=order_.side,
        last_qty=D(qty),
        last_px=D(price),
        fee=D("0.62"),
        fee_currency="USDT",
        liquidity="TAKER",
        at=now - timedelta(seconds=28),
        transact_at=now - timedelta(seconds=28),
    )


GATES = [
    ("account_ready", "lease 7", "", "", "lease held, reconciled 12 s ago"),
    ("trading_state", "ACTIVE", "", "", "no halt at any of the four levels"),
    ("session_loss", "-28.20", "-50", "class CRYPTO_SPOT", "−28.20 of −50"),
    ("circuit_breaker", "1", "4", "profile demo", "1 of 4 losses in 4 h"),
    ("price", "180 ms", "2000 ms", "profile demo", "61,402.1, 0.2 s old"),
    ("in_flight", "0", "1", "profile demo", "0 of 1 entries in flight"),
    ("size", "0.008", "50", "symbol BTCUSDT", "0.008 = ⌊500 margin × 1 ÷ 61,402.1⌋"),
    ("min_notional", "491.22", "5", "", "491.22 of at least 5"),
    ("order_kind", "MARKET", "", "", "market, stop rests at the venue"),
]


def signal(
    account_: Account, bot_: str, symbol: str, side: str = "BUY", *, reason: str = "", at: datetime | None = None, **fields: Any
) -> Signal:
    """A signal with its gates; denied by the account's gross exposure when `reason` says so."""
    now = at or timezone.now()
    n = next(_ids)
    checks = [
        {"gate": gate, "is_passed": True, "observed": observed, "limit": limit, "level": level, "detail": detail, "reason": None}
        for gate, observed, limit, level, detail in GATES
    ]
    text = "Gross exposure would reach 146,138; the limit is 140,000. Up to 0.004 would pass." if reason else ""
    last: dict[str, bool | str | None] = {
        "gate": "account",
        "is_passed": not reason,
        "observed": "146,138" if reason else "48,611",
        "limit": "140,000",
    }
    checks.append(
        {**last, "level": "account limits", "detail": text or "gross exposure 48,611 of 140,000", "reason": reason or None}
    )
    values = {
        "signal": side,
        "side": side,
        "order_class": "ENTRY",
        "ord_type": "MARKET",
        "reason": reason,
        "text": text,
        "checks": checks,
        "order_qty": D("0.008"),
        "bid": D("61402.0"),
        "ask": D("61402.2"),
        "stop_loss": D("60100"),
        "take_profit": D("63000"),
        "note": "fast 61,410.2 crossed slow 61,398.7",
        "settings_version": 12,
        **fields,
    }
    made_at = now - timedelta(seconds=n % 50)
    return Signal.objects.create(
        account=account_,
        decision_id=f"{bot_}:{symbol}:{n}",
        at=made_at,
        last_at=made_at,
        market_at=made_at,
        bot=bot_,
        symbol=symbol,
        **values,
    )


def alarm(account_: Account, title: str = "Target leg refused", priority: int = 2, **fields: Any) -> Alarm:
    values = {
        "key": f"alarm:{next(_ids)}",
        "cause": "The venue refused the target: price out of range.",
        "consequence": "The stop stays, 0.6 at 70.10.",
        "to_do": "Look at the bracket and place a target by hand if you want one.",
        "raised_at": timezone.now() - timedelta(minutes=2),
        **fields,
    }
    return Alarm.objects.create(account=account_, title=title, priority=priority, **values)


def discrepancy(account_: Account, symbol: str, ours: str = "3.10", theirs: str = "2.10") -> Discrepancy:
    """The one disagreement that stands about this symbol."""
    now = timezone.now()
    values = {"ours": D(ours), "theirs": D(theirs), "since": now - timedelta(minutes=5), "seen_at": now}
    return Discrepancy.objects.get_or_create(account=account_, symbol=symbol, ended_at=None, defaults=values)[0]


def kill(
    account_: Account, *, scope: str = "FIRM", key: str = "", status: CommandStatus = CommandStatus.RUNNING, by: str = "maria"
) -> Act:
    """A kill under way (or finished) with its halt and steps."""
    now = timezone.now()
    n = next(_ids)
    halt_ = Halt.objects.create(
        halt_id=f"kill-{n}", scope=scope, scope_key=key, mode="HALTED", cause="KILL", by=by, at=now, reason="prices look wrong"
    )
    act = Act.objects.create(
        kind=CommandKind.KILL,
        scope=scope,
        scope_key=key,
        choice="cancel",
        halt_id=halt_.halt_id,
        by=by,
        reason="prices look wrong",
        idempotency_key=f"k{n}",
        at=now,
    )
    is_done = status == CommandStatus.DONE
    steps = [
        {
            "name": "gates",
            "text": "Gates closed",
            "state": "DONE",
            "done": 1,
            "total": 1,
            "at": (now + timedelta(milliseconds=30)).isoformat(),
        },
        {
            "name": "unsent",
            "text": "Unsent orders dropped",
            "state": "DONE",
            "done": 1,
            "total": 1,
            "at": (now + timedelta(milliseconds=31)).isoformat(),
        },
        {
            "name": "sent",
            "text": "Cancels sent",
            "state": "DONE",
            "done": 3,
            "total": 3,
            "at": (now + timedelta(milliseconds=50)).isoformat(),
        },
        {
            "name": "confirmed",
            "text": "Cancels confirmed by the venue",
            "state": "DONE" if is_done else "RUNNING",
            "done": 3 if is_done else 2,
            "total": 3,
            "at": None,
        },
        {
            "name": "verified",
            "text": "A fresh answer of the venue",
            "state": "DONE" if is_done else "WAITING",
            "done": 0,
            "total": 0,
            "at": None,
        },
    ]
    Command.objects.create(
        act=act,
        account=account_,
        body={},
        status=status,
        steps=steps,
        text="Remains by choice: 10 protective legs on 5 positions.",
        created_at=now,
        answered_at=now + timedelta(milliseconds=700) if is_done else None,
    )
    return act


def bars(account_: Account, symbol: str, n: int = 300) -> None:
    now = timezone.now().replace(microsecond=0)
    price = MARKET[symbol][2]
    rows = []
    for i in range(n):
        move = D((i * 7919) % 41 - 20) / D(10000)
        opened, closed = price, price * (1 + move)
        rows.append(
            Bar(
                account=account_,
                symbol=symbol,
                interval_s=2,
                start_at=now - timedelta(seconds=2 * (n - i)),
                open=opened,
                high=max(opened, closed) * D("1.0005"),
                low=min(opened, closed) * D("0.9995"),
                close=closed,
                volume=D(3),
            )
        )
        price = closed
    Bar.objects.bulk_create(rows)


def desk() -> DeskRows:
    """The demo desk in a calm minute: four bots, three positions, two entries, some signals."""
    at = timezone.now()
    paper = account(at=at)
    made = [bot(code, symbol, paper, at=at) for code, symbol in zip(BRAINS, MARKET, strict=True)]
    position(paper, "ema-btc", "BTCUSDT", "0.420", at=at)
    position(paper, "mr-eth", "ETHUSDT", "3.10", at=at)
    position(paper, "chan-sol", "SOLUSDT", "-12.5", at=at)
    order(paper, "ema-ltc", "LTCUSDT", "BUY", "6.4", price=D("68.20"), at=at)
    order(paper, "ema-btc", "BTCUSDT", "BUY", "0.008", ord_status=OrdStatus.PENDING_NEW, at=at)
    for i in range(10):
        code = list(BRAINS)[i % 4]
        signal(paper, code, list(MARKET)[i % 4], "BUY" if i % 3 else "SELL", reason="GROSS_EXPOSURE" if i % 2 else "", at=at)
    BotLog.objects.create(bot=made[0], at=at, level="INFO", text="Warm after 60 bars.")
    return DeskRows(paper, made, at)
