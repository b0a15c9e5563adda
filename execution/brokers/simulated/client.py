"""The simulated venue as a Broker: requests in, reports out, with the delays and faults it was told to have.

An order is taken in two steps, as at a real venue: its row is committed (which is where a repeated client id is found), then it
meets the market, and what comes of that is committed before it is reported. So a report never tells of something that a crash
could undo, and an order that was taken is found again by whoever opens the venue next.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from execution.brokers.simulated.codec import Faults, adjustment_row, balance_row, behaviour_of, fill_row, order_row, venue_order_of
from execution.brokers.simulated.lag import Lag
from execution.brokers.simulated.matching import Venue
from execution.brokers.simulated.orders import BookOrder, Outcome, accepted_report, chance
from execution.brokers.simulated.store import Batch, Store, Then
from execution.core.messages import Adjusted, Bar, ExecType, Reported, SendCancel, SendReplace, Trade, VenueFill, VenueOrder
from execution.core.ports import Duplicate, LinkDown, NotSent, Refused
from risk.core.units import Instrument, Quote
from risk.core.verdict import Approved, Capability


class SimulatedBroker:
    """One account at the simulated venue. It is shown the market by `on_market`, before anyone decides on it."""

    def __init__(
        self,
        *,
        store: Store,
        options: Mapping[str, object],
        instruments: Mapping[str, Instrument],
        currency: str,
        starting_cash: Decimal,
        clock: Callable[[], datetime],
    ) -> None:
        self._rules, self._faults = behaviour_of(options)
        self.capabilities = self._rules.capabilities
        self._store = store
        self._instruments = instruments
        self._currency = currency
        self._starting_cash = starting_cash
        self._clock = clock
        self._venue: Venue | None = None
        #: orders whose row is being committed
        self._arriving: dict[str, asyncio.Future[bool]] = {}
        #: what happened and is not kept yet
        self._unkept = 0
        self._reports = _Reports(self._faults)
        self._lag = Lag(self._faults.query_lag)
        self.is_eventually_consistent = bool(self._faults.query_lag)

    async def open(self) -> None:
        found = await self._store.open(currency=self._currency, cash=self._starting_cash)
        self._venue = Venue(
            rules=self._rules,
            instruments=self._instruments,
            currency=self._currency,
            holdings=found.holdings,
            orders=found.orders,
            fills=found.fills,
            moved_at=found.moved_at,
            orders_so_far=found.orders_so_far,
            fills_so_far=found.fills_so_far,
        )
        held = {asset: holding.qty for asset, holding in found.holdings.items()}
        self._lag.opened([venue_order_of(order) for order in found.orders], held)

    async def close(self) -> None:
        self._venue = None
        await self._store.close()
        self._reports.end()

    # --- orders ---------------------------------------------------------------------------------------------------------

    async def submit(self, cl_ord_id: str, approved: Approved) -> None:
        """Take a new order. Raises NotSent when the venue is not open, Refused for what it will not take."""
        if (venue := self._venue) is None:
            raise NotSent("the simulated venue is not open")
        luck = chance(self._faults.seed, "answer", cl_ord_id)
        if luck < self._faults.lost_answer / 2:
            raise ConnectionResetError("the connection was lost before the order arrived")
        if cl_ord_id in self._arriving or venue.working(cl_ord_id, approved.symbol):
            raise Duplicate("duplicate client order id")
        if why := venue.refusal(approved):
            raise Refused(why)
        is_lost = luck < self._faults.lost_answer
        order = venue.new_order(cl_ord_id, approved, self._clock())
        taken = self._arriving[cl_ord_id] = asyncio.get_running_loop().create_future()
        self._keep(Batch(new=(order_row(order),)), lambda repeated: self._taken(order, bool(repeated), is_lost))
        if not await asyncio.shield(taken):
            raise Duplicate("duplicate client order id")
        if is_lost:
            raise ConnectionResetError("the connection was lost before the answer came")

    def _taken(self, order: BookOrder, is_repeated: bool, is_lost: bool) -> None:
        """The order's row is committed: acknowledge it and let it meet the market."""
        self._arriving.pop(order.cl_ord_id).set_result(not is_repeated)
        if is_repeated or self._venue is None:
            return
        now = self._clock()
        self._lag.happened(now, [venue_order_of(order)], {}, ())
        if chance(self._faults.seed, "reject", order.cl_ord_id) < self._faults.reject:
            self._commit(self._venue.reject(order, "rejected by the venue's own risk check", now))
            return
        if not is_lost:
            self._reports.put(accepted_report(order, now))
        self._commit(self._venue.accept(order, now))

    async def cancel(self, request: SendCancel) -> None:
        """Cancel a working order. What is over already answers with CANCEL_REJECTED and why."""
        if self._venue is None:
            raise NotSent("the simulated venue is not open")
        if arriving := self._arriving.get(request.cl_ord_id):
            await asyncio.shield(arriving)
        luck = chance(self._faults.seed, "cancel", request.cl_ord_id)
        if luck < self._faults.lost_answer / 2:
            raise ConnectionResetError("the connection was lost before the cancel arrived")
        order = self._venue.working(request.cl_ord_id, request.symbol)
        if order is None:
            await self._too_late(ExecType.CANCEL_REJECTED, request.cl_ord_id, request.cl_ord_id, request.symbol)
        else:
            await self._committed(self._venue.cancel(order, self._clock()))
        if luck < self._faults.lost_answer:
            raise ConnectionResetError("the connection was lost before the answer came")

    async def replace(self, request: SendReplace) -> None:
        """Change a working order in place; reports come under the request's id from then on.

        Raises NotSent when the venue is not open, Refused for terms it will not take. An order that is over answers with
        REPLACE_REJECTED.
        """
        if self._venue is None:
            raise NotSent("the simulated venue is not open")
        if Capability.REPLACE not in self.capabilities:
            raise Refused("this venue does not replace orders")
        if arriving := self._arriving.get(request.orig_cl_ord_id):
            await asyncio.shield(arriving)
        luck = chance(self._faults.seed, "replace", request.cl_ord_id)
        if luck < self._faults.lost_answer / 2:
            raise ConnectionResetError("the connection was lost before the replace arrived")
        order = self._venue.working(request.orig_cl_ord_id, request.symbol)
        if order is None:
            await self._too_late(ExecType.REPLACE_REJECTED, request.cl_ord_id, request.orig_cl_ord_id, request.symbol)
        elif chance(self._faults.seed, "refuse", request.cl_ord_id) < self._faults.replace_reject:
            self._refuse(ExecType.REPLACE_REJECTED, request.cl_ord_id, venue_order_of(order), "the venue refused the change")
        elif why := self._venue.replace_refusal(order, request):
            raise Refused(why)
        else:
            await self._committed(self._venue.replace(order, request, self._clock()))
        if luck < self._faults.lost_answer:
            raise ConnectionResetError("the connection was lost before the answer came")

    async def cancel_all(self, symbol: str) -> None:
        """Cancel every working order of the symbol, of the account when it is empty; those on their way arrive first.

        Raises NotSent when the venue is not open, Refused where it was told to have no mass cancel.
        """
        if self._venue is None:
            raise NotSent("the simulated venue is not open")
        if Capability.MASS_CANCEL not in self.capabilities:
            raise Refused("this venue has no mass cancel")
        await asyncio.gather(*map(asyncio.shield, self._arriving.values()))
        for order in self._venue.working_all(symbol):
            self._commit(self._venue.cancel(order, self._clock()))
        await self._committed(Outcome())

    async def _too_late(self, exec_type: ExecType, cl_ord_id: str, orig_cl_ord_id: str, symbol: str) -> None:
        """Answer a request about an order that is over, or that never was."""
        found = await self._store.order(orig_cl_ord_id)
        if found is None:
            self._reports.put(
                Reported(at=self._clock(), cl_ord_id=cl_ord_id, exec_type=exec_type, symbol=symbol, text="unknown order")
            )
        else:
            self._refuse(exec_type, cl_ord_id, found, f"the order is {found.ord_status}")

    def _refuse(self, exec_type: ExecType, cl_ord_id: str, order: VenueOrder, text: str) -> None:
        """Answer a request with no, under its own id, with the order as it is."""
        self._reports.put(
            Reported(
                at=self._clock(),
                cl_ord_id=cl_ord_id,
                exec_type=exec_type,
                order_id=order.order_id,
                symbol=order.symbol,
                side=order.side,
                cum_qty=order.cum_qty,
                text=text,
                transact_at=self._clock(),
            )
        )

    # --- market ---------------------------------------------------------------------------------------------------------

    def on_market(self, event: Quote | Trade | Bar) -> None:
        if self._venue is not None and (outcome := self._venue.market(event, self._clock())) is not None:
            self._commit(outcome)

    def _commit(self, outcome: Outcome) -> None:
        """Keep what happened; report it once it is kept."""
        if not (outcome.orders or outcome.adjustments):
            return
        assert self._venue is not None
        shown = [venue_order_of(order) for order in outcome.orders.values()]
        held = {asset: self._venue.holdings[asset].qty for asset in outcome.assets}
        self._keep(self._batch(outcome), lambda _: self._kept(outcome, shown, held))

    def _keep(self, batch: Batch, then: Then) -> None:
        """Have the store keep it, and count it until it is kept and `then` was called."""
        self._unkept += 1

        def kept(repeated: frozenset[str]) -> None:
            then(repeated)
            self._unkept -= 1

        self._store.write(batch, kept)

    @property
    def is_idle(self) -> bool:
        return not self._unkept and not self._reports.untaken

    def _kept(self, outcome: Outcome, shown: Sequence[VenueOrder], held: Mapping[str, Decimal]) -> None:
        self._lag.happened(self._clock(), shown, held, outcome.fills)
        self._reports.put(*outcome.adjustments, *outcome.reports)
        for fill in outcome.fills:
            if fill.exec_type is ExecType.TRADE:
                self._doubt(next(order for order in outcome.orders.values() if order.order_id == fill.order_id), fill)

    # --- second thoughts ------------------------------------------------------------------------------------------------

    def _doubt(self, order: BookOrder, fill: VenueFill) -> None:
        """By chance the venue takes a trade back a moment later, or says that it was at another price."""
        faults, luck = self._faults, chance(self._faults.seed, "bust", fill.exec_id)
        if luck < faults.bust:
            asyncio.get_running_loop().call_later(faults.bust_after_s, self._bust, order, fill)
        elif luck < faults.bust + faults.correct:
            asyncio.get_running_loop().call_later(faults.bust_after_s, self._correct, order, fill)

    def _bust(self, order: BookOrder, fill: VenueFill) -> None:
        if self._venue is not None and not self._venue.is_of_old_terms(fill):
            self._commit(self._venue.bust(order, fill, self._clock()))

    def _correct(self, order: BookOrder, fill: VenueFill) -> None:
        """One to five ticks away, up or down."""
        if self._venue is not None and not self._venue.is_of_old_terms(fill):
            ticks = 1 + int(5 * chance(self._faults.seed, "ticks", fill.exec_id))
            away = ticks if chance(self._faults.seed, "up", fill.exec_id) < 0.5 else -ticks
            tick = self._instruments[fill.symbol].tick_size
            price = max(fill.last_px + away * tick, tick)
            self._commit(self._venue.correct(order, fill, price, self._clock()))

    async def _committed(self, outcome: Outcome) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._commit(outcome)
        self._store.write(Batch(), lambda _: None if done.done() else done.set_result(None))
        await done

    def _batch(self, outcome: Outcome) -> Batch:
        assert self._venue is not None
        now, holdings = self._clock(), self._venue.holdings
        return Batch(
            orders=tuple(order_row(order) for order in outcome.orders.values()),
            replaces=tuple((cl_ord_id, order.cl_ord_id) for cl_ord_id, order in outcome.renamed.items()),
            fills=tuple(fill_row(fill, now) for fill in outcome.fills),
            adjustments=tuple(adjustment_row(adjusted) for adjusted in outcome.adjustments),
            balances=tuple(balance_row(asset, holdings[asset]) for asset in sorted(outcome.assets)),
        )

    # --- queries --------------------------------------------------------------------------------------------------------

    def _asked(self) -> Store:
        if self._venue is None:
            raise LinkDown("the simulated venue is not open")
        return self._store

    async def order_by_cl_ord_id(self, cl_ord_id: str, symbol: str) -> VenueOrder | None:
        """The order, or None; always None where the venue cannot be asked by client id."""
        store = self._asked()
        if Capability.QUERY_BY_CLIENT_ID not in self.capabilities:
            return None
        return self._lag.order(self._clock(), cl_ord_id, await store.order(cl_ord_id))

    async def orders_open(self) -> Sequence[VenueOrder]:
        found = await self._asked().orders_open()
        return self._lag.orders_open(self._clock(), found)

    async def fills_since(self, since: datetime) -> Sequence[VenueFill]:
        """Executions booked at or after `since`, by the venue's clock, oldest first; what was taken back follows its fill."""
        found = await self._asked().fills_since(since)
        return self._lag.fills(self._clock(), found)

    async def adjustments_since(self, since: datetime) -> Sequence[Adjusted]:
        """What was booked without a trade at or after `since`, by the venue's clock, oldest first."""
        return await self._asked().adjustments_since(since)

    async def positions(self) -> dict[str, Decimal]:
        return {asset: qty for asset, qty in (await self._held()).items() if asset in self._instruments and qty}

    async def balances(self) -> dict[str, Decimal]:
        return {asset: qty for asset, qty in (await self._held()).items() if asset not in self._instruments}

    async def _held(self) -> dict[str, Decimal]:
        found = await self._asked().balances()
        return self._lag.balances(self._clock(), found)

    def reports(self) -> AsyncIterator[Said]:
        return self._reports.stream()


#: what the stream brings
Said = Reported | Adjusted


class _Reports:
    """The report stream: delayed by the latency, and by chance repeated, or late and so out of order."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._ready: asyncio.Queue[Said | None] = asyncio.Queue()
        #: reports that nobody has taken from the stream yet, those on their way among them
        self.untaken = 0
        #: (due, report) in the order of both: the latency is the same for all
        self._on_the_way: deque[tuple[float, Said]] = deque()

    def put(self, *reports: Said) -> None:
        for report in reports:
            keys = _keys(report)
            copies = 2 if chance(self._faults.seed, "duplicate", *keys) < self._faults.duplicate else 1
            self.untaken += copies
            if self._faults.late and chance(self._faults.seed, "late", *keys) < self._faults.late:
                extra_s = self._faults.late_s * chance(self._faults.seed, "how late", *keys)
                asyncio.get_running_loop().call_later(self._faults.latency_s + extra_s, self._arrive, report, copies)
            else:
                self._send(report, copies)

    def _send(self, report: Said, copies: int) -> None:
        if not self._faults.latency_s:
            self._arrive(report, copies)
            return
        loop = asyncio.get_running_loop()
        self._on_the_way.extend([(loop.time() + self._faults.latency_s, report)] * copies)
        if len(self._on_the_way) == copies:
            loop.call_later(self._faults.latency_s, self._arrive_due)

    def _arrive(self, report: Said, copies: int) -> None:
        for _ in range(copies):
            self._ready.put_nowait(report)

    def _arrive_due(self) -> None:
        loop = asyncio.get_running_loop()
        while self._on_the_way and self._on_the_way[0][0] <= loop.time():
            self._ready.put_nowait(self._on_the_way.popleft()[1])
        if self._on_the_way:
            loop.call_at(self._on_the_way[0][0], self._arrive_due)

    def end(self) -> None:
        self._ready.put_nowait(None)

    async def stream(self) -> AsyncIterator[Said]:
        while (report := await self._ready.get()) is not None:
            try:
                yield report
            finally:
                self.untaken -= 1


def _keys(said: Said) -> tuple[str, ...]:
    """What the chance of a report belongs to."""
    return (said.cl_ord_id, said.exec_type, said.exec_id) if isinstance(said, Reported) else (said.adjustment_id,)
