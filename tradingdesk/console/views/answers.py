"""How an act is answered: a line on the page, a message after a redirect, or the question once more with what was typed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, Final

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme

from execution.models import Act
from execution.services import ActRefused
from tradingdesk.console import access
from tradingdesk.console.page import look_of, page
from tradingdesk.console.seen import Facts, outdated, seal
from tradingdesk.console.views.lists import drawer

_KEY_MAX: Final = 64
_REASON_MAX: Final = 300


def is_htmx(request: HttpRequest) -> bool:
    return request.headers.get("HX-Request") == "true"


def asked(request: HttpRequest) -> dict[str, Any]:
    """Who asks, from where, why, and the key. The page's key is one for all its buttons, so it is joined with the address."""
    key = request.POST.get("key", "")
    scoped = f"{key[:40]}:{hashlib.sha256(request.path.encode()).hexdigest()[:16]}" if key else ""
    return {
        "by": access.user_of(request).get_username(),
        "reason": request.POST.get("reason", "")[:_REASON_MAX],
        "idempotency_key": scoped[:_KEY_MAX],
        "origin": f"console {request.META.get('REMOTE_ADDR', '')}".strip(),
    }


def back(request: HttpRequest) -> str:
    """The page the act was made on; never elsewhere than this desk."""
    address = request.POST.get("next", "")
    is_ours = url_has_allowed_host_and_scheme(address, allowed_hosts={request.get_host()}, require_https=request.is_secure())
    return address if address and is_ours else reverse("console:desk")


def said(request: HttpRequest, text: str, *, level: str = "done", status: int = 200, to: str = "") -> HttpResponse:
    """The answer to an act: a line on the page, or a message after the redirect to where it was made, or `to`."""
    if is_htmx(request):
        return render(request, "console/said.html", {"text": text, "level": level}, status=status)
    (messages.error if level == "refused" else messages.success)(request, text)
    return redirect(to or back(request))


def act(
    request: HttpRequest,
    make: Callable[[], object],
    text: str,
    *,
    facts: Facts | None = None,
    refused: Callable[[str], HttpResponse] | None = None,
) -> HttpResponse:
    """Make an act and say so, or say why it is refused.

    With `facts` the form must have shown them as they are now. `refused` shows a form again, with what was typed, where there is no
    JavaScript to keep it.
    """
    if facts is not None and (problem := outdated(request.POST.get("shown", ""), facts)) and not is_retry(request):
        return refusal(request, problem, refused)
    try:
        make()
    except ActRefused as e:
        return refusal(request, str(e), refused)
    return said(request, text)


def refusal(request: HttpRequest, why: str, shown: Callable[[str], HttpResponse] | None, *, to: str = "") -> HttpResponse:
    """Why nothing was done: a line for the page, or the form once more, or a message on the page where it was asked (or on `to`)."""
    return shown(why) if shown and not is_htmx(request) else said(request, why, level="refused", status=409, to=to)


def asked_again(request: HttpRequest, ask: Callable[[], HttpResponse]) -> Callable[[str], HttpResponse]:
    """The question once more, with why not, what is so now, and what was typed."""

    def shown(why: str) -> HttpResponse:
        messages.error(request, why)
        response = ask()
        response.status_code = 409
        return response

    return shown


def is_retry(request: HttpRequest) -> bool:
    """True for a form whose act was made: what changed since may be its own doing."""
    key = asked(request)["idempotency_key"]
    return bool(key) and Act.objects.filter(idempotency_key=key).exists()


def refused_form(request: HttpRequest, form: forms.Form, template: str, extra: dict[str, Any]) -> HttpResponse:
    text = " ".join(str(e) for errors in form.errors.values() for e in errors)
    if is_htmx(request):
        return said(request, text, level="refused", status=400)
    return shown_again(request, text, template, extra, status=400)


def shown_again(request: HttpRequest, text: str, template: str, extra: dict[str, Any], *, status: int) -> HttpResponse:
    messages.error(request, text)
    response = page(request, template, look=look_of(request), **extra)
    response.status_code = status
    return response


def confirm(
    request: HttpRequest,
    question: str,
    told: list[str],
    verb: str,
    *,
    is_dangerous: bool = False,
    choices: list[tuple[str, str]] | None = None,
    name: str = "",
    facts: Facts | None = None,
) -> HttpResponse:
    """A question with its consequences in words; the button repeats the verb, No has the focus. `facts` are sealed into the form."""
    return page(
        request,
        drawer(request, "console/confirm.html"),
        look=look_of(request),
        question=question,
        told=told,
        verb=verb,
        is_dangerous=is_dangerous,
        choices=choices or [],
        choice_name=name,
        chosen=request.POST.get(name, "") if name else "",
        reason=request.POST.get("reason", ""),
        form_action=request.path,
        shown=seal(facts) if facts is not None else "",
    )
