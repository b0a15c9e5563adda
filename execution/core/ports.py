"""The ports of the core: Broker, Feed, Journal. Adapters implement them; the engine holds them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Final, Protocol, runtime_checkable

from execution.core.messages import Adjusted, Bar, Reported, SendCancel, SendReplace, Trade, VenueFill, VenueOrder
from risk.core.units import Quote
from risk.core.verdict import Approved, Capability

#: how long before the last answer fills are asked for again: a repeated one changes nothing, a lost one is money
FILLS_OVERLAP: Final = timedelta(minutes=2)


class BrokerError(Exception):
    """The base of what a broker raises. Anything else that escapes a send is outcome UNKNOWN."""


class NotSent(BrokerError):
    """Nothing was written to the venue."""


class Refused(BrokerError):
    """The venue refused for good, with a code the codec lists as final. The text is the venue's reason."""


class Duplicate(Refused):
    """The venue knows the client order id already. It may be this very order, sent before: the desk asks."""


class LinkDown(BrokerError):
    """The venue cannot be reached for a query. Queries only; a send that fails this way is UNKNOWN unless NotSent."""


class Broker(Protocol):
    """One venue account. Every request has a total timeout set by the caller (asyncio.timeout)."""

    capabilities: frozenset[Capability]
    #: True where a query may lag the stream: two rounds are needed to prove an absence
    is_eventually_consistent: bool

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def submit(self, cl_ord_id: str, approved: Approved) -> None:
        """Send a new order. Returns when the venue has taken it; the acknowledgement and fills come by `reports()`.

        Raises NotSent, Refused (Duplicate for a client order id it knows); whatever else escapes means UNKNOWN.
        """

    async def cancel(self, request: SendCancel) -> None:
        """Ask to cancel. "Already gone" is an answer that comes as a report (CANCEL_REJECTED or the final status), not an error."""

    async def replace(self, request: SendReplace) -> None: ...

    async def order_by_cl_ord_id(self, cl_ord_id: str, symbol: str) -> VenueOrder | None: ...

    async def orders_open(self) -> Sequence[VenueOrder]:
        """All open orders, paged to the end."""

    async def fills_since(self, since: datetime) -> Sequence[VenueFill]: ...

    async def positions(self) -> dict[str, Decimal]:
        """Signed quantity by symbol; symbols at zero may be absent."""

    async def balances(self) -> dict[str, Decimal]: ...

    def reports(self) -> AsyncIterator[Reported | Adjusted]:
        """Execution reports and adjustments as they come. `at` is the adapter's receipt; the runner re-stamps it."""


@runtime_checkable
class CancelsAll(Protocol):
    """A broker with MASS_CANCEL."""

    async def cancel_all(self, symbol: str) -> None:
        """Ask to cancel every working order of the symbol, of the account when it is empty; each is reported by itself."""


@runtime_checkable
class TellsAdjustments(Protocol):
    """A broker that can be asked what it moved without a trade."""

    async def adjustments_since(self, since: datetime) -> Sequence[Adjusted]:
        """Adjustments booked at or after `since`, by the venue's clock, oldest first. Ids equal the stream's."""


@runtime_checkable
class TakesMarket(Protocol):
    """A broker that matches orders itself: it is shown every event of the feed, in order, before anyone decides on it."""

    def on_market(self, event: Quote | Trade | Bar) -> None: ...

    @property
    def is_idle(self) -> bool:
        """Whether everything that happened here was kept, told and taken."""


class Feed(Protocol):
    """Market data for a set of symbols: an endless (live) or finite (tape) stream."""

    #: words for people: "SYNTHETIC", "replay btcusdt 60×"
    label: str
    is_synthetic: bool
    #: True for a tape: it can wait for the desk, and has an end
    is_recorded: bool
    #: True for a tape played as fast as possible: it waits for what each price sets off, and `received_at` is its own time moved to ours
    is_in_step: bool
    #: True when the source's clock is synchronised with ours, so that its lag is a bound
    has_synchronised_clock: bool
    #: where the stream stands, to be persisted and given back when the feed is opened again
    offset: int
    #: lines of a tape that could not be read
    broken_lines: int
    #: how far apart its prices are by nature: the time between two bars of a tape at its pace; 0 where they come as they happen
    gap_ms: int

    def events(self) -> AsyncIterator[Quote | Trade | Bar]: ...

    async def history(self, symbol: str, *, bars: int, interval_s: int) -> Sequence[Bar]:
        """Closed bars before now, oldest first, for warm-up. May be fewer than asked."""


def number_within(name: str, value: object, row: tuple[str, str, str]) -> Decimal:
    """`value` as a Decimal within the row's bounds. ValueError with one plain sentence when it is not."""
    lowest, highest = Decimal(row[1]), Decimal(row[2])
    try:
        number = Decimal(str(value).strip())
    except InvalidOperation:
        raise ValueError(f"{name} must be a number, was “{value}”.") from None
    if not number.is_finite() or not lowest <= number <= highest:
        raise ValueError(f"{name} must be from {row[1]} to {row[2]}, was {value}.")
    if not any("." in text for text in row) and number != number.to_integral_value():
        raise ValueError(f"{name} must be a whole number, was {value}.")
    return number
