"""BLEU over documents, its bootstrap, and the text that all document scores are made on."""

import itertools

import numpy as np
import pytest
from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.significance import PairedTest

from app.scoring.bootstrap import measure, ratio, summed_by_document
from app.scoring.metrics import score_documents
from app.scoring.testsets import TestSet, has_documents, in_order, load_documents, shuffled
from data.corpora.corpora import Corpora
from data.errors import UserError

NOUNS = ["Hund", "Haus", "Buch", "Wald", "Tisch", "Ball", "Stuhl"]
REFERENCES = tuple(
    tuple(f"Da ist der {NOUNS[(d + s) % 7]} von Nummer {d}, der {NOUNS[d * s % 7]} heisst." for s in range(2 + d % 3))
    for d in range(12)
)
SOURCES = tuple(tuple(f"segment {s} of {d}" for s in range(len(part))) for d, part in enumerate(REFERENCES))
TEXT = TestSet.of_documents("toys-test", SOURCES, REFERENCES, "toys, test")


def spoiled(every, parts=REFERENCES):
    """Translations in which every so many words one is wrong."""
    number = iter(range(10**6))
    return [[" ".join("falsch" if next(number) % every == 0 else w for w in line.split()) for line in p] for p in parts]


def folder(tmp_path, documents, **files):
    place = tmp_path / "toys"
    place.mkdir()
    lines = {"en": "Good evening.\n" * 5, "de": "Guten Abend.\n" * 5, "doc": "\n".join(documents) + "\n", **files}
    for column, text in lines.items():
        if text:
            (place / f"{column}.test.txt").write_text(text, encoding="utf-8")
    return [str(tmp_path)]


def test_d_bleu_is_sacrebleus_on_joined_lines():
    hypotheses = spoiled(5)
    found = {m.name: m for m in score_documents(TEXT, hypotheses)}
    lines = [[line for part in side for line in part] for side in (hypotheses, REFERENCES)]
    joined = [[" ".join(part) for part in side] for side in (hypotheses, REFERENCES)]
    assert found["s-BLEU"].value == pytest.approx(BLEU().corpus_score(lines[0], [lines[1]]).score)
    assert found["d-BLEU"].value == pytest.approx(BLEU().corpus_score(joined[0], [joined[1]]).score)
    assert found["chrF2++"].value == pytest.approx(CHRF(word_order=2).corpus_score(lines[0], [lines[1]]).score)
    assert found["s-BLEU"].value != found["d-BLEU"].value
    test = PairedTest([("a", joined[0])], {"d": BLEU()}, [joined[1]], "bs", 1000)()[1]["BLEU"][0]
    assert (found["d-BLEU"].high - found["d-BLEU"].low) / 2 == pytest.approx(test.ci, abs=1e-4)


def test_n_grams_across_segments_count_in_d_bleu_alone():
    # The translation has the right words in the right order, but cut into segments elsewhere.
    text = TestSet.of_documents("t", (("x", "y"),), (("a b c d", "e f g h"),), "t")
    found = {m.name: m.value for m in score_documents(text, [["a b c d e f", "g h"]])}
    assert found["d-BLEU"] == pytest.approx(100)
    assert found["s-BLEU"] < 80


def test_signatures_say_what_was_joined_and_drawn():
    plain, joined, _, edits = (m.signature for m in score_documents(TEXT, REFERENCES, samples=50))
    assert "|tok:tercom|" in edits and "|drawn:documents|version:2" in edits
    assert plain.startswith("nrefs:1|bs:50|seed:12345|")
    assert "|tok:13a|smooth:exp|drawn:documents|version:2" in plain
    assert "|drawn:documents|lines:joined|version:2" in joined
    alone = score_documents(TEXT, REFERENCES, samples=0)[0]
    assert "bs:" not in alone.signature and alone.low is None


def test_case_counts_unless_it_shall_not():
    lower = [[line.lower() for line in part] for part in REFERENCES]
    assert score_documents(TEXT, lower, samples=0)[1].value < 60
    assert score_documents(TEXT, lower, lowercase=True, samples=0)[1].value == pytest.approx(100)


def test_the_same_translations_do_not_differ():
    for found in score_documents(TEXT, spoiled(5), spoiled(5), samples=200):
        assert found.comparison.difference == 0
        assert found.comparison.p_value == 1
        assert (found.comparison.low, found.comparison.high, found.comparison.wins) == (0, 0, 0)


def test_a_clearly_better_system_is_told_from_chance():
    *others, edits = score_documents(TEXT, spoiled(9), spoiled(3), samples=500)
    assert edits.name == "TER" and edits.comparison.high < 0 and edits.comparison.p_value < 0.01
    for found in others:
        assert found.comparison.p_value < 0.01
        assert 0 < found.comparison.low < found.comparison.difference < found.comparison.high
        assert found.comparison.wins == 1
        assert found.low < found.value < found.high
    worse = score_documents(TEXT, spoiled(3), spoiled(9), samples=500)[0].comparison
    assert worse.p_value < 0.01 and worse.wins == 0


def test_one_document_that_decides_all_is_not_significant():
    # One of twelve documents is better, by a lot; another draw of documents may well lack it.
    base = spoiled(3)
    found = score_documents(TEXT, [list(REFERENCES[0]), *base[1:]], base, samples=500)[1].comparison
    assert found.difference > 1
    assert found.p_value > 0.05 and found.low == 0
    # The share of draws that have it: 1 - (11 / 12) ** 12.
    assert found.wins == pytest.approx(0.65, abs=0.06)


def test_p_value_by_hand():
    # Means of -1, 0, 1, 2, 3 with replacement; with equal chances for both signs once the mean is taken off.
    values = np.array([[-1, 1], [0, 1], [1, 1], [2, 1], [3, 1]], float)
    found = measure("x", values, ratio(1.0), np.zeros_like(values) + (0, 1), samples=4000).comparison
    # The standard deviation of a mean of five is sqrt(2 / 5): a difference of 1 is 1.58 of them away from 0.
    assert found.difference == 1
    assert found.p_value == pytest.approx(0.13, abs=0.03)
    assert found.wins == pytest.approx(0.93, abs=0.03)


def test_with_few_documents_there_is_no_interval():
    text = TestSet.of_documents("t", SOURCES[:4], REFERENCES[:4], "t")
    found = score_documents(text, spoiled(5, REFERENCES[:4]), spoiled(2, REFERENCES[:4]))[0]
    assert found.low is None and found.comparison.p_value is None
    assert found.comparison.difference == pytest.approx(found.value - found.comparison.baseline)
    assert "bs:" not in found.signature


def test_documents_without_anything_to_measure_are_no_error():
    found = measure("x", np.array([[1, 2], [0, 0], [0, 0], [0, 0], [0, 0]]), ratio())
    assert found.value == 50
    assert (found.low, found.high) == (50, 50)
    assert np.isnan(measure("x", np.zeros((6, 2)), ratio()).value)


def test_statistics_are_added_up_within_documents():
    assert summed_by_document([[1, 1], [2, 1], [3, 1]], [2, 1]).tolist() == [[3, 2], [3, 1]]


def test_a_corpus_is_cut_into_its_documents(tmp_path):
    folders = folder(tmp_path, ["a", "a", "", "", "b"])
    found = load_documents("toys", corpora=Corpora(folders))
    assert found.documents == (2, 1, 1, 1)
    assert found.name == "toys-test" and found.segments == 5
    assert found.references == ("Guten Abend.",) * 5
    assert found.cut("vwxyz") == [["v", "w"], ["x"], ["y"], ["z"]]
    assert has_documents("toys", "test", Corpora(folders))


def test_other_documents_of_the_same_lines_are_another_text(tmp_path):
    first = load_documents("toys", corpora=Corpora(folder(tmp_path, ["a", "a", "a", "b", "b"])))
    (tmp_path / "toys" / "doc.test.txt").write_text("a\na\nb\nb\nb\n", encoding="utf-8")
    assert load_documents("toys", corpora=Corpora([str(tmp_path)])).fingerprint != first.fingerprint


def test_a_corpus_without_documents_is_refused(tmp_path):
    folders = folder(tmp_path, [], doc="")
    assert not has_documents("toys", "test", Corpora(folders))
    assert not has_documents("none", "test", Corpora(folders))
    with pytest.raises(UserError, match="toys has no documents .*weitblick evaluate"):
        load_documents("toys", corpora=Corpora(folders))


def test_shuffling_can_be_undone_and_repeated():
    order = shuffled(20)
    assert sorted(order) == list(range(20)) and order != list(range(20))
    assert shuffled(20) == order
    lines = [f"line {number}" for number in order]
    assert in_order(lines, order) == [f"line {number}" for number in range(20)]


def test_in_shuffled_order_no_segment_keeps_its_place_or_predecessor():
    for segments in (2, *range(4, 40), 1000):
        order = shuffled(segments)
        assert sorted(order) == list(range(segments))
        assert all(place != number for place, number in enumerate(order))
        assert all(after != before + 1 for before, after in itertools.pairwise(order))
    assert [shuffled(segments) for segments in (0, 1, 3)] == [[], [0], [2, 1, 0]]
