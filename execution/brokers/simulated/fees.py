"""What a venue charges: fee schedules, and the dated fees that regulators charge on sales of US equities.

Rules of this file.
- A schedule prices the order so far, not the fill: a minimum, a maximum and a tier are the order's. A fill pays what the order owes now
  less what it has paid.
- The fee is owed in the instrument's currency, rounded up to 1e-8, or taken from the asset that the fill brings.
- A maximum wins over a minimum, as brokers have it: nobody pays more than that part of a small order.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import ROUND_CEILING, Decimal
from enum import StrEnum
from typing import Final

import msgspec

from risk.core.units import NO_LIMIT, ONE, ZERO, AssetClass, Instrument, Side

_STEP: Final = Decimal("0.00000001")
_CENT: Final = Decimal("0.01")


class Traded(msgspec.Struct, frozen=True):
    """What of an order has filled: notional as maker and as taker, quantity."""

    made: Decimal
    taken: Decimal
    qty: Decimal

    @property
    def notional(self) -> Decimal:
        return self.made + self.taken

    def plus(self, qty: Decimal, notional: Decimal, liquidity: str) -> Traded:
        is_maker = liquidity == "MAKER"
        made, taken = (notional, ZERO) if is_maker else (ZERO, notional)
        return Traded(self.made + made, self.taken + taken, self.qty + qty)


NOTHING_TRADED: Final = Traded(ZERO, ZERO, ZERO)


class TierBy(StrEnum):
    """What decides the tier of an order: its notional, its average price (an option's premium), or its quantity."""

    NOTIONAL = "NOTIONAL"
    PRICE = "PRICE"
    QTY = "QTY"


class Tier(msgspec.Struct, frozen=True, kw_only=True):
    """Rates as parts of one, money per unit and per order, for orders up to and including `up_to`."""

    up_to: Decimal = NO_LIMIT
    maker: Decimal = ZERO
    taker: Decimal = ZERO
    per_unit: Decimal = ZERO
    per_order: Decimal = ZERO

    def owed(self, traded: Traded) -> Decimal:
        return traded.made * self.maker + traded.taken * self.taker + traded.qty * self.per_unit + self.per_order


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """How fees follow from what an order traded. `applies_to` are symbols and asset classes, none for all; `maximum` is a part of one.

    `tiers` are in ascending order of `up_to`; the last has no end.
    """

    tiers: tuple[Tier, ...] = (Tier(),)
    tier_by: TierBy = TierBy.NOTIONAL
    minimum: Decimal = ZERO
    maximum: Decimal | None = None
    is_taken_from_received: bool = False
    is_regulated: bool = False
    applies_to: frozenset[str] = frozenset()

    def owed(self, traded: Traded, *, contract_value: Decimal = ONE) -> Decimal:
        """What the order owes for what it has traded, in the instrument's currency."""
        if not traded.qty:
            return ZERO
        by = {
            TierBy.NOTIONAL: traded.notional,
            TierBy.PRICE: traded.notional / (traded.qty * contract_value),
            TierBy.QTY: traded.qty,
        }[self.tier_by]
        owed = next(tier for tier in self.tiers if by <= tier.up_to).owed(traded)
        owed = max(owed, self.minimum) if self.minimum else owed
        return owed if self.maximum is None else min(owed, traded.notional * self.maximum)


def schedule_of(schedules: Sequence[Schedule], instrument: Instrument) -> Schedule:
    """The first schedule that names the symbol or its asset class, or that names nothing."""
    names = {instrument.symbol, instrument.asset_class.value}
    return next(s for s in schedules if not s.applies_to or s.applies_to & names)


def fill_fee(schedule: Schedule, instrument: Instrument, *, before: Traded, after: Traded) -> Decimal:
    """What a fill costs that took its order from `before` to `after`; negative for a rebate."""
    owed = (schedule.owed(traded, contract_value=instrument.contract_value) for traded in (after, before))
    now, earlier = (amount.quantize(_STEP, ROUND_CEILING) for amount in owed)
    return now - earlier


# --- what regulators charge on sales of US equities ---------------------------------------------------------------------


class Dated(msgspec.Struct, frozen=True):
    """A rate in force from a date on, with the cap of one trade where there is one."""

    since: date
    rate: Decimal
    cap: Decimal = NO_LIMIT


def _dated(*rows: tuple[str, str, str]) -> tuple[Dated, ...]:
    return tuple(Dated(date.fromisoformat(since), Decimal(rate), Decimal(cap)) for since, rate, cap in rows)


#: SEC Section 31: dollars per million of the proceeds of a sale (the SEC's fee rate advisories; FINRA Information Notices)
SECTION_31: Final = _dated(
    ("2001-12-28", "15.00", "Infinity"),
    ("2002-04-01", "30.10", "Infinity"),
    ("2003-03-22", "25.20", "Infinity"),
    ("2003-04-01", "46.80", "Infinity"),
    ("2004-02-22", "39.00", "Infinity"),
    ("2004-04-01", "23.40", "Infinity"),
    ("2005-01-07", "32.90", "Infinity"),
    ("2005-04-01", "41.80", "Infinity"),
    ("2005-12-22", "30.70", "Infinity"),
    ("2008-03-31", "11.00", "Infinity"),
    ("2008-04-01", "5.60", "Infinity"),
    ("2014-03-17", "17.40", "Infinity"),
    ("2014-03-18", "22.10", "Infinity"),
    ("2016-02-25", "21.80", "Infinity"),
    ("2017-07-04", "23.10", "Infinity"),
    ("2018-05-22", "13.00", "Infinity"),
    ("2019-04-16", "20.70", "Infinity"),
    ("2020-02-18", "22.10", "Infinity"),
    ("2021-02-25", "5.10", "Infinity"),
    ("2022-05-14", "22.90", "Infinity"),
    ("2023-02-27", "8.00", "Infinity"),
    ("2024-05-22", "27.80", "Infinity"),
    ("2025-05-14", "0.00", "Infinity"),
)

#: FINRA Trading Activity Fee: dollars per share sold, capped per trade (FINRA By-Laws, Schedule A, Section 1; Regulatory Notices 11-27, 12-06)
TRADING_ACTIVITY: Final = _dated(
    ("2004-01-01", "0.000075", "3.75"),
    ("2011-07-01", "0.000090", "4.50"),
    ("2012-03-01", "0.000095", "4.75"),
    ("2012-07-01", "0.000119", "5.95"),
    ("2024-01-01", "0.000166", "8.30"),
)


def rate_on(table: Sequence[Dated], day: date) -> Dated:
    """The rate in force on a day. Where years are missing from a table the last rate known before them stands; before it, none."""
    return next((row for row in reversed(table) if row.since <= day), Dated(date.min, ZERO))


def section_31(proceeds: Decimal, day: date) -> Decimal:
    """The SEC's fee on the proceeds of a sale, in dollars, rounded up to the cent."""
    return (proceeds * rate_on(SECTION_31, day).rate / 1_000_000).quantize(_CENT, ROUND_CEILING)


def trading_activity(shares: Decimal, day: date) -> Decimal:
    """FINRA's fee on shares sold, in dollars, rounded up to the cent and capped per trade."""
    row = rate_on(TRADING_ACTIVITY, day)
    return min((shares * row.rate).quantize(_CENT, ROUND_CEILING), row.cap)


def regulatory_fee(schedule: Schedule, instrument: Instrument, *, side: Side, qty: Decimal, price: Decimal, day: date) -> Decimal:
    """What a sale of US equities costs beyond the broker's fee; zero for buys and for everything else."""
    if not schedule.is_regulated or side is Side.BUY or instrument.asset_class is not AssetClass.EQUITY:
        return ZERO
    return section_31(instrument.notional(qty, price), day) + trading_activity(qty, day)
