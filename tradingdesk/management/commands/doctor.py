"""`manage.py doctor`: what is wrong with this setup, in words."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any

from django.core.management.base import BaseCommand

from tradingdesk.management.doctor import Finding, machine, running, servers


class Command(BaseCommand):
    help = "Say what is wrong with this setup: machine, database, Redis, engines, accounts. Exit code 1 when something is."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="the same for machines")

    def handle(self, *args: Any, **options: Any) -> None:
        findings = sorted(examined(), key=lambda finding: not finding.is_wrong)
        wrong = sum(finding.is_wrong for finding in findings)
        if options["json"]:
            self.stdout.write(json.dumps({"is_well": not wrong, "findings": [f._asdict() for f in findings]}, indent=1))
        else:
            self.stdout.write("\n".join([*map(_told, findings), _summary(wrong, len(findings) - wrong)]))
        if wrong:
            sys.exit(1)


def examined() -> Iterator[Finding]:
    """Everything that is looked at; without a usable database only what does not need one."""
    yield from machine.look()
    missing = servers.database_missing()
    if missing is not None:
        yield missing
    else:
        yield from servers.look_database()
    yield from servers.look_layer()
    if missing is None:
        yield from running.look()


def _told(finding: Finding) -> str:
    head = "WRONG" if finding.is_wrong else "note "
    return f"{head}  {finding.what}\n       {finding.why}\n       → {finding.to_do}\n"


def _summary(wrong: int, noted: int) -> str:
    notes = f", {noted} to know" if noted else ""
    return f"{wrong} wrong{notes}." if wrong else f"Nothing is wrong{notes}."
