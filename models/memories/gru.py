"""GRU-gated memory: slots that share the positions of a window among themselves, each updated by a gated cell."""

from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from models import Tensor
from models.memories import memory
from models.memories.attention import straight_dense
from models.memories.base import Memory, State
from models.memories.cells import CELLS
from models.options import option

_SPREAD = 2.0


@dataclass(frozen=True)
class GRUSettings:
    """Gated slots: vectors that share out the positions of a window, each updated by a gated cell."""

    slots: int = option(64, "how many vectors are kept", low=1, high=65536)
    cell: str = option("gru", "reset and update gate, or the update gate alone", choices=("gru", "minimal"))
    keep_bias: float = option(-1.0, "bias of the update gate: below 0, slots start out taking what belongs to them")


@memory("gru", GRUSettings)
@keras.saving.register_keras_serializable(package="weitblick")
class GRUMemory(Memory):
    """M slots of width D for each document.

    Writing: the slots compete for the positions of the window, so that a position belongs mostly to the slot that is
    most like it. Each slot gets the mean of what belongs to it, and a gated cell mixes that into the slot. A slot to
    which less than one position belongs changes only by that share. So a slot keeps what it holds until something of
    the same kind comes along, and many slots hold many things.

    Args:
        width: see `Memory`.
        slots: M.
        cell: "gru" or "minimal".
        keep_bias: see `Cell`.

    Call arguments and results: see `Memory`.

    References:
        Cho et al. 2014, section 2.3, for the cell; Locatello et al. 2020, "Object-Centric Learning with Slot
        Attention", algorithm 1, for slots that compete and are updated by a GRU.
    """

    def __init__(self, width: int, slots: int = 64, cell: str = "gru", keep_bias: float = -1.0, **kwargs: Any) -> None:
        super().__init__(width, **kwargs)
        if cell not in CELLS:
            raise ValueError(f"cell must be one of {', '.join(CELLS)}, got {cell!r}")
        self.slots, self.cell_kind, self.keep_bias = slots, cell, keep_bias
        # No bias: it would add the same to a position's scores for all slots, which compete for it.
        self.query = straight_dense(width, 1, self.dtype_policy, "query", use_bias=False)
        self.key_value = straight_dense(width, 2, self.dtype_policy, "key_value")
        self.cell = CELLS[cell](width, keep_bias, dtype=self.dtype_policy, name="cell")

    def build(self, *_: Any) -> None:
        # Far apart, so that each slot attracts different words from the start.
        normal = keras.initializers.RandomNormal(stddev=_SPREAD)
        self.addresses = self.add_weight(shape=(self.slots, self.width), initializer=normal, name="addresses")
        for layer in (self.query, self.key_value):
            layer.build((None, None, self.width))
        self.cell.build()

    def initial_state(self, batch: int | Tensor) -> State:
        return {"slots": ops.zeros((batch, self.slots, self.width), "float32")}

    def prepare(self, x: Tensor) -> Tensor:
        keys, values = ops.split(self.key_value(ops.cast(x, self.compute_dtype)), 2, axis=-1)
        # Slots times this are the slots' queries times the keys, and a window has fewer positions than there are slots.
        keys = ops.matmul(keys, ops.transpose(ops.cast(self.query.kernel, self.compute_dtype)))
        # What the cell computes from values is linear, too.
        return ops.concatenate([keys, self.cell.inputs(values)], axis=-1)

    def write(self, prepared: Tensor, here: Tensor, state: State) -> tuple[State, tuple[Tensor, Tensor]]:
        slots = state["slots"]
        keys, inputs = ops.split(prepared, [self.width], axis=-1)
        belongs = self._belonging(keys, here, slots)
        mass = ops.sum(belongs, axis=-1, keepdims=True)
        found = ops.matmul(ops.cast(belongs / ops.maximum(mass, 1e-6), self.compute_dtype), inputs)
        new, kept = self.cell.step(slots, found)
        share = ops.minimum(mass, 1.0)
        return {"slots": slots + share * (new - slots)}, ((1 - kept) * share, belongs)

    def _belonging(self, keys, here, slots):
        """How much of each position (B, S) belongs to each slot: (B, M, S) float32, for each real position 1 in all."""
        asking = ops.cast(slots + ops.cast(self.addresses, "float32"), self.compute_dtype)
        scores = ops.matmul(asking * self.width**-0.5, ops.transpose(keys, (0, 2, 1)))
        shares = ops.softmax(ops.cast(scores, "float32"), axis=1)
        return ops.where(here[:, None], shares, 0.0)

    def view(self, state: State) -> tuple[Tensor, Tensor]:
        slots = state["slots"]
        return ops.cast(slots, self.compute_dtype), ops.ones(ops.shape(slots)[:-1], "bool")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "slots": self.slots, "cell": self.cell_kind, "keep_bias": self.keep_bias}
