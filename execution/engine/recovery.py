"""Start-up and recovery, which are one path: newest valid snapshot, the tail replayed with all effects discarded, digests compared."""

from __future__ import annotations

import secrets
import time
from datetime import datetime
from typing import Final, NamedTuple

import msgspec
from django.db import transaction
from django.db.models import F

from execution.core.desk import Desk
from execution.core.messages import DeskSettings
from execution.core.state import CORE_VERSION
from execution.models import Account, Lease
from execution.store import journal
from execution.store.journal import Entry, Image, Loaded
from execution.store.projections import SignalFold, signals_last
from execution.store.settings import settings_version_ensure, settings_version_value

_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
EPOCH_LENGTH: Final = 4
#: more than claims can have been lost with what a backup lacks
TOKENS_LEFT_BEHIND: Final = 1_000_000


class ReplayDiffers(Exception):
    """Replaying the journal gave another state than the one that was recorded."""


class Renewed(NamedTuple):
    """A journal that goes on under another name, from this sequence number."""

    old: str
    new: str
    seq: int


class Recovered(NamedTuple):
    """A Desk as its journal left it, with what a runner needs to go on."""

    account_code: str
    desk: Desk
    epoch: str
    settings: DeskSettings
    fold: SignalFold
    #: bots that a person wants running
    wanted: tuple[str, ...]
    events: int
    seconds: float


def recover(account_id: int) -> Recovered:
    """Rebuild an account's Desk. Raises JournalBroken or ReplayDiffers where that is impossible."""
    started = time.perf_counter()
    account = Account.objects.get(pk=account_id)
    settings = settings_version_value(settings_version_ensure(account, by="engine", reason="start"))
    loaded = journal.load(account_id) or Loaded(epoch_draw(), None, [])
    desk = rebuild(account.code, loaded)
    fold = SignalFold(signals_last(account_id))
    wanted = tuple(account.bots.filter(is_enabled=True, should_run=True).values_list("code", flat=True))
    return Recovered(account.code, desk, loaded.epoch, settings, fold, wanted, len(loaded.tail), time.perf_counter() - started)


def rebuild(account: str, loaded: Loaded) -> Desk:
    """The Desk that the snapshot and the tail come to. Raises ReplayDiffers."""
    desk = Desk(loaded.state) if loaded.state else Desk.new(account)
    for entry in loaded.tail:
        replay(desk, entry)
    return desk


def replay(desk: Desk, entry: Entry) -> None:
    """Handle one journaled event and compare the digest, where the same core wrote it. The effects go nowhere."""
    try:
        desk.handle(entry.event)
    except Exception as e:  # a defect of the core, whatever it is: this Desk is none
        raise ReplayDiffers(f"event {entry.seq} ({type(entry.event).__name__}) cannot be handled again: {e!r}") from e
    if desk.seq != entry.seq:
        raise ReplayDiffers(f"after event {entry.seq} ({type(entry.event).__name__}) the Desk stands at {desk.seq}")
    if entry.core_version == CORE_VERSION and desk.digest() != entry.digest:
        raise ReplayDiffers(f"the digest differs at event {entry.seq} ({type(entry.event).__name__})")


def renew(account: Account, *, at: datetime) -> Renewed | None:
    """Go on under a new epoch from where the journal ends: after a restore, the ids that were lost must not be drawn again.

    The lease's token leaves every engine behind that still believes it has the account. None where the account never ran; raises
    JournalBroken or ReplayDiffers.
    """
    loaded = journal.load(account.pk)
    if loaded is None:
        return None
    desk = rebuild(account.code, loaded)
    epoch = epoch_draw()
    with transaction.atomic():
        journal.begin(account.pk, epoch, Image(desk.seq, at, msgspec.msgpack.encode(desk.state)))
        Lease.objects.filter(account=account).update(engine="", expires_at=None, token=F("token") + TOKENS_LEFT_BEHIND)
    return Renewed(loaded.epoch, epoch, desk.seq)


def epoch_draw() -> str:
    """A new journal's name: a part of every order id, so that a restored journal cannot repeat one."""
    return "".join(secrets.choice(_DIGITS) for _ in range(EPOCH_LENGTH))
