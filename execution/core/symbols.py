"""The risk state of one symbol: its session's result and its circuit breaker, fed by fills, judged anew by every edit, ended by time.

The rules are in `risk/core`; here is when they are asked. A timer stands at the end of every session and of every cooldown, so that
what has ended is also shown as ended when nothing trades.
"""

from __future__ import annotations

from decimal import Decimal

from execution.core.controls import SymbolState
from execution.core.messages import AskBrain
from execution.core.pnl import Booked
from execution.core.turn import Turn
from risk.core import circuit_breaker, session_pnl
from risk.core.settings import FlipPolicy, RiskSettings
from risk.core.units import Scope


def book(turn: Turn, symbol: str, booked: Booked, fee: Decimal) -> None:
    """Feed a fill. The session rolls first, so a late fill belongs to the session it is booked in."""
    held, values = turn.symbol(symbol), _values(turn, symbol)
    _roll(turn, held)
    if not booked.closed_qty:
        session_pnl.record_fee(held.session, fee=fee, gross=booked.realised, limit=values.session_loss_limit)
    elif session_pnl.record_close(held.session, gross=booked.realised, fee=fee, limit=values.session_loss_limit):
        circuit_breaker.record_loss(
            held.breaker,
            at=turn.at,
            limit=values.breaker_losses,
            window_s=values.breaker_window_s,
            cooldown_s=values.breaker_cooldown_s,
        )
        _watch_cooldown(turn, held, values)
    turn.touch("symbol", symbol, held)


def reverse(turn: Turn, symbol: str, *, gross: Decimal, fee: Decimal) -> None:
    """Take a booked result back, in the session of now."""
    held = turn.symbol(symbol)
    _roll(turn, held)
    session_pnl.reverse(held.session, gross=gross, fee=fee, limit=_values(turn, symbol).session_loss_limit)
    turn.touch("symbol", symbol, held)


def reevaluate(turn: Turn) -> None:
    """Judge every symbol by edited settings, at once."""
    for symbol, held in turn.state.symbols.items():
        values = _values(turn, symbol)
        session_pnl.reevaluate(held.session, limit=values.session_loss_limit)
        circuit_breaker.reevaluate(
            held.breaker,
            at=turn.at,
            limit=values.breaker_losses,
            window_s=values.breaker_window_s,
            cooldown_s=values.breaker_cooldown_s,
        )
        _watch_cooldown(turn, held, values)
        turn.touch("symbol", symbol, held)


def closed_by_opposite(turn: Turn, *, bot: str, symbol: str) -> None:
    """An opposite signal closes a position: where the policy says so, its brain is asked again once that is done."""
    if turn.index.effective(bot, symbol).values.flip_policy is FlipPolicy.CLOSE_THEN_OPEN:
        _flip(turn, turn.symbol(symbol), bot)


def flips(turn: Turn) -> None:
    """Ask again where an opposite signal has closed and nothing works any more; forget it where its exit ended without closing."""
    for symbol in sorted(turn.index.flipping):
        held, is_flat = turn.symbol(symbol), not turn.closable(symbol)
        if is_flat and not turn.index.orders.get(symbol):
            turn.emit(AskBrain(bot=held.flip_bot, symbol=symbol))
            _flip(turn, held, "")
        elif not is_flat and not turn.is_closing(symbol):
            _flip(turn, held, "")


def forget_flips(turn: Turn, scope: Scope) -> None:
    """Nobody in a scope is asked again: what a brain wanted before a halt or a stop is not wanted after it."""
    for symbol in sorted(turn.index.flipping):
        held = turn.symbol(symbol)
        if turn.in_scope(scope, bot=held.flip_bot, symbol=symbol):
            _flip(turn, held, "")


def _flip(turn: Turn, held: SymbolState, bot: str) -> None:
    held.flip_bot = bot
    if bot:
        turn.index.flipping.add(held.symbol)
    else:
        turn.index.flipping.discard(held.symbol)
    turn.touch("symbol", held.symbol, held)


def session_due(turn: Turn, symbol: str) -> None:
    """The session is over."""
    held = turn.symbol(symbol)
    _roll(turn, held)
    turn.touch("symbol", symbol, held)


def cooldown_due(turn: Turn, symbol: str) -> None:
    """The cooldown is over, unless an edit made it longer."""
    held, values = turn.symbol(symbol), _values(turn, symbol)
    if circuit_breaker.expire(held.breaker, at=turn.at, cooldown_s=values.breaker_cooldown_s):
        turn.touch("symbol", symbol, held)
    else:
        _watch_cooldown(turn, held, values)


def _roll(turn: Turn, held: SymbolState) -> None:
    settings = turn.state.settings
    sessions = settings.sessions_of(held.symbol) if settings is not None else ()
    if session_pnl.roll(held.session, at=turn.at, sessions=sessions) and held.session.session_end_at is not None:
        turn.wake_at(f"session:{held.symbol}", held.session.session_end_at)


def _watch_cooldown(turn: Turn, held: SymbolState, values: RiskSettings) -> None:
    ends_at = circuit_breaker.ends_at(held.breaker, cooldown_s=values.breaker_cooldown_s)
    if ends_at is not None:
        turn.wake_at(f"breaker:{held.symbol}", ends_at)


def _values(turn: Turn, symbol: str) -> RiskSettings:
    return turn.index.effective(turn.index.owner(symbol), symbol).values
