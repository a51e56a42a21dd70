"""The test that every layer and every memory must pass, as functions over a layer and a way to call it.

A test file describes what it has as `Subject`s and hands them to the checks:

    @pytest.mark.parametrize("subject", SUBJECTS, ids=str)
    def test_padding_is_never_seen(subject):
        check_padding(subject)

The checks know nothing about a layer but its `Subject`. They need the TensorFlow backend, for gradients and traces.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from keras import ops

WIDTH = 8
VOCABULARY = 30
FLOATS = ("float32", "bfloat16", "float16")
MIXED = ("mixed_bfloat16", "mixed_float16")


@dataclass(frozen=True)
class Subject:
    """A layer to check.

    name: shown in the test's id.
    make: `make(dropout=0.0, dtype="float32")` gives a built layer with weights drawn anew.
    call: `call(layer, x, real, training)` gives the output (B, T, ...) for x (B, T, WIDTH), or (B, T) with `tokens`;
        real (B, T) is False where x holds padding.
    causal: no output depends on a later input.
    aligned: output position t belongs to input position t; if not, every output position is a real one.
    mixes: a position's output depends on other positions as well.
    tokens: x holds token ids, and padding is the id 0.
    """

    name: str
    make: Callable
    call: Callable
    causal: bool = False
    aligned: bool = True
    mixes: bool = True
    tokens: bool = False

    def __str__(self):
        return self.name

    def draw(self, seed, batch=2, length=5):
        """Inputs of `length` positions that are never padding."""
        random = np.random.default_rng(seed)
        if self.tokens:
            return random.integers(4, VOCABULARY, (batch, length)).astype("int32")
        return random.normal(size=(batch, length, WIDTH)).astype("float32")

    def outputs(self, layer, x, real=None, training=False):
        """The outputs as float64 numbers, with the layer's random state as it was before the call."""
        real = np.ones(x.shape[:2], bool) if real is None else real
        return call_with_same_seed(layer, lambda: numbers(self.call(layer, x, real, training)))


def numbers(tensor):
    """A tensor of any float type as float64 numpy."""
    return np.asarray(ops.convert_to_numpy(ops.cast(tensor, "float32")), "float64")


def call_with_same_seed(layer, function):
    """Runs a function and then puts the layer's dropout generators back where they were."""
    weights = {id(weight) for weight in layer.weights}
    seeds = [variable for variable in layer.variables if id(variable) not in weights]
    before = [ops.copy(variable) for variable in seeds]
    result = function()
    for variable, value in zip(seeds, before, strict=True):
        variable.assign(value)
    return result


def equal(first, second, tolerance=1e-5):
    np.testing.assert_allclose(first, second, rtol=tolerance, atol=tolerance)


def check_saves(subject, folder):
    """A layer comes back from its configuration and its weights file; with all its variables its dropout does, too."""
    layer = subject.make(dropout=0.3)
    configuration = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    other = keras.saving.deserialize_keras_object(configuration)
    assert other.get_config() == layer.get_config()
    x = subject.draw(0)
    subject.outputs(other, x)  # Makes the weights of layers that build themselves on their first call.
    real = np.ones(x.shape[:2], bool)
    subject.call(layer, x, real, True)  # Moves the random state off its start.
    Holder(layer).save_weights(folder / "layer.weights.h5")
    Holder(other).load_weights(folder / "layer.weights.h5")
    equal(subject.outputs(other, x), subject.outputs(layer, x), 1e-7)
    # Keras leaves random states out of weights files. A checkpoint that is to be resumed holds `variables`.
    for mine, theirs in zip(other.variables, layer.variables, strict=True):
        mine.assign(theirs)
    equal(subject.outputs(other, x, training=True), subject.outputs(layer, x, training=True), 1e-7)


class Holder(keras.Model):
    """A model around one layer, since only models write weight files."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer
        self.built = True


def check_padding(subject):
    """What stands in the padding, and how much there is, never changes a real position's output."""
    layer = subject.make()
    x = subject.draw(1)
    real = np.arange(x.shape[1]) < np.array([[x.shape[1]], [x.shape[1] - 2]])
    if subject.tokens:
        x = np.where(real, x, 0)
    kept = real if subject.aligned else slice(None)
    for training in (False, True):
        expected = subject.outputs(layer, x, real, training)[kept]
        longer, more = _lengthen(subject, x, real)
        result = subject.outputs(layer, longer, more, training)
        equal((result[:, : x.shape[1]] if subject.aligned else result)[kept], expected)
    if not subject.tokens:
        _check_padding_content(subject, x, real, kept)
    if subject.mixes:
        _check_real_content(subject, layer, x, real, kept)


def _lengthen(subject, x, real, extra=3):
    filler = np.zeros_like(x[:, :extra]) if subject.tokens else 5 * subject.draw(2, len(x), extra)
    return np.concatenate([x, filler], axis=1), np.pad(real, ((0, 0), (0, extra)))


def _check_padding_content(subject, x, real, kept):
    """With the same number of positions dropout falls alike, so this holds while it is on, too."""
    layer = subject.make(dropout=0.3)
    changed = np.where(real[..., None], x, 100 * subject.draw(3, *x.shape[:2]))
    for training in (False, True):
        before, after = (subject.outputs(layer, values, real, training)[kept] for values in (x, changed))
        equal(after, before)
    gradient = _gradient(subject, subject.make(), x, real, real if subject.aligned else np.ones_like(real))
    assert np.all(gradient[~real] == 0), "padding gets a gradient"
    assert np.any(gradient[real] != 0), "real positions get no gradient"


def _check_real_content(subject, layer, x, real, kept):
    """Guards the check above: real positions do matter to the others."""
    changed = x.copy()
    changed[:, 0] = subject.draw(4)[:, 0]
    before, after = (subject.outputs(layer, values, real)[kept] for values in (x, changed))
    assert np.abs(before - after).max() > 1e-3


def check_no_future(subject, dropout, training):
    """No output depends on a later input: by changing the later inputs, and by gradients."""
    assert subject.causal
    layer = subject.make(dropout=dropout)
    x, other = subject.draw(5), subject.draw(6)
    before = subject.outputs(layer, x, training=training)
    for t in range(1, x.shape[1]):
        changed = np.concatenate([x[:, :t], other[:, t:]], axis=1)
        after = subject.outputs(layer, changed, training=training)
        equal(after[:, :t], before[:, :t], 1e-6)
        assert np.abs(after[:, t] - before[:, t]).max() > 1e-4
        if not subject.tokens:
            past = np.broadcast_to(np.arange(x.shape[1]) < t, x.shape[:2])
            gradient = _gradient(subject, layer, x, np.ones(x.shape[:2], bool), past, training)
            assert np.all(gradient[:, t:] == 0), f"the outputs before {t} get a gradient from a later input"
            assert np.any(gradient[:, :t] != 0)


def _gradient(subject, layer, x, real, chosen, training=False):
    """Gradient (B, T, WIDTH) of a random mix of the chosen output positions (B, T)."""
    x = tf.constant(x)

    def run():
        with tf.GradientTape() as tape:
            tape.watch(x)
            output = tf.cast(subject.call(layer, x, real, training), "float32")
            weights = np.random.default_rng(7).normal(size=output.shape)
            if subject.aligned:
                weights = weights * chosen[..., None]
            loss = tf.reduce_sum(output * weights)
        return tape.gradient(loss, x).numpy()

    return call_with_same_seed(layer, run)


def check_finite(subject, dtype, output_dtype=None):
    """Outputs and gradients are finite numbers, of rows that are all padding, too."""
    layer = subject.make(dropout=0.1, dtype=dtype)
    x = subject.draw(8, batch=3) * (1 if subject.tokens else 10)
    real = np.arange(x.shape[1]) < np.array([[x.shape[1]], [2], [0]])
    if subject.tokens:
        x = np.where(real, x, 0)
    assert np.all(np.isfinite(subject.outputs(layer, x, real)))
    with tf.GradientTape() as tape:
        output = subject.call(layer, x, real, True)
        loss = tf.reduce_mean(tf.cast(output, "float32") ** 2)
    assert keras.backend.standardize_dtype(output.dtype) == (output_dtype or layer.compute_dtype)
    assert np.all(np.isfinite(numbers(output)))
    for gradient in tape.gradient(loss, [weight.value for weight in layer.trainable_weights]):
        if gradient is not None:
            assert np.all(np.isfinite(numbers(tf.convert_to_tensor(gradient))))


def check_trains(subject, steps=15):
    """Every weight has a gradient, extra losses included, which brings the outputs nearer to what was asked."""
    layer = subject.make(dropout=0.1)
    x = subject.draw(9, batch=4)
    real = np.ones(x.shape[:2], bool)
    wanted = np.random.default_rng(10).normal(size=subject.outputs(layer, x).shape)
    optimizer = keras.optimizers.Adam(0.01)
    optimizer.build(layer.trainable_variables)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = ops.mean(ops.square(subject.call(layer, x, real, True) - wanted))
            loss += sum(layer.losses)
        gradients = tape.gradient(loss, [variable.value for variable in layer.trainable_variables])
        optimizer.apply(gradients, layer.trainable_variables)
        without = zip(gradients, layer.trainable_variables, strict=True)
        assert not [variable.path for gradient, variable in without if gradient is None]

    before = np.mean((subject.outputs(layer, x) - wanted) ** 2)
    for _ in range(steps):
        step()
    assert np.mean((subject.outputs(layer, x) - wanted) ** 2) < 0.95 * before


def check_one_trace(subject, training):
    """One compiled function serves every batch and length, and computes what the layer does outside of it."""
    layer = subject.make(dropout=0.3)
    traces = []
    shape, dtype = ((None, None), "int32") if subject.tokens else ((None, None, WIDTH), "float32")

    @tf.function(input_signature=[tf.TensorSpec(shape, dtype), tf.TensorSpec((None, None), "bool")])
    def compiled(x, real):
        traces.append(1)
        return subject.call(layer, x, real, training)

    for batch, length in ((2, 6), (1, 3), (3, 9)):
        x = subject.draw(11, batch, length)
        real = np.arange(length) < np.array([length, length - 1, 1])[:batch, None]
        if subject.tokens:
            x = np.where(real, x, 0).astype("int32")
        result = call_with_same_seed(layer, lambda x=x, real=real: numbers(compiled(x, real)))
        equal(result, subject.outputs(layer, x, real, training))
    assert len(traces) == 1


def check_cached(whole, first_state, step, length):
    """Decoding one position at a time with a cache gives what all positions at once give.

    Args:
        whole: outputs (B, T, ...) of all positions at once.
        first_state: the state before position 0.
        step: `step(t, state)` gives the outputs (B, ...) at position t, and the next state.
        length: T.
    """
    state = first_state
    for t in range(length):
        output, state = step(t, state)
        equal(numbers(output), numbers(whole)[:, t])
