"""How positions read a memory: by attention to what it holds, through a gate."""

from typing import Any

import keras
from keras import ops

from models import Tensor
from models.dropout import ByteDropout
from models.masks import score_ceilings
from models.memories.attention import MemoryAttention
from models.past import Past


@keras.saving.register_keras_serializable(package="weitblick")
class GatedRead(keras.layers.Layer):
    """g * dropout(attention of x on the memory), with g = sigmoid(W [x, attention] + b) for each of the D numbers.

    With a bias b below 0 the gate starts nearly closed, so a model that was trained without memory starts almost
    unchanged. W starts at zero, so the gate is equally open for all numbers.

    Args:
        width: model width D.
        dropout: rate on what was read.
        bias: initial value of b.

    Call arguments:
        x: states (B, S, D).
        past: a `Past`, what each position may read.
        return_weights: also return the gates and the attention weights.
        training: whether dropout is on.

    Returns:
        What to add to x: (B, S, D). With `return_weights` also the gates (B, S, D) and the attention weights
        (B, 1, S, P). A position with nothing to read gets zeros.
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
        past: Past,
        return_weights: bool = False,
        training: bool | None = None,
    ) -> Any:
        if past.own is not None and not return_weights:
            found, weights = self.attention.read(x, past.own), None
        else:
            keys_values = self.attention.keys_values(ops.cast(past.values, self.compute_dtype))
            found, weights = self.attention(x, keys_values, attention_mask=past.mask, return_weights=True)
        gates = self._gates(x, found, ops.any(past.mask, axis=-1))
        added = gates * self.dropout(found, training=training)
        return (added, gates, weights) if return_weights else added

    def _gates(self, x, found, anything):
        gates = self.gate(ops.concatenate([x, found], axis=-1))
        return ops.where(anything[..., None], gates, ops.zeros_like(gates))

    def prepared(self, past: Past) -> dict[str, Any]:
        """What `step` needs of the past of one window: a `Past` whose mask is (B, 1, P)."""
        keys_values = self.attention.keys_values(ops.cast(past.values, self.compute_dtype))
        return {"keys_values": keys_values, "ceilings": score_ceilings(past.mask[:, None])}

    def step(self, x: Tensor, shared: dict[str, Any], beam: int) -> Tensor:
        """What to add to one position of each hypothesis of a search: (B * K, D) -> (B * K, D).

        Args:
            x: (B * K, D).
            shared: from `prepared`.
            beam: int. K.
        """
        found = self.attention.step(x, shared["keys_values"], shared["ceilings"], beam)
        anything = ops.any(shared["ceilings"] > 0, axis=(1, 2, 3))
        return self._gates(x, found, ops.repeat(anything, beam)) * found

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "width": self.width, "dropout": self.rate, "bias": self.bias}
