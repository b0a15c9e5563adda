"""What people do to one position: move and arm legs, take a watched one away, close in parts, submit a decision."""

# mypy: disable-error-code="comparison-overlap"
from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from execution.core.brackets import BracketStatus
from execution.core.messages import (
    AnswerCommand,
    Commanded,
    CommandKind,
    CommandSpec,
    CommandStatus,
    Decision,
    ExecType,
    KillChoice,
    Leg,
    Reported,
    SendFailed,
    SendOutcome,
    SendReplace,
    SettingsChanged,
    SignalKind,
    SignalRecord,
)
from execution.core.orders import OrderState, Purpose
from execution.core.turn import ENCODER
from risk.core.book import EXTERNAL
from risk.core.settings import NakedPolicy
from risk.core.units import OrdType, Scope, ScopeKind, Side
from risk.core.verdict import Capability, HaltMode, Reason
from tests.core.builders import ACCOUNT, BOT, BTC, ETH, Bench, D, at_venue, decision, quote
from tests.core.builders import settings as config

C = Capability
K = CommandKind
B = BracketStatus
X = ExecType
S = CommandStatus


@pytest.fixture
def bench() -> Bench:
    return Bench()


def exits(bench: Bench) -> list[OrderState]:
    return [o for o in bench.working() if o.purpose is Purpose.EXIT]


def move(bench: Bench, entry: OrderState, leg: Leg, price: str) -> AnswerCommand:
    return bench.command(K.MOVE_LEG, target=entry.cl_ord_id, leg=leg, price=D(price))


# --- moving ------------------------------------------------------------------------------------------------------------------


def test_it_moves_a_leg_by_a_new_one_before_the_old_one_goes(bench: Bench) -> None:
    entry = bench.armed("10")
    (stop,), _ = bench.legs()
    answer = move(bench, entry, Leg.STOP, "99")
    assert (answer.status, answer.text) == (
        S.DONE,
        "Moving the stop of BTCUSDT from 98 to 99: the old one stays until the new one works. There 10 lose 10, fees apart.",
    )
    _, new = bench.legs()[0]
    assert (new.stop_px, new.order_qty, bench.canceled()) == (99, 10, [])
    bench.ack(new)
    assert bench.canceled() == [stop.cl_ord_id]
    bench.report(stop, X.CANCELED)
    assert (bench.bracket(entry).status, bench.alarms()) == (B.ARMED, [])


def test_it_moves_a_leg_in_place_where_the_venue_can() -> None:
    bench = Bench(at_venue(C.STOP_ORDERS, C.REDUCE_ONLY, C.REPLACE))
    entry = bench.armed("10")
    _, (target,) = bench.legs()
    answer = move(bench, entry, Leg.TARGET, "105")
    assert answer.text == "Moving the target of BTCUSDT from 104 to 105, changed in place. There 10 earn 50, fees apart."
    (asked,) = bench.all(SendReplace)
    assert (asked.orig_cl_ord_id, asked.price, asked.order_qty) == (target.cl_ord_id, 105, 10)


def test_it_moves_a_watched_leg(bench: Bench) -> None:
    bench = Bench(at_venue(C.STOP_ORDERS))
    entry = bench.armed("10")
    assert move(bench, entry, Leg.TARGET, "105").text.startswith("Moving the target of BTCUSDT from 104 to 105, watched here.")
    assert bench.desk.state.watches[f"target:{entry.cl_ord_id}"].price == 105


@pytest.mark.parametrize(
    ("leg", "price", "why"),
    [
        (Leg.STOP, "98.005", "98.005 is not on the grid of 0.01: 98 or 98.01 is."),
        (Leg.STOP, "NaN", "not a number is not a price."),
        (Leg.STOP, "-1", "-1 is not a price."),
        (Leg.STOP, "100", "The stop of a long position must lie below the market's 100; 100 does not."),
        (Leg.TARGET, "99", "The target of a long position must lie above the market's 100; 99 does not."),
        (Leg.STOP, "99.95", "That is 0.05 % from the market; the least allowed is 0.1 %."),
        (Leg.STOP, "70", "That is 30 % from the market; the most allowed is 20 %."),
    ],
)
def test_it_refuses_a_price_that_cannot_be_used(bench: Bench, leg: Leg, price: str, why: str) -> None:
    entry = bench.armed("10")
    answer = move(bench, entry, leg, price)
    assert (answer.status, answer.text) == (S.REFUSED, why)
    assert (bench.bracket(entry).stop_px, bench.bracket(entry).target_px, bench.sent()) == (98, 104, [])


def test_it_measures_a_move_from_the_market_of_now(bench: Bench) -> None:
    entry = bench.armed("10")
    bench.mark(BTC, "103")
    assert move(bench, entry, Leg.STOP, "101").text.endswith("There 10 earn 10, fees apart.")
    short = Bench()
    entry = short.sell("10")
    short.fill(entry)
    assert move(short, entry, Leg.STOP, "99").text == ("The stop of a short position must lie above the market's 100; 99 does not.")


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"target": "no", "leg": Leg.STOP, "price": D(99)}, "There is no open bracket no."),
        ({"price": D(99)}, "A move names a bracket, stop or target, and a price."),
        ({"leg": Leg.STOP}, "A move names a bracket, stop or target, and a price."),
    ],
)
def test_it_refuses_a_move_that_names_nothing(bench: Bench, fields: dict[str, Any], why: str) -> None:
    entry = bench.armed("10")
    assert bench.command(K.MOVE_LEG, **({"target": entry.cl_ord_id} | fields)).text == why


def test_it_says_so_when_there_is_nothing_to_move(bench: Bench) -> None:
    entry = bench.armed("10", take_profit=None)
    assert move(bench, entry, Leg.STOP, "98").text == "The stop of BTCUSDT stands at 98 already."
    assert move(bench, entry, Leg.TARGET, "105").text == "The bracket of BTCUSDT has no target."
    bench.command(K.CANCEL_LEG, target=entry.cl_ord_id, leg=Leg.STOP)
    assert move(bench, entry, Leg.STOP, "99").text == (
        "The stop of BTCUSDT was taken away or given up: arm the bracket to place another."
    )


def test_it_lets_a_persons_stop_end_a_trail(bench: Bench) -> None:
    entry = bench.armed("10", trail_offset=D(1))
    assert "It trails no more." in move(bench, entry, Leg.STOP, "99").text
    assert (bench.bracket(entry).trail, bench.desk.state.watches) == (None, {})


def test_it_keeps_the_old_stop_when_the_venue_refuses_the_new_one(bench: Bench) -> None:
    entry = bench.armed("10")
    (stop,), _ = bench.legs()
    move(bench, entry, Leg.STOP, "99.5")
    for _ in range(4):
        (new,) = [o for o in bench.legs()[0] if o is not stop]
        bench.report(new, X.REJECTED, text="too near")
        bench.wait(0.3)
    assert (bench.bracket(entry).stop_px, bench.bracket(entry).status, bench.alarms()) == (98, B.ARMED, ["move"])
    assert bench.legs()[0] == [stop]
    move(bench, entry, Leg.STOP, "99")
    assert bench.alarms() == []


def test_it_keeps_the_old_stop_when_the_venue_will_not_change_it_and_nothing_may_overlap() -> None:
    bench = Bench(at_venue(C.STOP_ORDERS, C.REPLACE))
    entry = bench.buy("10")
    bench.fill(entry)
    (stop,), _ = bench.legs()
    bench.ack(stop)
    move(bench, entry, Leg.STOP, "99.5")
    for _ in range(4):
        asked = [e for e in bench.everything if isinstance(e, SendReplace)][-1]
        bench.take(Reported(at=bench.at, cl_ord_id=asked.cl_ord_id, exec_type=X.REPLACE_REJECTED, text="too near"))
        bench.wait(3)
    assert (bench.legs()[0], bench.bracket(entry).stop_px, bench.alarms()) == ([stop], 98, ["move"])


# --- arming ------------------------------------------------------------------------------------------------------------------


def test_it_arms_again_what_was_taken_away(bench: Bench) -> None:
    entry = bench.armed("10")
    bench.command(K.CANCEL_BRACKET, target=entry.cl_ord_id)
    for leg in bench.working():
        bench.report(leg, X.CANCELED)
    assert bench.alarms() == ["nostop"]
    answer = bench.command(K.ARM, target=entry.cl_ord_id, stop_px=D(97), target_px=D(106))
    assert answer.text == "Arming 10 BTCUSDT with the stop 97 and the target 106."
    (stop,), (target,) = bench.legs()
    assert (stop.stop_px, target.price, stop.order_qty, target.order_qty) == (97, 106, 10, 10)
    for leg in (stop, target):
        bench.ack(leg)
    assert (bench.bracket(entry).status, bench.alarms()) == (B.ARMED, [])


def test_it_arms_a_position_that_no_bracket_has(bench: Bench) -> None:
    bench.armed("10")
    fill: dict[str, Any] = {"symbol": BTC, "side": Side.BUY, "last_qty": D(3), "last_px": D(100), "exec_id": "f1", "order_id": "v9"}
    bench.take(Reported(at=bench.at, cl_ord_id="foreign", exec_type=X.TRADE, **fill))
    bench.wait(6)
    assert (bench.qty(), bench.desk.state.positions[BTC].bot) == (13, EXTERNAL)
    answer = bench.command(K.ARM, target=BTC, stop_px=D(97))
    assert answer.text == "Arming 13 BTCUSDT with the stop 97."
    assert [leg.order_qty for leg in bench.legs()[0] if leg.stop_px == 97] == [10, 3]
    for leg in bench.legs()[0]:
        bench.ack(leg)
    for leg in [o for o in bench.working() if o.pending]:
        bench.report(leg, X.CANCELED)
    assert [leg.order_qty for leg in bench.legs()[0]] == [10, 3]
    assert "naked" not in bench.alarms()


def test_it_arms_a_naked_position_that_is_kept() -> None:
    bench = Bench(config(naked_policy=NakedPolicy.KEEP))
    entry = bench.buy("10")
    bench.fill(entry)
    for _ in range(5):
        for stop in bench.legs()[0]:
            bench.report(stop, X.REJECTED, text="too near")
        bench.wait(0.3)
    assert bench.bracket(entry).status is B.NAKED
    bench.command(K.ARM, target=BTC, stop_px=D(95))
    (stop,) = [o for o in bench.legs()[0] if o.stop_px == 95]
    bench.ack(stop)
    for target in bench.legs()[1]:
        bench.ack(target)
    assert (bench.bracket(entry).status, bench.alarms()) == (B.ARMED, [])


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"target": BTC}, "Arming needs a stop, a target or both."),
        ({"target": ETH, "stop_px": D(95)}, "No position in ETHUSDT is open."),
        ({"target": BTC, "stop_px": D(101)}, "The stop of a long position must lie below the market's 100; 101 does not."),
    ],
)
def test_it_refuses_to_arm_what_makes_no_sense(bench: Bench, fields: dict[str, Any], why: str) -> None:
    bench.armed("10")
    answer = bench.command(K.ARM, **fields)
    assert (answer.status, answer.text, bench.sent()) == (S.REFUSED, why, [])


# --- taking away ---------------------------------------------------------------------------------------------------------------


def test_it_takes_a_watched_leg_away_once() -> None:
    bench = Bench(at_venue(C.STOP_ORDERS))
    entry = bench.armed("10")
    ask: dict[str, Any] = {"target": entry.cl_ord_id, "leg": Leg.TARGET}
    assert bench.command(K.CANCEL_LEG, **ask).text == "Canceling the target of BTCUSDT. The stop 98 for 10 remains."
    assert bench.desk.state.watches == {}
    assert bench.command(K.CANCEL_LEG, **ask).text == ("The target of BTCUSDT is taken away already. The stop 98 for 10 remains.")


# --- closing -------------------------------------------------------------------------------------------------------------------


def test_it_closes_in_parts_what_is_above_the_order_limit() -> None:
    bench = Bench(config(order_qty_max=D(100)))
    bench.armed("100")
    bench.take(SettingsChanged(at=bench.at, settings=config(version=2, order_qty_max=D(30))))
    signal = bench.decide(Decision(signal=SignalKind.CLOSE))
    assert [o.order_qty for o in exits(bench)] == [30, 30, 30, 10]
    assert (signal.order_qty, signal.cl_ord_id) == (100, exits(bench)[0].cl_ord_id)
    assert bench.decide(Decision(signal=SignalKind.CLOSE)).reason is Reason.EXIT_IN_FLIGHT
    for order in exits(bench):
        bench.fill(order)
    assert bench.qty() == 0


@pytest.mark.parametrize("qty", ["0.001", "0.01"])
def test_it_tries_to_close_what_is_worth_too_little(bench: Bench, qty: str) -> None:
    bench.armed("10")
    assert bench.decide(decision(SignalKind.SELL, qty)).is_approved


def test_it_sends_one_exit_beside_an_unknown_one_where_both_only_reduce(bench: Bench) -> None:
    bench.armed("10")
    for _ in range(2):
        assert bench.decide(Decision(signal=SignalKind.CLOSE)).is_approved
        last = exits(bench)[-1]
        bench.take(SendFailed(at=bench.at, cl_ord_id=last.cl_ord_id, outcome=SendOutcome.UNKNOWN))
    assert bench.decide(Decision(signal=SignalKind.CLOSE)).reason is Reason.EXIT_IN_FLIGHT
    assert [o.is_unknown for o in exits(bench)] == [True, True]


def test_it_closes_again_when_nobody_can_say_what_became_of_two_exits() -> None:
    made = config()
    mute = tuple(c for c in made.capabilities if c is not C.QUERY_BY_CLIENT_ID)
    bench = Bench(msgspec.structs.replace(made, capabilities=mute))
    bench.armed("10")
    for _ in range(2):
        bench.decide(Decision(signal=SignalKind.CLOSE))
        bench.take(SendFailed(at=bench.at, cl_ord_id=exits(bench)[-1].cl_ord_id, outcome=SendOutcome.UNKNOWN))
    bench.wait(9)
    assert bench.decide(Decision(signal=SignalKind.CLOSE)).reason is Reason.EXIT_IN_FLIGHT
    bench.wait(2)
    assert bench.decide(Decision(signal=SignalKind.CLOSE)).is_approved


def test_it_takes_a_left_over_exit_away_when_the_position_is_gone(bench: Bench) -> None:
    bench.armed("10")
    bench.decide(Decision(signal=SignalKind.CLOSE, ord_type=OrdType.LIMIT, price=D(103)))
    (limit,) = exits(bench)
    bench.ack(limit)
    (stop,), _ = bench.legs()
    bench.fill(stop)
    assert limit.cl_ord_id in bench.canceled(), "it would close the next position"


# --- decisions -----------------------------------------------------------------------------------------------------------------


def submit(bench: Bench, what: Decision, *, is_by_hand: bool = True, **fields: Any) -> AnswerCommand:
    """A decision as a person or a program asks for it, with the newest quote."""
    spec = CommandSpec(
        command_id="77",
        kind=K.SUBMIT_DECISION,
        scope=fields.pop("scope", Scope(ScopeKind.ACCOUNT, ACCOUNT)),
        by="alice",
        target=BTC,
        decision=what,
        is_by_hand=is_by_hand,
        asked_at=bench.at,
        **fields,
    )
    bench.take(Commanded(at=bench.at, command=spec, quote=quote(at=bench.at)))
    return bench.last(AnswerCommand)


BUY = decision(SignalKind.BUY, "2", stop_loss=D(98))


@pytest.mark.parametrize("scope", [Scope(ScopeKind.ACCOUNT, ACCOUNT), Scope(ScopeKind.BOT, BOT)])
def test_it_takes_a_decision_as_the_bots_own(bench: Bench, scope: Scope) -> None:
    answer = submit(bench, BUY, scope=scope)
    assert (answer.status, answer.text) == (S.DONE, "Buying 2 BTCUSDT at market, for alpha.")
    (record,) = bench.published("signal")
    assert (record.decision_id, record.bot, record.is_approved) == ("cmd:77", BOT, True)
    entry = bench.desk.state.orders[record.cl_ord_id]
    bench.fill(entry)
    assert [leg.stop_px for leg in bench.legs()[0]] == [98]
    assert bench.decide(BUY).is_approved, "a brain's decision is not late for it"


def test_it_records_a_submitted_decision_that_it_denies(bench: Bench) -> None:
    answer = submit(bench, decision(SignalKind.BUY, "2"))
    assert (answer.status, answer.text) == (S.REFUSED, "The decision has no stop-loss, and one is required.")
    (record,) = bench.published("signal")
    assert isinstance(record, SignalRecord)
    assert (record.reason, record.decision_id) == (Reason.MISSING_STOP_LOSS, "cmd:77")
    assert isinstance(bench.journal[-1], Commanded), "it is journaled, so that its id is not applied twice"


@pytest.mark.parametrize(("is_by_hand", "status"), [(True, S.DONE), (False, S.REFUSED)])
def test_it_lets_a_halt_refuse_a_programs_close_and_never_a_persons(bench: Bench, is_by_hand: bool, status: S) -> None:
    bench.armed("10")
    bench.command(K.HALT, mode=HaltMode.HALTED, halt_id="h")
    assert submit(bench, Decision(signal=SignalKind.CLOSE), is_by_hand=is_by_hand).status is status


def test_it_does_not_take_a_decision_that_came_late(bench: Bench) -> None:
    answer = submit(bench, BUY, valid_until=bench.at - timedelta(seconds=1))
    assert (answer.status, bench.sent()) == (S.EXPIRED, [])


def test_it_takes_a_submitted_decision_once(bench: Bench) -> None:
    submit(bench, BUY)
    digest = bench.desk.digest()
    assert bench.take(bench.journal[-1]) == ()
    assert bench.desk.digest() == digest


def test_it_asks_nothing_of_a_decision_to_hold(bench: Bench) -> None:
    assert submit(bench, Decision(signal=SignalKind.HOLD)).text == "A decision to hold asks for nothing."


def test_it_encodes_what_a_command_may_carry() -> None:
    what = decision(SignalKind.BUY, "1", trail_pct=D("1.5"), time_limit_s=60)
    spec = CommandSpec(
        command_id="1",
        kind=K.ARM,
        scope=Scope(ScopeKind.FIRM),
        by="a",
        asked_at=quote().at,
        decision=what,
        leg=Leg.STOP,
        price=Decimal("1.10"),
    )
    assert msgspec.msgpack.decode(ENCODER.encode(spec), type=CommandSpec) == spec


def test_it_arms_nothing_that_a_kill_is_stripping() -> None:
    """The leg would keep the kill from ever being verified."""
    bench = Bench()
    bench.armed("10")
    bench.command(CommandKind.KILL, choice=KillChoice.CANCEL_ALL, halt_id="k1")
    answer = bench.command(CommandKind.ARM, target=BTC, stop_px=D(97))
    assert answer.status is CommandStatus.REFUSED
    assert answer.text == "The kill at account paper is taking the protection of BTCUSDT away: arm it once that is verified."
    for leg in bench.working():
        bench.report(leg, X.CANCELED)
    bench.reconcile()
    assert bench.command(CommandKind.ARM, target=BTC, stop_px=D(97)).status is CommandStatus.DONE
    assert [order.purpose for order in bench.working()] == [Purpose.STOP_LOSS]
