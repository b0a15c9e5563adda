"""What people do: every command at every scope, and edits of settings. The rows are those that the services would write."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from random import Random
from typing import Any, Final

import msgspec

from execution.core.messages import CommandKind, CommandSpec, Decision, KillChoice, Leg, SignalKind, StopMode
from execution.services.acts import VALID_FOR
from execution.simulator.books import OrderRow
from execution.simulator.scene import ACCOUNT, Scene
from execution.simulator.world import World
from risk.core.book import Halt
from risk.core.units import NO_LIMIT, Scope, ScopeKind, Side
from risk.core.verdict import HaltCause, HaltMode

Args = dict[str, Any]
_ACCOUNT: Final = Scope(ScopeKind.ACCOUNT, ACCOUNT)

# --- drawing -----------------------------------------------------------------------------------------------------------


def draw_command(chance: Random, scene: Scene) -> Args:
    """Any command, at any scope, about anything."""
    kinds = list(COMMANDS)
    kind = chance.choices(kinds, weights=[COMMANDS[k][0] for k in kinds])[0]
    scope = chance.choice(list(ScopeKind))
    keys = {ScopeKind.BOT: list(scene.settings.bots), ScopeKind.INSTRUMENT: list(scene.symbols), ScopeKind.ACCOUNT: [ACCOUNT]}
    return {
        "leg": chance.choice(list(Leg)).value,
        "bps": chance.choice((20, 100, 300)),
        "kind": kind.value,
        "scope": scope.value,
        "key": chance.choice(keys.get(scope, [""])),
        "pick": chance.randrange(1000),
        "mode": chance.choice(list(HaltMode)).value,
        "choice": chance.choice(list(KillChoice)).value,
        "stop_mode": chance.choice(list(StopMode)).value,
    }


def say_command(**args: Any) -> str:
    kind = CommandKind(args["kind"])
    more = {
        CommandKind.HALT: f" {args['mode']}",
        CommandKind.KILL: f" {args['choice']}",
        CommandKind.STOP: f" {args['stop_mode']}",
    }.get(kind, "")
    about = f", number {args['pick']} of what there is" if kind in _TARGETS or kind is CommandKind.CLEAR else ""
    return f"a person asks: {kind}{more} at {Scope(ScopeKind(args['scope']), args['key'])}{about}"


# --- doing -------------------------------------------------------------------------------------------------------------


def do_command(world: World, **args: Any) -> None:
    """Write the rows of this act, if there is anything it could be about."""
    kind = CommandKind(args["kind"])
    COMMANDS[kind][1](world, kind, Scope(ScopeKind(args["scope"]), args["key"]), args)


def _spec(world: World, kind: CommandKind, scope: Scope, args: Args, **fields: Any) -> CommandSpec:
    now, valid_for = world.clock.now(), VALID_FOR.get(kind)
    return CommandSpec(
        command_id=world.next_command_id(),
        kind=kind,
        scope=scope,
        by="alice",
        mode=HaltMode(args["mode"]) if kind is CommandKind.HALT else None,
        choice=KillChoice(args["choice"]) if kind is CommandKind.KILL else KillChoice.CANCEL,
        stop_mode=StopMode(args["stop_mode"]) if kind is CommandKind.STOP else StopMode.NOW,
        asked_at=now,
        valid_until=now + valid_for if valid_for else None,
        **fields,
    )


def _plain(world: World, kind: CommandKind, scope: Scope, args: Args) -> None:
    world.ask(_spec(world, kind, scope, args))


def _start(world: World, kind: CommandKind, scope: Scope, args: Args) -> None:
    world.want(scope, is_wanted=True)
    _plain(world, kind, scope, args)


def _stop(world: World, kind: CommandKind, scope: Scope, args: Args) -> None:
    world.want(scope, is_wanted=False)
    _plain(world, kind, scope, args)


_RESTRICTS: Final = {
    CommandKind.KILL: HaltCause.KILL,
    CommandKind.HALT: HaltCause.MANUAL,
    CommandKind.PAUSE: HaltCause.PAUSE,
}


def _restrict(world: World, kind: CommandKind, scope: Scope, args: Args) -> None:
    """A halt and its command, in one transaction."""
    spec = _spec(world, kind, scope, args)
    mode = {CommandKind.KILL: HaltMode.HALTED, CommandKind.PAUSE: HaltMode.REDUCE_ONLY}.get(kind, HaltMode(args["mode"]))
    halt = Halt(
        halt_id=f"{kind.value.lower()}-{spec.command_id}",
        scope=scope,
        mode=mode,
        cause=_RESTRICTS[kind],
        reason="because",
        by="alice",
        at=spec.asked_at,
    )
    world.ask(msgspec.structs.replace(spec, mode=mode), halt)


def _resume(world: World, kind: CommandKind, scope: Scope, args: Args) -> None:
    for halt in [h for h in world.rows.halts.values() if h.cause is HaltCause.PAUSE and h.scope == scope]:
        world.ask(_spec(world, kind, scope, args, halt_id=halt.halt_id))


def _clear(world: World, kind: CommandKind, _: Scope, args: Args) -> None:
    """End a halt: its row at once; the bots that were to run get a pause of their own first."""
    halts = [h for h in world.rows.halts.values() if h.cause is not HaltCause.PAUSE]
    if not halts:
        return
    halt = halts[args["pick"] % len(halts)]
    for scope in _come_back_paused(world, halt.scope):
        _restrict(world, CommandKind.PAUSE, scope, args)
    spec = _spec(world, kind, halt.scope, args, halt_id=halt.halt_id, target=halt.halt_id)
    world.ask(spec, ended=halt.halt_id)


def _come_back_paused(world: World, scope: Scope) -> list[Scope]:
    bots = [code for code in world.rows.wanted if _covers(world, scope, code)]
    scopes = [Scope(ScopeKind.BOT, code) for code in bots]
    if scope.kind is ScopeKind.INSTRUMENT:
        scopes = [scope] if bots else []
    standing = {h.scope for h in world.rows.halts.values() if h.cause is HaltCause.PAUSE}
    return [scope for scope in scopes if scope not in standing]


def _covers(world: World, scope: Scope, bot: str) -> bool:
    if scope.kind is ScopeKind.INSTRUMENT:
        return scope.key in world.rows.settings.bots[bot].symbols
    return scope.kind is not ScopeKind.BOT or scope.key == bot


def _targeted(world: World, kind: CommandKind, _: Scope, args: Args) -> None:
    """About one of those that are there."""
    found = sorted(_TARGETS[kind](world))
    if found:
        world.ask(_spec(world, kind, _ACCOUNT, args, target=found[args["pick"] % len(found)]))


def _move(world: World, kind: CommandKind, _: Scope, args: Args) -> None:
    """Another price for a leg, so far from the market on its own side."""
    found = _open_brackets(world)
    if found:
        row = found[args["pick"] % len(found)]
        leg = Leg(args["leg"])
        price = _away(world, row.symbol, row.side, leg, args["bps"])
        world.ask(_spec(world, kind, _ACCOUNT, args, target=row.cl_ord_id, leg=leg, price=price))


def _arm(world: World, kind: CommandKind, _: Scope, args: Args) -> None:
    """Protection for a position, by its bracket or its symbol."""
    found = _held(world)
    if found:
        symbol = found[args["pick"] % len(found)]
        side = Side.BUY if world.auditor.desk.qty(symbol) > 0 else Side.SELL
        prices = {leg: _away(world, symbol, side, leg, args["bps"]) for leg in Leg}
        world.ask(_spec(world, kind, _ACCOUNT, args, target=symbol, stop_px=prices[Leg.STOP], target_px=prices[Leg.TARGET]))


def _away(world: World, symbol: str, side: Side, leg: Leg, bps: int) -> Decimal:
    spec = world.scene.settings.instruments[symbol]
    sign = -side.sign if leg is Leg.STOP else side.sign
    price = world.prices[symbol] * (1 + Decimal(sign * bps) / 10_000)
    return spec.stop_price(price, side.opposite) if leg is Leg.STOP else spec.limit_price(price, side.opposite)


def _submit(world: World, kind: CommandKind, _: Scope, args: Args) -> None:
    """A decision by hand, or by a program."""
    symbol = world.scene.symbols[args["pick"] % len(world.scene.symbols)]
    signal = (SignalKind.BUY, SignalKind.SELL, SignalKind.CLOSE)[args["pick"] % 3]
    side = Side.SELL if signal is SignalKind.SELL else Side.BUY
    decision = Decision(signal=signal, stop_loss=_away(world, symbol, side, Leg.STOP, args["bps"]))
    is_by_hand = args["pick"] % 2 == 0
    world.ask(_spec(world, kind, _ACCOUNT, args, target=symbol, decision=decision, is_by_hand=is_by_hand))


def _open_brackets(world: World) -> list[OrderRow]:
    held = set(_held(world))
    return [row for row in world.auditor.desk.orders.values() if row.purpose == "ENTRY" and row.cum_qty and row.symbol in held][-5:]


def _orders(world: World) -> list[str]:
    return list(world.auditor.desk.working)


def _legs(world: World) -> list[str]:
    return [key for key, row in world.auditor.desk.working.items() if row.purpose in ("STOP_LOSS", "TAKE_PROFIT")]


def _brackets(world: World) -> list[str]:
    """Every entry is the name of its bracket."""
    return [key for key, row in world.auditor.desk.orders.items() if row.purpose == "ENTRY" and row.cum_qty][-5:]


def _held(world: World) -> list[str]:
    return [symbol for symbol, row in world.auditor.desk.positions.items() if row.qty]


def _symbols(world: World) -> list[str]:
    return list(world.scene.symbols)


_TARGETS: Final[Mapping[CommandKind, Callable[[World], list[str]]]] = {
    CommandKind.CLOSE: _held,
    CommandKind.CANCEL_ORDER: _orders,
    CommandKind.CANCEL_LEG: _legs,
    CommandKind.CANCEL_BRACKET: _brackets,
    CommandKind.RESET_BREAKER: _symbols,
    CommandKind.IGNORE: _symbols,
}

#: a new kind of command is a row: how often, and the rows it writes
COMMANDS: Final[Mapping[CommandKind, tuple[float, Callable[[World, CommandKind, Scope, Args], None]]]] = {
    CommandKind.START: (6, _start),
    CommandKind.PAUSE: (2, _restrict),
    CommandKind.RESUME: (6, _resume),
    CommandKind.STOP: (1, _stop),
    CommandKind.HALT: (1, _restrict),
    CommandKind.CLEAR: (6, _clear),
    CommandKind.KILL: (2, _restrict),
    CommandKind.STOP_FLATTEN: (1, _plain),
    CommandKind.FLATTEN: (2, _plain),
    CommandKind.CLOSE: (3, _targeted),
    CommandKind.CANCEL_ORDER: (3, _targeted),
    CommandKind.CANCEL_LEG: (1, _targeted),
    CommandKind.CANCEL_BRACKET: (1, _targeted),
    CommandKind.QUERY: (1, _plain),
    CommandKind.RESET_BREAKER: (1, _targeted),
    CommandKind.MOVE_LEG: (2, _move),
    CommandKind.ARM: (1, _arm),
    CommandKind.SUBMIT_DECISION: (2, _submit),
    CommandKind.IGNORE: (0.5, _targeted),
}
#: no row yet: adopting the venue's word while a fill is on its way books it twice, and a person sees to that
NOT_ASKED: Final = frozenset({CommandKind.ADOPT})


# --- settings ----------------------------------------------------------------------------------------------------------

#: field → values an edit may give it; None takes the limit away, which must stop entries
_PROFILE: Final[Mapping[str, tuple[str | None, ...]]] = {
    "order_notional_max": ("500", "6000", "50000", None),
    "order_qty_max": ("0.05", "20", "Infinity"),
    "adds_max": ("0", "5"),
    "entries_in_flight_max": ("1", "3"),
    "session_loss_limit": ("-50", "-100000"),
    "price_age_ms_max": ("200", "2000"),
    "entry_ttl_s": ("2", "300"),
    "naked_after_ms": ("300", "1000"),
    "leg_retries": ("0", "3"),
    "naked_policy": ("keep", "close_position"),
}
_LIMITS: Final[Mapping[str, tuple[str | None, ...]]] = {
    "positions_max": ("1", "10", None),
    "gross_exposure_pct": ("20", "200", None),
    "daily_loss_pct": ("0.2", "3", "50"),
}


def draw_edit(chance: Random, _: Scene) -> Args:
    level, fields = chance.choice((("profile", _PROFILE), ("limits", _LIMITS)))
    field = chance.choice(list(fields))
    return {"level": level, "field": field, "value": chance.choice(fields[field])}


def do_edit(world: World, *, level: str, field: str, value: str | None) -> None:
    """One field of the profile or the account's limits, as a new version of the settings."""
    settings = world.rows.settings
    if level == "profile":
        profile = settings.profiles["base"]
        base = _changed(profile.base, field, value)
        changed = msgspec.structs.replace(settings, profiles={"base": msgspec.structs.replace(profile, base=base)})
    else:
        changed = msgspec.structs.replace(settings, limits=_changed(settings.limits, field, value))
    version = settings.version + 1
    world.edit(msgspec.structs.replace(changed, version=version, digest=f"v{version}"))


def _changed(of: Any, field: str, value: str | None) -> Any:
    now = getattr(of, field)
    if value is None or value == "Infinity":
        return msgspec.structs.replace(of, **{field: NO_LIMIT if value else None})
    kind = Decimal if now is None or isinstance(now, Decimal) else type(now)
    if field in ("positions_max", "adds_max", "entries_in_flight_max", "entry_ttl_s", "naked_after_ms", "leg_retries"):
        kind = int
    return msgspec.structs.replace(of, **{field: kind(value)})


def say_edit(*, level: str, field: str, value: str | None) -> str:
    return f"risk sets {field} of the {level} to {value}" if value is not None else f"risk takes {field} of the {level} away"
