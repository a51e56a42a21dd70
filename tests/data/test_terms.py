"""Terms of a glossary: found in sources, and their German forms."""

import pytest

from data.glossary import Term
from data.inflection import german_forms
from data.spans import SpanFinder
from data.terms import Glossary


def found(text, *terms):
    """The targets of the terms in a text."""
    return [entry.target for entry in Glossary(terms).find(text)]


FILES = (Term("file", "Datei"), Term("file system", "Dateisystem"), Term("system", "System"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The FILES of this", ["Datei"]),
        ("Two file systems and a file", ["Dateisystem", "Datei"]),
        ("a file-system", ["Dateisystem"]),
        ("the file, system", ["Datei", "System"]),
        ("a file, a file and more files", ["Datei"]),
        ("profile systematic", []),
        ("the file's name", ["Datei"]),
        ("", []),
    ],
)
def test_the_longest_terms_are_found_once_in_singular_and_plural(text, expected):
    assert found(text, *FILES) == expected


def test_longer_terms_win_wherever_they_begin():
    terms = (Term("open source", "quelloffen"), Term("source code file", "Quelltextdatei"))
    assert found("an open source code file", *terms) == ["Quelltextdatei"]


def test_verbs_are_found_in_all_forms_and_nouns_are_not_mixed_up_with_them():
    terms = (Term("to save", "speichern"), Term("setting", "Einstellung"), Term("load", "laden", "verb"))
    assert found("Saving, saved and saves", *terms) == ["speichern"]
    assert found("It was loaded", *terms) == ["laden"]
    assert found("Set the set", *terms) == []
    assert found("One of the settings", *terms) == ["Einstellung"]


def test_case_counts_where_the_glossary_says_so():
    terms = (Term("Object", "Objekt", "", True), Term("Policy", "Richtlinie", "", True))
    assert found("An object, policies", *terms) == []
    assert found("Objects, Policies", *terms) == ["Objekt", "Richtlinie"]
    assert found("the SHARE share", Term("SHARE", "SHARE-Datei", "", True), Term("share", "Freigabe")) == [
        "SHARE-Datei",
        "Freigabe",
    ]


def test_signs_and_numbers_belong_to_a_term_and_what_is_copied_does_not():
    assert found("C and C++ and C#", Term("C++", "C++")) == ["C++"]
    assert found("Only C", Term("C++", "C++")) == []
    assert found("with Wi-Fi 6", Term("Wi-Fi 6", "WLAN 6")) == ["WLAN 6"]
    assert found("a file \u27e61\u27e7 system", *FILES) == ["Datei", "System"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Windows 11 and Windows 10", [("Windows 11", (1,))]),
        ("10 or 24/7 support", [("24/7-Service", (2,))]),
        ("Windows 11.2, Windows 24/7, 11 Windows", []),
        ("$file, <b>file</b> and --file", [("Datei", ())]),
        ("file-system --file system", [("Dateisystem", ()), ("System", ())]),
    ],
)
def test_spans_belong_to_a_term_as_a_whole(text, expected):
    terms = (Term("Windows 11", "Windows 11"), Term("24/7 support", "24/7-Service"), *FILES)
    found = Glossary(terms).occurrences(*SpanFinder().mark(text))
    assert [(one.entry.target, one.pieces) for one in found] == expected


def test_translations_of_one_source_are_alternatives():
    (entry,) = Glossary([Term("policy", "Richtlinie"), Term("policy", "Regel")]).entries
    assert entry.forms == ("Richtlinie", "Richtlinien", "Regel", "Regeln")


def test_other_languages_are_not_inflected():
    assert Glossary([Term("file", "fichier")], "fr").entries[0].forms == ("fichier",)


@pytest.mark.parametrize(
    ("phrase", "verb", "some", "none"),
    [
        ("Ordner", False, ["Ordner", "Ordners", "Ordnern"], ["Ordnerstruktur", "Ordnung"]),
        ("Wörterbuch", False, ["Wörterbücher", "Wörterbüchern", "Wörterbuchs"], []),
        ("Datenbankwörterbuch", False, ["Datenbankwörterbüchern"], ["Datenbankbücher"]),
        ("Einstellungen", False, ["Einstellung"], []),
        ("USB-Gerät", False, ["USB-Geräte", "USB-Geräten"], []),
        ("leerer Ordner", False, ["leere Ordner", "leeren Ordnern", "Leerer Ordner"], ["sleerer Ordner"]),
        ("sichere Verbindung", False, ["sicheren Verbindungen", "sicherer Verbindung"], ["siche Verbindung"]),
        ("erweiterte Suche", False, ["erweiterten Suche"], ["erweiterne Suche"]),
        ("Name der Datei", False, ["Namen der Datei", "Namens der Datei"], ["Name der Dateien"]),
        ("speichern", True, ["speichert", "gespeichert", "Speichern", "speicherte"], []),
        ("gugeln", True, ["gugelt", "gugelte"], []),
        ("automatisch speichern", True, ["automatisch gespeichert"], ["automatische speichern"]),
        ("gesperrt", False, ["gesperrte", "gesperrten", "Gesperrt"], ["sperren"]),
        ("Plasmoid", False, ["Plasmoids", "Plasmoide", "Plasmoiden"], []),
        ("C++", False, ["C++"], []),
    ],
)
def test_german_forms_are_those_of_the_language(phrase, verb, some, none):
    (forms,) = german_forms([(phrase, verb)])
    assert forms[0] == phrase and len(set(forms)) == len(forms)
    assert set(some) <= set(forms)
    assert not set(none) & set(forms)
