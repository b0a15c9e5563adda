"""Closed trades: what the fills say, matched first in or last in first out, for who may see the account."""

# mypy: disable-error-code="comparison-overlap"
from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.urls import reverse

from execution.core.lots import Matching
from execution.models import Adjustment, Fill, Position
from execution.selectors import trades_closed
from tests.console.conftest import client_of
from tests.console.factories import DeskRows
from tradingdesk.people.models import User

pytestmark = pytest.mark.django_db
D = Decimal
BTC = "BTCUSDT"


def fills(desk: DeskRows, *rows: tuple[str, str, str], fee_currency: str = "USDT", fee: str = "0.5") -> None:
    """Fills of BTCUSDT in turn, and the position they come to: the only ones there are."""
    Fill.objects.filter(symbol=BTC).delete()
    for n, (side, qty, px) in enumerate(rows):
        Fill.objects.create(
            account=desk.account,
            exec_id=f"t{n}",
            cl_ord_id=f"o{n}",
            bot="ema-btc",
            symbol=BTC,
            side=side,
            last_qty=D(qty),
            last_px=D(px),
            fee=D(fee),
            fee_currency=fee_currency,
            at=desk.at + timedelta(minutes=n),
        )
    held = sum((D(qty) * (1 if side == "BUY" else -1) for side, qty, _ in rows), D(0))
    Position.objects.update_or_create(
        account=desk.account, symbol=BTC, defaults={"bot": "ema-btc", "qty": held, "contract_value": D(1), "updated_at": desk.at}
    )


def told(desk: DeskRows, matching: Matching = Matching.FIFO) -> list[tuple[Decimal, Decimal, Decimal]]:
    rows = [row for row in trades_closed([desk.account], matching) if row.symbol == BTC]
    return [(row.trade.qty, row.trade.realised, row.net) for row in rows]


def test_it_matches_as_asked(desk: DeskRows) -> None:
    fills(desk, ("BUY", "1", "100"), ("BUY", "1", "104"), ("SELL", "1", "110"))
    assert told(desk) == [(1, 10, 9)]
    assert told(desk, Matching.LIFO) == [(1, 6, 5)]


def test_it_leaves_out_what_the_venue_took_back(desk: DeskRows) -> None:
    fills(desk, ("BUY", "1", "100"), ("SELL", "1", "110"))
    fills_of = Fill.objects.filter(symbol=BTC)
    busted = fills_of.create(
        account=desk.account,
        exec_id="b",
        cl_ord_id="b",
        bot="ema-btc",
        symbol=BTC,
        side="SELL",
        last_qty=D(1),
        last_px=D(120),
        at=desk.at,
    )
    fills_of.filter(pk=busted.pk).update(busted_at=desk.at)
    assert told(desk) == [(1, 10, 9)]


def test_it_counts_from_where_the_position_was_flat(desk: DeskRows) -> None:
    """Of two lots that were open before the oldest fill it knows, it tells nothing."""
    fills(desk, ("SELL", "2", "90"), ("BUY", "1", "100"), ("SELL", "1", "107"))
    Position.objects.filter(symbol=BTC).update(qty=D(0))
    assert told(desk) == [(1, 7, 6)]


def test_it_counts_a_split_in(desk: DeskRows) -> None:
    fills(desk, ("BUY", "1", "100"), ("SELL", "2", "55"))
    Position.objects.filter(symbol=BTC).update(qty=D(0))
    Adjustment.objects.create(
        account=desk.account,
        adjustment_id="s",
        kind="SPLIT",
        bot="ema-btc",
        symbol=BTC,
        qty=D(1),
        amount=D(0),
        new_units=D(2),
        old_units=D(1),
        at=desk.at + timedelta(seconds=30),
    )
    assert told(desk) == [(2, 10, 9)]


@pytest.mark.parametrize("match", ["", "FIFO", "LIFO", "nonsense"])
def test_it_shows_them_to_who_may_see_the_account(desk: DeskRows, alice: User, charlie: User, match: str) -> None:
    fills(desk, ("BUY", "1", "100"), ("BUY", "1", "104"), ("SELL", "1", "110"))
    address = reverse("console:trades")
    page = client_of(alice).get(address, {"match": match}).content.decode()
    assert ("+6.00" if match == "LIFO" else "+10.00") in page
    assert "+10.00" not in client_of(charlie).get(address).content.decode()
