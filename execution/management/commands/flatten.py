"""`manage.py flatten`: close every position in a scope, and follow it until the venue confirms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from execution import services
from execution.management.acting import ActCommand, new_key
from execution.models import Act
from risk.core.units import Scope


class Command(ActCommand):
    help = "Flatten: close every position in scope at market. It blocks nothing afterwards; kill --flatten does."

    def make(self, scope: Scope, signed: dict[str, str], options: dict[str, Any]) -> Sequence[Act]:
        return [services.flatten(scope=scope, idempotency_key=new_key(), **signed)]
