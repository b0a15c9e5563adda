"""Halts and the ways back: who may clear what, after how long, and that clearing starts nothing."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from django.utils import timezone

from execution import services
from execution.core.messages import CommandKind, CommandSpec, KillChoice
from execution.models import Account, AccountState, Act, Bot
from risk.core.units import Scope, ScopeKind
from risk.core.verdict import HaltCause, HaltMode
from risk.models import AuditEntry, Halt, Instrument
from tests.control.conftest import account_row, bot_row, engine_takes

pytestmark = pytest.mark.db

FIRM = Scope(ScopeKind.FIRM)
BOT = Scope(ScopeKind.BOT, "ema-btc")


def kill(scope: Scope = FIRM) -> Halt:
    act = services.kill(scope=scope, choice=KillChoice.CANCEL, by="alice", idempotency_key="kill")
    return Halt.objects.get(pk=act.halt_id)


def halted(scope: Scope, mode: HaltMode = HaltMode.HALTED) -> Halt:
    act = services.halt(scope=scope, mode=mode, by="alice", idempotency_key="halt")
    return Halt.objects.get(pk=act.halt_id)


def clear(halt: Halt, **changes: Any) -> Act:
    told: dict[str, Any] = {
        "by": "bob",
        "reason": "looked at",
        "phrase": services.clear_phrase(halt),
        "idempotency_key": "clear",
        "at": halt.at + timedelta(minutes=5),
        "may_clear_latches": True,
    }
    return services.halt_clear(halt=halt, **told | changes)


def test_it_takes_the_kill_file_for_one_kill_and_one_more_when_that_is_cleared(bot: Bot) -> None:
    first = services.kill_by_file(7)
    assert (services.kill_by_file(7).pk, Act.objects.count()) == (first.pk, 1)
    halt = Halt.objects.get()
    assert (halt.scope, halt.cause, halt.by) == (ScopeKind.FIRM, HaltCause.KILL, "var/KILL")
    assert [spec.kind for spec in specs(first)] == [CommandKind.KILL]
    clear(halt)
    assert services.kill_by_file(7).halt_id != halt.pk, "cleared by somebody who could not see the file"


def test_it_clears_no_kill_of_the_firm_while_the_kill_file_stands(bot: Bot, tmp_path: Path, settings: Any) -> None:
    settings.KILL_FILE = tmp_path / "KILL"
    settings.KILL_FILE.touch()
    halt, other = kill(), halted(BOT)
    with pytest.raises(services.ActRefused, match=f"The file {settings.KILL_FILE} stands"):
        clear(halt)
    clear(other, idempotency_key="other")
    settings.KILL_FILE.unlink()
    clear(halt)
    assert not Halt.objects.filter(cleared_at=None).exclude(cause=HaltCause.PAUSE).exists()


def specs(act: Act) -> list[CommandSpec]:
    return [msgspec.convert(body, CommandSpec) for body in act.commands.order_by("pk").values_list("body", flat=True)]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"may_clear_latches": False}, "A kill is cleared by risk"),
        ({"reason": "  "}, "Say why it is safe to clear"),
        ({"phrase": ""}, "Type “clear firm” to clear this."),
        ({"phrase": "clear account"}, "Type “clear firm”"),
    ],
)
def test_it_refuses_to_clear_a_kill(changes: dict[str, Any], sentence: str, bot: Bot) -> None:
    halt = kill()
    with pytest.raises(services.ActRefused, match=sentence):
        clear(halt, **changes)
    halt.refresh_from_db()
    assert halt.cleared_at is None
    assert not Act.objects.filter(kind=CommandKind.CLEAR).exists()


@pytest.mark.parametrize(
    ("environment", "age_s", "is_cleared"),
    [("PAPER", 9, False), ("PAPER", 10, True), ("LIVE", 59, False), ("LIVE", 60, True)],
)
def test_a_latch_stands_for_its_hold(environment: str, age_s: int, is_cleared: bool, bot: Bot) -> None:
    Account.objects.update(environment=environment)
    halt = kill(Scope(ScopeKind.ACCOUNT, "paper-crypto"))
    at = halt.at + timedelta(seconds=age_s)
    if is_cleared:
        clear(halt, at=at)
    else:
        with pytest.raises(services.ActRefused, match=rf"It is {age_s} s old and may be cleared in 2 s"):
            clear(halt, at=at)


@pytest.mark.parametrize(("by", "minutes", "is_cleared"), [("alice", 14, False), ("alice", 15, True), ("bob", 2, True)])
def test_a_live_firm_kill_takes_a_second_person(by: str, minutes: int, is_cleared: bool, bot: Bot) -> None:
    Account.objects.update(environment="LIVE")
    halt = kill()
    at = halt.at + timedelta(minutes=minutes)
    if is_cleared:
        clear(halt, by=by, at=at)
    else:
        with pytest.raises(services.ActRefused, match="a second person clears it"):
            clear(halt, by=by, at=at)


def test_alone_one_clears_a_paper_firm(bot: Bot) -> None:
    assert clear(kill(), by="alice").kind == CommandKind.CLEAR


def test_clearing_ends_the_row_and_leaves_bots_paused(bot: Bot) -> None:
    halt = kill()
    act = clear(halt)
    halt.refresh_from_db()
    assert (halt.cleared_by, halt.cleared_reason, halt.cleared_at) == ("bob", "looked at", act.at)
    (pause,) = Halt.objects.filter(cleared_at=None)
    assert (pause.cause, pause.mode, pause.scope, pause.scope_key) == ("PAUSE", "REDUCE_ONLY", "BOT", "ema-btc")
    assert [(spec.kind, spec.halt_id, spec.valid_until) for spec in specs(act)] == [
        (CommandKind.PAUSE, pause.halt_id, None),
        (CommandKind.CLEAR, halt.halt_id, None),
    ]
    assert AuditEntry.objects.first().action == "clear"  # type: ignore[union-attr]


def test_a_bot_that_was_stopped_stays_stopped(bot: Bot) -> None:
    Bot.objects.update(should_run=False)
    clear(kill())
    assert not Halt.objects.filter(cleared_at=None).exists()


@pytest.mark.parametrize("cause", [HaltCause.MANUAL, HaltCause.BRAIN_ERRORS])
def test_a_bot_under_a_halt_of_its_own_is_not_paused_besides(cause: HaltCause, bot: Bot) -> None:
    own = halted(BOT)
    Halt.objects.filter(pk=own.pk).update(cause=cause)
    act = clear(kill())
    assert [halt.pk for halt in Halt.objects.filter(cleared_at=None)] == [own.pk]
    assert [spec.kind for spec in specs(act)] == [CommandKind.CLEAR]
    own.refresh_from_db()
    clear(own, idempotency_key="own")
    assert [halt.cause for halt in Halt.objects.filter(cleared_at=None)] == [HaltCause.PAUSE]


def test_a_bot_that_was_paused_keeps_its_one_pause(bot: Bot) -> None:
    services.bot_pause(bot=bot, by="alice", idempotency_key="pause")
    clear(kill())
    assert Halt.objects.filter(cleared_at=None, cause=HaltCause.PAUSE).count() == 1


def test_clearing_an_instrument_pauses_the_instrument(bot: Bot) -> None:
    clear(kill(Scope(ScopeKind.INSTRUMENT, "BTCUSDT")))
    (pause,) = Halt.objects.filter(cleared_at=None)
    assert (pause.cause, pause.scope, pause.scope_key) == ("PAUSE", "INSTRUMENT", "BTCUSDT")


def test_it_tells_an_account_that_was_disabled_since(bot: Bot, eth: Instrument) -> None:
    other = account_row("paper-two")
    bot_row("ema-eth", other, eth, should_run=False)
    halt = kill()
    Account.objects.filter(pk=other.pk).update(is_enabled=False)
    act = clear(halt)
    told = act.commands.filter(body__kind="CLEAR").values_list("account__code", flat=True)
    assert set(told) == {"paper-crypto", "paper-two"}


def test_it_tells_an_account_that_met_the_halt_later(bot: Bot) -> None:
    halt = kill()
    late = account_row("late")
    AccountState.objects.create(account=late)
    assert clear(halt).commands.filter(account=late, body__kind="CLEAR").exists()


def test_it_clears_once(bot: Bot) -> None:
    halt = kill()
    first = clear(halt)
    assert clear(halt) == first
    with pytest.raises(services.ActRefused, match="cleared already"):
        clear(halt, idempotency_key="again")


@pytest.mark.parametrize("scope", [BOT, Scope(ScopeKind.INSTRUMENT, "BTCUSDT")])
def test_a_trader_clears_what_a_trader_halted(scope: Scope, bot: Bot) -> None:
    halt = halted(scope)
    assert not services.is_latch(halt)
    clear(halt, may_clear_latches=False, phrase="", reason="", at=halt.at)


@pytest.mark.parametrize("scope", [FIRM, Scope(ScopeKind.ACCOUNT, "paper-crypto")])
def test_a_wide_halt_is_a_latch(scope: Scope, bot: Bot) -> None:
    with pytest.raises(services.ActRefused, match="A manual halt is cleared by risk"):
        clear(halted(scope), may_clear_latches=False)


@pytest.mark.parametrize("cause", [cause for cause in HaltCause if cause not in {HaltCause.MANUAL, HaltCause.PAUSE}])
def test_what_the_desk_latched_is_cleared_by_risk(cause: HaltCause, bot: Bot) -> None:
    halt = Halt.objects.create(
        halt_id="h", scope="BOT", scope_key="ema-btc", mode="HALTED", cause=cause, by="the desk", at=timezone.now()
    )
    with pytest.raises(services.ActRefused, match="cleared by risk"):
        clear(halt, may_clear_latches=False)


def test_a_resume_is_the_desks_to_finish(bot: Bot) -> None:
    services.bot_pause(bot=bot, by="alice", idempotency_key="pause")
    engine_takes(bot.account)
    act = services.bot_resume(bot=bot, by="alice", idempotency_key="resume")
    (spec,) = specs(act)
    halt = Halt.objects.get()
    assert (spec.kind, spec.halt_id) == (CommandKind.RESUME, halt.halt_id)
    assert halt.cleared_at is None


def test_nothing_resumes_without_a_pause(bot: Bot) -> None:
    engine_takes(bot.account)
    with pytest.raises(services.ActRefused, match="Bot ema-btc is not paused"):
        services.bot_resume(bot=bot, by="alice", idempotency_key="resume")


@pytest.mark.parametrize("expired", [True, False])
def test_nothing_resumes_or_starts_without_an_engine(expired: bool, bot: Bot) -> None:
    services.bot_pause(bot=bot, by="alice", idempotency_key="pause")
    if expired:
        engine_takes(bot.account)
        bot.account.lease.expires_at = timezone.now() - timedelta(seconds=1)
        bot.account.lease.save()
    for what, act in (("resume", services.bot_resume), ("start", services.bot_start)):
        with pytest.raises(services.ActRefused, match=f"No engine runs paper-crypto now, so nothing can {what} there"):
            act(bot=bot, by="alice", idempotency_key=what)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"bot": {"is_enabled": False}}, "ema-btc is disabled"),
        ({"account": {"is_enabled": False}}, "Paper Crypto is disabled"),
    ],
)
def test_it_does_not_start_what_is_disabled(changes: dict[str, dict[str, Any]], sentence: str, bot: Bot) -> None:
    Bot.objects.update(**changes.get("bot", {}))
    Account.objects.update(**changes.get("account", {}))
    with pytest.raises(services.ActRefused, match=sentence):
        services.bot_start(bot=Bot.objects.get(), by="alice", idempotency_key="start")


def test_a_halted_bot_is_started_nowhere(bot: Bot) -> None:
    engine_takes(bot.account)
    kill()
    with pytest.raises(services.ActRefused, match=r"ema-btc is stopped by a kill \(firm\): clear that first"):
        services.bot_start(bot=bot, by="alice", idempotency_key="start")


def test_a_kill_leaves_what_was_to_run(bot: Bot) -> None:
    kill()
    bot.refresh_from_db()
    assert bot.should_run
