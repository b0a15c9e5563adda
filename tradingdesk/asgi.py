"""HTTP and WebSocket, for any ASGI server. It refuses to serve a database that lacks a migration."""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tradingdesk.settings")
_http = get_asgi_application()

# what follows needs the models that the line above has loaded
from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter
from channels.security.websocket import OriginValidator
from django.conf import settings

from execution.store.schema import migrations_require
from tradingdesk.routing import websocket

migrations_require()

application = ProtocolTypeRouter(
    {
        "http": _http,
        "websocket": OriginValidator(AuthMiddlewareStack(websocket), settings.CSRF_TRUSTED_ORIGINS),
    }
)
