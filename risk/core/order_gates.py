"""Gates 7 to 12: the decision itself. Its numbers, its size, its limits, and whether the venue can hold it.

For an entry these run after gate 5 and 6, so a usable quote and a known instrument are there.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Final

from risk.core import sizing
from risk.core.settings import UnsupportedProtection
from risk.core.sizing import is_positive
from risk.core.trial import INSTRUMENT_LEVEL, LIMIT_KINDS, STOP_KINDS, Bound, Trial
from risk.core.units import HUNDRED, LARGEST, NO_LIMIT, ONE, ZERO, OrdType, TimeInForce, multiple_above
from risk.core.verdict import Capability, Check, HintKind, OrderClass, Proposal, Reason
from risk.core.wording import exact, number, pair

_INVALID: Final = Reason.INVALID_DECISION
_LIMIT, _IOC, _FOK = OrdType.LIMIT, TimeInForce.IOC, TimeInForce.FOK
#: any of these lets a stop rest at the venue
_HOLDS_STOPS: Final = frozenset({Capability.STOP_ORDERS, Capability.NATIVE_BRACKET, Capability.NATIVE_OCO})


def decision(trial: Trial) -> Check | None:
    """Gate 7. Readable numbers for every class; that an exit only closes; for an entry its confidence, stop and target."""
    denial = _numbers(trial) or _put_on_ticks(trial)
    if denial is not None:
        return denial
    if trial.is_entry:
        trial.entry_px = trial.price or trial.stop_px or trial.quote.reference(trial.proposal.side)
        return _confidence(trial) or _stop_and_target(trial) or _stop_distance(trial)
    return _exit_capacity(trial) if trial.proposal.order_class is OrderClass.EXIT else None


def _numbers(trial: Trial) -> Check | None:
    """Every number given is positive and within reason, and those the order's kind needs are given."""
    proposal, kind, is_entry = trial.proposal, trial.proposal.ord_type, trial.is_entry
    is_limit, is_stop = kind in LIMIT_KINDS, kind in STOP_KINDS
    for name, value, is_needed in (
        ("price", proposal.price, is_limit),
        ("stop_px", proposal.stop_px, is_stop),
        ("order_qty", proposal.order_qty, not is_entry),
        ("stop_loss", proposal.stop_loss, False),
        ("take_profit", proposal.take_profit, False),
    ):
        if (value is None and is_needed) or (value is not None and not (is_positive(value) and value < LARGEST)):
            is_what = "missing" if value is None else exact(value)
            detail = f"{name} is {is_what}; a {kind.value} order needs a positive number below {number(LARGEST)} there."
            return trial.denied("Numbers", _INVALID, detail, level="decision")
    if is_entry and not is_limit and proposal.price is not None:
        detail = f"A {kind.value} order has no limit, so its price {exact(proposal.price)} would be lost. Ask for a LIMIT order."
        return trial.denied("Numbers", _INVALID, detail, level="decision")
    trial.passed("Numbers")
    return None


def _put_on_ticks(trial: Trial) -> Check | None:
    """Round prices to ticks, which may leave nothing of one."""
    spec, side = trial.book.instrument, trial.proposal.side
    if spec is None:
        return None
    if trial.price is not None:
        trial.price = spec.limit_price(trial.price, side)
    if trial.stop_px is not None:
        trial.stop_px = spec.stop_price(trial.stop_px, side)
    if trial.price == 0 or trial.stop_px == 0:
        detail = f"A price below one tick of {exact(spec.tick_size)} cannot be sent."
        return trial.denied("Numbers", _INVALID, detail, level=INSTRUMENT_LEVEL)
    return None


def _exit_capacity(trial: Trial) -> Check | None:
    """An exit closes: opposite to the position, and no more than what other exits leave of it (all of it, if the venue sees to that)."""
    proposal, book = trial.proposal, trial.book
    capacity = book.exit_capacity
    if proposal.reduce_only and Capability.REDUCE_ONLY in book.capabilities:
        capacity = abs(book.position_qty)
    if book.position_qty * proposal.side.sign >= 0:
        capacity = ZERO
    return trial.within(_EXIT_CAPACITY, trial.order_qty, capacity, "position")


def _exit_capacity_sentence(trial: Trial, qty: Decimal, limit: Decimal) -> str:
    side, symbol = trial.proposal.side, trial.proposal.symbol
    return f"A {side} of {exact(qty)} would not only close: at most {exact(limit)} of {symbol} can be closed."


def _confidence(trial: Trial) -> Check | None:
    confidence = trial.proposal.confidence
    if confidence is None:
        return None
    if not confidence.is_finite() or confidence < 0 or confidence > 1:
        detail = f"Confidence {number(confidence)} does not lie between 0 and 1."
        return trial.denied("Confidence", _INVALID, detail, observed=confidence, limit=ONE, level="decision")
    trial.passed("Confidence", confidence, ONE, "decision")
    return None


def _stop_and_target(trial: Trial) -> Check | None:
    proposal, gate, entry = trial.proposal, "Stop and target", trial.entry_px
    is_required = trial.values.is_stop_required
    if is_required is None:
        return trial.unset(gate, "is_stop_required")
    if proposal.stop_loss is None and is_required:
        level = trial.levels["is_stop_required"]
        return trial.denied(gate, Reason.MISSING_STOP_LOSS, "The decision has no stop-loss, and one is required.", level=level)
    for name, value, is_below in (
        ("stop-loss", proposal.stop_loss, trial.is_buy),
        ("target", proposal.take_profit, not trial.is_buy),
    ):
        if value is not None and not (value < entry if is_below else value > entry):
            where = "below" if is_below else "above"
            detail = f"The {name} {exact(value)} of a {proposal.side} at {exact(entry)} must lie {where} it."
            return trial.denied(gate, _INVALID, detail, observed=value, limit=entry, level="decision")
    trial.passed(gate)
    return None


def _stop_distance(trial: Trial) -> Check | None:
    stop, entry = trial.proposal.stop_loss, trial.entry_px
    if stop is None:
        return None
    distance = abs(entry - stop) * HUNDRED / entry
    return trial.at_least(_STOP_DISTANCE_MIN, distance) or trial.at_most(_STOP_DISTANCE_MAX, distance)


def _stop_distance_sentence(trial: Trial, distance: Decimal, limit: Decimal) -> str:
    texts = pair(distance, limit)
    bound = "least" if distance < limit else "most"
    stop, entry = exact(trial.proposal.stop_loss), exact(trial.entry_px)
    return f"The stop {stop} is {texts[0]} % from {entry}; the {bound} allowed is {texts[1]} %."


def in_flight(trial: Trial) -> Check | None:
    """Gate 8. No entry while enough are unanswered or one is on its way the other way, no more adds than allowed to the position as
    it will be when they have filled."""
    book = trial.book
    if book.entries_against:
        detail = "An entry of the other side is on its way, and what both would come to cannot be known. Entries pass when it fills or ends."
        return trial.denied(_IN_FLIGHT.gate, Reason.ENTRY_IN_FLIGHT, detail, level="position")
    denial = trial.at_most(_IN_FLIGHT, Decimal(book.entries_in_flight + 1))
    if denial is not None or trial.proposal.is_slice:
        return denial
    is_open = bool(book.position_qty) and (book.position_qty > 0) is trial.is_buy
    add = book.adds + is_open + book.entries_coming
    return trial.at_most(_ADDS, Decimal(add)) if add else None


def _busy_sentence(trial: Trial, entry: Decimal, limit: Decimal) -> str:
    return f"Entries in flight: {number(entry - 1)}; the limit is {number(limit)}. Entries pass when one fills or ends."


def _adds_sentence(trial: Trial, add: Decimal, limit: Decimal) -> str:
    return f"This would be add number {number(add)} to what is open or on its way; the limit is {number(limit)}. Entries pass when nothing is."


def size(trial: Trial) -> Check | None:
    """Gate 9. The hint, sized; less than one lot is a skip."""
    hint, values, spec = trial.proposal.hint, trial.values, trial.instrument
    for field in sizing.NEEDS[hint.kind]:
        if getattr(values, field) is None:
            return trial.unset("Size", field)
    trial.order_qty = sizing.order_qty(
        hint,
        price=trial.entry_px,
        stop_loss=trial.proposal.stop_loss,
        equity=trial.book.portfolio.equity,
        instrument=spec,
        settings=values,
    )
    level = trial.levels["qty_max"]
    if trial.order_qty > 0:
        trial.passed("Size", trial.order_qty, values.qty_max, level)
        return None
    asked = "The settings give" if hint.kind is HintKind.DEFAULT else f"{hint.kind} {number(hint.value)} gives"
    worth = number(spec.notional(spec.lot_size, trial.entry_px))
    detail = (
        f"{asked} less than one lot of {exact(spec.lot_size)} at {exact(trial.entry_px)} (a lot is worth {worth}); "
        f"the cap is {exact(values.qty_max)}."
    )
    return trial.denied("Size", Reason.SIZE_ZERO, detail, observed=ZERO, limit=spec.lot_size, level=level)


def min_notional(trial: Trial) -> Check | None:
    """Gate 10. Worth at least the instrument's minimum."""
    spec = trial.instrument
    trial.notional = spec.notional(trial.order_qty, trial.entry_px)
    if trial.notional >= spec.min_notional:
        trial.passed("Minimum notional", trial.notional, spec.min_notional, INSTRUMENT_LEVEL)
        return None
    texts = pair(trial.notional, spec.min_notional)
    least = multiple_above(spec.min_notional / spec.unit_value(trial.entry_px), spec.lot_size)
    detail = f"The order is worth {texts[0]}; the instrument's minimum is {texts[1]}. From {exact(least)} up would pass."
    level = INSTRUMENT_LEVEL
    return trial.denied(
        "Minimum notional", Reason.MIN_NOTIONAL, detail, observed=trial.notional, limit=spec.min_notional, level=level
    )


def order_limits(trial: Trial) -> Check | None:
    """Gate 11. Quantity, worth, share of equity, distance from the market, loss at the stop, reward for it."""
    return _order_size(trial) or _price_collar(trial) or _trade_risk(trial) or _reward_risk(trial)


def _order_size(trial: Trial) -> Check | None:
    notional, equity = trial.notional, trial.book.portfolio.equity
    return (
        _venue_size(trial)
        or trial.at_most(_ORDER_QTY, trial.order_qty)
        or trial.at_most(_ORDER_NOTIONAL, notional)
        or trial.at_most(_ORDER_SHARE, notional, of=equity)
    )


def _venue_size(trial: Trial) -> Check | None:
    """What the venue takes in one order. A quantity that was asked for is not made another one; a worked-out one was capped by gate 9."""
    spec, qty = trial.instrument, trial.order_qty
    if spec.order_qty_min <= qty <= spec.order_qty_max:
        if spec.order_qty_min or spec.order_qty_max != NO_LIMIT:
            trial.passed("Venue's size", qty, spec.order_qty_max, INSTRUMENT_LEVEL)
        return None
    is_small = qty < spec.order_qty_min
    limit = spec.order_qty_min if is_small else spec.order_qty_max
    detail = f"The order is for {exact(qty)}; the venue takes {'at least' if is_small else 'at most'} {exact(limit)}."
    return trial.denied("Venue's size", Reason.ORDER_QTY, detail, observed=qty, limit=limit, level=INSTRUMENT_LEVEL)


def _quantity_sentence(trial: Trial, qty: Decimal, limit: Decimal) -> str:
    return f"The order is for {exact(qty)}; the limit is {exact(limit)}. {_up_to(trial, limit)}"


def _worth_sentence(trial: Trial, notional: Decimal, limit: Decimal) -> str:
    texts = pair(notional, limit)
    return f"The order is worth {texts[0]}; the limit is {texts[1]}. {_worth_up_to(trial, limit)}"


def _share_sentence(trial: Trial, notional: Decimal, limit: Decimal) -> str:
    texts, pct = pair(notional, limit), exact(trial.values.order_equity_pct_max)
    return f"The order is worth {texts[0]}; the limit is {texts[1]}, {pct} % of equity. {_worth_up_to(trial, limit)}"


def _worth_up_to(trial: Trial, limit: Decimal) -> str:
    return _up_to(trial, limit / trial.instrument.unit_value(trial.entry_px))


def _up_to(trial: Trial, qty: Decimal) -> str:
    fits = trial.instrument.qty_floor(qty)
    return f"Up to {exact(fits)} would pass." if fits else "No quantity would pass."


def _price_collar(trial: Trial) -> Check | None:
    """How far beyond the market the order may trade, in percent of the reference: the stop of a stop-limit, else the middle of the quote.

    A market order counts at the far side of the quote, so a quote that is too wide denies it. A stop waits for its price and has none.
    """
    if trial.price is None and trial.stop_px is not None:
        return None
    reference = _collar_reference(trial)
    away = trial.entry_px - reference if trial.is_buy else reference - trial.entry_px
    return trial.at_most(_COLLAR, away * HUNDRED / reference if away > 0 else ZERO)


def _collar_reference(trial: Trial) -> Decimal:
    return trial.stop_px or trial.quote.mid


def _collar_sentence(trial: Trial, beyond: Decimal, limit: Decimal) -> str:
    reference, texts = _collar_reference(trial), pair(beyond, limit)
    edge = reference * (1 + trial.proposal.side.sign * limit / 100)
    return (
        f"At {exact(trial.entry_px)} it would trade {texts[0]} % beyond the market's {exact(reference)}; "
        f"the limit is {texts[1]} %. A limit of {exact(trial.instrument.limit_price(edge, trial.proposal.side))} would pass."
    )


def _trade_risk(trial: Trial) -> Check | None:
    """What a stop that is hit costs. Whether an entry may go without one is a setting of its own."""
    if trial.proposal.stop_loss is None:
        return None
    loss, equity = _unit_loss(trial) * trial.order_qty, trial.book.portfolio.equity
    return trial.at_most(_TRADE_RISK, loss, of=equity)


def _unit_loss(trial: Trial) -> Decimal:
    stop = trial.proposal.stop_loss
    return ZERO if stop is None else trial.instrument.unit_loss(trial.entry_px, stop)


def _trade_risk_sentence(trial: Trial, loss: Decimal, limit: Decimal) -> str:
    texts, pct = pair(loss, limit), exact(trial.values.trade_risk_pct_max)
    return f"A stop that is hit costs {texts[0]}; the limit is {texts[1]}, {pct} % of equity. {_up_to(trial, limit / _unit_loss(trial))}"


def _reward_risk(trial: Trial) -> Check | None:
    stop, target, entry = trial.proposal.stop_loss, trial.proposal.take_profit, trial.entry_px
    if stop is None or target is None:
        return None
    ratio = abs(target - entry) / abs(entry - stop)
    return trial.at_least(_REWARD_RISK, ratio)


def _reward_risk_sentence(trial: Trial, ratio: Decimal, limit: Decimal) -> str:
    texts = pair(ratio, limit)
    return f"Reward is {texts[0]} times the risk; the least allowed is {texts[1]}."


def kind_and_protection(trial: Trial) -> Check | None:
    """Gate 12. What the venue cannot do is denied, never quietly turned into something else."""
    return _kind(trial) or _protection(trial)


def _kind(trial: Trial) -> Check | None:
    proposal, gate, level = trial.proposal, "Order kind", "venue"
    if proposal.post_only and proposal.ord_type is not _LIMIT:
        detail = f"Post-only needs a LIMIT order, not {proposal.ord_type}."
        return trial.denied(gate, Reason.UNSUPPORTED_ORDER_KIND, detail, level="decision")
    lacking = next((c for c in _asked_of_the_venue(proposal) if c not in trial.book.capabilities), None)
    if lacking is not None:
        detail = f"The venue has no {_KINDS[lacking]} orders, and this one is not turned into another kind."
        return trial.denied(gate, Reason.UNSUPPORTED_ORDER_KIND, detail, level=level)
    trial.passed(gate, level=level)
    return None


_KINDS: Final = {
    Capability.STOP_ORDERS: "stop",
    Capability.POST_ONLY: "post-only",
    Capability.IOC: "IOC",
    Capability.FOK: "FOK",
    Capability.REDUCE_ONLY: "reduce-only",
}


def _asked_of_the_venue(proposal: Proposal) -> Iterator[Capability]:
    if proposal.ord_type in STOP_KINDS:
        yield Capability.STOP_ORDERS
    if proposal.post_only:
        yield Capability.POST_ONLY
    if proposal.time_in_force is _IOC:
        yield Capability.IOC
    if proposal.time_in_force is _FOK:
        yield Capability.FOK
    if proposal.reduce_only:
        yield Capability.REDUCE_ONLY


def _protection(trial: Trial) -> Check | None:
    proposal, gate, field = trial.proposal, "Protection", "unsupported_protection"
    if proposal.stop_loss is None or _HOLDS_STOPS & trial.book.capabilities:
        trial.passed(gate, level="venue")
        return None
    policy = trial.values.unsupported_protection
    if policy is None:
        return trial.unset(gate, field)
    level = trial.levels[field]
    if policy is not UnsupportedProtection.DENY:
        trial.passed(gate, level=level)
        return None
    detail = f"The venue cannot hold the stop at {exact(proposal.stop_loss)}, and {field} is deny."
    return trial.denied(gate, Reason.UNSUPPORTED_PROTECTION, detail, level=level)


# --- the limits of these gates -----------------------------------------------------------------------------------------

_EXIT_CAPACITY: Final = Bound("Exit capacity", _INVALID, "", _exit_capacity_sentence)
_STOP_DISTANCE_MIN: Final = Bound("Least stop distance", _INVALID, "stop_distance_pct_min", _stop_distance_sentence)
_STOP_DISTANCE_MAX: Final = Bound("Stop distance", _INVALID, "stop_distance_pct_max", _stop_distance_sentence)
_IN_FLIGHT: Final = Bound("Entries in flight", Reason.ENTRY_IN_FLIGHT, "entries_in_flight_max", _busy_sentence)
_ADDS: Final = Bound("Adds", Reason.PYRAMIDING, "adds_max", _adds_sentence)
_ORDER_QTY: Final = Bound("Order quantity", Reason.ORDER_QTY, "order_qty_max", _quantity_sentence)
_ORDER_NOTIONAL: Final = Bound("Order notional", Reason.ORDER_NOTIONAL, "order_notional_max", _worth_sentence)
_ORDER_SHARE: Final = Bound("Order share of equity", Reason.ORDER_EQUITY_PCT, "order_equity_pct_max", _share_sentence)
_COLLAR: Final = Bound("Price collar", Reason.PRICE_COLLAR, "price_collar_pct", _collar_sentence)
_TRADE_RISK: Final = Bound("Trade risk", Reason.TRADE_RISK, "trade_risk_pct_max", _trade_risk_sentence)
_REWARD_RISK: Final = Bound("Reward to risk", Reason.REWARD_RISK, "reward_risk_min", _reward_risk_sentence)
