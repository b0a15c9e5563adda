"""Two answers for machines: does this process run, and may it be sent people."""

from __future__ import annotations

import logging
from datetime import timedelta

import redis
from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_safe

from execution.models import Engine

log = logging.getLogger(__name__)

#: an engine writes its heartbeat each second
ENGINE_AGE_MAX = timedelta(seconds=5)


@require_safe
@login_not_required
def healthz(request: HttpRequest) -> HttpResponse:
    """This process answers."""
    return HttpResponse()


@require_safe
@login_not_required
def readyz(request: HttpRequest) -> HttpResponse:
    """200 when database, layer and at least one engine are there, else 503; what is missing goes to the log only."""
    missing = [name for name, is_there in (("engine", _engine_is_there), ("layer", _layer_is_there)) if not is_there()]
    if missing:
        log.warning("not ready: %s", ", ".join(missing))
    return HttpResponse(status=503 if missing else 200)


def _engine_is_there() -> bool:
    try:
        return Engine.objects.filter(stopped_at=None, seen_at__gte=timezone.now() - ENGINE_AGE_MAX).exists()
    except DatabaseError as error:
        log.warning("the database did not answer: %s", error)
        return False


def _layer_is_there() -> bool:
    if not settings.REDIS_URL:
        return True
    try:
        with redis.Redis.from_url(settings.REDIS_URL, socket_timeout=0.5, socket_connect_timeout=0.5) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False
