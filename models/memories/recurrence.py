"""Segment recurrence: each layer also attends to its own inputs at the last positions of earlier windows."""

from dataclasses import dataclass

import keras
from keras import ops

from models import Tensor
from models.attention import SelfAttention
from models.memories import memory
from models.memories.base import KeptPositions, Row, State, Windows, last_of, windows_of
from models.options import option
from models.past import Past


@dataclass(frozen=True)
class RecurrenceSettings:
    """A cache of what each layer was given at the last positions; needs rotary positions."""

    cache: int = option(128, "how many positions before a window are kept", low=1, high=65536)

    IN_LAYERS = True
    weightless = True


@memory("recurrence", RecurrenceSettings)
@keras.saving.register_keras_serializable(package="weitblick")
class RecurrenceMemory(KeptPositions):
    """The last P positions before each window, as a layer's self-attention was given them.

    They become further keys and values of that layer, at their true distances. The positions of earlier windows in the
    same row are attended to where they are, so that only older ones cost anything. Within a row, gradients reach
    earlier windows; they end at its beginning.

    Args:
        width: see `Memory`.
        cache: P.

    Call arguments and results: see `Memory`. No losses.

    References:
        Dai et al. 2019, "Transformer-XL: Attentive Language Models Beyond a Fixed-Length Context", section 3.2, with
        rotary positions instead of those of section 3.3.
    """

    relative = True

    def past(self, state: State) -> Past:
        return Past(state["values"], state["filled"][:, None], before(state["filled"]))

    def call(
        self, x: Tensor, row: Row, state: State, attention: SelfAttention | None = None
    ) -> tuple[Past, State, dict[str, Tensor]]:
        windows = windows_of(row)
        positions, documents = joined(state["filled"], windows, row)
        starts = windows.starts[..., None]
        seen = ops.logical_and(positions[:, None] < starts, positions[:, None] >= starts - self.cache)
        seen = ops.logical_and(seen, ops.equal(documents[:, None], windows.documents[..., None]))
        size = ops.shape(state["filled"])[1]
        past = Past(state["values"], seen[:, :, :size], before(state["filled"]), seen[:, :, size:])
        return past, cached(x, windows, documents, state), {}


def before(filled: Tensor) -> Tensor:
    """(B, P) int32: the positions of a cache, the newest of which is -1."""
    size = ops.shape(filled)[1]
    return ops.broadcast_to(ops.arange(size, dtype="int32") - size, ops.shape(filled))


def joined(filled: Tensor, windows: Windows, row: Row) -> tuple[Tensor, Tensor]:
    """The P entries of a cache and the S positions of a row as one sequence.

    Returns:
        positions: (B, P + S) int32, those of the cache below 0.
        documents: (B, P + S) int32, -1 for what no later window may attend to.
    """
    kept = ops.logical_and(windows.counts, ops.cast(row.remembered, "bool"))
    documents = [ops.where(filled, 0, -1), ops.where(kept, windows.documents, -1)]
    positions = ops.concatenate([before(filled), windows.positions], axis=1)
    return positions, ops.concatenate(documents, axis=1)


def cached(x: Tensor, windows: Windows, documents: Tensor, state: State) -> State:
    """The cache after a row: "filled" and "values"."""
    counts = ops.concatenate([ops.ones_like(state["filled"]), windows.counts], axis=1)
    values = ops.concatenate([state["values"], ops.cast(x, "float32")], axis=1)
    size = ops.shape(state["filled"])[1]
    (values, documents), _ = last_of([values, documents], counts, size)
    filled = ops.equal(documents, windows.last[:, None])
    return {"filled": filled, "values": ops.where(filled[..., None], values, 0.0)}
