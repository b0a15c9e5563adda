"""What allauth does here in its own way: nobody signs up, and a password of one's own is audited like every other."""

from __future__ import annotations

from allauth.account.adapter import DefaultAccountAdapter
from django.conf import settings
from django.http import HttpRequest
from django.shortcuts import resolve_url

from tradingdesk.people.models import User
from tradingdesk.people.services import user_password_save


class ClosedAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """Nobody signs up by themselves; people are invited."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def set_password(self, user: User, password: str) -> None:
        """Every way to a new password of one's own ends here."""
        user.set_password(password)
        user_password_save(user=user, by=user.username, origin=f"web {self.request.META.get('REMOTE_ADDR', '')}".strip())

    def get_password_change_redirect_url(self, request: HttpRequest) -> str:
        return resolve_url(settings.LOGIN_REDIRECT_URL)
