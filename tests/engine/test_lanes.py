"""Budgets: what an engine may ask of a venue, and how engines share it."""

from __future__ import annotations

import pytest

from execution.engine import lanes, leases
from execution.engine.lanes import Budget, Budgets, Lane
from execution.models import Account, Lease
from risk.models import AccountLimits

RATES = {"here": {Lane.SAFETY: 40.0, Lane.ENTRIES: 4.0, Lane.QUERIES: 0.5}}


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The loop's time, to be set."""
    now = [100.0]
    monkeypatch.setattr(lanes, "monotonic", lambda: now[0])
    return now


def taken(budget: Budget) -> int:
    """How many requests can be made at once now."""
    return next(n for n in range(10_000) if not budget.take())


def test_it_grants_a_second_at_once_and_earns_the_rest(time: list[float]) -> None:
    budget = Budget(5.0)
    assert taken(budget) == 5
    assert budget.wait_s == pytest.approx(0.2)
    time[0] += 0.4
    assert taken(budget) == 2
    time[0] += 60
    assert taken(budget) == 5


def test_it_grants_one_request_where_a_second_earns_less(time: list[float]) -> None:
    budget = Budget(0.5)
    assert taken(budget) == 1
    time[0] += budget.wait_s
    assert taken(budget) == 1


async def test_it_waits_for_a_request_to_be_earned() -> None:
    budget = Budget(50.0)
    assert taken(budget) == 50
    await budget.spend()
    assert budget.wait_s > 0


def test_it_gives_the_accounts_of_an_engine_one_budget(time: list[float]) -> None:
    budgets = Budgets(RATES)
    assert budgets.at("here")[Lane.ENTRIES] is budgets.at("here")[Lane.ENTRIES]


def test_it_divides_a_venue_by_the_engines_there(time: list[float]) -> None:
    budgets = Budgets(RATES)
    entries = budgets.at("here")[Lane.ENTRIES]
    budgets.divide({"here": 2, "elsewhere": 7})
    assert taken(entries) == 2
    time[0] += 60
    budgets.divide({})
    time[0] += 60
    assert taken(entries) == 4


def test_a_share_that_shrinks_takes_what_was_saved(time: list[float]) -> None:
    budgets = Budgets(RATES)
    budgets.divide({"here": 1})
    safety = budgets.at("here")[Lane.SAFETY]
    budgets.divide({"here": 4})
    assert taken(safety) == 10


@pytest.mark.db
@pytest.mark.django_db
def test_it_counts_the_live_engines_of_a_venue(account: Account) -> None:
    assert leases.engines_by_venue() == {}
    others = [_account(f"a{n}") for n in range(3)]
    for row, engine in zip([account, *others], ("one", "one", "two", "three"), strict=True):
        leases.claim(row.pk, engine=engine, lease_s=60, send_timeout_s=1)
    assert leases.engines_by_venue() == {"simulated": 3}
    leases.release(others[1].pk, token=1)
    Lease.objects.filter(engine="three").update(expires_at="2020-01-01T00:00:00Z")
    assert leases.engines_by_venue() == {"simulated": 1}


def _account(code: str) -> Account:
    return Account.objects.create(code=code, name=code, limits=AccountLimits.objects.create(name=code))
