"""People, accounts and bots in the admin."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.test import Client

from execution.models import Account, Bot
from risk.models import AuditEntry, Instrument
from tests.admin.conftest import form_of, sentences
from tests.conftest import PASSWORD, person
from tests.control.conftest import instrument_row
from tradingdesk.people.models import AccountAccess, User


@pytest.fixture
def dana(account: Account, client: Client) -> User:
    """Of the group admin: people, accounts and bots are hers."""
    user = person("dana", "admin")
    User.objects.filter(pk=user.pk).update(is_staff=True)
    client.force_login(User.objects.get(pk=user.pk))
    return user


def post(client: Client, page: str, **changes: Any) -> Any:
    fields = {name: value for name, value in (form_of(client.get(page)) | changes).items() if value is not None}
    return client.post(page, fields, follow=True)


def test_it_adds_a_person_and_gives_access(dana: User, account: Account, client: Client) -> None:
    page = client.post(
        "/admin/people/user/add/", {"username": "erin", "password1": PASSWORD, "password2": PASSWORD, "usable_password": "true"}
    )
    erin = User.objects.get(username="erin")
    assert page.status_code == 302
    assert erin.check_password(PASSWORD)
    groups = [Group.objects.get(name="risk").pk]
    post(client, f"/admin/people/user/{erin.pk}/change/", groups=groups, accounts=[account.pk], reason="joined")
    erin.refresh_from_db()
    assert erin.is_staff
    assert AccountAccess.objects.get(user=erin).account == account
    created, changed = AuditEntry.objects.order_by("seq")
    assert (created.action, created.by, created.key) == ("create", "dana", "erin")
    assert changed.after == {"groups": ["risk"], "accounts": ["paper-crypto"], "is_staff": True}
    assert PASSWORD not in str(AuditEntry.objects.values_list("before", "after", "result"))


def test_it_audits_a_new_password_without_it(dana: User, alice: User, client: Client) -> None:
    new = "another-good-battery"
    client.post(f"/admin/people/user/{alice.pk}/password/", {"password1": new, "password2": new, "usable_password": "true"})
    alice.refresh_from_db()
    assert alice.check_password(new)
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.key, entry.by, entry.after) == ("password", "alice", "dana", None)


def test_losing_risk_loses_the_staff(dana: User, bob: User, account: Account, client: Client) -> None:
    post(client, f"/admin/people/user/{bob.pk}/change/", groups=None)
    bob.refresh_from_db()
    assert not bob.is_staff


def test_nobody_but_a_superuser_touches_a_superuser(dana: User, client: Client) -> None:
    root = User.objects.create_superuser("root", password=PASSWORD)
    assert client.post(f"/admin/people/user/{root.pk}/change/", {"username": "mine"}).status_code == 403
    assert client.post(f"/admin/people/user/{root.pk}/password/", {"password1": "x"}).status_code == 403
    assert client.post(f"/admin/people/user/{root.pk}/delete/", {"post": "yes"}).status_code == 403
    assert User.objects.filter(username="root").exists()


def test_the_groups_are_not_for_editing(dana: User, client: Client) -> None:
    group = Group.objects.get(name="viewer")
    assert client.get(f"/admin/auth/group/{group.pk}/change/").status_code == 200
    assert client.post(f"/admin/auth/group/{group.pk}/change/", {"name": "x"}).status_code == 403


def test_it_changes_a_bot(dana: User, bot: Bot, client: Client) -> None:
    page = f"/admin/execution/bot/{bot.pk}/change/"
    assert "fast must be below slow." in sentences(post(client, page, params='{"fast": "50", "slow": "20"}'))
    assert "inherits" not in sentences(post(client, page, params='{"fast": "5", "slow": "20"}', bar_s="5"))
    bot.refresh_from_db()
    assert (bot.params["fast"], bot.bar_s) == ("5", 5)
    assert AuditEntry.objects.get().key == "ema-btc"


def test_it_adds_a_bot_only_where_the_instrument_is_free(dana: User, bot: Bot, btc: Instrument, client: Client) -> None:
    fields = {
        "code": "second",
        "account": bot.account.pk,
        "brain": "ema_cross",
        "params": "{}",
        "bar_s": "60",
        "profile": bot.profile.pk,
        "is_enabled": "on",
    }
    page = client.post("/admin/execution/bot/add/", fields | {"trades": [btc.pk]}, follow=True)
    assert "BTCUSDT belongs to ema-btc on this account" in sentences(page)
    page = client.post("/admin/execution/bot/add/", fields | {"trades": [instrument_row("ETHUSDT").pk]}, follow=True)
    assert "Settings: Paper Crypto v2" in sentences(page)
    assert Bot.objects.get(code="second").instruments.get().symbol == "ETHUSDT"


def test_it_keeps_live_closed(dana: User, bot: Bot, client: Client) -> None:
    fields = form_of(client.get(f"/admin/execution/account/{bot.account.pk}/change/"))
    assert "environment" not in fields
    page = client.post("/admin/execution/account/add/", fields | {"code": "real", "name": "Real", "environment": "LIVE"})
    assert "LIVE is refused" in sentences(page)


def test_it_refuses_a_wrong_account(dana: User, bot: Bot, client: Client) -> None:
    page = post(client, f"/admin/execution/account/{bot.account.pk}/change/", feed="gossip")
    assert "Feed is synthetic" in sentences(page)
    assert Account.objects.get().feed == "synthetic"
