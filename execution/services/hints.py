"""Hints to the engines: "look now". The database is the truth; a lost hint costs one poll of the engine, never an act."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Final

from asgiref.sync import async_to_sync
from channels.exceptions import ChannelFull
from channels.layers import get_channel_layer
from django.db import transaction
from redis.exceptions import RedisError

from execution.models import Account

#: every engine listens here, and on account_group() of each account it owns
ENGINES: Final = "engines"
_WAIT_S: Final = 0.2
_log = logging.getLogger(__name__)


class HintCount:
    """How many hints left and how many were lost since this process began."""

    sent = 0
    lost = 0


def account_group(account_id: int) -> str:
    return f"account.{account_id}"


def hint_accounts_on_commit(accounts: Iterable[Account]) -> None:
    """Tell the engines of these accounts to look, once the surrounding transaction has committed."""
    groups = [account_group(account.pk) for account in accounts]
    if groups:
        transaction.on_commit(partial(_send, groups), robust=True)


def hint_engines_on_commit() -> None:
    """Tell every engine to look, once the surrounding transaction has committed."""
    transaction.on_commit(partial(_send, [ENGINES]), robust=True)


def _send(groups: Sequence[str]) -> None:
    try:
        async_to_sync(_group_send)(groups)
    except (RedisError, TimeoutError, ChannelFull, OSError) as e:
        HintCount.lost += len(groups)
        _log.warning("hint lost, the engines poll: %s", e or type(e).__name__)
    else:
        HintCount.sent += len(groups)


async def _group_send(groups: Sequence[str]) -> None:
    layer = get_channel_layer()
    if layer is None:
        return
    async with asyncio.timeout(_WAIT_S):
        for group in groups:
            await layer.group_send(group, {"type": "hint"})
