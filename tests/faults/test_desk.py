"""`manage.py desk` as a person meets it: starting, failing in one sentence, being killed, stopping."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.embedded import EmbeddedDesk, is_alive, until

pytestmark = pytest.mark.faults


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[EmbeddedDesk]:
    with EmbeddedDesk(tmp_path / "var") as desk:
        yield desk


def refusal(desk: EmbeddedDesk, *options: str) -> str:
    """What a desk that cannot start says: one line, exit code 1."""
    desk.launch(*options)
    assert desk.process is not None
    assert desk.process.wait(30) == 1
    words = desk.output.strip()
    assert "\n" not in words
    assert words.endswith(".")
    return words


def answers(desk: EmbeddedDesk) -> bool:
    try:
        with urlopen(f"{desk.url}/healthz", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_it_starts_everything_and_stops_all_of_it(desk: EmbeddedDesk) -> None:
    desk.start()
    until(desk.is_ready, within_s=30, what="engine, layer and database are there")
    assert desk.link.startswith(desk.url)
    assert set(desk.logins) == {"viewer", "trader", "risk", "admin"}
    assert desk.manage("desk", "--logins").stdout.split()[0::2] == list(desk.logins)
    children = desk.pids()
    assert len(children) == 5
    valkey = Path(json.loads((desk.var / "desk.json").read_text())["valkey_socket"]).parent
    assert valkey.exists()
    assert desk.stop() == 0
    assert [pid for pid in children if is_alive(pid)] == []
    assert not (desk.var / "desk.json").exists()
    assert not valkey.exists()


def test_it_greets_behind_tls(tmp_path: Path) -> None:
    with EmbeddedDesk(tmp_path / "var", DESK_URL="https://desk.example.org") as desk:
        desk.start()
        assert "https://desk.example.org/enter/" in desk.output
        assert "ERROR" not in (desk.var / "desk.log").read_text()


def test_it_keeps_its_secrets_and_its_folder_to_itself(desk: EmbeddedDesk) -> None:
    desk.start()
    assert stat.S_IMODE(desk.var.stat().st_mode) == 0o700
    assert stat.S_IMODE((desk.var / "secret_key").stat().st_mode) == 0o600
    second = EmbeddedDesk(desk.var)
    second._terminal = desk.var.with_suffix(".second")
    assert "Another desk runs" in refusal(second)
    assert answers(desk)


def test_it_refuses_a_busy_port_and_writes_nothing(desk: EmbeddedDesk) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", desk.port))
        other.listen()
        assert f"Port {desk.port}" in refusal(desk)
    assert not desk.var.exists()


def test_it_refuses_a_folder_it_cannot_write(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_text("in the way")
    with EmbeddedDesk(place / "var") as desk:
        desk._terminal = tmp_path / "terminal"
        assert "cannot be written" in refusal(desk)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--feed", "replay:{folder}/letter.txt"], "is not a tape: its first lines are in none of the formats"),
        (["--feed", "replay:{folder}/letter.txt@fast"], "A tape cannot run at speed “fast”"),
        (["--feed", "replay:{folder}"], "it is a folder"),
        (["--feed", "gossip"], "“gossip” is no feed"),
        (["--port", "0"], "There is no port 0: choose one from 1 to 65535"),
        (["--port", "99999"], "There is no port 99999"),
    ],
)
def test_it_refuses_what_it_cannot_use_and_writes_nothing(desk: EmbeddedDesk, tmp_path: Path, options: list[str], why: str) -> None:
    (tmp_path / "letter.txt").write_text("Dear desk,")
    assert why in refusal(desk, *(option.format(folder=tmp_path) for option in options))
    assert not desk.var.exists()


def test_it_ends_what_a_killed_desk_left_behind(desk: EmbeddedDesk) -> None:
    desk.start()
    assert desk.process is not None
    left = desk.pids()
    os.kill(desk.process.pid, signal.SIGKILL)
    desk.process.wait()
    assert [pid for pid in left if not is_alive(pid)] == []
    desk.start()
    assert [pid for pid in left if is_alive(pid)] == []
    assert answers(desk)


@pytest.mark.parametrize("name", ["web", "engine", "valkey"])
def test_it_starts_a_killed_child_again(desk: EmbeddedDesk, name: str) -> None:
    desk.start()
    until(desk.is_ready, within_s=30, what="ready")
    killed = desk.pid(name)
    os.killpg(killed, signal.SIGKILL)
    until(lambda: desk.pid(name) != killed, within_s=10, what=f"a new {name}")
    until(desk.is_ready, within_s=30, what="ready again")


def test_it_stops_when_started_in_the_background(desk: EmbeddedDesk) -> None:
    """A shell's & starts it with SIGINT ignored."""
    ignored = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        desk.launch()
    finally:
        signal.signal(signal.SIGINT, ignored)
    until(lambda: "Ctrl-C" in desk.output, within_s=60, what="the greeting")
    assert desk.stop(signal.SIGINT) == 0


def test_it_copies_the_database_before_it_migrates(desk: EmbeddedDesk) -> None:
    desk.start()
    desk.stop()
    assert desk.manage("migrate", "people", "zero").returncode == 0
    desk.start()
    assert len(list((desk.var / "backup").glob("desk-*.sqlite3"))) == 1


def test_its_other_processes_refuse_a_schema_that_is_not_theirs(desk: EmbeddedDesk) -> None:
    desk.start()
    desk.stop()
    assert desk.manage("migrate", "execution", "zero").returncode == 0
    engine = desk.manage("runworker", "execution")
    assert engine.returncode != 0
    assert "lacks" in engine.stderr
