"""The loss against Keras' own, and its hand-made gradient against automatic differentiation of the plain formula."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from models.loss import BLOCKS, smoothed_cross_entropy

ROWS, WIDTH, VOCABULARY = 7, 6, 11


def draw(seed=0, scale=1.0):
    random = np.random.default_rng(seed)
    states = tf.constant(scale * random.normal(size=(ROWS, WIDTH)), "float32")
    table = tf.constant(random.normal(size=(VOCABULARY, WIDTH)), "float32")
    return states, table, random.integers(0, VOCABULARY, ROWS).astype("int32")


def plain(states, table, labels, smoothing):
    """The formula of the docstring, with a full softmax and TensorFlow's own gradients."""
    shares = tf.nn.log_softmax(states @ tf.transpose(table))
    true = tf.reduce_sum(shares * tf.one_hot(labels, VOCABULARY), -1)
    return -(1 - smoothing) * true - smoothing / VOCABULARY * tf.reduce_sum(shares, -1)


def by_row(states, table, labels, smoothing):
    """The smoothed loss and the likelihood of each row alone: what it counts for is 1 there and 0 elsewhere."""
    found = [
        smoothed_cross_entropy(states, table, labels, row, smoothing) for row in np.eye(len(labels), dtype="float32")
    ]
    return [np.array([float(loss) for loss in losses]) for losses in zip(*found, strict=True)]


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.4])
def test_equals_keras_categorical_cross_entropy(smoothing):
    states, table, labels = draw()
    smoothed, likelihood = by_row(states, table, labels, smoothing)
    probabilities = tf.nn.softmax(states @ tf.transpose(table))
    wanted = tf.one_hot(labels, VOCABULARY)
    theirs = keras.losses.CategoricalCrossentropy(label_smoothing=smoothing, reduction=None)(wanted, probabilities)
    np.testing.assert_allclose(smoothed, theirs, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(smoothed, plain(states, table, labels, smoothing), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(likelihood, plain(states, table, labels, 0.0), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_gradient_equals_automatic_differentiation(smoothing, compiled):
    states, table, labels = draw(1)
    weights = tf.constant(np.random.default_rng(2).normal(size=ROWS), "float32")

    def gradients(loss):
        with tf.GradientTape() as tape:
            tape.watch((states, table))
            total = 3 * loss()
        return tape.gradient(total, (states, table))

    expected = gradients(lambda: tf.reduce_sum(plain(states, table, labels, smoothing) * weights))
    function = tf.function(gradients) if compiled else gradients
    result = function(lambda: smoothed_cross_entropy(states, table, labels, weights, smoothing)[0])
    for ours, theirs in zip(result, expected, strict=True):
        assert np.abs(theirs).max() > 0.1
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_gradient_agrees_with_small_steps():
    states, table, labels = draw(3)
    with tf.GradientTape() as tape:
        tape.watch(states)
        total = smoothed_cross_entropy(states, table, labels, np.ones(ROWS, "float32"), 0.1)[0]
    gradient = tape.gradient(total, states).numpy()
    direction = np.random.default_rng(4).normal(size=states.shape)
    step = 1e-2
    ahead, behind = (
        np.sum(by_row(states + sign * step * direction, table, labels, 0.1)[0], dtype="float64") for sign in (1, -1)
    )
    assert (ahead - behind) / (2 * step) == pytest.approx(np.sum(gradient * direction), rel=2e-3)


def test_likelihood_has_no_gradient():
    states, table, labels = draw()
    with tf.GradientTape() as tape:
        tape.watch(states)
        likelihood = smoothed_cross_entropy(states, table, labels, np.ones(ROWS, "float32"), 0.1)[1]
    gradient = tape.gradient(likelihood, states)
    assert gradient is None or np.all(gradient.numpy() == 0)


def test_smoothing_is_the_share_of_the_uniform_distribution():
    """Two tokens, log-odds of log 3: p = (3/4, 1/4)."""
    states = np.array([[np.log(3.0)]], "float32")
    table = np.array([[1.0], [0.0]], "float32")
    smoothed, likelihood = smoothed_cross_entropy(states, table, np.array([0]), np.ones(1, "float32"), 0.2)
    assert float(likelihood) == pytest.approx(-np.log(0.75), rel=1e-5)
    assert float(smoothed) == pytest.approx(-0.9 * np.log(0.75) - 0.1 * np.log(0.25), rel=1e-5)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_states_give_a_float32_loss(dtype):
    states, table, labels = draw(5)
    half = tf.cast(states, dtype)
    with tf.GradientTape() as tape:
        tape.watch((half, table))
        smoothed, likelihood = smoothed_cross_entropy(half, table, labels, np.ones(ROWS, "float32"), 0.1)
    assert smoothed.dtype == likelihood.dtype == tf.float32
    np.testing.assert_allclose(by_row(half, table, labels, 0.1)[0], plain(states, table, labels, 0.1), 0.05, 0.05)
    gradients = tape.gradient(smoothed, (half, table))
    assert [gradient.dtype for gradient in gradients] == [half.dtype, tf.float32]
    assert all(np.isfinite(ops.convert_to_numpy(ops.cast(gradient, "float32"))).all() for gradient in gradients)


def test_finite_where_a_softmax_would_round_to_zero():
    states, table, labels = draw(6, scale=300)
    smoothed, likelihood = by_row(states, table, labels, 0.1)
    assert np.max(likelihood) > 200
    assert np.isfinite(smoothed).all()
    np.testing.assert_allclose(smoothed, plain(states, table, labels, 0.1), rtol=1e-5)


def test_unknown_number_of_rows():
    """More rows than blocks, fewer, as many, and none: the last block is filled up with rows that do not count."""

    @tf.function(input_signature=[tf.TensorSpec((None, WIDTH)), tf.TensorSpec((None,), "int32")])
    def gradients(states, labels):
        with tf.GradientTape() as tape:
            tape.watch((states, table))
            loss = smoothed_cross_entropy(states, table, labels, tf.ones_like(labels, "float32"), 0.1)[0]
        return loss, *tape.gradient(loss, (states, table))

    many = [draw(seed) for seed in range(3)]
    states, labels = (tf.concat([drawn[i] for drawn in many], 0) for i in (0, 2))
    table = many[0][1]
    for rows in (0, 1, 5, BLOCKS, 2 * BLOCKS + 1, 3 * ROWS):
        with tf.GradientTape() as tape:
            some = states[:rows]
            tape.watch((some, table))
            expected = tf.reduce_sum(plain(some, table, labels[:rows], 0.1))
        found = gradients(states[:rows], labels[:rows])
        for ours, theirs in zip(found, (expected, *tape.gradient(expected, (some, table))), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_rows_that_do_not_count_change_nothing():
    states, table, labels = draw(8)
    weights = np.array([1, 0, 2, 0, 1, 1, 0], "float32")
    loss, likelihood = smoothed_cross_entropy(states, table, labels, weights, 0.1)
    some = weights > 0
    kept = smoothed_cross_entropy(states[some], table, labels[some], weights[some], 0.1)
    np.testing.assert_allclose([loss, likelihood], kept, rtol=1e-5)


def test_logits_are_never_kept():
    """Of a batch the memory that is in use at the same time is less than the logits' in float32."""
    rows, size = 4096, 8000
    states = tf.zeros((rows, WIDTH), "bfloat16")
    labels, weights = np.ones(rows, "int32"), np.ones(rows, "float32")
    graph = tf.function(lambda states, table: smoothed_cross_entropy(states, table, labels, weights, 0.1)[0])
    concrete = graph.get_concrete_function(states, tf.zeros((size, WIDTH)))
    largest = max(
        (
            np.prod(output.shape) * output.dtype.size
            for op in concrete.graph.get_operations()
            for output in op.outputs
            if output.shape.is_fully_defined()
        ),
        default=0,
    )
    assert largest <= rows * size * 4 / BLOCKS
