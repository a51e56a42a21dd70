import keras
import numpy as np
import pytest

from app.presets.preset import load_preset
from app.training.schedules import WarmUp


def test_inverse_square_root_is_the_papers_formula():
    width, warmup = 512, 4000
    schedule = WarmUp("inverse_sqrt", width**-0.5 * warmup**-0.5, warmup, 100_000)
    for update in (1, 10, 3999, 4000, 4001, 50_000, 100_000):
        expected = width**-0.5 * min(update**-0.5, update * warmup**-1.5)
        assert schedule.rate(update) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "kind, rates",
    [
        ("inverse_sqrt", {1: 0.01, 5: 0.05, 10: 0.1, 40: 0.05, 1000: 0.01}),
        ("constant", {1: 0.01, 5: 0.05, 10: 0.1, 40: 0.1, 1000: 0.1}),
        ("linear", {1: 0.01, 10: 0.1, 60: 0.05, 85: 0.025, 110: 0.0, 200: 0.0}),
        ("cosine", {1: 0.01, 10: 0.1, 60: 0.05, 85: 0.1 * 0.5 * (1 - 2**-0.5), 110: 0.0, 200: 0.0}),
    ],
)
def test_rates_by_hand(kind, rates):
    schedule = WarmUp(kind, peak=0.1, warmup=10, updates=110)
    assert {update: schedule.rate(update) for update in rates} == pytest.approx(rates, abs=1e-7)


def test_an_optimiser_that_accumulates_takes_each_rate_once():
    schedule = WarmUp("linear", peak=1.0, warmup=2, updates=4, accumulate=3)
    optimizer = keras.optimizers.SGD(schedule, gradient_accumulation_steps=3)
    variable = keras.Variable([0.0])
    optimizer.build([variable])
    seen = []
    for _ in range(12):
        optimizer.apply([np.array([1.0], "float32")])
        seen.append(-float(variable.numpy()[0]))
    # Rates 0.5, 1, 0.5 and 0, one for three batches each.
    assert seen == pytest.approx([0, 0, 0.5, 0.5, 0.5, 1.5, 1.5, 1.5, 2.0, 2.0, 2.0, 2.0])


def test_is_made_from_a_preset_and_survives_serialisation():
    training = load_preset("wmt14-base", ["training.accumulate=4"]).training
    schedule = WarmUp.of(training)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    assert copy.rate(training.warmup) == pytest.approx(training.learning_rate, rel=1e-6)
    assert copy.get_config() == schedule.get_config()
    assert copy.accumulate == 4
