"""Prism: the exact inverse, what lies in which place, what is carried, and the loss of rebuilding."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from models.couplings import Couplings
from models.memories.base import Row
from models.memories.prism import PrismMemory
from tests.models.layer_checks import WIDTH, equal, numbers


def randomise(layer, spread=0.5):
    random = np.random.default_rng(0)
    for weight in layer.weights:
        weight.assign(random.normal(size=weight.shape) * spread)
    return layer


def prism(**settings):
    layer = PrismMemory(WIDTH, **{"places": 3, "share": 0.5, "couplings": 2, **settings})
    layer.build()
    return randomise(layer)


def drawn(*shape, seed=1):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


@pytest.mark.parametrize("shape", [(1, 2), (3, 8), (1, 1, 6), (4, 5, 64), (2, 3, 4, 32)])
@pytest.mark.parametrize("couplings", [1, 4, 9])
def test_the_inverse_is_exact(shape, couplings):
    network = Couplings(shape[-1], couplings)
    network.build()
    randomise(network, 0.5 * shape[-1] ** -0.5)
    x = drawn(*shape)
    y = network(x)
    assert np.abs(numbers(y) - x).max() > 0.1
    np.testing.assert_allclose(numbers(network.inverse(y)), x, rtol=0, atol=1e-5)
    np.testing.assert_allclose(numbers(network(network.inverse(x))), x, rtol=0, atol=1e-5)


def test_a_coupling_by_hand():
    network = Couplings(2, 1)
    network.build()
    network.inner[0].set_weights([np.array([[1.0, -1.0]]), np.zeros(2)])
    network.outer[0].set_weights([np.array([[0.3, 0.7], [0.0, 0.0]]), np.array([0.0, 0.1])])
    # a = 2 stays, and goes to the back; b = 5 becomes 5 exp(tanh(0.6)) + 1.5.
    equal(numbers(network(np.array([[2.0, 5.0]], "float32"))), [[5 * np.exp(np.tanh(0.6)) + 1.5, 2.0]])


def test_an_odd_width_is_refused():
    with pytest.raises(ValueError, match="even, got 5"):
        Couplings(5)


@pytest.mark.parametrize(
    "here,expected",
    [
        ([1, 1, 0, 0, 0, 0], [[0], [1], []]),
        ([0, 1, 0, 1, 1, 0], [[1], [3], [4]]),
        ([1, 1, 1, 1, 1, 1], [[0, 1], [2, 3], [4, 5]]),
        ([1, 1, 1, 1, 0, 0], [[0, 1], [2], [3]]),
    ],
)
def test_positions_lie_one_by_one_and_share_places_when_there_are_more(here, expected):
    lies = numbers(prism()._lying(ops.convert_to_tensor([here]) > 0))[0]
    assert [np.flatnonzero(place).tolist() for place in lies] == expected


def one_window(length):
    return Row(np.ones((1, length), int), np.zeros((1, 1), int), np.ones((1, length), int))


def test_a_place_holds_what_the_recurrent_network_made_of_its_low_parts():
    memory, state = prism(), prism().initial_state(1)
    windows = [drawn(1, 3, WIDTH, seed=seed) for seed in (1, 2)]
    low = np.zeros((1, 3, memory.low), "float32")
    for x in windows:
        _, state, _ = memory(x, one_window(3), state)
        parts = numbers(memory.network(x))
        low, _ = memory.cell(low, parts[..., : memory.low].astype("float32"))
        equal(numbers(state["low"]), numbers(low))
        equal(numbers(state["rest"]), parts[..., memory.low :])
    values, filled = memory.view(state)
    assert numbers(filled).all()
    inner = np.concatenate([numbers(memory.output_dense(low)), numbers(state["rest"])], axis=-1)
    equal(numbers(memory.network(values)), inner, 1e-4)


def test_a_short_window_leaves_the_other_places_as_they_are():
    memory = prism()
    _, before, _ = memory(drawn(1, 3, WIDTH), one_window(3), memory.initial_state(1))
    _, after, _ = memory(drawn(1, 1, WIDTH, seed=2), one_window(1), before)
    for name in ("low", "rest"):
        equal(numbers(after[name])[:, 1:], numbers(before[name])[:, 1:])
        assert np.abs(numbers(after[name])[:, 0] - numbers(before[name])[:, 0]).max() > 1e-3


def test_the_loss_of_rebuilding_trains_the_network_alone_and_falls():
    memory, x = prism(rebuild=1.0), tf.Variable(drawn(2, 6, WIDTH))
    row = Row(np.ones((2, 6), int), np.zeros((2, 1), int), np.ones((2, 6), int))

    def loss():
        return memory(x.value(), row, memory.initial_state(2))[2]["rebuild"]

    others = [weight.value for weight in (*memory.cell.weights, *memory.output_dense.weights)]
    with tf.GradientTape() as tape:
        before = loss()
    gradients = tape.gradient(before, [x, *others, *(weight.value for weight in memory.network.weights)])
    assert all(gradient is None for gradient in gradients[: 1 + len(others)])
    assert all(np.abs(numbers(gradient)).max() > 0 for gradient in gradients[1 + len(others) :])
    optimizer = keras.optimizers.Adam(0.01)
    for _ in range(30):
        with tf.GradientTape() as tape:
            found = loss()
        weights = memory.network.trainable_variables
        optimizer.apply(tape.gradient(found, [weight.value for weight in weights]), weights)
    assert float(loss()) < 0.8 * float(before)


def test_what_is_rebuilt_is_known_by_its_low_part():
    """Positions whose numbers all lie in the low part are rebuilt without loss by a network that changes nothing."""
    memory = PrismMemory(WIDTH, places=3, share=0.5, rebuild=1.0)
    memory.build()
    x = drawn(1, 3, WIDTH)
    x[..., memory.low :] = 0
    losses = [memory(each, one_window(3), memory.initial_state(1))[2]["rebuild"] for each in (x, drawn(1, 3, WIDTH))]
    assert float(losses[0]) == pytest.approx(0, abs=1e-10)
    assert float(losses[1]) > 0.1


def test_without_a_weight_there_is_no_loss():
    memory = prism(rebuild=0.0)
    assert memory(drawn(1, 3, WIDTH), one_window(3), memory.initial_state(1))[2] == {}
    assert memory.loss_names == ()
