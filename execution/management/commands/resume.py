"""`manage.py resume`: end the pauses of a scope, or clear what else halts it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import Any, Final

from django.utils import timezone

from execution import services
from execution.core.controls import BotStatus
from execution.management.acting import ActCommand, new_key
from execution.models import Act
from execution.selectors import bot_status
from execution.services.halts import bots_in, halt_named, halts_over
from risk.core.units import Scope, ScopeKind
from risk.core.verdict import HaltCause, HaltMode
from risk.models import Halt

_FLAGS: Final = {
    ScopeKind.FIRM: "firm",
    ScopeKind.ACCOUNT: "account",
    ScopeKind.BOT: "bot",
    ScopeKind.INSTRUMENT: "symbol",
}
_MODES: Final = {HaltMode.HALTED: "halted", HaltMode.REDUCE_ONLY: "reduce-only"}


class Command(ActCommand):
    help = "Resume what is paused at exactly this scope. A kill or another latch there is cleared with --reason and --phrase."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--phrase", default="", help='what clearing a latch asks you to type, such as "clear firm"')

        parser.add_argument(
            "--keep-baseline", action="store_true", help="a cleared daily loss or drawdown goes on counting from where it did"
        )

    def make(self, scope: Scope, signed: dict[str, str], options: dict[str, Any]) -> Sequence[Act]:
        """Latches first: clearing one leaves its bots paused, and a second call resumes them; `remaining` says so."""
        standing = Halt.objects.filter(scope=scope.kind, scope_key=scope.key, cleared_at=None)
        latches = list(standing.exclude(cause=HaltCause.PAUSE))
        if not latches:
            return [services.resume(scope=scope, idempotency_key=new_key(), **signed)]
        return [
            services.halt_clear(
                halt=latch,
                phrase=options["phrase"],
                at=timezone.now(),
                may_clear_latches=True,
                keeps_baseline=options["keep_baseline"],
                idempotency_key=new_key(),
                **signed,
            )
            for latch in latches
        ]

    def remaining(self, scope: Scope) -> Iterator[str]:
        """What still keeps the bots in scope from trading, and what to do about it."""
        bots = list(bots_in(scope).filter(is_enabled=True, account__is_enabled=True).select_related("account", "state"))
        standing = {halt.pk: halt for bot in bots for halt in halts_over(bot)}
        for halt in sorted(standing.values(), key=lambda halt: halt.at):
            at = services.halt_scope(halt)
            where = " ".join(["--" + _FLAGS[at.kind], at.key]).strip()
            how = "" if halt.cause == HaltCause.PAUSE else f' --reason … --phrase "{services.clear_phrase(halt)}"'
            yield f"Still {_MODES[HaltMode(halt.mode)]} at {at} by a {halt_named(halt)}: manage.py resume {where}{how}"
        for bot in bots:
            if bot.should_run and bot_status(bot) is BotStatus.STOPPED:
                yield f"{bot.code} is stopped: start it on its page."
