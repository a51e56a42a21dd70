"""Retrieval memory: keys, neighbours and mixture against plain numpy, and a search that reads stored translations."""

import keras
import numpy as np
import pytest
from keras import ops

from models.document import DocumentTransformer
from models.memories import settings_of
from models.memories.lookup import look_up
from models.memories.retrieval import FAR, Gate, Neighbours, RetrievalModel, features, gated, mixed, nearer, nearest
from models.search import beam_search, greedy
from models.transformer import Transformer

BOS, EOS = 2, 3
SHAPE = {"encoder_layers": 2, "decoder_layers": 2, "width": 16, "hidden": 32, "heads": 2}
SOURCE = np.array([[5, 6, 7, 3], [8, 9, 3, 0]], "int32")
TARGET = np.array([[2, 10, 11, 12], [2, 13, 14, 0]], "int32")
Settings = settings_of("retrieval")


def made(kind=Transformer, **settings):
    keras.utils.set_random_seed(1)
    model = kind(20, **SHAPE, **settings)
    model.build()
    draw = np.random.default_rng(2)
    for variable in model.trainable_variables:
        variable.assign_add(0.3 * draw.standard_normal(variable.shape).astype("float32"))
    return model


def entries(model, rows, size=8, trust=1.0, kind="feed_forward"):
    """What the first `rows` pairs leave, the same for both inputs."""
    keys = ops.convert_to_numpy(model.keys({"source": SOURCE, "target": TARGET}, kind))
    following = np.pad(TARGET[:, 1:], ((0, 0), (0, 1)))
    following[np.arange(2), (TARGET != 0).sum(1) - 1] = EOS
    real = (TARGET != 0)[:rows]
    found = {"keys": keys[:rows][real], "tokens": following[:rows][real]}
    stored = {"keys": np.zeros((2, size, 16), "float32"), "tokens": np.zeros((2, size), "int32")}
    for name, values in found.items():
        stored[name][:, : len(values)] = values
    return {**stored, "trust": np.where(stored["tokens"] != 0, trust, 0.0).astype("float32")}


@pytest.mark.parametrize("kind", ["feed_forward", "output"])
@pytest.mark.parametrize("norm", ["post", "pre"])
@pytest.mark.parametrize("document", [False, True])
def test_a_step_has_the_key_that_the_whole_target_has(kind, norm, document):
    model = made(DocumentTransformer, memory={"kind": "gru", "slots": 3}, norm=norm) if document else made(norm=norm)
    expected = ops.convert_to_numpy(model.keys({"source": SOURCE, "target": TARGET}, kind))
    state = model.initial_state(SOURCE, 4)
    for place in range(4):
        _, key, state = model.step_with_key(TARGET[:, place], state, kind)
        rows = TARGET[:, place] != 0
        np.testing.assert_allclose(ops.convert_to_numpy(key)[rows], expected[rows, place], atol=1e-4)


def test_neighbours_are_those_of_a_plain_search():
    draw = np.random.default_rng(3)
    queries, keys = draw.standard_normal((6, 5)).astype("float32"), draw.standard_normal((2, 9, 5)).astype("float32")
    tokens = draw.integers(1, 20, (2, 9)).astype("int32")
    tokens[1, 4:] = 0
    stored = {"keys": keys, "tokens": tokens, "trust": draw.random((2, 9)).astype("float32")}
    stored["squares"] = np.where(tokens == 0, FAR, (keys**2).mean(-1)).astype("float32")
    found = Neighbours(*map(ops.convert_to_numpy, nearest(ops.convert_to_tensor(queries), stored, 3, 6)))
    for row, query in enumerate(queries):
        distances = ((query - keys[row // 3]) ** 2).mean(-1)
        distances[tokens[row // 3] == 0] = FAR
        order = np.argsort(distances, kind="stable")[:6]
        np.testing.assert_allclose(found.distances[row], distances[order], rtol=1e-4, atol=1e-5)
        real = distances[order] < FAR
        assert found.tokens[row][real].tolist() == tokens[row // 3][order][real].tolist()
        assert found.trust[row][real].tolist() == stored["trust"][row // 3][order][real].tolist()


def test_the_mixture_is_the_one_of_the_papers():
    draw = np.random.default_rng(4)
    logits = draw.standard_normal((3, 12)).astype("float32")
    log_probs = (logits - np.log(np.exp(logits).sum(-1, keepdims=True))).astype("float32")
    distances = np.sort(draw.random((3, 4)), axis=1).astype("float32")
    tokens = np.array([[7, 7, 3, 7], [1, 2, 3, 4], [5, 0, 0, 0]], "int32")
    trust = np.array([[1, 1, 0.5, 1], [1, 1, 1, 1], [1, 0, 0, 0]], "float32")
    distances[2, 1:] = FAR
    gates, temperatures = np.array([[0.6], [0.3], [0.9]], "float32"), np.array([[0.2], [0.5], [0.1]], "float32")
    total = np.log(np.exp(logits).sum(-1, keepdims=True)).astype("float32")
    neighbours = Neighbours(*map(ops.convert_to_tensor, (distances, tokens, trust)))
    found = ops.log_softmax(mixed(ops.convert_to_tensor(logits), total, neighbours, gates, temperatures))
    for row in range(3):
        shares = np.exp(-(distances[row] - distances[row][0]) / temperatures[row])
        shares /= shares.sum()
        shares *= gates[row, 0] * trust[row]
        expected = (1 - shares.sum()) * np.exp(log_probs[row])
        for token, share in zip(tokens[row], shares, strict=True):
            expected[token] += share
        np.testing.assert_allclose(np.exp(ops.convert_to_numpy(found)[row]), expected, atol=1e-5)
        assert np.exp(ops.convert_to_numpy(found)[row]).sum() == pytest.approx(1, abs=1e-4)


def decoded(model, source=SOURCE, stored=None, beam=0):
    context = {} if stored is None else {"stored": {name: value[: len(source)] for name, value in stored.items()}}
    state = model.initial_state(source, 6, **context)
    ids = {"bos": BOS, "eos": EOS}
    if beam:
        return ops.convert_to_numpy(beam_search(model.step, state, len(source), beam, 6, 0.0, **ids).tokens[:, 0])
    return ops.convert_to_numpy(greedy(model.step, state, len(source), 6, **ids).tokens)


@pytest.mark.parametrize("beam", [0, 3])
def test_a_stored_translation_comes_out_again(beam):
    model = made()
    reading = RetrievalModel(model, Settings(neighbours=2, weight=0.99, temperature=1e-4))
    found = decoded(reading, stored=entries(model, 2), beam=beam)
    assert found[0].tolist()[:4] == [10, 11, 12, EOS] and found[1].tolist()[:3] == [13, 14, EOS]
    assert found.tolist() != decoded(model, beam=beam).tolist()


@pytest.mark.parametrize("change", [{"weight": 0.0}, {"threshold": 1e-9}, {"trust": 0.0}, {"rows": 0}])
def test_nothing_to_read_changes_nothing(change):
    model = made()
    settings = {key: value for key, value in change.items() if key in ("weight", "threshold")}
    stored = entries(model, change.get("rows", 1), trust=change.get("trust", 1.0))
    # The second source reads what the first one left.
    reading = RetrievalModel(model, Settings(neighbours=2, **settings))
    expected, found = decoded(model)[1], decoded(reading, stored=stored)[1]
    assert found.tolist() == expected.tolist()


def test_each_input_reads_alone_what_it_reads_in_a_batch_and_padding_is_not_read():
    model = made()
    reading = RetrievalModel(model, Settings(neighbours=2))
    stored = entries(model, 2)
    stored["tokens"][1] = 0  # the second reads nothing
    together = decoded(reading, stored=stored)
    for row in range(2):
        part = {name: np.concatenate([value[row : row + 1]] * 2) for name, value in stored.items()}
        longer = {name: np.pad(value, ((0, 0), (0, 8)) + ((0, 0),) * (value.ndim - 2)) for name, value in part.items()}
        longer["keys"][:, 8:] = 9.0
        assert decoded(reading, SOURCE[row : row + 1], longer).tolist()[0] == together[row].tolist()


def test_the_nearest_of_two_stores_are_the_nearest_of_both():
    one = Neighbours(np.array([[0.1, 0.6]]), np.array([[4, 5]], "int32"), np.array([[0.5, 1.0]]))
    found = nearer(one, ops.convert_to_tensor([[3.2, 16.0]]), ops.convert_to_tensor([[6, 7]], "int32"), 16)
    assert ops.convert_to_numpy(found.tokens).tolist() == [[4, 6]]
    np.testing.assert_allclose(ops.convert_to_numpy(found.distances), [[0.1, 0.2]], rtol=1e-5)
    assert ops.convert_to_numpy(found.trust).tolist() == [[0.5, 1.0]]


def test_an_index_is_asked_inside_of_a_compiled_search():
    import tensorflow as tf

    model, asked = made(), []

    def search(queries, count):
        asked.append(queries.shape)
        return np.zeros((len(queries), count)), np.full((len(queries), count), 15)

    reading = RetrievalModel(model, Settings(neighbours=2, weight=0.99), search=search)
    stored = entries(model, 0)
    run = tf.function(lambda: greedy(reading.step, start(), 2, 4, bos=BOS, eos=EOS).tokens, autograph=False)

    def start():
        return reading.initial_state(SOURCE, 4, stored)

    assert run().numpy()[:, 0].tolist() == [15, 15] and asked[0] == (2, 16)
    found = look_up(search, ops.zeros((3, 16)), 2)
    assert ops.convert_to_numpy(found[1]).tolist() == [[15, 15]] * 3


def test_a_gate_counts_different_tokens_and_weighs():
    found = Neighbours(np.array([[0.0, 0.5, 1.0]]), np.array([[4, 4, 6]], "int32"), np.ones((1, 3)))
    seen = ops.convert_to_numpy(features(Neighbours(*map(ops.convert_to_tensor, found)), ops.ones((1, 1))))[0]
    np.testing.assert_allclose(seen, [1, np.exp(-0.5), np.exp(-1), 1 / 3, 1 / 3, 2 / 3, 1], rtol=1e-5)
    gates, temperatures = Gate(np.zeros((7, 2)).tolist(), [0.0, -1.0])(ops.zeros((1, 1)), found)
    assert float(gates[0, 0]) == pytest.approx(0.4995) and float(temperatures[0, 0]) == pytest.approx(np.exp(-1))
    assert float(gated(ops.convert_to_tensor([[90.0, 90.0]]))[0][0, 0]) < 1
