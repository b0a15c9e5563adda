"""Acts: each is a POST with a key; the page's form, a dialog and plain HTML all come here. One service call, one answer."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any, Final

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST

from execution import services
from execution.core.messages import CommandStatus, KillChoice, StopMode
from execution.models import Account, Act, Alarm, Bot, Bracket, Command, Position, SymbolState
from execution.selectors import Overview
from execution.services import ActRefused
from execution.services.acts import disabled_told
from risk.core.units import Scope, ScopeKind
from risk.core.verdict import HaltCause, HaltMode
from risk.models import Halt, Instrument
from tradingdesk.console import access, strip
from tradingdesk.console.explain import symbols_of_acts
from tradingdesk.console.figures import figure, several
from tradingdesk.console.forms import KEYS, ClearForm, HaltForm, KillForm, StopForm
from tradingdesk.console.page import look_of, page
from tradingdesk.console.seen import Facts, bot_facts, breaker_facts, clear_facts, paused_facts, seal
from tradingdesk.console.views.answers import (
    act,
    asked,
    asked_again,
    confirm,
    is_htmx,
    is_retry,
    refusal,
    refused_form,
    shown_again,
)
from tradingdesk.console.views.lists import drawer

# --- orders, brackets, positions ---------------------------------------------------------------------------------------


@require_POST
def order_cancel(request: HttpRequest, code: str, cl_ord_id: str) -> HttpResponse:
    account = access.account_for(request, code, may_trade=True)
    text = f"Cancel of {cl_ord_id} asked: it may still fill until the venue confirms."
    return act(request, lambda: services.order_cancel(account=account, cl_ord_id=cl_ord_id, **asked(request)), text)


@require_POST
def order_query(request: HttpRequest, code: str, cl_ord_id: str) -> HttpResponse:
    account = access.account_for(request, code, may_trade=True)
    text = f"Asked the venue about {cl_ord_id}: its answer comes into the timeline."
    return act(request, lambda: services.venue_query(account=account, target=cl_ord_id, **asked(request)), text)


@require_POST
def leg_cancel(request: HttpRequest, code: str, cl_ord_id: str) -> HttpResponse:
    account = access.account_for(request, code, may_trade=True)
    text = "Cancel of this leg asked; the other leg stays. It is not sent again by itself."
    return act(request, lambda: services.bracket_leg_cancel(account=account, cl_ord_id=cl_ord_id, **asked(request)), text)


@require_http_methods(["GET", "POST"])
def bracket_cancel(request: HttpRequest, code: str, bracket_id: str) -> HttpResponse:
    account = access.account_for(request, code, may_trade=True)
    row = get_object_or_404(Bracket, account=account, bracket_id=bracket_id)
    told = [f"The position of {figure(row.open_qty)} {row.symbol} stays open with no stop and no target."]
    ask = partial(confirm, request, "Cancel both legs?", told, "Cancel 2 legs, leave unprotected", is_dangerous=True)
    if request.method == "GET":
        return ask()
    text = f"Both legs of {row.symbol} are being canceled: the position stays, without a stop."
    make = lambda: services.bracket_cancel(account=account, bracket_id=bracket_id, **asked(request))  # noqa: E731
    return act(request, make, text, refused=asked_again(request, ask))


@require_http_methods(["GET", "POST"])
def position_close(request: HttpRequest, code: str, symbol: str) -> HttpResponse:
    account = access.account_for(request, code, may_trade=True)
    row = get_object_or_404(Position, account=account, symbol=symbol)
    lot = lot_of(symbol)
    verb = f"{close_verb(row)} {figure(abs(row.qty), lot)} {symbol} at market"
    ask = partial(confirm, request, f"Close {symbol}?", [close_told(row, lot)], verb)
    if request.method == "GET":
        return ask()
    make = lambda: services.position_close(account=account, symbol=symbol, seen=f"{row.qty}", **asked(request))  # noqa: E731
    return act(request, make, f"Close of {symbol} asked at market.", refused=asked_again(request, ask))


def lot_of(symbol: str) -> Decimal | None:
    return Instrument.objects.filter(symbol=symbol).values_list("lot_size", flat=True).first()


def close_verb(row: Position) -> str:
    return "Sell" if row.qty > 0 else "Buy"


def close_told(row: Position, lot: Decimal | None) -> str:
    """The resulting trade in words: "Sells 0.420 BTCUSDT at market; the account goes +0.420 → 0." """
    if not row.qty:
        return f"{row.symbol} is flat already."
    now = figure(row.qty, lot, is_signed=True)
    return f"{close_verb(row)}s {figure(abs(row.qty), lot)} {row.symbol} at market; the account goes {now} → 0."


# --- bots --------------------------------------------------------------------------------------------------------------


@require_http_methods(["GET", "POST"])
def bot_start(request: HttpRequest, code: str) -> HttpResponse:
    bot = access.bot_for(request, code, may_trade=True)
    facts = bot_facts(look_of(request), bot)
    told = [
        f"{bot.brain.replace('_', ' ')} on {bot.account.name}, {bot.account.environment}.",
        "It warms up on history, then decides.",
    ]
    ask = partial(confirm, request, f"Start {code}?", told, f"Start {code} on {bot.account.environment}", facts=facts)
    if not bot.is_enabled and not is_retry(request):
        return refusal(request, disabled_told(bot), None, to=reverse("console:bots"))
    if request.method == "GET":
        return ask()
    make = lambda: services.bot_start(bot=bot, **asked(request))  # noqa: E731
    return act(request, make, f"{code} starts: it warms up on history first.", facts=facts, refused=asked_again(request, ask))


@require_POST
def bot_pause(request: HttpRequest, code: str) -> HttpResponse:
    bot = access.bot_for(request, code, may_kill=True)
    text = f"{code} is paused: entries canceled, stops stay. Resume undoes it."
    return act(request, lambda: services.bot_pause(bot=bot, **asked(request)), text)


@require_POST
def bot_resume(request: HttpRequest, code: str) -> HttpResponse:
    bot = access.bot_for(request, code, may_trade=True)
    facts = paused_facts(look_of(request), [bot])
    return act(request, lambda: services.bot_resume(bot=bot, **asked(request)), f"{code} resumes.", facts=facts)


@require_http_methods(["GET", "POST"])
def bots_resume(request: HttpRequest) -> HttpResponse:
    """Resume the bots that ran before: ends the pause of each bot that has one."""
    access.require_trade(request)
    look = look_of(request)
    paused = [
        bot
        for bot in look.bots
        if (state := look.effective(bot)).name == "PAUSED" and state.halt and state.halt.scope == ScopeKind.BOT
    ]
    names = ", ".join(bot.code for bot in paused)
    facts = paused_facts(look, paused)
    told = [names or "No bot is paused."]
    verb = f"Resume {several(len(paused), 'bot')}"
    ask = partial(confirm, request, f"Resume the {len(paused)} that ran before?", told, verb, facts=facts)
    if request.method == "POST":

        def make() -> None:
            base = asked(request)
            for bot in paused:
                services.bot_resume(bot=bot, **{**base, "idempotency_key": f"{base['idempotency_key'][:40]}:{bot.pk}"})

        return act(request, make, f"Resumed {len(paused)}: {names}.", facts=facts, refused=asked_again(request, ask))
    return ask()


@require_http_methods(["GET", "POST"])
def bot_stop(request: HttpRequest, code: str) -> HttpResponse:
    bot = access.bot_for(request, code, may_trade=True)
    told = stop_told(look_of(request), code)
    choices = [(mode.value, label) for mode, label in STOP_LABELS.items()]
    ask = partial(confirm, request, f"Stop {code}?", told, f"Stop {code}", choices=choices, name="mode")
    if request.method == "GET":
        return ask()
    again = asked_again(request, ask)
    form = StopForm(request.POST)
    if not form.is_valid():
        return refusal(request, "Choose how to stop.", again)
    mode = StopMode(form.cleaned_data["mode"])
    make = lambda: services.bot_stop(bot=bot, mode=mode, **asked(request))  # noqa: E731
    return act(request, make, f"{code} stops {STOP_WORDS[mode]}.", refused=again)


STOP_WORDS: Final = {StopMode.NOW: "now", StopMode.WHEN_FLAT: "once it is flat", StopMode.AFTER_BRACKET: "after its bracket"}
STOP_LABELS: Final = {
    StopMode.NOW: "Now: brain off, entries canceled; position and legs stay",
    StopMode.WHEN_FLAT: "When flat: no new entry, then off",
    StopMode.AFTER_BRACKET: "After its bracket is done",
}


def stop_told(look: Overview, code: str) -> list[str]:
    entries = sum(1 for o in look.entries if o.bot == code)
    legs = sum(1 for o in look.legs if o.bot == code)
    positions = sum(1 for p in look.positions if p.bot == code)
    return [f"{entries} working entries, {legs} protective legs, {positions} open positions now."]


@require_http_methods(["GET", "POST"])
def bot_flatten(request: HttpRequest, code: str) -> HttpResponse:
    bot = access.bot_for(request, code, may_trade=True)
    told = [close_told(p, lot_of(p.symbol)) for p in look_of(request).bot_position(bot)] or [f"{code} has no open position."]
    ask = partial(confirm, request, f"Flatten {code}?", told, f"Close {len(told)} at market", is_dangerous=True)
    if request.method == "GET":
        return ask()
    make = lambda: services.flatten(scope=Scope(ScopeKind.BOT, bot.code), **asked(request))  # noqa: E731
    return act(request, make, f"Flatten of {code} asked at market.", refused=asked_again(request, ask))


@require_POST
def breaker_reset(request: HttpRequest, code: str, symbol: str) -> HttpResponse:
    account = access.account_for(request, code, may_trade=True)
    text = f"Reset of the breaker of {symbol} asked."
    facts = breaker_facts(SymbolState.objects.filter(account=account, symbol=symbol).first(), symbol)
    return act(request, lambda: services.breaker_reset(account=account, symbol=symbol, **asked(request)), text, facts=facts)


# --- kill, halt, clear -------------------------------------------------------------------------------------------------


@require_http_methods(["GET", "POST"])
def kill(request: HttpRequest) -> HttpResponse:
    access.require_kill(request)
    if request.method == "POST":
        form = KillForm(request.POST)
        if not form.is_valid():
            return refused_form(request, form, "console/kill.html", kill_page(request))
        scope, choice = form.cleaned_data["at"], KillChoice(form.cleaned_data["choice"])
        seen = form.cleaned_data["seen"]
        make = lambda: services.kill(scope=scope, choice=choice, seen=seen, **asked(request))  # noqa: E731
        return made(request, make, lambda why: shown_again(request, why, "console/kill.html", kill_page(request), status=409))
    return page(request, drawer(request, "console/kill.html"), look=look_of(request), **kill_page(request))


def kill_page(request: HttpRequest) -> dict[str, Any]:
    """What the form begins with: where the page was, or what was sent and refused."""
    sent = request.POST
    kind = (sent or request.GET).get("scope", "FIRM")
    key = sent.get(KEYS.get(kind, ""), "") if sent else request.GET.get("key", "")
    return {"scope": kind, "scope_key": key, "form_action": reverse("console:kill"), "sent": sent}


def made(request: HttpRequest, make: Callable[[], Act], refused: Callable[[str], HttpResponse]) -> HttpResponse:
    """The answer to an act that is followed: its steps, live, and what each Desk said; or the form again, as `act` does it."""
    try:
        row = make()
    except ActRefused as e:
        return refusal(request, str(e), refused)
    if is_htmx(request):
        return act_progress(request, row)
    return redirect("console:act", pk=row.pk)


@require_http_methods(["GET"])
def act_shown(request: HttpRequest, pk: int) -> HttpResponse:
    """An act with the steps of each account's command."""
    row = get_object_or_404(Act, pk=pk)
    commands = visible_commands(request, row)
    if row.commands.exists() and not commands:
        raise Http404
    if is_htmx(request):
        return act_progress(request, row)
    return page(request, "console/act.html", look=look_of(request), **progress(row, commands))


def visible_commands(request: HttpRequest, row: Act) -> list[Command]:
    accounts = access.accounts_of(access.user_of(request))
    return list(Command.objects.filter(act=row, account__in=accounts).select_related("account").order_by("account__code"))


def act_progress(request: HttpRequest, row: Act) -> HttpResponse:
    return render(request, "console/act.html#progress", progress(row, visible_commands(request, row)))


def progress(row: Act, commands: list[Command]) -> dict[str, Any]:
    unfinished = [c for c in commands if c.status in (CommandStatus.PENDING, CommandStatus.RUNNING)]
    return {
        "act": row,
        "scope_words": strip.scope_words(row.scope, row.scope_key),
        "symbol": symbols_of_acts([row.pk]).get(row.pk, ""),
        "accounts": [(c, steps_of(c, row), strip.waiting_step(c) if c in unfinished else "", verified_text(c)) for c in commands],
        "is_finished": not unfinished,
        "now": timezone.now(),
        "late": not commands,
    }


def steps_of(command: Command, row: Act) -> list[dict[str, Any]]:
    """The steps with the seconds after the act at which each ended."""
    found = []
    for step in command.steps:
        at = datetime.fromisoformat(step["at"]) if step.get("at") else None
        after = f"+{(at - row.at).total_seconds():.2f} s" if at else ""
        # the last step has a line of its own, so that "verified" is never read on one that is pending
        is_shown = step["name"] != "verified" and (step["name"] != "filled_before_cancel" or bool(step["done"]))
        found.append({**step, "after": after, "is_shown": is_shown})
    return found


def verified_text(command: Command) -> str:
    return next((str(step["text"]) for step in command.steps if step["name"] == "verified"), "")


@require_http_methods(["GET", "POST"])
def halt(request: HttpRequest) -> HttpResponse:
    access.require_kill(request)
    extra = {**kill_page(request), "form_action": reverse("console:halt"), "modes": list(HaltMode)}
    if request.method == "POST":
        form = HaltForm(request.POST)
        if not form.is_valid():
            return refused_form(request, form, "console/halt.html", extra)
        scope, mode = form.cleaned_data["at"], HaltMode(form.cleaned_data["mode"])
        make = lambda: services.halt(scope=scope, mode=mode, **asked(request))  # noqa: E731
        return made(request, make, lambda why: shown_again(request, why, "console/halt.html", extra, status=409))
    return page(request, drawer(request, "console/halt.html"), look=look_of(request), **extra)


@require_http_methods(["GET", "POST"])
def halt_clear(request: HttpRequest, halt_id: str) -> HttpResponse:
    row = halt_for(request, halt_id)
    rights = access.rights_of(access.user_of(request))
    if request.method == "POST":
        form = ClearForm(request.POST)
        if not form.is_valid():
            return refused_form(request, form, "console/clear.html", clear_page(request, row))
        make = lambda: services.halt_clear(  # noqa: E731
            halt=row,
            phrase=form.cleaned_data["phrase"],
            at=timezone.now(),
            may_clear_latches=rights.may_clear,
            keeps_baseline=form.cleaned_data["keeps_baseline"],
            **asked(request),
        )
        anew = lambda why: shown_again(request, why, "console/clear.html", clear_page(request, row), status=409)  # noqa: E731
        text = f"Cleared: {strip.scope_words(row.scope, row.scope_key)}. Nothing started by itself; bots are paused."
        return act(request, make, text, facts=clear_shown(request, row), refused=anew)
    return page(request, drawer(request, "console/clear.html"), look=look_of(request), **clear_page(request, row))


def halt_for(request: HttpRequest, halt_id: str) -> Halt:
    """An active halt over something this person may see; only traders and risk may look at clearing it."""
    rights = access.rights_of(access.user_of(request))
    if not (rights.may_trade or rights.may_clear):
        access.require_trade(request)
    row = get_object_or_404(Halt, pk=halt_id)
    if row.cleared_at is None and all(h.pk != row.pk for h in look_of(request).halts):
        raise Http404
    return row


def clear_page(request: HttpRequest, row: Halt) -> dict[str, Any]:
    look = look_of(request)
    ready_at = row.at + services.clear_hold(row)
    bots = bots_coming_back(look, row)
    unverified = [line.told for line in strip.kill_lines(look) if line.halt.pk == row.pk and not line.is_verified]
    return {
        "halt": row,
        "scope_words": strip.scope_words(row.scope, row.scope_key),
        "is_latch": services.is_latch(row),
        "is_pause": row.cause == HaltCause.PAUSE,
        "is_loss": row.cause in {HaltCause.DAILY_LOSS, HaltCause.DRAWDOWN},
        "typed": request.POST,
        "phrase": services.clear_phrase(row),
        "ready_at": ready_at,
        "is_ready": not row.at <= look.at < ready_at,
        "bots": [bot.code for bot in bots],
        "baselines": [(a, state) for a in accounts_under(look, row) if (state := look.states.get(a.pk))],
        "unverified": unverified,
        "shown": seal(clear_facts(look, row, bots)),
    }


def clear_shown(request: HttpRequest, row: Halt) -> Facts:
    look = look_of(request)
    return clear_facts(look, row, bots_coming_back(look, row))


def bots_coming_back(look: Overview, row: Halt) -> list[Bot]:
    """The bots under this halt that ran: they come back paused. One under another halt of its own stays under that."""
    found = [(bot, look.halts_over(bot)) for bot in look.bots if bot.should_run and bot.is_enabled]
    return [bot for bot, halts in found if row in halts and not any(_is_own(halt) and halt != row for halt in halts)]


def _is_own(halt: Halt) -> bool:
    """Whether a bot itself is under it, and more than paused."""
    return halt.scope == ScopeKind.BOT and halt.cause != HaltCause.PAUSE


def accounts_under(look: Overview, row: Halt) -> list[Account]:
    """The accounts whose baselines matter to who clears this halt."""
    under = {bot.account_id for bot in look.bots if row.pk in {halt.pk for halt in look.halts_over(bot)}}
    return [a for a in look.accounts if row.scope == ScopeKind.FIRM or a.pk in under or row.scope_key == a.code]


@require_POST
def alarm_ack(request: HttpRequest, pk: int) -> HttpResponse:
    access.require_kill(request)
    accounts = access.accounts_of(access.user_of(request))
    row = get_object_or_404(Alarm.objects.select_related("account"), pk=pk, account__in=accounts)
    base = asked(request)
    return act(request, lambda: services.alarm_ack(alarm=row, by=base["by"], origin=base["origin"]), f"Acknowledged: {row.title}.")
