"""A venue for laws: it holds the truth, takes requests in its own time, and says what happened when the test lets it.

Nothing moves by itself. The desk's requests wait in `requests` and the venue's words in `words`; the test says which is next and how it
ends. A request never overtakes an earlier one about the same order, and a fill is believed only when its word arrives.
"""

from __future__ import annotations

from decimal import Decimal
from enum import Enum
from typing import Any

import msgspec

from execution.core.messages import (
    DeskSettings,
    Effect,
    Event,
    ExecType,
    OrderFound,
    QueryOrder,
    QueryVenue,
    Reconciled,
    Reported,
    SendCancel,
    SendFailed,
    SendNewOrder,
    SendOutcome,
    SendReplace,
    VenueFill,
    VenueOrder,
)
from risk.core.units import ZERO, OrdType, Side
from tests.core.builders import Bench

#: timers that a desk at rest still has
IDLE = ("reconcile", "day", "session", "breaker", "ttl", "answers", "health", "limit", "exit")

Request = SendNewOrder | SendCancel | SendReplace | QueryOrder | QueryVenue


class How(Enum):
    """How a request ends."""

    DONE = "done"
    REFUSED = "refused"
    #: done, and its answer is lost
    LOST = "lost"
    #: it never came, and nobody knows
    NEVER_CAME = "never came"
    #: nothing was written, and we know it
    NOT_SENT = "not sent"


class Truth(msgspec.Struct):
    """An order as it is at the venue. `ids` are the names it has had."""

    ids: list[str]
    symbol: str
    side: Side
    ord_type: OrdType
    order_qty: Decimal
    price: Decimal | None
    stop_px: Decimal | None
    reduce_only: bool
    cum_qty: Decimal = ZERO
    end: str = ""
    fills: list[VenueFill] = []

    @property
    def leaves_qty(self) -> Decimal:
        return self.order_qty - self.cum_qty if not self.end else ZERO

    @property
    def is_working(self) -> bool:
        return not self.end and self.leaves_qty > 0

    def shown(self) -> VenueOrder:
        status = self.end or ("FILLED" if not self.leaves_qty else "PARTIALLY_FILLED" if self.cum_qty else "NEW")
        return VenueOrder(
            cl_ord_id=self.ids[-1],
            order_id=f"v{self.ids[0]}",
            symbol=self.symbol,
            side=self.side,
            order_qty=self.order_qty,
            cum_qty=self.cum_qty,
            ord_type=self.ord_type,
            ord_status=status,
            price=self.price,
            stop_px=self.stop_px,
            reduce_only=self.reduce_only,
        )


class VenueBench(Bench):
    """A Desk that talks to this venue."""

    def __init__(self, config: DeskSettings) -> None:
        self.requests: list[Request] = []
        self.words: list[Event] = []
        #: what the desk was told, oldest first
        self.heard: list[Event] = []
        self.truths: list[Truth] = []
        self.position = ZERO
        self._fills = 0
        super().__init__(config)
        self.requests.clear()

    def take(self, event: Event) -> tuple[Effect, ...]:
        effects = super().take(event)
        self.requests += [e for e in effects if isinstance(e, SendNewOrder | SendCancel | SendReplace | QueryOrder | QueryVenue)]
        return effects

    # --- what the venue does ---------------------------------------------------------------------------------------------

    def truth(self, cl_ord_id: str) -> Truth | None:
        return next((t for t in self.truths if cl_ord_id in t.ids), None)

    def ready_requests(self) -> list[Request]:
        """Those that no earlier request about the same order keeps back."""
        found, seen = [], set()
        for request in self.requests:
            key = self._about(request)
            if key not in seen or key is None:
                found.append(request)
            seen.add(key)
        return found

    def ready_words(self) -> list[Event]:
        """Those that no earlier word about the same order keeps back: a stream does not tell of one order out of turn."""
        found, seen = [], set()
        for word in self.words:
            key = self._about(word)
            if key not in seen or key is None:
                found.append(word)
            seen.add(key)
        return found

    def _about(self, said: Request | Event) -> str | None:
        if not isinstance(said, SendNewOrder | SendCancel | SendReplace | Reported | SendFailed):
            return None
        ids = {said.cl_ord_id, getattr(said, "orig_cl_ord_id", "")}
        orders = self.desk.state.orders.values()
        return next((o.cl_ord_id for o in orders if o.cl_ord_id in ids or ids & set(o.replace_ids)), said.cl_ord_id)

    def handle(self, request: Request, how: How = How.DONE) -> None:
        """Let the venue take a request."""
        self.requests.remove(request)
        match request:
            case SendNewOrder():
                self._new(request, how)
            case SendCancel():
                self._cancel(request, how)
            case SendReplace():
                self._replace(request, how)
            case QueryOrder():
                found = self.truth(request.cl_ord_id)
                fills = tuple(found.fills) if found else ()
                shown = msgspec.structs.replace(found.shown(), cl_ord_id=request.cl_ord_id) if found else None
                if found is not None and request.cl_ord_id != found.ids[-1] and request.cl_ord_id != found.ids[0]:
                    shown = found.shown()
                self.words.append(OrderFound(at=self.at, cl_ord_id=request.cl_ord_id, asked_at=self.at, order=shown, fills=fills))
            case QueryVenue():
                self.words.append(self._picture(request))

    def _picture(self, request: QueryVenue) -> Reconciled:
        return Reconciled(
            at=self.at,
            asked_seq=self.desk.seq,
            asked_at=self.at,
            query_id=request.query_id,
            orders=tuple(t.shown() for t in self.truths if t.is_working),
            fills=tuple(fill for t in self.truths for fill in t.fills),
            positions={self.truths[0].symbol: self.position} if self.truths else {},
        )

    def _fail(self, cl_ord_id: str, outcome: SendOutcome, request: str) -> None:
        self.words.append(SendFailed(at=self.at, cl_ord_id=cl_ord_id, outcome=outcome, request=request))

    def _new(self, request: SendNewOrder, how: How) -> None:
        cl_ord_id, approved = request.cl_ord_id, request.approved
        if how is How.NOT_SENT:
            return self._fail(cl_ord_id, SendOutcome.NOT_SENT, "new")
        if how is How.REFUSED:
            return self._say(cl_ord_id, ExecType.REJECTED, text="refused")
        if how is How.NEVER_CAME:
            return self._fail(cl_ord_id, SendOutcome.UNKNOWN, "new")
        self.truths.append(
            Truth(
                ids=[cl_ord_id],
                symbol=approved.symbol,
                side=approved.side,
                ord_type=approved.ord_type,
                order_qty=approved.order_qty,
                price=approved.price,
                stop_px=approved.stop_px,
                reduce_only=approved.reduce_only,
            )
        )
        if how is How.LOST:
            return self._fail(cl_ord_id, SendOutcome.UNKNOWN, "new")
        return self._say(cl_ord_id, ExecType.NEW)

    def _cancel(self, request: SendCancel, how: How) -> None:
        found = self.truth(request.cl_ord_id)
        if how in (How.NEVER_CAME, How.NOT_SENT):
            return self._fail(request.cl_ord_id, SendOutcome.UNKNOWN, "cancel")
        if found is None or not found.is_working or how is How.REFUSED:
            return self._say(request.cl_ord_id, ExecType.CANCEL_REJECTED, text="too late")
        found.end = "CANCELED"
        if how is How.LOST:
            return self._fail(request.cl_ord_id, SendOutcome.UNKNOWN, "cancel")
        return self._say(request.cl_ord_id, ExecType.CANCELED, cum_qty=found.cum_qty)

    def _replace(self, request: SendReplace, how: How) -> None:
        found = self.truth(request.orig_cl_ord_id)
        if how in (How.NEVER_CAME, How.NOT_SENT):
            return self._fail(request.cl_ord_id, SendOutcome.UNKNOWN, "replace")
        if found is None or not found.is_working or request.order_qty <= found.cum_qty or how is How.REFUSED:
            return self._say(request.cl_ord_id, ExecType.REPLACE_REJECTED, text="too late")
        found.ids.append(request.cl_ord_id)
        found.order_qty, found.price, found.stop_px = request.order_qty, request.price, request.stop_px
        if how is How.LOST:
            return self._fail(request.cl_ord_id, SendOutcome.UNKNOWN, "replace")
        terms = {"order_qty": request.order_qty, "price": request.price, "stop_px": request.stop_px}
        return self._say(request.cl_ord_id, ExecType.REPLACED, **terms)

    def _say(self, cl_ord_id: str, exec_type: ExecType, **fields: Any) -> None:
        self.words.append(Reported(at=self.at, cl_ord_id=cl_ord_id, exec_type=exec_type, order_id=f"v{cl_ord_id}", **fields))

    def fill_truth(self, found: Truth, qty: Decimal) -> None:
        """Fill an order; what only reduces fills no more than is open, and ends when nothing is."""
        if found.reduce_only:
            qty = min(qty, max(-found.side.sign * self.position, ZERO))
            if not qty:
                found.end = "CANCELED"
                return self._say(found.ids[-1], ExecType.CANCELED, cum_qty=found.cum_qty, text="reduce-only: no position is left")
        qty = min(qty, found.leaves_qty)
        self._fills += 1
        fill = VenueFill(
            cl_ord_id=found.ids[-1],
            order_id=f"v{found.ids[0]}",
            exec_id=f"x{self._fills}",
            symbol=found.symbol,
            side=found.side,
            last_qty=qty,
            last_px=found.price or found.stop_px or Decimal(100),
            fee=ZERO,
            fee_currency="",
            liquidity="",
            transact_at=self.at,
        )
        found.cum_qty += qty
        found.fills.append(fill)
        self.position += found.side.sign * qty
        terms = {"exec_id": fill.exec_id, "last_qty": qty, "last_px": fill.last_px, "symbol": found.symbol, "side": found.side}
        return self._say(fill.cl_ord_id, ExecType.TRADE, **terms)

    # --- what the desk hears ---------------------------------------------------------------------------------------------

    def deliver(self, word: Event) -> None:
        self.words.remove(word)
        self.heard.append(word)
        self.take(msgspec.structs.replace(word, at=self.at))

    def settle(self) -> None:
        """The venue answers and the desk listens until nothing is asked any more. Orders at market fill, and only they."""
        for _ in range(400):
            while self.requests or self.words:
                for request in self.ready_requests():
                    self.handle(request)
                for word in list(self.words):
                    self.deliver(word)
            market = [t for t in self.truths if t.is_working and t.ord_type is OrdType.MARKET]
            for found in market:
                self.fill_truth(found, found.leaves_qty)
            if market:
                continue
            if not [o for o in self.working() if not o.is_accepted or o.pending or o.is_unknown] and not self._is_waiting():
                return
            self.wait(0.5)
        raise AssertionError(f"the desk never comes to rest: {self.working()}")

    def _is_waiting(self) -> bool:
        """Whether the desk will do something by itself soon."""
        return bool(self.desk.state.exits) or any(name.partition(":")[0] not in IDLE for name in self.desk.state.timers)
