import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.retrieval.matches import Match, best_matches
from app.retrieval.store import build_store
from tests.app.retrieval.toy_memory import toy_entries

STORED = [
    "Open the file.",
    "Save \u27e61\u27e7 files",
    "Save \u27e61\u27e7 files now",
    "open the file.",
    "Open  the file .",
    "Save \u27e61\u27e7 files",
    "Close window",
]
CANDIDATES = [(number, source, f"target {number}") for number, source in enumerate(STORED)]


def similarities(source: str, least: float = 0.0) -> dict[int, float]:
    return {match.number: match.similarity for match in best_matches(source, CANDIDATES, least)}


def test_similarity_by_hand():
    # Four signs: open, the, file, and the full stop.
    found = similarities("Open the file.")
    assert found[0] == 1
    assert found[3] == 0.75
    assert found[4] == 0.99
    assert found[6] == 0
    assert similarities("Open file.")[0] == 0.75  # one of 4 is missing
    assert similarities("Open the big red file.")[0] == pytest.approx(4 / 6)  # two of 6 are inserted


def test_best_first_and_none_below_the_least():
    found = best_matches("Save \u27e61\u27e7 files", CANDIDATES, 0.75)
    assert found == [
        Match(1, 1.0, STORED[1], "target 1"),
        Match(5, 1.0, STORED[5], "target 5"),
        Match(2, 0.75, STORED[2], "target 2"),
    ]
    assert [match.number for match in best_matches("Save \u27e61\u27e7 files", CANDIDATES, 0.76)] == [1, 5]
    # A text with another number of spans is another text.
    assert similarities("Save \u27e61\u27e7 files \u27e62\u27e7")[1] == 0.75


def test_numbers_that_were_set_aside_do_not_count(tmp_path):
    """From the text to the match, with the candidates of BM25."""
    from data.forms import TextForm

    form = TextForm(copy=("numbers",))
    pairs = [form.pair("Page 3 of 12", "Seite 3 von 12"), form.pair("Page 3", "Seite 3")]
    store = build_store(tmp_path / "memory", pairs, toy_entries, {})
    source = form.source("Page 7 of 99")
    (match,) = best_matches(source.text, store.pairs(store.similar(source.text, 16)), 0.9)
    assert (match.number, match.similarity) == (0, 1)
    assert source.translation(match.target) == "Seite 7 von 99"


def edits(one: list[str], other: list[str]) -> int:
    """The Levenshtein distance, from its definition."""
    if not one or not other:
        return len(one) + len(other)
    return min(edits(one[1:], other) + 1, edits(one, other[1:]) + 1, edits(one[1:], other[1:]) + (one[0] != other[0]))


SENTENCES = st.lists(st.sampled_from(["a", "b", "c", "\u27e61\u27e7", "."]), max_size=5)


@given(SENTENCES, SENTENCES, st.sampled_from([0, 0.25, 0.5, 0.6, 0.75, 0.8, 1]))
def test_similarity_by_the_formula(one, other, least):
    found = best_matches(" ".join(one), [(7, " ".join(other), "")], least)
    expected = 1 - edits(one, other) / max(len(one), len(other), 1)
    if expected >= least:
        assert found == [Match(7, pytest.approx(expected), " ".join(other), "")]
    else:
        assert not found
