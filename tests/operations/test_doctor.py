"""`manage.py doctor`: a desk that is well has no findings, and each thing that can be wrong has one, with what to do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from django.core.management import call_command
from django.db import OperationalError, connection
from django.utils import timezone

from execution.core.messages import CommandStatus
from execution.core.state import CORE_VERSION
from execution.models import Account, Alarm, Bot, Engine, JournalEntry, Lease
from execution.tasks import watch
from risk.models import Halt
from tests.console import factories
from tradingdesk.celery import app
from tradingdesk.management.commands import doctor
from tradingdesk.management.doctor import servers

KEY = "x9!kd02-Zq7#long-enough-for-django-and-made-of-many-different-characters"


class Setup(NamedTuple):
    """A desk on which nothing is wrong, and the settings it runs with."""

    account: Account
    settings: Any
    patch: pytest.MonkeyPatch
    var: Path


@pytest.fixture
def well(db: None, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setup:
    if not settings.REDIS_URL:
        pytest.skip("there is no Valkey in this run")
    settings.VAR_DIR, settings.KILL_FILE, settings.SECRET_KEY = tmp_path, tmp_path / "KILL", KEY
    settings.STATIC_ROOT = tmp_path / "static"
    (tmp_path / "static").mkdir()
    (tmp_path / "static" / "staticfiles.json").write_text("{}")
    desk = factories.desk()
    factories.user("maria", "risk", accounts=[desk.account])
    Engine.objects.update(version=CORE_VERSION)
    Alarm.objects.all().delete()
    Halt.objects.all().delete()
    # what the tests' own servers are: a quick PostgreSQL, no Celery worker, whatever disk this is
    monkeypatch.setattr(servers, "_ask", {"SHOW max_connections": 80, "SELECT count(*) FROM pg_stat_activity": 3}.get)
    monkeypatch.setattr(servers, "_PROMISES", {})
    monkeypatch.setattr(servers, "_workers", lambda: iter(()))
    disk(monkeypatch, free=50_000_000_000)
    watch()
    return Setup(desk.account, settings, monkeypatch, tmp_path)


def disk(patch: pytest.MonkeyPatch, *, free: int) -> None:
    patch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**12, 10**12 - free, free))


def names() -> list[str]:
    return sorted(finding.name for finding in doctor.examined())


def test_it_finds_nothing_on_a_desk_that_is_well(well: Setup) -> None:
    out = StringIO()
    call_command("doctor", stdout=out)
    assert out.getvalue() == "Nothing is wrong.\n"


# --- this machine ----------------------------------------------------------------------------------------------------------


def debug(well: Setup) -> None:
    well.settings.DEBUG = True


def no_key(well: Setup) -> None:
    well.settings.SECRET_KEY = ""


def weak_key(well: Setup) -> None:
    https(well)
    well.settings.SECRET_KEY = "short"


def https(well: Setup) -> None:
    """As the settings are with DESK_URL=https://…"""
    well.settings.DESK_URL = "https://desk.example.org"
    well.settings.SECURE_SSL_REDIRECT = well.settings.SESSION_COOKIE_SECURE = well.settings.CSRF_COOKIE_SECURE = True
    well.settings.SECURE_HSTS_SECONDS = 31536000
    well.settings.SECURE_HSTS_INCLUDE_SUBDOMAINS = well.settings.SECURE_HSTS_PRELOAD = True


def no_host(well: Setup) -> None:
    https(well)
    well.settings.ALLOWED_HOSTS = []


def bare_cookies(well: Setup) -> None:
    https(well)
    well.settings.SESSION_COOKIE_SECURE = False


def clear_text(well: Setup) -> None:
    well.settings.DESK_URL = "http://desk.example.org"


def no_address(well: Setup) -> None:
    well.settings.DESK_URL = "desk.example.org"


def hurried(well: Setup) -> None:
    well.settings.TIMING_SCALE = 0.1


def short_token(well: Setup) -> None:
    well.settings.METRICS_TOKEN = "secret"


def open_key_file(well: Setup) -> None:
    (well.var / "secret_key").write_text(KEY)
    (well.var / "secret_key").chmod(0o644)


def no_folder(well: Setup) -> None:
    well.settings.VAR_DIR = well.var / "moved"


def full_disk(well: Setup) -> None:
    disk(well.patch, free=100_000_000)


def uncollected(well: Setup) -> None:
    (well.var / "static" / "staticfiles.json").unlink()


def kill_file(well: Setup) -> None:
    (well.var / "KILL").touch()


# --- the servers -----------------------------------------------------------------------------------------------------------


def no_database(well: Setup) -> None:
    def refuse() -> list[str]:
        raise OperationalError("connection refused\nIs the server running?")

    well.patch.setattr(servers, "migrations_pending", refuse)


def old_schema(well: Setup) -> None:
    well.patch.setattr(servers, "migrations_pending", lambda: ["execution.0012_next"])


def other_clock(well: Setup) -> None:
    well.patch.setattr(servers, "_skew_s", lambda: -3.0)


def no_layer(well: Setup) -> None:
    well.settings.REDIS_URL = ""


def dead_layer(well: Setup) -> None:
    well.settings.REDIS_URL = "unix:///nowhere/at/all.sock"


def sleeping_watchdog(well: Setup) -> None:
    well.settings.WATCHED_KEY = "tradingdesk:test-never-set"


# --- the desk --------------------------------------------------------------------------------------------------------------


def no_engine(well: Setup) -> None:
    Engine.objects.update(stopped_at=timezone.now())


def hanging_engine(well: Setup) -> None:
    Engine.objects.update(seen_at=timezone.now() - timedelta(minutes=3))


def hasty_engine(well: Setup) -> None:
    Engine.objects.update(seen_at=timezone.now() + timedelta(seconds=30))


def two_versions(well: Setup) -> None:
    now = timezone.now()
    Engine.objects.create(name="old-1", pid=1, host="box", version="0", started_at=now, seen_at=now)


def other_version(well: Setup) -> None:
    Engine.objects.update(version="0")


def old_journal(well: Setup) -> None:
    at = timezone.now()
    JournalEntry.objects.create(account=well.account, epoch="abcd", seq=1, at=at, event=b"", digest=b"", core_version="0")


def expired(well: Setup) -> None:
    Lease.objects.update(expires_at=timezone.now() - timedelta(minutes=2))


def released(well: Setup) -> None:
    Lease.objects.all().delete()


def starting(well: Setup) -> None:
    well.account.state.phase = "STARTING"
    well.account.state.checklist = [{"name": "feeds fresh", "is_passed": False, "text": "no price of BTCUSDT"}]
    well.account.state.save()


def no_limit(well: Setup) -> None:
    well.account.limits.daily_loss_pct = None
    well.account.limits.save()


def live(well: Setup) -> None:
    Account.objects.update(environment="LIVE")


def switch(well: Setup) -> None:
    well.settings.ALLOW_LIVE = True


def no_brain(well: Setup) -> None:
    Bot.objects.filter(code="ema-btc").update(brain="gone")


def unheard(well: Setup) -> None:
    act = factories.kill(well.account, status=CommandStatus.PENDING)
    act.commands.update(created_at=timezone.now() - timedelta(minutes=1))
    Halt.objects.all().delete()


def halted(well: Setup) -> None:
    factories.kill(well.account)


def poisoned(well: Setup) -> None:
    factories.kill(well.account)
    Halt.objects.update(cause="POISON_EVENT")


def ringing(well: Setup) -> None:
    factories.alarm(well.account, priority=1)


def noted_alarm(well: Setup) -> None:
    factories.alarm(well.account, priority=3)


def nobody(well: Setup) -> None:
    from tradingdesk.people.models import User

    User.objects.update(is_active=False)


WRONG: list[tuple[Callable[[Setup], None], list[str]]] = [
    (debug, ["debug"]),
    (no_key, ["secret key"]),
    (weak_key, ["django security.W009"]),
    (no_host, ["django security.W020"]),
    (bare_cookies, ["django security.W012"]),
    (clear_text, ["clear text"]),
    (no_address, ["address"]),
    (hurried, ["timing"]),
    (short_token, ["metrics token"]),
    (open_key_file, ["secret key file"]),
    (no_folder, ["folder"]),
    (full_disk, ["disk"]),
    (uncollected, ["static files"]),
    (kill_file, ["kill file"]),
    (no_database, ["database"]),
    (old_schema, ["migrations"]),
    (other_clock, ["clock"]),
    (no_layer, ["layer"]),
    (dead_layer, ["layer"]),
    (sleeping_watchdog, ["watchdog"]),
    (no_engine, ["engine"]),
    (hanging_engine, ["engine", "engine silent"]),
    (hasty_engine, ["clock of an engine"]),
    (two_versions, ["mixed versions"]),
    (expired, ["lease"]),
    (released, ["lease"]),
    (starting, ["not active"]),
    (no_limit, ["limits"]),
    (live, ["live refused"]),
    (no_brain, ["brain"]),
    (unheard, ["act waits"]),
    (poisoned, ["poison event"]),
    (ringing, ["alarm"]),
    (nobody, ["people"]),
]
NOTED: list[tuple[Callable[[Setup], None], list[str]]] = [
    (https, []),
    (other_version, ["other version"]),
    (old_journal, ["journal of another version"]),
    (switch, ["live switch"]),
    (halted, ["halt"]),
    (noted_alarm, ["alarm"]),
]


@pytest.mark.parametrize(("trouble", "wanted"), WRONG, ids=lambda value: getattr(value, "__name__", ""))
def test_it_finds_what_is_wrong(well: Setup, trouble: Callable[[Setup], None], wanted: list[str]) -> None:
    trouble(well)
    found = list(doctor.examined())
    assert sorted(finding.name for finding in found) == wanted
    assert all(finding.is_wrong for finding in found)
    assert all(sentence_ends(part) for finding in found for part in (finding.what, finding.why, finding.to_do))
    with pytest.raises(SystemExit) as ended:
        call_command("doctor", stdout=StringIO())
    assert ended.value.code == 1


def sentence_ends(part: str) -> bool:
    return part[-1] in ".)" or part.endswith("noeviction")


@pytest.mark.parametrize(("state", "wanted"), NOTED, ids=lambda value: getattr(value, "__name__", ""))
def test_it_passes_what_is_only_good_to_know(well: Setup, state: Callable[[Setup], None], wanted: list[str]) -> None:
    state(well)
    assert names() == wanted
    out = StringIO()
    call_command("doctor", "--json", stdout=out)
    told = json.loads(out.getvalue())
    assert told["is_well"] is True
    assert [finding["name"] for finding in told["findings"]] == wanted


def test_it_tells_each_finding_and_how_many(well: Setup) -> None:
    kill_file(well)
    switch(well)
    out = StringIO()
    with pytest.raises(SystemExit):
        call_command("doctor", stdout=out)
    words = out.getvalue()
    assert words.index("WRONG  The file ") < words.index("note   TRADINGDESK_ALLOW_LIVE=1 is set")
    assert f"→ When trading may go on: rm {well.var / 'KILL'}" in words
    assert words.endswith("1 wrong, 1 to know.\n")


# --- what the servers say of themselves -------------------------------------------------------------------------------------


def test_it_asks_postgresql_what_a_commit_means(db: None) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("this run is on SQLite")
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL synchronous_commit = off")
    found = {finding.name for finding in servers.look_database()}
    assert "postgresql synchronous_commit" in found
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL synchronous_commit = on")
        cursor.execute("SHOW fsync")
        (fsync,) = cursor.fetchone()
    found = {finding.name for finding in servers.look_database()}
    assert "postgresql synchronous_commit" not in found
    assert ("postgresql fsync" in found) == (fsync != "on")
    assert "clock" not in found


@pytest.mark.parametrize(
    ("wrong", "words"),
    [({"PORT": "1"}, "refused"), ({"NAME": "no_such_database"}, "does not exist")],
)
def test_it_says_in_the_servers_own_words_why_the_database_cannot_be_used(
    db: None, wrong: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("this run is on SQLite")
    for name, value in wrong.items():
        monkeypatch.setitem(connection.settings_dict, name, value)
    missing = servers.database_missing()
    assert missing is not None
    assert missing.name == "database"
    assert words in missing.what
    assert "\n" not in missing.what


@pytest.mark.parametrize(
    ("answers", "host", "wanted"),
    [
        ({"SELECT count(*) FROM pg_stat_activity": 70}, "", ["postgresql connections"]),
        ({"SELECT rolsuper FROM pg_roles WHERE rolname = current_user": True}, "", ["postgresql role"]),
        ({}, "db.example.org", ["postgresql tls"]),
        ({"SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()": True}, "db.example.org", []),
        ({}, "/run/postgresql", []),
        ({"SHOW full_page_writes": "off"}, "", ["postgresql full_page_writes"]),
    ],
)
def test_it_judges_what_postgresql_answers(
    answers: dict[str, Any], host: str, wanted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    good = dict.fromkeys(("SHOW fsync", "SHOW full_page_writes", "SHOW synchronous_commit"), "on")
    monkeypatch.setattr(
        servers, "_ask", ({"SHOW max_connections": 80, "SELECT count(*) FROM pg_stat_activity": 3} | good | answers).get
    )
    monkeypatch.setitem(connection.settings_dict, "HOST", host)
    assert [finding.name for finding in servers._postgresql()] == wanted


class Memory:
    """A Redis as far as the doctor asks it."""

    def __init__(self, *, waiting: int = 0, **memory: Any) -> None:
        self._memory, self._waiting = memory, waiting

    def info(self, section: str) -> dict[str, Any]:
        return self._memory

    def get(self, key: str) -> str:
        return str(timezone.now().timestamp())

    def llen(self, key: str) -> int:
        return self._waiting


@pytest.mark.parametrize(
    ("url", "client", "wanted"),
    [
        ("redis://cache.example.org:6379/0", Memory(), ["redis password"]),
        ("rediss://desk:secret@cache.example.org:6379/0", Memory(), []),
        ("redis://127.0.0.1:6379/0", Memory(), []),
        ("unix:///run/valkey.sock", Memory(maxmemory=1000, maxmemory_policy="allkeys-lru"), ["redis eviction"]),
        ("unix:///run/valkey.sock", Memory(maxmemory=1000, maxmemory_policy="noeviction"), []),
        ("unix:///run/valkey.sock", Memory(waiting=500), ["jobs wait"]),
    ],
)
def test_it_judges_what_redis_answers(url: str, client: Any, wanted: list[str], settings: Any) -> None:
    settings.REDIS_URL = url
    assert [finding.name for finding in servers._redis(client)] == wanted


@pytest.mark.parametrize(
    ("answers", "wanted"),
    [
        (None, ["jobs"]),
        ({"watch@box": [{"name": "watch"}]}, ["jobs"]),
        ({"watch@box": [{"name": "watch"}], "jobs@box": [{"name": "jobs"}]}, []),
    ],
)
def test_it_asks_the_workers_what_they_serve(answers: Any, wanted: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    class Inspect:
        def active_queues(self) -> Any:
            return answers

    monkeypatch.setattr(app.control, "inspect", lambda timeout: Inspect())
    assert [finding.name for finding in servers._workers()] == wanted


def test_it_tells_how_long_the_watchdog_has_slept() -> None:
    ((never,), (long_ago,)) = (list(servers._watchdog(watched)) for watched in (None, "0"))
    assert never.what == "The watchdog has never looked."
    assert long_ago.what.startswith("The watchdog last looked ")
    assert list(servers._watchdog(str(timezone.now().timestamp()))) == []
