"""Leases: proof, with a fencing token, that this engine owns an account. All times are set and compared by the database's clock."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from typing import Final, NamedTuple

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper
from django.db.models import Count
from django.db.models.functions import Now

from execution.engine.clock import monotonic
from execution.models import Engine, Lease

_NOW: Final = {"sqlite": "strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now')", "postgresql": "clock_timestamp()"}
_LATER: Final = {
    "sqlite": "strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now', %s || ' seconds')",
    "postgresql": "clock_timestamp() + make_interval(secs => %s)",
}
_SINCE_EXPIRY: Final = {
    "sqlite": "(julianday('now') - julianday(expires_at)) * 86400.0",
    "postgresql": "EXTRACT(EPOCH FROM clock_timestamp() - expires_at)",
}


class Claim(NamedTuple):
    """An account won: its token, and how long the old owner's last request may still be on its way (seconds)."""

    account_id: int
    token: int
    quiet_s: float


class Held:
    """A lease as its holder sees it, in monotonic time.

    `deadline` is counted from *before* the last successful renewal was asked for, the quiet from when the claim was `answered`.
    """

    def __init__(self, claim: Claim, *, asked: float, answered: float | None = None, lease_s: float) -> None:
        self.account_id = claim.account_id
        self.token = claim.token
        self._lease_s = lease_s
        self.deadline = asked + lease_s
        self._quiet_until = (asked if answered is None else answered) + claim.quiet_s

    def renewed(self, *, asked: float) -> None:
        self.deadline = max(self.deadline, asked + self._lease_s)

    @property
    def left_s(self) -> float:
        return self.deadline - monotonic()

    @property
    def quiet_s(self) -> float:
        """How long the old owner's last request may still be on its way."""
        return max(0.0, self._quiet_until - monotonic())


def claim(account_id: int, *, engine: str, lease_s: float, send_timeout_s: float) -> Claim | None:
    """Take the account if its lease is free, released, or held by a process of this machine that is gone. None if not.

    What still is this engine's own it may claim anew: its runner gave up in doubt, after standing still for too long.
    """
    Lease.objects.get_or_create(account_id=account_id)
    with transaction.atomic(), connection.cursor() as cursor:
        owner, token, since_expiry = _owner(cursor, account_id)
        runs = since_expiry is not None and since_expiry < 0
        if runs and owner != engine and not _is_gone(owner):
            return None
        cursor.execute(
            f"UPDATE execution_lease SET engine = %s, token = token + 1, expires_at = {_LATER[connection.vendor]} "  # noqa: S608
            "WHERE account_id = %s AND token = %s",
            [engine, _seconds(lease_s), account_id, token],
        )
        if cursor.rowcount != 1:
            return None
    quiet_s = 0.0 if since_expiry is None else max(0.0, send_timeout_s - max(0.0, since_expiry))
    return Claim(account_id, token + 1, quiet_s)


def renew(held: Iterable[Held], *, engine: str, lease_s: float) -> set[int]:
    """Extend the leases that are still ours; returns their accounts. A token that moved on is lost for good."""
    kept = set()
    with transaction.atomic(), connection.cursor() as cursor:
        for lease in sorted(held, key=lambda lease: lease.account_id):
            cursor.execute(
                f"UPDATE execution_lease SET expires_at = {_LATER[connection.vendor]} "  # noqa: S608
                "WHERE account_id = %s AND token = %s AND engine = %s",
                [_seconds(lease_s), lease.account_id, lease.token, engine],
            )
            if cursor.rowcount == 1:
                kept.add(lease.account_id)
    return kept


def release(account_id: int, *, token: int) -> None:
    """Give the account back: the next engine need not wait. Nothing happens if it is no longer ours."""
    Lease.objects.filter(account_id=account_id, token=token).update(engine="", expires_at=None)


def engines_by_venue() -> dict[str, int]:
    """How many live engines have accounts at each venue."""
    held = Lease.objects.filter(expires_at__gt=Now()).exclude(engine="")
    return dict(held.values_list("account__broker").annotate(engines=Count("engine", distinct=True)))


def _owner(cursor: CursorWrapper, account_id: int) -> tuple[str, int, float | None]:
    """Owner, token and seconds since the lease expired (negative while it runs; None when it was released)."""
    cursor.execute(
        f"SELECT engine, token, {_SINCE_EXPIRY[connection.vendor]} FROM execution_lease WHERE account_id = %s",  # noqa: S608
        [account_id],
    )
    engine, token, since = cursor.fetchone()
    return engine, token, None if since is None else float(since)


def _is_gone(engine: str) -> bool:
    """True when the engine ran on this machine and its process does not exist any more."""
    row = Engine.objects.filter(pk=engine, host=socket.gethostname()).first()
    if row is None or row.pid == os.getpid():
        return False
    try:
        os.kill(row.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _seconds(seconds: float) -> str | float:
    return f"{seconds:+.3f}" if connection.vendor == "sqlite" else seconds
