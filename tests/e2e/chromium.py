"""A Chromium for the tests: CHROMIUM, else one on this machine, else installed where that needs no password, else one sentence."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

_PLACES = ("chromium", "chromium-browser", "google-chrome", "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
ARGS = ("--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync")


def chromium() -> str:
    """Path of a browser; installs one as root by apt-get, else by Playwright. Raises RuntimeError naming what was tried."""
    return os.environ.get("CHROMIUM") or _found() or _installed_by_apt() or _installed_by_playwright() or _none()


def arguments() -> list[str]:
    """Command line for a browser that keeps to itself; the sandbox goes only where root runs it."""
    return [*ARGS, *(["--no-sandbox"] if os.getuid() == 0 else [])]


def _found() -> str | None:
    return next((path for place in _PLACES if (path := shutil.which(place))), None)


def _installed_by_apt() -> str | None:
    if os.getuid() != 0 or not shutil.which("apt-get"):
        return None
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for argv in (["update", "-qq"], ["install", "-qq", "-y", "--no-install-recommends", "chromium"]):
        if subprocess.run(["apt-get", *argv], env=environ, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode:
            return None
    return _found()


def _installed_by_playwright() -> str | None:
    from playwright._impl._driver import compute_driver_executable, get_driver_env

    argv = [*compute_driver_executable(), "install", "chromium"]
    if subprocess.run(argv, env=get_driver_env(), capture_output=True, check=False).returncode:
        return None
    folder = Path(os.environ.get("PLAYWRIGHT_BROWSERS_PATH") or Path.home() / ".cache" / "ms-playwright")
    mac = Path.home() / "Library" / "Caches" / "ms-playwright"
    names = ("chrome-linux*/chrome", "chrome-mac*/*/Contents/MacOS/*")
    return next((str(path) for place in (folder, mac) for name in names for path in sorted(place.glob(f"chromium-*/{name}"))), None)


def _none() -> str:
    raise RuntimeError(
        "There is no Chromium: install chromium or google-chrome, or give its path in CHROMIUM, or set SKIP_E2E=1. "
        "apt-get (as root) and `playwright install chromium` were tried."
    )
