"""Audit: who did what, before and after, and what the engines answered."""

from __future__ import annotations

from typing import Any, Final

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods

from execution.models import Act, Command
from risk import audit as trail
from risk.models import AuditEntry
from tradingdesk.console import access
from tradingdesk.console.explain import symbols_of_acts
from tradingdesk.console.page import look_of, page
from tradingdesk.console.views.lists import filters_of

SHOWN: Final = 100


@require_GET
def audit(request: HttpRequest) -> HttpResponse:
    access.require_sight(request)
    filters = filters_of(request, ("by", "action", "model", "key"))
    shown = list(AuditEntry.objects.filter(**filters).order_by("-seq")[:SHOWN])
    commands = commands_answered(request)
    acts = {int(entry.key) for entry in shown if _act_of(entry)}
    symbols = symbols_of_acts(acts | {command.act_id for command in commands})
    return page(
        request,
        "console/audit.html",
        look=look_of(request),
        entries=[(entry, changes(entry.before, entry.after), _act_of(entry), _symbol_of(entry, symbols)) for entry in shown],
        filters=filters,
        people=AuditEntry.objects.order_by("by").values_list("by", flat=True).distinct(),
        actions=AuditEntry.objects.order_by("action").values_list("action", flat=True).distinct(),
        commands=[(command, symbols.get(command.act_id, "")) for command in commands],
    )


def changes(before: dict[str, Any] | None, after: dict[str, Any] | None) -> list[tuple[str, Any, Any]]:
    """What differs between before and after: (field, before, after)."""
    old, new = before or {}, after or {}
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    return [(name, _written(old.get(name)), _written(new.get(name))) for name in names]


def _written(value: Any) -> Any:
    return ", ".join(str(item) for item in value) if isinstance(value, list) else value


def _act_of(entry: AuditEntry) -> str:
    return reverse("console:act", args=[entry.key]) if entry.model == "execution.Act" and entry.key.isdigit() else ""


def _symbol_of(entry: AuditEntry, symbols: dict[int, str]) -> str:
    return symbols.get(int(entry.key), "") if _act_of(entry) else ""


def commands_answered(request: HttpRequest) -> list[Command]:
    accounts = access.accounts_of(access.user_of(request))
    return list(Command.objects.filter(account__in=accounts).select_related("act", "account").order_by("-id")[:50])


@require_http_methods(["POST"])
def verify(request: HttpRequest) -> HttpResponse:
    """Walk the whole chain and say where it breaks, if it does."""
    access.require_sight(request)
    broken = trail.verify()
    count = AuditEntry.objects.count()
    return page(
        request,
        "console/audit.html#verified" if request.headers.get("HX-Request") == "true" else "console/verified.html",
        look=look_of(request),
        broken=broken,
        entries_count=count,
        acts_count=Act.objects.count(),
    )
