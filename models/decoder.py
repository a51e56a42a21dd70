"""The decoder: masked self-attention, attention to the source and feed-forward layers over the target."""

import keras
from keras import ops

from models.attention import CrossAttention
from models.stack import Stack, TransformerLayer


@keras.saving.register_keras_serializable(package="weitblick")
class DecoderLayer(TransformerLayer):
    """Self-attention, attention to the source, then a feed-forward network, each with a residual connection.

    Args:
        width, hidden, heads and so on: see `TransformerLayer`.

    Call arguments:
        x: tensor (B, T, D).
        attended: keys and values of the encodings, from `source_keys_values`.
        attention_mask: boolean, broadcastable to (B, T, T), or to (B, T, Tmax) with a cache.
        source_mask: boolean, broadcastable to (B, T, S). None lets everything attend.
        positions: integer tensor (B, T) or (1, T).
        cache: keys and values of all positions so far, each (B, H, Tmax, D/H); needs T = 1.
        training: whether dropout is on.

    Returns:
        Output (B, T, D), the cache with this position written (None without one), and the attention weights on the
        target (B, H, T, T) and on the source (B, H, T, S).
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        width, heads, rate = (self.settings[key] for key in ("width", "heads", "attention_dropout"))
        self.source_attention = CrossAttention(width, heads, rate, dtype=self.dtype_policy, name="source_attention")
        self.source_attention_residual = self._new_residual("source_attention")

    def build(self, input_shape, *_):
        super().build(input_shape)
        self.source_attention.build(input_shape)
        self.source_attention_residual.build(input_shape)

    def source_keys_values(self, encodings):
        """Keys and values of the encodings (B, S, D), each (B, H, S, D/H), the same for every target position."""
        return self.source_attention.keys_values(encodings)

    def call(self, x, attended, attention_mask=None, source_mask=None, positions=None, cache=None, training=None):
        seen = {}

        def attend(x):
            queries, *keys_values = self.attention.queries_keys_values(x, positions)
            if cache is not None:
                keys_values = seen["cache"] = _write(cache, keys_values, positions)
            output, seen["target"] = self.attention.attend(queries, *keys_values, attention_mask, training)
            return output

        def attend_source(x):
            output, seen["source"] = self.source_attention(
                x, attended, attention_mask=source_mask, return_weights=True, training=training
            )
            return output

        x = self.attention_residual(x, function=attend, training=training)
        x = self.source_attention_residual(x, function=attend_source, training=training)
        x = self.feed_forward_residual(x, function=lambda x: self.feed_forward(x, training=training), training=training)
        return x, seen.get("cache"), (seen["target"], seen["source"])


def _write(cache, keys_values, positions):
    """Puts one position's keys and values (B, H, 1, D/H) at its place (B, 1) in a cache of (B, H, Tmax, D/H)."""
    length = ops.shape(cache[0])[2]
    here = ops.equal(ops.reshape(ops.arange(length), (1, 1, -1, 1)), ops.expand_dims(positions, (1, 2)))
    return tuple(ops.where(here, new, old) for new, old in zip(keys_values, cache, strict=True))


@keras.saving.register_keras_serializable(package="weitblick")
class Decoder(Stack):
    """L decoder layers over embedded target tokens.

    Args:
        layers: number of layers L.
        **settings: as for `DecoderLayer`.

    Call arguments:
        x: embedded target (B, T, D).
        sources: list of L pairs of keys and values, from `source_keys_values(encodings)`.
        attention_mask: boolean, broadcastable to (B, T, T); usually look-ahead and padding together.
        source_mask: boolean, broadcastable to (B, T, S); usually `padding_mask(source)`.
        positions: integer tensor (B, T) or (1, T).
        caches: list of L caches from `empty_caches`, for one position at a time.
        training: whether dropout is on.

    Returns:
        States (B, T, D), the list of caches (of None without caches), and two lists of attention weights per layer: on
        the target (B, H, T, T) and on the source (B, H, T, S).

    References:
        Vaswani et al. 2017, section 3.1.
    """

    layer_class = DecoderLayer

    def source_keys_values(self, encodings):
        """Each layer's keys and values of the encodings (B, S, D)."""
        return [layer.source_keys_values(encodings) for layer in self.stack]

    def empty_caches(self, batch, length: int):
        """L caches for `length` positions, each a pair of zeros (B, H, Tmax, D/H)."""
        heads, size = self.settings["heads"], self.settings["width"] // self.settings["heads"]
        zeros = ops.zeros((batch, heads, length, size), self.compute_dtype)
        return [(zeros, zeros) for _ in self.stack]

    def call(self, x, sources, attention_mask=None, source_mask=None, positions=None, caches=None, training=None):
        caches = caches or [None] * len(self.stack)
        written, weights = [], []
        for layer, source, cache in zip(self.stack, sources, caches, strict=True):
            x, cache, attention = layer(
                x,
                source,
                attention_mask=attention_mask,
                source_mask=source_mask,
                positions=positions,
                cache=cache,
                training=training,
            )
            written.append(cache)
            weights.append(attention)
        x = self.norm(x) if self.norm else x
        return x, written, tuple(map(list, zip(*weights, strict=True)))
