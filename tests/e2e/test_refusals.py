"""What stands on the page of an act, in a real browser with the desk's own script; the desk's answers are the test's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from playwright.async_api import Route, async_playwright, expect

from tests.e2e.chromium import arguments, chromium

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(os.environ.get("SKIP_E2E") == "1", reason="SKIP_E2E=1: no browser was asked")]

STATIC = Path(__file__).parents[2] / "static"
SHELL = """<!doctype html><body><form id="act"><input name="csrfmiddlewaretoken" value="t"></form>
<div id="said"><p class="said error">Type “clear firm” to clear this.</p></div>
<form method="post" action="/halts/1/clear/" data-act><input name="phrase"><button>Clear</button></form>
<form method="post" action="/bots/2/stop/" data-act><input name="phrase" value="no"><button>Stop</button></form>
<script src="/ages.js"></script><script src="/acts.js"></script>"""


async def answered(route: Route) -> None:
    """The page, its scripts, and an act that is done where the phrase is right."""
    request = route.request
    if request.method == "POST":
        is_right = "clear firm" in (request.post_data or "")
        path = request.url.removeprefix("http://desk.test")
        line = f'<p class="said {"done" if is_right else "refused"}">{"Cleared" if is_right else "Refused"}: {path}</p>'
        await route.fulfill(status=200 if is_right else 400, body=line, content_type="text/html")
    elif request.url.endswith(".js"):
        await route.fulfill(body=(STATIC / request.url.rpartition("/")[2]).read_text(), content_type="text/javascript")
    else:
        await route.fulfill(body=SHELL, content_type="text/html")


async def test_a_refusal_goes_when_the_same_is_asked_again_and_another_stays() -> None:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium(), args=arguments())
        page = await browser.new_page()
        await page.route("**/*", answered)
        await page.goto("http://desk.test/")
        said, phrase = page.locator("#said .said"), page.locator("[name=phrase]").first
        clear, stop = page.get_by_role("button", name="Clear"), page.get_by_role("button", name="Stop")
        for wrong in ("clear", "firm"):
            await phrase.fill(wrong)
            await clear.click()
            await expect(said).to_have_text(["Refused: /halts/1/clear/"])
        await stop.click()
        await expect(said).to_have_text(["Refused: /halts/1/clear/", "Refused: /bots/2/stop/"])
        await phrase.fill("clear firm")
        await clear.click()
        await expect(said).to_have_text(["Refused: /bots/2/stop/", "Cleared: /halts/1/clear/"])
        await browser.close()
