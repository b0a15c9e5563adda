"""What stands in each cell. *Asked* and *confirmed* never look alike: a dashed chip is a wish, a solid one the venue's word."""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, NamedTuple

from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from execution.core.brackets import BracketStatus
from execution.core.messages import SignalKind
from execution.core.orders import OrdStatus, Purpose
from execution.models import Bot, Bracket, Order, Position, Signal, SymbolState
from execution.selectors import Overview, is_resting, is_stuck
from risk.core.units import ZERO, OrdType, worth
from tradingdesk.console import strip
from tradingdesk.console.access import Rights
from tradingdesk.console.figures import NONE, age, clock, clock_ms, direction, figure, signed, span, words
from tradingdesk.console.seen import Facts, breaker_facts, paused_facts, seal

Html = SafeString | str


class Context(NamedTuple):
    """What a cell may look at besides its row."""

    look: Overview
    rights: Rights


#: OrdStatus → the word and the chip's class. "asked" chips are dashed: nobody has confirmed them
ORDER_WORDS: Final = {
    OrdStatus.PENDING_NEW: ("asked", "asked"),
    OrdStatus.NEW: ("working", ""),
    OrdStatus.PARTIALLY_FILLED: ("part filled", ""),
    OrdStatus.FILLED: ("filled", ""),
    OrdStatus.CANCELED: ("canceled", "quiet"),
    OrdStatus.REJECTED: ("rejected", "warn"),
    OrdStatus.EXPIRED: ("expired", "quiet"),
    OrdStatus.UNKNOWN: ("unknown", "asked warn"),
    OrdStatus.PENDING_CANCEL: ("cancel asked", "asked warn"),
    OrdStatus.PENDING_REPLACE: ("change asked", "asked"),
    OrdStatus.STOPPED: ("price guaranteed", ""),
    OrdStatus.SUSPENDED: ("suspended", "warn"),
    OrdStatus.DONE_FOR_DAY: ("done for the day", "quiet"),
    OrdStatus.CALCULATED: ("done for the day", "quiet"),
}
BRACKET_WORDS: Final = {
    BracketStatus.PENDING: ("waits for its entry", "quiet"),
    BracketStatus.ARMING: ("arming", "asked"),
    BracketStatus.ARMED: ("armed", ""),
    BracketStatus.CLOSING: ("closing", "asked"),
    BracketStatus.CLOSED: ("closed", "quiet"),
    BracketStatus.UNBALANCED: ("unbalanced", "warn"),
    BracketStatus.NAKED: ("no stop", "bad"),
    BracketStatus.ORPHANED: ("orphaned", "warn"),
}
PURPOSE_WORDS: Final = {
    Purpose.ENTRY: "entry",
    Purpose.EXIT: "exit",
    Purpose.STOP_LOSS: "stop",
    Purpose.TAKE_PROFIT: "target",
    Purpose.OVERSHOOT: "overshoot",
}


# --- building blocks ---------------------------------------------------------------------------------------------------


def chip(text: str, css: str = "", title: str = "") -> SafeString:
    if title:
        return format_html('<span class="chip {}" title="{}">{}</span>', css, title, text)
    return format_html('<span class="chip {}">{}</span>', css, text)


def post_button(label: str, href: str, css: str = "", *, facts: Facts | None = None) -> SafeString:
    """A button that acts at once. It belongs to the page's one form (csrf token and idempotency key); `facts` are sealed into it."""
    if facts is not None:
        button = '<button type="submit" form="act" formaction="{}" name="shown" value="{}" class="btn {}">{}</button>'
        return format_html(button, href, seal(facts), css, label)
    return format_html('<button type="submit" form="act" formaction="{}" class="btn {}">{}</button>', href, css, label)


def dialog_link(label: str, href: str, css: str = "") -> SafeString:
    """A link to a page that asks; with JavaScript it opens in the dialog."""
    return format_html('<a href="{}" class="btn {}" data-dialog>{}</a>', href, css, label)


def more(label: str, items: list[SafeString]) -> SafeString:
    """Buttons and links under ⋯."""
    inner = format_html_join("", "{}", ((item,) for item in items))
    menu = '<details class="more"><summary class="btn" aria-label="{}">⋯</summary><div>{}</div></details>'
    return format_html(menu, label, inner)


def drawer_link(label: Html, href: str, css: str = "") -> SafeString:
    return format_html('<a href="{}" class="{}" data-drawer>{}</a>', href, css, label)


def _tick(symbol_: str, look: Overview) -> Decimal | None:
    found = look.instruments.get(symbol_)
    return found.tick_size if found else None


def _lot(symbol_: str, look: Overview) -> Decimal | None:
    found = look.instruments.get(symbol_)
    return found.lot_size if found else None


def _price(value: Decimal | None, symbol_: str, look: Overview) -> str:
    return figure(value, _tick(symbol_, look))


def _qty(value: Decimal | None, symbol_: str, look: Overview, *, is_signed: bool = False) -> str:
    return figure(value, _lot(symbol_, look), is_signed=is_signed)


def _gain(value: Decimal | None) -> SafeString:
    return format_html('<span class="{}">{}</span>', direction(value), signed(value))


def side_mark(side_: str) -> SafeString:
    if side_ == "BUY":
        return mark_safe('<span class="buy">▲ BUY</span>')
    if side_ == "SELL":
        return mark_safe('<span class="sell">▼ SELL</span>')
    return mark_safe('<span class="close">■ CLOSE</span>')


# --- shared ------------------------------------------------------------------------------------------------------------


def symbol(row: Any, context: Context) -> Html:
    return str(row.symbol)


def side(row: Any, context: Context) -> Html:
    return side_mark(row.side)


def bot_link(row: Any, context: Context) -> Html:
    if row.bot == "EXTERNAL":
        return mark_safe('<span class="muted">EXTERNAL</span>')
    return _bot_link(row.bot)


@lru_cache(maxsize=4096)
def _bot_link(code: str) -> SafeString:
    return format_html('<a href="{}">{}</a>', reverse("console:bot", args=[code]), code)


def account_name(row: Any, context: Context) -> Html:
    found = context.look.accounts_by_id.get(row.account_id)
    return found.name if found else NONE


# --- the fleet ---------------------------------------------------------------------------------------------------------


def bot_name(bot: Bot, context: Context) -> Html:
    return format_html(
        '<a href="{}"><strong>{}</strong></a> <small>{}</small>',
        reverse("console:bot", args=[bot.code]),
        bot.code,
        bot.brain.replace("_", " "),
    )


def bot_state(bot: Bot, context: Context) -> Html:
    effective = context.look.effective(bot)
    word, css = strip.bot_state(effective)
    state = chip(word, css, strip.state_told(effective))
    closed = closed_markets(context.look.symbols_of.get(bot.pk, []), context.look)
    told = " · ".join(part for part in (effective.level if effective.name == "REDUCE_ONLY" else "", closed) if part)
    return format_html("{} <small>{}</small>", state, told) if told else state


def closed_markets(symbols: list[str], look: Overview) -> str:
    """Which of the symbols' markets are closed, until when; the symbol is named where there are several."""
    found = [(symbol, told) for symbol in symbols if (told := look.market_closed(symbol))]
    return "; ".join(told if len(symbols) == 1 else f"{symbol} {told}" for symbol, told in found)


def bot_symbols(bot: Bot, context: Context) -> Html:
    return " ".join(context.look.symbols_of.get(bot.pk, [])) or NONE


def bot_position(bot: Bot, context: Context) -> Html:
    held = context.look.bot_position(bot)
    return " ".join(_qty(p.qty, p.symbol, context.look, is_signed=True) for p in held) or NONE


def bot_protection(bot: Bot, context: Context) -> Html:
    return format_html_join(" ", "{}", ((position_protection(p, context),) for p in context.look.bot_position(bot))) or NONE


def bot_unrealised(bot: Bot, context: Context) -> Html:
    held = context.look.bot_position(bot)
    return _gain(sum((p.unrealised for p in held), ZERO)) if held else NONE


def bot_session(bot: Bot, context: Context) -> Html:
    return _gain(sum((context.look.session_result(bot, symbol) for symbol in context.look.symbols_of.get(bot.pk, [])), ZERO))


def bot_price_age(bot: Bot, context: Context) -> Html:
    look = context.look
    times = [s.priced_at for x in look.symbols_of.get(bot.pk, []) if (s := look.prices.get((bot.account_id, x))) and s.priced_at]
    if not times:
        return NONE
    oldest = min(times)
    is_late = look.at - oldest > strip.price_age_max(look, bot.account_id)
    return format_html('<span class="{}">{}</span>', "warn" if is_late else "", age(oldest, look.at))


def bot_working(bot: Bot, context: Context) -> Html:
    return str(context.look.working_by_bot.get((bot.account_id, bot.code), 0))


def bot_placed(bot: Bot, context: Context) -> Html:
    state = getattr(bot, "state", None)
    return f"{state.placed:,}" if state else "0"


def bot_denied(bot: Bot, context: Context) -> Html:
    state = getattr(bot, "state", None)
    return f"{state.denied:,}" if state else "0"


def bot_last_signal(bot: Bot, context: Context) -> Html:
    state = getattr(bot, "state", None)
    return age(state.last_signal_at if state else None, context.look.at)


def bot_acts(bot: Bot, context: Context) -> Html:
    label, href, is_dialog = strip.bot_button(bot, context.look.effective(bot))
    rights = context.rights
    is_allowed = rights.may_kill if label == "Pause" else rights.may_trade or (label == "Clear…" and rights.may_clear)
    first: Html = ""
    if label and is_allowed:
        facts = paused_facts(context.look, [bot]) if label == "Resume" else None
        first = dialog_link(label, href) if is_dialog else post_button(label, href, facts=facts)
    if not rights.may_kill:
        return first
    return format_html("{}{}", first, bot_menu(bot, context))


def bot_menu(bot: Bot, context: Context) -> Html:
    """The rest of a bot's acts, under ⋯."""
    may_trade = context.rights.may_trade
    may_stop = may_trade and context.look.effective(bot).name not in {"STOPPED", "DISABLED"}
    return _menu(bot.code, may_stop=may_stop, may_flatten=may_trade and bool(context.look.bot_position(bot)))


@lru_cache(maxsize=4096)
def _menu(code: str, *, may_stop: bool, may_flatten: bool) -> SafeString:
    items = []
    if may_stop:
        items.append(dialog_link("Stop…", reverse("console:bot-stop", args=[code])))
    if may_flatten:
        items.append(dialog_link("Flatten…", reverse("console:bot-flatten", args=[code])))
    items.append(dialog_link("Kill…", strip.kill_href("BOT", code), "danger"))
    return more(f"More acts of {code}", items)


# --- signals -----------------------------------------------------------------------------------------------------------


def signal_at(row: Signal, context: Context) -> Html:
    return drawer_link(clock_ms(row.at), reverse("console:signal", args=[row.pk]))


def signal_side(row: Signal, context: Context) -> Html:
    return side_mark("CLOSE" if row.signal == SignalKind.CLOSE else row.side or row.signal)


def signal_size(row: Signal, context: Context) -> Html:
    if row.order_qty is None:
        return NONE
    at_price = _price(row.price, row.symbol, context.look) if row.price is not None else "market"
    return f"{_qty(row.order_qty, row.symbol, context.look)} @ {at_price}"


def signal_verdict(row: Signal, context: Context) -> Html:
    if not row.reason:
        return chip("Approved")
    # the row stands at its first time and stays there; what repeats says when it was said last
    times = f" ×{row.repeats}" if row.repeats > 1 else ""
    denied = drawer_link(chip(f"Denied{times}", "quiet"), reverse("console:signal", args=[row.pk]))
    return format_html("{} <small>last {}</small>", denied, clock(row.last_at)) if row.repeats > 1 else denied


def signal_why(row: Signal, context: Context) -> Html:
    if row.reason:
        return drawer_link(row.text or words(row.reason), reverse("console:signal", args=[row.pk]), "plain")
    legs = [_price(x, row.symbol, context.look) for x in (row.stop_loss, row.take_profit) if x is not None]
    return " · ".join(part for part in (row.text, row.note, f"stop and target {' / '.join(legs)}" if legs else "") if part) or NONE


# --- orders ------------------------------------------------------------------------------------------------------------


def order_at(row: Order, context: Context) -> Html:
    return drawer_link(clock_ms(row.created_at), reverse("console:order", args=[row.pk]))


def order_purpose(row: Order, context: Context) -> Html:
    return PURPOSE_WORDS[Purpose(row.purpose)]


def order_type(row: Order, context: Context) -> Html:
    extra = " ".join(x for x in (row.time_in_force, "post-only" if row.post_only else "") if x and x != "GTC")
    return f"{row.ord_type.replace('_', '-').lower()} {extra}".strip()


def order_qty(row: Order, context: Context) -> Html:
    return _qty(row.order_qty, row.symbol, context.look)


def order_filled(row: Order, context: Context) -> Html:
    return _qty(row.cum_qty, row.symbol, context.look) if row.cum_qty else NONE


def order_price(row: Order, context: Context) -> Html:
    prices = [x for x in (row.stop_px, row.price) if x is not None]
    return " / ".join(_price(x, row.symbol, context.look) for x in prices) or ("market" if row.ord_type == OrdType.MARKET else NONE)


def order_avg(row: Order, context: Context) -> Html:
    return _price(row.avg_px, row.symbol, context.look)


def order_status(row: Order, context: Context) -> Html:
    status = OrdStatus(row.ord_status)
    word, css = ORDER_WORDS[status]
    if is_stuck(row, at=context.look.at):
        since = row.pending_since or row.updated_at
        return format_html("{} <small>no answer {}</small>", chip(f"stuck: {word}", "asked warn"), age(since, context.look.at))
    if status == OrdStatus.PENDING_CANCEL:
        return format_html("{} <small>may still fill</small>", chip(word, css))
    return chip(word, css, row.text)


def order_age(row: Order, context: Context) -> Html:
    if row.is_working:
        return age(row.created_at, context.look.at)
    return span(row.done_at - row.created_at) if row.done_at else NONE


def order_acts(row: Order, context: Context) -> Html:
    if not row.is_working or not context.rights.may_trade:
        return ""
    account = context.look.accounts_by_id[row.account_id].code
    if row.ord_status == OrdStatus.PENDING_CANCEL:
        return ""
    is_leg = bool(row.bracket_id) and row.bracket_id != row.cl_ord_id
    name = "console:leg-cancel" if is_leg else "console:order-cancel"
    return post_button("Cancel", reverse(name, args=[account, row.cl_ord_id]), _css_of(row))


def _css_of(row: Order) -> str:
    """What takes protection away does not look like what takes an entry away."""
    return "danger" if row.purpose == Purpose.STOP_LOSS else ""


# --- brackets ----------------------------------------------------------------------------------------------------------


def bracket_at(row: Bracket, context: Context) -> Html:
    return clock_ms(row.created_at)


def bracket_open(row: Bracket, context: Context) -> Html:
    now = _qty(row.open_qty, row.symbol, context.look)
    return now if row.open_qty == row.entry_qty else f"{now} of {_qty(row.entry_qty, row.symbol, context.look)}"


def bracket_state(row: Bracket, context: Context) -> Html:
    """The state; below it what is not as people take it for granted: how the stop trails, what was taken away, when it closes."""
    state = _bracket_chip(row, context)
    return format_html('{} <small class="told">{}</small>', state, row.text) if row.text else state


def _bracket_chip(row: Bracket, context: Context) -> SafeString:
    if row.naked_since and row.is_open:
        return format_html("{} <small>for {}</small>", chip("no stop", "bad"), age(row.naked_since, context.look.at))
    if row.is_open and row.is_stop_waived:
        return chip("no stop, by choice", "bad")
    if row.is_open and row.is_target_waived:
        return chip("stop only", "warn")
    return chip(*BRACKET_WORDS[BracketStatus(row.status)])


def _leg(row: Bracket, leg_id: str, price: Decimal | None, context: Context, *, is_waived: bool, is_emulated: bool) -> Html:
    """A leg's price with the order that stands for it, its distance from the mark, and what is not as it should be."""
    if price is None:
        return mark_safe('<span class="muted">none asked</span>')
    text = _price(price, row.symbol, context.look)
    order = context.look.orders_by_id.get((row.account_id, leg_id))
    if is_waived:
        return format_html('<s class="muted">{}</s> <small>taken away</small>', text)
    if is_emulated and row.is_open and row.open_qty:
        return format_html(
            "{} {}", text, chip("watched here", "warn", "the venue cannot hold it: it works only while the engine does")
        )
    if order is None:
        return format_html("{} <small>{}</small>", text, "not resting" if row.is_open and row.open_qty else "")
    if not is_resting(order):
        return format_html("{} {}", text, chip("asked", "asked"))
    return format_html("{} <small>{}</small>", text, _distance(row, price, context))


def _distance(row: Bracket | Position, price: Decimal, context: Context) -> str:
    state = context.look.prices.get((row.account_id, row.symbol))
    mark = state.last if state else None
    return f"{'+' if price > mark else '−'}{abs(price - mark) / mark * 100:.2f}\N{NO-BREAK SPACE}%" if mark else ""


def bracket_stop(row: Bracket, context: Context) -> Html:
    return _leg(row, row.stop_id, row.stop_px, context, is_waived=row.is_stop_waived, is_emulated=row.is_stop_emulated)


def bracket_target(row: Bracket, context: Context) -> Html:
    return _leg(row, row.target_id, row.target_px, context, is_waived=row.is_target_waived, is_emulated=row.is_target_emulated)


def bracket_covered(row: Bracket, context: Context) -> Html:
    stop = context.look.orders_by_id.get((row.account_id, row.stop_id))
    covered = stop.leaves_qty if stop is not None and is_resting(stop) and not row.is_stop_waived else ZERO
    text = f"{_qty(covered, row.symbol, context.look)} / {_qty(row.open_qty, row.symbol, context.look)}"
    if row.is_stop_emulated and row.is_open and not row.naked_since:
        return format_html('<span class="warn">{}</span> <small>watched here</small>', text)
    return format_html('<span class="{}">{}</span>', "bad" if covered < row.open_qty and row.is_open else "", text)


def bracket_acts(row: Bracket, context: Context) -> Html:
    if not row.is_open or not context.rights.may_trade:
        return ""
    args = [context.look.accounts_by_id[row.account_id].code, row.bracket_id]
    legs = [
        post_button(f"Cancel {name}", reverse("console:leg-cancel", args=[args[0], leg]), _css_of(order))
        for name, leg in (("target", row.target_id), ("stop", row.stop_id))
        if (order := context.look.orders_by_id.get((row.account_id, leg))) and order.ord_status != OrdStatus.PENDING_CANCEL
    ]
    if row.open_qty and (row.stop_px is None or row.is_stop_waived or row.naked_since):
        legs.append(dialog_link("Protect…", reverse("console:bracket-arm", args=args)))
    menu = more(f"More acts of the bracket of {row.symbol}", _bracket_menu(row, args, are_both=len(legs) == 2))
    return format_html("{}{}", format_html_join("", "{}", ((button,) for button in legs)), menu)


def _bracket_menu(row: Bracket, args: list[str], *, are_both: bool) -> list[SafeString]:
    """The rest of a bracket's acts, under ⋯."""
    items = []
    if row.stop_px is not None and not row.is_stop_waived:
        items.append(dialog_link("Move stop…", reverse("console:stop-move", args=args)))
    if row.target_px is not None and not row.is_target_waived:
        items.append(dialog_link("Move target…", reverse("console:target-move", args=args)))
    if row.open_qty:
        items.append(dialog_link("Protect…", reverse("console:bracket-arm", args=args)))
    items.append(post_button("Ask the venue", reverse("console:bracket-query", args=args)))
    if are_both:
        items.append(dialog_link("Cancel both…", reverse("console:bracket-cancel", args=args), "danger"))
    return items


# --- positions ---------------------------------------------------------------------------------------------------------


def position_symbol(row: Position, context: Context) -> Html:
    closed = context.look.market_closed(row.symbol)
    named = format_html("<strong>{}</strong>", row.symbol)
    return format_html("{} <small>{}</small>", named, closed) if closed else named


def position_qty(row: Position, context: Context) -> Html:
    return _qty(row.qty, row.symbol, context.look, is_signed=True)


def position_avg(row: Position, context: Context) -> Html:
    tick = _tick(row.symbol, context.look)
    return figure(row.avg_px.quantize(tick) if row.avg_px is not None and tick else row.avg_px, tick)


def position_mark(row: Position, context: Context) -> Html:
    if row.mark is None:
        return mark_safe('<span class="warn">none</span>')
    mark, aged = _price(row.mark, row.symbol, context.look), age(row.marked_at, context.look.at)
    if row.marked_at and context.look.at - row.marked_at > strip.PRICE_AGE + strip.price_age_max(context.look, row.account_id):
        return format_html('<span class="stale">{} <small>stale {}</small></span>', mark, aged)
    return format_html("{} <small>{}</small>", mark, aged)


def position_unrealised(row: Position, context: Context) -> Html:
    return _gain(row.unrealised)


def position_realised(row: Position, context: Context) -> Html:
    return _gain(row.realised - row.fees)


def position_protection(row: Position, context: Context) -> Html:
    """ "armed  stop 60,100 · 0.42/0.42 · −2.1 %" in a chip and a small line."""
    found = context.look.protection_of(row)
    if not found.qty:
        return chip("dust", "", "less than one lot: it can neither be protected nor closed, and counts as flat")
    covered = f"{_qty(found.covered_qty, row.symbol, context.look)}/{_qty(found.qty, row.symbol, context.look)}"
    if found.is_watched:
        return format_html("{} <small>{}</small>", chip(found.name, "warn", "it works only while the engine does"), covered)
    if not found.is_full:
        is_chosen = found.bracket is not None and found.bracket.is_stop_waived
        if found.covered_qty and not is_chosen:
            return format_html("{} <small>{}</small>", chip("part of a stop", "bad"), covered)
        return chip("no stop, by choice" if is_chosen else "no stop", "bad")
    stop_px = found.stop.stop_px if found.stop else None
    told = _price(stop_px, row.symbol, context.look)
    distance = _distance(row, stop_px, context) if stop_px is not None else ""
    css = "" if found.target is not None else "warn" if found.bracket and found.bracket.target_px is not None else ""
    small = '{} <small>{} <span class="rare">· {} </span>· {}</small>'
    return format_html(small, chip(found.name, css), told, covered, distance)


def position_since(row: Position, context: Context) -> Html:
    return age(row.opened_at, context.look.at)


def position_acts(row: Position, context: Context) -> Html:
    if not context.rights.may_trade:
        return ""
    args = [context.look.accounts_by_id[row.account_id].code, row.symbol]
    close = dialog_link("Close…", reverse("console:position-close", args=args))
    return format_html("{}{}", dialog_link("Protect…", reverse("console:position-arm", args=args)), close)


def notional(position: Position) -> Decimal:
    """|quantity| × contract value × mark (or average), ÷ the price where the contract is inverse."""
    price: Decimal = position.mark if position.mark is not None else position.avg_px or ZERO
    return abs(position.qty * worth(price, is_inverse=position.is_inverse)) * position.contract_value if price else ZERO


def breaker_button(state: SymbolState, context: Context) -> Html:
    """Resets a breaker that tripped."""
    if not state.breaker_tripped_at or not context.rights.may_trade:
        return ""
    account = context.look.accounts_by_id[state.account_id].code
    href = reverse("console:breaker-reset", args=[account, state.symbol])
    return post_button("Reset", href, facts=breaker_facts(state, state.symbol))
