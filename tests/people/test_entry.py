"""The one-time link: once, ten minutes, this machine."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from risk.models import AuditEntry
from tradingdesk.people.models import EntryToken, User
from tradingdesk.people.services import entry_link_create


def test_it_shows_a_button_and_burns_at_the_click(alice: User, client: Client) -> None:
    path = entry_link_create(alice)
    for _ in range(2):
        page = client.get(path)
        assert page.status_code == 200
        assert b"Enter as alice" in page.content
    assert client.post(path).headers["Location"] == "/"
    assert client.session["_auth_user_id"] == str(alice.pk)
    assert AuditEntry.objects.get(action="enter").by == "alice"
    again = Client()
    assert again.post(path).status_code == 410
    assert "_auth_user_id" not in again.session


def test_it_keeps_only_a_hash(alice: User) -> None:
    token = entry_link_create(alice).rsplit("/", 1)[1]
    assert token not in EntryToken.objects.get().token_hash


def test_it_is_over_after_ten_minutes(alice: User, client: Client) -> None:
    path = entry_link_create(alice)
    EntryToken.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert client.get(path).status_code == 410
    assert client.post(path).status_code == 410


@pytest.mark.parametrize(
    "came_from",
    [
        {"REMOTE_ADDR": "192.0.2.7"},
        {"REMOTE_ADDR": ""},
        {"REMOTE_ADDR": "2001:db8::1"},
        {"REMOTE_ADDR": "127.0.0.1", "HTTP_X_FORWARDED_FOR": "192.0.2.7"},
    ],
)
def test_it_does_not_exist_elsewhere(came_from: dict[str, Any], alice: User, client: Client) -> None:
    path = entry_link_create(alice)
    assert client.get(path, **came_from).status_code == 404
    assert client.post(path, **came_from).status_code == 404
    assert EntryToken.objects.count() == 1


def test_it_does_not_let_a_locked_out_person_in(alice: User, client: Client) -> None:
    path = entry_link_create(alice)
    User.objects.filter(pk=alice.pk).update(is_active=False)
    assert client.post(path).status_code == 410
