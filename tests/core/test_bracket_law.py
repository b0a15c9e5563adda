"""The law of exits, over every mix of what a venue can do: whatever fills, fails, crosses or is done by hand, in any order.

With the legs of one bracket counted as their largest, no sequence of fills of what is on its way takes a position through zero; and
once the venue has answered everything, a bracket protects exactly what is open of it.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from execution.core import closing
from execution.core.brackets import BracketState, has_stop, has_target, holds
from execution.core.messages import CommandKind, Decision, Leg, SignalKind, Touched, Trailed
from execution.core.turn import Turn
from risk.core.settings import UnsupportedProtection
from risk.core.units import ZERO, OrdType, Side
from risk.core.verdict import Capability, HintKind, SizeHint
from tests.core.builders import BTC, CAPABILITIES, D, decision
from tests.core.builders import settings as config
from tests.core.venue import How, VenueBench

C = Capability
#: what a venue may have or lack, as far as brackets care
CHOICES = (C.REDUCE_ONLY, C.STOP_ORDERS, C.REPLACE)
QUANTITIES = st.sampled_from(["1", "2", "3", "5", "10"])
#: how an entry may want to be protected, beside its stop and its target
SHAPES: list[dict[str, Any]] = [
    {},
    {"take_profit": None},
    {"trail_offset": D(1)},
    {"stop_limit_offset": D("0.5"), "trail_pct": D(3), "time_limit_s": 20},
]
HANDS = (
    CommandKind.CLOSE,
    CommandKind.CANCEL_BRACKET,
    CommandKind.CANCEL_LEG,
    CommandKind.MOVE_LEG,
    CommandKind.ARM,
    CommandKind.CANCEL_ORDER,
    CommandKind.FLATTEN,
    CommandKind.STOP_FLATTEN,
)
PICK = st.integers(0, 7)
HOWS = st.sampled_from([How.DONE, How.DONE, How.DONE, How.REFUSED, How.LOST, How.NEVER_CAME, How.NOT_SENT])


class Exits(RuleBasedStateMachine):
    """One bot on one symbol, at a venue that may do anything a venue does."""

    bench: VenueBench
    side: Side
    shape: dict[str, Any]

    @initialize(has=st.sets(st.sampled_from(CHOICES)), side=st.sampled_from(Side), shape=st.sampled_from(SHAPES))
    def begin(self, has: set[Capability], side: Side, shape: dict[str, Any]) -> None:
        base = tuple(c for c in CAPABILITIES if c not in CHOICES)
        capabilities = (*base, *(c for c in CHOICES if c in has))
        made = config(unsupported_protection=UnsupportedProtection.EMULATE)
        self.bench = VenueBench(msgspec.structs.replace(made, capabilities=capabilities))
        self.side = side
        self.shape = shape

    # --- what is wanted --------------------------------------------------------------------------------------------------

    @rule(qty=QUANTITIES, is_limit=st.booleans())
    def enter(self, qty: str, is_limit: bool) -> None:
        long = self.side is Side.BUY
        prices: dict[str, Any] = {"stop_loss": D(98 if long else 102), "take_profit": D(104 if long else 96)}
        kind: dict[str, Any] = {"ord_type": OrdType.LIMIT, "price": D(100)} if is_limit else {}
        signal = SignalKind.BUY if long else SignalKind.SELL
        if self.bench.qty() * self.side.sign >= 0:
            self.bench.decide(decision(signal, qty, **(prices | self.shape | kind)))

    @rule(qty=QUANTITIES, is_limit=st.booleans(), is_all=st.booleans())
    def close(self, qty: str, is_limit: bool, is_all: bool) -> None:
        kind: dict[str, Any] = {"ord_type": OrdType.LIMIT, "price": D(101)} if is_limit else {}
        hint = SizeHint() if is_all else SizeHint(HintKind.QUANTITY, D(qty))
        self.bench.decide(Decision(signal=SignalKind.CLOSE, hint=hint, **kind))

    @rule(kind=st.sampled_from(HANDS), pick=PICK, leg=st.sampled_from(Leg), by=st.integers(1, 3))
    @precondition(lambda self: self.brackets())
    def do_by_hand(self, kind: CommandKind, pick: int, leg: Leg, by: int) -> None:
        bracket, sign = self.picked(self.brackets(), pick), self.side.sign
        match kind:
            case CommandKind.CLOSE:
                self.bench.command(kind, target=BTC)
            case CommandKind.FLATTEN | CommandKind.STOP_FLATTEN:
                self.bench.command(kind)
            case CommandKind.CANCEL_BRACKET:
                self.bench.command(kind, target=bracket.bracket_id)
            case CommandKind.CANCEL_LEG:
                self.bench.command(kind, target=bracket.bracket_id, leg=leg)
            case CommandKind.MOVE_LEG:
                away = sign * by if leg is Leg.TARGET else -sign * by
                self.bench.command(kind, target=bracket.bracket_id, leg=leg, price=D(100 + away))
            case CommandKind.ARM:
                self.bench.command(kind, target=BTC, stop_px=D(100 - sign * by), target_px=D(100 + sign * by))
            case _:
                working = self.bench.working()
                if working:
                    self.bench.command(CommandKind.CANCEL_ORDER, target=self.picked(working, pick).cl_ord_id)

    # --- what the venue and the market do --------------------------------------------------------------------------------

    @rule(is_heard=st.booleans())
    @precondition(lambda self: self.bench.requests)
    def answer_all(self, is_heard: bool) -> None:
        """The venue does what was asked; what is at market fills."""
        for request in self.bench.ready_requests():
            self.bench.handle(request)
        for truth in [t for t in self.bench.truths if t.is_working and t.ord_type is OrdType.MARKET]:
            self.bench.fill_truth(truth, truth.leaves_qty)
        for word in list(self.bench.words) if is_heard else []:
            self.bench.deliver(word)

    @rule(pick=PICK, how=HOWS)
    @precondition(lambda self: self.bench.requests)
    def answer(self, pick: int, how: How) -> None:
        self.bench.handle(self.picked(self.bench.ready_requests(), pick), how)

    @rule(pick=PICK, qty=QUANTITIES)
    @precondition(lambda self: any(t.is_working for t in self.bench.truths))
    def fill(self, pick: int, qty: str) -> None:
        self.bench.fill_truth(self.picked([t for t in self.bench.truths if t.is_working], pick), D(qty))

    @rule(pick=PICK)
    @precondition(lambda self: self.bench.words)
    def hear(self, pick: int) -> None:
        self.bench.deliver(self.picked(self.bench.ready_words(), pick))

    @rule(pick=PICK)
    @precondition(lambda self: self.bench.words)
    def hear_out_of_turn(self, pick: int) -> None:
        """Two streams of one venue need not agree about what came first."""
        self.bench.deliver(self.picked(self.bench.words, pick))

    @rule(pick=PICK)
    @precondition(lambda self: self.bench.heard)
    def hear_again(self, pick: int) -> None:
        self.bench.take(msgspec.structs.replace(self.picked(self.bench.heard, pick), at=self.bench.at))

    @rule(pick=PICK)
    @precondition(lambda self: self.bench.desk.state.watches)
    def touch(self, pick: int) -> None:
        watch = self.picked(list(self.bench.desk.state.watches.values()), pick)
        self.bench.take(Touched(at=self.bench.at, watch_id=watch.watch_id, price=watch.price))

    @rule(pick=PICK, by=st.integers(1, 9))
    @precondition(lambda self: any(w.trail for w in self.bench.desk.state.watches.values()))
    def trail(self, pick: int, by: int) -> None:
        watch = self.picked([w for w in self.bench.desk.state.watches.values() if w.trail], pick)
        assert watch.trail is not None
        extreme = (watch.trail.extreme or D(100)) + self.side.sign * D(by) / 10
        self.bench.take(Trailed(at=self.bench.at, watch_id=watch.watch_id, extreme=extreme))

    @rule(seconds=st.sampled_from([0.05, 0.25, 0.6, 1.5, 4.0]))
    def wait(self, seconds: float) -> None:
        self.bench.wait(seconds)

    # --- the laws --------------------------------------------------------------------------------------------------------

    @invariant()
    def it_never_passes_zero(self) -> None:
        """In truth, whatever the venue has not told yet; and in the Desk's eyes.

        Where the venue sees to it, more may be on its way than the Desk knows to be open; then an exit's fill that is told before the
        entry's looks like an overshoot, for as long as that takes.
        """
        bench, has_reduce_only = self.bench, C.REDUCE_ONLY in self.bench.desk._index.capabilities
        assert bench.position * self.side.sign >= 0
        if not has_reduce_only:
            assert closing.room(Turn(bench.desk.state, bench.desk._index, bench.at), BTC) >= 0
            assert "overshoot" not in bench.alarms()

    def teardown(self) -> None:
        if not hasattr(self, "bench"):
            return
        bench = self.bench
        bench.settle()
        assert bench.qty() == bench.position
        assert "overshoot" not in bench.alarms()
        open_qty = sum((b.open_qty for b in self.brackets()), ZERO)
        assert open_qty <= abs(bench.qty())
        for bracket in self.brackets():
            self.is_protected(bracket)
        ours = {leg for b in self.brackets() for leg in (*b.stop_ids, *b.target_ids)}
        stray = [t for t in bench.truths if t.is_working and t.side is not self.side and t.ids[0] not in ours]
        assert [t for t in stray if t.ord_type in (OrdType.STOP, OrdType.STOP_LIMIT)] == []

    def is_protected(self, bracket: BracketState) -> None:
        """Exactly what is open, at the right price, at the venue or by a watch."""
        if bracket.is_naked or Turn(self.bench.desk.state, self.bench.desk._index, self.bench.at).is_closing(BTC):
            return
        rest = holds(self.bench.desk._index.capabilities)
        stop_qty = bracket.open_qty if has_stop(bracket) else ZERO
        target_qty = bracket.open_qty if has_target(bracket) else ZERO
        assert self.rests(bracket.stop_ids) == (stop_qty if rest.stop else ZERO)
        assert self.rests(bracket.target_ids) == (target_qty if rest.target else ZERO)
        assert {t.stop_px for t in self.working(bracket.stop_ids)} <= {bracket.stop_px}
        assert {t.price for t in self.working(bracket.target_ids)} <= {bracket.target_px}
        watches = self.bench.desk.state.watches
        assert (f"stop:{bracket.bracket_id}" in watches) is bool(stop_qty and not rest.stop)
        assert (f"target:{bracket.bracket_id}" in watches) is bool(target_qty and not rest.target)

    def working(self, ids: list[str]) -> list[Any]:
        return [t for t in self.bench.truths if t.ids[0] in ids and t.is_working]

    def rests(self, ids: list[str]) -> Decimal:
        return sum((t.leaves_qty for t in self.working(ids)), ZERO)

    def brackets(self) -> list[BracketState]:
        return [b for b in self.bench.desk.state.brackets.values() if b.status != "CLOSED"] if hasattr(self, "bench") else []

    @staticmethod
    def picked(found: list[Any], pick: int) -> Any:
        return found[pick % len(found)]


Exits.TestCase.settings = settings(
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestExits = Exits.TestCase
