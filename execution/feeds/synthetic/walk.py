"""The synthetic market: one price path per symbol, a pure function of seed, symbol and time.

Time is cut into blocks. Each block draws its regime from the one before (calm, rising, falling, rough), how far the price goes in
it, and sometimes a jump; inside it the price is a random walk pinned to both ends. So any moment can be reached by adding up
blocks, without walking every tick before it. All chance is a hash of (seed, symbol, block): the same under any process.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from hashlib import blake2b
from heapq import merge
from random import Random
from typing import Final, NamedTuple

from execution.core.messages import Trade
from risk.core.units import Instrument, Quote

BLOCK_MS: Final = 32_000
#: blocks that lie before the stream's zero: about a day and a half of history
PAST_BLOCKS: Final = 4096
#: how strongly a block pulls the price back to its base
_PULL: Final = 0.01
_QUOTE_GAP_MS: Final = (60, 220)
_TRADE_SHARE: Final = 0.3
_JUMP_SHARE: Final = 0.03

_BASE_PRICES: Final = {"BTC": 61_000.0, "ETH": 2_650.0, "SOL": 141.0, "LTC": 68.0}


class Regime(NamedTuple):
    """How a block moves, in parts of the price: its mean way, the spread of that way, one quote's step, half the bid-ask spread."""

    way: float
    way_sigma: float
    step_sigma: float
    half_spread: float


REGIMES: Final = (
    Regime(0.0, 0.0008, 0.00008, 0.00004),
    Regime(0.0042, 0.0012, 0.00010, 0.00005),
    Regime(-0.0042, 0.0012, 0.00010, 0.00005),
    Regime(0.0, 0.0026, 0.00020, 0.00012),
)
#: chances of the next regime, by the one before
_NEXT: Final = (
    (0.50, 0.20, 0.20, 0.10),
    (0.30, 0.45, 0.10, 0.15),
    (0.30, 0.10, 0.45, 0.15),
    (0.35, 0.20, 0.20, 0.25),
)


class Tick(NamedTuple):
    """One moment of one symbol. Prices in ticks; `lots` is zero unless a trade happened."""

    ms: int
    bid: int
    ask: int
    last: int
    lots: int
    bid_lots: int
    ask_lots: int


def _draws(seed: int, symbol: str, block: int) -> tuple[float, ...]:
    """Eight numbers in [0, 1) that belong to this block."""
    raw = blake2b(f"{seed}:{symbol}:{block}".encode(), digest_size=64).digest()
    return tuple(int.from_bytes(raw[i : i + 8], "big") / 2**64 for i in range(0, 64, 8))


def _normal(u: float, v: float) -> float:
    """A standard normal draw from two uniform ones (Box–Muller)."""
    return math.sqrt(-2.0 * math.log(1.0 - u)) * math.cos(2.0 * math.pi * v)


def _pick(chances: tuple[float, ...], u: float) -> int:
    for index, chance in enumerate(chances):
        if u < chance:
            return index
        u -= chance
    return 0


def base_price(instrument: Instrument) -> float:
    """What the symbol costs when nothing has happened: its known price, or one drawn from its name."""
    for prefix, price in _BASE_PRICES.items():
        if instrument.symbol.startswith(prefix):
            return price
    return float(max(Decimal(round(20 + 180 * _draws(0, instrument.symbol, -1)[0])), 1000 * instrument.tick_size))


class Walk:
    """The path of one symbol. `ticks(from_ms)` gives its moments from there on, without end; ms count from the stream's zero."""

    def __init__(self, seed: int, instrument: Instrument) -> None:
        self._seed = seed
        self._instrument = instrument
        self._base = base_price(instrument)
        self._tick = float(instrument.tick_size)
        self._lot = float(instrument.lot_size)

    def ticks(self, from_ms: int) -> Iterator[Tick]:
        first = max(from_ms // BLOCK_MS, -PAST_BLOCKS)
        level, regime = 0.0, 0
        block = -PAST_BLOCKS
        while True:
            draws = _draws(self._seed, self._instrument.symbol, block)
            regime = _pick(_NEXT[regime], draws[0])
            way = REGIMES[regime].way + REGIMES[regime].way_sigma * _normal(draws[1], draws[2]) - _PULL * level
            jump = 0.004 * _normal(draws[4], draws[5]) if draws[3] < _JUMP_SHARE else 0.0
            if block >= first:
                rng = Random(int(draws[7] * 2**64))  # noqa: S311 — a market, not a secret
                yield from self._block(block, REGIMES[regime], rng, level=level, way=way, jump=jump, from_ms=from_ms)
            level += way + jump
            block += 1

    def _block(
        self, block: int, regime: Regime, rng: Random, *, level: float, way: float, jump: float, from_ms: int
    ) -> Iterator[Tick]:
        times = list(_times(rng, block * BLOCK_MS))
        steps = [rng.gauss(0.0, regime.step_sigma) for _ in times]
        count, jump_at, end, walked = len(times), rng.randrange(len(times)), sum(steps), 0.0
        last = 0
        for index, ms in enumerate(times):
            walked += steps[index]
            done = (index + 1) / count
            mid = self._base * math.exp(level + walked + done * (way - end) + (jump if index >= jump_at else 0.0))
            bid, ask = self._around(mid, regime.half_spread)
            lots = 0
            if rng.random() < _TRADE_SHARE or not last:
                last = ask if rng.random() < 0.5 else bid
                lots = self._lots(rng, mid)
            moment = Tick(ms, bid, ask, last, lots, self._lots(rng, mid), self._lots(rng, mid))
            if ms >= from_ms:
                yield moment

    def _around(self, mid: float, half_spread: float) -> tuple[int, int]:
        bid = max(1, math.floor(mid * (1.0 - half_spread) / self._tick))
        return bid, max(bid + 1, math.ceil(mid * (1.0 + half_spread) / self._tick))

    def _lots(self, rng: Random, mid: float) -> int:
        """A size worth some hundreds or thousands of the currency."""
        return max(1, round(math.exp(rng.gauss(7.0, 1.0)) / mid / self._lot))


def _times(rng: Random, start_ms: int) -> Iterator[int]:
    ms = start_ms + rng.randint(0, _QUOTE_GAP_MS[1])
    while ms < start_ms + BLOCK_MS:
        yield ms
        ms += rng.randint(*_QUOTE_GAP_MS)


def _events(walk: Walk, instrument: Instrument, zero_at: datetime, from_ms: int) -> Iterator[Quote | Trade]:
    """The walk as quotes and trades of the port; `received_at` is the market's time until somebody receives them."""
    symbol, tick, lot = instrument.symbol, instrument.tick_size, instrument.lot_size
    seen: tuple[int, int, int] | None = None
    changed_at = zero_at
    for moment in walk.ticks(from_ms):
        at = zero_at + timedelta(milliseconds=moment.ms)
        if (now := moment[1:4]) != seen:
            seen, changed_at = now, at
        last = tick * moment.last
        yield Quote(
            symbol=symbol,
            bid=tick * moment.bid,
            ask=tick * moment.ask,
            last=last,
            at=at,
            received_at=at,
            changed_at=changed_at,
            bid_qty=lot * moment.bid_lots,
            ask_qty=lot * moment.ask_lots,
        )
        if moment.lots:
            yield Trade(symbol, last, lot * moment.lots, at, at)


def ticks(seed: int, instruments: Iterable[Instrument], start_at: datetime, *, offset_ms: int = 0) -> Iterator[Quote | Trade]:
    """Every event of the market from `offset_ms` on, in time order, without end; the first ones happen at `start_at`.

    Pure and free of clocks, so that a test can run a desk on it in virtual time.
    """
    zero_at = start_at - timedelta(milliseconds=offset_ms)
    streams = [_events(Walk(seed, instrument), instrument, zero_at, offset_ms) for instrument in instruments]
    return merge(*streams, key=lambda event: event.at)
