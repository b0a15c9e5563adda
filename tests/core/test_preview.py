"""What an admin page says of a default order: its size, and the gate that would deny it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from risk.core.preview import Preview, default_order
from risk.core.settings import ACCOUNT_PRESET, AccountLimits
from tests.core.risk_builders import BTC, NOON, settings

D = Decimal


def preview(limits: AccountLimits = ACCOUNT_PRESET, equity: str = "100000", price: str = "100", **changes: Any) -> Preview:
    found = settings(**{"margin_per_trade": D(1000), "leverage": D(1), "qty_max": D(500), **changes})
    return default_order(
        instrument=BTC, settings=found, limits=limits, price=D(price), equity=D(equity), currency=BTC.currency, at=NOON
    )


def test_it_passes_what_would_pass() -> None:
    assert preview() == Preview(D(10))


@pytest.mark.parametrize(
    ("changes", "gate", "words"),
    [
        ({"order_notional_max": D(900)}, "Order notional: ", "The order is worth 1,000; the limit is 900."),
        ({"order_equity_pct_max": D("0.5")}, "Order share of equity: ", "the limit is 500, 0.5 % of equity. Up to 5 would pass."),
        ({"order_qty_max": D(9)}, "Order quantity: ", "the limit is 9"),
        ({"session_loss_limit": None}, "Session loss: ", "session_loss_limit is not set."),
        ({"margin_per_trade": None}, "Size: ", "margin_per_trade is not set."),
        ({"limits": msgspec.structs.replace(ACCOUNT_PRESET, concentration_pct=D("0.1"))}, "Concentration: ", "the limit is 100."),
    ],
)
def test_it_says_which_gate_would_deny_and_why(changes: dict[str, Any], gate: str, words: str) -> None:
    found = preview(**changes)
    assert found.denial.startswith(gate)
    assert words in found.denial


def test_it_says_when_less_than_a_lot_comes_out() -> None:
    found = preview(margin_per_trade=D("0.0001"))
    assert found.order_qty == 0
    assert found.denial.startswith("Size: The settings give less than one lot")


def test_it_does_not_count_the_hour_the_stop_or_what_runs() -> None:
    """A market that is closed now, and a stop that must be far: neither makes a size wrong."""
    stock = msgspec.structs.replace(BTC, calendar="XNYS")
    found = default_order(
        instrument=stock,
        settings=settings(stop_distance_pct_min=D(5), stop_distance_pct_max=D(10), trade_risk_pct_max=D(50)),
        limits=ACCOUNT_PRESET,
        price=D(100),
        equity=D(100_000),
        currency=BTC.currency,
        at=NOON,
    )
    assert found.denial == ""
