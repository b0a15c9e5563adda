"""The audit trail: who did what, before and after, each entry sealed with the hash of the one before it.

An entry is the last statement of the transaction of what it records, so that neither exists without the other, and so that the lock
it takes on PostgreSQL is held for one insert only. Changing or removing an entry breaks the chain at the next one; `verify()` says
where. (Entries cut off at the end are seen only against a copy of the newest hash kept elsewhere.)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC
from typing import Any, Final

from django.db import connection, transaction
from django.utils import timezone

from risk.models import AuditEntry

#: the previous_hash of the first entry
GENESIS: Final = "0" * 64
_LOCK: Final = 7_243_001
_TEXT_MAX: Final = 300


def record(
    *,
    by: str,
    action: str,
    model: str,
    key: str,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
    reason: str = "",
    origin: str = "",
    result: str = "",
) -> AuditEntry:
    """Append an entry inside the caller's transaction; raises TransactionManagementError outside of one."""
    if not connection.in_atomic_block:
        raise transaction.TransactionManagementError("An audit entry belongs to the transaction of what it records.")
    _serialise()
    newest = AuditEntry.objects.order_by("-seq").first()
    entry = AuditEntry(
        seq=newest.seq + 1 if newest else 1,
        at=timezone.now(),
        by=by,
        origin=origin[:80],
        action=action,
        model=model,
        key=key,
        before=None if before is None else dict(before),
        after=None if after is None else dict(after),
        reason=reason[:_TEXT_MAX],
        result=result[:_TEXT_MAX],
        previous_hash=newest.entry_hash if newest else GENESIS,
    )
    entry.entry_hash = _seal(entry)
    entry.save(force_insert=True)
    return entry


def verify() -> int | None:
    """The first seq at which the chain is broken, or None when it is whole."""
    expected, previous = 1, GENESIS
    for entry in AuditEntry.objects.order_by("seq").iterator(chunk_size=500):
        if entry.seq != expected:
            return expected
        if entry.previous_hash != previous or entry.entry_hash != _seal(entry):
            return entry.seq
        expected, previous = expected + 1, entry.entry_hash
    return None


def _serialise() -> None:
    """One writer at a time: SQLite's IMMEDIATE transaction already is one; PostgreSQL waits here until the other commits."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])


def _seal(entry: AuditEntry) -> str:
    content = [
        entry.seq,
        entry.at.astimezone(UTC).isoformat(timespec="microseconds"),
        entry.by,
        entry.origin,
        entry.action,
        entry.model,
        entry.key,
        entry.before,
        entry.after,
        entry.reason,
        entry.result,
        entry.previous_hash,
    ]
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
