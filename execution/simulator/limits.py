"""An entry that leaves: was its price usable, and is every limit kept? Each answer is whether it holds, the promise, and how not.

Recomputed from what the desk knew: the settings it says it has, its own rows before this order, and the last price.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from execution.core.messages import Commanded, Decided, SendNewOrder, Woke
from execution.simulator import promises as promised
from execution.simulator.books import DeskBooks, OrderRow
from execution.simulator.facts import Committed
from execution.simulator.peace import Compared
from risk.core.units import ZERO, Quote
from risk.core.verdict import Approved

#: what marks may have moved since the desk reckoned its exposure
_MARKS: Final = Decimal("1.03")


def judged(effect: SendNewOrder, commit: Committed, desk: DeskBooks, quotes: Mapping[str, Quote]) -> Compared:
    """What is promised of an entry in the moment in which it is committed."""
    asked, event = effect.approved, commit.event
    quote = event.quote if isinstance(event, Decided | Commanded | Woke) else None
    if event is None or quote is None:
        yield False, promised.FAIL_CLOSED, f"an entry of {asked.symbol} left without a decision on a price"
        return
    yield from _priced(asked, quote, commit, desk)
    yield from _limited(effect, quote, desk, quotes)


def _priced(asked: Approved, quote: Quote, commit: Committed, desk: DeskBooks) -> Compared:
    assert commit.event is not None
    values, at = desk.settings.profiles[desk.settings.bots[asked.bot].profile].base, commit.event.at
    yield ZERO < quote.bid <= quote.ask, promised.FAIL_CLOSED, f"an entry passed on {quote.bid}/{quote.ask}"
    yield _fresh("price_age_ms_max", (at - quote.received_at).total_seconds() * 1000, values.price_age_ms_max)
    yield _fresh("price_frozen_s", (at - quote.changed_at).total_seconds(), values.price_frozen_s)
    how = f"an entry of {asked.symbol} passed before the venue was compared"
    yield desk.account.is_reconciled, promised.FAIL_CLOSED, how


def _fresh(name: str, value: float, limit: Decimal | None) -> tuple[bool, str, str]:
    if limit is None:
        return False, promised.FAIL_CLOSED, f"an entry passed with {name} not set"
    return value <= float(limit), promised.FAIL_CLOSED, f"{name} is {limit}, and an entry passed at {value:.1f}"


def _limited(effect: SendNewOrder, quote: Quote, desk: DeskBooks, quotes: Mapping[str, Quote]) -> Compared:
    asked, settings = effect.approved, desk.settings
    bot, limits = settings.bots[asked.bot], settings.limits
    base = settings.profiles[bot.profile].base
    price = asked.price or asked.stop_px or quote.reference(asked.side)
    yield _most("order_qty_max", asked.order_qty, base.order_qty_max)
    yield _most("order_notional_max", asked.order_qty * price * desk.value(asked.symbol), base.order_notional_max)
    mine = [row for row in desk.entries() if row.cl_ord_id != effect.cl_ord_id]
    in_flight = sum(row.bot == asked.bot and row.symbol == asked.symbol for row in mine)
    yield _most("entries_in_flight_max", in_flight + 1, base.entries_in_flight_max)
    symbols = {symbol for symbol, row in desk.positions.items() if row.qty} | {row.symbol for row in mine}
    yield _most("positions_max", 0 if asked.symbol in symbols else len(symbols) + 1, limits.positions_max)
    against = asked.side.sign * desk.qty(asked.symbol) < 0
    yield not against, promised.LIMITS, f"an entry of {asked.symbol} left against what is open of it"
    yield asked.symbol in bot.symbols, promised.LIMITS, f"{asked.bot} entered {asked.symbol}, which is not its own"
    if limits.gross_exposure_pct is not None:
        most = desk.account.equity * limits.gross_exposure_pct / 100 * _MARKS
        yield _most("gross_exposure_pct", _gross(mine, asked, price, desk, quotes), most)


def _most(name: str, value: Decimal | int, limit: Decimal | int | None) -> tuple[bool, str, str]:
    if limit is None:
        return False, promised.FAIL_CLOSED, f"an entry passed with {name} not set"
    return value <= limit, promised.LIMITS, f"{name} is {limit}, and an entry came to {value}"


def _gross(mine: list[OrderRow], asked: Approved, price: Decimal, desk: DeskBooks, quotes: Mapping[str, Quote]) -> Decimal:
    """The worse of all buys and all sells filled, symbol by symbol, at the last price."""
    buys: dict[str, Decimal] = defaultdict(Decimal)
    sells: dict[str, Decimal] = defaultdict(Decimal)
    for row in mine:
        (buys if row.side.sign > 0 else sells)[row.symbol] += row.leaves * (row.price or quotes[row.symbol].mid)
    (buys if asked.side.sign > 0 else sells)[asked.symbol] += asked.order_qty * price
    gross = ZERO
    for symbol in {*buys, *sells, *desk.positions}:
        quote = quotes.get(symbol)
        held = desk.qty(symbol) * quote.mid if quote is not None else ZERO
        gross += max(abs(held + buys[symbol]), abs(held - sells[symbol])) * desk.value(symbol)
    return gross
