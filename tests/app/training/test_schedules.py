import keras
import numpy as np
import pytest

from app.presets.preset import load_preset
from app.training.schedules import WarmUp, decay_position, timed
from tests.app.toy_training import toy_preset


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
        ("linear", {1: 0.01, 10: 0.1, 60: 0.05, 85: 0.025, 109: 0.001, 110: 0.0, 200: 0.0}),
        ("cosine", {1: 0.01, 10: 0.1, 60: 0.05, 85: 0.1 * 0.5 * (1 - 2**-0.5), 110: 0.0, 200: 0.0}),
    ],
)
def test_rates_by_hand(kind, rates):
    schedule = WarmUp(kind, peak=0.1, warmup=10, updates=109)
    assert {update: schedule.rate(update) for update in rates} == pytest.approx(rates, abs=1e-7)


def test_an_optimiser_that_accumulates_takes_each_rate_once():
    schedule = WarmUp("linear", peak=1.0, warmup=2, updates=5, accumulate=3)
    optimizer = keras.optimizers.SGD(schedule, gradient_accumulation_steps=3)
    variable = keras.Variable([0.0])
    optimizer.build([variable])
    seen = []
    for _ in range(15):
        optimizer.apply([np.array([1.0], "float32")])
        seen.append(-float(variable.numpy()[0]))
    # Rates 0.5, 1, 0.75, 0.5 and 0.25, one for three batches each.
    after = [0, 0.5, 1.5, 2.25, 2.75, 3.0]
    assert seen == pytest.approx([0, 0, *(total for total in after[1:-1] for _ in range(3)), after[-1]])


def test_is_made_from_a_preset_and_survives_serialisation():
    training = load_preset("wmt14-base", ["training.accumulate=4"]).training
    schedule = WarmUp.of(training)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    assert copy.rate(training.warmup) == pytest.approx(training.learning_rate, rel=1e-6)
    assert copy.get_config() == schedule.get_config()
    assert copy.accumulate == 4


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_no_update_is_wasted(kind):
    schedule = WarmUp(kind, peak=0.1, warmup=10, updates=100)
    assert 0 < schedule.rate(100) < schedule.rate(99)


def decaying(tmp_path, *changes):
    return toy_preset(tmp_path, "schedule=linear", "warmup=20", "updates=99", "minutes=10", *changes).training


def test_the_decay_goes_by_updates_or_by_time_whichever_is_further(tmp_path):
    training = decaying(tmp_path)
    # A fast machine: a second for each update, and 600 are allowed.
    for update in (1, 20, 21, 60, 99):
        assert decay_position(training, update, update - 1, 20) == pytest.approx(update)
    # A slow one: 12 seconds for each, so that time is over after 50. From the end of the warm-up on, at 240 s and so at
    # two fifths of the time, half of the rest is over at 420 s.
    assert decay_position(training, 20, 228, 0) == 20
    assert decay_position(training, 36, 420, 240) == pytest.approx(60)
    assert decay_position(training, 50, 588, 240) == pytest.approx(100 - 80 * 12 / 360)
    assert decay_position(training, 51, 600, 240) == pytest.approx(100)
    # One that needs all its time for the warm-up.
    assert decay_position(training, 21, 660, 640) == 100


@pytest.mark.parametrize("speed", [1, 12])
def test_the_rate_ends_low_on_machines_of_any_speed(tmp_path, speed):
    training = decaying(tmp_path)
    schedule = WarmUp.of(training)
    rates, seconds = [], 0
    while len(rates) < 99 and seconds < 600:
        rates.append(schedule.rate(decay_position(training, len(rates) + 1, seconds, 20 * speed)))
        seconds += speed
    assert max(rates) == pytest.approx(training.learning_rate)
    assert all(later <= earlier for earlier, later in zip(rates[19:], rates[20:], strict=False))
    assert 0 < rates[-1] < 0.04 * training.learning_rate


def test_time_counts_only_where_it_may_end_the_decay(tmp_path):
    assert timed(decaying(tmp_path))
    assert not timed(decaying(tmp_path, "minutes=0"))
    assert not timed(decaying(tmp_path, "schedule=inverse_sqrt"))
