"""What the words and figures of the console look like."""

from __future__ import annotations

from decimal import Decimal

import pytest

from risk.core.portfolio import Reading
from risk.core.verdict import Reason
from tests.console.conftest import client_of
from tests.console.factories import DeskRows, user
from tradingdesk.console.figures import bar, noun

D = Decimal


@pytest.mark.parametrize(
    ("model", "told"), [("risk.SymbolOverride", "Symbol override"), ("people.User", "User"), ("execution.Act", "Act")]
)
def test_it_calls_a_model_as_a_person_would(model: str, told: str) -> None:
    assert noun(model) == told


@pytest.mark.parametrize(("observed", "length"), [(D(-20), "0.0"), (D(0), "0.0"), (D(25), "25.0"), (D(400), "100.0")])
def test_a_meter_is_never_shorter_than_nothing_nor_longer_than_its_track(observed: Decimal, length: str) -> None:
    assert bar(Reading(Reason.NET_EXPOSURE, "Net exposure", observed, D(100))) == length


def test_taking_a_stop_away_does_not_look_like_taking_a_target_away(desk: DeskRows) -> None:
    page = client_of(user("zoe", "trader", accounts=[desk.account])).get("/brackets/").content.decode()
    assert page.count('class="btn danger">Cancel stop<') == page.count(">Cancel stop<") == 3
    assert page.count('class="btn ">Cancel target<') == page.count(">Cancel target<") == 3
