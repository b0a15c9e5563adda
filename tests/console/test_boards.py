"""A board: what a touched row changes, at once and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from execution import selectors
from execution.models import Order, Signal
from tests.console import factories
from tests.console.factories import DeskRows
from tradingdesk.console.access import Rights
from tradingdesk.console.boards import Audience, Board, Topic, look_patched, touched_read

TRADER = Rights("trader", may_trade=True, may_kill=True)


@pytest.fixture
def board_of(desk: DeskRows) -> Callable[[str], Board]:
    def made(topic: str) -> Board:
        board = Board(Topic.parse(topic), Audience(frozenset({desk.account.pk}), TRADER))
        board.refresh(selectors.overview(at=desk.at), 1.0)
        return board

    return made


def told(desk: DeskRows, board: Board, kind: str, *keys: str) -> str:
    """The fragments of a message that names these rows."""
    touched = touched_read({(desk.account.pk, kind): set(keys)})
    return "".join(board.changed(look_patched(selectors.overview(at=desk.at), touched), touched, 2.0))


def test_it_takes_a_row_away_in_the_frame_that_told_of_it(desk: DeskRows, board_of: Callable[[str], Board]) -> None:
    board, order = board_of("order?state=working"), Order.objects.get(symbol="LTCUSDT")
    Order.objects.filter(pk=order.pk).update(is_working=False, ord_status="CANCELED")
    assert told(desk, board, "order", order.cl_ord_id) == f'<div hx-swap-oob="delete:#order-{order.pk}"></div>'


def test_it_says_nothing_of_a_row_that_did_not_change(desk: DeskRows, board_of: Callable[[str], Board]) -> None:
    board = board_of("order?state=working")
    assert told(desk, board, "order", *Order.objects.filter(is_working=True).values_list("cl_ord_id", flat=True)) == ""
    assert board.refresh(selectors.overview(at=desk.at), 3.0) == []


def test_it_keeps_to_its_filter(desk: DeskRows, board_of: Callable[[str], Board]) -> None:
    denied, approved = board_of("signal?verdict=denied"), board_of("signal?verdict=approved")
    fresh: Any = factories.signal(desk.account, "ema-btc", "BTCUSDT", reason="DRAWDOWN")
    assert f'<tr id="signal-{fresh.pk}"' in told(desk, denied, "signal", fresh.decision_id)
    assert told(desk, approved, "signal", fresh.decision_id) == ""


def test_it_counts_a_repeated_denial_in_its_row(desk: DeskRows, board_of: Callable[[str], Board]) -> None:
    board, row = board_of("signal?"), Signal.objects.exclude(reason="").latest("pk")
    Signal.objects.filter(pk=row.pk).update(repeats=7)
    fragments = told(desk, board, "signal", row.decision_id)
    assert f'id="signal-{row.pk}-verdict"' in fragments
    assert "Denied ×7" in fragments
    assert "<tr" not in fragments


def test_it_follows_an_entry_that_goes_in_slices(desk: DeskRows, board_of: Callable[[str], Board]) -> None:
    board, row = board_of("signal?"), Signal.objects.filter(reason="").latest("pk")
    for text in ("TWAP: 1 of 6 slices sent, 0 of 0.6 filled.", "TWAP: 2 of 6 slices sent, 0.1 of 0.6 filled."):
        Signal.objects.filter(pk=row.pk).update(text=text)
        fragments = told(desk, board, "signal", row.decision_id)
        assert f'id="signal-{row.pk}-why"' in fragments
        assert text in fragments
        assert "<tr" not in fragments


def test_it_shows_nothing_of_another_account(desk: DeskRows, board_of: Callable[[str], Board]) -> None:
    board = board_of("order?state=working")
    other = factories.account("other", name="Other")
    order = factories.order(other, "other-eth", "ETHUSDT", "BUY", "1", price=Decimal(1))
    touched = touched_read({(other.pk, "order"): {order.cl_ord_id}})
    assert board.changed(look_patched(selectors.overview(at=desk.at), touched), touched, 2.0) == []
