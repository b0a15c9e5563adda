"""The same events give the same Desk, bit for bit: in another process, from a snapshot, and whatever was denied in between."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from execution.core.messages import Decided, Event, SendNewOrder, SignalKind
from execution.core.sending import base36
from execution.core.state import DeskState
from execution.core.turn import Index
from tests.core.builders import BOT, BTC, Bench, D, decision, quote
from tests.core.session import played, replayed, step

SEEDS = range(6)


def digest_elsewhere(journal: list[Event], *, hash_seed: str) -> str:
    """The digest that a fresh process comes to under a hash seed of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.core.session"],
        input=msgspec.msgpack.encode(journal),
        capture_output=True,
        check=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        timeout=60,
    )
    return done.stdout.decode()


def test_it_comes_to_one_digest_under_any_hash_seed() -> None:
    bench = played(7, steps=600)
    expected = bench.desk.digest().hex()
    assert {digest_elsewhere(bench.journal, hash_seed=seed) for seed in ("1", "2")} == {expected}


@pytest.mark.parametrize("seed", SEEDS)
def test_it_replays_its_journal_to_the_same_state(seed: int) -> None:
    bench = played(seed)
    desk = replayed(bench.journal)
    assert (desk.digest(), desk.seq, desk.seq) == (bench.desk.digest(), bench.desk.seq, len(bench.journal))
    assert desk.state == bench.desk.state
    assert msgspec.msgpack.encode(desk.state) == msgspec.msgpack.encode(bench.desk.state)


@pytest.mark.parametrize("seed", SEEDS)
def test_it_goes_on_from_a_snapshot_as_if_nothing_had_been(seed: int) -> None:
    bench = played(seed)
    cut = len(bench.journal) // 2
    image = msgspec.msgpack.encode(replayed(bench.journal[:cut]).state)
    state = msgspec.msgpack.decode(image, type=DeskState)
    assert msgspec.msgpack.encode(state) == image
    desk = replayed(bench.journal[cut:], state)
    assert desk.digest() == bench.desk.digest()
    assert desk.state == bench.desk.state


@pytest.mark.parametrize("seed", SEEDS)
def test_it_keeps_exposures_as_a_new_index_computes_them(seed: int) -> None:
    chance, bench = random.Random(seed), Bench()
    for n in range(300):
        step(bench, chance, n)
        kept, computed = bench.desk._index.exposures(), Index(bench.desk.state).exposures()
        assert {symbol: kept[symbol] for symbol in computed} == computed


@pytest.mark.parametrize("seed", SEEDS)
def test_it_is_not_moved_by_a_denied_decision(seed: int) -> None:
    bench = played(seed)
    before = (bench.desk.digest(), bench.desk.seq, msgspec.msgpack.encode(bench.desk.state))
    side = SignalKind.SELL if bench.qty() < 0 else SignalKind.BUY
    signal = bench.decide(decision(side, "-1", stop_loss=D(98)))
    assert not signal.is_approved
    assert len(bench.effects) == 1
    assert (bench.desk.digest(), bench.desk.seq, msgspec.msgpack.encode(bench.desk.state)) == before


def test_it_numbers_every_order_once_and_shortly() -> None:
    bench = played(3, steps=600)
    ids = [e.cl_ord_id for e in bench.everything if isinstance(e, SendNewOrder)]
    assert len(ids) == len(set(ids)) > 40
    assert all(len(cl_ord_id) <= 18 and cl_ord_id.isalnum() and cl_ord_id == cl_ord_id.lower() for cl_ord_id in ids)


@pytest.mark.parametrize(("value", "text"), [(0, "00"), (35, "0z"), (36, "10"), (1295, "zz"), (46656, "1000")])
def test_it_counts_in_base_36(value: int, text: str) -> None:
    assert base36(value, 2) == text


def test_it_asks_nothing_of_a_decision_to_hold() -> None:
    bench = Bench()
    seq, digest = bench.desk.seq, bench.desk.digest()
    held = Decided(
        at=bench.at,
        bot=BOT,
        symbol=BTC,
        decision=decision(SignalKind.HOLD, "1", stop_loss=D(98)),
        quote=quote(),
        decision_id="h",
        market_at=bench.at,
    )
    assert bench.take(held) == ()
    assert (bench.desk.seq, bench.desk.digest()) == (seq, digest)


def test_it_ignores_a_decision_it_already_approved() -> None:
    bench = Bench()
    bench.buy("1")
    digest = bench.desk.digest()
    assert bench.take(bench.journal[-1]) == ()
    assert bench.desk.digest() == digest
