"""The console: the Desk page with a hundred bots, and the time from an engine's event to the cell in a page's socket."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench.figure import Figure
from bench.scratch import in_scratch, share, told

BOTS: Final = 100
ORDERS: Final = 200
CONSOLES: Final = 20
EVENTS_PER_S: Final = 500
FLUSH_S: Final = 0.05
SECONDS: Final = 10
_FILLED: Final = re.compile(r'id="order-(\d+)-filled"[^>]*>([\d.,]+)<')


def run() -> list[Figure]:
    return in_scratch("bench.console")


def measure() -> list[Figure]:
    from tests.console import factories

    account = factories.desk().account
    for n in range(BOTS - 4):
        factories.bot(f"bot-{n}", f"S{n}USDT", account)
    for n in range(ORDERS - 8):
        factories.order(account, f"bot-{n % 96}", f"S{n % 96}USDT", "BUY", "1000000", price=Decimal(99))
    person = factories.user("bench", "trader", accounts=[account])
    cookie = _cookie(person)
    return [*_page(person), asyncio.run(_live(account, cookie))]


def _cookie(person: Any) -> str:
    from django.test import Client

    browser = Client()
    browser.force_login(person)
    return "; ".join(f"{name}={morsel.value}" for name, morsel in browser.cookies.items())


def _page(person: Any) -> list[Figure]:
    from django.conf import settings
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    settings.ALLOWED_HOSTS.append("testserver")
    settings.STORAGES["staticfiles"]["BACKEND"] = "django.contrib.staticfiles.storage.StaticFilesStorage"
    browser = Client()
    browser.force_login(person)
    browser.get("/")
    times = []
    for _ in range(20):
        started = time.perf_counter()
        assert browser.get("/").status_code == 200
        times.append((time.perf_counter() - started) * 1000)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        browser.get("/")
    how = f"the Desk page with {BOTS} bots and {ORDERS} working orders, server side, SQLite"
    return [
        Figure("desk_page_ms", round(median(times), 1), "ms", "<= 150", f"{how}; median of 20"),
        Figure("desk_page_queries", len(queries), "queries", "<= 20", how),
    ]


# --- from an event to the cell -------------------------------------------------------------------------------------------


@contextmanager
def _process(argv: list[str], **env: str) -> Iterator[subprocess.Popen[bytes]]:
    started = subprocess.Popen(argv, env={**os.environ, **env}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield started
    finally:
        started.terminate()
        started.wait()


async def _live(account: Any, cookie: str) -> Figure:
    from tradingdesk.valkey import valkey_argv, valkey_binary

    path = Path(os.environ["TRADINGDESK_VAR"]) / "v.sock"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    web = [sys.executable, "-m", "daphne", "-b", "127.0.0.1", "-p", str(port), "tradingdesk.asgi:application"]
    redis_url = f"unix://{path}"
    with _process(valkey_argv(valkey_binary(), path)), _process(web, REDIS_URL=redis_url, DESK_URL=f"http://127.0.0.1:{port}"):
        await _reachable(port)
        delays = await _measured(account, cookie, port, redis_url)
    how = (
        f"{EVENTS_PER_S} order events a second for {SECONDS} s, told every {FLUSH_S * 1000:.0f} ms over Valkey to Daphne; {CONSOLES} sockets "
        f"on the Orders page with {ORDERS} rows; row committed → its cell in the socket ({len(delays):,} cells, median {median(delays):.0f} ms)"
    )
    return Figure("event_to_cell_ms_p99", round(share(delays, 0.99), 1), "ms", "<= 200", how)


async def _reachable(port: int) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                (await asyncio.open_connection("127.0.0.1", port))[1].close()
                return
            except OSError:
                await asyncio.sleep(0.1)  # the web process is starting


async def _measured(account: Any, cookie: str, port: int, redis_url: str) -> list[float]:
    from asgiref.sync import sync_to_async
    from channels_redis.core import RedisChannelLayer

    from execution.models import Order

    orders = await sync_to_async(lambda: list(Order.objects.filter(account=account, is_working=True, purpose="ENTRY")))()
    sent: dict[tuple[int, int], float] = {}
    delays: list[float] = []
    tabs = [asyncio.ensure_future(_tab(port, cookie, sent, delays)) for _ in range(CONSOLES)]
    await asyncio.sleep(3)  # the pages catch up before anything is measured
    layer = RedisChannelLayer(hosts=[redis_url], capacity=2000)
    step = int(EVENTS_PER_S * FLUSH_S)
    started, n = time.perf_counter(), 0
    while n < EVENTS_PER_S * SECONDS:
        await asyncio.sleep(max(0.0, started + n / EVENTS_PER_S - time.perf_counter()))  # keeps the rate
        changed = [orders[(n + i) % len(orders)] for i in range(step)]
        await sync_to_async(_write)(changed, n, sent)
        keys = {"order": [order.cl_ord_id for order in changed]}
        part = {"seq": 200 + n, "keys": keys, "quotes": {}, "bars": []}
        await layer.group_send("console", {"type": "desk.changed", "engine": "bench", "at": "", "accounts": {account.code: part}})
        n += step
    await asyncio.sleep(1)  # the last frames
    for tab in tabs:
        tab.cancel()
    await asyncio.gather(*tabs, return_exceptions=True)
    return delays


def _write(changed: list[Any], n: int, sent: dict[tuple[int, int], float]) -> None:
    from django.db import transaction

    from execution.models import AccountState, Order

    with transaction.atomic():
        for i, order in enumerate(changed):
            Order.objects.filter(pk=order.pk).update(cum_qty=Decimal(n + i + 1))
        AccountState.objects.update(seq=200 + n)
    at = time.perf_counter()
    sent.update({(order.pk, n + i + 1): at for i, order in enumerate(changed)})


async def _tab(port: int, cookie: str, sent: dict[tuple[int, int], float], delays: list[float]) -> None:
    """A page's socket: takes the frames, acknowledges them, and looks for the cells of events."""
    from autobahn.asyncio.websocket import WebSocketClientFactory, WebSocketClientProtocol

    class Tab(WebSocketClientProtocol):  # type: ignore[misc]  # autobahn has no types
        def onMessage(self, payload: bytes, is_binary: bool) -> None:  # noqa: N802
            at, text = time.perf_counter(), payload.decode()
            number = re.search(r"\d+", text)
            self.sendMessage(f'{{"ack": {number[0] if number else 0}}}'.encode())
            for order, value in _FILLED.findall(text):
                if (event := sent.get((int(order), int(float(value.replace(",", "")))))) is not None:
                    delays.append((at - event) * 1000)

    url = f"ws://127.0.0.1:{port}/live/?topic=order%3Fstate%3Dworking&seen={int(time.time() * 1000)}"
    factory = WebSocketClientFactory(url, origin=f"http://127.0.0.1:{port}", headers={"Cookie": cookie})
    factory.protocol = Tab
    transport, _ = await asyncio.get_running_loop().create_connection(factory, "127.0.0.1", port)
    try:
        await asyncio.Event().wait()
    finally:
        transport.close()


if __name__ == "__main__":
    told(measure)
