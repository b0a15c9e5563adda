"""The admin holds the database's write lock for what it writes, and not while it thinks: the journal waits for that lock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.base_user import AbstractBaseUser
from django.db import connection
from django.test import Client

from risk.admin import RiskProfileForm
from risk.models import AuditEntry, RiskProfile
from risk.services import settings as settings_services
from tests.admin.conftest import form_of
from tests.conftest import PASSWORD
from tests.control.conftest import instrument_row, profile_row
from tradingdesk.people.models import User
from tradingdesk.people.services import groups_ensure

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.db]
Locked = list[bool]


@pytest.fixture
def boss(client: Client) -> User:
    groups_ensure()
    user = User.objects.create_superuser("boss", password=PASSWORD)
    client.force_login(user)
    return user


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Callable[[type, str], Locked]:
    """Whether a transaction was open at each call of a method."""

    def watch(owner: type, name: str) -> Locked:
        locked: Locked = []
        original = getattr(owner, name)

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            locked.append(connection.in_atomic_block)
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, wrapper)
        return locked

    return watch


def test_it_checks_a_form_without_the_lock(boss: User, client: Client, watched: Callable[[type, str], Locked]) -> None:
    locked = watched(RiskProfileForm, "_post_clean")
    page = f"/admin/risk/riskprofile/{profile_row('demo').pk}/change/"
    client.post(page, form_of(client.get(page)) | {"margin_per_trade": "100"})
    assert RiskProfile.objects.get().margin_per_trade == 100
    assert locked == [False]


def test_it_hashes_passwords_without_the_lock(boss: User, client: Client, watched: Callable[[type, str], Locked]) -> None:
    locked = watched(AbstractBaseUser, "set_password")
    new = {"password1": "another-good-battery", "password2": "another-good-battery", "usable_password": "true"}
    client.post("/admin/people/user/add/", new | {"username": "erin"})
    client.post(f"/admin/people/user/{User.objects.get(username='erin').pk}/password/", new)
    assert User.objects.get(username="erin").check_password(new["password1"])
    assert len(locked) >= 2
    assert not any(locked)


def test_a_page_is_saved_whole_or_not_at_all(boss: User, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    profile, btc = profile_row("demo"), instrument_row("BTCUSDT")
    page = f"/admin/risk/riskprofile/{profile.pk}/change/"
    inline = {"symbols-TOTAL_FORMS": "1", "symbols-INITIAL_FORMS": "0", "symbols-0-instrument": btc.pk, "symbols-0-qty_max": "1"}
    sent = form_of(client.get(page)) | inline | {"margin_per_trade": "100"}
    refusals = iter([{}, {"qty_max": "someone was faster"}])
    monkeypatch.setattr(settings_services, "override_problems", lambda override: next(refusals))
    shown = client.post(page, sent, follow=True)
    assert "Someone was faster" in shown.content.decode()
    assert RiskProfile.objects.get().margin_per_trade == 500
    assert not AuditEntry.objects.exists()
