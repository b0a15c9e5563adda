"""The demo: made once, safe to repeat, on any feed; and its story of one limit that one edit lifts."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from decimal import Decimal
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

from execution.brains import brains
from execution.models import Account, Bot, FeedOffset
from execution.store.settings import desk_settings_from_rows
from risk.core.settings import effective
from risk.models import AuditEntry, SettingsVersion
from tradingdesk.management.demo import demo_feed_use, demo_logins, demo_owner, demo_playing, demo_seed
from tradingdesk.people.models import AccountAccess, User

pytestmark = pytest.mark.db


@pytest.fixture
def var(tmp_path: Path, db: None) -> Iterator[Path]:
    with override_settings(VAR_DIR=tmp_path):
        yield tmp_path


@pytest.fixture
def demo(var: Path) -> Account:
    assert demo_seed()
    return Account.objects.get()


def rows() -> tuple[int, ...]:
    return tuple(model.objects.count() for model in (Account, Bot, User, AccountAccess, SettingsVersion, AuditEntry))


def test_it_is_made_once(demo: Account) -> None:
    before, logins = rows(), demo_logins()
    assert not demo_seed()
    assert (rows(), demo_logins()) == (before, logins)
    assert list(Bot.objects.values_list("code", "should_run", "bar_s")) == [
        ("chan-ltc", True, 2),
        ("ema-btc", True, 2),
        ("ema-eth", True, 2),
        ("mr-sol", True, 2),
    ]


def test_it_is_made_whole_or_not_at_all(var: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A brain whose file is gone is named in one sentence, and the next start makes the demo."""
    with monkeypatch.context() as without:
        without.delitem(brains(), "mean_reversion")
        with pytest.raises(CommandError, match="There is no brain “mean_reversion” in execution/brains"):
            call_command("seed")
    assert not Account.objects.exists()
    assert not User.objects.exists()
    call_command("seed")
    assert Bot.objects.count() == 4


def test_it_lets_a_desk_with_accounts_be(account: Account, var: Path) -> None:
    assert not demo_seed()
    assert not Bot.objects.exists()
    assert demo_logins() == {}


def test_its_people_may_what_their_groups_say(demo: Account, var: Path) -> None:
    people = {user.username: user for user in User.objects.all()}
    assert {name: (user.is_staff, user.is_superuser) for name, user in people.items()} == {
        "viewer": (False, False),
        "trader": (False, False),
        "risk": (True, False),
        "admin": (True, True),
    }
    for name, password in demo_logins().items():
        assert people[name].check_password(password)
        assert list(people[name].groups.values_list("name", flat=True)) == [name]
        assert people[name].accesses.get().account == demo
    assert demo_owner() == people["admin"]


def test_only_its_owner_reads_the_logins(demo: Account, var: Path) -> None:
    file = var / "logins.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert set(json.loads(file.read_text())) == {"viewer", "trader", "risk", "admin"}


def test_a_tape_has_its_own_account(demo: Account, tmp_path: Path) -> None:
    tape = tmp_path / "btcusdt_minutes.csv"
    tape.write_text("datetime,open,high,low,close,volume\n" + "".join(f"2020-01-01 00:{m:02},7,8,6,7,1\n" for m in range(9)))
    demo_feed_use(f"replay:{tape}@60x")
    used = Account.objects.get(is_enabled=True)
    assert used.feed == f"replay:{tape}@60x"
    (bot,) = used.bots.all()
    assert (bot.is_enabled, bot.should_run, bot.bar_s) == (True, True, 60)
    assert AccountAccess.objects.filter(account=used).count() == 4
    before = rows()
    assert demo_playing() == f"Paper Tape plays {tape} at 60×. When the tape is over, what it did stays on the pages."
    demo_feed_use(f"replay:{tape}@60x")
    assert rows() == before
    demo_feed_use(None)
    assert demo_playing() == ""
    assert Account.objects.get(is_enabled=True) == demo


def test_a_tape_goes_on_until_it_is_over_and_then_starts_an_account_of_its_own(demo: Account, tmp_path: Path) -> None:
    tape = tmp_path / "btcusd_minutes.csv"
    tape.write_text("datetime,open,high,low,close,volume\n" + "".join(f"2020-01-01 00:{m:02},7,8,6,7,1\n" for m in range(9)))

    def used(feed: str, *, offset: int) -> str:
        demo_feed_use(feed)
        account = Account.objects.get(is_enabled=True)
        FeedOffset.objects.update_or_create(account=account, defaults={"feed": account.feed, "offset": offset})
        return account.code

    assert used(f"replay:{tape}@60x", offset=5) == "paper-tape"
    assert used(f"replay:{tape}@60x", offset=9) == "paper-tape"
    demo_feed_use(f"replay:{tape}@60x")
    assert "anew" not in demo_playing(), "it was over: the speed is the same"
    assert used(f"replay:{tape}@60x", offset=3) == "paper-tape-2"
    demo_feed_use(f"replay:{tape}@max")
    anew = "It begins anew there, because its speed changed: what it did before is on Paper Tape 2, under At rest."
    assert anew in demo_playing()
    assert used(f"replay:{tape}@max", offset=1) == "paper-tape-3"
    assert anew not in demo_playing()
    assert list(Bot.objects.filter(code__startswith="tape").values_list("code", flat=True)) == [
        "tape-2-btcusd",
        "tape-3-btcusd",
        "tape-btcusd",
    ]


def test_a_first_start_says_who_trades(var: Path, tmp_path: Path) -> None:
    tape, out = tmp_path / "btcusd_minutes.csv", StringIO()
    tape.write_text("datetime,open,high,low,close,volume\n2020-01-01 00:01,7,8,6,7,1\n")
    call_command("seed", feed=f"replay:{tape}@60", stdout=out)
    assert out.getvalue() == (
        "A demo desk was made: Paper Tape with one bot. Paper Crypto and its four bots trade when you start without --feed.\n"
    )


def test_a_file_that_is_no_tape_changes_nothing(demo: Account, tmp_path: Path) -> None:
    file = tmp_path / "poem.txt"
    file.write_text("so much depends\nupon\n")
    before = rows()
    for feed in (f"replay:{file}", f"replay:{file}.missing", "gossip", "synthetic:x", f"replay:{file}@fast"):
        with pytest.raises(CommandError):
            call_command("seed", feed=feed)
    assert rows() == before
    assert Account.objects.get().is_enabled


def test_a_limit_denies_ltc_until_its_sizing_is_smaller(demo: Account) -> None:
    settings = desk_settings_from_rows(demo)

    def share(symbol: str) -> Decimal:
        instrument = settings.instruments[symbol]
        found = effective(settings.profiles["demo"], settings.limits, symbol=symbol, asset_class=instrument.asset_class).values
        assert found.margin_per_trade is not None
        assert found.leverage is not None
        return found.margin_per_trade * found.leverage / settings.starting_cash * 100

    limit = settings.limits.concentration_pct
    assert limit is not None
    assert {symbol: share(symbol) > limit for symbol in settings.instruments} == {
        "BTCUSDT": False,
        "ETHUSDT": False,
        "LTCUSDT": True,
        "SOLUSDT": False,
    }
