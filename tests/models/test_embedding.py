"""The table of token vectors, in both directions."""

import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from models.embedding import TokenEmbedding
from models.loss import smoothed_cross_entropy

VOCABULARY, WIDTH = 50, 16


def make(**settings):
    embedding = TokenEmbedding(VOCABULARY, WIDTH, **settings)
    embedding.build()
    return embedding


def array(tensor):
    return ops.convert_to_numpy(tensor)


def test_reads_rows_times_the_root_of_the_width():
    embedding = make()
    tokens = np.array([[3, 0, 49], [3, 7, 7]])
    np.testing.assert_allclose(array(embedding(tokens)), 4 * array(embedding.table)[tokens], rtol=1e-6)


def test_starts_with_vectors_of_unit_size():
    embedding = TokenEmbedding(4000, 64)
    embedding.build()
    assert array(embedding.table).std() == pytest.approx(1 / 8, rel=0.02)
    assert array(embedding(np.arange(4000))).std() == pytest.approx(1, rel=0.02)


@pytest.mark.parametrize("rows", [1, 5, 17])
def test_the_likeliest_tokens_are_those_with_the_largest_logits(rows):
    layer = TokenEmbedding(30, 8, output_bias=True)
    layer.build(None)
    layer.bias.assign(np.linspace(-2, 2, 30))
    states = np.random.default_rng(rows).normal(size=(2, rows, 8)).astype("float32")
    found = array(layer.likeliest(states))
    assert found.shape == (2, rows)
    np.testing.assert_array_equal(found, array(layer.logits(states)).argmax(-1))


def test_logits_are_products_with_the_table():
    embedding = make()
    states = np.random.default_rng(0).normal(size=(2, 3, WIDTH)).astype("float32")
    logits = embedding.logits(states)
    assert logits.dtype == "float32"
    np.testing.assert_allclose(array(logits), states @ array(embedding.table).T, rtol=1e-4, atol=1e-5)


def test_vectors_of_another_width_go_through_one_projection_both_ways():
    embedding = make(vector_width=6)
    table, projection = array(embedding.table), array(embedding.projection)
    assert (table.shape, projection.shape) == ((VOCABULARY, 6), (6, WIDTH))
    tokens = np.array([4, 9])
    np.testing.assert_allclose(array(embedding(tokens)), 4 * table[tokens] @ projection, rtol=1e-4, atol=1e-5)
    states = np.random.default_rng(1).normal(size=(3, WIDTH)).astype("float32")
    np.testing.assert_allclose(array(embedding.logits(states)), states @ projection.T @ table.T, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(array(embedding.output_states(states)), states @ projection.T, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("vector_width", [None, 6])
def test_a_bias_is_added_to_the_logits_and_learned_by_the_loss(vector_width):
    embedding = make(vector_width=vector_width, output_bias=True)
    without = make(vector_width=vector_width)
    without.set_weights([weight for weight in embedding.get_weights() if weight.shape != (VOCABULARY,)])
    bias = np.random.default_rng(2).normal(size=VOCABULARY).astype("float32")
    embedding.bias.assign(bias)
    states = np.random.default_rng(3).normal(size=(7, WIDTH)).astype("float32")
    logits = array(embedding.logits(states))
    np.testing.assert_allclose(logits, array(without.logits(states)) + bias, rtol=1e-4, atol=1e-5)
    products = array(embedding.output_states(states)) @ array(embedding.output_vectors).T
    np.testing.assert_allclose(products, logits, rtol=1e-4, atol=1e-5)
    labels, weights = np.arange(7), np.ones(7, "float32")
    with tf.GradientTape() as tape:
        vectors = embedding.output_vectors
        loss, _ = smoothed_cross_entropy(embedding.output_states(states), vectors, labels, weights, 0.1)
    target = 0.9 * np.eye(VOCABULARY)[labels] + 0.1 / VOCABULARY
    expected = array(ops.softmax(logits)) - target
    gradient = tf.convert_to_tensor(tape.gradient(loss, embedding.bias.value)).numpy()
    np.testing.assert_allclose(gradient, expected.sum(axis=0), rtol=1e-4, atol=1e-5)


def test_a_frozen_table_leaves_the_projection_to_learn():
    embedding = make(vector_width=6, table_trainable=False)
    assert [weight.name for weight in embedding.trainable_weights] == ["projection"]
    assert [weight.name for weight in embedding.non_trainable_weights] == ["table"]
    assert [weight.name for weight in make().trainable_weights] == ["table"]


def test_a_tied_table_learns_from_both_ends():
    embedding = make()
    with tf.GradientTape() as tape:
        logits = embedding.logits(embedding(np.array([5])))
        loss = tf.reduce_sum(logits[:, 8])
    gradient = tf.convert_to_tensor(tape.gradient(loss, embedding.table.value)).numpy()
    table = array(embedding.table)
    expected = np.zeros_like(table)
    expected[5], expected[8] = 4 * table[8], 4 * table[5]
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-6)


def test_half_precision_reads_half_and_predicts_float32():
    embedding = make(dtype="mixed_bfloat16")
    assert embedding.table.dtype == "float32"
    states = embedding(np.array([[1, 2]]))
    assert states.dtype == "bfloat16"
    assert embedding.logits(states).dtype == "float32"
