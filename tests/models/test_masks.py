"""Masks against matrices written by hand."""

import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from models.masks import look_ahead_mask, padding_mask

X, _ = True, False


def test_padding_mask_by_hand():
    tokens = np.array([[7, 6, 0, 0, 1], [1, 2, 3, 0, 0], [0, 0, 0, 4, 5]])
    expected = [[[X, X, _, _, X]], [[X, X, X, _, _]], [[_, _, _, X, X]]]
    mask = padding_mask(tokens)
    assert ops.convert_to_numpy(mask).tolist() == expected
    assert mask.dtype == "bool"


@pytest.mark.parametrize(
    "length,expected",
    [
        (0, []),
        (1, [[X]]),
        (4, [[X, _, _, _], [X, X, _, _], [X, X, X, _], [X, X, X, X]]),
    ],
)
def test_look_ahead_mask_by_hand(length, expected):
    mask = look_ahead_mask(length)
    assert mask.dtype == "bool"
    assert tuple(mask.shape) == (length, length)
    assert ops.convert_to_numpy(mask).tolist() == expected


def test_both_masks_together_by_hand():
    tokens = np.array([[2, 5, 3, 0], [2, 0, 0, 0]])
    mask = ops.logical_and(padding_mask(tokens), look_ahead_mask(4))
    assert ops.convert_to_numpy(mask).tolist() == [
        [[X, _, _, _], [X, X, _, _], [X, X, X, _], [X, X, X, _]],
        [[X, _, _, _], [X, _, _, _], [X, _, _, _], [X, _, _, _]],
    ]


def test_masks_of_unknown_length():
    @tf.function(input_signature=[tf.TensorSpec((None, None), "int32")])
    def masks(tokens):
        return padding_mask(tokens), look_ahead_mask(ops.shape(tokens)[1])

    for length in (1, 3, 5):
        padding, look_ahead = masks(np.full((2, length), 4, "int32"))
        assert padding.numpy().all() and padding.shape == (2, 1, length)
        np.testing.assert_array_equal(look_ahead.numpy(), np.tri(length, dtype=bool))
