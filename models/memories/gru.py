"""GRU-gated memory: learned slots that attend to each window and decide by a gate what of it they keep."""

import keras
from keras import ops

from models.attention import CrossAttention
from models.memories.base import Memory, where
from models.memories.cells import CELLS


@keras.saving.register_keras_serializable(package="weitblick")
class GRUMemory(Memory):
    """M slots of width D for each document.

    Writing: each slot attends to the window's positions, and a gated cell mixes what it found into the slot. A slot is
    asked by its content and by its own learned start vector, so that slots stay different from each other.

    Args:
        width, heads: see `Memory`.
        slots: M.
        cell: "gru" or "minimal".
        keep_bias: see `Cell`.

    Call arguments and results: see `Memory`.

    References:
        Cho et al. 2014, section 2.3, for the cell; Locatello et al. 2020, "Object-Centric Learning with Slot
        Attention", algorithm 1, for slots that attend and are updated by a GRU.
    """

    def __init__(self, width: int, heads: int, slots: int = 16, cell: str = "gru", keep_bias: float = 1.0, **kwargs):
        super().__init__(width, heads, **kwargs)
        if cell not in CELLS:
            raise ValueError(f"cell must be one of {', '.join(CELLS)}, got {cell!r}")
        self.slots, self.cell_kind, self.keep_bias = slots, cell, keep_bias
        self.attention = CrossAttention(width, heads, dtype=self.dtype_policy, name="attention")
        self.cell = CELLS[cell](width, keep_bias, dtype=self.dtype_policy, name="cell")

    def build(self, *_):
        # As large as what a cell puts out, which lies between -1 and 1.
        normal = keras.initializers.RandomNormal(stddev=0.5)
        self.start = self.add_weight(shape=(self.slots, self.width), initializer=normal, name="start")
        self.attention.build((None, None, self.width))
        self.cell.build()

    def initial_state(self, batch):
        start = ops.tanh(ops.cast(self.start, "float32"))
        return {"slots": ops.repeat(start[None], batch, axis=0)}

    def prepare(self, x):
        return self.attention.keys_values(ops.cast(x, self.compute_dtype))

    def write(self, prepared, here, state):
        return self.write_and_tell(prepared, here, state)[0]

    def write_and_tell(self, prepared, here, state):
        """Like `write`, with what it did: share of each slot written anew (B, M), and attention weights (B, M, S)."""
        slots = state["slots"]
        asking = ops.cast(slots + ops.cast(self.start, "float32"), self.compute_dtype)
        found, weights = self.attention(asking, prepared, attention_mask=here[:, None], return_weights=True)
        new, kept = self.cell(slots, found)
        anything = ops.any(here, axis=1)
        written = ops.where(anything[:, None], 1 - ops.mean(kept, axis=-1), 0.0)
        return where(anything, {"slots": new}, state), (written, ops.mean(weights, axis=1))

    def view(self, state):
        slots = state["slots"]
        return ops.cast(slots, self.compute_dtype), ops.ones(ops.shape(slots)[:-1], "bool")

    def get_config(self):
        return {**super().get_config(), "slots": self.slots, "cell": self.cell_kind, "keep_bias": self.keep_bias}
