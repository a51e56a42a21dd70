"""A batch computed in parts has the losses, the gradients and the memory of the whole batch."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from data.batching import fill
from models.teacher_forcing import DocumentTeacherForcing, TeacherForcing
from models.transformer import Transformer
from tests.models.copied_weights import randomise
from tests.models.layer_checks import equal, numbers
from tests.models.test_document import batches, model_of
from tests.models.test_ranking import ranked

LENGTHS = [(9, 8), (5, 7), (2, 3), (7, 1), (3, 3)]


def rows(lengths):
    draw = np.random.default_rng(2)
    source, target, labels = (np.zeros((len(lengths), 10), "int32") for _ in range(3))
    for row, (here, there) in enumerate(lengths):
        source[row, :here], target[row, 0] = draw.integers(4, 20, here), 2
        labels[row, :there] = draw.integers(4, 20, there)
        target[row, 1 : there + 1] = labels[row, :there]
    return {"source": source, "target": target}, labels


def trainer_of(model, parts, r_drop=0.0):
    trainer = TeacherForcing(model, 0.1, r_drop, parts)
    trainer.build()
    return trainer


def outcome(trainer, inputs, labels):
    """Loss and gradients of a step of `fit`, and what it reports."""
    variables = [weight.value for weight in trainer.transformer.trainable_weights]
    with tf.GradientTape() as tape:
        loss = trainer.compute_loss(inputs, ops.convert_to_tensor(labels), trainer(inputs, training=True))
    gradients = tape.gradient(loss, variables)
    found = [numbers(tf.convert_to_tensor(one)) for one in gradients if one is not None]
    return float(loss), found, {name: float(value) for name, value in trainer.get_metrics_result().items()}


def compare(one, other):
    assert one[0] == pytest.approx(other[0], rel=1e-5) and np.isfinite(one[0])
    for mine, theirs in zip(one[1], other[1], strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=2e-4, atol=2e-6)
    assert one[2] == pytest.approx(other[2], rel=1e-5)


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize(
    "settings", [{}, {"stack": "reversible"}, {"attention": "lsh", "lsh_chunk": 4, "lsh_buckets": 2}]
)
def test_sentences_in_parts_equal_the_whole_batch(settings, count):
    keras.utils.set_random_seed(1)
    model = Transformer(20, 2, 2, 8, 12, 2, dropout=0.0, norm="pre", **settings)
    model.build()
    randomise(model)
    batch = fill(rows(LENGTHS[:count]), 1 if count > 1 else 2)
    compare(*(outcome(trainer_of(model, parts), *batch) for parts in (1, 2)))


def test_r_drop_in_parts_compares_each_row_with_its_own_twin():
    keras.utils.set_random_seed(1)
    model = Transformer(20, 1, 1, 8, 12, 2, dropout=0.2)
    model.build()
    trainer = trainer_of(randomise(model), parts=2, r_drop=2.0)
    inputs, labels = rows(LENGTHS)
    states = trainer(inputs, training=True)
    # The first part has rows 0, 2 and 4 twice, the second rows 1 and 3.
    even, odd = (part["twins"] for part in states["parts"])
    twins = {"twins": ops.concatenate([even[:3], odd[:2], even[3:], odd[2:]])}
    tokens = ops.cast(np.count_nonzero(labels), "float32")
    whole = trainer_of(model, parts=1, r_drop=2.0)
    expected = whole.token_losses(ops.convert_to_tensor(labels[[0, 2, 4, 1, 3]]), twins, tokens)
    found = trainer.token_losses(ops.convert_to_tensor(labels), states, tokens)
    for name, loss in expected.items():
        assert float(found[name]) == pytest.approx(float(loss), rel=1e-5)
    assert float(found["divergence"]) > 0


@pytest.mark.parametrize(
    "kind, settings",
    [
        *(
            (kind, {})
            for kind in ("none", "gru-both", "gru-all", "fixed", "variable-both", "recurrence", "compressive")
        ),
        ("prism-both", {}),
        ("gru-both", {"ranking": 1.0, "margin": 0.5}),
        ("gru-both", {"own_choices": True}),
        ("none", {"context_discount": 0.3}),
    ],
)
def test_documents_in_parts_equal_the_whole_batch(kind, settings):
    keras.utils.set_random_seed(1)
    model = model_of(kind)
    trainers = [DocumentTeacherForcing(model, 0.1, lanes=4, parts=parts, **settings) for parts in (1, 2)]
    for trainer in trainers:
        trainer.build()
    for batch in batches(lanes=4):
        inputs, labels = ranked(batch) if "ranking" in settings else batch
        compare(*(outcome(trainer, inputs, labels) for trainer in trainers))
        for mine, theirs in zip(*(trainer.carried for trainer in trainers), strict=True):
            equal(numbers(ops.cast(mine, "float32")), numbers(ops.cast(theirs, "float32")))


def test_validation_is_never_in_parts():
    trainer = DocumentTeacherForcing(model_of("compressive"), 0.1, lanes=4, parts=2)
    trainer.build()
    inputs, _ = batches(lanes=4)[0]
    assert trainer(inputs).shape[0] == 4 and set(trainer(inputs, training=True)) == {"parts"}


def test_lanes_that_cannot_be_divided_are_refused():
    with pytest.raises(ValueError, match="3 lanes cannot be divided equally among 2 parts"):
        DocumentTeacherForcing(model_of("gru"), lanes=3, parts=2)
    with pytest.raises(ValueError, match="at least 2 are needed in each, got 1"):
        DocumentTeacherForcing(model_of("gru"), lanes=2, parts=2, ranking=1.0)
