"""The circuit breaker: when it trips, how long it stays, what it forgets."""

from __future__ import annotations

from datetime import datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from risk.core.circuit_breaker import (
    CircuitBreaker,
    ends_at,
    expire,
    is_tripped,
    losses_within,
    record_loss,
    reevaluate,
    reset,
)
from tests.core.risk_builders import later


def after(*seconds: float, limit: int | None = 3, window_s: int | None = 3600, cooldown_s: int | None = 600) -> CircuitBreaker:
    breaker = CircuitBreaker()
    for s in seconds:
        record_loss(breaker, at=later(s), limit=limit, window_s=window_s, cooldown_s=cooldown_s)
    return breaker


def stops(breaker: CircuitBreaker, at: datetime, cooldown_s: int | None = 600) -> bool:
    return is_tripped(breaker, at=at, cooldown_s=cooldown_s)


def test_it_trips_on_the_loss_that_fills_the_window() -> None:
    breaker = CircuitBreaker()
    told = [record_loss(breaker, at=later(s), limit=3, window_s=3600, cooldown_s=600) for s in (0, 1, 2, 3)]
    assert told == [False, False, True, False]
    assert breaker.tripped_at == later(2)


@pytest.mark.parametrize(("third", "is_hit"), [(3600, True), (3600.001, False), (3700, False)])
def test_it_counts_a_loss_exactly_as_old_as_the_window(third: float, is_hit: bool) -> None:
    assert stops(after(0, 1800, third), later(third)) is is_hit


@pytest.mark.parametrize(("limit", "window_s"), [(None, 3600), (3, None)])
def test_it_does_not_trip_without_settings(limit: int | None, window_s: int | None) -> None:
    assert not stops(after(0, 1, 2, 3, limit=limit, window_s=window_s), later(3))


def test_it_trips_on_the_first_loss_with_a_limit_of_nothing() -> None:
    assert stops(after(0, limit=0), later(0))


def test_it_ends_by_the_clock_alone() -> None:
    breaker = after(0, 0, 0)
    assert ends_at(breaker, cooldown_s=600) == later(600)
    assert stops(breaker, later(599.999))
    assert not stops(breaker, later(600))
    assert not expire(breaker, at=later(599), cooldown_s=600)
    assert expire(breaker, at=later(600), cooldown_s=600)
    assert breaker == CircuitBreaker()


def test_it_lasts_while_no_cooldown_is_set() -> None:
    breaker = after(0, 0, 0)
    assert stops(breaker, later(10**6), None)
    assert ends_at(breaker, cooldown_s=None) is None


def test_it_is_not_extended_by_a_loss_while_tripped() -> None:
    breaker = after(0, 0, 0, 300)
    assert ends_at(breaker, cooldown_s=600) == later(600)


def test_it_starts_from_nothing_after_the_cooldown() -> None:
    breaker = after(0, 0, 0, 300, 600)
    assert not stops(breaker, later(600))
    assert breaker.losses == [later(600)]


def test_it_forgets_by_a_persons_act() -> None:
    breaker = after(0, 0, 0)
    reset(breaker)
    assert breaker == CircuitBreaker()
    assert ends_at(breaker, cooldown_s=600) is None


def test_it_judges_edited_settings_at_once() -> None:
    breaker = after(0, 100)
    reevaluate(breaker, at=later(200), limit=2, window_s=3600, cooldown_s=600)
    assert ends_at(breaker, cooldown_s=600) == later(700)
    reevaluate(breaker, at=later(200), limit=3, window_s=3600, cooldown_s=600)
    assert not stops(breaker, later(200))
    assert len(breaker.losses) == 2


def test_it_is_not_extended_by_an_edit_that_changes_nothing() -> None:
    breaker = after(0, 0, 0, 300)
    before = msgspec.structs.replace(breaker, losses=list(breaker.losses))
    reevaluate(breaker, at=later(400), limit=3, window_s=3600, cooldown_s=600)
    assert breaker == before


def test_it_counts_downtime_after_a_restart() -> None:
    restored = msgspec.msgpack.decode(msgspec.msgpack.encode(after(0, 0, 0)), type=CircuitBreaker)
    assert stops(restored, later(599))
    assert not stops(restored, later(700))


def test_it_counts_losses_in_the_window() -> None:
    breaker = after(0, 10, limit=9)
    assert losses_within(breaker, at=later(3605), window_s=3600) == 1
    assert losses_within(CircuitBreaker(), at=later(0), window_s=3600) == 0


def test_it_remembers_a_bounded_number_of_losses() -> None:
    breaker = after(*range(1200), limit=None)
    assert len(breaker.losses) == 1000
    assert stops(after(*range(1000), limit=10**6), later(999))


@given(st.lists(st.integers(0, 5000)).map(sorted), st.integers(1, 5))
def test_it_is_tripped_exactly_for_the_cooldown_after_enough_losses(times: list[int], limit: int) -> None:
    breaker = after(*times, limit=limit)
    tripped_at: int | None = None
    kept: list[int] = []
    for t in times:
        if tripped_at is not None and t >= tripped_at + 600:
            tripped_at, kept = None, []
        kept.append(t)
        if tripped_at is None and sum(1 for k in kept if k >= t - 3600) >= limit:
            tripped_at = t
    assert breaker.tripped_at == (None if tripped_at is None else later(tripped_at))
