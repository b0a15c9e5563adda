"""What an account can tell the simulated venue: one plain sentence for what is wrong, and venues that lack what real ones lack."""

from __future__ import annotations

from typing import Any

import pytest

from execution.core.ports import Refused
from execution.core.venues import OPTIONS, REMOVABLE, VENUES, capabilities_of, options_told, venue_options
from risk.core.units import Side, TimeInForce
from risk.core.verdict import Approved, Capability
from tests.brokers.builders import limit, opened, order, stop


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["latency_ms"], "The options of a venue are one object, was"),
        ({"latency": 3}, "has no option “latency”"),
        ({"latency_ms": "fast"}, "latency_ms must be a number, was “fast”."),
        ({"latency_ms": True}, "latency_ms must be a number, was “True”."),
        ({"latency_ms": [2]}, "latency_ms must be a number"),
        ({"reject_pct": 101}, "reject_pct must be from 0 to 100, was 101."),
        ({"reject_pct": "NaN"}, "reject_pct must be from 0 to 100, was NaN."),
        ({"seed": 1.5}, "seed must be a whole number, was 1.5."),
        (
            {"self_trades": "MAYBE"},
            "self_trades must be one of NONE, EXPIRE_MAKER, EXPIRE_TAKER, EXPIRE_BOTH, DECREMENT, was “MAYBE”.",
        ),
        ({"without": "STOP_ORDERS"}, "without must be a list, was “STOP_ORDERS”."),
        ({"without": ["FILL_STREAM"]}, "without must be one of STOP_ORDERS, .*, was “FILL_STREAM”."),
        ({"without": ["REPLACE", 3]}, "without must be one of .*, was “3”."),
        ({"fees": {"taker_bps": 5}}, "fees must be a list, was"),
        ({"fees": [5]}, "fees 1 must be an object, was “5”."),
        ({"fees": [{}, {"taker": 5}]}, "fees 2 has no “taker”; it has for, maker_bps, "),
        ({"fees": [{"taker_bps": "much"}]}, "fees 1: taker_bps must be a number, was “much”."),
        ({"fees": [{"minimum": "-1"}]}, "fees 1: minimum must be from 0 to 1000000, was -1."),
        ({"fees": [{"taken_from": "BASE"}]}, "fees 1: taken_from must be one of QUOTE, RECEIVED, was “BASE”."),
        ({"fees": [{"tiers": [{"up_to": "x"}]}]}, "fees 1: tiers 1: up_to must be a number, was “x”."),
        ({"fees": [{"tiers": [{"up_to": "10"}]}]}, "fees 1: the last of tiers has no up_to, so that every order has a tier."),
        (
            {"fees": [{"tiers": [{"up_to": "10"}, {"up_to": "5"}, {}]}]},
            "fees 1: tiers must be in ascending order of up_to, and only the last has none.",
        ),
        ({"slippage": [{"model": "HOPE"}]}, "slippage 1: model must be one of BPS, FIXED, SPREAD, "),
        ({"slippage": [{"bps": None, "exponent": 0}]}, "slippage 1: exponent must be from 0.1 to 2, was 0."),
    ],
)
def test_it_refuses_wrong_options_in_one_sentence(options: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why) as wrong:
        venue_options("simulated", options)
    assert str(wrong.value).endswith(".")


def test_it_tells_people_every_option() -> None:
    told = options_told("simulated")
    assert all(f"{name}: " in told for name in OPTIONS["simulated"])
    assert "latency_ms: 2 (0 to 60000)" in told


def test_it_knows_a_default_for_every_option() -> None:
    assert venue_options("simulated", {}).keys() == OPTIONS["simulated"].keys()


@pytest.mark.parametrize(
    ("capability", "needs_it"),
    [
        (Capability.STOP_ORDERS, stop("90.00", reduce_only=False)),
        (Capability.POST_ONLY, limit("90.00", post_only=True)),
        (Capability.IOC, limit("90.00", time_in_force=TimeInForce.IOC)),
        (Capability.FOK, limit("90.00", time_in_force=TimeInForce.FOK)),
        (Capability.REDUCE_ONLY, limit("110.00", side=Side.SELL, reduce_only=True)),
    ],
)
async def test_it_refuses_orders_of_a_kind_it_was_told_to_lack(capability: Capability, needs_it: Approved) -> None:
    """So a spot venue, which knows no reduce-only orders, can be stood for on paper."""
    venue = await opened(without=[capability.value])
    assert venue.capabilities == VENUES["simulated"] - {capability}
    await venue.submit("a1", order("1"))
    with pytest.raises(Refused, match="this venue takes no "):
        await venue.submit("a2", needs_it)
    venue = await opened()
    await venue.submit("a1", order("1"))
    await venue.submit("a2", needs_it)


async def test_it_cannot_be_asked_by_our_id_where_it_was_told_so() -> None:
    venue = await opened(without=["QUERY_BY_CLIENT_ID"])
    await venue.submit("a1", limit("90.00"))
    assert await venue.order_by_cl_ord_id("a1", "BTCUSDT") is None
    assert [o.cl_ord_id for o in await venue.orders_open()] == ["a1"]


def test_it_lacks_only_what_it_was_told_to_lack() -> None:
    everything: dict[str, Any] = {"without": [capability.value for capability in REMOVABLE]}
    assert capabilities_of("simulated", everything) == VENUES["simulated"] - set(REMOVABLE)
    assert capabilities_of("simulated", {}) == VENUES["simulated"]


async def test_it_has_no_mass_cancel_where_it_was_told_so() -> None:
    venue = await opened(without=["MASS_CANCEL"])
    await venue.submit("a1", limit("90.00"))
    with pytest.raises(Refused, match="mass cancel"):
        await venue.cancel_all("")
    assert [o.cl_ord_id for o in await venue.orders_open()] == ["a1"]
