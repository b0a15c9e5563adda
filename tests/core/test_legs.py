"""The next step from the legs that rest to those that should: one row for each way a venue changes them."""

# mypy: disable-error-code="comparison-overlap"
from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from execution.core.legs import NOTHING, Survey, Terms, Want, Way, plan
from execution.core.orders import OrderState, OrdStatus, Purpose, Replacing
from risk.core.units import OrdType, Side, TimeInForce
from risk.core.verdict import OrderClass
from tests.core.builders import BTC, NOON, D

AT = Terms(OrdType.STOP, None, D(98))
REPLACE, OVERLAP, NEITHER = Way(True, True), Way(False, True), Way(False, False)
REPLACE_ALONE = Way(True, False)


def leg(n: int, qty: str, **changes: Any) -> OrderState:
    """A resting stop at 98."""
    given: dict[str, Any] = {"stop_px": D(98), "is_accepted": True} | changes
    return OrderState(
        cl_ord_id=str(n),
        bot="alpha",
        symbol=BTC,
        side=Side.SELL,
        ord_type=OrdType.STOP,
        time_in_force=TimeInForce.GTC,
        order_class=OrderClass.PROTECTION,
        purpose=Purpose.STOP_LOSS,
        order_qty=D(qty),
        created_at=NOON,
        updated_at=NOON,
        **given,
    )


def survey(*legs: OrderState, is_waiting: Callable[[OrderState], bool] = lambda _: False) -> Survey:
    return Survey({o.cl_ord_id: o for o in legs}, [o.cl_ord_id for o in legs], is_waiting=is_waiting)


def told(legs: list[OrderState], qty: str, way: Way, terms: Terms = AT) -> str:
    """The step in words."""
    step = plan(survey(*legs), Want(D(qty), terms), way)
    words = [f"cancel {' '.join(o.cl_ord_id for o in step.cancel)}"] if step.cancel else []
    if step.change is not None:
        words.append(f"change {step.change.cl_ord_id} to {step.change_qty}")
    if step.send_qty:
        words.append(f"send {step.send_qty}")
    return ", ".join(words)


def to(qty: str) -> Replacing:
    return Replacing(cl_ord_id="r", order_qty=D(qty), price=None, stop_px=D(98), since=NOON)


MOVED = {"stop_px": D(97)}
PENDING = {"is_accepted": False}
GOING = {"pending": OrdStatus.PENDING_CANCEL}


@pytest.mark.parametrize(
    ("legs", "qty", "way", "step"),
    [
        ([], "10", OVERLAP, "send 10"),
        ([], "0", OVERLAP, ""),
        ([leg(1, "10")], "10", OVERLAP, ""),
        ([leg(1, "10")], "0", NEITHER, "cancel 1"),
        ([leg(1, "10", **GOING)], "0", NEITHER, ""),
        ([leg(1, "10", is_unknown=True, is_accepted=False)], "0", NEITHER, ""),
        # growing
        ([leg(1, "4")], "10", OVERLAP, "send 6"),
        ([leg(1, "4")], "10", NEITHER, "send 6"),
        ([leg(1, "4")], "10", REPLACE, "change 1 to 10"),
        ([leg(1, "4", cum_qty=D(1))], "10", REPLACE, "change 1 to 10"),
        ([leg(1, "4", **PENDING)], "10", OVERLAP, ""),
        ([leg(1, "4", **PENDING)], "10", REPLACE, ""),
        ([leg(1, "4", replacing=to("6"))], "10", REPLACE, ""),
        ([leg(1, "4", replacing=to("10"))], "10", REPLACE, ""),
        ([leg(1, "10", **GOING)], "4", OVERLAP, "send 4"),
        # shrinking
        ([leg(1, "10")], "6", OVERLAP, "send 6"),
        ([leg(1, "10")], "6", NEITHER, "cancel 1"),
        ([leg(1, "10")], "6", REPLACE, "change 1 to 6"),
        ([leg(1, "10", cum_qty=D(2))], "6", REPLACE_ALONE, "change 1 to 6"),
        ([leg(1, "10"), leg(2, "6")], "6", OVERLAP, "cancel 1"),
        ([leg(1, "6"), leg(2, "10")], "6", OVERLAP, "cancel 2"),
        ([leg(1, "4"), leg(2, "6")], "5", NEITHER, "cancel 1"),
        ([leg(1, "4"), leg(2, "6")], "3", REPLACE, "cancel 1"),
        ([leg(1, "10"), leg(2, "6", **PENDING)], "6", OVERLAP, ""),
        ([leg(1, "4"), leg(2, "3"), leg(3, "5")], "5", OVERLAP, "cancel 1"),
        # moving
        ([leg(1, "10", **MOVED)], "10", REPLACE, "change 1 to 10"),
        ([leg(1, "10", **MOVED)], "10", OVERLAP, "send 10"),
        ([leg(1, "10", **MOVED)], "10", NEITHER, "cancel 1"),
        ([leg(1, "10", **MOVED), leg(2, "10")], "10", OVERLAP, "cancel 1"),
        ([leg(1, "10", **MOVED), leg(2, "10", **PENDING)], "10", OVERLAP, ""),
        ([leg(1, "6", **MOVED), leg(2, "4", **MOVED)], "10", REPLACE_ALONE, "change 2 to 4"),
        ([leg(1, "6", **MOVED), leg(2, "4")], "10", REPLACE_ALONE, "change 1 to 6"),
        ([leg(1, "10", **MOVED, **GOING)], "10", NEITHER, "send 10"),
    ],
)
def test_it_takes_the_next_step(legs: list[OrderState], qty: str, way: Way, step: str) -> None:
    assert told(legs, qty, way) == step


def test_it_waits_for_a_leg_that_may_not_be_asked_again_yet() -> None:
    found = survey(leg(1, "4", tries=1), is_waiting=lambda _: True)
    assert plan(found, Want(D(10), AT), REPLACE) is NOTHING


@pytest.mark.parametrize(
    ("given", "covered", "requested"),
    [
        (leg(1, "10"), 10, 10),
        (leg(1, "10", **PENDING), 0, 10),
        (leg(1, "10", **GOING), 0, 0),
        (leg(1, "10", replacing=to("4")), 4, 4),
        (leg(1, "10", replacing=to("14")), 10, 14),
        (leg(1, "10", is_unknown=True, replacing=to("14")), 10, 14),
        (leg(1, "10", cum_qty=D(3), **MOVED), 7, 7),
    ],
)
def test_it_counts_what_covers_and_what_is_asked_for(given: OrderState, covered: int, requested: int) -> None:
    found = survey(given)
    assert (found.covered_qty, found.requested_qty) == (covered, requested)


SIZES = st.lists(st.tuples(st.integers(1, 9), st.booleans()), max_size=4)
WAYS = st.sampled_from([REPLACE, OVERLAP, NEITHER, REPLACE_ALONE])


@settings(max_examples=300, deadline=None)
@given(SIZES, st.integers(0, 12), WAYS)
def test_it_arrives_whatever_it_starts_from(sizes: list[tuple[int, bool]], wanted: int, way: Way) -> None:
    """A venue that does at once what it is asked: in a few steps exactly what is wanted rests, at its price. And where nothing may
    overlap, never more than the larger of what was and what should be.
    """
    legs = [leg(n, str(qty), **({} if is_there else MOVED)) for n, (qty, is_there) in enumerate(sizes)]
    most = max(sum((o.leaves_qty for o in legs), Decimal(0)), Decimal(wanted))
    for n in range(30):
        step = plan(survey(*legs), Want(D(wanted), AT), way)
        if step is NOTHING:
            break
        legs = [o for o in legs if o not in step.cancel]
        if step.change is not None:
            step.change.order_qty, step.change.stop_px = step.change.cum_qty + step.change_qty, AT.stop_px
        if step.send_qty:
            legs.append(leg(100 + n, str(step.send_qty)))
        if not way.may_overlap:
            assert sum(o.leaves_qty for o in legs) <= most
    assert sum(o.leaves_qty for o in legs) == wanted
    assert {o.stop_px for o in legs} <= {AT.stop_px}
