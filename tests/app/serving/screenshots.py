"""Draws the figures of the page in docs/: `python -m tests.app.serving.screenshots`."""

from pathlib import Path

from tests.app.serving.browser import PHONE, chromium, correct_first, translated, wait_for
from tests.app.serving.phrase_model import phrase_server

FIGURES = Path(__file__).resolve().parents[3] / "docs/figures"
WINDOW = {"width": 1060, "height": 900}
LOOKS = {
    "light": {"viewport": WINDOW},
    "dark": {"viewport": WINDOW, "color_scheme": "dark"},
    "phone": {"viewport": PHONE, "locale": "de-DE"},
}


def draw(browser, server, name: str) -> None:
    """Draws the page after a correction, while a word is pointed at."""
    page = browser.new_page(**({"locale": "en-GB"} | LOOKS[name]))
    page.goto(server.url)
    if name == "phone":
        page.select_option("#language", "en")
    translated(page)
    correct_first(page)
    if name == "phone":
        page.select_option("#language", "de")
    else:
        page.get_by_role("switch").click()
        wait_for(page, "#status", "come out differently")
    if name == "dark":
        page.locator(".number").nth(5).click()
        page.locator(".way").first.wait_for()
    page.locator(".segment").nth(4 if name == "dark" else 1).locator(".word", has_text="Kassette").first.hover()
    wait_for(page, "#attention", "tray")
    place = "end" if name == "dark" else "start"
    top = "#memory" if name == "dark" else "#result" if name == "phone" else "body"
    page.locator(top).evaluate(f"(element) => element.scrollIntoView({{block: '{place}'}})")
    page.wait_for_timeout(400)
    page.screenshot(path=FIGURES / f"page-{name}.png")
    page.close()


def main() -> None:
    """Draws all of them."""
    with phrase_server() as server, chromium() as browser:
        for name in LOOKS:
            draw(browser, server, name)


if __name__ == "__main__":
    main()
