"""The decoder: masked self-attention, attention to the source and feed-forward layers over the target."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from models import KeysValues, Tensor
from models.attention import CrossAttention, cache_places
from models.past import NOTHING, Read, Reading, nothing
from models.stack import Stack, Sublayer, TransformerLayer


@keras.saving.register_keras_serializable(package="weitblick")
class DecoderLayer(TransformerLayer):
    """Self-attention, attention to the source, then a feed-forward network, each with a residual connection.

    Args:
        width, hidden, heads and so on: see `TransformerLayer`.

    Call arguments:
        x: tensor (B, T, D).
        encodings: (B, S, D).
        attention_mask: boolean, broadcastable to (B, T, T).
        source_mask: boolean, broadcastable to (B, T, S). None lets everything attend.
        positions: integer tensor (B, T) or (1, T).
        read: maps the input of self-attention to what is read from memories.
        training: whether dropout is on.

    Returns:
        Output (B, T, D), the input of the feed-forward network (B, T, D), and the attention weights on the target
        (B, H, T, T) and on the source (B, H, T, S).
    """

    causal = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        width, heads, rate = (self.settings[key] for key in ("width", "heads", "attention_dropout"))
        self.source_attention = CrossAttention(width, heads, rate, dtype=self.dtype_policy, name="source_attention")
        self.source_attention_residual = self._new_residual("source_attention")

    def build(self, input_shape: Any, *_: Any) -> None:
        super().build(input_shape)
        self.source_attention.build(input_shape)
        self.source_attention_residual.build(input_shape)

    def source_keys_values(self, encodings: Tensor) -> KeysValues:
        """Keys and values of the encodings (B, S, D), each (B, H, S, D/H), the same for every target position."""
        return self.source_attention.keys_values(encodings)

    def call(
        self,
        x: Tensor,
        encodings: Tensor,
        attention_mask: Tensor | None = None,
        source_mask: Tensor | None = None,
        positions: Tensor | None = None,
        read: Callable[[Tensor], Reading] = NOTHING,
        training: bool | None = None,
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        seen: dict[str, Tensor] = {}
        for part in self.sublayers(encodings, attention_mask, source_mask, positions, read, seen, training):
            x = part.residual(x, function=part.function, training=training)
        return x, seen["inner"], (seen["target"], seen["source"])

    def sublayers(
        self,
        encodings: Tensor,
        attention_mask: Tensor | None = None,
        source_mask: Tensor | None = None,
        positions: Tensor | None = None,
        read: Callable[[Tensor], Reading] = NOTHING,
        seen: dict[str, Tensor] | None = None,
        training: bool | None = None,
    ) -> list[Sublayer]:
        """The parts of a call with these arguments; they put into `seen` what a call returns besides its output."""
        seen = {} if seen is None else seen

        def attend(x):
            found = read(x)
            own = {"attention_mask": attention_mask, "positions": positions, "past": found.past}
            output, seen["target"] = self.attention(x, **own, return_weights=True, training=training)
            return found.plus(output)

        def attend_source(x):
            own = {"attention_mask": source_mask, "return_weights": True, "training": training}
            output, seen["source"] = self.source_attention(x, self.source_keys_values(encodings), **own)
            return output

        def feed_forward(x):
            seen["inner"] = x
            return self.feed_forward(x, training=training)

        return [
            Sublayer(self.attention_residual, self.attention, attend),
            Sublayer(self.source_attention_residual, self.source_attention, attend_source),
            Sublayer(self.feed_forward_residual, self.feed_forward, feed_forward),
        ]

    def prefill(
        self,
        x: Tensor,
        attended: KeysValues,
        attention_mask: Tensor | None,
        source_mask: Tensor | None,
        positions: Tensor | None,
        read: Callable[[Tensor], Reading],
    ) -> tuple[Tensor, KeysValues]:
        """Like a call without dropout, but also returns the cache: keys and values, each (B, H, T, 1, D/H)."""
        cache = []

        def attend(x):
            queries, *keys_values = self.attention.queries_keys_values(x, positions)
            cache.extend(ops.expand_dims(part, 3) for part in keys_values)
            found = read(x)
            return found.plus(self.attention.attend_after(found.past, queries, *keys_values, attention_mask)[0])

        x = self.attention_residual(x, function=attend)
        x = self.source_attention_residual(x, function=lambda x: self.source_attention(x, attended, source_mask))
        return self.feed_forward_residual(x, function=self.feed_forward), tuple(cache)

    def step(
        self,
        x: Tensor,
        attended: KeysValues,
        cache: KeysValues,
        places: Tensor,
        ceilings: Tensor,
        source_ceilings: Tensor,
        positions: Tensor | None,
        read: Callable[[Tensor], Reading] = NOTHING,
    ) -> tuple[Tensor, Tensor, KeysValues]:
        """One more position of each hypothesis of a search: (B * K, D) -> (B * K, D), the input of the feed-forward
        network (B * K, D) and the cache.

        Args: see `SelfAttention.step` and `CrossAttention.step`; a past is a tuple of `PastStep`.
        """
        written, seen = [], []

        def attend(x):
            found = read(x)
            output, cached = self.attention.step(x, cache, places, ceilings, positions, found.past or ())
            written.append(cached)
            return found.plus(output)

        def attend_source(x):
            return self.source_attention.step(x, attended, source_ceilings, cache[0].shape[3])

        def feed_forward(x):
            seen.append(x)
            return self.feed_forward(x)

        x = self.attention_residual(x, function=attend)
        x = self.source_attention_residual(x, function=attend_source)
        return self.feed_forward_residual(x, function=feed_forward), seen[0], written[0]


@keras.saving.register_keras_serializable(package="weitblick")
class Decoder(Stack):
    """L decoder layers over embedded target tokens.

    Args:
        layers: number of layers L.
        **settings: as for `DecoderLayer`.

    Call arguments:
        x: embedded target (B, T, D).
        encodings: (B, S, D).
        attention_mask: boolean, broadcastable to (B, T, T); usually look-ahead and padding together.
        source_mask: boolean, broadcastable to (B, T, S); usually `padding_mask(source)`.
        positions: integer tensor (B, T) or (1, T).
        read: what each layer reads from memories, see `models.past.Read`.
        training: whether dropout is on.

    Returns:
        States (B, T, D); the input of the last layer's feed-forward network (B, T, D); and two lists of attention
        weights per layer: on the target (B, H, T, T) and on the source (B, H, T, S). A stack that keeps no activations
        returns only the states in training.

    References:
        Vaswani et al. 2017, section 3.1.
    """

    layer_class = DecoderLayer

    def source_keys_values(self, encodings: Tensor) -> list[KeysValues]:
        """Each layer's keys and values of the encodings (B, S, D)."""
        return [layer.source_keys_values(encodings) for layer in self.stack]

    def empty_caches(self, batch: int | Tensor, length: int) -> list[KeysValues]:
        """L caches for `length` positions, each a pair of zeros (B, H, T, 1, D/H); a search turns the 1 into its K."""
        heads, size = self.settings["heads"], self.settings["width"] // self.settings["heads"]
        zeros = ops.zeros((batch, heads, length, 1, size), self.compute_dtype)
        return [(zeros, zeros) for _ in self.stack]

    def prefill(
        self,
        x: Tensor,
        sources: list[KeysValues],
        attention_mask: Tensor | None,
        source_mask: Tensor | None,
        positions: Tensor | None,
        read: Read = nothing,
    ) -> list[KeysValues]:
        """Caches for `step`, filled by a target (B, T, D) that is already known.

        Args: see the call; `sources` as for `step`. Padding fills its places, too; `step` overwrites them.
        """
        caches, x = [], self.begun(x)
        for number, (layer, source) in enumerate(zip(self.stack, sources, strict=True)):
            x, cache = layer.prefill(x, source, attention_mask, source_mask, positions, read(number))
            caches.append(cache)
        return caches

    def call(
        self,
        x: Tensor,
        encodings: Tensor,
        attention_mask: Tensor | None = None,
        source_mask: Tensor | None = None,
        positions: Tensor | None = None,
        read: Read = nothing,
        training: bool | None = None,
    ) -> tuple[Tensor, Tensor | None, tuple[list[Tensor], list[Tensor]]]:
        own = {"attention_mask": attention_mask, "source_mask": source_mask, "positions": positions}
        if training and self.forgets:
            return self.recomputed(x, (encodings,), **own, training=True), None, ([], [])
        inner, weights, x = x, [], self.begun(x)
        for number, layer in enumerate(self.stack):
            x, inner, attention = layer(x, encodings, **own, read=read(number), training=training)
            weights.append(attention)
        x = self.ended(x)
        on_target, on_source = map(list, zip(*weights, strict=True))
        return x, inner, (on_target, on_source)

    def step(
        self,
        x: Tensor,
        sources: list[KeysValues],
        caches: list[KeysValues],
        entries: Tensor,
        source_ceilings: Tensor,
        positions: Tensor,
        read: Read = nothing,
        place: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, list[KeysValues]]:
        """One more position of each hypothesis of a search, using keys and values from caches.

        The caches of an input hold everything that its hypotheses ever wrote and are never reordered. `entries` says
        what of it belongs to which hypothesis.

        Args:
            x: (B * K, D).
            sources: list of L pairs of keys and values, from `source_keys_values(encodings)`.
            caches: list of L pairs, each (B, H, T, K, D/H).
            entries: (B * K, T) int32: which of the K at each position a hypothesis attends to, -1 for none.
            source_ceilings: (B, 1, 1, S) float32, infinite for real source tokens and `MASKED` for padding.
            positions: (B, 1) int32, this position.
            read: what each layer reads from memories; a past is a tuple of `PastStep`.
            place: (B, 1) int32, where to write in the caches; None: at `positions`.

        Returns:
            States (B * K, D), the input of the last layer's feed-forward network (B * K, D) and the list of caches.
        """
        places, ceilings = cache_places(caches[0][0], entries, positions if place is None else place)
        inner, written, x = x, [], self.begun(x)
        for number, (layer, source, cache) in enumerate(zip(self.stack, sources, caches, strict=True)):
            x, inner, cache = layer.step(x, source, cache, places, ceilings, source_ceilings, positions, read(number))
            written.append(cache)
        return self.ended(x), inner, written
