"""Who may see and do what. Groups say what a person may do, AccountAccess says where; a stranger to an account gets 404."""

from __future__ import annotations

from typing import NamedTuple

from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet, prefetch_related_objects
from django.http import Http404, HttpRequest
from django.shortcuts import get_object_or_404

from execution.models import Account, Bot
from tradingdesk.people.models import AccountAccess, User


class Rights(NamedTuple):
    """What the groups of a person allow. Everyone but a viewer may kill, at any scope."""

    name: str = "viewer"
    #: cancel, close, start, stop, resume
    may_trade: bool = False
    #: kill, halt, pause, acknowledge
    may_kill: bool = False
    #: clear latches
    may_clear: bool = False
    #: the admin pages
    may_edit: bool = False


def user_of(request: HttpRequest) -> User:
    """The signed-in user; LoginRequiredMiddleware let nobody else come here."""
    if not isinstance(request.user, User):
        raise PermissionDenied
    return request.user


def rights_of(user: User) -> Rights:
    # asked more than once a page; the second time from memory
    prefetch_related_objects([user], "groups")
    groups = {"admin", "risk", "trader"} if user.is_superuser else {group.name for group in user.groups.all()}
    is_trader, is_risk = "trader" in groups, "risk" in groups
    name = next((role for role in ("admin", "risk", "trader") if role in groups), "viewer")
    return Rights(
        name=name,
        may_trade=is_trader,
        may_kill=bool(groups & {"trader", "risk", "admin"}),
        may_clear=is_risk,
        may_edit=user.is_staff,
    )


def accounts_of(user: User) -> QuerySet[Account]:
    """Enabled accounts this person may see; a superuser sees all."""
    return accounts_seen(user).filter(is_enabled=True)


def accounts_seen(user: User) -> QuerySet[Account]:
    """Accounts this person may see, those at rest among them; a superuser sees all."""
    if user.is_superuser:
        return Account.objects.all()
    return Account.objects.filter(pk__in=AccountAccess.objects.filter(user=user).values("account"))


def account_for(request: HttpRequest, code: str, *, may_trade: bool = False) -> Account:
    """The account, or Http404 for a stranger to it, or PermissionDenied for one who may only look."""
    account = get_object_or_404(accounts_of(user_of(request)), code=code)
    if may_trade:
        require_trade(request)
    return account


def bot_for(request: HttpRequest, code: str, *, may_trade: bool = False, may_kill: bool = False) -> Bot:
    """The bot of an account this person may see; raises as `account_for`."""
    visible = accounts_of(user_of(request))
    bot = get_object_or_404(Bot.objects.select_related("account", "state", "profile"), code=code, account__in=visible)
    if may_trade:
        require_trade(request)
    if may_kill:
        require_kill(request)
    return bot


def require_trade(request: HttpRequest) -> None:
    if not rights_of(user_of(request)).may_trade:
        raise PermissionDenied("Only traders may do this.")


def require_kill(request: HttpRequest) -> None:
    if not rights_of(user_of(request)).may_kill:
        raise PermissionDenied("Viewers may look, not act.")


def require_sight(request: HttpRequest) -> None:
    """Http404 for a person who sees no account at all."""
    user = user_of(request)
    if not user.is_superuser and not accounts_of(user).exists():
        raise Http404
