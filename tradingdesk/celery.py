"""The Celery application: `jobs` for reports and chores, `watch` for the watchdog. Tasks are found in each app's tasks.py."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery
from celery.signals import celeryd_init, setup_logging

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tradingdesk.settings")

app = Celery("tradingdesk")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@setup_logging.connect  # type: ignore[untyped-decorator]
def _keep_our_logging(**_: Any) -> None:
    """A receiver makes Celery leave logging alone: Django has set it up already."""


@celeryd_init.connect  # type: ignore[untyped-decorator]
def _refuse_old_schema(**_: Any) -> None:
    from execution.store.schema import migrations_require

    migrations_require()
