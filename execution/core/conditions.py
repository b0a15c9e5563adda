"""Conditions: restrictions that last as long as their cause and end by themselves.

Rules of this file.
1. A link that is down, or was not heard of since the start, stops entries. What a fresh start has not heard of yet ends at once;
   a link that was lost ends `condition_clear_ms` after it came back.
2. The order link counts as back only after a reconciliation that began after it came back.
3. Lease and order link stop every order: there is nowhere to send it. Everything else stops entries only.
4. A symbol the venue disagreed about waits as long after both agree. What a decision brings with it, its quote, is judged as it is:
   a price is healthy the moment it is fresh, uncrossed and moving.
"""

from __future__ import annotations

from typing import Final

from execution.core.controls import BotStatus
from execution.core.messages import LinkChanged, LinkKind, QueryVenue
from execution.core.turn import Turn
from risk.core.book import NotReady, NotReadyCause

#: the cause of a link nobody has spoken of since the start
STARTING: Final = "starting"
#: why the prices of a recorded market stop: that is no fault, and nobody is called
TAPE_OVER: Final = "the tape is over"

_CAUSES: Final = {
    LinkKind.LEASE.value: NotReadyCause.LEASE,
    LinkKind.ORDERS.value: NotReadyCause.ORDER_LINK,
    LinkKind.JOURNAL.value: NotReadyCause.JOURNAL,
    LinkKind.PRICES.value: NotReadyCause.PRICE_LINK,
}
_WORDS: Final = {
    LinkKind.LEASE.value: "the lease of the account",
    LinkKind.ORDERS.value: "the order stream",
    LinkKind.JOURNAL.value: "the journal",
    LinkKind.PRICES.value: "the price feed",
}
#: the links without which nothing can be sent
_NOWHERE: Final = (LinkKind.LEASE.value, LinkKind.ORDERS.value)
_RECONCILING: Final = "RECONCILING"
_DISCREPANCY: Final = "discrepancy "
_RUNNING: Final = BotStatus.RUNNING.value.lower()
_READY: Final[tuple[NotReady, ...]] = ()


def not_ready(turn: Turn, *, bot: str, symbol: str) -> tuple[NotReady, ...]:
    """Why an entry of this bot and symbol must wait; empty when nothing is in the way."""
    state, account = turn.state, turn.state.account
    found = [*_links(turn)]
    if not account.is_reconciled:
        found.append(NotReady(NotReadyCause.RECONCILING, "the venue's orders and positions are not compared yet"))
    if _DISCREPANCY + symbol in account.conditions:
        is_over = f"health:{_DISCREPANCY}{symbol}" in state.timers
        word = "agrees with us again too shortly" if is_over else "does not agree with us"
        found.append(NotReady(NotReadyCause.DISCREPANCY, f"the venue {word} about {symbol}"))
    if state.settings is None:
        found.append(NotReady(NotReadyCause.SETTINGS, "no settings are loaded"))
    if (word := _bot_is(turn, bot)) != _RUNNING:
        found.append(NotReady(NotReadyCause.BOT, f"bot {bot} is {word}"))
    if any(order.is_unknown for order in turn.index.orders_of(symbol)):
        found.append(NotReady(NotReadyCause.UNKNOWN_ORDER, f"an order of {symbol} was not answered and is being asked about"))
    return tuple(found) if found else _READY


def _bot_is(turn: Turn, code: str) -> str:
    """What a bot does, in a word. One that was disabled while it ran does nothing any more, whatever its runner knows of it."""
    held, settings = turn.state.bots.get(code), turn.settings
    spec = settings.bots.get(code) if settings is not None else None
    if spec is not None and not spec.is_enabled:
        return "disabled"
    return held.status.value.lower() if held is not None else "stopped"


def not_sendable(turn: Turn) -> tuple[NotReady, ...]:
    """Why even protection cannot leave: there is nowhere to send it. Prices and the journal stop entries only."""
    down = turn.state.account.links_down
    return tuple(_down(kind, down[kind]) for kind in _NOWHERE if kind in down) if down else _READY


def _links(turn: Turn) -> list[NotReady]:
    account = turn.state.account
    if not account.links_down and not account.conditions:
        return []
    found = [_down(kind, cause) for kind, cause in account.links_down.items()]
    for name, since in account.conditions.items():
        if name in _CAUSES and name not in account.links_down:
            cause = NotReadyCause.RECONCILING if name == LinkKind.ORDERS.value else _CAUSES[name]
            found.append(NotReady(cause, f"{_WORDS[name]} was lost at {since:%H:%M:%S} UTC and is back too shortly"))
    return found


def _down(kind: str, cause: str) -> NotReady:
    return NotReady(_CAUSES[kind], f"{_WORDS[kind]} is down: {cause}")


def start(turn: Turn) -> None:
    """A start knows nothing of the links yet; the lease and the journal are what it runs on."""
    account = turn.state.account
    account.links_down = {LinkKind.ORDERS.value: STARTING, LinkKind.PRICES.value: STARTING}
    for name in (LinkKind.LEASE.value, LinkKind.JOURNAL.value):
        account.conditions.pop(name, None)
        turn.clear_alarm(f"link:{name}")
    reconciling(turn)
    turn.touch_account()


def reconciling(turn: Turn) -> None:
    """What we know of the venue is not proven any more."""
    turn.state.account.is_reconciled = False
    turn.state.account.orders_up_at = None
    begin(turn, _RECONCILING)


def is_reconciled(turn: Turn) -> None:
    """The venue was compared."""
    turn.state.account.is_reconciled = True
    finish(turn, _RECONCILING)


def link_changed(turn: Turn, event: LinkChanged) -> None:
    """A link went down or came back."""
    if event.is_up:
        _link_up(turn, event.link)
    else:
        _link_down(turn, event)


def _link_down(turn: Turn, event: LinkChanged) -> None:
    account, kind = turn.state.account, event.link.value
    if account.links_down.get(kind) == event.cause:
        return
    account.links_down[kind] = event.cause
    account.conditions.setdefault(kind, turn.at)
    if event.link is LinkKind.ORDERS:
        reconciling(turn)
    turn.sleep(f"health:{kind}")
    turn.touch_account()
    if event.cause == TAPE_OVER:
        return
    turn.alarm(
        f"link:{kind}",
        priority=2,
        title=f"{_WORDS[kind][:1].upper()}{_WORDS[kind][1:]} is down",
        cause=event.cause or "no cause was given",
        consequence="No entries. Stops that rest at the venue stay.",
        to_do="Nothing if it comes back by itself; otherwise look at the venue's own page.",
    )


def _link_up(turn: Turn, link: LinkKind) -> None:
    account, kind = turn.state.account, link.value
    if kind not in account.links_down:
        return
    del account.links_down[kind]
    turn.clear_alarm(f"link:{kind}")
    if kind in account.conditions:
        turn.wake(f"health:{kind}", ms=turn.timing.condition_clear_ms)
    if link is LinkKind.ORDERS:
        account.orders_up_at = turn.at
        turn.emit(QueryVenue(query_id=f"link:{turn.state.seq + 1}"))
        turn.protect_all()
    turn.touch_account()


def health_due(turn: Turn, kind: str) -> None:
    """What was wrong has been right long enough: its condition ends, for the order link only once the venue agreed."""
    account = turn.state.account
    if kind in account.links_down or kind not in account.conditions:
        return
    if kind == LinkKind.ORDERS.value and not account.is_reconciled:
        turn.wake(f"health:{kind}", ms=turn.timing.condition_clear_ms)
        return
    del account.conditions[kind]
    turn.touch_account()


def begin(turn: Turn, name: str) -> None:
    """A condition begins, or goes on."""
    turn.sleep(f"health:{name}")
    if name not in turn.state.account.conditions:
        turn.state.account.conditions[name] = turn.at
        turn.touch_account()


def finish(turn: Turn, name: str) -> None:
    """A condition's cause is gone."""
    if turn.state.account.conditions.pop(name, None) is not None:
        turn.touch_account()


def agreed(turn: Turn, symbol: str) -> None:
    """The venue agrees about a symbol: if it did not before, it must go on doing so for a while."""
    name = discrepancy(symbol)
    if name in turn.state.account.conditions and f"health:{name}" not in turn.state.timers:
        turn.wake(f"health:{name}", ms=turn.timing.condition_clear_ms)


def disagreed(turn: Turn) -> list[str]:
    """The symbols the venue disagreed about when it was asked last, and those it agrees about too shortly."""
    return [name.removeprefix(_DISCREPANCY) for name in turn.state.account.conditions if name.startswith(_DISCREPANCY)]


def discrepancy(symbol: str) -> str:
    """The name of the condition that stops a symbol the venue disagrees about."""
    return _DISCREPANCY + symbol
