"""What `make run` looks at before it writes: each refusal is one sentence."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tradingdesk import chart_asset, install, prepare
from tradingdesk.supervise import CannotStart
from tradingdesk.valkey import valkey_folder_remove, valkey_socket


@pytest.fixture
def stranger(monkeypatch: pytest.MonkeyPatch) -> set[Path]:
    """What these paths say to somebody who does not own them; root owns everything."""
    closed: set[Path] = set()
    asked = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) not in closed and asked(path, mode))
    return closed


@pytest.mark.parametrize("name", ["desk.lock", "secret_key", "desk.log", "desk.sqlite3"])
def test_a_folder_with_somebody_elses_files_is_not_used(name: str, tmp_path: Path, stranger: set[Path]) -> None:
    (tmp_path / name).touch()
    prepare.folder_require(tmp_path)
    stranger.add(tmp_path / name)
    with pytest.raises(CannotStart, match=f"{name} is not yours to write: run the desk as who made it, or name another folder"):
        prepare.folder_require(tmp_path)


def test_a_folder_that_cannot_be_written_or_made_is_not_used(tmp_path: Path, stranger: set[Path]) -> None:
    stranger.add(tmp_path)
    for folder in (tmp_path, tmp_path / "a" / "b"):
        with pytest.raises(CannotStart, match=f"{folder} cannot be written: make {tmp_path} writable"):
            prepare.folder_require(folder)


@pytest.mark.parametrize(("port", "is_one"), [(0, False), (-1, False), (1, True), (65535, True), (65536, False)])
def test_a_port_is_one_that_a_browser_can_be_sent_to(port: int, is_one: bool) -> None:
    if is_one:
        prepare.port_require(port)
        return
    with pytest.raises(CannotStart, match=f"There is no port {port}"):
        prepare.port_require(port)


def test_the_valkeys_folder_is_ours_alone_and_goes_with_it(tmp_path: Path) -> None:
    socket = valkey_socket(tmp_path)
    assert socket.parent.stat().st_mode & 0o777 == 0o700
    (socket.parent / "dump").touch()
    valkey_folder_remove(socket)
    assert not socket.parent.exists()


def test_somebody_elses_packages_are_said_to_be_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(lock: Path) -> None:
        raise PermissionError(13, "Permission denied", "/theirs/.venv")

    monkeypatch.setattr(install, "packages_require", denied)
    with pytest.raises(SystemExit) as refused:
        install.main(tmp_path / "lock")
    assert refused.value.code == "/theirs/.venv belongs to somebody else: copy the project to a folder of yours."


def test_a_chart_that_has_no_place_is_said_so(tmp_path: Path, stranger: set[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    vendor: Any = tmp_path / "static" / "vendor"
    package = tmp_path / "package"
    (package / "dist").mkdir(parents=True)
    vendor.parent.mkdir()
    stranger.add(vendor.parent)
    monkeypatch.setattr(chart_asset, "VENDOR", vendor)
    monkeypatch.setattr(chart_asset, "FILES", {})
    with pytest.raises(SystemExit) as refused:
        chart_asset._copy(package)
    assert refused.value.code == f"{vendor} cannot be written: copy the project to a folder of yours."
