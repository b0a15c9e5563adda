"""What all tests share: three people, one account, noon."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_django import DjangoDbBlocker

    from execution.models import Account
    from tradingdesk.people.models import User

#: a Monday; whatever needs a time and does not care takes this one
NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
PASSWORD = "correct-horse-battery"


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """The database as pytest-django makes it; at the end, connections that threads of the tests left behind do not hold it."""
    yield
    from django.db import connection

    if connection.vendor == "postgresql":
        others = "datname = current_database() AND pid <> pg_backend_pid()"
        with django_db_blocker.unblock(), connection.cursor() as cursor:
            cursor.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")


@pytest.fixture
def noon() -> datetime:
    return NOON


@pytest.fixture
def account(db: None) -> Account:
    """The paper account that alice and bob may act on. A folder that needs more around it overrides this."""
    from execution.models import Account
    from risk.core.settings import ACCOUNT_PRESET
    from risk.models import AccountLimits

    fields = {name: getattr(ACCOUNT_PRESET, name) for name in ACCOUNT_PRESET.__struct_fields__}
    limits = AccountLimits.objects.create(name="paper-crypto", **fields)
    return Account.objects.create(code="paper-crypto", name="Paper Crypto", limits=limits)


def person(name: str, *groups: str, account: Account | None = None) -> User:
    """Someone who may sign in with PASSWORD; of `groups`, with access to `account` or to none."""
    from django.contrib.auth.models import Group

    from tradingdesk.people.models import AccountAccess, User

    user = User.objects.create_user(username=name, password=PASSWORD)
    user.groups.set([Group.objects.get_or_create(name=group)[0] for group in groups])
    if account is not None:
        AccountAccess.objects.create(user=user, account=account)
    return user


@pytest.fixture
def alice(account: Account) -> User:
    """A trader on the account."""
    return person("alice", "trader", account=account)


@pytest.fixture
def bob(account: Account) -> User:
    """Risk on the account: edits limits and clears latches."""
    user = person("bob", "risk", account=account)
    user.is_staff = True
    user.save(update_fields=["is_staff"])
    return user


@pytest.fixture
def charlie(db: None) -> User:
    """A viewer, and a stranger to the account."""
    return person("charlie", "viewer")
