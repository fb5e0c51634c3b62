"""Takes the pictures of the documentation from a running demo: ``python -m docs.pictures http://127.0.0.1:8480``.

Uses Debian's Chromium through Playwright. Every page is taken in Thai and English, wide and at 360 px, light and dark.
"""

import sys
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

FOLDER = Path(__file__).parent / "pictures"
CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
PAGES = {"board": "/", "site": "/sites/this-machine"}
SIZES = {"desktop": (1280, 900), "phone": (360, 740)}


def take(browser: Browser, url: str, name: str, path: str, language: str, size: str, scheme: str) -> None:
    """One picture of one page."""
    width, height = SIZES[size]
    page = browser.new_page(
        viewport={"width": width, "height": height},
        color_scheme="dark" if scheme == "dark" else "light",
    )
    page.goto(f"{url}{path}?lang={language}", wait_until="networkidle")
    page.evaluate("document.querySelectorAll('img[loading=lazy]').forEach(one => one.loading = 'eager')")
    page.wait_for_load_state("networkidle")
    overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    if overflow > 0:
        print(f"{name} {language} {size}: {overflow} px wider than the screen", file=sys.stderr)
    suffix = "-dark" if scheme == "dark" else ""
    page.screenshot(path=FOLDER / f"{name}-{language}-{size}{suffix}.png", full_page=name == "board")
    page.close()


def main(url: str) -> None:
    """All pictures."""
    FOLDER.mkdir(exist_ok=True)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        for name, path in PAGES.items():
            for language in ("th", "en"):
                for size in SIZES:
                    take(browser, url, name, path, language, size, "light")
            take(browser, url, name, path, "th", "desktop", "dark")
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1].rstrip("/") if len(sys.argv) > 1 else "http://127.0.0.1:8480")
