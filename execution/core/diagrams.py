"""The state machines drawn from their tables, for the documents. A test compares what is drawn with what is shown."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from execution.core import orders
from execution.core.brackets import HOLDS, STATUSES
from execution.core.messages import ExecType
from execution.core.orders import OrderState, OrdStatus, Purpose
from execution.core.transitions import TRANSITIONS, Move
from risk.core.units import ONE, ZERO, OrdType, Side, TimeInForce
from risk.core.verdict import OrderClass

_AT = datetime(2026, 1, 1, tzinfo=UTC)
_QTY = Decimal(2)
_HELD = (OrdStatus.STOPPED, OrdStatus.SUSPENDED, OrdStatus.DONE_FOR_DAY, OrdStatus.CALCULATED)
_ASKED = (OrdStatus.PENDING_CANCEL, OrdStatus.PENDING_REPLACE)


def order_diagram() -> str:
    """Every way an order's status can change, as a Mermaid state diagram. What leaves the status as it is, is in the table below it."""
    edges: dict[tuple[str, str], dict[str, None]] = {}
    for (status, exec_type), move in TRANSITIONS.items():
        for after in _outcomes(status, exec_type, move):
            if _drawn(after) != _drawn(status):
                edges.setdefault((_drawn(status), _drawn(after)), {})[exec_type.value] = None
    lines = ["stateDiagram-v2", f"    [*] --> {OrdStatus.PENDING_NEW.value}"]
    lines += [f"    {before} --> {after}: {', '.join(words)}" for (before, after), words in edges.items()]
    return _fenced(lines)


def _drawn(status: OrdStatus) -> str:
    """What the venue holds is drawn as one state."""
    return "HELD" if status in _HELD else status.value


def order_table() -> str:
    """TRANSITIONS as a table: a row per status, a column per word, empty where the word raises an alarm and changes nothing."""
    head = ["status", *(x.value for x in ExecType if any(key[1] is x for key in TRANSITIONS))]
    rows = [head, ["---"] * len(head)]
    for status in OrdStatus:
        moves = [TRANSITIONS.get((status, ExecType(name))) for name in head[1:]]
        rows.append([f"`{status.value}`", *(move.value if move else "" for move in moves)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def bracket_table() -> str:
    """STATUSES as a table: the first row that holds is the bracket's state."""
    rows = ["| # | state | when |", "|---|---|---|"]
    return "\n".join(rows + [f"| {n} | `{row.status.value}` | {row.when} |" for n, row in enumerate(STATUSES, 1)])


def holds_table() -> str:
    """HOLDS as a table: where stop and target are, by what the venue can do."""
    rows = ["| STOP_ORDERS | REDUCE_ONLY | stop | target |", "|---|---|---|---|"]
    for has, rest in HOLDS.items():
        words = ["yes" if one else "no" for one in has] + ["rests at the venue" if one else "watched here" for one in rest]
        rows.append(f"| {' | '.join(words)} |")
    return "\n".join(rows)


def _outcomes(status: OrdStatus, exec_type: ExecType, move: Move) -> list[OrdStatus]:
    """The statuses that a word may lead to: a fill may be a part or the rest, a fallen request may uncover more than one."""
    found = []
    for filled in (ZERO, ONE, _QTY):
        for qty in (ONE, _QTY - filled):
            order = _order_in(status, filled)
            if order is None:
                continue
            _apply(order, exec_type, move, qty)
            if order.ord_status not in found:
                found.append(order.ord_status)
    return found


def _apply(order: OrderState, exec_type: ExecType, move: Move, qty: Decimal) -> None:
    match move:
        case Move.ACCEPT:
            orders.accept(order, at=_AT, order_id="")
        case Move.BOOK:
            orders.book(order, exec_id="x", qty=qty, px=ONE, at=_AT)
        case Move.END:
            orders.end(order, exec_type, at=_AT, text="")
        case Move.ASK:
            orders.ask(order, OrdStatus(exec_type.value), at=_AT)
        case Move.FALL_BACK:
            orders.fall_back(order, exec_type, text="")
        case Move.RESIZE:
            for order_qty in (None, _QTY + ONE):
                orders.resize(order, at=_AT, order_qty=order_qty, price=None, stop_px=None)
        case Move.LOSE:
            orders.lose(order)
        case Move.REVIVE:
            orders.revive(order)
            _apply(order, exec_type, TRANSITIONS[OrdStatus.UNKNOWN, exec_type], qty)
        case Move.ARRIVE:
            orders.arrive(order, order_id="")
        case Move.HOLD:
            if order.done is None:
                orders.accept(order, at=_AT, order_id="")
            orders.hold(order, OrdStatus(exec_type.value), is_over=False, at=_AT)
        case Move.RESTATE:
            orders.reinstate(order)
            orders.accept(order, at=_AT, order_id="")
            orders.restate(order, at=_AT, order_qty=None, price=None, stop_px=None)
        case Move.BUST:
            orders.rebook(order, qty=-min(qty, order.cum_qty), cost=ZERO, works=True, at=_AT)
        case Move.COMPARE | Move.LATE:
            pass


_UNFILLED = (OrdStatus.PENDING_NEW, OrdStatus.NEW, OrdStatus.PARTIALLY_FILLED)


def _order_in(status: OrdStatus, filled: Decimal) -> OrderState | None:
    """An order of two in a status with this much filled; None where that cannot be."""
    is_full = filled == _QTY
    if (status is OrdStatus.FILLED) is not is_full and status not in _ASKED:
        return None
    if (status is OrdStatus.PARTIALLY_FILLED) is not bool(filled) and status in _UNFILLED:
        return None
    order = OrderState(
        cl_ord_id="1",
        bot="",
        symbol="",
        side=Side.BUY,
        ord_type=OrdType.LIMIT,
        time_in_force=TimeInForce.GTC,
        order_class=OrderClass.ENTRY,
        purpose=Purpose.ENTRY,
        order_qty=_QTY,
        created_at=_AT,
        updated_at=_AT,
        cum_qty=filled,
        done=OrdStatus.FILLED if is_full else None,
    )
    order.is_accepted = bool(order.cum_qty) or status not in (OrdStatus.PENDING_NEW, OrdStatus.UNKNOWN, OrdStatus.REJECTED)
    order.is_unknown = status is OrdStatus.UNKNOWN
    if status in _ASKED:
        order.pending = status
    elif status in (OrdStatus.FILLED, OrdStatus.CANCELED, OrdStatus.REJECTED, OrdStatus.EXPIRED):
        order.done = status
    elif status in _HELD:
        order.hold = status
    return order


def _fenced(lines: list[str]) -> str:
    return "\n".join(["```mermaid", *lines, "```"])


#: name of the mark in README.md → what stands between its comments
DRAWN = {"orders": order_diagram, "transitions": order_table, "holds": holds_table, "brackets": bracket_table}


def drawn_into(text: str) -> str:
    """The document with every diagram as it is now."""
    for name, draw in DRAWN.items():
        begin, end = f"<!-- {name}: generated by execution.core.diagrams -->\n", f"\n<!-- /{name} -->"
        start = text.index(begin) + len(begin)
        text = text[:start] + draw() + text[text.index(end, start) :]
    return text
