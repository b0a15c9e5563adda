"""The headline, the cards, the rows and the shell say the same of one thing, and nothing that is not so."""

from __future__ import annotations

import logging
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from django.core.management import call_command
from django.urls import reverse
from django.utils import timezone

from execution import selectors, services
from execution.core.conditions import TAPE_OVER
from execution.core.controls import BotStatus
from execution.core.messages import KillChoice
from execution.core.orders import OrdStatus
from execution.models import Bot, BotInstrument, BotState, Bracket, Command, Engine, Fill, Lease, Order, Signal, SymbolState
from execution.selectors import Overview
from execution.services import ActRefused
from risk.core.units import Scope, ScopeKind
from risk.models import Halt
from tests.console import factories
from tests.console.conftest import client_of
from tests.console.factories import DeskRows
from tradingdesk.console import cells, page, strip
from tradingdesk.console.access import Rights
from tradingdesk.console.cells import Context
from tradingdesk.console.figures import age, clock, clock_ms
from tradingdesk.people.models import User

TRADER = Rights("trader", may_trade=True, may_kill=True)


def look(desk: DeskRows) -> Overview:
    return selectors.overview(at=desk.at)


@pytest.fixture
def calm(desk: DeskRows) -> DeskRows:
    Order.objects.filter(ord_status=OrdStatus.PENDING_NEW).delete()
    return desk


# --- a stop that somebody takes away -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_confirmed", [False, True])
def test_it_counts_a_stop_that_is_taken_away_as_none_everywhere(calm: DeskRows, is_confirmed: bool) -> None:
    stop = Order.objects.filter(purpose="STOP_LOSS", symbol="SOLUSDT")
    stop.update(ord_status="CANCELED" if is_confirmed else "PENDING_CANCEL", is_working=not is_confirmed)
    Bracket.objects.filter(symbol="SOLUSDT").update(is_stop_waived=True)
    seen = look(calm)
    assert strip.summary(seen).startswith("2 of 3 positions with a stop at the venue")
    assert (page.died(seen)["stops"], [p.symbol for p in page.died(seen)["naked"]]) == (2, ["SOLUSDT"])
    assert page.strip_context(seen)["unprotected"] == 1
    assert [(t.priority, t.text) for t in strip.troubles(seen)] == [(2, "SOLUSDT −12.5: no stop at the venue, by choice")]
    [row] = [b for b in seen.brackets if b.symbol == "SOLUSDT"]
    assert ">0.0 / 12.5<" in cells.bracket_covered(row, Context(seen, TRADER))
    factories.alarm(calm.account, "SOLUSDT has no stop", 2, symbol="SOLUSDT", key=f"nostop:{row.bracket_id}")
    assert [t.text for t in strip.troubles(look(calm))] == ["SOLUSDT has no stop"]


@pytest.mark.parametrize(
    ("title", "symbol", "bot", "words"),
    [
        ("SOLUSDT has no stop", "", "chan-sol", "chan-sol: SOLUSDT has no stop"),
        ("Target leg refused", "SOLUSDT", "", "SOLUSDT: target leg refused"),
        ("A foreign fill of ETHUSDT", "ETHUSDT", "", "ETHUSDT: a foreign fill of ETHUSDT"),
        ("Fees in BNB are not in the results", "", "", "Paper Crypto: fees in BNB are not in the results"),
    ],
)
def test_it_writes_a_symbol_as_it_is_written(calm: DeskRows, title: str, symbol: str, bot: str, words: str) -> None:
    factories.alarm(calm.account, title, 2, symbol=symbol, bot=bot)
    assert strip.troubles(look(calm))[0].text == words


def test_it_writes_a_halted_symbol_as_it_is_written(calm: DeskRows) -> None:
    Halt.objects.create(
        halt_id="h", scope="INSTRUMENT", scope_key="SOLUSDT", mode="REDUCE_ONLY", cause="MANUAL", by="maria", at=calm.at
    )
    assert strip.troubles(look(calm))[0].text == "Symbol SOLUSDT: reduce only, manual"


# --- all right, or not ---------------------------------------------------------------------------------------------------------


def test_it_is_not_all_right_while_bots_only_reduce(calm: DeskRows) -> None:
    SymbolState.objects.filter(symbol="BTCUSDT").update(breaker_tripped_at=calm.at, breaker_losses=4)
    seen = look(calm)
    assert [t.text for t in strip.troubles(seen)] == ["ema-btc reduces only: breaker BTCUSDT, 4 losses; ends by itself"]
    assert strip.title(seen, strip.troubles(seen)) == "Not all right: 1"


def test_all_right_names_who_is_paused(calm: DeskRows) -> None:
    Halt.objects.create(halt_id="p", scope="BOT", scope_key="ema-btc", mode="REDUCE_ONLY", cause="PAUSE", by="maria", at=calm.at)
    seen = look(calm)
    assert strip.troubles(seen) == []
    assert strip.summary(seen).endswith("prices fresh; 1 bot paused")


def test_it_tells_a_condition_of_many_bots_once(calm: DeskRows) -> None:
    state = calm.account.state
    state.conditions = {"RECONCILING": calm.at.isoformat()}
    state.save()
    assert [t.text for t in strip.troubles(look(calm))] == ["4 bots reduce only: reconciling, ends by itself"]
    state.links_down = {"PRICES": "timed out"}
    state.save()
    factories.alarm(calm.account, "Prices are down", 2, key="link:PRICES")
    assert [t.text for t in strip.troubles(look(calm))] == ["Paper Crypto: prices are down"]


# --- a bot that took a symbol over -----------------------------------------------------------------------------------------------


@pytest.fixture
def successor(calm: DeskRows) -> Bot:
    """mom-btc trades BTCUSDT since ema-btc was disabled."""
    old = Bot.objects.get(code="ema-btc")
    Bot.objects.filter(pk=old.pk).update(is_enabled=False)
    BotInstrument.objects.filter(bot=old).update(is_owner=False)
    return factories.bot("mom-btc", "BTCUSDT", calm.account)


def session_pnl(desk: DeskRows, code: str) -> str:
    seen = look(desk)
    return str(cells.bot_session(next(bot for bot in seen.bots if bot.code == code), Context(seen, TRADER)))


def test_it_shows_a_bot_its_own_result_only(calm: DeskRows, successor: Bot) -> None:
    Fill.objects.filter(bot="ema-btc").update(realised=Decimal("-17.15"), fee=Decimal("0.62"))
    assert ">0.00<" in session_pnl(calm, "mom-btc")
    assert ">−17.77<" in session_pnl(calm, "ema-btc"), "disabled, it has still made what it made"
    entry = factories.order(calm.account, "mom-btc", "BTCUSDT", "SELL", "0.1", ord_status=OrdStatus.FILLED)
    Fill.objects.filter(pk=factories.fill(entry, "0.1", "61500").pk).update(realised=Decimal("5.62"), fee=Decimal("0.62"))
    assert ">+5.00<" in session_pnl(calm, "mom-btc")
    # who has a symbol alone shows what the gates count
    assert ">+197.94<" in session_pnl(calm, "mr-eth")


@pytest.mark.parametrize("status", [BotStatus.RUNNING, BotStatus.WARMING, BotStatus.STOPPED])
def test_a_disabled_bot_is_disabled_whatever_it_was(calm: DeskRows, successor: Bot, alice: User, status: BotStatus) -> None:
    BotState.objects.filter(bot__code="ema-btc").update(status=status)
    Halt.objects.create(halt_id="p", scope="BOT", scope_key="ema-btc", mode="REDUCE_ONLY", cause="PAUSE", by="maria", at=calm.at)
    seen = look(calm)
    bot = next(bot for bot in seen.bots if bot.code == "ema-btc")
    context = Context(seen, TRADER)
    assert "Disabled" in cells.bot_state(bot, context)
    assert not [word for word in ("Resume", "Start", "Clear", "Pause", "Stop…") if word in cells.bot_acts(bot, context)]
    browser = client_of(alice)
    for name in ("bot-start", "bot-resume"):
        page_ = browser.post(reverse(f"console:{name}", args=["ema-btc"]), {"key": name}, headers={"HX-Request": "true"})
        assert page_.status_code == 409
    told = browser.get(reverse("console:bot-start", args=["ema-btc"]), follow=True).content.decode()
    assert "ema-btc is disabled. Enable it in the admin first." in told
    with pytest.raises(ActRefused, match="ema-btc is disabled"):
        services.bot_resume(bot=bot, by="alice", idempotency_key="k")
    assert Halt.objects.get(pk="p").cleared_at is None


@pytest.mark.parametrize("why", ["disabled", "halted"])
def test_the_clear_of_a_firm_names_only_the_bots_that_ran(calm: DeskRows, bob: User, why: str) -> None:
    row = Halt.objects.create(halt_id="k", scope="FIRM", mode="HALTED", cause="KILL", by="maria", at=calm.at - timedelta(hours=1))
    if why == "disabled":
        Bot.objects.filter(code="mr-eth").update(is_enabled=False)
    else:
        Halt.objects.create(
            halt_id="own", scope="BOT", scope_key="mr-eth", mode="HALTED", cause="BRAIN_ERRORS", by="the desk", at=calm.at
        )
    html = client_of(bob).get(reverse("console:halt-clear", args=[row.halt_id])).content.decode()
    assert "3 bots that ran (chan-sol, ema-btc, ema-ltc) come back paused" in html


@pytest.mark.parametrize(
    ("scope", "key", "whose"),
    [
        ("FIRM", "", "any bot"),
        ("ACCOUNT", "paper", "a bot of this account"),
        ("BOT", "ema-btc", "this bot"),
        ("INSTRUMENT", "BTCUSDT", "a bot in this symbol"),
    ],
)
def test_the_banner_says_what_a_halt_does_and_to_whom(calm: DeskRows, scope: str, key: str, whose: str) -> None:
    Halt.objects.create(halt_id="h", scope=scope, scope_key=key, mode="HALTED", cause="MANUAL", by="maria", at=calm.at)
    [line] = strip.kill_lines(look(calm))
    assert line.told == f"no order of {whose} passes; working entries are canceled, stops stay"


@pytest.mark.parametrize("mode", ["HALTED", "REDUCE_ONLY"])
def test_a_halt_of_a_disabled_bot_is_no_trouble_and_stands_at_the_bot(calm: DeskRows, alice: User, mode: str) -> None:
    Halt.objects.create(
        halt_id="h", scope="BOT", scope_key="mr-eth", mode=mode, cause="BRAIN_ERRORS", reason="it raised", by="the desk", at=calm.at
    )
    factories.alarm(calm.account, "Bot mr-eth is stopped", 1, key="halt:h", bot="mr-eth")
    assert len(strip.troubles(look(calm))) == 2
    Bot.objects.filter(code="mr-eth").update(is_enabled=False)
    seen = look(calm)
    assert (strip.troubles(seen), strip.kill_lines(seen)) == ([], [])
    bot = next(bot for bot in seen.bots if bot.code == "mr-eth")
    assert strip.bot_state(seen.effective(bot)) == ("Disabled", "quiet")
    assert strip.bot_button(bot, seen.effective(bot))[0] == "Clear…"
    html = client_of(alice).get(reverse("console:bot", args=["mr-eth"])).content.decode()
    assert "besides, by the desk: it raised" in html


def test_a_kill_of_a_disabled_bot_is_told_until_it_is_verified(calm: DeskRows) -> None:
    Bot.objects.filter(code="mr-eth").update(is_enabled=False)
    act = services.kill(scope=Scope(ScopeKind.BOT, "mr-eth"), choice=KillChoice.CANCEL, by="maria", idempotency_key="k")
    assert [line.is_verified for line in strip.kill_lines(look(calm))] == [False]
    Command.objects.filter(act=act).update(status="DONE", answered_at=calm.at)
    assert strip.kill_lines(look(calm)) == []


@pytest.mark.parametrize(
    ("halts", "phase", "told"),
    [
        ([], "ACTIVE", "ACTIVE"),
        ([("FIRM", "", "HALTED", "KILL")], "ACTIVE", "KILLED"),
        ([("ACCOUNT", "paper", "REDUCE_ONLY", "DAILY_LOSS"), ("FIRM", "", "HALTED", "KILL")], "STARTING", "KILLED · STARTING"),
        ([("ACCOUNT", "paper", "REDUCE_ONLY", "PAUSE"), ("FIRM", "", "REDUCE_ONLY", "DRAWDOWN")], "ACTIVE", "REDUCE ONLY"),
        ([("BOT", "ema-btc", "HALTED", "KILL"), ("ACCOUNT", "other", "HALTED", "KILL")], "GUARD", "GUARD"),
    ],
)
def test_the_card_says_what_an_account_may_do(
    calm: DeskRows, alice: User, halts: list[tuple[str, str, str, str]], phase: str, told: str
) -> None:
    calm.account.state.phase = phase
    calm.account.state.save()
    for n, (scope, key, mode, cause) in enumerate(halts):
        Halt.objects.create(halt_id=f"h{n}", scope=scope, scope_key=key, mode=mode, cause=cause, by="maria", at=calm.at)
    html = client_of(alice).get(reverse("console:desk")).content.decode()
    assert f"<small>simulated · {told}" in html


def test_a_session_says_whose_fills_it_counts(calm: DeskRows, alice: User) -> None:
    browser = client_of(alice)
    for name in ("desk", "bots"):
        assert "Session PnL counts a bot's own fills" in browser.get(reverse(f"console:{name}")).content.decode()
    html = browser.get(reverse("console:bot", args=["mr-eth"])).content.decode()
    assert "Session PnL, own fills net of fees" in html
    assert "ETHUSDT session, all bots" in html
    assert " before fees, fees " in html


def test_the_page_holds_the_line_to_type_when_it_loses_the_desk(calm: DeskRows, alice: User, dora: User) -> None:
    html = client_of(alice).get(reverse("console:desk")).content.decode()
    [banner] = [line for line in html.splitlines() if 'id="lost"' in line]
    assert "manage.py kill --firm</code>" in banner
    assert "kill --firm" not in client_of(dora).get(reverse("console:desk")).content.decode()


def test_a_tape_that_is_over_says_so_of_its_bots_and_its_orders(calm: DeskRows) -> None:
    state = calm.account.state
    state.links_down = {"PRICES": TAPE_OVER}
    state.save()
    seen = look(calm)
    assert "Reduce only" in cells.bot_state(seen.bots[0], Context(seen, TRADER))
    assert "<small>the end of the tape</small>" in cells.bot_state(seen.bots[0], Context(seen, TRADER))
    assert [lamp.text for lamp in strip.lamps(seen)][:2] == ["the tape is over", "the tape is over"]


def test_an_act_on_a_bracket_names_its_symbol_in_dialog_and_audit(calm: DeskRows, alice: User) -> None:
    bracket = Bracket.objects.get(symbol="SOLUSDT")
    arm = partial(services.bracket_arm, account=calm.account, stop_px=Decimal(1), by="alice")
    acts = [arm(target=target, idempotency_key=target) for target in (bracket.bracket_id, "ETHUSDT")]
    browser = client_of(alice)
    for act, symbol in zip(acts, ("SOLUSDT", "ETHUSDT"), strict=True):
        assert f"<h1>Arm: {symbol}, account paper <small>" in browser.get(reverse("console:act", args=[act.pk])).content.decode()
    html = browser.get(reverse("console:audit")).content.decode()
    assert f"<small>Act {acts[0].pk} · SOLUSDT</small>" in html
    assert f"account paper SOLUSDT <small>{bracket.bracket_id}</small></td>" in html
    assert "account paper ETHUSDT</td>" in html


def test_a_time_of_another_day_has_its_day_and_one_to_come_no_age() -> None:
    now = timezone.now()
    other = now + timedelta(days=400)
    assert clock(now) == f"{now:%H:%M:%S}"
    assert clock(other) == f"{other:%Y-%m-%d %H:%M:%S}"
    assert clock_ms(other).startswith(f"{other:%Y-%m-%d %H:%M:%S}.")
    assert age(other, now) == clock(other)
    assert "data-age" in age(now + timedelta(seconds=1), now)


# --- signals -------------------------------------------------------------------------------------------------------------------


def test_signals_stand_in_the_order_of_their_times(calm: DeskRows, alice: User) -> None:
    """A denial that repeats stays where it was first said, and says when it was said last."""
    now = timezone.now()
    for n, row in enumerate(Signal.objects.order_by("id")):
        Signal.objects.filter(pk=row.pk).update(at=now + timedelta(seconds=n), last_at=now + timedelta(seconds=n))
    oldest = Signal.objects.exclude(reason="").earliest("id")
    Signal.objects.filter(pk=oldest.pk).update(repeats=38, last_at=now + timedelta(hours=1))
    seen = look(calm)
    rows = list(selectors.signals_listed([calm.account.pk]))
    times = [cells.signal_at(row, Context(seen, TRADER)).split(">")[1] for row in rows]
    assert times == sorted(times, reverse=True)
    verdict = cells.signal_verdict(next(row for row in rows if row.pk == oldest.pk), Context(seen, TRADER))
    assert "Denied ×38" in verdict
    assert f"last {now + timedelta(hours=1):%H:%M:%S}" in verdict


@pytest.mark.parametrize(
    ("symbol", "order_qty", "size"),
    [("BTCUSDT", Decimal("0.008"), "0.008\N{NO-BREAK SPACE}BTC"), ("LTCUSDT", None, "0.008\N{NO-BREAK SPACE}LTC, not ordered")],
)
def test_a_size_has_its_unit(calm: DeskRows, alice: User, symbol: str, order_qty: Decimal | None, size: str) -> None:
    row = factories.signal(calm.account, "ema-btc", symbol, reason="GROSS_EXPOSURE", order_qty=order_qty)
    html = client_of(alice).get(reverse("console:signal", args=[row.pk])).content.decode()
    assert f"<dt>Size</dt><dd>{size}</dd>" in html
    assert (
        f'<td>Size, at most qty_max</td>\n    <td class="num" title="0.008 = ⌊500 margin × 1 ÷ 61,402.1⌋">0.008\N{NO-BREAK SPACE}{symbol[:3]}'
        in html
    )


def test_a_signal_that_was_denied_before_it_was_sized_says_so(calm: DeskRows, alice: User) -> None:
    row = factories.signal(calm.account, "ema-btc", "BTCUSDT", reason="HALTED", order_qty=None, checks=[])
    html = client_of(alice).get(reverse("console:signal", args=[row.pk])).content.decode()
    assert "<dt>Size</dt><dd>not sized: it was denied before</dd>" in html


def test_a_decision_that_goes_in_slices_links_each_of_them(calm: DeskRows, alice: User) -> None:
    first = factories.order(calm.account, "ema-ltc", "LTCUSDT", "BUY", "2", price=Decimal(68))
    row = factories.signal(calm.account, "ema-ltc", "LTCUSDT", cl_ord_id=first.cl_ord_id)
    part = partial(factories.order, calm.account, "ema-ltc", "LTCUSDT", decision_id=row.decision_id)
    slices = [first, part("BUY", "2", price=Decimal(68)), part("BUY", "1", price=Decimal(69))]
    leg = part("SELL", "2", stop_px=Decimal(60), purpose="STOP_LOSS")
    html = client_of(alice).get(reverse("console:signal", args=[row.pk])).content.decode()
    for n, order in enumerate(slices, 1):
        assert f'href="{reverse("console:order", args=[order.pk])}" data-drawer>slice {n}, order {order.cl_ord_id}</a>' in html
    assert leg.cl_ord_id not in html


# --- what is not as people take it for granted ---------------------------------------------------------------------------------


def test_it_shows_how_a_stop_trails(calm: DeskRows, alice: User) -> None:
    """In words on the page, and not only under the pointer."""
    Bracket.objects.filter(symbol="SOLUSDT").update(text="stop trails 2 % behind the best price, watched here")
    html = client_of(alice).get(reverse("console:brackets")).content.decode()
    assert html.count('<small class="told">stop trails 2 % behind the best price, watched here</small>') == 1
    assert html.count('class="told"') == 1


# --- empty lists ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "words"),
    [("", "No bracket is open."), ("?state=done", "Nothing here matches this filter."), ("?symbol=X", "Nothing here matches")],
)
def test_an_empty_list_says_why(calm: DeskRows, alice: User, query: str, words: str) -> None:
    """The words are there, hidden, on a full page too: its last row may go while it is looked at."""
    full = client_of(alice).get("/brackets/").content.decode()
    assert '<p class="empty" id="bracket-empty" hidden>No bracket is open.' in full
    Bracket.objects.all().delete()
    assert f'<p class="empty" id="bracket-empty">{words}' in client_of(alice).get(f"/brackets/{query}").content.decode()


# --- who may not ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/kill/", "/admin/", "/admin/risk/riskprofile/"])
def test_it_says_who_may_and_leads_back(calm: DeskRows, dora: User, path: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "django.request"):
        page_: Any = client_of(dora).get(path, follow=True)
    html = page_.content.decode()
    assert page_.status_code == 403
    assert "You are signed in as dora, of viewer." in html
    assert "risk edits limits and clears" in html
    assert '<a href="/">Back to the desk</a>' in html
    assert "desk.css" in html
    [line] = [record for record in caplog.records if record.name == "django.request"]
    assert line.exc_info is None


# --- engines -------------------------------------------------------------------------------------------------------------------


def test_the_shell_names_a_silent_engine_only_while_somebody_waits_for_it(
    calm: DeskRows, capsys: pytest.CaptureFixture[str]
) -> None:
    now = timezone.now()
    Engine.objects.update(seen_at=now)
    Engine.objects.create(
        name="desk-0", pid=1, host="box", version="0.1.0", started_at=now - timedelta(hours=1), seen_at=now - timedelta(minutes=50)
    )
    call_command("status")
    told = capsys.readouterr().out
    assert "desk-1" in told.split("Engines")[1]
    assert "desk-0" not in told
    Lease.objects.update(engine="desk-0")
    call_command("status")
    assert "SILENT" in capsys.readouterr().out
