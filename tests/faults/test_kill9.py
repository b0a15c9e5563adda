"""kill -9 of the engine thirty times at random moments: nothing lost, nothing sent twice, every position protected.

The auditor below reads the venue's own tables and the desk's rows with plain SQL and shares no code with either.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from tests.faults.world import World

pytestmark = pytest.mark.faults

ACCOUNT = "paper-crypto"
KILLS = 30
HALTED_BOT = "chan-ltc"
OPEN = ("NEW", "PARTIALLY_FILLED")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    try:
        world.seed()
        yield world
    finally:
        world.close()


def test_it_survives_thirty_kills(world: World) -> None:
    moments = random.Random(20260105)
    for n in range(KILLS):
        token = _token(world)
        world.start()
        if n % 6:
            world.until(lambda token=token: _token(world) > token, within_s=30, what="the claim of the account")  # type: ignore[misc]
        time.sleep(moments.uniform(0.0, 2.5))  # the random moment
        world.kill()
        if n == KILLS // 2:
            _halt(world, "bot", HALTED_BOT)
    orders_at_halt = _orders_of(world, HALTED_BOT)
    world.start()
    _halt(world, "account", ACCOUNT)
    world.until(lambda: _is_quiet(world), within_s=30, what="the desk coming to rest")
    assert world.stop() == 0

    assert len(world.ask("SELECT 1 FROM execution_paperfill")) > 0, "the bots never traded: the test proves nothing"
    _audit_orders(world)
    _audit_fills(world)
    _audit_positions(world)
    _audit_protection(world)
    _audit_halts(world, orders_at_halt)
    replayed = world.manage("replay", "--account", ACCOUNT)
    assert replayed.returncode == 0, replayed.stderr


def _token(world: World) -> int:
    """Grows each time an engine claims the account."""
    rows = world.ask("SELECT token FROM execution_lease")
    return int(rows[0][0]) if rows else 0


def _halt(world: World, scope: str, key: str) -> None:
    """Asked with or without an engine alive: the halt is written either way."""
    before = world.ask("SELECT count(*) FROM risk_halt")
    done = world.manage("halt", f"--{scope}", key, "--reason", "a test of restarts", "--by", "admin")
    assert world.ask("SELECT count(*) FROM risk_halt") > before, done.stderr


def _orders_of(world: World, bot: str) -> set[str]:
    rows = world.ask("SELECT cl_ord_id FROM execution_order WHERE bot = ? AND purpose = 'ENTRY'", bot)
    return {cl_ord_id for (cl_ord_id,) in rows}


def _is_quiet(world: World) -> bool:
    """Active, nothing pending or unknown, no entry at work, every open bracket armed."""
    pending = "SELECT 1 FROM execution_order WHERE ord_status IN ('PENDING_NEW', 'UNKNOWN', 'PENDING_CANCEL', 'PENDING_REPLACE')"
    return (
        world.ask("SELECT phase FROM execution_accountstate") == [("ACTIVE",)]
        and not world.ask(pending)
        and not world.ask("SELECT 1 FROM execution_order WHERE purpose = 'ENTRY' AND is_working")
        and not world.ask("SELECT 1 FROM execution_bracket WHERE is_open AND open_qty <> '0' AND status <> 'ARMED'")
        and not world.ask("SELECT 1 FROM execution_command WHERE status = 'PENDING'")
    )


def _audit_orders(world: World) -> None:
    """Every order the venue has is ours and known, with the same quantity filled; none was submitted twice."""
    venue = dict(world.ask("SELECT cl_ord_id, cum_qty FROM execution_paperorder"))
    ours = dict(world.ask("SELECT cl_ord_id, cum_qty FROM execution_order"))
    assert venue.keys() <= ours.keys()
    assert {key: Decimal(ours[key]) for key in venue} == {key: Decimal(value) for key, value in venue.items()}
    assert not world.ask("SELECT cl_ord_id FROM execution_order WHERE text LIKE '%duplicate%'")
    working = {key for (key,) in world.ask("SELECT cl_ord_id FROM execution_order WHERE is_working")}
    resting = {key for (key,) in world.ask(f"SELECT cl_ord_id FROM execution_paperorder WHERE ord_status IN {OPEN}")}
    assert working == resting


def _audit_fills(world: World) -> None:
    """Every fill of the venue is booked, once, as it was. What filled under a replace's id belongs to the order replaced."""
    columns = "cl_ord_id, exec_id, side, last_qty, last_px, fee"
    replaced = dict(world.ask("SELECT cl_ord_id, orig_cl_ord_id FROM execution_paperreplace"))
    fills = [(replaced.get(key, key), *rest) for key, *rest in world.ask(f"SELECT {columns} FROM execution_paperfill")]
    venue = Counter(map(_numbers, fills))
    ours = Counter(map(_numbers, world.ask(f"SELECT {columns} FROM execution_fill")))
    assert venue == ours


def _numbers(row: tuple[str, ...]) -> tuple[object, ...]:
    return (*row[:3], *map(Decimal, row[3:]))


def _audit_positions(world: World) -> None:
    venue = {asset: Decimal(qty) for asset, qty in world.ask("SELECT asset, qty FROM execution_paperbalance WHERE asset <> 'USDT'")}
    ours = {symbol: Decimal(qty) for symbol, qty in world.ask("SELECT symbol, qty FROM execution_position")}
    assert {k: v for k, v in venue.items() if v} == {k: v for k, v in ours.items() if v}


def _audit_protection(world: World) -> None:
    """Each open position has a stop resting at the venue for exactly its quantity, on the other side."""
    stops = world.ask(
        "SELECT symbol, side, order_qty, cum_qty FROM execution_paperorder "
        f"WHERE ord_type IN ('STOP', 'STOP_LIMIT') AND ord_status IN {OPEN}"
    )
    protected: Counter[tuple[str, str]] = Counter()
    for symbol, side, order_qty, cum_qty in stops:
        protected[symbol, side] += Decimal(order_qty) - Decimal(cum_qty)  # type: ignore[assignment]
    for symbol, qty in world.ask("SELECT symbol, qty FROM execution_position WHERE is_open"):
        side = "SELL" if Decimal(qty) > 0 else "BUY"
        assert protected[symbol, side] == abs(Decimal(qty)), f"{symbol} is not protected"


def _audit_halts(world: World, orders_at_halt: set[str]) -> None:
    """The halts stand, and the halted bot entered nothing since."""
    standing = {key for (key,) in world.ask("SELECT scope_key FROM risk_halt WHERE cleared_at IS NULL")}
    assert {HALTED_BOT, ACCOUNT} <= standing
    assert _orders_of(world, HALTED_BOT) == orders_at_halt
