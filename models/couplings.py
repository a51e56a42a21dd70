"""An invertible network for single positions: affine couplings, each of which changes one half using the other."""

from typing import Any

import keras
from keras import ops

from models import Tensor


@keras.saving.register_keras_serializable(package="weitblick")
class Couplings(keras.layers.Layer):
    """y = f(x) with an equally cheap inverse, computed in float32 around matrix products in the layer's type.

    Coupling k leaves one half a of the numbers unchanged and replaces the other half b with b * exp(s(a)) + t(a); the
    halves swap roles from one coupling to the next. |s| is below 1, so that neither direction can explode. Initially s
    and t are 0.

    Args:
        width: D; even.
        couplings: number of couplings.

    Call arguments:
        x: (..., D).

    Returns:
        (..., D) float32.

    References:
        Dinh et al. 2017, "Density estimation using Real NVP", equations 7 and 8.
    """

    def __init__(self, width: int, couplings: int = 4, **kwargs: Any) -> None:
        super().__init__(**{"autocast": False, **kwargs})
        if width % 2:
            raise ValueError(f"width must be even, got {width}")
        self.width, self.couplings = width, couplings
        options = {"dtype": self.dtype_policy}
        self.inner = [
            keras.layers.Dense(width, "relu", name=f"inner_{number}", **options) for number in range(couplings)
        ]
        self.outer = [
            keras.layers.Dense(width, kernel_initializer="zeros", name=f"outer_{number}", **options)
            for number in range(couplings)
        ]

    def build(self, *_: Any) -> None:
        for inner, outer in zip(self.inner, self.outer, strict=True):
            inner.build((None, None, self.width // 2))
            outer.build((None, None, self.width))

    def call(self, x: Tensor) -> Tensor:
        first, second = ops.split(ops.cast(x, "float32"), 2, axis=-1)
        for number in range(self.couplings):
            scale, shift = self._scale_and_shift(number, first)
            first, second = second * ops.exp(scale) + shift, first
        return ops.concatenate([first, second], axis=-1)

    def inverse(self, y: Tensor) -> Tensor:
        """The x for which y = f(x), (..., D) float32."""
        first, second = ops.split(ops.cast(y, "float32"), 2, axis=-1)
        for number in reversed(range(self.couplings)):
            scale, shift = self._scale_and_shift(number, second)
            first, second = second, (first - shift) * ops.exp(-scale)
        return ops.concatenate([first, second], axis=-1)

    def _scale_and_shift(self, number, half):
        found = self.outer[number](self.inner[number](ops.cast(half, self.compute_dtype)))
        scale, shift = ops.split(ops.cast(found, "float32"), 2, axis=-1)
        return ops.tanh(scale), shift

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "width": self.width, "couplings": self.couplings}
