"""Accounts and bots in the admin. Orders, positions and halts are the console's; starting and stopping are acts, not settings."""

from __future__ import annotations

from typing import Any, cast

from django import forms
from django.contrib import admin
from django.http import HttpRequest

from execution import services
from execution.brains import brains
from execution.core.venues import VENUES, options_told
from execution.models import Account, Bot
from execution.services.accounts import account_problems, bot_problems
from risk.admin import AuditedAdmin, AuditedForm
from risk.models import Instrument


class AccountForm(AuditedForm):
    broker = forms.ChoiceField(choices=[(name, name) for name in sorted(VENUES)])
    venue_page = forms.URLField(required=False, assume_scheme="https", label="Page")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        told = " · ".join(f"{name}: {options_told(name)}" for name in sorted(VENUES))
        self.fields["broker_options"].help_text = f"What differs from the defaults, as JSON. {told}"

    def problems(self) -> dict[str, str]:
        return account_problems(self.instance)


@admin.register(Account)
class AccountAdmin(AuditedAdmin):
    form = AccountForm
    list_display = ("code", "name", "environment", "broker", "feed", "currency", "is_enabled")
    list_filter = ("environment", "is_enabled")
    search_fields = ("code", "name")
    fieldsets = (
        (None, {"fields": ("code", "name", "environment", "is_enabled", "reason", "seen_version")}),
        ("Venue", {"fields": ("broker", "broker_options", "feed", "currency", "starting_cash", "limits")}),
        (
            "When this desk cannot help",
            {
                "fields": ("venue_page", "venue_phone", "venue_account"),
                "description": "Shown on every page, so that they are there when the desk is not.",
            },
        ),
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Orders, halts and settings know an account by its code, its money by its currency."""
        return () if obj is None else ("code", "environment", "currency", "starting_cash")

    def write(self, row: Any, *, form: Any, version: int | None, by: str, reason: str, origin: str) -> None:
        services.account_save(account=row, version=version, by=by, reason=reason, origin=origin)

    def remove(self, row: Any, *, by: str, reason: str, origin: str) -> None:
        services.account_delete(account=row, by=by, reason=reason, origin=origin)


class BotForm(AuditedForm):
    brain = forms.ChoiceField()
    trades = forms.ModelMultipleChoiceField(
        queryset=Instrument.objects.all(),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        label="Instruments",
        help_text="An instrument belongs to one enabled bot per account.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        cast("forms.ChoiceField", self.fields["brain"]).choices = _brain_choices(self.instance.brain)
        self.fields["params"].help_text = _params_told()
        if self.instance.pk:
            self.fields["trades"].initial = list(self.instance.instruments.values_list("pk", flat=True))

    def problems(self) -> dict[str, str]:
        if self.instance.account_id is None:
            return {}
        found = bot_problems(self.instance, self.cleaned_data.get("trades") or ())
        return {("trades" if name == "instruments" else name): sentence for name, sentence in found.items()}


@admin.register(Bot)
class BotAdmin(AuditedAdmin):
    form = BotForm
    list_display = ("code", "account", "brain", "profile", "bar_s", "is_enabled", "should_run")
    list_filter = ("account", "brain", "is_enabled")
    search_fields = ("code",)
    fieldsets = (
        (None, {"fields": ("code", "account", "is_enabled", "reason", "seen_version")}),
        ("What it does", {"fields": ("brain", "params", "bar_s", "trades", "profile")}),
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Orders and halts know a bot by its code, and its positions are on its account."""
        return () if obj is None else ("code", "account")

    def write(self, row: Any, *, form: Any, version: int | None, by: str, reason: str, origin: str) -> None:
        services.bot_save(bot=row, instruments=form.cleaned_data["trades"], version=version, by=by, reason=reason, origin=origin)

    def remove(self, row: Any, *, by: str, reason: str, origin: str) -> None:
        services.bot_delete(bot=row, by=by, reason=reason, origin=origin)


def _brain_choices(now: str) -> list[tuple[str, str]]:
    """Every brain, and the bot's own where its file cannot be used: a form that does not offer it would change it."""
    told = {name: f"{name}: {brain.summary}" for name, brain in sorted(brains().items())}
    return list((told if not now else {now: f"{now}: cannot be used"} | told).items())


def _params_told() -> str:
    """Every brain's parameters with default and bounds."""
    told = (
        f"{name}: " + ", ".join(f"{param} {default} ({low}–{high})" for param, (default, low, high) in brain.PARAMS.items())
        for name, brain in sorted(brains().items())
    )
    return "What differs from the defaults, as JSON. " + " · ".join(told)
