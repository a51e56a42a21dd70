"""Attention against loops, against Keras' own layer, and under masks written by hand."""

import math

import keras
import numpy as np
import pytest
from keras import ops

from models.attention import CrossAttention, SelfAttention
from models.masks import look_ahead_mask
from tests.models.copied_weights import attention_weights, copy_to_keras_attention, randomise

WIDTH, HEADS = 12, 3


def make(kind=SelfAttention, **settings):
    attention = kind(WIDTH, HEADS, **settings)
    attention.build((None, None, WIDTH))
    return randomise(attention)


def draw(*shape, seed=1):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def by_loops(attention, x, other, mask):
    """The paper's equation 1 and section 3.2.2, one head and one position at a time, in float64."""
    weights = {use: (kernel.astype("float64"), bias) for use, (kernel, bias) in attention_weights(attention).items()}

    def project(use, x):
        return x @ weights[use][0] + weights[use][1]

    size = WIDTH // HEADS
    mixed = np.zeros((len(x), WIDTH))
    all_weights = np.zeros((HEADS, len(x), len(other)))
    queries, keys, values = project("query", x), project("key", other), project("value", other)
    for h in range(HEADS):
        columns = slice(h * size, (h + 1) * size)
        for t in range(len(x)):
            scores = [queries[t, columns] @ keys[s, columns] / math.sqrt(size) for s in range(len(other))]
            powers = np.array([math.exp(score) if mask[t, s] else 0.0 for s, score in enumerate(scores)])
            all_weights[h, t] = powers / powers.sum()
            mixed[t, columns] = all_weights[h, t] @ values[:, columns]
    return project("output", mixed), all_weights


@pytest.mark.parametrize("on_itself", [True, False])
def test_equals_the_paper_written_with_loops(on_itself):
    attention = make(SelfAttention if on_itself else CrossAttention)
    x = draw(1, 4, WIDTH)
    other = x if on_itself else draw(1, 6, WIDTH, seed=2)
    mask = np.random.default_rng(3).random((4, other.shape[1])) < 0.6
    mask[:, 0] = True
    given = () if on_itself else (attention.keys_values(other),)
    output, weights = attention(x, *given, attention_mask=mask[None], return_weights=True)
    expected, expected_weights = by_loops(attention, x[0], other[0], mask)
    np.testing.assert_allclose(ops.convert_to_numpy(output)[0], expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(ops.convert_to_numpy(weights)[0], expected_weights, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("on_itself", [True, False])
def test_equals_keras_attention_with_copied_weights(on_itself, masked):
    attention = make(SelfAttention if on_itself else CrossAttention)
    theirs = keras.layers.MultiHeadAttention(HEADS, WIDTH // HEADS)
    x, other = draw(2, 5, WIDTH), draw(2, 5 if on_itself else 7, WIDTH, seed=2)
    other = x if on_itself else other
    theirs.build(x.shape, other.shape)
    copy_to_keras_attention(attention, theirs)
    mask = np.random.default_rng(4).random((2, 5, other.shape[1])) < 0.7 if masked else None
    if masked:
        mask[:, :, 0] = True
    expected, expected_weights = theirs(x, other, attention_mask=mask, return_attention_scores=True)
    given = () if on_itself else (attention.keys_values(other),)
    output, weights = attention(x, *given, attention_mask=mask, return_weights=True)
    for ours, reference in ((output, expected), (weights, expected_weights)):
        np.testing.assert_allclose(ops.convert_to_numpy(ours), ops.convert_to_numpy(reference), rtol=1e-5, atol=1e-5)


def test_weights_are_shares_of_what_may_be_seen():
    x = draw(2, 5, WIDTH)
    output, weights = make()(x, attention_mask=look_ahead_mask(5)[None], return_weights=True)
    weights = ops.convert_to_numpy(weights)
    assert weights.shape == (2, HEADS, 5, 5)
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-6)
    future = ~np.tri(5, dtype=bool)
    assert (weights[:, :, future] == 0).all()
    assert (weights[:, :, ~future] > 0).all()
    np.testing.assert_allclose(weights[:, :, 0, 0], 1)


def test_weights_are_those_before_dropout():
    x = draw(1, 5, WIDTH)
    attention = make(dropout=0.5)
    still = attention(x, return_weights=True)
    moving = attention(x, return_weights=True, training=True)
    np.testing.assert_allclose(ops.convert_to_numpy(moving[1]), ops.convert_to_numpy(still[1]), atol=1e-6)
    assert np.abs(ops.convert_to_numpy(moving[0]) - ops.convert_to_numpy(still[0])).max() > 1e-2


def test_nothing_to_see_gives_the_mean_of_the_values():
    attention = make()
    x = draw(1, 4, WIDTH)
    output, weights = attention(x, attention_mask=np.zeros((1, 4, 4), bool), return_weights=True)
    np.testing.assert_allclose(ops.convert_to_numpy(weights), 0.25)
    parts = attention_weights(attention)
    values = (x[0] @ parts["value"][0] + parts["value"][1]).mean(0)
    expected = values @ parts["output"][0] + parts["output"][1]
    np.testing.assert_allclose(ops.convert_to_numpy(output)[0], np.tile(expected, (4, 1)), rtol=1e-4, atol=1e-5)


def test_order_matters_only_to_rotary_attention():
    x = draw(1, 5, WIDTH)
    order = [3, 1, 4, 0, 2]
    positions = np.arange(5)[None]
    for rotary in (False, True):
        attention = make(rotary=rotary)
        plain = ops.convert_to_numpy(attention(x, positions=positions))
        shuffled = ops.convert_to_numpy(attention(x[:, order], positions=positions))
        assert np.allclose(shuffled, plain[:, order], atol=1e-5) != rotary


def test_rotary_attention_does_not_see_where_a_sequence_begins():
    attention, x = make(rotary=True), draw(1, 5, WIDTH)
    first = attention(x, positions=np.arange(5)[None])
    later = attention(x, positions=np.arange(5)[None] + 300)
    np.testing.assert_allclose(ops.convert_to_numpy(later), ops.convert_to_numpy(first), atol=2e-4)


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match=r"width \(10\) must be a multiple of heads \(4\)"):
        SelfAttention(10, 4)
