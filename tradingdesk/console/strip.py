"""The safety strip and the answer line: what every page says first, computed from rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from urllib.parse import urlencode

from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from execution.core.messages import CommandStatus, StepState
from execution.models import Account, Alarm, Bot, Command, Position
from execution.selectors import Effective, Overview, tape_is_over
from execution.services import kill_file_stands, kill_file_told
from risk.core.units import ScopeKind
from risk.core.verdict import HaltCause, HaltMode
from risk.models import Halt
from tradingdesk.console.figures import NONE, age, clock, figure, several, span

#: older than this a stream is late: prices and engine by their own beat, the order stream by its half-minute proof
PRICE_AGE: Final = timedelta(seconds=5)
ENGINE_AGE: Final = timedelta(seconds=5)
PROOF_AGE: Final = timedelta(seconds=65)

STATE_WORDS: Final = {
    "ACTIVE": ("Running", ""),
    "WARMING": ("Warming up", ""),
    "STOPPING": ("Stopping", ""),
    "STOPPED": ("Stopped", "quiet"),
    "DISABLED": ("Disabled", "quiet"),
    "PAUSED": ("Paused", "warn"),
    "REDUCE_ONLY": ("Reduce only", "warn"),
    "HALTED": ("Halted", "bad"),
}


class Lamp(NamedTuple):
    """One stream's worst member. `level` is empty while normal."""

    name: str
    text: SafeString | str
    level: str = ""


class OldestPrice(NamedTuple):
    """The symbol whose price is most overdue. `at` is None while it has none."""

    symbol: str
    at: datetime | None
    is_late: bool


class Trouble(NamedTuple):
    """Something that is not all right, with the first act. Priority 1 is the worst."""

    priority: int
    text: str
    label: str
    href: str
    #: True when the act opens in the dialog rather than leading to a page
    is_dialog: bool = False


class KillLine(NamedTuple):
    """One halt that stops everything in its scope, as the banner tells it."""

    halt: Halt
    scope: str
    told: SafeString
    is_verified: bool


def scope_words(kind: str, key: str) -> str:
    """The scope in words: "the firm", "account paper", "bot ema-btc", "symbol BTCUSDT"."""
    if kind == ScopeKind.FIRM:
        return "the firm"
    return f"{'symbol' if kind == ScopeKind.INSTRUMENT else kind.lower()} {key}"


# --- the strip ---------------------------------------------------------------------------------------------------------


def states(look: Overview) -> list[tuple[str, int, str]]:
    """Counts of bots by what they may do: ACTIVE 18 · REDUCE ONLY 1 · HALTED 1; abnormal ones only when there are any."""
    counts = Counter(look.effective(bot).name for bot in look.bots)
    active = counts["ACTIVE"] + counts["WARMING"] + counts["STOPPING"]
    found = [("ACTIVE", active, "")]
    found += [("PAUSED", counts["PAUSED"], "warn"), ("REDUCE ONLY", counts["REDUCE_ONLY"], "warn")]
    found += [
        ("HALTED", counts["HALTED"], "bad"),
        ("STOPPED", counts["STOPPED"], "quiet"),
        ("DISABLED", counts["DISABLED"], "quiet"),
    ]
    return [(word, n, css) for word, n, css in found if n or word == "ACTIVE"]


def environments(look: Overview) -> list[tuple[str, int]]:
    counts = Counter(account.environment for account in look.accounts)
    return [(name, counts[name]) for name in ("LIVE", "PAPER") if counts[name]]


def lamps(look: Overview) -> list[Lamp]:
    return [_prices_lamp(look), _orders_lamp(look), _engine_lamp(look), _venue_lamp(look)]


def _owned_symbols(look: Overview) -> set[tuple[int, str]]:
    return {(row.account_id, row.instrument.symbol) for row in look.owned if row.is_owner}


def price_age_max(look: Overview, account_id: int) -> timedelta:
    """From when on a price is late: bars of a tape come as far apart as they are."""
    state = look.states.get(account_id)
    return PRICE_AGE + timedelta(milliseconds=state.feed_gap_ms if state else 0)


def price_worst(look: Overview) -> OldestPrice | None:
    """The owned symbol whose price is most overdue, or has none. A tape that is over owes none."""
    owned = [(pk, symbol) for pk, symbol in _owned_symbols(look) if not tape_is_over(look.states.get(pk))]
    found = []
    for pk, symbol in owned:
        at = state.priced_at if (state := look.prices.get((pk, symbol))) else None
        overdue = look.at - at - price_age_max(look, pk) if at else timedelta.max
        found.append((overdue, OldestPrice(symbol, at, at is not None and overdue > timedelta(0))))
    return max(found, key=lambda pair: pair[0])[1] if found else None


def tapes_over(look: Overview) -> list[Account]:
    return [account for account in look.accounts if tape_is_over(look.states.get(account.pk))]


def _prices_lamp(look: Overview) -> Lamp:
    worst = price_worst(look)
    if worst is None:
        return Lamp("Prices", "the tape is over" if tapes_over(look) else "none asked", "")
    if worst.at is None:
        return Lamp("Prices", f"{worst.symbol} none yet", "warn")
    if worst.is_late:
        return Lamp("Prices", format_html("{} {}", worst.symbol, age(worst.at, look.at)), "warn")
    return Lamp("Prices", age(worst.at, look.at))


def _orders_lamp(look: Overview) -> Lamp:
    for account in look.accounts:
        state = look.states.get(account.pk)
        if state and "ORDERS" in state.links_down:
            return Lamp("Orders", f"{account.name} link down", "bad")
    known = [(state, a) for a in look.accounts if (state := look.states.get(a.pk)) and not tape_is_over(state)]
    proofs = [(state.orders_proof_at, a) for state, a in known if state.orders_proof_at]
    if not known and tapes_over(look):
        return Lamp("Orders", "the tape is over")
    if not proofs:
        return Lamp("Orders", "no proof yet", "warn" if look.accounts else "")
    at, account = min(proofs, key=lambda pair: pair[0])
    if look.at - at > PROOF_AGE:
        return Lamp("Orders", format_html("{} {}", account.name, age(at, look.at)), "warn")
    return Lamp("Orders", age(at, look.at))


def engine_seen(look: Overview, account: Account) -> datetime | None:
    """When the engine that holds this account was last heard; None when no running engine holds it."""
    state = look.states.get(account.pk)
    lease = getattr(account, "lease", None)
    name = (lease.engine if lease else "") or (state.engine if state else "")
    engine = look.engines_by_name.get(name)
    return engine.seen_at if engine and engine.stopped_at is None else None


def _engine_lamp(look: Overview) -> Lamp:
    found = [(engine_seen(look, account), account) for account in look.accounts]
    lost = [account for at, account in found if at is None]
    if lost:
        return Lamp("Engine", f"none for {lost[0].name}", "bad")
    seen = min((at for at, _ in found if at is not None), default=None)
    if seen is None:
        return Lamp("Engine", NONE)
    return (
        Lamp("Engine", format_html("silent {}", age(seen, look.at)), "bad")
        if look.at - seen > ENGINE_AGE
        else Lamp("Engine", age(seen, look.at))
    )


def venue_differs(text: str) -> bool:
    return bool(text) and not text.startswith("agrees")


def _venue_lamp(look: Overview) -> Lamp:
    known = [(state.reconciled_at, state.reconciled_text, a) for a in look.accounts if (state := look.states.get(a.pk))]
    differing = [(text, a) for at, text, a in known if venue_differs(text)]
    if differing:
        text, account = differing[0]
        return Lamp("Venue", f"{account.name} {text}", "warn")
    times = [at for at, _, _ in known if at is not None]
    if not times:
        return Lamp("Venue", "not asked yet")
    oldest = min(times)
    return Lamp("Venue", format_html("agrees {}", age(oldest, look.at)), "warn" if look.at - oldest > PROOF_AGE else "")


# --- what is killed ----------------------------------------------------------------------------------------------------


def kill_lines(look: Overview) -> list[KillLine]:
    """Every halt in mode HALTED, widest first, with what is still unverified. Of a disabled bot only a kill that is not verified."""
    order = [ScopeKind.FIRM, ScopeKind.ACCOUNT, ScopeKind.INSTRUMENT, ScopeKind.BOT]
    halted = [h for h in look.halts if h.mode == HaltMode.HALTED]
    found = [_kill_line(look, h) for h in sorted(halted, key=lambda h: (order.index(ScopeKind(h.scope)), h.at))]
    return [line for line in found if not (line.is_verified and _stops_nothing(look, line.halt))]


def _stops_nothing(look: Overview, halt: Halt) -> bool:
    """Whether it stands over a bot that is disabled, and trades nothing anyway. It is shown at the bot."""
    return halt.scope == ScopeKind.BOT and any(bot.code == halt.scope_key and not bot.is_enabled for bot in look.bots)


def _kill_line(look: Overview, halt: Halt) -> KillLine:
    commands = look.kill_commands(halt)
    pending = [c for c in commands if c.status in (CommandStatus.PENDING, CommandStatus.RUNNING)]
    if halt.cause != HaltCause.KILL:
        told, is_verified = _halt_told(halt), True
    elif pending:
        told, is_verified = format_html("<strong>not verified yet</strong>: {}", _waiting_for(look, pending)), False
    else:
        answered = max((c.answered_at for c in commands if c.answered_at), default=None)
        told, is_verified = format_html("verified at the venue{}", f" {clock(answered)}" if answered else ""), True
    return KillLine(halt, scope_words(halt.scope, halt.scope_key), told, is_verified)


def _halt_told(halt: Halt) -> SafeString:
    """What a halt does, as its alarm says it."""
    return format_html("no order of {} passes; working entries are canceled, stops stay", _whose(halt))


def _whose(halt: Halt) -> str:
    match halt.scope:
        case ScopeKind.BOT:
            return "this bot"
        case ScopeKind.INSTRUMENT:
            return "a bot in this symbol"
        case ScopeKind.ACCOUNT:
            return "a bot of this account"
    return "any bot"


def _waiting_for(look: Overview, commands: list[Command]) -> str:
    first = {c.account_id: c for c in reversed(commands)}
    return "; ".join(f"{look.accounts_by_id[pk].name}: {waiting_step(c)}" for pk, c in sorted(first.items()))


def waiting_step(command: Command) -> str:
    """The first step of a command that is not done, in its own words."""
    if command.status == CommandStatus.PENDING:
        return "no engine has taken it yet"
    open_steps = [s for s in command.steps if s["state"] != StepState.DONE]
    if not open_steps:
        return "waiting for the venue"
    step = open_steps[0]
    if step["name"] == "verified":
        told = str(step["text"])
        return (
            told.removeprefix("Not verified yet: ")
            if step["state"] == StepState.TROUBLE
            else "waiting for a fresh answer of the venue"
        )
    return f"{step['text']} {step['done']} of {step['total']}" if step.get("total") else str(step["text"])


# --- the answer line ---------------------------------------------------------------------------------------------------


def troubles(look: Overview) -> list[Trouble]:
    """What is not all right, worst first. One cause gives one line: an alarm that tells it takes its place."""
    loud = [alarm for alarm in look.alarms if alarm.priority == 1 or alarm.key.startswith("nostop:")]
    told = {(alarm.account_id, alarm.symbol) for alarm in loud if alarm.symbol}
    found = [_uncovered(look, p) for p in look.uncovered if (p.account_id, p.symbol) not in told]
    if kill_file_stands():
        found.append(Trouble(1, kill_file_told(), "Show", "#banner"))
    found += list(_halted(look))
    found += [_alarm(look, alarm) for alarm in look.alarms if not _is_idle(look, alarm)]
    found += list(_engines_lost(look))
    if not any(t.text.startswith("No engine") for t in found):
        found += list(_prices_late(look))
    found += list(_venue_differing(look))
    found += list(_orders_stuck(look))
    found += list(_restricted(look))
    found += list(_meters_high(look))
    return sorted(found, key=lambda trouble: trouble.priority)


def _uncovered(look: Overview, position: Position) -> Trouble:
    account = look.accounts_by_id[position.account_id]
    instrument = look.instruments.get(position.symbol)
    qty = figure(position.qty, instrument.lot_size if instrument else None, is_signed=True)
    protect = reverse("console:position-arm", args=[account.code, position.symbol])
    found = look.protection_of(position)
    if found.is_watched:
        return Trouble(3, f"{position.symbol} {qty}: stop watched here, not at the venue", "Protect…", protect, True)
    covered, is_chosen = found.covered_qty, position not in look.naked
    what = f"stop covers {figure(covered)} of {figure(abs(position.qty))}" if covered else "no stop at the venue"
    text = f"{position.symbol} {qty}: {what}{', by choice' if is_chosen else ''}"
    return Trouble(2 if is_chosen else 1, text, "Protect…", protect, True)


def _halted(look: Overview) -> Iterator[Trouble]:
    for line in kill_lines(look):
        verb = "killed" if line.halt.cause == HaltCause.KILL else "halted"
        text = f"{_opening(line.scope)} is {verb}" + ("" if line.is_verified else ", not verified yet")
        yield Trouble(
            1 if not line.is_verified else 2, text, "Clear…", reverse("console:halt-clear", args=[line.halt.halt_id]), True
        )
    for halt in look.halts:
        if halt.mode != HaltMode.HALTED and halt.cause != HaltCause.PAUSE and not _stops_nothing(look, halt):
            text = f"{_opening(scope_words(halt.scope, halt.scope_key))}: reduce only, {halt.reason or halt.cause.lower()}"
            yield Trouble(2, text, "Clear…", reverse("console:halt-clear", args=[halt.halt_id]), True)


def _alarm(look: Overview, alarm: Alarm) -> Trouble:
    where = alarm.symbol or alarm.bot or look.accounts_by_id[alarm.account_id].name
    text = alarm.title if alarm.title.startswith(where) else f"{where}: {_within(alarm.title)}"
    return Trouble(alarm.priority, text, "Show", f"{reverse('console:desk')}#alarm-{alarm.pk}")


def _is_idle(look: Overview, alarm: Alarm) -> bool:
    """Whether it tells of a halt that stops nothing."""
    return any(alarm.key == f"halt:{halt.halt_id}" and _stops_nothing(look, halt) for halt in look.halts)


def _opening(text: str) -> str:
    """The words at the start of a sentence: symbols and codes keep their letters."""
    return f"{text[:1].upper()}{text[1:]}"


def _within(sentence: str) -> str:
    """A sentence after a colon: its first word starts small, unless it is a symbol or another name in capitals."""
    rest = sentence.split(" ", 1)[0][1:]
    return sentence if rest and not rest.islower() else f"{sentence[:1].lower()}{sentence[1:]}"


def _restricted(look: Overview) -> Iterator[Trouble]:
    """Bots that only reduce by a condition, a line for each cause. Of a link its alarm tells, of an engine that is gone the line above."""
    linkless = {alarm.account_id for alarm in look.alarms if alarm.key.startswith("link:")}
    idle = {account.pk for account in look.accounts if (seen := engine_seen(look, account)) is None or look.at - seen > ENGINE_AGE}
    causes: dict[tuple[str, str], list[Bot]] = {}
    for bot in look.bots:
        found = look.effective(bot)
        is_over = tape_is_over(look.states.get(bot.account_id))
        is_told = is_over or bot.account_id in idle or (found.level.endswith("link down") and bot.account_id in linkless)
        if found.name == "REDUCE_ONLY" and found.halt is None and not is_told:
            causes.setdefault((found.level, found.detail), []).append(bot)
    for (level, detail), bots in causes.items():
        who = bots[0].code if len(bots) == 1 else f"{len(bots)} bots"
        text = f"{who} reduce{'s' if len(bots) == 1 else ''} only: {', '.join(part for part in (level, detail) if part)}"
        href = reverse("console:bot", args=[bots[0].code]) if len(bots) == 1 else reverse("console:bots")
        yield Trouble(3, text, "Show", href)


def _engines_lost(look: Overview) -> Iterator[Trouble]:
    for account in look.accounts:
        seen = engine_seen(look, account)
        if seen is None:
            yield Trouble(1, f"No engine runs {account.name}", "Show", f"{reverse('console:desk')}#account-{account.code}")
        elif look.at - seen > ENGINE_AGE:
            yield Trouble(
                1,
                f"No engine heard for {account.name}, {span(look.at - seen)}",
                "Show",
                f"{reverse('console:desk')}#account-{account.code}",
            )


def _prices_late(look: Overview) -> Iterator[Trouble]:
    worst = price_worst(look)
    if worst and worst.at and worst.is_late:
        yield Trouble(2, f"{worst.symbol}: last price {span(look.at - worst.at)} ago", "Show", reverse("console:positions"))


def _venue_differing(look: Overview) -> Iterator[Trouble]:
    for account in look.accounts:
        state = look.states.get(account.pk)
        if state and venue_differs(state.reconciled_text):
            yield Trouble(
                2, f"{account.name}: venue {state.reconciled_text}", "Show", f"{reverse('console:desk')}#account-{account.code}"
            )


def _orders_stuck(look: Overview) -> Iterator[Trouble]:
    if look.stuck:
        first = look.stuck[0]
        more = f" and {len(look.stuck) - 1} more" if len(look.stuck) > 1 else ""
        since = first.pending_since or first.updated_at
        yield Trouble(
            2,
            f"{first.symbol} order without an answer for {span(look.at - since)}{more}",
            "Show",
            f"{reverse('console:orders')}?state=working",
        )


def _meters_high(look: Overview) -> Iterator[Trouble]:
    for account in look.accounts:
        for meter in look.meters(account):
            if not meter.is_near or meter.limit is None:
                continue
            used = meter.used_pct
            told = f"at {used:.0f} % of its limit" if used is not None else "not known: a position has no mark"
            text = f"{account.name}: {meter.name.lower()} {told}"
            yield Trouble(2 if meter.is_reached else 3, text, "Show", f"{reverse('console:desk')}#account-{account.code}")


def summary(look: Overview) -> str:
    """The calm half of the answer: positions and their stops, prices, whether anything runs at all."""
    count = len(look.positions)
    covered = sum(look.protection_of(position).is_full for position in look.positions)
    if not count:
        positions = "no open position"
    elif covered == count:
        positions = f"{count} position{'s' if count > 1 else ''}, {'all ' if count > 1 else ''}with a stop at the venue"
    else:
        positions = f"{covered} of {count} position{'s' if count > 1 else ''} with a stop at the venue"
    worst = price_worst(look)
    fresh = "prices fresh" if worst and worst.at and not worst.is_late else ""
    over = [f"the tape of {account.name} is over, its trades stay to be looked at" for account in tapes_over(look)]
    idle = "" if any(look.effective(bot).name == "ACTIVE" for bot in look.bots) or over else "no bot runs"
    paused = sum(look.effective(bot).name == "PAUSED" for bot in look.bots)
    resting = f"{several(paused, 'bot')} paused" if paused else ""
    return "; ".join(part for part in (positions, fresh, *over, resting, idle) if part)


def title(look: Overview, found: list[Trouble]) -> str:
    """The answer in the tab's title."""
    return f"Not all right: {len(found)}" if found else "All right"


def account_state(look: Overview, account: Account) -> str:
    """What an account may do now: "KILLED", "HALTED", "REDUCE ONLY", "PAUSED" by its halts, with its phase where that is not ACTIVE."""
    wide = [h for h in look.halts if h.scope == ScopeKind.FIRM or (h.scope == ScopeKind.ACCOUNT and h.scope_key == account.code)]
    state = look.states.get(account.pk)
    phase = str(state.phase) if state is not None else "STOPPED"
    if not wide:
        return phase
    word = _halt_word(min(wide, key=lambda h: (h.cause != HaltCause.KILL, h.mode != HaltMode.HALTED, h.cause == HaltCause.PAUSE)))
    return word if phase == "ACTIVE" else f"{word} · {phase}"


def _halt_word(halt: Halt) -> str:
    if halt.cause == HaltCause.KILL:
        return "KILLED"
    return "PAUSED" if halt.cause == HaltCause.PAUSE else str(halt.mode).replace("_", " ")


def bot_state(effective: Effective) -> tuple[str, str]:
    """The word and the class of a state chip: ("Halted (firm)", "bad")."""
    word, css = STATE_WORDS[effective.name]
    level = effective.level.split(" ")[0] if effective.name in {"HALTED", "PAUSED"} else ""
    return (f"{word} ({level})" if level and level not in {"bot"} else word), css


def state_told(effective: Effective) -> str:
    """What a state lets through: "entries no · exits yes · stops stay · by breaker BTCUSDT · ends by itself"."""
    if effective.is_normal:
        return effective.detail
    exits = "exits by a person only" if effective.name == "HALTED" else "exits yes"
    return " · ".join(part for part in ("entries no", exits, "stops stay", f"by {effective.level}", effective.detail) if part)


def kill_href(kind: str = ScopeKind.FIRM, key: str = "") -> str:
    return f"{reverse('console:kill')}?{urlencode({'scope': kind, 'key': key})}"


def bot_button(bot: Bot, effective: Effective) -> tuple[str, str, bool]:
    """The one button of a bot's row: label, address, and whether it opens a dialog. A disabled bot has at most its halt to clear: the admin enables it."""
    match effective.name:
        case "HALTED" | "REDUCE_ONLY" | "DISABLED" if effective.halt is not None:
            return "Clear…", reverse("console:halt-clear", args=[effective.halt.halt_id]), True
        case "PAUSED" if effective.halt is not None and effective.halt.scope != ScopeKind.BOT:
            return "Clear…", reverse("console:halt-clear", args=[effective.halt.halt_id]), True
        case "PAUSED":
            return "Resume", reverse("console:bot-resume", args=[bot.code]), False
        case "DISABLED":
            return "", "", False
        case "STOPPED":
            return "Start…", reverse("console:bot-start", args=[bot.code]), True
    return "Pause", reverse("console:bot-pause", args=[bot.code]), False
