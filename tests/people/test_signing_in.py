"""Signing in, and that nothing answers who is not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from tests.conftest import PASSWORD
from tradingdesk.people.models import User

#: every view a stranger may reach; whatever is added here is reviewed as a door
OPEN = {
    "healthz",
    "readyz",
    "enter",
    "login",  # the admin's own, which only sends to account_login
    "account_login",
    "account_logout",
    "account_confirm_login_code",
    "account_signup",
    "account_inactive",
    "account_reset_password",
    "account_reset_password_done",
    "account_reset_password_from_key",
    "account_reset_password_from_key_done",
    "account_confirm_email",
    "account_email_verification_sent",
}


def views(patterns: list[URLPattern | URLResolver]) -> Iterator[URLPattern]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from views(pattern.url_patterns)
        else:
            yield pattern


def test_it_lists_every_view_that_needs_no_login() -> None:
    open_views = {
        pattern.name for pattern in views(get_resolver().url_patterns) if not getattr(pattern.callback, "login_required", True)
    }
    assert open_views == OPEN


def test_it_signs_in(alice: User, client: Client) -> None:
    page = client.post("/accounts/login/", {"login": "alice", "password": PASSWORD})
    assert page.headers["Location"] == "/"
    assert client.session["_auth_user_id"] == str(alice.pk)


@pytest.mark.parametrize(("login", "password"), [("alice", "wrong-password"), ("nobody", PASSWORD), ("alice", "")])
def test_it_refuses_a_wrong_login(login: str, password: str, alice: User, client: Client) -> None:
    page = client.post("/accounts/login/", {"login": login, "password": password})
    assert page.status_code == 200
    assert b'role="alert"' in page.content
    assert "_auth_user_id" not in client.session


def test_it_slows_down_who_guesses(alice: User, client: Client) -> None:
    pages = [client.post("/accounts/login/", {"login": "alice", "password": "guess-again"}) for _ in range(12)]
    assert b"Too many failed login attempts" in pages[-1].content or pages[-1].status_code == 429


def test_it_signs_nobody_up(db: None, client: Client) -> None:
    client.post("/accounts/signup/", {"username": "mallory", "password1": PASSWORD, "password2": PASSWORD})
    assert not User.objects.filter(username="mallory").exists()


@pytest.mark.parametrize("path", ["/admin/", "/admin/risk/riskprofile/", "/accounts/password/change/"])
def test_it_asks_a_stranger_to_sign_in(path: str, db: None, client: Client) -> None:
    page = client.get(path)
    assert page.status_code == 302
    assert page.headers["Location"].startswith(("/accounts/login/", "/admin/login/"))


def test_it_signs_out_by_post_only(alice: User, client: Client) -> None:
    client.force_login(alice)
    assert client.get("/accounts/logout/").status_code == 200
    assert "_auth_user_id" in client.session
    client.post("/accounts/logout/")
    assert "_auth_user_id" not in client.session
