"""A journal read back: entries from the database, decoded, handled again by a fresh Desk, every digest compared."""

from __future__ import annotations

import statistics
import sys
import time
from collections import Counter
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from bench.figure import Figure
from bench.scratch import in_scratch, told
from execution.core.desk import Desk
from execution.core.messages import (
    BotChanged,
    Commanded,
    CommandKind,
    CommandSpec,
    Decided,
    Decision,
    Effect,
    Event,
    ExecType,
    LinkChanged,
    LinkKind,
    Mark,
    Marked,
    QueryVenue,
    Reconciled,
    Reported,
    SendCancel,
    SendNewOrder,
    SettingsChanged,
    SignalKind,
    Started,
    VenueOrder,
    WakeAt,
    Woke,
)
from execution.core.orders import OrderState
from execution.core.state import CORE_VERSION
from risk.core.units import OrdType, Quote, Scope, ScopeKind, use_decimal_context

SYMBOLS: Final = 10
#: each symbol enters so often; what it opened is closed by its stop or target before
CYCLE_S: Final = 40
HELD_S: Final = 25
SECONDS: Final = 4000
ROUNDS: Final = 5
EPOCH: Final = "b000"
PRICE: Final = Decimal(100)
HALF: Final = Decimal("0.1")


def run() -> list[Figure]:
    return in_scratch("bench.replay")


class Day:
    """An account that trades: symbols in turn in and out, marks each second, timers as they are due, the venue asked when the Desk asks.

    The venue is the shortest one that can be: it acknowledges at once, fills entries in one or two parts, and fills a leg when told.
    """

    def __init__(self) -> None:
        from bench.desks import NOON, settings_of
        from execution.store.journal import Entry

        self.settings = settings_of(*(f"S{n:02}USDT" for n in range(SYMBOLS)))
        self.desk = Desk.new("bench")
        self.at: datetime = NOON
        self.entries: list[Entry] = []
        self.timers: dict[str, datetime] = {}
        self.kinds: Counter[str] = Counter()
        self.orders = 0
        self.take(Started(at=self.at, token=1, core_version=CORE_VERSION, epoch=EPOCH))
        self.take(SettingsChanged(at=self.at, settings=self.settings))
        for link in LinkKind:
            self.take(LinkChanged(at=self.at, link=link, is_up=True))
        for bot in self.settings.bots:
            start = CommandSpec(
                command_id=bot, kind=CommandKind.START, scope=Scope(ScopeKind.BOT, bot), by="bench", asked_at=self.at
            )
            self.take(Commanded(at=self.at, command=start))
            self.take(BotChanged(at=self.at, bot=bot, is_warm=True))

    def take(self, event: Event) -> None:
        """Handle an event, journal it as an engine does, and let the venue answer."""
        from execution.store.journal import Entry

        effects = self.desk.handle(event)
        if self.desk.seq > len(self.entries):
            self.entries.append(Entry(self.desk.seq, event.at, event, self.desk.digest(), CORE_VERSION))
            self.kinds[type(event).__name__] += 1
        for effect in effects:
            self._answer(effect)

    def _answer(self, effect: Effect) -> None:
        match effect:
            case SendNewOrder():
                self.orders += 1
                self._say(effect.cl_ord_id, ExecType.NEW)
                if effect.approved.ord_type is OrdType.MARKET:
                    self._fill(effect.cl_ord_id, parts=1 + self.orders // 3 % 2)
            case SendCancel():
                self._say(effect.cl_ord_id, ExecType.CANCELED)
            case QueryVenue():
                self._reconcile(effect.query_id)
            case WakeAt():
                self.timers[effect.timer] = effect.due_at
            case _:
                pass

    def _say(self, cl_ord_id: str, exec_type: ExecType, **told: Any) -> None:
        self.take(
            Reported(at=self.at, cl_ord_id=cl_ord_id, exec_type=exec_type, order_id=f"v{cl_ord_id}", transact_at=self.at, **told)
        )

    def _fill(self, cl_ord_id: str, *, parts: int = 1) -> None:
        order = self.desk.state.orders[cl_ord_id]
        px = order.price or order.stop_px or PRICE
        for n in range(parts):
            fill = {"exec_id": f"x{cl_ord_id}{n}", "last_qty": order.order_qty / parts, "last_px": px, "fee": Decimal("0.05")}
            self._say(cl_ord_id, ExecType.TRADE, fee_currency="USDT", liquidity="TAKER", **fill)

    def _reconcile(self, query_id: str) -> None:
        """The venue's whole answer: what works, and what is open."""
        working = tuple(
            VenueOrder(
                cl_ord_id=o.cl_ord_id,
                order_id=o.order_id,
                symbol=o.symbol,
                side=o.side,
                order_qty=o.order_qty,
                cum_qty=o.cum_qty,
                ord_type=o.ord_type,
                ord_status=o.ord_status.value,
                price=o.price,
                stop_px=o.stop_px,
                reduce_only=o.reduce_only,
            )
            for o in self.working()
        )
        held = {symbol: position.qty for symbol, position in self.desk.state.positions.items() if position.qty}
        self.take(
            Reconciled(
                at=self.at, asked_seq=self.desk.seq, asked_at=self.at, query_id=query_id, orders=working, fills=(), positions=held
            )
        )

    def working(self) -> list[OrderState]:
        return [order for order in self.desk.state.orders.values() if order.done is None]

    def second(self, n: int) -> None:
        """What happens in one second of the day."""
        self.at += timedelta(seconds=1)
        for timer in [timer for timer, due_at in self.timers.items() if due_at <= self.at]:
            del self.timers[timer]
            self.take(Woke(at=self.at, timer=timer))
        for k, symbol in enumerate(self.settings.instruments):
            phase = (n + k * CYCLE_S // SYMBOLS) % CYCLE_S
            if phase == 0:
                self._enter(symbol, n)
            elif phase == HELD_S:
                self._leave(symbol, n)
        self.take(
            Marked(at=self.at, marks=tuple(Mark(symbol, PRICE + HALF * (n % 7), self.at) for symbol in self.settings.instruments))
        )

    def _enter(self, symbol: str, n: int) -> None:
        bot = f"bot-{symbol.lower()}"
        quote = Quote(symbol, PRICE - HALF, PRICE + HALF, PRICE, self.at, self.at, self.at)
        decision = Decision(signal=SignalKind.BUY, stop_loss=Decimal(98), take_profit=Decimal(104))
        self.take(
            Decided(
                at=self.at,
                bot=bot,
                symbol=symbol,
                decision=decision,
                quote=quote,
                decision_id=f"{bot}:{symbol}:{n}:0",
                market_at=self.at,
            )
        )

    def _leave(self, symbol: str, n: int) -> None:
        """Stop and target are hit in turn."""
        legs = [order for order in self.working() if order.symbol == symbol]
        if legs:
            self._fill(legs[n // CYCLE_S % len(legs)].cl_ord_id)


def measure() -> list[Figure]:
    from bench.desks import account_make
    from execution.engine.recovery import rebuild
    from execution.engine.worker import process_prepare
    from execution.store import journal
    from execution.store.projections import Projection

    use_decimal_context()
    account_id = account_make().pk
    day = Day()
    for n in range(SECONDS):
        day.second(n)
    expected = SYMBOLS * 3 * (SECONDS // CYCLE_S)
    if day.orders < expected:
        sys.exit(f"only {day.orders} of {expected} orders were sent: something denies them, and nothing was measured")
    journal.append([journal.Part(account_id, 1, EPOCH, day.entries, Projection(account_id))])
    process_prepare()
    rates = []
    for _ in range(ROUNDS):
        begun = time.thread_time()
        loaded = journal.load(account_id)
        assert loaded is not None
        desk = rebuild("bench", loaded)
        rates.append(len(day.entries) / (time.thread_time() - begun))
        assert desk.digest() == day.desk.digest()
    mix = ", ".join(f"{count:,} {kind}" for kind, count in day.kinds.most_common(4))
    how = (
        f"{len(day.entries):,} events of {SYMBOLS} symbols ({mix}, …) read from SQLite, decoded, handled by a fresh Desk and their digests "
        f"compared, as a restart does; per second of processor time, the median of {ROUNDS} rounds"
    )
    return [Figure("replay_events_per_s", round(statistics.median(rates)), "1/s", ">= 20000", how)]


if __name__ == "__main__":
    told(measure)
