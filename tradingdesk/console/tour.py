"""The "Try this" panel: six things to try, ticked by what the desk itself saw happen."""

from __future__ import annotations

from datetime import timedelta
from typing import Final, NamedTuple

from django.db import transaction

from execution.core.messages import CommandKind, CommandStatus
from execution.models import Act, Command, Engine
from execution.selectors import Overview
from risk.models import AuditEntry
from tradingdesk.people.models import User

OPENED_DENIAL: Final = "opened_denial"
DISMISSED: Final = "dismissed"
#: an engine heard no later than this before a newer one started did not stop: it was killed
_SILENCE: Final = timedelta(seconds=2)
_SIZING: Final = ("risk.SymbolOverride", "risk.ClassOverride", "risk.RiskProfile")
#: who writes the demo's rows: its profiles are no change of a size
_SEEDER: Final = "seed"


class TourStep(NamedTuple):
    name: str
    text: str
    is_done: bool


def steps(user: User, look: Overview) -> list[TourStep]:
    """The six steps, or none once the person put the panel away."""
    if DISMISSED in user.tried:
        return []
    kinds = set(Act.objects.filter(kind__in=[CommandKind.CANCEL_LEG, CommandKind.CLEAR]).values_list("kind", flat=True).distinct())
    is_sized = AuditEntry.objects.filter(model__in=_SIZING).exclude(by=_SEEDER).exists()
    is_verified = Command.objects.filter(act__kind=CommandKind.KILL, status=CommandStatus.DONE).exists()
    return [
        TourStep(
            "Open a denial",
            "Click a denied signal: every gate, its number, its limit, and where the limit comes from.",
            OPENED_DENIAL in user.tried,
        ),
        TourStep("Change one size", "As risk, in the admin: a profile's symbol override. The next order follows.", is_sized),
        TourStep("Cancel a target", "On Brackets: the stop stays.", CommandKind.CANCEL_LEG in kinds),
        TourStep(
            "kill -9 the engine",
            "Its process id is on the account's card. Stops rest at the venue meanwhile.",
            was_killed(look.engines),
        ),
        TourStep("Kill, and read Verified", "K, then Kill: steps with times until the venue says so.", is_verified),
        TourStep("Clear", "With a reason. Bots come back paused: nothing starts by itself.", CommandKind.CLEAR in kinds),
    ]


def was_killed(engines: list[Engine]) -> bool:
    """True when an engine fell silent without a clean stop and another one took over."""
    newest = max((e.started_at for e in engines), default=None)
    if newest is None:
        return False
    return any(e.stopped_at is None and e.started_at < newest and e.seen_at < newest + _SILENCE for e in engines)


def remember(user: User, step: str) -> None:
    """Keep that this person did `step`, once."""
    with transaction.atomic():
        fresh = User.objects.select_for_update().get(pk=user.pk)
        if step not in fresh.tried:
            fresh.tried = [*fresh.tried, step]
            fresh.save(update_fields=["tried"])


def dismiss(user: User, *, is_dismissed: bool) -> None:
    if is_dismissed:
        remember(user, DISMISSED)
        return
    User.objects.filter(pk=user.pk).update(tried=[step for step in user.tried if step != DISMISSED])
