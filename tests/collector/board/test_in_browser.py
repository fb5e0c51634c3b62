"""The board in Debian's Chromium: nothing is refused by its own policy, it refreshes itself, it fits a phone."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.support.collecting import Agent, Collector, collecting
from tests.support.store import window
from wire.reasons import Outcome, Reason

pytestmark = pytest.mark.tool("chromium")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


@pytest.fixture(autouse=True)
def no_blocked_loop() -> None:
    """Playwright's own loop reads files as it likes; the other tests of the pages watch ours."""


@pytest.fixture
async def collector(tmp_path: Path) -> AsyncIterator[Collector]:
    async with collecting(tmp_path) as made:
        yield made


async def browse(visit: Callable[[Browser], Any]) -> Any:
    """Runs a visit in a thread of its own, so that the collector under test goes on serving."""

    def run() -> Any:
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
            try:
                return visit(browser)
            finally:
                browser.close()

    return await asyncio.to_thread(run)


async def saw(agent: Agent, outcome: Outcome = Outcome.OK, reason: Reason | None = None) -> None:
    answer = await agent.post(agent.chain.seal(window(agent.collector.now.boottime, outcome=outcome, reason=reason)))
    assert answer.status == 200


def watched(browser: Browser, **more: Any) -> tuple[Page, list[str]]:
    """A page, and what its console complained of."""
    page = browser.new_page(**more)
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("requestfailed", lambda request: complaints.append(request.url))
    return page, complaints


async def test_a_fault_appears_on_the_open_board_without_a_reload(collector: Collector) -> None:
    agent = await collector.agent()
    await saw(agent)
    loop = asyncio.get_running_loop()

    def visit(browser: Browser) -> list[str]:
        page, complaints = watched(browser)
        page.goto(f"{collector.url}/", wait_until="networkidle")
        assert page.locator("tr.failing").count() == 0
        collector.now.forward(60)
        asyncio.run_coroutine_threadsafe(saw(agent, Outcome.FAILED, Reason.NO_REPLY), loop).result(10)
        page.locator("tr.failing").wait_for(timeout=15_000)
        assert "ไม่ตอบกลับ" in page.locator("tr.failing").inner_text()
        return complaints

    assert await browse(visit) == []


@pytest.mark.parametrize("language", ["th", "en"])
async def test_pages_fit_a_phone_and_are_drawn_in_the_official_typeface(collector: Collector, language: str) -> None:
    agent = await collector.agent()
    await saw(agent, Outcome.FAILED, Reason.NO_GATEWAY)

    def visit(browser: Browser) -> list[str]:
        page, complaints = watched(browser, viewport={"width": 360, "height": 740})
        for path in ("/", "/sites/na-yung"):
            page.goto(f"{collector.url}{path}?lang={language}", wait_until="networkidle")
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= 360, f"{path} is {wide} px wide"
            assert page.evaluate("document.fonts.check('16px Sarabun', 'พร้อม')")
            assert page.evaluate("[...document.fonts].filter(one => one.status === 'loaded').length") >= 1
        return complaints

    assert await browse(visit) == []


async def test_without_javascript_the_board_says_the_same(collector: Collector) -> None:
    agent = await collector.agent()
    await saw(agent, Outcome.FAILED, Reason.NO_REPLY)

    def visit(browser: Browser) -> str:
        page = browser.new_context(java_script_enabled=False).new_page()
        page.goto(f"{collector.url}/")
        return page.locator("tr.failing").inner_text()

    assert "ไม่ตอบกลับ" in await browse(visit)


async def test_every_row_can_be_reached_by_keyboard(collector: Collector) -> None:
    def visit(browser: Browser) -> list[str]:
        page = browser.new_page()
        page.goto(f"{collector.url}/")
        reached = []
        for _ in range(26):
            page.keyboard.press("Tab")
            reached.append(page.evaluate("document.activeElement.getAttribute('href')"))
        return reached

    reached = await browse(visit)
    assert reached[0] == "#main", "the skip link comes first"
    assert "/sites/na-yung" in reached
