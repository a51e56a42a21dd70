"""Offers of a translation memory: the stored translation with the new line's numbers, or none."""

from types import SimpleNamespace

import pytest

from app.translation.memory import open_memory
from data.forms import TextForm
from tests.app.retrieval.toy_memory import toy_entries

LICENCE = (
    "The basic licence for small offices costs 1,250.00 EUR a year and covers up to 5 users on the same local network.",
    "Die Lizenz für kleine Büros kostet 1.250,00 EUR im Jahr und gilt für bis zu 5 Benutzer im selben lokalen Netz.",
)
DRIVES = "at least 2 of the drives have 500 MB", "mindestens zwei der Laufwerke haben 500 MB"
SWAPPED = "Copy 3 files to <b>tray</b>.", "In <b>tray</b> werden 3 Dateien kopiert."


@pytest.fixture
def offers(tmp_path, monkeypatch):
    """Gives what a memory of one pair, made with a form of text, offers for a line."""
    monkeypatch.setattr("app.translation.memory.entries_of", lambda _, pairs: toy_entries(pairs))

    def offered(pair, line, least=0.75, **form):
        path = tmp_path / "memory.tsv"
        path.write_text("\t".join(pair) + "\n")
        preset = SimpleNamespace(
            data=SimpleNamespace(source="en", target="de"), retrieval=SimpleNamespace(key="hidden")
        )
        run = SimpleNamespace(path=tmp_path, preset=preset, weights_file=lambda _: ("w", path, "sum"))
        decoder = SimpleNamespace(retrieval=SimpleNamespace(index="segments", segments=16))
        form = TextForm(**{"copy": ("numbers", "tags"), **form})
        translator = SimpleNamespace(form=form, decoder=decoder, checkpoint="auto", max_length=99)
        found = open_memory(run, translator, path).offers(line, least)
        return [(offer.similarity, offer.text) for offer in found]

    return offered


@pytest.mark.parametrize("pair", [LICENCE, DRIVES, SWAPPED])
@pytest.mark.parametrize("numbers", ["source", "german"])
def test_the_same_line_gets_its_translation_as_it_is_stored(offers, pair, numbers):
    assert offers(pair, pair[0], 1.0, numbers=numbers) == [(1.0, pair[1])]


def test_what_was_copied_is_taken_from_the_new_line(offers):
    assert offers(LICENCE, LICENCE[0].replace("5 users", "70 users")) == [(1.0, LICENCE[1].replace("5 B", "70 B"))]
    assert offers(DRIVES, DRIVES[0].replace("500", "800")) == [(1.0, DRIVES[1].replace("500", "800"))]
    assert offers(SWAPPED, "Copy 12 old files to <i>tray</i>.") == [
        (pytest.approx(8 / 9), "In <i>tray</i> werden 12 Dateien kopiert.")
    ]


@pytest.mark.parametrize(
    ("pair", "line"),
    [
        (LICENCE, LICENCE[0].replace("1,250.00", "1,300.00")),
        (DRIVES, DRIVES[0].replace("2", "3").replace("500", "800")),
        (SWAPPED, "Copy 3 files to <b>tray</b> 7."),
        (SWAPPED, "Copy 3 files to <b>tray."),
    ],
)
def test_nothing_is_offered_where_a_number_would_be_wrong(offers, pair, line):
    assert offers(pair, line, 0.1) == []


def test_a_model_of_lower_case_finds_text_with_capitals(offers):
    assert offers(("Two Men in Hats", "Zwei Männer mit Hut"), "Two men in hats", 1.0, lowercase=True) == [
        (1.0, "zwei männer mit hut")
    ]
