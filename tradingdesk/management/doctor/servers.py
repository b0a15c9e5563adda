"""The servers: the database and its promises, Redis or Valkey, and the Celery workers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlsplit

import psycopg
import redis
from django.conf import settings
from django.db import DatabaseError, connection
from django.utils import timezone
from kombu.exceptions import OperationalError as BrokerGone

from execution.store.schema import migrations_pending
from tradingdesk.celery import app
from tradingdesk.management.doctor import Finding
from tradingdesk.management.doctor.machine import LOOPBACK

SKEW_S: Final = 1.0
WATCHED_S: Final = 15.0
CONNECTIONS_SHARE: Final = 0.8
QUEUE_LENGTH: Final = 100
ANSWER_S: Final = 1.5
CONNECT_S: Final = 3

#: what a commit of PostgreSQL must mean; anything else than these words loses some of them
_PROMISES: Final = {
    "fsync": ("on",),
    "full_page_writes": ("on",),
    "synchronous_commit": ("on", "remote_write", "remote_apply", "local"),
}


def database_missing() -> Finding | None:
    """Why nothing that needs the database can be looked at."""
    try:
        if connection.vendor == "postgresql":
            _connect_once()
        pending = migrations_pending()
    except (DatabaseError, psycopg.Error) as error:
        return Finding(
            "database",
            f"The database cannot be used: {' '.join(str(error).split()).rstrip('.?')}.",
            "The database is the truth: without it nothing is decided, and after 5 s working entries are canceled.",
            f"Start it, or correct DATABASE_URL. To kill meanwhile: touch {settings.KILL_FILE} on every engine's machine.",
        )
    if pending:
        return Finding(
            "migrations",
            f"The database lacks {len(pending)} migrations, the first {pending[0]}.",
            "No process starts on a schema that is not its own.",
            "manage.py migrate, as the role that owns the tables; manage.py desk does it by itself.",
        )
    return None


def _connect_once() -> None:
    """Connect past the pool, which would only say that it could not. Raises psycopg.Error with the server's own words."""
    had = connection.settings_dict
    psycopg.connect(
        host=had["HOST"] or None,
        port=had["PORT"] or None,
        user=had["USER"] or None,
        password=had["PASSWORD"] or None,
        dbname=had["NAME"],
        connect_timeout=CONNECT_S,
    ).close()


def look_database() -> Iterator[Finding]:
    skew_s = _skew_s()
    if abs(skew_s) > SKEW_S:
        yield Finding(
            "clock",
            f"This machine's clock is {abs(skew_s):.1f} s {'ahead of' if skew_s > 0 else 'behind'} the database's.",
            "Prices look older or newer than they are, and venues refuse requests whose time is off.",
            "Let chrony or systemd-timesyncd keep the clocks of all machines.",
        )
    if connection.vendor == "postgresql":
        yield from _postgresql()


def _skew_s() -> float:
    """Ours less the database's, from the quickest of five answers."""
    if connection.vendor != "postgresql":
        return 0.0  # it runs in this process, by this clock
    answers: list[tuple[float, float]] = []
    with connection.cursor() as cursor:
        for _ in range(5):
            before, began = timezone.now(), time.monotonic()
            cursor.execute("SELECT clock_timestamp()")
            took_s = time.monotonic() - began
            answers.append((took_s, (before - cursor.fetchone()[0]).total_seconds() + took_s / 2))
    return min(answers)[1]


def _postgresql() -> Iterator[Finding]:
    for name, kept in _PROMISES.items():
        value = _ask(f"SHOW {name}")
        if value not in kept:
            yield Finding(
                f"postgresql {name}",
                f"PostgreSQL runs with {name} = {value}.",
                "A commit may be gone after a crash, and with it orders that were sent: promise 1 does not hold.",
                f"ALTER SYSTEM SET {name} = on, and take it out of the role's and the database's settings.",
            )
    used, most = int(_ask("SELECT count(*) FROM pg_stat_activity")), int(_ask("SHOW max_connections"))
    if used > most * CONNECTIONS_SHARE:
        yield Finding(
            "postgresql connections",
            f"{used} of {most} connections of PostgreSQL are in use.",
            "The next process gets none, and an engine without one cannot renew its leases.",
            "Raise max_connections; a process needs up to 10.",
        )
    if _ask("SELECT rolsuper FROM pg_roles WHERE rolname = current_user"):
        yield Finding(
            "postgresql role",
            "This process speaks to PostgreSQL as a superuser.",
            "Whoever takes over a web can rewrite the journal and the audit, and read other databases.",
            "Make the roles of deploy/postgres/roles.sql and name one in DATABASE_URL.",
            is_wrong=False,
        )
    host = connection.settings_dict["HOST"]
    if host not in LOOPBACK and not host.startswith("/") and not _ask("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"):
        yield Finding(
            "postgresql tls",
            f"The connection to PostgreSQL on {host} is not encrypted.",
            "Orders, sessions and the audit can be read on the way.",
            "Switch ssl on in PostgreSQL and demand it in pg_hba.conf with hostssl.",
            is_wrong=False,
        )


def _ask(statement: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchone()[0]


def look_layer() -> Iterator[Finding]:
    if not settings.REDIS_URL:
        yield Finding(
            "layer",
            "There is no Redis or Valkey: REDIS_URL is not given, and no desk of this folder runs.",
            "Each process hears only itself: pages move once a second, and neither jobs nor the watchdog run.",
            "Give every process the same REDIS_URL, or start manage.py desk, which brings its own.",
        )
        return
    try:
        with redis.Redis.from_url(
            settings.REDIS_URL, socket_timeout=ANSWER_S, socket_connect_timeout=ANSWER_S, decode_responses=True
        ) as client:
            client.ping()
            yield from _redis(client)
    except redis.RedisError as error:
        yield Finding(
            "layer",
            f"Redis or Valkey does not answer: {error}.",
            "Trading goes on; pages move once a second, and neither jobs nor the watchdog run.",
            "Start it, or correct REDIS_URL. Nothing in it needs to be restored.",
        )
        return
    yield from _workers()


def _redis(client: redis.Redis) -> Iterator[Finding]:
    url = urlsplit(settings.REDIS_URL)
    if url.scheme.startswith("redis") and (url.hostname or "") not in LOOPBACK and not url.password:
        yield Finding(
            "redis password",
            f"Redis on {url.hostname} is used without a password.",
            "Who reaches its port can put tasks into the queue and words into every page.",
            "Give it a user and a password (deploy/valkey.conf), and name them: REDIS_URL=rediss://user:password@host:6379/0.",
        )
    memory = client.info("memory")
    if int(memory.get("maxmemory", 0)) and memory.get("maxmemory_policy") != "noeviction":
        yield Finding(
            "redis eviction",
            f"Redis throws keys away when it is full (maxmemory-policy {memory.get('maxmemory_policy')}).",
            "Waiting tasks and the watchdog's mark may vanish.",
            "CONFIG SET maxmemory-policy noeviction.",
            is_wrong=False,
        )
    yield from _watchdog(client.get(settings.WATCHED_KEY))
    if (waiting := int(client.llen("jobs"))) > QUEUE_LENGTH:
        yield Finding(
            "jobs wait",
            f"{waiting} jobs wait for a worker.",
            "Retention and reports come late.",
            "Look at the jobs worker's log, or start another.",
            is_wrong=False,
        )


def _watchdog(watched: Any) -> Iterator[Finding]:
    age_s = None if watched is None else time.time() - float(watched)
    if age_s is None or age_s > WATCHED_S:
        yield Finding(
            "watchdog",
            "The watchdog has never looked." if age_s is None else f"The watchdog last looked {age_s:,.0f} s ago.",
            "An account that loses its engine is not told of.",
            "Start the watch worker: celery -A tradingdesk.celery:app worker -Q watch -P solo -B.",
        )


def _workers() -> Iterator[Finding]:
    try:
        answers = app.control.inspect(timeout=ANSWER_S).active_queues() or {}
    except (BrokerGone, redis.RedisError, OSError):
        answers = {}
    served = {queue["name"] for queues in answers.values() for queue in queues}
    if "jobs" not in served:
        yield Finding(
            "jobs",
            "No Celery worker serves the queue jobs.",
            "Nothing is cleared away: the journal, bars and sessions grow until the disk is full.",
            "Start the jobs worker: celery -A tradingdesk.celery:app worker -Q jobs.",
        )
