"""By hand: what people do to one position, order or bracket. Each function answers with what it did, and with what remains.

A price given by hand is never rounded: one that cannot be used is refused with the ones that can.
"""

from __future__ import annotations

from decimal import Decimal

from execution.core import closing
from execution.core.brackets import BracketState, has_stop, has_target
from execution.core.controls import CommandRefused
from execution.core.flattening import choices
from execution.core.messages import CommandSpec, KillChoice, Leg
from execution.core.naked import covered_again
from execution.core.orders import LEGS, OrderState, OrdStatus, Purpose
from execution.core.positions import PositionState
from execution.core.sending import cancel, end_schedule, next_cl_ord_id, query
from execution.core.turn import Turn
from risk.core.units import HUNDRED, ZERO, Side, multiple_above, multiple_below
from risk.core.verdict import Capability, Denied
from risk.core.wording import exact, number

# --- closing -------------------------------------------------------------------------------------------------------------


def close(turn: Turn, spec: CommandSpec) -> str:
    """Close a position at market."""
    position = _position(turn, spec.target or spec.scope.key)
    symbol, side = position.symbol, position.closing_side
    proposal = closing.exit_proposal(turn, symbol=symbol, bot=position.bot, side=side, qty=abs(position.qty))
    asked = closing.ask(turn, proposal, by=spec.by, why=f"closed by {spec.by}")
    if isinstance(asked, Denied):
        raise CommandRefused(asked.text)
    qty = asked.qty
    turn.clear_alarm(f"exit:{symbol}")
    word = "Selling" if side.sign < 0 else "Buying"
    if not asked.orders:
        how = "as soon as the venue has taken its stop away; if that takes long, the stop is put back."
        return f"{word} {number(qty)} {symbol} at market {how}{closing.dust_left(turn, symbol)}"
    return f"{word} {number(qty)} {symbol} at market to close.{closing.dust_left(turn, symbol)}{_stop_stays(turn, symbol)}"


def _stop_stays(turn: Turn, symbol: str) -> str:
    return " Its stop stays until that has filled." if turn.has(Capability.REDUCE_ONLY) else ""


def _position(turn: Turn, symbol: str) -> PositionState:
    position = turn.state.positions.get(symbol)
    if position is None or not position.qty:
        raise CommandRefused(f"No position in {symbol} is open.")
    return position


# --- canceling -----------------------------------------------------------------------------------------------------------


def cancel_order(turn: Turn, spec: CommandSpec) -> str:
    """Cancel one order; a leg as a leg."""
    order = _order(turn, spec.target)
    return cancel_leg(turn, spec) if order.purpose in LEGS else _cancel_asked(turn, order, spec.by)


def _order(turn: Turn, cl_ord_id: str) -> OrderState:
    order = turn.order(cl_ord_id)
    if order is None:
        raise CommandRefused(f"There is no order {cl_ord_id}.")
    if order.done is not None:
        raise CommandRefused(f"The order is already {order.done.value.lower()}.")
    return order


def _cancel_asked(turn: Turn, order: OrderState, by: str) -> str:
    what = f"{order.side.value.lower()} {number(order.leaves_qty)} {order.symbol}"
    if order.pending is OrdStatus.PENDING_CANCEL:
        return f"The cancel of {what} is already on its way."
    if not cancel(turn, order, by=by):
        query(turn, order)
        return f"{what} was never answered: the venue is asked, and it is canceled as soon as it is found."
    return f"Canceling {what}; it may still fill until the venue confirms."


def cancel_leg(turn: Turn, spec: CommandSpec) -> str:
    """Take one leg away: it stays away until somebody arms the bracket again."""
    bracket, leg = _leg(turn, spec)
    if (leg is Leg.STOP and bracket.is_stop_waived) or (leg is Leg.TARGET and bracket.is_target_waived):
        return f"The {leg.value} of {bracket.symbol} is taken away already. {_what_remains(bracket)}"
    _waive(turn, bracket, leg, spec.by)
    return f"Canceling the {leg.value} of {bracket.symbol}. {_what_remains(bracket)}"


def _leg(turn: Turn, spec: CommandSpec) -> tuple[BracketState, Leg]:
    """The leg that a command names: by its order, or by its bracket where none rests."""
    if spec.leg is not None:
        bracket = _bracket(turn, spec.target)
        if (bracket.stop_px if spec.leg is Leg.STOP else bracket.target_px) is None and not (
            spec.leg is Leg.STOP and bracket.trail is not None
        ):
            raise CommandRefused(f"The bracket of {bracket.symbol} has no {spec.leg.value}.")
        return bracket, spec.leg
    order = _order(turn, spec.target)
    found = turn.state.brackets.get(order.bracket_id)
    if found is None or order.purpose not in LEGS:
        raise CommandRefused("That order is not a leg of a bracket.")
    return found, Leg.STOP if order.purpose is Purpose.STOP_LOSS else Leg.TARGET


def _bracket(turn: Turn, bracket_id: str) -> BracketState:
    bracket = turn.state.brackets.get(bracket_id)
    if bracket is None or bracket_id not in turn.index.brackets.get(bracket.symbol, {}):
        raise CommandRefused(f"There is no open bracket {bracket_id}.")
    return bracket


def cancel_bracket(turn: Turn, spec: CommandSpec) -> str:
    """Take both legs away, and the entry if it still works."""
    bracket = _bracket(turn, spec.target)
    entry = turn.state.orders.get(bracket.bracket_id)
    if entry is not None:
        cancel(turn, entry, by=spec.by)
        if entry.decision_id in turn.state.parents:
            end_schedule(turn, turn.state.parents[entry.decision_id], why=f"stopped by {spec.by}")
    for leg in Leg:
        _waive(turn, bracket, leg, spec.by)
    return f"Canceling both legs of {bracket.symbol}. {_what_remains(bracket)}"


def _waive(turn: Turn, bracket: BracketState, leg: Leg, by: str) -> None:
    if leg is Leg.STOP:
        waive_stop(turn, bracket, f"{by} took it away.")
    else:
        bracket.is_target_waived = True
    turn.touch_bracket(bracket)
    turn.dirty[bracket.bracket_id] = None
    for leg_id in bracket.stop_ids if leg is Leg.STOP else bracket.target_ids:
        order = turn.state.orders.get(leg_id)
        if order is not None:
            cancel(turn, order, by=by)


def waive_stop(turn: Turn, bracket: BracketState, why: str) -> None:
    """Somebody decides that a position stands without its stop."""
    bracket.is_stop_waived, bracket.waived_why = True, why
    turn.touch_bracket(bracket)
    turn.dirty[bracket.bracket_id] = None


def _what_remains(bracket: BracketState) -> str:
    left = []
    if bracket.stop_px is not None and has_stop(bracket):
        left.append(f"the stop {exact(bracket.stop_px)}")
    if has_target(bracket):
        left.append(f"the target {exact(bracket.target_px)}")
    qty = number(bracket.open_qty)
    if not left:
        return f"Nothing remains: {qty} is open without protection." if bracket.open_qty else "Nothing remains."
    return f"{' and '.join(left).capitalize()} for {qty} {'remain' if len(left) > 1 else 'remains'}."


# --- moving --------------------------------------------------------------------------------------------------------------


def move_leg(turn: Turn, spec: CommandSpec) -> str:
    """Move a stop or a target to another price."""
    if spec.leg is None or spec.price is None:
        raise CommandRefused("A move names a bracket, stop or target, and a price.")
    bracket, leg = _leg(turn, spec)
    if not (has_stop(bracket) if leg is Leg.STOP else has_target(bracket)):
        raise CommandRefused(f"The {leg.value} of {bracket.symbol} was taken away or given up: arm the bracket to place another.")
    old = bracket.stop_px if leg is Leg.STOP else bracket.target_px
    if old == spec.price:
        return f"The {leg.value} of {bracket.symbol} stands at {exact(old)} already."
    _check_price(turn, bracket.symbol, bracket.side, leg, spec.price)
    trails = leg is Leg.STOP and bracket.trail is not None
    _set(turn, bracket, leg, spec.price)
    how = _how(turn, bracket, leg) if bracket.open_qty else "; it is sent when the entry fills"
    end = " It trails no more." if trails else ""
    return f"Moving the {leg.value} of {bracket.symbol} from {exact(old)} to {exact(spec.price)}{how}.{end}{_outcome(turn, bracket, spec.price)}"


def _set(turn: Turn, bracket: BracketState, leg: Leg, price: Decimal) -> None:
    """A person's price: what was refused, given up or waived before counts no more."""
    if leg is Leg.STOP:
        bracket.stop_px, bracket.trail, bracket.stop_tries = price, None, 0
        bracket.is_stop_waived, bracket.waived_why, bracket.is_through = False, "", False
    else:
        bracket.target_px, bracket.target_tries = price, 0
        bracket.is_target_waived = bracket.is_target_given_up = False
    for leg_id in bracket.stop_ids if leg is Leg.STOP else bracket.target_ids:
        order = turn.state.orders.get(leg_id)
        if order is not None and order.done is None and not order.cancel_asked_by:
            order.tries = 0
    turn.sleep(closing.retry_timer(bracket, leg))
    covered_again(turn, bracket)
    turn.touch_bracket(bracket)
    turn.dirty[bracket.bracket_id] = None


def _how(turn: Turn, bracket: BracketState, leg: Leg) -> str:
    rest = turn.index.holds
    if not (rest.stop if leg is Leg.STOP else rest.target):
        return ", watched here"
    if turn.has(Capability.REPLACE):
        return ", changed in place"
    if turn.has(Capability.REDUCE_ONLY):
        return ": the old one stays until the new one works"
    return ": the old one goes first, so for a moment there is none"


def _outcome(turn: Turn, bracket: BracketState, price: Decimal) -> str:
    """What the position has made when it is closed there."""
    position = turn.state.positions.get(bracket.symbol)
    if position is None or position.avg_px is None or not bracket.open_qty:
        return ""
    won = position.worth(price) - position.worth(position.avg_px)
    made = won * bracket.side.sign * bracket.open_qty * position.contract_value
    return f" There {number(bracket.open_qty)} {'earn' if made >= 0 else 'lose'} {number(abs(made))}, fees apart."


def _check_price(turn: Turn, symbol: str, side: Side, leg: Leg, price: Decimal) -> None:
    """Raise unless `price` is on the grid, on the right side of the market, and a stop as far from it as the settings want."""
    if not price.is_finite() or price <= 0:
        raise CommandRefused(f"{exact(price)} is not a price.")
    instrument = turn.instrument(symbol)
    if instrument is not None and multiple_below(price, instrument.tick_size) != price:
        grid = [rounding(price, instrument.tick_size) for rounding in (multiple_below, multiple_above)]
        near = " or ".join(exact(p) for p in grid if p > 0)
        raise CommandRefused(f"{exact(price)} is not on the grid of {exact(instrument.tick_size)}: {near} is.")
    position = turn.state.positions.get(symbol)
    market = None if position is None else position.mark or position.avg_px
    if market is None:
        return
    is_below = (leg is Leg.STOP) is (side is Side.BUY)
    if not (price < market if is_below else price > market):
        held, where = ("long" if side is Side.BUY else "short"), ("below" if is_below else "above")
        raise CommandRefused(
            f"The {leg.value} of a {held} position must lie {where} the market's {exact(market)}; {exact(price)} does not."
        )
    if leg is Leg.STOP:
        _check_distance(turn, symbol, abs(market - price) * HUNDRED / market)


def _check_distance(turn: Turn, symbol: str, distance: Decimal) -> None:
    values = turn.index.effective(turn.index.owner(symbol), symbol).values
    least, most = values.stop_distance_pct_min, values.stop_distance_pct_max
    if least is not None and distance < least:
        raise CommandRefused(f"That is {number(distance)} % from the market; the least allowed is {number(least)} %.")
    if most is not None and distance > most:
        raise CommandRefused(f"That is {number(distance)} % from the market; the most allowed is {number(most)} %.")


# --- arming --------------------------------------------------------------------------------------------------------------


def arm(turn: Turn, spec: CommandSpec) -> str:
    """Protect an open position again: every open bracket that is named, and what of the position no bracket has."""
    prices = {leg: px for leg, px in ((Leg.STOP, spec.stop_px), (Leg.TARGET, spec.target_px)) if px is not None}
    if not prices:
        raise CommandRefused("Arming needs a stop, a target or both.")
    named = turn.state.brackets.get(spec.target)
    position = _position(turn, named.symbol if named is not None else spec.target)
    symbol, side = position.symbol, position.closing_side.opposite
    _refuse_under_kill(turn, position)
    for leg, price in prices.items():
        _check_price(turn, symbol, side, leg, price)
    brackets = [_bracket(turn, spec.target)] if named is not None else _all_of(turn, position)
    for bracket in brackets:
        for leg, price in prices.items():
            _set(turn, bracket, leg, price)
    what = " and ".join(f"the {leg.value} {exact(price)}" for leg, price in prices.items())
    qty = sum((bracket.open_qty for bracket in brackets), ZERO)
    watched = [leg.value for leg in prices if not getattr(turn.index.holds, leg.value)]
    here = f" The venue cannot hold the {' and the '.join(watched)}: watched here." if watched else ""
    return f"Arming {number(qty)} {symbol} with {what}.{here}"


def _refuse_under_kill(turn: Turn, position: PositionState) -> None:
    """A kill that takes protection away would never be verified if somebody put it back meanwhile."""
    for command in turn.state.commands.values():
        scope = command.spec.scope
        if KillChoice.CANCEL_ALL in choices(command) and turn.in_scope(scope, bot=position.bot, symbol=position.symbol):
            raise CommandRefused(
                f"The {command.spec.kind.value.lower()} at {scope} is taking the protection of {position.symbol} away: "
                "arm it once that is verified."
            )


def _all_of(turn: Turn, position: PositionState) -> list[BracketState]:
    """The open brackets of a position, and a new one for what none of them has: an adopted or foreign part of it."""
    brackets = [bracket for bracket in turn.index.brackets_of(position.symbol) if bracket.open_qty]
    rest = abs(position.qty) - sum((bracket.open_qty for bracket in brackets), ZERO)
    if rest > 0:
        bracket = BracketState(
            bracket_id=next_cl_ord_id(turn),
            bot=position.bot,
            symbol=position.symbol,
            side=position.closing_side.opposite,
            stop_px=None,
            target_px=None,
            entry_qty=rest,
            open_qty=rest,
            created_at=turn.at,
            updated_at=turn.at,
        )
        turn.state.brackets[bracket.bracket_id] = bracket
        turn.index.bracket_changed(bracket)
        brackets.append(bracket)
    return brackets
