"""fix_order_states.json: FIX's order state change matrices. Requests go through the desk, reports of the venue come back to it.

Every order of a case is an exit of a position that is large enough, because exits pass the gates and may be replaced. What the venue
sends is fed as our reports, under the ids that our requests really had, and after each row our order shows what the row says: status,
quantities, the fill, and the id it goes by at the venue.

A request covers the status with us at once and with FIX when the venue answers it, so until the venue speaks of a request the status
beneath it is compared. `alternative_path` rows are not played; `skip_rows` are played and not compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

import msgspec
import pytest

from execution.core.closing import exit_proposal
from execution.core.conditions import not_sendable
from execution.core.messages import CommandKind, ExecType, Reported, SendCancel, SignalKind
from execution.core.orders import OrderState, OrdStatus, Purpose
from execution.core.positions import FillState
from execution.core.sending import Sent, book_of, send
from execution.core.turn import Turn
from risk.core.units import ZERO, OrdType, Side
from risk.core.verdict import Capability
from tests.cases.reading import Case, agree, number
from tests.core.builders import BOT, BTC, Bench, decision
from tests.core.builders import settings as config

D = Decimal
Row = Mapping[str, Any]
PRICE: Final = D(100)
#: FIX's words, without spaces and in one case, → ours
STATUSES: Final = {status.value.replace("_", ""): status for status in OrdStatus}
EXEC_TYPES: Final = {word.value.replace("_", ""): word for word in ExecType} | {
    "REPLACE": ExecType.REPLACED,
    "PARTIALFILL": ExecType.TRADE,
    "FILL": ExecType.TRADE,
    "PARTIALLYFILLED": ExecType.TRADE,
    "FILLED": ExecType.TRADE,
    "CANCELLED": ExecType.CANCELED,
    "ORDERSTATUS": ExecType.STATUS,
    "RESTATEMENT": ExecType.RESTATED,
    "TRADECORRECTION": ExecType.TRADE_CORRECT,
    "TRADEBUST": ExecType.TRADE_CANCEL,
}


def check(case: Case) -> None:
    Play(case).all()


class Play:
    """One case, played row by row at a desk whose venue can do everything."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.bench = _bench()
        #: the case's ClOrdIDs → ours, and → the order they are about
        self.ids: dict[str, str] = {}
        self.orders: dict[str, OrderState] = {}
        #: requests the venue has not spoken of yet: ClOrdID → what was asked
        self.unheard: dict[str, ExecType] = {}
        self.cum_qtys: dict[str, Decimal] = {}
        self.n = 0

    def all(self) -> None:
        skipped = self.case.get("skip_rows") or ()
        for n, row in enumerate(self.case["rows"]):
            if row.get("alternative_path"):
                continue
            self.n = n
            if row.get("dir") == "in":
                self.request(row)
            elif row.get("dir") == "out":
                is_scored = not row.get("skip") and n not in skipped and row.get("time") not in skipped
                self.report(row, is_scored=is_scored)
            self.bench.wait(0.01)

    # --- requests ------------------------------------------------------------------------------------------------------

    def request(self, row: Row) -> None:
        match row["msg"]:
            case "NewOrderSingle":
                self.new(row)
            case "OrderCancelRequest":
                self.cancel(row)
            case "OrderCancelReplaceRequest":
                self.replace(row)
            case "OrderStatusRequest":
                if (order := self.orders.get(row["cl_ord_id"])) is not None:
                    self.bench.command(CommandKind.QUERY, target=order.cl_ord_id)
            case _:
                pass  # what people tell each other, DontKnowTrade and the like: nothing that our desk would send

    def new(self, row: Row) -> None:
        """A new order. The same id twice is never sent by us: what the venue says to it is about the first."""
        if row.get("order_qty") is None:
            pytest.xfail("orders for an amount of money are sized before they are sent: we send quantities only")
        cl_ord_id = row["cl_ord_id"]
        if cl_ord_id not in self.orders:
            order = _exit(self.bench, number(row["order_qty"]))
            self.ids[cl_ord_id], self.orders[cl_ord_id] = order.cl_ord_id, order
            self.cum_qtys[order.cl_ord_id] = ZERO

    def cancel(self, row: Row) -> None:
        cl_ord_id, orig = row["cl_ord_id"], row["orig_cl_ord_id"]
        order = self.orders.get(orig)
        if order is None:
            refused = self.bench.command(CommandKind.CANCEL_ORDER, target=orig)
            assert not self.bench.all(SendCancel), f"{refused.text}: an order that we do not know is not canceled"
            return
        self.bench.command(CommandKind.CANCEL_ORDER, target=order.cl_ord_id)
        for sent in self.bench.all(SendCancel):
            assert sent.cl_ord_id == order.id_at_venue
        self.about(cl_ord_id, order, self.ids[orig], ExecType.CANCEL_REJECTED)

    def replace(self, row: Row) -> None:
        """A change. A filled order is not ours to grow, so there the request is somebody else's at the venue."""
        cl_ord_id, order = row["cl_ord_id"], self.orders.get(row["orig_cl_ord_id"])
        if order is None:
            return
        if order.replacing is not None:
            pytest.xfail("two changes of one order on their way at once: we send one, and the next when it is answered")
        self.bench.wait(1)
        qty, price = row.get("order_qty"), order.price or PRICE
        is_price_only = qty is None or number(qty) == order.order_qty
        sent = self.bench.replace(
            order, **({} if qty is None else {"qty": str(qty)}), **({"price": str(price + 1)} if is_price_only else {})
        )
        if sent is not None:
            assert sent.orig_cl_ord_id == order.id_at_venue
        self.about(cl_ord_id, order, sent.cl_ord_id if sent is not None else order.cl_ord_id, ExecType.REPLACE_REJECTED)

    def about(self, cl_ord_id: str, order: OrderState, our_id: str, refusal: ExecType) -> None:
        self.orders[cl_ord_id], self.ids[cl_ord_id] = order, our_id
        self.unheard[cl_ord_id] = refusal

    # --- reports -------------------------------------------------------------------------------------------------------

    def report(self, row: Row, *, is_scored: bool) -> None:
        cl_ord_id = row["cl_ord_id"]
        order = self.orders.get(cl_ord_id) or self.orders.get(row.get("orig_cl_ord_id", ""))
        if order is None:
            self.nobodys(row)
            return
        refusal = self.unheard.pop(cl_ord_id, None)
        self.bench.take(self.reported(row, order, refusal))
        if is_scored:
            self.compare(row, order)

    def nobodys(self, row: Row) -> None:
        """A word about an order that we never sent moves nothing."""
        orders = msgspec.msgpack.encode(self.bench.desk.state.orders)
        word = _exec_type(row) if row["msg"] == "ExecutionReport" else ExecType.CANCEL_REJECTED
        self.bench.take(Reported(at=self.bench.at, cl_ord_id=row["cl_ord_id"], exec_type=word))
        assert msgspec.msgpack.encode(self.bench.desk.state.orders) == orders

    def reported(self, row: Row, order: OrderState, refusal: ExecType | None) -> Reported:
        if row["msg"] == "OrderCancelReject":
            is_replace = self.ids[row["cl_ord_id"]] in order.replace_ids or refusal is ExecType.REPLACE_REJECTED
            word = ExecType.REPLACE_REJECTED if is_replace else ExecType.CANCEL_REJECTED
            return Reported(at=self.bench.at, cl_ord_id=self.ids[row["cl_ord_id"]], exec_type=word, text=row.get("comment", ""))
        word = _exec_type(row)
        last_qty = _number(row, "last_qty")
        is_fill = word in {ExecType.TRADE, ExecType.TRADE_CORRECT}
        exec_id, ref = _exec_ids(row)
        return Reported(
            at=self.bench.at,
            cl_ord_id=self.ids[row["cl_ord_id"]],
            exec_type=word,
            order_id="v1",
            exec_id=(exec_id or f"e{self.n}") if is_fill or ref else "",
            exec_ref_id=ref,
            last_qty=last_qty if is_fill and last_qty is not None else ZERO,
            last_px=_number(row, "last_px") or PRICE,
            cum_qty=_number(row, "cum_qty"),
            leaves_qty=_number(row, "leaves_qty"),
            order_qty=_number(row, "order_qty") if word in {ExecType.REPLACED, ExecType.RESTATED} else None,
        )

    def compare(self, row: Row, order: OrderState) -> None:
        """The order shows what the row says, all of it."""
        before, self.cum_qtys[order.cl_ord_id] = self.cum_qtys[order.cl_ord_id], order.cum_qty
        ours = {
            "ord_status": self.status(order),
            "order_qty": order.order_qty,
            "cum_qty": order.cum_qty,
            "leaves_qty": order.leaves_qty,
            "avg_px": order.avg_px or ZERO,
            "last_qty": self.last_qty(row, order.cum_qty - before),
        }
        expected = {key: row[key] for key in ours if row.get(key) is not None and key != "ord_status"}
        expected["ord_status"] = _status(row)
        agree(self.case, ours, expected, at=f"row {self.n} at {row.get('time')}")
        if row["msg"] == "ExecutionReport" and _exec_type(row) is ExecType.REPLACED:
            assert order.id_at_venue == self.ids[row["cl_ord_id"]]

    def status(self, order: OrderState) -> OrdStatus:
        """Its status as far as the venue has heard of what we asked."""
        unheard = {refusal for cl_ord_id, refusal in self.unheard.items() if self.orders[cl_ord_id] is order}
        status = order.ord_status
        if status is OrdStatus.PENDING_CANCEL and ExecType.CANCEL_REJECTED in unheard:
            status = OrdStatus.PENDING_REPLACE if order.replacing is not None else order.status_beneath
        if status is OrdStatus.PENDING_REPLACE and ExecType.REPLACE_REJECTED in unheard:
            status = order.status_beneath
        return status

    def last_qty(self, row: Row, moved: Decimal) -> Decimal:
        """What was booked for this row: a correction books the fill as it truly was."""
        fills = [fill for fill in self.bench.published("fill") if fill.busted_at is None and fill.at == self.bench.at]
        if not fills:
            assert row["msg"] != "ExecutionReport" or moved <= 0
            return ZERO
        fill: FillState = fills[-1]
        return fill.last_qty


# --- words -------------------------------------------------------------------------------------------------------------------


def _word(text: str) -> str:
    return text.replace(" ", "").replace("_", "").replace("/", "").upper()


def _exec_type(row: Row) -> ExecType:
    word = _word(row["exec_type"])
    if word not in EXEC_TYPES:
        pytest.xfail(f"we have no word for ExecType {row['exec_type']}")
    return EXEC_TYPES[word]


def _status(row: Row) -> OrdStatus:
    word = _word(row["ord_status"]).replace("CANCELLED", "CANCELED")
    if word not in STATUSES:
        pytest.xfail(f"we have no status {row['ord_status']}")
    return STATUSES[word]


def _number(row: Row, key: str) -> Decimal | None:
    return None if row.get(key) is None else number(row[key])


def _exec_ids(row: Row) -> tuple[str, str]:
    """The execution's id and the one it is about: apart, or as "E (C)"."""
    exec_id, ref = str(row.get("exec_id") or ""), str(row.get("exec_ref_id") or "")
    head, _, tail = exec_id.partition("(")
    return head.strip(), ref or tail.rstrip(") ").strip()


# --- the desk ----------------------------------------------------------------------------------------------------------------


def _bench() -> Bench:
    """A venue that can do everything, and a position that any exit of a case fits into."""
    base = config(qty_max=D(10_000_000))
    base = msgspec.structs.replace(
        base, starting_cash=D(10) ** 12, capabilities=(*{*base.capabilities, Capability.REPLACE},), timing=base.timing
    )
    bench = Bench(base)
    signal = bench.decide(decision(SignalKind.BUY, "1000000", stop_loss=D(98)))
    assert signal.is_approved, signal.text
    entry = bench.desk.state.orders[signal.cl_ord_id]
    bench.fill(entry)
    for leg in bench.working():
        bench.ack(leg)
    return bench


def _exit(bench: Bench, qty: Decimal) -> OrderState:
    """An exit that the desk itself sends, as many as a case wants."""
    turn = Turn(bench.desk.state, bench.desk._index, bench.at)
    proposal = exit_proposal(turn, symbol=BTC, bot=BOT, side=Side.SELL, qty=qty, is_automatic=False)
    proposal = msgspec.structs.replace(proposal, ord_type=OrdType.LIMIT, price=PRICE)
    book = book_of(turn, bot=BOT, symbol=BTC, not_ready=not_sendable(turn))
    sent = send(turn, proposal, book, purpose=Purpose.EXIT)
    assert isinstance(sent, Sent), sent.text
    bench.effects = bench.desk._commit(turn, bench.journal[-1])
    return sent.order
