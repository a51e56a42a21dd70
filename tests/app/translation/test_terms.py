"""The terms of a segment in tokens."""

import pytest

from app.presets.schema import SearchPreset
from app.translation.terms import TermEncoder, word_borders
from app.translation.translator import Translator
from data.forms import TextForm
from data.glossary import Term
from data.spans import KINDS, piece
from data.subwords import BOS, EOS, SPACE
from data.terms import Glossary
from data.tokenizer import Tokenizer
from tests.app.copy_model import CopyModel

LINES = ["Der Ordner ist leer.", "Die Ordner (Ordner) sind in Ordnern.", "Das Haus des Ordners", "Ordnen Sie „Ordner“."]


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(LINES * 3, 315, symbols=[piece(n) for n in range(1, 33)])


def test_words_begin_at_spaces_and_signs_and_after_them(tokenizer):
    pieces, words = tokenizer.pieces(), word_borders(tokenizer)
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
    (forms,) = TermEncoder(Glossary([Term("folder", "Ordner")]), tokenizer, TextForm(lowercase=True)).terms("a folder")
    assert {tokenizer.target.decode([form])[0].strip() for form in forms} == {"ordner", "ordners", "ordnern"}


@pytest.mark.parametrize(
    ("term", "line", "forms"),
    [
        (Term("404 error", "404-Fehler"), "In 3 of 5 a 404 error", {"\u27e63\u27e7-Fehler"}),
        (
            Term("folder 3.5", "Ordner 3,5"),
            "the folder 3.5 or folder 3.5",
            {"Ordner \u27e61\u27e7", "Ordner \u27e62\u27e7"},
        ),
        (Term("notes.txt folder", "Ordner notes.txt"), "notes.txt folders", {"Ordner \u27e61\u27e7"}),
    ],
)
def test_a_form_with_a_number_or_file_has_the_piece_of_its_segment(tokenizer, term, line, forms):
    form = TextForm(copy=KINDS, numbers="german")
    source = form.source(line)
    (found,) = TermEncoder(Glossary([term]), tokenizer, form).terms(source.text, source.spans)
    assert forms <= {tokenizer.target.decode([ids])[0].strip() for ids in found}


def test_a_term_that_would_have_to_translate_a_number_is_warned_of(tokenizer):
    said, form = [], TextForm(copy=KINDS)
    terms = [Term("2 folders", "zwei Ordner"), Term("folder 2", "Ordner 2"), Term("folder", "Ordner")]
    encoder = TermEncoder(Glossary(terms), tokenizer, form)
    encoder.check(said.append)
    (message,) = said
    assert message.startswith("1 term of the glossary cannot be enforced") and "'2 folders' = 'zwei Ordner'" in message
    source = form.source("2 folders")
    assert encoder.terms(source.text, source.spans) == ()
    TermEncoder(Glossary(terms[1:]), tokenizer, form).check(said.append)
    assert len(said) == 1


@pytest.mark.parametrize(
    ("sure", "term", "expected"),
    [
        (0.5, Term("folder 404", "Ordner 404"), "Ordner 404"),
        # This model writes 404 before the search can begin the term: the rest of it has to do.
        (0.9, Term("404 ist", "404-Haus"), "Haus"),
    ],
)
def test_lines_and_documents_get_a_term_with_its_number(tokenizer, sure, term, expected):
    form = TextForm(copy=("numbers",))
    one = Translator.of_model(CopyModel(tokenizer.vocabulary_size, sure), tokenizer, SearchPreset(beam=4), form=form)
    one.use_glossary(Glossary([term]))
    line = "Der 7 folder 404 ist leer."
    for found in (one.translate_all([line])[0], next(one.translate_documents([[line]]))[0]):
        assert [found.count(text) for text in (expected, "404", "7")] == [1, 1, 1]
