"""Memories that keep positions of layers: what is kept, at which distance it stands, and how it is compressed."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.attention import SelfAttention
from models.memories.base import Row, windows_of
from models.memories.compressive import CompressiveMemory
from models.memories.recurrence import RecurrenceMemory
from tests.models.layer_checks import WIDTH, equal, numbers


def row_of(sizes, length=None, resets=(), forgotten=()):
    """One row of windows of these sizes, padded to `length`; windows count from 0."""
    windows = np.repeat(np.arange(1, len(sizes) + 1), sizes)
    windows = np.pad(windows, (0, (length or len(windows)) - len(windows)))[None]
    begins = np.array([[number in resets for number in range(len(sizes))]])
    return Row(windows, begins, (windows > 0) & ~np.isin(windows - 1, forgotten))


def drawn(length, seed=0):
    return np.random.default_rng(seed).normal(size=(1, length, WIDTH)).astype("float32")


def test_positions_go_on_over_windows_and_those_of_forgotten_ones_take_no_place():
    found = windows_of(row_of([2, 3, 2], 8, resets=[2], forgotten=[1]))
    assert numbers(found.positions)[0, :7].tolist() == [0, 1, 2, 3, 4, 2, 3]
    assert numbers(found.starts)[0, :7].tolist() == [0, 0, 2, 2, 2, 2, 2]
    assert numbers(found.documents)[0, :7].tolist() == [0, 0, 0, 0, 0, 1, 1]
    assert numbers(found.counts)[0].tolist() == [True, True, False, False, False, True, True, False]
    assert (int(found.end[0]), int(found.last[0]), int(found.last_begins[0])) == (4, 1, 2)


def test_the_cache_holds_the_last_real_positions_of_the_document_at_hand():
    memory = RecurrenceMemory(WIDTH, cache=3)
    x = drawn(8)
    _, state, _ = memory(x, row_of([2, 2], 8), memory.initial_state(1))
    equal(numbers(state["values"])[0], x[0, 1:4])
    assert numbers(state["filled"]).all()
    # Padding and a finished document leave nothing.
    y = drawn(6, seed=1)
    _, state, _ = memory(y, row_of([2, 1, 1], 6, resets=[1]), state)
    assert numbers(state["filled"])[0].tolist() == [False, True, True]
    equal(numbers(state["values"])[0], np.concatenate([np.zeros((1, WIDTH)), y[0, 2:4]]))


@pytest.mark.parametrize("cut", [[4, 4, 4, 4], [3, 5, 1, 7], [1] * 16])
def test_with_room_for_all_it_is_attention_to_the_whole_document(cut):
    """An independent computation: one long sequence, in which a position sees its window and all before it."""
    memory, attention = RecurrenceMemory(WIDTH, cache=16), SelfAttention(WIDTH, 2, rotary=True)
    attention.build((None, None, WIDTH))
    x, ends = drawn(16), np.cumsum(cut)
    mask = np.repeat(np.arange(16)[None] < np.repeat(ends, cut)[:, None], 1, axis=0)[None]
    expected = numbers(attention(x, attention_mask=mask, positions=np.arange(16)[None]))
    found, state = [], memory.initial_state(1)
    for end, size in zip(ends, cut, strict=True):
        part, row = x[:, end - size : end], row_of([size])
        past, state, _ = memory(part, row, state)
        own = np.ones((1, size, size), bool)
        found.append(numbers(attention(part, attention_mask=own, positions=windows_of(row).positions, past=past)))
    equal(np.concatenate(found, axis=1), expected)


def test_distances_are_right_after_the_cache_slid():
    """Only the last two positions are in sight: the same as in a sequence that begins with them."""
    memory, attention = RecurrenceMemory(WIDTH, cache=2), SelfAttention(WIDTH, 2, rotary=True)
    attention.build((None, None, WIDTH))
    x = drawn(7)
    _, state, _ = memory(x[:, :3], row_of([3]), memory.initial_state(1))
    _, state, _ = memory(x[:, 3:5], row_of([2]), state)
    past, _, _ = memory(x[:, 5:], row_of([2]), state)
    own = np.ones((1, 2, 2), bool)
    found = attention(x[:, 5:], attention_mask=own, positions=np.array([[0, 1]]), past=past)
    whole = attention(x[:, 3:], attention_mask=np.ones((1, 4, 4), bool), positions=np.arange(4)[None])
    equal(numbers(found), numbers(whole)[:, 2:])


def compressing(**settings):
    memory = CompressiveMemory(WIDTH, **{"cache": 3, "compressed": 2, "rate": 2, "compression": "mean", **settings})
    memory.build((None, None, WIDTH))
    return memory


@pytest.mark.parametrize("cut", [[11], [4, 7], [1] * 11, [5, 2, 4]])
@pytest.mark.parametrize("packed", [True, False])
def test_blocks_are_counted_from_the_document_s_start_however_it_is_cut(cut, packed):
    memory, x = compressing(), drawn(11)
    state = memory.initial_state(1)
    if packed:
        _, state, _ = memory(x, row_of(cut, resets=[0]), state)
    else:
        for end, size in zip(np.cumsum(cut), cut, strict=True):
            _, state, _ = memory(x[:, end - size : end], row_of([size]), state)
    # Of 11 positions 3 are in the cache: blocks 0 to 3 have left it, of which two are kept.
    blocks = x[0].reshape(-1)[: 10 * WIDTH].reshape(5, 2, WIDTH).mean(axis=1)
    equal(numbers(state["compressed"])[0], blocks[2:4])
    past = memory.past(state)
    assert numbers(past.mask)[0, 0].tolist() == [True, True, False, True, True, True]
    assert numbers(past.positions)[0].tolist() == [-6, -4, -4, -3, -2, -1]
    equal(numbers(past.values)[0, -3:], x[0, 8:])


@pytest.mark.parametrize("rebuilt", ["states", "attention"])
@pytest.mark.parametrize("compression", ["convolution", "queries"])
def test_the_loss_of_rebuilding_trains_the_compression_alone(compression, rebuilt):
    memory, attention = compressing(compression=compression, rebuild=0.5, rebuilt=rebuilt), SelfAttention(WIDTH, 2)
    attention.build(None)
    x, weights = tf.Variable(drawn(12)), memory.trainable_variables
    for weight in weights:
        # From a mean that is rebuilt as it is no small step of the mean alone would lead to less.
        weight.assign(weight.value + 0.1 * np.random.default_rng(1).normal(size=weight.shape))
    with tf.GradientTape() as tape:
        _, _, losses = memory(x.value(), row_of([4, 4, 4]), memory.initial_state(1), attention=attention)
    stack = [x, *(weight.value for weight in attention.trainable_variables)]
    gradients = tape.gradient(losses["rebuild"], [*stack, *(weight.value for weight in weights)])
    of_stack, of_weights = gradients[: len(stack)], gradients[len(stack) :]
    assert all(gradient is None or np.all(numbers(gradient) == 0) for gradient in of_stack)
    assert weights
    # A bias shifts all vectors alike, and with them all scores of a position in the attention.
    assert all(np.abs(numbers(gradient)).max() > 1e-8 for gradient in of_weights)


def test_attention_finds_the_same_in_positions_and_in_vectors_of_equal_ones():
    memory, attention = compressing(compression="convolution", rebuilt="attention"), SelfAttention(WIDTH, 2)
    attention.build(None)
    pairs = np.repeat(drawn(3), 2, axis=1)
    losses = [
        float(memory(x, row_of([6]), memory.initial_state(1), attention=attention)[2]["rebuild"])
        for x in (pairs, drawn(6))
    ]
    assert losses[0] == pytest.approx(0, abs=1e-10)
    assert losses[1] > 1e-3


@pytest.mark.parametrize("rebuilt", ["states", "attention"])
def test_the_loss_of_rebuilding_falls_in_a_training(rebuilt):
    memory, attention = compressing(compression="convolution", rebuild=1.0, rebuilt=rebuilt), SelfAttention(WIDTH, 2)
    attention.build(None)
    x, row = drawn(12), row_of([4, 4, 4])
    optimizer, losses = keras.optimizers.Adam(0.01), []
    for _ in range(60):
        with tf.GradientTape() as tape:
            losses.append(memory(x, row, memory.initial_state(1), attention=attention)[2]["rebuild"])
        weights = memory.trainable_variables
        optimizer.apply(tape.gradient(losses[-1], [weight.value for weight in weights]), weights)
    assert float(losses[-1]) < 0.8 * float(losses[0])


@pytest.mark.parametrize("rebuilt", ["states", "attention"])
def test_padding_changes_no_loss_of_rebuilding(rebuilt):
    memory, attention = compressing(compression="convolution", rebuild=0.5, rebuilt=rebuilt), SelfAttention(WIDTH, 2)
    attention.build(None)
    x = drawn(12)
    losses = [
        float(memory(x[:, :length], row_of([4, 4], length), memory.initial_state(1), attention=attention)[2]["rebuild"])
        for length in (8, 12)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5) and losses[0] > 1e-4


def test_the_mean_has_nothing_to_learn_and_no_loss():
    memory = compressing()
    assert not memory.trainable_variables
    assert memory(drawn(5), row_of([5]), memory.initial_state(1))[2] == {}


def test_the_loss_of_rebuilding_is_the_mean_squared_error_of_whole_blocks():
    memory, x = compressing(compression="convolution", rebuild=2.0), drawn(5)
    _, _, losses = memory(x, row_of([5]), memory.initial_state(1))
    # A mean, from which both positions are rebuilt as they are.
    blocks = x[0, :4].reshape(2, 2, WIDTH)
    assert float(losses["rebuild"]) == pytest.approx(
        2 * np.mean((blocks - blocks.mean(axis=1, keepdims=True)) ** 2), 1e-5
    )


def test_convolution_begins_as_the_mean():
    raw = drawn(12).reshape(1, 6, 2, WIDTH)
    equal(numbers(compressing(compression="convolution").compress(raw)), raw.mean(axis=2))
