"""The fused optimiser against Keras' own."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from app.presets.preset import load_preset
from app.training.optimizer import FusedAdam
from app.training.train import _optimizer
from models.transformer import Transformer

SETTINGS = {"beta_1": 0.8, "beta_2": 0.95, "epsilon": 1e-6, "global_clipnorm": 0.5}


def trained(kind, updates=7, **settings):
    """Two variables and all state of the optimiser after updates with given gradients, in a graph as in training."""
    random = np.random.default_rng(0)
    variables = [keras.Variable(random.normal(size=shape).astype("float32")) for shape in ((3, 4), (5,))]
    schedule = keras.optimizers.schedules.InverseTimeDecay(0.1, 2, 0.5)
    optimizer = kind(schedule, **SETTINGS, **settings)
    optimizer.build(variables)
    update = tf.function(lambda *gradients: optimizer.apply(list(gradients), variables))
    for _ in range(updates):
        update(*(tf.constant(random.normal(size=variable.shape), "float32") for variable in variables))
    return [np.array(variable) for variable in (*variables, *optimizer.variables)]


@pytest.mark.parametrize("settings", [{}, {"gradient_accumulation_steps": 3}, {"amsgrad": True}, {"weight_decay": 0.1}])
def test_updates_and_state_are_those_of_keras_adam(settings):
    ours, theirs = trained(FusedAdam, **settings), trained(keras.optimizers.Adam, **settings)
    assert len(ours) == len(theirs)
    for mine, reference in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, reference, rtol=1e-5, atol=1e-6)


def test_weight_decay_shrinks_matrices_and_neither_biases_nor_gains():
    preset = load_preset("starter").with_overrides(["weight_decay=0.5", "learning_rate=0.1", "warmup=1", "minutes=0"])
    model = Transformer(20, encoder_layers=1, decoder_layers=1, width=8, hidden=16, heads=2)
    model.build()
    for weight in model.trainable_variables:
        weight.assign(keras.ops.ones_like(weight))
    optimizer = _optimizer(preset, model)
    optimizer.apply([keras.ops.zeros_like(weight) for weight in model.trainable_variables], model.trainable_variables)
    for weight in model.trainable_variables:
        left = 1.0 if len(weight.shape) < 2 else 1.0 - 0.5 * 0.1
        np.testing.assert_allclose(weight, np.full(weight.shape, left), rtol=1e-6, err_msg=weight.path)


def test_rows_of_a_table_that_were_not_read_also_move():
    """A table's gradient names only the rows that were read; Adam still moves the others by their momentum."""
    results = []
    for kind in (FusedAdam, keras.optimizers.Adam):
        table = keras.Variable(np.ones((4, 2), "float32"))
        optimizer = kind(0.1)
        optimizer.build([table])
        for row in (1, 2):
            optimizer.apply([tf.IndexedSlices(tf.ones((1, 2)), tf.constant([row]), tf.constant([4, 2]))], [table])
        results.append(np.array(table))
    np.testing.assert_allclose(*results, rtol=1e-5)
    assert results[0][1, 0] < 0.85 and results[0][0, 0] == 1


def test_a_rate_factor_is_the_same_as_another_learning_rate():
    random = np.random.default_rng(1)
    start = random.normal(size=4).astype("float32")
    gradients = random.normal(size=(3, 4)).astype("float32")

    def moved(rate, factor):
        first, second = keras.Variable(start), keras.Variable(start)
        optimizer = FusedAdam(rate)
        optimizer.build([first, second])
        optimizer.set_rate_factor([second], factor)
        for gradient in gradients:
            optimizer.apply([tf.constant(gradient)] * 2, [first, second])
        return np.array(first), np.array(second)

    slow, fast = moved(0.01, 5.0)
    np.testing.assert_allclose(slow, moved(0.01, 1.0)[0], rtol=1e-6)
    np.testing.assert_allclose(fast, moved(0.05, 1.0)[0], rtol=1e-5)
