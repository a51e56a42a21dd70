import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.translation.text import split_long


def words(texts):
    return [len(text.split()) for text in texts]


def characters(texts):
    return [len(text) for text in texts]


def test_what_fits_stays_as_it_is():
    assert split_long("One. Two.  Three.", words, 3) == ["One. Two.  Three."]


def test_sentences_are_kept_together_while_they_fit():
    text = "A b c. D e? F g h! I j… K"
    assert split_long(text, words, 5) == ["A b c. D e?", "F g h! I j…", "K"]


def test_quotes_and_brackets_stay_with_the_sentence_they_close():
    text = 'He said "go home." She left (at once.) „Ach so!“ Wir auch.'
    assert split_long(text, words, 4) == ['He said "go home."', "She left (at once.)", "„Ach so!“ Wir auch."]


def test_clauses_are_taken_where_a_sentence_is_too_long():
    text = "Short one. First of all, we see this; then we see that: it ends. Short two."
    parts = split_long(text, words, 5)
    assert parts == ["Short one.", "First of all,", "we see this;", "then we see that:", "it ends.", "Short two."]


def test_spaces_are_taken_where_a_clause_is_too_long():
    assert split_long("a b c d e f g, h", words, 3) == ["a b c", "d e f", "g,", "h"]


def test_numbers_and_abbreviations_without_a_space_are_not_split():
    assert split_long("It is 3.14 and 1,000 in example.org today ok", words, 7) == [
        "It is 3.14 and 1,000 in example.org",
        "today ok",
    ]


def test_a_text_without_spaces_is_split_anywhere_but_not_before_an_accent():
    text = "e\u0301" * 8
    parts = split_long(text, characters, 6)
    assert "".join(parts) == text
    assert all(len(part) <= 6 for part in parts)
    assert all(part[0] == "e" for part in parts)


def test_chinese_sentences_need_no_space():
    assert split_long("你好。再见！好吗", characters, 3) == ["你好。", "再见！", "好吗"]


def test_a_character_that_is_too_long_alone_stays_whole():
    assert split_long("ab", lambda texts: [5 * len(text) for text in texts], 4) == ["a", "b"]


alphabet = st.sampled_from('ab .,;!?\u2026"\u201d)\u3002e\u0301\u00df')


@given(st.text(alphabet, max_size=80), st.integers(1, 12))
def test_nothing_is_lost_and_every_part_fits(text, limit):
    parts = split_long(text, characters, limit)
    assert "".join("".join(parts).split()) == "".join(text.split())
    for part in parts:
        assert len(part) <= limit or part.rstrip("\u0301") in {part[:1], ""}


@pytest.mark.parametrize("text", ["word " * 40_000, "x" * 200_000, "Yes. " * 40_000])
def test_very_long_lines_take_no_more_than_moments(text):
    start = time.perf_counter()
    parts = split_long(text, characters, 100)
    assert sum(map(len, parts)) <= len(text)
    assert time.perf_counter() - start < 5
