"""R-Drop: the divergence and its gradient against their definition, and that two passes are compared in training."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.r_drop import twin_losses
from models.teacher_forcing import TeacherForcing
from models.transformer import Transformer
from tests.models.copied_weights import randomise

VOCABULARY = 20
INPUTS = {"source": np.array([[5, 9, 7, 3], [8, 4, 3, 0]]), "target": np.array([[2, 9, 7, 10], [2, 8, 0, 0]])}
LABELS = np.array([[9, 7, 10, 3], [8, 3, 0, 0]])


def make(r_drop, dropout=0.2):
    keras.utils.set_random_seed(3)
    model = Transformer(VOCABULARY, 1, 1, 8, 12, 2, dropout=dropout)
    model.build()
    trainer = TeacherForcing(randomise(model), 0.1, r_drop)
    trainer.build()
    return trainer


def by_definition(first, second, table, labels, weights, smoothing, alpha):
    p, q = (tf.nn.softmax(states @ tf.transpose(table)) for states in (first, second))
    forward, backward = (tf.reduce_sum(a * tf.math.log(a / b), -1) for a, b in ((p, q), (q, p)))
    apart = tf.reduce_sum(weights * (forward + backward) / 2)
    own = tf.one_hot(labels, table.shape[0])
    likely, uniform = (
        -tf.reduce_sum(weights[:, None] * share * (tf.math.log(p) + tf.math.log(q))) / 2
        for share in (own, tf.ones_like(own) / table.shape[0])
    )
    return (1 - smoothing) * likely + smoothing * uniform + alpha / 2 * apart, likely, apart


@pytest.mark.parametrize("rows", [1, 7, 24])
@pytest.mark.parametrize("alpha", [0.0, 2.0, 20.0])  # with the last one nearly all of the gradient is the divergence's
def test_losses_and_gradient_by_definition(rows, alpha):
    draw = np.random.default_rng(0)
    first, second, table = (tf.Variable(draw.normal(size=(n, 4)).astype("float32")) for n in (rows, rows, 9))
    labels, weights = draw.integers(0, 9, rows), draw.uniform(size=rows).astype("float32")
    found = []
    for by_hand in (True, False):
        with tf.GradientTape() as tape:
            if by_hand:
                losses = twin_losses(tf.concat([first, second], 0), table, labels, weights, 0.1, alpha)
            else:
                losses = by_definition(first, second, table, labels, weights, 0.1, alpha)
            value = 3.0 * losses[0]
        found.append([*losses, *map(tf.convert_to_tensor, tape.gradient(value, [first, second, table]))])
    assert float(found[0][2]) > 0.01 * rows
    for mine, expected in zip(*found, strict=True):
        np.testing.assert_allclose(mine, expected, rtol=1e-4, atol=1e-5)


def test_in_bfloat16_the_gradient_is_that_of_float32_to_its_precision():
    draw = np.random.default_rng(2)
    second = draw.normal(size=(40, 16)).astype("float32")
    given = [second + 0.2 * draw.normal(size=(40, 16)), second, 0.5 * draw.normal(size=(500, 16))]
    first, second, table = (tf.Variable(tf.cast(tf.cast(each, "bfloat16"), "float32")) for each in given)
    labels, weights = draw.integers(0, 500, 40), draw.uniform(size=40).astype("float32")
    found = []
    for dtype in ("float32", "bfloat16"):
        with tf.GradientTape() as tape:
            states = tf.cast(tf.concat([first, second], 0), dtype)
            losses = twin_losses(states, table, labels, weights, 0.0, 200.0)
        found.append([*losses, *map(tf.convert_to_tensor, tape.gradient(losses[0], [first, second, table]))])
    for exact, rounded in zip(*found, strict=True):
        assert np.linalg.norm(rounded - exact) < 0.06 * np.linalg.norm(exact)


def test_equal_states_do_not_diverge():
    states, table = (np.random.default_rng(1).normal(size=size).astype("float32") for size in ((5, 4), (9, 4)))
    found = twin_losses(np.concatenate([states, states]), table, np.arange(5), np.ones(5, "float32"), 0.1, 5.0)
    assert abs(float(found[2])) < 1e-6


def loss_of(trainer):
    trainer.compile(jit_compile=False)
    states = trainer(INPUTS, training=True)
    return float(trainer.compute_loss(INPUTS, LABELS, states)), states


def test_without_dropout_the_loss_is_the_plain_one():
    (plain, _), (twice, states) = loss_of(make(0.0, dropout=0.0)), loss_of(make(5.0, dropout=0.0))
    assert twice == pytest.approx(plain, rel=1e-5)
    assert states["twins"].shape == (4, 4, 8)


def test_two_passes_differ_in_dropout_and_are_compared_on_real_tokens():
    trainer = make(5.0)
    loss, states = loss_of(trainer)
    logits = trainer.transformer.output_embedding.logits(states["twins"]).numpy()
    shares = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    first, second = shares[:2], shares[2:]
    assert np.abs(first - second).max() > 0.01
    real = LABELS != 0
    apart = ((np.exp(first) - np.exp(second)) * (first - second)).sum(axis=-1)[real].sum() / 2 / real.sum()
    likely = [np.take_along_axis(each, LABELS[..., None], -1)[..., 0][real].mean() for each in (first, second)]
    uniform = [each.mean(axis=-1)[real].mean() for each in (first, second)]
    expected = -0.9 * np.mean(likely) - 0.1 * np.mean(uniform) + 2.5 * apart
    assert loss == pytest.approx(expected, rel=1e-4)
    found = trainer.get_metrics_result()
    assert float(found["divergence"]) == pytest.approx(apart, rel=1e-4)
    assert float(found["tokens"]) == 6 and float(found["nll"]) == pytest.approx(-np.mean(likely), rel=1e-4)


def test_passes_come_to_agree_in_training_and_validation_makes_one():
    trainer = make(20.0)
    trainer.compile(optimizer=keras.optimizers.Adam(0.01), jit_compile=False)
    history = trainer.fit(INPUTS, LABELS, batch_size=2, epochs=60, shuffle=False, verbose=0).history["divergence"]
    assert np.mean(history[-5:]) < 0.5 * np.mean(history[:5])
    assert trainer(INPUTS).shape == (2, 4, 8)


def test_it_is_saved_with_its_weight():
    trainer = make(4.0)
    again = keras.saving.deserialize_keras_object(json.loads(json.dumps(keras.saving.serialize_keras_object(trainer))))
    assert again.r_drop == 4.0 and "divergence" in again.trackers
