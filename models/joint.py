"""Several models with the same tokens that decide on each token together."""

from typing import Any

import keras
from keras import ops

from models import Nested, Tensor

LEADER = "translator"


class JointModel:
    """Translators and language models whose logits are joined at each token. It has no weights of its own.

    The model called `LEADER` is a translator; its keys and its source attention are those of the joint model. A search
    state holds the translator's entries and, next to them, the state of each other model under that model's name.

    Args:
        models: models by name; logits are joined in their order.
    """

    def __init__(self, models: dict[str, Any]) -> None:
        self.models = models
        self.others = {name: model for name, model in models.items() if name != LEADER}
        self.translator = models[LEADER]
        self.settings, self.compute_dtype = self.translator.settings, self.translator.compute_dtype
        learned = [model for model in models.values() if getattr(model, "positions_kind", None) == "learned"]
        self.positions_kind = "learned" if learned else self.translator.positions_kind
        self.max_positions = min(model.max_positions for model in learned or [self.translator])

    def joined(self, logits: list[Tensor]) -> Tensor:
        """The joint logits (..., V) from those of each model, all float32."""
        raise NotImplementedError

    @property
    def variables(self) -> list:
        """The weights of all models."""
        return [variable for model in self.models.values() for variable in model.variables]

    def __call__(self, inputs: dict[str, Tensor], training: bool | None = None) -> Tensor:
        """Logits (B, T, V); see `models.transformer.Transformer`."""
        return self.joined([model(inputs, training=training) for model in self.models.values()])

    def keys(self, inputs: dict[str, Tensor], kind: str = "feed_forward") -> Tensor:
        """The translator's keys; see `models.transformer.Transformer.keys`."""
        return self.translator.keys(inputs, kind)

    def source_attention(self, inputs: dict[str, Tensor]) -> Tensor:
        """What the translator looked at; see `models.transformer.Transformer.source_attention`."""
        return self.translator.source_attention(inputs)

    def initial_state(self, source: Tensor, max_length: int) -> Nested:
        """The translator's state with those of the others in it; see `models.transformer.Transformer.initial_state`."""
        found = {name: model.initial_state(source, max_length) for name, model in self.others.items()}
        return {**self.translator.initial_state(source, max_length), **found}

    def lengthen_state(self, state: Nested, steps: int) -> Nested:
        """The state with room for `steps` more steps."""
        own, others = self._apart(state)
        found = {name: model.lengthen_state(others[name], steps) for name, model in self.others.items()}
        return {**self.translator.lengthen_state(own, steps), **found}

    def step(self, tokens: Tensor, state: Nested) -> tuple[Tensor, Nested]:
        """One step of all models; see `models.transformer.Transformer.step`."""
        logits, _, state = self.step_with_key(tokens, state)
        return logits, state

    def step_with_key(self, tokens: Tensor, state: Nested, kind: str = "feed_forward") -> tuple[Tensor, Tensor, Nested]:
        """Like `step`, with the translator's key; see `models.transformer.Transformer.step_with_key`."""
        own, others = self._apart(state)
        first, key, own = self.translator.step_with_key(tokens, own, kind)
        found = {name: model.step(tokens, others[name]) for name, model in self.others.items()}
        after = {name: state for name, (_, state) in found.items()}
        logits = {LEADER: first} | {name: logits for name, (logits, _) in found.items()}
        return self.joined([logits[name] for name in self.models]), key, {**own, **after}

    def _apart(self, state):
        own = {name: part for name, part in state.items() if name not in self.others}
        return own, {name: state[name] for name in self.others}


class JointDocumentModel(JointModel):
    """The same for models that read documents; each carries its own memory."""

    @property
    def output_embedding(self) -> "JointDocumentModel":
        """What turns states into logits; a state holds those of all models side by side."""
        return self

    def __call__(self, inputs: dict[str, Tensor], training: bool | None = None) -> Tensor:
        """Logits (B, T, V) with the initial memory; `inputs` as for `document_states`."""
        memory = self.initial_memory(ops.shape(inputs["source"])[0])
        return self.logits(self.document_states(inputs, memory)[0])

    def initial_memory(self, batch: int | Tensor) -> Nested:
        """The memories at the start of documents, of the models that have one."""
        return self._memory({name: model.initial_memory(batch) for name, model in self.models.items()})

    def document_states(self, inputs: dict[str, Tensor], memory: Nested) -> tuple[Tensor, Nested]:
        """The states of all models, side by side, and the memories; see `DocumentTransformer.document_states`."""
        read = {name: model.document_states(inputs, memory.get(name, {})) for name, model in self.models.items()}
        states = [states for states, _ in read.values()]
        dtype = keras.backend.result_type(*(each.dtype for each in states))
        together = ops.concatenate([ops.cast(each, dtype) for each in states], axis=-1)
        return together, self._memory({name: after for name, (_, after) in read.items()})

    def remember(self, inputs: dict[str, Tensor], memory: Nested) -> Nested:
        """The memories after the windows in `inputs`; arguments as for `document_states`."""
        return self._memory({name: each.remember(inputs, memory.get(name, {})) for name, each in self.models.items()})

    def _memory(self, memories):
        # By name, because some backends sort the keys when they flatten a dictionary.
        return {name: memory for name, memory in sorted(memories.items()) if memory}

    def inspect_memory(self, inputs: dict[str, Tensor], memory: Nested) -> dict[str, Tensor]:
        """How the translator's memory is used; see `DocumentTransformer.inspect_memory`."""
        return self.translator.inspect_memory(inputs, memory.get(LEADER, {}))

    def logits(self, states: Tensor) -> Tensor:
        """Logits (..., V) from what `document_states` returned."""
        found, begin = [], 0
        for model in self.models.values():
            end = begin + model.states_width
            own = ops.cast(states[..., begin:end], model.compute_dtype)
            found.append(model.output_embedding.logits(own))
            begin = end
        return self.joined(found)

    @property
    def states_width(self) -> int:
        """How many numbers a state has."""
        return sum(model.states_width for model in self.models.values())

    def initial_state(
        self, source: Tensor, max_length: int, prefix: Tensor | None = None, memory: Nested | None = None
    ) -> Nested:
        """The translator's state with those of the others in it; see `DocumentTransformer.initial_state`."""
        memory = self.initial_memory(ops.shape(source)[0]) if memory is None else memory
        own = self.translator.initial_state(source, max_length, prefix, memory.get(LEADER, {}))
        found = {name: self.begin(name, source, max_length, prefix, memory.get(name, {})) for name in self.others}
        return {**own, **found}

    def begin(self, name: str, source: Tensor, max_length: int, prefix: Tensor | None, memory: Nested) -> Nested:
        """The initial state of one of the other models."""
        return self.others[name].initial_state(source, max_length, prefix, memory)
