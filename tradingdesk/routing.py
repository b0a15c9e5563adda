"""Every WebSocket of the desk."""

from __future__ import annotations

from channels.routing import URLRouter

from tradingdesk.console.urls import websocket_urlpatterns

websocket = URLRouter(websocket_urlpatterns)
