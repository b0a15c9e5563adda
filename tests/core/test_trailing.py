"""A trailing stop follows the price one way, and triggers when it has come back far enough."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execution.core.trailing import Trail, followed, is_triggered
from risk.core.units import Side
from tests.core.builders import D

PRICES = st.lists(st.integers(1, 200).map(D), min_size=1, max_size=30)
TRAILS = st.builds(
    Trail,
    side=st.sampled_from(Side),
    offset=st.integers(1, 50).map(D),
    pct=st.none() | st.integers(1, 50).map(D),
    activation_px=st.none() | st.integers(1, 200).map(D),
    is_activated_above=st.booleans(),
)


@pytest.mark.parametrize(
    ("trail", "path", "trigger_px"),
    [
        (Trail(side=Side.SELL, offset=D(5)), "100 103 99", "98"),
        (Trail(side=Side.BUY, offset=D(5)), "100 97 101", "102"),
        (Trail(side=Side.SELL, pct=D(10)), "100 120 110", "108"),
        (Trail(side=Side.BUY, pct=D(10)), "100 80 85", "88"),
        (Trail(side=Side.SELL, offset=D(5), activation_px=D(110)), "100 109", None),
        (Trail(side=Side.SELL, offset=D(5), activation_px=D(110)), "100 111 109", "106"),
        (Trail(side=Side.BUY, offset=D(5), activation_px=D(90), is_activated_above=False), "100 89 92", "94"),
    ],
)
def test_it_stays_a_distance_behind_the_best_price(trail: Trail, path: str, trigger_px: str | None) -> None:
    for price in path.split():
        trail = followed(trail, D(price))
        assert not is_triggered(trail, D(price))
    assert trail.trigger_px == (None if trigger_px is None else D(trigger_px))
    if trigger_px is not None:
        assert is_triggered(trail, D(trigger_px))
        assert not is_triggered(trail, D(trigger_px) - trail.side.sign)


@given(TRAILS, PRICES)
def test_it_never_gives_back_what_it_gained(trail: Trail, path: list[D]) -> None:
    """The trigger moves one way, stays behind the price that made it, and a new extreme never triggers."""
    for price in path:
        before = trail
        trail = followed(trail, price)
        if trail is not before:
            assert not is_triggered(trail, price)
        if before.trigger_px is not None and trail.trigger_px is not None:
            assert (trail.trigger_px - before.trigger_px) * trail.side.sign <= 0
    assert followed(trail, path[-1]) is trail
