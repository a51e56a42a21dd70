"""Segment recurrence: each layer attends to its own inputs of the last positions of earlier windows."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
from keras import ops

from models import Tensor
from models.memories import memory
from models.memories.base import Memory, Row, State, row_positions
from models.options import option
from models.past import Past


@dataclass(frozen=True)
class RecurrenceSettings:
    """A cache of what each layer was given at the last positions; needs rotary positions."""

    positions: int = option(128, "how many positions before a window are kept", low=1, high=65536)

    IN_LAYERS = True


class Places(NamedTuple):
    """Where the P entries of a cache and the S positions of a row stand, as one sequence of P + S.

    positions: (B, P + S) int32, counted from the row's first real position; those of the cache are negative.
    documents: (B, P + S) int32, a number for each document: 0 for the one that the row goes on with; -1 for what may
        not be attended to, such as padding.
    starts: (B, S) int32, for each position of the row the position at which its window begins.
    own: (B, S) int32, the document of each position of the row.
    after: (B,) int32, the document that goes on after the row.
    """

    positions: Tensor
    documents: Tensor
    starts: Tensor
    own: Tensor
    after: Tensor


@memory("recurrence", RecurrenceSettings)
@keras.saving.register_keras_serializable(package="weitblick")
class RecurrenceMemory(Memory):
    """The last P positions before each window, as a layer's self-attention was given them.

    They become further keys and values of that layer, at the distances at which they stand. The positions of earlier
    windows in the same row are attended to where they are, so that only what is older costs anything. Within a row
    gradients reach earlier windows; they end at its beginning.

    Args:
        width: see `Memory`.
        positions: P.

    Call arguments and results: see `Memory`. No losses.

    References:
        Dai et al. 2019, "Transformer-XL: Attentive Language Models Beyond a Fixed-Length Context", section 3.2, with
        rotary positions in place of section 3.3's.
    """

    relative = True

    def __init__(self, width: int, positions: int = 128, **kwargs: Any) -> None:
        super().__init__(width, **kwargs)
        self.positions = positions

    def build(self, *_: Any) -> None:
        self.built = True

    def initial_state(self, batch: int | Tensor) -> State:
        return {
            "filled": ops.zeros((batch, self.positions), "bool"),
            "values": ops.zeros((batch, self.positions, self.width), "float32"),
        }

    def past(self, state: State) -> Past:
        return Past(state["values"], state["filled"][:, None], _before(state["filled"]))

    def call(self, x: Tensor, row: Row, state: State) -> tuple[Past, State, dict[str, Tensor]]:
        places = places_of(row, state["filled"])
        seen = self.within(places)
        size = ops.shape(state["filled"])[1]
        past = Past(state["values"], seen[:, :, :size], _before(state["filled"]), seen[:, :, size:])
        return past, self.last(x, row, places, state), {}

    def within(self, places: Places) -> Tensor:
        """(B, S, P + S) bool: what each position of a row may attend to, of the same document and before its window."""
        positions, starts = places.positions[:, None], places.starts[..., None]
        near = ops.logical_and(positions < starts, positions >= starts - self.positions)
        return ops.logical_and(near, ops.equal(places.documents[:, None], places.own[..., None]))

    def last(self, x: Tensor, row: Row, places: Places, state: State) -> State:
        """The state after a row: its last real positions, or what was kept before."""
        real = ops.sum(ops.cast(ops.not_equal(row.windows, 0), "int32"), axis=1)
        size = ops.shape(state["filled"])[1]
        # Padding is at the end of a row, so that the last real positions stand together.
        chosen = real[:, None] + ops.arange(size, dtype="int32")
        values = ops.concatenate([state["values"], ops.cast(x, "float32")], axis=1)
        kept = ops.equal(ops.take_along_axis(places.documents, chosen, axis=1), places.after[:, None])
        values = ops.take_along_axis(values, chosen[..., None], axis=1)
        return {"filled": kept, "values": ops.where(kept[..., None], values, 0.0)}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "positions": self.positions}


def _before(filled):
    """(B, P) int32: the positions of a cache, the newest of which is -1."""
    size = ops.shape(filled)[1]
    return ops.broadcast_to(ops.arange(size, dtype="int32") - size, ops.shape(filled))


def places_of(row: Row, filled: Tensor) -> Places:
    """The `Places` of a row after a cache of which the entries `filled` (B, P) hold anything."""
    windows = ops.cast(row.windows, "int32")
    positions, real = row_positions(windows), ops.not_equal(windows, 0)
    count = ops.shape(row.resets)[1]
    of_windows = ops.cumsum(ops.cast(ops.cast(row.resets, "bool"), "int32"), axis=1)
    # (B, S, W): a row has few windows.
    member = ops.equal(windows[..., None], ops.arange(1, count + 1, dtype="int32"))
    first = ops.min(ops.where(member, positions[..., None], ops.shape(windows)[1]), axis=1)
    own = ops.sum(ops.where(member, of_windows[:, None], 0), axis=-1)
    starts = ops.sum(ops.where(member, first[:, None], 0), axis=-1)
    kept = ops.logical_and(real, ops.cast(row.remembered, "bool"))
    documents = [ops.where(filled, 0, -1), ops.where(kept, own, -1)]
    return Places(
        positions=ops.concatenate([_before(filled), positions], axis=1),
        documents=ops.concatenate(documents, axis=1),
        starts=starts,
        own=own,
        after=of_windows[:, -1],
    )
