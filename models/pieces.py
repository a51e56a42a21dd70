"""The windows of a row as separate sequences."""

from typing import NamedTuple

import keras
from keras import ops

from models import Tensor


class Pieces(NamedTuple):
    """Where the W windows of rows (B, S) are, to split rows into windows of N positions each and to join them again.

    Work within each window costs W times less on the separate windows than on the whole row with a mask.

    places: (W, B, N) int32, indices into the rows as one sequence (B * S); where a window is shorter than N, the places
        after its end are those of other positions.
    real: boolean (W, B, N), false for these.
    back: (B, S) int32, indices into the windows as one sequence (W * B * N); arbitrary for padding.
    """

    places: Tensor
    real: Tensor
    back: Tensor

    @classmethod
    def of(cls, windows: Tensor, starts: Tensor, sizes: Tensor) -> "Pieces":
        """The pieces of rows.

        Args:
            windows: integer tensor (B, S): 1 to W, or 0 for padding; the positions of a window are contiguous.
            starts: (B, W) int32, the first place of each window.
            sizes: (B, W) int32.
        """
        batch, length = ops.shape(windows)
        longest = _longest(sizes, length)
        within = ops.arange(longest, dtype="int32")
        starts, sizes = (ops.transpose(each)[..., None] for each in (starts, sizes))
        rows = ops.arange(batch, dtype="int32")[:, None]
        real = within < sizes
        places = rows * length + ops.minimum(starts + within, length - 1)
        number = ops.maximum(ops.cast(windows, "int32") - 1, 0)
        first = ops.take_along_axis(ops.transpose(starts[..., 0]), number, axis=1)
        within = ops.clip(ops.arange(length, dtype="int32") - first, 0, longest - 1)
        return cls(places, real, (number * batch + rows) * longest + within)

    def apart(self, x: Tensor) -> Tensor:
        """(B, S, C) -> (W, B, N, C)."""
        return _rows_at(x, self.places)

    def joined(self, x: Tensor) -> Tensor:
        """(W, B, N, C) -> (B, S, C)."""
        return _rows_at(x, self.back)


def _rows_at(x, places):
    return ops.take(ops.reshape(x, (-1, x.shape[-1])), places, axis=0)


def _longest(sizes, length):
    """The size of the longest window, at least 1; on JAX, where shapes cannot depend on values, the row's length."""
    if keras.backend.backend() == "jax":
        return length
    longest = ops.maximum(ops.max(sizes), 1)
    return int(longest) if keras.backend.backend() == "torch" else longest
