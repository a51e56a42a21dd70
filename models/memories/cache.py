"""A continuous cache: the latest positions, unchanged, each found by likeness."""

from dataclasses import dataclass

import keras
from keras import ops

from models import Tensor
from models.memories import memory
from models.memories.base import KeptPositions, State, last_of
from models.options import option


@dataclass(frozen=True)
class CacheSettings:
    """A continuous cache: the latest positions as they are, on the target side each with the token chosen there."""

    cache: int = option(256, "how many positions before a window are kept", low=1, high=65536)

    weightless = True


@memory("cache", CacheSettings)
@keras.saving.register_keras_serializable(package="weitblick")
class CacheMemory(KeptPositions):
    """The last P positions before each window, in the order in which they were read.

    It has no weights of its own: all that is learnt is how to read it. Unlike `recurrence`, it does not need the
    entries' distances, so it can be above the stacks, with every kind of positions.

    Args:
        width: see `Memory`.
        cache: P.

    Call arguments and results: see `Memory`; M is P.

    References:
        Grave et al. 2017, "Improving Neural Language Models with a Continuous Cache", section 3; Tu et al. 2018,
        "Learning to Remember Translation History with a Continuous Cache", section 3, for translation.
    """

    def prepare(self, x: Tensor) -> Tensor:
        return ops.cast(x, "float32")

    def write(self, prepared: Tensor, here: Tensor, state: State) -> tuple[State, tuple[Tensor, Tensor]]:
        values = ops.concatenate([state["values"], prepared], axis=1)
        kept = ops.concatenate([state["filled"], here], axis=1)
        # Below 0 in the cache, from 0 on in the window.
        places = ops.broadcast_to(ops.arange(ops.shape(kept)[1], dtype="int32") - self.cache, ops.shape(kept))
        (values, places), filled = last_of([values, places], kept, self.cache)
        new = ops.logical_and(filled, places >= 0)
        attended = ops.one_hot(ops.where(new, places, -1), ops.shape(here)[1], dtype="float32")
        after = {"filled": filled, "values": ops.where(filled[..., None], values, 0.0)}
        return after, (ops.cast(new, "float32")[..., None], attended)

    def view(self, state: State) -> tuple[Tensor, Tensor]:
        return ops.cast(state["values"], self.compute_dtype), state["filled"]
