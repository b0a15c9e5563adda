"""Signing in, and that nothing answers who is not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.http import HttpResponse
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from risk.models import AuditEntry
from tests.conftest import PASSWORD
from tradingdesk.people.models import User

#: every view a stranger may reach; whatever is added here is reviewed as a door
OPEN = {
    "healthz",
    "readyz",
    "metrics",  # which looks for itself: staff, or a token
    "enter",
    "login",  # the admin's own, which only sends to account_login
    "account_login",
    "account_logout",
    "account_inactive",
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
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.by, entry.origin) == ("sign_in", "alice", "web 127.0.0.1")


@pytest.mark.parametrize(("login", "by"), [("alice", "alice"), ("pa55word-by-mistake", "unknown")])
def test_it_audits_a_wrong_password(login: str, by: str, alice: User, client: Client) -> None:
    client.post("/accounts/login/", {"login": login, "password": "wrong-password"})
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.by, entry.key, entry.origin) == ("sign_in_refused", by, by, "web 127.0.0.1")


@pytest.mark.parametrize(("login", "password"), [("alice", "wrong-password"), ("nobody", PASSWORD), ("alice", "")])
def test_it_refuses_a_wrong_login(login: str, password: str, alice: User, client: Client) -> None:
    page = client.post("/accounts/login/", {"login": login, "password": password})
    assert page.status_code == 200
    assert b'role="alert"' in page.content
    assert "_auth_user_id" not in client.session


def test_it_slows_down_who_guesses(alice: User, client: Client) -> None:
    pages = [client.post("/accounts/login/", {"login": "alice", "password": "guess-again"}) for _ in range(12)]
    assert b"Too many failed login attempts" in pages[-1].content or pages[-1].status_code == 429


@pytest.mark.parametrize(
    "path", ["signup/", "password/reset/", "email/", "confirm-email/", "reauthenticate/", "login/code/confirm/"]
)
def test_it_has_no_other_door(path: str, alice: User, client: Client) -> None:
    assert client.get(f"/accounts/{path}").status_code == 404
    client.force_login(alice)
    assert client.get(f"/accounts/{path}").status_code == 404


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


NEW = "another-good-battery"


def change(client: Client, **fields: str) -> HttpResponse:
    return client.post("/accounts/password/change/", {"oldpassword": PASSWORD, "password1": NEW, "password2": NEW, **fields})  # type: ignore[return-value]


def test_it_audits_a_person_s_own_new_password(alice: User, client: Client) -> None:
    client.force_login(alice)
    assert change(client).headers["Location"] == "/"
    alice.refresh_from_db()
    assert alice.check_password(NEW)
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.model, entry.key, entry.by, entry.origin) == (
        "password",
        "people.User",
        "alice",
        "alice",
        "web 127.0.0.1",
    )
    assert NEW not in f"{entry.before}{entry.after}{entry.result}"
    assert client.session["_auth_user_id"] == str(alice.pk), "who changed it stays signed in"


@pytest.mark.parametrize(
    "wrong", [{"oldpassword": "guess"}, {"password2": "something-else-entirely"}, {"password1": "short", "password2": "short"}]
)
def test_it_audits_no_password_that_was_refused(wrong: dict[str, str], alice: User, client: Client) -> None:
    client.force_login(alice)
    assert b'role="alert"' in change(client, **wrong).content
    alice.refresh_from_db()
    assert alice.check_password(PASSWORD)
    assert not AuditEntry.objects.exists()


def test_it_signs_the_other_sessions_out(alice: User, client: Client) -> None:
    other = Client()
    for browser in (client, other):
        browser.force_login(alice)
    change(client)
    assert other.get("/").status_code == 302


def test_it_sets_a_password_where_there_was_none(alice: User, client: Client) -> None:
    """Who came by a one-time link and never had one."""
    alice.set_unusable_password()
    alice.save()
    client.force_login(alice)
    assert client.get("/accounts/password/change/").headers["Location"] == "/accounts/password/set/"
    client.post("/accounts/password/set/", {"password1": NEW, "password2": NEW})
    alice.refresh_from_db()
    assert alice.check_password(NEW)
    assert AuditEntry.objects.get().action == "password"


def test_it_has_one_page_to_change_a_password(bob: User, client: Client) -> None:
    client.force_login(bob)
    assert client.get("/admin/password_change/").headers["Location"] == "/accounts/password/change/"
    client.post("/admin/password_change/", {"old_password": PASSWORD, "new_password1": NEW, "new_password2": NEW})
    bob.refresh_from_db()
    assert bob.check_password(PASSWORD)


def test_it_lets_no_locked_person_in(alice: User, client: Client) -> None:
    User.objects.filter(pk=alice.pk).update(is_active=False)
    page = client.post("/accounts/login/", {"login": "alice", "password": PASSWORD}, follow=True)
    assert b'role="alert"' in page.content
    assert "_auth_user_id" not in client.session
