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

from execution.core.messages import Decision, ExecType, SignalKind, Twap, View
from execution.simulator import people
from execution.simulator.scene import WARM_S, Scene
from execution.simulator.wire import FATES, Fate, What
from execution.simulator.world import World
from risk.core.units import OrdType, Quote, Side
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
    """A kind of step: how often, drawn how, done how, told how. `manners` names the mood of a scene that leaves it out."""

    weight: float
    draw: Callable[[Random, Drawing], Args]
    do: Callable[..., None]
    say: Callable[..., str]
    manners: str = ""


def steps_of(scene: Scene, count: int) -> tuple[Step, ...]:
    """The history of a scene's seed."""
    drawing, at = Drawing(scene), WARM_S
    names = [name for name, kind in KINDS.items() if kind.manners not in scene.manners]
    weights = [KINDS[name].weight for name in names]
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


def _none(_: Random, __: Drawing) -> Args:
    return {}


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


def _do_price(world: World, *, symbol: str, bid: str, ask: str) -> None:
    world.quote(symbol, Decimal(bid), Decimal(ask))


def _draw_odd_price(chance: Random, drawing: Drawing) -> Args:
    return {"symbol": _symbol(chance, drawing), "odd": chance.choice(("crossed", "old", "frozen", "zero"))}


def _do_odd_price(world: World, *, symbol: str, odd: str) -> None:
    """A price nobody may trade on, and a decision made on it."""
    price = world.prices[symbol]
    bid, ask = {"crossed": (price * 2, price), "zero": (Decimal(0), price)}.get(odd, (price, price))
    world.strings[symbol].append(_mind(world, symbol, signal="BUY", ord_type="MARKET", lots=5, stop_bps=100, target_bps=200))
    world.quote(symbol, bid, ask, age_s=30.0 if odd == "old" else 0.0, still_s=100.0 if odd == "frozen" else None)


# --- decisions ---------------------------------------------------------------------------------------------------------


def _draw_decision(chance: Random, drawing: Drawing) -> Args:
    return {
        "symbol": _symbol(chance, drawing),
        "signal": chance.choice(("BUY", "BUY", "SELL", "SELL", "CLOSE")),
        "ord_type": chance.choice(("MARKET", "MARKET", "MARKET", "LIMIT", "STOP")),
        "lots": chance.choice((1, 5, 20, 100)),
        "stop_bps": chance.choice((20, 100, 300)),
        "target_bps": chance.choice((0, 30, 200, 600)),
        "away_bps": chance.choice((-5, 0, 10, 50)),
    }


def _do_decision(world: World, *, symbol: str, **what: Any) -> None:
    world.strings[symbol].append(_mind(world, symbol, **what))
    world.repeat(symbol)


def _mind(
    world: World,
    symbol: str,
    *,
    signal: str,
    ord_type: str,
    lots: int,
    stop_bps: int,
    target_bps: int,
    away_bps: int = 0,
    twap: Twap | None = None,
) -> Callable[[Quote, View], Decision]:
    """The decision, made when the price is there. `away_bps`: how far a limit lies behind the market, or a stop before it."""
    spec = world.scene.settings.instruments[symbol]

    def think(quote: Quote, _: View) -> Decision:
        if signal == "CLOSE":
            return Decision(signal=SignalKind.CLOSE)
        side, kind = Side(signal), OrdType(ord_type)
        market, exit_side = quote.reference(side), side.opposite
        away = market * side.sign * Decimal(away_bps) / 10_000
        price = spec.limit_price(market - away, side) if kind is OrdType.LIMIT else None
        stop_px = spec.stop_price(market + abs(away) * side.sign, side) if kind is OrdType.STOP else None
        entry = price or stop_px or market
        return Decision(
            signal=SignalKind(signal),
            ord_type=kind,
            price=price,
            stop_px=stop_px,
            hint=SizeHint(HintKind.QUANTITY, spec.lot_size * lots),
            stop_loss=spec.stop_price(entry * (1 - side.sign * Decimal(stop_bps) / 10_000), exit_side),
            take_profit=spec.limit_price(entry * (1 + side.sign * Decimal(target_bps) / 10_000), exit_side) if target_bps else None,
            twap=twap,
        )

    return think


def _say_decision(*, symbol: str, signal: str, ord_type: str, lots: int, stop_bps: int, target_bps: int, away_bps: int) -> str:
    if signal == "CLOSE":
        return f"the brain decides to close {symbol}"
    how = ord_type.lower() if ord_type == "MARKET" else f"{ord_type.lower()} {away_bps} bps away"
    target = f", target {target_bps} bps away" if target_bps else ""
    return f"the brain decides to {signal.lower()} {lots} lots of {symbol}, {how}, stop {stop_bps} bps away{target}"


def _draw_twap(chance: Random, drawing: Drawing) -> Args:
    return {
        "symbol": _symbol(chance, drawing),
        "signal": chance.choice(("BUY", "SELL")),
        "lots": chance.choice((3, 10, 50, 100)),
        "stop_bps": chance.choice((20, 100, 300)),
        "target_bps": chance.choice((0, 30, 200, 600)),
        "slices": chance.choice((2, 3, 5, 8)),
        "interval_s": chance.choice(("0.2", "1", "1.5", "4")),
    }


def _do_twap(world: World, *, symbol: str, slices: int, interval_s: str, **what: Any) -> None:
    twap = Twap(slices * Decimal(interval_s), Decimal(interval_s))
    world.strings[symbol].append(_mind(world, symbol, ord_type="MARKET", twap=twap, **what))
    world.repeat(symbol)


def _say_twap(*, slices: int, interval_s: str, **what: Any) -> str:
    return f"{_say_decision(ord_type='MARKET', away_bps=0, **what)}, in {slices} slices every {interval_s} s"


# --- the venue and the wires ---------------------------------------------------------------------------------------------


def _draw_fate(chance: Random, _: Drawing) -> Args:
    what = chance.choices(list(FATES), weights=(8, 4, 3, 2, 8))[0]
    return {
        "what": what.value,
        "name": chance.choice(list(FATES[what])),
        "s": round(chance.choice((0.01, 0.1, 0.6, 2.0)) * chance.uniform(0.5, 1.0), 3),
    }


def _do_fate(world: World, *, what: str, name: str, s: float) -> None:
    world.fates.add(What(what), Fate(name, s))


def _say_fate(*, what: str, name: str, s: float) -> str:
    time = f", {s} s" if name in ("slow", "late") else ""
    return f"the next {what} {FATES[What(what)][name]}{time}"


def _draw_share(chance: Random, _: Drawing) -> Args:
    return {"share": chance.choice(("1", "1", "0.6", "0.3"))}


def _do_share(world: World, *, share: str) -> None:
    world.venue.share = Decimal(share)


def _draw_pick(chance: Random, _: Drawing) -> Args:
    return {"pick": chance.randrange(1000), "n": chance.randrange(1, 6)}


def _do_overfill(world: World, *, pick: int, n: int) -> None:
    if orders := world.venue.working():
        world.venue.overfill(orders[pick % len(orders)], n)


def _do_expire(world: World, *, pick: int, n: int) -> None:
    if orders := world.venue.working():
        exec_type = (ExecType.CANCELED, ExecType.EXPIRED)[n % 2]
        world.venue.expire(orders[pick % len(orders)], exec_type)


def _draw_bust(chance: Random, _: Drawing) -> Args:
    return {"pick": chance.randrange(1000), "px_bps": chance.choice((0, 0, 50, -50))}


def _do_bust(world: World, *, pick: int, px_bps: int) -> None:
    world.venue.bust(pick, px_bps=px_bps)


def _say_bust(*, pick: int, px_bps: int) -> str:
    which = f"fill number {pick} of the last ones"
    return f"the venue corrects {which} by {px_bps} bps" if px_bps else f"the venue takes {which} back"


def _draw_funding(chance: Random, drawing: Drawing) -> Args:
    return {"symbol": _symbol(chance, drawing), "bps": chance.choice((1, -1, 10))}


def _do_funding(world: World, *, symbol: str, bps: int) -> None:
    if not world.venue.kind.is_spot:
        world.venue.fund(symbol, bps)


def _draw_foreign(chance: Random, drawing: Drawing) -> Args:
    return {"symbol": _symbol(chance, drawing), "side": chance.choice(("BUY", "SELL")), "lots": chance.choice((1, 10))}


def _do_foreign(world: World, *, symbol: str, side: str, lots: int) -> None:
    world.venue.foreign(symbol, Side(side), world.scene.settings.instruments[symbol].lot_size * lots)


def _draw_line(chance: Random, _: Drawing) -> Args:
    return {"how": chance.choice(("refused", "reset")), "s": round(chance.choice((0.05, 0.5, 3.0)) * chance.uniform(0.5, 1.0), 3)}


def _do_line(world: World, *, how: str, s: float) -> None:
    world.line_down(how, s)


# --- engines -----------------------------------------------------------------------------------------------------------


def _draw_crash(chance: Random, _: Drawing) -> Args:
    return {"turns": chance.choice((0, 1, 2, 3, 5, 8, chance.randrange(60))), "at_write": chance.random() < 0.5}


def _do_crash(world: World, *, turns: int, at_write: bool) -> None:
    world.crash(turns=turns, at_write=at_write)


def _say_crash(*, turns: int, at_write: bool) -> str:
    when = f"{turns} turns " if turns else "right "
    return f"the engine dies {when}{'after its next event' if at_write else 'from now'}"


def _do_stop(world: World) -> None:
    if (owner := world.owner) is not None:
        owner.stop()


def _do_standby(world: World) -> None:
    world.start_engine()


def _draw_seconds(chance: Random, _: Drawing) -> Args:
    return {"s": round(chance.choice((0.2, 1.0, 4.0, 9.0)) * chance.uniform(0.5, 1.0), 3)}


def _do_freeze(world: World, *, s: float) -> None:
    world.freeze(s)


def _do_away(world: World, *, s: float) -> None:
    world.database_away(s)


def _do_deaf(world: World, *, s: float) -> None:
    world.market_silent(s)


# --- the table -----------------------------------------------------------------------------------------------------------


def _with_scene(draw: Callable[[Random, Scene], Args]) -> Callable[[Random, Drawing], Args]:
    return lambda chance, drawing: draw(chance, drawing.scene)


#: a new kind of step is a row
KINDS: Final[Mapping[str, Kind]] = {
    "price": Kind(40, _draw_price, _do_price, lambda symbol, bid, ask: f"{symbol} is at {bid}/{ask}"),
    "odd price": Kind(2, _draw_odd_price, _do_odd_price, lambda symbol, odd: f"a decision on a price of {symbol} that is {odd}"),
    "decision": Kind(25, _draw_decision, _do_decision, _say_decision),
    "twap": Kind(3, _draw_twap, _do_twap, _say_twap),
    "command": Kind(5, _with_scene(people.draw_command), people.do_command, people.say_command, "people"),
    "edit": Kind(2, _with_scene(people.draw_edit), people.do_edit, people.say_edit, "people"),
    "fate": Kind(14, _draw_fate, _do_fate, _say_fate, "venue"),
    "share": Kind(2, _draw_share, _do_share, lambda share: f"{share} of an order fills at one price"),
    "overfill": Kind(
        0.3, _draw_pick, _do_overfill, lambda pick, n: f"working order number {pick} fills, and {n} lots more", "tricks"
    ),
    "expire": Kind(1, _draw_pick, _do_expire, lambda pick, n: f"the venue ends working order number {pick}", "venue"),
    "foreign": Kind(
        0.3,
        _draw_foreign,
        _do_foreign,
        lambda symbol, side, lots: f"somebody else trades {side} {lots} lots of {symbol} here",
        "tricks",
    ),
    "bust": Kind(0.5, _draw_bust, _do_bust, _say_bust, "tricks"),
    "funding": Kind(1, _draw_funding, _do_funding, lambda symbol, bps: f"{bps} bps of funding on {symbol}"),
    "line": Kind(1.5, _draw_line, _do_line, lambda how, s: f"the line to the venue is down for {s} s: {how}", "venue"),
    "deaf": Kind(0.5, _draw_seconds, _do_deaf, lambda s: f"no price comes for {s} s"),
    "crash": Kind(2, _draw_crash, _do_crash, _say_crash, "engine"),
    "stop": Kind(0.5, _none, _do_stop, lambda: "the engine is stopped politely", "engine"),
    "standby": Kind(0.5, _none, _do_standby, lambda: "a second engine starts", "engine"),
    "freeze": Kind(0.7, _draw_seconds, _do_freeze, lambda s: f"the engine stands still for {s} s", "engine"),
    "away": Kind(0.7, _draw_seconds, _do_away, lambda s: f"the database is away for {s} s", "engine"),
}
