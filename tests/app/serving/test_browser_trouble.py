"""The page when the server or the way to it fails: nothing that was typed or translated is lost."""

import time

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
from tests.app.serving.phrase_model import SENTENCES, TEXT, phrase_server

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
        page.click("#sure-yes")
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


def say_no(page):
    wait_for(page, "#sure", "Your corrections will be lost")
    page.keyboard.press("Escape")
    page.locator("#sure").wait_for(state="hidden")
    assert page.locator(".segment").count() == 8 and page.locator("#progress").is_hidden()


def test_the_page_asks_before_a_translation_replaces_corrections(visit, phrases):
    page = translated(visit(phrases))
    page.fill("#text", SOURCES[2])
    page.get_by_role("button", name="Correct segment 1").click()
    page.get_by_label(BOX).fill(CORRECTED)
    page.click("#translate")
    say_no(page)
    page.get_by_label(BOX).press("Enter")
    wait_for(page, "#status", "Noted")
    page.locator("#text").press("Control+Enter")
    say_no(page)
    assert translations(page) == AFTER
    page.click("#translate")
    page.click("#sure-yes")
    wait_for(page, "#status", "Translated one segment")
    assert translations(page) == [KNOWN[2]]
    translated(page)  # without a correction nothing is asked


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


def lose_documents(page, server):
    """The server forgets the documents that the page opens from now on, when the function is called that this gives."""
    names = []
    page.on("response", lambda answer: names.append(answer) if answer.url.endswith("/api/documents") else None)
    return lambda: [requests.delete(f"{server.url}/api/documents/{names.pop().json()['id']}") for _ in names[:]]


def test_a_document_that_the_server_lost_is_restored_with_its_corrections(visit, phrases):
    page = visit(phrases)
    lose = lose_documents(page, phrases)
    page.click("#glossary summary")
    page.fill("#terms", "one = eins")
    translated(page)
    correct_first(page)
    lose()
    for stored in requests.get(f"{phrases.url}/v2/glossaries").json()["glossaries"]:
        requests.delete(f"{phrases.url}/v2/glossaries/{stored['glossary_id']}")
    page.get_by_role("button", name="Correct segment 3").click()
    page.get_by_label("Right translation of segment 3").fill("Es leuchtet.")
    page.keyboard.press("Enter")
    wait_for(page, "#status", "It has it again, with your corrections")
    page.locator(".segment:nth-child(3) .tag.corrected").wait_for()
    assert page.locator(".tag.corrected").count() == 2
    assert translations(page)[2:3] == ["Es leuchtet."] and translations(page)[0] == CORRECTED
    # Only the new correction can be taken back.
    page.click("#undo")
    page.get_by_text("Taken back", exact=True).wait_for()
    assert page.locator(".tag.corrected").count() == 1 and page.get_attribute("#undo", "aria-disabled") == "true"


def test_undo_in_a_document_that_the_server_lost_restores_it(visit, phrases):
    page = visit(phrases)
    lose = lose_documents(page, phrases)
    translated(page)
    correct_first(page)
    lose()
    page.click("#undo")
    wait_for(page, "#status", "It has it again, with your corrections")
    assert translations(page) == AFTER and page.get_attribute("#undo", "aria-disabled") == "true"
    page.get_by_role("button", name="Correct segment 3").click()
    page.get_by_label("Right translation of segment 3").fill("Es leuchtet.")
    page.keyboard.press("Enter")
    wait_for(page, "#status", "No following segment changed")


def test_a_long_document_is_restored_in_parts(visit):
    with phrase_server(characters=400) as server:
        page = visit(server)
        lose = lose_documents(page, server)
        text = " ".join(SOURCES[:5])
        translated(page, text)
        for number in (1, 2):
            page.get_by_role("button", name=f"Correct segment {number}").click()
            page.get_by_label(f"Right translation of segment {number}").fill(f"Kassette {number}, " + "weit " * 20)
            page.keyboard.press("Enter")
            page.locator(f".segment:nth-child({number}) .tag.corrected").wait_for()
        before = translations(page)
        lose()
        page.get_by_role("button", name="Correct segment 5").click()
        page.keyboard.press("Enter")
        wait_for(page, "#status", "It has it again, with your corrections")
        assert translations(page) == before and page.locator(".tag.corrected").count() == 3


def test_an_open_page_keeps_its_document(visit):
    with phrase_server(idle_seconds=0.9) as server:
        page = translated(visit(server))
        page.wait_for_timeout(2_000)
        correct_first(page)
        assert translations(page) == AFTER


def test_many_details_are_asked_for_one_after_another(visit):
    with phrase_server() as server:
        page = translated(visit(server))
        for number in range(1, 9):
            page.get_by_role("button", name=f"Segment {number}, details").click()
            page.locator(".segment").nth(number - 1).locator(".way").first.wait_for()
        decode = server.decoder.decode_segments
        server.decoder.decode_segments = lambda *given: time.sleep(0.05) or decode(*given)
        correct_first(page)
        second = page.locator(".segment").nth(1).locator(".way", has_text=SENTENCES[SOURCES[1]][2])
        second.wait_for()
        page.locator(".segment").nth(7).locator(".way", has_text=SENTENCES[SOURCES[7]][2]).wait_for()
        assert page.locator(".alternatives", has_text="The server is busy").count() == 0


def test_attention_is_asked_for_again_after_a_failure(visit, phrases):
    page = translated(visit(phrases))
    answer_once(page, "**/segments/4", "GET", refuse(503))
    word = page.locator(".segment").nth(3).locator(".translation .word", has_text="Fach")
    with page.expect_response("**/segments/4"):
        word.hover()
    page.mouse.move(0, 0)
    word.hover()
    wait_for(page, "#attention", "“Fach” looked at tray (")


def test_a_right_translation_is_approved_by_saving_it_and_an_empty_one_is_not_saved(visit, phrases):
    page = translated(visit(phrases))
    page.get_by_role("button", name="Correct segment 3").click()
    box = page.get_by_label("Right translation of segment 3")
    box.press("Escape")
    page.wait_for_timeout(200)
    assert page.locator(".tag.corrected").count() == 0
    page.get_by_role("button", name="Correct segment 3").click()
    wait_for(page, ".editor", "Saved unchanged, the translation counts as approved")
    box.fill(" ")
    box.press("Enter")
    wait_for(page, "#status", "A correction cannot be empty")
    assert box.is_visible()
    box.fill(KNOWN[2])
    page.get_by_role("button", name="Save").click()
    wait_for(page, "#status", "No following segment changed")
    assert page.locator(".segment:nth-child(3) .tag.corrected").count() == 1 and translations(page) == KNOWN
    # What is approved already is not sent again.
    page.route("**/segments/3", lambda route: route.abort())
    page.get_by_role("button", name="Correct segment 3").click()
    assert page.locator(".editor .quiet").count() == 0
    box.press("Enter")
    assert page.locator(".editor").count() == 0


def test_a_refused_address_is_not_taken_for_a_missing_key(visit, phrases):
    page = visit(phrases)

    # A proxy that changes the name of the server, which the browser says in `Origin`.
    def from_elsewhere(route):
        route.fulfill(response=route.fetch(headers=route.request.headers | {"origin": "https://a.example"}))

    page.route("**/api/documents", from_elsewhere)
    page.fill("#text", SOURCES[2])
    page.click("#translate")
    wait_for(page, "#problem", "The server takes no requests from pages at 127.0.0.1:")
    assert page.locator("#key-dialog").is_hidden()
