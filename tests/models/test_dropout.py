"""What dropout promises: a rate, a mean, chance that can be repeated."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from models.dropout import ByteDropout


def dropped(layer, *shape, training=True, dtype="float32"):
    return ops.convert_to_numpy(ops.cast(layer(np.ones(shape, dtype), training=training), "float32"))


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.5, 0.9])
def test_rate_and_mean(rate):
    result = dropped(ByteDropout(rate, seed=1), 400, 500)
    assert (result == 0).mean() == pytest.approx(rate, abs=1 / 512 + 0.004)
    assert result.mean() == pytest.approx(1, abs=0.02)
    kept = result[result > 0]
    assert kept.max() == kept.min()
    # The scale follows the rate that was really used, a multiple of 1/256, so the mean is exact in expectation.
    assert kept[0] * (1 - round(rate * 256) / 256) == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize("shape", [(1,), (3,), (2, 3, 5), (7, 1, 3, 3), (0, 4)])
def test_any_shape(shape):
    result = dropped(ByteDropout(0.5, seed=2), *shape)
    assert result.shape == shape
    assert set(np.unique(result)) <= {0.0, 2.0}


def test_elements_are_dropped_independently():
    """Four elements share one random number; neighbours and columns must not fall together for that."""
    zero = dropped(ByteDropout(0.5, seed=3), 200, 1024) == 0
    assert (zero.mean(axis=0) > 0.3).all() and (zero.mean(axis=0) < 0.7).all()
    assert (zero.mean(axis=1) > 0.4).all() and (zero.mean(axis=1) < 0.6).all()
    for distance in (1, 2, 3, 4, 8, 256):
        both = (zero[:, :-distance] & zero[:, distance:]).mean()
        assert both == pytest.approx(0.25, abs=0.01), f"elements {distance} apart"


def test_nothing_happens_in_inference_or_at_rate_0():
    x = np.random.default_rng(0).normal(size=(4, 5)).astype("float32")
    for layer, training in ((ByteDropout(0.5), False), (ByteDropout(0.5), None), (ByteDropout(0.0), True)):
        np.testing.assert_array_equal(ops.convert_to_numpy(layer(x, training=training)), x)


def test_each_call_differs_and_a_seed_repeats_them():
    first, second = ByteDropout(0.5, seed=4), ByteDropout(0.5, seed=4)
    calls = [dropped(first, 6, 50) for _ in range(3)]
    assert not np.array_equal(calls[0], calls[1]) and not np.array_equal(calls[1], calls[2])
    for call in calls:
        np.testing.assert_array_equal(dropped(second, 6, 50), call)
    assert not np.array_equal(dropped(ByteDropout(0.5, seed=5), 6, 50), calls[0])


def test_layers_without_a_seed_differ_unless_the_program_is_seeded():
    def two_layers():
        return [dropped(ByteDropout(0.5), 6, 50) for _ in range(2)]

    keras.utils.set_random_seed(1)
    first = two_layers()
    assert not np.array_equal(*first)
    keras.utils.set_random_seed(1)
    np.testing.assert_array_equal(two_layers(), first)


def test_random_state_is_a_variable_and_can_be_put_back():
    layer = ByteDropout(0.5, seed=6)
    dropped(layer, 4, 30)
    (variable,) = layer.variables
    saved = ops.convert_to_numpy(variable).copy()
    expected = [dropped(layer, 4, 30) for _ in range(2)]
    variable.assign(saved)
    np.testing.assert_array_equal([dropped(layer, 4, 30) for _ in range(2)], expected)


def test_compiled_calls_differ_too():
    layer = ByteDropout(0.5, seed=7)

    @tf.function(input_signature=[tf.TensorSpec((None, None))])
    def compiled(x):
        return layer(x, training=True)

    first, second = compiled(tf.ones((5, 40))).numpy(), compiled(tf.ones((5, 40))).numpy()
    assert not np.array_equal(first, second)
    again = ByteDropout(0.5, seed=7)
    np.testing.assert_array_equal(dropped(again, 5, 40), first)
    np.testing.assert_array_equal(dropped(again, 5, 40), second)


def test_what_was_dropped_gets_no_gradient():
    layer = ByteDropout(0.3, seed=8)
    x = tf.ones((5, 40))
    with tf.GradientTape() as tape:
        tape.watch(x)
        result = layer(x, training=True)
        total = tf.reduce_sum(result)
    np.testing.assert_allclose(tape.gradient(total, x), result)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_keeps_half_precision(dtype):
    result = ByteDropout(0.5, seed=9, dtype=dtype)(ops.ones((4, 9), dtype), training=True)
    assert keras.backend.standardize_dtype(result.dtype) == dtype


@pytest.mark.parametrize("rate", [-0.1, 1, 1.5])
def test_impossible_rates_are_refused(rate):
    with pytest.raises(ValueError, match=f"at least 0 and below 1, got {rate}"):
        ByteDropout(rate)
