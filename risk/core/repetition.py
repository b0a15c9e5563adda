"""Gate 13: not the same order again at once, not too many a second, not too many before a person has looked.

Rules.
- The windows belong to a bot. The limits are those in force for the symbol of the order on trial.
- A duplicate has the symbol, side, quantity and prices of an approval less than `duplicate_window_s` old; 0 asks for nothing.
- A rate counts the approvals of the last second, the order on trial among them: the bot's, and those of all bots of the account.
- The approval that reaches `repeated_execution_max` in an hour is the last: the event that records it latches a halt on the bot,
  and the person who clears that lets the hour count anew. This gate denies what would come after all the same.
- A later slice of an entry that was let through whole is no duplicate and no further entry; the rates count it.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from risk.core.throttle import Throttle, in_hour, in_second
from risk.core.trial import Bound, Trial, age_s
from risk.core.units import ONE, ZERO
from risk.core.verdict import Check, Reason
from risk.core.wording import exact, number, pair

_UNUSED: Final = Throttle()


def repetition(trial: Trial) -> Check | None:
    """Gate 13."""
    if trial.proposal.is_slice:
        return _rates(trial)
    return _duplicate(trial) or _rates(trial) or _repeated(trial)


def _duplicate(trial: Trial) -> Check | None:
    bound, window_s = _DUPLICATE, trial.values.duplicate_window_s
    if window_s is None:
        return trial.unset(bound.gate, bound.field)
    if not window_s.is_finite():
        return trial.at_least(bound, ZERO)
    same_at = _same_at(trial, window_s) if window_s else None
    if same_at is None:
        trial.passed(bound.gate, None, window_s, trial.levels[bound.field])
        return None
    return trial.at_least(bound, age_s(trial.at, same_at))


def _same_at(trial: Trial, window_s: Decimal) -> datetime | None:
    """When the same order was let through last, if that was within the window."""
    wanted = (trial.proposal.symbol, trial.proposal.side, trial.order_qty, trial.price, trial.stop_px)
    since = trial.at - timedelta(milliseconds=int(window_s * 1000) + 1)
    for done in reversed(_own(trial).recent):
        if done.at < since:
            return None
        if (done.symbol, done.side, done.order_qty, done.price, done.stop_px) == wanted:
            return done.at
    return None


def _rates(trial: Trial) -> Check | None:
    bot, at = trial.proposal.bot, trial.at
    own = in_second(_own(trial), at)
    denial = trial.at_most(_BOT_RATE, Decimal(own + 1))
    if denial is not None:
        return denial
    others = sum([in_second(throttle, at) for code, throttle in trial.book.throttles.items() if code != bot])
    return trial.at_most_of_account(_ACCOUNT_RATE, Decimal(own + others + 1))


def _repeated(trial: Trial) -> Check | None:
    return trial.at_most(_REPEATED, in_hour(_own(trial), trial.at) + ONE)


def _own(trial: Trial) -> Throttle:
    return trial.book.throttles.get(trial.proposal.bot, _UNUSED)


# --- sentences and limits ------------------------------------------------------------------------------------------------


def _duplicate_sentence(trial: Trial, age: Decimal, window: Decimal) -> str:
    texts, what = pair(age, window), f"{trial.proposal.side} {exact(trial.order_qty)} {trial.proposal.symbol}"
    return (
        f"The same order, {what}, was let through {texts[0]} s ago; the window is {texts[1]} s. Another size or price would pass."
    )


def _rate_sentence(trial: Trial, rate: Decimal, limit: Decimal) -> str:
    return (
        f"It would be entry {number(rate)} of bot {trial.proposal.bot} within a second; the limit is {number(limit)}. "
        "Entries pass a second later."
    )


def _account_rate_sentence(trial: Trial, rate: Decimal, limit: Decimal) -> str:
    return f"It would be entry {number(rate)} of the account within a second; the limit is {number(limit)}. Entries pass a second later."


def _repeated_sentence(trial: Trial, count: Decimal, limit: Decimal) -> str:
    return (
        f"It would be entry {number(count)} of bot {trial.proposal.bot} within an hour; the limit is {number(limit)}. "
        "Entries pass when the hour holds fewer, or a person raises the limit."
    )


_DUPLICATE: Final = Bound("Duplicate", Reason.DUPLICATE_ORDER, "duplicate_window_s", _duplicate_sentence)
_BOT_RATE: Final = Bound("Entry rate", Reason.ORDER_RATE, "order_rate_max", _rate_sentence)
_ACCOUNT_RATE: Final = Bound("Entry rate of the account", Reason.ORDER_RATE, "order_rate_max", _account_rate_sentence)
_REPEATED: Final = Bound("Entries in an hour", Reason.REPEATED_EXECUTION, "repeated_execution_max", _repeated_sentence)
