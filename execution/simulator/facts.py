"""What happened, as the auditor is told it: by the venue, by the wires, by the database. Never by an engine.

`t` is virtual seconds. Quantities are positive, positions signed.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from execution.core.messages import (
    Commanded,
    CommandSpec,
    Decided,
    DeskSettings,
    Effect,
    Event,
    SendCancel,
    SendMassCancel,
    SendReplace,
    Twap,
)
from risk.core.book import Halt
from risk.core.units import OrdType, Quote, Side
from risk.core.verdict import Approved


class _Fact(msgspec.Struct, frozen=True, gc=False):
    t: float


# --- at the venue ------------------------------------------------------------------------------------------------------


class Taken(_Fact, frozen=True):
    """The venue took an order; `key` names it whatever ids it gets."""

    key: str
    cl_ord_id: str
    symbol: str
    side: Side
    qty: Decimal
    ord_type: OrdType
    price: Decimal | None
    stop_px: Decimal | None
    reduce_only: bool
    is_foreign: bool = False


class Changed(_Fact, frozen=True):
    """The venue replaced an order in place."""

    key: str
    qty: Decimal
    price: Decimal | None
    stop_px: Decimal | None


class Filled(_Fact, frozen=True):
    key: str
    exec_id: str
    symbol: str
    side: Side
    qty: Decimal
    px: Decimal
    fee: Decimal


class Busted(_Fact, frozen=True):
    """The venue took the fill `exec_id` back, or corrected it: what is left of it is `new_qty` at `new_px`, under `new_id`."""

    key: str
    exec_id: str
    new_id: str
    symbol: str
    side: Side
    qty: Decimal
    new_qty: Decimal
    new_px: Decimal
    new_fee: Decimal


class Funded(_Fact, frozen=True):
    """The venue paid this much for what is held, or took it."""

    adjustment_id: str
    amount: Decimal


class Over(_Fact, frozen=True):
    """An order does not work any more, and did not fill."""

    key: str
    why: str


class Hostile(_Fact, frozen=True):
    """The venue, the wire or the machine did something unfriendly; whatever is owed in time is owed from here."""

    what: str
    symbol: str = ""


# --- on the wires ------------------------------------------------------------------------------------------------------


class Began(_Fact, frozen=True):
    """A request left the engine that holds `token`."""

    token: int
    cl_ord_id: str
    request: Approved | SendCancel | SendReplace | SendMassCancel
    #: how long the engine's own lease still lasted
    lease_left_s: float


class Told(_Fact, frozen=True):
    """A price was told to whoever listened."""

    quote: Quote


# --- in the database ---------------------------------------------------------------------------------------------------


class Committed(_Fact, frozen=True):
    """One handled event was committed with its effects. `event` is None where it changed no Desk."""

    token: int
    seq: int
    event: Event | None
    effects: tuple[Effect, ...]

    @property
    def twap(self) -> Twap | None:
        """How the entry that the event decided on is spread over time; None for every other event."""
        command = self.event.command if isinstance(self.event, Commanded) else None
        decision = self.event.decision if isinstance(self.event, Decided) else command.decision if command is not None else None
        return decision.twap if decision is not None else None


class Asked(_Fact, frozen=True):
    """A person's act was committed, with its halt if it sets one."""

    command: CommandSpec
    halt: Halt | None = None


class Cleared(_Fact, frozen=True):
    """The row of a halt was ended."""

    halt_id: str


class Edited(_Fact, frozen=True):
    settings: DeskSettings


class Owned(_Fact, frozen=True):
    """An engine took the account, or holds it for longer, until then."""

    token: int
    until: float


class Unable(_Fact, frozen=True):
    """The engines, or their database, can do nothing until then, and it is not their fault."""

    what: str
    until: float


class Rose(_Fact, frozen=True):
    """An engine process began."""

    name: str


class Died(_Fact, frozen=True):
    """An engine process ended, as by a power cut or politely."""

    name: str
    was_owner: bool


class Troubled(_Fact, frozen=True):
    """An engine said of itself that it cannot go on: key and cause of its own alarm."""

    key: str
    cause: str


class Rested(_Fact, frozen=True):
    """The history is over and everything was left in peace long enough: from here all must be in order."""


Fact = (
    Taken
    | Changed
    | Filled
    | Busted
    | Funded
    | Over
    | Hostile
    | Began
    | Told
    | Committed
    | Asked
    | Cleared
    | Edited
    | Owned
    | Unable
    | Rose
    | Died
    | Troubled
    | Rested
)
