"""Compressive memory: positions that leave the cache of segment recurrence are compressed and kept for longer."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
from keras import ops

from models import Tensor
from models.attention import SelfAttention
from models.memories import memory
from models.memories.attention import straight_dense
from models.memories.base import Memory, Row, State, last_of, row_mean, windows_of
from models.memories.recurrence import before, cached, joined
from models.options import option
from models.past import Past

STATES, ATTENTION = REBUILT = ("states", "attention")
MEAN, CONVOLUTION, QUERIES = COMPRESSIONS = ("mean", "convolution", "queries")


@dataclass(frozen=True)
class CompressiveSettings:
    """A cache as in recurrence, and behind it older positions, compressed; needs rotary positions."""

    cache: int = option(128, "how many positions before a window are kept as they are", low=1, high=65536)
    compressed: int = option(128, "how many vectors of older positions are kept", low=1, high=65536)
    rate: int = option(4, "how many positions are compressed into one vector", low=1, high=64)
    compression: str = option(
        "convolution",
        "how: a weighted sum for each number, learnt, initially the mean; the mean; or by a learned query",
        choices=("convolution", "mean", "queries"),
    )
    rebuild: float = option(1.0, "weight of the loss for rebuilding what was compressed; the mean has none", low=0.0)
    rebuilt: str = option(
        "states",
        "what is rebuilt: the states, by a dense layer, or what attention finds in them",
        choices=("states", "attention"),
    )

    IN_LAYERS = True

    @property
    def weightless(self) -> bool:
        """See `models.memories.memory`."""
        return self.compression == "mean"


class Blocks(NamedTuple):
    """The N complete blocks of `rate` positions in a row and the cache before it.

    raw: (B, N, rate, D).
    numbers: (B, N) int32, each block's number in its document, from 0.
    positions: (B, N) int32, the position of its middle, counted like the row's own.
    documents: (B, N) int32, -1 for no block.
    """

    raw: Tensor
    numbers: Tensor
    positions: Tensor
    documents: Tensor


@memory("compressive", CompressiveSettings)
@keras.saving.register_keras_serializable(package="weitblick")
class CompressiveMemory(Memory):
    """The last P positions before each window and, for those before them, C vectors for `rate` positions each.

    Blocks are counted from a document's start, so they do not depend on how it is cut into windows; the cache has room
    for a block that has partly left it. The compression learns in two ways: from the translation, within a row, and,
    except for the mean, from the loss "rebuild". This is the mean squared error either of the positions that a dense
    layer rebuilds from the vectors, or of what the row's positions find by attention if they attend to the vectors
    instead of the positions. Its gradient ends at the positions and at the attention's weights, so that the stack does
    not learn to be easy to compress.

    Args:
        width: see `Memory`.
        cache: P.
        compressed: C.
        rate: positions in a block.
        compression: "mean", "convolution" (with the block as kernel and stride, initially the mean) or "queries" (the
            mean weighted by a learned query).
        rebuild: weight of the loss; 0: none.
        rebuilt: "states" or "attention", see above.

    Call arguments and results: see `Memory`.

    References:
        Rae et al. 2019, "Compressive Transformers for Long-Range Sequence Modelling", sections 3.1 and 3.2 with the
        auto-encoding and the attention-reconstruction loss (algorithm 2).
    """

    relative = True

    def __init__(
        self,
        width: int,
        cache: int = 128,
        compressed: int = 128,
        rate: int = 4,
        compression: str = CONVOLUTION,
        rebuild: float = 1.0,
        rebuilt: str = STATES,
        **kwargs: Any,
    ) -> None:
        super().__init__(width, **kwargs)
        if compression not in COMPRESSIONS:
            raise ValueError(f"compression must be one of {', '.join(COMPRESSIONS)}, got {compression!r}")
        if rebuilt not in REBUILT:
            raise ValueError(f"rebuilt must be one of {', '.join(REBUILT)}, got {rebuilt!r}")
        self.cache, self.compressed, self.rate, self.kind, self.rebuild = cache, compressed, rate, compression, rebuild
        self.kernel = None
        if compression == CONVOLUTION:
            self.kernel = straight_dense(width, 1, self.dtype_policy, "compress", scale=1.0 / rate, everywhere=True)
        self.rebuilt = rebuilt
        self.loss_names = ("rebuild",) if rebuild and compression != MEAN else ()
        dense = self.loss_names and rebuilt == STATES
        self.rebuilding = straight_dense(width, rate, self.dtype_policy, "rebuild") if dense else None

    def build(self, *_: Any) -> None:
        if self.kernel:
            self.kernel.build((None, None, self.rate * self.width))
        if self.kind == QUERIES:
            self.query = self.add_weight(shape=(self.width,), initializer="zeros", name="query")
        if self.rebuilding:
            self.rebuilding.build((None, None, self.width))

    def initial_state(self, batch: int | Tensor) -> State:
        kept = self.cache + self.rate - 1
        return {
            "compressed": ops.zeros((batch, self.compressed, self.width), "float32"),
            "filled": ops.zeros((batch, kept), "bool"),
            "length": ops.zeros((batch,), "int32"),
            "values": ops.zeros((batch, kept, self.width), "float32"),
        }

    def past(self, state: State) -> Past:
        length = state["length"][:, None]
        left = self._left(length)
        numbers, positions = self._carried(left, -length)
        cache = before(state["filled"])
        near = ops.logical_and(state["filled"], cache + length >= left * self.rate)
        mask = ops.concatenate([numbers >= 0, near], axis=1)
        values = ops.concatenate([state["compressed"], state["values"]], axis=1)
        return Past(values, mask[:, None], ops.concatenate([positions, cache], axis=1))

    def call(
        self, x: Tensor, row: Row, state: State, attention: SelfAttention | None = None
    ) -> tuple[Past, State, dict[str, Tensor]]:
        windows, length = windows_of(row), state["length"][:, None]
        positions, documents = joined(state["filled"], windows, row)
        cache = ops.shape(state["filled"])[1]
        # Where each position's document begins, counted like the row's positions.
        begins = ops.where(windows.documents == 0, -length, windows.begins)
        all_begins = ops.concatenate([ops.broadcast_to(-length, ops.shape(state["filled"])), begins], axis=1)
        blocks = self._blocks(x, windows, (positions, documents, all_begins), state)
        numbers, compressed_at = self._carried(self._left(length), -length)
        numbers = ops.concatenate([numbers, blocks.numbers], axis=1)
        of_blocks = ops.concatenate([ops.where(numbers[:, : self.compressed] >= 0, 0, -1), blocks.documents], axis=1)
        vectors = ops.concatenate([state["compressed"], ops.cast(self.compress(blocks.raw), "float32")], axis=1)
        left = self._left(windows.starts - begins)[..., None]
        old = ops.logical_and(numbers[:, None] < left, numbers[:, None] >= left - self.compressed)
        old = ops.logical_and(old, ops.equal(of_blocks[:, None], windows.documents[..., None]))
        near = (positions - all_begins)[:, None] >= left * self.rate
        near = ops.logical_and(near, positions[:, None] < windows.starts[..., None])
        near = ops.logical_and(near, ops.equal(documents[:, None], windows.documents[..., None]))
        past = Past(
            values=ops.concatenate([vectors, state["values"]], axis=1),
            mask=ops.concatenate([old, near[:, :, :cache]], axis=-1),
            positions=ops.concatenate([compressed_at, blocks.positions, before(state["filled"])], axis=1),
            row=near[:, :, cache:],
        )
        after = windows.end + ops.where(windows.last == 0, state["length"], -windows.last_begins)
        left = self._left(after)[:, None]
        kept = ops.logical_and(numbers < left, numbers >= left - self.compressed)
        kept = ops.logical_and(kept, ops.equal(of_blocks, windows.last[:, None]))
        (vectors,), kept = last_of([vectors], kept, self.compressed)
        compressed = ops.where(kept[..., None], vectors, 0.0)
        state = {"compressed": compressed, "length": after, **cached(x, windows, documents, state)}
        state = dict(sorted(state.items()))  # see `initial_state`
        return past, state, self._extra(blocks, x, row, windows, attention)

    def compress(self, raw: Tensor) -> Tensor:
        """One vector (B, N, D) for each block (B, N, rate, D)."""
        raw = ops.cast(raw, self.compute_dtype)
        if self.kernel:
            return self.kernel(ops.reshape(raw, (*ops.shape(raw)[:2], self.rate * self.width)))
        if self.kind == MEAN:
            return ops.mean(raw, axis=2)
        scores = ops.sum(ops.cast(raw, "float32") * ops.cast(self.query, "float32"), axis=-1, keepdims=True)
        return ops.sum(ops.cast(ops.softmax(scores * self.width**-0.5, axis=2), raw.dtype) * raw, axis=2)

    def _extra(self, blocks, x, row, windows, attention):
        if not self.loss_names:
            return {}
        raw = ops.stop_gradient(ops.cast(blocks.raw, "float32"))
        if self.rebuilding:
            return {"rebuild": self.rebuild * self._state_loss(raw, blocks)}
        # Otherwise padding would count as part of the document that the row continues.
        documents = ops.where(ops.equal(row.windows, 0), -2, windows.documents)
        mask = ops.equal(documents[..., None], blocks.documents[:, None])
        return {"rebuild": self.rebuild * self._attention_loss(raw, ops.stop_gradient(x), mask, attention)}

    def _attention_loss(self, raw, x, mask, attention):
        found, each = attention.look(x, self.compress(raw), mask), ops.repeat(mask, self.rate, axis=-1)
        expected = attention.look(x, ops.reshape(raw, (ops.shape(x)[0], -1, self.width)), each)
        return row_mean(ops.mean(ops.square(found - expected), axis=-1), ops.any(mask, axis=-1))

    def _state_loss(self, raw, blocks):
        made = self.rebuilding(self.compress(raw))
        errors = ops.square(ops.cast(ops.reshape(made, ops.shape(raw)), "float32") - raw)
        return row_mean(ops.mean(errors, axis=(2, 3)), blocks.documents >= 0)

    def _left(self, length):
        """How many blocks have left the cache once a document has `length` positions."""
        return ops.maximum(length - self.cache, 0) // self.rate

    def _carried(self, left, begins):
        """The numbers and positions of the vectors in a state, each (B, C); vectors with numbers below 0 are empty."""
        numbers = left - self.compressed + ops.arange(self.compressed, dtype="int32")
        return numbers, begins + numbers * self.rate + self.rate // 2

    def _blocks(self, x, windows, sequence, state):
        """The blocks of cache and row that have not been compressed before; `sequence` as in the call."""
        positions, documents, begins = sequence
        counts = ops.concatenate([ops.ones_like(state["filled"]), windows.counts], axis=1)
        values = ops.concatenate([state["values"], ops.cast(x, "float32")], axis=1)
        values = ops.where((documents >= 0)[..., None], values, 0.0)
        places = positions - begins
        # All of the row is new, and of the cache the blocks that had not left it when the row began.
        new = ops.logical_or(positions >= 0, places >= self._left(state["length"])[:, None] * self.rate)
        ends = ops.logical_and(ops.logical_and(counts, new), places % self.rate == self.rate - 1)
        ends = ops.logical_and(ends, places >= 0)
        # The document of each position, including those that may not be attended to.
        own = ops.concatenate([ops.zeros_like(state["filled"], dtype="int32"), windows.documents], axis=1)
        # Moves entries that take no place out from between the positions of a block.
        size = ops.shape(counts)[1]
        (values, places, begins, own, ends), _ = last_of([values, places, begins, own, ends], counts, size)
        order = ops.broadcast_to(ops.arange(size, dtype="int32"), ops.shape(ends))
        (order, places, begins, own), found = last_of([order, places, begins, own], ends, size // self.rate)
        inside = ops.maximum(order[..., None] + ops.arange(1 - self.rate, 1, dtype="int32"), 0)
        raw = ops.take_along_axis(values, ops.reshape(inside, (ops.shape(values)[0], -1, 1)), axis=1)
        numbers = places // self.rate
        return Blocks(
            raw=ops.reshape(raw, (*ops.shape(inside), self.width)),
            numbers=numbers,
            positions=begins + numbers * self.rate + self.rate // 2,
            documents=ops.where(found, own, -1),
        )

    def get_config(self) -> dict[str, Any]:
        own = {"cache": self.cache, "compressed": self.compressed, "rate": self.rate, "compression": self.kind}
        return {**super().get_config(), **own, "rebuild": self.rebuild, "rebuilt": self.rebuilt}
