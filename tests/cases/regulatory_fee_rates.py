"""regulatory_fee_rates.json: the dated rates, each verified row against the table the venue charges by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from execution.brokers.simulated.fees import SECTION_31, TRADING_ACTIVITY, Dated, rate_on
from tests.cases.reading import Case, agree

DAY = timedelta(days=1)


def check(case: Case) -> None:
    _check(case, case.get("section31_usd_per_million_of_sale_proceeds", ()), SECTION_31)
    _check(case, case.get("finra_taf_equity_usd_per_share_sold", ()), TRADING_ACTIVITY)


def _check(case: Case, rows: Sequence[Mapping[str, Any]], table: Sequence[Dated]) -> None:
    for row in (row for row in rows if row.get("verified")):
        day = date.fromisoformat(row["before"]) - DAY if "before" in row else date.fromisoformat(row.get("from", row.get("on")))
        agree(case, rate_on(table, day).rate, row["rate"], at=f"the rate of {day}")
        if "prior" in row:
            agree(case, rate_on(table, day - DAY).rate, row["prior"], at=f"the rate before {day}")
        if "cap" in row:
            agree(case, rate_on(table, day).cap, row["cap"], at=f"the cap of {day}")
