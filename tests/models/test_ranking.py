"""The ranking loss: what is compared with what, and that training on it makes the right document matter."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops, tree

from data.packing import pack
from models.ranking import ranking_loss
from models.teacher_forcing import DocumentTeacherForcing
from tests.models.layer_checks import equal, numbers
from tests.models.test_document import batches, documents, model_of, window_rows

KINDS = [
    "gru",
    "gru-both",
    "fixed",
    "variable-both",
    "cache-both",
    "prism-both",
    "gru-all",
    "compressive",
    "gru+recurrence",
]


def trainer_of(kind="gru-both", ranking=1.0, margin=0.5, **settings):
    trainer = DocumentTeacherForcing(model_of(kind, **settings), 0.1, lanes=2, ranking=ranking, margin=margin)
    trainer.build()
    return trainer


def ranked(batch, mark=1):
    inputs, labels = batch
    return {**inputs, "ranked": np.full((len(labels), 1), mark, "int32")}, labels


def losses_of(trainer, batch):
    inputs, labels = batch
    tokens = ops.cast(np.count_nonzero(labels), "float32")
    return trainer.token_losses(ops.convert_to_tensor(labels), trainer(inputs, training=True), tokens)


def gradients_of(loss, variables):
    with tf.GradientTape() as tape:
        value = loss()
    return value, tape.gradient(value, variables)


LABELS = np.array([[4, 5, 3, 6, 3, 0], [7, 3, 0, 0, 0, 0]])
WINDOWS = np.array([[1, 1, 1, 2, 2, 0], [1, 1, 0, 0, 0, 0]])


def compared(margin, seed=0, scale=1.0):
    """The loss of random states, and the same from the whole softmax by its definition, with their gradients."""
    random = np.random.default_rng(seed)
    right, wrong = (tf.Variable(scale * random.normal(size=(2, 6, 8)), dtype="float32") for _ in range(2))
    table = tf.Variable(random.normal(size=(9, 8)), dtype="float32")
    counted = tf.constant(WINDOWS[:, None] == np.array([1, 2])[None, :, None])

    def by_definition():
        own = [tf.nn.log_softmax(tf.einsum("btd,vd->btv", states, table)) for states in (right, wrong)]
        gain = tf.subtract(*(tf.gather(shares, LABELS, batch_dims=2) for shares in own))
        places = [(0, slice(0, 3)), (0, slice(3, 5)), (1, slice(0, 2))]
        return sum(tf.maximum(0.0, tf.reduce_sum(margin - gain[place])) for place in places)

    variables = [right, wrong, table]
    ours = gradients_of(lambda: ranking_loss(right, wrong, table, LABELS, counted, margin)[0], variables)
    return ours, gradients_of(by_definition, variables), ranking_loss(right, wrong, table, LABELS, counted, margin)[1]


@pytest.mark.parametrize("margin", [0.01, 0.5, 3.0])
@pytest.mark.parametrize("seed", range(4))
def test_loss_and_gradient_are_those_of_the_definition(margin, seed):
    (loss, ours), (expected, theirs), tokens = compared(margin, seed)
    assert float(loss) == pytest.approx(float(expected), rel=1e-4, abs=1e-4)
    assert float(tokens) == 7
    for mine, reference in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(numbers(mine), numbers(reference), rtol=1e-3, atol=1e-4)


def test_a_window_that_is_ahead_by_the_margin_has_no_part():
    random = np.random.default_rng(0)
    table = tf.constant(np.eye(9, 8) * 10, "float32")
    right = tf.Variable(np.eye(9, 8)[LABELS], dtype="float32")
    wrong = tf.Variable(random.normal(size=(2, 6, 8)) * 0.1, dtype="float32")
    counted = tf.constant(WINDOWS[:, None] == np.array([1, 2])[None, :, None])
    for margin, ahead in ((1.0, True), (50.0, False)):
        loss, found = gradients_of(
            lambda margin=margin: ranking_loss(right, wrong, table, LABELS, counted, margin)[0], [right, wrong]
        )
        assert (float(loss) == 0) == ahead
        assert all((np.abs(numbers(gradient)).max() == 0) == ahead for gradient in found)


@pytest.mark.parametrize("kind", KINDS)
def test_every_window_is_read_after_the_memory_that_the_other_lane_had_before_the_batch(kind):
    trainer = trainer_of(kind)
    first, (inputs, labels) = batches()
    trainer(first[0])
    structure = trainer.transformer.initial_memory(2)
    before = tree.pack_sequence_as(structure, [ops.copy(variable.value) for variable in trainer.carried])
    found = trainer(ranked((inputs, labels))[0], training=True)
    right, _ = trainer.transformer.document_states(inputs, before)
    equal(numbers(found["right"]), numbers(right))
    swapped = tree.map_structure(lambda leaf: ops.flip(leaf, axis=0), before)
    lanes = [own[3:] for own in lanes_of_batches()]
    for window in range(3):
        alone, _ = pack([[lane[window]] for lane in lanes], multiple=8)
        states, _ = trainer.transformer.document_states(alone, swapped)
        for row in range(2):
            equal(window_rows(states, alone, row, 0), window_rows(found["wrong"], inputs, row, window))
    assert np.abs(numbers(found["wrong"]) - numbers(found["right"])).max() > 1e-3


def test_what_is_carried_and_drawn_is_the_same_with_and_without_a_comparison():
    results = []
    for mark in (None, 0, 1):
        trainer = trainer_of(dropout=0.3)
        for batch in batches():
            trainer(ranked(batch, mark)[0] if mark is not None else batch[0], training=True)
        results.append([numbers(variable) for variable in (*trainer.carried, *trainer.transformer.variables)])
    for other in results[1:]:
        for mine, theirs in zip(other, results[0], strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_both_documents_are_read_with_the_same_dropout():
    trainer = trainer_of(dropout=0.5)
    # One window a lane, before which nothing is remembered in either.
    inputs, labels = pack([[own[0]._replace(reset=False)] for own in lanes_of_batches()], 4)
    found = trainer(ranked((inputs, labels))[0], training=True)
    np.testing.assert_array_equal(numbers(found["right"]), numbers(found["wrong"]))
    without, _ = trainer.transformer.document_states(inputs, trainer.transformer.initial_memory(2))
    assert np.abs(numbers(found["right"]) - numbers(without)).max() > 0.1, "there was no dropout"


def lanes_of_batches():
    """The windows of `batches`."""
    return documents(5, count=2, windows=6)


def test_first_windows_of_documents_are_not_compared():
    trainer = trainer_of(margin=100.0)
    lanes = [[own[0], own[1], own[0]] for own in lanes_of_batches()]
    inputs, labels = pack(lanes, 4)
    found = losses_of(trainer, ranked((inputs, labels)))
    second = (labels > 0) & (inputs["target_windows"] == 2)
    assert float(found["compared"]) * (labels > 0).sum() == pytest.approx(second.sum())


def test_a_batch_without_the_mark_is_read_once_and_has_the_loss_of_before(monkeypatch):
    plain, trainer = trainer_of(ranking=0.0), trainer_of()
    reads, read = [], trainer.transformer.document_states
    monkeypatch.setattr(trainer.transformer, "document_states", lambda *a, **k: reads.append(1) or read(*a, **k))
    for batch, mark in zip(batches(), (1, 0), strict=True):
        expected = losses_of(plain, batch)
        found = losses_of(trainer, ranked(batch, mark))
        assert float(found["nll"]) == float(expected["nll"])
        assert (float(found["loss"]) > float(expected["loss"])) == bool(mark)
    assert len(reads) == 3
    assert float(found["loss"]) == float(expected["loss"])
    assert float(found["ranking"]) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_the_term_reaches_the_weights_of_the_memory(kind):
    trainer = trainer_of(kind, margin=100.0)
    for weight in trainer.transformer.memory_weights:
        if "/outer_" in weight.path:  # zero at first, so that an inner layer would get no gradient
            weight.assign(weight + 0.1)
    first, second = batches()
    trainer(first[0])
    weights = [weight.value for weight in trainer.transformer.memory_weights]
    _, found = gradients_of(lambda: losses_of(trainer, ranked(second))["ranking"], weights)
    sizes = {
        weight.path: 0.0 if g is None else np.abs(numbers(tf.convert_to_tensor(g))).max()
        for weight, g in zip(trainer.transformer.memory_weights, found, strict=True)
    }
    # A bias of the queries adds the same to a position's scores in all slots, which compete. Rebuilding is no reading.
    without = ("query/bias", "rebuild/kernel", "rebuild/bias")
    assert all(path.endswith(without) for path, size in sizes.items() if size < 1e-7), sizes


@pytest.mark.slow
def test_training_lowers_it_and_reports_it_in_nats_a_compared_token():
    trainer = trainer_of(ranking=3.0, margin=0.5)
    trainer.compile(keras.optimizers.Adam(0.01, gradient_accumulation_steps=2), jit_compile=False)
    both = [ranked(batch, mark) for mark in (1, 1, 0) for batch in batches()]
    kinds = tree.map_structure(lambda array: tf.TensorSpec((None, None), "int32"), both[0])
    data = tf.data.Dataset.from_generator(lambda: (b for _ in range(10) for b in both), output_signature=kinds)
    found = []

    class Note(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch % 6 == 5:
                found.append(logs["ranking"])
                self.model.reset_metrics()

    trainer.fit(data, steps_per_epoch=60, verbose=0, callbacks=[Note()], shuffle=False)
    assert 0.2 < found[0] < 1.0, "half a nat where the documents make no difference yet"
    assert found[-1] < 0.5 * found[0]


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match="at least 2 are needed in each, got 1"):
        DocumentTeacherForcing(model_of("gru"), lanes=1, ranking=0.1)
    with pytest.raises(ValueError, match="carries none"):
        trainer_of("none")
