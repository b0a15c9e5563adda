"""One proposal on trial: what every gate reads, and the list of checks it writes to.

A comparison passes when `observed <= limit`, so a number that is not one never passes. An unset limit denies with LIMIT_NOT_SET.
The sentence of a denial is made only when there is one: a test gets a function of the trial, the observed number and the limit.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Final

from risk.core.book import Book
from risk.core.stake import Room
from risk.core.units import NO_LIMIT, ZERO, Instrument, OrdType, Quote
from risk.core.verdict import Check, Proposal, Reason

#: the check recorded when a gate could not compute
UNCOMPUTED: Final = "Numbers"
ACCOUNT_LEVEL: Final = "account limits"
INSTRUMENT_LEVEL: Final = "instrument"
_MS: Final = timedelta(milliseconds=1)


class Trial:
    """The proposal, the book, and what the gates worked out so far: prices on the tick grid, quantity, reservation, stakes."""

    __slots__ = (
        "at",
        "book",
        "checks",
        "entry_px",
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
        self.values = book.settings.values
        self.levels = book.settings.levels
        self.at = at
        self.checks: list[Check] = []
        kind = proposal.ord_type
        self.price = proposal.price if kind is OrdType.LIMIT or kind is OrdType.STOP_LIMIT else None
        self.stop_px = proposal.stop_px if kind is OrdType.STOP or kind is OrdType.STOP_LIMIT else None
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
        where = f"the {level}" if level else "the symbol, its class or the profile"
        detail = f"{field} is not set. Set it for {where}, or choose explicitly to have no limit."
        return self.denied(gate, Reason.LIMIT_NOT_SET, detail, level=level or "unset")

    def at_most(
        self, gate: str, reason: Reason, field: str, observed: Decimal, explain: Explain, *, of: Decimal | None = None
    ) -> Check | None:
        """Test `observed` against the setting `field`: above it denies. With `of`, the setting is a percentage of that."""
        limit: Decimal | int | None = getattr(self.values, field)
        if limit is None:
            return self.unset(gate, field)
        limit = Decimal(limit) if of is None else percent_of(of, Decimal(limit))
        return self.within(gate, reason, observed, limit, explain, level=self.levels[field])

    def at_least(self, gate: str, reason: Reason, field: str, observed: Decimal, explain: Explain) -> Check | None:
        """Test `observed` against the setting `field`: below it denies. NO_LIMIT asks for nothing."""
        limit: Decimal | None = getattr(self.values, field)
        if limit is None:
            return self.unset(gate, field)
        level = self.levels[field]
        if limit == NO_LIMIT or is_within(limit, observed):
            self.checks.append(Check(gate, True, observed, limit, level))
            return None
        return self.denied(gate, reason, explain(self, observed, limit), observed=observed, limit=limit, level=level)

    def within(self, gate: str, reason: Reason, observed: Decimal, limit: Decimal, explain: Explain, *, level: str) -> Check | None:
        """Test `observed` against `limit`, which came from `level`."""
        try:
            is_passed = observed <= limit
        except InvalidOperation:
            is_passed = False
        if is_passed:
            self.checks.append(Check(gate, True, observed, limit, level))
            return None
        return self.denied(gate, reason, explain(self, observed, limit), observed=observed, limit=limit, level=level)


#: (trial, observed, limit) → the sentence of a denial
Explain = Callable[[Trial, Decimal, Decimal], str]


def is_within(observed: Decimal, limit: Decimal) -> bool:
    """`observed <= limit`; False when either is not a number."""
    try:
        return observed <= limit
    except InvalidOperation:
        return False


def age_ms(at: datetime, since: datetime) -> Decimal:
    """Milliseconds from `since` to `at`, rounded up and never negative."""
    return Decimal(-((since - at) // _MS)) if at > since else ZERO


def percent_of(base: Decimal, pct: Decimal) -> Decimal:
    """`pct` percent of `base`; NO_LIMIT stays NO_LIMIT whatever the base."""
    return base * pct / 100 if pct != NO_LIMIT else NO_LIMIT
