"""Retrieval memory: next tokens from trusted translations, found by the decoder states that they followed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from keras import ops

from models import Nested, Tensor
from models.memories import memory
from models.memories.lookup import Search, look_up
from models.options import option
from models.search.rules import log_total
from models.search.state import pick

# The distance of an entry that is only padding.
FAR = 1e9


@dataclass(frozen=True)
class RetrievalSettings:
    """Trusted translations, such as corrections, read at each step of the search; works with any other kind."""

    key: str = option(
        "feed_forward",
        "decoder state by which entries are found: the input of the last feed-forward network, or the output states",
        choices=("feed_forward", "output"),
    )
    neighbours: int = option(8, "the nearest entries that are read at each step", low=1, high=1024)
    temperature: float = option(0.12, "the lower, the more the nearest entry counts; in units of distance", above=0.0)
    threshold: float = option(0.5, "mean squared distance from which on an entry does not count", above=0.0)
    gate: str = option(
        "distance",
        "what weighs entries: their distance, or a layer that `weitblick tune --learn` fitted to validation text",
        choices=("distance", "learnt"),
    )
    weight: float = option(0.9, "weight of an entry at distance 0, against the model's; 0: off", low=0.0, below=1.0)
    own: float = option(0.0, "trust in the model's own output; 0: only trusted translations", low=0.0, high=1.0)
    index: str = option(
        "segments",
        "what is read of a translation memory: its most similar segments, or the nearest of all entries, by an index",
        choices=("segments", "exact", "ivfpq"),
    )
    segments: int = option(16, "how many similar segments are read", low=1)
    entries: int = option(384, "maximum entries read for a segment, from the most similar segments", low=1)


class Neighbours(NamedTuple):
    """The nearest entries of each of R rows, nearest first.

    distances: (R, k) float32, mean squared difference over the D numbers of a key; `FAR` for none.
    tokens: (R, k) int32.
    trust: (R, k) float32.
    """

    distances: Tensor
    tokens: Tensor
    trust: Tensor


@memory("retrieval", RetrievalSettings)
class RetrievalModel:
    """A model whose steps mix in the tokens that followed similar states in trusted translations. It has no weights of
    its own.

    The probability of a token is `(1 - g) p_model + g p_retrieved`. `p_retrieved` is the softmax of the negative
    distances of the nearest entries, divided by the temperature and summed by token. `g` starts at the weight for
    distance 0 and falls linearly with the nearest distance, to 0 at the threshold; or a `gate` determines it. An entry
    with half trust counts half and leaves the rest to the model.

    Args:
        model: has `step_with_key` and `initial_state`, see `models.transformer.Transformer`.
        settings: see `RetrievalSettings`.
        gate: optional, see `Gate`.
        search: optional, an index over more entries, see `models.memories.lookup.Search`.

    References:
        Khandelwal et al. 2021, "Nearest Neighbor Machine Translation", equations 2 and 3; Dai et al. 2023, "Simple and
        Scalable Nearest Neighbor Machine Translation", section 3.2, for a weight that falls with the distance and for a
        separate store for each input.
    """

    def __init__(
        self, model: Any, settings: RetrievalSettings, gate: "Gate | None" = None, search: Search | None = None
    ) -> None:
        self.model, self.settings, self.gate, self.search = model, settings, gate, search

    def initial_state(self, source: Tensor, max_length: int, stored: dict[str, Tensor], **context: Any) -> Nested:
        """The model's state before the first step.

        Args:
            source, max_length: see `Transformer.initial_state`.
            stored: the entries that each of B inputs may read, N of them (at least the number of neighbours): "keys"
                (B, N, D) float16 or float32; "tokens" (B, N) int32, the token that followed, 0 for padding; and "trust"
                (B, N) float32, 0 to 1.
            **context: further arguments of the model's method.
        """
        state = self.model.initial_state(source, max_length, **context)
        keys = ops.cast(stored["keys"], "float32")
        keys = ops.reshape(keys, (ops.shape(keys)[0], -1, self.model.settings["width"]))
        squares = ops.where(ops.equal(stored["tokens"], 0), FAR, ops.mean(ops.square(keys), axis=-1))
        # A step spends most of its time on reading the keys, which take half the room in bfloat16.
        keys = ops.cast(keys, self.model.compute_dtype)
        state["shared"]["stored"] = {**stored, "keys": keys, "squares": squares}
        return state

    def lengthen_state(self, state: Nested, steps: int) -> Nested:
        """The state with room for `steps` more steps."""
        return self.model.lengthen_state(state, steps)

    def step(self, tokens: Tensor, state: Nested) -> tuple[Tensor, Nested]:
        """One step of decoding; the logits (B * K, V) give the probabilities of the mixture."""
        beam = state["written"][0][0].shape[3]
        logits, queries, state = self.model.step_with_key(tokens, state, self.settings.key)
        found = nearest(queries, state["shared"]["stored"], beam, self.settings.neighbours)
        if self.search:
            found = nearer(found, *look_up(self.search, queries, self.settings.neighbours), queries.shape[-1])
        largest = ops.max(logits, axis=-1, keepdims=True)
        total = log_total(logits, largest)
        gates, temperatures = self.gate(largest - total, found) if self.gate else self._gates(found)
        return mixed(logits, total, found, gates, temperatures), state

    def _gates(self, found):
        settings = self.settings
        near = ops.maximum(1 - found.distances[:, :1] / settings.threshold, 0.0)
        return settings.weight * near, ops.full_like(near, settings.temperature)


def nearest(queries: Tensor, stored: dict[str, Tensor], beam: int, count: int) -> Neighbours:
    """The nearest entries of each hypothesis among those that its input may read.

    Args:
        queries: (B * K, D) float32.
        stored: see `RetrievalModel.initial_state`; keys may have any float dtype, in which products are computed. Also
            "squares" (B, N) float32, the mean squares of the keys, `FAR` for padding.
        beam: K.
        count: k, at most N.
    """
    width = queries.shape[-1]
    queries = ops.reshape(queries, (-1, beam, width))
    keys = stored["keys"]
    products = ops.matmul(ops.cast(queries, keys.dtype), ops.transpose(keys, (0, 2, 1)))
    products = ops.cast(products, "float32") * (2.0 / width)
    distances, places = ops.top_k(products - stored["squares"][:, None], count)
    own = ops.mean(ops.square(queries), axis=-1, keepdims=True)
    distances = ops.reshape(ops.maximum(own - distances, 0.0), (-1, count))
    places = ops.reshape(ops.cast(places, "int32"), (-1, beam * count))
    tokens, trust = (ops.reshape(pick(stored[name], places), (-1, count)) for name in ("tokens", "trust"))
    return Neighbours(ops.minimum(distances, FAR), tokens, trust)


def nearer(found: Neighbours, squares: Tensor, tokens: Tensor, width: int) -> Neighbours:
    """The nearest k among some neighbours and others that are fully trusted.

    Args:
        found: k neighbours of each row.
        squares: (R, k), squared distances of the others.
        tokens: (R, k), their tokens.
        width: D.
    """
    both = Neighbours(
        ops.concatenate([found.distances, squares / width], axis=1),
        ops.concatenate([found.tokens, tokens], axis=1),
        ops.concatenate([found.trust, ops.ones_like(squares)], axis=1),
    )
    distances, places = ops.top_k(-both.distances, found.distances.shape[1])
    places = ops.cast(places, "int32")
    return Neighbours(-distances, pick(both.tokens, places), pick(both.trust, places))


def mixed(logits: Tensor, total: Tensor, found: Neighbours, gates: Tensor, temperatures: Tensor) -> Tensor:
    """Logits (R, V) of the model combined with what was found; see `RetrievalModel`.

    Only the logits of tokens that were found change: up to a common scale, the others keep their part of `1 - g`.

    Args:
        logits: (R, V) float32, the model's.
        total: (R, 1) float32, the logarithm of the sum of their exponentials.
        found: k neighbours of each row.
        gates, temperatures: (R, 1).
    """
    shares = ops.softmax(-found.distances / temperatures, axis=-1) * found.trust
    kept = ops.log1p(-gates * ops.sum(shares, axis=-1, keepdims=True))
    same = ops.cast(ops.equal(found.tokens[:, :, None], found.tokens[:, None]), shares.dtype)
    # Each neighbour gets the total share of those with its token, so that neighbours with equal tokens write the same.
    shares = ops.sum(same * shares[:, None], axis=-1)
    rows = ops.arange(ops.shape(logits)[0], dtype="int32")[:, None] + ops.zeros_like(found.tokens)
    together = ops.logaddexp(pick(logits, found.tokens), ops.log(gates * shares + 1e-30) + total - kept)
    places = ops.reshape(ops.stack([rows, found.tokens], axis=-1), (-1, 2))
    return ops.scatter_update(logits, places, ops.reshape(together, (-1,)))


class Gate(NamedTuple):
    """A layer with one matrix, learnt on validation text, that weights what was found.

    It sees the distances, how many different tokens the nearest 1, 2, ... k entries have, and the model's largest
    log-probability.

    Fields:
        weights: (2 k + 1, 2).
        bias: (2,).

    References:
        Zheng et al. 2021, "Adaptive Nearest Neighbor Machine Translation", section 3.2.
    """

    weights: Sequence[Sequence[float]]
    bias: Sequence[float]

    def __call__(self, surest: Tensor, found: Neighbours) -> tuple[Tensor, Tensor]:
        """Gates and temperatures, each (R, 1), from the model's largest log-probability (R, 1) and what was found."""
        seen = features(found, surest)
        weights, bias = (ops.convert_to_tensor(values, "float32") for values in self)
        return gated(ops.matmul(seen, weights) + bias)


def features(found: Neighbours, surest: Tensor) -> Tensor:
    """What a `Gate` sees of each row: (R, 2 k + 1)."""
    same = ops.equal(found.tokens[:, :, None], found.tokens[:, None])
    count = found.tokens.shape[1]
    before = ops.convert_to_tensor([[i < j for i in range(count)] for j in range(count)])
    new = ops.logical_not(ops.any(ops.logical_and(same, before), axis=-1))
    different = ops.cumsum(ops.cast(new, "float32"), axis=-1)
    near = ops.exp(-ops.minimum(ops.cast(found.distances, "float32"), 20.0))
    return ops.concatenate([near, different / count, surest], axis=-1)


def gated(outputs: Tensor) -> tuple[Tensor, Tensor]:
    """The gates, 0 to 1, and the temperatures from the outputs (R, 2) of a layer, each (R, 1)."""
    return 0.999 * ops.sigmoid(outputs[:, :1]), ops.exp(ops.clip(outputs[:, 1:], -6.0, 2.0))
