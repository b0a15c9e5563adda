"""Rows the supervisor reads and writes when a Desk cannot: poison events, halts of a failing account, its working entries, alarms."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from execution.core.messages import Commanded, CommandStatus, Event, SendCancel
from execution.core.orders import Purpose
from execution.models import Account, Alarm, Bot, BotLog, Command, Engine, Order, PoisonEvent
from execution.store.journal import EVENT_ENCODER
from execution.store.settings import desk_settings_from_rows
from risk.core.units import Instrument, ScopeKind, Side
from risk.core.verdict import HaltCause, HaltMode, OrderClass
from risk.models import Halt


def poison_write(account_id: int, event: Event, *, trace: str, at: datetime) -> None:
    """Keep the event with its traceback, halt the account, and answer the command if it was one."""
    with transaction.atomic():
        poison = PoisonEvent.objects.create(account_id=account_id, at=at, event=EVENT_ENCODER.encode(event), traceback=trace)
        halt_write(
            account_id,
            cause=HaltCause.POISON_EVENT,
            reason=f"an event of kind {type(event).__name__} could not be handled twice; it is kept as poison event {poison.pk}",
            at=at,
        )
        if isinstance(event, Commanded):
            Command.objects.filter(pk=int(event.command.command_id)).update(
                status=CommandStatus.REFUSED, text="The desk could not handle this command; the account is halted.", answered_at=at
            )


def entries_working(account_id: int) -> tuple[Account, dict[str, Instrument], list[SendCancel]]:
    """What the last commit's rows say is left of an account without a Desk: its venue, and a cancel for each working entry."""
    account = Account.objects.get(pk=account_id)
    rows = Order.objects.filter(account=account, is_working=True, purpose=Purpose.ENTRY).order_by("id")
    requests = [
        SendCancel(
            cl_ord_id=row.cl_ord_id,
            order_id=row.order_id,
            symbol=row.symbol,
            side=Side(row.side),
            order_class=OrderClass(row.order_class),
        )
        for row in rows
    ]
    return account, desk_settings_from_rows(account).instruments, requests


def halt_write(account_id: int, *, cause: HaltCause, reason: str, at: datetime) -> None:
    """Latch an ACCOUNT halt by the engine's own word; one that still stands for the same cause is left as it is."""
    code = Account.objects.values_list("code", flat=True).get(pk=account_id)
    standing = {"scope": ScopeKind.ACCOUNT, "scope_key": code, "cause": cause, "cleared_at": None}
    if Halt.objects.filter(**standing).exists():
        return
    Halt.objects.create(
        halt_id=f"{cause.value.lower()}:{code}:{int(at.timestamp() * 1000)}",
        mode=HaltMode.HALTED,
        reason=reason[:300],
        by="engine",
        at=at,
        **standing,
    )


def brain_halt_write(bot: str, *, reason: str, stack: str, at: datetime) -> None:
    """Halt a bot whose brain never returned, with an alarm that stands as long as the halt, and keep in its log where it stood.

    The process ends now, and the bot must not be started with the next one.
    """
    standing = {"scope": ScopeKind.BOT, "scope_key": bot, "cause": HaltCause.BRAIN_ERRORS, "cleared_at": None}
    halt = Halt.objects.filter(**standing).first() or Halt.objects.create(
        halt_id=f"brain:{bot}:{int(at.timestamp() * 1000)}",
        mode=HaltMode.HALTED,
        reason=reason[:300],
        by="engine",
        at=at,
        **standing,
    )
    botlog_write(bot, level="ERROR", text=f"{reason}\n{stack}", at=at)
    for account_id in Bot.objects.filter(code=bot).values_list("account_id", flat=True):
        alarm_write(
            account_id,
            f"halt:{halt.halt_id}",
            title=f"Bot {bot} is stopped: its brain does not return",
            cause=reason,
            consequence=f"The engine had to end and starts again without it. The bot {bot} is halted until a person clears it; stops stay.",
            to_do="Read in the bot's log where it stood, repair the brain and start the engine again; then clear the halt.",
            at=at,
            bot=bot,
        )


def engine_end_write(name: str, *, at: datetime) -> None:
    """The engine ends itself: who looks later must not take it for one that was killed."""
    Engine.objects.filter(name=name).update(stopped_at=at)


def botlog_write(bot: str, *, level: str, text: str, at: datetime) -> None:
    row = Bot.objects.filter(code=bot).first()
    if row is not None:
        BotLog.objects.create(bot=row, at=at, level=level, text=text)


def alarm_write(
    account_id: int,
    key: str,
    *,
    title: str,
    cause: str,
    consequence: str,
    to_do: str,
    at: datetime,
    priority: int = 1,
    bot: str = "",
) -> None:
    """Raise an alarm that no Desk can raise; it stands once per key until `alarm_return`."""
    Alarm.objects.get_or_create(
        account_id=account_id,
        key=key,
        returned_at=None,
        defaults={
            "priority": priority,
            "title": title[:120],
            "cause": cause[:300],
            "consequence": consequence[:300],
            "to_do": to_do[:300],
            "bot": bot,
            "raised_at": at,
        },
    )


def alarm_return(account_id: int, key: str, *, at: datetime) -> None:
    Alarm.objects.filter(account_id=account_id, key=key, returned_at=None).update(returned_at=at)
