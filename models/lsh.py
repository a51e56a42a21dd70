"""Attention by locality-sensitive hashing; its cost grows with n log n."""

from typing import Any

import keras
import numpy as np
from keras import ops

from models import Tensor
from models.attention import SelfAttention
from models.masks import MASKED, group_mask, look_ahead_mask, score_ceilings
from models.past import Past
from models.positions import rotate

# The score of a position with itself: too low to count against any other, but above what is masked.
ITSELF = -1e5


@keras.saving.register_keras_serializable(package="weitblick")
class LSHAttention(SelfAttention):
    """Attention of each position on those whose keys fall into the same bucket, and on its neighbours.

    Queries and keys come from the same projection; keys have length 1. A round hashes the keys into buckets by random
    rotations, sorts positions by bucket, and lets each attend to those of its bucket that are less than `chunk` places
    away. One more round has a single bucket, so each position attends to its neighbours, and attention over at most
    `chunk` positions is full attention. What a position sees in several rounds counts once, as in a softmax over all of
    it; the rounds are computed one after another and joined by their log-sum-exp. A position attends to itself only if
    it sees nothing else.

    Which positions a causal position sees depends on nothing that comes later, unlike in the paper, where chunks have
    fixed borders. So decoding with a cache sees the same. The rotations are fixed and the same for all layers and
    backends, so training, scoring and search see the same, too; a trained model can be used with more rounds.

    Args:
        width, heads, rotary: see `SelfAttention`.
        dropout: must be 0. Which weights it dropped would depend on the order, and so on what comes later.
        causal: no position attends to a later one.
        chunk: how far a position sees among those of its bucket.
        rounds: number of hashing rounds.
        buckets: number of buckets in each round; even.

    Call arguments:
        x: tensor (B, T, D).
        attention_mask: integer (B, T), the group of each position, from 1, or 0 for padding: positions attend to those
            of their group, which must be contiguous. None for a single group.
        positions: integer tensor (B, T) or (1, T), needed for rotary.
        past: must be None.
        return_weights: also return None, as there is no matrix of weights.
        training: whether dropout is on.

    Returns:
        Tensor (B, T, D), or that and None.

    References:
        Kitaev et al. 2020, "Reformer: The Efficient Transformer", section 2 and appendix A; Andoni et al. 2015,
        "Practical and Optimal LSH for Angular Distance", for the rotations.
    """

    parts = 2

    def __init__(
        self,
        width: int,
        heads: int,
        dropout: float = 0.0,
        rotary: bool = False,
        causal: bool = False,
        chunk: int = 64,
        rounds: int = 2,
        buckets: int = 64,
        **kwargs: Any,
    ) -> None:
        super().__init__(width, heads, dropout, rotary, **kwargs)
        if dropout:
            raise ValueError(f"LSH attention has no dropout on its weights: attention_dropout must be 0, got {dropout}")
        if buckets < 2 or buckets % 2:
            raise ValueError(f"buckets must be even, got {buckets}")
        self.causal = causal
        self.chunk, self.rounds, self.buckets = chunk, rounds, buckets
        self.rotations = _rotations(heads, self.size, rounds, buckets)

    def _turned(self, parts, positions):
        queries, values = parts
        queries = rotate(queries, positions) if self.rotary else queries
        wide = ops.cast(queries, "float32")
        keys = wide * ops.rsqrt(ops.sum(ops.square(wide), axis=-1, keepdims=True) + 1e-6)
        return queries, ops.cast(keys, queries.dtype), values

    def attend_after(
        self,
        past: Past | None,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        attention_mask: Tensor | None = None,
        training: bool | None = None,
    ) -> tuple[Tensor, None]:
        """Output (B, T, D) of a sequence's own `queries_keys_values`."""
        if past is not None:
            raise ValueError("LSH attention reads no past: memories inside layers need full attention, or read by gate")
        batch, length = ops.shape(queries)[0], ops.shape(queries)[2]
        groups = ops.ones((batch, length), "int32") if attention_mask is None else attention_mask
        given = (queries, keys, values, groups)
        if isinstance(length, int):
            mixed = (self._full if length <= self.chunk else self._hashed)(*given)
        else:
            mixed = ops.cond(length <= self.chunk, lambda: self._full(*given), lambda: self._hashed(*given))
        mixed = ops.reshape(ops.transpose(mixed, (0, 2, 1, 3)), (batch, length, self.width))
        return self.output_dense(mixed), None

    def _scores(self, queries, keys):
        return ops.matmul(queries, ops.swapaxes(keys, -1, -2))

    def _full(self, queries, keys, values, groups):
        places = ops.arange(ops.shape(queries)[2], dtype="int32")
        scores = ops.cast(self._scores(queries, keys), "float32")
        scores = ops.where(ops.equal(places[:, None], places), ITSELF, scores)
        mask = group_mask(groups, groups)
        mask = ops.logical_and(mask, look_ahead_mask(ops.shape(places)[0])) if self.causal else mask
        scores = ops.where(mask[:, None], scores, MASKED)
        return ops.matmul(ops.cast(ops.softmax(scores), values.dtype), values)

    def _hashed(self, queries, keys, values, groups):
        length = ops.shape(queries)[2]
        extra = -length % self.chunk
        queries, keys, values = (ops.pad(x, ((0, 0), (0, 0), (0, extra), (0, 0))) for x in (queries, keys, values))
        members, places, orders = self._sorted(keys, ops.pad(groups, ((0, 0), (0, extra))))
        about, outputs, totals = ops.stack([*members, *places], axis=-1), [], []
        for number, order in enumerate(orders):
            given = (queries, keys, values, about)
            found = self._round(number, *(_chosen(x, order) for x in given))
            output, total = (_chosen(x, places[number]) for x in found)
            outputs.append(output)
            totals.append(total)
        weights = ops.unstack(ops.softmax(ops.stack(totals), axis=0), len(totals))
        mixed = sum(ops.cast(output, "float32") * weight for output, weight in zip(outputs, weights, strict=True))
        return ops.cast(mixed, values.dtype)[:, :, :length]

    def _sorted(self, keys, groups):
        """Three lists with a tensor (B, H, N) for each round: each position's bucket, its place in the order of
        buckets, and that order. The first round has a single bucket. Each group has its own buckets; those of padding
        are -1."""
        shape = ops.shape(keys)[:3]
        own = ops.broadcast_to(ops.arange(shape[2], dtype="int32"), shape)
        groups = ops.broadcast_to(ops.cast(groups, "int32")[:, None], shape)
        hashed = self.hashes(keys)
        members, places, orders = [groups], [own], [own]
        for number in range(self.rounds):
            bucket = groups * self.buckets + hashed[..., number]
            order = ops.cast(ops.argsort(bucket * shape[2] + own, axis=-1), "int32")
            members.append(bucket)
            orders.append(order)
            places.append(ops.cast(ops.argsort(order, axis=-1), "int32"))
        return [ops.where(groups > 0, member, -1) for member in members], places, orders

    def hashes(self, keys: Tensor) -> Tensor:
        """The buckets of keys in each round: (B, H, N, D/H) -> (B, H, N, R) int32."""
        keys = ops.stop_gradient(ops.cast(keys, "float32"))
        turned = ops.matmul(keys, ops.convert_to_tensor(self.rotations))
        turned = ops.reshape(turned, (*ops.shape(keys)[:3], self.rounds, self.buckets // 2))
        return ops.cast(ops.argmax(ops.concatenate([turned, -turned], axis=-1), axis=-1), "int32")

    def _round(self, number, queries, keys, values, about):
        """One round in its own order: what each position finds (B, H, N, D/H), and the log-sum-exp of its scores."""
        shape = ops.shape(queries)
        queries, own = (self._chunks(x) for x in (queries, about))
        keys, values, others = (self._beside(self._chunks(x)) for x in (keys, values, about))
        seen = self._seen(own, others)
        itself = ops.equal(own[..., self.rounds + 1, None], others[..., None, :, self.rounds + 1])
        scores = ops.where(itself, ITSELF, ops.cast(self._scores(queries, keys), "float32"))
        # What is seen in several rounds counts once.
        times = sum(ops.cast(each, "float32") for each in seen)
        scores = ops.where(seen[number], scores - ops.log(ops.maximum(times, 1.0)), MASKED)
        total = ops.logsumexp(scores, axis=-1, keepdims=True)
        weights = ops.cast(ops.exp(scores - total), values.dtype)
        return ops.reshape(ops.matmul(weights, values), shape), ops.reshape(total, (*shape[:3], 1))

    def _seen(self, own, others):
        """For each round, which positions see which others: booleans (B, H, N / chunk, chunk, n)."""
        seen = []
        for member, place in ((each, each + self.rounds + 1) for each in range(self.rounds + 1)):
            apart = own[..., place, None] - others[..., None, :, place]
            near = ops.logical_and(apart < self.chunk, apart >= 0 if self.causal else apart > -self.chunk)
            same = ops.equal(own[..., member, None], others[..., None, :, member])
            seen.append(ops.logical_and(ops.logical_and(near, same), own[..., member, None] >= 0))
        return seen

    def _chunks(self, x):
        """(B, H, N, C) -> (B, H, N / chunk, chunk, C)."""
        return ops.reshape(x, (*ops.shape(x)[:2], -1, self.chunk, x.shape[-1]))

    def _beside(self, chunks):
        """Each chunk with the one before it and, unless causal, the one after it."""
        around = ops.pad(chunks, ((0, 0), (0, 0), (1, 1), (0, 0), (0, 0)))
        before, after = around[:, :, :-2], around[:, :, 2:]
        return ops.concatenate([before, chunks] if self.causal else [before, chunks, after], axis=3)

    def _visible(self, ceilings, new, keys):
        own, beam = ceilings > 0, new.shape[2]
        behind = self._behind(own, beam)
        itself = ops.logical_and(own, behind < 1)

        def hashed():
            seen = ops.logical_and(own, behind < self.chunk)
            buckets, others = self.hashes(new), self.hashes(keys)
            for number in range(self.rounds):
                same = ops.equal(buckets[:, :, :, None, number], others[:, :, None, :, number])
                same = ops.logical_and(own, same)
                seen = ops.logical_or(seen, ops.logical_and(same, self._behind(same, beam) < self.chunk))
            return seen

        def all_of_them():
            return ops.logical_and(own, ops.ones((1, self.heads, 1, 1), "bool"))

        seen = ops.cond(ops.max(behind) < self.chunk, all_of_them, hashed)
        return ops.where(itself, ITSELF, score_ceilings(seen))

    def _behind(self, own, beam):
        """How many of a hypothesis's own entries (B, H, K, T * K) come after each of the T positions, in that shape."""
        counts = ops.reshape(ops.cast(own, "int32"), (*ops.shape(own)[:3], -1, beam))
        counts = ops.sum(counts, axis=-1)
        behind = ops.sum(counts, axis=-1, keepdims=True) - ops.cumsum(counts, axis=-1)
        return ops.repeat(behind, beam, axis=-1)

    def get_config(self) -> dict[str, Any]:
        own = {"causal": self.causal, "chunk": self.chunk, "rounds": self.rounds, "buckets": self.buckets}
        return {**super().get_config(), **own}


def _rotations(heads, size, rounds, buckets):
    """(H, D/H, R * buckets / 2) float32; those of a round do not depend on the number of rounds."""
    drawn = [np.random.default_rng(number).normal(size=(heads, size, buckets // 2)) for number in range(rounds)]
    return np.concatenate([np.empty((heads, size, 0)), *drawn], axis=-1).astype("float32")


def _chosen(x, order):
    """(B, H, N, C) in another order (B, H, N)."""
    return ops.take_along_axis(x, order[..., None], axis=2)
