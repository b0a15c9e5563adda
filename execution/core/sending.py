"""How orders leave: an id that replay makes again, the book the gates look at, and the one function that sends.

`cl_ord_id` is account tag, journal epoch, seq and index within the event, in base 36: at most 18 characters, unique without chance.
A restored journal draws a new epoch, so it cannot repeat an id of the one that was lost.
"""

from __future__ import annotations

from collections.abc import Collection
from decimal import Decimal
from functools import cache
from hashlib import blake2b
from typing import Final

import msgspec

from execution.core.messages import DropUnsent, QueryOrder, SendCancel, SendNewOrder, SendReplace
from execution.core.orders import PENDING_CANCEL, OrderState, OrdStatus, Purpose, Replacing, ask, ask_replace
from execution.core.turn import Turn
from execution.core.twap import ParentState
from risk.core.book import AccountBook, Book, NotReady
from risk.core.circuit_breaker import CircuitBreaker
from risk.core.gates import judge
from risk.core.session_pnl import SessionPnl
from risk.core.settings import AccountLimits
from risk.core.units import ZERO, Scope, Side
from risk.core.verdict import Approved, Capability, Check, Denied, OrderClass, Proposal

_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
_NO_PORTFOLIO: Final = AccountBook(currency="", equity=ZERO, day_start_equity=ZERO, peak_equity=ZERO, exposures={})
_NO_LIMITS_SET: Final = AccountLimits()
_NO_SYMBOLS: Final[frozenset[str]] = frozenset()
#: an order that was replaced this often is canceled and sent anew
_REPLACES_MAX: Final = 100
#: the timer that looks for requests nobody answered
ANSWERS: Final = "answers"
#: the timer of the next question about everything
RECONCILE: Final = "reconcile"


class Sent(msgspec.Struct, frozen=True):
    """An order on its way, and every check it passed."""

    order: OrderState
    checks: tuple[Check, ...]


def base36(value: int, width: int) -> str:
    """`value` in `width` digits; more when it does not fit."""
    digits = ""
    while value:
        value, digit = divmod(value, 36)
        digits = _DIGITS[digit] + digits
    return digits.rjust(width, "0")


_PAIRS: Final = tuple(base36(n, 2) for n in range(36))


@cache
def account_tag(account: str) -> str:
    """Two characters that tell the accounts of one venue login apart."""
    return base36(int.from_bytes(blake2b(account.encode(), digest_size=4).digest()) % 1296, 2)


def next_cl_ord_id(turn: Turn) -> str:
    if not turn.sent:
        turn.id_prefix = f"{account_tag(turn.state.account.account)}{turn.state.epoch[:6]}{base36(turn.state.seq + 1, 6)}"
    turn.sent += 1
    return turn.id_prefix + (_PAIRS[turn.sent - 1] if turn.sent <= len(_PAIRS) else base36(turn.sent - 1, 2))


def book_of(
    turn: Turn,
    *,
    bot: str,
    symbol: str,
    not_ready: tuple[NotReady, ...],
    superseded: Collection[OrderState] = (),
    portfolio: AccountBook | None = None,
    side: Side | None = None,
    part_of: str = "",
) -> Book:
    """What the gates may look at. `superseded` are the exits that the proposal takes the place of; only an entry needs a portfolio.

    `side` is that of a whole entry, `part_of` the decision whose slice the proposal is.
    """
    state, index, settings = turn.state, turn.index, turn.state.settings
    held, position = state.symbols.get(symbol), state.positions.get(symbol)
    qty = index.open_lots(symbol)
    exits = index.exits.get(symbol)
    in_flight = sum([o.leaves_qty_max for o in exits.values() if o not in superseded], ZERO) if exits else ZERO
    return Book(
        account=state.account.account,
        environment=settings.environment if settings is not None else "",
        not_ready=not_ready,
        halts=tuple(state.halts.values()),
        instrument=settings.instruments.get(symbol) if settings is not None else None,
        settings=index.effective(bot, symbol),
        limits=settings.limits if settings is not None else _NO_LIMITS_SET,
        capabilities=index.capabilities,
        session=held.session if held is not None else SessionPnl(),
        breaker=held.breaker if held is not None else CircuitBreaker(),
        symbols=index.symbols.get(bot, _NO_SYMBOLS),
        position_qty=qty,
        entries_in_flight=index.entries_in_flight(bot, symbol, part_of=part_of) if portfolio is not None else 0,
        adds=max(position.entries - 1, 0) if position is not None and qty else 0,
        entries_coming=entries_coming(turn, bot, symbol, side) if side is not None else 0,
        entries_against=_entries_against(turn, symbol, side) if side is not None else 0,
        exit_capacity=abs(qty) - in_flight,
        portfolio=portfolio if portfolio is not None else _NO_PORTFOLIO,
        throttles=state.throttles,
        sessions=settings.sessions_of(symbol) if settings is not None else (),
    )


def entries_coming(turn: Turn, bot: str, symbol: str, side: Side) -> int:
    """The entries in flight on a side of which nothing has filled yet. One that goes in slices is one."""
    orders, parents = turn.state.orders, turn.state.parents
    single = [
        order
        for order in turn.index.orders_of(symbol)
        if order.purpose is Purpose.ENTRY and (order.bot, order.side) == (bot, side) and order.decision_id not in parents
    ]
    whole = [p for p in parents.values() if (p.proposal.bot, p.proposal.symbol, p.proposal.side) == (bot, symbol, side)]
    return sum(not order.cum_qty for order in single) + sum(not any(orders[key].cum_qty for key in p.orders) for p in whole)


def _entries_against(turn: Turn, symbol: str, side: Side) -> int:
    """The entries of a symbol in flight on the other side, one that goes in slices and waits for its time among them."""
    single = sum(order.purpose is Purpose.ENTRY and order.side is not side for order in turn.index.orders_of(symbol))
    whole = sum(p.proposal.symbol == symbol and p.proposal.side is not side for p in turn.state.parents.values())
    return single + whole


def portfolio_of(turn: Turn) -> AccountBook:
    """The account as its own gate sees it."""
    account, settings = turn.state.account, turn.state.settings
    return AccountBook(
        currency=settings.currency if settings is not None else "",
        equity=account.equity,
        day_start_equity=account.day_start_equity,
        peak_equity=account.peak_equity,
        exposures=turn.index.exposures(),
    )


def send(turn: Turn, proposal: Proposal, book: Book, *, purpose: Purpose, bracket_id: str = "", why: str = "") -> Sent | Denied:
    """Judge the proposal and, approved, make its order and send it. A denial changes nothing."""
    verdict = judge(proposal, book, at=turn.at)
    if isinstance(verdict, Denied):
        return verdict
    order = _order_of(turn, verdict, purpose=purpose, bracket_id=bracket_id, decision_id=proposal.decision_id, why=why)
    turn.state.orders[order.cl_ord_id] = order
    turn.touch_order(order)
    turn.emit(SendNewOrder(cl_ord_id=order.cl_ord_id, approved=verdict))
    watch_for_answer(turn)
    return Sent(order, verdict.checks)


def _order_of(turn: Turn, approved: Approved, *, purpose: Purpose, bracket_id: str, decision_id: str, why: str) -> OrderState:
    return OrderState(
        cl_ord_id=next_cl_ord_id(turn),
        bot=approved.bot,
        symbol=approved.symbol,
        side=approved.side,
        ord_type=approved.ord_type,
        time_in_force=approved.time_in_force,
        order_class=approved.order_class,
        purpose=purpose,
        order_qty=approved.order_qty,
        price=approved.price,
        stop_px=approved.stop_px,
        reduce_only=approved.reduce_only,
        post_only=approved.post_only,
        bracket_id=bracket_id,
        decision_id=decision_id,
        settings_version=turn.state.account.settings_version,
        created_at=turn.at,
        updated_at=turn.at,
        reserve_px=approved.reserve_px,
        why=why,
    )


def cancel(turn: Turn, order: OrderState, *, by: str) -> bool:
    """Ask the venue to cancel. False when that is already asked, over, or cannot be: an UNKNOWN order is asked about instead."""
    if order.done is not None or order.pending is OrdStatus.PENDING_CANCEL:
        return False
    if order.is_unknown and not order.is_accepted:
        if not order.cancel_asked_by:
            order.cancel_asked_by = by
            turn.touch_order(order)
        return False
    ask(order, OrdStatus.PENDING_CANCEL, at=turn.at, by=by)
    turn.touch_order(order)
    turn.emit(cancel_request(order))
    watch_for_answer(turn)
    return True


def cancel_request(order: OrderState) -> SendCancel:
    return SendCancel(
        cl_ord_id=order.id_at_venue,
        order_id=order.order_id,
        symbol=order.symbol,
        side=order.side,
        order_class=order.order_class,
    )


def replace(
    turn: Turn,
    order: OrderState,
    *,
    qty: Decimal | None = None,
    price: Decimal | None = None,
    stop_px: Decimal | None = None,
    by: str,
) -> bool:
    """Ask the venue to change a working order in place; what is not given stays. True when the request left.

    False, and nothing is changed: without capability REPLACE; for an entry (what adds risk goes through the gates, so it is canceled
    and decided again); for an exit beyond what is open; while another request is unanswered, or waits after a refusal; when it would
    change nothing. `qty` is the whole `order_qty`, what filled included. The order is what it was until the venue says REPLACED.
    """
    if not (turn.has(Capability.REPLACE) and _may_replace(turn, order)):
        return False
    order_qty = order.order_qty if qty is None else qty
    price = order.price if price is None else price
    stop_px = order.stop_px if stop_px is None else stop_px
    is_change = (order_qty, price, stop_px) != (order.order_qty, order.price, order.stop_px)
    if not is_change or order_qty <= order.cum_qty or _is_beyond(turn, order, order_qty):
        return False
    asked = Replacing(cl_ord_id=next_cl_ord_id(turn), order_qty=order_qty, price=price, stop_px=stop_px, since=turn.at)
    ask_replace(order, asked)
    order.text = f"changed by {by}"
    turn.index.replaces[asked.cl_ord_id] = order.cl_ord_id
    turn.touch_order(order)
    turn.emit(replace_request(order, asked))
    watch_for_answer(turn)
    return True


def _may_replace(turn: Turn, order: OrderState) -> bool:
    is_free = order.done is None and order.is_accepted and not order.is_unknown and order.pending is None
    is_ours = order.purpose is not Purpose.ENTRY and has_replaces_left(order)
    return is_free and is_ours and replace_timer(order) not in turn.state.timers


def has_replaces_left(order: OrderState) -> bool:
    """Whether the order may be changed in place once more; one that was changed too often is sent anew."""
    return len(order.replace_ids) < _REPLACES_MAX


def _is_beyond(turn: Turn, order: OrderState, order_qty: Decimal) -> bool:
    """Whether an exit would grow beyond the position. Protection is sized by its bracket."""
    if order.order_class is not OrderClass.EXIT or order_qty <= order.order_qty:
        return False
    others = sum((o.leaves_qty_max for o in turn.exits_of(order.symbol) if o is not order), ZERO)
    return order_qty - order.cum_qty > turn.closable(order.symbol) - others


def replace_request(order: OrderState, asked: Replacing) -> SendReplace:
    return SendReplace(
        cl_ord_id=asked.cl_ord_id,
        orig_cl_ord_id=order.id_at_venue,
        order_id=order.order_id,
        symbol=order.symbol,
        order_qty=asked.order_qty,
        price=asked.price,
        stop_px=asked.stop_px,
    )


def cancel_entries(turn: Turn, scope: Scope, *, by: str, spared: str = "") -> int:
    """Take the entries of a scope away, sent or not, but the `spared` one. Returns how many are on their way out."""
    end_schedules(turn, scope, by=by)
    if not spared:
        turn.emit(DropUnsent(scope=scope))
    entries = [o for o in turn.orders_in(scope) if o.order_class is OrderClass.ENTRY and o.cl_ord_id != spared]
    for order in entries:
        cancel(turn, order, by=by)
    return sum(order.pending is PENDING_CANCEL for order in entries)


def end_schedules(turn: Turn, scope: Scope, *, by: str) -> None:
    """No entry of a scope sends a further slice."""
    for parent in turn.state.parents.values():
        if turn.in_scope(scope, bot=parent.proposal.bot, symbol=parent.proposal.symbol):
            end_schedule(turn, parent, why=f"stopped by {by}")


def end_schedule(turn: Turn, parent: ParentState, *, why: str) -> None:
    """No further slice goes, and nothing is set aside for one."""
    if not parent.ended:
        parent.ended, parent.held = why, ""
        turn.sleep(slice_timer(parent))
        turn.index.position_changed(parent.proposal.symbol)
        turn.is_changed = True


def query(turn: Turn, order: OrderState) -> None:
    """Ask the venue about one order; under both ids while a replace may have been done."""
    turn.emit(QueryOrder(cl_ord_id=order.id_at_venue, symbol=order.symbol))
    if order.replacing is not None:
        turn.emit(QueryOrder(cl_ord_id=order.replacing.cl_ord_id, symbol=order.symbol))


def watch_for_answer(turn: Turn) -> None:
    """One timer for all requests: what was not answered in time is asked about."""
    if ANSWERS not in turn.state.timers:
        turn.wake(ANSWERS, ms=turn.timing.send_timeout_ms)


# --- asking again ------------------------------------------------------------------------------------------------------------

#: the first pause before an unanswered order is asked about; doubled each time
_QUERY_MS: Final = 100
_QUERY_MS_MAX: Final = 30_000


def slice_timer(parent: ParentState) -> str:
    return f"slice:{parent.proposal.decision_id}"


def query_timer(order: OrderState) -> str:
    return f"query:{order.cl_ord_id}"


def cancel_timer(order: OrderState) -> str:
    return f"cancel:{order.cl_ord_id}"


def age_timer(order: OrderState) -> str:
    return f"age:{order.cl_ord_id}"


def replace_timer(order: OrderState) -> str:
    return f"replace:{order.cl_ord_id}"


def backoff_ms(order: OrderState) -> int:
    """100 ms doubled with each try, at most 30 s, spread by a hash of id and try so that a thousand orders do not ask at once."""
    pause = _QUERY_MS << min(order.tries, 16)
    spread = (sum(order.cl_ord_id.encode()) + 17 * order.tries) % 64
    return min(pause + pause * spread // 256, _QUERY_MS_MAX)
