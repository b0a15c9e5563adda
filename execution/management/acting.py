"""What the shell commands share: a scope from the arguments, and an act followed until each account's engine has answered.

They write the same rows as the console, so they work with the web, the channel layer and every engine down: what they write is in
force the moment an engine reads it. They exit with 0 only when every account's answer is DONE: for a kill, verified at the venue.
"""

from __future__ import annotations

import argparse
import getpass
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import uuid4

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError
from django.utils import timezone

from execution.core.messages import CommandKind, CommandStatus
from execution.models import Account, Act, Bot, Command
from execution.services import ActRefused, engine_runs
from risk.core.units import Scope, ScopeKind
from risk.models import Halt, Instrument

#: seconds between two looks at the answers
_LOOK_S: Final = 0.1
#: without an engine, the watchdog may still take an account: it is given this long to begin
_NOBODY_S: Final = 5.0
#: what stands after the act; everything else is done once and over
_LATCHING: Final = {CommandKind.KILL, CommandKind.HALT, CommandKind.PAUSE}
#: what is done when the venue says so
_VERIFIED: Final = {CommandKind.KILL, CommandKind.FLATTEN}
_OVER: Final = {CommandStatus.DONE, CommandStatus.REFUSED, CommandStatus.EXPIRED}
#: exit codes: answered and not done; written, and nobody answered in time
NOT_DONE, UNANSWERED = 1, 2


class ActCommand(BaseCommand):
    """A command that makes one act and follows it."""

    #: what a person does instead when the database is gone
    without_database = ""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        scope_arguments(parser)
        parser.add_argument("--reason", default="", help="kept in the audit")
        parser.add_argument("--by", default="", metavar="NAME", help="who does it; default: your name on this machine")
        parser.add_argument("--wait", type=float, default=30.0, metavar="SECONDS", help="how long to follow it (default 30)")

    def make(self, scope: Scope, signed: dict[str, str], options: dict[str, Any]) -> Sequence[Act]:
        """Make the acts. Raises ActRefused."""
        raise NotImplementedError

    def remaining(self, scope: Scope) -> Iterable[str]:
        """What is still to do once the acts are done, a sentence each."""
        return ()

    def handle(self, *args: Any, **options: Any) -> None:
        signed = {"by": options["by"] or _me(), "reason": options["reason"], "origin": "shell"}
        try:
            known_require(scope_of(options))
            for act in self.make(scope_of(options), signed, options):
                stays = " In force now, and after every restart." if act.kind in _LATCHING else ""
                self.stdout.write(f"{_written(act)}.{stays}")
                follow(act, wait_s=options["wait"], say=self.stdout.write)
            for line in self.remaining(scope_of(options)):
                self.stdout.write(line)
        except ActRefused as e:
            raise CommandError(str(e)) from e
        except DatabaseError as e:
            raise CommandError(f"{no_database(e)} {self.without_database}".rstrip()) from e


def _written(act: Act) -> str:
    """What was written; of a second kill or halt, that the first one stands."""
    halt = Halt.objects.filter(halt_id=act.halt_id).first() if act.kind in _LATCHING else None
    if halt is None or halt.at == act.at:
        return f"Written: {act}"
    return f"It stood already, since {halt.at:%Y-%m-%d %H:%M:%S} UTC by {halt.by}, and is carried out once more: {act}"


def scope_arguments(parser: argparse.ArgumentParser) -> None:
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--firm", action="store_true", help="every account")
    where.add_argument("--account", metavar="CODE")
    where.add_argument("--bot", metavar="CODE")
    where.add_argument("--symbol", metavar="SYMBOL", help="one instrument, on every account")


def scope_of(options: dict[str, Any]) -> Scope:
    kinds = {"account": ScopeKind.ACCOUNT, "bot": ScopeKind.BOT, "symbol": ScopeKind.INSTRUMENT}
    return next((Scope(kind, options[name]) for name, kind in kinds.items() if options[name]), Scope(ScopeKind.FIRM))


def known_require(scope: Scope) -> None:
    """Raises CommandError for a scope that does not exist, with the names that do."""
    known: Any = {
        ScopeKind.ACCOUNT: Account.objects.values_list("code", flat=True),
        ScopeKind.BOT: Bot.objects.values_list("code", flat=True),
        ScopeKind.INSTRUMENT: Instrument.objects.values_list("symbol", flat=True),
    }.get(scope.kind, ())
    names = sorted(known)
    if scope.kind is not ScopeKind.FIRM and scope.key not in names:
        raise CommandError(f"There is no {scope.kind.lower()} “{scope.key}”. There is {', '.join(names) or 'none yet'}.")


def no_database(error: DatabaseError) -> str:
    told = str(error).strip()
    return f"The database cannot be used: {told.splitlines()[0] if told else type(error).__name__}."


def new_key() -> str:
    return f"shell-{uuid4().hex}"


def follow(act: Act, *, wait_s: float, say: Callable[[str], Any]) -> None:
    """Print each step as it moves, until every account has answered. Raises CommandError, with its exit code, unless all are DONE."""
    began, told = time.monotonic(), set[str]()
    while True:
        commands = _commands(act)
        for line in (line for command in commands for line in _lines(command) if line not in told):
            told.add(line)
            say(line)
        if not commands:
            return _conclude_without_engine(act, say)
        if all(command.status in _OVER for command in commands):
            return _conclude(act, commands, say)
        _give_up_in_time(commands, time.monotonic() - began, wait_s)
        time.sleep(_LOOK_S)


def _commands(act: Act) -> list[Command]:
    """Of a disabled account nothing is expected: it meets the act when it is enabled."""
    return list(act.commands.filter(account__is_enabled=True).select_related("account__lease").order_by("pk"))


def _lines(command: Command) -> list[str]:
    name, sentence = command.account.code, f"  {command.account.code}: {command.status.lower()}"
    steps = [
        f"  {name}: {step['text'] or step['name']} · {step['state'].lower()}"
        + (f" · {step['done']} of {step['total']}" if step.get("total") else "")
        for step in command.steps
        if step["state"] != "WAITING"
    ]
    return [*steps, *([f"{sentence} · {command.text}".rstrip(" ·")] if command.status != CommandStatus.PENDING else [])]


def _conclude(act: Act, commands: list[Command], say: Callable[[str], Any]) -> None:
    failed = [command for command in commands if command.status != CommandStatus.DONE]
    if failed:
        told = "; ".join(f"{command.account.code}: {command.text or command.status.lower()}" for command in failed)
        raise CommandError(f"Not done: {told}", returncode=NOT_DONE)
    took_s = (timezone.now() - act.at).total_seconds()
    accounts = len({command.account_id for command in commands})
    verb = "Verified" if act.kind in _VERIFIED else "Done"
    say(f"{verb} on {accounts} account{'s' if accounts != 1 else ''} in {took_s:.2f} s.")


def _conclude_without_engine(act: Act, say: Callable[[str], Any]) -> None:
    """No enabled account was told. Raises CommandError for what is only done where an engine does it."""
    codes = ", ".join(sorted(set(act.commands.values_list("account__code", flat=True))))
    where = f"Disabled, so that no engine runs it: {codes}." if codes else "No enabled account is in scope."
    if act.kind not in _LATCHING and act.kind != CommandKind.CLEAR:
        raise CommandError(f"Not done. {where}", returncode=NOT_DONE)
    say(f"{where} It counts there from the moment it is enabled." if codes else where)


def _give_up_in_time(commands: list[Command], waited_s: float, wait_s: float) -> None:
    waiting = [command.account for command in commands if command.status == CommandStatus.PENDING]
    idle = dict.fromkeys(account.code for account in waiting if not engine_runs(account, timezone.now()))
    if idle and waited_s >= min(wait_s, _NOBODY_S):
        raise CommandError(f"No engine runs {', '.join(idle)}: written, and {_when(commands)}.", returncode=UNANSWERED)
    if waited_s >= wait_s:
        open_ = ", ".join(dict.fromkeys(command.account.code for command in commands if command.status not in _OVER))
        raise CommandError(f"Not verified within {wait_s:g} s on {open_}. It goes on: see manage.py status.", returncode=UNANSWERED)


def _when(commands: list[Command]) -> str:
    """When a command that waits is carried out: some are worth nothing after a while."""
    until = [command.body["valid_until"] for command in commands if command.body.get("valid_until")]
    if not until:
        return "carried out the moment an engine starts"
    at = datetime.fromisoformat(min(until))
    return f"carried out if an engine starts before {at:%H:%M:%S} UTC, else not at all"


def _me() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "shell"
