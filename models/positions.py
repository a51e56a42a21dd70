"""How a model knows where a token is: sinusoidal, learned or rotary positions."""

from typing import Any

import keras
import numpy as np
from keras import ops

from models import Tensor


def sinusoidal_positions(positions: Tensor, width: int) -> Tensor:
    """The fixed sine and cosine encoding, defined for positions of any size.

    Args:
        positions: integer tensor of any shape (...,).
        width: model width D, even.

    Returns:
        float32 tensor (..., D); the even columns hold sin(p / 10000^(2i/D)), the odd columns the cosine.

    References:
        Vaswani et al. 2017, section 3.5.
    """
    frequencies = _frequencies(width)
    angles = ops.expand_dims(ops.cast(positions, "float32"), -1) * frequencies
    pairs = ops.stack([ops.sin(angles), ops.cos(angles)], axis=-1)
    return ops.reshape(pairs, (*ops.shape(angles)[:-1], width))


def rotate(x: Tensor, positions: Tensor) -> Tensor:
    """Turns each pair of columns by an angle that grows with the position, so that scores depend on distance.

    Args:
        x: queries or keys (B, H, T, D/H), an even number of columns.
        positions: integer tensor (B, T) or (1, T).

    Returns:
        Tensor like `x`.

    References:
        Su et al. 2021, "RoFormer", section 3.2.2, equation 34.
    """
    size = x.shape[-1]
    angles = ops.expand_dims(ops.cast(positions, "float32"), -1) * _frequencies(size)
    angles = ops.expand_dims(angles, 1)
    sine, cosine = (ops.cast(ops.repeat(each, 2, axis=-1), x.dtype) for each in (ops.sin(angles), ops.cos(angles)))
    # A product with a matrix of 0, 1 and -1: taking every second column is three times as slow, gradient included.
    return x * cosine + ops.matmul(x, ops.cast(_quarter_turn(size), x.dtype)) * sine


def _quarter_turn(width: int) -> np.ndarray:
    """The matrix (D, D) that turns each pair of columns (a, b) into (-b, a)."""
    return np.kron(np.eye(width // 2, dtype="float32"), np.array([[0, 1], [-1, 0]], "float32"))


def shift_segments(positions: Tensor, begins: Tensor, shift: int) -> Tensor:
    """Leaves a gap between the segments of a window, so that their positions tell them apart.

    Args:
        positions: integer tensor (B, T) or (1, T), counted from 0 in each window.
        begins: boolean (B, T), which tokens begin a segment; a window's first token always does.
        shift: how many positions to skip at each border.

    Returns:
        Integer tensor (B, T).

    References:
        Lupo et al. 2022, "Focused Concatenation for Context-Aware Neural Machine Translation", section 3.2.
    """
    counted = ops.cumsum(ops.cast(begins, positions.dtype), axis=1)
    places = ops.arange(ops.shape(counted)[1], dtype=positions.dtype)
    starts = ops.broadcast_to(places - positions, ops.shape(counted))
    return positions + shift * (counted - ops.take_along_axis(counted, starts, axis=1))


def _frequencies(width: int):
    if width % 2:
        raise ValueError(f"positions need an even width, got {width}")
    return (10000.0 ** (-np.arange(0, width, 2) / width)).astype("float32")


@keras.saving.register_keras_serializable(package="weitblick")
class PositionEmbedding(keras.layers.Layer):
    """Adds positions to embeddings.

    Args:
        kind: "sinusoidal", "learned", or "rotary" (adds nothing: attention turns its queries and keys instead).
        max_positions: rows of the learned table; the other kinds have no limit.

    Call arguments:
        x: embeddings (B, T, D).
        positions: integer tensor (B, T) or (1, T).

    Returns:
        Tensor (B, T, D).
    """

    def __init__(self, kind: str = "sinusoidal", max_positions: int = 1024, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if kind not in ("sinusoidal", "learned", "rotary"):
            raise ValueError(f'positions must be "sinusoidal", "learned" or "rotary", got {kind!r}')
        self.kind = kind
        self.max_positions = max_positions

    def build(self, input_shape: Any) -> None:
        if self.kind == "learned":
            self.table = self.add_weight(
                shape=(self.max_positions, input_shape[-1]),
                initializer=keras.initializers.RandomNormal(stddev=input_shape[-1] ** -0.5),
                name="table",
            )

    def call(self, x: Tensor, positions: Tensor) -> Tensor:
        if self.kind == "sinusoidal":
            return x + ops.cast(sinusoidal_positions(positions, x.shape[-1]), x.dtype)
        if self.kind == "learned":
            # A clipped index would silently give two positions the same vector, so the caller checks lengths.
            return x + ops.cast(ops.take(self.table, positions, axis=0), x.dtype)
        return x

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "kind": self.kind, "max_positions": self.max_positions}
