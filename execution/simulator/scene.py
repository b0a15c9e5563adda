"""What a seed sets up before anything happens: instruments, bots, settings, and what the venue can do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any, Final

import msgspec

from execution.core.messages import BooksBy, BotSpec, DeskSettings, Timing
from execution.simulator.market import NAME
from risk.core.settings import (
    ACCOUNT_PRESET,
    PRESETS,
    AccountLimits,
    FlipPolicy,
    NakedPolicy,
    Profile,
    RiskSettings,
    UnsupportedProtection,
)
from risk.core.units import NO_LIMIT, AssetClass, Instrument
from risk.core.verdict import Capability

ACCOUNT: Final = "sim"
CURRENCY: Final = "USDT"
CASH: Final = Decimal(100_000)
#: the first step comes when an engine has had time to start
WARM_S: Final = 3.0
_NOON: Final = datetime(2026, 1, 5, 12, tzinfo=UTC)
_BEFORE_MIDNIGHT: Final = datetime(2026, 1, 5, 23, 59, 20, tzinfo=UTC)

#: symbol → (class, price, tick, lot, contract value, least notional)
_INSTRUMENTS: Final = {
    "BTCUSDT": (AssetClass.CRYPTO_PERP, "60000", "0.1", "0.001", "1", "5"),
    "ETHUSDT": (AssetClass.CRYPTO_PERP, "3000", "0.01", "0.01", "1", "5"),
    "MINI": (AssetClass.CRYPTO_PERP, "5000", "0.25", "1", "0.1", "0"),
}

_BASE: Final = (
    Capability.POST_ONLY,
    Capability.IOC,
    Capability.FOK,
    Capability.ECHOES_CLIENT_ID,
)


class VenueKind(msgspec.Struct, frozen=True):
    """One mix of what venues can do. `keeps_id`: a replaced order is still known by its first id. `lag_s`: how old its answers are."""

    name: str
    weight: int
    capabilities: tuple[Capability, ...]
    keeps_id: bool = False
    is_spot: bool = False
    lag_s: float = 0.0
    books_by: BooksBy = BooksBy.TRADE_ID


_STOPS, _REDUCES, _ASKED, _REPLACES, _ALL_AT_ONCE = (
    Capability.STOP_ORDERS,
    Capability.REDUCE_ONLY,
    Capability.QUERY_BY_CLIENT_ID,
    Capability.REPLACE,
    Capability.MASS_CANCEL,
)

#: a new mix is a row
VENUES: Final = (
    VenueKind("reduces", 5, (*_BASE, _STOPS, _REDUCES, _ASKED)),
    VenueKind("reduces and cancels all at once", 2, (*_BASE, _STOPS, _REDUCES, _ASKED, _ALL_AT_ONCE)),
    VenueKind("replaces", 3, (*_BASE, _STOPS, _REDUCES, _ASKED, _REPLACES)),
    VenueKind("replaces under the old id", 2, (*_BASE, _STOPS, _REDUCES, _ASKED, _REPLACES), keeps_id=True),
    VenueKind("cannot be asked by id", 2, (*_BASE, _STOPS, _REDUCES)),
    VenueKind("answers late", 2, (*_BASE, _STOPS, _REDUCES, _ASKED), lag_s=0.9),
    VenueKind("counts", 2, (*_BASE, _STOPS, _REDUCES, _ASKED), books_by=BooksBy.CUM_QTY),
    VenueKind("opens with exits", 3, (*_BASE, _STOPS, _ASKED)),
    VenueKind("opens with exits and replaces", 2, (*_BASE, _STOPS, _ASKED, _REPLACES)),
    VenueKind("spot", 3, (*_BASE, _STOPS, _ASKED), is_spot=True),
    VenueKind("holds no stops", 3, (*_BASE, _REDUCES, _ASKED)),
    VenueKind("spot that holds no stops", 2, (*_BASE, _ASKED), is_spot=True),
)

_QUICK: Final = Timing(
    lease_ms=5000,
    lease_renew_ms=1500,
    poll_ms=250,
    send_timeout_ms=1000,
    send_age_ms_max=500,
    unknown_settle_ms=2000,
    park_ms=1000,
    condition_clear_ms=1000,
    reconcile_ms=8000,
    journal_grace_ms=2000,
    kill_verify_ms=3000,
)
_TIMINGS: Final = (_QUICK, _QUICK, _QUICK, Timing())


class Scene(msgspec.Struct, frozen=True):
    """Everything that is so before the first step."""

    seed: int
    venue: VenueKind
    settings: DeskSettings
    begin_at: datetime
    prices: dict[str, Decimal]
    #: events between two snapshots
    snapshot_every: int
    #: what this history goes without, so that what is owed in time is looked at as well
    manners: frozenset[str]

    @property
    def symbols(self) -> tuple[str, ...]:
        return tuple(self.settings.instruments)

    def told(self) -> str:
        """The scene in a line."""
        profile = self.settings.profiles["base"].base
        bots = ", ".join(f"{bot.code} on {' and '.join(bot.symbols)}" for bot in self.settings.bots.values())
        adds, naked = profile.adds_max, profile.naked_policy
        return f"a venue that {_can(self.venue)}; {bots}; adds {adds}, naked positions: {naked}; from {self.begin_at:%H:%M:%S}"


def _can(venue: VenueKind) -> str:
    words = sorted(c.value.lower().replace("_", " ") for c in venue.capabilities if c not in _BASE)
    return f"{venue.name} ({', '.join(words) or 'nothing else'})"


def scene_of(seed: int, *, venue: VenueKind | None = None) -> Scene:
    """The scene of a seed; at this venue, where one is named, and else as it was drawn."""
    chance = Random(f"{seed}/scene")
    drawn = chance.choices(VENUES, weights=[kind.weight for kind in VENUES])[0]
    venue = drawn if venue is None else venue
    symbols = list(_INSTRUMENTS)[: chance.choice((1, 1, 2, 3))]
    base = risk_of(chance)
    settings = DeskSettings(
        account=ACCOUNT,
        environment="PAPER",
        currency=CURRENCY,
        version=1,
        digest="v1",
        capabilities=tuple(sorted(venue.capabilities)),
        instruments={symbol: _instrument(symbol, is_spot=venue.is_spot) for symbol in symbols},
        bots={bot.code: bot for bot in _bots(chance, symbols)},
        profiles={"base": Profile(code="base", base=base)},
        limits=limits_of(chance),
        timing=chance.choice(_TIMINGS),
        starting_cash=CASH,
        is_eventually_consistent=bool(venue.lag_s),
        books_by=venue.books_by,
    )
    begin_at = _BEFORE_MIDNIGHT if chance.random() < 0.1 else _NOON + timedelta(milliseconds=chance.randrange(100_000))
    return Scene(
        seed,
        venue,
        settings,
        begin_at,
        {symbol: Decimal(_INSTRUMENTS[symbol][1]) for symbol in symbols},
        chance.choice((10, 50, 200)),
        _manners(chance),
    )


def _manners(chance: Random) -> frozenset[str]:
    """A part of the histories goes without people, without a hostile venue, without crashes."""
    odds = {"people": 0.25, "venue": 0.25, "engine": 0.25, "tricks": 0.7}
    return frozenset(name for name, share in odds.items() if chance.random() < share)


def _instrument(symbol: str, *, is_spot: bool) -> Instrument:
    asset_class, _, tick, lot, contract, least = _INSTRUMENTS[symbol]
    asset_class = AssetClass.CRYPTO_SPOT if is_spot else asset_class
    return Instrument(
        symbol, asset_class, Decimal(tick), Decimal(lot), Decimal(least), CURRENCY, symbol[:3], contract_value=Decimal(contract)
    )


def _bots(chance: Random, symbols: list[str]) -> list[BotSpec]:
    """One bot for all symbols, or one for each."""
    owned = [tuple(symbols)] if chance.random() < 0.5 else [(symbol,) for symbol in symbols]
    names = ("alpha", "beta", "gamma")
    return [BotSpec(code=names[n], brain=NAME, symbols=symbols_of, profile="base", bar_s=60) for n, symbols_of in enumerate(owned)]


def risk_of(chance: Random, **changes: Any) -> RiskSettings:
    """A profile that lets most decisions pass, with some limits that stop some."""
    drawn: dict[str, Any] = {
        "session_loss_limit": Decimal(chance.choice((-100_000, -100_000, -200))),
        "breaker_losses": chance.choice((1000, 1000, 4)),
        "margin_per_trade": Decimal(2000),
        "leverage": Decimal(5),
        "qty_max": Decimal(100),
        "order_equity_pct_max": Decimal(200),
        "trade_risk_pct_max": Decimal(100),
        "stop_distance_pct_min": Decimal("0.01"),
        "order_notional_max": Decimal(chance.choice((6_000, 20_000, 50_000))),
        "order_qty_max": chance.choice((NO_LIMIT, Decimal(20))),
        "adds_max": chance.choice((0, 2, 5)),
        "entries_in_flight_max": chance.choice((1, 1, 3)),
        "entry_ttl_s": chance.choice((5, 30, 300)),
        "flip_policy": chance.choice(list(FlipPolicy)),
        "unsupported_protection": chance.choice((*[UnsupportedProtection.EMULATE] * 6, *UnsupportedProtection)),
        "naked_policy": chance.choice((NakedPolicy.CLOSE_POSITION, NakedPolicy.CLOSE_POSITION, NakedPolicy.KEEP)),
        "duplicate_window_s": Decimal(0),
        "order_rate_max": Decimal(1000),
        "repeated_execution_max": 100_000,
    }
    return msgspec.structs.replace(PRESETS[AssetClass.CRYPTO_PERP], **(drawn | changes))


def limits_of(chance: Random, **changes: Any) -> AccountLimits:
    """Account limits, some of them near."""
    drawn: dict[str, Any] = {
        "daily_loss_pct": Decimal(chance.choice((3, 50, 50))),
        "drawdown_pct": Decimal(90),
        "positions_max": chance.choice((1, 2, 10, 10)),
        "gross_exposure_pct": Decimal(chance.choice((60, 200, 400))),
        "net_exposure_pct": Decimal(400),
        "concentration_pct": Decimal(400),
        "bot_exposure_pct": Decimal(400),
        "order_rate_max": Decimal(1000),
    }
    return msgspec.structs.replace(ACCOUNT_PRESET, **(drawn | changes))
