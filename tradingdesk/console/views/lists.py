"""Signals, orders, brackets, positions: lists with filters, and the drawer of one row."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_GET

from execution import selectors
from execution.core.lots import Matching
from execution.core.orders import OrdStatus
from execution.models import Order, Signal
from execution.selectors import Overview
from risk.core.units import ZERO
from tradingdesk.console import access, explain, tour
from tradingdesk.console.cells import Context
from tradingdesk.console.columns import BRACKETS, ORDERS, POSITIONS, SIGNALS, Table, heads
from tradingdesk.console.page import look_of, page, rows_html

#: rows a list shows; filters reach the rest
SHOWN: Final = 200
#: no filter
PLAIN: Final[dict[str, str]] = {}


def filters_of(request: HttpRequest, names: Sequence[str]) -> dict[str, str]:
    return {name: value for name in names if (value := request.GET.get(name, "").strip()[:120])}


def topic_of(table: Table, filters: dict[str, str]) -> str:
    """The stream a list listens to: its table and filters."""
    return f"{table.name}?{urlencode(sorted(filters.items()))}"


def _choices(look: Overview) -> dict[str, Any]:
    symbols = sorted({row.instrument.symbol for row in look.owned})
    return {"bot_choices": [bot.code for bot in look.bots], "symbol_choices": symbols}


def _list(request: HttpRequest, table: Table, filters: dict[str, str], rows: Any, look: Overview, **extra: Any) -> HttpResponse:
    rights = access.rights_of(access.user_of(request))
    found = list(rows[: SHOWN + 1])
    return page(
        request,
        "console/list.html",
        look=look,
        topic=topic_of(table, filters),
        table=table,
        heads=heads(table),
        rows=rows_html(table, found[:SHOWN], look, rights),
        most=SHOWN,
        has_more=len(found) > SHOWN,
        filters=filters,
        # its own words are about what is open or working now
        empty="" if filters in (PLAIN, {"state": "open"}, {"state": "working"}) else "Nothing here matches this filter.",
        **_choices(look),
        **extra,
    )


@require_GET
def signals(request: HttpRequest) -> HttpResponse:
    look = look_of(request)
    filters = filters_of(request, ("verdict", "bot", "symbol", "reason"))
    ids = [a.pk for a in look.accounts]
    return _list(
        request,
        SIGNALS,
        filters,
        selectors.signals_listed(ids, **filters),
        look,
        heading="Signals",
        options={"verdict": ["approved", "denied"]},
        denials=selectors.denials_by_reason(ids, since=look.at - timedelta(hours=24))[:8],
    )


@require_GET
def signal(request: HttpRequest, pk: int) -> HttpResponse:
    """Every gate with its number, its limit and where the limit comes from."""
    user = access.user_of(request)
    row = get_object_or_404(Signal.objects.select_related("account__limits"), pk=pk, account__in=access.accounts_of(user))
    if row.reason and tour.OPENED_DENIAL not in user.tried:
        tour.remember(user, tour.OPENED_DENIAL)
    look = look_of(request)
    return page(request, drawer(request, "console/signal.html"), look=look, signal=row, **explain.signal_told(row, look, user))


@require_GET
def orders(request: HttpRequest) -> HttpResponse:
    look = look_of(request)
    filters = filters_of(request, ("state", "bot", "symbol")) or {}
    filters.setdefault("state", "working")
    rows = selectors.orders_listed([a.pk for a in look.accounts], **filters)
    return _list(request, ORDERS, filters, rows, look, heading="Orders", options={"state": ["working", "done", "all"]})


@require_GET
def order(request: HttpRequest, pk: int) -> HttpResponse:
    """An order from its decision to its last fill."""
    accounts = access.accounts_of(access.user_of(request))
    row = get_object_or_404(Order.objects.select_related("account"), pk=pk, account__in=accounts)
    look = look_of(request)
    context = Context(look, access.rights_of(access.user_of(request)))
    return page(
        request,
        drawer(request, "console/order.html"),
        look=look,
        order=row,
        shown={column.name: column.cell(row, context) for column in ORDERS.columns},
        timeline=explain.order_timeline(row, look),
        may_ask=context.rights.may_trade and (row.is_working or row.ord_status == OrdStatus.UNKNOWN),
    )


@require_GET
def brackets(request: HttpRequest) -> HttpResponse:
    look = look_of(request)
    filters = filters_of(request, ("state", "bot", "symbol"))
    filters.setdefault("state", "open")
    rows = selectors.brackets_listed([a.pk for a in look.accounts], **filters)
    return _list(request, BRACKETS, filters, rows, look, heading="Brackets", options={"state": ["open", "done", "all"]})


@require_GET
def positions(request: HttpRequest) -> HttpResponse:
    look = look_of(request)
    ids = [a.pk for a in look.accounts]
    return _list(
        request,
        POSITIONS,
        {},
        selectors.positions_listed(ids),
        look,
        heading="Positions",
        options={},
        differences=selectors.discrepancies_open(ids),
        adjustments=[(row, *explain.adjustment_told(row)) for row in selectors.adjustments_newest(ids)],
    )


@require_GET
def trades(request: HttpRequest) -> HttpResponse:
    """Closed trades, first in or last in first out: a report. The desk's own results are by average cost."""
    look = look_of(request)
    asked = request.GET.get("match", "")
    matching = Matching(asked) if asked in set(Matching) else Matching.FIFO
    found = selectors.trades_closed(look.accounts, matching)
    return page(
        request,
        "console/trades.html",
        look=look,
        bot_codes={bot.code for bot in look.bots},
        trades=found[:SHOWN],
        most=SHOWN,
        has_more=len(found) > SHOWN,
        matching=matching.value,
        matchings=[member.value for member in Matching],
        totals={"gross": sum((row.trade.realised for row in found), ZERO), "net": sum((row.net for row in found), ZERO)},
    )


def drawer(request: HttpRequest, template: str) -> str:
    """Only the drawer's content for the drawer, the whole page otherwise."""
    return f"{template}#drawer" if request.headers.get("HX-Target", "").endswith("-body") else template
