"""Multi-head attention with a cache and with weights that can be looked at."""

import keras
from keras import ops

from models.dropout import ByteDropout
from models.positions import rotate


@keras.saving.register_keras_serializable(package="weitblick")
class MultiHeadAttention(keras.layers.Layer):
    """Scaled dot-product attention over H heads, for a sequence on itself or on another one.

    A layer is used in one of two ways. On itself, `attention(x, attention_mask=mask)`; on another sequence,
    `attention(x, attention.keys_values(encodings), attention_mask=mask)`. Keys and values are an explicit value, so
    that a decoder can compute those of the source once, and keep those of its past in a cache.

    Args:
        width: model width D.
        heads: number of heads H; divides D.
        dropout: dropout rate on the attention weights.
        rotary: turn queries and keys by their positions (self-attention only).

    Call arguments:
        x: queries' input (B, T, D).
        keys_values: pair of (B, H, S, D/H) tensors, by default those of `x` itself.
        attention_mask: boolean, broadcastable to (B, T, S); True means "may attend". None lets everything attend.
        positions: integer tensor (B, T) or (1, T), needed for rotary.
        return_weights: also return the attention weights (B, H, T, S).
        training: whether dropout is on.

    Returns:
        Tensor (B, T, D), or that and the weights. A row that may attend to nothing gets the plain mean of the values.

    References:
        Vaswani et al. 2017, section 3.2.
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.0, rotary: bool = False, **kwargs):
        super().__init__(**kwargs)
        if width % heads:
            raise ValueError(f"width ({width}) must be a multiple of heads ({heads})")
        self.width, self.heads, self.rate, self.rotary = width, heads, dropout, rotary
        self.size = width // heads

        def dense(name):
            return keras.layers.Dense(width, dtype=self.dtype_policy, name=name)

        self.query, self.key, self.value, self.output_dense = map(dense, ("query", "key", "value", "output"))
        self.dropout = ByteDropout(dropout, dtype=self.dtype_policy, name="dropout")

    def build(self, input_shape, *_):
        for layer in (self.query, self.key, self.value, self.output_dense):
            layer.build((None, None, self.width))

    def keys_values(self, x, positions=None):
        """The keys and values of a sequence (B, S, D), each as (B, H, S, D/H)."""
        keys = self._split(self.key(x))
        if self.rotary:
            keys = rotate(keys, positions)
        return keys, self._split(self.value(x))

    def call(self, x, keys_values=None, attention_mask=None, positions=None, return_weights=False, training=None):
        queries = self._split(self.query(x))
        if self.rotary:
            queries = rotate(queries, positions)
        keys, values = self.keys_values(x, positions) if keys_values is None else keys_values
        scores = ops.matmul(queries * self.size**-0.5, ops.transpose(keys, (0, 1, 3, 2)))
        weights = _masked_softmax(scores, attention_mask)
        mixed = ops.matmul(self.dropout(weights, training=training), values)
        output = self.output_dense(self._merge(mixed))
        return (output, weights) if return_weights else output

    def _split(self, x):
        """(B, T, D) -> (B, H, T, D/H)."""
        batch, length = ops.shape(x)[:2]
        return ops.transpose(ops.reshape(x, (batch, length, self.heads, self.size)), (0, 2, 1, 3))

    def _merge(self, x):
        """(B, H, T, D/H) -> (B, T, D)."""
        batch, _, length, _ = ops.shape(x)
        return ops.reshape(ops.transpose(x, (0, 2, 1, 3)), (batch, length, self.width))

    def get_config(self):
        return {
            **super().get_config(),
            "width": self.width,
            "heads": self.heads,
            "dropout": self.rate,
            "rotary": self.rotary,
        }


def _masked_softmax(scores, mask):
    """Softmax over the last axis in float32; positions where the mask is False get no weight."""
    dtype = scores.dtype
    scores = ops.cast(scores, "float32")
    if mask is not None:
        scores = ops.where(ops.expand_dims(mask, axis=-3), scores, -1e9)
    return ops.cast(ops.softmax(scores, axis=-1), dtype)
