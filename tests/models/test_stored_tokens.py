"""The tokens of the target memory: which are stored in training, and the probability beside them."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from data.packing import pack
from models.document import DocumentTransformer
from models.embedding import TokenEmbedding
from models.memories.tokens import DRAWN, NOISE, StoredTokens, with_probabilities
from models.teacher_forcing import DocumentTeacherForcing
from tests.models.layer_checks import call_with_same_seed, equal, numbers
from tests.models.test_document import VOCABULARY, batches, documents

REFERENCE, LIKELIEST, KEPT = 5, 7, 9


def model_of(mixed=True, trust=None, **settings):
    keras.utils.set_random_seed(3)
    sizes = {"encoder_layers": 1, "decoder_layers": 1, "width": 16, "hidden": 24, "heads": 2, "norm": "pre"}
    memory = {"kind": "gru", "slots": 2, "read_bias": 1.0, "mixed": mixed}
    model = DocumentTransformer(VOCABULARY, **sizes, dropout=0.0, memory=memory, name="transformer", **settings)
    model.build()
    if trust is not None:
        model.target_tokens.trust.assign(np.full(16, trust))
    return model


def after(model, inputs, **options):
    """What the target's memory holds after a batch."""
    state = model.document_states(inputs, model.initial_memory(2), **options)[1]
    return numbers(state["target"]["slots"])


@pytest.mark.parametrize("rows", [1, 8, 21])
def test_probabilities_are_those_of_the_softmax(rows):
    random = np.random.default_rng(rows)
    states, table = random.normal(size=(rows, 6)).astype("f"), random.normal(size=(11, 6)).astype("f")
    tokens = random.integers(0, 11, rows)
    kept, shares = with_probabilities(ops.convert_to_tensor(states), ops.convert_to_tensor(table), tokens)
    expected = tf.nn.softmax(states @ table.T).numpy()[np.arange(rows), tokens]
    np.testing.assert_array_equal(numbers(kept), tokens)
    equal(numbers(shares), expected)


def test_tokens_are_drawn_as_often_as_they_are_likely():
    random, rows = np.random.default_rng(0), 4000
    state, table = random.normal(size=(1, 6)).astype("f"), random.normal(size=(11, 6)).astype("f")
    states, drawn = ops.repeat(ops.convert_to_tensor(state), rows, axis=0), np.arange(rows) % 4 > 0
    uniform = ops.convert_to_tensor(((np.arange(rows) + 0.5) / rows).astype("f"))
    given = (ops.convert_to_tensor(drawn), uniform)
    tokens, shares = with_probabilities(states, ops.convert_to_tensor(table), np.full(rows, KEPT), given)
    expected = tf.nn.softmax(state @ table.T).numpy()[0]
    tokens = numbers(tokens).astype(int)
    assert np.all(tokens[~drawn] == KEPT)
    found = np.bincount(tokens[drawn], minlength=11) / drawn.sum()
    np.testing.assert_allclose(found, expected, atol=3e-3)
    equal(numbers(shares), expected[tokens])


def one_hot_tokens(seed=1):
    """A layer and an embedding whose vectors tell the tokens."""
    embedding = TokenEmbedding(VOCABULARY, VOCABULARY)
    embedding.build()
    embedding.table.assign(np.eye(VOCABULARY))
    layer = StoredTokens(VOCABULARY, seed=seed)
    layer.build()
    return layer, embedding


def test_windows_are_drawn_whole_or_have_noise_and_ends_stay():
    layer, embedding = one_hot_tokens()
    lanes, windows, size = 16, 40, 6
    shape = (lanes, windows * size)
    numbered = np.tile(np.repeat(np.arange(1, windows + 1), size), (lanes, 1))
    ends = np.arange(windows * size) % size == size - 1
    tokens = np.where(ends, KEPT, np.full(shape, REFERENCE))
    states = np.zeros((*shape, VOCABULARY), "f")
    states[..., LIKELIEST] = 100.0
    mixing = {"windows": numbered, "kept": np.tile(ends, (lanes, 1)), "count": windows}
    found = numbers(layer(ops.convert_to_tensor(states), ops.convert_to_tensor(tokens), embedding=embedding, **mixing))
    found = found.argmax(-1).reshape(lanes * windows, size)
    assert np.all(found[:, -1] == KEPT)
    own = np.all(found[:, :-1] == LIKELIEST, axis=1)
    assert own.mean() == pytest.approx(DRAWN, abs=0.06)
    other = found[~own][:, :-1]
    assert (other != REFERENCE).mean() == pytest.approx(NOISE * (1 - 1 / VOCABULARY), abs=0.03)
    assert len(np.unique(other)) == VOCABULARY
    # Each lane and each call draws anew.
    assert len(np.unique(own.reshape(lanes, windows), axis=0)) == lanes
    again = numbers(layer(ops.convert_to_tensor(states), ops.convert_to_tensor(tokens), embedding=embedding, **mixing))
    assert np.any(again.argmax(-1).reshape(found.shape) != found)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_a_fresh_model_translates_as_one_without_probabilities(dtype):
    mixed, plain = model_of(True, dtype=dtype), model_of(False, dtype=dtype)
    known = {variable.path: variable for variable in mixed.weights}
    for variable in plain.weights:
        variable.assign(known[variable.path])
    assert {path.split("/", 1)[1] for path in set(known) - {v.path for v in plain.weights}} == {
        "target_memory_tokens/trust"
    }
    for inputs, _ in batches():
        np.testing.assert_array_equal(after(mixed, inputs), after(plain, inputs))
        for own in (False, True):  # nothing is drawn outside of training
            np.testing.assert_array_equal(after(mixed, inputs, own_choices=own), after(plain, inputs, own_choices=own))


def test_a_translation_stores_what_training_stores_for_the_same_tokens(monkeypatch):
    model, (inputs, _) = model_of(trust=0.7), batches()[0]
    embed, stored = TokenEmbedding.call, []

    def recording(self, tokens):
        stored.append(numbers(tokens).astype("int32"))
        return embed(self, tokens)

    with monkeypatch.context() as patch:
        patch.setattr(TokenEmbedding, "call", recording)
        training = after(model, inputs, own_choices=True, training=True)
    changed = (stored[-1] != inputs["target_following"]) & (inputs["target_following"] != 0)
    assert changed.sum() > 3 and np.all(stored[-1][changed] != 0)
    following = np.where(inputs["target_following"] != 0, stored[-1], 0)
    translated = {**inputs, "target_following": following}
    equal(after(model, translated), training)
    memory = model.remember(translated, model.initial_memory(2))
    equal(numbers(memory["target"]["slots"]), training)


def test_what_is_remembered_depends_on_the_probability():
    (inputs, _), low, high = batches()[0], model_of(trust=0.0), model_of(trust=2.0)
    assert np.abs(after(low, inputs) - after(high, inputs)).max() > 1e-2
    sure = model_of(trust=2.0)
    sure.output_embedding.table.assign(sure.output_embedding.table * 0)
    # All tokens have the probability 1 / V, at every state.
    vector = sure.target_tokens(ops.ones((1, 3, 16)), np.array([[4, 5, 6]]), embedding=sure.output_embedding)
    equal(numbers(vector), np.full((1, 3, 16), 2.0 / VOCABULARY))


def test_nothing_has_a_gradient_through_drawing_and_probability():
    layer, embedding = one_hot_tokens()
    states = tf.Variable(np.random.default_rng(0).normal(size=(2, 4, VOCABULARY)), dtype="float32")
    layer.trust.assign(np.ones(VOCABULARY))
    mixing = {"windows": np.ones((2, 4), int), "kept": np.zeros((2, 4), bool), "count": 1}
    with tf.GradientTape() as tape:
        vectors = layer(states * 1, np.full((2, 4), REFERENCE), embedding=embedding, **mixing)
        loss = tf.reduce_sum(vectors)
    in_states, in_trust, in_table = tape.gradient(loss, [states, layer.trust.value, embedding.table.value])
    assert in_states is None
    assert np.all(numbers(in_trust) > 0)
    chosen = np.unique(numbers(vectors - layer.trust * 0.0).argmax(-1))
    # The table gets the gradient of the vectors that were stored, and none as the output layer.
    touched = np.flatnonzero(np.abs(numbers(tf.convert_to_tensor(in_table))).sum(-1))
    assert set(touched) == set(chosen)


def test_the_same_random_state_stores_the_same_tokens_and_the_next_batch_others():
    model, (inputs, _) = model_of(), batches()[0]

    def stored():
        return after(model, inputs, own_choices=True, training=True)

    first = call_with_same_seed(model, stored)
    np.testing.assert_array_equal(first, stored())
    assert np.abs(first - stored()).max() > 1e-3


def test_training_moves_the_trust():
    model = model_of(dtype="mixed_bfloat16")
    training = DocumentTeacherForcing(model, 0.0, lanes=2, own_choices=True)
    training.build()
    training.compile(keras.optimizers.Adam(0.02), jit_compile=False)
    kinds = keras.tree.map_structure(lambda array: tf.TensorSpec((None, None), "int32"), batches()[0])
    data = tf.data.Dataset.from_generator(lambda: (b for _ in range(6) for b in batches()), output_signature=kinds)
    history = training.fit(data, steps_per_epoch=12, verbose=0, shuffle=False).history
    assert np.isfinite(history["loss"][0])
    assert np.all(numbers(model.target_tokens.trust) != 0)


def test_a_later_window_changes_nothing_before_it_while_tokens_are_mixed():
    model = model_of(trust=0.7)
    (lane,) = documents(2, count=1, windows=3)
    inputs, _ = pack([lane], multiple=1)

    def states_of(inputs):
        def run():
            return numbers(model.document_states(inputs, model.initial_memory(1), training=True, own_choices=True)[0])

        return call_with_same_seed(model, run)

    before, earlier = states_of(inputs), inputs["target_windows"] < 3
    changed = {**inputs, "target_following": np.where(earlier, inputs["target_following"], 11)}
    changed["target"] = np.where(earlier, inputs["target"], 12)
    found = states_of(changed)
    equal(found[earlier], before[earlier])
    assert np.abs(found[~earlier] - before[~earlier]).max() > 1e-3
