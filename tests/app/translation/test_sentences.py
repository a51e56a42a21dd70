"""Texts of several sentences: what is between the sentences comes out to the letter."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.translation.sentences import cut_text


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


@pytest.mark.parametrize(
    "hostile", [" " * 50_000 + "x", ". " * 25_000, "." * 50_000, ".)" * 25_000, "a" * 50_000 + "."]
)
def test_no_text_takes_the_square_of_its_length(hostile):
    began = time.process_time()
    cut_text(hostile)
    assert time.process_time() - began < 2
