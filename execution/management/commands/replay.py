"""`manage.py replay --account X`: the journal through a fresh Desk, digests compared event by event."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management import BaseCommand, CommandError, CommandParser

from execution.core.desk import Desk
from execution.core.state import CORE_VERSION, DeskState
from execution.engine.recovery import ReplayDiffers, replay
from execution.models import Account, JournalEntry, Snapshot
from execution.store import journal
from execution.store.journal import JournalBroken
from risk.core.units import use_decimal_context


class Command(BaseCommand):
    help = "Replay an account's journal from its beginning and compare every digest; exit 1 when one differs."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--account", required=True, help="code of the account")

    def handle(self, *args: Any, account: str, **options: Any) -> None:
        row = Account.objects.filter(code=account).first()
        if row is None:
            raise CommandError(f"There is no account “{account}”.")
        use_decimal_context()
        try:
            self.stdout.write(replayed(row))
        except (ReplayDiffers, JournalBroken) as e:
            self.stderr.write(f"Replay of {account}: {e}.")
            sys.exit(1)


def replayed(account: Account) -> str:
    """Replay what the journal holds and say so in one sentence. Raises ReplayDiffers or JournalBroken."""
    newest = JournalEntry.objects.filter(account=account).order_by("-id").first()
    if newest is None:
        return f"Replay of {account.code}: the journal is empty."
    desk, after = _beginning(account, newest.epoch)
    count = 0
    for entry in journal.entries(account.pk, newest.epoch, after=after):
        replay(desk, entry)
        count += 1
    return (
        f"Replay of {account.code}: {count} events of epoch {newest.epoch}, every digest equal, "
        f"ends at {desk.seq} with {desk.digest().hex()[:16]} (core {CORE_VERSION})."
    )


def _beginning(account: Account, epoch: str) -> tuple[Desk, int]:
    """A new Desk, or the oldest snapshot where the journal before it was archived."""
    first = JournalEntry.objects.filter(account=account, epoch=epoch).order_by("seq").values_list("seq", flat=True).first()
    if first == 1:
        return Desk.new(account.code), 0
    image = Snapshot.objects.filter(account=account, epoch=epoch, seq__gte=(first or 0) - 1).order_by("seq").first()
    if image is None:
        raise JournalBroken("its beginning is archived and no snapshot is left to start from")
    state: DeskState = journal.state_decode(bytes(image.state))
    return Desk(state), image.seq
