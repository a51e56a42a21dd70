"""The page in a real browser: texts, corrections and keys."""

import pytest

from tests.app.serving.browser import (
    AFTER,
    KNOWN,
    SOURCES,
    correct_first,
    held,
    translated,
    translations,
    wait_for,
)
from tests.app.serving.phrase_model import SENTENCES, phrase_server

KEY = "0123456789abcdef"


def test_a_text_is_translated_and_downloaded_with_its_paragraphs(visit, phrases):
    page = translated(visit(phrases))
    assert page.locator(".source").all_inner_texts() == SOURCES and translations(page) == KNOWN
    assert page.locator(".hint").count() == 8
    with page.expect_download() as waiting:
        page.click("#download")
    assert waiting.value.suggested_filename == "translation.de.txt"
    assert waiting.value.path().read_text() == " ".join(KNOWN[:5]) + "\n\n" + " ".join(KNOWN[5:])
    # Another text takes its place, and the server forgets the first one.
    translated(page, SOURCES[2])
    assert translations(page) == [KNOWN[2]]
    assert "weitblick_documents 1.0" in page.evaluate("fetch('/metrics').then((answer) => answer.text())")


def test_a_correction_changes_the_following_segments_which_are_marked_and_can_be_taken_back(visit, phrases):
    page = translated(visit(phrases))
    correct_first(page)
    assert translations(page) == AFTER
    assert page.locator(".segment", has=page.locator(".tag.changed")).count() == 4
    fourth = page.locator(".segment").nth(3)
    assert fourth.locator(".translation mark").all_inner_texts() == ["die", "Kassette"]
    assert fourth.locator("del").inner_text() == KNOWN[3]
    assert page.locator(".segment").nth(0).locator(".tag.corrected").count() == 1
    assert "4 following segments changed: 2, 4, 5, 8" in page.inner_text("#status")
    page.click("#undo")
    wait_for(page, "#status", "Taken back")
    assert translations(page) == KNOWN and page.get_attribute("#undo", "aria-disabled") == "true"


def test_the_translation_is_compared_with_one_without_memory(visit, phrases):
    page = translated(visit(phrases))
    switch = page.get_by_role("switch", name="Compare without memory")
    switch.click()
    wait_for(page, "#status", "Without memory, one of 8 segments comes out differently")
    assert switch.get_attribute("aria-checked") == "true"
    seventh = page.locator(".segment").nth(6).locator(".notes")
    assert SENTENCES[SOURCES[6]][2] in seventh.inner_text() and seventh.locator("mark").all_inner_texts() == ["es"]
    correct_first(page)
    page.locator(".segment:nth-child(8) .alone").wait_for()
    assert page.locator(".notes .alone").count() == 5
    switch.click()
    assert page.locator(".notes .alone").count() == 0
    switch.click()
    wait_for(page, "#status", "Without memory, 5 of 7 segments come out differently")


def test_the_strip_shows_what_the_memory_kept_opened_and_read(visit, phrases):
    page = translated(visit(phrases))
    page.locator("#strip tbody tr").first.wait_for()
    assert page.locator("#strip tbody th").all_inner_texts() == ["kept", "opened", "read"]
    figures = page.locator("#strip tr.kept .figure").all_inner_texts()
    assert len(figures) == 8 and all(0 < int(figure[:-1]) <= 100 for figure in figures)


def test_a_word_shows_what_it_looked_at(visit, phrases):
    page = translated(visit(phrases))
    fourth = page.locator(".segment").nth(3)
    fourth.locator(".translation .word", has_text="Fach").hover()
    wait_for(page, "#attention", "“Fach” looked at tray (")
    weights = fourth.locator(".source .word").evaluate_all(
        "(words) => words.map((word) => [Number(word.style.getPropertyValue('--weight')), word.textContent])"
    )
    assert max(weights)[1] == "tray"
    page.mouse.move(0, 0)
    assert page.locator(".attended").count() == 0


def test_a_word_whose_attention_is_spread_names_the_first_of_what_it_looked_at(visit, phrases):
    page = translated(visit(phrases))
    source, target = SOURCES[3].split(), KNOWN[3].split()
    weights = [[0.09, *[0.08] * len(source)]] * len(target)
    explained = {"attention": {"source": [*source, "(end)"], "target": target, "weights": weights}}
    page.route("**/segments/4", lambda route: route.fulfill(json=explained))
    page.locator(".segment").nth(3).locator(".translation .word", has_text="Fach").hover()
    page.locator("#attention:not(:empty)").wait_for()
    assert page.inner_text("#attention") == f"“Fach” looked at {source[0]} (9%)"


def test_another_translation_is_taken_from_the_search(visit, phrases):
    page = translated(visit(phrases))
    page.get_by_role("button", name="Segment 3, details").click()
    third = page.locator(".segment").nth(2)
    third.locator(".way").first.wait_for()
    assert third.locator(".way").all_inner_texts() == list(SENTENCES[SOURCES[2]][2:])[:1] + [SENTENCES[SOURCES[2]][3]]
    assert "Weak evidence" in third.locator(".details").inner_text()
    third.get_by_role("button", name="Use").first.click()
    wait_for(page, "#status", "No following segment changed")
    assert translations(page)[2] == SENTENCES[SOURCES[2]][2] and third.locator(".tag.corrected").count() == 1


def test_a_glossary_counts_for_the_next_translation(visit, phrases):
    page = visit(phrases)
    page.click("#glossary summary")
    page.fill("#terms", "tray\n")
    page.fill("#text", SOURCES[3])
    page.click("#translate")
    wait_for(page, "#problem", "Glossary, line 1")
    page.fill("#terms", "tray = Kassette\n")
    translated(page, SOURCES[3])
    assert translations(page) == [AFTER[3]]
    page.fill("#terms", "")
    translated(page, SOURCES[3])
    assert translations(page) == [KNOWN[3]]


def test_a_translation_shows_its_progress_and_can_be_cancelled(visit, phrases):
    page = held(visit(phrases), phrases)
    assert page.locator("#bar").evaluate("(bar) => bar.position") == pytest.approx(3 / 8)
    assert translations(page)[:4] == [*KNOWN[:3], "…"]
    assert page.get_by_role("button", name="Correct segment 1").is_disabled()
    with phrases.left():
        page.click("#cancel")
    wait_for(page, "#status", "Cancelled after 4 of 8 segments")
    assert translations(page) == KNOWN[:4] and page.locator("#progress").is_hidden()
    correct_first(page)
    assert translations(page) == AFTER[:4]


def test_the_page_asks_for_the_servers_key_and_keeps_it_in_the_tab(visit):
    with phrase_server(keys=[KEY]) as server:
        page = visit(server)
        page.fill("#key", "0123456789abcdee")
        page.keyboard.press("Enter")
        page.locator("#key-wrong:not([hidden])").wait_for()
        page.fill("#key", KEY)
        page.keyboard.press("Enter")
        translated(page)
        assert translations(page) == KNOWN and page.evaluate("localStorage.length + document.cookie.length") == 2
        page.reload()
        translated(page, SOURCES[2])
        page = visit(server)
        page.click("#key-cancel")
        wait_for(page, "#problem", "Without a key")


def test_what_cannot_be_done_is_said(visit):
    with phrase_server(characters=100) as server:
        page = visit(server)
        page.click("#translate")
        wait_for(page, "#status", "There is no text")
        page.fill("#text", "a " * 80)
        page.click("#translate")
        wait_for(page, "#problem", "The text is too long")
        # A stream that breaks off is not taken for a whole translation.
        begun = 'event: text\ndata: {"first": 1, "segments": ["a", "b"], "gaps": ["", " ", ""]}\n\n'
        page.route("**/segments/stream", lambda route: route.fulfill(body=begun))
        page.fill("#text", "a b")
        page.click("#translate")
        wait_for(page, "#problem", "The server cannot be reached")
        assert page.locator("#status").is_hidden() and page.locator(".segment").count() == 0
    page.click("#translate")
    wait_for(page, "#problem", "The server cannot be reached")


def test_a_model_that_reads_backward_translates_without_corrections(visit):
    with phrase_server(order="backward") as server:
        page = translated(visit(server))
        assert len(translations(page)) == 8 and "…" not in translations(page)
        assert page.locator(".correct:visible").count() == 0
        page.get_by_role("button", name="Segment 1, details").click()
        wait_for(page, ".details", "whole texts only")
        wait_for(page, "#memory-note", "no memory that can be shown")


def test_a_model_in_keras_translates_corrects_and_explains(visit, server, alone):
    """The same with a server of its own process, and a model that was drawn: its document is the session's."""
    sources, right = ["the red dog sees a house.", "A cat finds the old tree.", "The big dog never sees."], "der hund"
    session = alone.session()
    page = translated(visit(server), " ".join(sources))
    assert translations(page) == [" ".join(text.split()) for text in session.push(sources)]
    page.get_by_role("button", name="Correct segment 1").click()
    page.get_by_label("Right translation of segment 1").fill(right)
    page.keyboard.press("Enter")
    wait_for(page, "#status", "Noted")
    session.correct(1, right)
    assert translations(page) == [" ".join(text.split()) for text in session.translations]
    page.click("#compare")
    wait_for(page, "#status", "of 2 segments")
    page.locator("#strip td").first.wait_for()
    assert page.locator("#strip td").count() == 9
