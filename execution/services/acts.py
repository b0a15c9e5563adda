"""Acts: what a person asks becomes one Act, one Command per account in scope and, where it restricts, one Halt, in one transaction.

The web and the shell only ever write these rows. The engine of each account reads its Commands, carries them out and answers on the
row. An act is made once per idempotency key: the same key gives the same Act, whoever retries it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final, Required, TypedDict

import msgspec
from django.db import IntegrityError, connection, transaction
from django.db.models import Q
from django.utils import timezone

from execution.core.messages import ClosedMarket, CommandKind, CommandSpec, Decision, KillChoice, Leg, StopMode
from execution.models import Account, Act, Bot, Command
from execution.services.hints import hint_accounts_on_commit, hint_engines_on_commit
from risk import audit
from risk.core.units import Scope, ScopeKind
from risk.core.verdict import HaltMode
from risk.models import Halt, Instrument

#: how long an act waits for an engine before it is too late to carry out; absent: it never is
VALID_FOR: Final = {
    CommandKind.START: timedelta(seconds=10),
    CommandKind.RESUME: timedelta(seconds=10),
    CommandKind.RESET_BREAKER: timedelta(seconds=10),
    CommandKind.MOVE_LEG: timedelta(seconds=10),
    CommandKind.ARM: timedelta(seconds=10),
    CommandKind.SUBMIT_DECISION: timedelta(seconds=10),
    CommandKind.ADOPT: timedelta(seconds=10),
    CommandKind.IGNORE: timedelta(seconds=10),
    CommandKind.FLATTEN: timedelta(seconds=60),
    CommandKind.CLOSE: timedelta(seconds=60),
}
_WIDE: Final = {ScopeKind.FIRM, ScopeKind.INSTRUMENT}
_TEXT_MAX: Final = 300
_LOCK: Final = 7_243_002


class ActRefused(Exception):
    """An act that is not made; the message is the sentence a person reads."""


class Terms(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an act carries beside its target: prices and a leg, a decision, who asks, and what becomes of a closed market."""

    leg: Leg | None = None
    price: Decimal | None = None
    stop_px: Decimal | None = None
    target_px: Decimal | None = None
    decision: Decision | None = None
    is_by_hand: bool = True
    closed_market: ClosedMarket = ClosedMarket.KEEP_STOPS


NO_TERMS: Final = Terms()


class Asked(TypedDict, total=False):
    """What every act carries: who asks, and the key that makes a retry safe; why, what the person saw, and from where it came."""

    by: Required[str]
    idempotency_key: Required[str]
    reason: str
    seen: str
    origin: str


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked, before any row of it exists: `Ask(kind=…, scope=…, **asked)`."""

    kind: CommandKind
    scope: Scope
    by: str
    idempotency_key: str
    reason: str = ""
    seen: str = ""
    origin: str = ""
    target: str = ""
    choice: KillChoice | None = None
    mode: HaltMode | None = None
    stop_mode: StopMode = StopMode.NOW
    keeps_baseline: bool = False
    terms: Terms = NO_TERMS


def act_make(ask: Ask, write: Callable[[Act], None]) -> Act:
    """The Act of this key: made now, with the rows `write` adds, or the one that was made before. Raises ActRefused.

    A key that was used for something else is refused: answering it with the other act would swallow this one.
    """
    if not ask.idempotency_key:
        raise ActRefused("An act needs a key of its own, so that a retry makes it once.")
    if (made := _made(ask)) is not None:
        return made
    try:
        with transaction.atomic():
            return _make(ask, write)
    except IntegrityError:
        # two requests with one key met in the insert: the other one's act is ours too
        if (made := _made(ask)) is None:
            raise
        return made


def command_add(act: Act, ask: Ask, accounts: Iterable[Account], *, halt_id: str = "", kind: CommandKind | None = None) -> None:
    """One Command of this act for each account. The command's id is its row's."""
    kind = kind or ask.kind
    valid_for = VALID_FOR.get(kind)
    for account in accounts:
        command = Command.objects.create(act=act, account=account, body={}, created_at=act.at)
        spec = CommandSpec(
            command_id=str(command.pk),
            kind=kind,
            scope=ask.scope,
            by=ask.by,
            reason=act.reason,
            target=ask.target,
            halt_id=halt_id,
            mode=ask.mode,
            choice=ask.choice or KillChoice.CANCEL,
            stop_mode=ask.stop_mode,
            keeps_baseline=ask.keeps_baseline,
            asked_at=act.at,
            valid_until=act.at + valid_for if valid_for else None,
            **msgspec.structs.asdict(ask.terms),
        )
        Command.objects.filter(pk=command.pk).update(body=msgspec.to_builtins(spec))


def accounts_in(scope: Scope) -> Sequence[Account]:
    """The accounts an act at this scope is carried out on. A firm or instrument act reaches the enabled ones. Raises ActRefused."""
    match scope.kind:
        case ScopeKind.FIRM:
            return list(Account.objects.filter(is_enabled=True).order_by("pk"))
        case ScopeKind.ACCOUNT:
            return [account_by_code(scope.key)]
        case ScopeKind.BOT:
            return [bot_by_code(scope.key).account]
        case ScopeKind.INSTRUMENT:
            return list(_accounts_with(scope.key))


def bot_scope(bot: Bot) -> Scope:
    return Scope(ScopeKind.BOT, bot.code)


def account_by_code(code: str) -> Account:
    account = Account.objects.filter(code=code).first()
    if account is None:
        raise ActRefused(f"There is no account “{code}”.")
    return account


def disabled_told(bot: Bot) -> str:
    """Why a disabled bot can neither start nor resume."""
    return f"{bot.code} is disabled. Enable it in the admin first."


def bot_by_code(code: str) -> Bot:
    bot = Bot.objects.select_related("account").filter(code=code).first()
    if bot is None:
        raise ActRefused(f"There is no bot “{code}”.")
    return bot


def engine_runs(account: Account, at: datetime) -> bool:
    """True while an engine holds the account's lease."""
    lease = getattr(account, "lease", None)
    return bool(lease and lease.engine and lease.expires_at and lease.expires_at > at)


def _accounts_with(symbol: str) -> Iterable[Account]:
    if not Instrument.objects.filter(symbol=symbol).exists():
        raise ActRefused(f"There is no instrument “{symbol}”.")
    holds = (
        Q(bots__symbols__instrument__symbol=symbol)
        | Q(positions__symbol=symbol, positions__is_open=True)
        | Q(orders__symbol=symbol, orders__is_working=True)
    )
    return Account.objects.filter(holds, is_enabled=True).distinct().order_by("pk")


def _made(ask: Ask) -> Act | None:
    act = Act.objects.filter(idempotency_key=ask.idempotency_key).first()
    if act is None:
        return None
    asked = (ask.kind, ask.scope.kind, ask.scope.key, ask.target, ask.choice or "")
    command = act.commands.order_by("pk").first()
    terms = ask.terms if command is None else msgspec.convert(command.body, Terms)
    if (act.kind, act.scope, act.scope_key, act.target, act.choice) != asked or terms != ask.terms:
        raise ActRefused("This key already made another act. Reload the page and ask again.")
    return act


def _make(ask: Ask, write: Callable[[Act], None]) -> Act:
    _serialise()
    act = Act.objects.create(
        kind=ask.kind,
        scope=ask.scope.kind,
        scope_key=ask.scope.key,
        target=ask.target,
        choice=ask.choice or "",
        by=ask.by,
        reason=ask.reason[:_TEXT_MAX],
        seen=ask.seen[:_TEXT_MAX],
        idempotency_key=ask.idempotency_key,
        at=timezone.now(),
    )
    write(act)
    _hint(ask, act)
    audit.record(
        by=ask.by,
        action=ask.kind.lower(),
        model="execution.Act",
        key=str(act.pk),
        before=None,
        after=_told(ask, act),
        reason=act.reason,
        origin=ask.origin,
    )
    return act


def _serialise() -> None:
    """One act after another, so that the second of two kills finds the first one's halt and joins it.

    SQLite's IMMEDIATE transaction already is alone; PostgreSQL waits here until the other commits.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])


def _told(ask: Ask, act: Act) -> dict[str, Any]:
    told = {
        "scope": str(ask.scope),
        "accounts": list(dict.fromkeys(act.commands.order_by("pk").values_list("account__code", flat=True))),
        "target": ask.target,
        "choice": ask.choice,
        "mode": ask.mode,
        "halt": act.halt_id,
        "seen": act.seen,
        **msgspec.to_builtins(ask.terms),
    }
    return {name: value for name, value in told.items() if value}


def _hint(ask: Ask, act: Act) -> None:
    if ask.scope.kind in _WIDE:
        hint_engines_on_commit()
    else:
        hint_accounts_on_commit(Account.objects.filter(commands__act=act).distinct())


def halt_write(act: Act, ask: Ask, *, cause: str, mode: HaltMode, scope: Scope | None = None) -> Halt:
    """The active halt of this scope and cause: the one that stands, or a new one. A second kill joins the first."""
    scope = scope or ask.scope
    standing = Halt.objects.filter(scope=scope.kind, scope_key=scope.key, cause=cause, mode=mode, cleared_at=None).first()
    halt = standing or Halt.objects.create(
        halt_id=f"{cause.lower()}-{scope.kind.lower()}{'-' if scope.key else ''}{scope.key}-{act.pk}",
        scope=scope.kind,
        scope_key=scope.key,
        mode=mode,
        cause=cause,
        reason=act.reason,
        by=ask.by,
        at=act.at,
    )
    if not act.halt_id:
        Act.objects.filter(pk=act.pk).update(halt_id=halt.halt_id)
        act.halt_id = halt.halt_id
    return halt
