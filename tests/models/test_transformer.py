"""The whole model: shapes, ties, masks from tokens, decoding step by step, saving, and learning a task."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops, tree

from models.masks import look_ahead_mask, padding_mask
from models.teacher_forcing import TeacherForcing
from models.transformer import Transformer
from tests.models.copied_weights import randomise
from tests.models.layer_checks import check_cached

VOCABULARY = 20
SOURCE = np.array([[5, 9, 7, 3], [8, 4, 3, 0]])
TARGET = np.array([[2, 9, 7, 10, 6], [2, 8, 4, 11, 12]])
KINDS = [
    {},
    {"norm": "pre", "positions": "rotary", "tie": "none"},
    {"positions": "learned", "max_positions": 12, "tie": "target", "activation": "gelu"},
    {"source_vectors": 5},
    {"output_bias": True, "activation": "swish"},
    {"output_bias": True, "tie": "none", "norm": "pre"},
]


def make(seed=0, **settings):
    defaults = {"encoder_layers": 2, "decoder_layers": 2, "width": 8, "hidden": 12, "heads": 2}
    model = Transformer(VOCABULARY, **{**defaults, **settings})
    model.build()
    return randomise(model, seed)


def array(tensor):
    return ops.convert_to_numpy(tensor)


@pytest.mark.parametrize("settings", KINDS, ids=str)
def test_logits_are_made_of_the_parts(settings):
    model = make(**settings)
    logits = model({"source": SOURCE, "target": TARGET})
    assert tuple(logits.shape) == (2, 5, VOCABULARY) and logits.dtype == "float32"

    positions = np.arange(5)[None]
    encodings = model.encode(SOURCE)
    mask = ops.logical_and(padding_mask(TARGET), look_ahead_mask(5))
    states, _, weights = model.decoder(
        model.target_positions(model.target_embedding(TARGET), positions),
        encodings,
        attention_mask=mask,
        source_mask=padding_mask(SOURCE),
        positions=positions,
    )
    np.testing.assert_allclose(array(model.output_embedding.logits(states)), array(logits), atol=1e-5)
    states, (target_weights, source_weights) = model.decode(TARGET, encodings, SOURCE)
    np.testing.assert_allclose(array(model.output_embedding.logits(states)), array(logits), atol=1e-5)
    for ours, theirs in zip((*target_weights, *source_weights), (*weights[0], *weights[1]), strict=True):
        np.testing.assert_allclose(array(ours), array(theirs), atol=1e-6)


@pytest.mark.parametrize(
    "use",
    [
        lambda model: model.encode(SOURCE),
        lambda model: model.decode(TARGET, np.zeros((2, 4, 8), "float32"), SOURCE),
        lambda model: model.initial_state(SOURCE, 5),
    ],
    ids=["encode", "decode", "initial_state"],
)
def test_parts_can_be_used_before_the_whole(use):
    model, built = (Transformer(VOCABULARY, 1, 1, width=8, hidden=12, heads=2, name="same") for _ in range(2))
    use(model)
    assert model({"source": SOURCE, "target": TARGET}).shape == (2, 5, VOCABULARY)
    built.build()
    assert [weight.path for weight in model.weights] == [weight.path for weight in built.weights]


@pytest.mark.parametrize("tie,tables", [("all", 1), ("target", 2), ("none", 3)])
def test_ties_share_tables(tie, tables):
    model = make(tie=tie)
    assert sum(weight.shape == (VOCABULARY, 8) for weight in model.trainable_weights) == tables
    assert (model.source_embedding is model.target_embedding) == (tie == "all")
    assert (model.output_embedding is model.target_embedding) == (tie != "none")


def test_unknown_tie_is_refused_with_the_choices():
    with pytest.raises(ValueError, match="tie must be one of all, target, none, got 'source'"):
        make(tie="source")


def test_number_of_weights():
    """Counted as the paper counts: table 3 says 65 million for width 512 and about 37,000 tokens."""
    width, hidden, layers = 16, 64, 3
    attention, feed_forward, norm = 4 * width * (width + 1), 2 * width * hidden + hidden + width, 2 * width
    encoder, decoder = attention + feed_forward + 2 * norm, 2 * attention + feed_forward + 3 * norm
    model = make(encoder_layers=layers, decoder_layers=layers, width=width, hidden=hidden)
    assert model.count_params() == VOCABULARY * width + layers * (encoder + decoder)


@pytest.mark.parametrize("training,dropout", [(False, 0.0), (True, 0.0), (True, 0.3)])
def test_later_target_tokens_get_no_gradient(training, dropout):
    """Every token stands in one place only, so a row of the target table belongs to one position."""
    model = make(tie="none", dropout=dropout, attention_dropout=dropout, activation_dropout=dropout, encoder_layers=1)
    target = np.array([[2, 9, 7, 10, 6]])
    for t in (0, 2):
        with tf.GradientTape() as tape:
            logits = model({"source": SOURCE[:1], "target": target}, training=training)
            total = tf.reduce_sum(logits[0, t] * np.arange(VOCABULARY))
        gradient = tf.convert_to_tensor(tape.gradient(total, model.target_embedding.table.value)).numpy()
        assert np.abs(gradient[target[0, : t + 1]]).sum(-1).all()
        assert (gradient[target[0, t + 1 :]] == 0).all()


def test_source_padding_gets_no_gradient():
    model = make(tie="none")
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model({"source": SOURCE, "target": TARGET}) ** 2)
    gradient = tf.convert_to_tensor(tape.gradient(loss, model.source_embedding.table.value)).numpy()
    assert (gradient[0] == 0).all() and np.abs(gradient[[5, 9, 7, 3, 8, 4]]).sum(-1).all()


@pytest.mark.parametrize("settings", KINDS, ids=str)
def test_cached_steps_equal_the_whole_target_at_once(settings):
    model = make(**settings)

    def step(t, state):
        return model.step(tf.constant(TARGET[:, t]), state)

    whole = model({"source": SOURCE, "target": TARGET})
    check_cached(whole, model.initial_state(SOURCE, 7), step, 5)


def test_cached_steps_in_a_graph_of_unknown_sizes():
    model = make(positions="learned", max_positions=12, encoder_layers=1, decoder_layers=1)

    @tf.function(input_signature=[tf.TensorSpec((None, None), "int32")] * 2)
    def decode(source, target):
        state = model.initial_state(source, ops.shape(target)[1])
        logits = tf.TensorArray("float32", ops.shape(target)[1])
        for t in tf.range(ops.shape(target)[1]):
            row, state = model.step(target[:, t], state)
            logits = logits.write(t, row)
        return tf.transpose(logits.stack(), (1, 0, 2))

    for length in (5, 2):
        inputs = {"source": SOURCE.astype("int32"), "target": TARGET[:, :length].astype("int32")}
        np.testing.assert_allclose(array(decode(**inputs)), array(model(inputs)), rtol=1e-5, atol=1e-5)
    assert decode.experimental_get_tracing_count() == 1


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_cached_steps_in_half_precision(dtype):
    model = make(dtype=dtype)
    state = model.initial_state(SOURCE, 5)
    whole = array(model({"source": SOURCE, "target": TARGET}))
    for t in range(5):
        logits, state = model.step(TARGET[:, t], state)
        assert logits.dtype == "float32"
        np.testing.assert_allclose(array(logits), whole[:, t], atol=0.1 * np.abs(whole).max())


def test_the_rows_of_a_state_are_independent():
    """What search relies on: rows may be repeated, reordered, and stand at different positions."""
    model = make()
    state = model.initial_state(SOURCE, 6)
    assert all(leaf.shape[0] == 2 for leaf in tree.flatten(state))
    _, state = model.step(TARGET[:, 0], state)
    expected, _ = model.step(TARGET[:, 1], state)
    rows = [1, 0, 1]
    moved, _ = model.step(TARGET[rows, 1], tree.map_structure(lambda leaf: ops.take(leaf, rows, axis=0), state))
    np.testing.assert_allclose(array(moved), array(expected)[rows], atol=1e-5)

    _, ahead = model.step(TARGET[:, 1], state)
    mixed = tree.map_structure(lambda late, early: ops.concatenate([late[:1], early[1:]]), ahead, state)
    logits, _ = model.step(np.array([TARGET[0, 2], TARGET[1, 1]]), mixed)
    whole = array(model({"source": SOURCE, "target": TARGET}))
    np.testing.assert_allclose(array(logits), [whole[0, 2], whole[1, 1]], atol=1e-5)


def test_a_state_is_a_value():
    model = make()
    state = model.initial_state(SOURCE, 5)
    before = [array(leaf).copy() for leaf in tree.flatten(state)]
    first = array(model.step(TARGET[:, 0], state)[0])
    np.testing.assert_allclose(array(model.step(TARGET[:, 0], state)[0]), first)
    for leaf, old in zip(tree.flatten(state), before, strict=True):
        np.testing.assert_array_equal(array(leaf), old)


def test_learned_positions_have_an_end_and_say_so():
    model = make(positions="learned", max_positions=4)
    with pytest.raises(ValueError, match="5 tokens are more than the 4 learned positions"):
        model({"source": SOURCE, "target": TARGET})
    with pytest.raises(ValueError, match="9 steps are more than the 4 learned positions"):
        model.initial_state(SOURCE, 9)


def test_other_positions_have_no_end():
    source = np.full((1, 1500), 5)
    for positions in ("sinusoidal", "rotary"):
        model = make(positions=positions, max_positions=4, encoder_layers=1, decoder_layers=1)
        assert np.isfinite(array(model({"source": source, "target": TARGET[:1]}))).all()


@pytest.mark.parametrize("settings", KINDS, ids=str)
def test_saved_and_loaded_as_a_keras_file(settings, tmp_path):
    model = make(**settings)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.get_config() == model.get_config()
    inputs = {"source": SOURCE, "target": TARGET}
    np.testing.assert_array_equal(array(loaded(inputs)), array(model(inputs)))


def test_frozen_vectors_stay_while_the_rest_learns():
    model = make(source_vectors=5, vectors_trainable=False, tie="none")
    assert not model.source_embedding.table.trainable
    assert model.source_embedding.projection.trainable
    assert model.target_embedding.table.trainable and model.output_embedding.table.trainable


def test_learns_to_copy_with_fit():
    """Through `TeacherForcing`, as `app` trains it; then decoding step by step gives the source back."""
    random = np.random.default_rng(0)
    tokens = random.integers(4, 10, (512, 3))
    source = np.pad(tokens, ((0, 0), (0, 1)), constant_values=3)
    target = np.pad(tokens, ((0, 0), (1, 0)), constant_values=2)
    keras.utils.set_random_seed(1)
    model = Transformer(10, 1, 1, width=32, hidden=64, heads=2, dropout=0.0, norm="pre")
    trainer = TeacherForcing(model, smoothing=0.0)
    trainer.compile(optimizer=keras.optimizers.Adam(0.005), jit_compile=False)
    inputs = {"source": source, "target": target}
    history = trainer.fit(inputs, source, batch_size=64, epochs=15, verbose=0).history
    assert history["loss"][-1] < 0.1 * history["loss"][0]

    words = random.integers(4, 10, (16, 3))
    state = model.initial_state(np.pad(words, ((0, 0), (0, 1)), constant_values=3), 4)
    last, copied = np.full(16, 2), []
    for _ in range(4):
        logits, state = model.step(last, state)
        last = array(logits).argmax(-1)
        copied.append(last)
    right = np.stack(copied, 1) == np.pad(words, ((0, 0), (0, 1)), constant_values=3)
    assert right.mean() > 0.95
