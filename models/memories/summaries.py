"""Segment summaries: a few learned vectors for each of the last windows."""

from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from models import Tensor
from models.memories import memory
from models.memories.attention import MemoryAttention
from models.memories.base import Memory, State, where
from models.options import option


@dataclass(frozen=True)
class FixedSettings:
    """One vector of each of the last windows, found by a learned query."""

    segments: int = option(8, "number of windows whose vectors are kept", low=1, high=65536)


@dataclass(frozen=True)
class VariableSettings:
    """Several vectors of each of the last windows, found by as many learned queries."""

    summaries: int = option(64, "how many vectors sum up a window", low=1, high=65536)
    segments: int = option(8, "number of windows whose vectors are kept", low=1, high=65536)


@memory("fixed", FixedSettings)
@memory("variable", VariableSettings)
@keras.saving.register_keras_serializable(package="weitblick")
class SummaryMemory(Memory):
    """A queue of the summaries of the last R windows.

    A summary is what learned queries find in the window: one query, like a [CLS] token, or several. Each newly
    summarised window pushes the oldest out. When a summary is read, a learned vector for its age is added to it.

    Args:
        width: see `Memory`.
        summaries: number of vectors N per window.
        segments: number of windows R whose summaries are kept.

    Call arguments and results: see `Memory`; M is R * N.

    References:
        Devlin et al. 2019, "BERT", section 3, for [CLS]; Lee et al. 2019, "Set Transformer", section 3.2, for pooling
        by attention of learned queries.
    """

    def __init__(self, width: int, summaries: int = 1, segments: int = 8, **kwargs: Any) -> None:
        super().__init__(width, **kwargs)
        self.summaries, self.segments = summaries, segments
        self.attention = MemoryAttention(width, dtype=self.dtype_policy, name="attention")

    def build(self, *_: Any) -> None:
        # Far apart, so that each query looks for different words from the start.
        normal = keras.initializers.RandomNormal(stddev=2.0)
        self.queries = self.add_weight(shape=(self.summaries, self.width), initializer=normal, name="queries")
        small = keras.initializers.RandomNormal(stddev=0.02)
        self.ages = self.add_weight(shape=(self.segments, 1, self.width), initializer=small, name="ages")
        self.attention.build((None, None, self.width))

    def initial_state(self, batch: int | Tensor) -> State:
        return {
            "filled": ops.zeros((batch, self.segments), "bool"),
            "summaries": ops.zeros((batch, self.segments, self.summaries, self.width), "float32"),
        }

    def prepare(self, x: Tensor) -> Tensor:
        return self.attention.key_value(ops.cast(x, self.compute_dtype))

    def write(self, prepared: Tensor, here: Tensor, state: State) -> tuple[State, tuple[Tensor, Tensor]]:
        batch = ops.shape(here)[0]
        queries = ops.repeat(ops.cast(self.queries, self.compute_dtype)[None], batch, axis=0)
        keys_values = ops.split(prepared[:, None], 2, axis=-1)
        found, weights = self.attention(queries, keys_values, attention_mask=here[:, None], return_weights=True)
        found = ops.cast(found, "float32")[:, None]
        new = {
            "filled": ops.concatenate([state["filled"][:, 1:], ops.ones((batch, 1), "bool")], axis=1),
            "summaries": ops.concatenate([state["summaries"][:, 1:], found], axis=1),
        }
        anything = ops.any(here, axis=1)
        return where(anything, new, state), self._report(anything, ops.mean(weights, axis=1))

    def _report(self, anything, weights):
        """What `write` did: the newest summary is entirely new, the others have only moved by one place."""
        older = (self.segments - 1) * self.summaries
        share = ops.repeat(ops.cast(anything, "float32")[:, None], self.summaries, axis=1)
        return ops.pad(share, ((0, 0), (older, 0)))[..., None], ops.pad(weights, ((0, 0), (older, 0), (0, 0)))

    def view(self, state: State) -> tuple[Tensor, Tensor]:
        summaries = state["summaries"] + ops.cast(self.ages, "float32")
        shape = (*ops.shape(summaries)[:-3], self.segments * self.summaries, self.width)
        filled = ops.repeat(state["filled"], self.summaries, axis=-1)
        return ops.cast(ops.reshape(summaries, shape), self.compute_dtype), filled

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "summaries": self.summaries, "segments": self.segments}
