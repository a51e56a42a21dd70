"""Chromium without a window, for tests of the page and for the figures in docs/."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.app.serving.phrase_model import SENTENCES, TEXT

CHROMIUM = Path("/usr/bin/chromium")
AXE = Path(__file__).resolve().parents[3] / ".node/node_modules/axe-core/axe.min.js"
OPTIONS = (
    "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update "
    "--disable-sync"
)
WIDE, PHONE = {"width": 1200, "height": 900}, {"width": 390, "height": 844}
SOURCES = list(SENTENCES)
# The translations of `SOURCES`, and those after the first one was corrected.
KNOWN, AFTER = ([ways[place] for ways in SENTENCES.values()] for place in (0, 1))
CORRECTED = AFTER[0]


@contextlib.contextmanager
def chromium() -> Iterator:
    """A browser that is closed at the end."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=OPTIONS.split())
        try:
            yield browser
        finally:
            browser.close()


def wait_for(page, selector, text):
    """Waits until a visible element has a text."""
    page.locator(selector, has_text=text).first.wait_for()


def translated(page, text=TEXT):
    """The page when it has translated a text."""
    page.fill("#text", text)
    page.click("#translate")
    wait_for(page, "#status", "Translated")
    return page


def held(page, phrases, count=3):
    """The page when it has translated so many of the eight segments and waits for the next."""
    phrases.decoder.hold(count)
    page.fill("#text", TEXT)
    page.click("#translate")
    wait_for(page, "#progress-text", f"{count} of 8 segments")
    return page


def translations(page):
    """The translation of each segment on the page."""
    return [line.strip() for line in page.locator(".translation").all_inner_texts()]


def correct_first(page):
    """Corrects the first segment."""
    page.get_by_role("button", name="Correct segment 1").click()
    page.get_by_label("Right translation of segment 1").fill(CORRECTED)
    page.get_by_role("button", name="Save").click()
    wait_for(page, "#status", "Noted")
