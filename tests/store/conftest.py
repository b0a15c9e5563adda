"""Rows to write to, and core values to write."""

from __future__ import annotations

import pytest

from execution.models import Account, AccountState, Lease


@pytest.fixture
def leased(account: Account) -> Account:
    """The paper account, owned under token 1."""
    Lease.objects.create(account=account, engine="here", token=1)
    AccountState.objects.create(account=account)
    return account
