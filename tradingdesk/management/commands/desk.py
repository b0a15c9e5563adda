"""`manage.py desk`: the whole desk on one machine. It prepares, then keeps web, engine, jobs and watch running until Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connections

from execution.services import kill_file_stands, kill_file_told
from tradingdesk import prepare
from tradingdesk.management.demo import demo_feed_check, demo_logins, demo_owner, demo_playing
from tradingdesk.people.services import entry_link_create
from tradingdesk.supervise import CannotStart, Child, Log, Record, Supervisor, survivors_end
from tradingdesk.valkey import valkey_argv, valkey_binary, valkey_folder_remove, valkey_socket

STOP_ORDER = ("web", "jobs", "engine", "watch", "valkey")
WEB_READY_S = 30.0
#: every address of this machine → the one to ask ourselves at
ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 -- only when --bind says so


class Command(BaseCommand):
    help = "Run the whole desk on this machine: prepare, migrate, seed, then web, engine, jobs and watch until Ctrl-C."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--port", type=int, default=8000)
        parser.add_argument("--bind", default="127.0.0.1", metavar="HOST", help="default: this machine only")
        parser.add_argument(
            "--feed", metavar="synthetic | replay:PATH[@SPEED]", help="what feeds the demo account; SPEED is 1, 60 or max"
        )
        parser.add_argument("--logins", action="store_true", help="show the demo logins again")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            if options["logins"]:
                self.stdout.write(_logins() or "There is no demo here: sign in with your own user name.")
            else:
                self._run(**options)
        except CannotStart as error:
            self.stderr.write(str(error))
            sys.exit(1)
        except DatabaseError as error:
            self.stderr.write(f"The database cannot be used: {str(error).strip().splitlines()[0]}.")
            sys.exit(1)
        except PermissionError as error:
            self.stderr.write(f"{error.filename} belongs to somebody else: run the desk as who made it.")
            sys.exit(1)
        except KeyboardInterrupt:
            sys.exit(130)

    def _run(self, *, bind: str, port: int, feed: str | None, verbosity: int, **_: Any) -> None:
        url = _url(bind, port)
        with _look(bind, port, feed) as listener:
            _write(feed)
            self._supervise(listener, url, is_verbose=verbosity > 1)

    def _supervise(self, listener: socket.socket, url: str, *, is_verbose: bool) -> None:
        folder: Path = settings.VAR_DIR
        valkey = None if settings.GIVEN_REDIS_URL else valkey_socket(folder)
        supervisor = Supervisor(
            _children(listener, url, valkey),
            stop_order=STOP_ORDER,
            log=Log(folder / "desk.log", is_verbose=is_verbose),
            record=Record(settings.DESK_FILE, pid=os.getpid(), url=url, valkey_socket=str(valkey or "")),
            folder=settings.BASE_DIR,
        )
        greeting = _greeting(url)
        connections.close_all()

        async def announce() -> None:
            is_there = await _until_answering(listener.getsockname(), url)
            self.stdout.write(greeting if is_there else f"The web does not answer: see {folder / 'desk.log'}")
            self.stdout.flush()

        try:
            asyncio.run(supervisor.run(announce=announce))
        finally:
            if valkey is not None:
                valkey_folder_remove(valkey)


def _url(bind: str, port: int) -> str:
    if settings.GIVEN_DESK_URL:
        return str(settings.GIVEN_DESK_URL)
    if bind in ANYWHERE:
        raise CannotStart("Say under which address people reach this desk, for example DESK_URL=https://desk.example.org.")
    return f"http://[{bind}]:{port}" if ":" in bind else f"http://{bind}:{port}"


def _look(bind: str, port: int, feed: str | None) -> socket.socket:
    """Everything that can be known before a byte is written. What a killed desk left running is ended here: it may hold the port."""
    folder: Path = settings.VAR_DIR
    prepare.port_require(port)
    try:
        demo_feed_check(feed)
    except ValueError as error:
        raise CannotStart(str(error)) from None
    prepare.folder_require(folder)
    lock = folder / "desk.lock"
    has_lock = lock.exists() and prepare.lock_take(lock)
    survivors_end(settings.DESK_FILE)
    if not settings.GIVEN_REDIS_URL:
        valkey_binary()
    listener = prepare.socket_listen(bind, port)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not has_lock:
        prepare.lock_take(lock)
    return listener


def _write(feed: str | None) -> None:
    prepare.secret_key_require(settings.VAR_DIR / "secret_key")
    # nobody listens yet, least of all on what a killed desk wrote down
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    prepare.database_migrate(settings.VAR_DIR / "backup")
    try:
        call_command("seed", feed=feed, verbosity=0)
    except CommandError as error:
        raise CannotStart(str(error)) from None
    prepare.static_collect()


def _children(listener: socket.socket, url: str, valkey: Path | None) -> list[Child]:
    python, celery = sys.executable, [sys.executable, "-m", "celery", "-q", "-A", "tradingdesk.celery:app", "worker"]
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    fd = listener.fileno()
    shared = {**os.environ, "DESK_URL": url, "PYTHONUNBUFFERED": "1"}
    if valkey:
        shared["REDIS_URL"] = f"unix://{valkey}"

    def child(name: str, stop_s: float, *argv: str, **more: Any) -> Child:
        return Child(name, argv, stop_s, {**shared, "TRADINGDESK_PROCESS": name}, **more)

    first = [child("valkey", 1, *valkey_argv(valkey_binary(), valkey), is_ready=_answers(valkey))] if valkey else []
    return [
        *first,
        child(
            "web",
            3,
            python,
            "-m",
            "daphne",
            "--fd",
            str(fd),
            "-v",
            "0",
            "--no-server-name",
            # behind TLS a proxy says whose request it is; else who asks could say so himself
            *(["--proxy-headers"] if url.startswith("https:") else []),
            "tradingdesk.asgi:application",
            fds=[fd],
        ),
        child("engine", 8, python, "manage.py", "runworker", "execution"),
        child("jobs", 5, *celery, "-Q", "jobs", "-c", "2", "-n", "jobs@%h", *quiet),
        child(
            "watch", 3, *celery, "-Q", "watch", "-P", "solo", "-B", "--scheduler", "celery.beat:Scheduler", "-n", "watch@%h", *quiet
        ),
    ]


def _answers(path: Path) -> Callable[[], Awaitable[bool]]:
    async def is_ready() -> bool:
        try:
            reader, writer = await asyncio.open_unix_connection(path)
        except OSError:
            return False
        writer.write(b"PING\r\n")
        answer = await reader.readline()
        writer.close()
        return answer == b"+PONG\r\n"

    return is_ready


async def _until_answering(address: Any, url: str) -> bool:
    """Whether the web answers /healthz within WEB_READY_S, asked as a proxy in front of it would for `url`."""
    for _ in range(int(WEB_READY_S / 0.1)):
        if await _is_healthy(address[0], address[1], urlsplit(url)):
            return True
        await asyncio.sleep(0.1)
    return False


async def _is_healthy(host: str, port: int, url: SplitResult) -> bool:
    here = ANYWHERE.get(host, host)
    try:
        reader, writer = await asyncio.open_connection(here, port)
        asked = f"GET /healthz HTTP/1.0\r\nHost: {url.netloc}\r\nX-Forwarded-Proto: {url.scheme}\r\n\r\n"
        writer.write(asked.encode())
        status = await reader.readline()
        writer.close()
    except OSError:
        return False
    return b" 200 " in status


def _logins() -> str:
    """The demo's logins, one a line."""
    return "\n".join(f"  {name:<8} {password}" for name, password in demo_logins().items())


def _greeting(url: str) -> str:
    """What a person sees once the desk runs: where it is and how to come in."""
    words = [f"tradingdesk runs at {url}"]
    if playing := demo_playing():
        words.append(playing)
    if owner := demo_owner():
        words.append(f"Sign in, once, within ten minutes:\n  {url}{entry_link_create(owner)}")
    if logins := _logins():
        words.append(f"or with a demo login (shown again by manage.py desk --logins):\n{logins}")
    if kill_file_stands():
        words.append(kill_file_told())
    words.append(f"Ctrl-C stops everything. The log is {settings.VAR_DIR / 'desk.log'}")
    return "\n" + "\n\n".join(words) + "\n"
