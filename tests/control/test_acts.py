"""Acts: one Act, one Command per account, the Halt in force with no engine alive."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from execution import services
from execution.core.messages import CommandKind, CommandSpec, KillChoice, StopMode
from execution.models import Account, Act, Bot, Command
from risk.core.units import Scope, ScopeKind
from risk.core.verdict import HaltMode
from risk.models import AuditEntry, Halt, Instrument
from tests.control.conftest import account_row, bot_row, engine_takes

pytestmark = pytest.mark.db

FIRM = Scope(ScopeKind.FIRM)


def kill(scope: Scope = FIRM, choice: KillChoice = KillChoice.CANCEL, key: str = "k1", **more: Any) -> Act:
    return services.kill(scope=scope, choice=choice, by="alice", idempotency_key=key, **more)


def specs(act: Act) -> list[CommandSpec]:
    return [msgspec.convert(body, CommandSpec) for body in act.commands.order_by("pk").values_list("body", flat=True)]


def test_it_kills_the_firm_in_one_transaction(bot: Bot, eth: Instrument) -> None:
    other = account_row("paper-two")
    bot_row("ema-eth", other, eth)
    act = kill(reason="odd fills", seen="8 entries")
    halt = Halt.objects.get()
    assert (halt.scope, halt.scope_key, halt.mode, halt.cause, halt.by) == ("FIRM", "", "HALTED", "KILL", "alice")
    assert [spec.halt_id for spec in specs(act)] == [halt.halt_id] * 2
    assert {spec.kind for spec in specs(act)} == {CommandKind.KILL}
    assert [spec.command_id for spec in specs(act)] == [str(pk) for pk in act.commands.order_by("pk").values_list("pk", flat=True)]
    assert act.seen == "8 entries"
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.key, entry.reason) == ("kill", str(act.pk), "odd fills")
    assert entry.after is not None
    assert entry.after["accounts"] == ["paper-crypto", "paper-two"]


def test_the_audit_names_an_account_once_however_many_commands_it_gets(bot: Bot) -> None:
    services.kill(scope=FIRM, choice=KillChoice.CANCEL, by="alice", idempotency_key="k")
    halt = Halt.objects.get()
    services.halt_clear(
        halt=halt,
        phrase="clear firm",
        at=halt.at + timedelta(minutes=5),
        may_clear_latches=True,
        by="bob",
        reason="looked",
        idempotency_key="c",
    )
    assert Act.objects.get(idempotency_key="c").commands.count() == 2
    assert AuditEntry.objects.filter(action="clear", after__accounts=["paper-crypto"]).exists()


def test_it_makes_an_act_once_per_key(bot: Bot) -> None:
    assert kill(key="same") == kill(key="same")
    assert (Act.objects.count(), Command.objects.count(), Halt.objects.count()) == (1, 1, 1)


def test_it_refuses_a_key_that_made_another_act(bot: Bot) -> None:
    kill(key="same")
    with pytest.raises(services.ActRefused, match="already made another act"):
        services.pause(scope=FIRM, by="alice", idempotency_key="same")


def test_a_second_kill_joins_the_first(bot: Bot) -> None:
    first, second = kill(key="a"), kill(key="b", choice=KillChoice.CANCEL_FLATTEN)
    assert first.halt_id == second.halt_id
    assert Halt.objects.count() == 1
    assert specs(second)[0].choice is KillChoice.CANCEL_FLATTEN


@pytest.mark.parametrize(
    ("scope", "accounts"),
    [
        (FIRM, ["paper-crypto", "paper-two"]),
        (Scope(ScopeKind.ACCOUNT, "paper-two"), ["paper-two"]),
        (Scope(ScopeKind.ACCOUNT, "asleep"), ["asleep"]),
        (Scope(ScopeKind.BOT, "ema-btc"), ["paper-crypto"]),
        (Scope(ScopeKind.INSTRUMENT, "BTCUSDT"), ["paper-crypto"]),
        (Scope(ScopeKind.INSTRUMENT, "ETHUSDT"), ["paper-two"]),
    ],
)
def test_it_reaches_the_accounts_in_scope(scope: Scope, accounts: list[str], bot: Bot, eth: Instrument) -> None:
    bot_row("ema-eth", account_row("paper-two"), eth)
    Account.objects.filter(pk=account_row("asleep").pk).update(is_enabled=False)
    act = kill(scope)
    assert list(act.commands.order_by("pk").values_list("account__code", flat=True)) == accounts


def start(bot: Bot) -> Act:
    return services.bot_start(bot=bot, by="alice", idempotency_key="k")


def resume(bot: Bot) -> Act:
    return services.bot_resume(bot=bot, by="alice", idempotency_key="k")


def stop(bot: Bot) -> Act:
    return services.bot_stop(bot=bot, mode=StopMode.WHEN_FLAT, by="alice", idempotency_key="k")


def flatten(bot: Bot) -> Act:
    return services.flatten(scope=FIRM, by="alice", idempotency_key="k")


def pause(bot: Bot) -> Act:
    return services.bot_pause(bot=bot, by="alice", idempotency_key="k")


def halt(bot: Bot) -> Act:
    return services.halt(scope=FIRM, mode=HaltMode.REDUCE_ONLY, by="alice", idempotency_key="k")


@pytest.mark.parametrize(
    ("act", "seconds"),
    [(start, 10), (resume, 10), (flatten, 60), (stop, None), (pause, None), (halt, None), (lambda bot: kill(), None)],
)
def test_it_gives_an_act_its_time(act: Callable[[Bot], Act], seconds: int | None, bot: Bot) -> None:
    engine_takes(bot.account)
    if act is resume:
        services.bot_pause(bot=bot, by="alice", idempotency_key="before")
    (spec,) = specs(act(bot))
    valid_for = spec.valid_until and (spec.valid_until - spec.asked_at).total_seconds()
    assert valid_for == seconds
