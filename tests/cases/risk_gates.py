"""risk_gates.json: whether an order passes. Every case is one book and one or more proposals, judged by the gates themselves.

What a case does not speak of is set so that it cannot deny: limits are the explicit "none", the quote is near, the bot runs. A source's
trading state is a halt here: HALTED is HALTED, REDUCING is REDUCE_ONLY. An order opposite to the position and no larger is an exit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import msgspec
import pytest

from risk.core.book import AccountBook, Book, Exposure, Halt
from risk.core.circuit_breaker import CircuitBreaker
from risk.core.gates import judge
from risk.core.session_pnl import SessionPnl
from risk.core.settings import AccountLimits, Effective, RiskSettings
from risk.core.throttle import Approval, Throttle, record
from risk.core.units import (
    NO_LIMIT,
    ZERO,
    AssetClass,
    Instrument,
    OrdType,
    Quote,
    Scope,
    ScopeKind,
    Side,
    TimeInForce,
    use_decimal_context,
)
from risk.core.verdict import Approved, Capability, Denied, HaltCause, HaltMode, HintKind, OrderClass, Proposal, Reason, SizeHint
from tests.cases.reading import Case, number

D = Decimal
NOON: Final = datetime(2026, 1, 5, 12, tzinfo=UTC)
BOT, ACCOUNT = "alpha", "paper"
MODES: Final = {"HALTED": HaltMode.HALTED, "REDUCING": HaltMode.REDUCE_ONLY, "REDUCE_ONLY": HaltMode.REDUCE_ONLY}
KINDS: Final = {
    "MARKET": OrdType.MARKET,
    "LIMIT": OrdType.LIMIT,
    "STOP": OrdType.STOP,
    "STOP_MARKET": OrdType.STOP,
    "STOP_LIMIT": OrdType.STOP_LIMIT,
}
#: what begins a source's reason → ours; a reason nobody lists here is not compared
REASONS: Final = {
    "NOTIONAL_EXCEEDS_MAX_PER_ORDER": Reason.ORDER_NOTIONAL,
    "NOTIONAL_EXCEEDS_FREE_BALANCE": Reason.BUYING_POWER,
    "CUM_NOTIONAL_EXCEEDS_FREE_BALANCE": Reason.BUYING_POWER,
    "CUM_MARGIN_EXCEEDS_FREE_BALANCE": Reason.BUYING_POWER,
    "NOTIONAL_LESS_THAN_MIN": Reason.MIN_NOTIONAL,
    "TRADING_HALTED": Reason.HALTED,
    "TRADING_STATE_REDUCING": Reason.REDUCE_ONLY,
}


def check(case: Case) -> None:
    use_decimal_context()
    inputs, expected = case["inputs"], case["expected"]
    if lack := _lack(inputs):
        pytest.xfail(lack)
    verdicts = list(_verdicts(inputs))
    denied = [verdict for verdict in verdicts if isinstance(verdict, Denied)]
    agrees = {
        "ALLOW": not denied,
        "ALLOW_ALL": not denied,
        "DENY": bool(denied),
        "DENY_ALL": len(denied) == len(verdicts),
    }[expected["verdict"]]
    if not agrees and (otherwise := _otherwise(inputs)):
        pytest.xfail(otherwise)
    assert agrees, f"{case['id']}: we {[v.text if isinstance(v, Denied) else 'approve' for v in verdicts]}"
    if denied:
        _reason_agrees(case, denied[-1])


def _reason_agrees(case: Case, denied: Denied) -> None:
    words = str(case["expected"].get("reason_class", "")).split()
    wanted = REASONS.get(words[0]) if words else None
    if wanted is None:
        return
    assert denied.reason is wanted, f"{case['id']}: {denied.text}"
    for word in words[1:]:
        name, _, value = word.partition("=")
        if name == "notional":
            assert denied.checks[-1].observed == number(value), f"{case['id']}: {denied.text}"


# --- what we have no notion of, and what we decide otherwise ---------------------------------------------------------------


def _lack(inputs: Mapping[str, Any]) -> str:
    """Why this case cannot be put to our gates at all; empty when it can."""
    if "MODIFY" in str(inputs.get("command", inputs.get("action", ""))).upper():
        return "an order is never modified here but by the bracket function, whose legs pass no limit"
    for order in _dicts(inputs):
        if str(order.get("type", "MARKET")).upper() not in KINDS:
            return f"there are no {order['type']} orders here"
        if str(order.get("tif", "GTC")).upper() not in set(TimeInForce):
            return f"there is no {order['tif']} here"
    rate = _rate(inputs)
    if rate is not None and rate[1] != 1:
        return "rates are counted by the second"
    return ""


def _otherwise(inputs: Mapping[str, Any]) -> str:
    """The decision of ours by which another verdict than the source's is right; empty when there is none."""
    spec = _instrument(inputs)
    if inputs.get("bypass"):
        return "there is no way around the gates"
    if inputs.get("trading_state") == "HALTED" and any(_is_leg(order) for order in _orders(inputs)):
        return "protective legs pass in every state, HALTED included"
    if "quote" in inputs and not inputs["quote"]:
        return "without a price nothing is risked"
    for order in _dicts(inputs):
        prices = [
            number(order[name]) for name in ("px", "price", "trigger", "trigger_px", "stop_px") if order.get(name) is not None
        ]
        if any(px <= 0 for px in prices):
            return "nothing we trade has a price of zero or less"
        if any(px % spec.tick_size for px in prices):
            return "a price is put on the tick grid, never for the worse, and not refused"
        if _qty(order) % spec.lot_size:
            return "a quantity is floored to whole lots, and not refused"
        if _side(order) is _side_that_closes(inputs) and _qty(order) > abs(_position(inputs)):
            return "what is larger than the position would open the other side, so it is an entry"
        if inputs.get("account") == "cash" and _side(order) is Side.SELL:
            return "balances of a base currency are the venue's to check; here a position says what may be sold"
    return ""


# --- the book ------------------------------------------------------------------------------------------------------------


def _instrument(inputs: Mapping[str, Any]) -> Instrument:
    given = inputs.get("instrument") or {}
    symbol = str(given.get("id", "X"))
    return Instrument(
        symbol=symbol,
        asset_class=AssetClass.CRYPTO_SPOT,
        tick_size=_step(given, "price_increment", "price_precision", default="0.00001"),
        lot_size=_step(given, "size_increment", "size_precision", default="0.001"),
        min_notional=number(given.get("min_notional") or 0),
        currency="USD",
        contract_value=number(given.get("multiplier") or 1),
        order_qty_min=number(given.get("min_qty") or given.get("min_quantity") or 0),
        order_qty_max=_or_none(given.get("max_qty") or given.get("max_quantity")),
    )


def _step(given: Mapping[str, Any], increment: str, precision: str, *, default: str) -> Decimal:
    if given.get(increment) is not None:
        return number(given[increment])
    return D(1).scaleb(-int(given[precision])) if given.get(precision) is not None else D(default)


def _or_none(value: object) -> Decimal:
    """A limit; the explicit "none" where the case has none."""
    return NO_LIMIT if value is None else number(value)


def _settings(inputs: Mapping[str, Any]) -> Effective:
    values = RiskSettings(
        margin_per_trade=NO_LIMIT,
        leverage=number(inputs.get("leverage") or 1) / number(inputs.get("margin_init") or 1),
        qty_max=NO_LIMIT,
        session_loss_limit=NO_LIMIT,
        breaker_losses=1000,
        breaker_window_s=1,
        breaker_cooldown_s=1,
        price_age_ms_max=NO_LIMIT,
        feed_lag_ms_max=NO_LIMIT,
        price_frozen_s=NO_LIMIT,
        entries_in_flight_max=1000,
        adds_max=1000,
        order_qty_max=NO_LIMIT,
        order_notional_max=_notional_max(inputs),
        order_equity_pct_max=NO_LIMIT,
        price_collar_pct=NO_LIMIT,
        is_stop_required=False,
        duplicate_window_s=ZERO,
        order_rate_max=NO_LIMIT if (rate := _rate(inputs)) is None else D(rate[0]),
        repeated_execution_max=1_000_000,
    )
    return Effective(values, dict.fromkeys(RiskSettings.__struct_fields__, "the case"))


def _notional_max(inputs: Mapping[str, Any]) -> Decimal:
    """The least of the limits a case sets on what one order is worth, one number or one per instrument."""
    given, spec = inputs.get("limits") or {}, inputs.get("instrument") or {}
    per_order = given.get("max_notional_per_order", given.get("max_notional"))
    if isinstance(per_order, Mapping):
        per_order = per_order.get(spec.get("id"))
    found = _or_none(per_order), _or_none(spec.get("max_notional"))
    return next((limit for limit in found if limit.is_nan()), None) or min(found)


def _rate(inputs: Mapping[str, Any]) -> tuple[int, int] | None:
    """Orders and seconds of a rate like "10/00:00:01" or "10/1s"."""
    limits = inputs.get("limits") or {}
    text = next((str(v) for k, v in {**inputs, **limits}.items() if "submit" in k and "rate" in k), None)
    if text is None:
        return None
    count, _, span = text.partition("/")
    seconds = 0
    for part in re.findall(r"\d+", span) or ["1"]:
        seconds = seconds * 60 + int(part)
    return int(count), seconds


def _position(inputs: Mapping[str, Any]) -> Decimal:
    given = inputs.get("position")
    if isinstance(given, Mapping):
        qty = number(given.get("qty", given.get("quantity", 0)))
        return -abs(qty) if str(given.get("side", "")).upper() in {"SHORT", "SELL"} else qty
    return number(given or 0)


def _side_that_closes(inputs: Mapping[str, Any]) -> Side | None:
    qty = _position(inputs)
    return None if not qty else Side.SELL if qty > 0 else Side.BUY


def _quote(inputs: Mapping[str, Any], spec: Instrument) -> Quote | None:
    """The case's best prices, one standing for the other; where it speaks of none, one at the order's own price."""
    given = inputs.get("quote")
    if given is None and "quote" in inputs:
        return None
    if given is None:
        limits = [number(o["px"]) for o in _dicts(inputs) if o.get("px") is not None and number(o["px"]) > 0]
        given = {"last": limits[0] if limits else 1}
    one = next(given[name] for name in ("last", "ask", "bid", "price", "mid") if given.get(name) is not None)
    bid, ask = number(given.get("bid", given.get("ask", one))), number(given.get("ask", given.get("bid", one)))
    return Quote(spec.symbol, bid, ask, ask, NOON, NOON, NOON)


def _free(inputs: Mapping[str, Any]) -> Decimal:
    """Money that is free: an amount with or without its currency, or a balance that names it."""
    given = inputs.get("free", inputs.get("balance"))
    if isinstance(given, Mapping):
        given = given.get("free", given.get("total"))
    if isinstance(given, list):
        given = given[0] if given else None
    return D("1e15") if given is None else number(str(given).split()[0])


def _book(inputs: Mapping[str, Any], spec: Instrument, reserved: Exposure, throttles: dict[str, Throttle]) -> Book:
    equity = _free(inputs)
    state = MODES.get(str(inputs.get("trading_state", "ACTIVE")).upper())
    scope = Scope(ScopeKind.ACCOUNT, ACCOUNT)
    halts = (Halt(halt_id="h", scope=scope, mode=state, cause=HaltCause.MANUAL, reason="", by="bob", at=NOON),) if state else ()
    none: dict[str, Any] = {
        name: NO_LIMIT for name in AccountLimits.__struct_fields__ if name.endswith(("_pct", "_max")) and name != "positions_max"
    }
    return Book(
        account=ACCOUNT,
        environment="PAPER",
        not_ready=(),
        halts=halts,
        instrument=None if inputs.get("instrument_found") is False else spec,
        settings=_settings(inputs),
        limits=AccountLimits(positions_max=1000, **none),
        capabilities=frozenset(Capability),
        session=SessionPnl(),
        breaker=CircuitBreaker(),
        symbols=frozenset({spec.symbol}),
        position_qty=_position(inputs),
        entries_in_flight=0,
        adds=0,
        exit_capacity=abs(_position(inputs)),
        portfolio=AccountBook(
            currency="USD", equity=equity, day_start_equity=equity, peak_equity=equity, exposures={spec.symbol: reserved}
        ),
        throttles=throttles,
    )


# --- the proposals ---------------------------------------------------------------------------------------------------------


def _verdicts(inputs: Mapping[str, Any]) -> Iterable[Approved | Denied]:
    """Judge the case's orders one after the other, each on what the ones before it reserved and were counted for."""
    spec = _instrument(inputs)
    quote = _quote(inputs, spec)
    leverage = _settings(inputs).values.leverage or D(1)
    reserved = Exposure(spec.symbol, BOT, spec.contract_value, leverage=leverage)
    throttles = {BOT: Throttle()}
    for order in _orders(inputs):
        if "CANCEL" in str(inputs.get("command", "")).upper():
            continue
        proposal = _proposal(inputs, order, spec, quote)
        verdict = judge(proposal, _book(inputs, spec, reserved, throttles), at=NOON)
        if isinstance(verdict, Approved) and proposal.order_class is OrderClass.ENTRY:
            if proposal.side is Side.BUY:
                reserved.buys += verdict.reserved
            else:
                reserved.sells += verdict.reserved
            record(throttles[BOT], Approval(NOON, spec.symbol, proposal.side, verdict.order_qty, verdict.price, verdict.stop_px))
        yield verdict


def _orders(inputs: Mapping[str, Any]) -> list[Any]:
    """The case's orders; a rate may say only how many there are."""
    given = inputs["orders"] if "orders" in inputs else [inputs.get("order") or {}]
    if isinstance(given, int):
        return [inputs.get("order") or {}] * given
    count = next((inputs[name] for name in ("n_orders", "count", "submits", "n_commands") if name in inputs), 1)
    return list(given) * int(count)


def _dicts(inputs: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [order for order in _orders(inputs) if isinstance(order, Mapping)]


def _is_leg(order: Any) -> bool:
    text = order if isinstance(order, str) else str(order.get("role", order.get("purpose", "")))
    return bool(re.search(r"stop.?loss|take.?profit|\bleg\b|\bsl\b|\btp\b", text, re.IGNORECASE))


def _side(order: Mapping[str, Any]) -> Side:
    return Side(str(order.get("side", "BUY")).upper())


def _qty(order: Mapping[str, Any]) -> Decimal:
    return number(order.get("qty", order.get("quantity", 1)))


def _proposal(inputs: Mapping[str, Any], order: Any, spec: Instrument, quote: Quote | None) -> Proposal:
    given: Mapping[str, Any] = order if isinstance(order, Mapping) else {}
    base = Proposal(order_class=OrderClass.ENTRY, account=ACCOUNT, bot=BOT, symbol=spec.symbol, side=_side(given), quote=quote)
    if _is_leg(order):
        stop_px = quote.bid if quote is not None else D(1)
        leg = {"order_class": OrderClass.PROTECTION, "ord_type": OrdType.STOP, "stop_px": stop_px, "order_qty": _qty(given)}
        return msgspec.structs.replace(base, reduce_only=True, side=_side(given).opposite, **leg)
    kind = KINDS[str(given.get("type", "MARKET")).upper()]
    trigger = next((given[name] for name in ("trigger_px", "trigger", "stop_px") if given.get(name) is not None), None)
    asked = msgspec.structs.replace(
        base,
        ord_type=kind,
        time_in_force=TimeInForce(str(given.get("tif", "GTC")).upper()),
        price=None if given.get("px", given.get("price")) is None else number(given.get("px", given.get("price"))),
        stop_px=None if trigger is None else number(trigger),
        post_only=bool(given.get("post_only")),
    )
    closes = _side_that_closes(inputs) is asked.side and _qty(given) <= abs(_position(inputs))
    if closes or given.get("reduce_only"):
        return msgspec.structs.replace(asked, order_class=OrderClass.EXIT, order_qty=_qty(given), reduce_only=True)
    in_quote = given.get("quote_quantity") or given.get("is_quote_quantity")
    hint = SizeHint(HintKind.NOTIONAL if in_quote else HintKind.QUANTITY, _qty(given))
    return msgspec.structs.replace(asked, hint=hint)
