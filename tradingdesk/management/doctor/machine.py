"""This machine: its settings, and the folder everything is written to. Django's own checks are among them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from execution.services import kill_file_stands
from tradingdesk.management.doctor import Finding

DISK_BYTES_WRONG: Final = 200_000_000
DISK_BYTES_LOW: Final = 2_000_000_000
TOKEN_LENGTH: Final = 20
LOOPBACK: Final = ("", "127.0.0.1", "localhost", "::1")


def look() -> Iterator[Finding]:
    yield from _settings()
    yield from _address()
    yield from _django()
    yield from _secret_file(Path(settings.VAR_DIR) / "secret_key")
    yield from _folder(Path(settings.VAR_DIR))
    yield from _static()
    if kill_file_stands():
        yield Finding(
            "kill file",
            f"The file {settings.KILL_FILE} stands.",
            "No entry leaves while it does, on any account that an engine of this machine runs.",
            f"When trading may go on: rm {settings.KILL_FILE}, then clear the kill of the firm in the console.",
        )


def _settings() -> Iterator[Finding]:
    if settings.DEBUG:
        yield Finding(
            "debug",
            "TRADINGDESK_DEBUG=1 is set.",
            "Pages show tracebacks with what is in memory to anybody, and the engine refuses to run.",
            "Unset it.",
        )
    if not _secret_key():
        yield Finding(
            "secret key",
            "There is no SECRET_KEY, neither in the environment nor in a file.",
            "No web can sign a session: nobody can sign in.",
            "Give every web the same SECRET_KEY: 50 random characters or more.",
        )
    if settings.TIMING_SCALE != 1:
        yield Finding(
            "timing",
            f"TRADINGDESK_TIMING={settings.TIMING_SCALE:g} scales every wait of the desk.",
            "Leases, time-outs and settling times are not those the desk was built and tested for.",
            "Unset it; it is for tests.",
        )
    if settings.METRICS_TOKEN and len(settings.METRICS_TOKEN) < TOKEN_LENGTH:
        yield Finding(
            "metrics token",
            f"TRADINGDESK_METRICS_TOKEN has fewer than {TOKEN_LENGTH} characters.",
            "It can be guessed, and who has it reads how the desk trades.",
            "Take a longer one, for example from: openssl rand -hex 24.",
        )


def _secret_key() -> str:
    try:
        return str(settings.SECRET_KEY)
    except ImproperlyConfigured:
        return ""


def _address() -> Iterator[Finding]:
    url = urlsplit(settings.DESK_URL)
    if url.scheme not in ("http", "https") or not url.hostname:
        yield Finding(
            "address",
            f"DESK_URL is “{settings.DESK_URL}”, which is no address.",
            "Allowed hosts and trusted origins follow from it: every page and every form is refused.",
            "Give scheme and host: DESK_URL=https://desk.example.org.",
        )
    elif url.scheme == "http" and url.hostname not in LOOPBACK:
        yield Finding(
            "clear text",
            f"People reach the desk at {settings.DESK_URL}, without TLS.",
            "Passwords, sessions and kills travel readable and can be changed on the way.",
            "Put TLS in front of the web and say DESK_URL=https://…; docs/deploy.md shows it.",
        )


def _django() -> Iterator[Finding]:
    """Django's checks; those of a deployment where the desk is reached from elsewhere by TLS, as nothing else is one."""
    is_deployed = urlsplit(settings.DESK_URL).scheme == "https"
    if not _secret_key():
        return
    for found in checks.run_checks(include_deployment_checks=is_deployed):
        if not found.is_silenced():
            yield Finding(
                f"django {found.id}" if found.id else "django",
                str(found.msg).splitlines()[0],
                "Django's own checks say so.",
                str(found.hint or "See Django's documentation of this check."),
                is_wrong=found.level >= checks.WARNING,
            )


def _secret_file(file: Path) -> Iterator[Finding]:
    if file.exists() and file.stat().st_mode & 0o077:
        yield Finding(
            "secret key file",
            f"{file} can be read by others on this machine.",
            "Who has the key can make himself a session of anybody.",
            f"chmod 600 {file}, and put a new key in if others were here.",
        )


def _folder(folder: Path) -> Iterator[Finding]:
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        yield Finding(
            "folder",
            f"{folder} is not there, or cannot be written.",
            "The engine measures its disk there, the kill file is looked for there, and the desk of one machine keeps everything in it.",
            f"Make it: install -d -m 700 {folder}, owned by the user that the desk runs as; or name another with TRADINGDESK_VAR.",
        )
        return
    free = shutil.disk_usage(folder).free
    if free < DISK_BYTES_LOW:
        yield Finding(
            "disk",
            f"The disk of {folder} has {free / 1e6:,.0f} MB left.",
            "While the journal cannot be written nothing is decided or sent, and after 5 s working entries are canceled.",
            "Make room: var/backup, var/desk.log, or shorter retention.",
            is_wrong=free < DISK_BYTES_WRONG,
        )


def _static() -> Iterator[Finding]:
    if settings.STATIC_ROOT and not (Path(settings.STATIC_ROOT) / "staticfiles.json").exists():
        yield Finding(
            "static files",
            f"{settings.STATIC_ROOT} has no collected static files.",
            "A web on this machine answers every page with an error.",
            "manage.py collectstatic --noinput; manage.py desk does it by itself.",
        )
