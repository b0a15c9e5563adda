"""The console's addresses."""

from __future__ import annotations

from django.urls import path

from execution.core.messages import Leg
from tradingdesk.console.consumers import LiveConsumer
from tradingdesk.console.views import acts, audit, bots, by_hand, desk, lists

app_name = "console"

urlpatterns = [
    path("", desk.desk, name="desk"),
    path("tour/", desk.tour_shown, name="tour"),
    path("tour/dismiss/", desk.tour_dismiss, name="tour-dismiss"),
    path("theme/", desk.theme, name="theme"),
    path("signals/", lists.signals, name="signals"),
    path("signals/<int:pk>/", lists.signal, name="signal"),
    path("orders/", lists.orders, name="orders"),
    path("orders/<int:pk>/", lists.order, name="order"),
    path("orders/<slug:code>/<slug:cl_ord_id>/cancel/", acts.order_cancel, name="order-cancel"),
    path("orders/<slug:code>/<slug:cl_ord_id>/ask/", acts.order_query, name="order-query"),
    path("brackets/", lists.brackets, name="brackets"),
    path("brackets/<slug:code>/legs/<slug:cl_ord_id>/cancel/", acts.leg_cancel, name="leg-cancel"),
    path("brackets/<slug:code>/<slug:bracket_id>/cancel/", acts.bracket_cancel, name="bracket-cancel"),
    path("brackets/<slug:code>/<slug:bracket_id>/arm/", by_hand.bracket_arm, name="bracket-arm"),
    path("brackets/<slug:code>/<slug:bracket_id>/stop/move/", by_hand.leg_move, {"leg": Leg.STOP}, name="stop-move"),
    path("brackets/<slug:code>/<slug:bracket_id>/target/move/", by_hand.leg_move, {"leg": Leg.TARGET}, name="target-move"),
    path("brackets/<slug:code>/<slug:bracket_id>/ask/", by_hand.bracket_query, name="bracket-query"),
    path("accounts/<slug:code>/ask/", by_hand.account_query, name="account-query"),
    path("positions/", lists.positions, name="positions"),
    path("trades/", lists.trades, name="trades"),
    path("positions/<slug:code>/<str:symbol>/close/", acts.position_close, name="position-close"),
    path("positions/<slug:code>/<str:symbol>/arm/", by_hand.position_arm, name="position-arm"),
    path("positions/<slug:code>/<str:symbol>/adopt/", by_hand.discrepancy_adopt, name="discrepancy-adopt"),
    path("positions/<slug:code>/<str:symbol>/adopt-and-close/", by_hand.discrepancy_flatten, name="discrepancy-flatten"),
    path("positions/<slug:code>/<str:symbol>/ignore/", by_hand.discrepancy_ignore, name="discrepancy-ignore"),
    path("bots/", bots.bots, name="bots"),
    path("bots/resume/", acts.bots_resume, name="bots-resume"),
    path("bots/<slug:code>/", bots.bot, name="bot"),
    path("bots/<slug:code>/chart.json", bots.chart, name="chart"),
    path("bots/<slug:code>/start/", acts.bot_start, name="bot-start"),
    path("bots/<slug:code>/pause/", acts.bot_pause, name="bot-pause"),
    path("bots/<slug:code>/resume/", acts.bot_resume, name="bot-resume"),
    path("bots/<slug:code>/stop/", acts.bot_stop, name="bot-stop"),
    path("bots/<slug:code>/flatten/", acts.bot_flatten, name="bot-flatten"),
    path("symbols/<slug:code>/<str:symbol>/reset/", acts.breaker_reset, name="breaker-reset"),
    path("kill/", acts.kill, name="kill"),
    path("halt/", acts.halt, name="halt"),
    path("halts/<str:halt_id>/clear/", acts.halt_clear, name="halt-clear"),
    path("acts/<int:pk>/", acts.act_shown, name="act"),
    path("alarms/<int:pk>/ack/", acts.alarm_ack, name="alarm-ack"),
    path("audit/", audit.audit, name="audit"),
    path("audit/verify/", audit.verify, name="audit-verify"),
]

websocket_urlpatterns = [path("live/", LiveConsumer.as_asgi())]
