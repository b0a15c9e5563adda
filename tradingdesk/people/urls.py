"""URLs of people that allauth does not have."""

from __future__ import annotations

from django.urls import path

from tradingdesk.people import views

urlpatterns = [path("enter/<str:token>", views.enter, name="enter")]
