"""`manage.py halt`: latch a halt at a scope, touching no order."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from execution import services
from execution.management.acting import ActCommand, new_key
from execution.models import Act
from risk.core.units import Scope
from risk.core.verdict import HaltMode


class Command(ActCommand):
    help = "Halt: nothing from bots in scope until a person clears it; no order is touched. --reduce-only still lets them close."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--reduce-only", action="store_true", help="refuse only what adds risk")

    def make(self, scope: Scope, signed: dict[str, str], options: dict[str, Any]) -> Sequence[Act]:
        mode = HaltMode.REDUCE_ONLY if options["reduce_only"] else HaltMode.HALTED
        return [services.halt(scope=scope, mode=mode, idempotency_key=new_key(), **signed)]
