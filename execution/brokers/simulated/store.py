"""Where the venue keeps its orders, fills and balances: memory for backtests, its own tables and connection for the paper venue.

The database store has one thread with one connection of its own. Writes are taken in order and committed together with whatever
queued while the last commit ran; a query is answered from what is committed, after every write before it.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any, Final, Protocol, TypeVar

import msgspec
from django.db import InterfaceError, OperationalError, connections, models, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from execution.brokers.simulated.codec import (
    ADJUSTMENT_COLUMNS,
    BALANCE_COLUMNS,
    FILL_COLUMNS,
    OPEN,
    ORDER_CHANGES,
    ORDER_COLUMNS,
    Row,
    adjustment_of,
    fill_of,
    order_of,
    venue_order,
)
from execution.brokers.simulated.orders import BookOrder, Holding
from execution.core.messages import Adjusted, VenueFill, VenueOrder
from execution.paper import PaperAdjustment, PaperBalance, PaperFill, PaperOrder, PaperReplace

log = logging.getLogger(__name__)
T = TypeVar("T")

_BATCH_MAX: Final = 500
_RETRY_S: Final = (0.02, 0.1, 0.5, 1.0)


class Batch(msgspec.Struct, frozen=True):
    """Rows of one request or event. `new` orders whose client id exists are left out and named to the caller.

    `replaces` are pairs: the id of a replace that was done, and the order's.
    """

    new: tuple[Row, ...] = ()
    orders: tuple[Row, ...] = ()
    replaces: tuple[Row, ...] = ()
    fills: tuple[Row, ...] = ()
    adjustments: tuple[Row, ...] = ()
    balances: tuple[Row, ...] = ()


#: called on the loop once the batch is committed, with the client ids that existed already
Then = Callable[[frozenset[str]], None]


class Loaded(msgspec.Struct, frozen=True):
    """What the venue finds when it is opened: the working orders, with their fills, and what the account holds.

    `moved_at` is the market's time of the last fill or adjustment of each position.
    """

    orders: tuple[BookOrder, ...]
    fills: tuple[VenueFill, ...]
    holdings: dict[str, Holding]
    moved_at: dict[str, datetime]
    orders_so_far: int
    fills_so_far: int


class Store(Protocol):
    async def open(self, *, currency: str, cash: Decimal) -> Loaded:
        """What is kept; a new account begins with `cash`."""

    def write(self, batch: Batch, then: Then) -> None:
        """Keep the batch, in the order of calls, and say so."""

    async def order(self, cl_ord_id: str) -> VenueOrder | None:
        """The order of that id, be it the first or one that a replace gave it."""

    async def orders_open(self) -> list[VenueOrder]: ...

    async def fills_since(self, since: datetime) -> list[VenueFill]: ...

    async def adjustments_since(self, since: datetime) -> list[Adjusted]: ...

    async def balances(self) -> dict[str, Decimal]: ...

    async def close(self) -> None: ...


_ORDER_ID: Final = ORDER_COLUMNS.index("order_id")
_FILL_SYMBOL: Final = FILL_COLUMNS.index("symbol")
_FILL_AT: Final = FILL_COLUMNS.index("transact_at")
_ADJUSTED_SYMBOL: Final = ADJUSTMENT_COLUMNS.index("symbol")
_ADJUSTED_AT: Final = ADJUSTMENT_COLUMNS.index("transact_at")
_CL_ORD_ID: Final = ORDER_COLUMNS.index("cl_ord_id")
_STATUS: Final = ORDER_COLUMNS.index("ord_status")


class MemoryStore:
    """Keeps everything in this process. For backtests, simulations and tests; it is given again to a venue opened again."""

    def __init__(self) -> None:
        self._orders: dict[str, Row] = {}
        self._replaces: dict[str, str] = {}
        self._fills: list[Row] = []
        self._adjustments: list[Row] = []
        self._balances: dict[str, Row] = {}

    async def open(self, *, currency: str, cash: Decimal) -> Loaded:
        self._balances.setdefault(currency, (currency, cash, Decimal(0)))
        orders = tuple(order_of(row) for row in self._orders.values() if row[_STATUS] in OPEN)
        fills = map(fill_of, self._fills)
        return Loaded(
            orders=orders,
            fills=tuple(fill for fill in fills if fill.order_id in {order.order_id for order in orders}),
            holdings={asset: Holding(qty, cost) for asset, qty, cost in self._balances.values()},
            moved_at=_moved_at(
                [(row[_FILL_SYMBOL], row[_FILL_AT]) for row in self._fills]
                + [(row[_ADJUSTED_SYMBOL], row[_ADJUSTED_AT]) for row in self._adjustments]
            ),
            orders_so_far=len(self._orders),
            fills_so_far=len(self._fills),
        )

    def write(self, batch: Batch, then: Then) -> None:
        repeated = frozenset(row[_CL_ORD_ID] for row in batch.new if row[_CL_ORD_ID] in self._orders)
        self._orders |= {row[_CL_ORD_ID]: row for row in batch.new if row[_CL_ORD_ID] not in repeated}
        self._orders |= {row[_CL_ORD_ID]: row for row in batch.orders}
        self._replaces |= dict(batch.replaces)
        self._fills += batch.fills
        self._adjustments += batch.adjustments
        self._balances |= {row[0]: row for row in batch.balances}
        then(repeated)

    async def order(self, cl_ord_id: str) -> VenueOrder | None:
        row = self._orders.get(self._replaces.get(cl_ord_id, cl_ord_id))
        return None if row is None else venue_order(row)

    async def orders_open(self) -> list[VenueOrder]:
        return [venue_order(row) for row in self._orders.values() if row[_STATUS] in OPEN]

    async def fills_since(self, since: datetime) -> list[VenueFill]:
        return [fill_of(row) for row in self._fills if row[-1] >= since]

    async def adjustments_since(self, since: datetime) -> list[Adjusted]:
        return [adjustment_of(row) for row in self._adjustments if row[-1] >= since]

    async def balances(self) -> dict[str, Decimal]:
        return {asset: qty for asset, qty, _ in self._balances.values()}

    async def close(self) -> None:
        return None


class _Write(msgspec.Struct, frozen=True):
    batch: Batch
    then: Then


class _Read(msgspec.Struct, frozen=True):
    ask: Callable[[], Any]
    answer: asyncio.Future[Any]


class DatabaseStore:
    """The Paper* tables of one account, written by a thread and connection of the venue's own."""

    def __init__(self, account: str, *, using: str = "default") -> None:
        self._account = account
        self._using = using
        self._queue: queue.SimpleQueue[_Write | _Read | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    # --- on the loop ----------------------------------------------------------------------------------------------------

    async def open(self, *, currency: str, cash: Decimal) -> Loaded:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name=f"venue-{self._account}", daemon=True)
        self._thread.start()
        return await self._read(lambda: self._load(currency, cash))

    def write(self, batch: Batch, then: Then) -> None:
        self._queue.put(_Write(batch, then))

    async def order(self, cl_ord_id: str) -> VenueOrder | None:
        rows = await self._read(lambda: self._named(cl_ord_id))
        return venue_order(rows[0]) if rows else None

    async def orders_open(self) -> list[VenueOrder]:
        return [venue_order(row) for row in await self._read(lambda: self._orders(ord_status__in=OPEN))]

    async def fills_since(self, since: datetime) -> list[VenueFill]:
        rows = PaperFill.objects.using(self._using).filter(account=self._account, booked_at__gte=since).order_by("id")
        return await self._read(lambda: [fill_of(row) for row in rows.values_list(*FILL_COLUMNS)])

    async def adjustments_since(self, since: datetime) -> list[Adjusted]:
        rows = PaperAdjustment.objects.using(self._using).filter(account=self._account, booked_at__gte=since).order_by("id")
        return await self._read(lambda: [adjustment_of(row) for row in rows.values_list(*ADJUSTMENT_COLUMNS)])

    async def balances(self) -> dict[str, Decimal]:
        rows = PaperBalance.objects.using(self._using).filter(account=self._account)
        return await self._read(lambda: dict(rows.values_list("asset", "qty")))

    async def close(self) -> None:
        if self._thread is None:
            return
        self._closing.set()
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)
        self._thread = None

    async def _read(self, ask: Callable[[], T]) -> T:
        assert self._loop is not None
        answer: asyncio.Future[T] = self._loop.create_future()
        self._queue.put(_Read(ask, answer))
        return await answer

    # --- in the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        connection = connections[self._using]
        try:
            while (job := self._queue.get()) is not None:
                while isinstance(job, _Write):
                    job = self._write_group(connection, job)
                if job is None:
                    return
                self._answer(job)
        finally:
            connection.close()

    def _write_group(self, connection: BaseDatabaseWrapper, first: _Write) -> _Write | _Read | None:
        """Commit the first write with all that queued behind it; returns the job that ended the group."""
        group, job = [first], self._next()
        while isinstance(job, _Write) and len(group) < _BATCH_MAX:
            group.append(job)
            job = self._next()
        repeated = self._commit(connection, group)
        self._call(partial(_tell, group, repeated))
        return self._queue.get() if job is _NOTHING else job

    def _next(self) -> Any:
        try:
            return self._queue.get_nowait()
        except queue.Empty:
            return _NOTHING

    def _commit(self, connection: BaseDatabaseWrapper, group: Sequence[_Write]) -> list[frozenset[str]]:
        """Commit the group. While the database cannot, the venue is only slow: nothing was answered yet."""
        tries = 0
        while True:
            try:
                with transaction.atomic(using=self._using):
                    return [self._put(connection, write.batch) for write in group]
            except (OperationalError, InterfaceError) as e:
                connection.close()
                if self._closing.is_set() and tries >= len(_RETRY_S):
                    raise
                log.warning("The simulated venue of %s cannot write yet: %s", self._account, e)
                self._closing.wait(_RETRY_S[min(tries, len(_RETRY_S) - 1)])
                tries += 1

    def _put(self, connection: BaseDatabaseWrapper, batch: Batch) -> frozenset[str]:
        tables, account = _TABLES, self._account
        with connection.cursor() as cursor:
            repeated = set()
            for row in batch.new:
                cursor.execute(tables.new_order, tables.orders.adapted(connection, account, row))
                if cursor.rowcount == 0:
                    repeated.add(row[_CL_ORD_ID])
            if batch.orders:
                cursor.executemany(tables.change_order, [tables.change(connection, account, row) for row in batch.orders])
            if batch.replaces:
                rows = [tables.replaces.adapted(connection, account, row) for row in batch.replaces]
                cursor.executemany(tables.new_replace, rows)
            if batch.fills:
                cursor.executemany(tables.new_fill, [tables.fills.adapted(connection, account, row) for row in batch.fills])
            if batch.adjustments:
                rows = [tables.adjustments.adapted(connection, account, row) for row in batch.adjustments]
                cursor.executemany(tables.adjustments.insert, rows)
            if batch.balances:
                rows = [tables.balances.adapted(connection, account, row) for row in batch.balances]
                cursor.executemany(tables.put_balance, rows)
        return frozenset(repeated)

    def _answer(self, read: _Read) -> None:
        try:
            value = read.ask()
        except (OperationalError, InterfaceError) as e:
            connections[self._using].close()
            error = ConnectionError(f"the simulated venue cannot read its tables: {e}")
            self._call(lambda: None if read.answer.done() else read.answer.set_exception(error))
            return
        self._call(lambda: None if read.answer.done() else read.answer.set_result(value))

    def _call(self, callback: Callable[[], object]) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(callback)

    def _orders(self, **filters: Any) -> list[Row]:
        rows = PaperOrder.objects.using(self._using).filter(account=self._account, **filters).order_by("id")
        return list(rows.values_list(*ORDER_COLUMNS))

    def _named(self, cl_ord_id: str) -> list[Row]:
        if rows := self._orders(cl_ord_id=cl_ord_id):
            return rows
        replaces = PaperReplace.objects.using(self._using).filter(account=self._account, cl_ord_id=cl_ord_id)
        return self._orders(cl_ord_id__in=replaces.values("orig_cl_ord_id"))

    def _load(self, currency: str, cash: Decimal) -> Loaded:
        balances = PaperBalance.objects.using(self._using)
        balances.get_or_create(account=self._account, asset=currency, defaults={"qty": cash})
        rows = self._orders(ord_status__in=OPEN)
        fills = PaperFill.objects.using(self._using).filter(account=self._account, order_id__in=[row[_ORDER_ID] for row in rows])
        return Loaded(
            orders=tuple(order_of(row) for row in rows),
            fills=tuple(fill_of(row) for row in fills.order_by("id").values_list(*FILL_COLUMNS)),
            holdings={b.asset: Holding(b.qty, b.cost) for b in balances.filter(account=self._account)},
            moved_at=self._moved_at(),
            orders_so_far=self._last(PaperOrder, "order_id"),
            fills_so_far=self._last(PaperFill, "exec_id"),
        )

    def _moved_at(self) -> dict[str, datetime]:
        fills = PaperFill.objects.using(self._using).filter(account=self._account)
        adjustments = PaperAdjustment.objects.using(self._using).filter(account=self._account)
        last = models.Max("transact_at")
        return _moved_at(row for rows in (fills, adjustments) for row in rows.values_list("symbol").annotate(last))

    def _last(self, model: Any, column: str) -> int:
        """The highest number given out so far: ids are a letter and nine digits."""
        last = model.objects.using(self._using).filter(account=self._account).aggregate(last=models.Max(column))["last"]
        return int(last[1:]) if last else 0


def _moved_at(moves: Iterable[tuple[str, datetime]]) -> dict[str, datetime]:
    """The last time of each symbol."""
    last: dict[str, datetime] = {}
    for symbol, at in moves:
        last[symbol] = max(at, last.get(symbol, at))
    return last


_NOTHING: Final = object()


def _tell(group: Sequence[_Write], repeated: Sequence[frozenset[str]]) -> None:
    for write, found in zip(group, repeated, strict=True):
        write.then(found)


class _Columns:
    """The columns of a table, after `account`, with their way into the driver."""

    def __init__(self, model: type[models.Model], columns: Sequence[str]) -> None:
        self.table = f'"{model._meta.db_table}"'
        self.names = ("account", *columns)
        self.fields = {name: model._meta.get_field(name) for name in self.names}

    def adapted(self, connection: BaseDatabaseWrapper, account: str, row: Row) -> list[Any]:
        values = zip(self.fields.values(), (account, *row), strict=True)
        return [field.get_db_prep_save(value, connection) for field, value in values]  # type: ignore[union-attr]

    @property
    def insert(self) -> str:
        return f"INSERT INTO {self.table} ({_listed(self.names)}) VALUES ({', '.join(['%s'] * len(self.names))})"  # noqa: S608


class _Tables:
    """The statements, in the SQL that SQLite and PostgreSQL share."""

    def __init__(self) -> None:
        self.orders = _Columns(PaperOrder, ORDER_COLUMNS)
        self.replaces = _Columns(PaperReplace, ("cl_ord_id", "orig_cl_ord_id"))
        self.fills = _Columns(PaperFill, FILL_COLUMNS)
        self.adjustments = _Columns(PaperAdjustment, ADJUSTMENT_COLUMNS)
        self.balances = _Columns(PaperBalance, BALANCE_COLUMNS)
        changes = ", ".join(f'"{name}" = %s' for name in ORDER_CHANGES)
        self.new_order = f"{self.orders.insert} ON CONFLICT (account, cl_ord_id) DO NOTHING"
        self.change_order = f"UPDATE {self.orders.table} SET {changes} WHERE account = %s AND cl_ord_id = %s"  # noqa: S608
        self.new_replace = self.replaces.insert
        self.new_fill = self.fills.insert
        self.put_balance = (
            f"{self.balances.insert} ON CONFLICT (account, asset) DO UPDATE SET qty = excluded.qty, cost = excluded.cost"
        )

    def change(self, connection: BaseDatabaseWrapper, account: str, row: Row) -> list[Any]:
        values = dict(zip(self.orders.names, self.orders.adapted(connection, account, row), strict=True))
        return [*(values[name] for name in ORDER_CHANGES), account, values["cl_ord_id"]]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


_TABLES: Final = _Tables()
