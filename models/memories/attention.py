"""The attention of memories, which initially passes on what it finds unchanged."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from models import Tensor
from models.attention import CrossAttention
from models.masks import MASKED
from models.past import Own


@keras.saving.register_keras_serializable(package="weitblick")
class Straight(keras.initializers.Initializer):
    """A matrix (R, C) with `scale` times the identity in its last D rows, once for each D columns.

    With `everywhere` the identity is in all rows, once for each D of them; otherwise the rows above start small, as
    `keras.initializers.VarianceScaling(0.1)` makes them.

    Projections that start this way pass on what they get, so a model finds in its memory the directions that it knows
    from its own states. With random matrices it would first have to learn to read what it had scrambled itself, from a
    gradient that a nearly closed gate makes small; in measurements, the gate closed before that (docs/memory.md).

    Args:
        width: D.
        scale: factor of the identity.
        seed: for the other rows.
        everywhere: see above.

    References:
        Le et al. 2015, "A Simple Way to Initialize Recurrent Networks of Rectified Linear Units", for the identity.
    """

    def __init__(self, width: int, scale: float = 1.0, seed: int | None = None, everywhere: bool = False) -> None:
        self.width, self.scale, self.seed, self.everywhere = width, scale, seed, everywhere
        self.others = keras.initializers.VarianceScaling(0.1, "fan_in", "uniform", seed=seed)

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Tensor:
        others = self.others(shape, dtype)
        row, column = ops.arange(shape[0])[:, None], ops.arange(shape[1])[None]
        below = 0 if self.everywhere else shape[0] - self.width
        straight = self.scale * ops.cast(ops.equal((row - below) % self.width, column % self.width), others.dtype)
        return ops.where(row >= below, straight, others)

    def get_config(self) -> dict[str, Any]:
        return {"width": self.width, "scale": self.scale, "seed": self.seed, "everywhere": self.everywhere}


def straight_dense(
    width: int,
    parts: int,
    dtype: Any,
    name: str,
    scale: float = 1.0,
    everywhere: bool = False,
    use_bias: bool = True,
) -> keras.layers.Dense:
    """A dense layer with `parts` times D outputs, whose matrix is initialised by `Straight`."""
    straight = Straight(width, scale, everywhere=everywhere)
    return keras.layers.Dense(parts * width, use_bias=use_bias, kernel_initializer=straight, dtype=dtype, name=name)


@keras.saving.register_keras_serializable(package="weitblick")
class MemoryAttention(CrossAttention):
    """Attention with one head, as a slot is one thing, whose projections start as the identity.

    So at first a query finds what is similar to it, and gets it unchanged: a continuous cache, which training refines.

    Args:
        width: model width D.

    Call arguments and results: see `CrossAttention`, with H = 1.

    References:
        Grave et al. 2017, "Improving Neural Language Models with a Continuous Cache", section 3.
    """

    def __init__(self, width: int, **kwargs: Any) -> None:
        super().__init__(width, **{"heads": 1, **kwargs})

    def read(self, x: Tensor, own: Own) -> Tensor:
        """What positions (B, S, D) find in what their own windows may read: (B, S, D).

        It gives the call's result with less work: the key matrix is applied to the queries, and the value matrix to
        what they find. (The keys' bias adds the same to all scores of a position, and the values' bias is added to what
        it finds, as weights sum to 1.)
        """
        of_keys, of_values = ops.split(ops.cast(self.key_value.kernel, self.compute_dtype), 2, axis=1)
        bias = ops.cast(self.key_value.bias, self.compute_dtype)[self.width :]
        asking = ops.matmul(self.query(x), ops.transpose(of_keys)) * self.width**-0.5
        values = ops.cast(own.values, self.compute_dtype)
        scores = ops.matmul(own.pieces.apart(asking), ops.swapaxes(values, -2, -1))
        weights = ops.softmax(ops.where(own.filled[..., None, :], ops.cast(scores, "float32"), MASKED), axis=-1)
        found = own.pieces.joined(ops.matmul(ops.cast(weights, values.dtype), values))
        return self.output_dense(ops.matmul(found, of_values) + bias)

    def _dense(self, parts, name):
        return straight_dense(self.width, parts, self.dtype_policy, name)
