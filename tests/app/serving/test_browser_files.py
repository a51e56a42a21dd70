"""Files on the page in a real browser: chosen or dropped, watched, fetched, and not lost."""

import time

import pytest
import requests

from tests.app.formats.samples import docx, unpacked
from tests.app.serving.browser import AFTER, KNOWN, SOURCES, wait_for
from tests.app.serving.phrase_model import phrase_server


def choose(page, name, content=b"PK"):
    page.set_input_files("#file", {"name": name, "mimeType": "", "buffer": content})


def saved(page, name):
    """The text of a translated Word document, which is waited for and saved."""
    with page.expect_download() as waiting:
        page.get_by_role("button", name=f"Download {name}").click()
    assert waiting.value.suggested_filename == name.replace(".docx", ".de.docx")
    return unpacked(waiting.value.path().read_bytes())["word/document.xml"].decode()


def answer_files(page, states, refusals=()):
    """Stands in for the server's routes for files; each state is what one question about a file is answered.

    A state with an `answer` is the status of an error, None for no answer. The file is taken after the refusals.
    """
    asked, refused = [], list(refusals)

    def handle(route):
        request = route.request
        asked.append((request.method, request.url.rpartition("/api/files")[2]))
        if request.method == "POST" and refused:
            route.fulfill(status=refused.pop(0), json={"error": "try again later"})
        elif request.method == "POST":
            assert b'name="file"; filename="manual.docx"' in request.post_data_buffer
            route.fulfill(status=201, json={"id": "f1", "name": "manual.docx"})
        elif request.url.endswith("/result"):
            route.fulfill(
                body=b"PK",
                headers={"content-disposition": "attachment; filename=\"x\"; filename*=UTF-8''manual.de.docx"},
            )
        elif request.method == "DELETE":
            route.fulfill(status=204)
        else:
            state = states.pop(0) if len(states) > 1 else states[0]
            if "answer" not in state:
                route.fulfill(json={"id": "f1", "name": "manual.docx", "segments": 4, **state})
            elif state["answer"]:
                route.fulfill(status=state["answer"], json={"error": "try again later"})
            else:
                route.abort()

    page.route("**/api/files**", handle)
    return asked


def test_a_file_is_sent_watched_and_fetched(visit, phrases):
    page = visit(phrases)
    states = [{"status": "translating", "done": 1}] * 2 + [{"status": "done", "done": 4}]
    asked = answer_files(page, states)
    choose(page, "manual.docx")
    wait_for(page, "#files", "1 of 4 segments")
    wait_for(page, "#files", "Done")
    # The page has it, and the server makes room; it can be saved as often as it is wanted.
    for _ in range(2):
        with page.expect_download() as waiting:
            page.get_by_role("button", name="Download manual.docx").click()
        assert waiting.value.suggested_filename == "manual.de.docx" and waiting.value.path().read_bytes() == b"PK"
    assert [method for method, _ in asked] == ["POST", "GET", "GET", "GET", "GET", "DELETE"]


def test_a_file_is_cancelled_or_fails(visit, phrases):
    page = visit(phrases)
    asked = answer_files(page, [{"status": "translating", "done": 1}])
    choose(page, "manual.docx")
    wait_for(page, "#files", "1 of 4 segments")
    page.get_by_role("button", name="Cancel manual.docx").click()
    wait_for(page, "#files", "Cancelled")
    page.wait_for_timeout(100)
    assert asked[-1] == ("DELETE", "/f1")
    page = visit(phrases)
    answer_files(page, [{"status": "failed", "done": 1, "error": "the file is damaged"}])
    choose(page, "manual.docx")
    wait_for(page, "#files", "Failed: the file is damaged")


def test_a_file_is_waited_for_while_the_server_does_not_answer(visit, phrases):
    page = visit(phrases)
    refused = [{"answer": 503}, {"answer": 429}]
    answer_files(page, [{"status": "translating", "done": 1}, *refused, {"status": "done", "done": 4}])
    choose(page, "manual.docx")
    wait_for(page, "#files", "The server is busy")
    wait_for(page, "#files", "Too many requests")
    wait_for(page, "#files", "Done")
    page = visit(phrases)
    answer_files(page, [{"status": "translating", "done": 1}, {"answer": None}, {"answer": 404}])
    choose(page, "manual.docx")
    wait_for(page, "#files", "The server cannot be reached")
    wait_for(page, "#files", "The server has forgotten the file")


def test_a_file_is_fetched_again_when_that_failed(visit, phrases):
    page = visit(phrases)
    answer_files(page, [{"status": "done", "done": 4}])
    page.route("**/result", lambda route: route.abort())
    choose(page, "manual.docx")
    wait_for(page, "#files", "The server cannot be reached")
    page.unroute("**/result")
    wait_for(page, "#files", "Done")
    with page.expect_download():
        page.get_by_role("button", name="Download manual.docx").click()


def test_a_file_is_sent_again_until_the_server_has_room(visit, phrases):
    page = visit(phrases)
    asked = answer_files(page, [{"status": "done", "done": 4}], [429, 429])
    choose(page, "manual.docx")
    wait_for(page, "#files", "The server has no room yet")
    wait_for(page, "#files", "Done")
    assert [method for method, _ in asked].count("POST") == 3
    # It may have taken the file before it answered otherwise.
    asked = answer_files(page, [{"status": "done", "done": 4}], [503])
    choose(page, "manual.docx")
    wait_for(page, "#files", "Failed: The server is busy")
    assert [method for method, _ in asked] == ["POST"]


ASKS = "window.dispatchEvent(new Event('beforeunload', {cancelable: true})) === false"


def test_the_browser_asks_before_files_are_lost(visit, phrases):
    page = visit(phrases)
    phrases.decoder.hold(0)
    choose(page, "a.docx", docx(SOURCES[0]))
    wait_for(page, "#files", " of ")
    assert page.evaluate(ASKS)
    phrases.decoder.go.set()
    wait_for(page, "#files", "Done")
    assert page.evaluate(ASKS)
    with page.expect_download():
        page.get_by_role("button", name="Download a.docx").click()
    assert not page.evaluate(ASKS)
    choose(page, "b.docx", b"damaged")
    page.locator("#files .bad").wait_for()
    assert not page.evaluate(ASKS)


def test_the_server_holds_no_file_that_the_page_has_or_has_left(visit):
    with phrase_server(files=1) as server:
        page = visit(server)
        for name in ("1.docx", "2.docx"):
            choose(page, name, docx(SOURCES[0]))
            page.get_by_role("button", name=f"Download {name}").wait_for()
        server.decoder.hold(0)
        choose(page, "3.docx", docx(SOURCES[0]))
        wait_for(page, "#files", " of ")
        page.evaluate("window.dispatchEvent(new PageTransitionEvent('pagehide'))")
        server.decoder.go.set()
        deadline = time.monotonic() + 10
        form = {"file": ("4.txt", b"One.")}
        while (status := requests.post(f"{server.url}/api/files", files=form).status_code) == 429:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert status == 200


def test_terms_count_for_files(visit, phrases):
    page = visit(phrases)
    page.click("#glossary summary")
    page.fill("#terms", "tray = Kassette")
    choose(page, "a.docx", docx(SOURCES[3]))
    assert AFTER[3] in saved(page, "a.docx")
    for stored in requests.get(f"{phrases.url}/v2/glossaries").json()["glossaries"]:
        requests.delete(f"{phrases.url}/v2/glossaries/{stored['glossary_id']}")
    choose(page, "b.docx", docx(SOURCES[3]))
    assert AFTER[3] in saved(page, "b.docx")
    page.fill("#terms", "tray")
    choose(page, "c.docx", docx(SOURCES[3]))
    wait_for(page, "#files", "Failed: Glossary, line 1")


def test_the_columns_of_a_table_are_asked_for(visit, phrases):
    page = visit(phrases)
    table = f"id,text,note\n1,{SOURCES[2]},{SOURCES[3]}\n".encode()
    choose(page, "a.csv", table)
    wait_for(page, "#files", "id,text,note")
    box = page.get_by_label("Columns to translate in a.csv")
    box.fill("name")
    page.keyboard.press("Enter")
    wait_for(page, "#files", "no single column is called 'name'")
    box.fill("text")
    page.get_by_role("button", name="Translate a.csv").click()
    wait_for(page, "#files", "Done")
    assert box.is_hidden()
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download a.csv").click()
    # A cell with a comma is quoted.
    assert waiting.value.path().read_text() == f'id,text,note\n1,"{KNOWN[2]}",{SOURCES[3]}\n'
    choose(page, "b.tsv", b"a\tb\n")
    page.get_by_role("button", name="Cancel b.tsv").click()
    wait_for(page, "#files", "Cancelled")
    assert page.get_by_label("Columns to translate in b.tsv").is_hidden()


def test_a_file_that_is_too_large_is_not_called_a_text(visit):
    with phrase_server(file_size=1, file_characters=100) as server:
        page = visit(server)
        choose(page, "a.docx", docx(*SOURCES))
        wait_for(page, "#files", "The file is too large: more than 100 characters of text in the file")
        choose(page, "b.docx", b"PK" * (1 << 20))
        wait_for(page, "#files", "The file is too large: the file is larger than 1 MiB")


def test_a_word_document_comes_back_translated(visit, phrases):
    page = visit(phrases)
    choose(page, "printer.docx", docx(*SOURCES[:2]))
    text = saved(page, "printer.docx")
    assert all(line in text for line in KNOWN[:2]) and SOURCES[0] not in text
    phrases.decoder.hold(1)
    choose(page, "long.docx", docx(*SOURCES * 3))
    wait_for(page, "#files", " of 26 segments")
    page.get_by_role("button", name="Cancel long.docx").click()
    wait_for(page, "#files", "Cancelled")
    phrases.decoder.go.set()


DROP = """([names, content]) => {
  const data = new DataTransfer();
  const bytes = typeof content === "string" ? content : new Uint8Array(content);
  for (const name of names) data.items.add(new File([bytes], name));
  for (const type of ["dragover", "drop"]) {
    document.body.dispatchEvent(new DragEvent(type, {dataTransfer: data, bubbles: true, cancelable: true}));
  }
}"""


def test_plain_text_can_be_dropped_and_a_server_without_files_says_so(visit, phrases):
    page = visit(phrases)
    page.evaluate(DROP, [["a.txt"], SOURCES[2]])
    wait_for(page, "#status", "a.txt is in the text box")
    assert page.input_value("#text") == SOURCES[2]
    page.route("**/api/files", lambda route: route.fulfill(status=404, json={"error": "Not Found"}))
    page.evaluate(DROP, [["b.docx"], "PK"])
    wait_for(page, "#files", "this server takes no files")


def test_the_page_asks_before_a_file_replaces_what_was_typed(visit, phrases):
    page = visit(phrases)
    page.fill("#text", "Typed.")
    page.evaluate(DROP, [["a.txt"], SOURCES[2]])
    wait_for(page, "#sure", "The text of a.txt replaces what is in the text box")
    page.keyboard.press("Enter")  # the button that loses nothing has the focus
    page.locator("#sure").wait_for(state="hidden")
    assert page.input_value("#text") == "Typed."
    page.evaluate(DROP, [["a.txt"], SOURCES[2]])
    page.click("#sure-yes")
    wait_for(page, "#status", "a.txt is in the text box")
    # What came from a file is not asked for.
    page.evaluate(DROP, [["b.txt"], SOURCES[3]])
    wait_for(page, "#status", "b.txt is in the text box")
    assert page.input_value("#text") == SOURCES[3]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
def test_plain_text_is_read_in_utf_8_and_else_sent_as_a_file(visit, phrases, encoding):
    page = visit(phrases)
    text = "Press “Öffnen”."
    page.evaluate(DROP, [["a.txt"], list(text.encode(encoding))])
    if encoding == "utf-8-sig":
        wait_for(page, "#status", "a.txt is in the text box")
        assert page.input_value("#text") == text
    else:
        page.locator("#files li").wait_for()
        assert page.input_value("#text") == "" and page.locator("#status").is_hidden()


def test_of_several_texts_none_is_lost(visit, phrases):
    page = visit(phrases)
    page.evaluate(DROP, [["a.txt", "b.txt"], SOURCES[2]])
    for name in ("a.txt", "b.txt"):
        page.get_by_role("button", name=f"Download {name}").wait_for()
    assert page.input_value("#text") == ""
