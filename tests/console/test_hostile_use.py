"""Acts as an adversary, or an unlucky hand, would send them: twice, late, signed out, by another, with what is no id and no number."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.test import Client
from django.urls import reverse

from execution.models import Account, Act, Bracket, Command
from risk.models import AuditEntry, Halt
from tests.console import factories
from tests.console.conftest import client_of
from tests.console.factories import DeskRows
from tests.console.test_views import BODIES, KEY, acts, body_of, pages
from tradingdesk.people.models import User

HTMX = {"HX-Request": "true"}
#: acts that a second click makes nothing new of, and that make none at all
WITHOUT_ACT = {"alarm-ack"}


def stays_the_same() -> tuple[int, int, int, int]:
    return Act.objects.count(), Command.objects.count(), Halt.objects.count(), AuditEntry.objects.count()


@pytest.mark.parametrize("headers", [{}, HTMX])
def test_a_double_click_acts_once(desk: DeskRows, alice: User, headers: dict[str, str]) -> None:
    for name, address in acts(desk).items():
        Halt.objects.exclude(pk="halt-2").delete()
        browser = client_of(alice)
        body = body_of(browser, name, address) | {"key": f"double-{name}"}
        browser.post(address, body, headers=headers)
        after = stays_the_same()
        second = browser.post(address, body, headers=headers)
        assert stays_the_same() == after, name
        assert second.status_code in {200, 302, 409}, name


@pytest.mark.parametrize("method", ["head", "put", "patch", "delete", "options"])
def test_no_other_method_acts(desk: DeskRows, alice: User, method: str) -> None:
    browser = client_of(alice)
    for name, address in {**pages(desk), **acts(desk)}.items():
        before = stays_the_same()
        query = "?symbol=BTCUSDT" if name == "chart" else ""
        answer = getattr(browser, method)(address + query)
        assert answer.status_code in ({200, 405} if method == "head" else {405}), (name, answer.status_code)
        assert stays_the_same() == before, name


def test_no_act_goes_without_its_token(desk: DeskRows, alice: User) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(alice)
    for name, address in acts(desk).items():
        before = stays_the_same()
        for headers in ({}, HTMX):
            refused = browser.post(address, {**KEY, **BODIES.get(name, {}), "csrfmiddlewaretoken": "x" * 64}, headers=headers)
            assert (refused.status_code, "another session" in refused.content.decode()) == (403, True), name
        assert stays_the_same() == before, name


def test_a_session_that_ended_acts_no_more_and_leads_back_to_the_page(desk: DeskRows, alice: User) -> None:
    """Signing in again must not lead to an address that only takes a POST."""
    for name, address in acts(desk).items():
        browser = client_of(alice)
        body = body_of(browser, name, address) | {"next": "/brackets/?state=all"}
        Session.objects.all().delete()
        before = stays_the_same()
        assert browser.post(address, body, headers=HTMX).status_code == 401, name
        answer = browser.post(address, body)
        assert (answer.status_code, answer["Location"]) == (302, "/accounts/login/?next=/brackets/%3Fstate%3Dall"), name
        elsewhere = browser.post(address, body | {"next": "https://elsewhere.example/"})
        assert elsewhere["Location"] == "/accounts/login/?next=/", name
        assert stays_the_same() == before, name
    asked = client_of(None).get("/bots/ema-btc/stop/")
    assert asked["Location"] == "/accounts/login/?next=/bots/ema-btc/stop/"


@pytest.mark.parametrize("headers", [{}, HTMX])
def test_a_form_filled_in_by_one_is_not_sent_by_another(desk: DeskRows, alice: User, dora: User, headers: dict[str, str]) -> None:
    """A viewer with the trader's form, and a trader of another account with it: key, seal and all."""
    mallory = factories.user("mallory", "trader", accounts=[factories.account("other")])
    for name, address in acts(desk).items():
        body = body_of(client_of(alice), name, address)
        for person, codes in ((dora, {403}), (mallory, {404})):
            if person is mallory and name in {"kill", "halt", "bots-resume"}:
                continue  # not bound to one account: each reaches what the person may see
            before = stays_the_same()
            answer = client_of(person).post(address, body, headers=headers)
            assert answer.status_code in codes, (name, person.username, answer.status_code)
            assert stays_the_same() == before, (name, person.username)


@pytest.mark.parametrize(
    "bad", ["0", "-1", "999999999999999999999999", "x", "%00", "..%2f..%2fadmin", "a" * 3000, "%F0%9F%92%A3", "1'--"]
)
def test_no_id_is_worse_than_not_there(desk: DeskRows, alice: User, bad: str) -> None:
    code = desk.account.code
    browser = client_of(alice)
    for address in (
        *(f"/signals/{bad}/", f"/orders/{bad}/", f"/acts/{bad}/", f"/bots/{bad}/", f"/halts/{bad}/clear/"),
        *(f"/positions/{code}/{bad}/close/", f"/positions/{bad}/BTCUSDT/arm/", f"/brackets/{code}/{bad}/stop/move/"),
    ):
        assert browser.get(address).status_code in {400, 404}, address
    for address in (
        *(f"/orders/{code}/{bad}/cancel/", f"/orders/{code}/{bad}/ask/", f"/orders/{bad}/1e/cancel/"),
        *(f"/brackets/{code}/legs/{bad}/cancel/", f"/brackets/{code}/{bad}/cancel/", f"/brackets/{code}/{bad}/ask/"),
        *(f"/alarms/{bad}/ack/", f"/symbols/{code}/{bad}/reset/", f"/bots/{bad}/pause/", f"/accounts/{bad}/ask/"),
        f"/positions/{code}/{bad}/adopt-and-close/",
    ):
        assert browser.post(address, KEY, headers=HTMX).status_code in {400, 404, 409}, address
    assert not Act.objects.exists()


HUGE = "9" * 5000
NUMBERS = [
    "",
    " ",
    "NaN",
    "-NaN",
    "sNaN",
    "Infinity",
    "-Infinity",
    "1e999999",
    "1e-999999",
    "-1",
    "0",
    "0x10",
    "1,5",
    HUGE,
    "1" * 37,
]


@pytest.mark.parametrize("typed", NUMBERS)
def test_no_text_is_a_price_that_is_none(desk: DeskRows, alice: User, typed: str) -> None:
    row = Bracket.objects.get(symbol="BTCUSDT")
    browser = client_of(alice)
    for name, fields in (("stop-move", ["price"]), ("bracket-arm", ["stop_px"]), ("bracket-arm", ["stop_px", "target_px"])):
        address = reverse(f"console:{name}", args=[row.account.code, row.bracket_id])
        body = (
            body_of(browser, name, address)
            | {"stop_px": "", "target_px": "", "reason": "so that it is kept"}
            | dict.fromkeys(fields, typed)
        )
        for headers in ({}, HTMX):
            refused = browser.post(address, body, headers=headers)
            assert refused.status_code in {400, 409}, (name, typed)
            if not headers and refused.status_code == 400:
                assert 'value="so that it is kept"' in refused.content.decode(), (name, typed)
    assert not Act.objects.exists()


@pytest.mark.parametrize(
    "body",
    [
        {"scope": "GALAXY"},
        {"scope": ""},
        {"scope": "BOT"},
        {"scope": "BOT", "bot_key": "nobody"},
        {"scope": "ACCOUNT", "account_key": "x" * 5000},
        {"scope": "INSTRUMENT", "symbol_key": "NOSUCH"},
        {"scope": "FIRM", "choice": "everything"},
        {"scope": "FIRM", "choice": "cancel", "reason": "r" * 5000},
    ],
)
@pytest.mark.parametrize("headers", [{}, HTMX])
def test_a_kill_that_makes_no_sense_says_so(desk: DeskRows, alice: User, body: dict[str, str], headers: dict[str, str]) -> None:
    refused = client_of(alice).post(
        reverse("console:kill"), {**KEY, "reason": "odd prices", **body}, headers=headers, follow=not headers
    )
    text = refused.content.decode()
    assert 'class="said' in text
    assert refused.status_code in {200, 400, 409}
    assert not Act.objects.exists()
    if refused.status_code == 400 and not headers:
        assert f'value="{({"reason": "odd prices"} | body)["reason"]}"' in text


def test_what_is_long_is_cut_and_kept(desk: DeskRows, alice: User) -> None:
    body = {"key": "k" * 5000, "reason": "r" * 5000, "next": "/" + "n" * 5000}
    assert client_of(alice).post(reverse("console:bot-pause", args=["ema-btc"]), body).status_code == 302
    act = Act.objects.get()
    assert (len(act.reason), len(act.idempotency_key)) == (300, 57)


@pytest.mark.parametrize("field", ["key", "reason", "next", "shown", "price"])
def test_a_null_character_is_refused_at_the_door(desk: DeskRows, alice: User, field: str) -> None:
    for name, address in acts(desk).items():
        before = stays_the_same()
        body: dict[str, Any] = {**KEY, **BODIES.get(name, {}), field: "a\0b"}
        assert client_of(alice).post(address, body).status_code == 400, name
        assert stays_the_same() == before, name


def test_bytes_that_are_no_text_hurt_nobody(desk: DeskRows, alice: User) -> None:
    """Latin-1 in a form, a body that is no form, and more fields than a form has."""
    browser, address = client_of(alice), reverse("console:bot-pause", args=["ema-btc"])
    kinds = {"application/x-www-form-urlencoded": b"key=\xff\xfe&reason=\xe9", "application/json": b"{", "text/plain": b"\xff"}
    for kind, sent in kinds.items():
        assert browser.post(address, sent, content_type=kind).status_code in {302, 400, 409}, kind
    many = "&".join(f"f{n}=1" for n in range(3000))
    assert browser.post(address, many, content_type="application/x-www-form-urlencoded").status_code == 400


def test_an_account_that_is_switched_off_takes_nothing(desk: DeskRows, alice: User) -> None:
    found = acts(desk)
    bodies = {name: body_of(client_of(alice), name, address) for name, address in found.items()}
    Account.objects.update(is_enabled=False)
    for name, address in found.items():
        if name in {"kill", "halt", "halt-clear", "bots-resume"}:
            continue  # wider than an account
        assert client_of(alice).post(address, bodies[name]).status_code == 404, name


@pytest.mark.parametrize(
    ("name", "body", "kept"),
    [
        ("bot-stop", {"mode": "never"}, []),
        ("bot-start", {"shown": ""}, []),
        ("bots-resume", {"shown": ""}, []),
        ("stop-move", {"shown": "", "price": "60123.4"}, ['value="60123.4"']),
        ("position-arm", {"shown": "", "stop_px": "60000", "target_px": "65000"}, ['value="60000"', 'value="65000"']),
        ("halt", {"scope": "BOT", "bot_key": "nobody", "mode": "HALTED"}, ['value="HALTED" checked', 'value="BOT" checked']),
        ("kill", {"scope": "FIRM", "choice": "cancel_all", "typed": "flatten"}, ['value="cancel_all" checked', 'value="flatten"']),
        ("kill", {"scope": "BOT", "bot_key": "mr-eth", "choice": "cancel_all"}, ["<option selected>mr-eth</option>"]),
        ("halt-clear", {"shown": ""}, []),
    ],
)
def test_what_was_typed_survives_a_refusal(desk: DeskRows, alice: User, name: str, body: dict[str, str], kept: list[str]) -> None:
    """Without JavaScript the form comes back as it was filled in, with why not, and can be sent again."""
    address = acts(desk)[name]
    before = stays_the_same()
    refused = client_of(alice).post(address, {**KEY, **body, "reason": "typed once"})
    html = refused.content.decode().partition("<main")[2].partition("</main>")[0]
    assert refused.status_code in {400, 409}
    assert 'class="said error"' in html
    assert [part for part in ['value="typed once"', *kept] if part not in html] == []
    assert stays_the_same() == before
