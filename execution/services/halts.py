"""Kill, halt, pause, and the ways back: resume and clear.

Rules. A Halt row is written in the transaction of its act, so that it is in force with no engine alive. A kill joins the kill that
stands at its scope. A clear ends the row at once and tells every account that may hold the halt; it starts nothing: bots that were to
run come back Paused. A resume ends a pause, and the Desk ends its row when it has taken it, so that a resume nobody carried out in
ten seconds changed nothing.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, Unpack

import msgspec
from django.conf import settings
from django.db.models import Q, QuerySet

from execution.core.messages import CommandKind, KillChoice
from execution.models import Account, Act, Bot
from execution.services.acts import (
    ActRefused,
    Ask,
    Asked,
    accounts_in,
    act_make,
    bot_scope,
    command_add,
    disabled_told,
    engine_runs,
    halt_write,
)
from risk.core.units import Scope, ScopeKind
from risk.core.verdict import HaltCause, HaltMode
from risk.models import Halt

#: who killed when it was the file
KILL_FILE: Final = "var/KILL"
#: causes a trader set and a trader may end, at the scope of a bot or an instrument; a pause at any scope
_SMALL: Final = {ScopeKind.BOT, ScopeKind.INSTRUMENT}
#: a firm kill with a LIVE account is cleared by a second person, or by the same one after this long
SOLO_CLEAR_AFTER: Final = timedelta(minutes=15)


def kill(*, scope: Scope, choice: KillChoice, **asked: Unpack[Asked]) -> Act:
    """Block everything in scope and cancel its entries; by `choice` also flatten, or cancel protection too.

    In force when this returns, with or without an engine; finished when each Command is DONE: the venue has said so.
    Raises ActRefused for a scope that does not exist, and for nothing else.
    """
    ask = Ask(kind=CommandKind.KILL, scope=scope, choice=choice, mode=HaltMode.HALTED, **asked)
    return act_make(ask, lambda act: _restrict(act, ask, HaltCause.KILL))


def kill_file_stands() -> bool:
    """Whether the kill file is there, as far as this process may look."""
    return os.path.exists(settings.KILL_FILE)


def kill_file_told() -> str:
    """What the kill file does, where it is, and how trading goes on; one text for shell and console."""
    file = settings.KILL_FILE
    return f"The file {file} stands: nothing trades. Remove it (rm {file}), then risk clears the kill of the firm."


def kill_by_file(made: int) -> Act:
    """The kill that the kill file is, as if a person had asked for it. `made` says when the file was, and so which one it is.

    Asked again it is the same act, unless somebody who cannot see the file cleared its halt meanwhile.
    """
    cleared = Halt.objects.filter(scope=ScopeKind.FIRM, cause=HaltCause.KILL).exclude(cleared_at=None).count()
    return kill(
        scope=Scope(ScopeKind.FIRM),
        choice=KillChoice.CANCEL,
        by=KILL_FILE,
        idempotency_key=f"{socket.gethostname()[:36]} {made} {cleared}",
        reason=f"The file {settings.KILL_FILE} was made.",
        origin="file",
    )


def halt(*, scope: Scope, mode: HaltMode, **asked: Unpack[Asked]) -> Act:
    """Latch REDUCE_ONLY or HALTED at a scope and cancel its entries; stops stay. Raises ActRefused for a scope that does not exist."""
    ask = Ask(kind=CommandKind.HALT, scope=scope, mode=mode, **asked)
    return act_make(ask, lambda act: _restrict(act, ask, HaltCause.MANUAL))


def pause(*, scope: Scope, **asked: Unpack[Asked]) -> Act:
    """REDUCE_ONLY and cancel the scope's entries; stops stay. Undone by `resume`. Raises ActRefused for an unknown scope."""
    ask = Ask(kind=CommandKind.PAUSE, scope=scope, mode=HaltMode.REDUCE_ONLY, **asked)
    return act_make(ask, lambda act: _restrict(act, ask, HaltCause.PAUSE))


def resume(*, scope: Scope, **asked: Unpack[Asked]) -> Act:
    """End the pauses of exactly this scope. Raises ActRefused when nothing is paused there or no engine could take it."""
    ask = Ask(kind=CommandKind.RESUME, scope=scope, **asked)
    return act_make(ask, lambda act: _resume(act, ask))


def bot_pause(*, bot: Bot, **asked: Unpack[Asked]) -> Act:
    return pause(scope=bot_scope(bot), **asked)


def bot_resume(*, bot: Bot, **asked: Unpack[Asked]) -> Act:
    return resume(scope=bot_scope(bot), **asked)


def halt_clear(
    *, halt: Halt, phrase: str, at: datetime, may_clear_latches: bool, keeps_baseline: bool = False, **asked: Unpack[Asked]
) -> Act:
    """End a halt. `phrase` is what the person typed, `at` is now, `may_clear_latches` is true for risk.

    A cleared loss counts from the equity of now on, or with `keeps_baseline` from where it did, which may halt again at once.
    Raises ActRefused with the rule that is not met. A pause is ended by `resume`, with neither phrase nor hold.
    """
    scope = halt_scope(halt)
    if halt.cause == HaltCause.PAUSE:
        return resume(scope=scope, **asked)
    ask = Ask(kind=CommandKind.CLEAR, scope=scope, target=halt.halt_id, keeps_baseline=keeps_baseline, **asked)

    def write(act: Act) -> None:
        if is_latch(halt):
            _latch_may_clear(halt, by=ask.by, reason=ask.reason, phrase=phrase, at=at, may_clear_latches=may_clear_latches)
        _clear(act, ask, halt)

    return act_make(ask, write)


def halt_scope(halt: Halt) -> Scope:
    return Scope(ScopeKind(halt.scope), halt.scope_key)


def halt_named(halt: Halt) -> str:
    """ "kill", "pause", "daily loss halt", "manual halt"."""
    cause = halt.cause.replace("_", " ").lower()
    return cause if halt.cause in (HaltCause.KILL, HaltCause.PAUSE) else f"{cause} halt"


def is_latch(halt: Halt) -> bool:
    """True where clearing takes risk's authority: everything but a pause, and a bot's or instrument's halt a person set."""
    is_small = halt.cause == HaltCause.MANUAL and ScopeKind(halt.scope) in _SMALL
    return halt.cause != HaltCause.PAUSE and not is_small


def is_firm_kill(halt: Halt) -> bool:
    return halt.cause == HaltCause.KILL and halt.scope == ScopeKind.FIRM


def clear_phrase(halt: Halt) -> str:
    """What a person types to clear this latch: "clear firm", "clear bot ema-btc"."""
    return f"clear {halt_scope(halt)}"


def clear_hold(halt: Halt) -> timedelta:
    """How long a latch stands at least: so long that whoever clears it has read it."""
    is_live = any(account.environment == Account.Environment.LIVE for account in accounts_in(halt_scope(halt)))
    return timedelta(milliseconds=settings.TIMING.clear_hold_live_ms if is_live else settings.TIMING.clear_hold_paper_ms)


def _latch_may_clear(halt: Halt, *, by: str, reason: str, phrase: str, at: datetime, may_clear_latches: bool) -> None:
    if not may_clear_latches:
        raise ActRefused(f"A {halt_named(halt)} is cleared by risk. Ask someone of the group risk.")
    if is_firm_kill(halt) and kill_file_stands():
        raise ActRefused(f"The file {settings.KILL_FILE} stands, and while it does nothing trades. Remove it, then clear this.")
    if not reason.strip():
        raise ActRefused("Say why it is safe to clear: the reason goes into the audit.")
    if phrase.strip().lower() != clear_phrase(halt).lower():
        raise ActRefused(f"Type “{clear_phrase(halt)}” to clear this.")
    ready_at = halt.at + clear_hold(halt)
    # the desk of a tape lives on the tape's time, which may be ahead of ours
    if halt.at <= at < ready_at:
        raise ActRefused(f"It is {_age(at - halt.at)} old and may be cleared in {_age(ready_at - at, up=True)}.")
    _second_person(halt, by=by, at=at)


def _second_person(halt: Halt, *, by: str, at: datetime) -> None:
    if not is_firm_kill(halt) or by != halt.by or at >= halt.at + SOLO_CLEAR_AFTER:
        return
    if any(account.environment == Account.Environment.LIVE for account in accounts_in(halt_scope(halt))):
        left = _age(halt.at + SOLO_CLEAR_AFTER - at, up=True)
        raise ActRefused(f"You killed a firm with LIVE accounts: a second person clears it, or you alone in {left}.")


def _age(span: timedelta, *, up: bool = False) -> str:
    seconds = int(span.total_seconds()) + up
    return f"{seconds} s" if seconds < 120 else f"{seconds // 60} min"


def _restrict(act: Act, ask: Ask, cause: HaltCause) -> None:
    accounts = accounts_in(ask.scope)
    halt = halt_write(act, ask, cause=cause, mode=ask.mode or HaltMode.HALTED)
    command_add(act, ask, accounts, halt_id=halt.halt_id)


def _resume(act: Act, ask: Ask) -> None:
    accounts = accounts_in(ask.scope)
    disabled = bots_in(ask.scope).filter(is_enabled=False).first() if ask.scope.kind is ScopeKind.BOT else None
    if disabled is not None:
        raise ActRefused(disabled_told(disabled))
    pauses = list(_active(ask.scope).filter(cause=HaltCause.PAUSE))
    if not pauses:
        raise ActRefused(f"{_named(ask.scope)} is not paused.")
    _need_engine(accounts, act.at, what="resume")
    Act.objects.filter(pk=act.pk).update(halt_id=pauses[0].halt_id)
    for standing in pauses:
        Halt.objects.filter(pk=standing.pk).update(cleared_reason=act.reason)
        command_add(act, ask, accounts, halt_id=standing.halt_id)


def _clear(act: Act, ask: Ask, halt: Halt) -> None:
    """The row ends here, once; every account that may hold the halt is told, whether enabled or not, and never too late."""
    _come_back_paused(act, ask, halt)
    ended = Halt.objects.filter(pk=halt.pk, cleared_at=None).update(cleared_at=act.at, cleared_by=ask.by, cleared_reason=act.reason)
    if not ended:
        raise ActRefused("It was cleared already.")
    Act.objects.filter(pk=act.pk).update(halt_id=halt.halt_id)
    act.halt_id = halt.halt_id
    command_add(act, ask, _may_hold(halt), halt_id=halt.halt_id)


def _come_back_paused(act: Act, ask: Ask, cleared: Halt) -> None:
    """Each bot in scope that ran gets a pause of its own, committed with the clear and ahead of it in its account's queue.

    One under another halt of its own stays under that and gets none. An instrument's halt leaves a pause of that instrument: its
    bots may trade others.
    """
    own = Halt.objects.filter(scope=ScopeKind.BOT, cleared_at=None).exclude(cause=HaltCause.PAUSE).exclude(pk=cleared.pk)
    ran = bots_in(ask.scope).filter(should_run=True, is_enabled=True).exclude(code__in=own.values("scope_key"))
    bots = ran.select_related("account")
    if ask.scope.kind is ScopeKind.INSTRUMENT and bots.exists():
        _pause_after_clear(act, ask, ask.scope, accounts_in(ask.scope))
        return
    for bot in bots:
        _pause_after_clear(act, ask, bot_scope(bot), [bot.account])


def _pause_after_clear(act: Act, ask: Ask, scope: Scope, accounts: Sequence[Account]) -> None:
    if _active(scope).filter(cause=HaltCause.PAUSE).exists():
        return
    paused = msgspec.structs.replace(ask, kind=CommandKind.PAUSE, scope=scope, mode=HaltMode.REDUCE_ONLY, target="")
    standing = halt_write(act, paused, cause=HaltCause.PAUSE, mode=HaltMode.REDUCE_ONLY)
    command_add(act, paused, accounts, halt_id=standing.halt_id)


def bots_in(scope: Scope) -> QuerySet[Bot]:
    """The bots a scope covers."""
    match scope.kind:
        case ScopeKind.FIRM:
            return Bot.objects.order_by("pk")
        case ScopeKind.ACCOUNT:
            return Bot.objects.filter(account__code=scope.key).order_by("pk")
        case ScopeKind.BOT:
            return Bot.objects.filter(code=scope.key).order_by("pk")
        case ScopeKind.INSTRUMENT:
            return Bot.objects.filter(symbols__instrument__symbol=scope.key).order_by("pk")


def halts_over(bot: Bot) -> QuerySet[Halt]:
    """The active halts that restrict this bot, at any scope."""
    symbols = bot.symbols.values("instrument__symbol")
    return Halt.objects.filter(
        Q(scope=ScopeKind.FIRM)
        | Q(scope=ScopeKind.ACCOUNT, scope_key=bot.account.code)
        | Q(scope=ScopeKind.BOT, scope_key=bot.code)
        | Q(scope=ScopeKind.INSTRUMENT, scope_key__in=symbols),
        cleared_at=None,
    )


def _may_hold(halt: Halt) -> Sequence[Account]:
    """Accounts whose Desk may hold this halt: those it was sent to, and those that ran while it stood. Enabled or not."""
    told = Q(commands__act__halt_id=halt.halt_id)
    ran = Q(state__isnull=False)
    match ScopeKind(halt.scope):
        case ScopeKind.FIRM:
            found = told | ran
        case ScopeKind.INSTRUMENT:
            found = told | (ran & Q(bots__symbols__instrument__symbol=halt.scope_key))
        case ScopeKind.ACCOUNT:
            found = Q(code=halt.scope_key)
        case ScopeKind.BOT:
            found = Q(bots__code=halt.scope_key)
    return list(Account.objects.filter(found).distinct().order_by("pk"))


def _active(scope: Scope) -> QuerySet[Halt]:
    return Halt.objects.filter(scope=scope.kind, scope_key=scope.key, cleared_at=None)


def _need_engine(accounts: Sequence[Account], at: datetime, *, what: str) -> None:
    idle = [account.code for account in accounts if not engine_runs(account, at)]
    if idle:
        raise ActRefused(f"No engine runs {', '.join(idle)} now, so nothing can {what} there. Start an engine first.")


def _named(scope: Scope) -> str:
    return "The firm" if scope.kind is ScopeKind.FIRM else f"{scope.kind.value.capitalize()} {scope.key}"
