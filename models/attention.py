"""Multi-head attention of a sequence on itself and on another one, with weights that can be inspected."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from models import KeysValues, Nested, Tensor
from models.dropout import ByteDropout
from models.masks import MASKED, score_ceilings
from models.past import Past, PastStep, carried_mask, mask_with
from models.positions import rotate


class Attention(keras.layers.Layer):
    """Scaled dot-product attention over H heads; subclasses define where queries, keys and values come from.

    Args:
        width: model width D.
        heads: number of heads H; divides D.
        dropout: dropout rate on the attention weights.

    References:
        Vaswani et al. 2017, section 3.2.
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if width % heads:
            raise ValueError(f"width ({width}) must be a multiple of heads ({heads})")
        self.width, self.heads, self.rate = width, heads, dropout
        self.size = width // heads
        self.output_dense = self._dense(1, "output")
        self.dropout = ByteDropout(dropout, dtype=self.dtype_policy, name="dropout")

    def _dense(self, parts, name):
        """Several projections side by side, each initialised with the same spread as if it were alone."""
        spread = keras.initializers.VarianceScaling(1.0, "fan_in", "uniform")
        return keras.layers.Dense(parts * self.width, kernel_initializer=spread, dtype=self.dtype_policy, name=name)

    def attend(
        self,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        attention_mask: Tensor | None = None,
        training: bool | None = None,
    ) -> tuple[Tensor, Tensor]:
        """What the queries gather from the values.

        Args:
            queries: (B, H, T, D/H).
            keys, values: (B, H, S, D/H).
            attention_mask: boolean, broadcastable to (B, T, S); True means "may attend". None lets everything attend.
            training: whether dropout is on.

        Returns:
            Output (B, T, D) and the attention weights (B, H, T, S) before dropout. A row that may attend to nothing
            gets the plain mean of the values.
        """
        return self._gathered(_masked_softmax(self._scores(queries, keys), attention_mask), values, training)

    def _gathered(self, weights, values, training):
        """The results of `attend`."""
        mixed = ops.matmul(self.dropout(weights, training=training), values)
        batch, _, length, _ = ops.shape(mixed)
        mixed = ops.reshape(ops.transpose(mixed, (0, 2, 1, 3)), (batch, length, self.width))
        return self.output_dense(mixed), weights

    def attend_rows(
        self, queries: Tensor, keys: Tensor, values: Tensor, ceilings: Tensor, pasts: Sequence[PastStep] = ()
    ) -> Tensor:
        """The same for one position of each of the B * K hypotheses of a search, with all dense work on plain matrices.

        Args:
            queries: (B, H, K, D/H).
            keys, values: (B, H, S, D/H).
            ceilings: (B, 1, 1 or K, S) float32, the upper limit of a score: infinite, or `MASKED` where there is
                nothing to attend to. (Not a term to be added: TensorFlow's optimiser mistakes a product plus a term for
                another pattern, and inside a loop the result is then empty.)
            pasts: further keys and values, see `PastStep`; only the first may have a gate.

        Returns:
            Output (B * K, D).
        """
        parts = [*pasts, PastStep((keys, values), ceilings)]
        scores = [
            ops.minimum(ops.cast(self._scores(queries, part.keys_values[0]), "float32"), part.ceilings)
            for part in parts
        ]
        weights = _joined_softmax(scores, parts[0].gate)
        mixed = self._mixed(ops.cast(weights, values.dtype), [part.keys_values[1] for part in parts])
        return self.output_dense(ops.reshape(ops.transpose(mixed, (0, 2, 1, 3)), (-1, self.width)))

    def _mixed(self, weights, parts):
        """The sum of several values, weighted; joining them would copy them all at each step."""
        *others, last = parts
        start, mixed = 0, []
        for values in others:
            end = start + ops.shape(values)[2]
            mixed.append(ops.matmul(weights[..., start:end], values))
            start = end
        return sum(mixed, start=ops.matmul(weights[..., start:] if others else weights, last))

    def _scores(self, queries, keys):
        return ops.matmul(queries * self.size**-0.5, ops.transpose(keys, (0, 1, 3, 2)))

    def _split(self, x, parts):
        """(B, T, parts * D) -> as many tensors (B, H, T, D/H)."""
        batch, length = ops.shape(x)[:2]
        x = ops.reshape(x, (batch, length, parts, self.heads, self.size))
        return ops.unstack(ops.transpose(x, (2, 0, 3, 1, 4)), parts)

    def _split_rows(self, x, parts, beam):
        """(B * K, parts * D) -> as many tensors (B, H, K, D/H)."""
        x = ops.reshape(x, (-1, beam, parts, self.heads, self.size))
        return ops.unstack(ops.transpose(x, (2, 0, 3, 1, 4)), parts)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "width": self.width, "heads": self.heads, "dropout": self.rate}


@keras.saving.register_keras_serializable(package="weitblick")
class SelfAttention(Attention):
    """Attention of a sequence on itself. Queries, keys and values come from one matrix product.

    Args:
        width, heads, dropout: see `Attention`.
        rotary: turn queries and keys by their positions.

    Call arguments:
        x: tensor (B, T, D).
        attention_mask: boolean, broadcastable to (B, T, T); True means "may attend". None lets everything attend.
        positions: integer tensor (B, T) or (1, T), needed for rotary.
        past: optional, what else may be attended to; it needs an `attention_mask` with all three axes.
        return_weights: also return the attention weights (B, H, T, T), with a past (B, H, T, P + T).
        training: whether dropout is on.

    Returns:
        Tensor (B, T, D), or that and the weights.

    References:
        Vaswani et al. 2017, section 3.2.
    """

    # Number of projections.
    parts = 3

    def __init__(self, width: int, heads: int, dropout: float = 0.0, rotary: bool = False, **kwargs: Any) -> None:
        super().__init__(width, heads, dropout, **kwargs)
        self.rotary = rotary
        self.query_key_value = self._dense(self.parts, "query_key_value")

    def build(self, input_shape: Any, *_: Any) -> None:
        for layer in (self.query_key_value, self.output_dense):
            layer.build((None, None, self.width))

    def queries_keys_values(self, x: Tensor, positions: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of a sequence (B, T, D), each (B, H, T, D/H)."""
        return self._turned(self._split(self.query_key_value(x), self.parts), positions)

    def _turned(self, parts, positions):
        """Queries, keys and values from the projections."""
        queries, keys, values = parts
        if self.rotary:
            queries, keys = rotate(queries, positions), rotate(keys, positions)
        return queries, keys, values

    def call(
        self,
        x: Tensor,
        attention_mask: Tensor | None = None,
        positions: Tensor | None = None,
        past: Past | None = None,
        return_weights: bool = False,
        training: bool | None = None,
    ) -> Any:
        own = self.queries_keys_values(x, positions)
        output, weights = self.attend_after(past, *own, attention_mask, training)
        return (output, weights) if return_weights else output

    def attend_after(
        self,
        past: Past | None,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        attention_mask: Tensor | None = None,
        training: bool | None = None,
    ) -> tuple[Tensor, Tensor]:
        """As `attend`, for a sequence's own `queries_keys_values`, with a past before it."""
        if past is None:
            return self.attend(queries, keys, values, attention_mask, training)
        before = self.past_keys_values(past)
        keys, values = (ops.concatenate(both, axis=2) for both in zip(before, (keys, values), strict=True))
        if past.gate is None:
            return self.attend(queries, keys, values, mask_with(past, attention_mask), training)
        weights = _gated_softmax(self._scores(queries, keys), past, attention_mask)
        return self._gathered(weights, values, training)

    def past_keys_values(self, past: Past) -> KeysValues:
        """Keys and values of a past, each (B, H, P, D/H), by the same projections as those of the sequence."""
        kernel, bias = self.query_key_value.kernel, self.query_key_value.bias
        kernel, bias, x = (ops.cast(part, self.compute_dtype) for part in (kernel, bias, past.values))
        _, kernel = ops.split(kernel, [self.width], axis=1)
        keys, values = self._split(ops.matmul(x, kernel) + bias[self.width :], 2)
        if self.rotary and past.positions is not None:
            keys = rotate(keys, past.positions)
        return keys, values

    def look(self, x: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        """What positions find elsewhere by content alone, without a gradient for the weights of this layer.

        Args:
            x: (B, S, D).
            values: (B, P, D).
            mask: boolean (B, S, P).

        Returns:
            (B, S, D) float32, before the output's projection.
        """
        dense = self.query_key_value
        kernel, bias = (ops.stop_gradient(ops.convert_to_tensor(part)) for part in (dense.kernel, dense.bias))
        kernel, bias, x, values = (ops.cast(part, self.compute_dtype) for part in (kernel, bias, x, values))
        (queries,) = self._split(ops.matmul(x, kernel[:, : self.width]) + bias[: self.width], 1)
        keys, values = self._split(ops.matmul(values, kernel[:, self.width :]) + bias[self.width :], 2)
        found = ops.matmul(_masked_softmax(self._scores(queries, keys), mask), values)
        found = ops.transpose(ops.cast(found, "float32"), (0, 2, 1, 3))
        return ops.reshape(found, (*ops.shape(x)[:2], self.width))

    def step(
        self,
        x: Tensor,
        cache: KeysValues,
        places: Tensor,
        ceilings: Tensor,
        positions: Tensor | None = None,
        pasts: Sequence[PastStep] = (),
    ) -> tuple[Tensor, KeysValues]:
        """One more position of each hypothesis of a search, attending to those before it and to itself.

        Args:
            x: (B * K, D).
            cache: keys and values of all hypotheses so far, each (B, H, T, K, D/H).
            places: (B * H, 1) int32, where the new ones go in the cache, seen as a matrix (B * H * T, K * D/H).
            ceilings: (B, 1, K, T * K) float32, see `attend_rows`: infinite for what belongs to a hypothesis.
            positions: (B, 1) int32, needed for rotary.
            pasts: what else all hypotheses of an input may attend to.

        Returns:
            Output (B * K, D) and the cache with the new keys and values.
        """
        parts = self._split_rows(self.query_key_value(x), self.parts, cache[0].shape[3])
        queries, new, values = self._turned(parts, positions)
        cache = _write(cache[0], new, places), _write(cache[1], values, places)
        keys, values = (ops.reshape(entries, self._flat_shape(entries)) for entries in cache)
        return self.attend_rows(queries, keys, values, self._visible(ceilings, new, keys), pasts), cache

    def _visible(self, ceilings, new, keys):
        """A step's ceilings, limited to what the new keys (B, H, K, D/H) see of all keys (B, H, T * K, D/H)."""
        return ceilings

    def _flat_shape(self, entries):
        """(B, H, T * K, D/H), with -1 for a size that the graph does not know."""
        batch, _, length, beam, _ = entries.shape
        if batch is None and length is None:
            return (ops.shape(entries)[0], self.heads, -1, self.size)
        return (-1 if batch is None else batch, self.heads, -1 if length is None else length * beam, self.size)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rotary": self.rotary}


@keras.saving.register_keras_serializable(package="weitblick")
class CrossAttention(Attention):
    """Attention of one sequence on another, whose keys and values are computed once and passed to each call.

    Args:
        width, heads, dropout: see `Attention`.

    Call arguments:
        x: tensor (B, T, D).
        keys_values: pair of tensors (B, H, S, D/H), from the method of that name.
        attention_mask: boolean, broadcastable to (B, T, S); True means "may attend". None lets everything attend.
        return_weights: also return the attention weights (B, H, T, S).
        training: whether dropout is on.

    Returns:
        Tensor (B, T, D), or that and the weights.

    References:
        Vaswani et al. 2017, section 3.2.3.
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.0, **kwargs: Any) -> None:
        super().__init__(width, heads, dropout, **kwargs)
        self.query, self.key_value = self._dense(1, "query"), self._dense(2, "key_value")

    def build(self, input_shape: Any, *_: Any) -> None:
        for layer in (self.query, self.key_value, self.output_dense):
            layer.build((None, None, self.width))

    def keys_values(self, x: Tensor) -> KeysValues:
        """The keys and values of a sequence (B, S, D), each (B, H, S, D/H)."""
        return tuple(self._split(self.key_value(x), 2))

    def call(
        self,
        x: Tensor,
        keys_values: KeysValues,
        attention_mask: Tensor | None = None,
        return_weights: bool = False,
        training: bool | None = None,
    ) -> Any:
        (queries,) = self._split(self.query(x), 1)
        output, weights = self.attend(queries, *keys_values, attention_mask, training)
        return (output, weights) if return_weights else output

    def step(self, x: Tensor, keys_values: KeysValues, ceilings: Tensor, beam: int) -> Tensor:
        """One position of each hypothesis of a search.

        Args:
            x: (B * K, D).
            keys_values: pair of tensors (B, H, S, D/H).
            ceilings: (B, 1, 1, S) float32, see `attend_rows`: infinite for real tokens.
            beam: int. K.

        Returns:
            Output (B * K, D).
        """
        (queries,) = self._split_rows(self.query(x), 1, beam)
        return self.attend_rows(queries, *keys_values, ceilings)


def with_room(state: Nested, steps: int) -> Nested:
    """A decoding state whose caches have room for more steps.

    Args:
        state: contains "written", L pairs of caches (B, H, T, K, D/H), and "entries" (B * K, T), see `cache_places`.
        steps: how many more.
    """

    def zeros(cache):
        batch, heads, _, beam, size = ops.shape(cache)
        return ops.concatenate([cache, ops.zeros((batch, heads, steps, beam, size), cache.dtype)], axis=2)

    unwritten = ops.full((ops.shape(state["entries"])[0], steps), -1, "int32")
    caches = [tuple(zeros(cache) for cache in layer) for layer in state["written"]]
    return {**state, "written": caches, "entries": ops.concatenate([state["entries"], unwritten], axis=1)}


def cache_places(cache: Tensor, entries: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
    """Where a step writes in a cache, and what it may read of it; see `SelfAttention.step`.

    Args:
        cache: (B, H, T, K, D/H).
        entries: (B * K, T) int32: which of the K at each position a hypothesis attends to, -1 for none.
        place: (B, 1) int32, the place of the current position.

    Returns:
        Places (B * H, 1) and ceilings (B, 1, K, T * K).
    """
    batch, heads, length, beam, _ = ops.shape(cache)
    own = ops.equal(ops.reshape(entries, (-1, 1, beam, length, 1)), ops.arange(beam, dtype="int32"))
    ceilings = ops.reshape(score_ceilings(own), (-1, 1, beam, length * beam))
    places = ops.reshape(ops.arange(batch * heads, dtype="int32"), (-1, heads)) * length + place
    return ops.reshape(places, (-1, 1)), ceilings


def _write(cache, entries, places):
    """A cache (B, H, T, K, D/H) with entries (B, H, K, D/H) at their places; see `SelfAttention.step`."""
    size = cache.shape[3] * cache.shape[4]
    written = ops.scatter_update(ops.reshape(cache, (-1, size)), places, ops.reshape(entries, (-1, size)))
    return ops.reshape(written, ops.shape(cache))


def _masked_softmax(scores, mask):
    """Softmax over the last axis in float32; positions where the mask is False get no weight."""
    dtype = scores.dtype
    scores = ops.cast(scores, "float32")
    if mask is not None:
        scores = ops.where(ops.expand_dims(mask, axis=-3), scores, MASKED)
    return ops.cast(ops.softmax(scores, axis=-1), dtype)


def _gated_softmax(scores, past, mask):
    """Weights (B, H, S, P + S) of a past with a gate and of the row's own positions, for which the `mask` is."""
    carried = carried_mask(past, mask)
    gates = ops.where(ops.any(carried, axis=-1)[:, None], past.gate, ops.zeros_like(past.gate))[..., None]
    own = (1 - gates) * _masked_softmax(scores[..., ops.shape(past.values)[1] :], mask)
    before = ((0, 0), (0, 0), (0, 0), (ops.shape(past.values)[1], 0))
    return gates * _masked_softmax(scores, carried) + ops.pad(own, before)


def _joined_softmax(scores, gate):
    """Weights from the scores of several parts, each (B, H, K, S) float32, joined; `gate` is that of the first part."""
    if gate is None:
        return ops.softmax(ops.concatenate(scores, axis=-1) if len(scores) > 1 else scores[0], axis=-1)
    gate, (first, *own) = ops.cast(gate, "float32"), scores
    return ops.concatenate([gate * ops.softmax(first, axis=-1), (1 - gate) * _joined_softmax(own, None)], axis=-1)
