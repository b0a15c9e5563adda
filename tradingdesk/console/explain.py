"""Explanations: a signal gate by gate, an order from decision to last fill, settings with where each value comes from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from django.db.models import Model
from django.urls import NoReverseMatch, reverse

from execution import selectors
from execution.core.messages import AdjustmentKind
from execution.core.orders import OrdStatus
from execution.core.positions import split_qty
from execution.models import Adjustment, Bot, Bracket, Command, Order, Signal
from execution.selectors import Overview
from risk.core.settings import RiskSettings
from risk.core.units import AssetClass
from risk.models import AuditEntry, ClassOverride, Instrument, RiskProfile, SymbolOverride
from risk.selectors import settings_effective
from risk.services.saving import object_key
from tradingdesk.console.figures import figure, plain, signed, span, words
from tradingdesk.people.models import User


class Gate(NamedTuple):
    """One check as it is shown."""

    name: str
    is_passed: bool
    observed: str
    limit: str
    detail: str
    level: str
    #: the admin page of what the limit comes from; empty where there is none or the person may not open it
    href: str


class Moment(NamedTuple):
    """One line of an order's timeline. `is_asked` marks what we asked and nobody has confirmed."""

    at: datetime
    text: str
    detail: str = ""
    is_asked: bool = False


class Setting(NamedTuple):
    name: str
    value: str
    level: str
    href: str


#: gates whose numbers are quantities, and those whose numbers are money: the rest carry their unit themselves
_QUANTITIES: Final = frozenset({"Size", "Order quantity", "Venue's size"})
_MONEY: Final = frozenset(
    [
        "Session loss",
        "Minimum notional",
        "Order notional",
        "Order share of equity",
        "Trade risk",
        "Gross exposure",
        "Net exposure",
        "Concentration",
        "Bot exposure",
        "Buying power",
    ]
)

# --- a signal ----------------------------------------------------------------------------------------------------------


def signal_told(row: Signal, look: Overview, user: User) -> dict[str, Any]:
    bot = next((b for b in look.bots if b.code == row.bot), None)
    instrument = look.instruments.get(row.symbol)
    gates = [_gate(check, bot, instrument, user) for check in row.checks]
    denied = next((gate for gate in gates if not gate.is_passed), None)
    tick, lot = (instrument.tick_size, instrument.lot_size) if instrument else (None, None)
    return {
        "gates": gates,
        "denied": denied,
        **_limit_history(denied, bot, instrument),
        "figures": [
            ("Size", _size_told(row, gates, lot, instrument)),
            ("Order", row.ord_type.replace("_", "-").lower()),
            ("Price", figure(row.price, tick) if row.price is not None else "market"),
            ("Bid / ask then", f"{figure(row.bid, tick)} / {figure(row.ask, tick)}"),
            ("Stop", figure(row.stop_loss, tick)),
            ("Target", figure(row.take_profit, tick)),
        ],
        "orders": selectors.orders_of_signal(row),
    }


def _size_told(row: Signal, gates: list[Gate], lot: Decimal | None, instrument: Instrument | None) -> str:
    """The quantity that was ordered, or would have been, with its unit."""
    if row.order_qty is not None:
        return _with_unit(figure(row.order_qty, lot), _unit("Size", instrument))
    sized = next((gate.observed for gate in gates if gate.name.startswith("Size") and gate.observed), "")
    return f"{sized}, not ordered" if sized else "not sized: it was denied before"


def _unit(gate: str, instrument: Instrument | None) -> str:
    """The unit of a gate's bare numbers: LTC, shares, contracts; USDT."""
    if instrument is None:
        return ""
    if gate in _MONEY:
        return str(instrument.currency)
    if gate not in _QUANTITIES:
        return ""
    if instrument.asset_class in (AssetClass.CRYPTO_SPOT, AssetClass.FX):
        base = instrument.symbol.removesuffix(instrument.currency)
        return str(instrument.base_currency or ("" if base == instrument.symbol else base))
    return "shares" if instrument.asset_class == AssetClass.EQUITY else "contracts"


def _with_unit(number: str, unit: str) -> str:
    """The number with its unit, never apart."""
    return f"{number}\N{NO-BREAK SPACE}{unit}" if unit and number[-1:].isdigit() else number


def _gate(check: dict[str, Any], bot: Bot | None, instrument: Instrument | None, user: User) -> Gate:
    level, name, is_passed = str(check.get("level") or ""), words(str(check["gate"])), bool(check.get("is_passed"))
    unit = _unit(name, instrument)
    return Gate(
        name="Size, at most qty_max" if name == "Size" and is_passed else name,
        is_passed=is_passed,
        observed=_with_unit(str(check.get("observed") or ""), unit),
        limit=_with_unit(str(check.get("limit") or ""), unit),
        detail=str(check.get("detail") or ""),
        level=level,
        href=level_href(level, bot, user),
    )


def level_href(level: str, bot: Bot | None, user: User) -> str:
    """The admin page where this level's value is set: the bot's profile with its overrides, or the account's limits."""
    if not level or bot is None or not user.is_staff:
        return ""
    try:
        if level.startswith(("symbol ", "class ", "profile ")):
            return reverse("admin:risk_riskprofile_change", args=[bot.profile_id])
        if level.startswith("account"):
            return reverse("admin:risk_accountlimits_change", args=[bot.account.limits_id])
    except NoReverseMatch:
        return ""
    return ""


def _limit_history(denied: Gate | None, bot: Bot | None, instrument: Instrument | None) -> dict[str, Any]:
    """Who last touched the object that the limit came from, and the page of its whole audit."""
    found = _limit_object(denied.level, bot, instrument) if denied and bot and instrument else None
    if found is None:
        return {}
    model, key = found._meta.label, object_key(found)
    last = AuditEntry.objects.filter(model=model, key=key).order_by("-seq").first()
    return {"limit_history": last, "history_href": f"{reverse('console:audit')}?{urlencode({'model': model, 'key': key})}"}


def _limit_object(level: str, bot: Bot, instrument: Instrument) -> Model | None:
    """The row that a level stands for, as the audit knows it even where it is gone by now; None where no setting was the limit."""
    kind, _, name = level.partition(" ")
    match kind:
        case "profile":
            return RiskProfile(code=name)
        case "class":
            return ClassOverride(profile=bot.profile, asset_class=name)
        case "symbol":
            return SymbolOverride(profile=bot.profile, instrument=instrument)
        case "instrument":
            return instrument
        case "account" if name in ("limits", "ceiling"):
            return bot.account.limits
        case _:
            return None


# --- an order ----------------------------------------------------------------------------------------------------------


def order_timeline(row: Order, look: Overview) -> list[Moment]:
    """From the decision to the last fill, by time."""
    return sorted(_moments(row, look), key=lambda moment: moment.at)


def _moments(row: Order, look: Overview) -> Iterator[Moment]:
    instrument = look.instruments.get(row.symbol)
    tick, lot = (instrument.tick_size, instrument.lot_size) if instrument else (None, None)
    decision = selectors.signal_of_order(row)
    if decision:
        yield Moment(decision.at, f"{row.bot} decided {decision.signal}", decision.note)
    yield Moment(row.created_at, "Written down and sent", f"{figure(row.order_qty, lot)} as {row.cl_ord_id}", is_asked=True)
    if row.accepted_at:
        took = span(row.accepted_at - row.created_at)
        yield Moment(row.accepted_at, "The venue took it", f"as {row.order_id or 'its own'}, after {took}")
    for fill in selectors.fills_of_order(row):
        told = f"{figure(fill.last_qty, lot)} at {figure(fill.last_px, tick)}, fee {plain(fill.fee)} {fill.fee_currency}"
        yield Moment(fill.at, "Filled", f"{told} · {fill.exec_id}")
    for command in selectors.commands_of_order(row):
        yield _command_moment(command)
    if row.pending_since and row.ord_status == OrdStatus.PENDING_CANCEL:
        yield Moment(row.pending_since, "Cancel asked", "it may still fill", is_asked=True)
    if row.done_at:
        yield Moment(row.done_at, words(row.ord_status), row.text or row.ord_rej_reason)


def _command_moment(command: Command) -> Moment:
    told = f"{words(command.act.kind)} by {command.act.by}"
    return Moment(command.created_at, told, command.text or words(command.status), is_asked=command.answered_at is None)


# --- an act ------------------------------------------------------------------------------------------------------------


def symbols_of_acts(act_ids: Iterable[int]) -> dict[int, str]:
    """Act → the symbol that its target is, or that the bracket or order it names belongs to; no entry where it names none."""
    asked = Command.objects.filter(act__in=act_ids).exclude(act__target="").select_related("act")
    names = {c.act.target for c in asked}
    found: dict[tuple[int, str], str] = {}
    for model, field in ((Bracket, "bracket_id"), (Order, "cl_ord_id")):
        for row in model.objects.filter(**{f"{field}__in": names}).values_list("account_id", field, "symbol"):
            found[row[0], row[1]] = row[2]
    known = set(Instrument.objects.filter(symbol__in=names).values_list("symbol", flat=True))
    told = {c.act_id: found.get((c.account_id, c.act.target), c.act.target) for c in asked}
    return {act_id: symbol for act_id, symbol in told.items() if symbol in known or symbol in found.values()}


# --- an adjustment -----------------------------------------------------------------------------------------------------


def adjustment_told(row: Adjustment) -> tuple[str, str]:
    """What an adjustment moved, and what that did: of what was held when it came."""
    if row.kind == AdjustmentKind.SPLIT:
        after = split_qty(row.qty, row.new_units, row.old_units)
        counted = f"{plain(row.qty)} became {plain(after)}" if row.qty else "nothing was held"
        ratio = f"{plain(row.new_units)} for {plain(row.old_units)}"
        return ratio, f"Split: {counted}, prices follow; orders in the old terms were canceled."
    way = "received" if row.amount >= 0 else "paid"
    held = f"for {plain(row.qty)} held" if row.qty else "for what was held before"
    return (
        f"{signed(row.amount)} {row.account.currency}",
        f"Funding {way} {held}: in the cash and in the result of {row.symbol}.",
    )


# --- settings ----------------------------------------------------------------------------------------------------------


def settings_told(bot: Bot, instrument: Instrument, user: User) -> list[Setting]:
    """Every setting in force for a bot and symbol, with the level that set it."""
    found = settings_effective(bot.profile, bot.account.limits, instrument)
    return [
        Setting(name, _value(value), "" if value is None else found.levels[name], level_href(found.levels[name], bot, user))
        for name in RiskSettings.__struct_fields__
        for value in [getattr(found.values, name)]
    ]


def _value(value: Any) -> str:
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return plain(value).replace("_", " ")
