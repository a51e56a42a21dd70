"""Positions against the formulas written with loops, and what each kind promises."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from models.positions import PositionEmbedding, rotate, sinusoidal_positions


def table(positions, width):
    return ops.convert_to_numpy(sinusoidal_positions(np.asarray(positions, "int32"), width))


@pytest.mark.parametrize("width", [2, 8, 20])
def test_sinusoids_follow_the_papers_formula(width):
    expected = np.zeros((50, width))
    for position in range(50):
        for i in range(width // 2):
            angle = position / 10000 ** (2 * i / width)
            expected[position, 2 * i] = math.sin(angle)
            expected[position, 2 * i + 1] = math.cos(angle)
    np.testing.assert_allclose(table(range(50), width), expected, atol=1e-5)


def test_sinusoids_know_no_longest_position():
    position, width = 20000, 16
    angles = [position / 10000 ** (2 * i / width) for i in range(width // 2)]
    expected = [f(angle) for angle in angles for f in (math.sin, math.cos)]
    np.testing.assert_allclose(table([position], width)[0], expected, atol=2e-3)


def test_sinusoids_take_positions_of_any_shape():
    positions = np.array([[0, 3], [7, 1]])
    result = table(positions, 6)
    assert result.shape == (2, 2, 6)
    np.testing.assert_allclose(result[1, 0], table([7], 6)[0])


@given(st.integers(0, 500), st.integers(0, 60))
def test_sinusoids_a_distance_apart_are_one_rotation_apart(position, distance):
    """The paper's reason for them: the encoding at p + k is a linear function of that at p, the same for every p."""
    first, second = table([position, position + distance], 8).astype("float64")
    for i in range(4):
        angle = distance / 10000 ** (2 * i / 8)
        sine, cosine = first[2 * i], first[2 * i + 1]
        assert second[2 * i] == pytest.approx(sine * math.cos(angle) + cosine * math.sin(angle), abs=2e-4)
        assert second[2 * i + 1] == pytest.approx(cosine * math.cos(angle) - sine * math.sin(angle), abs=2e-4)


def test_odd_width_is_refused():
    with pytest.raises(ValueError, match="even width, got 7"):
        sinusoidal_positions(np.arange(3), 7)


def turn(vector, position):
    """One vector (D,) turned by its position."""
    return ops.convert_to_numpy(rotate(vector[None, None, None, :].astype("float32"), np.array([[position]])))[0, 0, 0]


@given(st.integers(0, 400), st.integers(0, 400), st.integers(0, 1000), st.integers(0, 2**31))
def test_rotary_scores_depend_on_distance_alone(first, second, shift, seed):
    query, key = np.random.default_rng(seed).normal(size=(2, 8))
    near = turn(query, first) @ turn(key, second)
    far = turn(query, first + shift) @ turn(key, second + shift)
    assert near == pytest.approx(far, abs=2e-3)


def test_rotary_scores_change_with_distance():
    query, key = np.random.default_rng(3).normal(size=(2, 8))
    scores = [turn(query, 0) @ turn(key, distance) for distance in range(6)]
    assert len({round(float(score), 3) for score in scores}) == 6


def test_rotary_by_the_papers_matrix():
    vector, position = np.arange(1.0, 7.0), 5
    expected = np.zeros(6)
    for i in range(3):
        angle = position * 10000 ** (-2 * i / 6)
        block = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        expected[2 * i : 2 * i + 2] = block @ vector[2 * i : 2 * i + 2]
    np.testing.assert_allclose(turn(vector, position), expected, rtol=1e-5)
    np.testing.assert_allclose(turn(vector, 0), vector)


def test_rotary_takes_a_position_for_each_row():
    x = np.random.default_rng(4).normal(size=(2, 3, 2, 4)).astype("float32")
    together = ops.convert_to_numpy(rotate(x, np.array([[0, 1], [7, 9]])))
    alone = ops.convert_to_numpy(rotate(x[1:], np.array([[7, 9]])))
    np.testing.assert_allclose(together[1:], alone, atol=1e-6)


def test_position_embedding_adds_what_its_kind_says():
    x = np.ones((2, 3, 4), "float32")
    positions = np.array([[4, 5, 6]])
    sinusoidal = PositionEmbedding("sinusoidal")(x, positions)
    np.testing.assert_allclose(ops.convert_to_numpy(sinusoidal), 1 + table([[4, 5, 6]] * 2, 4), atol=1e-6)
    np.testing.assert_array_equal(ops.convert_to_numpy(PositionEmbedding("rotary")(x, positions)), x)
    learned = PositionEmbedding("learned", max_positions=9)
    result = ops.convert_to_numpy(learned(x, positions))
    rows = ops.convert_to_numpy(learned.table)
    assert rows.shape == (9, 4)
    np.testing.assert_allclose(result[1], 1 + rows[4:7], atol=1e-6)


def test_unknown_kind_is_refused_with_the_choices():
    with pytest.raises(ValueError, match='"sinusoidal", "learned" or "rotary", got \'relative\''):
        PositionEmbedding("relative")
