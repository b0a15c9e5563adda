"""Laws of an entry in slices: whatever the venue, the clock, people and restarts do, no slice goes twice, early, late or beyond the whole."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from execution.core.messages import CommandKind, ExecType, SendFailed, SendOutcome, SignalKind, SignalRecord, Twap, Woke
from execution.core.orders import ENTRY, OrderState
from execution.core.twap import slices
from risk.core.units import ZERO, Scope, ScopeKind
from tests.core.builders import BOT, BTC, NOON, Bench, D, decision, quote
from tests.core.test_recovery import restart

INTERVAL_S = 4


class Slicing:
    """A short TWAP with a stop, and everything that may happen to it."""

    def __init__(self, lots: int, n: int) -> None:
        self.bench = Bench()
        self.twap = Twap(D(INTERVAL_S * n), D(INTERVAL_S))
        self.parts = slices(lots * D("0.1"), self.twap, lot=D("0.001"))
        asked = decision(SignalKind.BUY, str(sum(self.parts)), twap=self.twap, stop_loss=D(98))
        self.signal: SignalRecord = self.bench.decide(asked)
        assert self.signal.is_approved, self.signal.text
        self.is_over = False

    @property
    def sent(self) -> list[OrderState]:
        orders = self.bench.desk.state.orders.values()
        return [order for order in orders if order.decision_id == self.signal.decision_id and order.purpose is ENTRY]

    # --- what may happen -----------------------------------------------------------------------------------------------------

    def pass_time(self, seconds: float) -> None:
        self.bench.wait(seconds)

    def be_silent(self, seconds: float) -> None:
        """No timer fires while the process is busy, and then all that are due do, on an old price or none."""
        bench = self.bench
        bench.later(seconds)
        for timer in [name for name in bench.desk.state.timers if name.startswith("slice:")]:
            old = quote(BTC, at=NOON) if seconds > 5 else None
            bench.take(Woke(at=bench.at, timer=timer, quote=old))

    def fill(self, share: str) -> None:
        for order in self.bench.working():
            if order.purpose is ENTRY:
                self.bench.ack(order)
                self.bench.fill(order, str(self.bench.desk.state.orders[order.cl_ord_id].leaves_qty * D(share)))
        self.bench.settle_legs()

    def refuse(self, _: object) -> None:
        for order in self.sent:
            if not order.is_accepted and not order.is_unknown and order.done is None:
                self.bench.report(order, ExecType.REJECTED, text="no")

    def lose(self, _: object) -> None:
        for order in self.sent:
            if not order.is_accepted and order.done is None:
                self.bench.take(SendFailed(at=self.bench.at, cl_ord_id=order.cl_ord_id, outcome=SendOutcome.UNKNOWN))

    def die(self, _: object) -> None:
        restart(self.bench)
        self.bench.ready()

    def pause(self, _: object) -> None:
        self.bench.command(CommandKind.PAUSE, Scope(ScopeKind.BOT, BOT))

    def resume(self, _: object) -> None:
        self.bench.command(CommandKind.START, Scope(ScopeKind.BOT, BOT))

    def close(self, _: object) -> None:
        self.bench.command(CommandKind.CLOSE, Scope(ScopeKind.INSTRUMENT, BTC), target=BTC)

    # --- what holds ----------------------------------------------------------------------------------------------------------

    def holds(self) -> None:
        slots = [int((order.created_at - NOON).total_seconds() // INTERVAL_S) for order in self.sent]
        assert slots == sorted(set(slots)), "one slice in its time, and in order"
        assert [order.order_qty for order in self.sent] == [self.parts[slot] for slot in slots]
        parent = self.bench.desk.state.parents.get(self.signal.decision_id)
        reserved = parent.unsent_qty if parent is not None else ZERO
        assert reserved + sum((order.order_qty for order in self.sent), ZERO) <= sum(self.parts)
        assert parent is None or not reserved or parent.slot > slots[-1]
        if self.is_over:
            assert reserved == 0
        self.is_over = self.is_over or parent is None or bool(parent.ended)
        assert self._stake() == self.bench.desk.stake().gross

    def _stake(self) -> Decimal:
        """Computed anew from the whole state."""
        return type(self.bench.desk)(self.bench.desk.state).stake().gross


SECONDS = st.sampled_from([0.1, 0.9, 2.0, 3.9, 4.0, 9.0])
HAPPENINGS = st.one_of(
    st.tuples(st.just("pass_time"), SECONDS),
    st.tuples(st.just("pass_time"), SECONDS),
    st.tuples(st.just("fill"), st.sampled_from(["1", "1", "0.5"])),
    st.tuples(st.just("fill"), st.just("1")),
    st.tuples(st.just("be_silent"), SECONDS),
    st.tuples(st.sampled_from(["refuse", "lose", "die", "pause", "resume", "close"]), st.none()),
)


@given(lots=st.integers(8, 50), n=st.integers(1, 8), happenings=st.lists(HAPPENINGS, max_size=25))
def test_it_keeps_to_its_schedule_whatever_happens(lots: int, n: int, happenings: list[tuple[str, object]]) -> None:
    slicing = Slicing(lots, n)
    slicing.holds()
    for what, how in happenings:
        sent, was_over = len(slicing.sent), slicing.is_over
        getattr(slicing, what)(how)
        slicing.holds()
        assert not was_over or len(slicing.sent) == sent, "nothing goes after its end"


@given(lots=st.integers(8, 50), n=st.integers(1, 8))
def test_all_of_it_goes_where_nothing_is_in_its_way(lots: int, n: int) -> None:
    slicing = Slicing(lots, n)
    for _ in range(n):
        slicing.fill("1")
        slicing.pass_time(0.5)
        slicing.bench.settle_legs()
        slicing.pass_time(INTERVAL_S - 0.5)
        slicing.holds()
    assert [order.order_qty for order in slicing.sent] == list(slicing.parts)
    assert slicing.bench.qty() == sum(slicing.parts)
    assert slicing.bench.desk.state.parents == {}
