"""trailing_stop.json: a path of prices, linear between its points; where the tracking starts, the extreme, and where it triggers."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from itertools import pairwise

from execution.core.trailing import Trail, followed, is_triggered
from risk.core.units import Side
from tests.cases.reading import Case, agree, number


def check(case: Case) -> None:
    """Walk the path. Legs are counted from one."""
    trail = trail_of(case["order"])
    points = [number(point) for point in case["path_linear_between"]]
    found: dict[str, object] = {"tracking_starts_at": None, "extreme": None, "trigger_at": None, "triggers_on_leg": None}
    for leg, (start, end) in enumerate(pairwise(points), 1):
        for price in prices(trail, start, end):
            was_tracking = trail.extreme is not None
            trail = followed(trail, price)
            if trail.extreme is not None and not was_tracking:
                found["tracking_starts_at"] = trail.extreme
            if is_triggered(trail, price):
                agree(case, found | {"extreme": trail.extreme, "trigger_at": price, "triggers_on_leg": leg})
                return
    agree(case, found | {"extreme": trail.extreme})


def trail_of(order: Case) -> Trail:
    """A stop waits for the price to come against the order, a take-profit for it to go the order's way."""
    side, is_stop = Side(order["side"]), str(order["type"]).startswith("STOP")
    activation = order.get("stop_price")
    return Trail(
        side=side,
        pct=number(order["trailing_bips"]) / 100,
        activation_px=None if activation is None else number(activation),
        is_activated_above=is_stop is (side is Side.BUY),
    )


def prices(trail: Trail, start: Decimal, end: Decimal) -> Iterator[Decimal]:
    """The prices of one leg that matter, in turn: its start, where the tracking begins, where it would trigger, its end."""
    yield start
    passed = start
    if trail.extreme is None and trail.activation_px is not None and _lies_between(trail.activation_px, start, end):
        yield trail.activation_px
        passed = trail.activation_px
    trigger_px = followed(trail, passed).trigger_px
    if trigger_px is not None and _lies_between(trigger_px, passed, end):
        yield trigger_px
    yield end


def _lies_between(price: Decimal, start: Decimal, end: Decimal) -> bool:
    return min(start, end) <= price <= max(start, end)
