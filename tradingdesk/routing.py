"""Every WebSocket of the desk."""

from __future__ import annotations

import importlib.util

from channels.routing import URLRouter

if importlib.util.find_spec("tradingdesk.console.urls"):
    from tradingdesk.console.urls import websocket_urlpatterns
else:
    websocket_urlpatterns = []

websocket = URLRouter(websocket_urlpatterns)
