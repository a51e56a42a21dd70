"""Passages whose context matters: how documents are cut, what is chosen, and that training reads what was written."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.scoring.passages import Passage, cut_passages, cxmi, gains, richest
from app.terminal import progress_console
from app.training.text import training_text
from data.corpora.folder import FolderCorpus, write_folder
from data.errors import UserError
from data.pairs import Pair, consecutive
from data.parallel import Workers
from tests.app.scoring.test_document_scores_context import Scorer
from tests.app.toy_training import toy_preset, write_corpus


@given(sizes=st.lists(st.integers(1, 12), max_size=5), most=st.integers(2, 7))
def test_documents_are_cut_into_passages_of_about_one_length(sizes, most):
    pairs = [Pair(f"s{doc}.{n}", f"t{doc}.{n}", f"d{doc}") for doc, size in enumerate(sizes) for n in range(size)]
    found = cut_passages(pairs, most)
    flat = [pair for own in found for pair in own]
    assert list(consecutive(flat, str)) == flat
    assert all(2 <= len(own) <= most for own in found)
    alone = {f"d{doc}" for doc, size in enumerate(sizes) if size == 1}
    kept = [pair for pair in pairs if pair.doc not in alone]
    # Where 3 segments are cut into 2 passages, the one of 1 segment has no context.
    missing = len(kept) - len(flat)
    assert missing == 0 or most == 2
    rest = iter(kept)
    assert all((pair.source, pair.target) in ((other.source, other.target) for other in rest) for pair in flat)
    for doc, own in itertools.groupby(found, key=lambda own: own[0].doc.partition("#")[0]):
        lengths = [len(passage) for passage in own]
        assert max(lengths) - min(lengths) <= 1, doc


def test_segments_without_a_document_have_no_context():
    assert cut_passages([Pair("a", "b"), Pair("c", "d")], 4) == []
    assert cut_passages([Pair("a", "b", "x"), Pair("c", "d", "y")], 4) == []


def test_the_gain_is_what_the_context_adds():
    """A noun makes the pronoun after it 3 nats likelier; anything else loses 0.5 by its context."""

    def judge(source, target, before):
        if not before:
            return -5.0
        return -2.0 if source == "it" and before[-1][0] == "noun" else -5.5

    texts = {"a": ["noun", "it", "it"], "b": ["it", "noun"], "c": ["noun", "it"]}
    passages = cut_passages([Pair(text, f"{text} x", doc) for doc, own in texts.items() for text in own], 8)
    shares = []
    found = gains(Scorer(judge), passages, shares.append)
    assert [passage.gain for passage in found] == pytest.approx([2.5, -0.5, 3.0])
    assert [passage.tokens for passage in found] == [9, 6, 6]
    assert [passage.pairs for passage in found] == passages
    assert cxmi(found) == pytest.approx(5.0 / 21)
    assert shares == sorted(shares) and shares[-1] == 1.0


def passage(name, segments, gain, tokens=10):
    return Passage([Pair("s", "t", name)] * segments, gain, tokens)


@pytest.mark.parametrize(
    ("share", "expected"), [(0.01, ["d"]), (0.2, ["d"]), (0.3, ["b", "d"]), (0.99, ["a", "b", "d"])]
)
def test_the_passages_that_gain_most_for_a_token_are_chosen(share, expected):
    found = [passage("a", 4, 2.0), passage("b", 2, 3.0), passage("c", 2, -1.0), passage("d", 2, 2.5, tokens=5)]
    assert [own.pairs[0].doc for own in richest(found, share)] == expected


def test_training_draws_what_was_written_more_often_and_nothing_twice(tmp_path):
    write_corpus(tmp_path / "toy", train=60, validation=4, document=12)
    every = list(FolderCorpus(tmp_path / "toy").pairs("train"))
    found = [Passage(own, float(number), 10) for number, own in enumerate(cut_passages(every, 6))]
    chosen = richest(found, 0.3)
    pairs = [pair for own in chosen for pair in own.pairs]
    write_folder(tmp_path / "context", pairs, "en", "de", {"share": 0.3})
    assert json.loads((tmp_path / "context" / "made.json").read_text()) == {"share": 0.3}
    written = FolderCorpus(tmp_path / "context")
    assert list(written.pairs("train")) == pairs
    with pytest.raises(UserError, match="exists already"):
        write_folder(tmp_path / "context", pairs, "en", "de", {})
    preset = toy_preset(
        tmp_path, f'corpora=["{tmp_path / "context"}:2", "{tmp_path / "toy"}"]', "validation=[]", "deduplicate=true"
    )
    with Workers(1) as workers:
        first, rest = training_text(preset, (), lambda line: None, progress_console(), workers)
    assert first.weight == 2.0
    assert list(first.pairs()) == list(written.pairs("train"))
    texts = [{pair[:2] for pair in part.pairs()} for part in (first, rest)]
    assert texts[0].isdisjoint(texts[1])
    assert texts[0] | texts[1] == {pair[:2] for pair in every}
