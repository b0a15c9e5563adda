from __future__ import annotations

from django.apps import AppConfig


class ExecutionConfig(AppConfig):
    name = "execution"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from execution.services.accounts import in_force_receive, settings_changed_receive
        from risk.selectors import in_force_asked
        from risk.services import settings_changed

        settings_changed.connect(settings_changed_receive, dispatch_uid="settings_numbered")
        in_force_asked.connect(in_force_receive, dispatch_uid="settings_in_force")
