"""Rules of every request and answer: text is text, scripts and styles come from this desk only, and htmx is told in words it understands
to sign in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest
from django.shortcuts import resolve_url
from django.utils.http import url_has_allowed_host_and_scheme

POLICY: Final = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)


def content_security_policy(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """No inline script, no inline style, nothing from elsewhere."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response.headers.setdefault("Content-Security-Policy", POLICY)
        return response

    return middleware


def null_characters_refused(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """A null character is in no name and no reason, and PostgreSQL refuses it wherever it comes: so it is refused at the door."""

    def middleware(request: HttpRequest) -> HttpResponse:
        values = (value for sent in (request.GET, request.POST) for _, found in sent.lists() for value in found)
        if "\0" in request.path or any("\0" in str(value) for value in values):
            return HttpResponseBadRequest("A null character is not text. Write it without one.", content_type="text/plain")
        return get_response(request)

    return middleware


def sign_in_leads_back(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """After an act without a session, signing in leads to the page the act was made on: the act's own address takes no GET."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        if request.method == "POST" and _is_to_login(response):
            page = request.POST.get("next", "")
            is_ours = url_has_allowed_host_and_scheme(page, allowed_hosts={request.get_host()}, require_https=request.is_secure())
            return redirect_to_login(page if page and is_ours else "/")
        return response

    return middleware


def _is_to_login(response: HttpResponse) -> bool:
    return response.status_code == 302 and response.headers.get("Location", "").split("?")[0] == resolve_url(settings.LOGIN_URL)


def htmx_sign_in(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """An htmx request without a session gets 401 with HX-Redirect, not a sign-in page swapped into a table cell."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        if _is_to_login(response) and request.headers.get("HX-Request") == "true":
            return HttpResponse(status=401, headers={"HX-Redirect": resolve_url(settings.LOGIN_URL)})
        return response

    return middleware
