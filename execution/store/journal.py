"""The journal: the one place where a commit happens, and where a Desk is rebuilt from.

`append` checks the lease of every account in the batch inside the same transaction, so that an engine which lost an account
cannot write one more event of it: that account's part is left out, the others commit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import msgspec
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from execution.core.messages import Event
from execution.core.state import CORE_VERSION, SCHEMA, DeskState
from execution.models import JournalEntry, Snapshot
from execution.store.projections import Projection
from execution.store.tables import Table

EVENT_ENCODER: Final = msgspec.msgpack.Encoder()
EVENT_DECODER: Final[msgspec.msgpack.Decoder[Event]] = msgspec.msgpack.Decoder(Event)
_STATE_DECODER: Final[msgspec.msgpack.Decoder[DeskState]] = msgspec.msgpack.Decoder(DeskState)

_ENTRIES: Final = Table(JournalEntry, key=("account_id", "epoch", "seq"), columns=("at", "event", "digest", "core_version"))
_SNAPSHOTS: Final = Table(
    Snapshot, key=("account_id", "epoch", "seq"), columns=("at", "state", "state_hash", "schema", "core_version")
)


class JournalBroken(Exception):
    """The journal of an account has a hole or a part that cannot be read: its Desk cannot be rebuilt."""


class Entry(NamedTuple):
    """One event that changed a Desk, with the digest after it."""

    seq: int
    at: datetime
    event: Event
    digest: bytes
    core_version: str


class Image(NamedTuple):
    """A Desk's whole state after `seq`, encoded."""

    seq: int
    at: datetime
    state: bytes


class Part(NamedTuple):
    """One account's part of a commit, written by the owner of lease `token`."""

    account_id: int
    token: int
    epoch: str
    entries: Sequence[Entry]
    projection: Projection
    image: Image | None = None


class Loaded(NamedTuple):
    """What a Desk is rebuilt from: the newest valid snapshot's state, if any, and the entries after it."""

    epoch: str
    state: DeskState | None
    tail: list[Entry]


def state_hash(state: bytes) -> str:
    return blake2b(state, digest_size=32).hexdigest()


def append(parts: Sequence[Part]) -> set[int]:
    """Commit the parts whose lease still stands, all in one transaction. Returns the accounts that were lost.

    Raises what the database raises; nothing is written then.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        tokens = _tokens(cursor, sorted({part.account_id for part in parts}))
        lost = {part.account_id for part in parts if tokens.get(part.account_id) != part.token}
        # rows are locked in the order of accounts, as by every other writer: see market.write
        for part in sorted(parts, key=lambda part: part.account_id):
            if part.account_id not in lost:
                _append(cursor, part)
    return lost


def _tokens(cursor: CursorWrapper, account_ids: Sequence[int]) -> dict[int, int]:
    """The fencing token of each account, held until the commit. SQLite's IMMEDIATE transaction already excludes a claim."""
    lock = " FOR SHARE" if connection.vendor == "postgresql" else ""
    places = ", ".join(["%s"] * len(account_ids))
    cursor.execute(
        f"SELECT account_id, token FROM execution_lease WHERE account_id IN ({places}) ORDER BY account_id{lock}",  # noqa: S608
        list(account_ids),
    )
    return dict(cursor.fetchall())


def _append(cursor: CursorWrapper, part: Part) -> None:
    account_id, epoch = part.account_id, part.epoch
    _insert(cursor, account_id, epoch, part.entries)
    part.projection.write(cursor)
    if part.entries:
        # last, so that the number stands whatever the account's own publication said
        cursor.execute("UPDATE execution_accountstate SET seq = %s WHERE account_id = %s", [part.entries[-1].seq, account_id])
    if part.image is not None:
        _write_image(cursor, account_id, epoch, part.image)


def _insert(cursor: CursorWrapper, account_id: int, epoch: str, entries: Sequence[Entry]) -> None:
    """Plain inserts: a second entry under one number is a defect and must fail the commit."""
    _ENTRIES.insert(
        cursor,
        (
            (account_id, epoch, entry.seq, entry.at, EVENT_ENCODER.encode(entry.event), entry.digest, entry.core_version)
            for entry in entries
        ),
    )


def _write_image(cursor: CursorWrapper, account_id: int, epoch: str, image: Image) -> None:
    row = (account_id, epoch, image.seq, image.at, image.state, state_hash(image.state), SCHEMA, CORE_VERSION)
    _SNAPSHOTS.write(cursor, [row])


def begin(account_id: int, epoch: str, image: Image) -> None:
    """Begin a journal of this name with a state that is already there: what comes next is entry `image.seq` + 1 of it."""
    with connection.cursor() as cursor:
        _write_image(cursor, account_id, epoch, image)


def load(account_id: int) -> Loaded | None:
    """The newest valid snapshot and the entries after it; None when the account never ran.

    Raises JournalBroken where entries are missing or unreadable.
    """
    epoch = _epoch(account_id)
    if epoch is None:
        return None
    state = _newest_image(account_id, epoch)
    tail = list(entries(account_id, epoch, after=state.seq if state else 0))
    if state is None and not tail:
        raise JournalBroken(f"epoch {epoch} has no entry, and no snapshot that can be read")
    return Loaded(epoch, state, tail)


def _epoch(account_id: int) -> str | None:
    """The journal's name. A renewed one begins with a snapshot, which may be all there is of it."""
    image = Snapshot.objects.filter(account_id=account_id).order_by("-id").values_list("epoch", flat=True).first()
    return image or JournalEntry.objects.filter(account_id=account_id).order_by("-id").values_list("epoch", flat=True).first()


def _newest_image(account_id: int, epoch: str) -> DeskState | None:
    """The newest snapshot that is what was written, of our schema. A damaged one is passed over: an older one replays further."""
    rows = Snapshot.objects.filter(account_id=account_id, schema=SCHEMA, epoch=epoch)
    for row in rows.order_by("-seq").iterator(chunk_size=1):
        raw = bytes(row.state)
        if state_hash(raw) == row.state_hash:
            return _state_decoded(row.seq, raw)
    return None


def _state_decoded(seq: int, raw: bytes) -> DeskState:
    try:
        return state_decode(raw)
    except msgspec.DecodeError as e:
        raise JournalBroken(f"the snapshot of event {seq} cannot be read: {e}") from e


def state_decode(raw: bytes) -> DeskState:
    return _STATE_DECODER.decode(raw)


def entries(account_id: int, epoch: str, *, after: int = 0) -> Iterator[Entry]:
    """The entries after a sequence number, in order. Raises JournalBroken at a hole or an unreadable event."""
    rows = JournalEntry.objects.filter(account_id=account_id, epoch=epoch, seq__gt=after).order_by("seq")
    expected = after
    for seq, at, event, digest, core_version in rows.values_list("seq", "at", "event", "digest", "core_version").iterator(2000):
        expected += 1
        if seq != expected:
            raise JournalBroken(f"entry {expected} of epoch {epoch} is missing")
        yield Entry(seq, at, _decoded(seq, event), bytes(digest), core_version)


def _decoded(seq: int, event: Any) -> Event:
    try:
        return EVENT_DECODER.decode(bytes(event))
    except msgspec.DecodeError as e:
        raise JournalBroken(f"entry {seq} cannot be read: {e}") from e
