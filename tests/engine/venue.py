"""A venue that does as the test says: each request waits for its word, and everything is written down."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from decimal import Decimal

from execution.core.messages import Reported, SendCancel, SendReplace, VenueFill, VenueOrder
from risk.core.verdict import Approved, Capability


class ScriptedVenue:
    """`held` requests wait for `answer`; `raises` says what a request of that id ends with."""

    capabilities: frozenset[Capability] = frozenset({Capability.REPLACE})
    is_eventually_consistent = False

    def __init__(self) -> None:
        self.log: list[str] = []
        self.raises: dict[str, Exception] = {}
        self.held: dict[str, asyncio.Event] = {}
        self.lookups: dict[str, VenueOrder] = {}
        self.fills: list[VenueFill] = []
        self.failures = 0

    def hold(self, cl_ord_id: str) -> asyncio.Event:
        self.held[cl_ord_id] = asyncio.Event()
        return self.held[cl_ord_id]

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def submit(self, cl_ord_id: str, approved: Approved) -> None:
        await self._request("new", cl_ord_id)

    async def cancel(self, request: SendCancel) -> None:
        await self._request("cancel", request.cl_ord_id)

    async def replace(self, request: SendReplace) -> None:
        await self._request("replace", request.cl_ord_id)

    async def cancel_all(self, symbol: str) -> None:
        await self._request("cancel all", symbol)

    async def order_by_cl_ord_id(self, cl_ord_id: str, symbol: str) -> VenueOrder | None:
        return self.lookups.get(cl_ord_id)

    async def orders_open(self) -> Sequence[VenueOrder]:
        if self.failures:
            self.failures -= 1
            raise ConnectionResetError("gone")
        return []

    async def fills_since(self, since: datetime) -> Sequence[VenueFill]:
        return self.fills

    async def positions(self) -> dict[str, Decimal]:
        return {}

    async def balances(self) -> dict[str, Decimal]:
        return {}

    async def reports(self) -> AsyncIterator[Reported]:
        await asyncio.Event().wait()
        yield  # type: ignore[misc]

    async def _request(self, kind: str, cl_ord_id: str) -> None:
        self.log.append(f"{kind} {cl_ord_id}")
        if kind == "new" and (gate := self.held.get(cl_ord_id)) is not None:
            await gate.wait()
            self.log.append(f"answered {cl_ord_id}")
        if (error := self.raises.get(cl_ord_id)) is not None:
            raise error


async def until(holds: Callable[[], bool], *, within_s: float = 20.0) -> None:
    """Wait until the condition holds; fail the test when it never does."""
    async with asyncio.timeout(within_s):
        while not holds():  # noqa: ASYNC110 - a condition of anything, asked again and again
            await asyncio.sleep(0.002)
