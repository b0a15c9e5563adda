"""Bots: the fleet, and one bot with its chart, risk state, settings and log."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_GET

from execution import selectors
from execution.models import Bar, Bot, Fill, Signal
from execution.selectors import Overview
from tradingdesk.console import access, explain, strip
from tradingdesk.console.cells import Context, breaker_button
from tradingdesk.console.columns import BRACKETS, FLEET, ORDERS, SIGNALS, heads
from tradingdesk.console.page import fleet_html, fleet_told, look_of, page, rows_html

#: candles on a chart
BARS_SHOWN: Final = 500


@require_GET
def bots(request: HttpRequest) -> HttpResponse:
    look = look_of(request)
    rights = access.rights_of(access.user_of(request))
    paused = [b for b in look.bots if look.effective(b).name == "PAUSED"]
    return page(
        request,
        "console/bots.html",
        look=look,
        topic="bot?",
        fleet=FLEET,
        fleet_heads=heads(FLEET),
        fleet_rows=fleet_html(look, rights),
        fleet_told=fleet_told(look),
        paused=paused,
    )


@require_GET
def bot(request: HttpRequest, code: str) -> HttpResponse:
    row = access.bot_for(request, code)
    user = access.user_of(request)
    look = look_of(request)
    rights = access.rights_of(user)
    mine = next(b for b in look.bots if b.pk == row.pk)
    symbols = look.symbols_of.get(row.pk, [])
    chosen = request.GET.get("symbol") if request.GET.get("symbol") in symbols else next(iter(symbols), "")
    instrument = look.instruments.get(chosen or "")
    account = [row.account_id]
    effective = look.effective(mine)
    context = Context(look, rights)
    states = [state for s in symbols if (state := look.prices.get((row.account_id, s)))]
    return page(
        request,
        "console/bot.html",
        look=look,
        topic=f"one?bot={code}",
        bot=mine,
        profile=row.profile,
        kill_scope="BOT",
        kill_key=code,
        effective=effective,
        state_chip=strip.bot_state(effective),
        state_told=strip.state_told(effective),
        shown={column.name: column.cell(mine, context) for column in FLEET.columns},
        symbols=symbols,
        symbol=chosen,
        risk_states=[(state, breaker_button(state, context)) for state in states],
        settings=explain.settings_told(row, instrument, user) if instrument else [],
        log=selectors.bot_log_newest(mine),
        orders=ORDERS,
        order_heads=heads(ORDERS),
        order_rows=rows_html(ORDERS, selectors.orders_listed(account, state="working", bot=code)[:50], look, rights),
        brackets=BRACKETS,
        bracket_heads=heads(BRACKETS),
        bracket_rows=rows_html(BRACKETS, selectors.brackets_listed(account, bot=code)[:20], look, rights),
        signals=SIGNALS,
        signal_heads=heads(SIGNALS),
        signal_rows=rows_html(SIGNALS, selectors.signals_listed(account, bot=code)[:20], look, rights),
    )


@require_GET
def chart(request: HttpRequest, code: str) -> JsonResponse:
    """What the bot's chart draws: candles, signals, fills, and the levels of working orders and open brackets."""
    row = access.bot_for(request, code)
    symbol = request.GET.get("symbol", "")
    look = look_of(request)
    if symbol not in look.symbols_of.get(row.pk, []):
        raise Http404
    bars = list(Bar.objects.filter(account=row.account_id, symbol=symbol, interval_s=row.bar_s).order_by("-start_at")[:BARS_SHOWN])
    since = bars[-1].start_at if bars else look.at
    tick = look.instruments[symbol].tick_size if symbol in look.instruments else Decimal("0.01")
    return JsonResponse(
        {
            "symbol": symbol,
            "bar_s": row.bar_s,
            "tick": str(tick),
            "bars": [bar_json(b) for b in reversed(bars)],
            "marks": sorted(_signals(row, symbol, since) + _fills(row, symbol, since), key=lambda mark: mark["time"]),
            "levels": levels(look, row.account_id, symbol),
        }
    )


def bar_json(bar: Bar) -> dict[str, Any]:
    return {
        "time": int(bar.start_at.timestamp()),
        "open": float(bar.open),
        "high": float(bar.high),
        "low": float(bar.low),
        "close": float(bar.close),
    }


def _signals(row: Bot, symbol: str, since: datetime) -> list[dict[str, Any]]:
    found = Signal.objects.filter(account=row.account_id, bot=row.code, symbol=symbol, market_at__gte=since).order_by("-id")[:200]
    return [
        {"time": int(s.market_at.timestamp()), "kind": "denied" if s.reason else "signal", "side": s.side or s.signal}
        for s in found
    ]


def _fills(row: Bot, symbol: str, since: datetime) -> list[dict[str, Any]]:
    found = Fill.objects.filter(account=row.account_id, bot=row.code, symbol=symbol, at__gte=since, busted_at=None).order_by("-id")[
        :200
    ]
    return [
        {
            "time": int((f.transact_at or f.at).timestamp()),
            "kind": "fill",
            "side": f.side,
            "text": f"{f.last_qty:f} @ {f.last_px:f}",
        }
        for f in found
    ]


def levels(look: Overview, account_id: int, symbol: str) -> list[dict[str, Any]]:
    """Horizontal lines: working orders at their price, a position's average, a bracket's stop and target."""
    found: list[dict[str, Any]] = []
    position = look.positions_by_symbol.get((account_id, symbol))
    if position and position.avg_px is not None:
        found.append({"kind": "position", "price": float(position.avg_px), "text": f"{position.qty:+f}"})
    for order in look.orders:
        if (order.account_id, order.symbol) != (account_id, symbol):
            continue
        price = order.stop_px if order.stop_px is not None else order.price
        if price is not None:
            kind = {"STOP_LOSS": "stop", "TAKE_PROFIT": "target"}.get(order.purpose, "order")
            found.append({"kind": kind, "price": float(price), "text": f"{kind} {order.leaves_qty:f}"})
    return found
