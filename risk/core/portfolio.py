"""The account: what it has at stake now and would have with one more order, and gate 14, which asks whether that is too much.

Rules.
- The exposure of a symbol is the worse of (position + working buys) and (position − working sells), positions at marks, working
  entries at their reservations. The account's net exposure is the worse of the same two sums over all symbols.
- Equity includes open positions at marks; a position whose mark is missing or old has no known value, so it stops entries.
- A loss trips at its limit (`<=`); everything else may reach its limit and not pass it.
- Percentages are of equity. The margin of a symbol is its exposure ÷ its leverage; what equity exceeds all margins by is free to
  buy with. For a symbol without leverage that is cash less working buys.
- Check and reserve are one step: the order on trial is counted as if it worked already, and the Desk books its reservation in the
  event that approved it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Final

import msgspec

from risk.core.book import AccountBook, Exposure
from risk.core.reservations import reservation_price
from risk.core.settings import AccountLimits
from risk.core.sizing import is_positive
from risk.core.trial import ACCOUNT_LEVEL, Trial, age_ms, is_within, percent_of
from risk.core.units import HUNDRED, NO_LIMIT, ZERO, Side
from risk.core.verdict import Check, Reason
from risk.core.wording import number, pair

_LOSSES: Final = {
    Reason.DAILY_LOSS: ("Daily loss", "the day's opening"),
    Reason.DRAWDOWN: ("Drawdown", "its peak"),
}
_OF_EQUITY: Final = {
    Reason.GROSS_EXPOSURE: "Gross exposure",
    Reason.NET_EXPOSURE: "Net exposure",
    Reason.CONCENTRATION: "Concentration",
    Reason.BOT_EXPOSURE: "Bot exposure",
}


class Stake(msgspec.Struct):
    """Sums over exposures, in the account's currency. `up` and `down` are the net value if all working buys, or sells, filled."""

    gross: Decimal = ZERO
    up: Decimal = ZERO
    down: Decimal = ZERO
    #: value of the positions alone
    open_value: Decimal = ZERO
    margin: Decimal = ZERO
    positions: int = 0
    #: gross exposure of one bot's symbols
    bot_gross: Decimal = ZERO
    oldest_mark_at: datetime | None = None
    #: a symbol with a position and no usable mark
    unmarked: str = ""

    def add(self, exposure: Exposure, *, bot: str) -> None:
        """Count one symbol."""
        value = ZERO
        if exposure.qty:
            value = self._value(exposure)
        elif not (exposure.buys or exposure.sells):
            return
        up, down = value + exposure.buys, value - exposure.sells
        worst = max(up, -down)
        self.gross += worst
        self.up += up
        self.down += down
        self.open_value += abs(value)
        self.margin += worst / exposure.leverage
        self.positions += 1
        if exposure.bot == bot:
            self.bot_gross += worst

    def _value(self, exposure: Exposure) -> Decimal:
        if exposure.mark is None or exposure.marked_at is None or not is_positive(exposure.mark):
            self.unmarked = exposure.symbol
            return ZERO
        if self.oldest_mark_at is None or exposure.marked_at < self.oldest_mark_at:
            self.oldest_mark_at = exposure.marked_at
        return exposure.qty * exposure.mark * exposure.contract_value

    @property
    def net(self) -> Decimal:
        return max(abs(self.up), abs(self.down))


def stake_of(book: AccountBook, *, bot: str = "") -> Stake:
    """What the account has at stake now; `bot_gross` counts the symbols of `bot`."""
    stake = Stake()
    for exposure in book.exposures.values():
        stake.add(exposure, bot=bot)
    return stake


# --- readings ----------------------------------------------------------------------------------------------------------


class Reading(msgspec.Struct, frozen=True):
    """One number of the account against its limit, for a meter. `limit` is None while unset; NO_LIMIT is a choice. `unit` follows both."""

    code: Reason
    name: str
    observed: Decimal
    limit: Decimal | None
    unit: str = ""

    @property
    def used_pct(self) -> Decimal | None:
        """How much of the limit is used, 100 at the limit; None when there is nothing to measure against."""
        if self.limit is None or not is_positive(self.limit) or not self.observed.is_finite():
            return None
        return self.observed * 100 / self.limit


def readings(book: AccountBook, limits: AccountLimits) -> tuple[Reading, ...]:
    """Every account limit with the number it bounds: what the console's meters show. Judges nothing."""
    stake = stake_of(book)
    return (
        Reading(Reason.DAILY_LOSS, "Daily loss", fallen_pct(book.equity, book.day_start_equity), limits.daily_loss_pct, " %"),
        Reading(Reason.DRAWDOWN, "Drawdown", fallen_pct(book.equity, book.peak_equity), limits.drawdown_pct, " %"),
        Reading(Reason.MAX_POSITIONS, "Positions", Decimal(stake.positions), _decimal(limits.positions_max)),
        Reading(Reason.GROSS_EXPOSURE, "Gross exposure", stake.gross, _of_equity(book, limits.gross_exposure_pct)),
        Reading(Reason.NET_EXPOSURE, "Net exposure", stake.net, _of_equity(book, limits.net_exposure_pct)),
        Reading(Reason.LEVERAGE, "Leverage", _ratio(stake.gross, book.equity), limits.leverage_max, "×"),
        Reading(Reason.BUYING_POWER, "Margin in use", stake.margin, book.equity),
    )


def fallen_pct(equity: Decimal, base: Decimal) -> Decimal:
    """How many percent `equity` lies below `base`; 0 when not below, 100 when either cannot be read."""
    if not (equity.is_finite() and is_positive(base)):
        return HUNDRED
    return max((base - equity) * 100 / base, ZERO)


def has_fallen(equity: Decimal, base: Decimal, pct: Decimal) -> bool:
    """Whether a loss limit of `pct` percent below `base` is reached. An equity, base or limit that cannot be read is a breach."""
    if not (equity.is_finite() and is_positive(base)) or pct.is_nan():
        return True
    return pct != NO_LIMIT and equity * 100 <= base * (HUNDRED - pct)


def _of_equity(book: AccountBook, pct: Decimal | None) -> Decimal | None:
    return None if pct is None else percent_of(book.equity, pct)


def _decimal(value: int | None) -> Decimal | None:
    return None if value is None else Decimal(value)


def _ratio(value: Decimal, base: Decimal) -> Decimal:
    return value / base if is_positive(base) else (ZERO if not value else NO_LIMIT)


# --- gate 14 -----------------------------------------------------------------------------------------------------------


def account(trial: Trial) -> Check | None:
    """Gate 14. Losses, marks, then what the account would have at stake with this order."""
    return _currency(trial) or _losses(trial) or _reservation(trial) or _stakes(trial)


def _currency(trial: Trial) -> Check | None:
    ours, theirs = trial.book.portfolio.currency, trial.instrument.currency
    if ours != theirs:
        detail = f"{trial.instrument.symbol} trades in {theirs} and the account counts in {ours}: no rate between them is known."
        return trial.denied("Currency", Reason.NO_PRICE, detail)
    trial.passed("Currency")
    return None


def _losses(trial: Trial) -> Check | None:
    book, limits = trial.book.portfolio, trial.book.limits
    if limits.daily_loss_pct is None:
        return trial.unset("Daily loss", "daily_loss_pct", ACCOUNT_LEVEL)
    if limits.drawdown_pct is None:
        return trial.unset("Drawdown", "drawdown_pct", ACCOUNT_LEVEL)
    return _loss(trial, Reason.DAILY_LOSS, base=book.day_start_equity, pct=limits.daily_loss_pct) or _loss(
        trial, Reason.DRAWDOWN, base=book.peak_equity, pct=limits.drawdown_pct
    )


def _loss(trial: Trial, reason: Reason, *, base: Decimal, pct: Decimal) -> Check | None:
    equity = trial.book.portfolio.equity
    gate, words = _LOSSES[reason]
    fallen = fallen_pct(equity, base)
    if not has_fallen(equity, base, pct):
        trial.passed(gate, fallen, pct, ACCOUNT_LEVEL)
        return None
    detail = f"Equity {number(equity)} is {number(fallen)} % below {words} of {number(base)}; the limit is {number(pct)} %."
    if is_positive(base) and pct.is_finite():
        detail += f" Entries pass above {number(base * (HUNDRED - pct) / 100)}."
    return trial.denied(gate, reason, detail, observed=fallen, limit=pct, level=ACCOUNT_LEVEL)


def _reservation(trial: Trial) -> Check | None:
    """Work out what the order sets aside; nothing to see when it can be known."""
    collar, quote = trial.book.settings.values.price_collar_pct, trial.proposal.quote
    if collar is None:
        return trial.unset("Buying power", "price_collar_pct")
    assert quote is not None, "gate 5 runs before"
    px = reservation_price(
        side=trial.proposal.side,
        ord_type=trial.proposal.ord_type,
        price=trial.price,
        stop_px=trial.stop_px,
        reference=quote.reference(trial.proposal.side),
        collar_pct=collar,
    )
    trial.reserve_px = px * trial.instrument.contract_value
    return None


class _Room:
    """The account without the order, and the order's own symbol with it: the numbers the tests of a stake share."""

    __slots__ = ("down", "own", "stake", "up", "worst")

    def __init__(self, trial: Trial) -> None:
        proposal, exposures = trial.proposal, trial.book.portfolio.exposures
        self.stake, self.own = Stake(), Stake()
        for symbol, exposure in exposures.items():
            (self.own if symbol == proposal.symbol else self.stake).add(exposure, bot=proposal.bot)
        order = trial.order_qty * trial.reserve_px
        self.up, self.down = self.own.up, self.own.down
        if proposal.side is Side.BUY:
            self.up += order
        else:
            self.down -= order
        #: exposure of the order's symbol if the order is taken
        self.worst = max(self.up, -self.down)

    @property
    def gross(self) -> Decimal:
        return self.stake.gross + self.worst

    def breakdown(self) -> str:
        """Where a gross exposure comes from."""
        before = self.stake.gross + self.own.gross
        standing = self.stake.open_value + self.own.open_value
        return f"{number(standing)} open + {number(before - standing)} working + {number(self.gross - before)} for this order."


def _stakes(trial: Trial) -> Check | None:
    room = _Room(trial)
    return (
        _marks(trial, room)
        or _positions(trial, room)
        or _gross(trial, room)
        or _net(trial, room)
        or _leverage(trial, room)
        or _concentration(trial, room)
        or _bot(trial, room)
        or _buying_power(trial, room)
    )


def _marks(trial: Trial, room: _Room) -> Check | None:
    age_max = trial.book.limits.mark_age_s_max
    if age_max is None:
        return trial.unset("Marks", "mark_age_s_max", ACCOUNT_LEVEL)
    unmarked = room.stake.unmarked or room.own.unmarked
    if unmarked:
        detail = f"The open position in {unmarked} has no usable mark, so equity and exposure are not known. Entries pass with one."
        return trial.denied("Marks", Reason.NO_PRICE, detail, limit=age_max, level=ACCOUNT_LEVEL)
    times = [at for at in (room.stake.oldest_mark_at, room.own.oldest_mark_at) if at is not None]
    age = age_ms(trial.at, min(times)) / 1000 if times else ZERO

    def old(limit: Decimal) -> str:
        return f"The oldest mark of an open position is {number(age)} s old; the limit is {number(limit)} s. Entries pass with a fresh one."

    return trial.within("Marks", Reason.NO_PRICE, age, age_max, level=ACCOUNT_LEVEL, explain=old)


def _positions(trial: Trial, room: _Room) -> Check | None:
    limit = trial.book.limits.positions_max
    if limit is None:
        return trial.unset("Positions", "positions_max", ACCOUNT_LEVEL)
    count = Decimal(room.stake.positions + 1)
    if room.own.positions:
        trial.passed("Positions", count, Decimal(limit), ACCOUNT_LEVEL)
        return None

    def many(limit: Decimal) -> str:
        return (
            f"{number(count)} symbols would be open or working; the limit is {number(limit)}. A symbol that already is would pass."
        )

    return trial.within("Positions", Reason.MAX_POSITIONS, count, Decimal(limit), level=ACCOUNT_LEVEL, explain=many)


def _gross(trial: Trial, room: _Room) -> Check | None:
    gross = room.gross

    def over(limit: Decimal) -> str:
        reach = _reach("Gross exposure", gross, limit)
        return f"{reach} {room.breakdown()} {_would_pass(trial, room, limit - room.stake.gross)}"

    return _of_equity_at_most(trial, Reason.GROSS_EXPOSURE, "gross_exposure_pct", gross, over)


def _net(trial: Trial, room: _Room) -> Check | None:
    net = max(room.stake.up + room.up, -room.stake.down - room.down)

    def over(limit: Decimal) -> str:
        cap = limit - room.stake.up if trial.proposal.side is Side.BUY else limit + room.stake.down
        return f"{_reach('Net exposure', net, limit)} {_would_pass(trial, room, cap)}"

    return _of_equity_at_most(trial, Reason.NET_EXPOSURE, "net_exposure_pct", net, over)


def _leverage(trial: Trial, room: _Room) -> Check | None:
    limit = trial.book.limits.leverage_max
    if limit is None:
        return trial.unset("Leverage", "leverage_max", ACCOUNT_LEVEL)
    equity, gross = trial.book.portfolio.equity, room.gross
    ratio = _ratio(gross, equity)
    if is_within(gross, percent_of(equity, limit * 100)):
        trial.passed("Leverage", ratio, limit, ACCOUNT_LEVEL)
        return None
    detail = (
        f"{_reach('Leverage', ratio, limit, '×')} {room.breakdown()} {_would_pass(trial, room, equity * limit - room.stake.gross)}"
    )
    return trial.denied("Leverage", Reason.LEVERAGE, detail, observed=ratio, limit=limit, level=ACCOUNT_LEVEL)


def _concentration(trial: Trial, room: _Room) -> Check | None:
    def over(limit: Decimal) -> str:
        return f"{_reach(f'Exposure to {trial.proposal.symbol}', room.worst, limit)} {_would_pass(trial, room, limit)}"

    return _of_equity_at_most(trial, Reason.CONCENTRATION, "concentration_pct", room.worst, over)


def _bot(trial: Trial, room: _Room) -> Check | None:
    observed = room.stake.bot_gross + room.worst

    def over(limit: Decimal) -> str:
        reach = _reach(f"Exposure of bot {trial.proposal.bot}", observed, limit)
        return f"{reach} {_would_pass(trial, room, limit - room.stake.bot_gross)}"

    return _of_equity_at_most(trial, Reason.BOT_EXPOSURE, "bot_exposure_pct", observed, over)


def _buying_power(trial: Trial, room: _Room) -> Check | None:
    leverage = trial.book.settings.values.leverage
    if leverage is None:
        return trial.unset("Buying power", "leverage")
    equity = trial.book.portfolio.equity
    free = equity - room.stake.margin - room.own.margin
    needed = max(room.worst / leverage - room.own.margin, ZERO)

    def short(limit: Decimal) -> str:
        texts = pair(needed, limit)
        cap = (limit + room.own.margin) * leverage
        return (
            f"The order needs {texts[0]} of margin at leverage {number(leverage)}; {texts[1]} is free: "
            f"equity {number(equity)} less {number(equity - limit)} in use. {_would_pass(trial, room, cap)}"
        )

    return trial.within("Buying power", Reason.BUYING_POWER, needed, free, level="equity", explain=short)


def _of_equity_at_most(
    trial: Trial, reason: Reason, field: str, observed: Decimal, explain: Callable[[Decimal], str]
) -> Check | None:
    gate = _OF_EQUITY[reason]
    pct: Decimal | None = getattr(trial.book.limits, field)
    if pct is None:
        return trial.unset(gate, field, ACCOUNT_LEVEL)
    limit = percent_of(trial.book.portfolio.equity, pct)
    return trial.within(gate, reason, observed, limit, level=ACCOUNT_LEVEL, explain=explain)


def _reach(what: str, observed: Decimal, limit: Decimal, unit: str = "") -> str:
    texts = pair(observed, limit)
    return f"{what} would reach {texts[0]}{unit}; the limit is {texts[1]}{unit}."


def _would_pass(trial: Trial, room: _Room, cap: Decimal) -> str:
    """How large the order could be if its symbol's exposure may reach `cap`."""
    taken = room.own.up if trial.proposal.side is Side.BUY else -room.own.down
    fits = trial.instrument.qty_floor((cap - taken) / trial.reserve_px)
    return f"Up to {number(fits)} would pass." if fits else "No quantity would pass."
