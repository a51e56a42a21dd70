"""How positions read a memory: by attention to what it holds, through gates."""

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
        self.gate = _gate(width, bias, self.dtype_policy, "gate")
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


@keras.saving.register_keras_serializable(package="weitblick")
class HeadGate(keras.layers.Layer):
    """How much of each head of self-attention goes to the keys that a memory adds: g = sigmoid(W x + b).

    A head gathers g * (attention to these keys alone) + (1 - g) * (attention to its window). With a bias b below 0, a
    model that was trained without memory starts almost unchanged, however well these keys fit its queries. W starts at
    zero, so all heads start alike.

    Args:
        width: model width D.
        heads: number of heads H.
        bias: initial value of b.

    Call arguments:
        x: (B, S, D), what the layer's self-attention is given.

    Returns:
        (B, H, S), the gates g.

    References:
        Wu et al. 2022, "Memorizing Transformers", section 3.2; there, g is one learned number for each head.
    """

    def __init__(self, width: int, heads: int, bias: float = -2.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width, self.heads, self.bias = width, heads, bias
        self.dense = _gate(heads, bias, self.dtype_policy, "dense")

    def build(self, *_: Any) -> None:
        self.dense.build((None, None, self.width))

    def call(self, x: Tensor) -> Tensor:
        return ops.transpose(self.dense(x), (0, 2, 1))

    def step(self, x: Tensor, ceilings: Tensor, beam: int) -> Tensor:
        """The same for one position of each hypothesis of a search: (B * K, D) -> (B, H, K, 1).

        Args:
            x: (B * K, D).
            ceilings: (B, 1, 1, P), infinite for keys that there are; without any, g is 0.
            beam: int. K.
        """
        gates = self(ops.reshape(x, (-1, beam, self.width)))[..., None]
        return ops.where(ops.any(ceilings > 0, axis=-1, keepdims=True), gates, ops.zeros_like(gates))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "width": self.width, "heads": self.heads, "bias": self.bias}


def _gate(units, bias, dtype, name):
    """sigmoid(W x + b), whose W starts at zero and b at `bias`."""
    start = {"kernel_initializer": "zeros", "bias_initializer": keras.initializers.Constant(bias)}
    return keras.layers.Dense(units, "sigmoid", **start, dtype=dtype, name=name)
