"""How often a bot enters: each approval is counted, and the one that uses its hour up latches a halt on the bot.

The limits are tested by gate 13. Here is what the gate reads, changed by nothing but journaled approvals and a person's clear.
"""

from __future__ import annotations

from execution.core.halts import latch
from execution.core.orders import OrderState
from execution.core.turn import Turn
from risk.core.throttle import Approval, Throttle, forget, in_hour, record
from risk.core.units import Scope, ScopeKind
from risk.core.verdict import HaltCause


def approved(turn: Turn, entry: OrderState, *, is_slice: bool = False) -> None:
    """Count an entry that was let through. The last one of its hour stays; nothing of its bot comes after it.

    A later slice of an entry counts for the rates alone.
    """
    throttle = turn.state.throttles.setdefault(entry.bot, Throttle())
    record(
        throttle, Approval(turn.at, entry.symbol, entry.side, entry.order_qty, entry.price, entry.stop_px), is_entry=not is_slice
    )
    limit = turn.index.effective(entry.bot, entry.symbol).values.repeated_execution_max
    if not is_slice and limit is not None and in_hour(throttle, turn.at) >= limit:
        _latch(turn, entry, limit)


def _latch(turn: Turn, last: OrderState, limit: int) -> None:
    scope = Scope(ScopeKind.BOT, last.bot)
    if any(halt.cause is HaltCause.REPEATED_EXECUTION and halt.scope == scope for halt in turn.state.halts.values()):
        return
    latch(
        turn,
        scope,
        HaltCause.REPEATED_EXECUTION,
        f"{last.bot} entered {limit} times within an hour, as often as it may before a person has looked.",
        title=f"{last.bot} used its entries up",
        to_do="Look at what it traded; clearing the halt lets it count anew.",
        spared=last.cl_ord_id,
    )


def cleared(turn: Turn, bot: str) -> str:
    """A person looked: the bot's hour counts anew. Returns the sentence that says so."""
    throttle = turn.state.throttles.get(bot)
    if throttle is None:
        return ""
    forget(throttle)
    turn.is_changed = True
    return f" The entries of {bot} count from now."
