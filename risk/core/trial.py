"""One proposal on trial: what every gate reads, and the list of checks it writes to.

A comparison passes when `observed <= limit`, so a number that is not one never passes. An unset limit denies with LIMIT_NOT_SET.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Final

from risk.core.book import Book
from risk.core.units import NO_LIMIT, ZERO, Instrument, OrdType
from risk.core.verdict import Check, Proposal, Reason

#: the check recorded when a gate could not compute
UNCOMPUTED: Final = "Numbers"
ACCOUNT_LEVEL: Final = "account limits"
INSTRUMENT_LEVEL: Final = "instrument"
_MS: Final = timedelta(milliseconds=1)


class Trial:
    """The proposal, the book, and what the gates worked out so far: prices on the tick grid, quantity, reservation."""

    __slots__ = ("at", "book", "checks", "entry_px", "notional", "order_qty", "price", "proposal", "reserve_px", "stop_px")

    def __init__(self, proposal: Proposal, book: Book, at: datetime) -> None:
        self.proposal = proposal
        self.book = book
        self.at = at
        self.checks: list[Check] = []
        self.price = proposal.price if proposal.ord_type in (OrdType.LIMIT, OrdType.STOP_LIMIT) else None
        self.stop_px = proposal.stop_px if proposal.ord_type in (OrdType.STOP, OrdType.STOP_LIMIT) else None
        self.entry_px = ZERO
        self.order_qty = proposal.order_qty or ZERO
        self.notional = ZERO
        #: money set aside per unit: reservation price × contract_value
        self.reserve_px = ZERO

    @property
    def instrument(self) -> Instrument:
        """The instrument, once gate 6 has seen that it is known."""
        assert self.book.instrument is not None
        return self.book.instrument

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
        self,
        gate: str,
        reason: Reason,
        field: str,
        observed: Decimal,
        explain: Callable[[Decimal], str],
        *,
        of: Decimal | None = None,
    ) -> Check | None:
        """Test `observed` against the setting `field`: above it denies with the sentence `explain(limit)` makes.

        With `of`, the setting is a percentage of that.
        """
        limit: Decimal | int | None = getattr(self.book.settings.values, field)
        if limit is None:
            return self.unset(gate, field)
        limit = Decimal(limit) if of is None else percent_of(of, Decimal(limit))
        return self.within(gate, reason, observed, limit, level=self.book.settings.levels[field], explain=explain)

    def at_least(self, gate: str, reason: Reason, field: str, observed: Decimal, explain: Callable[[Decimal], str]) -> Check | None:
        """Test `observed` against the setting `field`: below it denies. NO_LIMIT asks for nothing."""
        limit: Decimal | None = getattr(self.book.settings.values, field)
        if limit is None:
            return self.unset(gate, field)
        level = self.book.settings.levels[field]
        if limit == NO_LIMIT or is_within(limit, observed):
            self.passed(gate, observed, limit, level)
            return None
        return self.denied(gate, reason, explain(limit), observed=observed, limit=limit, level=level)

    def within(
        self, gate: str, reason: Reason, observed: Decimal, limit: Decimal, *, level: str, explain: Callable[[Decimal], str]
    ) -> Check | None:
        """Test `observed` against `limit`, which came from `level`."""
        if is_within(observed, limit):
            self.checks.append(Check(gate, True, observed, limit, level))
            return None
        return self.denied(gate, reason, explain(limit), observed=observed, limit=limit, level=level)


def is_within(observed: Decimal, limit: Decimal) -> bool:
    """`observed <= limit`; False when either is not a number. Infinity is within NO_LIMIT only if it was computed, never if it was read."""
    try:
        return observed <= limit
    except InvalidOperation:
        return False


def age_ms(at: datetime, since: datetime) -> Decimal:
    """Milliseconds from `since` to `at`, rounded up and never negative."""
    return Decimal(max(-((since - at) // _MS), 0))


def percent_of(base: Decimal, pct: Decimal) -> Decimal:
    """`pct` percent of `base`; NO_LIMIT stays NO_LIMIT whatever the base."""
    return base * pct / 100 if pct != NO_LIMIT else NO_LIMIT
