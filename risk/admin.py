"""The admin of settings: every write goes through a service, which checks, compares and sets, and audits; nothing is saved here.

A form shows a refusal at its field before anything is written. What changed meanwhile is refused with who was faster. A loosening asks
for a reason. After saving, the page follows each engine until it runs on the new version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.widgets import RelatedFieldWidgetWrapper
from django.core.exceptions import PermissionDenied
from django.db import models, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from risk import services
from risk.core.units import NO_LIMIT
from risk.fields import DecimalText, LimitText
from risk.models import AccountLimits, AuditEntry, ClassOverride, Instrument, RiskProfile, SymbolOverride
from risk.selectors import settings_in_force, settings_inherited
from risk.services import meanings
from risk.services import settings as settings_services
from risk.services.changes import CHANGES, Change, limit_text, loosened
from risk.services.saving import changed_sentence, object_key, reason_problem, row_stored

if TYPE_CHECKING:
    _ModelForm = forms.ModelForm[Any]
    _ModelAdmin = admin.ModelAdmin[Any]
    _StackedInline = admin.StackedInline[Any, RiskProfile]
    _FormSet = forms.BaseInlineFormSet[Any, RiskProfile, Any]
else:
    _ModelForm, _ModelAdmin, _StackedInline = forms.ModelForm, admin.ModelAdmin, admin.StackedInline
    _FormSet = forms.BaseInlineFormSet

#: fields of RiskSettings in the order people think of them
GROUPS: Final = {
    "Sizing": "margin_per_trade leverage qty_max risk_pct",
    "Session and breaker": "session_loss_limit breaker_losses breaker_window_s breaker_cooldown_s",
    "Price": "price_age_ms_max feed_lag_ms_max price_frozen_s price_collar_pct",
    "Entries": "entries_in_flight_max adds_max flip_policy entry_ttl_s order_rate_max duplicate_window_s repeated_execution_max",
    "Order limits": "stop_distance_pct_min stop_distance_pct_max order_qty_max order_notional_max order_equity_pct_max "
    "trade_risk_pct_max reward_risk_min",
    "Protection": "is_stop_required unsupported_protection naked_policy naked_after_ms leg_retries exit_wait_ms",
}


class AuditedForm(_ModelForm):
    """A form that asks the row's service what it would refuse, and remembers which version was looked at."""

    #: field → what it means; see risk.services.meanings
    meanings: ClassVar[Mapping[str, str]] = {}
    seen_version = forms.IntegerField(widget=forms.HiddenInput, required=False)
    reason = forms.CharField(
        required=False,
        max_length=300,
        widget=forms.TextInput(attrs={"class": "vTextField"}),
        help_text="Kept in the audit. Needed where a change loosens.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _none_as_text(self.instance)
        self.fields["seen_version"].initial = self.instance.version if self.instance.pk else None
        for name, meaning in {**meanings.NAMES, **self.meanings}.items():
            if name in self.fields and not self.fields[name].help_text:
                self.fields[name].help_text = meaning

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]
        found = self.problems()
        if not found and not self.errors:
            found = self._loosening() | self._conflict()
        for name, sentence in found.items():
            if name not in self.errors:
                self.add_error(name if name in self.fields else None, sentence)
        self._take_back()

    def _take_back(self) -> None:
        """Put what is stored where a text was refused: the page computes with the row. What was typed stays in the form."""
        row = self.instance
        numbers = [field for field in row._meta.concrete_fields if isinstance(field, DecimalText)]
        refused = [field for field in numbers if isinstance(getattr(row, field.name), str)]
        stored = row_stored(row) if refused else None
        for field in refused:
            setattr(row, field.name, getattr(stored, field.name) if stored is not None else field.get_default())

    def problems(self) -> dict[str, str]:
        """What the row's service would refuse, a sentence per field."""
        raise NotImplementedError

    def changes(self) -> list[Change]:
        """What saving would change, where that can loosen or tighten."""
        found = CHANGES.get(type(self.instance))
        return found(self.instance) if found is not None else []

    def _loosening(self) -> dict[str, str]:
        problem = reason_problem(loosened(self.changes()), self.reason_given())
        return {"reason": problem} if problem else {}

    def _conflict(self) -> dict[str, str]:
        if not self.instance.pk:
            return {}
        stored = type(self.instance)._default_manager.filter(pk=self.instance.pk)
        is_same = stored.filter(version=self.cleaned_data.get("seen_version")).exists()
        return {} if is_same else {"": changed_sentence(self.instance)}

    def reason_given(self) -> str:
        return str(self.cleaned_data.get("reason") or "")


class Audited:
    """What a model's admin calls instead of `obj.save()` and `obj.delete()`."""

    def write(self, row: Any, *, form: Any, version: int | None, by: str, reason: str, origin: str) -> None:
        raise NotImplementedError

    def remove(self, row: Any, *, by: str, reason: str, origin: str) -> None:
        raise NotImplementedError

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """No pop-ups beside a choice: each object is edited on its own page, where its reason is asked."""
        field = super().formfield_for_dbfield(db_field, request, **kwargs)  # type: ignore[misc]
        if field is not None and isinstance(field.widget, RelatedFieldWidgetWrapper):
            field.widget = field.widget.widget
        return field


class ShortTransactions(_ModelAdmin):
    """Keeps the admin from wrapping a whole POST in a transaction.

    On SQLite that is the one write lock, held while forms are built and passwords hashed, and the engine's journal waits a second for
    it at most. Only what is written is inside a transaction: each service opens its own.
    """

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        view: Callable[..., HttpResponse] = self._changeform_view  # type: ignore[attr-defined]
        return _or_refusal(request, lambda: view(request, object_id, form_url, extra_context))

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        view: Callable[..., HttpResponse] = self._delete_view  # type: ignore[attr-defined]
        return _or_refusal(request, lambda: view(request, object_id, extra_context))

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        return _or_refusal(request, lambda: super(ShortTransactions, self).changelist_view(request, extra_context))

    def delete_queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> None:
        """All of them or none."""
        with transaction.atomic():
            for row in queryset:
                self.delete_model(request, row)


class AuditedAdmin(Audited, ShortTransactions):
    """The base of every admin of the desk."""

    form = AuditedForm
    change_form_template = "admin/audited_change_form.html"
    delete_confirmation_template = "admin/audited_delete.html"
    delete_selected_confirmation_template = "admin/audited_delete_selected.html"
    object_history_template = "admin/audited_history.html"
    #: the page follows the engines where this is true
    shows_engines = True

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Written by `save_related`, together with its inlines."""

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        seen = form.cleaned_data.get("seen_version") if change else None
        changes = _changes_told(form, formsets)
        with transaction.atomic():
            self.write(form.instance, form=form, version=seen, **signed(request, form.reason_given()))
            for formset in formsets:
                self.save_formset(request, form, formset, change)
        if changes:
            messages.info(request, f"Changed: {'; '.join(changes)}.")

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        inline = next(found for found in self.get_inline_instances(request, form.instance) if found.model is formset.model)
        assert isinstance(inline, Audited)
        told = signed(request, form.reason_given())
        formset.save(commit=False)
        for row in formset.deleted_objects:
            inline.remove(row, **told)
        seen = {id(one.instance): one.cleaned_data.get("seen_version") for one in formset.forms if one.has_changed()}
        for row in [*formset.new_objects, *(found for found, _ in formset.changed_objects)]:
            inline.write(row, form=None, version=seen.get(id(row)) if row.pk else None, **told)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        self.remove(obj, **signed(request, request.POST.get("reason", "")))

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> HttpResponse:
        obj = kwargs.get("obj")
        if obj is not None and self.shows_engines:
            context |= {"engines": settings_in_force(obj), "engines_url": self._engines_url(obj)}
        return super().render_change_form(request, context, *args, **kwargs)

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}_engines"
        return [path("<path:object_id>/engines/", self.admin_site.admin_view(self.engines_view), name=name), *super().get_urls()]

    def engines_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The panel that follows the engines, alone."""
        row = get_object_or_404(self.model, pk=object_id)
        if not self.has_view_permission(request, row):
            raise PermissionDenied
        return TemplateResponse(request, "admin/engines.html", {"engines": settings_in_force(row)})

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        """The audit of this object, instead of the admin's own log."""
        row = get_object_or_404(self.model, pk=object_id)
        if not self.has_view_permission(request, row):
            raise PermissionDenied
        entries = AuditEntry.objects.filter(model=row._meta.label, key=object_key(row)).order_by("-seq")[:200]
        context = {
            **self.admin_site.each_context(request),
            "title": f"Audit of {row}",
            "entries": entries,
            "object": row,
            "opts": self.opts,
        }
        return TemplateResponse(request, str(self.object_history_template), context)

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: str | None = None) -> HttpResponse:
        self._say_versions(request, obj)
        return super().response_add(request, obj, post_url_continue)

    def response_change(self, request: HttpRequest, obj: Any) -> HttpResponse:
        """Stay on the page after saving: it shows the engines taking the change."""
        self._say_versions(request, obj)
        response = super().response_change(request, obj)
        return HttpResponseRedirect(request.path) if "_save" in request.POST else response

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """The audit has it."""

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """The audit has it."""

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        """The audit has it."""

    def _say_versions(self, request: HttpRequest, obj: Any) -> None:
        if self.shows_engines and (found := settings_in_force(obj)):
            told = ", ".join(f"{one.account} v{one.newest}" for one in found)
            messages.info(request, f"Settings: {told}. Each engine takes them within a second; see below.")

    def _engines_url(self, obj: Any) -> str:
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_engines", args=[obj.pk])


def _changes_told(form: AuditedForm, formsets: Iterable[Any]) -> list[str]:
    """What a save is about to change, each with whether it loosens or tightens; those of an override after its name."""
    found = [str(change) for change in form.changes()]
    for formset in formsets:
        kept = [one for one in formset.forms if one.has_changed() and one not in formset.deleted_forms]
        found += [f"{_placed(one.instance)}: {change}" for one in kept for change in one.changes()]
    return found


def _placed(override: Any) -> str:
    """BTCUSDT, or the class."""
    return override.instrument.symbol if isinstance(override, SymbolOverride) else str(override.asset_class)


def signed(request: HttpRequest, reason: str) -> dict[str, str]:
    """Who does it, why, and from where."""
    return {
        "by": request.user.get_username(),
        "reason": reason,
        "origin": f"admin {request.META.get('REMOTE_ADDR', '')}".strip(),
    }


def _or_refusal(request: HttpRequest, view: Callable[[], HttpResponse]) -> HttpResponse:
    """A refusal between the form and the service (someone was faster by a moment) undid everything: say it, and show the page anew."""
    try:
        return view()
    except services.Refused as e:
        messages.error(request, str(e))
        return HttpResponseRedirect(request.get_full_path())


def _none_as_text(row: Any) -> None:
    """Write "none" for no limit in a row that is shown: Django's number formats know no infinity. Cleaning reads it back."""
    for field in row._meta.concrete_fields:
        if isinstance(field, LimitText) and getattr(row, field.name) == NO_LIMIT:
            setattr(row, field.name, "none")


def column(name: str) -> Callable[[Any], str]:
    """A list column that can show "none"."""

    @admin.display(description=name.replace("_", " "), ordering=name)
    def shown(row: Any) -> str:
        return limit_text(getattr(row, name))

    shown.__name__ = name
    return shown


class InstrumentForm(AuditedForm):
    def problems(self) -> dict[str, str]:
        return settings_services.instrument_problems(self.instance)


@admin.register(Instrument)
class InstrumentAdmin(AuditedAdmin):
    form = InstrumentForm
    list_display = ("symbol", "asset_class", "tick_size", "lot_size", "min_notional", "currency", "is_tradable")
    search_fields = ("symbol",)
    list_filter = ("asset_class", "is_tradable")

    def write(self, row: Any, *, form: Any, version: int | None, by: str, reason: str, origin: str) -> None:
        services.instrument_save(instrument=row, version=version, by=by, reason=reason, origin=origin)

    def remove(self, row: Any, *, by: str, reason: str, origin: str) -> None:
        services.instrument_delete(instrument=row, by=by, reason=reason, origin=origin)


class OverrideForm(AuditedForm):
    """Empty means inherit; each field says what it would inherit, and from where."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        del self.fields["reason"]
        for name, meaning in meanings.SETTINGS.items():
            # the profile's own fields above say it in full; here it is under the pointer, and below the field what it inherits
            self.fields[name].widget.attrs["title"] = meaning
        if self.instance.pk is None:
            return
        for name, found in settings_inherited(self.instance).items():
            _inherits(self.fields[name], f"inherits {limit_text(found.value)}", found.level)

    def problems(self) -> dict[str, str]:
        return settings_services.override_problems(self.instance)

    def reason_given(self) -> str:
        """One reason for the page: the profile's."""
        return str(self.data.get("reason", ""))


def _inherits(field: forms.Field, told: str, level: str) -> None:
    field.help_text = f"{told} from {level}"
    match field:
        case forms.NullBooleanField(widget=forms.Select() as widget):
            widget.choices = [("unknown", told), ("true", "yes"), ("false", "no")]
        case forms.TypedChoiceField():
            field.choices = [("", told), *(choice for choice in cast("list[tuple[str, str]]", field.choices) if choice[0])]
        case _:
            field.widget.attrs["placeholder"] = told


class OverrideFormSet(_FormSet):
    def clean(self) -> None:
        """Taking an override away loosens whatever it was tighter in."""
        super().clean()
        if self.deleted_forms and not str(self.data.get("reason", "")).strip():
            raise forms.ValidationError("Deleting an override loosens: give a reason above.")


class OverrideInline(Audited, _StackedInline):
    form = OverrideForm
    formset = OverrideFormSet
    extra = 0
    show_change_link = False
    classes = ("overrides",)
    key: ClassVar[str]

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        # templates/admin/includes/fieldset.html opens a folded group that holds an error
        sizing, *others = _groups()
        rest = [(title, {**options, "classes": ("collapse",)}) for title, options in others]
        return [(None, {"fields": (self.key, "seen_version")}), sizing, *rest]

    def write(self, row: Any, *, form: Any, version: int | None, by: str, reason: str, origin: str) -> None:
        services.override_save(override=row, version=version, by=by, reason=reason, origin=origin)

    def remove(self, row: Any, *, by: str, reason: str, origin: str) -> None:
        services.override_delete(override=row, by=by, reason=reason, origin=origin)


class ClassOverrideInline(OverrideInline):
    model = ClassOverride
    key = "asset_class"


class SymbolOverrideInline(OverrideInline):
    model = SymbolOverride
    key = "instrument"


class RiskProfileForm(AuditedForm):
    meanings = meanings.SETTINGS

    def problems(self) -> dict[str, str]:
        return settings_services.profile_problems(self.instance)


@admin.register(RiskProfile)
class RiskProfileAdmin(AuditedAdmin):
    form = RiskProfileForm
    list_display = ("code", "name", *map(column, ("margin_per_trade", "leverage", "qty_max", "session_loss_limit")))
    search_fields = ("code", "name")
    inlines = (SymbolOverrideInline, ClassOverrideInline)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        return [(None, {"fields": ("code", "name", "reason", "seen_version")}), *_groups()]

    def get_inlines(self, request: HttpRequest, obj: Any) -> Any:
        """A new profile is saved first: an override shows what it inherits from it."""
        return self.inlines if obj is not None else ()

    def write(self, row: Any, *, form: Any, version: int | None, by: str, reason: str, origin: str) -> None:
        services.profile_save(profile=row, version=version, by=by, reason=reason, origin=origin)

    def remove(self, row: Any, *, by: str, reason: str, origin: str) -> None:
        services.profile_delete(profile=row, by=by, reason=reason, origin=origin)


class AccountLimitsForm(AuditedForm):
    meanings = meanings.LIMITS

    def problems(self) -> dict[str, str]:
        return settings_services.limits_problems(self.instance)


@admin.register(AccountLimits)
class AccountLimitsAdmin(AuditedAdmin):
    form = AccountLimitsForm
    list_display = (
        "name",
        *map(column, ("daily_loss_pct", "drawdown_pct", "positions_max", "gross_exposure_pct", "concentration_pct")),
    )
    search_fields = ("name",)
    fieldsets = (
        (None, {"fields": ("name", "reason", "seen_version")}),
        ("Losses", {"fields": ("daily_loss_pct", "drawdown_pct", "resume_at_rollover")}),
        (
            "Exposure",
            {
                "fields": (
                    "positions_max",
                    "gross_exposure_pct",
                    "net_exposure_pct",
                    "leverage_max",
                    "concentration_pct",
                    "bot_exposure_pct",
                    "mark_age_s_max",
                    "order_rate_max",
                ),
                "description": "Empty is unset, and an unset limit denies every entry. Write none for no limit.",
            },
        ),
        (
            "Ceilings",
            {
                "fields": ("margin_per_trade_ceiling", "leverage_ceiling", "order_notional_ceiling", "risk_pct_ceiling"),
                "description": "No profile of a bot on this account resolves above these. Empty bounds nothing.",
            },
        ),
    )

    def write(self, row: Any, *, form: Any, version: int | None, by: str, reason: str, origin: str) -> None:
        services.limits_save(limits=row, version=version, by=by, reason=reason, origin=origin)

    def remove(self, row: Any, *, by: str, reason: str, origin: str) -> None:
        services.limits_delete(limits=row, by=by, reason=reason, origin=origin)


@admin.register(AuditEntry)
class AuditEntryAdmin(_ModelAdmin):
    """The trail, to read. Nobody adds, changes or deletes an entry here."""

    list_display = ("seq", "at", "by", "action", "model", "key", "reason", "origin")
    list_filter = ("action", "model")
    search_fields = ("by", "key", "reason")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def _groups() -> list[tuple[str, dict[str, Any]]]:
    """Each group on one line, which wraps where the window is narrow."""
    return [(title, {"fields": (tuple(names.split()),)}) for title, names in GROUPS.items()]
