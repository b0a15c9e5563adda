"""The sessions that are recorded: what happens when, at which venue, and what the money comes to when it is reckoned by hand.

Prices are bids, and an ask is a tick (0.1) above. One lot is 0.001 BTC, a fee is 5 bps of what was traded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from random import Random
from typing import Any, Final, NamedTuple

import msgspec

from execution.core.messages import CommandKind, Decision, KillChoice, Leg, SignalKind, StopMode
from execution.simulator import people
from execution.simulator.histories import played
from execution.simulator.scene import ACCOUNT, VENUES, Scene, limits_of, risk_of, scene_of
from execution.simulator.wire import Fate, What
from execution.simulator.world import Act, World
from risk.core.settings import FlipPolicy, NakedPolicy, Profile, UnsupportedProtection
from risk.core.units import NO_LIMIT, OrdType, ScopeKind
from risk.core.verdict import HaltMode, HintKind, SizeHint
from tests.golden.recordings import Recording, recorded

D = Decimal
BTC: Final = "BTCUSDT"
_TICK: Final = D("0.1")
_LOT: Final = D("0.001")
_NOON: Final = datetime(2026, 1, 5, 12, tzinfo=UTC)
#: a scene with BTCUSDT alone and quick timing
_SEED: Final = 4

#: nothing but what the session is about stands in the way
_WIDE: Final[dict[str, Any]] = {
    "session_loss_limit": D(-100_000),
    "breaker_losses": 1000,
    "order_notional_max": D(50_000),
    "order_qty_max": NO_LIMIT,
    "adds_max": 5,
    "entries_in_flight_max": 3,
    "entry_ttl_s": 300,
    "flip_policy": FlipPolicy.CLOSE_ONLY,
    "unsupported_protection": UnsupportedProtection.EMULATE,
    "naked_policy": NakedPolicy.CLOSE_POSITION,
}
_FAR: Final[dict[str, Any]] = {"daily_loss_pct": D(50), "positions_max": 10, "gross_exposure_pct": D(400)}


class Session(NamedTuple):
    """One recorded session. `realised` and `fees` are reckoned by hand: the reckoning stands beside the acts."""

    about: str
    venue: str
    acts: tuple[Act, ...]
    realised: Decimal
    fees: Decimal


def scene_for(session: Session) -> Scene:
    """Where the session happens."""
    venue = next(kind for kind in VENUES if kind.name == session.venue)
    drawn = scene_of(_SEED, venue=venue)
    base = risk_of(Random(_SEED), **_WIDE)
    settings = msgspec.structs.replace(
        drawn.settings, profiles={"base": Profile(code="base", base=base)}, limits=limits_of(Random(_SEED), **_FAR)
    )
    return msgspec.structs.replace(drawn, settings=settings, begin_at=_NOON, snapshot_every=50, manners=frozenset())


def play(session: Session) -> Recording:
    """Let the session happen, with whole engines in virtual time."""
    world = played(scene_for(session), session.acts)
    assert world.auditor.broken is None, world.auditor.broken.told()
    return recorded(session.about, ACCOUNT, [entry.event for entry in world.rows.load(with_image=False).tail])


# --- the words of a session --------------------------------------------------------------------------------------------------


def price(at: float, bid: str) -> Act:
    """The market moves."""
    return at, lambda world: world.quote(BTC, D(bid), D(bid) + _TICK)


def decide(at: float, signal: SignalKind, lots: int = 100, **terms: Any) -> Act:
    """The brain decides."""
    decision = Decision(signal=signal, hint=SizeHint(HintKind.QUANTITY, _LOT * lots), **terms)

    def act(world: World) -> None:
        world.strings[BTC].append(lambda quote, view: decision)
        world.repeat(BTC)

    return at, act


def close(at: float) -> Act:
    """The brain decides to close."""
    return decide(at, SignalKind.CLOSE)


def ask(at: float, kind: CommandKind, *, scope: ScopeKind = ScopeKind.ACCOUNT, choice: KillChoice = KillChoice.CANCEL) -> Act:
    """A person asks."""
    args = {
        "kind": kind,
        "scope": scope,
        "key": {ScopeKind.ACCOUNT: ACCOUNT, ScopeKind.BOT: "alpha"}[scope],
        "mode": HaltMode.HALTED,
        "choice": choice,
        "stop_mode": StopMode.NOW,
        "leg": Leg.STOP,
        "pick": 0,
        "bps": 0,
    }
    return at, lambda world: people.do_command(world, **args)


def crash(at: float, *, turns: int = 0, at_write: bool = False) -> Act:
    """The engine dies, so many turns from now or from its next commit, and another one rises."""
    return at, lambda world: world.crash(turns=turns, at_write=at_write)


def happens(at: float, what: Callable[[World], None]) -> Act:
    return at, what


def _fees(*trades: str) -> Decimal:
    """What "quantity price" cost in fees."""
    return sum((D(qty) * D(px) for qty, px in map(str.split, trades)), D(0)) * D("0.0005")


_BUY, _SELL = SignalKind.BUY, SignalKind.SELL
_LIMIT: Final = OrdType.LIMIT

SESSIONS: Final[Mapping[str, Session]] = {
    "brackets": Session(
        "a long that ends at its target, filled in two parts, and a short that ends at its stop",
        "reduces",
        (
            happens(3.0, lambda world: setattr(world.venue, "share", D("0.5"))),
            decide(3.1, _BUY, stop_loss=D(59_400), take_profit=D(61_200)),
            happens(3.2, lambda world: setattr(world.venue, "share", D(1))),
            price(3.3, "60050"),
            price(6.0, "61200"),
            decide(8.0, _SELL, stop_loss=D(61_800), take_profit=D(60_000)),
            price(9.0, "61500"),
            price(10.0, "61800"),
        ),
        realised=D("0.05") * (61_200 - D("60000.1")) + D("0.05") * (61_200 - D("60050.1")) + D("0.1") * (61_200 - D("61800.1")),
        fees=_fees("0.05 60000.1", "0.05 60050.1", "0.1 61200", "0.1 61200", "0.1 61800.1"),
    ),
    "spot": Session(
        "a target that is watched here, because the venue would count it and the stop twice",
        "spot",
        (
            decide(3.0, _BUY, stop_loss=D(59_400), take_profit=D(60_600)),
            price(5.0, "60300"),
            price(6.0, "60600"),
            price(8.0, "60200"),
            decide(9.0, _BUY, stop_loss=D(59_900), take_profit=D(60_900)),
            price(11.0, "59900"),
        ),
        realised=D("0.1") * (60_600 - D("60000.1")) + D("0.1") * (59_900 - D("60200.1")),
        fees=_fees("0.1 60000.1", "0.1 60600", "0.1 60200.1", "0.1 59900"),
    ),
    "trailing": Session(
        "a stop that follows the price, at the venue as well, and closes behind its best",
        "replaces",
        (
            decide(3.0, _BUY, trail_offset=D(300)),
            price(4.0, "60400"),
            price(5.0, "61000"),
            crash(5.5),
            price(7.0, "60800"),
            price(8.0, "60700"),
        ),
        realised=D("0.1") * (61_000 - 300 - D("60000.1")),
        fees=_fees("0.1 60000.1", "0.1 60700"),
    ),
    "kill": Session(
        "a kill that flattens, with the engine dying in the middle of it, and a start afterwards",
        "opens with exits",
        (
            decide(3.0, _BUY, stop_loss=D(59_400), take_profit=D(61_200)),
            decide(4.0, _BUY, 50, ord_type=_LIMIT, price=D(59_800), stop_loss=D(59_400)),
            price(5.0, "60200"),
            ask(6.0, CommandKind.KILL, choice=KillChoice.CANCEL_FLATTEN),
            crash(6.0, turns=3, at_write=True),
            ask(15.0, CommandKind.CLEAR),
            ask(16.0, CommandKind.RESUME, scope=ScopeKind.BOT),
            ask(17.0, CommandKind.START, scope=ScopeKind.BOT),
            decide(20.0, _BUY, stop_loss=D(59_400)),
            close(22.0),
        ),
        realised=D("0.1") * (60_200 - D("60000.1")) + D("0.1") * (60_200 - D("60200.1")),
        fees=_fees("0.1 60000.1", "0.1 60200", "0.1 60200.1", "0.1 60200"),
    ),
    "busts": Session(
        "a trade that never was, and one that was at a price 50 bps higher; the venue keeps its fee",
        "reduces",
        (
            decide(3.0, _BUY, stop_loss=D(59_400), take_profit=D(61_200)),
            happens(5.0, lambda world: world.venue.bust(0)),
            decide(12.0, _BUY, stop_loss=D(59_400), take_profit=D(61_200)),
            happens(14.0, lambda world: world.venue.bust(0, px_bps=50)),
            price(15.0, "60100"),
            close(22.0),
        ),
        realised=D("0.1") * (60_100 - D("60000.1") * D("1.005")),
        fees=_fees("0.1 60000.1", "0.1 60100"),
    ),
    "funding": Session(
        "funding that is paid and received, once heard of only when the venue is asked",
        "reduces",
        (
            decide(3.0, _BUY, stop_loss=D(59_400)),
            happens(5.0, lambda world: world.venue.fund(BTC, 10)),
            price(6.0, "60500"),
            happens(7.0, lambda world: world.fates.add(What.REPORT, Fate("dropped"))),
            happens(7.1, lambda world: world.venue.fund(BTC, -2)),
            close(20.0),
        ),
        realised=D("0.1") * (60_500 - D("60000.1")) - D("0.1") * 60_000 * D("0.001") + D("0.1") * 60_500 * D("0.0002"),
        fees=_fees("0.1 60000.1", "0.1 60500"),
    ),
}
