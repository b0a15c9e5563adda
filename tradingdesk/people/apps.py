from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class PeopleConfig(AppConfig):
    name = "tradingdesk.people"
    label = "people"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        post_migrate.connect(_groups_ensure, sender=self, dispatch_uid="groups_ensure")


def _groups_ensure(sender: AppConfig, **_: Any) -> None:
    from tradingdesk.people.services import groups_ensure

    groups_ensure()
