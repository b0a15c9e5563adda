"""A form that was shown before something changed: what adds risk is refused with what changed, what is safer is done."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.core import signing
from django.http import HttpResponse
from django.urls import reverse
from django.utils import timezone

from execution import selectors
from execution.core.controls import BotStatus
from execution.core.messages import KillChoice
from execution.models import Account, Act, Bot, BotState, Lease, SymbolState
from execution.services import bot_pause, kill
from risk.core.units import Scope, ScopeKind
from risk.models import Halt
from tests.console import factories
from tests.console.conftest import client_of
from tests.console.factories import DeskRows
from tests.console.test_views import HTMX, shown_at
from tradingdesk.console.seen import bot_facts, outdated, seal
from tradingdesk.people.models import User

FIRM = Scope(ScopeKind.FIRM, "")


@pytest.fixture
def rita(desk: DeskRows) -> User:
    """Of risk and a trader: may start and clear."""
    Lease.objects.update(expires_at=timezone.now() + timedelta(minutes=1))
    return factories.user("rita", "risk", "trader", accounts=[desk.account])


@pytest.fixture
def killed(desk: DeskRows) -> Halt:
    """The firm, killed long enough ago to be cleared."""
    factories.kill(desk.account)
    Halt.objects.update(at=desk.at - timedelta(hours=1))
    return Halt.objects.get()


def pause(code: str, *, by: str, key: str) -> None:
    bot_pause(bot=Bot.objects.get(code=code), by=by, idempotency_key=key)


def again(desk: DeskRows) -> None:
    kill(scope=FIRM, choice=KillChoice.CANCEL, by="paul", idempotency_key="again")


def one_more(desk: DeskRows) -> None:
    pause("ema-btc", by="paul", key="p1")


def one_less(desk: DeskRows) -> None:
    Bot.objects.filter(code="mr-eth").update(should_run=False)


def cleared(desk: DeskRows) -> None:
    Halt.objects.update(cleared_at=timezone.now(), cleared_by="paul")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (again, "again by paul at"),
        (one_more, "the pause of bot ema-btc: not there → paused by paul at"),
        (one_less, "the bots that come back: chan-sol, ema-btc, ema-ltc, mr-eth → chan-sol, ema-btc, ema-ltc"),
        (cleared, "→ cleared by paul"),
    ],
)
def test_it_clears_nothing_on_what_a_stale_page_showed(
    desk: DeskRows, rita: User, killed: Halt, change: Callable[[DeskRows], None], words: str
) -> None:
    browser, address = client_of(rita), reverse("console:halt-clear", args=[killed.pk])
    body = {"key": "c", "reason": "looked", "phrase": "clear firm", "shown": shown_at(browser, address)}
    change(desk)
    made = Act.objects.count()
    live = browser.post(address, body, headers=HTMX)
    assert live.status_code == 409
    assert words in live.content.decode()
    plain = browser.post(address, body, follow=True)
    assert words in plain.content.decode()
    assert plain.status_code == 409
    assert ('value="looked"' in plain.content.decode()) == (change is not cleared), "it shows the form anew, with what was typed"
    assert Act.objects.count() == made
    assert Halt.objects.get(cause="KILL").cleared_by != "rita"


def test_it_clears_what_was_shown_anew(desk: DeskRows, rita: User, killed: Halt) -> None:
    browser, address = client_of(rita), reverse("console:halt-clear", args=[killed.pk])
    body = {"key": "c", "reason": "looked", "phrase": "clear firm", "shown": shown_at(browser, address)}
    again(desk)
    browser.post(address, body)
    browser.post(address, {**body, "shown": shown_at(browser, address)})
    assert Halt.objects.get(cause="KILL").cleared_by == "rita"


def test_it_starts_no_bot_that_changed_meanwhile(desk: DeskRows, rita: User) -> None:
    BotState.objects.update(status=BotStatus.STOPPED)
    browser, address = client_of(rita), reverse("console:bot-start", args=["ema-btc"])
    body = {"key": "s", "shown": shown_at(browser, address)}
    pause("ema-btc", by="paul", key="p")
    refused = browser.post(address, body, headers=HTMX)
    assert refused.status_code == 409
    assert "ema-btc: stopped → paused" in refused.content.decode()
    body["shown"] = shown_at(browser, address)
    Bot.objects.filter(code="ema-btc").update(brain="mean_reversion")
    assert (
        "ema_cross on Paper Crypto (PAPER): BTCUSDT → mean_reversion" in browser.post(address, body, follow=True).content.decode()
    )
    assert not Act.objects.filter(kind="START").exists()
    body["shown"] = shown_at(browser, address)
    browser.post(address, body)
    assert Act.objects.filter(kind="START").exists()


def paused_since(browser: object, desk: DeskRows) -> tuple[str, dict[str, str]]:
    address = reverse("console:bot-resume", args=["ema-btc"])
    pause("ema-btc", by="alice", key="first")
    return address, {"key": "r", "shown": shown_at(browser, address, page="/bots/")}  # type: ignore[arg-type]


def test_it_resumes_the_pause_that_was_shown_and_no_other(desk: DeskRows, rita: User) -> None:
    browser = client_of(rita)
    address, body = paused_since(browser, desk)
    Halt.objects.update(cleared_at=timezone.now())
    pause("ema-btc", by="paul", key="second")
    refused = browser.post(address, body, headers=HTMX)
    assert (refused.status_code, "→ paused by paul at" in refused.content.decode()) == (409, True)
    assert not Act.objects.filter(kind="RESUME").exists()


def test_it_resumes_once_however_often_the_form_is_sent(desk: DeskRows, rita: User) -> None:
    browser = client_of(rita)
    address, body = paused_since(browser, desk)
    assert browser.post(address, body, headers=HTMX).status_code == 200
    Halt.objects.update(cleared_at=timezone.now())
    assert browser.post(address, body, headers=HTMX).status_code == 200, "what changed since is its own doing"
    assert Act.objects.filter(kind="RESUME").count() == 1


def test_it_starts_those_that_were_listed_and_no_others(desk: DeskRows, rita: User) -> None:
    browser, address = client_of(rita), reverse("console:bots-resume")
    for n, code in enumerate(("ema-btc", "mr-eth")):
        pause(code, by="alice", key=f"p{n}")
    body = {"key": "b", "shown": shown_at(browser, address)}
    pause("chan-sol", by="paul", key="p9")
    assert "chan-sol: not there → paused by paul" in browser.post(address, body, follow=True).content.decode()
    assert not Act.objects.filter(kind="RESUME").exists()
    browser.post(address, {**body, "shown": shown_at(browser, address)})
    assert Act.objects.filter(kind="RESUME").count() == 3


def test_it_resets_the_trip_that_was_shown(desk: DeskRows, rita: User) -> None:
    browser, address = client_of(rita), reverse("console:breaker-reset", args=[desk.account.code, "BTCUSDT"])
    SymbolState.objects.filter(symbol="BTCUSDT").update(breaker_tripped_at=desk.at)
    body = {"key": "x", "shown": shown_at(browser, address, page="/bots/ema-btc/")}
    SymbolState.objects.filter(symbol="BTCUSDT").update(breaker_tripped_at=timezone.now())
    assert browser.post(address, body, headers=HTMX).status_code == 409
    assert not Act.objects.exists()


@pytest.mark.parametrize(
    "shown", ["", "made:up", pytest.param(signing.dumps({"ema-btc": "stopped"}), id="signed for something else")]
)
def test_it_takes_nobody_s_word_for_what_was_shown(desk: DeskRows, rita: User, shown: str) -> None:
    answer = client_of(rita).post(reverse("console:bot-start", args=["ema-btc"]), {"key": "s", "shown": shown}, headers=HTMX)
    assert (answer.status_code, Act.objects.count()) == (409, 0)
    assert "does not say what it showed" in answer.content.decode()


@pytest.mark.parametrize("headers", [{}, HTMX])
def test_it_kills_from_a_page_of_any_age(desk: DeskRows, rita: User, killed: Halt, headers: dict[str, str]) -> None:
    body = {"key": "k", "scope": "FIRM", "choice": "cancel", "seen": "99 entries", "shown": seal({"the firm": "calm"})}
    answer: HttpResponse = client_of(rita).post(reverse("console:kill"), body, headers=headers)  # type: ignore[assignment]
    assert answer.status_code in (200, 302)
    assert Act.objects.get(by="rita").seen == "99 entries"


@pytest.mark.parametrize("name", ["halt", "bot-pause", "bot-stop"])
def test_it_restricts_from_a_page_of_any_age(desk: DeskRows, rita: User, killed: Halt, name: str) -> None:
    bodies = {"halt": {"scope": "BOT", "bot_key": "ema-btc", "mode": "REDUCE_ONLY"}, "bot-stop": {"mode": "now"}}
    args = [] if name == "halt" else ["ema-btc"]
    answer = client_of(rita).post(reverse(f"console:{name}", args=args), {"key": "k", **bodies.get(name, {})}, headers=HTMX)
    assert answer.status_code == 200


def test_it_seals_the_same_facts_alike(desk: DeskRows, account: Account) -> None:
    """A cell with a seal changes only when what it shows does."""
    look = selectors.overview(at=desk.at)
    facts = bot_facts(look, look.bots[0])
    assert seal(facts) == seal(dict(facts))
    assert outdated(seal(facts), facts) == ""


def test_it_names_two_changes_and_counts_the_rest() -> None:
    told = outdated(seal({}), dict.fromkeys("abcde", "new"))
    assert told == (
        "Nothing was done, for this page is out of date: a: not there → new; b: not there → new; 3 more changed. "
        "Look again, then decide."
    )
