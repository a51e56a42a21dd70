"""Words, their alignment, and the consistency of terms."""

import pytest

from app.scoring.alignment import Aligner
from app.scoring.consistency import ALL, FOUND, SAME, TERMS, TermScorer, agreement, repeated, training_pairs
from app.scoring.testsets import TestSet
from app.scoring.words import is_term, source_words, target_words
from data.corpora.corpora import Corpora

# English word to German word; each pair of segments below is made of these, in the same order.
LEXICON = {
    "window": "Fenster",
    "button": "Knopf",
    "folder": "Ordner",
    "printer": "Drucker",
    "green": "grün",
    "large": "groß",
    "opens": "öffnet",
    "closes": "schließt",
    "old": "alt",
    "network": "Netzwerk",
}
NOUNS = ["window", "button", "folder", "printer", "network"]


def english(d, s):
    return f"the {NOUNS[(d + s) % 5]} opens {['old', 'green', 'large'][(d * s) % 3]} {NOUNS[d % 5]}"


def german(line):
    return " ".join(LEXICON.get(word, "das") for word in line.split())


SOURCES = tuple(tuple(english(d, s) for s in range(4)) for d in range(10))
GERMAN = [tuple(map(german, part)) for part in SOURCES]
TEXT = TestSet.of_documents("t", SOURCES, GERMAN, "t")


def values(measures):
    return {found.name: found.value for found in measures}


def test_german_endings_and_english_plurals_make_no_other_word():
    assert target_words("Die Dateien der Datei", "de")[1] == target_words("Datei", "de")[0]
    assert target_words("Häuser", "de") == target_words("Haus", "de")
    assert target_words("Python-Skripte, 3 Stück", "de") == ["python", "skript", "stuck"]
    assert source_words("Files' settings: boxes, queries, address, Obama’s status", "en") == [
        "file",
        "setting",
        "box",
        "query",
        "address",
        "obama",
        "status",
    ]
    assert source_words("Größere Dateien", "de") == ["größere", "dateien"]


@pytest.mark.parametrize("word", ["this", "does", "is", "was", "have", "thing", "ok"])
def test_function_words_are_no_terms(word):
    assert not is_term(source_words(word, "en")[0], "en")
    assert is_term("window", "en")


def test_repeated_words_stand_in_two_segments():
    lines = [["old", "old", "window", "the"], ["window", "the"], ["window"]]
    assert repeated(lines, "en") == {"window": 3}


def test_words_are_aligned_by_what_they_occur_with():
    pairs = [(source_words(a, "en"), target_words(b, "de")) for a, b in zip(SOURCES[0], GERMAN[0], strict=True)]
    everything = [(source_words(a, "en"), target_words(b, "de")) for part in TEXT.pairs() for a, b in part]
    aligner = Aligner(everything)
    # Word for word, in the same order; "the" and "das", which are everywhere, find each other, too.
    assert aligner.align(pairs) == [{n: n for n in range(5)}] * 4
    swapped = [(source, target[::-1]) for source, target in pairs[1:]]
    assert [found[1] for found in aligner.align(swapped)] == [3] * 3


def test_an_unknown_word_stands_for_nothing():
    aligner = Aligner([(["old", "window"], ["alt", "fenst"]), (["old", "button"], ["alt", "knopf"])])
    assert aligner.align([(["old", "window"], ["alt", "quark"]), (["strange"], ["alt"]), ([], []), (["old"], [])]) == [
        {0: 0},
        {},
        {},
        {},
    ]
    assert aligner.align([]) == []
    assert Aligner([]).align([(["old"], ["alt"])]) == [{}]


def test_alignment_is_repeatable():
    pairs = [(source_words(a, "en"), target_words(b, "de")) for part in TEXT.pairs() for a, b in part]
    assert Aligner(pairs).align(pairs) == Aligner(pairs).align(pairs)


def test_agreement_by_hand():
    assert agreement([]) is agreement([(0, "a")]) is agreement([(0, "a"), (0, "b")]) is None
    assert agreement([(0, "a"), (1, "a")]) == 1
    # Pairs in different segments: a-a, a-b, a-b, and b-b in the same one, which does not count.
    assert agreement([(0, "a"), (1, "a"), (2, "b")]) == pytest.approx(1 / 3)
    assert agreement([(0, "a"), (1, "b"), (1, "b")]) == 0
    assert agreement([(0, "b"), (1, "b"), (1, "b")]) == 1


def test_the_reference_agrees_with_itself():
    scorer = TermScorer(TEXT)
    found = scorer.score(GERMAN)
    assert values(found) == {ALL: 100, TERMS: 100, SAME: 100, FOUND: 100}
    assert all(measure.value == measure.reference for measure in found)


def test_a_term_translated_in_two_ways_costs_what_it_must():
    scorer = TermScorer(TEXT, training=[("the pane", "das Scheibe")] + [("window", "Scheibe")] * 3)
    hypotheses = [list(part) for part in GERMAN]
    before = values(scorer.score(hypotheses))
    # The first document has window in all four segments, twice in the first one.
    assert [line.count("window") for line in SOURCES[0]] == [2, 1, 1, 1]
    hypotheses[0][3] = hypotheses[0][3].replace("Fenster", "Scheibe")
    found = scorer.score(hypotheses, GERMAN)
    # Of the pairs 0-1 (twice), 0-2 (twice), 0-3 (twice), 1-2, 1-3, 2-3 those with segment 3 are unequal: 4 of 9. It is
    # one of the terms, all of which count alike.
    terms = sum(len(repeated([source_words(line, "en") for line in part], "en")) for part in SOURCES)
    assert before[ALL] == 100
    assert values(found)[ALL] == pytest.approx(100 - 100 * 4 / 9 / terms)
    assert values(found)[TERMS] == values(found)[ALL]
    assert found[0].reference == found[0].comparison.baseline == 100
    assert values(found)[SAME] < 100


def test_words_that_the_reference_varies_are_no_terms():
    references = [list(part) for part in GERMAN]
    references[0][3] = references[0][3].replace("Fenster", "Scheibe")
    text = TestSet.of_documents("t", SOURCES, references, "t")
    found = TermScorer(text, training=[("window", "Scheibe")] * 3).score(references)
    assert values(found)[TERMS] == 100
    assert values(found)[ALL] == found[0].reference < 100


def test_an_empty_translation_has_nothing_to_align():
    found = values(TermScorer(TEXT).score([[""] * 4] * 10))
    assert found[FOUND] == found[SAME] == 0
    assert found[ALL] != found[ALL]


def test_training_text_is_chosen_by_the_words_that_are_wanted(tmp_path):
    (tmp_path / "toys").mkdir()
    lines = {"en": ["the window is here"] * 30 + ["nothing of use", "a printer"], "de": ["x"] * 32}
    for language, text in lines.items():
        (tmp_path / "toys" / f"{language}.train.txt").write_text("\n".join(text) + "\n", encoding="utf-8")
    found = training_pairs(TEXT, ["none", "toys", "toys"], Corpora([str(tmp_path)]))
    assert found == [("the window is here", "x")] * 10 + [("a printer", "x")]
