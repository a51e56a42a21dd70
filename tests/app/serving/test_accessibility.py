"""The page for everybody: by keyboard alone, in both languages, in light and dark, on a phone; and nobody's markup."""

import json

import pytest

from tests.app.serving.browser import (
    AXE,
    CORRECTED,
    KNOWN,
    PHONE,
    SOURCES,
    correct_first,
    held,
    translated,
    translations,
    wait_for,
)
from tests.app.serving.phrase_model import TEXT

ATTACK = '<img src=x onerror=alert(1)> <script>alert(2)</script> "><svg onload=alert(3)> &lt;b&gt;'


def test_everything_can_be_done_with_the_keyboard_alone(visit, phrases):
    page = visit(phrases)
    press = page.keyboard.press
    focused = "document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent"
    press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    for _ in range(4):
        press("Tab")
    assert page.evaluate("document.activeElement.id") == "text"
    page.keyboard.insert_text(TEXT)
    press("Control+Enter")
    wait_for(page, "#status", "Translated")
    for _ in range(8):  # glossary, translate, open files, compare, undo, copy, download
        press("Tab")
    assert page.evaluate(focused) == "Segment 1, details"
    press("ArrowDown")
    press("ArrowDown")
    assert page.evaluate(focused) == "Segment 3, details"
    outline = page.evaluate(
        "getComputedStyle(document.activeElement).outlineStyle + getComputedStyle(document.activeElement).outlineWidth"
    )
    assert outline == "solid3px"
    press("Enter")
    page.locator(".way").first.wait_for()
    press("ArrowRight")
    press("ArrowRight")
    wait_for(page, "#attention", "“Drucker” looked at printer")
    press("Home")
    press("e")
    assert page.evaluate(focused) == "Right translation of segment 1"
    page.keyboard.insert_text(CORRECTED)
    press("Enter")
    wait_for(page, "#status", "4 following segments changed")
    assert page.evaluate(focused) == "Segment 1, details"
    press("m")
    wait_for(page, "#status", "5 of 7 segments come out differently")
    press("Control+z")
    wait_for(page, "#status", "Taken back")
    page.locator("#undo").focus()
    press("Enter")  # nothing is left to take back, and the focus stays
    assert page.evaluate("document.activeElement.id") == "undo"
    page.get_by_role("button", name="Segment 3, details").focus()
    assert translations(page) == KNOWN
    press("End")
    press("F2")
    press("Escape")
    assert page.evaluate(focused) == "Segment 8, details" and page.locator(".editor").count() == 0
    with page.expect_download():
        press("Control+s")
    press("?")
    assert page.locator("#help").is_visible() and "Ctrl Enter" in page.inner_text("#shortcuts")
    press("Escape")
    assert page.locator("#help").is_hidden()


def test_escape_closes_a_dialog_and_then_cancels_a_translation(visit, phrases):
    page = held(visit(phrases), phrases)
    page.click("#help-button")
    page.keyboard.press("Escape")
    page.locator("#help").wait_for(state="hidden")
    assert page.locator("#progress").is_visible()
    with phrases.left():
        page.keyboard.press("Escape")
    wait_for(page, "#status", "Cancelled after 4 of 8 segments")


def test_the_page_speaks_the_browsers_language_and_remembers_another(visit, phrases):
    page = visit(phrases, locale="de-AT")
    assert page.inner_text("#translate") == "Übersetzen" and page.get_attribute("html", "lang") == "de"
    page.fill("#text", SOURCES[2])
    page.click("#translate")
    wait_for(page, "#status", "Ein Segment übersetzt")
    assert "Mittlere Log-Wahrscheinlichkeit −0," in page.locator(".hint").get_attribute("aria-label")
    assert page.get_attribute(".source", "lang") == "en" and page.get_attribute(".translation", "lang") == "de"
    page.select_option("#language", "en")
    assert (
        page.inner_text("#status") == "Translated one segment" and page.inner_text("#direction") == "English to German"
    )
    assert "Mean log-probability −0." in page.locator(".hint").get_attribute("aria-label")
    page.reload()
    assert page.inner_text("#translate") == "Translate"
    assert visit(phrases, locale="fr-FR").inner_text("#translate") == "Translate"


def test_colours_follow_the_system_until_others_are_chosen(visit, phrases):
    ground = "getComputedStyle(document.body).backgroundColor"
    page, dark = visit(phrases), visit(phrases, color_scheme="dark")
    light, night = page.evaluate(ground), dark.evaluate(ground)
    assert light != night
    page.select_option("#theme", "dark")
    dark.select_option("#theme", "light")
    assert (page.evaluate(ground), dark.evaluate(ground)) == (night, light)
    page.reload()
    assert page.evaluate(ground) == night


def test_whatever_is_typed_is_shown_as_text(visit, phrases):
    page = translated(visit(phrases), ATTACK)
    assert page.inner_text(".source") == ATTACK == translations(page)[0]
    page.get_by_role("button", name="Correct segment 1").click()
    page.get_by_label("Right translation of segment 1").fill(ATTACK + " <b>x</b>")
    page.keyboard.press("Enter")
    wait_for(page, "#status", "Noted")
    page.get_by_role("button", name="Segment 1, details").click()
    page.locator(".way").first.wait_for()
    assert page.locator(".way").first.inner_text() == ATTACK
    page.click("#compare")
    page.set_input_files("#file", {"name": "<img src=x onerror=alert(5)>.docx", "mimeType": "", "buffer": b"x"})
    wait_for(page, "#files", "<img src=x onerror=alert(5)>.docx")
    assert page.locator("main img, main script, main svg, main b, main del img").count() == 0


@pytest.mark.parametrize(
    "look", [{}, {"color_scheme": "dark"}, {"viewport": PHONE}, {"viewport": PHONE, "color_scheme": "dark"}], ids=str
)
def test_axe_finds_no_serious_fault(visit, phrases, look):
    if not AXE.exists():
        pytest.skip(
            "THE PAGE'S ACCESSIBILITY IS NOT TESTED: needs node and npm; make .node/installed installs axe-core"
        )
    page = visit(phrases, **look)
    page.evaluate(AXE.read_text(encoding="utf-8"))

    def faults(state):
        found = page.evaluate("axe.run()")["violations"]
        serious = [one for one in found if one["impact"] in ("serious", "critical")]
        return [(state, one["id"], [node["html"][:200] for node in one["nodes"]]) for one in serious]

    found = faults("empty")
    translated(page)
    correct_first(page)
    page.click("#compare")
    wait_for(page, "#status", "come out differently")
    page.get_by_role("button", name="Segment 3, details").click()
    page.locator(".way").first.wait_for()
    page.set_input_files("#file", {"name": "a.docx", "mimeType": "", "buffer": b"x"})
    page.locator("#files .bad").wait_for()
    page.set_input_files("#file", {"name": "a.csv", "mimeType": "", "buffer": b"id,text\n"})
    page.locator("#files code:not(:empty)").wait_for()
    page.get_by_role("button", name="Correct segment 2").click()
    page.locator(".segment").nth(3).locator(".word", has_text="Kassette").first.hover()
    page.locator(".attended").first.wait_for()
    found += faults("translated")
    page.keyboard.press("Escape")
    page.click("#translate")
    page.locator("#sure").wait_for()
    found += faults("question")
    page.click("#sure-no")
    page.locator("#help-button").click()
    found += faults("help")
    assert not found, json.dumps(found, indent=1)


def test_nothing_is_wider_than_a_phone(visit, phrases):
    page = translated(visit(phrases, viewport=PHONE))
    correct_first(page)
    page.get_by_role("button", name="Segment 3, details").click()
    page.locator(".way").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    source, target = (
        page.locator(f".segment:first-child {side}").bounding_box() for side in (".source", ".translation")
    )
    assert source["y"] + source["height"] <= target["y"] and source["x"] == target["x"]
