"""The one-time sign-in link: a page with a button, and the button's POST. Only this machine may use it."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Final

from django.contrib.auth import login
from django.contrib.auth.decorators import login_not_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from tradingdesk.people.services import entry_burn, entry_find

_BACKEND: Final = "allauth.account.auth_backends.AuthenticationBackend"
_FORWARDED: Final = {"HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED", "HTTP_X_REAL_IP"}


@login_not_required
@never_cache
@require_http_methods(["GET", "POST"])
def enter(request: HttpRequest, token: str) -> HttpResponse:
    """GET shows the button, so that a link preview uses nothing up; POST signs in once."""
    if not _is_local(request):
        raise Http404
    if request.method == "POST":
        user = entry_burn(token, origin=f"web {request.META['REMOTE_ADDR']}")
        if user is not None:
            login(request, user, backend=_BACKEND)
            return redirect("/")
    entry = entry_find(token)
    return render(request, "account/enter.html", {"entry": entry}, status=200 if entry else 410)


def _is_local(request: HttpRequest) -> bool:
    """By the connection's own address, which no header can claim. What a proxy forwards comes from elsewhere."""
    if not _FORWARDED.isdisjoint(request.META):
        return False
    try:
        return ip_address(request.META.get("REMOTE_ADDR", "")).is_loopback
    except ValueError:
        return False
