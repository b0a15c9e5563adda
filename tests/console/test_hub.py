"""The hub: what changed reaches the cell, with the layer and without it; who may no longer look is shown out."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer
from django.contrib.auth import HASH_SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session

from execution.models import AccountState, Order, Position
from tests.console import factories
from tests.console.factories import DeskRows
from tradingdesk.console import hub as hub_module
from tradingdesk.console.boards import Topic
from tradingdesk.console.hub import NO_ACCESS, SIGNED_OUT, TOO_SLOW, Connection, Hub
from tradingdesk.people.models import AccountAccess, User

pytestmark = pytest.mark.django_db(transaction=True)


class Tab:
    """A browser tab, as far as the hub knows one."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.closed: int | None = None
        self.connection: Connection | None = None
        self.acks = True
        self.sent_any = asyncio.Event()

    async def send(self, message: str) -> None:
        self.messages.append(message)
        if self.acks and self.connection is not None:
            self.connection.ack(number_of(message))
        self.sent_any.set()

    async def close(self, code: int) -> None:
        self.closed = code

    @property
    def html(self) -> str:
        return "".join(m for m in self.messages if not m.startswith("{"))

    @property
    def json(self) -> list[dict[str, Any]]:
        return [json.loads(m) for m in self.messages if m.startswith("{")]


def number_of(message: str) -> int:
    return int(json.loads(message)["n"]) if message.startswith("{") else int(re.match(r"<!--(\d+)-->", message)[1])  # type: ignore[index]


async def until(condition: Callable[[], bool], *, within: float = 8.0) -> None:
    """Wait for a condition, with a bound."""
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110  the condition is another task's list
            await asyncio.sleep(0.01)  # polls a condition, with a bound


@pytest.fixture
async def running() -> AsyncIterator[Hub]:
    made = Hub()
    made.start()
    yield made
    await made.stop()


@pytest.fixture
def trader(desk: DeskRows) -> User:
    return factories.user("tess", "trader", accounts=[desk.account])


def session_of(user: User) -> str:
    store = SessionStore()
    store[HASH_SESSION_KEY] = user.get_session_auth_hash()
    store.create()
    return store.session_key or ""


async def joined(hub: Hub, user: User, topic: str = "order?state=working", *, seen: float | None = None) -> Tab:
    tab = Tab()
    key = await sync_to_async(session_of)(user)
    tab.connection = await hub.join(
        user=user, session_key=key, topic=topic, seen=time.time() if seen is None else seen, send=tab.send, close=tab.close
    )
    await until(lambda: bool(tab.json))
    return tab


async def changed(desk: DeskRows, *, seq: int = 101, **keys: list[str]) -> None:
    layer = get_channel_layer()
    part = {"seq": seq, "keys": keys, "quotes": {}, "bars": []}
    await layer.group_send("console", {"type": "desk.changed", "engine": "e", "at": "", "accounts": {desk.account.code: part}})


async def partly_filled(order: Order) -> None:
    await sync_to_async(Order.objects.filter(pk=order.pk).update)(cum_qty=Decimal("1.5"), ord_status="PARTIALLY_FILLED")


def working_entry() -> Order:
    return Order.objects.filter(symbol="LTCUSDT").get()


async def test_it_sends_the_changed_cells_only(desk: DeskRows, trader: User, running: Hub) -> None:
    tab = await joined(running, trader)
    order = await sync_to_async(working_entry)()
    tab.messages.clear()
    await partly_filled(order)
    await changed(desk, order=[order.cl_ord_id])
    await until(lambda: f'id="order-{order.pk}-filled"' in tab.html)
    assert f'<div id="order-{order.pk}-filled" hx-swap-oob="innerHTML">1.5</div>' in tab.html
    assert f'id="order-{order.pk}-qty"' not in tab.html
    assert "<tr" not in tab.html


async def test_it_brings_and_takes_whole_rows(desk: DeskRows, trader: User, running: Hub) -> None:
    tab = await joined(running, trader)
    tab.messages.clear()
    order = await sync_to_async(factories.order)(desk.account, "mr-eth", "ETHUSDT", "BUY", "1", price=Decimal(2600))
    await changed(desk, order=[order.cl_ord_id])
    await until(lambda: f'<tr id="order-{order.pk}"' in tab.html)
    assert 'hx-swap-oob="afterbegin:#order-rows"' in tab.html
    await sync_to_async(Order.objects.filter(pk=order.pk).update)(is_working=False, ord_status="FILLED")
    await changed(desk, seq=102, order=[order.cl_ord_id])
    await until(lambda: f'hx-swap-oob="delete:#order-{order.pk}"' in tab.html)


async def test_it_sends_what_a_neighbour_changed(desk: DeskRows, trader: User, running: Hub) -> None:
    """A stop that goes changes the bracket's and the position's cells, though only the order was named."""
    brackets, positions = await joined(running, trader, "bracket?"), await joined(running, trader, "position?")
    stop = await sync_to_async(Order.objects.filter(symbol="BTCUSDT", purpose="STOP_LOSS").get)()
    held = await sync_to_async(Position.objects.filter(symbol="BTCUSDT").get)()
    await sync_to_async(Order.objects.filter(pk=stop.pk).update)(is_working=False, ord_status="CANCELED")
    await changed(desk, order=[stop.cl_ord_id])
    await until(lambda: f'id="position-{held.pk}-protection" hx-swap-oob="innerHTML"><span class="chip bad"' in positions.html)
    await until(lambda: "-covered" in brackets.html)


async def test_it_numbers_every_frame(desk: DeskRows, trader: User, running: Hub) -> None:
    tab = await joined(running, trader)
    order = await sync_to_async(working_entry)()
    await partly_filled(order)
    await changed(desk, order=[order.cl_ord_id])
    await until(lambda: len(tab.messages) >= 4)
    numbers = [number_of(message) for message in tab.messages]
    assert numbers == list(range(1, len(numbers) + 1))


async def test_it_reads_rows_once_a_second_without_the_layer(desk: DeskRows, trader: User, running: Hub) -> None:
    """A change nobody told of arrives all the same, and the page says that it is slow."""
    tab = await joined(running, trader)
    order = await sync_to_async(working_entry)()
    await partly_filled(order)
    await sync_to_async(AccountState.objects.update)(seq=150)
    await until(lambda: f'id="order-{order.pk}-filled"' in tab.html)
    await until(lambda: any(body.get("slow") for body in tab.json))


async def test_it_repeats_what_changed_since_the_page_was_rendered(
    desk: DeskRows, trader: User, running: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A board that is kept answers from memory; nothing is asked to reload."""
    monkeypatch.setattr(hub_module, "_MARGIN_S", 0.0)
    await joined(running, trader)
    rendered = time.time()
    order = await sync_to_async(working_entry)()
    await partly_filled(order)
    await changed(desk, order=[order.cl_ord_id])
    first = next(iter(running.connections)).board
    await until(lambda: any("-filled" in fragment for fragment in first.since(rendered)))
    late = await joined(running, trader, seen=rendered)
    assert f'id="order-{order.pk}-filled"' in late.html
    assert not any("resync" in body for body in late.json)


async def test_it_sends_an_old_page_back_to_start(desk: DeskRows, trader: User, running: Hub) -> None:
    tab = await joined(running, trader, seen=time.time() - 120)
    assert tab.json[0] == {"n": 1, "resync": True}


async def test_it_says_everything_to_a_page_older_than_the_board(desk: DeskRows, trader: User, running: Hub) -> None:
    tab = await joined(running, trader, seen=time.time() - 3)
    assert len(tab.json[0]["rows"]["order"]) == await sync_to_async(Order.objects.filter(is_working=True).count)()


async def test_it_opens_a_busy_page_without_loading_it_again(desk: DeskRows, trader: User, running: Hub) -> None:
    """However many rows: what the page was rendered with is said again, and it drops what it has."""
    entry = partial(factories.order, desk.account, "mr-eth", "ETHUSDT", "BUY", "1", price=Decimal(2600))
    orders = await sync_to_async(lambda: [entry() for _ in range(120)])()
    tab = await joined(running, trader, seen=time.time() - 3)
    assert not any("resync" in body for body in tab.json)
    assert all(f'id="order-{order.pk}-status"' in tab.html for order in orders)


async def test_it_renders_once_for_all_who_see_the_same(desk: DeskRows, trader: User, running: Hub) -> None:
    tabs = [await joined(running, trader) for _ in range(3)]
    assert len(running.boards) == 1
    order = await sync_to_async(working_entry)()
    await partly_filled(order)
    await changed(desk, order=[order.cl_ord_id])
    for tab in tabs:
        await until(lambda tab=tab: f'id="order-{order.pk}-filled"' in tab.html)  # type: ignore[misc]


async def test_it_shows_a_stranger_nothing(desk: DeskRows, running: Hub) -> None:
    stranger = await sync_to_async(factories.user)("erin", "trader")
    tab = await joined(running, stranger)
    order = await sync_to_async(working_entry)()
    await partly_filled(order)
    await changed(desk, order=[order.cl_ord_id])
    beats = len(tab.json)
    await until(lambda: len(tab.json) >= beats + 2)
    assert "order-" not in tab.html.replace("count-orders", "")


async def test_it_gives_a_viewer_no_buttons(desk: DeskRows, running: Hub) -> None:
    viewer = await sync_to_async(factories.user)("vera", "viewer", accounts=[desk.account])
    tab = await joined(running, viewer)
    order = await sync_to_async(factories.order)(desk.account, "mr-eth", "ETHUSDT", "BUY", "1", price=Decimal(2600))
    await changed(desk, order=[order.cl_ord_id])
    await until(lambda: f'<tr id="order-{order.pk}"' in tab.html)
    assert "formaction" not in tab.html


async def _signed_out(user: User, key: str) -> None:
    await sync_to_async(Session.objects.filter(session_key=key).delete)()


async def _disabled(user: User, key: str) -> None:
    await sync_to_async(User.objects.filter(pk=user.pk).update)(is_active=False)


async def _no_access(user: User, key: str) -> None:
    await sync_to_async(AccountAccess.objects.filter(user=user).delete)()


async def _other_group(user: User, key: str) -> None:
    await sync_to_async(user.groups.clear)()


async def _other_password(user: User, key: str) -> None:
    user.set_password("another-good-battery")
    await user.asave()


@pytest.mark.parametrize(
    ("happen", "code"),
    [
        (_signed_out, SIGNED_OUT),
        (_disabled, SIGNED_OUT),
        (_other_password, SIGNED_OUT),
        (_no_access, NO_ACCESS),
        (_other_group, NO_ACCESS),
    ],
)
async def test_it_shows_out_who_may_no_longer_look(
    desk: DeskRows, trader: User, running: Hub, monkeypatch: pytest.MonkeyPatch, happen: Any, code: int
) -> None:
    monkeypatch.setattr(hub_module, "CHECK_S", 0.1)
    tab = await joined(running, trader)
    assert tab.connection is not None
    await happen(trader, tab.connection.session_key)
    await until(lambda: tab.closed == code)


async def test_it_starts_a_laggard_over_when_it_has_caught_up(desk: DeskRows, trader: User, running: Hub) -> None:
    tab = await joined(running, trader)
    assert tab.connection is not None
    tab.acks = False
    for _ in range(hub_module.BEHIND_FRAMES + 2):
        tab.connection.html("")
    await until(lambda: tab.connection is not None and tab.connection.is_behind)
    told = len(tab.messages)
    tab.connection.html("<b>not sent while it is behind</b>")
    assert len(tab.messages) == told
    tab.acks = True
    tab.connection.ack(tab.connection.number)
    await until(lambda: any(body.get("resync") for body in tab.json))


async def test_it_closes_one_that_never_catches_up(
    desk: DeskRows, trader: User, running: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "BEHIND_S", 0.0)
    tab = await joined(running, trader)
    assert tab.connection is not None
    tab.acks = False
    for _ in range(hub_module.BEHIND_FRAMES + 2):
        tab.connection.html("")
    await until(lambda: tab.closed == TOO_SLOW)


async def test_it_draws_on_the_bots_page(desk: DeskRows, trader: User, running: Hub) -> None:
    tab = await joined(running, trader, "one?bot=ema-btc")
    layer = get_channel_layer()
    bar = ["BTCUSDT", 2, 1700000000000, "1", "2", "0.5", "1.5", "3"]
    part = {"seq": 101, "keys": {}, "quotes": {"BTCUSDT": ["1", "2", "1.5", 1700000000500]}, "bars": [bar]}
    await layer.group_send("console", {"type": "desk.changed", "engine": "e", "at": "", "accounts": {"paper": part}})
    await until(lambda: any("chart" in body for body in tab.json))
    chart = next(body["chart"] for body in tab.json if "chart" in body)
    assert (chart["bars"], list(chart["quotes"])) == ([bar], ["BTCUSDT"])


@pytest.mark.parametrize(
    "text", ["", "desk", "order?state=working", "one?bot=ema-btc", "nothing?at=all", "signal?verdict=denied", "?", "a?b=%ff&c"]
)
def test_it_takes_any_word_for_a_topic(text: str) -> None:
    assert Topic.parse(text) == Topic.parse(text)


async def test_it_serves_every_topic(desk: DeskRows, trader: User, running: Hub) -> None:
    for topic in (
        "",
        "desk",
        "signal?verdict=denied",
        "order?state=all",
        "bracket?state=done",
        "position?",
        "bot?",
        "one?bot=ema-btc",
        "x?y=z",
    ):
        tab = await joined(running, trader, topic)
        assert tab.json, topic
