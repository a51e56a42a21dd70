"""Text before the tokenizer is written alike in training and translation."""

import numpy as np
import pytest

from data.encoding import Encoder
from data.forms import PLAIN, TextForm
from data.pairs import Pair
from data.shards import encode_pairs
from data.spans import KINDS, PIECES, piece
from data.tokenizer import Tokenizer

FORM = TextForm(copy=KINDS, capitals=True)
SYMBOLS = [piece(n) for n in range(1, PIECES + 1)]


@pytest.fixture(scope="module")
def tokenizer():
    lines = ["the dog sees the cat", "der hund sieht die katze", "%d files in /tmp", "OPEN THE DOOR"] * 4
    return Tokenizer.train(lines, 324, symbols=SYMBOLS)


def test_the_plain_form_leaves_text_alone():
    assert PLAIN.pair("%s SEES 5", "%s SIEHT 5") == ("%s SEES 5", "%s SIEHT 5")
    assert PLAIN.source(" %s  5 ").text == "%s 5"
    assert PLAIN.source("...").text == "..."


def test_a_pair_in_capitals_is_learnt_as_sentences():
    assert FORM.pair("OPEN %s NOW", "JETZT %s ÖFFNEN") == ("Open ⟦1⟧ now", "Jetzt ⟦1⟧ öffnen")
    assert FORM.pair("OPEN IT NOW", "Jetzt öffnen") == ("Open it now", "Jetzt öffnen")


def test_lower_case_comes_after_the_spans():
    source = TextForm(lowercase=True, copy=KINDS).source("Open {User} NOW")
    assert source.text == "open ⟦1⟧ now" and source.translation("⟦1⟧ öffnen") == "{User} öffnen"


def test_numbered_pieces_are_single_tokens_and_lossless(tokenizer):
    assert [tokenizer.piece(i) for i in tokenizer.span_ids] == SYMBOLS
    (ids,) = tokenizer.source.encode(["the ⟦1⟧⟦32⟧dog ⟦33⟧"])
    assert [i for i in ids if i in tokenizer.span_ids] == [tokenizer.span_ids[0], tokenizer.span_ids[31]]
    assert tokenizer.source.decode([ids]) == ["the ⟦1⟧⟦32⟧dog ⟦33⟧"]
    plain = Tokenizer.train(["the dog sees the cat"] * 4, 270)
    assert len(plain.span_ids) == 0


def test_shards_hold_pieces_and_know_the_form(tokenizer, tmp_path):
    pairs = [Pair("the %d dogs", "der hund %d")]
    shards = encode_pairs(pairs, tokenizer, tmp_path, "key", form=FORM)
    for tokens in (shards.source_tokens, shards.target_tokens):
        assert np.isin(tokens, list(tokenizer.span_ids)).sum() == 1
    other = encode_pairs(pairs, tokenizer, tmp_path, "key")
    assert other.folder != shards.folder
    assert not np.isin(other.source_tokens, list(tokenizer.span_ids)).any()


def test_an_encoder_in_another_process_does_the_same(tokenizer):
    import pickle

    encoder = Encoder(tokenizer, 0.0, 0, 100, FORM)
    encoder.form.finder.find("5")
    again = pickle.loads(pickle.dumps(encoder))
    one, other = (each(0, ["see %s"], ["siehe %s"]) for each in (encoder, again))
    np.testing.assert_array_equal(one["source"][0], other["source"][0])
