"""Checks in words: the sentence of each, and what a Signal's row keeps of it.

A passing check is made at every order and read at almost none, so it holds numbers only and its sentence is made here, when
someone looks. A denial brings its own sentence.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final, NamedTuple

from risk.core.units import NO_LIMIT
from risk.core.verdict import Check

#: powers of ten between which a number is written with its digits
_LARGEST: Final = 30
_SMALLEST: Final = -12


class Words(NamedTuple):
    """How a passing check reads. `{observed}` and `{bound}` ("the limit is 140,000") are filled in; `unit` follows each number.

    `is_exact` marks prices and quantities, where every digit counts.
    """

    sentence: str
    unit: str = ""
    is_exact: bool = False

    def observed(self, value: Decimal | None) -> str:
        text = exact(value) if self.is_exact else number(value)
        return f"{text}{self.unit}" if value is not None and value.is_finite() else text

    def limit(self, value: Decimal | None) -> str:
        is_chosen = value is not None and value.is_infinite() and value == NO_LIMIT
        return "no limit" if is_chosen else self.observed(value)


#: Every check a gate makes, by its name.
WORDS: Final[dict[str, Words]] = {
    "Account ready": Words("Lease, journal, venue, prices and settings are in order."),
    "Halts": Words("No halt covers this order."),
    "Session loss": Words("The symbol's worst result this session is {observed}; {bound}."),
    "Circuit breaker": Words("{observed} losing closes in the window; {bound}."),
    "Price age": Words("The price is {observed} old; {bound}.", " ms"),
    "Feed lag": Words("The price was {observed} under way; {bound}.", " ms"),
    "Price frozen": Words("The price last changed {observed} ago; {bound}.", " s"),
    "Instrument": Words("The instrument is on the bot's list, tradable and open."),
    "Numbers": Words("Every price and size is a positive, finite number."),
    "Exit capacity": Words("Closes {observed} of the {limit} that may still be closed.", is_exact=True),
    "Confidence": Words("Confidence {observed} lies between 0 and 1."),
    "Stop and target": Words("Stop and target lie on the right sides of the entry."),
    "Least stop distance": Words("The stop is {observed} from the entry; at least {limit} is asked.", " %"),
    "Stop distance": Words("The stop is {observed} from the entry; {bound}.", " %"),
    "Entries in flight": Words("This would be entry {observed} in flight; {bound}."),
    "Adds": Words("This would be add number {observed} to what is open or on its way; {bound}."),
    "Size": Words("Sized to {observed}; {bound}.", is_exact=True),
    "Minimum notional": Words("The order is worth {observed}; the instrument's minimum is {limit}."),
    "Venue's size": Words("The order is for {observed}; the venue takes it.", is_exact=True),
    "Order quantity": Words("The order is for {observed}; {bound}.", is_exact=True),
    "Order notional": Words("The order is worth {observed}; {bound}."),
    "Order share of equity": Words("The order is worth {observed}; {bound}, a share of equity."),
    "Price collar": Words("It would trade {observed} beyond the market; {bound}.", " %"),
    "Trade risk": Words("A stop that is hit costs {observed}; {bound}, a share of equity."),
    "Reward to risk": Words("Reward is {observed} times the risk; the least allowed is {limit}."),
    "Order kind": Words("The venue takes this kind of order."),
    "Protection": Words("The venue can hold this protection."),
    "Duplicate": Words("The same order was not let through in the last {limit}.", " s"),
    "Entry rate": Words("This would be entry {observed} of the bot within a second; {bound}."),
    "Entry rate of the account": Words("This would be entry {observed} of the account within a second; {bound}."),
    "Entries in an hour": Words("This would be entry {observed} of the bot within an hour; {bound}."),
    "Currency": Words("The instrument trades in the account's currency."),
    "Marks": Words("The oldest mark of an open position is {observed} old; {bound}.", " s"),
    "Daily loss": Words("Equity is {observed} below the day's opening; {bound}.", " %"),
    "Drawdown": Words("Equity is {observed} below its peak; {bound}.", " %"),
    "Positions": Words("Open symbols would be {observed}; {bound}."),
    "Gross exposure": Words("Gross exposure would reach {observed}; {bound}."),
    "Net exposure": Words("Net exposure would reach {observed}; {bound}."),
    "Leverage": Words("Leverage would reach {observed}; {bound}.", "×"),
    "Concentration": Words("Exposure to this symbol would reach {observed}; {bound}."),
    "Bot exposure": Words("The bot's exposure would reach {observed}; {bound}."),
    "Buying power": Words("The order needs {observed} of margin; {limit} is free."),
}


def number(value: Decimal | int | None) -> str:
    """An amount or a percentage for people: grouped thousands, two decimals above one, four digits below, no trailing zeros."""
    plain = _plain(value)
    if isinstance(plain, str):
        return plain
    return _trimmed(f"{plain:,.2f}" if abs(plain) >= 1 else f"{plain:.{3 - plain.adjusted()}f}")


def exact(value: Decimal | int | None) -> str:
    """A price or a quantity for people: every digit, grouped thousands, no trailing zeros."""
    plain = _plain(value)
    return plain if isinstance(plain, str) else _trimmed(f"{plain:,f}")


def pair(observed: Decimal | int, limit: Decimal | int) -> tuple[str, str]:
    """Two numbers of one comparison; with every digit where rounding would make them look alike."""
    texts = number(observed), number(limit)
    return (exact(observed), exact(limit)) if texts[0] == texts[1] else texts


def describe(check: Check) -> str:
    """The sentence of a check: its own for a denial, made from its numbers for a pass."""
    if check.detail:
        return check.detail
    words = WORDS[check.gate]
    limit = words.limit(check.limit)
    bound = "there is no limit" if limit == "no limit" else f"the limit is {limit}"
    return words.sentence.format(observed=words.observed(check.observed), limit=limit, bound=bound)


def check_as_dict(check: Check) -> dict[str, Any]:
    """What a Signal's row keeps and the console shows of a check."""
    words = WORDS[check.gate]
    return {
        "gate": check.gate,
        "is_passed": check.is_passed,
        "observed": words.observed(check.observed),
        "limit": words.limit(check.limit),
        "level": check.level,
        "detail": describe(check),
        "reason": check.reason,
    }


def _plain(value: Decimal | int | None) -> Decimal | str:
    """The number itself where its digits can be written, else the words for it."""
    if value is None:
        return ""
    value = Decimal(value)
    if value.is_nan():
        return "not a number"
    if value.is_infinite():
        return "infinite" if value > 0 else "minus infinite"
    if not value:
        return "0"
    return value if _SMALLEST <= value.adjusted() <= _LARGEST else f"{value:.3E}"


def _trimmed(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text
