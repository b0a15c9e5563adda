"""A person at the console, in a real browser: what they do, in their words. It complains about every error the browser sees."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import ConsoleMessage, Page, Response, async_playwright, expect

from tests.e2e.chromium import arguments, chromium

#: how long a person waits for a page, and for the market to do something
PAGE_MS = 15_000
MARKET_MS = 120_000


class Visitor:
    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.complaints: list[str] = []
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("response", self._answered)

    def _heard(self, message: ConsoleMessage) -> None:
        # a socket that ends because the desk does is what the page is built for
        is_socket = any(words in message.text for words in ("WebSocket", "ERR_CONNECTION", "[object Event]"))
        if message.type == "error" and not is_socket:
            self.complaints.append(message.text)

    def _answered(self, response: Response) -> None:
        if response.status >= 400:
            self.complaints.append(f"{response.status} {response.url}")

    async def look_at(self, path: str = "") -> None:
        await self.page.goto(f"{self.url}/{path}")

    async def leave(self) -> None:
        """Close the page: nobody complains about a desk that is stopped on purpose."""
        await self.page.goto("about:blank")

    async def enter(self, link: str) -> None:
        """By the one-time link: a button, then the desk."""
        await self.page.goto(link)
        await self.page.get_by_role("button", name="Enter as").click()
        await self.page.wait_for_url(f"{self.url}/")
        await self.live()

    async def sign_in(self, name: str, password: str) -> None:
        await self.look_at("accounts/login/")
        await self.page.locator("[name=login]").fill(name)
        await self.page.locator("[name=password]").fill(password)
        await self.page.locator("form button[type=submit]").first.click()
        await self.page.wait_for_url(f"{self.url}/")
        await self.live()

    async def live(self) -> None:
        await expect(self.page.locator("#page-lamp-text")).to_contain_text("live", timeout=PAGE_MS)

    async def see_trading(self) -> None:
        """An order was placed and filled."""
        await self.look_at("orders/?state=done")
        await self._appears("#order-rows tr:has-text('FILLED')")

    async def see_position(self) -> None:
        """The desk, with something on it that the account's meters count."""
        await self.look_at()
        await self.live()
        await expect(self.page.locator("#count-positions")).not_to_have_text("0", timeout=MARKET_MS)
        await expect(self.page.locator(".meter:has-text('Gross exposure')").first).not_to_contain_text(" 0 of", timeout=MARKET_MS)

    async def open_denial(self) -> str:
        """Open the newest denied signal; what it says is over which limit."""
        await self.look_at("signals/?verdict=denied")
        row = self.page.locator("#signal-rows tr:has-text('is worth')").first
        await expect(row).to_be_visible(timeout=MARKET_MS)
        await row.locator("a[data-drawer]").first.click()
        denied = self.page.locator("#drawer table.gates tr.denied")
        await expect(denied).to_be_visible(timeout=PAGE_MS)
        return await denied.inner_text()

    async def open_sizes(self, symbol: str) -> None:
        """The admin page of the demo's profile, at the symbol's own values."""
        await self.look_at("admin/risk/riskprofile/")
        await self.page.locator("#result_list tbody th a").first.click()
        await self.page.locator(
            f"select[name$=-instrument]:has(option[selected]:text('{symbol}'))"
        ).first.scroll_into_view_if_needed()

    async def see_size(self, symbol: str) -> str:
        """What the page says of the engine, with the symbol's own row in sight below it."""
        row = self.page.locator(f".inline-related:has(option[selected]:text('{symbol}'))").first
        await row.evaluate("row => row.scrollIntoView({ block: 'center' })")
        engines = self.page.locator("#engines")
        for seen in (row.locator("input[name$=-margin_per_trade]"), engines):
            await expect(seen).to_be_in_viewport(ratio=1)
        return await engines.inner_text()

    async def change_size(self, symbol: str, margin: str) -> None:
        """Give one symbol another margin per trade, and wait until the engine runs on it."""
        await self.open_sizes(symbol)
        row = self.page.locator(f".inline-related:has(option[selected]:text('{symbol}'))").first
        await row.locator("input[name$=-margin_per_trade]").fill(margin)
        await self.page.locator("[name=reason]").fill("smaller steps")
        await self.page.locator("[name=_continue]").click()
        await expect(self.page.locator("#engines")).to_contain_text("runs on settings", timeout=PAGE_MS)
        await expect(self.page.locator("#engines [data-waiting]")).to_have_count(0, timeout=PAGE_MS)

    async def see_order(self, bot: str) -> str:
        """The next order of a bot: its row in words."""
        await self.look_at(f"orders/?state=done&bot={bot}")
        return await self._appears("#order-rows tr:has-text('ENTRY'), #order-rows tr:has-text('entry')")

    async def cancel_target(self) -> str:
        """Cancel the target of an open bracket by hand; the row afterwards, its stop still there."""
        await self.look_at("brackets/")
        row = self.page.locator("#bracket-rows tr:has(button:text('Cancel target'))").first
        await expect(row).to_be_visible(timeout=MARKET_MS)
        name = await row.get_attribute("id")
        await row.get_by_role("button", name="Cancel target").click()
        same = self.page.locator(f"#{name}")
        await expect(same.get_by_role("button", name="Cancel target")).to_have_count(0, timeout=PAGE_MS)
        return await same.inner_text()

    async def open_kill(self) -> None:
        await self.look_at()
        await self.live()
        await self.page.locator("#kill-open").click()
        await expect(self.page.locator("#kill [data-fire]")).to_be_enabled(timeout=PAGE_MS)

    async def kill(self, reason: str) -> str:
        """Kill the firm: block and cancel. The last line of its steps, once the banner says the same."""
        await self.open_kill()
        await self.page.locator("#kill [name=reason]").fill(reason)
        await self.page.locator("#kill [data-fire]").click()
        verified = self.page.locator("#kill .steps .final").first
        await expect(verified).to_be_visible(timeout=PAGE_MS)
        await expect(self.page.locator("#banner .killed").first).to_contain_text("verified at the venue", timeout=PAGE_MS)
        return await verified.inner_text()

    async def see_killed(self) -> str:
        """The banner that stands on every page while something is killed."""
        await self.look_at()
        banner = self.page.locator("#banner .killed").first
        await expect(banner).to_be_visible(timeout=PAGE_MS)
        return await banner.inner_text()

    async def open_clear(self, reason: str) -> None:
        """The dialog that clears the kill of the firm, filled in, once its hold is over."""
        await self.look_at()
        await self.page.locator("#banner .killed a").first.click()
        form = self.page.locator("#dialog form")
        await form.locator("[name=reason]").fill(reason)
        await form.locator("[name=phrase]").fill("clear firm")
        await expect(form.locator("button[type=submit]")).to_be_enabled(timeout=30_000)

    async def clear(self, reason: str) -> None:
        """Clear the kill of the firm."""
        await self.open_clear(reason)
        await self.page.locator("#dialog form button[type=submit]").click()
        await expect(self.page.locator("#banner .killed")).to_have_count(0, timeout=PAGE_MS)

    async def states(self) -> list[str]:
        """The state of each bot in the fleet."""
        await self.look_at()
        return await self.page.locator("#bot-rows [data-label=State]").all_inner_texts()

    async def _appears(self, selector: str) -> str:
        row = self.page.locator(selector).first
        await expect(row).to_be_visible(timeout=MARKET_MS)
        return await row.inner_text()


@asynccontextmanager
async def visitor(url: str, *, is_dark: bool = False) -> AsyncIterator[Visitor]:
    """Someone who opens a browser of their own."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium(), args=arguments())
        context = await browser.new_context(viewport={"width": 1440, "height": 900}, color_scheme="dark" if is_dark else "light")
        context.set_default_timeout(PAGE_MS)
        yield Visitor(await context.new_page(), url)
        await browser.close()
