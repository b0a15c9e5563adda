"""What a change of an instrument's terms, and the close of its market, do to orders and positions."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from execution.core.messages import DeskSettings, ExecType, SettingsChanged
from risk.core.hours import Session
from risk.core.units import TimeInForce
from tests.core.builders import BTC, NOON, Bench, D, OrdType, settings

COARSE: dict[str, Any] = {"tick_size": D("0.5"), "lot_size": D(1), "contract_value": D(2)}


def changed(**terms: Any) -> DeskSettings:
    base = settings(version=2)
    spec = msgspec.structs.replace(base.instruments[BTC], **terms)
    return msgspec.structs.replace(base, instruments=base.instruments | {BTC: spec})


def in_force(bench: Bench) -> dict[str, object]:
    assert bench.desk.state.settings is not None
    spec = bench.desk.state.settings.instruments[BTC]
    return {name: getattr(spec, name) for name in COARSE}


def test_it_changes_the_terms_of_a_flat_symbol_at_once() -> None:
    bench = Bench()
    bench.take(SettingsChanged(at=bench.at, settings=changed(**COARSE)))
    assert in_force(bench) == COARSE
    assert bench.alarms() == []


def test_it_waits_with_new_terms_until_the_symbol_is_flat() -> None:
    bench = Bench()
    before = in_force(bench)
    entry = bench.armed("1.5")
    bench.take(SettingsChanged(at=bench.at, settings=changed(is_tradable=False, **COARSE)))
    state = bench.desk.state
    assert state.settings is not None
    assert (in_force(bench), state.settings.instruments[BTC].is_tradable) == (before, False)
    assert (state.account.settings_version, bench.alarms()) == (2, ["terms"])
    stop, target = (leg for legs in bench.legs() for leg in legs)
    bench.fill(stop)
    assert (bench.qty(), in_force(bench)) == (D(0), before)
    bench.report(target, ExecType.CANCELED)
    assert entry.done is not None
    assert (in_force(bench), bench.alarms()) == (COARSE, [])
    assert state.positions[BTC].realised == D("-3.0")


def test_it_waits_no_longer_when_the_change_is_taken_back() -> None:
    bench = Bench()
    bench.armed("1.5")
    bench.take(SettingsChanged(at=bench.at, settings=changed(**COARSE)))
    bench.take(SettingsChanged(at=bench.at, settings=settings(version=3)))
    assert (bench.desk.state.specs, bench.alarms()) == ({}, [])


@pytest.mark.parametrize(
    ("calendar", "tif", "seconds"),
    [("XNYS", TimeInForce.DAY, 120), ("XNYS", TimeInForce.GTC, 300), ("24/7", TimeInForce.DAY, 300)],
)
def test_it_takes_a_day_entry_away_at_the_close(calendar: str, tif: TimeInForce, seconds: int) -> None:
    opened = Session(NOON - timedelta(hours=1), NOON + timedelta(seconds=120))
    bench = Bench(msgspec.structs.replace(changed(calendar=calendar), sessions={"XNYS": (opened,)}))
    entry = bench.buy("1", ord_type=OrdType.LIMIT, price=D(99), time_in_force=tif)
    bench.ack(entry)
    bench.wait(seconds - 1)
    assert entry.pending is None
    bench.wait(1)
    assert entry.cancel_asked_by == "its time to live"


def test_it_rolls_a_session_at_the_opening_of_the_symbols_market() -> None:
    opens = tuple(Session(NOON + timedelta(hours=h), NOON + timedelta(hours=h + 6)) for h in (-1, 23))
    bench = Bench(msgspec.structs.replace(changed(calendar="XNYS"), sessions={"XNYS": opens}))
    entry = bench.armed("10")
    bench.later(22 * 3600)
    bench.fill(bench.legs()[0][0])
    session = bench.desk.state.symbols[BTC].session
    assert (session.session_start_at, session.session_end_at, session.net) == (opens[0].open_at, opens[1].open_at, D(-20))
    bench.wait(3600)
    session = bench.desk.state.symbols[BTC].session
    assert (session.session_start_at, session.net, session.losses) == (opens[1].open_at, D(0), 0)
    assert entry.done is not None
