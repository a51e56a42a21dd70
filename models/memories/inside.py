"""Memories inside layers: written from the input of a layer's self-attention, and read there."""

from typing import Any

import keras

from models import Nested, Tensor
from models.attention import SelfAttention
from models.masks import score_ceilings
from models.memories import GATE, GATED_ATTENTION, new_memory
from models.memories.base import Row, State
from models.memories.reading import GatedRead, HeadGate
from models.past import Past, PastStep, Read, Reading, nothing, together


class LayerMemory(keras.layers.Layer):
    """The memory of one layer.

    Args:
        width: model width D.
        kind, **settings: see `models.memories.new_memory`.
        read: "gate": what is read is added to the result of self-attention through a gate; "attention": what can be
            read becomes further keys and values of self-attention; or "gated_attention": the same, with a `HeadGate`.
        dropout, bias: of the gate, see `GatedRead` and `HeadGate`.
        heads: number of heads of self-attention, for "gated_attention".

    Call arguments:
        x: (B, S, D), what the layer's self-attention is given.
        row: see `Row`.
        state: the memory's state before the row.
        attention: the layer's self-attention.
        training: whether dropout is on.

    Returns:
        What the layer reads, a `Reading`; and the state after the row. In training the memory's extra losses are added
        to the model's; `found_losses` holds those of the last call by name.

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
        heads: int = 1,
        dtype: Any = None,
        name: str | None = None,
        **settings: Any,
    ) -> None:
        # The state stays float32, see `Memory`.
        super().__init__(dtype=dtype, name=name, autocast=False)
        self.memory = new_memory(kind, width, dtype=self.dtype_policy, name="memory", **settings)
        options = {"dtype": self.dtype_policy, "name": "read"}
        self.gated = GatedRead(width, dropout, bias, **options) if read == GATE else None
        self.gate = HeadGate(width, heads, bias, **options) if read == GATED_ATTENTION else None
        self.found_losses: dict[str, Tensor] = {}

    def build(self, input_shape: Any = None) -> None:
        self.memory.build(input_shape)
        if self.gated:
            self.gated.build(input_shape)
        if self.gate:
            self.gate.build(input_shape)

    def call(
        self, x: Tensor, row: Row, state: State, attention: SelfAttention, training: bool | None = None
    ) -> tuple[Reading, State]:
        past, state, self.found_losses = self.memory(x, row, state, attention=attention)
        if training:
            for loss in self.found_losses.values():
                self.add_loss(loss)
        return self.reading(x, past, training), state

    def reading(self, x: Tensor, past: Past, training: bool | None = None) -> Reading:
        """What positions (B, S, D) read from a past."""
        if self.gated:
            return Reading(added=self.gated(x, past, training=training))
        return Reading(past=past._replace(gate=self.gate(x)) if self.gate else past)

    def prepared(self, past: Past, attention: SelfAttention) -> Nested:
        """What `step` needs of the past of one window: a `Past` whose mask is (B, 1, P)."""
        if self.gated:
            return self.gated.prepared(past)
        return {"keys_values": attention.past_keys_values(past), "ceilings": score_ceilings(past.mask[:, None])}

    def step(self, x: Tensor, shared: Any, beam: int) -> Reading:
        """What one position of each of K hypotheses reads.

        Args:
            x: (B * K, D), what the layer's self-attention is given.
            shared: from `prepared`.
            beam: int. K.
        """
        if self.gated:
            return Reading(added=self.gated.step(x, shared, beam))
        gate = self.gate.step(x, shared["ceilings"], beam) if self.gate else None
        return Reading(past=(PastStep(**shared, gate=gate),))


class StackMemory(keras.layers.Layer):
    """The memories inside the layers of one stack.

    Args:
        width: model width D.
        places: maps each kind of memory to the numbers, from 1, of the layers that have one.
        settings: maps each kind of memory to the arguments of its `LayerMemory` after the width.

    A state is a dictionary by layer of dictionaries by kind of states.
    """

    def __init__(
        self,
        width: int,
        places: dict[str, list[int]],
        settings: dict[str, dict[str, Any]],
        dtype: Any = None,
        name: str | None = None,
    ) -> None:
        super().__init__(dtype=dtype, name=name, autocast=False)
        self.width = width
        # In order, because some backends sort the keys when they flatten a dictionary.
        self.places = tuple(sorted((number, kind) for kind, numbers in places.items() for number in numbers))
        self.memories = [
            LayerMemory(width, kind, **settings[kind], dtype=self.dtype_policy, name=f"{kind}_{number}")
            for number, kind in self.places
        ]

    def build(self, *_: Any) -> None:
        for memory in self.memories:
            memory.build((None, None, self.width))

    @property
    def at(self) -> dict[int, dict[str, LayerMemory]]:
        """The memories of each layer that has some, by kind; layers count from 0."""
        found: dict[int, dict[str, LayerMemory]] = {}
        for (number, kind), memory in zip(self.places, self.memories, strict=True):
            found.setdefault(number - 1, {})[kind] = memory
        return found

    @property
    def relative(self) -> bool:
        """Whether positions keep counting from window to window."""
        return any(layer.memory.relative for layer in self.memories)

    @property
    def loss_names(self) -> list[str]:
        """The names of the memories' extra losses."""
        return sorted({name for layer in self.memories for name in layer.memory.loss_names})

    @property
    def found_losses(self) -> dict[str, Tensor]:
        """The extra losses of the last call by name, each summed over layers."""
        return summed([layer.found_losses for layer in self.memories])

    def initial_state(self, batch: int | Tensor) -> Nested:
        """The state at a document's start."""
        return self._each(lambda layer, number, kind: layer.memory.initial_state(batch))

    def read_row(self, row: Row, state: Nested, stack: list, training: bool | None = None) -> tuple[Read, Nested]:
        """What the layers `stack` read in a row's windows, and a dictionary that, once they have read, holds the state
        after the row."""
        after: dict[str, Any] = {}

        def look(number, x):
            after[_name(number)], found = {}, []
            for kind, layer in self.at[number].items():
                before, attention = state[_name(number)][kind], stack[number].attention
                reading, after[_name(number)][kind] = layer(x, row, before, attention=attention, training=training)
                found.append(reading)
            return together(found)

        return self._read(look), after

    def read_window(self, state: Nested) -> Read:
        """What the layers read in one window of each row."""
        pasts = self._each(lambda layer, number, kind: layer.memory.past(state[_name(number)][kind]))

        def look(number, x):
            layers = self.at[number].items()
            return together([layer.reading(x, pasts[_name(number)][kind]) for kind, layer in layers])

        return self._read(look)

    def prepared(self, state: Nested, stack: list) -> Nested:
        """What `step_read` needs of the state before a window, for the layers `stack`."""

        def of(layer, number, kind):
            return layer.prepared(layer.memory.past(state[_name(number)][kind]), stack[number].attention)

        return self._each(of)

    def step_read(self, shared: Nested, beam: int) -> Read:
        """What the layers read in a step of K hypotheses for each row; `shared` is from `prepared`."""

        def look(number, x):
            layers = self.at[number].items()
            return together([layer.step(x, shared[_name(number)][kind], beam) for kind, layer in layers])

        return self._read(look)

    def _read(self, look):
        return lambda number: (lambda x: look(number, x)) if number in self.at else nothing(number)

    def _each(self, make):
        at = self.at.items()
        return {_name(n): {kind: make(layer, n, kind) for kind, layer in layers.items()} for n, layers in at}


def summed(losses: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Adds up losses that have the same name."""
    names = sorted({name for each in losses for name in each})
    return {name: sum(each[name] for each in losses if name in each) for name in names}


def _name(number):
    """The name of a layer's state. Names sort as numbers do."""
    return f"layer_{number + 1:04}"
