"""Texts with markup: what is not translated comes out to the letter."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.formats.markup import Block, Tags, outline, read_markup, written
from app.translation.pieces import with_tags

HTML, XML = Tags("html"), Tags("xml")


def shown(text, tags=HTML):
    return [part if isinstance(part, str) else part.piece.texts for part in read_markup(text, tags) if part]


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


def test_values_in_quotes_hold_signs_of_tags():
    for value in ('"count > 0 && it\'s"', "'a < b > \"c\"'", '"<b>x</b>"', "'/>'"):
        tag = f"<div x-show={value} title='x'>"
        assert shown(f"{tag}Good morning</div>") == [tag, ["Good morning"], "</div>"]
        (block,) = read_markup(f"a <i x={value}>b</i>", HTML)
        assert block.piece.shown == "a <i>b</i>" and written(block.piece.parts) == f"a <i x={value}>b</i>"
        assert shown(f"<pre x={value}>a</pre>b") == [f"<pre x={value}>a</pre>", ["b"]]
        assert outline(f"<doc><p x={value}>Go</p></doc>") == {"doc", "p"}
    for tag in ("<p width=5'>", '<p class="x>'):
        assert shown(f"{tag}Don't</p><p title='x'>go</p>")[:2] == [tag, ["Don't"]]


@pytest.mark.parametrize(
    "raw",
    [
        """<script>document.write('<script src="x"><\\/script>')</script>""",
        """<SCRIPT>write("<script src='" + x)</Script >""",
        "<style>/* <style> */</style>",
        "<textarea><textarea></textarea>",
    ],
)
def test_scripts_end_at_their_first_closing_tag(raw):
    assert shown(f"{raw}<p>go") == [raw, "<p>", ["go"]]


MARKUP = st.lists(
    st.sampled_from(
        ["<p>", "</p>", "<b>", "</b>", "<!--", "-->", "<script>", "</script>", "a. ", "&lt;", "<", ">", "é"]
        + ["<b x='", '<p y="', "'>", '">']
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
        evil = "<script>alert(1)</script> & x"
        back, bare = (
            written(text if isinstance(part, str) else part for part in block.piece.parts) for text in (evil, "")
        )
        assert tags(back) == tags(bare)
        assert with_tags("<img src=x onerror=alert(1)>" + block.piece.shown, block.piece) is None


def test_tags_that_the_model_copied_stay_and_other_signs_are_escaped():
    (block,) = (part for part in read_markup("a <b>c</b> &lt; d", HTML) if isinstance(part, Block))
    assert block.piece.shown == "a <b>c</b> &lt; d"
    assert written(with_tags("<b>C</b> A < D & E", block.piece)) == "<b>C</b> A &lt; D &amp; E"
    assert with_tags("C<b></b> A D", block.piece) is None  # which word was bold?
    assert with_tags("C A D", block.piece) is None and with_tags("</b>C<b> A D", block.piece) is None


@pytest.mark.parametrize(
    "hostile",
    ["<!--" * 12_500, "<script>" * 6_000, "<b" * 25_000, "<![CDATA[" * 5_500, '<b class="' * 5_000,
     "<i translate=no>" * 3_000 + "</i>" * 3_000,
     """<b '" <b "' """ * 4_000, """<b "<b" '<b' """ * 4_000, "<" + "b" * 50_000],
    ids=lambda text: text[:10],
)  # fmt: skip
def test_no_text_takes_the_square_of_its_length(hostile):
    began = time.process_time()
    read_markup(hostile, HTML)
    outline(hostile)
    assert time.process_time() - began < 2
