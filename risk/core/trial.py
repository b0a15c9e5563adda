"""One proposal on trial: what every gate reads, and the list of checks it writes to.

A comparison passes when `observed <= limit`, so a number that is not one never passes. An unset limit denies with LIMIT_NOT_SET.
Every order passes here, so the values of enums that each trial asks for are looked up once, at import.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Final

import msgspec

from risk.core.book import Book
from risk.core.stake import Room
from risk.core.units import NO_LIMIT, PERCENT, ZERO, Instrument, OrdType, Quote, Side
from risk.core.verdict import Check, OrderClass, Proposal, Reason

#: the check recorded when a gate could not compute
UNCOMPUTED: Final = "Numbers"
ACCOUNT_LEVEL: Final = "account limits"
INSTRUMENT_LEVEL: Final = "instrument"
LIMIT_KINDS: Final = (OrdType.LIMIT, OrdType.STOP_LIMIT)
STOP_KINDS: Final = (OrdType.STOP, OrdType.STOP_LIMIT)
_ENTRY: Final = OrderClass.ENTRY
_BUY: Final = Side.BUY
_THOUSANDTH: Final = Decimal("0.001")
_MS: Final = timedelta(milliseconds=1)


class Bound(msgspec.Struct, frozen=True):
    """A limit as a gate tests it: the check's name, the code of a breach, the settings field, and the sentence of a breach.

    The sentence is made from the trial, the observed number and the limit, and only when there is a breach.
    """

    gate: str
    reason: Reason
    field: str
    explain: Callable[[Trial, Decimal, Decimal], str]


class Trial:
    """The proposal, the book, and what the gates worked out so far: prices on the tick grid, quantity, reservation, stakes."""

    __slots__ = (
        "at",
        "book",
        "checks",
        "entry_px",
        "is_buy",
        "is_entry",
        "levels",
        "notional",
        "order_qty",
        "price",
        "proposal",
        "reserve_px",
        "room",
        "stop_px",
        "values",
    )

    def __init__(self, proposal: Proposal, book: Book, at: datetime) -> None:
        self.proposal = proposal
        self.book = book
        self.at = at
        self.values = book.settings.values
        self.levels = book.settings.levels
        self.checks: list[Check] = []
        self.is_entry = proposal.order_class is _ENTRY
        self.is_buy = proposal.side is _BUY
        self.price = proposal.price if proposal.ord_type in LIMIT_KINDS else None
        self.stop_px = proposal.stop_px if proposal.ord_type in STOP_KINDS else None
        #: the price an entry is judged at: its limit, else its stop, else where its side trades now
        self.entry_px = ZERO
        self.order_qty = proposal.order_qty or ZERO
        self.notional = ZERO
        #: money set aside per unit: reservation price × contract_value
        self.reserve_px = ZERO
        self.room: Room | None = None

    @property
    def instrument(self) -> Instrument:
        """The instrument, once gate 6 has seen that it is known."""
        assert self.book.instrument is not None
        return self.book.instrument

    @property
    def quote(self) -> Quote:
        """The quote, once gate 5 has seen that it is usable."""
        assert self.proposal.quote is not None
        return self.proposal.quote

    def passed(self, gate: str, observed: Decimal | None = None, limit: Decimal | None = None, level: str = "") -> None:
        self.checks.append(Check(gate, True, observed, limit, level))

    def denied(
        self,
        gate: str,
        reason: Reason,
        detail: str,
        *,
        observed: Decimal | None = None,
        limit: Decimal | None = None,
        level: str = "",
    ) -> Check:
        check = Check(gate, False, observed, limit, level, detail, reason)
        self.checks.append(check)
        return check

    def unset(self, gate: str, field: str, level: str = "") -> Check:
        """Deny because nobody set `field`."""
        where = f"in the {level}" if level else "for the symbol, its class or the profile"
        return self.denied(
            gate, Reason.LIMIT_NOT_SET, f"{field} is not set. Entries pass once it is, {where}.", level=level or "unset"
        )

    def at_most(self, bound: Bound, observed: Decimal, *, of: Decimal | None = None) -> Check | None:
        """Test `observed` against a setting: above it denies. With `of`, the setting is a percentage of that."""
        limit: Decimal | int | None = getattr(self.values, bound.field)
        if limit is None:
            return self.unset(bound.gate, bound.field)
        return self.within(bound, observed, limit if of is None else percent_of(of, limit), self.levels[bound.field])

    def at_most_of_account(self, bound: Bound, observed: Decimal, *, of: Decimal | None = None) -> Check | None:
        """Test `observed` against a limit of the account, likewise."""
        limit: Decimal | int | None = getattr(self.book.limits, bound.field)
        if limit is None:
            return self.unset(bound.gate, bound.field, ACCOUNT_LEVEL)
        return self.within(bound, observed, limit if of is None else percent_of(of, limit), ACCOUNT_LEVEL)

    def at_least(self, bound: Bound, observed: Decimal) -> Check | None:
        """Test `observed` against a setting: below it denies. NO_LIMIT asks for nothing."""
        limit: Decimal | None = getattr(self.values, bound.field)
        if limit is None:
            return self.unset(bound.gate, bound.field)
        level = self.levels[bound.field]
        if limit == NO_LIMIT or is_within(limit, observed):
            self.checks.append(Check(bound.gate, True, observed, limit, level))
            return None
        return self._breach(bound, observed, limit, level)

    def within(self, bound: Bound, observed: Decimal, limit: Decimal | int, level: str) -> Check | None:
        """Test `observed` against `limit`, which came from `level`."""
        if isinstance(limit, int):
            limit = Decimal(limit)
        try:
            is_passed = observed <= limit
        except InvalidOperation:
            is_passed = False
        if is_passed:
            self.checks.append(Check(bound.gate, True, observed, limit, level))
            return None
        return self._breach(bound, observed, limit, level)

    def _breach(self, bound: Bound, observed: Decimal, limit: Decimal, level: str) -> Check:
        detail = bound.explain(self, observed, limit)
        return self.denied(bound.gate, bound.reason, detail, observed=observed, limit=limit, level=level)


def is_within(observed: Decimal, limit: Decimal) -> bool:
    """`observed <= limit`; False when either is not a number."""
    try:
        return observed <= limit
    except InvalidOperation:
        return False


def age_ms(at: datetime, since: datetime) -> Decimal:
    """Milliseconds from `since` to `at`, rounded up and never negative."""
    return Decimal(-((since - at) // _MS)) if at > since else ZERO


def age_s(at: datetime, since: datetime) -> Decimal:
    """Seconds from `since` to `at`, rounded up to a millisecond and never negative."""
    return age_ms(at, since) * _THOUSANDTH


def percent_of(base: Decimal, pct: Decimal | int) -> Decimal:
    """`pct` percent of `base`; NO_LIMIT stays NO_LIMIT whatever the base."""
    return base * pct * PERCENT if pct != NO_LIMIT else NO_LIMIT
