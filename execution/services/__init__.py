"""What may be asked of execution: acts, and the saving of accounts and bots. Each call is one transaction, audited last."""

from __future__ import annotations

from execution.services.accounts import account_delete, account_save, bot_delete, bot_save, settings_numbered
from execution.services.acts import ActRefused, engine_runs
from execution.services.halts import (
    bot_pause,
    bot_resume,
    clear_hold,
    clear_phrase,
    halt,
    halt_clear,
    halt_scope,
    is_latch,
    kill,
    pause,
    resume,
)
from execution.services.operations import (
    alarm_ack,
    bot_start,
    bot_stop,
    bracket_cancel,
    bracket_leg_cancel,
    breaker_reset,
    flatten,
    flatten_stop,
    order_cancel,
    position_close,
    venue_query,
)

__all__ = [
    "ActRefused",
    "account_delete",
    "account_save",
    "alarm_ack",
    "bot_delete",
    "bot_pause",
    "bot_resume",
    "bot_save",
    "bot_start",
    "bot_stop",
    "bracket_cancel",
    "bracket_leg_cancel",
    "breaker_reset",
    "clear_hold",
    "clear_phrase",
    "engine_runs",
    "flatten",
    "flatten_stop",
    "halt",
    "halt_clear",
    "halt_scope",
    "is_latch",
    "kill",
    "order_cancel",
    "pause",
    "position_close",
    "resume",
    "settings_numbered",
    "venue_query",
]
