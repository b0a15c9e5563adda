"""`manage.py restored`: a database that came out of a backup is proven, and made safe to trade on.

A backup is older than the venue: order ids that were drawn after it are known there and not here. So each journal goes on under a new
epoch, which is part of every id, and tokens are raised past every engine that may still run on what was lost.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, transaction
from django.utils import timezone

from execution.engine.recovery import ReplayDiffers, renew
from execution.management.acting import no_database
from execution.management.commands.replay import replayed
from execution.models import Account
from execution.services import engine_runs
from execution.store.journal import JournalBroken
from risk import audit
from risk.core.units import use_decimal_context


class Command(BaseCommand):
    help = (
        "After a restore: replay every journal, verify the audit, then go on under new order ids. Exit 1 when something is broken."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--only-verify", action="store_true", help="prove the backup and change nothing")

    def handle(self, *args: Any, only_verify: bool, **options: Any) -> None:
        use_decimal_context()
        try:
            if not only_verify:
                _engines_refuse()
            broken = list(self._verify())
            if not broken and not only_verify:
                self._renew()
        except DatabaseError as e:
            raise CommandError(no_database(e)) from e
        for line in broken:
            self.stderr.write(line)
        if broken:
            sys.exit(1)

    def _verify(self) -> Iterator[str]:
        """Say what is whole; yield what is not."""
        for account in Account.objects.all():
            try:
                self.stdout.write(replayed(account))
            except (ReplayDiffers, JournalBroken) as e:
                yield f"Replay of {account.code}: {e}."
        if (seq := audit.verify()) is not None:
            yield f"The audit is broken at entry {seq}: it, or the one before it, is not what was written."
        else:
            self.stdout.write("The audit is whole.")

    def _renew(self) -> None:
        with transaction.atomic():
            for account in Account.objects.all():
                renewed = renew(account, at=timezone.now())
                if renewed is not None:
                    self.stdout.write(f"{account.code} goes on from event {renewed.seq} under epoch {renewed.new}.")
                    audit.record(
                        by="shell",
                        action="restored",
                        model="execution.Account",
                        key=account.code,
                        before={"epoch": renewed.old},
                        after={"epoch": renewed.new, "seq": renewed.seq},
                        reason="the database came out of a backup",
                        origin="shell",
                    )


def _engines_refuse() -> None:
    held = [account.code for account in Account.objects.select_related("lease") if engine_runs(account, timezone.now())]
    if held:
        raise CommandError(f"An engine has {', '.join(held)}: stop every engine first, or wait 10 s for a lease that was restored.")
