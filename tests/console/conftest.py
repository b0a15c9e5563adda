"""A desk in a calm minute, and the people who look at it. Alice trades, bob is risk, charlie is a viewer and a stranger to the account."""

from __future__ import annotations

import pytest
from django.test import Client

from execution.models import Account
from tests.console import factories
from tests.console.factories import DeskRows
from tradingdesk.people.models import User


@pytest.fixture
def desk(db: None) -> DeskRows:
    return factories.desk()


@pytest.fixture
def account(desk: DeskRows) -> Account:
    """The account of the desk: alice and bob of the shared fixtures get access to it."""
    return desk.account


@pytest.fixture
def dora(account: Account) -> User:
    """A viewer with access: sees everything of the account and may do nothing."""
    return factories.user("dora", "viewer", accounts=[account])


def client_of(user: User | None) -> Client:
    """A browser of this person, or of nobody."""
    browser = Client()
    if user is not None:
        browser.force_login(user)
    return browser
