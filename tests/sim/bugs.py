"""Bugs to plant in the product, each with the seed whose history finds it and the promises that it may break first."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import pytest

from execution.core import (
    adjustments,
    busts,
    closing,
    decisions,
    desk,
    fills,
    foreign,
    halts,
    kills,
    naked,
    orders,
    protection,
    recovery,
    reports,
    sending,
)
from execution.core.closing import DESK
from execution.core.desk import Desk
from execution.core.legs import NOTHING
from execution.core.messages import (
    Adjusted,
    ExecType,
    OrderFound,
    Publish,
    QueryOrder,
    Reconciled,
    SendFailed,
    SendOutcome,
    SignalKind,
    Started,
    Touched,
)
from execution.core.orders import OrderState
from execution.core.transitions import Move
from execution.core.turn import Index, Turn
from execution.engine.leases import Held
from execution.engine.loop import DeskLoop
from execution.engine.outbox import Outbox
from execution.simulator.promises import (
    AGREED,
    ALIVE,
    ANSWERED,
    FAIL_CLOSED,
    FENCED,
    GIVEN_UP,
    HALTED,
    JOURNAL_FIRST,
    KILLED,
    LIMITS,
    NOT_BLOCKED,
    NOT_THROUGH_ZERO,
    NOTHING_LOST,
    ONCE,
    PROTECTED,
    REPLAYED,
    SURVIVES,
)
from execution.simulator.rows import Rows
from risk.core import gates
from risk.core.units import ZERO

Patch = pytest.MonkeyPatch


class Planted(NamedTuple):
    """A bug: what it does to the product, the promises it may break first, and the seed whose history is tried first."""

    name: str
    plant: Callable[[Patch], None]
    breaks: tuple[str, ...]
    seed: int = 1


# --- fills -----------------------------------------------------------------------------------------------------------------


def repeated_fills_are_booked(patch: Patch) -> None:
    real = fills.fill_told

    def told(turn: Turn, order: OrderState, report: Any) -> Any:
        fill = real(turn, order, report)
        if fill is None or fill.exec_id not in order.exec_ids:
            return fill
        return msgspec.structs.replace(fill, exec_id=f"{fill.exec_id}+{len(order.exec_ids)}")

    patch.setattr(reports, "fill_told", told)


def fills_of_the_picture_are_lost(patch: Patch) -> None:
    patch.setattr(recovery, "_book_missing", lambda turn, found: None)


def the_end_of_an_order_hides_its_fills(patch: Patch) -> None:
    """A bug the simulator found: an exit for what a canceled stop had filled already."""
    real = reports._end
    patch.setattr(
        reports,
        "_MOVES",
        {**reports._MOVES, Move.END: lambda t, o, r: real(t, o, msgspec.structs.replace(r, cum_qty=None))},
    )


def fees_are_forgotten(patch: Patch) -> None:
    patch.setattr(fills, "charge", lambda *_, **__: ZERO)


# --- orders ------------------------------------------------------------------------------------------------------------------


def a_larger_fill_is_not_taken_for_its_replace(patch: Patch) -> None:
    """A bug the simulator found: the rest of a leg whose REPLACED was lost was ordered a second time."""
    patch.setattr(orders, "shows_replace", lambda order, qty: False)


def a_lost_answer_counts_as_a_rejection(patch: Patch) -> None:
    real = reports.send_failed

    def failed(turn: Turn, event: SendFailed) -> None:
        is_lost = event.outcome is SendOutcome.UNKNOWN and event.request == "new"
        real(turn, msgspec.structs.replace(event, outcome=SendOutcome.REFUSED) if is_lost else event)

    handle(patch, SendFailed, failed)


def an_absent_order_is_given_up_at_once(patch: Patch) -> None:
    def absent(turn: Turn, order: OrderState, event: OrderFound) -> None:
        order.is_unknown = True
        reports.conclude(turn, order, ExecType.NEVER_ARRIVED, "not there")

    patch.setattr(recovery, "_absent", absent)


def nobody_asks_about_an_order(patch: Patch) -> None:
    """Where an answer is missing. The whole picture is asked for all the same: at a start, at each link, and from time to time."""
    real = Turn.emit

    def emit(self: Turn, effect: Any) -> None:
        if not isinstance(effect, QueryOrder):
            real(self, effect)

    patch.setattr(Turn, "emit", emit)


def timers_are_forgotten_at_a_restart(patch: Patch) -> None:
    def started(turn: Turn, event: Started) -> None:
        turn.state.timers.clear()
        recovery.started(turn, event)

    handle(patch, Started, started)


def an_order_is_sent_again_after_a_restart(patch: Patch) -> None:
    real = Outbox.put

    def put(self: Outbox, effect: Any, *, born: float) -> None:
        real(self, effect, born=born)
        if type(effect).__name__ == "SendNewOrder" and effect.approved.order_class == "ENTRY" and effect.cl_ord_id.endswith("00"):
            self._put_twice = getattr(self, "_put_twice", 0) + 1  # type: ignore[attr-defined]
            if not self._put_twice % 7:  # type: ignore[attr-defined]
                asyncio.get_running_loop().call_later(0.05, lambda: real(self, effect, born=born))

    patch.setattr(Outbox, "put", put)


def a_decision_counts_again_after_a_restart(patch: Patch) -> None:
    """One market event enters twice."""
    patch.setattr(decisions, "_is_old", lambda turn, event: False)
    real = DeskLoop.take

    def take(self: DeskLoop, event: Any) -> None:
        real(self, event)
        if type(event).__name__ == "Decided":
            real(self, event)

    patch.setattr(DeskLoop, "take", take)


def a_replaced_order_is_not_known_by_its_new_id(patch: Patch) -> None:
    patch.setattr(Turn, "order", lambda self, cl_ord_id: self.state.orders.get(cl_ord_id))


# --- what is not a trade, or was none -----------------------------------------------------------------------------------------


def busts_are_not_heard(patch: Patch) -> None:
    patch.setattr(reports, "_MOVES", {**reports._MOVES, Move.BUST: lambda turn, order, report: None})


def a_bust_leaves_the_money(patch: Patch) -> None:
    patch.setattr(busts, "_book_money", lambda *_, **__: None)


def funding_is_not_booked(patch: Patch) -> None:
    patch.setattr(adjustments, "_fund", lambda turn, event: None)


def funding_is_booked_each_time_it_is_told(patch: Patch) -> None:
    def is_first(turn: Turn, event: Adjusted) -> bool:
        turn.is_changed = True
        return True

    patch.setattr(adjustments, "_is_first", is_first)


def foreign_fills_are_not_booked(patch: Patch) -> None:
    patch.setattr(foreign, "book_foreign", lambda turn, report: None)


# --- protection ----------------------------------------------------------------------------------------------------------------


def legs_are_never_sent_and_nobody_notices(patch: Patch) -> None:
    patch.setattr(protection, "_send_leg", lambda *_: None)
    patch.setattr(naked, "watch_cover", lambda *_, **__: None)


def legs_are_never_resized(patch: Patch) -> None:
    real = protection._step

    def step(turn: Turn, bracket: Any, leg: Any, survey: Any, want: Any) -> Any:
        return NOTHING if survey.legs else real(turn, bracket, leg, survey, want)

    patch.setattr(protection, "_step", step)


def the_sibling_stays(patch: Patch) -> None:
    real = sending.cancel

    def cancel(turn: Turn, order: OrderState, *, by: str) -> bool:
        return False if by == DESK and order.order_class == "PROTECTION" else real(turn, order, by=by)

    patch.setattr(protection, "cancel", cancel)


def a_watched_stop_closes_nothing(patch: Patch) -> None:
    """It fires, and that is all."""

    def touched(turn: Turn, event: Touched) -> None:
        turn.state.watches.pop(event.watch_id, None)
        turn.is_changed = True

    handle(patch, Touched, touched)


def exits_make_no_room(patch: Patch) -> None:
    """An exit leaves while the stop still rests that would open the other side."""
    patch.setattr(closing, "room", lambda turn, symbol: abs(turn.qty(symbol)))


def an_opposite_signal_opens(patch: Patch) -> None:
    """It is taken for an entry, whatever is open."""
    patch.setattr(decisions, "_is_exit", lambda event, qty: event.decision.signal is SignalKind.CLOSE)


# --- gates and limits ------------------------------------------------------------------------------------------------------------


def without_gate(number: int) -> Callable[[Patch], None]:
    """A gate that is not asked."""

    def plant(patch: Patch) -> None:
        name = next(gate.name for gate in gates.GATES if gate.number == number)
        rows = {c: tuple((g, f) for g, f in row if g.name != name) for c, row in gates._RUNS.items()}
        patch.setattr(gates, "_RUNS", rows)

    return plant


def reservations_are_not_counted(patch: Patch) -> None:
    real = Index._exposure

    def exposure(self: Index, symbol: str) -> Any:
        found = real(self, symbol)
        found.buys = found.sells = ZERO
        return found

    patch.setattr(Index, "_exposure", exposure)


def in_flight_is_not_counted(patch: Patch) -> None:
    patch.setattr(Index, "entries_in_flight", lambda *_, **__: 0)


# --- halts and kills ---------------------------------------------------------------------------------------------------------------


def a_halt_is_lost_at_a_restart(patch: Patch) -> None:
    def started(turn: Turn, event: Started) -> None:
        turn.state.halts.clear()
        recovery.started(turn, event)

    handle(patch, Started, started)
    real = Rows.poll

    def poll(self: Rows, accounts: dict[int, int]) -> Any:
        found = real(self, accounts)
        for news in found.values():
            news.halts.clear()
        return found

    patch.setattr(Rows, "poll", poll)


def a_halt_leaves_the_entries(patch: Patch) -> None:
    patch.setattr(halts, "cancel_entries", lambda *_, **__: 0)


def a_halt_ends_by_itself(patch: Patch) -> None:
    real = recovery.reconciled

    def reconciled(turn: Turn, event: Reconciled) -> None:
        real(turn, event)
        for halt in list(turn.state.halts.values()):
            halts.clear(turn, halt)

    handle(patch, Reconciled, reconciled)


def a_kill_is_verified_too_early(patch: Patch) -> None:
    patch.setattr(kills, "_residue", lambda *_: [])


def a_kill_asks_no_cancel(patch: Patch) -> None:
    """Neither the kill itself, nor the halt that comes with it."""
    patch.setattr(kills, "cancel", lambda *_, **__: True)
    patch.setattr(halts, "cancel_entries", lambda *_, **__: 0)


# --- the engine ----------------------------------------------------------------------------------------------------------------------


def effects_leave_before_the_commit(patch: Patch) -> None:
    real = DeskLoop._submit

    def submit(self: DeskLoop, write: Any) -> None:
        for effect in write.effects:
            if not isinstance(effect, Publish):
                self._perform(effect, write.born)
        real(self, write._replace(effects=tuple(e for e in write.effects if isinstance(e, Publish))))

    patch.setattr(DeskLoop, "_submit", submit)


def the_lease_is_not_looked_at(patch: Patch) -> None:
    patch.setattr(Held, "left_s", property(lambda self: 1e9))


def unsent_entries_stay_in_the_outbox(patch: Patch) -> None:
    """Entries wait a moment here, as behind a budget; a halt does not take them out."""
    real = Outbox.put

    def put(self: Outbox, effect: Any, *, born: float) -> None:
        if type(effect).__name__ == "SendNewOrder" and effect.approved.order_class == "ENTRY":
            asyncio.get_running_loop().call_later(0.4, lambda: real(self, effect, born=born))
        else:
            real(self, effect, born=born)

    patch.setattr(Outbox, "put", put)
    patch.setattr(Outbox, "drop_unsent", lambda self, scope: None)


def chance_decides_in_the_core(patch: Patch) -> None:
    """Replay gives another state."""
    counter = itertools.count()
    real = Desk._commit

    def commit(self: Desk, turn: Turn, event: Any) -> Any:
        effects = real(self, turn, event)
        self.state.digest = self.state.digest[:-1] + bytes([next(counter) % 256])
        return effects

    patch.setattr(Desk, "_commit", commit)


def handle(patch: Patch, kind: type[Any], function: Callable[..., None]) -> None:
    """Another handler for one kind of event."""
    patch.setattr(desk, "_HANDLERS", {**desk._HANDLERS, kind: function})


PLANTED = (
    Planted("repeated fills are booked", repeated_fills_are_booked, (NOTHING_LOST, NOT_THROUGH_ZERO, AGREED), 9),
    Planted("fills of the picture are lost", fills_of_the_picture_are_lost, (NOTHING_LOST, AGREED, PROTECTED, ANSWERED), 3),
    Planted("the end of an order hides its fills", the_end_of_an_order_hides_its_fills, (NOTHING_LOST, NOT_THROUGH_ZERO), 47),
    Planted("fees are forgotten", fees_are_forgotten, (NOTHING_LOST,)),
    Planted(
        "a lost answer counts as a rejection",
        a_lost_answer_counts_as_a_rejection,
        (AGREED, NOTHING_LOST, NOT_THROUGH_ZERO, KILLED),
        16,
    ),
    Planted("an absent order is given up at once", an_absent_order_is_given_up_at_once, (GIVEN_UP,), 8),
    Planted("nobody asks about an order", nobody_asks_about_an_order, (AGREED, NOTHING_LOST, PROTECTED, ANSWERED, NOT_BLOCKED)),
    Planted(
        "timers are forgotten at a restart",
        timers_are_forgotten_at_a_restart,
        (LIMITS, AGREED, PROTECTED, ANSWERED, NOTHING_LOST, REPLAYED),
        13,
    ),
    Planted(
        "a replaced order is not known by its new id",
        a_replaced_order_is_not_known_by_its_new_id,
        (AGREED, NOTHING_LOST, NOT_THROUGH_ZERO, PROTECTED, ANSWERED),
        27,
    ),
    Planted("busts are not heard", busts_are_not_heard, (NOTHING_LOST,)),
    Planted("a bust leaves the money", a_bust_leaves_the_money, (NOTHING_LOST,)),
    Planted("funding is not booked", funding_is_not_booked, (NOTHING_LOST,), 4),
    Planted("funding is booked each time it is told", funding_is_booked_each_time_it_is_told, (NOTHING_LOST,), 4),
    Planted("foreign fills are not booked", foreign_fills_are_not_booked, (NOTHING_LOST,)),
    Planted("a watched stop closes nothing", a_watched_stop_closes_nothing, (PROTECTED,), 147),
    Planted("exits make no room", exits_make_no_room, (NOT_THROUGH_ZERO,), 51),
    Planted("an opposite signal opens", an_opposite_signal_opens, (LIMITS,)),
    Planted("a larger fill is not taken for its replace", a_larger_fill_is_not_taken_for_its_replace, (NOT_THROUGH_ZERO,), 3117),
    Planted("an order is sent again", an_order_is_sent_again_after_a_restart, (ONCE,), 4),
    Planted("a decision counts twice", a_decision_counts_again_after_a_restart, (ONCE,)),
    Planted("legs are never sent and nobody notices", legs_are_never_sent_and_nobody_notices, (PROTECTED,)),
    Planted("legs are never resized", legs_are_never_resized, (PROTECTED, NOT_THROUGH_ZERO, AGREED, ANSWERED), 3),
    Planted("the sibling stays", the_sibling_stays, (NOT_THROUGH_ZERO, AGREED, KILLED, ANSWERED), 3),
    Planted("no gate asks for halts", without_gate(2), (HALTED,)),
    Planted("no gate asks for the price", without_gate(5), (FAIL_CLOSED,), 4),
    Planted("no gate asks for readiness", without_gate(1), (FAIL_CLOSED, ALIVE), 2),
    Planted("no gate asks for the order's limits", without_gate(11), (LIMITS, FAIL_CLOSED), 11),
    Planted("no gate asks for the account's limits", without_gate(14), (LIMITS, FAIL_CLOSED)),
    Planted("reservations are not counted", reservations_are_not_counted, (LIMITS,)),
    Planted("entries in flight are not counted", in_flight_is_not_counted, (LIMITS,), 4),
    Planted("a halt is lost at a restart", a_halt_is_lost_at_a_restart, (HALTED, SURVIVES)),
    Planted("a halt leaves the entries", a_halt_leaves_the_entries, (NOT_BLOCKED, HALTED), 32),
    Planted("a halt ends by itself", a_halt_ends_by_itself, (SURVIVES,)),
    Planted("a kill is verified too early", a_kill_is_verified_too_early, (KILLED,), 8),
    Planted("a kill asks no cancel", a_kill_asks_no_cancel, (ANSWERED, NOT_BLOCKED, KILLED), 32),
    Planted("effects leave before the commit", effects_leave_before_the_commit, (JOURNAL_FIRST,)),
    Planted("the lease is not looked at", the_lease_is_not_looked_at, (FENCED,), 7),
    Planted("unsent entries stay in the outbox", unsent_entries_stay_in_the_outbox, (HALTED,), 30),
    Planted("chance decides in the core", chance_decides_in_the_core, (REPLAYED, ALIVE)),
)
