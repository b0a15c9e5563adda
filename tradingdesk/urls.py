"""Every URL of the desk."""

from __future__ import annotations

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

from tradingdesk.health import healthz, readyz
from tradingdesk.metrics import metrics

urlpatterns: list[URLPattern | URLResolver] = [
    path("healthz", healthz, name="healthz"),
    path("readyz", readyz, name="readyz"),
    path("metrics", metrics, name="metrics"),
    path("", include("tradingdesk.people.urls")),
    path("admin/", admin.site.urls),
    path("", include("tradingdesk.console.urls")),
]
