"""People: the user model and which accounts a person may see and act on."""

from __future__ import annotations

from django.conf import settings
from django.contrib.auth.models import AbstractUser
from django.db import models


class User(AbstractUser):
    """A person. Groups viewer, trader, risk and admin say what they may do; AccountAccess says where."""

    class Theme(models.TextChoices):
        AUTO = "auto", "as the system"
        LIGHT = "light", "light"
        DARK = "dark", "dark"

    theme = models.CharField(max_length=5, choices=Theme.choices, default=Theme.AUTO)
    #: steps of the "Try this" panel that leave no other trace ("opened_denial")
    tried = models.JSONField(default=list, blank=True, editable=False)


class AccountAccess(models.Model):
    """One person's access to one account."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="accesses")
    account = models.ForeignKey("execution.Account", on_delete=models.CASCADE, related_name="+")

    class Meta:
        verbose_name_plural = "account access"
        constraints = [models.UniqueConstraint(fields=["user", "account"], name="one_access_per_account")]

    def __str__(self) -> str:
        return f"{self.user} → {self.account}"


class EntryToken(models.Model):
    """A one-time sign-in link, kept as a hash; burned by POST, loopback only, ten minutes."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    token_hash = models.CharField(max_length=64, unique=True)
    expires_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"entry of {self.user}"
