"""The page when the server or the way to it fails: nothing that was typed or translated is lost."""

import requests

from tests.app.serving.browser import (
    AFTER,
    CORRECTED,
    KNOWN,
    SOURCES,
    correct_first,
    translated,
    translations,
    wait_for,
)
from tests.app.serving.phrase_model import TEXT

BOX = "Right translation of segment 1"


def answer_once(page, pattern, method, answer):
    """The next request of this method is answered by a function of its route; all others reach the server."""
    left = [answer]

    def handle(route):
        if route.request.method == method and left:
            left.pop()(route)
        else:
            route.continue_()

    page.route(pattern, handle)


def refuse(status):
    return lambda route: route.fulfill(status=status, json={"error": "try again later"})


def do_and_answer(status):
    """The server does what is asked for; the page is told otherwise."""

    def answer(route):
        route.fetch()
        refuse(status)(route)

    return answer


def type_correction(page):
    page.get_by_role("button", name="Correct segment 1").click()
    page.get_by_label(BOX).fill(CORRECTED)
    page.keyboard.press("Enter")


def test_a_correction_that_does_not_reach_the_document_stays_in_its_box(visit, phrases):
    page = translated(visit(phrases))
    answer_once(page, "**/segments/1", "PUT", refuse(409))
    type_correction(page)
    wait_for(page, "#problem", "The server is busy")
    assert page.get_by_label(BOX).input_value() == CORRECTED and page.get_by_label(BOX).is_editable()
    answer_once(page, "**/segments/1", "PUT", lambda route: route.abort())
    page.keyboard.press("Enter")
    wait_for(page, "#problem", "The server cannot be reached")
    assert page.get_by_label(BOX).input_value() == CORRECTED
    page.keyboard.press("Enter")
    wait_for(page, "#status", "4 following segments changed")
    assert translations(page) == AFTER and page.locator(".editor").count() == 0


def test_a_correction_that_was_made_although_its_answer_was_late_is_shown(visit, phrases):
    page = translated(visit(phrases))
    answer_once(page, "**/segments/1", "PUT", do_and_answer(503))
    type_correction(page)
    page.locator(".segment:first-child .tag.corrected").wait_for()
    assert translations(page) == AFTER and page.locator(".editor").count() == 0
    page.click("#undo")
    wait_for(page, "#status", "Taken back")
    assert translations(page) == KNOWN


def test_the_server_is_asked_again_until_it_is_free(visit, phrases):
    page = translated(visit(phrases))
    answer_once(page, "**/segments/1", "PUT", do_and_answer(503))
    answer_once(page, phrases.url + "/api/documents/*", "GET", refuse(409))
    type_correction(page)
    wait_for(page, "#problem", "The server is busy")
    assert page.get_attribute("#undo", "aria-disabled") == "true"
    page.locator(".segment:first-child .tag.corrected").wait_for()
    assert page.get_attribute("#undo", "aria-disabled") == "false"


def test_a_box_that_was_opened_before_its_segment_changed_corrects_nothing_by_itself(visit, phrases):
    page = translated(visit(phrases))
    page.get_by_role("button", name="Correct segment 2").click()
    type_correction(page)
    wait_for(page, "#status", "Noted")
    page.get_by_label("Right translation of segment 2").focus()
    page.keyboard.press("Enter")
    assert page.locator(".editor").count() == 0
    page.wait_for_timeout(200)
    assert translations(page) == AFTER and page.locator(".tag.corrected").count() == 1


def test_a_corrected_document_stays_until_the_next_text_is_taken(visit, phrases):
    page = translated(visit(phrases))
    correct_first(page)
    page.fill("#text", SOURCES[2])
    for pattern in ("**/api/documents", "**/segments/stream"):
        answer_once(page, pattern, "POST", refuse(429))
        page.click("#translate")
        wait_for(page, "#problem", "Too many requests")
        assert page.locator("#result").is_visible() and translations(page) == AFTER
    page.click("#undo")
    wait_for(page, "#status", "Taken back")
    assert translations(page) == KNOWN
    translated(page, SOURCES[2])
    assert translations(page) == [KNOWN[2]]


def test_a_glossary_that_the_server_lost_is_sent_again(visit, phrases):
    page = visit(phrases)
    page.click("#glossary summary")
    page.fill("#terms", "tray = Kassette")
    translated(page, SOURCES[3])
    for stored in requests.get(f"{phrases.url}/v2/glossaries").json()["glossaries"]:
        requests.delete(f"{phrases.url}/v2/glossaries/{stored['glossary_id']}")
    translated(page, SOURCES[3])
    assert translations(page) == [AFTER[3]]


def test_the_browser_asks_before_corrections_are_lost(visit, phrases):
    page = translated(visit(phrases))
    asks = "window.dispatchEvent(new Event('beforeunload', {cancelable: true})) === false"
    assert not page.evaluate(asks)
    page.get_by_role("button", name="Correct segment 1").click()
    assert not page.evaluate(asks)
    page.get_by_label(BOX).fill(CORRECTED)
    assert page.evaluate(asks)
    page.keyboard.press("Enter")
    wait_for(page, "#status", "Noted")
    assert page.evaluate(asks)
    page.click("#undo")
    wait_for(page, "#status", "Taken back")
    assert not page.evaluate(asks)


def test_a_page_that_comes_back_from_the_browsers_cache_has_its_document(visit, phrases):
    page = translated(visit(phrases))
    page.evaluate("window.dispatchEvent(new PageTransitionEvent('pagehide', {persisted: true}))")
    page.wait_for_timeout(200)
    correct_first(page)
    assert translations(page) == AFTER


def test_undo_whose_answer_is_lost_takes_back_one_correction_only(visit, phrases):
    page = translated(visit(phrases))
    correct_first(page)
    page.get_by_role("button", name="Correct segment 3").click()
    page.get_by_label("Right translation of segment 3").fill("Es leuchtet.")
    page.keyboard.press("Enter")
    wait_for(page, "#status", "No following segment changed")
    answer_once(page, "**/undo", "POST", do_and_answer(503))
    answer_once(page, phrases.url + "/api/documents/*", "GET", refuse(409))
    page.click("#undo")
    wait_for(page, "#problem", "The server is busy")
    page.dispatch_event("#undo", "click")  # not before the page knows what the server has
    page.locator("#undo[aria-disabled='false']").wait_for()
    assert translations(page) == AFTER
    page.click("#undo")
    wait_for(page, "#status", "Taken back")
    assert translations(page) == KNOWN and page.get_attribute("#undo", "aria-disabled") == "true"


def test_undo_that_never_reached_the_server_can_be_pressed_again(visit, phrases):
    page = translated(visit(phrases))
    correct_first(page)
    answer_once(page, "**/undo", "POST", lambda route: route.abort())
    page.click("#undo")
    wait_for(page, "#problem", "The server cannot be reached")
    page.locator("#undo[aria-disabled='false']").wait_for()
    assert translations(page) == AFTER
    page.click("#undo")
    wait_for(page, "#status", "Taken back")
    assert translations(page) == KNOWN


def downloaded(page):
    with page.expect_download() as waiting:
        page.click("#download")
    return waiting.value.path().read_text()


def test_what_was_translated_before_the_network_was_lost_can_be_used(visit, phrases):
    def break_off(route):
        body = route.fetch().text()
        route.fulfill(body=body[: body.index('event: segment\ndata: {"number": 4')])

    page = visit(phrases)
    answer_once(page, "**/segments/stream", "POST", break_off)
    lost = phrases.url + "/api/documents/*"
    page.route(lost, lambda route: route.abort())
    page.fill("#text", TEXT)
    page.click("#translate")
    wait_for(page, "#problem", "The server cannot be reached")
    assert translations(page) == KNOWN[:3] and downloaded(page) == " ".join(KNOWN[:3])
    assert page.locator("#memory").is_visible()
    # The server went on, and is asked when it can be reached.
    page.unroute(lost)
    page.locator(".segment").nth(7).wait_for()
    assert translations(page) == KNOWN
    assert downloaded(page) == " ".join(KNOWN[:5]) + "\n\n" + " ".join(KNOWN[5:])
