"""How late a feed comes: what is seen through a backlog of seconds is the market of seconds ago, however steadily it comes.

The newest quote of each symbol that moved is looked at, and the *least* late of them counts: a quote may be old because its market is
quiet, all of them are only when the feed is. Whether one quote may be decided on is for gate 5, by the same limit.

Only a feed whose clock agrees with ours has a lag. Of a tape, or of a venue with a clock of its own, the two times of a quote differ
by something nobody knows; taking the least difference ever seen for zero would call a slow tape, or a clock that drifts, late.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal

from execution.core.messages import DeskSettings
from execution.core.ports import Feed
from risk.core.settings import resolve
from risk.core.trial import age_ms
from risk.core.units import Quote
from risk.core.wording import exact


class Lag:
    """Looks at a feed now and then; `text` says how late it comes, and is empty while it is not, or cannot be, late."""

    def __init__(self, feed: Feed) -> None:
        self._is_known = feed.has_synchronised_clock and not feed.is_recorded
        self._limit_ms: Decimal | None = None
        self._looked_at: datetime | None = None
        self.text = ""

    def settle(self, settings: DeskSettings) -> None:
        """Take the loosest limit of any symbol: past it the feed is late for everyone."""
        limits = [
            limit for bot in settings.bots.values() for symbol in bot.symbols if (limit := _limit(settings, bot.profile, symbol))
        ]
        self._limit_ms = max(limits, default=None)

    def look(self, quotes: Iterable[Quote]) -> None:
        """Judge what came since the last look; silence changes nothing."""
        if not self._is_known or self._limit_ms is None:
            self.text = ""
            return
        fresh = [quote for quote in quotes if self._looked_at is None or quote.received_at > self._looked_at]
        if not fresh:
            return
        self._looked_at = max(quote.received_at for quote in fresh)
        lag_ms = min(age_ms(quote.received_at, quote.at) for quote in fresh)
        self.text = (
            f"prices come {exact(lag_ms)} ms late; the limit is {exact(self._limit_ms)} ms" if lag_ms > self._limit_ms else ""
        )


def _limit(settings: DeskSettings, profile: str, symbol: str) -> Decimal | None:
    asset_class = settings.instruments[symbol].asset_class
    found = resolve(settings.profiles[profile], settings.limits, symbol=symbol, asset_class=asset_class, field="feed_lag_ms_max")
    value: Decimal | None = found.value
    return None if value is None or value.is_nan() else value
