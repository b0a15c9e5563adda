"""By hand: moving a leg, arming a position, settling a disagreement with the venue, asking the venue.

Each form shows what stands now, sealed; the answer is the act with its steps, where the Desk says what it did or why not.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from django import forms
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_http_methods, require_POST

from execution import services
from execution.core.messages import Leg
from execution.models import Account, Act, Bracket, Discrepancy, Position
from execution.selectors import Overview
from risk.core.units import HUNDRED, Side, worth
from tradingdesk.console import access
from tradingdesk.console.figures import figure, money, span
from tradingdesk.console.forms import ArmForm, MoveForm
from tradingdesk.console.page import look_of, page
from tradingdesk.console.seen import Facts, arm_facts, discrepancy_facts, leg_facts, outdated, seal
from tradingdesk.console.views.acts import made
from tradingdesk.console.views.answers import act, asked, is_retry, refusal, refused_form, shown_again
from tradingdesk.console.views.lists import drawer

_TEMPLATE: Final = "console/by_hand.html"


# --- moving --------------------------------------------------------------------------------------------------------------


@require_http_methods(["GET", "POST"])
def leg_move(request: HttpRequest, code: str, bracket_id: str, leg: Leg) -> HttpResponse:
    """Another price for the stop or the target of a bracket; the field holds the price it has."""
    account = access.account_for(request, code, may_trade=True)
    row = get_object_or_404(Bracket, account=account, bracket_id=bracket_id)
    price = leg_price(row, leg)
    if price is None:
        raise Http404
    facts = leg_facts(row, leg)

    def shown() -> dict[str, Any]:
        return {
            "question": f"Move the {leg.value} of {row.symbol}?",
            "told": move_told(look_of(request), row, leg, price),
            "fields": [("price", "New price", f"{price:f}")],
            "verb": f"Move the {leg.value}",
        }

    def make(form: forms.Form) -> Act:
        told = form.cleaned_data["price"]
        return services.bracket_leg_move(account=account, bracket_id=bracket_id, leg=leg, price=told, **asked(request))

    return by_hand(request, shown, make, facts, MoveForm)


def leg_price(row: Bracket, leg: Leg) -> Decimal | None:
    price: Decimal | None = row.stop_px if leg is Leg.STOP else row.target_px
    return price


def move_told(look: Overview, row: Bracket, leg: Leg, price: Decimal) -> list[str]:
    """Where the leg stands, how far from the market, and what the position has made when it is closed there."""
    instrument = look.instruments.get(row.symbol)
    tick, lot = (instrument.tick_size, instrument.lot_size) if instrument else (None, None)
    position = look.positions_by_symbol.get((row.account_id, row.symbol))
    mark = position.mark if position else None
    far = f", {distance(price, mark)} from the market's {figure(mark, tick)}" if mark else ""
    told = [f"The {leg.value} of {figure(row.open_qty or row.entry_qty, lot)} {row.symbol} stands at {figure(price, tick)}{far}."]
    if position is not None and position.avg_px is not None and row.open_qty:
        made = outcome(position, price, row.open_qty * Side(row.side).sign)
        told.append(f"Closed there it {'earns' if made >= 0 else 'loses'} {money(abs(made))}, fees apart.")
    return [*told, *_grid(tick)]


def distance(price: Decimal, mark: Decimal) -> str:
    return f"{'+' if price > mark else '−'}{abs(price - mark) / mark * HUNDRED:.2f} %"


def outcome(position: Position, price: Decimal, qty: Decimal) -> Decimal:
    """What `qty` of a position has made when it is closed at `price`: (worth there − worth at its average) × quantity × contract value."""
    won = worth(price, is_inverse=position.is_inverse) - worth(position.avg_px, is_inverse=position.is_inverse)
    made: Decimal = won * qty * position.contract_value
    return made


def _grid(tick: Decimal | None) -> list[str]:
    return [f"Prices step by {tick.normalize():f}."] if tick else []


# --- arming --------------------------------------------------------------------------------------------------------------


@require_http_methods(["GET", "POST"])
def bracket_arm(request: HttpRequest, code: str, bracket_id: str) -> HttpResponse:
    """A stop, a target or both for one bracket."""
    account = access.account_for(request, code, may_trade=True)
    row = get_object_or_404(Bracket, account=account, bracket_id=bracket_id)
    return _arm(request, account, bracket_id, row.symbol, [row])


@require_http_methods(["GET", "POST"])
def position_arm(request: HttpRequest, code: str, symbol: str) -> HttpResponse:
    """A stop, a target or both for a whole position, also for what of it no bracket has."""
    account = access.account_for(request, code, may_trade=True)
    get_object_or_404(Position, account=account, symbol=symbol)
    return _arm(request, account, symbol, symbol, list(Bracket.objects.filter(account=account, symbol=symbol, is_open=True)))


def _arm(request: HttpRequest, account: Account, target: str, symbol: str, brackets: list[Bracket]) -> HttpResponse:
    position = get_object_or_404(Position, account=account, symbol=symbol)
    is_whole = target == symbol

    def shown() -> dict[str, Any]:
        return {
            "question": f"Protect {symbol}?",
            "told": arm_told(look_of(request), position, brackets, is_whole=is_whole),
            "fields": [("stop_px", "Stop at", ""), ("target_px", "Target at", "")],
            "verb": f"Protect {symbol}",
        }

    def make(form: forms.Form) -> Act:
        prices = {name: form.cleaned_data[name] for name in ("stop_px", "target_px")}
        return services.bracket_arm(account=account, target=target, **prices, **asked(request))

    return by_hand(request, shown, make, arm_facts(position, brackets), ArmForm)


def arm_told(look: Overview, position: Position, brackets: list[Bracket], *, is_whole: bool) -> list[str]:
    """What is open, what protects it now, and on which side of the market each price must lie."""
    instrument = look.instruments.get(position.symbol)
    tick, lot = (instrument.tick_size, instrument.lot_size) if instrument else (None, None)
    if not position.qty:
        return [f"{position.symbol} is flat: there is nothing to protect."]
    is_long = position.qty > 0
    low, high = ("stop", "target") if is_long else ("target", "stop")
    qty = abs(position.qty) if is_whole else sum((row.open_qty for row in brackets), Decimal(0))
    average = figure(position.avg_px.quantize(tick) if tick and position.avg_px is not None else position.avg_px, tick)
    mark = f"the market's {figure(position.mark, tick)}" if position.mark is not None else "the market"
    what = "The whole position" if is_whole else "This bracket"
    found = look.protection_of(position)
    here = " The rest is watched here, by the engine." if found.is_watched else ""
    return [
        f"{what}: {figure(qty, lot)} {position.symbol} {'long' if is_long else 'short'}, average {average}.",
        f"A stop at the venue covers {figure(found.covered_qty, lot)} of {figure(abs(position.qty), lot)}.{here}",
        f"The {low} lies below {mark}, the {high} above. A field left empty changes nothing.",
        *_grid(tick),
    ]


# --- disagreements ---------------------------------------------------------------------------------------------------------


@require_http_methods(["GET", "POST"])
def discrepancy_adopt(request: HttpRequest, code: str, symbol: str) -> HttpResponse:
    """Believe the venue."""
    account, row = _discrepancy(request, code, symbol)

    def shown() -> dict[str, Any]:
        booked = figure(row.theirs - row.ours, is_signed=True)
        return {
            "question": f"Adopt the venue's {symbol}?",
            "told": [
                discrepancy_told(look_of(request), row),
                f"Ours becomes the venue's: {booked} is booked for EXTERNAL at the mark. No order is sent.",
            ],
            "verb": f"Adopt {figure(row.theirs)} {symbol}",
        }

    return by_hand(
        request,
        shown,
        lambda _: services.discrepancy_adopt(account=account, symbol=symbol, **asked(request)),
        discrepancy_facts(row),
    )


@require_http_methods(["GET", "POST"])
def discrepancy_flatten(request: HttpRequest, code: str, symbol: str) -> HttpResponse:
    """Believe the venue, and have nothing of it."""
    account, row = _discrepancy(request, code, symbol)

    def shown() -> dict[str, Any]:
        side, held = ("Sells" if row.theirs > 0 else "Buys"), figure(row.theirs, is_signed=True)
        return {
            "question": f"Flatten {symbol}?",
            "told": [
                discrepancy_told(look_of(request), row),
                f"Ours becomes the venue's, and all of it is closed. {side} {figure(abs(row.theirs))} {symbol} at market; "
                f"the account goes {held} → 0.",
            ],
            "verb": f"Adopt and close {figure(abs(row.theirs))} {symbol}",
        }

    return by_hand(
        request,
        shown,
        lambda _: services.discrepancy_flatten(account=account, symbol=symbol, **asked(request)),
        discrepancy_facts(row),
    )


@require_http_methods(["GET", "POST"])
def discrepancy_ignore(request: HttpRequest, code: str, symbol: str) -> HttpResponse:
    """Let the difference be."""
    account, row = _discrepancy(request, code, symbol)

    def shown() -> dict[str, Any]:
        return {
            "question": f"Let the difference of {symbol} be?",
            "told": [
                discrepancy_told(look_of(request), row),
                "Nothing is booked. It is told again as soon as it is another difference than this.",
            ],
            "verb": "Let it be",
        }

    return by_hand(
        request,
        shown,
        lambda _: services.discrepancy_ignore(account=account, symbol=symbol, **asked(request)),
        discrepancy_facts(row),
    )


def _discrepancy(request: HttpRequest, code: str, symbol: str) -> tuple[Account, Discrepancy]:
    """The newest of a symbol. One that ended is shown to nobody, yet a form that showed it is told so."""
    account = access.account_for(request, code, may_trade=True)
    row = Discrepancy.objects.filter(account=account, symbol=symbol).first()
    if row is None or (row.ended_at is not None and request.method == "GET"):
        raise Http404
    return account, row


def discrepancy_told(look: Overview, row: Discrepancy) -> str:
    return f"We hold {figure(row.ours)} {row.symbol}, the venue {figure(row.theirs)}, for {span(look.at - row.since)}."


# --- asking the venue --------------------------------------------------------------------------------------------------------


@require_POST
def account_query(request: HttpRequest, code: str) -> HttpResponse:
    account = access.account_for(request, code, may_trade=True)
    text = f"Asked the venue of {account.name} for its orders, fills and positions."
    return act(request, lambda: services.venue_query(account=account, **asked(request)), text)


@require_POST
def bracket_query(request: HttpRequest, code: str, bracket_id: str) -> HttpResponse:
    """Ask about its entry and each leg that works."""
    account = access.account_for(request, code, may_trade=True)
    row = get_object_or_404(Bracket, account=account, bracket_id=bracket_id)
    text = f"Asked the venue about the bracket of {row.symbol}."
    return act(request, lambda: services.venue_query(account=account, target=bracket_id, **asked(request)), text)


# --- the form --------------------------------------------------------------------------------------------------------------


def by_hand(
    request: HttpRequest,
    shown: Callable[[], dict[str, Any]],
    make: Callable[[forms.Form], Act],
    facts: Facts,
    form_class: type[forms.Form] = forms.Form,
) -> HttpResponse:
    """The form, or the act it asks for: refused where it showed something else than `facts`, or where a field cannot be read."""
    if request.method == "GET":
        return page(request, drawer(request, _TEMPLATE), look=look_of(request), **_filled(request, shown(), facts))
    again = lambda why: shown_again(request, why, _TEMPLATE, _filled(request, shown(), facts), status=409)  # noqa: E731
    problem = outdated(request.POST.get("shown", ""), facts)
    if problem and not is_retry(request):
        # what ended has no form to show again
        return refusal(request, problem, again if "settled" not in facts.values() else None)
    form = form_class(request.POST)
    if not form.is_valid():
        return refused_form(request, form, _TEMPLATE, _filled(request, shown(), facts))
    return made(request, lambda: make(form), again)


def _filled(request: HttpRequest, shown: dict[str, Any], facts: Facts) -> dict[str, Any]:
    """What was typed stays in the form that is shown again."""
    fields = [(name, label, request.POST.get(name, value)) for name, label, value in shown.get("fields", ())]
    return {
        **shown,
        "fields": fields,
        "form_action": request.path,
        "shown": seal(facts),
        "reason": request.POST.get("reason", ""),
    }
