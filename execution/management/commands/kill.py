"""`manage.py kill`: block a scope, cancel its entries, and follow it until the venue confirms."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from django.conf import settings

from execution import services
from execution.core.messages import KillChoice
from execution.management.acting import ActCommand, new_key
from execution.models import Act
from risk.core.units import Scope


class Command(ActCommand):
    help = "Kill: block everything in scope and cancel its entries; stops stay. Exit code 0 only when verified at the venue."

    without_database = f"To kill without it: touch {settings.KILL_FILE}"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        choice = parser.add_mutually_exclusive_group()
        choice.add_argument("--flatten", action="store_true", help="also close every position in scope")
        choice.add_argument("--cancel-all", action="store_true", help="also cancel stops and targets: positions stay UNPROTECTED")

    def make(self, scope: Scope, signed: dict[str, str], options: dict[str, Any]) -> Sequence[Act]:
        choice = KillChoice.CANCEL
        if options["flatten"]:
            choice = KillChoice.CANCEL_FLATTEN
        elif options["cancel_all"]:
            choice = KillChoice.CANCEL_ALL
        return [services.kill(scope=scope, choice=choice, idempotency_key=new_key(), **signed)]
