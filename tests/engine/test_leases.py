"""Leases: one owner at a time, a token that grows, and time by the database's clock."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time

import pytest

from execution.engine import leases
from execution.engine.leases import Claim, Held, claim, release, renew
from execution.models import Account, Engine, Lease
from tests.conftest import NOON

pytestmark = [pytest.mark.django_db, pytest.mark.db]


def take(account: Account, engine: str = "one", *, lease_s: float = 60.0, send_timeout_s: float = 3.0) -> Claim | None:
    return claim(account.pk, engine=engine, lease_s=lease_s, send_timeout_s=send_timeout_s)


def held(account: Account, token: int) -> Held:
    return Held(Claim(account.pk, token, 0.0), asked=time.monotonic(), lease_s=60)


def engine_row(name: str, pid: int, host: str | None = None) -> None:
    Engine.objects.create(
        name=name, pid=pid, host=host or socket.gethostname(), version="1", started_at=NOON, seen_at=NOON, vitals={}
    )


def a_pid_that_is_gone() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_it_gives_an_account_to_one_engine(account: Account) -> None:
    assert take(account, "one") == Claim(account.pk, 1, 0.0)
    assert take(account, "two") is None


def test_it_lets_an_engine_claim_anew_what_is_still_its_own(account: Account) -> None:
    """Its runner gave up, and the renewal went through all the same: nobody else would come before the lease runs out."""
    take(account, "one")
    assert take(account, "one", send_timeout_s=30.0) == Claim(account.pk, 2, 30.0)


def test_it_raises_the_token_at_each_claim(account: Account) -> None:
    take(account, "one")
    release(account.pk, token=1)
    assert take(account, "two") == Claim(account.pk, 2, 0.0)


def test_it_gives_an_expired_lease_away_and_keeps_quiet_for_the_old_owners_requests(account: Account) -> None:
    take(account, "one", lease_s=-1.0)
    won = take(account, "two", send_timeout_s=30.0)
    assert won is not None
    assert won.token == 2
    assert 25 < won.quiet_s <= 30


def test_it_renews_only_what_is_still_ours(account: Account) -> None:
    take(account, "one", lease_s=-1.0)
    assert renew([held(account, 1)], engine="one", lease_s=60) == {account.pk}
    assert take(account, "two") is None
    Lease.objects.update(engine="two", token=2)
    assert renew([held(account, 1)], engine="one", lease_s=60) == set()


def test_it_releases_nothing_that_is_no_longer_ours(account: Account) -> None:
    take(account, "one")
    release(account.pk, token=7)
    assert take(account, "two") is None


@pytest.mark.parametrize(("host", "is_won"), [(None, True), ("elsewhere", False)])
def test_it_takes_over_at_once_from_a_process_of_this_machine_that_is_gone(
    account: Account, host: str | None, *, is_won: bool
) -> None:
    take(account, "dead")
    engine_row("dead", a_pid_that_is_gone(), host)
    won = take(account, "two")
    assert (won is not None) is is_won
    if won is not None:
        assert won.quiet_s == 3.0


def test_it_respects_a_process_of_this_machine_that_lives(account: Account) -> None:
    take(account, "alive")
    engine_row("alive", os.getppid())
    assert take(account, "two") is None


def test_it_counts_its_own_deadline_from_before_the_renewal_was_asked(account: Account) -> None:
    lease = Held(Claim(account.pk, 1, 0.0), asked=100.0, lease_s=10)
    lease.renewed(asked=103.0)
    assert lease.deadline == 113.0
    lease.renewed(asked=102.0)
    assert lease.deadline == 113.0


def test_it_keeps_quiet_until_the_old_owners_request_is_over_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [101.0]
    monkeypatch.setattr(leases, "monotonic", lambda: now[0])
    lease = Held(Claim(1, 2, 3.0), asked=100.0, answered=101.0, lease_s=10)
    assert lease.quiet_s == 3.0
    now[0] = 102.5
    assert lease.quiet_s == 1.5
    now[0] = 200.0
    assert lease.quiet_s == 0.0
