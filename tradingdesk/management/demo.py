"""The demo desk: what a new user finds. Made once, on a desk without accounts, and never touched again; only its feed is chosen anew.

"Paper Crypto" trades four symbols on the synthetic feed. "Paper Tape" trades what a tape holds. Numbers are chosen so that the first
minute shows a bracket armed, a denial by a limit that one edit lifts, and a target filled: LTCUSDT's own sizing asks for more than
the account's concentration limit lets through.
"""

from __future__ import annotations

import itertools
import json
import os
import secrets
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec
from django.conf import settings
from django.contrib.auth.models import Group
from django.db import transaction
from django.db.models import Q

from execution.feeds import Replay, is_synthetic, replay_of, tape_intervals, tape_is_over
from execution.models import Account, Bot, FeedOffset
from execution.services import account_save, bot_save
from risk.core.settings import ACCOUNT_PRESET, PRESETS, RiskSettings
from risk.core.settings import AccountLimits as Limits
from risk.core.units import AssetClass
from risk.models import AccountLimits, ClassOverride, Instrument, RiskProfile, SymbolOverride
from risk.services import instrument_save, limits_save, override_save, profile_save
from tradingdesk.people.models import User
from tradingdesk.people.services import groups_ensure, user_save

BY: Final = "seed"
CRYPTO: Final = "paper-crypto"
TAPE: Final = "paper-tape"
#: who signs in by the one-time link: may do everything
OWNER: Final = "admin"
PEOPLE: Final = ("viewer", "trader", "risk", OWNER)
#: a seed whose first minute shows all three, however the start falls on the bars: measured by a test
SYNTHETIC: Final = "synthetic:11"

D = Decimal
#: symbol → (class, tick_size, lot_size, min_notional, base currency)
INSTRUMENTS: Final = {
    "BTCUSDT": (AssetClass.CRYPTO_SPOT, D("0.01"), D("0.00001"), D(5), "BTC"),
    "ETHUSDT": (AssetClass.CRYPTO_PERP, D("0.01"), D("0.0001"), D(5), "ETH"),
    "SOLUSDT": (AssetClass.CRYPTO_PERP, D("0.01"), D("0.001"), D(5), "SOL"),
    "LTCUSDT": (AssetClass.CRYPTO_SPOT, D("0.01"), D("0.001"), D(5), "LTC"),
}
#: code → (brain, parameters, symbol)
BOTS: Final[dict[str, tuple[str, dict[str, str], str]]] = {
    "ema-btc": ("ema_cross", {"fast": "4", "slow": "11", "stop_atr": "2.5", "target_atr": "2"}, "BTCUSDT"),
    "ema-eth": ("ema_cross", {"fast": "3", "slow": "8", "stop_atr": "2.5", "target_atr": "1.5"}, "ETHUSDT"),
    "mr-sol": ("mean_reversion", {"rsi": "7", "low": "32", "high": "68"}, "SOLUSDT"),
    "chan-ltc": ("channel_breakout", {"channel": "10", "exit_channel": "5"}, "LTCUSDT"),
}
BAR_S: Final = 2
#: what trades a tape: decides often enough to be watched, and keeps its stop clear of the bars' noise
TAPE_BRAIN: Final = "channel_breakout"
TAPE_PARAMS: Final = {"channel": "10", "exit_channel": "5", "stop_atr": "8", "target_atr": "8"}
#: a demo that trades every few seconds needs shorter memories than a day's trading
PROFILE: Final = msgspec.structs.replace(
    PRESETS[AssetClass.CRYPTO_SPOT],
    margin_per_trade=D(1000),
    session_loss_limit=D(-500),
    stop_distance_pct_min=D("0.02"),
    breaker_losses=6,
    breaker_window_s=600,
    breaker_cooldown_s=120,
)
CLASSES: Final = {
    AssetClass.CRYPTO_SPOT: RiskSettings(qty_max=D(500)),
    AssetClass.CRYPTO_PERP: RiskSettings(margin_per_trade=D(500), leverage=D(3)),
}
SYMBOLS: Final = {
    "BTCUSDT": RiskSettings(margin_per_trade=D(2500)),
    "LTCUSDT": RiskSettings(margin_per_trade=D(30000)),
}
LIMITS: Final = msgspec.structs.replace(ACCOUNT_PRESET, concentration_pct=D(25), positions_max=3)


@transaction.atomic
def demo_seed() -> bool:
    """Make the demo where the desk has no account yet, the whole of it or nothing. True when it was made now."""
    groups_ensure()
    if Account.objects.exists():
        return False
    for symbol in INSTRUMENTS:
        _instrument(symbol)
    profile = _profile()
    account = _account(CRYPTO, "Paper Crypto", SYNTHETIC)
    for code, (brain, params, symbol) in BOTS.items():
        _bot(code, account, profile, Instrument.objects.get(symbol=symbol), brain=brain, params=params, bar_s=BAR_S)
    _people([account])
    return True


def demo_feed_use(feed: str | None) -> None:
    """Run the demo on this feed: a tape enables Paper Tape and rests Paper Crypto; None or synthetic the reverse.

    Raises as `demo_feed_check` does, before anything is changed. On a desk without the demo only a tape does anything: it gets its
    account.
    """
    if feed is None or is_synthetic(feed):
        _use(CRYPTO, feed=feed or SYNTHETIC)
        return
    spec, bars = _tape(feed)
    _use(_tape_account(spec, bars), feed=spec)


def demo_feed_check(feed: str | None) -> None:
    """Raises ValueError (NotATape for a file that is none) with one sentence where this feed cannot be used. Touches nothing."""
    if feed is not None and not is_synthetic(feed):
        _tape(feed)


def demo_playing() -> str:
    """What the demo plays, in one sentence; empty where it plays no tape."""
    account = Account.objects.filter(is_enabled=True, code__startswith=TAPE, feed__startswith="replay:").order_by("pk").last()
    if account is None:
        return ""
    replay = replay_of(account.feed)
    pace = "as fast as possible" if replay.speed is None else f"at {replay.speed:g}×"
    anew = _begins_anew(account, replay)
    return f"{account.name} plays {replay.path} {pace}.{anew} When the tape is over, what it did stays on the pages."


def _begins_anew(account: Account, replay: Replay) -> str:
    """Why a tape that has not moved yet plays on a new account, where it was played at another speed before."""
    if FeedOffset.objects.filter(account=account).exists():
        return ""
    others = Account.objects.filter(code__startswith=TAPE, pk__lt=account.pk, feed__startswith="replay:").order_by("-pk")
    before = next((other for other in others if replay_of(other.feed).path == replay.path), None)
    if before is None or replay_of(before.feed).speed == replay.speed:
        return ""
    return f" It begins anew there, because its speed changed: what it did before is on {before.name}, under At rest."


def demo_made() -> str:
    """What a first start made, in one sentence: who trades, and where the four bots are while a tape plays."""
    used = Account.objects.filter(is_enabled=True).order_by("pk").last()
    if used is None or used.code == CRYPTO:
        return "A demo desk was made: Paper Crypto with four bots."
    bots = used.bots.count()
    count = "one bot" if bots == 1 else f"{bots} bots"
    return f"A demo desk was made: {used.name} with {count}. Paper Crypto and its four bots trade when you start without --feed."


def demo_logins() -> dict[str, str]:
    """User name → password, as made at seeding; empty where there is no demo."""
    try:
        found: dict[str, str] = json.loads(_logins_file().read_text())
    except FileNotFoundError:
        return {}
    return found


def demo_owner() -> User | None:
    """The person the one-time link signs in."""
    return User.objects.filter(username=OWNER, is_active=True, is_superuser=True).first()


def _instrument(symbol: str, row: tuple[Any, ...] | None = None, currency: str = "USDT") -> Instrument:
    if (known := Instrument.objects.filter(symbol=symbol).first()) is not None:
        return known
    asset_class, tick_size, lot_size, min_notional, base = row or INSTRUMENTS[symbol]
    instrument = Instrument(
        symbol=symbol,
        asset_class=asset_class,
        tick_size=tick_size,
        lot_size=lot_size,
        min_notional=min_notional,
        contract_value=D(1),
        currency=currency,
        base_currency=base,
    )
    return instrument_save(instrument=instrument, version=None, by=BY)


def _profile() -> RiskProfile:
    profile = RiskProfile(code="demo", name="Demo", **_said(PROFILE))
    profile_save(profile=profile, version=None, by=BY)
    reason = "the demo's own sizing"
    for asset_class, values in CLASSES.items():
        override = ClassOverride(profile=profile, asset_class=asset_class, **_said(values))
        override_save(override=override, version=None, by=BY, reason=reason)
    for symbol, values in SYMBOLS.items():
        own = SymbolOverride(profile=profile, instrument=Instrument.objects.get(symbol=symbol), **_said(values))
        override_save(override=own, version=None, by=BY, reason=reason)
    return profile


def _account(code: str, name: str, feed: str, *, currency: str = "USDT") -> Account:
    limits = limits_save(limits=AccountLimits(name=name, **_said(LIMITS)), version=None, by=BY)
    account = Account(
        code=code,
        name=name,
        environment=Account.Environment.PAPER,
        broker="simulated",
        feed=feed,
        currency=currency,
        starting_cash=D(100000),
        limits=limits,
    )
    return account_save(account=account, version=None, by=BY)


def _bot(
    code: str, account: Account, profile: RiskProfile, instrument: Instrument, *, brain: str, params: dict[str, str], bar_s: int
) -> Bot:
    bot = Bot(code=code, account=account, brain=brain, params=params, profile=profile, bar_s=bar_s, should_run=True)
    return bot_save(bot=bot, instruments=[instrument], version=None, by=BY)


def _tape(feed: str) -> tuple[str, dict[str, int]]:
    """The feed's text with the tape's whole path, and for each of its symbols the seconds of the bars to trade on."""
    replay = replay_of(feed)
    path = replay.path.expanduser().resolve()
    bars = tape_intervals(path)
    return f"replay:{path}{replay.at}", {symbol: bars[symbol] or BAR_S for symbol in sorted(bars)}


def _tape_account(feed: str, bars: Mapping[str, int]) -> str:
    """The code of the account that trades this tape, with one bot per symbol.

    A tape goes on where it stood. One that is over, another one, or the same at another speed starts an account of its own: its market
    time begins again, and an account's never goes back. The one before rests, with what it holds: see feeds/replay/README.md.
    """
    for number in itertools.count(1):
        code = TAPE if number == 1 else f"{TAPE}-{number}"
        account = Account.objects.filter(code=code).first()
        if account is None:
            _tape_account_make(code, "Paper Tape" if number == 1 else f"Paper Tape {number}", feed, bars)
            return code
        if account.feed == feed and not _is_over(account):
            return code
    raise AssertionError("numbers do not end")


def _tape_account_make(code: str, name: str, feed: str, bars: Mapping[str, int]) -> None:
    account = _account(code, name, feed, currency=_currency(next(iter(bars))))
    _people([account])
    profile = RiskProfile.objects.filter(code="demo").first() or _profile()
    for symbol, bar_s in bars.items():
        currency = _currency(symbol)
        spec = (AssetClass.CRYPTO_SPOT, D("0.01"), D("0.00001"), D(5), symbol.removesuffix(currency))
        instrument = _instrument(symbol, INSTRUMENTS.get(symbol, spec), currency)
        bot_code = f"{code.removeprefix('paper-')}-{symbol.lower()}"[:40]
        _bot(bot_code, account, profile, instrument, brain=TAPE_BRAIN, params=TAPE_PARAMS, bar_s=bar_s)


def _is_over(account: Account) -> bool:
    offset = FeedOffset.objects.filter(account=account, feed=account.feed).values_list("offset", flat=True).first()
    return offset is not None and tape_is_over(replay_of(account.feed).path, offset)


def _currency(symbol: str) -> str:
    return next((currency for currency in ("USDT", "USDC", "USD", "EUR") if symbol.endswith(currency)), "USD")


def _use(code: str, *, feed: str) -> None:
    """Of the demo's accounts only this one is enabled, on this feed."""
    for account in Account.objects.filter(Q(code=CRYPTO) | Q(code__startswith=TAPE)):
        is_used = account.code == code
        wanted = (is_used, feed if is_used else account.feed)
        if (account.is_enabled, account.feed) != wanted:
            account.is_enabled, account.feed = wanted
            account_save(account=account, version=account.version, by=BY)


def _people(accounts: Iterable[Account]) -> None:
    """The demo's people, with passwords kept in a file that only its owner reads; new accounts are added to those who are there."""
    logins = demo_logins()
    for name in PEOPLE:
        user = User.objects.filter(username=name).first()
        password = "" if user else secrets.token_urlsafe(9)
        visible = [*accounts, *_accounts_of(user)]
        groups = Group.objects.filter(name=name)
        user = user or User(username=name, is_superuser=name == OWNER)
        user_save(user=user, groups=groups, accounts=visible, by=BY, password=password)
        if password:
            logins[name] = password
    _logins_write(logins)


def _accounts_of(user: User | None) -> list[Account]:
    return [] if user is None else [access.account for access in user.accesses.select_related("account")]


def _logins_file() -> Path:
    return Path(settings.VAR_DIR) / "logins.json"


def _logins_write(logins: dict[str, str]) -> None:
    """Written whole and moved into place, readable by its owner only from the first byte."""
    file = _logins_file()
    new = file.with_suffix(".new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
        json.dump(logins, stream, indent=1)
    new.replace(file)


def _said(values: RiskSettings | Limits) -> dict[str, Any]:
    """The fields a level says, as columns."""
    return {name: value for name in values.__struct_fields__ if (value := getattr(values, name)) is not None}
