"""How positions read a memory: attention to what it holds, through a gate."""

from typing import Any

import keras
from keras import ops

from models import Tensor
from models.dropout import ByteDropout
from models.masks import MASKED
from models.memories.attention import MemoryAttention


@keras.saving.register_keras_serializable(package="weitblick")
class GatedRead(keras.layers.Layer):
    """x + g * dropout(attention of x on the memory), with g = sigmoid(W [x, attention] + b) for each number.

    With a bias b below 0 the gate starts nearly closed, and a model that was trained without memory starts nearly as it
    was. W starts at zero, so that the gate is equally open for all numbers.

    Args:
        width: model width D.
        dropout: rate on what was read.
        bias: b at the start.

    Call arguments:
        x: states (B, S, D) of the positions of W windows.
        windows: integer tensor (B, S): 1 to W, or 0 for padding.
        values: what each window may read (B, W, M, D).
        filled: boolean (B, W, M): which of it holds anything.
        return_weights: also return the gates and the attention weights.
        training: whether dropout is on.

    Returns:
        Tensor (B, S, D). With `return_weights` also the gates (B, S, D) and the attention weights (B, 1, S, W * M). A
        position of a window with nothing to read stays as it is.
    """

    def __init__(self, width: int, dropout: float = 0.0, bias: float = -2.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width, self.rate, self.bias = width, dropout, bias
        self.attention = MemoryAttention(width, dtype=self.dtype_policy, name="attention")
        start = {"kernel_initializer": "zeros", "bias_initializer": keras.initializers.Constant(bias)}
        self.gate = keras.layers.Dense(width, "sigmoid", **start, dtype=self.dtype_policy, name="gate")
        self.dropout = ByteDropout(dropout, dtype=self.dtype_policy, name="dropout")

    def build(self, *_: Any) -> None:
        self.attention.build((None, None, self.width))
        self.gate.build((None, None, 2 * self.width))

    def call(
        self,
        x: Tensor,
        windows: Tensor,
        values: Tensor,
        filled: Tensor,
        return_weights: bool = False,
        training: bool | None = None,
    ) -> Any:
        batch, count = ops.shape(values)[:2]
        rows = ops.reshape(values, (batch, -1, self.width))
        own = ops.equal(windows[..., None], ops.arange(1, count + 1, dtype=windows.dtype))
        mask = ops.logical_and(own[..., None], filled[:, None])
        mask = ops.reshape(mask, (*ops.shape(windows), -1))
        keys_values = self.attention.keys_values(rows)
        found, weights = self.attention(x, keys_values, attention_mask=mask, return_weights=True, training=training)
        gates = self._gates(x, found, ops.any(mask, axis=-1))
        x = x + gates * self.dropout(found, training=training)
        return (x, gates, weights) if return_weights else x

    def _gates(self, x, found, anything):
        gates = self.gate(ops.concatenate([x, found], axis=-1))
        return ops.where(anything[..., None], gates, ops.zeros_like(gates))

    def keys_values(self, values: Tensor, filled: Tensor) -> dict[str, Any]:
        """What `step` needs of what one window may read: values (B, M, D) and filled (B, M)."""
        ceilings = ops.where(filled[:, None, None], float("inf"), MASKED)
        return {"keys_values": self.attention.keys_values(values), "ceilings": ceilings}

    def step(self, x: Tensor, shared: dict[str, Any], beam: int) -> Tensor:
        """One position of each hypothesis of a search: (B * K, D) -> (B * K, D).

        Args:
            x: (B * K, D).
            shared: from `keys_values`.
            beam: int. K.
        """
        found = self.attention.step(x, shared["keys_values"], shared["ceilings"], beam)
        anything = ops.any(shared["ceilings"] > 0, axis=(1, 2, 3))
        return x + self._gates(x, found, ops.repeat(anything, beam)) * found

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "width": self.width, "dropout": self.rate, "bias": self.bias}
