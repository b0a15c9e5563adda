"""Jobs of the Celery worker: what grows is kept short, in chunks that never hold the database's write lock for long.

None of them can open risk: nothing here writes a Command or touches a venue.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

import redis
from celery import shared_task
from django.conf import settings
from django.core.management import call_command
from django.db.models import Q, QuerySet
from django.utils import timezone

from execution.models import Account, Bar, BotLog, Engine, JournalEntry, Snapshot
from execution.store import faults

log = logging.getLogger(__name__)

#: rows of one DELETE: a longer one would stall the journal
CHUNK = 500
SNAPSHOTS_KEPT = 3
ENGINE_LOST = "engine lost"


@shared_task(name="execution.watch")  # type: ignore[untyped-decorator]
def watch() -> int:
    """Raise an alarm for each account that should run and that no engine has; take it back when one does. Returns how many."""
    now, lost = timezone.now(), 0
    grace = timedelta(milliseconds=settings.TIMING.engine_loss_grace_ms)
    wanted = Account.objects.filter(is_enabled=True, environment=Account.Environment.PAPER, lease__isnull=False)
    for account in wanted.select_related("lease"):
        lease = account.lease
        if lease.expires_at is not None and lease.expires_at > now - grace:
            faults.alarm_return(account.pk, ENGINE_LOST, at=now)
        elif lease.expires_at is not None:
            lost += 1
            faults.alarm_write(
                account.pk,
                ENGINE_LOST,
                title="No engine runs this account",
                cause=f"The lease of {lease.engine or 'the last engine'} ran out at {lease.expires_at:%H:%M:%S} and nobody took it.",
                consequence="Working orders and stops stay at the venue; nothing new is decided, moved or canceled.",
                to_do="Start the engine: manage.py runworker execution.",
                at=now,
            )
    _watched(now)
    return lost


def _watched(at: datetime) -> None:
    """Say that the watchdog has looked; who asks whether it lives reads this. Without Redis no task runs at all."""
    if not settings.REDIS_URL:
        return
    try:
        with redis.Redis.from_url(settings.REDIS_URL, socket_timeout=0.5, socket_connect_timeout=0.5) as client:
            client.set(settings.WATCHED_KEY, at.timestamp())
    except redis.RedisError as error:
        log.warning("that the watchdog looked could not be told: %s", error)


@shared_task(name="execution.sessions_clear")  # type: ignore[untyped-decorator]
def sessions_clear() -> None:
    """Remove expired sign-in sessions."""
    call_command("clearsessions")


@shared_task(name="execution.retention")  # type: ignore[untyped-decorator]
def retention() -> dict[str, int]:
    """Remove what is older than its retention; returns how many rows of each kind."""
    now = timezone.now()
    return {
        "journal": sum(journal_prune(account) for account in Account.objects.all()),
        "bars": _delete(Bar.objects.filter(start_at__lt=now - timedelta(days=settings.RETENTION_DAYS["bars"]))),
        "bot log": _delete(BotLog.objects.filter(at__lt=now - timedelta(days=settings.RETENTION_DAYS["bot_log"]))),
        "engines": _delete(Engine.objects.filter(seen_at__lt=now - timedelta(days=1))),
    }


def journal_prune(account: Account) -> int:
    """Remove an account's old journal entries, never one that its newest snapshot does not cover. Returns how many."""
    newest = Snapshot.objects.filter(account=account).order_by("-id").first()
    if newest is None:
        return 0
    before = timezone.now() - timedelta(days=settings.RETENTION_DAYS["journal"])
    is_covered = Q(epoch=newest.epoch, seq__lte=newest.seq) | ~Q(epoch=newest.epoch)
    covered = JournalEntry.objects.filter(is_covered, account=account, at__lt=before)
    oldest_kept = Snapshot.objects.filter(account=account, epoch=newest.epoch).order_by("-seq")[:SNAPSHOTS_KEPT]
    first_seq = min(row.seq for row in oldest_kept)
    _delete(Snapshot.objects.filter(account=account, epoch=newest.epoch, seq__lt=first_seq, at__lt=before))
    return _delete(covered)


def _delete(rows: QuerySet[Any]) -> int:
    """Delete in chunks, each its own transaction."""
    total = 0
    while keys := list(rows.order_by("pk").values_list("pk", flat=True)[:CHUNK]):
        total += rows.model._base_manager.filter(pk__in=keys).delete()[0]
    return total
