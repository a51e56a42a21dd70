"""Stacks that forget their activations have the gradients of those that keep them, and less memory."""

import gc
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from models import reversible, stack
from models.chunks import in_chunks
from models.encoder import Encoder
from models.gradients import DRAWS, next_seeds
from models.reversible import BDIA, GRID
from models.stack import STACKS, Stack
from models.sublayers import FeedForward
from models.transformer import Transformer
from tests.models.chains import bdia_rule, chained, coupling_rule
from tests.models.layer_checks import equal, numbers

WIDTH, VOCABULARY = 16, 50
SOURCE = np.random.default_rng(0).integers(4, VOCABULARY, (3, 9))
SOURCE[1, 6:] = 0
TARGET = np.random.default_rng(1).integers(4, VOCABULARY, (3, 7))
TARGET[2, 4:] = 0
INPUTS = {"source": SOURCE, "target": TARGET}


def transformer(**settings):
    keras.utils.set_random_seed(3)
    model = Transformer(VOCABULARY, 3, 3, WIDTH, 32, 2, **{"norm": "pre", "dropout": 0.2, **settings})
    model.build()
    return model


def gradients(model, compiled):
    """The gradients of a mix of the states, with dropout on and always the same draws."""
    for variable in model.variables:
        if "seed_generator" in variable.path:
            variable.assign([5, 0])

    def run():
        with tf.GradientTape() as tape:
            states = tf.cast(model.states(INPUTS, training=True), "float32")
            loss = tf.reduce_sum(states * np.random.default_rng(2).normal(size=states.shape).astype("float32"))
        return tape.gradient(loss, [variable.value for variable in model.trainable_variables])

    found = (tf.function(run) if compiled else run)()
    return [numbers(tf.convert_to_tensor(gradient)) for gradient in found]


@pytest.mark.parametrize(
    "settings",
    [{"stack": "reversible"}, {"stack": "bdia"}, {"feed_forward_chunks": 2}],
    ids=["reversible", "bdia", "chunks"],
)
@pytest.mark.parametrize("compiled", [False, True])
def test_gradients_pass_frozen_layers(settings, compiled):
    """What is frozen is left alone by the optimiser; gradients on their way to other weights are as before."""
    model = transformer(**settings)
    names = [variable.path for variable in model.trainable_variables]
    before = dict(zip(names, gradients(model, compiled), strict=True))
    table = model.trainable_variables[0]
    for variable in model.trainable_variables[1:]:
        variable.trainable = False
    (after,) = gradients(model, compiled)
    np.testing.assert_allclose(after, before[table.path], rtol=1e-5, atol=1e-6)


def differences(model, compiled, monkeypatch):
    forgetting = gradients(model, compiled)
    monkeypatch.setattr(stack, "chain", reversible.plain_chain)
    keeping = gradients(model, compiled)
    largest = max(np.abs(each).max() for each in keeping)
    assert all(np.abs(each).max() > 0 for each in forgetting)
    return [
        np.abs(a - b).max() / max(np.abs(b).max(), 1e-3 * largest) for a, b in zip(forgetting, keeping, strict=True)
    ]


BDIA_STACK = {"stack": "bdia", "positions": "rotary", "attention_dropout": 0.1, "activation_dropout": 0.1}
LSH_STACK = {"stack": "reversible", "attention": "lsh", "lsh_chunk": 3, "lsh_buckets": 4, "feed_forward_chunks": 3}


@pytest.mark.parametrize(
    ("settings", "compiled"),
    [
        ({"stack": "reversible"}, False),
        ({"stack": "reversible"}, True),
        (BDIA_STACK, False),
        (BDIA_STACK, True),
        (LSH_STACK, False),  # compiled, it is trained in test_lsh.py
    ],
    ids=str,
)
def test_gradients_are_those_of_the_plain_evaluation(settings, compiled, monkeypatch):
    assert max(differences(transformer(**settings), compiled, monkeypatch)) < 1e-4


@pytest.mark.parametrize("name", ["reversible", "bdia"])
def test_half_precision_drifts_no_further_than_its_rounding(name, monkeypatch):
    assert max(differences(transformer(stack=name, dtype="mixed_bfloat16"), True, monkeypatch)) < 0.05


def test_bdia_is_undone_bit_by_bit():
    states, found = chained(bdia_rule)
    for before, after in zip(states, found, strict=True):
        np.testing.assert_array_equal(numbers(before), numbers(after))
        np.testing.assert_array_equal(numbers(after) % GRID, 0)


def test_couplings_are_undone_up_to_rounding():
    states, found = chained(coupling_rule)
    for before, after in zip(states, found, strict=True):
        equal(numbers(before), numbers(after), 1e-5)


def test_bdia_by_hand():
    rule = BDIA(ops.reshape(ops.convert_to_tensor([0.5, -0.5]), (2, 1, 1)))
    previous, current, change = (np.full((2, 1, 1), value * GRID, "float32") for value in (3, 8, 2.4))
    following, odd = rule.ahead(previous, current, change)
    # gamma (3 + 1) + round((1 - gamma) 8 + (1 + gamma) 2), as 3 is odd.
    np.testing.assert_array_equal(numbers(following)[:, 0, 0] / GRID, [2 + 7, -2 + 13])
    np.testing.assert_array_equal(ops.convert_to_numpy(odd), [[[1]], [[1]]])
    np.testing.assert_array_equal(numbers(rule.back(following, current, change, odd)), previous)


def test_a_bdia_stack_translates_as_a_plain_one():
    plain, other = transformer(), transformer(stack="bdia")
    other.set_weights(plain.get_weights())
    np.testing.assert_array_equal(numbers(other(INPUTS)), numbers(plain(INPUTS)))
    trained = transformer(stack="bdia", dropout=0.0)
    trained.set_weights(plain.get_weights())
    assert np.abs(numbers(trained(INPUTS, training=True)) - numbers(plain(INPUTS))).max() > 0.01


def test_gammas_differ_by_row_and_layer_and_have_mean_0():
    encoder = Encoder(2, WIDTH, 32, 2, norm="pre", stack="bdia")
    first, second = (numbers(encoder._gammas(1000))[:, 0, 0] for _ in range(2))
    assert set(first) == {-0.5, 0.5}
    assert abs(first.mean()) < 0.08
    assert 400 < np.sum(first == second) < 600


def test_a_reversible_stack_by_hand():
    """y1 = x1 + F(x2), y2 = x2 + G(y1), and the normalised mean at the end."""
    encoder = Encoder(1, WIDTH, 32, 2, norm="pre", stack="reversible", dropout=0.0)
    encoder.build((None, None, WIDTH))
    (layer,) = encoder.stack
    x = np.random.default_rng(5).normal(size=(2, 4, WIDTH)).astype("float32")
    first = x + layer.attention(layer.attention_residual.norm(x))
    second = x + layer.feed_forward(layer.feed_forward_residual.norm(first))
    expected = encoder.norm((first + second) / 2)
    for training in (False, True):
        equal(numbers(encoder(x, training=training)), numbers(expected))


def test_no_draw_is_used_twice():
    layer = FeedForward(WIDTH, 32, dropout=0.5)
    (first,), (second,) = (next_seeds(layer.variables) for _ in range(2))
    assert first[0] is second[0]
    np.testing.assert_array_equal(np.asarray(second[1]) - np.asarray(first[1]), [0, DRAWS])
    chunked = FeedForward(WIDTH, 32, dropout=0.5, chunks=2)
    chunked.build((None, None, WIDTH))
    row = np.ones((1, 1, WIDTH), "float32")
    upper, lower = numbers(chunked(np.concatenate([row, row], axis=1), training=True))[0]
    assert np.abs(upper - lower).max() > 1e-3


@pytest.mark.parametrize("count", [1, 2, 3, 7, 11])
def test_chunks_equal_the_whole(count):
    whole, chunked = FeedForward(WIDTH, 32), FeedForward(WIDTH, 32, chunks=count)
    x = tf.constant(np.random.default_rng(6).normal(size=(2, 5, WIDTH)).astype("float32"))
    found = []
    for layer in (whole, chunked):
        layer.build((None, None, WIDTH))
        layer.set_weights(whole.get_weights())
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
            loss = tf.reduce_sum(y * tf.cos(y))
        found.append([y, *tape.gradient(loss, [x, *(each.value for each in layer.trainable_variables)])])
    for ours, theirs in zip(*found, strict=True):
        equal(numbers(ours), numbers(theirs))


def test_chunks_give_rows_of_another_width():
    x = np.arange(12.0, dtype="float32").reshape(2, 3, 2)
    doubled = in_chunks(lambda rows: ops.concatenate([rows, -rows], axis=-1), 2, x, [], [])
    np.testing.assert_array_equal(numbers(doubled), np.concatenate([x, -x], axis=-1))


def resident():
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def kept(layers, name):
    """Bytes that stay in use between the forward and the backward pass."""
    encoder = Encoder(layers, 64, 512, 4, norm="pre", stack=name, dropout=0.1)
    encoder.build((None, None, 64))
    x = tf.random.normal((32, 256, 64))
    before = resident()
    with tf.GradientTape() as tape:
        y = encoder(x, training=True)
        after = resident()
        loss = tf.reduce_sum(y)
    assert tape.gradient(loss, encoder.trainable_variables[0].value) is not None
    return after - before


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux' /proc")
def test_memory_does_not_grow_with_depth():
    grows = {name: kept(8, name) - kept(2, name) for name in STACKS}
    a_layer = 32 * 256 * 512 * 4  # what one feed-forward network alone would keep
    assert grows["plain"] > 6 * a_layer
    assert grows["reversible"] < a_layer
    assert grows["bdia"] < a_layer


@pytest.mark.parametrize("name", ["reversible", "bdia"])
def test_post_norm_is_refused(name):
    with pytest.raises(ValueError, match=f'stack "{name}" needs norm "pre"'):
        Encoder(1, WIDTH, 32, 2, norm="post", stack=name)


def test_there_are_three_stacks():
    with pytest.raises(ValueError, match="stack must be one of plain, reversible, bdia"):
        Encoder(1, WIDTH, 32, 2, stack="tall")
    assert isinstance(Encoder(1, WIDTH, 32, 2), Stack)
