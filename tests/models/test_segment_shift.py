"""Positions that are left out between the segments of a window, in training and in search."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from data.packing import PackedWindow, pack
from models.document import DocumentTransformer
from models.positions import shift_segments
from models.search.state import repeat_rows
from tests.models.layer_checks import equal, numbers

VOCABULARY, SHIFT = 30, 7
# Two windows in the first row; windows and segments of different lengths.
LANES = [
    [
        PackedWindow([[5, 6], [8], [9, 4, 12]], [[7], [10, 11], [12, 13, 4]], 2, True),
        PackedWindow([[5, 9, 6, 4], [8]], [[7, 5], [10, 11]], 1, False),
    ],
    [PackedWindow([[14], [15], [16], [17, 18]], [[16, 17], [18]], 1, True)],
]


def model_of(shift, positions="sinusoidal"):
    keras.utils.set_random_seed(3)
    sizes = {"encoder_layers": 2, "decoder_layers": 2, "width": 16, "hidden": 24, "heads": 2, "norm": "pre"}
    options = {"positions": positions, "segment_shift": shift, "name": "transformer"}
    model = DocumentTransformer(VOCABULARY, **sizes, **options, memory={"kind": "concat"})
    model.build()
    draw = np.random.default_rng(8)
    for variable in model.trainable_variables:
        variable.assign_add(0.3 * draw.standard_normal(variable.shape).astype("float32"))
    return model


def by_hand(segments, shift):
    """The positions of a window's segments, each with its break."""
    found, here = [], 0
    for segment in segments:
        found += range(here, here + len(segment) + 1)
        here += len(segment) + 1 + shift
    return found


@given(rows=st.lists(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=3), max_size=3), min_size=1, max_size=3))
def test_positions_are_counted_on_with_a_gap_between_segments(rows):
    """Rows of windows of segments, given by their lengths without the break."""
    size = 40
    positions, begins, expected = (np.zeros((len(rows), size), "int32") for _ in range(3))
    for row, windows in enumerate(rows):
        place = 0
        for window in windows:
            segments = [[0] * length for length in window]
            (without, with_gap) = (by_hand(segments, shift) for shift in (0, SHIFT))
            here = slice(place, place + len(without))
            positions[row, here], expected[row, here] = without, with_gap
            begins[row, place + np.cumsum([0, *(length + 1 for length in window[:-1])])] = 1
            place += len(without)
    found = shift_segments(ops.convert_to_tensor(positions), ops.convert_to_tensor(begins > 0), SHIFT)
    np.testing.assert_array_equal(ops.convert_to_numpy(found), expected)


@pytest.mark.parametrize("positions", ["sinusoidal", "rotary"])
def test_a_row_is_read_as_if_its_positions_were_given(positions):
    inputs, _ = pack(LANES, multiple=4)
    given = {name: value.copy() for name, value in inputs.items()}
    for side in ("source", "target"):
        for row, lane in enumerate(LANES):
            own = [place for window in lane for place in by_hand(getattr(window, f"{side}s"), SHIFT)]
            given[f"{side}_positions"][row, : len(own)] = own
    expected, _ = model_of(0, positions).document_states(given, {})
    states, _ = model_of(SHIFT, positions).document_states(inputs, {})
    real = inputs["target_windows"] > 0
    equal(numbers(states)[real], numbers(expected)[real])
    unshifted, _ = model_of(0, positions).document_states(inputs, {})
    assert np.abs(numbers(states) - numbers(unshifted))[real].max() > 1e-2


@pytest.mark.parametrize("positions", ["sinusoidal", "rotary"])
@pytest.mark.parametrize("prefixed", [True, False])
def test_steps_equal_the_whole_window(positions, prefixed):
    model = model_of(SHIFT, positions)
    sources = [[[5, 6], [7], [8, 9, 10]], [[11, 12]], [[11], [5, 6, 12, 4]]]
    before = [[[13, 14], [15]], [], [[4]]] if prefixed else [[], [], []]
    own = np.array([[16, 17, 18], [19, 20, 21], [22, 23, 24]])
    windows = [
        [PackedWindow(source, [*prefix, ids], 0, True)]
        for source, prefix, ids in zip(sources, before, own.tolist(), strict=True)
    ]
    inputs, _ = pack(windows, multiple=1)
    expected = numbers(model.output_embedding.logits(model.document_states(inputs, {})[0]))
    prefix = np.array([[2, 13, 14, 2, 15, 0], [0] * 6, [2, 4, 0, 0, 0, 0]]) if prefixed else None
    # Padding behind a source changes nothing.
    source = np.pad(inputs["source"], ((0, 0), (0, 3)))
    state = repeat_rows(model.lengthen_state(model.initial_state(source, 0, prefix, {}), 5), 2)
    tokens = np.repeat(np.concatenate([np.full((3, 1), 2), own], axis=1), 2, axis=0)
    for t in range(4):
        logits, state = model.step(ops.convert_to_tensor(tokens[:, t]), state)
        for row, segments in enumerate(before):
            start = sum(len(segment) + 1 for segment in segments)
            equal(numbers(logits)[2 * row], expected[row, start + t], 1e-4)
            equal(numbers(logits)[2 * row + 1], expected[row, start + t], 1e-4)


def test_a_window_of_one_segment_is_read_as_without_a_shift():
    inputs, _ = pack([[PackedWindow([[5, 6, 7]], [[8, 9]], 0, True), PackedWindow([[4]], [[6]], 0, False)]], multiple=1)
    states = [numbers(model_of(shift).document_states(inputs, {})[0]) for shift in (0, SHIFT)]
    np.testing.assert_array_equal(*states)


def test_the_shift_is_kept_with_the_model():
    model = model_of(SHIFT)
    assert DocumentTransformer.from_config(model.get_config()).get_config() == model.get_config()
