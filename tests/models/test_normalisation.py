"""Layer normalisation against Keras' own layer, forwards and backwards."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.normalisation import EPSILON, LayerNorm
from tests.models.copied_weights import randomise

WIDTH = 6


def layers():
    ours, theirs = LayerNorm(), keras.layers.LayerNormalization(epsilon=EPSILON)
    for layer in (ours, theirs):
        layer.build((None, None, WIDTH))
    randomise(ours)
    theirs.set_weights(ours.get_weights())
    return ours, theirs


@pytest.mark.parametrize("shape", [(4, WIDTH), (2, 3, WIDTH), (0, 3, WIDTH)])
def test_equals_keras_layer_and_its_gradients(shape):
    x = tf.constant(3 + 2 * np.random.default_rng(0).normal(size=shape), "float32")
    upstream = tf.constant(np.random.default_rng(1).normal(size=shape), "float32")
    found = []
    for layer in layers():
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x)
            total = tf.reduce_sum(y * upstream)
        found.append([y, *tape.gradient(total, [x, layer.gamma.value, layer.beta.value])])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16", "bfloat16"])
def test_statistics_are_computed_in_float32(dtype):
    """Around 200, bfloat16 has steps of 1: a mean or a variance in it would be far off."""
    layer = LayerNorm(dtype=dtype)
    layer.build((None, WIDTH))
    x = np.array([[200, 201, 202, 203, 204, 206]], "float32")
    expected = (x - x.mean()) / np.sqrt(x.var() + EPSILON)
    y = layer(tf.cast(x, layer.compute_dtype))
    assert y.dtype == layer.compute_dtype
    np.testing.assert_allclose(tf.cast(y, "float32"), expected, rtol=0.01, atol=0.01)


def test_equal_numbers_give_no_infinity():
    layer = LayerNorm()
    layer.build((None, WIDTH))
    with tf.GradientTape() as tape:
        x = tf.fill((1, WIDTH), 5.0)
        tape.watch(x)
        y = layer(x)
    assert np.isfinite(y).all() and np.isfinite(tape.gradient(y, x)).all()
