"""Cancels straight at the venue, past Desk and journal: for the kill file, a journal that cannot be written, one that cannot be replayed.

Entries only. What protects a position is never touched here: there is no Desk that could put it back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import structlog

from execution.core.messages import SendCancel
from execution.core.orders import Purpose
from execution.core.ports import Broker
from execution.core.sending import cancel_request
from execution.core.state import DeskState
from execution.engine.database import DatabaseThread
from execution.engine.leases import Held
from execution.models import Account
from execution.store import faults
from risk.core.units import Instrument

log = structlog.get_logger(__name__)

#: cancels on their way at once
WIDTH: Final = 16

OpenBroker = Callable[[Account, Mapping[str, Instrument]], Broker]


def entries_of(state: DeskState) -> list[SendCancel]:
    """The cancel of every working entry that a Desk knows."""
    return [cancel_request(o) for o in state.orders.values() if o.purpose is Purpose.ENTRY and o.is_working]


async def cancel_straight(broker: Broker, requests: Sequence[SendCancel], *, lease: Held, timeout_s: float) -> list[str]:
    """Ask the venue for each cancel while the lease lasts longer than a request may. Returns the orders that got no answer."""
    room = asyncio.Semaphore(WIDTH)

    async def is_answered(request: SendCancel) -> bool:
        async with room:
            return lease.left_s > timeout_s and await _cancel(broker, request, timeout_s)

    answers = await asyncio.gather(*map(is_answered, requests))
    return [request.cl_ord_id for request, answered in zip(requests, answers, strict=True) if not answered]


async def cancel_from_rows(lease: Held, *, database: DatabaseThread, broker_of: OpenBroker, timeout_s: float) -> list[str]:
    """Cancel the entries that the last commit's rows show as working: nothing else is left of an account without a Desk.

    Returns those that got no answer. Raises what the database and the venue raise.
    """
    account, instruments, requests = await database.run(faults.entries_working, lease.account_id)
    log.warning("entries are canceled without a Desk", account=account.code, entries=len(requests))
    if not requests:
        return []
    await asyncio.sleep(lease.quiet_s)
    broker = broker_of(account, instruments)
    await broker.open()
    try:
        return await cancel_straight(broker, requests, lease=lease, timeout_s=timeout_s)
    finally:
        await broker.close()


async def _cancel(broker: Broker, request: SendCancel, timeout_s: float) -> bool:
    try:
        async with asyncio.timeout(timeout_s):
            await broker.cancel(request)
    except Exception as e:  # the port's contract: whatever escapes a request means that it was not answered
        log.warning("an entry could not be canceled past the journal", cl_ord_id=request.cl_ord_id, error=repr(e))
        return False
    return True
