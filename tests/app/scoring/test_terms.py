"""How often the terms of a glossary are met, in the evaluation, its tables and its record."""

import io

import pytest

from app.scoring.evaluation import DocumentOptions, evaluate_lines, evaluate_translations
from app.scoring.report import show_evaluation
from app.scoring.terms import MissedTerms, TermCount, count_terms, is_met
from app.scoring.testsets import TestSet
from data.glossary import Term
from data.terms import Glossary

GLOSSARY = Glossary(
    [Term("folder", "Ordner"), Term("to save", "speichern"), Term("C++", "C++"), Term("unused", "leer")]
)
SOURCES = ("Save the folders", "A folder, <b>folder</b>", "Open --folder now", "C++ code")
REFERENCES = ("Die Ordner speichern", "Ein Ordner, <b>Ordner</b>", "Jetzt --folder öffnen", "C++-Code")
OUTPUT = ["Speichert die Ordner", "Eine Ordnerstruktur, <b>Mappe</b>", "Ordner öffnen", "C-Code"]


def test_each_term_of_a_segment_counts_once():
    (total, *each), missed = count_terms(GLOSSARY, SOURCES, OUTPUT, REFERENCES)
    assert total == TermCount("", "", 4, 2, 4)
    assert each == [
        TermCount("folder", "Ordner", 2, 1, 2),
        TermCount("to save", "speichern", 1, 1, 1),
        TermCount("C++", "C++", 1, 0, 1),
    ]
    assert missed == [
        MissedTerms(2, ("Ordner",), SOURCES[1], OUTPUT[1]),
        MissedTerms(4, ("C++",), SOURCES[3], OUTPUT[3]),
    ]


def test_terms_with_numbers_count():
    glossary = Glossary([Term("404 error", "404-Fehler")])
    (total, _), _ = count_terms(glossary, ["A 404 error", "404 errors"], ["Ein 404-Fehler", "404"], ["", ""])
    assert total == TermCount("", "", 2, 1, 0)


def test_nothing_is_counted_without_terms_or_sources():
    assert count_terms(None, SOURCES, OUTPUT, REFERENCES) == ([], [])
    assert count_terms(GLOSSARY, None, OUTPUT, REFERENCES) == ([], [])
    assert count_terms(GLOSSARY, ["nothing"], ["nichts"], ["nichts"]) == ([], [])


@pytest.mark.parametrize(
    ("translation", "met"),
    [
        ("in den Ordnern", True),
        ("im Ordner.", True),
        ("„Ordner“", True),
        ("ORDNER", True),
        ("der Ordner-Baum", True),
        ("die Ordnerstruktur", False),
        ("der Unterordner", False),
        ("die Ordnung", False),
    ],
)
def test_a_term_is_met_by_its_inflections_and_not_by_other_words(translation, met):
    assert is_met(GLOSSARY.entries[0], translation) == met


def test_inflections_are_those_of_the_glossarys_language():
    test = TestSet.of_documents("t", (("Two horses",),), (("Deux chevaux",),), "t")
    glossary = Glossary([Term("horse", "cheval")], "fr")
    options = DocumentOptions(samples=0)
    for found in (
        evaluate_translations(["Des chevaux"], test, options, glossary=glossary),
        evaluate_lines(["Des chevaux"], test, glossary=glossary),
    ):
        assert found.met[0] == TermCount("", "", 1, 1, 1)


def test_every_form_that_the_search_accepts_counts():
    phrases = Glossary(
        [Term("a", "leerer Ordner"), Term("b", "Wörterbuch"), Term("to c", "hinzufügen"), Term("d", "USB-Gerät")]
    )
    for entry in phrases.entries:
        for form in entry.forms:
            assert is_met(entry, f"Dann {form}, ja.")


def test_the_evaluation_shows_and_records_them():
    test = TestSet("odd", SOURCES, REFERENCES, "odd")
    evaluation = evaluate_lines(OUTPUT, test, glossary=GLOSSARY)
    record = evaluation.as_dict()
    assert record["terms_met"][0] == {"source": "", "target": "", "segments": 4, "met": 2, "reference": 4}
    assert record["terms_missed"][0]["line"] == 2
    file = io.StringIO()
    show_evaluation(evaluation, file)
    shown = file.getvalue()
    assert "all terms" in shown and "folder = Ordner" in shown and "50.0%" in shown
    assert "line 4 (C++): C++ code => C-Code" in shown
    assert "terms_met" not in evaluate_lines(OUTPUT, test).as_dict()
