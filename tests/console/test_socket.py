"""The page's socket: who may open it, and what it does with what a page says."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.auth import AuthMiddlewareStack
from channels.routing import URLRouter
from channels.testing import WebsocketCommunicator

from tests.console import factories
from tests.console.conftest import client_of
from tests.console.factories import DeskRows
from tradingdesk.console import hub as hub_module
from tradingdesk.console.hub import SIGNED_OUT
from tradingdesk.console.urls import websocket_urlpatterns
from tradingdesk.people.models import User

pytestmark = pytest.mark.django_db(transaction=True)

APPLICATION = AuthMiddlewareStack(URLRouter(websocket_urlpatterns))


@pytest.fixture(autouse=True)
async def own_hub() -> AsyncIterator[None]:
    """Each test has its own hub, ended with it."""
    yield
    for made in list(hub_module._hubs.values()):
        await made.stop()
    hub_module._hubs.clear()


@pytest.fixture
def trader(desk: DeskRows) -> User:
    return factories.user("tess", "trader", accounts=[desk.account])


async def opened(user: User | None, *, topic: str = "desk") -> Any:
    cookies = (await sync_to_async(client_of)(user)).cookies
    header = "; ".join(f"{name}={morsel.value}" for name, morsel in cookies.items())
    path = f"/live/?topic={topic}&seen={int(time.time() * 1000)}"
    tab = WebsocketCommunicator(APPLICATION, path, headers=[(b"cookie", header.encode())])
    assert (await tab.connect())[0]
    return tab


async def test_it_shows_nobody_out_with_a_code(desk: DeskRows) -> None:
    tab = await opened(None)
    assert await tab.receive_output() == {"type": "websocket.close", "code": SIGNED_OUT}


async def test_it_beats_and_takes_acknowledgements(desk: DeskRows, trader: User) -> None:
    tab = await opened(trader)
    first = await tab.receive_from(timeout=5)
    await tab.send_to(text_data=json.dumps({"ack": 1}))
    second = await tab.receive_from(timeout=5)
    assert {first[0], second[0]} <= {"{", "<"}
    await tab.disconnect()


@pytest.mark.parametrize("said", ['{"ack": "x"}', "[]", '"hello"', '{"seen": "never"}', '{"ack": 99999}', "null"])
async def test_it_survives_what_a_page_may_say(desk: DeskRows, trader: User, said: str) -> None:
    tab = await opened(trader)
    await tab.receive_from(timeout=5)
    await tab.send_to(text_data=said)
    assert await tab.receive_from(timeout=5)
    await tab.disconnect()


async def test_it_closes_on_what_is_not_a_message(desk: DeskRows, trader: User) -> None:
    tab = await opened(trader)
    await tab.send_to(text_data="{")
    while (told := await tab.receive_output(timeout=5))["type"] != "websocket.close":
        pass
    assert told["code"] == 1003
