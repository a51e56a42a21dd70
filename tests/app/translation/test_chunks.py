"""The search in chunks finds what the search in one piece finds, whatever leaves the batch in between."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from app.presets.schema import SearchPreset
from app.translation.chunks import STEPS, ChunkedSearch, search_function
from app.translation.compiling import compiled
from app.translation.keras_decoder import KerasDecoder
from data.tokenizer import EOS, PAD
from models.search import refuse_nan
from models.transformer import Transformer
from tests.app.decoding import decode

VOCABULARY = 60
LENGTHS = (3, 9, 1, 14, 6, 2)
LIMITS = np.array([5, 40, 2, 36, 17, 1], "int32")


def make(**settings):
    keras.utils.set_random_seed(3)
    model = Transformer(VOCABULARY, 1, 2, width=16, hidden=32, heads=2, **settings)
    model.build()
    random = np.random.default_rng(8)
    for variable in model.trainable_variables:
        variable.assign_add(0.4 * random.standard_normal(variable.shape).astype("float32"))
    return model


def sources():
    random = np.random.default_rng(1)
    source = np.full((len(LENGTHS), max(LENGTHS) + 1), PAD, "int32")
    for row, length in zip(source, LENGTHS, strict=True):
        row[: length + 1] = [*random.integers(4, VOCABULARY, length), EOS]
    return source


def assert_same(found, expected):
    if expected[1].ndim == 1:
        expected = [values[:, None] for values in expected]
    np.testing.assert_array_equal(found.lengths, expected[2])
    np.testing.assert_allclose(found.scores, expected[1], atol=1e-4)
    common = min(found.tokens.shape[-1], expected[0].shape[-1])
    np.testing.assert_array_equal(found.tokens[..., :common], expected[0][..., :common])
    assert (found.tokens[..., common:] == PAD).all() and (expected[0][..., common:] == PAD).all()


def owed(source, copied=range(0)):
    """Which of the copied tokens stand in each row."""
    return np.array([np.isin(copied, row) for row in source], bool).reshape(len(source), len(copied))


@pytest.mark.parametrize(
    ("settings", "beam", "count", "copied"),
    [
        ({"norm": "pre"}, 4, 1, range(0)),
        ({"norm": "pre"}, 4, 2, range(4, 12)),
        ({"norm": "pre"}, 1, 1, range(4, 12)),
        ({"positions": "rotary"}, 3, 3, range(0)),
        ({"positions": "learned", "max_positions": 44, "tie": "none"}, 2, 1, range(0)),
    ],
    ids=str,
)
def test_chunks_find_what_one_piece_finds(settings, beam, count, copied):
    model, search = make(**settings), SearchPreset(beam=beam)
    source, limits = sources(), LIMITS
    assert limits.max() > 4 * STEPS
    kinds = ("int32", 2), ("int32", 1), ("bool", 2), ("int32", 0), ("uint32", 1), {}
    whole = compiled(search_function(model, search, count, copied=copied), model, *kinds)
    expected = whole(source, limits, owed(source, copied), int(limits.max()), np.zeros(2, "uint32"), {})
    found = ChunkedSearch(model, search, count, copied=copied)(source, limits, owed(source, copied))
    assert_same(found, expected)
    for row, wanted, limit in zip(found.tokens, owed(source, copied), limits, strict=True):
        for tokens in row if limit > wanted.sum() else ():
            assert sorted(t for t in tokens if t in copied) == np.array(copied)[wanted].tolist()
    assert (found.lengths[:, 0] <= limits).all() and found.lengths.max() > 2 * STEPS


def test_a_sentence_is_decoded_the_same_in_any_company():
    search = ChunkedSearch(make(), SearchPreset(beam=4), 2)
    together = search(sources(), LIMITS, owed(sources()))
    for row in range(len(LENGTHS)):
        alone = search(sources()[row : row + 1], LIMITS[row : row + 1], owed(sources()[:1]))
        np.testing.assert_allclose(alone.scores[0], together.scores[row], atol=1e-4)
        longest = alone.tokens.shape[-1]
        np.testing.assert_array_equal(alone.tokens[0], together.tokens[row][:, :longest])


def test_fewer_positions_than_steps_in_a_chunk():
    model = make(positions="learned", max_positions=7)
    limits = np.minimum(LIMITS, 7)
    found = ChunkedSearch(model, SearchPreset(beam=2))(sources()[:, :7], limits, owed(sources()))
    assert (found.lengths[:, 0] <= limits).all()


def test_broken_weights_are_reported_for_each_sentence():
    model = make()
    model.decoder.stack[0].feed_forward.outer.bias.assign(np.full(16, np.nan, "float32"))
    with pytest.raises(ValueError, match=r"input 0, 1, 2, 3, 4, 5\."):
        refuse_nan(ChunkedSearch(model, SearchPreset(beam=2))(sources(), LIMITS, owed(sources())))


def test_batches_side_by_side_keep_their_order_and_are_counted():
    model = make()
    lines = [list(row[:length]) for row, length in zip(sources(), LENGTHS, strict=True)] * 5
    decoding = KerasDecoder(model, SearchPreset(beam=2, max_ratio=1.0, max_extra=2, batch_tokens=48))
    seen = []
    found = decode(decoding, lines, 2, seen.append)
    assert len(seen) > 3 and sorted(row for rows in seen for row in rows) == list(range(len(lines)))
    one = decode(KerasDecoder(model, SearchPreset(beam=2, max_ratio=1.0, max_extra=2, batch_tokens=10_000)), lines, 2)
    assert [[d.ids for d in line] for line in found] == [[d.ids for d in line] for line in one]
    assert decoding.output_tokens == sum(len(line[0].ids) + 1 for line in found)


def test_in_bfloat16_no_input_is_ever_alone_in_a_batch():
    """Alone it is computed differently from among several, so that a line would depend on its batch."""
    keras.utils.set_random_seed(1)
    model = Transformer(300, 2, 2, 128, 256, 4, dtype="bfloat16")
    model.build()
    draw = np.random.default_rng(1)
    for weight in model.trainable_variables:
        noise = 0.3 * draw.standard_normal(weight.shape) / weight.shape[-1] ** 0.5
        weight.assign(weight + noise * (len(weight.shape) > 1))
    rows, step = [], model.step

    def watched(tokens, state):
        tf.py_function(lambda tokens: rows.append(len(tokens)), [tokens], [])
        return step(tokens, state)

    model.step = watched
    sources = [draw.integers(4, 300, draw.integers(2, 20)).tolist() for _ in range(40)]
    settings = {"beam": 4, "max_ratio": 1.0, "max_extra": 10}
    small, large = (decode(KerasDecoder(model, SearchPreset(**settings, batch_tokens=n)), sources) for n in (16, 4096))
    assert rows and min(rows) >= 2 * 4
    same = [mine[0].ids == other[0].ids for mine, other in zip(small, large, strict=True)]
    # Other processors may add up in another order; docs/results.md promises no more.
    assert sum(same) >= 38
