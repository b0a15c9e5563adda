"""The steps a history is made of: one table of kinds, each with how it is drawn, done and told.

A step is drawn completely before anything runs, from chance of its own, and stands at a moment of its own: whichever are left out, the
others stay what they were. What it needs of the world it finds when it happens: "the third working order" may be none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from random import Random
from typing import Any, Final, NamedTuple

import msgspec

from execution.core.messages import Decision, SignalKind, View
from execution.simulator.scene import WARM_S, Scene
from execution.simulator.world import World
from risk.core.units import Quote, Side
from risk.core.verdict import HintKind, SizeHint

Args = dict[str, Any]


class Step(msgspec.Struct, frozen=True):
    """One thing that happens, `at` seconds after the beginning."""

    n: int
    at: float
    kind: str
    args: Args

    def told(self) -> str:
        return f"{self.n:>4} {self.at:9.3f} s  {KINDS[self.kind].say(**self.args)}"


class Drawing:
    """What drawing remembers from step to step: where prices are."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.prices = dict(scene.prices)


class Kind(NamedTuple):
    """A kind of step: how often, drawn how, done how, told how."""

    weight: float
    draw: Callable[[Random, Drawing], Args]
    do: Callable[..., None]
    say: Callable[..., str]


def steps_of(scene: Scene, count: int) -> tuple[Step, ...]:
    """The history of a scene's seed."""
    drawing, at = Drawing(scene), WARM_S
    names, weights = list(KINDS), [kind.weight for kind in KINDS.values()]
    steps = []
    for n in range(count):
        chance = Random(f"{scene.seed}/{n}")
        at = round(at + _pause(chance), 3)
        name = chance.choices(names, weights=weights)[0]
        steps.append(Step(n, at, name, KINDS[name].draw(chance, drawing)))
    return tuple(steps)


def _pause(chance: Random) -> float:
    """Mostly a moment, sometimes nothing, now and then long enough for timers to run out."""
    luck = chance.random()
    if luck < 0.25:
        return 0.0
    if luck > 0.97:
        return chance.uniform(1.0, 12.0)
    return min(chance.expovariate(8.0), 1.0)


# --- prices ------------------------------------------------------------------------------------------------------------


def _symbol(chance: Random, drawing: Drawing) -> str:
    return chance.choice(drawing.scene.symbols)


def _draw_price(chance: Random, drawing: Drawing) -> Args:
    symbol = _symbol(chance, drawing)
    tick = drawing.scene.settings.instruments[symbol].tick_size
    jump = chance.gauss(0, 0.002) if chance.random() < 0.9 else chance.gauss(0, 0.03)
    price = drawing.prices[symbol] * Decimal(f"{1 + jump:.6f}")
    price = max((price / tick).to_integral_value() * tick, tick)
    drawing.prices[symbol] = price
    return {"symbol": symbol, "bid": str(price), "ask": str(price + tick * chance.choice((1, 1, 2, 20)))}


def _do_price(world: World, symbol: str, bid: str, ask: str) -> None:
    world.quote(symbol, Decimal(bid), Decimal(ask))


# --- decisions ---------------------------------------------------------------------------------------------------------


def _draw_decision(chance: Random, drawing: Drawing) -> Args:
    return {
        "symbol": _symbol(chance, drawing),
        "signal": chance.choice(("BUY", "BUY", "SELL", "SELL", "CLOSE")),
        "lots": chance.choice((1, 5, 20, 100)),
        "stop_bps": chance.choice((20, 100, 300)),
        "target_bps": chance.choice((0, 30, 200, 600)),
    }


def _do_decision(world: World, *, symbol: str, signal: str, lots: int, stop_bps: int, target_bps: int) -> None:
    instrument = world.scene.settings.instruments[symbol]

    def mind(quote: Quote, view: View) -> Decision:
        if signal == "CLOSE":
            return Decision(signal=SignalKind.CLOSE)
        side = Side(signal)
        price, exit_side = quote.reference(side), side.opposite
        stop = price * (1 - side.sign * Decimal(stop_bps) / 10_000)
        target = price * (1 + side.sign * Decimal(target_bps) / 10_000)
        return Decision(
            signal=SignalKind(signal),
            hint=SizeHint(HintKind.QUANTITY, instrument.lot_size * lots),
            stop_loss=instrument.stop_price(stop, exit_side),
            take_profit=instrument.limit_price(target, exit_side) if target_bps else None,
        )

    world.strings[symbol].append(mind)
    world.repeat(symbol)


def _say_decision(*, symbol: str, signal: str, lots: int, stop_bps: int, target_bps: int) -> str:
    if signal == "CLOSE":
        return f"the brain decides to close {symbol}"
    target = f", target {target_bps} bps away" if target_bps else ""
    return f"the brain decides to {signal.lower()} {lots} lots of {symbol}, stop {stop_bps} bps away{target}"


# --- engines -----------------------------------------------------------------------------------------------------------


def _draw_crash(chance: Random, drawing: Drawing) -> Args:
    return {"turns": chance.choice((0, 1, 2, 3, 5, 8, chance.randrange(60)))}


def _do_crash(world: World, turns: int) -> None:
    if (owner := world.owner) is not None:
        owner.crash(turns=turns)


#: a new kind of step is a row
KINDS: Final[Mapping[str, Kind]] = {
    "price": Kind(40, _draw_price, _do_price, lambda symbol, bid, ask: f"{symbol} is at {bid}/{ask}"),
    "decision": Kind(25, _draw_decision, _do_decision, _say_decision),
    "crash": Kind(2, _draw_crash, _do_crash, lambda turns: f"the engine dies{f' {turns} turns later' if turns else ''}"),
}
