"""The page's socket: who may open it, and what a page may say on it (only "I have frame n" and "I was rendered at t")."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs

from channels.generic.websocket import AsyncWebsocketConsumer

from tradingdesk.console.hub import SIGNED_OUT, Connection, hub
from tradingdesk.people.models import User


class LiveConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]  # channels has no types
    """One tab. Only the hub speaks to the channel layer."""

    channel_layer_alias = "none"
    connection: Connection | None = None

    async def connect(self) -> None:
        # accepted first: a refused handshake reaches the page without its code
        await self.accept()
        user = self.scope["user"]
        if not isinstance(user, User):
            await self.close(code=SIGNED_OUT)
            return
        query = parse_qs(self.scope["query_string"].decode())
        self.connection = await hub().join(
            user=user,
            session_key=self.scope["session"].session_key or "",
            topic=query.get("topic", [""])[0],
            seen=_seconds(query.get("seen", ["0"])[0]),
            send=self._tell,
            close=self._end,
        )

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if self.connection is None:
            return
        try:
            said: Any = json.loads(text_data or "")
        except ValueError:
            await self.close(code=1003)
            return
        if not isinstance(said, dict):
            return
        if isinstance(said.get("ack"), int):
            self.connection.ack(said["ack"])
        if "seen" in said:
            hub().catch_up(self.connection, _seconds(said["seen"]))

    async def disconnect(self, code: int) -> None:
        if self.connection is not None:
            hub().leave(self.connection)

    async def _tell(self, message: str) -> None:
        await self.send(text_data=message)

    async def _end(self, code: int) -> None:
        await self.close(code=code)


def _seconds(milliseconds: object) -> float:
    """The page's word for when it was rendered; anything else is long ago."""
    try:
        return float(str(milliseconds)) / 1000
    except ValueError:
        return 0.0
