"""Venues: one folder each, opened by the name in Account.broker. What a venue can do is in `core.ports`, without opening it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal

from execution.brokers.simulated import DatabaseStore, SimulatedBroker
from execution.core.ports import Broker
from risk.core.units import Instrument

__all__ = ["open_broker"]


def open_broker(
    name: str,
    *,
    account: str,
    options: Mapping[str, object],
    instruments: Mapping[str, Instrument],
    currency: str,
    starting_cash: Decimal,
    clock: Callable[[], datetime],
) -> Broker:
    """The broker of this account, not yet opened: `await broker.open()` connects it.

    Raises ValueError with one sentence for a name or an option that does not exist.
    """
    if name != "simulated":
        raise ValueError(f"There is no broker “{name}”; there is simulated.")
    return SimulatedBroker(
        store=DatabaseStore(account),
        options=options,
        instruments=instruments,
        currency=currency,
        starting_cash=starting_cash,
        clock=clock,
    )
