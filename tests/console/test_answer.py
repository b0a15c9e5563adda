"""Is everything all right? The strip, the answer line and the cards, each from rows that make it say so."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from execution import selectors
from execution.core.conditions import TAPE_OVER
from execution.core.controls import BotStatus
from execution.core.orders import OrdStatus
from execution.models import Account, AccountState, BotState, Bracket, Engine, Order, Position, Signal, SymbolState
from execution.selectors import Overview
from risk.core.portfolio import Reading
from risk.models import AccountLimits, Halt, Instrument
from tests.console import factories
from tests.console.conftest import client_of
from tests.console.factories import DeskRows
from tradingdesk.console import cells, page, strip, tour
from tradingdesk.console.access import Rights
from tradingdesk.console.cells import Context
from tradingdesk.console.figures import measured


@pytest.fixture
def calm(desk: DeskRows) -> DeskRows:
    """The desk without the order that waits for an answer."""
    Order.objects.filter(ord_status=OrdStatus.PENDING_NEW).delete()
    return desk


def look(desk: DeskRows) -> Overview:
    return selectors.overview(at=desk.at)


def test_it_is_all_right(calm: DeskRows) -> None:
    seen = look(calm)
    assert strip.troubles(seen) == []
    assert strip.summary(seen) == "3 positions, all with a stop at the venue; prices fresh"
    assert [lamp.level for lamp in strip.lamps(seen)] == [""] * 4
    assert strip.states(seen) == [("ACTIVE", 4, "")]
    assert strip.environments(seen) == [("PAPER", 1)]


@pytest.mark.parametrize("path", ["/", "/signals/", "/orders/", "/brackets/", "/positions/", "/bots/", "/audit/"])
def test_it_says_on_every_page_that_the_kill_file_stands(calm: DeskRows, path: str, tmp_path: Path, settings: Any) -> None:
    settings.KILL_FILE = tmp_path / "KILL"
    browser = client_of(factories.user("zoe", "viewer", accounts=[calm.account]))
    told = f"The file {settings.KILL_FILE} stands: nothing trades. Remove it (rm {settings.KILL_FILE}), then risk clears the kill"
    assert told not in browser.get(path).content.decode()
    settings.KILL_FILE.touch()
    assert told in browser.get(path).content.decode()
    assert strip.title(look(calm), strip.troubles(look(calm))) == "Not all right: 1"
    settings.KILL_FILE.unlink()
    assert strip.troubles(look(calm)) == []


def test_a_tape_that_is_over_is_no_trouble(calm: DeskRows) -> None:
    """However long ago: its account rests, and its trades stay to be looked at."""
    SymbolState.objects.update(priced_at=calm.at - timedelta(hours=1))
    Account.objects.update(feed="replay:/tapes/btcusdt.gz@max")
    AccountState.objects.update(links_down={"PRICES": TAPE_OVER})
    seen = look(calm)
    assert strip.troubles(seen) == []
    assert strip.lamps(seen)[0] == ("Prices", "the tape is over", "")
    assert "the tape of Paper Crypto is over" in strip.summary(seen)
    assert {seen.effective(bot).level for bot in seen.bots} == {"the end of the tape"}


@pytest.mark.parametrize(("gap_ms", "is_late"), [(0, True), (60_000, False)])
def test_bars_that_come_each_minute_are_not_late(calm: DeskRows, gap_ms: int, is_late: bool) -> None:
    SymbolState.objects.update(priced_at=calm.at - timedelta(seconds=59))
    AccountState.objects.update(feed_gap_ms=gap_ms)
    assert bool(strip.troubles(look(calm))) is is_late
    assert strip.lamps(look(calm))[0].level == ("warn" if is_late else "")


@pytest.mark.parametrize("path", ["/", "/signals/", "/orders/", "/brackets/", "/positions/", "/bots/", "/audit/"])
def test_recorded_prices_are_called_so_on_every_page(calm: DeskRows, path: str) -> None:
    browser = client_of(factories.user("zoe", "viewer", accounts=[calm.account]))
    assert ">REPLAY<" not in browser.get(path).content.decode()
    Account.objects.update(feed="replay:/tapes/btcusdt.gz@60x")
    assert ">REPLAY<" in browser.get(path).content.decode()


def test_an_account_at_rest_is_shown_with_what_it_holds(calm: DeskRows) -> None:
    other = factories.account("other", name="Old Tape")
    AccountState.objects.filter(account=other).update(equity=Decimal(99000), links_down={"PRICES": TAPE_OVER})
    Position.objects.create(account=other, symbol="BTCUSDT", bot="b", qty=Decimal("-0.4"), is_open=True, updated_at=calm.at)
    Account.objects.filter(pk=other.pk).update(is_enabled=False)
    told = "Old Tape · the tape is over · 99,000.00 USDT · <b>BTCUSDT −0.4</b> still open"
    assert told in client_of(factories.user("zoe", "viewer", accounts=[calm.account, other])).get("/").content.decode()
    assert "Old Tape" not in client_of(factories.user("tom", "viewer", accounts=[calm.account])).get("/").content.decode()


def _no_stop(desk: DeskRows) -> None:
    Order.objects.filter(symbol="BTCUSDT", purpose="STOP_LOSS").delete()


def _half_a_stop(desk: DeskRows) -> None:
    Order.objects.filter(symbol="BTCUSDT", purpose="STOP_LOSS").update(leaves_qty=Decimal("0.2"))


def _unconfirmed_stop(desk: DeskRows) -> None:
    Order.objects.filter(symbol="BTCUSDT", purpose="STOP_LOSS").update(accepted_at=None, ord_status=OrdStatus.PENDING_NEW)


def _engine_silent(desk: DeskRows) -> None:
    Engine.objects.update(seen_at=desk.at - timedelta(seconds=9))


def _engine_stopped(desk: DeskRows) -> None:
    Engine.objects.update(stopped_at=desk.at)


def _price_old(desk: DeskRows) -> None:
    SymbolState.objects.filter(symbol="SOLUSDT").update(priced_at=desk.at - timedelta(seconds=48))


def _venue_differs(desk: DeskRows) -> None:
    AccountState.objects.update(reconciled_text="BTCUSDT differs")


def _stuck(desk: DeskRows) -> None:
    Order.objects.filter(symbol="LTCUSDT").update(ord_status=OrdStatus.UNKNOWN, updated_at=desk.at - timedelta(seconds=6))


def _near_a_limit(desk: DeskRows) -> None:
    AccountState.objects.update(gross_exposure=Decimal(140000))


def _alarm(desk: DeskRows) -> None:
    factories.alarm(desk.account, symbol="LTCUSDT")


def _killed(desk: DeskRows) -> None:
    factories.kill(desk.account)


def _reduce_only(desk: DeskRows) -> None:
    Halt.objects.create(
        halt_id="h",
        scope="BOT",
        scope_key="ema-btc",
        mode="REDUCE_ONLY",
        cause="OVERFILL",
        by="desk",
        at=desk.at,
        reason="overfill",
    )


@pytest.mark.parametrize(
    ("happen", "priority", "words"),
    [
        (_no_stop, 1, "BTCUSDT +0.420: no stop at the venue"),
        (_half_a_stop, 1, "BTCUSDT +0.420: stop covers 0.2 of 0.42"),
        (_unconfirmed_stop, 1, "BTCUSDT +0.420: no stop at the venue"),
        (_engine_silent, 1, "No engine heard for Paper Crypto, 9.0 s"),
        (_engine_stopped, 1, "No engine runs Paper Crypto"),
        (_price_old, 2, "SOLUSDT: last price 48 s ago"),
        (_venue_differs, 2, "Paper Crypto: venue BTCUSDT differs"),
        (_stuck, 2, "LTCUSDT order without an answer for 6.0 s"),
        (_near_a_limit, 3, "Paper Crypto: gross exposure at 90 % of its limit"),
        (_alarm, 2, "LTCUSDT: target leg refused"),
        (_killed, 1, "The firm is killed, not verified yet"),
        (_reduce_only, 2, "Bot ema-btc: reduce only, overfill"),
    ],
)
def test_it_is_not_all_right(calm: DeskRows, happen: Callable[[DeskRows], None], priority: int, words: str) -> None:
    happen(calm)
    found = strip.troubles(look(calm))
    assert (found[0].priority, found[0].text) == (priority, words)
    assert strip.title(look(calm), found).startswith("Not all right")


def test_it_says_of_a_stop_that_the_venue_cannot_hold_that_it_is_watched_here(calm: DeskRows) -> None:
    """Not the venue's, so not all right; and not without a stop, so nobody is called."""
    Order.objects.filter(symbol="BTCUSDT", purpose="STOP_LOSS").delete()
    Bracket.objects.filter(symbol="BTCUSDT").update(stop_id="", is_stop_emulated=True)
    seen = look(calm)
    (trouble,) = strip.troubles(seen)
    assert (trouble.priority, trouble.text) == (3, "BTCUSDT +0.420: stop watched here, not at the venue")
    assert strip.summary(seen).startswith("2 of 3 positions with a stop at the venue")
    (position,) = [p for p in seen.positions if p.symbol == "BTCUSDT"]
    assert (seen.protection_of(position).name, [b.symbol for b in page.died(seen)["watched"]]) == ("watched here", ["BTCUSDT"])
    Bracket.objects.filter(symbol="BTCUSDT").update(naked_since=calm.at)
    assert strip.troubles(look(calm))[0].text == "BTCUSDT +0.420: no stop at the venue", "it sees no prices: it is no stop"


def test_it_tells_one_cause_once(calm: DeskRows) -> None:
    """An alarm about a position without a stop takes the place of the line the page would make itself."""
    _no_stop(calm)
    factories.alarm(calm.account, "Position without a stop", 1, symbol="BTCUSDT")
    assert [t.text for t in strip.troubles(look(calm))] == ["BTCUSDT: position without a stop"]


def test_it_keeps_unprotected_on_the_strip_though_acknowledged(calm: DeskRows) -> None:
    _no_stop(calm)
    factories.alarm(calm.account, "Position without a stop", 1, symbol="BTCUSDT", acked_at=calm.at, acked_by="alice")
    assert page.strip_context(look(calm))["unprotected"] == 1


def test_it_names_the_worst_member_of_a_lamp(calm: DeskRows) -> None:
    _price_old(calm)
    lamp = strip.lamps(look(calm))[0]
    assert (lamp.name, lamp.level) == ("Prices", "warn")
    assert lamp.text.startswith("SOLUSDT ")


def halted(kind: str, key: str, mode: str = "HALTED", cause: str = "MANUAL") -> Halt:
    return Halt.objects.create(
        halt_id=f"{kind}-{mode}-{cause}", scope=kind, scope_key=key, mode=mode, cause=cause, by="maria", at=timezone.now()
    )


@pytest.mark.parametrize(
    ("halts", "word"),
    [
        ([], "Running"),
        ([("FIRM", "")], "Halted (firm)"),
        ([("ACCOUNT", "paper")], "Halted (account)"),
        ([("BOT", "ema-btc")], "Halted"),
        ([("INSTRUMENT", "BTCUSDT")], "Halted (instrument)"),
        ([("INSTRUMENT", "ETHUSDT")], "Running"),
        ([("BOT", "mr-eth")], "Running"),
        ([("ACCOUNT", "other")], "Running"),
        ([("BOT", "ema-btc", "REDUCE_ONLY", "PAUSE")], "Paused"),
        ([("BOT", "ema-btc", "REDUCE_ONLY", "PAUSE"), ("FIRM", "", "HALTED", "KILL")], "Halted (firm)"),
        ([("FIRM", "", "REDUCE_ONLY", "DRAWDOWN"), ("BOT", "ema-btc", "REDUCE_ONLY", "PAUSE")], "Reduce only"),
    ],
)
def test_it_shows_the_most_restrictive_state_with_its_level(calm: DeskRows, halts: list[tuple[str, ...]], word: str) -> None:
    for halt in halts:
        halted(*halt)
    seen = look(calm)
    bot = next(bot for bot in seen.bots if bot.code == "ema-btc")
    assert strip.bot_state(seen.effective(bot))[0] == word


@pytest.mark.parametrize(
    ("status", "label"),
    [(BotStatus.RUNNING, "Pause"), (BotStatus.WARMING, "Pause"), (BotStatus.STOPPED, "Start…"), (BotStatus.STOPPING, "Pause")],
)
def test_it_gives_a_bot_one_button(calm: DeskRows, status: BotStatus, label: str) -> None:
    BotState.objects.update(status=status)
    seen = look(calm)
    assert strip.bot_button(seen.bots[0], seen.effective(seen.bots[0]))[0] == label


def test_it_says_when_nothing_runs(calm: DeskRows) -> None:
    BotState.objects.update(status=BotStatus.STOPPED)
    assert strip.summary(look(calm)).endswith("; prices fresh; no bot runs")


def test_it_lists_the_abnormal_first_and_counts_as_people_do(calm: DeskRows) -> None:
    for n in (10, 2):
        factories.bot(f"bot-{n}", f"S{n}USDT", calm.account)
    halted("BOT", "mr-eth")
    assert [bot.code for bot in page.fleet_sorted(look(calm))] == ["mr-eth", "bot-2", "bot-10", "chan-sol", "ema-btc", "ema-ltc"]


def test_it_restricts_by_conditions_that_end_by_themselves(calm: DeskRows) -> None:
    SymbolState.objects.filter(symbol="BTCUSDT").update(breaker_tripped_at=calm.at)
    AccountState.objects.update(links_down={"PRICES": "no answer"})
    seen = look(calm)
    levels = {bot.code: seen.effective(bot).level for bot in seen.bots}
    assert levels["ema-btc"] == "breaker BTCUSDT"
    assert levels["mr-eth"] == "prices link down"


def test_it_says_what_would_go_on_if_this_machine_died(calm: DeskRows) -> None:
    _no_stop(calm)
    Bracket.objects.filter(symbol="ETHUSDT").update(target_id="", is_target_emulated=True)
    told = page.died(look(calm))
    assert (told["stops"], told["positions"], told["entries"]) == (2, 3, 1)
    assert [p.symbol for p in told["naked"]] == ["BTCUSDT"]
    assert [b.symbol for b in told["watched"]] == ["ETHUSDT"]


def test_it_calls_less_than_a_lot_dust_and_alarms_nobody(calm: DeskRows) -> None:
    _no_stop(calm)
    lot = Instrument.objects.get(symbol="BTCUSDT").lot_size
    Position.objects.filter(symbol="BTCUSDT").update(qty=lot / 2)
    seen = look(calm)
    [row] = [p for p in seen.positions if p.symbol == "BTCUSDT"]
    assert seen.naked == []
    assert "dust" in cells.position_protection(row, Context(seen, Rights()))


def test_it_does_not_alarm_about_a_stop_that_a_person_took_away(calm: DeskRows) -> None:
    _no_stop(calm)
    Bracket.objects.filter(symbol="BTCUSDT").update(is_stop_waived=True)
    assert look(calm).naked == []


def meters(desk: DeskRows) -> dict[str, Reading]:
    seen = look(desk)
    return {meter.name: meter for meter in seen.meters(seen.accounts[0])}


def test_it_measures_limits_as_the_gate_does(calm: DeskRows) -> None:
    """Equity 104,218.40; a symbol with only a working entry counts as a position."""
    AccountLimits.objects.update(positions_max=4, drawdown_pct="none", daily_loss_pct=None, gross_exposure_pct=Decimal(50))
    told = {name: (measured(meter), meter.is_near, meter.is_reached) for name, meter in meters(calm).items()}
    assert told == {
        "Daily loss": ("not set: denies every entry", True, False),
        "Drawdown": ("0.6 %, no limit", False, False),
        "Positions and entries": ("4 of 4", True, True),
        "Gross exposure": ("48,120 of 52,109", True, False),
        "Net exposure": ("30,000 of 104,218", False, False),
        "Leverage": ("0.46× of 5×", False, False),
    }


def test_it_does_not_guess_what_is_at_stake(calm: DeskRows) -> None:
    """Without a mark the gate denies; the card says that it does not know, and so does the answer."""
    Position.objects.filter(symbol="BTCUSDT").update(mark=None)
    assert measured(meters(calm)["Gross exposure"]) == "not known: a position has no mark"
    assert "Paper Crypto: gross exposure not known: a position has no mark" in [t.text for t in strip.troubles(look(calm))]


def test_it_measures_dust_as_flat(calm: DeskRows) -> None:
    """Neither counted as a position nor, without a mark, a reason not to know: the gate takes it for flat."""
    lot = Instrument.objects.get(symbol="BTCUSDT").lot_size
    Position.objects.filter(symbol="BTCUSDT").update(qty=lot / 2, mark=None)
    assert measured(meters(calm)["Positions and entries"]) == "3 of 8"
    assert measured(meters(calm)["Gross exposure"]) == "48,120 of 156,328"


def test_it_counts_denials_by_their_reason_and_reads_no_approval_for_it(calm: DeskRows) -> None:
    Signal.objects.all().delete()
    factories.signal(calm.account, "ema-btc", "BTCUSDT", reason="LEVERAGE", repeats=3)
    factories.signal(calm.account, "mr-eth", "ETHUSDT", reason="LEVERAGE")
    factories.signal(calm.account, "mr-eth", "ETHUSDT", reason="STALE_PRICE", at=calm.at - timedelta(days=2))
    factories.signal(calm.account, "ema-btc", "BTCUSDT")
    since = calm.at - timedelta(hours=24)
    assert selectors.denials_by_reason([calm.account.pk], since=since) == [("LEVERAGE", 4)]
    if connection.vendor == "postgresql":
        denied = Signal.objects.filter(account__in=[calm.account.pk], last_at__gte=since).exclude(reason="").order_by()
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")
        assert "signal_denied" in denied.explain()


def test_it_measures_nothing_before_an_engine_counted(calm: DeskRows) -> None:
    AccountState.objects.update(day_end_at=None, equity=0)
    assert meters(calm) == {}


def test_it_counts_what_a_kill_would_meet(calm: DeskRows) -> None:
    counts = page.kill_counts(look(calm))
    assert counts["FIRM:"] == {"entries": 1, "legs": 6, "positions": 3, "about": "35,876", "environment": "PAPER"}
    assert (counts["BOT:ema-btc"]["entries"], counts["BOT:ema-btc"]["legs"]) == (0, 2)
    assert (counts["INSTRUMENT:LTCUSDT"]["entries"], counts["INSTRUMENT:LTCUSDT"]["positions"]) == (1, 0)


def test_it_narrows_to_what_a_person_may_see(calm: DeskRows) -> None:
    other = factories.account("other", name="Other")
    factories.bot("other-eth", "ETHUSDT", other)
    halted("ACCOUNT", "other")
    halted("FIRM", "", "REDUCE_ONLY")
    seen = look(calm).of_accounts({calm.account.pk})
    assert [a.code for a in seen.accounts] == ["paper"]
    assert [h.scope for h in seen.halts] == ["FIRM"]
    assert all(bot.account_id == calm.account.pk for bot in seen.bots)


def test_it_sees_an_engine_that_was_killed(calm: DeskRows) -> None:
    assert not tour.was_killed(list(Engine.objects.all()))
    factories_engine("desk-2", started=calm.at, seen=calm.at)
    Engine.objects.filter(name="desk-1").update(stopped_at=calm.at)
    assert not tour.was_killed(list(Engine.objects.all())), "a clean stop is no kill"
    Engine.objects.filter(name="desk-1").update(stopped_at=None)
    assert tour.was_killed(list(Engine.objects.all()))
    Engine.objects.filter(name="desk-1").update(seen_at=calm.at + timedelta(minutes=1))
    assert not tour.was_killed(list(Engine.objects.all())), "two engines may run beside each other"


def factories_engine(name: str, *, started: datetime, seen: datetime) -> Engine:
    return Engine.objects.create(name=name, pid=1, host="box", version="0.1.0", started_at=started, seen_at=seen)


def test_it_reads_the_desk_page_in_few_queries_whatever_its_size(
    desk: DeskRows, django_assert_max_num_queries: Callable[[int], AbstractContextManager[object]]
) -> None:
    for n in range(96):
        factories.bot(f"bot-{n}", f"S{n}USDT", desk.account)
        for _ in range(2):
            factories.order(desk.account, f"bot-{n}", f"S{n}USDT", "BUY", "1", price=Decimal(99))
    browser = client_of(factories.user("zoe", "trader", accounts=[desk.account]))
    with django_assert_max_num_queries(20):
        response = browser.get("/")
    assert response.content.decode().count('<tr id="bot-') == 100
    assert Position.objects.count() == 3
