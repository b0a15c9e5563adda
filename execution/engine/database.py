"""A thread with its own database connection: the loop never waits for a query, and no query shares Django's async thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from django.db import Error as AnyDatabaseError
from django.db import connection, connections

from risk.core.units import use_decimal_context

P = ParamSpec("P")
T = TypeVar("T")

#: how long an engine's connection waits for SQLite's write lock; a longer wait is a failure and is handled as one
BUSY_TIMEOUT_MS = 1000


def connection_prepare(*, checkpoints: bool = True) -> None:
    """Open this thread's connection with the engine's short lock wait. Raises what the database raises.

    Without `checkpoints` no commit of it copies SQLite's write-ahead log back: `checkpoint` does, when its caller has the time.
    """
    if connection.connection is not None:
        return
    connection.ensure_connection()
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
            if not checkpoints:
                cursor.execute("PRAGMA wal_autocheckpoint = 0")


def checkpoint() -> int:
    """Copy what was committed from SQLite's write-ahead log into the database, so that the log begins anew; it waits for nobody.

    Returns how many pages could not be copied yet. PostgreSQL does this by itself.
    """
    if connection.vendor != "sqlite":
        return 0
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA wal_checkpoint(PASSIVE)")
        _, pages, copied = cursor.fetchone()
    return int(pages) - int(copied)


class DatabaseThread:
    """Runs functions one after another on a thread of its own."""

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name, initializer=use_decimal_context)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `function` on the thread. After a database error its connection is reopened with the next call."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, lambda: self._call(function, *args, **kwargs))

    def close(self) -> None:
        self._pool.submit(connections.close_all)
        self._pool.shutdown(wait=True)

    @staticmethod
    def _call(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            connection_prepare()
            return function(*args, **kwargs)
        except AnyDatabaseError:
            connection.close()
            raise
