"""What allauth does here in its own way: nobody signs up, and a password of one's own is audited like every other."""

from __future__ import annotations

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import resolve_url

from tradingdesk.people.models import User
from tradingdesk.people.services import sign_in_record, user_password_save


class ClosedAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """Nobody signs up by themselves; people are invited."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def set_password(self, user: User, password: str) -> None:
        """Every way to a new password of one's own ends here."""
        user.set_password(password)
        user_password_save(user=user, by=user.username, origin=_origin(self.request))

    def post_login(self, request: HttpRequest, user: User, **told: Any) -> HttpResponse:
        """By password; the one-time link has an entry of its own."""
        sign_in_record(user=user, origin=_origin(request), is_let_in=True)
        answer: HttpResponse = super().post_login(request, user, **told)
        return answer

    def authentication_failed(self, request: HttpRequest, **credentials: Any) -> None:
        """A name that nobody has is not kept: it may be a password in the wrong field."""
        user = User.objects.filter(username__iexact=credentials.get("username", "")).first()
        sign_in_record(user=user, origin=_origin(request), is_let_in=False)

    def get_password_change_redirect_url(self, request: HttpRequest) -> str:
        return resolve_url(settings.LOGIN_REDIRECT_URL)


def _origin(request: HttpRequest) -> str:
    return f"web {request.META.get('REMOTE_ADDR', '')}".strip()
