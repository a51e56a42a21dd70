"""LSH attention against a loop over positions, its limits, and decoding with a cache."""

import numpy as np
import pytest
from keras import ops

from models.lsh import LSHAttention
from models.transformer import Transformer
from tests.models.copy_reverse import learn
from tests.models.layer_checks import equal, numbers

WIDTH = 8


def attention(seed=0, **settings):
    layer = LSHAttention(WIDTH, 2, **{"rotary": True, "buckets": 4, **settings})
    layer.build((None, None, WIDTH))
    random = np.random.default_rng(seed)
    for weight in layer.weights:
        weight.assign(random.normal(size=weight.shape) * 0.5)
    return layer


def draw(length, seed=1):
    return np.random.default_rng(seed).normal(size=(2, length, WIDTH)).astype("float32")


def places(length):
    return np.arange(length)[None]


def visible(layer, hashes, groups, i):
    """The positions that position i sees in one row and head: hashes (T, R), groups (T,)."""
    seen = set()
    for number in range(layer.rounds + 1):
        same = groups == groups[i]
        if number:
            same &= hashes[:, number - 1] == hashes[i, number - 1]
        members = list(np.flatnonzero(same))
        apart = {j: members.index(i) - at for at, j in enumerate(members)}
        seen |= {j for j, d in apart.items() if (d >= 0 if layer.causal else True) and abs(d) < layer.chunk}
    return sorted(seen - {i}) or [i]


def by_a_loop(layer, x, groups):
    queries, keys, values = map(numbers, layer.queries_keys_values(x, places(x.shape[1])))
    hashes, mixed = ops.convert_to_numpy(layer.hashes(keys)), np.zeros_like(values)
    for b, h, i in np.ndindex(*values.shape[:3]):
        if groups[b, i]:
            seen = visible(layer, hashes[b, h], groups[b], i)
            powers = np.exp(keys[b, h, seen] @ queries[b, h, i])
            mixed[b, h, i] = powers @ values[b, h, seen] / powers.sum()
    mixed = mixed.transpose(0, 2, 1, 3).reshape(x.shape)
    return mixed @ numbers(layer.output_dense.kernel) + numbers(layer.output_dense.bias)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("chunk,length", [(1, 9), (3, 17), (4, 16), (20, 17)])
def test_it_is_a_softmax_over_what_is_seen(causal, chunk, length):
    layer, x = attention(causal=causal, chunk=chunk), draw(length)
    groups = np.ones((2, length), "int32")
    groups[0, length // 2 :] = 2
    groups[1, -3:] = 0
    found = numbers(layer(x, attention_mask=groups, positions=places(length)))
    equal(found[groups > 0], by_a_loop(layer, x, groups)[groups > 0])


def test_keys_have_length_1_and_are_turned():
    queries, keys, _ = map(numbers, attention().queries_keys_values(draw(5), places(5)))
    equal(np.linalg.norm(keys, axis=-1), np.ones((2, 2, 5)), 1e-4)
    equal(keys, queries / np.linalg.norm(queries, axis=-1, keepdims=True), 1e-4)


def test_a_position_alone_attends_to_itself():
    layer, x = attention(chunk=4), draw(6)
    groups = np.arange(1, 7, dtype="int32")[None].repeat(2, axis=0)
    _, _, values = layer.queries_keys_values(x, places(6))
    values = ops.reshape(ops.transpose(values, (0, 2, 1, 3)), (2, 6, WIDTH))
    for length in (6, 4):  # hashed, and full
        found = layer(x[:, :length], attention_mask=groups[:, :length], positions=places(length))
        equal(numbers(found), numbers(layer.output_dense(values[:, :length])), 1e-4)


def test_more_rounds_come_closer_to_full_attention():
    x, length = draw(64), 64
    full = numbers(attention(chunk=length, buckets=16)(x, positions=places(length)))
    errors = []
    for rounds in (0, 1, 4, 16, 64):
        layer = attention(chunk=4, rounds=rounds, buckets=16)
        errors.append(np.abs(numbers(layer(x, positions=places(length))) - full).mean())
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 0.01
    assert errors[-1] < errors[0] / 5


def test_a_round_does_not_depend_on_their_number():
    few, many = attention(rounds=1), attention(rounds=3)
    keys = np.random.default_rng(3).normal(size=(1, 2, 50, 4)).astype("float32")
    hashes = ops.convert_to_numpy(many.hashes(keys))
    np.testing.assert_array_equal(ops.convert_to_numpy(few.hashes(keys))[..., 0], hashes[..., 0])
    assert len(np.unique(hashes)) == 4
    assert np.any(hashes[..., 0] != hashes[..., 1])


def test_dropout_on_weights_is_refused():
    with pytest.raises(ValueError, match="attention_dropout must be 0, got 0.1"):
        attention(dropout=0.1)


def test_buckets_are_even():
    with pytest.raises(ValueError, match="even, got 5"):
        attention(buckets=5)


SETTINGS = {"norm": "pre", "dropout": 0.0, "attention": "lsh", "lsh_chunk": 3, "lsh_buckets": 4, "positions": "rotary"}
SOURCE = np.random.default_rng(4).integers(4, 30, (2, 15))
TARGET = np.random.default_rng(5).integers(4, 30, (2, 14))


def transformer(**settings):
    model = Transformer(30, 2, 2, 16, 32, 2, **{**SETTINGS, **settings})
    model.build()
    random = np.random.default_rng(6)
    for weight in model.weights:
        weight.assign(random.normal(size=weight.shape) * 0.3)
    return model


@pytest.mark.parametrize("stack", ["plain", "reversible"])
def test_steps_with_a_cache_see_what_all_positions_at_once_see(stack):
    model = transformer(stack=stack)
    whole = numbers(model({"source": SOURCE, "target": TARGET}))
    state = model.initial_state(SOURCE, TARGET.shape[1])
    for t in range(TARGET.shape[1]):
        logits, state = model.step(ops.convert_to_tensor(TARGET[:, t]), state)
        equal(numbers(logits), whole[:, t], 1e-4)


def test_hashing_changes_something_where_windows_are_long():
    short, long = transformer(), transformer(lsh_chunk=64)
    inputs = {"source": SOURCE, "target": TARGET}
    assert np.abs(numbers(short(inputs)) - numbers(long(inputs))).max() > 0.01
    few = {"source": SOURCE[:, :3], "target": TARGET[:, :3]}
    equal(numbers(short(few)), numbers(long(few)))


@pytest.mark.slow
def test_an_encoder_decoder_learns_to_write_its_source_backwards():
    assert learn(12, 600, layers=1, lsh_chunk=4, lsh_buckets=4) > 0.95
