"""What `make setup` does: .venv, the packages of the lock, the chart. Python's own library only, and words that an old Python can read.

The stamp is written last, so an installation that broke off repairs itself the next time.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
OLDEST = (3, 11)
NO_NETWORK = (
    "Failed to establish a new connection",
    "Name or service not known",
    "Temporary failure",
    "ConnectTimeout",
    "Network is unreachable",
)


def newer_python() -> None:
    """Go on with a Python that is new enough, or say that there is none."""
    if sys.version_info >= OLDEST:
        return
    for minor in (14, 13, 12, 11):
        found = shutil.which(f"python3.{minor}")
        # a shim of a version manager may stand for a Python that is not there
        if found and subprocess.call([found, "-c", ""], stderr=subprocess.DEVNULL) == 0:
            os.execv(found, [found, *sys.argv])  # noqa: S606
    sys.exit(
        f"tradingdesk needs Python 3.11 or newer; this is {sys.version_info[0]}.{sys.version_info[1]}."
        " Install one, or name it: make PYTHON=python3.12"
    )


def venv_make() -> None:
    """.venv with a Python that runs."""
    if not os.access(str(ROOT), os.W_OK):
        sys.exit(f"{ROOT} cannot be written: copy the project to a folder of yours.")
    if PYTHON.exists() and subprocess.call([str(PYTHON), "-c", "import pip"], stderr=subprocess.DEVNULL) == 0:
        return
    if importlib.util.find_spec("ensurepip") is None:
        sys.exit(
            "This Python cannot make a virtual environment: install python3-venv (apt install python3-venv), then run make again."
        )
    print("Making .venv …", flush=True)
    if subprocess.call([sys.executable, "-m", "venv", "--clear", str(VENV)]) != 0:
        sys.exit(f"{VENV} could not be made with {sys.executable}: see above.")


def packages_install(lock: Path) -> None:
    """The packages of the lock, each with its recorded hash, none built here."""
    print(f"Installing the packages of {lock.name} …", flush=True)
    options = [
        "--quiet",
        "--disable-pip-version-check",
        "--only-binary",
        ":all:",
        "--require-hashes",
        "--no-deps",
        "--retries",
        "2",
    ]
    done = subprocess.run(
        [str(PYTHON), "-m", "pip", "install", *options, "-r", str(lock)],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return
    if any(words in done.stderr for words in NO_NETWORK):
        sys.exit("The packages could not be fetched: there is no network to the package index. Run make again when there is.")
    sys.exit(f"The packages could not be installed: {' '.join(done.stderr.strip().splitlines()[-1:])}")


def main(lock: Path) -> None:
    newer_python()
    try:
        packages_require(lock)
    except PermissionError as error:
        sys.exit(f"{error.filename} belongs to somebody else: copy the project to a folder of yours.")
    sys.exit(subprocess.call([str(PYTHON), "-m", "tradingdesk.chart_asset"], cwd=str(ROOT)))


def packages_require(lock: Path) -> None:
    """The packages of the lock, installed unless they are."""
    stamp = VENV / (".installed-" + lock.stem)
    wanted = hashlib.sha256(lock.read_bytes()).hexdigest()
    if not (stamp.exists() and stamp.read_text() == wanted and PYTHON.exists()):
        venv_make()
        packages_install(lock)
        stamp.write_text(wanted)


if __name__ == "__main__":
    main(ROOT / sys.argv[1])
