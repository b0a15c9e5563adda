"""regulatory_fee_cases.json: what regulators charge on a sale of US equities, on a day."""

from __future__ import annotations

from datetime import date

import pytest

from execution.brokers.simulated.fees import section_31, trading_activity
from tests.cases.reading import Case, agree, number


def check(case: Case) -> None:
    day = date.fromisoformat(case["date"])
    match case["kind"]:
        case "sec31":
            agree(case, section_31(number(case["sale_proceeds"]), day))
        case "taf_equity":
            agree(case, trading_activity(number(case["shares"]), day))
        case kind:
            pytest.xfail(f"the venue charges no “{kind}”: options come with their own part")
