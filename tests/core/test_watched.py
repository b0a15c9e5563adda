"""What the Desk watches itself: emulated stops and targets, trailing stops, time limits; and what it does without prices."""

# mypy: disable-error-code="comparison-overlap"
from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from execution.brains.base import EXTRAS, by_range
from execution.core.brackets import BracketStatus
from execution.core.messages import (
    Bar,
    CommandKind,
    Decision,
    ExecType,
    Leg,
    LinkChanged,
    LinkKind,
    PriceAged,
    SendReplace,
    SignalKind,
    Started,
    Touched,
    Trailed,
    Unwatch,
    Watch,
)
from execution.core.orders import OrderState, Purpose
from execution.core.state import CORE_VERSION
from risk.core.hours import Session
from risk.core.settings import NakedPolicy, UnsupportedProtection
from risk.core.units import OrdType, Side
from risk.core.verdict import Capability, OrderClass, Reason
from tests.core.builders import BTC, INSTRUMENTS, NOON, Bench, D, at_venue, decision
from tests.core.builders import settings as config

C = Capability
B = BracketStatus
X = ExecType


def opened(bench: Bench, qty: str = "10", **changes: Any) -> OrderState:
    """A filled entry with whatever legs it got acknowledged."""
    entry = bench.buy(qty, **changes)
    bench.ack(entry)
    bench.fill(entry)
    for leg in bench.working():
        bench.ack(leg)
    return entry


def touch(bench: Bench, entry: OrderState, name: str, px: str = "98") -> None:
    bench.take(Touched(at=bench.at, watch_id=f"{name}:{entry.cl_ord_id}", price=D(px)))


def trailed(bench: Bench, entry: OrderState, extreme: str) -> None:
    bench.take(Trailed(at=bench.at, watch_id=f"trail:{entry.cl_ord_id}", extreme=D(extreme)))


def names(bench: Bench) -> list[str]:
    return sorted(watch_id.partition(":")[0] for watch_id in bench.desk.state.watches)


def exits(bench: Bench) -> list[OrderState]:
    return [o for o in bench.working() if o.purpose is Purpose.EXIT]


# --- emulated stops ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("has", "watched", "resting"),
    [
        ((), ["stop", "target"], (0, 0)),
        ((C.REDUCE_ONLY,), ["stop"], (0, 1)),
        ((C.STOP_ORDERS,), ["target"], (1, 0)),
        ((C.STOP_ORDERS, C.REDUCE_ONLY), [], (1, 1)),
        ((C.STOP_ORDERS, C.REDUCE_ONLY, C.NATIVE_BRACKET, C.NATIVE_OCO), [], (1, 1)),
    ],
)
def test_it_watches_what_the_venue_cannot_hold(has: tuple[C, ...], watched: list[str], resting: tuple[int, int]) -> None:
    bench = Bench(at_venue(*has))
    entry = opened(bench)
    assert names(bench) == watched
    assert tuple(len(legs) for legs in bench.legs()) == resting
    bracket = bench.bracket(entry)
    assert (bracket.status, bracket.is_stop_emulated, bracket.is_target_emulated) == (
        B.ARMED,
        "stop" in watched,
        "target" in watched,
    )


def test_it_sends_a_touched_stop_to_market_at_once() -> None:
    bench = Bench(at_venue())
    entry = opened(bench)
    touch(bench, entry, "stop")
    (close,) = exits(bench)
    assert (close.side, close.ord_type, close.order_qty, close.order_class) == (
        Side.SELL,
        OrdType.MARKET,
        10,
        OrderClass.PROTECTION,
    )
    assert names(bench) == [], "nothing else may fire while it works"
    bench.fill(close, px="97.9")
    assert (bench.qty(), bench.bracket(entry).status, bench.alarms()) == (0, B.CLOSED, [])


def test_it_lets_a_touched_stop_take_the_place_of_a_target_that_rests() -> None:
    bench = Bench(at_venue(C.REDUCE_ONLY))
    entry = opened(bench)
    bench.decide(Decision(signal=SignalKind.CLOSE, ord_type=OrdType.LIMIT, price=D(103)))
    (limit,) = exits(bench)
    bench.ack(limit)
    assert names(bench) == ["stop"]
    touch(bench, entry, "stop")
    assert bench.canceled() == [limit.cl_ord_id]
    assert [o.ord_type for o in exits(bench)] == [OrdType.LIMIT, OrdType.MARKET]


def test_it_watches_again_a_moment_after_its_exit_was_refused() -> None:
    bench = Bench(at_venue())
    entry = opened(bench)
    touch(bench, entry, "stop")
    bench.report(exits(bench)[0], X.REJECTED, text="busy")
    assert (names(bench), bench.alarms()) == ([], ["exit"])
    bench.wait(0.3)
    assert names(bench) == ["stop", "target"]
    touch(bench, entry, "stop")
    bench.fill(exits(bench)[0])
    assert (bench.qty(), bench.alarms()) == (0, [])


def test_it_resizes_a_watched_stop_with_the_position() -> None:
    bench = Bench(at_venue())
    entry = bench.buy("10")
    bench.fill(entry, "4")
    bench.fill(entry, "6")
    assert len([e for e in bench.everything if isinstance(e, Watch)]) == 2, "what is watched does not depend on the quantity"
    touch(bench, entry, "stop")
    assert [o.order_qty for o in exits(bench)] == [10]


def test_it_sets_every_watch_again_after_a_start() -> None:
    bench = Bench(at_venue())
    entry = opened(bench, trail_offset=D(1))
    trailed(bench, entry, "101.5")
    bench.take(Started(at=bench.at, token=2, core_version=CORE_VERSION, epoch="0002"))
    watches = {watch.watch_id.partition(":")[0]: watch for watch in bench.all(Watch)}
    assert sorted(watches) == ["stop", "target", "trail"]
    assert watches["trail"].trail is not None
    assert (watches["trail"].trail.extreme, watches["trail"].price) == (D("101.5"), D("100.5"))


def test_it_goes_on_watching_when_prices_come_back_last() -> None:
    """After a start the venue may be compared before the first price: nothing else asks for the watches until it is compared again."""
    bench = Bench(at_venue())
    opened(bench)
    bench.take(Started(at=bench.at, token=2, core_version=CORE_VERSION, epoch="0002"))
    bench.take(LinkChanged(at=bench.at, link=LinkKind.ORDERS, is_up=True))
    bench.reconcile()
    assert names(bench) == ["stop", "target"]
    assert bench.all(Unwatch) == []
    bench.take(LinkChanged(at=bench.at, link=LinkKind.PRICES, is_up=True))
    assert names(bench) == ["stop", "target"]


def test_it_watches_nothing_while_there_is_nowhere_to_send() -> None:
    bench = Bench(at_venue())
    opened(bench)
    bench.take(LinkChanged(at=bench.at, link=LinkKind.ORDERS, is_up=False, cause="reset"))
    bench.mark(BTC, "99")
    bench.take(LinkChanged(at=bench.at, link=LinkKind.ORDERS, is_up=True))
    assert names(bench) == ["stop", "target"]


# --- no prices ---------------------------------------------------------------------------------------------------------------


def age(bench: Bench, *, is_stale: bool) -> None:
    bench.take(PriceAged(at=bench.at, symbol=BTC, is_stale=is_stale, last_at=bench.at))


@pytest.mark.parametrize("policy", [NakedPolicy.CLOSE_POSITION, NakedPolicy.KEEP])
def test_it_calls_a_watched_stop_naked_when_no_price_comes(policy: NakedPolicy) -> None:
    bench = Bench(at_venue(naked_policy=policy))
    entry = opened(bench)
    age(bench, is_stale=True)
    assert (bench.bracket(entry).status, bench.alarms()) == (B.NAKED, ["naked"])
    assert bench.desk.state.account.conditions.keys() >= {"stale price BTCUSDT"}
    assert [o.order_qty for o in exits(bench)] == ([10] if policy is NakedPolicy.CLOSE_POSITION else [])
    if policy is NakedPolicy.KEEP:
        age(bench, is_stale=False)
        assert (bench.bracket(entry).status, bench.alarms(), names(bench)) == (B.ARMED, [], ["stop", "target"])


def test_it_expects_no_prices_of_a_closed_market() -> None:
    made = at_venue()
    spec = msgspec.structs.replace(INSTRUMENTS[BTC], calendar="XTEST")
    hour = timedelta(hours=1)
    sessions = {"XTEST": (Session(NOON - hour, NOON + hour), Session(NOON + 20 * hour, NOON + 28 * hour))}
    bench = Bench(msgspec.structs.replace(made, instruments=made.instruments | {BTC: spec}, sessions=sessions))
    entry = opened(bench)
    bench.wait(2 * 3600)
    age(bench, is_stale=True)
    bench.wait(10)
    assert (bench.bracket(entry).status, bench.alarms(), exits(bench)) == (B.ARMED, [], [])


def test_it_does_not_mind_for_a_stop_that_rests_at_the_venue() -> None:
    bench = Bench()
    entry = opened(bench)
    age(bench, is_stale=True)
    assert (bench.bracket(entry).status, bench.alarms()) == (B.ARMED, [])


def test_it_asks_to_be_told_of_silence_only_for_emulated_stops() -> None:
    assert [w.stale_ms for w in watched(at_venue())] == [5000, 5000]
    assert [w.stale_ms for w in watched(at_venue(C.STOP_ORDERS))] == [0]


def watched(made: Any) -> list[Watch]:
    bench = Bench(made)
    opened(bench)
    return list(bench.desk.state.watches.values())


# --- unsupported protection ----------------------------------------------------------------------------------------------------


def test_it_denies_emulates_or_goes_without_as_the_settings_say() -> None:
    deny = Bench(at_venue(unsupported_protection=UnsupportedProtection.DENY))
    assert deny.decide(decision(SignalKind.BUY, "1", stop_loss=D(98))).reason is Reason.UNSUPPORTED_PROTECTION
    bare = Bench(at_venue(unsupported_protection=UnsupportedProtection.ALLOW_UNPROTECTED))
    entry = opened(bare)
    assert (names(bare), bare.alarms(), bare.bracket(entry).is_stop_waived) == (["target"], ["nostop"], True)


# --- trailing ----------------------------------------------------------------------------------------------------------------


def test_it_begins_to_trail_at_the_entry_and_closes_when_the_price_comes_back() -> None:
    bench = Bench()
    entry = opened(bench, trail_offset=D(1))
    (watch,) = [w for w in bench.desk.state.watches.values() if w.trail]
    assert (watch.price, watch.trail and watch.trail.extreme) == (99, 100)
    (stop,), _ = bench.legs()
    assert stop.stop_px == 98, "the fixed stop rests behind the trail, and outlives the desk"
    trailed(bench, entry, "103")
    assert not bench.all(Watch), "the shell follows the price by itself"
    assert bench.bracket(entry).text == "stop trails 1 behind the best price, watched here"
    touch(bench, entry, "trail", "102")
    (close,) = exits(bench)
    assert (close.ord_type, close.order_qty) == (OrdType.MARKET, 10)
    assert close.why == "its trailing stop was touched at 102"


def test_it_moves_the_resting_stop_after_the_trail_where_the_venue_changes_stops() -> None:
    bench = Bench(at_venue(C.STOP_ORDERS, C.REDUCE_ONLY, C.REPLACE))
    entry = opened(bench, trail_pct=D(1))
    trailed(bench, entry, "102.5")
    (asked,) = bench.all(SendReplace)
    assert asked.stop_px == D("101.48"), "a sell stop rounds up, to the safer side"
    trailed(bench, entry, "103")
    assert not bench.all(SendReplace), "one change in flight"
    bench.report(asked.cl_ord_id, X.REPLACED, order_qty=D(10), stop_px=D("101.48"))
    assert [e.stop_px for e in bench.all(SendReplace)] == [D("101.97")]
    trailed(bench, entry, "102")
    assert bench.bracket(entry).stop_px == D("101.97"), "it never gives back"


def test_it_derives_the_first_stop_from_the_trail() -> None:
    bench = Bench()
    entry = opened(bench, stop_loss=None, trail_offset=D(2))
    (stop,), _ = bench.legs()
    assert stop.stop_px == 98
    assert bench.bracket(entry).trail is not None


def test_it_trails_only_from_its_activation_on() -> None:
    bench = Bench()
    entry = opened(bench, trail_offset=D(1), trail_activation=D(102))
    (watch,) = [w for w in bench.desk.state.watches.values() if w.trail]
    assert watch.trail is not None
    assert (watch.trail.extreme, watch.price, watch.trail.is_activated_above) == (None, 102, True)
    assert bench.bracket(entry).text == "stop trails 1 behind the best price once the price was at 102, watched here"
    trailed(bench, entry, "102.4")
    assert bench.bracket(entry).trail is not None
    assert bench.desk.state.watches[watch.watch_id].price == D("101.4")


@pytest.mark.parametrize("has", [(), (C.STOP_ORDERS,), (C.STOP_ORDERS, C.REDUCE_ONLY), (C.STOP_ORDERS, C.REDUCE_ONLY, C.REPLACE)])
def test_it_rests_a_stop_where_a_trail_begins_that_had_none(has: tuple[C, ...]) -> None:
    """A watch dies with the desk, and sees nothing while no price comes: before it is the only stop there is, another one stands."""
    bench = Bench(at_venue(*has, is_stop_required=False))
    entry = opened(bench, stop_loss=None, take_profit=None, trail_pct=D(1), trail_activation=D(102))
    assert (names(bench), bench.legs()[0], bench.bracket(entry).status) == (["trail"], [], B.ARMED)
    trailed(bench, entry, "102.45")
    if C.STOP_ORDERS in has:
        (stop,) = bench.legs()[0]
        assert (stop.stop_px, stop.order_qty) == (D("101.43"), 10), "1 % behind, on the grid and never on the riskier side"
    else:
        assert names(bench) == ["stop", "trail"]
    bench.settle_legs()
    trailed(bench, entry, "104")
    assert bench.bracket(entry).stop_px == (D("102.96") if C.REPLACE in has else D("101.43"))


@pytest.mark.parametrize(
    ("has", "here"),
    [
        ((C.STOP_ORDERS, C.REDUCE_ONLY), ""),
        ((C.STOP_ORDERS,), "target watched here, not at the venue, "),
        ((), "stop watched here, not at the venue, target watched here, not at the venue, "),
    ],
)
def test_it_says_all_that_people_would_not_take_for_granted(has: tuple[C, ...], here: str) -> None:
    bench = Bench(at_venue(*has))
    entry = opened(bench, trail_pct=D("1.5"), stop_limit_offset=D("0.5"), time_limit_s=90)
    assert bench.bracket(entry).text == (
        "stop trails 1.5 % behind the best price, watched here, stop-limit, its limit 0.5 behind its trigger, "
        f"{here}closes at 2026-01-05 12:01:30 UTC"
    )


@pytest.mark.parametrize(("name", "px"), [("stop", "97.9"), ("target", "104.1")])
def test_it_says_why_it_left(name: str, px: str) -> None:
    bench = Bench(at_venue())
    touch(bench, opened(bench), name, px)
    (close,) = exits(bench)
    assert (close.why, close.text) == (f"its {name} was touched at {px}", "")


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"trail_offset": D(0)}, "trail_offset is 0"),
        ({"trail_pct": D("NaN")}, "trail_pct is"),
        ({"trail_pct": D(100)}, "trail_pct is 100; it must be below 100"),
        ({"trail_offset": D(1), "trail_pct": D(1)}, "not by both"),
        ({"trail_activation": D(105)}, "needs a trail_offset or a trail_pct"),
        ({"stop_limit_offset": D(-1)}, "stop_limit_offset is -1"),
        ({"stop_limit_offset": D(1), "stop_loss": None}, "stop_limit_offset needs a stop"),
        ({"time_limit_s": 0}, "time_limit_s is 0"),
    ],
)
def test_it_denies_protection_that_makes_no_sense(fields: dict[str, Any], why: str) -> None:
    bench = Bench()
    digest = bench.desk.digest()
    signal = bench.decide(decision(SignalKind.BUY, "1", **({"stop_loss": D(98)} | fields)))
    assert signal.reason is Reason.INVALID_DECISION
    assert why in signal.text
    assert bench.desk.digest() == digest


# --- stop-limits and time limits -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "limit"), [(Side.BUY, "97.49"), (Side.SELL, "102.51")])
def test_it_rests_a_stop_limit_with_its_limit_behind_the_trigger(side: Side, limit: str) -> None:
    bench = Bench()
    entry = (bench.buy if side is Side.BUY else bench.sell)("10", stop_limit_offset=D("0.505"))
    bench.fill(entry)
    (stop,), _ = bench.legs()
    assert (stop.ord_type, stop.price) == (OrdType.STOP_LIMIT, D(limit))
    assert stop.stop_px == (98 if side is Side.BUY else 102)


@pytest.mark.parametrize("policy", [NakedPolicy.CLOSE_POSITION, NakedPolicy.KEEP])
def test_it_calls_a_position_naked_whose_stop_limit_the_price_went_through(policy: NakedPolicy) -> None:
    bench = Bench(config(naked_policy=policy))
    entry = opened(bench, stop_limit_offset=D("0.5"))
    (watch,) = bench.desk.state.watches.values()
    assert (watch.watch_id.partition(":")[0], watch.price, watch.is_above) == ("through", D("97.5"), False)
    touch(bench, entry, "through", "97.4")
    bench.wait(1.9)
    assert bench.alarms() == []
    bench.wait(0.2)
    assert (bench.bracket(entry).status, bench.alarms()) == (B.NAKED, ["naked"])
    assert [(o.order_qty, o.why) for o in exits(bench)] == (
        [(10, "the price went through 97.5, the limit of its stop-limit, which did not fill")]
        if policy is NakedPolicy.CLOSE_POSITION
        else []
    )
    assert names(bench) == []


def test_it_is_covered_again_once_a_person_moves_the_stop_limit_that_did_not_fill() -> None:
    bench = Bench(config(naked_policy=NakedPolicy.KEEP))
    entry = opened(bench, stop_limit_offset=D("0.5"))
    touch(bench, entry, "through", "97.4")
    bench.wait(2.1)
    bench.mark(BTC, "97")
    bench.command(CommandKind.MOVE_LEG, target=entry.cl_ord_id, leg=Leg.STOP, price=D(96))
    for leg in bench.working():
        bench.ack(leg)
    assert (bench.bracket(entry).status, bench.alarms()) == (B.ARMED, [])
    assert names(bench) == ["through"]


def test_it_forgets_that_the_price_went_through_when_the_stop_limit_fills() -> None:
    bench = Bench()
    entry = opened(bench, stop_limit_offset=D("0.5"))
    touch(bench, entry, "through", "97.4")
    (stop,), _ = bench.legs()
    bench.fill(stop, px="97.5")
    bench.wait(3)
    assert (bench.qty(), [a for a in bench.alarms() if a == "naked"]) == (0, [])


def test_it_sends_a_watched_stop_limit_with_its_limit() -> None:
    bench = Bench(at_venue())
    entry = opened(bench, stop_limit_offset=D("0.5"))
    touch(bench, entry, "stop")
    (close,) = exits(bench)
    assert (close.ord_type, close.price) == (OrdType.LIMIT, D("97.5"))


def test_it_closes_a_position_whose_time_is_over() -> None:
    bench = Bench(config(entry_ttl_s=600))
    entry = bench.buy("10", time_limit_s=60)
    bench.ack(entry)
    bench.wait(30)
    bench.fill(entry)
    for leg in bench.working():
        bench.ack(leg)
    bench.wait(59)
    assert exits(bench) == [], "it counts from the first fill"
    bench.wait(1.1)
    (close,) = exits(bench)
    assert close.why == "open for its time limit of 60 s"
    bench.report(close, X.REJECTED)
    bench.wait(1.1)
    (again,) = exits(bench)
    bench.fill(again)
    for leg in bench.working():
        bench.report(leg, X.CANCELED)
    assert (bench.qty(), bench.bracket(entry).status, bench.alarms()) == (0, B.CLOSED, [])


def test_it_drops_a_watch_when_its_bracket_is_closed() -> None:
    bench = Bench(at_venue())
    entry = opened(bench)
    bench.decide(Decision(signal=SignalKind.CLOSE))
    bench.fill(exits(bench)[0])
    assert {e.watch_id.partition(":")[0] for e in bench.everything if isinstance(e, Unwatch)} == {"stop", "target"}
    bench.take(Touched(at=bench.at, watch_id=f"stop:{entry.cl_ord_id}", price=D(97)))
    assert exits(bench) == []


# --- all of it, as a brain asks for it ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("has", [(), (C.STOP_ORDERS,), (C.REDUCE_ONLY,), (C.STOP_ORDERS, C.REDUCE_ONLY, C.REPLACE)])
@pytest.mark.parametrize("ends_by", ["its trailing stop", "its time"])
def test_it_does_what_the_parameters_of_a_bot_ask_for_whatever_the_venue_can_do(has: tuple[C, ...], ends_by: str) -> None:
    """A range of 1: stop 2 below, its limit 0.5 behind that, trailing 1.5 behind the best price, at most two bars of a minute."""
    wants = {"stop_atr": "2", "target_atr": "0", "trail_atr": "1.5", "stop_limit_atr": "0.5", "time_limit_bars": "2"}
    bar = Bar(BTC, 60, NOON, D(100), D(101), D(99), D(100), D(1))
    params = {name: D(row[0]) for name, row in EXTRAS.items()} | {name: D(value) for name, value in wants.items()}
    asked = by_range(INSTRUMENTS[BTC], Side.BUY, bar, params, 1.0, note="crossed")
    bench = Bench(at_venue(*has))
    signal = bench.decide(asked)
    entry = bench.desk.state.orders[signal.cl_ord_id]
    bench.fill(entry)
    bench.settle_legs()
    stop_px = D(98)
    if C.STOP_ORDERS in has:
        assert [(o.ord_type, o.stop_px, o.price) for o in bench.legs()[0]] == [(OrdType.STOP_LIMIT, stop_px, D("97.5"))]
    assert set(names(bench)) == ({"trail", "through"} if C.STOP_ORDERS in has else {"stop", "trail"})
    if ends_by == "its trailing stop":
        trailed(bench, entry, "103")
        bench.settle_legs()
        assert bench.bracket(entry).stop_px == (D("101.5") if C.REPLACE in has else stop_px)
        touch(bench, entry, "trail", "101.4")
    else:
        bench.wait(120)
    bench.settle_legs()
    (close,) = exits(bench)
    assert (close.ord_type, close.order_qty, close.why) == (
        OrdType.MARKET,
        entry.order_qty,
        "its trailing stop was touched at 101.4" if ends_by == "its trailing stop" else "open for its time limit of 120 s",
    )
    bench.fill(close)
    for leg in bench.working():
        bench.report(leg, X.CANCELED)
    assert (bench.qty(), bench.bracket(entry).status, bench.desk.state.watches, bench.alarms()) == (0, B.CLOSED, {}, [])
