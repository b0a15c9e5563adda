"""Answers that lag: what an eventually consistent venue shows of the last moments, which is what was so before them."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

import msgspec

from execution.brokers.simulated.codec import OPEN
from execution.core.messages import VenueFill, VenueOrder


class _Change(msgspec.Struct, frozen=True):
    """What was shown before something happened at `at`; None for nothing."""

    at: datetime
    key: str
    before: VenueOrder | Decimal | None


class Lag:
    """Takes the last `lag` out of every answer. It remembers what it has to hide, so a venue opened again shows everything."""

    def __init__(self, lag: timedelta) -> None:
        self._lag = lag
        self._orders: dict[str, VenueOrder] = {}
        self._balances: dict[str, Decimal] = {}
        self._changes: deque[_Change] = deque()
        self._fills: deque[tuple[datetime, str]] = deque()

    def opened(self, orders: Sequence[VenueOrder], balances: Mapping[str, Decimal]) -> None:
        self._orders = {order.order_id: order for order in orders}
        self._balances = dict(balances)

    def happened(
        self, at: datetime, orders: Sequence[VenueOrder], balances: Mapping[str, Decimal], fills: Sequence[VenueFill]
    ) -> None:
        """Something was kept: hide it for a while."""
        if not self._lag:
            return
        for order in orders:
            is_new = order.order_id not in self._orders and order.ord_status in OPEN
            self._changes.append(_Change(at, order.order_id, None if is_new else self._orders.get(order.order_id, order)))
            self._orders[order.order_id] = order
        for asset, qty in balances.items():
            self._changes.append(_Change(at, asset, self._balances.get(asset)))
            self._balances[asset] = qty
        self._fills.extend((at, fill.exec_id) for fill in fills)

    def _hidden(self, now: datetime) -> dict[str, VenueOrder | Decimal | None]:
        """What to show instead, by order id or asset: as it was before the first change that is still hidden."""
        while self._changes and self._changes[0].at <= now - self._lag:
            old = self._changes.popleft()
            if (order := self._orders.get(old.key)) is not None and order.ord_status not in OPEN:
                self._orders.pop(old.key)
        hidden: dict[str, VenueOrder | Decimal | None] = {}
        for change in self._changes:
            hidden.setdefault(change.key, change.before)
        return hidden

    def order(self, now: datetime, cl_ord_id: str, order: VenueOrder | None) -> VenueOrder | None:
        """The order asked for by an id; an id it got meanwhile is not known yet."""
        hidden = self._hidden(now)
        if order is None or order.order_id not in hidden:
            return order
        before = hidden[order.order_id]
        is_new_name = isinstance(before, VenueOrder) and order.cl_ord_id == cl_ord_id != before.cl_ord_id
        return before if isinstance(before, VenueOrder) and not is_new_name else None

    def orders_open(self, now: datetime, orders: Sequence[VenueOrder]) -> list[VenueOrder]:
        hidden = self._hidden(now)
        shown = {order.order_id: order for order in orders if order.order_id not in hidden}
        shown |= {key: was for key, was in hidden.items() if isinstance(was, VenueOrder) and was.ord_status in OPEN}
        return [shown[order_id] for order_id in sorted(shown)]

    def fills(self, now: datetime, fills: Sequence[VenueFill]) -> list[VenueFill]:
        while self._fills and self._fills[0][0] <= now - self._lag:
            self._fills.popleft()
        hidden = {exec_id for _, exec_id in self._fills}
        return [fill for fill in fills if fill.exec_id not in hidden]

    def balances(self, now: datetime, balances: Mapping[str, Decimal]) -> dict[str, Decimal]:
        hidden = self._hidden(now)
        shown = {asset: hidden.get(asset, qty) for asset, qty in balances.items()}
        return {asset: qty for asset, qty in shown.items() if isinstance(qty, Decimal)}
