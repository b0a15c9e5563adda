"""How people sign in: allauth, with sign-up closed."""

from __future__ import annotations

from allauth.account.adapter import DefaultAccountAdapter
from django.http import HttpRequest


class ClosedAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """Nobody signs up by themselves; people are invited."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False
