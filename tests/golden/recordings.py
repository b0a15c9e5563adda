"""A recorded session: the journal of its account, and what a Desk comes to that reads it."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Final

import msgspec

from execution.core.desk import Desk
from execution.core.messages import Event
from execution.core.state import CORE_VERSION

FOLDER: Final = Path(__file__).parent
_EVENT: Final = msgspec.json.Decoder(Event)


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a journal comes to. Money is the account's; positions are those that are open."""

    digest: str
    equity: Decimal
    realised: Decimal
    fees: Decimal
    positions: dict[str, Decimal]


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The first line of a recording."""

    about: str
    account: str
    core_version: str
    outcome: Outcome


class Recording(msgspec.Struct, frozen=True):
    """A file of JSON lines: the head, then each event that changed the Desk."""

    head: Head
    events: list[Event]


def outcome_of(account_code: str, events: Iterable[Event]) -> Outcome:
    """Handle the events again, from the first."""
    desk = Desk.new(account_code)
    for event in events:
        desk.handle(event)
    account = desk.state.account
    return Outcome(
        digest=desk.digest().hex(),
        equity=account.equity,
        realised=account.realised,
        fees=account.fees,
        positions={symbol: position.qty for symbol, position in desk.state.positions.items() if position.qty},
    )


def read(path: Path) -> Recording:
    head, *events = path.read_bytes().splitlines()
    return Recording(msgspec.json.decode(head, type=Head), [_EVENT.decode(line) for line in events])


def recorded(about: str, account: str, events: list[Event]) -> Recording:
    """What was played, with what it comes to now."""
    outcome = outcome_of(account, events)
    return Recording(Head(about=about, account=account, core_version=CORE_VERSION, outcome=outcome), events)


def write(path: Path, recording: Recording) -> None:
    lines = [msgspec.json.encode(line) for line in (recording.head, *recording.events)]
    path.write_bytes(b"\n".join(lines) + b"\n")
