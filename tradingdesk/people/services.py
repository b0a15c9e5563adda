"""Writing people: groups and what they may edit, users and their access, one-time sign-in links."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Final

from django.apps import apps
from django.contrib.auth.management import create_permissions
from django.contrib.auth.models import Group, Permission
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from execution.models import Account
from risk import audit
from tradingdesk.people.models import AccountAccess, EntryToken, User

ENTRY_LIFETIME: Final = timedelta(minutes=10)
_EDIT: Final = ("add", "change", "delete")
#: group → the models its members may edit in the admin; everybody may view everything of risk and execution there
GROUPS: Final[dict[str, tuple[str, ...]]] = {
    "viewer": (),
    "trader": (),
    "risk": ("risk.riskprofile", "risk.classoverride", "risk.symboloverride", "risk.accountlimits", "risk.instrument"),
    "admin": (
        "execution.account",
        "execution.bot",
        "execution.botinstrument",
        "people.user",
        "people.accountaccess",
        "risk.instrument",
    ),
}
#: groups whose members have work to do in the admin
STAFF_GROUPS: Final = frozenset({"risk", "admin"})
_VIEWED_APPS: Final = ("risk", "execution", "people")


def groups_ensure() -> None:
    """Make the four groups and give each exactly its permissions. Safe to repeat; runs after every migration."""
    for label in (*_VIEWED_APPS, "auth"):
        create_permissions(apps.get_app_config(label), verbosity=0)
    viewing = Permission.objects.filter(
        Q(content_type__app_label__in=_VIEWED_APPS) | Q(content_type__app_label="auth", content_type__model="group"),
        codename__startswith="view_",
    )
    for name, models in GROUPS.items():
        group, _ = Group.objects.get_or_create(name=name)
        editing = Q(pk__in=[])
        for model in models:
            app, model_name = model.split(".")
            editing |= Q(content_type__app_label=app, codename__in=[f"{verb}_{model_name}" for verb in _EDIT])
        group.permissions.set(Permission.objects.filter(Q(pk__in=viewing) | editing))


def user_save(
    *,
    user: User,
    groups: Iterable[Group],
    accounts: Iterable[Account],
    by: str,
    password: str = "",
    reason: str = "",
    origin: str = "",
) -> User:
    """Save a person with groups and account access, audited; `password` is set where given and never recorded."""
    chosen, visible = list(groups), list(accounts)
    before = user_told(User.objects.get(pk=user.pk)) if user.pk else None
    user.is_staff = user.is_superuser or any(group.name in STAFF_GROUPS for group in chosen)
    if password:
        user.set_password(password)
    with transaction.atomic():
        user.save()
        user.groups.set(chosen)
        AccountAccess.objects.filter(user=user).exclude(account__in=visible).delete()
        for account in visible:
            AccountAccess.objects.get_or_create(user=user, account=account)
        user_record(user, before, by=by, reason=reason, origin=origin, result="password set" if password else "")
    return user


def user_password_save(*, user: User, by: str, reason: str = "", origin: str = "") -> None:
    """Keep the password that was set on this person, hashed already."""
    with transaction.atomic():
        user.save(update_fields=["password"])
        audit.record(
            by=by,
            action="password",
            model="people.User",
            key=user.username,
            before=None,
            after=None,
            reason=reason,
            origin=origin,
            result="password set",
        )


def user_delete(*, user: User, by: str, reason: str = "", origin: str = "") -> None:
    """Delete a person. What they did stays in the audit under their name."""
    key, before = user.username, user_told(user)
    with transaction.atomic():
        user.delete()
        audit.record(by=by, action="delete", model="people.User", key=key, before=before, after=None, reason=reason, origin=origin)


def user_record(
    user: User, before: dict[str, Any] | None, *, by: str, reason: str = "", origin: str = "", result: str = ""
) -> None:
    """Audit what changed of a person since `before` (from `user_told`); None for a new one."""
    after = user_told(user)
    changed = sorted(name for name, value in after.items() if before is None or before[name] != value)
    if not changed and not result:
        return
    audit.record(
        by=by,
        action="create" if before is None else "change",
        model="people.User",
        key=user.username,
        before=None if before is None else {name: before[name] for name in changed},
        after={name: after[name] for name in changed},
        reason=reason,
        origin=origin,
        result=result,
    )


def user_told(user: User) -> dict[str, Any]:
    """What the audit keeps of a person. Never the password."""
    return {
        "username": user.username,
        "name": user.get_full_name(),
        "email": user.email,
        "is_active": user.is_active,
        "is_staff": user.is_staff,
        "is_superuser": user.is_superuser,
        "groups": sorted(user.groups.values_list("name", flat=True)),
        "accounts": sorted(AccountAccess.objects.filter(user=user).values_list("account__code", flat=True)),
    }


def entry_link_create(user: User) -> str:
    """The path of a one-time sign-in link for this person: ten minutes, this machine only. Only its hash is kept."""
    token = secrets.token_urlsafe(24)
    EntryToken.objects.filter(expires_at__lt=timezone.now()).delete()
    EntryToken.objects.create(user=user, token_hash=_hash(token), expires_at=timezone.now() + ENTRY_LIFETIME)
    return f"/enter/{token}"


def entry_find(token: str) -> EntryToken | None:
    """The link of this token, while it is good."""
    return (
        EntryToken.objects.select_related("user")
        .filter(token_hash=_hash(token), expires_at__gt=timezone.now(), user__is_active=True)
        .first()
    )


def entry_burn(token: str, *, origin: str) -> User | None:
    """Use up a link: the person it signs in, or None where it is unknown, over or already used. Of two at once one succeeds."""
    with transaction.atomic():
        entry = entry_find(token)
        if entry is None or not EntryToken.objects.filter(pk=entry.pk).delete()[0]:
            return None
        audit.record(
            by=entry.user.username,
            action="enter",
            model="people.User",
            key=entry.user.username,
            before=None,
            after=None,
            origin=origin,
            result="signed in by one-time link",
        )
        return entry.user


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def sign_in_record(*, user: User | None, origin: str, is_let_in: bool) -> None:
    """Audit a sign-in by password; `user` is None for a name that nobody has."""
    name = user.username if user else "unknown"
    action = "sign_in" if is_let_in else "sign_in_refused"
    with transaction.atomic():
        audit.record(by=name, action=action, model="people.User", key=name, before=None, after=None, origin=origin)
