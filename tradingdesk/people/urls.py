"""Coming in, going out, and one's own password. Of allauth only what this desk has: nobody signs up, and it sends no mail."""

from __future__ import annotations

from allauth.account.views import account_inactive, login, logout, password_change, password_set
from django.urls import path
from django.views.generic import RedirectView

from tradingdesk.people import views

urlpatterns = [
    path("enter/<str:token>", views.enter, name="enter"),
    path("accounts/login/", login, name="account_login"),
    path("accounts/logout/", logout, name="account_logout"),
    path("accounts/inactive/", account_inactive, name="account_inactive"),
    path("accounts/password/change/", password_change, name="account_change_password"),
    path("accounts/password/set/", password_set, name="account_set_password"),
    # the admin's own page would neither audit nor ask as allauth does
    path("admin/password_change/", RedirectView.as_view(pattern_name="account_change_password")),
]
