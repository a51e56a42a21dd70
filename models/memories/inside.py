"""A memory inside a layer: written from what the layer's self-attention is given, and read there."""

from typing import Any

import keras
from keras import ops

from models import Nested, Tensor
from models.attention import SelfAttention
from models.masks import MASKED
from models.memories import GATE, new_memory
from models.memories.base import Row, State
from models.memories.reading import GatedRead
from models.past import Past, PastStep, Reading


class LayerMemory(keras.layers.Layer):
    """The memory of one layer.

    Args:
        width: model width D.
        kind, **settings: see `models.memories.new_memory`.
        read: "gate", what is read is added to the result of self-attention through a gate, or "attention", what can be
            read are further keys and values of self-attention.
        dropout, bias: of the gate, see `GatedRead`.

    Call arguments:
        x: (B, S, D), what the layer's self-attention is given.
        row: see `Row`.
        state: the memory's state before the row.
        training: whether dropout is on.

    Returns:
        What the layer reads, a `Reading`; and the state after the row. The memory's extra losses are added to the
        model's in training, and `found_losses` has those of the last call by name.

    References:
        Dai et al. 2019, "Transformer-XL", section 3.2, for a memory in each layer, and attention to it.
    """

    def __init__(
        self,
        width: int,
        kind: str,
        read: str = GATE,
        dropout: float = 0.0,
        bias: float = -2.0,
        dtype: Any = None,
        name: str | None = None,
        **settings: Any,
    ) -> None:
        # The state stays float32, see `Memory`.
        super().__init__(dtype=dtype, name=name, autocast=False)
        self.memory = new_memory(kind, width, dtype=self.dtype_policy, name="memory", **settings)
        options = {"dtype": self.dtype_policy, "name": "read"}
        self.gated = GatedRead(width, dropout, bias, **options) if read == GATE else None
        self.found_losses: dict[str, Tensor] = {}

    def build(self, input_shape: Any = None) -> None:
        self.memory.build(input_shape)
        if self.gated:
            self.gated.build(input_shape)

    def call(self, x: Tensor, row: Row, state: State, training: bool | None = None) -> tuple[Reading, State]:
        past, state, self.found_losses = self.memory(x, row, state)
        if training:
            for loss in self.found_losses.values():
                self.add_loss(loss)
        return self.reading(x, past, training), state

    def reading(self, x: Tensor, past: Past, training: bool | None = None) -> Reading:
        """What positions (B, S, D) read of a past."""
        return Reading(added=self.gated(x, past, training=training)) if self.gated else Reading(past=past)

    def prepared(self, past: Past, attention: SelfAttention) -> Nested:
        """What `step` needs of what one window may read: a `Past` whose mask is (B, 1, P)."""
        if self.gated:
            return self.gated.prepared(past)
        ceilings = ops.where(past.mask[:, None], float("inf"), MASKED)
        return {"keys_values": attention.past_keys_values(past), "ceilings": ceilings}

    def step(self, x: Tensor, shared: Any, beam: int) -> Reading:
        """What one position of each of K hypotheses reads.

        Args:
            x: (B * K, D), what the layer's self-attention is given.
            shared: from `prepared`.
            beam: int. K.
        """
        if self.gated:
            return Reading(added=self.gated.step(x, shared, beam))
        return Reading(past=PastStep(**shared))
