"""A translator whose search also listens to a language model of the target side."""

from typing import Any

from keras import ops

from models import Nested, Tensor

TRANSLATOR, LANGUAGE_MODEL = "translator", "language_model"


class FusedModel:
    """Adds a generator's logits, times a weight, to those of a translator. It has no weights of its own.

    So the probability of a token is `p_translator * p_generator ** weight` over the sum of this for all tokens, in
    search as in scoring. Both carry their state through a document.

    Args:
        translator: a `models.document.DocumentTransformer`.
        generator: a `models.text_generator.TextGenerator` with the same tokens.
        weight: of its logits.

    References:
        Gulcehre et al. 2015, "On Using Monolingual Corpora in Neural Machine Translation", section 4.1 (shallow
        fusion); here the sum is normalised again at each token.
    """

    def __init__(self, translator: Any, generator: Any, weight: float) -> None:
        self.translator, self.generator, self.weight = translator, generator, weight
        self.settings, self.compute_dtype = translator.settings, translator.compute_dtype
        self.positions_kind, self.max_positions = translator.positions_kind, translator.max_positions
        # What callers score states with; they hold those of both models side by side.
        self.output_embedding = self

    @property
    def variables(self) -> list:
        """The weights of both models."""
        return [*self.translator.variables, *self.generator.variables]

    def __call__(self, inputs: dict[str, Tensor], training: bool | None = None) -> Tensor:
        """Logits (B, T, V) with the initial memory; `inputs` as for `document_states`."""
        memory = self.initial_memory(ops.shape(inputs["source"])[0])
        return self.logits(self.document_states(inputs, memory)[0])

    def initial_memory(self, batch: int | Tensor) -> Nested:
        """The memories of both models where documents begin."""
        both = {TRANSLATOR: self.translator, LANGUAGE_MODEL: self.generator}
        found = {name: model.initial_memory(batch) for name, model in sorted(both.items())}
        return {name: memory for name, memory in found.items() if memory}

    def document_states(self, inputs: dict[str, Tensor], memory: Nested) -> tuple[Tensor, Nested]:
        """The states of both models, (B, T, D + E), and the memories; see `DocumentTransformer.document_states`."""
        states, after = self.translator.document_states(inputs, memory.get(TRANSLATOR, {}))
        written, carried = self.generator.document_states(inputs, memory[LANGUAGE_MODEL])
        both = ops.concatenate([ops.cast(states, written.dtype), written], axis=-1)
        return both, self._memory(after, carried)

    def remember(self, inputs: dict[str, Tensor], memory: Nested) -> Nested:
        """The memories after the windows in `inputs`; arguments as for `document_states`."""
        after = self.translator.remember(inputs, memory.get(TRANSLATOR, {}))
        return self._memory(after, self.generator.remember(inputs, memory[LANGUAGE_MODEL]))

    def _memory(self, translator, generator):
        return {LANGUAGE_MODEL: generator, **({TRANSLATOR: translator} if translator else {})}

    def inspect_memory(self, inputs: dict[str, Tensor], memory: Nested) -> dict[str, Tensor]:
        """How the translator's memory is used; see `DocumentTransformer.inspect_memory`."""
        return self.translator.inspect_memory(inputs, memory.get(TRANSLATOR, {}))

    def logits(self, states: Tensor) -> Tensor:
        """Logits (..., V) of states (..., D + E)."""
        width = self.settings["width"]
        own = self.translator.output_embedding.logits(ops.cast(states[..., :width], self.compute_dtype))
        return own + self.weight * self.generator.output_embedding.logits(states[..., width:])

    def keys(self, inputs: dict[str, Tensor], kind: str = "feed_forward") -> Tensor:
        """The translator's keys; see `models.transformer.Transformer.keys`."""
        return self.translator.keys(inputs, kind)

    def initial_state(
        self, source: Tensor, max_length: int, prefix: Tensor | None = None, memory: Nested | None = None
    ) -> Nested:
        """The translator's state with the generator's in it; see `DocumentTransformer.initial_state`."""
        memory = self.initial_memory(ops.shape(source)[0]) if memory is None else memory
        state = self.translator.initial_state(source, max_length, prefix, memory.get(TRANSLATOR, {}))
        before = source[:, :0] if prefix is None else prefix
        return {**state, LANGUAGE_MODEL: self.generator.initial_state(before, max_length, memory[LANGUAGE_MODEL])}

    def lengthen_state(self, state: Nested, steps: int) -> Nested:
        """The state with room for so many more steps."""
        own, other = self._parts(state)
        own = self.translator.lengthen_state(own, steps)
        return {**own, LANGUAGE_MODEL: self.generator.lengthen_state(other, steps)}

    def step(self, tokens: Tensor, state: Nested) -> tuple[Tensor, Nested]:
        """One step of both; see `models.transformer.Transformer.step`."""
        logits, _, state = self.step_with_key(tokens, state)
        return logits, state

    def step_with_key(self, tokens: Tensor, state: Nested, kind: str = "feed_forward") -> tuple[Tensor, Tensor, Nested]:
        """Like `step`, with the translator's key; see `models.transformer.Transformer.step_with_key`."""
        own, other = self._parts(state)
        logits, key, own = self.translator.step_with_key(tokens, own, kind)
        more, other = self.generator.step(tokens, other)
        return logits + self.weight * more, key, {**own, LANGUAGE_MODEL: other}

    def _parts(self, state):
        own = {name: part for name, part in state.items() if name != LANGUAGE_MODEL}
        return own, state[LANGUAGE_MODEL]
