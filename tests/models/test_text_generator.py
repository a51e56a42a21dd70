"""The text generator: no token sees a later one, steps equal the whole, and its state goes on over windows."""

import keras
import numpy as np
import pytest
from keras import ops

from data.packing import PackedWindow, pack
from models.search import beam_search, sample
from models.text_generator import TextGenerator
from tests.models.layer_checks import (
    FLOATS,
    VOCABULARY,
    WIDTH,
    Subject,
    check_cached,
    check_finite,
    check_no_future,
    check_one_trace,
    check_padding,
    check_saves,
    check_trains,
    equal,
    numbers,
)


def make(dropout=0.0, dtype="float32", **settings):
    keras.utils.set_random_seed(1)
    shape = {"layers": 2, "width": WIDTH, "hidden": 16, "heads": 2, "dropout": dropout}
    model = TextGenerator(VOCABULARY, **{**shape, **settings}, dtype=dtype)
    model.build()
    return model


def inputs_of(x):
    """Rows of tokens as a single window each, with which a document begins."""
    x = ops.convert_to_tensor(x)
    positions = ops.broadcast_to(ops.arange(ops.shape(x)[1], dtype="int32")[None], ops.shape(x))
    windows = ops.cast(ops.not_equal(x, 0), "int32")
    return {
        "target": x,
        "target_windows": windows,
        "target_positions": positions,
        "target_remembered": windows,
        "resets": ops.ones_like(windows[:, :1]),
    }


def call(model, x, real, training):
    return model(inputs_of(x), training=training)


def made(**settings):
    return lambda dropout=0.0, dtype="float32": make(dropout, dtype, **settings)


SUBJECTS = [
    Subject("generator", made(), call, causal=True, tokens=True),
    Subject("generator-free", made(tied=False, vectors=5, positions="sinusoidal"), call, causal=True, tokens=True),
    Subject("lstm", made(layers=0), call, causal=True, tokens=True),
]
each = pytest.mark.parametrize("subject", SUBJECTS, ids=str)


@each
def test_serialises_and_loads(subject, tmp_path):
    check_saves(subject, tmp_path)


@each
def test_padding_never_changes_a_real_position(subject):
    check_padding(subject)


@pytest.mark.parametrize("training,dropout", [(False, 0.0), (True, 0.3)])
@each
def test_no_output_depends_on_a_later_token(subject, training, dropout):
    check_no_future(subject, dropout, training)


@pytest.mark.parametrize("dtype", FLOATS)
@each
def test_finite_in_every_float_type(subject, dtype):
    check_finite(subject, dtype, "float32")


@each
def test_a_few_training_steps_lower_a_loss(subject):
    check_trains(subject)


@each
def test_one_trace_serves_unknown_lengths(subject):
    check_one_trace(subject, training=True)


TOKENS = np.random.default_rng(2).integers(4, VOCABULARY, (2, 7))


LAYERS = pytest.mark.parametrize("layers", [2, 0])


@pytest.mark.parametrize("known", [0, 1, 4])
@LAYERS
def test_steps_after_a_beginning_are_those_of_the_whole(layers, known):
    model = make(layers=layers)
    whole = numbers(model(inputs_of(TOKENS)))[:, known:]
    state = model.initial_state(ops.convert_to_tensor(TOKENS[:, :known]), 7 - known)

    def step(t, state):
        return model.step(ops.convert_to_tensor(TOKENS[:, known + t]), state)

    check_cached(whole, state, step, 7 - known)


@LAYERS
def test_beginnings_of_different_lengths_stand_side_by_side(layers):
    model = make(layers=layers)
    prefix, last = TOKENS[:, :4].copy(), TOKENS[:, 4].copy()
    prefix[1, 2:], last[1] = 0, TOKENS[1, 2]
    logits, _ = model.step(ops.convert_to_tensor(last), model.initial_state(ops.convert_to_tensor(prefix), 1))
    whole = numbers(model(inputs_of(TOKENS)))
    equal(numbers(logits), np.stack([whole[0, 4], whole[1, 2]]))


@LAYERS
def test_the_state_goes_from_window_to_window_and_ends_with_a_document(layers):
    """One batch of two windows equals two batches of one; a document that begins knows nothing."""
    model, memory = make(layers=layers), make().initial_memory(1)
    first, second = [[5, 6, 7]], [[8, 9]]

    def states(windows, memory):
        inputs, _ = pack([[PackedWindow([[4]], text, 0, reset) for text, reset in windows]], multiple=1)
        found, after = model.document_states(inputs, memory)
        return numbers(found)[0], after

    together, last = states([(first, True), (second, False)], memory)
    one, between = states([(first, True)], memory)
    other, after = states([(second, False)], between)
    equal(together, np.concatenate([one, other]))
    for name in ("cell", "hidden"):
        equal(numbers(last[name]), numbers(after[name]))
    fresh, _ = states([(second, True)], between)
    alone, _ = states([(second, True)], memory)
    equal(fresh, alone)
    assert np.abs(fresh - other).max() > 1e-3


@LAYERS
def test_a_window_that_is_not_remembered_leaves_the_state_alone(layers):
    """Such are the shorter windows that come before a scored one, see `app.translation.forced`."""
    model = make(layers=layers)
    first, second = [[5, 6, 7], [4, 9]], [[8, 9], [6]]

    def states(*windows):
        row = [PackedWindow([[4]], text, 0, reset, remembered) for text, reset, remembered in windows]
        inputs, _ = pack([row], multiple=1)
        found, after = model.document_states(inputs, model.initial_memory(1))
        return [numbers(found)[0][inputs["target_windows"][0] == n + 1] for n in range(len(windows))], after

    plain, after = states((first, True, True), (second, False, True))
    shorter = (first[:1], True, False), (first, True, True), (second[:1], False, False), (second, False, True)
    found, other = states(*shorter)
    equal(found[1], plain[0])
    equal(found[3], plain[1])
    for name in ("cell", "hidden"):
        equal(numbers(after[name]), numbers(other[name]))


def test_the_recurrent_layer_is_keras_own():
    model = make(layers=0)
    x, state = np.random.default_rng(1).normal(size=(2, 7, WIDTH)).astype("float32"), model.initial_memory(2)
    carried = [state["hidden"], state["cell"]]
    mine = carried
    for t in range(7):
        _, carried = model.cell(ops.convert_to_tensor(x[:, t]), carried)
        mine = model._cell(model._cell_inputs(ops.convert_to_tensor(x[:, t])), mine)
    for own, keras_own in zip(mine, carried, strict=True):
        equal(numbers(own), numbers(keras_own))


def test_in_bfloat16_the_cell_keeps_what_is_added_in_small_parts():
    model = make(layers=0, dtype="bfloat16")
    opened, closed = 9.0, -9.0
    gates = ops.convert_to_tensor([[-7.0] * WIDTH + [opened] * WIDTH + [opened] * WIDTH + [closed] * WIDTH])
    state = [ops.zeros((1, WIDTH)), ops.ones((1, WIDTH))]
    for _ in range(100):
        state = model._cell(ops.cast(gates, "bfloat16"), state)
    keep, write = 1 / (1 + np.exp(-9.0)), 1 / (1 + np.exp(7.0))
    wanted = keep**100 + write * sum(keep**n for n in range(100))
    assert numbers(state[1]) == pytest.approx(np.full((1, WIDTH), wanted), abs=1e-4) and wanted > 1.05


@LAYERS
def test_calls_of_one_step_draw_what_one_call_of_many_draws(layers):
    """Also, what is drawn goes on after the beginning, and does not repeat it."""
    model = make(layers=layers)
    state = model.initial_state(ops.convert_to_tensor(TOKENS[:, :3]), 5)
    drawn = sample(model.step, state, 2, 5, 3, top_k=1, bos=int(TOKENS[0, 3]), eos=3, min_length=5).tokens[:1, 0]
    token, found = ops.convert_to_tensor(TOKENS[[0, 0], 3]), []
    state = model.initial_state(ops.convert_to_tensor(TOKENS[[0, 0], :3]), 5)
    for _ in range(5):
        logits, state = model.step(token, state)
        shares = np.array(ops.convert_to_numpy(logits))
        shares[:, [0, 2, 3]] = -np.inf  # padding, the begin and the end token may not come
        token = ops.convert_to_tensor(np.argmax(shares, axis=-1))
        found.append(int(token[0]))
    assert np.asarray(drawn)[0, :4].tolist() == found[:4]


@LAYERS
def test_a_beam_scores_its_hypotheses_as_the_whole_text_does(layers):
    """Hypotheses of a search swap places, and each must go on with its own past."""
    model = make(layers=layers)
    for variable in model.trainable_variables:
        variable.assign(variable * 2.0)
    state = model.initial_state(ops.convert_to_tensor(TOKENS[:, :3]), 5)
    found = beam_search(model.step, state, 2, 4, 5, nbest=4, bos=2, eos=3, length_penalty=0.0)
    tokens, scores = numbers(found.tokens).astype("int32"), numbers(found.scores)
    for row in range(2):
        for hypothesis, score in zip(tokens[row], scores[row], strict=True):
            given = np.concatenate([TOKENS[row, :3], [2], hypothesis[:-1]])[None]
            logits = numbers(model(inputs_of(given)))[0, 3:].astype("float64")
            shares = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
            expected = shares[np.arange(5), hypothesis][hypothesis != 0].sum()
            assert score == pytest.approx(expected, abs=1e-3)
