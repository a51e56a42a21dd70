"""Gated cells, which control how much of a slot is kept and how much is overwritten."""

from typing import Any

import keras
from keras import ops

from models import Tensor
from models.memories.attention import straight_dense


class Cell(keras.layers.Layer):
    """h' = z * h + (1 - z) * candidate, computed in float32 around products in the layer's type.

    The candidate begins as tanh(x / 2) and little of h.

    Args:
        width: D, of state and input.
        keep_bias: bias at the start of the gate that keeps the old state: above 0 a cell begins by keeping, below 0 by
            writing.

    Call arguments:
        h: the old state (..., D), float32.
        x: the input (..., D).

    Returns:
        The new state (..., D), float32, and the share z (..., D) of the old one in it.
    """

    def __init__(self, width: int, keep_bias: float = -1.0, **kwargs: Any) -> None:
        super().__init__(**{"autocast": False, **kwargs})
        self.width, self.keep_bias = width, keep_bias

    def _gate(self, name, bias=0.0):
        bias = keras.initializers.Constant(bias)
        return keras.layers.Dense(self.width, bias_initializer=bias, dtype=self.dtype_policy, name=name)

    def _candidate(self):
        return straight_dense(self.width, 1, self.dtype_policy, "candidate", scale=0.5)

    def _apply(self, dense, *parts):
        return ops.cast(dense(ops.concatenate([ops.cast(part, self.compute_dtype) for part in parts], -1)), "float32")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "width": self.width, "keep_bias": self.keep_bias}


@keras.saving.register_keras_serializable(package="weitblick")
class GRUCell(Cell):
    """The gated recurrent unit.

    r = sigmoid(W_r [h, x] + b_r), z = sigmoid(W_z [h, x] + b_z), h' = z * h + (1 - z) * tanh(W [r * h, x] + b).

    Args, call arguments and results: see `Cell`.

    References:
        Cho et al. 2014, "Learning Phrase Representations using RNN Encoder-Decoder", section 2.3, equations 5 to 8.
    """

    def __init__(self, width: int, keep_bias: float = -1.0, **kwargs: Any) -> None:
        super().__init__(width, keep_bias, **kwargs)
        self.reset, self.update = self._gate("reset"), self._gate("update", keep_bias)
        self.candidate = self._candidate()

    def build(self, *_: Any) -> None:
        for dense in (self.reset, self.update, self.candidate):
            dense.build((None, 2 * self.width))

    def call(self, h: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        r, z = (ops.sigmoid(self._apply(dense, h, x)) for dense in (self.reset, self.update))
        return z * h + (1 - z) * ops.tanh(self._apply(self.candidate, r * h, x)), z


@keras.saving.register_keras_serializable(package="weitblick")
class MinimalCell(Cell):
    """The minimal gated unit, in which one gate does the work of the two: a third fewer weights.

    f = sigmoid(W_f [h, x] + b_f), h' = (1 - f) * h + f * tanh(W [f * h, x] + b).

    Args, call arguments and results: see `Cell`; z is 1 - f.

    References:
        Zhou et al. 2016, "Minimal Gated Unit for Recurrent Neural Networks", equations 9 to 11.
    """

    def __init__(self, width: int, keep_bias: float = -1.0, **kwargs: Any) -> None:
        super().__init__(width, keep_bias, **kwargs)
        self.forget, self.candidate = self._gate("forget", -keep_bias), self._candidate()

    def build(self, *_: Any) -> None:
        for dense in (self.forget, self.candidate):
            dense.build((None, 2 * self.width))

    def call(self, h: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        f = ops.sigmoid(self._apply(self.forget, h, x))
        return (1 - f) * h + f * ops.tanh(self._apply(self.candidate, f * h, x)), 1 - f


CELLS = {"gru": GRUCell, "minimal": MinimalCell}
