"""The desk that runs: engines, leases, accounts, and what already rings."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from django.conf import settings
from django.utils import timezone

from execution import brains
from execution.core.state import CORE_VERSION
from execution.core.venues import live_refusal
from execution.models import Account, Alarm, Bot, Command, Engine, JournalEntry
from risk.core.settings import AccountLimits
from risk.core.verdict import HaltCause
from risk.models import Halt
from tradingdesk.health import ENGINE_AGE_MAX
from tradingdesk.management.doctor import Finding
from tradingdesk.people.models import User

#: an engine that fell silent longer ago is history
SILENT_TOLD: Final = timedelta(days=1)
#: a heartbeat from further in the future is a clock that goes ahead
AHEAD: Final = timedelta(seconds=1)
PENDING: Final = timedelta(seconds=10)


def look() -> Iterator[Finding]:
    now = timezone.now()
    running = list(Engine.objects.filter(stopped_at=None, seen_at__gte=now - ENGINE_AGE_MAX))
    accounts = list(Account.objects.filter(is_enabled=True).select_related("lease", "state", "limits"))
    yield from _engines(running, now)
    yield from _versions(running)
    for account in accounts:
        yield from _account(account, now)
    yield from _live(accounts)
    yield from _brains()
    yield from _pending(now)
    yield from _standing()
    if not User.objects.filter(is_active=True).exists():
        yield Finding(
            "people",
            "Nobody may sign in.",
            "Kills and halts work from the shell only.",
            "manage.py createsuperuser, then make people and give them accounts in the admin.",
        )


def _engines(running: list[Engine], now: datetime) -> Iterator[Finding]:
    if not running:
        yield Finding(
            "engine",
            "No engine runs.",
            "Nothing is decided, moved or canceled; stops at the venue stay there.",
            "manage.py runworker execution, on as many machines as you like; manage.py desk starts one.",
        )
    for engine in Engine.objects.filter(stopped_at=None, seen_at__lt=now - ENGINE_AGE_MAX, seen_at__gte=now - SILENT_TOLD):
        yield Finding(
            "engine silent",
            f"The engine {engine.name} on {engine.host} was last heard of {_age(now - engine.seen_at)} ago and never said goodbye.",
            "It was killed, hangs, or cannot reach the database; its accounts go to another engine when their leases run out.",
            f"Read its log; on {engine.host} look for the process {engine.pid}. A day after its last word its row goes.",
            is_wrong=not running,
        )
    for engine in (engine for engine in running if engine.seen_at > now + AHEAD):
        yield Finding(
            "clock of an engine",
            f"The clock of {engine.host}, where {engine.name} runs, is {_age(engine.seen_at - now)} ahead of this machine's.",
            "Its prices look older or newer than they are, and venues refuse requests whose time is off.",
            "Let chrony or systemd-timesyncd keep the clocks of all machines.",
        )


def _versions(running: list[Engine]) -> Iterator[Finding]:
    versions = sorted({engine.version for engine in running})
    if len(versions) > 1:
        yield Finding(
            "mixed versions",
            f"Engines run core versions {', '.join(versions)} side by side.",
            "Which rules an account trades by depends on which engine has it.",
            "Finish the upgrade: stop the older engines politely, and their accounts move over.",
        )
    if versions and CORE_VERSION not in versions:
        yield Finding(
            "other version",
            f"The engines run core version {', '.join(versions)}, the code here is {CORE_VERSION}.",
            "What you read here is not what trades.",
            "Start the engines from this code, or look from theirs.",
            is_wrong=False,
        )
    journals = {code: version for code, version in _journal_versions() if version != CORE_VERSION}
    if journals:
        yield Finding(
            "journal of another version",
            f"The journals of {', '.join(journals)} end with core version {', '.join(sorted(set(journals.values())))};"
            f" the code here is {CORE_VERSION}.",
            "The next start replays them by other rules, and digests cannot be compared for that part.",
            "Start one engine on this code and let it take a snapshot (a polite stop does) before you rely on manage.py replay.",
            is_wrong=False,
        )


def _journal_versions() -> Iterator[tuple[str, str]]:
    """Of each account, the core that wrote its newest event."""
    for account in Account.objects.all():
        newest = JournalEntry.objects.filter(account=account).order_by("-id").values_list("core_version", flat=True).first()
        if newest is not None:
            yield account.code, newest


def _account(account: Account, now: datetime) -> Iterator[Finding]:
    lease, state = getattr(account, "lease", None), getattr(account, "state", None)
    if lease is None or lease.expires_at is None or lease.expires_at <= now:
        since = f" since {_age(now - lease.expires_at)}" if lease is not None and lease.expires_at is not None else ""
        yield Finding(
            "lease",
            f"No engine has the account {account.code}{since}.",
            "Nothing is decided, moved or canceled on it; stops at the venue stay there.",
            "Start an engine; if one runs, its log says why it does not take this account.",
        )
    elif state is not None and state.phase != "ACTIVE":
        waits = [f"{line['name']} ({line['text']})" for line in state.checklist if not line["is_passed"]]
        yield Finding(
            "not active",
            f"The account {account.code} is {state.phase.lower()}: {', '.join(waits) or 'no reason was written'}.",
            "It takes no entry until every line of its checklist has passed.",
            "The Health page shows the checklist.",
        )
    missing = [
        name for name in AccountLimits.__struct_fields__ if not name.endswith("_ceiling") and getattr(account.limits, name) is None
    ]
    if missing:
        yield Finding(
            "limits",
            f"The account {account.code} has no {', '.join(missing)}.",
            "A limit that is missing means no new risk: every entry is denied.",
            f"Set them at the limits “{account.limits.name}” in the admin.",
        )


def _live(accounts: list[Account]) -> Iterator[Finding]:
    live = [account for account in accounts if account.environment == Account.Environment.LIVE]
    for account in live:
        if why := live_refusal(account.broker, account.broker_options, is_allowed=settings.ALLOW_LIVE):
            yield Finding(
                "live refused",
                f"The account {account.code} is LIVE and does not run. {why}",
                "It does not trade, and what it holds is not looked after here.",
                "Do what the sentence says on every engine's machine, or disable the account.",
            )
    if settings.ALLOW_LIVE and not live:
        yield Finding(
            "live switch",
            "TRADINGDESK_ALLOW_LIVE=1 is set, and no enabled account is LIVE.",
            "The switch is the last thing between a mistake in the admin and real money.",
            "Unset it until you mean it.",
            is_wrong=False,
        )


def _brains() -> Iterator[Finding]:
    known = brains.found()
    for bot in Bot.objects.filter(is_enabled=True).exclude(brain__in=list(known.brains)):
        why = next((why for file, why in known.broken.items() if file.startswith(bot.brain)), "there is no such file")
        yield Finding(
            "brain",
            f"The brain {bot.brain} of the bot {bot.code} cannot be used here: {why}.",
            "An engine that starts from this code stops the bot and halts it.",
            "Repair the file in execution/brains, or disable the bot.",
        )


def _pending(now: datetime) -> Iterator[Finding]:
    waiting = Command.objects.filter(status="PENDING", account__is_enabled=True, created_at__lt=now - PENDING)
    for command in waiting.select_related("act", "account").order_by("pk")[:5]:
        yield Finding(
            "act waits",
            f"{command.act} of {command.act.by} waits for {command.account.code} since {_age(now - command.created_at)}.",
            "What a person asked for is not done.",
            "Start an engine. If it is a kill, cancel at the venue's own page meanwhile.",
        )


def _standing() -> Iterator[Finding]:
    for halt in Halt.objects.filter(cleared_at=None).order_by("at"):
        where = f"{halt.scope.lower()} {halt.scope_key}".strip()
        what = f"{where} is {halt.mode.lower().replace('_', ' ')} by {halt.by}: {halt.reason or halt.cause}."
        if halt.cause == HaltCause.POISON_EVENT:
            yield Finding(
                "poison event",
                what,
                "An event twice broke the code that handles it; it is kept, and whatever it told is not in our books.",
                "Keep it for whoever mends the code, reconcile with the venue, then clear the halt.",
            )
        else:
            yield Finding(
                "halt",
                what,
                "It stands until a person clears it.",
                "Clear it in the console when its cause is gone.",
                is_wrong=False,
            )
    for alarm in Alarm.objects.filter(returned_at=None).select_related("account"):
        yield Finding(
            "alarm",
            f"{alarm.account.code}: {alarm.title}. {alarm.cause}",
            alarm.consequence,
            alarm.to_do,
            is_wrong=alarm.priority == 1,
        )


def _age(span: timedelta) -> str:
    seconds = int(span.total_seconds())
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"
