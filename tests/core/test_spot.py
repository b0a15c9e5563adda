"""Where nothing is reduce-only: the stop rests, the target is watched, and what closes shares the position."""

# mypy: disable-error-code="comparison-overlap"
from __future__ import annotations

from typing import Any

import msgspec
import pytest

from execution.core.brackets import BracketStatus
from execution.core.messages import (
    AnswerCommand,
    CommandKind,
    CommandStatus,
    Decision,
    ExecType,
    Leg,
    LinkChanged,
    LinkKind,
    SendFailed,
    SendOutcome,
    SendReplace,
    SettingsChanged,
    SignalKind,
    Touched,
)
from execution.core.orders import OrderState, OrdStatus, Purpose
from risk.core.units import AssetClass, OrdType, Side
from risk.core.verdict import Capability, OrderClass, Reason
from tests.core.builders import BOT, BTC, INSTRUMENTS, Bench, D, at_venue, decision

C = Capability
B = BracketStatus
X = ExecType


@pytest.fixture
def bench() -> Bench:
    return Bench(at_venue(C.STOP_ORDERS))


def opened(bench: Bench, qty: str = "10", **changes: Any) -> OrderState:
    """A filled entry whose stop rests; returns the entry."""
    entry = bench.buy(qty, **changes)
    bench.ack(entry)
    bench.fill(entry)
    for leg in bench.legs()[0]:
        bench.ack(leg)
    return entry


def touch(bench: Bench, entry: OrderState, name: str, px: str) -> None:
    bench.take(Touched(at=bench.at, watch_id=f"{name}:{entry.cl_ord_id}", price=D(px)))


def exits(bench: Bench) -> list[OrderState]:
    return [o for o in bench.working() if o.purpose is Purpose.EXIT]


def test_it_rests_the_stop_and_watches_the_target(bench: Bench) -> None:
    entry = opened(bench)
    (stop,), targets = bench.legs()
    assert (stop.stop_px, stop.leaves_qty, stop.reduce_only, targets) == (98, 10, False, [])
    watch = bench.desk.state.watches[f"target:{entry.cl_ord_id}"]
    assert (watch.price, watch.is_above) == (104, True)
    bracket = bench.bracket(entry)
    assert (bracket.status, bracket.is_stop_emulated, bracket.is_target_emulated) == (B.ARMED, False, True)
    assert bracket.text == "target watched here, not at the venue"


def test_it_makes_room_before_it_takes_the_target(bench: Bench) -> None:
    entry = opened(bench)
    (stop,), _ = bench.legs()
    touch(bench, entry, "target", "104")
    assert (bench.canceled(), exits(bench)) == ([stop.cl_ord_id], [])
    bench.fill(stop, "3")
    assert exits(bench) == [], "the stop may still fill"
    bench.report(stop, X.CANCELED)
    (target,) = exits(bench)
    assert (target.ord_type, target.price, target.order_qty, target.order_class) == (OrdType.LIMIT, 104, 7, OrderClass.PROTECTION)
    assert target.why == "its target was touched at 104"
    bench.fill(target)
    assert (bench.qty(), bench.bracket(entry).status, bench.desk.state.watches, bench.alarms()) == (0, B.CLOSED, {}, [])


def test_it_puts_the_stop_back_when_the_target_does_not_fill(bench: Bench) -> None:
    entry = opened(bench)
    touch(bench, entry, "target", "104")
    bench.report(bench.legs()[0][0], X.CANCELED)
    (target,) = exits(bench)
    bench.ack(target)
    bench.fill(target, "4")
    bench.wait(2.1)
    assert bench.alarms() == ["exit"]
    assert bench.legs()[0] == [], "the target may still fill until the venue says that it is gone"
    bench.report(target, X.CANCELED)
    (stop,) = bench.legs()[0]
    assert (stop.stop_px, stop.order_qty) == (98, 6)
    assert f"target:{entry.cl_ord_id}" in bench.desk.state.watches


def test_it_puts_the_stop_back_when_the_exit_is_refused(bench: Bench) -> None:
    opened(bench)
    assert bench.command(CommandKind.CLOSE, target=BTC).text == (
        "Selling 10 BTCUSDT at market as soon as the venue has taken its stop away; if that takes long, the stop is put back."
    )
    bench.report(bench.legs()[0][0], X.CANCELED)
    (close,) = exits(bench)
    bench.report(close, X.REJECTED, text="halted")
    (stop,) = bench.legs()[0]
    assert (stop.order_qty, bench.alarms()) == (10, ["exit"])


def test_it_gives_an_exit_up_whose_stop_will_not_go(bench: Bench) -> None:
    opened(bench)
    (stop,), _ = bench.legs()
    bench.command(CommandKind.CLOSE, target=BTC)
    bench.wait(2.1)
    assert (bench.desk.state.exits, bench.alarms()) == ({}, ["exit"])
    bench.report(stop, X.CANCELED)
    assert [o.order_qty for o in bench.legs()[0]] == [10]
    assert exits(bench) == []


def test_it_keeps_what_a_partial_exit_leaves_protected(bench: Bench) -> None:
    opened(bench)
    (stop,), _ = bench.legs()
    signal = bench.decide(decision(SignalKind.SELL, "4"))
    assert (signal.is_approved, signal.order_qty, signal.cl_ord_id) == (True, 4, "")
    bench.report(stop, X.CANCELED)
    ((rest,), _), (close,) = bench.legs(), exits(bench)
    assert (rest.order_qty, close.order_qty, close.decision_id) == (6, 4, signal.decision_id)
    bench.ack(rest)
    bench.fill(close)
    assert [o.leaves_qty for o in bench.legs()[0]] == [6]


def test_it_makes_room_in_place_where_stops_can_be_changed() -> None:
    bench = Bench(at_venue(C.STOP_ORDERS, C.REPLACE))
    opened(bench)
    (stop,), _ = bench.legs()
    bench.decide(decision(SignalKind.SELL, "4"))
    (asked,) = bench.all(SendReplace)
    assert (asked.order_qty, exits(bench)) == (6, []), "until the venue has done it, ten may fill"
    bench.report(asked.cl_ord_id, X.REPLACED, order_qty=D(6))
    assert [o.order_qty for o in exits(bench)] == [4]
    assert bench.legs()[0] == [stop]


def test_it_moves_a_stop_by_taking_it_away_first(bench: Bench) -> None:
    entry = opened(bench)
    (stop,), _ = bench.legs()
    answer = bench.command(CommandKind.MOVE_LEG, target=entry.cl_ord_id, leg=Leg.STOP, price=D(99))
    assert answer.text == (
        "Moving the stop of BTCUSDT from 98 to 99: the old one goes first, so for a moment there is none. "
        "There 10 lose 10, fees apart."
    )
    assert (bench.canceled(), len(bench.legs()[0])) == ([stop.cl_ord_id], 1)
    bench.report(stop, X.CANCELED)
    (moved,) = bench.legs()[0]
    assert (moved.stop_px, moved.order_qty) == (99, 10)


def test_it_sends_a_waiting_exit_while_no_price_comes(bench: Bench) -> None:
    """What closes is never held up by what stops entries."""
    opened(bench)
    bench.take(LinkChanged(at=bench.at, link=LinkKind.PRICES, is_up=False, cause="reset"))
    bench.command(CommandKind.CLOSE, target=BTC)
    bench.report(bench.legs()[0][0], X.CANCELED)
    assert [order.order_qty for order in exits(bench)] == [10]


def test_it_counts_an_unknown_exit_as_working(bench: Bench) -> None:
    opened(bench)
    bench.command(CommandKind.CLOSE, target=BTC)
    bench.report(bench.legs()[0][0], X.CANCELED)
    (close,) = exits(bench)
    bench.take(SendFailed(at=bench.at, cl_ord_id=close.cl_ord_id, outcome=SendOutcome.UNKNOWN))
    assert bench.decide(Decision(signal=SignalKind.CLOSE)).reason is Reason.EXIT_IN_FLIGHT
    bench.wait(2.5)
    assert bench.legs()[0] == [], "it may still fill, and a stop beside it could open a position"
    bench.wait(1.1)
    assert bench.alarms() == ["exit", "naked"]
    bench.ack(close)
    assert close.ord_status is OrdStatus.PENDING_CANCEL
    bench.report(close, X.CANCELED)
    assert len(exits(bench)) + len(bench.legs()[0]) == 1


def test_it_lets_a_market_exit_wait_for_the_limit_exit_it_takes_the_place_of() -> None:
    bench = Bench(at_venue())
    opened(bench, stop_loss=D(98))
    bench.decide(Decision(signal=SignalKind.CLOSE, ord_type=OrdType.LIMIT, price=D(103)))
    (limit,) = exits(bench)
    bench.ack(limit)
    signal = bench.decide(Decision(signal=SignalKind.CLOSE))
    assert (signal.is_approved, bench.canceled(), exits(bench)) == (True, [limit.cl_ord_id], [limit])
    bench.report(limit, X.CANCELED)
    (market,) = exits(bench)
    assert (market.ord_type, market.order_qty) == (OrdType.MARKET, 10)


def test_it_gives_each_bracket_its_share_of_the_room(bench: Bench) -> None:
    first = opened(bench, "10")
    second = opened(bench, "5")
    touch(bench, second, "target", "104")
    (going,) = bench.canceled()
    assert bench.desk.state.orders[going].bracket_id == second.cl_ord_id
    bench.report(going, X.CANCELED)
    (target,) = exits(bench)
    bench.fill(target)
    assert (bench.bracket(first).open_qty, bench.bracket(second).status) == (10, B.CLOSED)
    assert [o.leaves_qty for o in bench.legs()[0]] == [10]


def test_it_protects_a_short_the_same_way(bench: Bench) -> None:
    entry = bench.sell("10")
    bench.ack(entry)
    bench.fill(entry)
    (stop,), _ = bench.legs()
    bench.ack(stop)
    assert (stop.side, stop.stop_px) == (Side.BUY, 102)
    assert not bench.desk.state.watches[f"target:{entry.cl_ord_id}"].is_above
    touch(bench, entry, "target", "96")
    bench.report(stop, X.CANCELED)
    (target,) = exits(bench)
    bench.fill(target)
    assert (bench.qty(), bench.bracket(entry).status) == (0, B.CLOSED)


# --- what is less than a lot ---------------------------------------------------------------------------------------------------


@pytest.fixture
def spot() -> Bench:
    made = at_venue(C.STOP_ORDERS)
    coin = msgspec.structs.replace(INSTRUMENTS[BTC], asset_class=AssetClass.CRYPTO_SPOT)
    return Bench(msgspec.structs.replace(made, instruments=made.instruments | {BTC: coin}))


@pytest.fixture
def dusty(spot: Bench) -> Bench:
    """One bought, a fee of 0.0015 taken out of it: 0.998 can be sold, and 0.0005 cannot."""
    bench = spot
    entry = bench.buy("1")
    bench.fill(entry, fee=D("0.0015"), fee_currency="BTC")
    return bench


def test_it_protects_and_closes_whole_lots(dusty: Bench) -> None:
    assert dusty.qty() == D("0.9985")
    (stop,), _ = dusty.legs()
    assert stop.order_qty == D("0.998")
    dusty.ack(stop)
    (bracket,) = dusty.desk.state.brackets.values()
    assert bracket.status is B.ARMED
    assert dusty.command(CommandKind.CLOSE, target=BTC).text.startswith("Selling 0.998 BTCUSDT")
    dusty.report(stop, X.CANCELED)
    (close,) = exits(dusty)
    dusty.fill(close)
    assert (dusty.qty(), bracket.status, dusty.working(), dusty.alarms()) == (D("0.0005"), B.CLOSED, [], [])


def test_it_says_that_less_than_a_lot_cannot_be_closed_and_calls_it_flat(dusty: Bench) -> None:
    (stop,), _ = dusty.legs()
    dusty.ack(stop)
    dusty.fill(stop)
    assert dusty.command(CommandKind.CLOSE, target=BTC).text == (
        "0.0005 BTCUSDT is less than one lot, which is the least that can be closed."
    )
    dusty.command(CommandKind.FLATTEN)
    dusty.reconcile()
    assert dusty.last(AnswerCommand).status is CommandStatus.DONE


def test_dust_is_flat_for_brains_gates_and_the_next_entry(dusty: Bench) -> None:
    """From the first entry to the second: legs, the target, what is left, and a bracket that takes what is left along."""
    first = next(iter(dusty.desk.state.orders.values()))
    (stop,), _ = dusty.legs()
    dusty.ack(stop)
    touch(dusty, first, "target", "104")
    dusty.report(stop, X.CANCELED)
    (target,) = exits(dusty)
    dusty.fill(target)
    view, position = dusty.desk.view(BOT, BTC), dusty.desk.state.positions[BTC]
    assert (position.qty, view.position_qty, view.avg_px, dusty.desk.stake().positions) == (D("0.0005"), 0, None, 0)
    nothing = dusty.decide(Decision(signal=SignalKind.CLOSE))
    assert (nothing.reason, nothing.text) == (
        Reason.NOTHING_TO_CLOSE,
        "0.0005 BTCUSDT is less than one lot, which is the least that can be closed.",
    )
    dusty.reconcile(positions={BTC: "0.0005"})
    assert dusty.desk.state.account.reconciled_text == "agrees"
    dusty.later(60)
    second = dusty.buy("1")
    dusty.fill(second, fee=D("0.0005"), fee_currency="BTC")
    assert (dusty.qty(), position.entries, position.opened_at) == (1, 1, dusty.at)
    assert [leg.order_qty for leg in dusty.legs()[0]] == [1]
    assert dusty.alarms() == []


def test_it_counts_no_entry_twice_that_dust_outlived(dusty: Bench) -> None:
    (stop,), _ = dusty.legs()
    dusty.ack(stop)
    dusty.fill(stop)
    for entries in (1, 2):
        dusty.fill(dusty.buy("1"))
        assert dusty.desk.state.positions[BTC].entries == entries


def test_an_entry_whose_first_lot_was_less_after_its_fee_works_on(spot: Bench) -> None:
    entry = spot.buy("1")
    spot.fill(entry, "0.001", fee=D("0.000001"), fee_currency="BTC")
    assert (spot.bracket(entry).status, entry.cancel_asked_by, spot.legs()[0]) == (B.PENDING, "", [])
    spot.fill(entry, fee=D("0.000999"), fee_currency="BTC")
    assert (spot.qty(), [leg.order_qty for leg in spot.legs()[0]]) == (D("0.999"), [D("0.999")])


def test_a_close_says_what_it_leaves(dusty: Bench) -> None:
    assert "0.0005 BTCUSDT is less than one lot and stays." in dusty.command(CommandKind.CLOSE, target=BTC).text


def test_a_close_of_less_than_a_lot_is_refused(dusty: Bench) -> None:
    signal = dusty.decide(decision(SignalKind.CLOSE, "0.0004"))
    assert (signal.reason, signal.text) == (
        Reason.NOTHING_TO_CLOSE,
        "0.0004 BTCUSDT is less than one lot, which is the least that can be closed.",
    )


def test_a_fee_of_a_sale_in_kind_is_no_overshoot(dusty: Bench) -> None:
    """All of it is sold and the fee is taken from nothing: the venue shows a little below zero, and nothing is closed in a panic."""
    dusty.fill(dusty.legs()[0][0], fee=D("0.0009"), fee_currency="BTC")
    assert (dusty.qty(), dusty.exits(), dusty.alarms()) == (D("-0.0004"), [], [])


def test_new_lots_are_in_force_with_dust_left(dusty: Bench) -> None:
    (stop,), _ = dusty.legs()
    config = dusty.desk.state.settings
    assert config is not None
    spec = msgspec.structs.replace(config.instruments[BTC], lot_size=D("0.01"))
    changed = msgspec.structs.replace(config, version=2, instruments=config.instruments | {BTC: spec})
    dusty.take(SettingsChanged(at=dusty.at, settings=changed))
    assert dusty.alarms() == ["terms"]
    dusty.ack(stop)
    dusty.fill(stop)
    assert dusty.alarms() == []
    assert dusty.desk.state.settings is not None
    assert dusty.desk.state.settings.instruments[BTC].lot_size == D("0.01")
