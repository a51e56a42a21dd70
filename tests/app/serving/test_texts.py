"""Texts of several sentences and with markup: what is not translated comes out to the letter."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.serving.markup import Block, Tags, outline, put_back, read_markup, texts_of, written_like
from app.serving.sentences import cut_text

HTML, XML = Tags("html"), Tags("xml")


@pytest.mark.parametrize(
    "text, segments",
    [
        ("One two.  Three!\nFour", ["One two.", "Three!", "Four"]),
        (
            "Dr. Smith met J. Doe at 5 p.m. in Fig. 3. He left.",
            ["Dr. Smith met J. Doe at 5 p.m. in Fig. 3.", "He left."],
        ),
        ("1. Open it. 2. Close it.", ["1. Open it.", "2. Close it."]),
        ('He said "Stop." Then he went… Why? (Nobody knows.) So.', None),
        ("version 2.0 of file.txt costs 3.50 dollars", ["version 2.0 of file.txt costs 3.50 dollars"]),
        ("Wait... what? no.", ["Wait... what? no."]),
        ("", []),
        (" \n\n ", []),
    ],
)
def test_sentences(text, segments):
    found = cut_text(text).segments
    assert found == (segments or []) if segments is not None else len(found) == 5


def test_what_may_be_cut_is_said():
    text = "One. Two.\nThree."
    assert cut_text(text, sentences=False).segments == ["One. Two.", "Three."]
    assert cut_text(text, lines=False).segments == ["One.", "Two.", "Three."]
    assert cut_text(text, False, False).segments == [text]


TEXTS = st.text(st.sampled_from("aB.!?… \n\r\t\u2028\"')1é。Dr")) | st.text()


@given(TEXTS, st.booleans(), st.booleans())
def test_segments_and_gaps_are_the_text(text, sentences, lines):
    found = cut_text(text, sentences, lines)
    assert found.joined(found.segments) == text
    assert all(segment == segment.strip() != "" for segment in found.segments)
    assert not any(gap.strip() for gap in found.gaps)


def shown(text, tags=HTML):
    return [part if isinstance(part, str) else texts_of(part) for part in read_markup(text, tags) if part]


def test_markup_is_taken_apart():
    assert shown("<p>A <b>big</b> dog &amp; cat.</p><p>Two</p>") == [
        "<p>", ["A ", "big", " dog & cat."], "</p>", "<p>", ["Two"], "</p>"
    ]  # fmt: skip
    page = '<script>if (a < b) "x.</p>"</script><pre>A. B.</pre><!-- <p>no</p> -->go <code>rm -rf</code> on<br>now'
    assert [part for part in shown(page) if isinstance(part, list)] == [["go ", " on"], ["now"]]
    assert shown('<p>a <span class="x notranslate">b <span>c</span> d</span> e') == ["<p>", ["a ", " e"]]
    assert shown('<div translate="no">x</div> y') == ['<div translate="no">x</div>', [" y"]]
    assert shown("1 < 2 and <3 > 2 <") == [["1 < 2 and <3 > 2 <"]]
    assert shown("<x><keep>a</keep><q>b</q>c</x>", Tags("xml", ignored=frozenset({"keep"}), inline=frozenset("q"))) == [
        ["b", "c"]
    ]
    assert outline("<doc><p>Go <b>on</b>.</p>\n<p>Stop <i/> it.</p></doc>") == {"doc", "p"}


MARKUP = st.lists(
    st.sampled_from(
        ["<p>", "</p>", "<b>", "</b>", "<!--", "-->", "<script>", "</script>", "a. ", "&lt;", "<", ">", "é"]
    )
).map("".join)


@given(MARKUP, st.sampled_from([HTML, XML]))
def test_markup_is_lost_nowhere(text, tags):
    parts = read_markup(text, tags)
    assert "".join(part if isinstance(part, str) else part.raw for part in parts) == text


@given(MARKUP)
def test_translations_cannot_bring_tags_in(text):
    def tags(text):
        return [part for part in text.replace("<", "\0<").replace(">", ">\0").split("\0") if part[:1] == "<"]

    blocks = [part for part in read_markup(text, HTML) if isinstance(part, Block)]
    for block in blocks:
        back = put_back(block, ["<script>alert(1)</script> & x"] * len(texts_of(block)))
        assert tags(back) == tags(put_back(block, [""] * len(texts_of(block))))
        assert written_like("<img src=x onerror=alert(1)>" + block.raw, block) is None


def test_tags_that_the_model_copied_stay_and_other_signs_are_escaped():
    (block,) = (part for part in read_markup("a <b>c</b> &lt; d", HTML) if isinstance(part, Block))
    assert written_like("<b>C</b> A < D & E", block) == "<b>C</b> A &lt; D &amp; E"
    assert written_like("C A D", block) is None


@pytest.mark.parametrize(
    "hostile",
    ["<!--" * 12_500, "<script>" * 6_000, "<b" * 25_000, "<![CDATA[" * 5_500, '<b class="' * 5_000, " " * 50_000 + "x",
     ". " * 25_000, "." * 50_000, ".)" * 25_000, "<i translate=no>" * 3_000 + "</i>" * 3_000, "a" * 50_000 + "."],
    ids=lambda text: text[:10],
)  # fmt: skip
def test_no_text_takes_the_square_of_its_length(hostile):
    began = time.process_time()
    cut_text(hostile)
    read_markup(hostile, HTML)
    outline(hostile)
    assert time.process_time() - began < 2
