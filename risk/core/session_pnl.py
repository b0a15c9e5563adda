"""Session PnL of one symbol: what it won and lost since its session began, and whether that stops its entries.

Rules.
- Net is realised minus *all* fees, those of entries too. A loss trips at the limit (`<=`).
- The trip is a fact about the worst net of the session, not a flag: it survives a recovery, and an edited limit is judged at once.
- A session runs from one opening of the instrument's calendar to the next, or from midnight to midnight UTC. The Desk rolls it by
  `at` before it books a fill, so a late fill belongs to the session of the moment it is booked in. A clock that goes backwards rolls
  nothing.
- An amount that is not a finite number is a breach: it is not summed (one NaN would poison every later sum), it trips the session.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final

import msgspec

from risk.core.hours import Session, day_of
from risk.core.units import NO_LIMIT, ZERO

_BREACH: Final = Decimal("-Infinity")


class SessionPnl(msgspec.Struct):
    """Realised PnL of one symbol in the session that began at `session_start_at`, in the account's currency.

    `is_tripped` is what `is_over()` said at the last change: for rows and screens. Gates ask `is_over()`.
    """

    session_start_at: datetime | None = None
    session_end_at: datetime | None = None
    realised: Decimal = ZERO
    fees: Decimal = ZERO
    trades: int = 0
    wins: int = 0
    losses: int = 0
    breakevens: int = 0
    is_tripped: bool = False
    worst_net: Decimal = ZERO

    @property
    def net(self) -> Decimal:
        return self.realised - self.fees


def has_ended(session: SessionPnl, *, at: datetime) -> bool:
    """Whether `at` lies beyond the session: a new one has begun, booked or not."""
    return session.session_end_at is not None and at >= session.session_end_at


def roll(session: SessionPnl, *, at: datetime, sessions: Sequence[Session] = ()) -> bool:
    """Begin the session of `at` if it is not this one. True when it did. `sessions` are those of the instrument's calendar."""
    if session.session_end_at is not None and not has_ended(session, at=at):
        return False
    fresh = SessionPnl(*day_of(sessions, at))
    for field in SessionPnl.__struct_fields__:
        setattr(session, field, getattr(fresh, field))
    return True


def record_fee(session: SessionPnl, *, fee: Decimal, limit: Decimal | None, gross: Decimal = ZERO) -> None:
    """Charge the fee of a fill that closes nothing; `gross` is what a fee paid in kind realised. `limit` is the session_loss_limit in force."""
    _book(session, gross=gross, fee=fee, limit=limit)


def record_close(session: SessionPnl, *, gross: Decimal, fee: Decimal, limit: Decimal | None) -> bool:
    """Book the closed part of a fill: `gross` PnL and the fill's `fee`. True when it lost, for the circuit breaker."""
    session.trades += 1
    if not (gross.is_finite() and fee.is_finite()):
        session.losses += 1
        _book(session, gross=gross, fee=fee, limit=limit)
        return True
    net = gross - fee
    session.wins += net > 0
    session.losses += net < 0
    session.breakevens += net == 0
    _book(session, gross=gross, fee=fee, limit=limit)
    return net < 0


def reverse(session: SessionPnl, *, gross: Decimal, fee: Decimal, limit: Decimal | None) -> None:
    """Take a booked amount back (a busted fill). Counts stay: they say what was seen. The worst net stays too."""
    _book(session, gross=-gross, fee=-fee, limit=limit)


def is_over(session: SessionPnl, *, limit: Decimal | None, at: datetime) -> bool:
    """Whether the symbol may take no more entries this session. An unset limit is the gate's to refuse, not a trip."""
    return not has_ended(session, at=at) and _has_reached(session, limit)


def reevaluate(session: SessionPnl, *, limit: Decimal | None) -> None:
    """Judge the session by an edited limit at once."""
    session.is_tripped = _has_reached(session, limit)


def _book(session: SessionPnl, *, gross: Decimal, fee: Decimal, limit: Decimal | None) -> None:
    if gross.is_finite() and fee.is_finite():
        session.realised += gross
        session.fees += fee
        session.worst_net = min(session.worst_net, session.net)
    else:
        session.worst_net = _BREACH
    session.is_tripped = _has_reached(session, limit)


def _has_reached(session: SessionPnl, limit: Decimal | None) -> bool:
    if limit is None:
        return False
    return limit.is_nan() or (limit != NO_LIMIT and session.worst_net <= limit)
