"""The account's limits: gate 14, and the readings that a meter shows.

Rules.
- Equity includes open positions at marks; a position whose mark is missing or old has no known value, so it stops entries.
- A loss trips at its limit (`<=`); everything else may reach its limit and not pass it.
- Percentages are of equity. The margin of a symbol is its exposure ÷ its leverage; what equity exceeds all margins by is free to
  buy with. For a symbol without leverage that is cash less working buys.
- Check and reserve are one step: the order on trial is counted as if it worked already, and the Desk books its reservation in the
  event that approved it.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final, NamedTuple

import msgspec

from risk.core.reservations import reservation_price
from risk.core.settings import AccountLimits
from risk.core.sizing import is_positive
from risk.core.stake import Room
from risk.core.trial import ACCOUNT_LEVEL, Bound, Trial, age_s, is_within, percent_of
from risk.core.units import HUNDRED, NO_LIMIT, ZERO
from risk.core.verdict import Check, Reason
from risk.core.wording import exact, number, pair

# --- readings ----------------------------------------------------------------------------------------------------------


#: a reading is near its limit from here on, in percent of it
NEAR_PCT: Final = Decimal(80)


class Reading(msgspec.Struct, frozen=True):
    """One number of the account against its limit, for a meter. `limit` is None while unset; NO_LIMIT is a choice. `unit` follows both.

    `observed` is NaN where it cannot be known.
    """

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

    @property
    def is_near(self) -> bool:
        """Worth a look: at NEAR_PCT or more, or nobody can say: a limit is unset or a number unknown."""
        if self.limit is None or not self.observed.is_finite():
            return True
        used = self.used_pct
        return used is not None and used >= NEAR_PCT

    @property
    def is_reached(self) -> bool:
        used = self.used_pct
        return used is not None and used >= HUNDRED


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What an account has and has at stake, as its row keeps it. `gross` and `net` as `stake_of()` counts them."""

    equity: Decimal
    day_start_equity: Decimal
    peak_equity: Decimal
    gross: Decimal
    net: Decimal
    positions: int


def readings(standing: Standing, limits: AccountLimits) -> tuple[Reading, ...]:
    """The account's limits, each with the number it bounds, measured as gate 14 measures them. Judges nothing."""
    equity, day_start, peak = standing.equity, standing.day_start_equity, standing.peak_equity
    return (
        Reading(Reason.DAILY_LOSS, "Daily loss", fallen_pct(equity, day_start), limits.daily_loss_pct, " %"),
        Reading(Reason.DRAWDOWN, "Drawdown", fallen_pct(equity, peak), limits.drawdown_pct, " %"),
        Reading(Reason.MAX_POSITIONS, "Positions and entries", Decimal(standing.positions), _decimal(limits.positions_max)),
        Reading(Reason.GROSS_EXPOSURE, "Gross exposure", standing.gross, _of_equity(equity, limits.gross_exposure_pct)),
        Reading(Reason.NET_EXPOSURE, "Net exposure", standing.net, _of_equity(equity, limits.net_exposure_pct)),
        Reading(Reason.LEVERAGE, "Leverage", _ratio(standing.gross, equity), limits.leverage_max, "×"),
    )


def fallen_pct(equity: Decimal, base: Decimal) -> Decimal:
    """How many percent `equity` lies below `base`; 0 when not below, 100 when either cannot be read."""
    if not (equity.is_finite() and is_positive(base)):
        return HUNDRED
    return (base - equity) * 100 / base if equity < base else ZERO


def has_fallen(equity: Decimal, base: Decimal, pct: Decimal) -> bool:
    """Whether a loss limit of `pct` percent below `base` is reached. An equity, base or limit that cannot be read is a breach."""
    if not (equity.is_finite() and is_positive(base)) or pct.is_nan():
        return True
    return pct != NO_LIMIT and equity * 100 <= base * (HUNDRED - pct)


def _of_equity(equity: Decimal, pct: Decimal | None) -> Decimal | None:
    return None if pct is None else percent_of(equity, pct)


def _decimal(value: int | None) -> Decimal | None:
    return None if value is None else Decimal(value)


def _ratio(value: Decimal, base: Decimal) -> Decimal:
    return value / base if is_positive(base) else (ZERO if not value else NO_LIMIT)


# --- gate 14 -----------------------------------------------------------------------------------------------------------


def account(trial: Trial) -> Check | None:
    """Gate 14. Losses, marks, then what the account would have at stake with this order."""
    limits, book = trial.book.limits, trial.book.portfolio
    return (
        _currency(trial)
        or _loss(trial, _DAILY_LOSS, pct=limits.daily_loss_pct, base=book.day_start_equity)
        or _loss(trial, _DRAWDOWN, pct=limits.drawdown_pct, base=book.peak_equity)
        or _reservation(trial)
        or _stakes(trial)
    )


def _currency(trial: Trial) -> Check | None:
    ours, theirs = trial.book.portfolio.currency, trial.instrument.currency
    if ours != theirs:
        detail = f"{trial.instrument.symbol} trades in {theirs} and the account counts in {ours}: no rate between them is known."
        return trial.denied("Currency", Reason.NO_PRICE, detail)
    trial.passed("Currency")
    return None


class _Fall(NamedTuple):
    """A loss limit: its check, its code, its field, and what it is measured from."""

    gate: str
    reason: Reason
    field: str
    since: str


_DAILY_LOSS: Final = _Fall("Daily loss", Reason.DAILY_LOSS, "daily_loss_pct", "the day's opening")
_DRAWDOWN: Final = _Fall("Drawdown", Reason.DRAWDOWN, "drawdown_pct", "its peak")


def _loss(trial: Trial, fall: _Fall, *, pct: Decimal | None, base: Decimal) -> Check | None:
    if pct is None:
        return trial.unset(fall.gate, fall.field, ACCOUNT_LEVEL)
    equity = trial.book.portfolio.equity
    fallen = fallen_pct(equity, base)
    if not has_fallen(equity, base, pct):
        trial.passed(fall.gate, fallen, pct, ACCOUNT_LEVEL)
        return None
    if not (equity.is_finite() and is_positive(base)):
        detail = f"Equity is {number(equity)} and {fall.since} was {number(base)}: how far it fell cannot be known."
        return trial.denied(fall.gate, fall.reason, detail, limit=pct, level=ACCOUNT_LEVEL)
    detail = f"Equity {number(equity)} is {number(fallen)} % below {fall.since} of {number(base)}; the limit is {number(pct)} %."
    if pct.is_finite():
        detail += f" Entries pass above {number(percent_of(base, HUNDRED - pct))}."
    return trial.denied(fall.gate, fall.reason, detail, observed=fallen, limit=pct, level=ACCOUNT_LEVEL)


def _reservation(trial: Trial) -> Check | None:
    """Work out what the order sets aside; it is tested as part of every stake."""
    collar = trial.values.price_collar_pct
    if collar is None:
        return trial.unset("Buying power", "price_collar_pct")
    px = reservation_price(
        is_buy=trial.is_buy,
        price=trial.price,
        stop_px=trial.stop_px,
        reference=trial.quote.ask if trial.is_buy else trial.quote.bid,
        collar_pct=collar,
        is_inverse=trial.instrument.is_inverse,
    )
    trial.reserve_px = trial.instrument.unit_value(px)
    return None


def _stakes(trial: Trial) -> Check | None:
    room = trial.room = Room(
        trial.book.portfolio.exposures,
        symbol=trial.proposal.symbol,
        bot=trial.proposal.bot,
        is_buy=trial.is_buy,
        order=trial.order_qty * trial.reserve_px,
    )
    equity, others = trial.book.portfolio.equity, room.others
    net = max(others.up + room.up, -others.down - room.down)
    return (
        _marks(trial, room)
        or _positions(trial, room)
        or trial.at_most_of_account(_GROSS, room.gross, of=equity)
        or trial.at_most_of_account(_NET, net, of=equity)
        or _leverage(trial, room)
        or trial.at_most_of_account(_CONCENTRATION, room.worst, of=equity)
        or trial.at_most_of_account(_BOT, others.bot_gross + room.worst, of=equity)
        or _buying_power(trial, room)
    )


def _marks(trial: Trial, room: Room) -> Check | None:
    age_max = trial.book.limits.mark_age_s_max
    if age_max is None:
        return trial.unset("Marks", "mark_age_s_max", ACCOUNT_LEVEL)
    unmarked = room.others.unmarked or room.own.unmarked
    if unmarked:
        detail = f"The open position in {unmarked} has no usable mark, so equity and exposure are not known. Entries pass with one."
        return trial.denied("Marks", Reason.NO_PRICE, detail, limit=age_max, level=ACCOUNT_LEVEL)
    age = ZERO
    for oldest_at in (room.others.oldest_mark_at, room.own.oldest_mark_at):
        if oldest_at is not None:
            age = max(age, age_s(trial.at, oldest_at))
    return trial.at_most_of_account(_MARKS, age)


def _positions(trial: Trial, room: Room) -> Check | None:
    limit = trial.book.limits.positions_max
    if limit is None:
        return trial.unset("Positions", "positions_max", ACCOUNT_LEVEL)
    count = Decimal(room.others.positions + 1)
    if room.own.positions:
        trial.passed("Positions", count, Decimal(limit), ACCOUNT_LEVEL)
        return None
    return trial.at_most_of_account(_POSITIONS, count)


def _leverage(trial: Trial, room: Room) -> Check | None:
    limit = trial.book.limits.leverage_max
    if limit is None:
        return trial.unset("Leverage", "leverage_max", ACCOUNT_LEVEL)
    equity = trial.book.portfolio.equity
    ratio = _ratio(room.gross, equity)
    if limit == NO_LIMIT or is_within(room.gross, equity * limit):
        trial.passed("Leverage", ratio, limit, ACCOUNT_LEVEL)
        return None
    reach, fits = _reach("Leverage", ratio, limit, "×"), _would_pass(trial, equity * limit - room.others.gross)
    detail = f"{reach} {_breakdown(room)} {fits}"
    return trial.denied("Leverage", Reason.LEVERAGE, detail, observed=ratio, limit=limit, level=ACCOUNT_LEVEL)


def _buying_power(trial: Trial, room: Room) -> Check | None:
    leverage = trial.values.leverage
    if leverage is None:
        return trial.unset("Buying power", "leverage")
    free = trial.book.portfolio.equity - room.others.margin - room.own.margin
    needed = max(room.worst / leverage - room.own.margin, ZERO)
    return trial.within(_BUYING_POWER, needed, free, "equity")


# --- sentences of gate 14 ----------------------------------------------------------------------------------------------


def _marks_sentence(trial: Trial, age: Decimal, limit: Decimal) -> str:
    texts = pair(age, limit)
    return f"The oldest mark of an open position is {texts[0]} s old; the limit is {texts[1]} s. Entries pass with a fresh one."


def _positions_sentence(trial: Trial, count: Decimal, limit: Decimal) -> str:
    return f"{number(count)} symbols would be open or working; the limit is {number(limit)}. A symbol that already is would pass."


def _gross_sentence(trial: Trial, gross: Decimal, limit: Decimal) -> str:
    room = _room(trial)
    return f"{_reach('Gross exposure', gross, limit)} {_breakdown(room)} {_would_pass(trial, limit - room.others.gross)}"


def _net_sentence(trial: Trial, net: Decimal, limit: Decimal) -> str:
    others = _room(trial).others
    cap = limit - others.up if trial.is_buy else limit + others.down
    return f"{_reach('Net exposure', net, limit)} {_would_pass(trial, cap)}"


def _concentration_sentence(trial: Trial, worst: Decimal, limit: Decimal) -> str:
    return f"{_reach(f'Exposure to {trial.proposal.symbol}', worst, limit)} {_would_pass(trial, limit)}"


def _bot_sentence(trial: Trial, gross: Decimal, limit: Decimal) -> str:
    reach = _reach(f"Exposure of bot {trial.proposal.bot}", gross, limit)
    return f"{reach} {_would_pass(trial, limit - _room(trial).others.bot_gross)}"


def _buying_power_sentence(trial: Trial, needed: Decimal, free: Decimal) -> str:
    equity, leverage = trial.book.portfolio.equity, trial.values.leverage or ZERO
    texts, cap = pair(needed, free), (free + _room(trial).own.margin) * leverage
    return (
        f"The order needs {texts[0]} of margin at leverage {number(leverage)}; {texts[1]} is free: "
        f"equity {number(equity)} less {number(equity - free)} in use. {_would_pass(trial, cap)}"
    )


def _reach(what: str, observed: Decimal, limit: Decimal, unit: str = "") -> str:
    texts = pair(observed, limit)
    return f"{what} would reach {texts[0]}{unit}; the limit is {texts[1]}{unit}."


def _breakdown(room: Room) -> str:
    """Where a gross exposure comes from."""
    before = room.others.gross + room.own.gross
    standing = room.others.open_value + room.own.open_value
    return f"{number(standing)} open + {number(before - standing)} working + {number(room.gross - before)} for this order."


def _would_pass(trial: Trial, cap: Decimal) -> str:
    """How large the order could be if its symbol's exposure may reach `cap`."""
    own = _room(trial).own
    taken = own.up if trial.is_buy else -own.down
    fits = trial.instrument.qty_floor((cap - taken) / trial.reserve_px)
    return f"Up to {exact(fits)} would pass." if fits else "No quantity would pass."


def _room(trial: Trial) -> Room:
    assert trial.room is not None, "stakes are known before they are tested"
    return trial.room


# --- the limits of gate 14 ---------------------------------------------------------------------------------------------

_MARKS: Final = Bound("Marks", Reason.NO_PRICE, "mark_age_s_max", _marks_sentence)
_POSITIONS: Final = Bound("Positions", Reason.MAX_POSITIONS, "positions_max", _positions_sentence)
_GROSS: Final = Bound("Gross exposure", Reason.GROSS_EXPOSURE, "gross_exposure_pct", _gross_sentence)
_NET: Final = Bound("Net exposure", Reason.NET_EXPOSURE, "net_exposure_pct", _net_sentence)
_CONCENTRATION: Final = Bound("Concentration", Reason.CONCENTRATION, "concentration_pct", _concentration_sentence)
_BOT: Final = Bound("Bot exposure", Reason.BOT_EXPOSURE, "bot_exposure_pct", _bot_sentence)
_BUYING_POWER: Final = Bound("Buying power", Reason.BUYING_POWER, "leverage", _buying_power_sentence)
