"""`manage.py resume`: end the pauses of a scope, or clear what else halts it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from django.utils import timezone

from execution import services
from execution.management.acting import ActCommand, new_key
from execution.models import Act
from risk.core.units import Scope
from risk.core.verdict import HaltCause
from risk.models import Halt


class Command(ActCommand):
    help = "Resume what is paused at exactly this scope. A kill or another latch there is cleared with --reason and --phrase."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--phrase", default="", help='what clearing a latch asks you to type, such as "clear firm"')

        parser.add_argument(
            "--keep-baseline", action="store_true", help="a cleared daily loss or drawdown goes on counting from where it did"
        )

    def make(self, scope: Scope, signed: dict[str, str], options: dict[str, Any]) -> Sequence[Act]:
        """Latches first: clearing one leaves its bots paused, and a second call resumes them."""
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
