"""A feed that comes late is as good as down, and back when it keeps up."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from execution.core.desk import Desk
from execution.core.messages import BotSpec, DeskSettings, LinkChanged, LinkKind
from execution.engine.clock import Clock
from execution.engine.floor import Floor
from execution.engine.lag import Lag
from execution.engine.publisher import Stream
from risk.core.settings import ACCOUNT_PRESET, PRESETS, Profile
from risk.core.units import NO_LIMIT, AssetClass, Instrument, Quote
from tests.conftest import NOON

D = Decimal
NAN = D("NaN")


def quote(after_s: float, *, lag_s: float, symbol: str = "BTCUSDT") -> Quote:
    """Received so long after noon, and so long under way."""
    received_at = NOON + timedelta(seconds=after_s)
    return Quote(symbol, D(99), D(101), D(100), received_at - timedelta(seconds=lag_s), received_at, received_at)


def settings(**limits_ms: Decimal | None) -> DeskSettings:
    """One bot on every symbol, with a limit for each."""
    base = PRESETS[AssetClass.CRYPTO_SPOT]
    return DeskSettings(
        account="paper",
        environment="PAPER",
        currency="USDT",
        version=1,
        digest="d",
        capabilities=(),
        instruments={s: Instrument(s, AssetClass.CRYPTO_SPOT, D("0.1"), D("0.1"), D(1), "USDT", "X") for s in limits_ms},
        bots={"bot": BotSpec(code="bot", brain="ema_cross", symbols=tuple(limits_ms), profile="p")},
        profiles={
            "p": Profile(
                code="p",
                base=msgspec.structs.replace(base, feed_lag_ms_max=None),
                symbols={s: msgspec.structs.replace(base, feed_lag_ms_max=limit) for s, limit in limits_ms.items()},
            )
        },
        limits=ACCOUNT_PRESET,
    )


class Live:
    """A feed that says what it is told to."""

    label, is_synthetic, is_in_step, offset, broken_lines, gap_ms = "LIVE", False, False, 0, 0, 0

    def __init__(self, *said: Quote, is_recorded: bool = False, has_synchronised_clock: bool = True) -> None:
        self.said = said
        self.is_recorded = is_recorded
        self.has_synchronised_clock = has_synchronised_clock

    async def events(self) -> AsyncIterator[Quote]:
        for one in self.said:
            yield one

    async def history(self, symbol: str, *, bars: int, interval_s: int) -> list[Any]:
        return []


def lag_of(**limits_ms: Decimal | None) -> Lag:
    lag = Lag(Live())
    lag.settle(settings(**limits_ms))
    return lag


def test_it_is_late_beyond_the_limit_and_says_by_how_much() -> None:
    lag = lag_of(BTCUSDT=D(5000))
    lag.look([quote(1, lag_s=5)])
    assert lag.text == ""
    lag.look([quote(2, lag_s=7.25)])
    assert lag.text == "prices come 7,250 ms late; the limit is 5,000 ms"


def test_it_is_not_late_while_one_symbol_is_on_time() -> None:
    lag = lag_of(BTCUSDT=D(5000), ETHUSDT=D(5000))
    lag.look([quote(1, lag_s=3600), quote(1, lag_s=0.1, symbol="ETHUSDT")])
    assert lag.text == ""


def test_it_judges_what_came_since_it_last_looked() -> None:
    lag = lag_of(BTCUSDT=D(5000), ETHUSDT=D(5000))
    on_time, late = quote(1, lag_s=0.1), quote(2, lag_s=60, symbol="ETHUSDT")
    lag.look([on_time])
    lag.look([on_time, late])
    assert lag.text
    lag.look([on_time, late])
    assert lag.text, "silence does not heal it"
    lag.look([quote(3, lag_s=0.1), late])
    assert lag.text == ""


@pytest.mark.parametrize(
    ("limits", "is_late"),
    [
        ({"BTCUSDT": D(1000), "ETHUSDT": D(5000)}, False),
        ({"BTCUSDT": D(1000), "ETHUSDT": None}, True),
        ({"BTCUSDT": D(1000), "ETHUSDT": NAN}, True),
        ({"BTCUSDT": D(1000), "ETHUSDT": NO_LIMIT}, False),
        ({"BTCUSDT": None}, False),
        ({}, False),
    ],
)
def test_it_takes_the_loosest_limit_there_is(limits: dict[str, Decimal | None], *, is_late: bool) -> None:
    lag = lag_of(**limits)
    lag.look([quote(1, lag_s=2)])
    assert bool(lag.text) is is_late


@pytest.mark.parametrize(
    "feed", [Live(is_recorded=True), Live(has_synchronised_clock=False)], ids=["a tape", "a venue with a clock of its own"]
)
def test_it_knows_no_lag_of_a_feed_whose_clock_is_not_ours(feed: Live) -> None:
    lag = Lag(feed)
    lag.settle(settings(BTCUSDT=D(5000)))
    lag.look([quote(1, lag_s=3600)])
    assert lag.text == ""


async def test_it_tells_the_desk_once_that_prices_are_late_and_once_that_they_are_not() -> None:
    told: list[object] = []
    feed = Live(quote(1, lag_s=0.1), quote(2, lag_s=9), quote(3, lag_s=9), quote(4, lag_s=0.1))
    loop: Any = SimpleNamespace(desk=Desk.new("paper"), clock=Clock(), take=told.append, is_behind=False)
    stream = Stream(account_id=1, code="paper")
    floor = Floor(loop, feed, feed_spec="live", shown=None, stream=stream, note=lambda *words: None)
    floor.seat(settings(BTCUSDT=D(5000)))
    told.clear()
    floor.marks_tell()
    assert told == [], "without a price there is nothing to be late"
    floor.has_prices = True
    texts = []
    for said in feed.said:
        floor.on_quote(said)
        floor.marks_tell()
        texts.append(floor.feed_text)
    links = [event for event in told if isinstance(event, LinkChanged)]
    assert [(e.link, e.is_up, e.cause) for e in links] == [
        (LinkKind.PRICES, False, "prices come 9,000 ms late; the limit is 5,000 ms"),
        (LinkKind.PRICES, True, ""),
    ]
    assert texts == ["LIVE", *["LIVE: prices come 9,000 ms late; the limit is 5,000 ms"] * 2, "LIVE"]


async def test_it_leaves_the_link_of_a_feed_that_has_ended_down() -> None:
    told: list[object] = []
    loop: Any = SimpleNamespace(desk=Desk.new("paper"), clock=Clock(), take=told.append, is_behind=False)
    stream = Stream(account_id=1, code="paper")
    floor = Floor(loop, Live(quote(1, lag_s=9)), feed_spec="live", shown=None, stream=stream, note=lambda *words: None)
    floor.seat(settings(BTCUSDT=D(5000)))
    await floor.run()
    floor.marks_tell()
    links = [event for event in told if isinstance(event, LinkChanged)]
    assert [(e.is_up, e.cause) for e in links] == [(True, ""), (False, "the tape is over")]
