"""slippage.json: how much worse a fill is, by the models of the simulated venue."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

import pytest

from execution.brokers.simulated.slippage import Model, Seen, Slippage, amount
from tests.cases.reading import Case, agree, number

#: the sources' names for our models
MODELS: Final = {
    "volume_share": Model.VOLUME_SHARE,
    "constant_pct": Model.BPS,
    "fixed_pct": Model.BPS,
    "fixed_bps": Model.BPS,
    "fixed": Model.FIXED,
    "spread": Model.SPREAD,
    "spread_based": Model.SPREAD,
    "volume_impact": Model.VOLUME_IMPACT,
    "volatility": Model.VOLATILITY,
}
#: the numbers of a model, which have the names of the sources
NUMBERS: Final = ("volume_limit", "price_impact", "amount", "fraction", "coefficient", "exponent", "factor")


def check(case: Case) -> None:
    inputs = case["inputs"]
    if case["model"] not in MODELS:
        pytest.xfail(f"the venue has no slippage model “{case['model']}”")
    volume = number(inputs.get("bar_volume", inputs.get("volume", 0)))
    if MODELS[case["model"]] is Model.VOLUME_SHARE and volume == 0:
        pytest.xfail("a bar without volume slips at the limit here, whatever the asset; the source lets currencies go free")
    numbers: dict[str, Any] = {name: number(inputs[name]) for name in NUMBERS if name in inputs}
    model = Slippage(model=MODELS[case["model"]], rate=_rate(case), **numbers)
    bid, ask = number(inputs.get("bid", 0)), number(inputs.get("ask", 0))
    seen = Seen(
        price=number(inputs["px"]) if "px" in inputs else (bid + ask) / 2,
        qty=number(inputs.get("qty", 1)),
        half_spread=(ask - bid) / 2,
        is_touch=False,
        volume=volume,
        volume_mean=number(inputs.get("avg_volume", volume)),
        volatility=number(inputs.get("volatility", 0)),
    )
    agree(case, {"slippage": amount(model, seen)})


def _rate(case: Case) -> Decimal:
    """A part of one: the source's percent is a part of one already."""
    inputs = case["inputs"]
    return number(inputs["bps"]) / 10000 if "bps" in inputs else number(inputs.get("pct", 0))
