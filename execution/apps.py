from __future__ import annotations

from django.apps import AppConfig


class ExecutionConfig(AppConfig):
    name = "execution"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from execution.services.accounts import settings_changed_receive
        from risk.services import settings_changed

        settings_changed.connect(settings_changed_receive, dispatch_uid="settings_numbered")
