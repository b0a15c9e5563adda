"""The Desk: is everything all right?"""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_GET, require_POST

from execution import selectors
from execution.selectors import Overview
from tradingdesk.console import access, tour
from tradingdesk.console.columns import FLEET, SIGNALS, heads
from tradingdesk.console.page import desk_context, fleet_html, look_of, page, rows_html
from tradingdesk.people.models import User

#: newest signals on the Desk page
SIGNALS_SHOWN = 12


@require_GET
def desk(request: HttpRequest) -> HttpResponse:
    look = look_of(request)
    user = access.user_of(request)
    rights = access.rights_of(user)
    signals = selectors.signals_listed([a.pk for a in look.accounts])[:SIGNALS_SHOWN]
    return page(
        request,
        "console/desk.html",
        look=look,
        topic="desk",
        **desk_context(look),
        resting=selectors.accounts_resting(access.accounts_seen(user)),
        fleet_heads=heads(FLEET),
        fleet_rows=fleet_html(look, rights),
        signal_heads=heads(SIGNALS),
        signal_rows=rows_html(SIGNALS, signals, look, rights),
        fleet=FLEET,
        signals=SIGNALS,
        **tour_context(user, look),
    )


def tour_context(user: User, look: Overview) -> dict[str, Any]:
    steps = tour.steps(user, look)
    return {"steps": steps, "toured": all(step.is_done for step in steps)}


@require_GET
def tour_shown(request: HttpRequest) -> HttpResponse:
    """The "Try this" panel again, with what the desk has seen since."""
    return render(request, "console/desk.html#tour", tour_context(access.user_of(request), look_of(request)))


@require_POST
def tour_dismiss(request: HttpRequest) -> HttpResponse:
    """Put the "Try this" panel away, or bring it back."""
    tour.dismiss(access.user_of(request), is_dismissed=request.POST.get("show") != "1")
    return redirect("console:desk")


@require_POST
def theme(request: HttpRequest) -> HttpResponse:
    """Keep this person's theme."""
    user = access.user_of(request)
    if (chosen := request.POST.get("theme", "")) in User.Theme.values:
        User.objects.filter(pk=user.pk).update(theme=chosen)
    back = request.POST.get("next", "")
    return redirect(back if url_has_allowed_host_and_scheme(back, allowed_hosts={request.get_host()}) else "console:desk")
