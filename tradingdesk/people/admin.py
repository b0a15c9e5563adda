"""People in the admin: who they are, which groups and accounts they have. Audited; a password is never shown or recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from allauth.account.admin import EmailAddress
from allauth.account.decorators import secure_admin_login
from django import forms
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.forms import AdminPasswordChangeForm, AdminUserCreationForm
from django.contrib.auth.models import Group
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from execution.models import Account
from risk.admin import ShortTransactions, signed
from risk.models import AuditEntry
from tradingdesk.people.models import User
from tradingdesk.people.services import user_delete, user_password_save, user_save

if TYPE_CHECKING:
    _ModelForm = forms.ModelForm[User]
    _UserAdmin = DjangoUserAdmin[User]
    _GroupAdmin = admin.ModelAdmin[Group]
    _PasswordForm = AdminPasswordChangeForm[User]
else:
    _ModelForm, _UserAdmin, _GroupAdmin, _PasswordForm = forms.ModelForm, DjangoUserAdmin, admin.ModelAdmin, AdminPasswordChangeForm

# the admin is entered by the desk's own sign-in, with its throttling
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]
admin.site.site_title = "tradingdesk"
admin.site.index_title = "Admin"


class PersonForm(_ModelForm):
    """A person's page. The password has a page of its own."""

    accounts = forms.ModelMultipleChoiceField(
        queryset=Account.objects.all(),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="Which accounts this person may see, and act on as the groups allow.",
    )
    reason = forms.CharField(required=False, max_length=300, widget=forms.TextInput(attrs={"class": "vTextField"}))

    class Meta:
        model = User
        fields = ("username", "first_name", "last_name", "email", "is_active", "groups")
        widgets = {"groups": forms.CheckboxSelectMultiple}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            self.fields["accounts"].initial = [access.account_id for access in self.instance.accesses.all()]


class PasswordForm(_PasswordForm):
    def save(self, commit: bool = True) -> User:
        """Hash it; what is hashed is written, with its audit entry, by `log_change`."""
        return super().save(commit=False)


@admin.register(User)
class UserAdmin(ShortTransactions, _UserAdmin):
    form = PersonForm
    change_password_form = PasswordForm
    add_form = AdminUserCreationForm
    object_history_template = "admin/audited_history.html"
    list_display = ("username", "first_name", "last_name", "is_active", "last_login")
    list_filter = ("is_active", "groups")
    filter_horizontal = ()
    fieldsets = (
        (None, {"fields": ("username", "first_name", "last_name", "email", "is_active")}),
        ("What they may do", {"fields": ("groups", "accounts")}),
        (None, {"fields": ("reason",)}),
    )

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        told = signed(request, form.cleaned_data.get("reason", ""))
        user_save(user=obj, groups=form.cleaned_data.get("groups", ()), accounts=form.cleaned_data.get("accounts", ()), **told)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Groups and accounts went with the person."""

    def delete_model(self, request: HttpRequest, obj: User) -> None:
        user_delete(user=obj, **signed(request, request.POST.get("reason", "")))

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        response: HttpResponse = self._add_view(request, form_url, extra_context)  # type: ignore[attr-defined]
        return response

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Only a superuser changes a superuser: whoever could set that password would be one."""
        return super().has_change_permission(request, obj) and _may_touch(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_delete_permission(request, obj) and _may_touch(request, obj) and obj != request.user

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        person = self.get_object(request, object_id)
        entries = AuditEntry.objects.filter(model="people.User", key=getattr(person, "username", "")).order_by("-seq")[:200]
        context = {
            **self.admin_site.each_context(request),
            "title": f"Audit of {person}",
            "entries": entries,
            "object": person,
            "opts": self.opts,
        }
        return TemplateResponse(request, str(self.object_history_template), context)

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """The audit has it."""

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """What user_save did is audited already; a password set on its own page is written here."""
        if request.resolver_match and request.resolver_match.url_name == "auth_user_password_change":
            user_password_save(user=obj, **signed(request, ""))

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        """The audit has it."""


def _may_touch(request: HttpRequest, obj: Any) -> bool:
    return obj is None or not obj.is_superuser or bool(getattr(request.user, "is_superuser", False))


# the only e-mail address of a person is the one on their page
admin.site.unregister(EmailAddress)
admin.site.unregister(Group)


@admin.register(Group)
class GroupAdmin(_GroupAdmin):
    """The four groups, to read: what each may do is the desk's rule, not a setting."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
