"""What the engine asks the database four times a second: three indexed reads for all its accounts together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from django.db.models import OuterRef, Q, Subquery
from django.utils import timezone

from execution.core.messages import CommandSpec, CommandStatus, DeskSettings
from execution.models import Account, BotInstrument, Command
from execution.store.settings import settings_version_value
from risk.core.book import Halt
from risk.core.units import Scope, ScopeKind
from risk.core.verdict import HaltCause, HaltMode
from risk.models import Halt as HaltRow
from risk.models import SettingsVersion


class Poll(msgspec.Struct):
    """One account's news: commands nobody applied yet (in order), the halts in force for it, settings if newer than known."""

    commands: list[CommandSpec]
    halts: list[Halt]
    settings: DeskSettings | None = None


def poll(accounts: dict[int, int]) -> dict[int, Poll]:
    """News of each account. `accounts` maps the account's id to the settings version it runs with.

    Commands are read before halts: a halt without its command is applied as a halt, a command finds its halt already there.
    """
    commands = _commands(accounts)
    halts = list(HaltRow.objects.filter(cleared_at=None).order_by("at", "halt_id"))
    scopes = _scopes(accounts) if halts else {}
    settings = _settings(accounts)
    return {
        pk: Poll(
            commands.get(pk, []),
            [halt_from_row(row) for row in halts if _concerns(row, scopes.get(pk, frozenset()))],
            settings.get(pk),
        )
        for pk in accounts
    }


def halt_from_row(row: HaltRow) -> Halt:
    return Halt(
        halt_id=row.halt_id,
        scope=Scope(ScopeKind(row.scope), row.scope_key),
        mode=HaltMode(row.mode),
        cause=HaltCause(row.cause),
        reason=row.reason,
        by=row.by,
        at=row.at,
    )


def command_from_row(pk: int, body: Any) -> CommandSpec:
    """The spec under the row's own id: the answer comes back to this row."""
    return msgspec.structs.replace(msgspec.convert(body, CommandSpec), command_id=str(pk))


def _commands(accounts: Iterable[int]) -> dict[int, list[CommandSpec]]:
    rows = Command.objects.filter(account_id__in=list(accounts), status=CommandStatus.PENDING).order_by("id")
    found: dict[int, list[CommandSpec]] = {}
    for pk, account_id, body in rows.values_list("id", "account_id", "body")[:500]:
        try:
            found.setdefault(account_id, []).append(command_from_row(pk, body))
        except msgspec.ValidationError as e:
            _refuse(pk, str(e))
    return found


def _refuse(pk: int, why: str) -> None:
    """Answer a command that cannot be read: one bad row must not stop the others."""
    text = f"The engine cannot read this command: {why}"
    Command.objects.filter(pk=pk).update(status=CommandStatus.REFUSED, text=text[:500], answered_at=timezone.now())


def _scopes(accounts: Iterable[int]) -> dict[int, frozenset[tuple[str, str]]]:
    """Every (scope, key) that concerns an account: the firm, itself, its bots, their instruments."""
    ids = list(accounts)
    scopes: dict[int, set[tuple[str, str]]] = {
        pk: {(ScopeKind.FIRM.value, ""), (ScopeKind.ACCOUNT.value, code)}
        for pk, code in Account.objects.filter(pk__in=ids).values_list("pk", "code")
    }
    rows = BotInstrument.objects.filter(account_id__in=ids).values_list("account_id", "bot__code", "instrument__symbol")
    for pk, bot, symbol in rows:
        scopes[pk] |= {(ScopeKind.BOT.value, bot), (ScopeKind.INSTRUMENT.value, symbol)}
    return {pk: frozenset(found) for pk, found in scopes.items()}


def _concerns(row: HaltRow, scopes: frozenset[tuple[str, str]]) -> bool:
    return (row.scope, row.scope_key) in scopes or row.scope == ScopeKind.FIRM


def _settings(accounts: dict[int, int]) -> dict[int, DeskSettings]:
    """Settings newer than the version each account runs with."""
    codes = dict(Account.objects.filter(pk__in=list(accounts)).values_list("code", "pk"))
    newest = SettingsVersion.objects.filter(account=OuterRef("account")).order_by("-version").values("version")[:1]
    rows: Sequence[SettingsVersion] = list(
        SettingsVersion.objects.filter(Q(account__in=list(codes)), version=Subquery(newest)).defer("body")
    )
    return {codes[row.account]: settings_version_value(row) for row in rows if row.version > accounts[codes[row.account]]}
