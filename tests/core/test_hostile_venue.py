"""A venue that says anything, in any order, twice, whatever it can do: what was booked adds up, and what is open is protected or told."""

# mypy: disable-error-code="comparison-overlap"
from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from execution.core import closing, pnl
from execution.core.brackets import BracketState, BracketStatus, has_stop
from execution.core.desk import Desk
from execution.core.messages import (
    CommandKind,
    ExecType,
    Leg,
    OrderFound,
    PriceAged,
    Reported,
    SendFailed,
    SendNewOrder,
    SendOutcome,
    SendReplace,
    SignalKind,
    Touched,
    Trailed,
    VenueFill,
)
from execution.core.orders import OrderState
from execution.core.state import DeskState
from execution.core.turn import Turn
from risk.core.book import EXTERNAL
from risk.core.settings import NakedPolicy, UnsupportedProtection
from risk.core.units import ZERO, OrdType, Side
from risk.core.verdict import Capability
from tests.core.builders import BTC, CAPABILITIES, INSTRUMENTS, Bench, D, decision
from tests.core.builders import settings as config

C, X = Capability, ExecType
QTY = st.sampled_from(["1", "3", "4", "10"])
PICK = st.integers(0, 30)
WORDS = [x for x in X if x not in {X.TRADE_CANCEL, X.TRADE_CORRECT, X.NOT_SENT, X.SEND_REFUSED, X.SEND_UNKNOWN, X.NEVER_ARRIVED}]
#: what a venue may have or lack, as far as orders and brackets care
CHOICES = (C.REDUCE_ONLY, C.STOP_ORDERS, C.REPLACE, C.QUERY_BY_CLIENT_ID)
#: how an entry may want to be protected, beside its stop and its target
SHAPES: list[dict[str, Any]] = [
    {},
    {},
    {"take_profit": None},
    {"trail_offset": D(1)},
    {"trail_pct": D(2), "trail_activation": D(101)},
    {"stop_limit_offset": D("0.5"), "time_limit_s": 3},
    {"ord_type": OrdType.LIMIT, "price": D(100)},
]
HANDS = (
    CommandKind.CANCEL_ORDER,
    CommandKind.CANCEL_BRACKET,
    CommandKind.CANCEL_LEG,
    CommandKind.MOVE_LEG,
    CommandKind.ARM,
    CommandKind.CLOSE,
    CommandKind.FLATTEN,
    CommandKind.STOP_FLATTEN,
    CommandKind.KILL,
    CommandKind.QUERY,
)


class HostileVenue(RuleBasedStateMachine):
    """Any word about any order, twice, late, or about orders that never were. What was booked must add up all the same."""

    bench: Bench

    def __init__(self) -> None:
        super().__init__()
        #: what truly filled, as the venue has it now
        self.fills: dict[tuple[str, str], tuple[Side, Decimal, Decimal, Decimal]] = {}
        self.cum_qtys: dict[str, Decimal] = {}
        self.reports: list[Any] = []
        self.n = 0

    @initialize(has=st.sets(st.sampled_from(CHOICES)), policy=st.sampled_from(NakedPolicy))
    def begin(self, has: set[Capability], policy: NakedPolicy) -> None:
        made = config(unsupported_protection=UnsupportedProtection.EMULATE, naked_policy=policy)
        capabilities = (*(c for c in CAPABILITIES if c not in CHOICES), *(c for c in CHOICES if c in has))
        self.bench = Bench(msgspec.structs.replace(made, capabilities=capabilities))
        self.bench.buy("10")

    @property
    def state(self) -> DeskState:
        return self.bench.desk.state

    @property
    def orders(self) -> list[OrderState]:
        return list(self.state.orders.values()) if hasattr(self, "bench") else []

    @property
    def brackets(self) -> list[BracketState]:
        return list(self.state.brackets.values()) if hasattr(self, "bench") else []

    @rule(
        signal=st.sampled_from([SignalKind.BUY, SignalKind.SELL, SignalKind.CLOSE]),
        qty=QTY,
        shape=st.sampled_from(SHAPES),
    )
    def decide(self, signal: SignalKind, qty: str, shape: dict[str, Any]) -> None:
        stops = {SignalKind.BUY: ("98", "104"), SignalKind.SELL: ("102", "96")}.get(signal)
        given = {"stop_loss": D(stops[0]), "take_profit": D(stops[1])} | shape if stops else {}
        if signal is SignalKind.SELL and "trail_activation" in shape:
            given["trail_activation"] = D(99)
        digest = self.bench.desk.digest()
        signal_record = self.bench.decide(decision(signal, qty, **given))
        assert signal_record.is_approved == (self.bench.desk.digest() != digest)

    @rule(
        pick=st.integers(0, 30),
        word=st.sampled_from(WORDS),
        qty=QTY,
        px=st.sampled_from(["97", "100", "103"]),
        leaves=st.sampled_from([None, ZERO, D(2)]),
    )
    def say(self, pick: int, word: ExecType, qty: str, px: str, leaves: Decimal | None) -> None:
        order = self.orders[pick % len(self.orders)]
        self.n += 1
        is_fill = word is X.TRADE
        report = Reported(
            at=self.bench.at,
            cl_ord_id=order.cl_ord_id,
            exec_type=word,
            order_id="v",
            exec_id=f"e{self.n}" if is_fill else "",
            last_qty=D(qty) if is_fill else ZERO,
            last_px=D(px) if is_fill else ZERO,
            fee=D("0.1") if is_fill else ZERO,
            fee_currency="USDT",
            leaves_qty=leaves,
        )
        if is_fill:
            self.fills[order.cl_ord_id, report.exec_id] = (order.side, D(qty), D(px), D("0.1"))
        self.reports.append(report)
        self.bench.take(report)

    @precondition(lambda self: bool(self.fills))
    @rule(pick=st.integers(0, 100), leaves=st.sampled_from([None, ZERO, D(1)]), qty=st.none() | QTY)
    def take_back(self, pick: int, leaves: Decimal | None, qty: str | None) -> None:
        """Bust a fill, or correct it to another quantity."""
        (cl_ord_id, exec_id), (side, _, px, fee) = list(self.fills.items())[pick % len(self.fills)]
        self.n += 1
        word = X.TRADE_CANCEL if qty is None else X.TRADE_CORRECT
        fields = {"exec_id": f"b{self.n}", "exec_ref_id": exec_id, "leaves_qty": leaves}
        self.bench.report(cl_ord_id, word, qty or "0", str(px), **fields)
        self.reports.append(self.bench.journal[-1])
        del self.fills[cl_ord_id, exec_id]
        if qty is not None:
            self.fills[cl_ord_id, f"b{self.n}"] = (side, D(qty), px, fee)
        self.cum_qtys.clear()

    @rule(pick=st.integers(0, 30), qty=QTY)
    def take_back_what_never_came(self, pick: int, qty: str) -> None:
        """The bust overtakes its fill."""
        order = self.orders[pick % len(self.orders)]
        self.n += 1
        self.bench.report(order, X.TRADE_CANCEL, exec_id=f"b{self.n}", exec_ref_id=f"e{self.n}")
        self.bench.report(order, X.TRADE, qty, exec_id=f"e{self.n}")

    @rule(pick=st.integers(0, 30), qty=QTY, px=st.none() | st.sampled_from(["97", "103"]))
    def replace(self, pick: int, qty: str, px: str | None) -> None:
        order = self.orders[pick % len(self.orders)]
        self.bench.replace(order, qty=qty, **({"price": px} if px and order.price is not None else {}))

    @rule(pick=st.integers(0, 30), word=st.sampled_from([X.REPLACED, X.REPLACE_REJECTED, X.PENDING_REPLACE]), qty=st.none() | QTY)
    def answer_replace(self, pick: int, word: ExecType, qty: str | None) -> None:
        """About any replace ever asked, with the terms or without."""
        ids = [replace_id for order in self.orders for replace_id in order.replace_ids]
        if ids:
            self.bench.report(ids[pick % len(ids)], word, order_qty=D(qty) if qty is not None else None)

    @precondition(lambda self: bool(self.reports))
    @rule(pick=st.integers(0, 100))
    def repeat(self, pick: int) -> None:
        self.bench.take(msgspec.structs.replace(self.reports[pick % len(self.reports)], at=self.bench.at))

    @rule(pick=st.integers(0, 30), outcome=st.sampled_from(SendOutcome), request=st.sampled_from(["new", "cancel", "replace"]))
    def fail(self, pick: int, outcome: SendOutcome, request: str) -> None:
        order = self.orders[pick % len(self.orders)]
        cl_ord_id = order.replace_ids[-1] if request == "replace" and order.replace_ids else order.cl_ord_id
        self.bench.take(SendFailed(at=self.bench.at, cl_ord_id=cl_ord_id, outcome=outcome, request=request))

    @rule(
        pick=PICK,
        status=st.sampled_from(["", "NEW", "PARTIALLY_FILLED", "FILLED", "CANCELED", "REJECTED", "EXPIRED", "PENDING_CANCEL"]),
        cum_qty=st.none() | QTY,
        has_filled=st.booleans(),
    )
    def find(self, pick: int, status: str, cum_qty: str | None, has_filled: bool) -> None:
        """What a question finds: nothing, the order as it is, or as it never was; with a fill that nobody told of."""
        order = self.orders[pick % len(self.orders)]
        changes: dict[str, Any] = {"cum_qty": D(cum_qty)} if cum_qty is not None else {}
        shown = Bench.shown(order, ord_status=status, **changes) if status else None
        fills = (self.untold(order),) if has_filled else ()
        self.bench.take(OrderFound(at=self.bench.at, cl_ord_id=order.cl_ord_id, asked_at=self.bench.at, order=shown, fills=fills))

    def untold(self, order: OrderState) -> VenueFill:
        self.n += 1
        fill = VenueFill(
            cl_ord_id=order.cl_ord_id,
            order_id="v",
            exec_id=f"e{self.n}",
            symbol=BTC,
            side=order.side,
            last_qty=D(3),
            last_px=D(100),
            fee=D("0.1"),
            fee_currency="USDT",
            liquidity="",
            transact_at=self.bench.at,
        )
        self.fills[order.cl_ord_id, fill.exec_id] = (fill.side, fill.last_qty, fill.last_px, fill.fee)
        return fill

    @rule(pick=PICK, kind=st.sampled_from(HANDS), leg=st.sampled_from(Leg), by=st.sampled_from([1, 2, 4]))
    def do_by_hand(self, pick: int, kind: CommandKind, leg: Leg, by: int) -> None:
        order = self.orders[pick % len(self.orders)]
        sign = 1 if self.bench.qty() >= 0 else -1
        terms: dict[str, Any] = {"target": order.cl_ord_id}
        match kind:
            case CommandKind.CLOSE:
                terms = {"target": BTC}
            case CommandKind.FLATTEN | CommandKind.STOP_FLATTEN:
                terms = {}
            case CommandKind.KILL:
                terms = {"halt_id": f"h{self.n}"}
            case CommandKind.CANCEL_LEG:
                terms = {"target": order.bracket_id, "leg": leg}
            case CommandKind.MOVE_LEG:
                away = sign * by if leg is Leg.TARGET else -sign * by
                terms = {"target": order.bracket_id, "leg": leg, "price": D(100 + away)}
            case CommandKind.ARM:
                terms = {"target": BTC, "stop_px": D(100 - sign * by), "target_px": D(100 + sign * by)}
        self.bench.command(kind, **terms)

    @rule(positions=st.none() | QTY)
    def tell(self, positions: str | None) -> None:
        """The whole picture, true or not."""
        self.bench.reconcile(positions=None if positions is None else {BTC: positions})

    @precondition(lambda self: bool(self.brackets))
    @rule(pick=PICK, name=st.sampled_from(["stop", "target", "trail", "through"]), px=st.sampled_from(["97", "101.5", "103"]))
    def touch(self, pick: int, name: str, px: str) -> None:
        """A watch fires, or one that is long gone."""
        bracket = self.brackets[pick % len(self.brackets)]
        self.bench.take(Touched(at=self.bench.at, watch_id=f"{name}:{bracket.bracket_id}", price=D(px)))

    @precondition(lambda self: bool(self.brackets))
    @rule(pick=PICK, px=st.sampled_from(["97", "99", "101.5", "103"]))
    def trail(self, pick: int, px: str) -> None:
        bracket = self.brackets[pick % len(self.brackets)]
        self.bench.take(Trailed(at=self.bench.at, watch_id=f"trail:{bracket.bracket_id}", extreme=D(px)))

    @rule(is_stale=st.booleans())
    def age(self, is_stale: bool) -> None:
        self.bench.take(PriceAged(at=self.bench.at, symbol=BTC, is_stale=is_stale))

    @rule(seconds=st.sampled_from([0.1, 0.3, 1.5, 12.0]))
    def wait(self, seconds: float) -> None:
        self.bench.wait(seconds)

    @rule()
    def restart(self) -> None:
        """The state that a snapshot restores goes on as if nothing had been."""
        restored = msgspec.msgpack.decode(msgspec.msgpack.encode(self.state), type=DeskState)
        assert restored == self.state
        self.bench.desk = Desk(restored)

    @invariant()
    def quantities_balance(self) -> None:
        for order in self.orders:
            booked = [f for (cl_ord_id, _), f in self.fills.items() if cl_ord_id == order.cl_ord_id]
            assert order.cum_qty == sum((qty for _, qty, _, _ in booked), ZERO)
            assert order.leaves_qty == (0 if order.done else order.order_qty - order.cum_qty)
            assert order.done or order.leaves_qty > 0
            assert len(set(order.exec_ids)) == len(order.exec_ids)

    @invariant()
    def only_a_bust_takes_back(self) -> None:
        for order in self.orders:
            assert order.cum_qty >= self.cum_qtys.get(order.cl_ord_id, ZERO)
            self.cum_qtys[order.cl_ord_id] = order.cum_qty

    @invariant()
    def position_is_the_sum_of_fills(self) -> None:
        assert self.bench.qty() == sum((side.sign * qty for side, qty, _, _ in self.fills.values()), ZERO)

    @invariant()
    def money_is_the_sum_of_fills(self) -> None:
        state = self.state
        flow = sum((-side.sign * qty * px for side, qty, px, _ in self.fills.values()), ZERO)
        fees = sum((fee for _, _, _, fee in self.fills.values()), ZERO)
        position = state.positions.get(BTC)
        worth = position.cost if position is not None else ZERO
        unrealised = position.unrealised if position is not None else ZERO
        assert state.account.realised == flow + worth
        assert state.account.equity == D(100_000) + state.account.realised + unrealised - fees
        assert pnl.equity(state.account.cash, state.positions.values(), INSTRUMENTS) == state.account.equity

    @invariant()
    def brackets_protect_no_more_than_is_open(self) -> None:
        for side in Side:
            open_qty = sum((b.open_qty for b in self.state.brackets.values() if b.side is side), ZERO)
            assert open_qty <= max(self.bench.qty() * side.sign, ZERO)

    @invariant()
    def every_open_quantity_is_protected_or_somebody_is_told(self) -> None:
        for bracket in self.brackets:
            if not bracket.open_qty or not has_stop(bracket) or self.is_told(bracket):
                continue
            if bracket.is_stop_emulated:
                assert f"stop:{bracket.bracket_id}" in self.state.watches or self.is_closing(bracket)
            else:
                stops = [self.state.orders[i] for i in bracket.stop_ids if self.state.orders[i].is_resting]
                needed = closing.protectable(self.turn, bracket)
                assert sum((o.leaves_qty for o in stops), ZERO) >= needed
                assert needed == bracket.open_qty or self.is_closing(bracket)

    @property
    def turn(self) -> Turn:
        return Turn(self.state, self.bench.desk._index, self.bench.at)

    def is_told(self, bracket: BracketState) -> bool:
        """It has an alarm, or will have one in a moment; and nobody is shown that it is covered."""
        is_told = bracket.is_naked or f"naked:{bracket.bracket_id}" in self.state.timers
        assert not (is_told and bracket.status is BracketStatus.ARMED)
        return is_told

    def is_closing(self, bracket: BracketState) -> bool:
        return self.turn.is_closing(BTC) or f"leg:stop:{bracket.bracket_id}" in self.state.timers

    @invariant()
    def nothing_is_sent_that_could_open_a_position(self) -> None:
        """Where the venue does not see to that: what goes out leaves no more on its way than is open, whatever came before."""
        position = self.state.positions.get(BTC)
        if position is None or not position.qty or C.REDUCE_ONLY in self.bench.desk._index.capabilities:
            return
        sent = {e.cl_ord_id for e in self.bench.effects if isinstance(e, SendNewOrder)}
        changed = {e.cl_ord_id for e in self.bench.effects if isinstance(e, SendReplace)}
        grown = [
            o
            for o in self.orders
            if o.replacing is not None and o.replacing.cl_ord_id in changed and o.leaves_qty_asked > o.leaves_qty
        ]
        if grown or any(self.state.orders[i].side is position.closing_side for i in sent):
            assert closing.room(self.turn, BTC) >= 0

    @invariant()
    def a_position_turned_by_an_exit_is_nobodys(self) -> None:
        if any(key.startswith("overshoot:") for key in self.state.alarms):
            assert self.state.positions[BTC].bot == EXTERNAL or not self.bench.qty()


HostileVenue.TestCase.settings = settings(
    max_examples=100, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestHostileVenue = HostileVenue.TestCase
