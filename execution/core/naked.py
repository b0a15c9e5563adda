"""Legs that fail: refusals, retries, targets given up, positions without a stop, legs that will not go."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from execution.core.brackets import STOP, TARGET, BracketState, has_stop
from execution.core.closing import CLOSE_RETRY_MS, LEG_RETRY_MS, close_bracket, retry_timer
from execution.core.messages import Leg
from execution.core.orders import STOP_LOSS, OrderState
from execution.core.turn import Turn
from risk.core.settings import NakedPolicy
from risk.core.verdict import Capability
from risk.core.wording import number

#: what holds where nobody set it: a position outlives the bot and the settings it was opened under
_LEG_RETRIES: Final = 3
_NAKED_AFTER_MS: Final = 1000


# --- refusals ------------------------------------------------------------------------------------------------------------


def leg_refused(turn: Turn, order: OrderState) -> None:
    """A leg ended without filling and without our asking: count it, and try again in a moment or give up."""
    bracket = turn.state.brackets.get(order.bracket_id)
    if bracket is None or not bracket.open_qty:
        return
    leg = STOP if order.purpose is STOP_LOSS else TARGET
    if leg is STOP:
        bracket.stop_tries += 1
    else:
        bracket.target_tries += 1
    turn.touch_bracket(bracket)
    tries = bracket.stop_tries if leg is STOP else bracket.target_tries
    turn.dirty[bracket.bracket_id] = None
    if tries <= retries(turn, bracket):
        turn.wake(retry_timer(bracket, leg), ms=LEG_RETRY_MS)
    elif (standing := _standing(turn, bracket, leg)) is not None:
        stay(turn, bracket, leg, standing, order.text or order.ord_rej_reason)
    elif leg is TARGET:
        _give_target_up(turn, bracket, order)
    else:
        call_naked(turn, bracket, f"the venue refused the stop {tries} times: {order.text or order.ord_rej_reason}")


def leg_accepted(turn: Turn, order: OrderState) -> None:
    """A leg works: its refusals are forgotten, and what is still uncovered was filled after the leg was sent."""
    bracket = turn.state.brackets.get(order.bracket_id)
    if bracket is None:
        return
    if order.purpose is STOP_LOSS:
        if bracket.naked_since is not None:
            bracket.naked_since = max(bracket.naked_since, order.created_at)
        if bracket.stop_tries:
            bracket.stop_tries = 0
            turn.touch_bracket(bracket)
    elif bracket.target_tries:
        bracket.target_tries = 0
        turn.touch_bracket(bracket)


def _standing(turn: Turn, bracket: BracketState, leg: Leg) -> OrderState | None:
    """A leg of this kind that rests, where the refused one should have taken its place."""
    ids = bracket.stop_ids if leg is STOP else bracket.target_ids
    found = [order for leg_id in ids if (order := turn.state.orders.get(leg_id)) is not None and order.is_resting]
    return found[-1] if found else None


def stay(turn: Turn, bracket: BracketState, leg: Leg, standing: OrderState, why: str) -> None:
    """The venue takes no leg at the new price: the old one stays where it is, and a person is told."""
    if leg is STOP:
        wanted, bracket.stop_px, bracket.stop_tries = bracket.stop_px, standing.stop_px, 0
        stays = standing.stop_px
    else:
        wanted, bracket.target_px, bracket.target_tries = bracket.target_px, standing.price, 0
        stays = standing.price
    standing.tries = 0
    turn.touch_bracket(bracket)
    turn.alarm(
        f"move:{bracket.bracket_id}",
        priority=2,
        title=f"The {leg.value} of {bracket.symbol} could not be moved",
        cause=f"The venue refused it at {number(wanted)}: {why}.",
        consequence=f"It stays at {number(stays)}.",
        to_do="Move it to a price that the venue takes.",
        bot=bracket.bot,
        symbol=bracket.symbol,
    )


def _give_target_up(turn: Turn, bracket: BracketState, order: OrderState) -> None:
    bracket.is_target_given_up = True
    turn.alarm(
        f"target:{bracket.bracket_id}",
        priority=2,
        title=f"No target for {bracket.symbol}",
        cause=f"The venue refused the target {bracket.target_tries} times: {order.text or order.ord_rej_reason}.",
        consequence="The stop stays; the position has no take-profit.",
        to_do="Arm the bracket with another target, or close by hand when it is time.",
        bot=bracket.bot,
        symbol=bracket.symbol,
    )


# --- naked -----------------------------------------------------------------------------------------------------------------


def watch_cover(turn: Turn, bracket: BracketState, *, is_covered: bool) -> None:
    """Keep `naked_since` true: while the cover is short, a timer counts our patience."""
    if is_covered:
        if bracket.naked_since is not None:
            bracket.naked_since = None
            turn.sleep(_naked_timer(bracket))
            turn.touch_bracket(bracket)
        if bracket.is_naked:
            bracket.is_naked = False
            turn.clear_alarm(f"naked:{bracket.bracket_id}")
            turn.touch_bracket(bracket)
    elif bracket.naked_since is None:
        bracket.naked_since = turn.at
        turn.wake(_naked_timer(bracket), ms=_naked_after_ms(turn, bracket))
        turn.touch_bracket(bracket)


def naked_due(turn: Turn, bracket_id: str) -> None:
    """The patience with a missing stop is over, unless what is missing was filled only now."""
    bracket = turn.state.brackets.get(bracket_id)
    if bracket is None or bracket.naked_since is None:
        return
    waited_ms = (turn.at - bracket.naked_since).total_seconds() * 1000
    left_ms = _naked_after_ms(turn, bracket) - waited_ms
    if left_ms > 0:
        turn.wake(_naked_timer(bracket), ms=left_ms)
        return
    call_naked(turn, bracket, f"no stop works at the venue after {number(Decimal(int(waited_ms)))} ms")


def call_naked(turn: Turn, bracket: BracketState, cause: str) -> None:
    """A position has no stop that works: say so, and do what the settings say."""
    values = turn.index.effective(bracket.bot, bracket.symbol).values
    is_kept = values.naked_policy is NakedPolicy.KEEP
    if not bracket.is_naked:
        bracket.is_naked = True
        bracket.text = cause
        turn.touch_bracket(bracket)
    turn.alarm(
        f"naked:{bracket.bracket_id}",
        priority=1,
        title=f"{bracket.symbol} has no stop",
        cause=f"{cause[:1].upper()}{cause[1:]}.",
        consequence=f"{number(bracket.open_qty)} {bracket.symbol} is unprotected; "
        + ("it is kept, as its settings say." if is_kept else "it is being closed at market."),
        to_do="Arm it with another stop, or close the position."
        if is_kept
        else "Watch it close; close it at the venue if it does not.",
        bot=bracket.bot,
        symbol=bracket.symbol,
    )
    if not is_kept:
        close_bracket(turn, bracket)
    elif not bracket.is_stop_emulated:
        bracket.stop_tries = 0
        turn.wake(retry_timer(bracket, STOP), ms=CLOSE_RETRY_MS)


def unprotected(turn: Turn, bracket: BracketState) -> None:
    """Somebody wants a position without its stop: it is, and that is said for as long as it is so."""
    turn.alarm(
        f"nostop:{bracket.bracket_id}",
        priority=2,
        title=f"{bracket.symbol} has no stop",
        cause=bracket.waived_why,
        consequence=f"{number(bracket.open_qty)} {bracket.symbol} is open without protection.",
        to_do="Close the position, or arm it with a stop.",
        bot=bracket.bot,
        symbol=bracket.symbol,
    )


def orphaned(turn: Turn, bracket: BracketState) -> None:
    """The position is gone, and a leg of it is not."""
    reduces = turn.has(Capability.REDUCE_ONLY)
    turn.alarm(
        f"orphan:{bracket.bracket_id}",
        priority=2 if reduces else 1,
        title=f"A leg of {bracket.symbol} will not go",
        cause="The position is closed, and the venue keeps refusing to cancel a leg.",
        consequence=("The leg only reduces, so it opens nothing" if reduces else "If it fills it opens a position")
        + "; it is canceled again and again.",
        to_do="Cancel it at the venue.",
        bot=bracket.bot,
        symbol=bracket.symbol,
    )


def forget(turn: Turn, bracket: BracketState) -> None:
    """A closed bracket leaves no timer and no alarm behind."""
    bracket.naked_since = None
    bracket.is_naked = bracket.is_through = False
    for timer in (
        f"through:{bracket.bracket_id}",
        _naked_timer(bracket),
        retry_timer(bracket, STOP),
        retry_timer(bracket, TARGET),
        limit_timer(bracket),
    ):
        turn.sleep(timer)
    for alarm in ("naked", "target", "nostop", "orphan", "move"):
        turn.clear_alarm(f"{alarm}:{bracket.bracket_id}")


def covered_again(turn: Turn, bracket: BracketState) -> None:
    """A person armed it again: what was said of its missing legs is over."""
    if has_stop(bracket):
        turn.clear_alarm(f"nostop:{bracket.bracket_id}")
    if not bracket.is_target_given_up:
        turn.clear_alarm(f"target:{bracket.bracket_id}")
    turn.clear_alarm(f"move:{bracket.bracket_id}")


def retries(turn: Turn, bracket: BracketState) -> int:
    """Refusals of a leg before it is given up."""
    found = turn.index.effective(bracket.bot, bracket.symbol).values.leg_retries
    return _LEG_RETRIES if found is None else found


def _naked_after_ms(turn: Turn, bracket: BracketState) -> int:
    found = turn.index.effective(bracket.bot, bracket.symbol).values.naked_after_ms
    return _NAKED_AFTER_MS if found is None else found


def limit_timer(bracket: BracketState) -> str:
    """The timer of a position's time limit."""
    return f"limit:{bracket.bracket_id}"


def _naked_timer(bracket: BracketState) -> str:
    return f"naked:{bracket.bracket_id}"
