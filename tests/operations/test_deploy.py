"""What docs/deploy.md and deploy/ promise: production settings without a warning, commands that exist, one story everywhere."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest
from django.core.management import get_commands

from tests.tidy.sources import ROOT
from tradingdesk.management.commands.desk import _children

DEPLOY, DOCUMENT = ROOT / "deploy", (ROOT / "docs" / "deploy.md").read_text()
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
#: what the example leaves to whoever deploys
SECRET = "8f1c0d5e2b7a49d3a6f4e1b09c8d7a65_Zq-k2.8f1c0d5e2b7a49d3"


def production() -> dict[str, str]:
    """The environment file as it is shipped, its secrets filled in."""
    lines = (DEPLOY / "environment").read_text().splitlines()
    pairs = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    return {name: value.replace("CHANGE_ME", SECRET) for name, value in pairs.items()}


def manage(*argv: str, var: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    given = {"PATH": os.environ["PATH"], **production(), "TRADINGDESK_VAR": str(var), **environ}
    return subprocess.run([sys.executable, "manage.py", *argv], cwd=ROOT, env=given, capture_output=True, text=True, check=False)


def test_it_has_nothing_to_say_of_the_settings_of_production(tmp_path: Path) -> None:
    checked = manage("check", "--deploy", "--fail-level", "INFO", var=tmp_path)
    assert (checked.returncode, checked.stdout) == (0, "System check identified no issues (0 silenced).\n"), checked.stderr


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"DESK_URL": "http://desk.example.org"}, "security.W008"),
        ({"SECRET_KEY": "short"}, "security.W009"),
        ({"TRADINGDESK_DEBUG": "1"}, "security.W018"),
    ],
)
def test_it_does_say_what_is_wrong_with_others(environ: dict[str, str], said: str, tmp_path: Path) -> None:
    checked = manage("check", "--deploy", "--fail-level", "WARNING", var=tmp_path, **environ)
    assert checked.returncode == 1
    assert said in checked.stderr


@pytest.mark.parametrize("name", ["DATABASE_URL", "REDIS_URL", "DESK_URL"])
def test_it_says_what_is_wrong_with_an_address_and_keeps_its_password(name: str, tmp_path: Path) -> None:
    checked = manage("check", var=tmp_path, **{name: "redis://desk:hush#hush/hush@cache.example.org:6379/0"})
    assert checked.returncode == 1
    assert checked.stderr.startswith(f"{name} is no address: ")
    assert checked.stderr.count("\n") == 1
    assert "hush" not in checked.stderr


def procfile() -> dict[str, list[str]]:
    lines = (ROOT / "Procfile").read_text().splitlines()
    return {name: shlex.split(command) for name, command in (line.split(": ", 1) for line in lines)}


def unit_command(unit: Path) -> list[str]:
    (line,) = re.findall(r"^ExecStart=(.*)$", unit.read_text(), re.MULTILINE)
    return shlex.split(line)


def essence(command: list[str]) -> list[str]:
    """What runs, without where it listens and what it is called."""
    words = [word.removeprefix("/srv/tradingdesk/") for word in command]
    for option in ("-b", "-p", "--fd", "-n"):
        if option in words:
            del words[words.index(option) : words.index(option) + 2]
    return words


def test_it_starts_the_same_processes_everywhere() -> None:
    from_procfile = procfile()
    assert list(from_procfile) == ["web", "engine", "jobs", "watch"]
    from_units = {re.sub(r"^tradingdesk-|@", "", unit.stem): unit_command(unit) for unit in UNITS}
    assert {name: essence(command) for name, command in from_units.items()} == {
        name: essence(command) for name, command in from_procfile.items()
    }
    container = re.search(r"^CMD (\[.*\])$", (ROOT / "Containerfile").read_text(), re.MULTILINE)
    assert container
    assert essence(json.loads(container[1])) == essence(from_procfile["web"])


@pytest.mark.parametrize(("url", "is_told"), [("https://desk.example.org", True), ("http://127.0.0.1:8000", False)])
def test_the_desk_believes_a_proxy_only_where_there_is_one(url: str, is_told: bool) -> None:
    with socket.socket() as listener:
        web = next(child for child in _children(listener, url, None) if child.name == "web")
    assert ("--proxy-headers" in web.argv) == is_told


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
def test_systemd_understands_the_units(tmp_path: Path) -> None:
    """The programs are not at their place here, so others stand in for them."""
    for unit in (DEPLOY / "systemd").iterdir():
        words = re.sub(r"/srv/tradingdesk/\.venv/bin/\w+", shutil.which("true") or "", unit.read_text())
        words = words.replace("WorkingDirectory=/srv/tradingdesk", "WorkingDirectory=/")
        (tmp_path / unit.name.replace("@.", "@1.")).write_text(words)
    said = subprocess.run(
        ["systemd-analyze", "verify", *map(str, tmp_path.iterdir())], capture_output=True, text=True, check=False
    ).stderr
    assert [line for line in said.splitlines() if "tradingdesk" in line] == []


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_may_stop_longer_than_what_it_runs_needs(unit: Path) -> None:
    read = ConfigParser(strict=False, interpolation=None)
    read.read_string(unit.read_text())
    service = read["Service"]
    engine_drain_s = 8
    assert int(service["TimeoutStopSec"]) > (engine_drain_s if "engine" in unit.stem else 3)
    assert service["Restart"] == "always"
    assert service["User"] == "tradingdesk"


def test_the_document_names_commands_and_files_that_are_there() -> None:
    commands = set(re.findall(r"manage\.py ([a-z_]+)", DOCUMENT))
    assert commands >= {"migrate", "doctor", "restored", "collectstatic"}
    assert commands <= set(get_commands())
    named = re.findall(r"\b(deploy/[\w./@-]+\w)", DOCUMENT)
    assert named
    assert [file for file in named if not (ROOT / file).exists()] == []
    shipped = {str(file.relative_to(ROOT)) for file in DEPLOY.rglob("*") if file.is_file() and file.parent.name != "systemd"}
    assert shipped - set(named) == set()
