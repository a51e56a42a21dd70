"""The terms of a segment in tokens."""

import pytest

from app.translation.terms import TermEncoder, words_of
from data.glossary import Term
from data.spans import piece
from data.subwords import BOS, EOS, SPACE
from data.terms import Glossary
from data.tokenizer import Tokenizer

LINES = ["Der Ordner ist leer.", "Die Ordner (Ordner) sind in Ordnern.", "Das Haus des Ordners", "Ordnen Sie „Ordner“."]


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(LINES * 3, 315, symbols=[piece(n) for n in range(1, 33)])


def test_words_begin_at_spaces_and_signs_and_after_them(tokenizer):
    pieces, words = tokenizer.pieces(), words_of(tokenizer)
    assert words.begins[EOS] and words.opens[BOS]
    for id, text in enumerate(pieces):
        if text.startswith("<0x"):
            assert not words.begins[id] and not words.opens[id]
        elif text.startswith(SPACE) or text in (".", "(", piece(1)):
            assert words.begins[id]
        elif text.isalpha():
            assert not words.begins[id] and not words.opens[id]
    assert words.opens[pieces.index(piece(1))]


def test_forms_are_encoded_with_and_without_a_space_before_them(tokenizer):
    (forms,) = TermEncoder(Glossary([Term("folder", "Ordner")]), tokenizer).terms("Two folders")
    texts = ["".join(map(tokenizer.piece, form)) for form in forms]
    for form in ("Ordner", "Ordners", "Ordnern"):
        assert SPACE + form in texts and form in texts
    assert TermEncoder(Glossary([Term("folder", "Ordner")]), tokenizer).terms("Nothing") == ()


def test_a_model_of_lower_case_gets_lower_case_forms(tokenizer):
    (forms,) = TermEncoder(Glossary([Term("folder", "Ordner")]), tokenizer, True).terms("a folder")
    assert {tokenizer.target.decode([form])[0].strip() for form in forms} == {"ordner", "ordners", "ordnern"}
