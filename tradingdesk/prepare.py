"""What `manage.py desk` does before it starts anything: look, then write. Each failure is one sentence, and nothing is half-written."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
import shutil
import socket
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command

from execution.store.schema import migrations_pending
from tradingdesk.supervise import CannotStart

BACKUPS_KEPT = 3


# --- look --------------------------------------------------------------------------------------------------------------


def port_require(port: int) -> None:
    """A port that a browser can be sent to; 0 would be a new one at every start."""
    if not 1 <= port <= 65535:
        raise CannotStart(f"There is no port {port}: choose one from 1 to 65535 with --port.")


def folder_require(folder: Path) -> None:
    """`folder` can be written, or made, and what a desk left in it is ours."""
    place = folder
    # os.path: of what we may not look into pathlib raises
    while not os.path.lexists(place):
        place = place.parent
    if not os.path.isdir(place) or not os.access(place, os.W_OK | os.X_OK):
        raise CannotStart(f"{folder} cannot be written: make {place} writable, or name another folder with TRADINGDESK_VAR.")
    for name in ("desk.lock", "secret_key", "desk.log", "desk.sqlite3"):
        file = folder / name
        if os.path.lexists(file) and not os.access(file, os.R_OK | os.W_OK):
            raise CannotStart(
                f"{file} is not yours to write: run the desk as who made it, or name another folder with TRADINGDESK_VAR."
            )
    if shutil.disk_usage(place).free < 100_000_000:
        raise CannotStart(
            f"The disk of {folder} has less than 100 MB left: make room, or name another folder with TRADINGDESK_VAR."
        )


def lock_take(file: Path) -> int:
    """The lock of the folder, held as long as this process lives. Raises CannotStart while another desk holds it."""
    fd = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise CannotStart(
            f"Another desk runs in {file.parent}: stop it, or give this one its own folder with TRADINGDESK_VAR."
        ) from None
    return fd


def socket_listen(host: str, port: int) -> socket.socket:
    """The web's socket, bound and listening. Ours, so that the port stays taken while the web restarts."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(512)
    except (OSError, OverflowError) as error:
        listener.close()
        raise CannotStart(_why_not_bound(error, host, port)) from None
    return listener


def _why_not_bound(error: Exception, host: str, port: int) -> str:
    number = getattr(error, "errno", None)
    if number == errno.EADDRINUSE:
        return f"Port {port} on {host} is taken by another program: choose another port with --port."
    if number == errno.EACCES:
        return f"Port {port} on {host} needs more rights than you have: choose a port above 1023 with --port."
    return f"Cannot listen on {host} port {port} ({getattr(error, 'strerror', None) or error}): choose another --bind or --port."


# --- write -------------------------------------------------------------------------------------------------------------


def secret_key_require(file: Path) -> None:
    """A signing key: the settings' own, else one made once and kept in `file`, readable by its owner only."""
    with contextlib.suppress(ImproperlyConfigured):  # how settings say that there is none
        if settings.SECRET_KEY:
            return
    key = secrets.token_urlsafe(48)
    draft = file.with_suffix(".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(key)
    draft.replace(file)
    settings.SECRET_KEY = key


def database_migrate(backups: Path) -> None:
    """Bring the schema up to date; an SQLite database with data in it is copied first."""
    database = settings.DATABASES["default"]
    # asked before the first connection, which makes the file
    has_data = database["ENGINE"].endswith("sqlite3") and Path(database["NAME"]).exists()
    if not migrations_pending():
        return
    if has_data:
        _sqlite_copy(Path(database["NAME"]), backups)
    call_command("migrate", interactive=False, verbosity=0)


def _sqlite_copy(source: Path, backups: Path) -> None:
    backups.mkdir(exist_ok=True)
    target = backups / f"{source.stem}-{datetime.now(UTC):%Y%m%dT%H%M%S}.sqlite3"
    draft = target.with_suffix(".new")
    with sqlite3.connect(source) as live, sqlite3.connect(draft) as copy:
        live.backup(copy)
    live.close()
    copy.close()
    draft.replace(target)
    for old in sorted(backups.glob(f"{source.stem}-*.sqlite3"))[:-BACKUPS_KEPT]:
        old.unlink()


def static_collect() -> None:
    """Gather static files when one has changed. The stamp is written last, so a broken run is repeated."""
    root = Path(settings.STATIC_ROOT or "")
    stamp, now = root / ".stamp", _static_stamp()
    if stamp.exists() and stamp.read_text() == now:
        return
    call_command("collectstatic", interactive=False, clear=root.exists(), verbosity=0)
    stamp.write_text(now)


def _static_stamp() -> str:
    found = hashlib.sha256()
    for finder in get_finders():
        for name, storage in finder.list([]):
            stat = os.stat(storage.path(name))
            found.update(f"{name} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return found.hexdigest()
