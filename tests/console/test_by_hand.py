"""By hand: what the forms for legs, protection and disagreements show, what they carry, and what they refuse."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import msgspec
import pytest
from django.urls import reverse
from django.utils import timezone

from execution import selectors
from execution.core.messages import CommandKind, CommandSpec, Leg
from execution.models import Act, Bot, BotInstrument, Bracket, Command, Discrepancy, Order, Position
from risk.models import Halt
from tests.console import factories
from tests.console.conftest import client_of
from tests.console.factories import DeskRows
from tests.console.test_views import HTMX, KEY, body_of, shown_at
from tradingdesk.console import strip
from tradingdesk.people.models import User


@pytest.fixture
def bracket(desk: DeskRows) -> Bracket:
    """Long 0.42 BTCUSDT at 61,402.1 with a stop at 60,174.1."""
    return Bracket.objects.get(symbol="BTCUSDT")


def address_of(name: str, row: Bracket) -> str:
    return reverse(f"console:{name}", args=[row.account.code, row.bracket_id])


def told() -> CommandSpec:
    return msgspec.convert(Command.objects.get().body, CommandSpec)


def test_it_shows_where_a_leg_stands_and_what_it_would_lose(bracket: Bracket, alice: User) -> None:
    html = client_of(alice).get(address_of("stop-move", bracket)).content.decode()
    assert f'name="price" value="{bracket.stop_px:f}"' in html
    assert f"stands at {bracket.stop_px:,f}, −2.00 % from the market&#x27;s 61,402.1." in html
    assert f"Closed there it loses {(Decimal('61402.1') - bracket.stop_px) * Decimal('0.42'):,.2f}, fees apart." in html
    assert "Prices step by 0.1." in html


@pytest.mark.parametrize(("name", "leg"), [("stop-move", Leg.STOP), ("target-move", Leg.TARGET)])
def test_it_moves_a_leg(bracket: Bracket, alice: User, name: str, leg: Leg) -> None:
    browser, address = client_of(alice), address_of(name, bracket)
    answer = browser.post(address, {**KEY, "price": "60500.5", "reason": "news", "shown": shown_at(browser, address)})
    assert answer["Location"] == reverse("console:act", args=[Act.objects.get().pk])
    spec = told()
    assert (spec.kind, spec.target, spec.leg, spec.price) == (CommandKind.MOVE_LEG, bracket.bracket_id, leg, Decimal("60500.5"))
    assert (spec.by, spec.reason) == ("alice", "news")


@pytest.mark.parametrize("price", ["", "soon", "60,100", "0", "-5", "NaN", "1e99"])
@pytest.mark.parametrize("headers", [{}, HTMX])
def test_it_moves_to_a_price_only(bracket: Bracket, alice: User, price: str, headers: dict[str, str]) -> None:
    browser, address = client_of(alice), address_of("stop-move", bracket)
    body = {**KEY, "price": price, "reason": "keep me", "shown": shown_at(browser, address)}
    answer = browser.post(address, body, headers=headers)
    assert (answer.status_code, Act.objects.count()) == (400, 0)
    if not headers:
        html = answer.content.decode()
        assert f'name="price" value="{price}"' in html
        assert 'value="keep me"' in html


@pytest.mark.parametrize("headers", [{}, HTMX])
def test_it_moves_nothing_that_moved_meanwhile(bracket: Bracket, alice: User, headers: dict[str, str]) -> None:
    browser, address = client_of(alice), address_of("stop-move", bracket)
    body = {**KEY, "price": "60500", "shown": shown_at(browser, address)}
    Bracket.objects.update(stop_px=Decimal(60200))
    answer = browser.post(address, body, headers=headers, follow=not headers)
    assert "the stop of BTCUSDT: 60,174.1 → 60,200" in answer.content.decode()
    assert not Act.objects.exists()


def test_it_moves_once_however_often_the_form_is_sent(bracket: Bracket, alice: User) -> None:
    browser, address = client_of(alice), address_of("stop-move", bracket)
    body = {**KEY, "price": "60500", "shown": shown_at(browser, address)}
    browser.post(address, body)
    Bracket.objects.update(stop_px=Decimal(60500))
    assert browser.post(address, body).status_code == 302
    assert Act.objects.count() == 1


def test_it_knows_no_leg_that_was_never_asked(bracket: Bracket, alice: User) -> None:
    Bracket.objects.update(target_px=None)
    assert client_of(alice).get(address_of("target-move", bracket)).status_code == 404
    assert "Move target…" not in client_of(alice).get(reverse("console:brackets")).content.decode()


@pytest.mark.parametrize("name", ["bracket-arm", "position-arm"])
@pytest.mark.parametrize(
    ("body", "prices"),
    [
        ({"stop_px": "60000"}, (Decimal(60000), None)),
        ({"target_px": "65000"}, (None, Decimal(65000))),
        ({"stop_px": "60000", "target_px": "65000"}, (Decimal(60000), Decimal(65000))),
    ],
)
def test_it_arms(bracket: Bracket, alice: User, name: str, body: dict[str, str], prices: tuple[Decimal | None, ...]) -> None:
    target = bracket.symbol if name == "position-arm" else bracket.bracket_id
    browser, address = client_of(alice), reverse(f"console:{name}", args=[bracket.account.code, target])
    assert browser.post(address, {**KEY, **body, "shown": shown_at(browser, address)}, headers=HTMX).status_code == 200
    spec = told()
    assert (spec.kind, spec.target, spec.stop_px, spec.target_px) == (CommandKind.ARM, target, *prices)


def test_it_arms_with_something(bracket: Bracket, alice: User) -> None:
    browser, address = client_of(alice), address_of("bracket-arm", bracket)
    answer = browser.post(address, {**KEY, "shown": shown_at(browser, address)}, headers=HTMX)
    assert (answer.status_code, Act.objects.count()) == (400, 0)
    assert "Give a stop, a target or both." in answer.content.decode()


def test_it_arms_no_position_that_turned(bracket: Bracket, alice: User) -> None:
    browser = client_of(alice)
    address = reverse("console:position-arm", args=[bracket.account.code, "BTCUSDT"])
    body = {**KEY, "stop_px": "60000", "shown": shown_at(browser, address)}
    Position.objects.filter(symbol="BTCUSDT").update(qty=Decimal("-0.1"))
    answer = browser.post(address, body, headers=HTMX)
    assert (answer.status_code, Act.objects.count()) == (409, 0)
    assert "BTCUSDT: long → short" in answer.content.decode()


def test_it_says_on_which_side_a_stop_lies(desk: DeskRows, alice: User) -> None:
    def shown(symbol: str) -> str:
        return client_of(alice).get(reverse("console:position-arm", args=[desk.account.code, symbol])).content.decode()

    assert "The stop lies below the market&#x27;s 61,402.1, the target above." in shown("BTCUSDT")
    assert "The target lies below the market&#x27;s 141.22, the stop above." in shown("SOLUSDT")


def test_it_offers_protection_where_there_is_none(desk: DeskRows, bracket: Bracket, alice: User, bob: User) -> None:
    Order.objects.filter(symbol="BTCUSDT", purpose="STOP_LOSS").delete()
    Bracket.objects.filter(pk=bracket.pk).update(is_stop_waived=True)
    address = address_of("bracket-arm", bracket)
    assert address in client_of(alice).get(reverse("console:brackets")).content.decode()
    assert address not in client_of(bob).get(reverse("console:brackets")).content.decode()


# --- clearing ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def loss(desk: DeskRows) -> Halt:
    """A day's loss that halted the account, long enough ago to be cleared."""
    at = desk.at - timedelta(hours=1)
    return Halt.objects.create(
        halt_id="loss-1", scope="ACCOUNT", scope_key="paper", mode="REDUCE_ONLY", cause="DAILY_LOSS", by="engine", at=at
    )


@pytest.mark.parametrize("is_kept", [True, False])
def test_it_keeps_the_baseline_where_that_is_asked(loss: Halt, bob: User, is_kept: bool) -> None:
    browser, address = client_of(bob), reverse("console:halt-clear", args=[loss.pk])
    body = {**KEY, "reason": "seen", "phrase": "clear account paper", "shown": shown_at(browser, address)}
    answer = browser.post(address, {**body, **({"keeps_baseline": "on"} if is_kept else {})}, headers=HTMX)
    assert answer.status_code == 200
    clear = Command.objects.get(body__kind=CommandKind.CLEAR)
    assert clear.body["keeps_baseline"] is is_kept


def test_it_offers_the_baseline_of_a_loss_only(desk: DeskRows, loss: Halt, bob: User) -> None:
    factories.kill(desk.account)

    def shown(halt: Halt) -> str:
        return client_of(bob).get(reverse("console:halt-clear", args=[halt.pk])).content.decode()

    assert 'name="keeps_baseline"' in shown(loss)
    assert 'name="keeps_baseline"' not in shown(Halt.objects.get(cause="KILL"))


def test_it_tells_a_trader_who_clears(loss: Halt, alice: User) -> None:
    html = client_of(alice).get(reverse("console:halt-clear", args=[loss.pk])).content.decode()
    assert "ask someone of the group risk" in html
    assert 'name="phrase"' not in html


def test_it_keeps_what_was_typed_when_it_is_refused(loss: Halt, bob: User) -> None:
    browser, address = client_of(bob), reverse("console:halt-clear", args=[loss.pk])
    body = {**KEY, "reason": "looked at all of it", "phrase": "clear it", "shown": shown_at(browser, address)}
    answer = browser.post(address, body)
    assert answer.status_code == 409
    html = answer.content.decode()
    assert "Type “clear account paper” to clear this." in html
    assert 'value="looked at all of it"' in html


# --- headlines ---------------------------------------------------------------------------------------------------------------


def test_it_counts_a_stop_that_was_taken_away_as_none(desk: DeskRows, bracket: Bracket) -> None:
    Order.objects.filter(pk__in=Order.objects.exclude(symbol="BTCUSDT")).delete()
    Position.objects.exclude(symbol="BTCUSDT").delete()
    Order.objects.filter(purpose="STOP_LOSS").delete()
    Bracket.objects.update(is_stop_waived=True)
    factories.alarm(desk.account, "BTCUSDT has no stop", 1, symbol="BTCUSDT")
    look = selectors.overview(at=desk.at)
    assert strip.summary(look).startswith("0 of 1 position with a stop at the venue")
    assert [trouble.text for trouble in strip.troubles(look) if trouble.priority == 1] == ["BTCUSDT has no stop"]


def test_it_gives_a_position_to_the_bot_that_has_it(desk: DeskRows) -> None:
    """A bot that is replaced by another on the same symbol shows nothing of what the new one does."""
    old = Bot.objects.get(code="ema-btc")
    Bot.objects.filter(pk=old.pk).update(is_enabled=False)
    BotInstrument.objects.filter(bot=old).update(is_owner=False)
    new = factories.bot("mom-btc", "BTCUSDT", desk.account)
    Position.objects.filter(symbol="BTCUSDT").update(bot="mom-btc")
    look = selectors.overview(at=desk.at)
    bots = {bot.code: bot for bot in look.bots}
    assert [p.symbol for p in look.bot_position(bots[new.code])] == ["BTCUSDT"]
    assert look.bot_position(bots["ema-btc"]) == []
    assert look.effective(bots["ema-btc"]).name == "DISABLED"
    assert "STOPPED" not in {word for word, _, _ in strip.states(look)}
    Position.objects.filter(symbol="BTCUSDT").update(bot="EXTERNAL")
    look = selectors.overview(at=desk.at)
    assert [bool(look.bot_position(bot)) for bot in look.bots if bot.code in ("ema-btc", "mom-btc")] == [False, True]


# --- disagreements ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def differing(desk: DeskRows) -> Discrepancy:
    return factories.discrepancy(desk.account, "ETHUSDT")


def test_it_shows_what_the_venue_holds_otherwise(desk: DeskRows, differing: Discrepancy, alice: User, bob: User) -> None:
    shown = client_of(alice).get(reverse("console:positions")).content.decode()
    row = shown.partition('id="differences"')[2].partition("</section>")[0]
    assert "ETHUSDT" in row
    assert "3.1" in row
    assert "2.1" in row
    assert f'data-age="{int(differing.since.timestamp() * 1000)}"' in row
    assert "/ETHUSDT/adopt/" in row
    assert "/ETHUSDT/ignore/" in row
    assert "/adopt/" not in client_of(bob).get(reverse("console:positions")).content.decode()
    Discrepancy.objects.update(ended_at=timezone.now())
    assert 'id="differences"' not in client_of(alice).get(reverse("console:positions")).content.decode()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("discrepancy-adopt", CommandKind.ADOPT),
        ("discrepancy-ignore", CommandKind.IGNORE),
        ("discrepancy-flatten", CommandKind.FLATTEN),
    ],
)
def test_it_settles_what_was_shown(differing: Discrepancy, alice: User, name: str, kind: CommandKind) -> None:
    browser, address = client_of(alice), reverse(f"console:{name}", args=[differing.account.code, "ETHUSDT"])
    body = body_of(browser, name, address)
    Discrepancy.objects.update(theirs=Decimal("1.5"))
    refused = browser.post(address, body, headers=HTMX)
    assert (refused.status_code, Act.objects.count()) == (409, 0)
    assert "ours 3.1, the venue&#x27;s 2.1 → ours 3.1, the venue&#x27;s 1.5" in refused.content.decode()
    assert browser.post(address, body_of(browser, name, address)).status_code == 302
    assert (told().kind, told().target) == (kind, "ETHUSDT")


def test_it_says_what_flattening_a_disagreement_trades(differing: Discrepancy, alice: User) -> None:
    browser = client_of(alice)
    address = reverse("console:discrepancy-flatten", args=[differing.account.code, "ETHUSDT"])
    html = browser.get(address).content.decode()
    assert "Sells 2.1 ETHUSDT at market; the account goes +2.1 → 0." in html
    assert "/ETHUSDT/adopt-and-close/" in browser.get(reverse("console:positions")).content.decode()
    Discrepancy.objects.update(theirs=Decimal(0))
    assert "/ETHUSDT/adopt-and-close/" not in browser.get(reverse("console:positions")).content.decode()
    refused = browser.post(address, body_of(browser, "discrepancy-flatten", address), headers=HTMX)
    assert "holds no ETHUSDT: adopt that, there is nothing to close." in refused.content.decode()
    assert Act.objects.count() == 0


def test_it_settles_nothing_that_ended(differing: Discrepancy, alice: User) -> None:
    browser, address = client_of(alice), reverse("console:discrepancy-adopt", args=[differing.account.code, "ETHUSDT"])
    body = body_of(browser, "discrepancy-adopt", address)
    Discrepancy.objects.update(ended_at=timezone.now())
    refused = browser.post(address, body, headers=HTMX)
    assert (refused.status_code, Act.objects.count()) == (409, 0)
    assert "settled" in refused.content.decode()
    assert browser.get(address).status_code == 404


@pytest.mark.parametrize(("name", "target"), [("account-query", ""), ("bracket-query", "bracket")])
def test_it_asks_the_venue(bracket: Bracket, alice: User, name: str, target: str) -> None:
    args = [bracket.account.code, *([bracket.bracket_id] if target else [])]
    client_of(alice).post(reverse(f"console:{name}", args=args), KEY)
    assert (told().kind, told().target) == (CommandKind.QUERY, bracket.bracket_id if target else "")
