"""What a default order would be now, and whether the gates would let it through: what an admin page says before anybody asks for one.

Judged is what the settings, the price and the equity decide. Everything that passes by is left out: the account counts as idle and
ready, the market as open, the price as fresh, and the stop lies as near as the settings allow. So a denial is certain, and an order that
would pass may still meet one for what is so at that moment.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Final

import msgspec

from risk.core.book import AccountBook, Book
from risk.core.circuit_breaker import CircuitBreaker
from risk.core.gates import judge
from risk.core.hours import ALWAYS
from risk.core.session_pnl import SessionPnl
from risk.core.settings import AccountLimits, Effective
from risk.core.units import HUNDRED, ZERO, Instrument, Quote, Side
from risk.core.verdict import Approved, Capability, OrderClass, Proposal

_BOT: Final = "preview"
#: in %: a stop of a bot whose settings ask for no distance
_NEAR: Final = Decimal("0.01")


class Preview(msgspec.Struct, frozen=True):
    """A default order of `order_qty` (zero is less than one lot), and why it would be denied; empty where it would pass."""

    order_qty: Decimal
    denial: str = ""


def default_order(
    *,
    instrument: Instrument,
    settings: Effective,
    limits: AccountLimits,
    price: Decimal,
    equity: Decimal,
    currency: str,
    at: datetime,
) -> Preview:
    """A buy at market, sized by the settings alone. `at` is any instant; only what is older than it could matter, and nothing is."""
    quote = Quote(instrument.symbol, price, price, price, at, at, at)
    proposal = Proposal(
        order_class=OrderClass.ENTRY,
        account="",
        bot=_BOT,
        symbol=instrument.symbol,
        side=Side.BUY,
        stop_loss=price * (HUNDRED - max(settings.values.stop_distance_pct_min or ZERO, _NEAR)) / HUNDRED,
        quote=quote,
    )
    book = Book(
        account="",
        environment="PAPER",
        not_ready=(),
        halts=(),
        instrument=msgspec.structs.replace(instrument, calendar=ALWAYS),
        settings=settings,
        limits=limits,
        capabilities=frozenset(Capability),
        session=SessionPnl(),
        breaker=CircuitBreaker(),
        symbols=frozenset({instrument.symbol}),
        position_qty=ZERO,
        entries_in_flight=0,
        adds=0,
        exit_capacity=ZERO,
        portfolio=AccountBook(currency=currency, equity=equity, day_start_equity=equity, peak_equity=equity, exposures={}),
    )
    verdict = judge(proposal, book, at=at)
    if isinstance(verdict, Approved):
        return Preview(verdict.order_qty)
    sized = next((check.observed for check in verdict.checks if check.gate == "Size"), None)
    return Preview(sized or ZERO, f"{verdict.checks[-1].gate}: {verdict.text}")
