"""The shell commands: the same rows with everything else down, and exit code 0 only when verified."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError
from django.utils import timezone

from execution import services
from execution.core.conditions import TAPE_OVER
from execution.core.messages import CommandKind, KillChoice
from execution.management import acting
from execution.models import Account, AccountState, Act, Bot, Bracket, Command, Engine, Order, Position
from risk.core.units import Scope, ScopeKind
from risk.core.verdict import HaltMode
from risk.models import AuditEntry, Halt, Instrument
from tests.control.conftest import engine_takes

pytestmark = pytest.mark.db

Answer = Callable[[], None]


def run(name: str, *args: str, **more: Any) -> str:
    out = StringIO()
    call_command(name, *args, stdout=out, **more)
    return out.getvalue()


def answered(status: str, text: str = "", steps: tuple[dict[str, Any], ...] = ()) -> Answer:
    def answer() -> None:
        Command.objects.filter(status="PENDING").update(status=status, text=text, steps=list(steps), answered_at=timezone.now())

    return answer


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Callable[[Answer], None]:
    """An engine that answers between the first look and the second."""

    def answers(answer: Answer) -> None:
        monkeypatch.setattr("execution.management.acting.time.sleep", lambda _: answer())

    return answers


STEPS = (
    {"name": "gates_closed", "text": "Gates closed at firm", "state": "DONE", "done": 0, "total": 0},
    {"name": "confirmed", "text": "Cancels confirmed", "state": "RUNNING", "done": 3, "total": 8},
    {"name": "verified", "text": "Verified", "state": "WAITING", "done": 0, "total": 0},
)


@pytest.mark.parametrize(
    ("args", "choice"),
    [((), KillChoice.CANCEL), (("--flatten",), KillChoice.CANCEL_FLATTEN), (("--cancel-all",), KillChoice.CANCEL_ALL)],
)
def test_it_kills_and_prints_the_steps(
    args: tuple[str, ...], choice: KillChoice, bot: Bot, engine: Callable[[Answer], None]
) -> None:
    engine_takes(bot.account)
    engine(answered("DONE", "verified", STEPS))
    said = run("kill", "--firm", *args, reason="odd fills", by="alice")
    assert "paper-crypto: Gates closed at firm · done" in said
    assert "paper-crypto: Cancels confirmed · running · 3 of 8" in said
    assert "WAITING" not in said
    assert "Verified on 1 account in " in said
    act = Act.objects.get()
    assert (act.kind, act.choice, act.by, act.reason) == ("KILL", choice, "alice", "odd fills")
    assert Halt.objects.get().mode == "HALTED"
    assert AuditEntry.objects.get().origin == "shell"


@pytest.mark.parametrize(
    ("args", "scope"),
    [
        (("--firm",), ("FIRM", "")),
        (("--account", "paper-crypto"), ("ACCOUNT", "paper-crypto")),
        (("--bot", "ema-btc"), ("BOT", "ema-btc")),
        (("--symbol", "BTCUSDT"), ("INSTRUMENT", "BTCUSDT")),
    ],
)
@pytest.mark.parametrize("name", ["kill", "halt", "flatten"])
def test_it_acts_at_the_scope(
    name: str, args: tuple[str, ...], scope: tuple[str, str], bot: Bot, engine: Callable[[Answer], None]
) -> None:
    engine_takes(bot.account)
    engine(answered("DONE"))
    run(name, *args)
    act = Act.objects.get()
    assert (act.kind, act.scope, act.scope_key) == (name.upper(), *scope)


@pytest.mark.parametrize("args", [(), ("--firm", "--bot", "ema-btc")])
def test_it_takes_exactly_one_scope(args: tuple[str, ...], bot: Bot) -> None:
    with pytest.raises(CommandError):
        run("kill", *args)
    assert not Act.objects.exists()


@pytest.mark.parametrize("args", [("--account", "moon"), ("--bot", "moon"), ("--symbol", "MOON")])
def test_it_refuses_what_does_not_exist(args: tuple[str, ...], bot: Bot) -> None:
    with pytest.raises(CommandError, match=r"There is no \w+ “(moon|MOON)”"):
        run("kill", *args)
    assert not Act.objects.exists()


@pytest.mark.parametrize("name", ["kill", "halt"])
def test_it_says_that_it_stood_already(name: str, bot: Bot, engine: Callable[[Answer], None]) -> None:
    engine_takes(bot.account)
    engine(answered("DONE"))
    assert "Written: " in run(name, "--bot", "ema-btc", by="alice")
    again = run(name, "--bot", "ema-btc", by="bob")
    assert "It stood already, since " in again
    assert " UTC by alice, and is carried out once more: " in again
    assert Halt.objects.count() == 1


def test_it_says_that_no_engine_runs(bot: Bot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acting, "_NOBODY_S", 0)
    with pytest.raises(CommandError, match="No engine runs paper-crypto: written, and carried out the moment an engine") as refused:
        run("kill", "--firm")
    assert refused.value.returncode == acting.UNANSWERED
    assert Halt.objects.filter(cleared_at=None).exists()


def test_it_gives_up_in_time(bot: Bot) -> None:
    engine_takes(bot.account)
    with pytest.raises(CommandError, match=r"Not verified within 0 s on paper-crypto") as refused:
        run("kill", "--firm", wait=0.0)
    assert refused.value.returncode == acting.UNANSWERED


@pytest.mark.parametrize("status", ["REFUSED", "EXPIRED"])
def test_it_fails_with_the_desks_answer(status: str, bot: Bot, engine: Callable[[Answer], None]) -> None:
    engine_takes(bot.account)
    engine(answered(status, "too late"))
    with pytest.raises(CommandError, match="Not done: paper-crypto: too late") as refused:
        run("flatten", "--firm")
    assert refused.value.returncode == acting.NOT_DONE


def test_it_resumes_a_pause(bot: Bot, engine: Callable[[Answer], None]) -> None:
    engine_takes(bot.account)
    services.bot_pause(bot=bot, by="alice", idempotency_key="pause")
    engine(answered("DONE"))
    run("resume", "--bot", "ema-btc")
    assert Act.objects.get(kind=CommandKind.RESUME).scope_key == "ema-btc"


def test_it_clears_a_latch_by_the_same_rules(bot: Bot, engine: Callable[[Answer], None]) -> None:
    engine_takes(bot.account)
    services.kill(scope=Scope(ScopeKind.FIRM), choice=KillChoice.CANCEL, by="alice", idempotency_key="kill")
    engine(answered("DONE"))
    with pytest.raises(CommandError, match="Say why"):
        run("resume", "--firm")
    with pytest.raises(CommandError, match="Type “clear firm”"):
        run("resume", "--firm", reason="looked")
    with pytest.raises(CommandError, match="may be cleared in"):
        run("resume", "--firm", reason="looked", phrase="clear firm")
    Halt.objects.update(at=timezone.now() - timedelta(minutes=5))
    run("resume", "--firm", reason="looked", phrase="clear firm")
    assert Halt.objects.get(cause="KILL").cleared_at is not None


@pytest.mark.parametrize(("options", "is_kept"), [({"keep_baseline": True}, True), ({}, False)])
def test_it_keeps_a_baseline_where_told_so(
    options: dict[str, Any], is_kept: bool, bot: Bot, engine: Callable[[Answer], None]
) -> None:
    engine_takes(bot.account)
    at = timezone.now() - timedelta(minutes=5)
    code = bot.account.code
    Halt.objects.create(halt_id="l1", scope="ACCOUNT", scope_key=code, mode="REDUCE_ONLY", cause="DAILY_LOSS", by="the desk", at=at)
    engine(answered("DONE"))
    run("resume", "--account", code, reason="looked", phrase=f"clear account {code}", **options)
    command = Command.objects.get(body__kind="CLEAR")
    assert command.body["keeps_baseline"] is is_kept


def test_status_shows_what_matters(bot: Bot, eth: Instrument) -> None:
    now = timezone.now()
    told = {"account": bot.account, "bot": "ema-btc", "symbol": "BTCUSDT", "created_at": now, "updated_at": now}
    Position.objects.create(
        account=bot.account, symbol="BTCUSDT", bot="ema-btc", qty="0.42", avg_px="61000", is_open=True, updated_at=now
    )
    Position.objects.create(
        account=bot.account, symbol="ETHUSDT", bot="EXTERNAL", qty="-2", avg_px="2600", is_open=True, updated_at=now
    )
    order = {"side": "SELL", "ord_type": "STOP", "time_in_force": "GTC", "order_class": "PROTECTION", "ord_status": "NEW"}
    amounts = {"order_qty": "0.42", "leaves_qty": "0.42", "stop_px": "60100", "is_working": True, "accepted_at": now}
    Order.objects.create(cl_ord_id="s1", purpose="STOP_LOSS", bracket_id="b1", **order, **amounts, **told)
    Bracket.objects.create(bracket_id="b1", side="BUY", status="ARMED", stop_id="s1", open_qty="0.42", **told)
    Engine.objects.create(name="engine-1", pid=7, host="h", version="1", started_at=now, seen_at=now)
    Engine.objects.create(name="engine-0", pid=6, host="h", version="1", started_at=now, seen_at=now - timedelta(minutes=1))
    engine_takes(bot.account)
    services.kill(scope=Scope(ScopeKind.FIRM), choice=KillChoice.CANCEL, by="alice", idempotency_key="k", reason="odd fills")
    said = [" ".join(line.split()) for line in run("status").splitlines()]
    assert "firm HALTED kill alice 0 s odd fills" in said
    assert "ema-btc paper-crypto HALTED firm BTCUSDT 0 0" in said
    assert "BTCUSDT paper-crypto ema-btc 0.42 61000 0.00 stop 60100 for 0.42 of 0.42" in said
    assert "ETHUSDT paper-crypto EXTERNAL -2 2600 0.00 UNPROTECTED" in said
    assert "paper-crypto PAPER STOPPED – 0 entries, 1 others engine-1" in said
    assert "engine-1 7 0 s runs" in said
    assert not any(line.startswith("engine-0") for line in said), "it is gone and nobody misses it"
    Engine.objects.filter(name="engine-1").update(seen_at=now - timedelta(minutes=1))
    assert any(line.startswith("engine-1 7 6") and line.endswith("s SILENT") for line in map(str.strip, _words(run("status"))))


def _words(said: str) -> list[str]:
    return [" ".join(line.split()) for line in said.splitlines()]


def test_status_of_an_empty_desk_says_so(db: None) -> None:
    said = run("status")
    assert "Accounts: none" in said
    assert "no engine runs: nothing can trade" in said


@pytest.mark.parametrize(("name", "instead"), [("kill", "To kill without it: touch "), ("halt", ""), ("flatten", "")])
def test_it_says_what_to_do_without_a_database(name: str, instead: str, bot: Bot, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(**_: Any) -> Act:
        raise OperationalError("unable to open database file")

    monkeypatch.setattr(services, name, gone)
    with pytest.raises(CommandError, match=f"The database cannot be used: unable to open database file. {instead}".strip()):
        run(name, "--firm")


def test_it_says_that_the_kill_file_stands(bot: Bot, tmp_path: Path, settings: Any) -> None:
    settings.KILL_FILE = tmp_path / "KILL"
    assert str(settings.KILL_FILE) not in run("status")
    settings.KILL_FILE.touch()
    assert f"The file {settings.KILL_FILE} stands: nothing trades. Remove it (rm {settings.KILL_FILE})" in run("status")


def test_it_promises_of_a_flatten_only_that_it_was_written(bot: Bot, engine: Callable[[Answer], None]) -> None:
    engine_takes(bot.account)
    engine(answered("DONE"))
    said = run("flatten", "--firm")
    assert "In force" not in said
    assert "Verified on 1 account in" in said
    assert "In force now, and after every restart." in run("halt", "--firm")


def test_it_counts_accounts_and_says_what_still_keeps_a_bot_from_trading(bot: Bot, engine: Callable[[Answer], None]) -> None:
    engine_takes(bot.account)
    services.halt(scope=Scope(ScopeKind.ACCOUNT, bot.account.code), mode=HaltMode.HALTED, by="alice", idempotency_key="halt")
    services.kill(scope=Scope(ScopeKind.BOT, bot.code), choice=KillChoice.CANCEL, by="alice", idempotency_key="kill")
    Halt.objects.update(at=timezone.now() - timedelta(minutes=5))
    engine(answered("DONE"))
    said = run("resume", "--bot", "ema-btc", reason="looked", phrase="clear bot ema-btc")
    assert Command.objects.filter(act__kind="CLEAR").count() > 1
    assert "Done on 1 account in" in said
    assert (
        'Still halted at account paper-crypto by a manual halt: manage.py resume --account paper-crypto --reason … --phrase "clear'
        in said
    )
    assert "Still reduce-only at bot ema-btc by a pause: manage.py resume --bot ema-btc\n" in said
    assert "ema-btc is stopped: start it on its page." in said


def test_it_knows_no_account_by_a_wrong_name(bot: Bot) -> None:
    with pytest.raises(CommandError, match="There is no account “paper-crytpo”"):
        run("status", account="paper-crytpo")


@pytest.mark.parametrize(
    ("name", "args", "told"),
    [
        ("kill", ("--account", "moon"), "There is no account “moon”. There is paper-crypto."),
        ("halt", ("--bot", "moon"), "There is no bot “moon”. There is ema-btc."),
        ("resume", ("--bot", "moon"), "There is no bot “moon”. There is ema-btc."),
        ("flatten", ("--symbol", "MOON"), "There is no instrument “MOON”. There is BTCUSDT."),
        ("status", ("--account", "moon"), "There is no account “moon”. There is paper-crypto."),
    ],
)
def test_it_names_what_there_is(name: str, args: tuple[str, ...], told: str, bot: Bot) -> None:
    with pytest.raises(CommandError) as refused:
        run(name, *args)
    assert (str(refused.value), refused.value.returncode) == (told, 1)


@pytest.mark.parametrize("args", [("--firm",), ("--account", "paper-crypto"), ("--bot", "ema-btc"), ("--symbol", "BTCUSDT")])
def test_it_resumes_nothing_that_is_not_paused(args: tuple[str, ...], bot: Bot) -> None:
    engine_takes(bot.account)
    with pytest.raises(CommandError, match="is not paused") as refused:
        run("resume", *args)
    assert refused.value.returncode == 1
    assert not Act.objects.exists()


def test_it_does_not_promise_what_will_be_too_late(bot: Bot, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flatten that no engine takes in time is never carried out."""
    monkeypatch.setattr(acting, "_NOBODY_S", 0)
    with pytest.raises(
        CommandError, match=r"written, and carried out if an engine starts before \d\d:\d\d:\d\d UTC, else not at all"
    ):
        run("flatten", "--firm")


@pytest.mark.parametrize("args", [("--firm",), ("--account", "paper-crypto"), ("--bot", "ema-btc")])
def test_it_flattens_nothing_where_no_engine_may_run(args: tuple[str, ...], bot: Bot) -> None:
    Account.objects.update(is_enabled=False)
    with pytest.raises(CommandError, match=r"Not done\. (No enabled account is in scope|Disabled, .*: paper-crypto)\.") as refused:
        run("flatten", *args)
    assert refused.value.returncode == acting.NOT_DONE


def test_a_kill_of_a_disabled_account_counts_once_it_is_enabled(bot: Bot) -> None:
    Account.objects.update(is_enabled=False)
    said = run("kill", "--account", "paper-crypto")
    assert "Disabled, so that no engine runs it: paper-crypto. It counts there from the moment it is enabled." in said
    assert Halt.objects.filter(cleared_at=None).exists()


def test_status_lists_accounts_at_rest_with_what_they_hold(bot: Bot) -> None:
    now = timezone.now()
    AccountState.objects.create(account=bot.account, equity="99990.5", links_down={"PRICES": TAPE_OVER})
    Position.objects.create(account=bot.account, symbol="BTCUSDT", bot="ema-btc", qty="-0.4", is_open=True, updated_at=now)
    assert "At rest" not in run("status")
    Account.objects.update(is_enabled=False)
    said = [" ".join(line.split()) for line in run("status").splitlines()]
    assert "paper-crypto PAPER 99990.5 USDT BTCUSDT -0.4 the tape is over" in said
