"""Gated cells, which control how much of a slot is kept and how much is overwritten."""

from typing import Any

import keras
from keras import ops

from models import Tensor
from models.memories.attention import straight_dense


class Cell(keras.layers.Layer):
    """h' = z * h + (1 - z) * candidate, computed in float32 around matrix products in the layer's type.

    The candidate starts as tanh(x / 2), with little influence of h.

    Args:
        width: D, of state and input.
        keep_bias: initial bias of the gate that keeps the old state: above 0 a cell starts by keeping, below 0 by
            writing.

    Call arguments:
        h: the old state (..., D), float32.
        x: the input (..., D).

    Returns:
        The new state (..., D), float32, and the share z (..., D) of the old one in it.
    """

    # The gates' names, with whether a gate keeps the old state (1), lets the new one in (-1), or neither.
    gate_names: dict[str, int] = {}

    def __init__(self, width: int, keep_bias: float = -1.0, **kwargs: Any) -> None:
        super().__init__(**{"autocast": False, **kwargs})
        self.width, self.keep_bias = width, keep_bias
        self.gates = [self._gate(name, sign * keep_bias) for name, sign in self.gate_names.items()]
        self.candidate = straight_dense(width, 1, self.dtype_policy, "candidate", scale=0.5)

    def _gate(self, name, bias):
        bias = keras.initializers.Constant(bias)
        return keras.layers.Dense(self.width, bias_initializer=bias, dtype=self.dtype_policy, name=name)

    def build(self, *_: Any) -> None:
        for dense in (*self.gates, self.candidate):
            dense.build((None, 2 * self.width))

    def call(self, h: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.step(h, self.inputs(x))

    def inputs(self, x: Tensor) -> Tensor:
        """What the gates and the candidate get from inputs, (..., D) -> (..., G * D), all at once. The mean of some
        results is the result for the mean of their inputs."""
        dense = (*self.gates, self.candidate)
        kernel = ops.concatenate([self._kernels(each)[1] for each in dense], axis=1)
        bias = ops.concatenate([ops.cast(each.bias, self.compute_dtype) for each in dense])
        return ops.matmul(ops.cast(x, self.compute_dtype), kernel) + bias

    def step(self, h: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
        """The new state and the share of the old one in it, as a call returns them, from what `inputs` returned."""
        *gates, candidate = ops.split(ops.cast(given, "float32"), len(self.gates) + 1, axis=-1)
        kernel = ops.concatenate([self._kernels(each)[0] for each in self.gates], axis=1)
        of_h = ops.split(self._product(h, kernel), len(gates), axis=-1)
        return self.mixed(h, *(ops.sigmoid(a + b) for a, b in zip(gates, of_h, strict=True)), candidate)

    def mixed(self, h: Tensor, *parts: Tensor) -> tuple[Tensor, Tensor]:
        """The same, from the values of the gates and what the candidate gets from the input."""
        raise NotImplementedError

    def _candidate(self, h, of_input):
        return ops.tanh(of_input + self._product(h, self._kernels(self.candidate)[0]))

    def _product(self, h, kernel):
        return ops.cast(ops.matmul(ops.cast(h, self.compute_dtype), kernel), "float32")

    def _kernels(self, dense):
        """The matrices that are applied to h and to x, each (D, D)."""
        return ops.split(ops.cast(dense.kernel, self.compute_dtype), 2, axis=0)

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

    gate_names = {"reset": 0, "update": 1}

    @property
    def reset(self) -> keras.layers.Dense:
        """The gate that says how much of h the candidate sees."""
        return self.gates[0]

    @property
    def update(self) -> keras.layers.Dense:
        """The gate z."""
        return self.gates[1]

    def mixed(self, h: Tensor, *parts: Tensor) -> tuple[Tensor, Tensor]:
        r, z, of_input = parts
        return z * h + (1 - z) * self._candidate(r * h, of_input), z


@keras.saving.register_keras_serializable(package="weitblick")
class MinimalCell(Cell):
    """The minimal gated unit, in which one gate does the work of two: a third fewer weights.

    f = sigmoid(W_f [h, x] + b_f), h' = (1 - f) * h + f * tanh(W [f * h, x] + b).

    Args, call arguments and results: see `Cell`; z is 1 - f.

    References:
        Zhou et al. 2016, "Minimal Gated Unit for Recurrent Neural Networks", equations 9 to 11.
    """

    gate_names = {"forget": -1}

    @property
    def forget(self) -> keras.layers.Dense:
        """The gate f."""
        return self.gates[0]

    def mixed(self, h: Tensor, *parts: Tensor) -> tuple[Tensor, Tensor]:
        f, of_input = parts
        return (1 - f) * h + f * self._candidate(f * h, of_input), 1 - f


CELLS = {"gru": GRUCell, "minimal": MinimalCell}
