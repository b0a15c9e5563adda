"""Every page asked as a trader, as risk, as a viewer, as a stranger and as nobody; plain and by htmx; reading and acting."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

import pytest
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse

from execution.core.messages import CommandKind
from execution.models import Act, Alarm, Bracket, Command, Order, Signal, SymbolState
from risk.models import Halt
from tests.console import factories
from tests.console.conftest import client_of
from tests.console.factories import DeskRows
from tradingdesk.console.urls import urlpatterns
from tradingdesk.console.views.lists import SHOWN
from tradingdesk.people.models import User

HTMX = {"HX-Request": "true", "HX-Target": "drawer-body"}
KEY = {"key": "a-page-key"}


def pages(desk: DeskRows) -> dict[str, str]:
    """Every address that is read, by its name."""
    code = desk.account.code
    leg = Order.objects.filter(purpose="STOP_LOSS").latest("pk")
    halt = Halt.objects.create(
        halt_id="halt-1", scope="BOT", scope_key="ema-btc", mode="HALTED", cause="MANUAL", by="maria", at=desk.at
    )
    kill = factories.kill(desk.account)
    factories.discrepancy(desk.account, "ETHUSDT")
    args: dict[str, list[Any]] = {
        "desk": [],
        "tour": [],
        "signals": [],
        "signal": [Signal.objects.latest("pk").pk],
        "orders": [],
        "order": [leg.pk],
        "brackets": [],
        "bracket-cancel": [code, leg.bracket_id],
        "bracket-arm": [code, leg.bracket_id],
        "stop-move": [code, leg.bracket_id],
        "target-move": [code, leg.bracket_id],
        "positions": [],
        "trades": [],
        "position-close": [code, "BTCUSDT"],
        "position-arm": [code, "BTCUSDT"],
        "discrepancy-adopt": [code, "ETHUSDT"],
        "discrepancy-ignore": [code, "ETHUSDT"],
        "discrepancy-flatten": [code, "ETHUSDT"],
        "bots": [],
        "bots-resume": [],
        "bot": ["ema-btc"],
        "chart": ["ema-btc"],
        "bot-start": ["ema-btc"],
        "bot-stop": ["ema-btc"],
        "bot-flatten": ["ema-btc"],
        "kill": [],
        "halt": [],
        "halt-clear": [halt.pk],
        "act": [kill.pk],
        "audit": [],
    }
    return {name: reverse(f"console:{name}", args=given) for name, given in args.items()}


def acts(desk: DeskRows) -> dict[str, str]:
    """Every address that acts, by its name."""
    code = desk.account.code
    leg = Order.objects.filter(purpose="TAKE_PROFIT").latest("pk")
    alarm = factories.alarm(desk.account)
    factories.discrepancy(desk.account, "ETHUSDT")
    SymbolState.objects.filter(symbol="BTCUSDT").update(breaker_tripped_at=desk.at)
    halt = Halt.objects.create(
        halt_id="halt-2", scope="BOT", scope_key="mr-eth", mode="HALTED", cause="MANUAL", by="maria", at=desk.at
    )
    args: dict[str, list[Any]] = {
        "order-cancel": [code, Order.objects.filter(purpose="ENTRY", is_working=True).latest("pk").cl_ord_id],
        "order-query": [code, leg.cl_ord_id],
        "leg-cancel": [code, leg.cl_ord_id],
        "bracket-cancel": [code, leg.bracket_id],
        "bracket-arm": [code, leg.bracket_id],
        "bracket-query": [code, leg.bracket_id],
        "stop-move": [code, leg.bracket_id],
        "target-move": [code, leg.bracket_id],
        "account-query": [code],
        "position-close": [code, "BTCUSDT"],
        "position-arm": [code, "BTCUSDT"],
        "discrepancy-adopt": [code, "ETHUSDT"],
        "discrepancy-ignore": [code, "ETHUSDT"],
        "discrepancy-flatten": [code, "ETHUSDT"],
        "bot-start": ["ema-btc"],
        "bot-pause": ["ema-btc"],
        "bot-resume": ["ema-btc"],
        "bots-resume": [],
        "bot-stop": ["ema-btc"],
        "bot-flatten": ["ema-btc"],
        "breaker-reset": [code, "BTCUSDT"],
        "kill": [],
        "halt": [],
        "halt-clear": [halt.pk],
        "alarm-ack": [alarm.pk],
    }
    return {name: reverse(f"console:{name}", args=given) for name, given in args.items()}


#: what the forms send besides the key
BODIES: dict[str, dict[str, str]] = {
    "bot-stop": {"mode": "now"},
    "kill": {"scope": "FIRM", "choice": "cancel"},
    "halt": {"scope": "BOT", "bot_key": "ema-btc", "mode": "REDUCE_ONLY"},
    "halt-clear": {"reason": "looked at it"},
    "stop-move": {"price": "138.2"},
    "target-move": {"price": "150"},
    "bracket-arm": {"stop_px": "138.2"},
    "position-arm": {"stop_px": "60000", "target_px": "65000"},
}
#: acts whose form shows what stands now, and whose answer is the act with its steps
BY_HAND = {
    *("stop-move", "target-move", "bracket-arm", "position-arm"),
    *("discrepancy-adopt", "discrepancy-ignore", "discrepancy-flatten"),
}
#: acts whose form says what it showed, and the page it is on; the others are asked under their own address
SEALED = {
    **dict.fromkeys(("bot-start", "bots-resume", "halt-clear", *BY_HAND), ""),
    "bot-resume": "/bots/",
    "breaker-reset": "/bots/ema-btc/",
}
#: pages that only ask before an act, and are closed to who may not act
ASKING = {
    *BY_HAND,
    *("bracket-cancel", "position-close", "bots-resume", "bot-start", "bot-stop", "bot-flatten", "kill", "halt", "halt-clear"),
}
#: what risk may do without a trader's rights
SAFER = {"bot-pause", "kill", "halt", "halt-clear", "alarm-ack"}
#: acts that were refused for a reason of the desk, not of rights: nothing is paused, and a bot that runs under a halt does not start
REFUSED = {"bot-resume"}
#: not bound to one account: a stranger meets them empty rather than closed
WIDE = {"desk", "tour", "signals", "orders", "brackets", "positions", "trades", "bots", "theme", "tour-dismiss"}


def shown_at(browser: Client, address: str, *, page: str = "") -> str:
    """What the form or button for this address seals, read from its page; empty where there is none."""
    html = browser.get(page or address).content.decode()
    found = re.search(rf'formaction="{address}" name="shown" value="([^"]+)"' if page else 'name="shown" value="([^"]+)"', html)
    return found[1] if found else ""


def body_of(browser: Client, name: str, address: str) -> dict[str, str]:
    """Everything a person's browser would send."""
    sealed = {"shown": shown_at(browser, address, page=SEALED[name])} if name in SEALED else {}
    return {**KEY, **BODIES.get(name, {}), **sealed}


def ask(browser: Client, address: str, **headers: str) -> HttpResponse:
    query = "?symbol=BTCUSDT" if address.endswith("chart.json") else ""
    return browser.get(address + query, headers=headers)  # type: ignore[return-value]


def test_it_lists_every_address(desk: DeskRows) -> None:
    """A view that is added is asked as everyone below."""
    names = {str(pattern.name) for pattern in urlpatterns}
    assert names == {*pages(desk), *acts(desk), "theme", "tour-dismiss", "audit-verify"}


def test_it_shows_every_page_to_a_trader_and_to_risk(desk: DeskRows, alice: User, bob: User) -> None:
    for name, address in pages(desk).items():
        assert ask(client_of(alice), address).status_code == 200, name
        wanted = 403 if name in ASKING - SAFER else 200
        assert ask(client_of(bob), address).status_code == wanted, name


def test_it_lets_a_viewer_look(desk: DeskRows, dora: User) -> None:
    for name, address in pages(desk).items():
        assert ask(client_of(dora), address).status_code == (403 if name in ASKING else 200), name


def test_it_knows_no_account_for_a_stranger(desk: DeskRows, charlie: User) -> None:
    for name, address in pages(desk).items():
        response = ask(client_of(charlie), address)
        if name in WIDE:
            assert response.status_code == 200, name
            assert "BTCUSDT" not in response.content.decode(), name
        else:
            assert response.status_code in ({404} if name not in ASKING else {403, 404}), name


def test_it_asks_nobody_in(desk: DeskRows) -> None:
    for name, address in pages(desk).items():
        plain = ask(client_of(None), address)
        assert (plain.status_code, plain["Location"].split("?")[0]) == (302, reverse("account_login")), name
        live = ask(client_of(None), address, **HTMX)
        assert (live.status_code, live["HX-Redirect"]) == (401, reverse("account_login")), name


def test_it_gives_htmx_the_drawer_only(desk: DeskRows, alice: User) -> None:
    for name in ("signal", "order", "kill", "halt", "bot-stop", "position-close", *BY_HAND):
        html = ask(client_of(alice), pages_once(desk)[name], **HTMX).content.decode()
        assert "<html" not in html, name
        assert html.strip(), name


def pages_once(desk: DeskRows) -> dict[str, str]:
    Halt.objects.all().delete()
    return pages(desk)


@pytest.mark.parametrize("headers", [{}, HTMX])
def test_it_lets_a_trader_act(desk: DeskRows, alice: User, headers: dict[str, str]) -> None:
    for name, address in acts(desk).items():
        Halt.objects.exclude(pk="halt-2").delete()
        browser = client_of(alice)
        response = browser.post(address, body_of(browser, name, address), headers=headers)
        if not headers:
            assert response.status_code == 302, name
        else:
            assert response.status_code == (409 if name in REFUSED else 200), (name, response.content.decode())
    kinds = set(Act.objects.values_list("kind", flat=True))
    assert kinds >= {
        CommandKind.KILL,
        CommandKind.HALT,
        CommandKind.PAUSE,
        CommandKind.STOP,
        CommandKind.CANCEL_LEG,
        CommandKind.CLOSE,
    }


def test_it_lets_risk_do_what_is_safer(desk: DeskRows, bob: User) -> None:
    for name, address in acts(desk).items():
        browser = client_of(bob)
        response = browser.post(address, body_of(browser, name, address), headers=HTMX)
        assert response.status_code == (200 if name in SAFER else 403), (name, response.content.decode())


@pytest.mark.parametrize("headers", [{}, HTMX])
def test_it_lets_a_viewer_and_a_stranger_do_nothing(desk: DeskRows, dora: User, charlie: User, headers: dict[str, str]) -> None:
    for name, address in acts(desk).items():
        assert client_of(dora).post(address, {**KEY, **BODIES.get(name, {})}, headers=headers).status_code == 403, name
        assert client_of(charlie).post(address, {**KEY, **BODIES.get(name, {})}, headers=headers).status_code in {403, 404}, name
    assert not Act.objects.exists()
    assert not Alarm.objects.exclude(acked_at=None).exists()


def test_it_knows_no_account_for_a_trader_of_another(desk: DeskRows) -> None:
    stranger = factories.user("erin", "trader", accounts=[factories.account("other", name="Other")])
    closed = {name: address for name, address in acts(desk).items() if name not in {"kill", "halt", "bots-resume"}}
    for name, address in closed.items():
        assert client_of(stranger).post(address, {**KEY, **BODIES.get(name, {})}).status_code == 404, name


def test_it_acts_by_post_only(desk: DeskRows, alice: User) -> None:
    for name in (
        *("order-cancel", "leg-cancel", "bot-pause", "bot-resume", "alarm-ack", "breaker-reset"),
        *("order-query", "bracket-query", "account-query"),
    ):
        assert client_of(alice).get(acts_once(desk)[name]).status_code == 405, name


def acts_once(desk: DeskRows) -> dict[str, str]:
    Halt.objects.all().delete()
    return acts(desk)


def test_it_refuses_an_act_without_the_token(desk: DeskRows, alice: User) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(alice)
    assert browser.post(reverse("console:bot-pause", args=["ema-btc"]), KEY).status_code == 403
    assert not Act.objects.exists()


def test_it_makes_an_act_once(desk: DeskRows, alice: User) -> None:
    """The key is the page's: a retry is the same act, another button of the same page is another one."""
    browser = client_of(alice)
    for _ in range(2):
        browser.post(reverse("console:bot-pause", args=["ema-btc"]), KEY)
    browser.post(reverse("console:bot-pause", args=["mr-eth"]), KEY)
    assert Act.objects.count() == 2


def test_it_comes_back_to_the_page_and_nowhere_else(desk: DeskRows, alice: User) -> None:
    address = reverse("console:bot-pause", args=["ema-btc"])
    assert client_of(alice).post(address, {**KEY, "next": "/orders/?state=done"})["Location"] == "/orders/?state=done"
    elsewhere = client_of(alice).post(address, {"key": "b", "next": "https://elsewhere.example/"})
    assert elsewhere["Location"] == reverse("console:desk")


def test_it_tells_an_act_in_plain_html(desk: DeskRows, alice: User) -> None:
    response = client_of(alice).post(reverse("console:bot-pause", args=["ema-btc"]), KEY, follow=True)
    assert "ema-btc is paused" in response.content.decode()


def test_it_says_what_is_not_there_or_not_yours(desk: DeskRows, alice: User, dora: User) -> None:
    missing = client_of(alice).get(reverse("console:bot", args=["nobody"])).content.decode()
    assert "There is nothing here" in missing
    assert "Back to the desk" in missing
    forbidden = client_of(dora).post(reverse("console:bot-pause", args=["ema-btc"]), KEY).content.decode()
    assert "Viewers may look, not act. Nothing was changed." in forbidden
    stale = Client(enforce_csrf_checks=True)
    stale.force_login(alice)
    assert "from another session" in stale.post(reverse("console:bot-pause", args=["ema-btc"]), KEY).content.decode()


# --- killing -------------------------------------------------------------------------------------------------------------


def kill(user: User, **body: str) -> HttpResponse:
    return client_of(user).post(reverse("console:kill"), {"key": "k", "choice": "cancel", **body}, headers=HTMX)  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("body", "scope", "key"),
    [
        ({"scope": "FIRM"}, "FIRM", ""),
        ({"scope": "ACCOUNT", "account_key": "paper"}, "ACCOUNT", "paper"),
        ({"scope": "BOT", "bot_key": "ema-btc", "account_key": "paper"}, "BOT", "ema-btc"),
        ({"scope": "INSTRUMENT", "symbol_key": "BTCUSDT"}, "INSTRUMENT", "BTCUSDT"),
    ],
)
def test_it_kills_at_every_scope(desk: DeskRows, alice: User, body: dict[str, str], scope: str, key: str) -> None:
    html = kill(alice, **body, reason="odd", seen="2 entries").content.decode()
    act = Act.objects.get()
    assert (act.kind, act.scope, act.scope_key, act.reason, act.seen, act.by) == ("KILL", scope, key, "odd", "2 entries", "alice")
    assert Halt.objects.get().mode == "HALTED"
    assert "no engine has taken it yet" in html


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"scope": "FIRM", "choice": "cancel+flatten"}, 400),
        ({"scope": "FIRM", "choice": "cancel+flatten", "typed": "Flatten"}, 200),
        ({"scope": "BOT", "bot_key": "ema-btc", "choice": "cancel+flatten"}, 200),
        ({"scope": "BOT", "bot_key": "ema-btc", "choice": "cancel_all"}, 400),
        ({"scope": "BOT", "bot_key": "ema-btc", "choice": "cancel_all", "typed": "unprotect"}, 200),
        ({"scope": "BOT"}, 400),
        ({"scope": "MOON"}, 400),
        ({"scope": "BOT", "bot_key": "nobody"}, 409),
    ],
)
def test_it_asks_for_the_word(desk: DeskRows, alice: User, body: dict[str, str], status: int) -> None:
    assert kill(alice, **body).status_code == status
    assert Act.objects.count() == (1 if status == 200 else 0)


def test_it_never_calls_a_pending_kill_verified(desk: DeskRows, alice: User) -> None:
    act = factories.kill(desk.account)
    address = reverse("console:act", args=[act.pk])
    html = client_of(alice).get(address, headers=HTMX).content.decode()
    assert "Not verified yet" in html
    assert "<strong>" not in html
    assert 'data-finished="0"' in html
    Command.objects.filter(act=act).update(status="DONE", answered_at=desk.at)
    html = client_of(alice).get(address, headers=HTMX).content.decode()
    assert "Not verified yet" not in html
    assert "<strong>" in html
    assert "hx-trigger" not in html


@pytest.mark.parametrize("name", ["desk", "signals", "orders", "brackets", "positions", "trades", "bots", "audit"])
def test_it_says_on_every_page_what_is_killed(desk: DeskRows, alice: User, name: str) -> None:
    factories.kill(desk.account)
    html = client_of(alice).get(reverse(f"console:{name}")).content.decode()
    assert "KILLED" in html
    assert "not verified yet" in html
    assert "prices look wrong" in html


def test_it_carries_what_helps_when_the_desk_is_gone(desk: DeskRows, alice: User) -> None:
    type(desk.account).objects.update(venue_page="https://venue.example/help", venue_phone="+1 555 0100", venue_account="AA-19")
    html = client_of(alice).get(reverse("console:desk")).content.decode()
    for word in ("https://venue.example/help", "+1 555 0100", "AA-19", "manage.py"):
        assert word in html


def test_it_clears_with_reason_and_phrase(desk: DeskRows, alice: User, bob: User) -> None:
    factories.kill(desk.account)
    Halt.objects.update(at=desk.at.replace(year=desk.at.year - 1))
    address = reverse("console:halt-clear", args=[Halt.objects.get().pk])
    body = {"key": "c", "reason": "looked", "phrase": "clear firm", "shown": shown_at(client_of(bob), address)}
    assert client_of(alice).post(address, body, headers=HTMX).status_code == 409
    assert client_of(bob).post(address, {**body, "key": "d", "phrase": "clear"}, headers=HTMX).status_code == 409
    assert client_of(bob).post(address, {**body, "key": "e", "reason": ""}, headers=HTMX).status_code == 400
    assert Halt.objects.get(cause="KILL").cleared_at is None
    assert client_of(bob).post(address, {**body, "key": "f"}, headers=HTMX).status_code == 200
    assert Halt.objects.get(cause="KILL").cleared_by == "bob"


def test_it_cancels_a_leg_and_keeps_the_other(desk: DeskRows, alice: User) -> None:
    bracket = Bracket.objects.filter(symbol="BTCUSDT").get()
    client_of(alice).post(reverse("console:leg-cancel", args=[desk.account.code, bracket.target_id]), KEY)
    act = Act.objects.get()
    assert (act.kind, act.target) == (CommandKind.CANCEL_LEG, bracket.target_id)


def test_it_keeps_the_reason_of_every_act(desk: DeskRows, alice: User) -> None:
    addresses = acts(desk)
    for name, address in addresses.items():
        Halt.objects.exclude(pk="halt-2").delete()
        browser = client_of(alice)
        browser.post(address, {**body_of(browser, name, address), "reason": f"why {name}"}, headers=HTMX)
    wanted = {f"why {name}" for name in addresses if name not in {"alarm-ack", "bots-resume", *REFUSED}}
    assert set(Act.objects.values_list("reason", flat=True)) == wanted


# --- what pages carry ------------------------------------------------------------------------------------------------------


def test_it_runs_no_script_and_no_style_of_strangers(desk: DeskRows, alice: User) -> None:
    for name, address in pages(desk).items():
        response = ask(client_of(alice), address)
        assert "default-src 'self'" in response["Content-Security-Policy"], name
        html = response.content.decode()
        for inline in ("<script>", "<style", " style=", " onclick=", "javascript:"):
            assert inline not in html, (name, inline)


def test_it_keeps_the_theme(desk: DeskRows, alice: User) -> None:
    browser = client_of(alice)
    browser.post(reverse("console:theme"), {"theme": "dark", "next": "/orders/"})
    assert 'data-theme="dark"' in browser.get("/orders/").content.decode()
    browser.post(reverse("console:theme"), {"theme": "purple"})
    alice.refresh_from_db()
    assert alice.theme == "dark"


def test_it_says_that_prices_are_made_up(desk: DeskRows, alice: User) -> None:
    for name in ("desk", "signals", "orders", "brackets", "positions", "bots"):
        assert "SYNTHETIC" in client_of(alice).get(reverse(f"console:{name}")).content.decode(), name


def test_it_says_what_to_do_on_an_empty_desk(db: None) -> None:
    root = factories.user("root", is_superuser=True, is_staff=True)
    for name in ("desk", "signals", "orders", "brackets", "positions", "trades", "bots", "audit"):
        response = client_of(root).get(reverse(f"console:{name}"))
        assert response.status_code == 200, name
    assert "No account yet" in client_of(root).get(reverse("console:desk")).content.decode()


@pytest.mark.parametrize(
    "query",
    ["verdict=denied", "verdict=approved", "bot=ema-btc", "symbol=BTCUSDT", "reason=GROSS_EXPOSURE", "bot=nobody", "state=all"],
)
def test_it_filters(desk: DeskRows, alice: User, query: str) -> None:
    assert client_of(alice).get(f"{reverse('console:signals')}?{query}").status_code == 200


def test_it_says_that_a_list_goes_on(desk: DeskRows, alice: User) -> None:
    def listed() -> str:
        return client_of(alice).get(reverse("console:signals")).content.decode()

    assert "a filter reaches the rest" not in listed()
    for _ in range(SHOWN):
        factories.signal(desk.account, "ema-btc", "BTCUSDT")
    html = listed()
    assert html.count('<tr id="signal-') == SHOWN
    assert "The newest 200; a filter reaches the rest." in html


def test_it_hides_no_trouble(desk: DeskRows, alice: User) -> None:
    """Three in the line, the rest one click away, and that without JavaScript."""
    for n in range(6):
        factories.alarm(desk.account, f"Trouble {n}", 1)
    html = client_of(alice).get(reverse("console:desk")).content.decode()
    first, _, rest = html.partition("<summary>and 3 more</summary>")
    told = [
        re.findall(r"Paper Crypto: trouble \d", part)
        for part in (first.partition('id="answer"')[2], rest.partition("</details>")[0])
    ]
    assert [len(found) for found in told] == [3, 3]
    assert len({*told[0], *told[1]}) == 6


def test_it_refuses_null_characters(desk: DeskRows, alice: User) -> None:
    client = client_of(alice)
    answers = [
        client.get(f"{reverse('console:signals')}?bot=%00"),
        client.get(reverse("console:bot", args=["x"]).replace("/x/", "/%00/")),
        client.post(reverse("console:kill"), {"scope": "FIRM", "key": "a\0b"}),
    ]
    assert [answer.status_code for answer in answers] == [400, 400, 400]
    assert not Act.objects.exists()


def test_it_filters_signals_by_verdict(desk: DeskRows, alice: User) -> None:
    def shown(query: str) -> int:
        return client_of(alice).get(reverse("console:signals") + query).content.decode().count('<tr id="signal-')

    assert (shown(""), shown("?verdict=denied"), shown("?verdict=approved")) == (10, 5, 5)
    assert shown("?verdict=denied&reason=DRAWDOWN") == 0
    assert shown(f"?bot={quote('ema-btc')}") == 3


def test_it_verifies_the_chain(desk: DeskRows, alice: User) -> None:
    browser = client_of(alice)
    browser.post(reverse("console:bot-pause", args=["ema-btc"]), KEY)
    assert "chain is whole" in browser.post(reverse("console:audit-verify")).content.decode()
    from risk.models import AuditEntry

    AuditEntry.objects.update(reason="changed later")
    assert "breaks at entry 1" in browser.post(reverse("console:audit-verify"), headers=HTMX).content.decode()


def context_of(response: Any, name: str) -> Any:
    return response.context[name]


def test_it_ticks_what_it_saw(desk: DeskRows, alice: User) -> None:
    browser = client_of(alice)

    def done() -> list[bool]:
        return [step.is_done for step in context_of(browser.get(reverse("console:desk")), "steps")]

    assert done() == [False] * 6
    browser.get(reverse("console:signal", args=[Signal.objects.exclude(reason="").latest("pk").pk]))
    bracket = Bracket.objects.filter(symbol="BTCUSDT").get()
    browser.post(reverse("console:leg-cancel", args=[desk.account.code, bracket.target_id]), KEY)
    factories.kill(desk.account, status=Command._meta.get_field("status").to_python("DONE"))
    assert done() == [True, False, True, False, True, False]
    browser.post(reverse("console:tour-dismiss"))
    assert context_of(browser.get(reverse("console:desk")), "steps") == []
