"""What a form showed, sealed into it and compared when it comes back.

Clear, start, resume, reset, move, arm, adopt and ignore carry it. One from a page that is out of date is refused with what changed, with JavaScript or without, and
changes nothing. Kill, halt, pause, stop and cancel act on what is there: they carry none and are never refused for their age.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from django.core.signing import BadSignature, Signer

from execution.core.messages import Leg
from execution.models import Bot, Bracket, Discrepancy, Position, SymbolState
from execution.selectors import Overview
from risk.core.units import ScopeKind
from risk.core.verdict import HaltCause, HaltMode
from risk.models import Halt
from tradingdesk.console import strip
from tradingdesk.console.figures import clock_ms, figure

#: what was shown → how it stood, in words
Facts = Mapping[str, str]

_SALT: Final = "console.seen"
#: changes that a refusal names; it counts the rest
_NAMED: Final = 2


def seal(facts: Facts) -> str:
    """The facts, signed: the value of a form's `shown`. The same facts give the same seal."""
    return Signer(salt=_SALT).sign_object(dict(facts), compress=True)


def outdated(sealed: str, facts: Facts) -> str:
    """Why a form that showed `sealed` must be looked at again, `facts` being true now; empty when nothing changed."""
    try:
        then: dict[str, str] = Signer(salt=_SALT).unsign_object(sealed)
    except BadSignature:
        return "This form does not say what it showed. Open it again, look, then decide."
    changed = [name for name in {**then, **facts} if then.get(name) != facts.get(name)]
    if not changed:
        return ""
    told = "; ".join(f"{name}: {then.get(name, 'not there')} → {facts.get(name, 'gone')}" for name in changed[:_NAMED])
    more = f"; {len(changed) - _NAMED} more changed" if len(changed) > _NAMED else ""
    return f"Nothing was done, for this page is out of date: {told}{more}. Look again, then decide."


# --- what each form shows ----------------------------------------------------------------------------------------------


def halt_told(halt: Halt) -> str:
    """ "killed by maria at 10:34:04.774"."""
    verbs = {HaltCause.KILL: "killed", HaltCause.PAUSE: "paused"}
    default = "halted" if halt.mode == HaltMode.HALTED else "reduce only"
    return f"{verbs.get(HaltCause(halt.cause), default)} by {halt.by} at {clock_ms(halt.at)}"


def bot_facts(look: Overview, bot: Bot) -> dict[str, str]:
    """How a bot stands, what it is, and everything that restricts it."""
    word, _ = strip.bot_state(look.effective(bot))
    symbols = ", ".join(look.symbols_of.get(bot.pk, ()))
    account = look.accounts_by_id[bot.account_id]
    return {
        bot.code: word.lower(),
        f"what {bot.code} trades": f"{bot.brain} on {account.name} ({account.environment}): {symbols}",
        **_halts(look.halts_over(bot)),
    }


def paused_facts(look: Overview, bots: Iterable[Bot]) -> dict[str, str]:
    """Each bot with the pause that a resume would end."""
    return {bot.code: halt_told(halt) if (halt := look.effective(bot).halt) else "not paused" for bot in bots}


def clear_facts(look: Overview, halt: Halt, bots: Iterable[Bot]) -> dict[str, str]:
    """The halt with every kill that joined it, the other halts over the same bots, and the bots that come back."""
    over = [bot for bot in look.bots if _covers(look, halt, bot)]
    others = {other.pk: other for bot in over for other in look.halts_over(bot) if other.pk != halt.pk}
    return {
        **_halts(others.values()),
        strip.scope_words(halt.scope, halt.scope_key): _joined(look, halt),
        "the bots that come back": ", ".join(bot.code for bot in bots) or "no bot",
    }


def breaker_facts(state: SymbolState | None, symbol: str) -> dict[str, str]:
    tripped_at = state.breaker_tripped_at if state else None
    return {f"the breaker of {symbol}": f"tripped at {clock_ms(tripped_at)}" if tripped_at else "not tripped"}


def leg_facts(row: Bracket, leg: Leg) -> dict[str, str]:
    """Where a leg stands, and for how much."""
    return {
        f"the {leg.value} of {row.symbol}": _leg(row, leg),
        "its quantity": figure(row.open_qty or row.entry_qty) if row.is_open else "closed",
    }


def arm_facts(position: Position, brackets: Iterable[Bracket]) -> dict[str, str]:
    """Which way a position stands, and the legs that arming would set anew. Its quantity is not: a stop follows it anyway."""
    side = "flat" if not position.qty else "long" if position.qty > 0 else "short"
    legs = {
        f"the {leg.value} of bracket {row.bracket_id}": _leg(row, leg) if row.is_open else "closed"
        for row in brackets
        for leg in Leg
    }
    return {position.symbol: side, **legs}


def _leg(row: Bracket, leg: Leg) -> str:
    is_stop = leg is Leg.STOP
    if row.is_stop_waived if is_stop else row.is_target_waived:
        return "taken away"
    return figure(row.stop_px if is_stop else row.target_px)


def discrepancy_facts(row: Discrepancy) -> dict[str, str]:
    if row.ended_at is not None:
        return {row.symbol: "settled"}
    return {row.symbol: f"ours {figure(row.ours)}, the venue's {figure(row.theirs)}"}


def _halts(halts: Iterable[Halt]) -> dict[str, str]:
    return {
        f"the {halt.cause.replace('_', ' ').lower()} of {strip.scope_words(halt.scope, halt.scope_key)}": halt_told(halt)
        for halt in halts
    }


def _covers(look: Overview, halt: Halt, bot: Bot) -> bool:
    return halt.scope == ScopeKind.FIRM or any(found.pk == halt.pk for found in look.halts_over(bot))


def _joined(look: Overview, halt: Halt) -> str:
    """A second kill joins the halt of the first, and a clear would end both."""
    if halt.cleared_at is not None:
        return f"cleared by {halt.cleared_by}"
    kills = list({command.act_id: command.act for command in look.kill_commands(halt)}.values())
    return halt_told(halt) + "".join(f", again by {act.by} at {clock_ms(act.at)}" for act in kills[1:])
