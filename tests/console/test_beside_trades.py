"""What is so beside the trades: hours of markets, and what the venue moves without one."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from execution import selectors
from execution.models import Adjustment
from risk.models import Instrument
from tests.console.conftest import client_of
from tests.console.factories import DeskRows
from tradingdesk.console import cells
from tradingdesk.console.access import Rights
from tradingdesk.console.cells import Context
from tradingdesk.people.models import User

#: a Saturday, and the Monday after it, an hour after New York opened
SATURDAY = datetime(2026, 11, 21, 15, tzinfo=UTC)
MONDAY = datetime(2026, 11, 23, 15, 30, tzinfo=UTC)


def shown(at: datetime, code: str) -> tuple[str, str]:
    """What stands in a bot's state and in its position's symbol."""
    look = selectors.overview(at=at)
    context = Context(look, Rights())
    bot = next(bot for bot in look.bots if bot.code == code)
    [position] = look.bot_position(bot)
    return str(cells.bot_state(bot, context)), str(cells.position_symbol(position, context))


def test_it_says_that_a_market_is_closed_and_when_it_opens(desk: DeskRows) -> None:
    Instrument.objects.filter(symbol="BTCUSDT").update(calendar="XNYS")
    for cell in shown(SATURDAY, "ema-btc"):
        assert "<small>market closed, opens Mon 14:30 UTC</small>" in cell
    for at, code in ((MONDAY, "ema-btc"), (SATURDAY, "mr-eth")):
        assert not [cell for cell in shown(at, code) if "market closed" in cell]


def test_it_names_the_market_where_a_bot_trades_several(desk: DeskRows) -> None:
    look = selectors.overview(at=SATURDAY)
    look.instruments["ETHUSDT"].calendar = "XNYS"
    assert cells.closed_markets(["BTCUSDT", "ETHUSDT"], look) == "ETHUSDT market closed, opens Mon 14:30 UTC"


def adjusted(desk: DeskRows, n: int, **fields: Any) -> None:
    values = {
        "kind": "FUNDING",
        "qty": Decimal("0.42"),
        "amount": Decimal("-1.5"),
        "new_units": Decimal(1),
        "old_units": Decimal(1),
    }
    Adjustment.objects.create(
        account=desk.account, adjustment_id=f"a{n}", bot="ema-btc", symbol="BTCUSDT", at=timezone.now(), **(values | fields)
    )


@pytest.mark.parametrize(
    ("fields", "amount", "told"),
    [
        ({}, "−1.50 USDT", "Funding paid for 0.42 held: in the cash and in the result of BTCUSDT."),
        ({"amount": Decimal("2.25")}, "+2.25 USDT", "Funding received for 0.42 held"),
        (
            {"kind": "SPLIT", "amount": Decimal(0), "qty": Decimal(10), "new_units": Decimal(4)},
            "4 for 1",
            "Split: 10 became 40, prices follow; orders in the old terms were canceled.",
        ),
        ({"kind": "SPLIT", "amount": Decimal(0), "qty": Decimal(0), "old_units": Decimal(10)}, "1 for 10", "nothing was held"),
    ],
)
def test_it_shows_what_the_venue_moved_without_a_trade(
    desk: DeskRows, alice: User, fields: dict[str, Any], amount: str, told: str
) -> None:
    assert 'id="adjustments"' not in client_of(alice).get("/positions/").content.decode()
    adjusted(desk, 1, **fields)
    section = client_of(alice).get("/positions/").content.decode().partition('id="adjustments"')[2].partition("</section>")[0]
    assert f">{amount}<" in section
    assert told in section


def test_it_shows_the_newest_adjustments_of_ones_own_accounts(desk: DeskRows, alice: User, charlie: User) -> None:
    for n in range(25):
        adjusted(desk, n, amount=Decimal(n))
    section = client_of(alice).get("/positions/").content.decode().partition('id="adjustments"')[2]
    assert section.index("+24.00 USDT") < section.index("+5.00 USDT")
    assert "+4.00 USDT" not in section
    assert 'id="adjustments"' not in client_of(charlie).get("/positions/").content.decode()
