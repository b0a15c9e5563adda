"""twap.json: the slices of a quantity over a horizon, or that none can be made."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

import pytest

from execution.core.messages import Twap
from execution.core.twap import SLICES_MAX, ScheduleRefused, slices
from risk.core.sizing import is_positive
from risk.core.units import ZERO, use_decimal_context
from tests.cases.reading import Case, agree, number

D = Decimal
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
        if not expected.get("rejected"):
            _expect_refusal(qty, lot, twap)
        agree(case, {"rejected": True})
        return
    if not expected.get("rejected") and parts[0] < _number(inputs, "min_quantity", "min_qty", default="0"):
        pytest.xfail("a slice below the venue's least is denied by gate 11 here; the source sends the whole in one order")
    if parts[0] != parts[-1] and len(expected.get("slices", ())) == len(parts) + 1:
        pytest.xfail("what does not divide goes to the last slices here, a lot each; the source sends it as one more slice")
    each = ("quote_each", "qty_each")
    # an amount that does not divide is rounded by the source, and the first slice is rounded down
    rounded = dict.fromkeys(each, parts[-1] - parts[0])
    agree({"tol": rounded, **case}, {"slices": list(parts), "n": len(parts), "rejected": False, **dict.fromkeys(each, parts[0])})


def _expect_refusal(qty: Decimal, lot: Decimal, twap: Twap) -> None:
    """What a source makes a schedule of, and we do not."""
    n = twap.horizon_s // twap.interval_s if is_positive(twap.horizon_s) and is_positive(twap.interval_s) else ZERO
    if is_positive(qty) and n and qty < lot * n:
        pytest.xfail("a quantity of fewer lots than slices is refused here; the source sends it in one order")
    if n >= SLICES_MAX:
        pytest.xfail(f"a schedule has fewer than {SLICES_MAX} slices here")


def _lot(case: Case) -> Decimal:
    """The size increment ("1e-9 (raw fixed precision)"), else the digits that an amount each is given in."""
    inputs, expected = case["inputs"], case["expected"]
    told = next((inputs[name] for name in ("size_increment", "lot", "lot_size") if inputs.get(name)), None)
    if told is not None:
        return number(str(told).split()[0])
    each = expected.get("quote_each", expected.get("qty_each"))
    return D((0, (1,), int(number(each).as_tuple().exponent))) if each is not None else D(FINEST)


def _number(inputs: Mapping[str, Any], *names: str, default: str = "NaN") -> Decimal:
    """The first of these inputs that a case has; NaN for one that is no number."""
    told = next((inputs[name] for name in names if inputs.get(name) is not None), default)
    try:
        return number(told)
    except ValueError:
        return D("NaN")
