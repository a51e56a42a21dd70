"""Measures how often a model answers questions about facts some windows back."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from app.probe.batches import Shape, last_segments
from app.probe.documents import Segment, Task, asking_documents


@dataclass(frozen=True)
class Recall:
    """The share of right answers at one distance in windows."""

    distance: int
    right: int
    asked: int

    @property
    def share(self) -> float:
        """From 0 to 1."""
        return self.right / self.asked

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% interval of the share, see `wilson`."""
        return wilson(self.right, self.asked)

    def as_dict(self) -> dict:
        """Plain values for a file."""
        low, high = self.interval
        return {**asdict(self), "recall": round(self.share, 4), "low": round(low, 4), "high": round(high, 4)}


def wilson(right: int, asked: int, z: float = 1.959964) -> tuple[float, float]:
    """The 95% confidence interval of a share; also accurate near 0 and 1.

    Args:
        right: number of successes.
        asked: number of trials.
        z: standard deviations to either side.

    References:
        Wilson 1927, "Probable Inference, the Law of Succession, and Statistical Inference".
    """
    share, weight = right / asked, z * z / asked
    centre = (share + weight / 2) / (1 + weight)
    radius = z / (1 + weight) * math.sqrt(share * (1 - share) / asked + weight / (4 * asked))
    return max(0.0, centre - radius), min(1.0, centre + radius)


class Examiner:
    """Runs a model through documents window by window and reads its answers to their last segments.

    An answer is the most likely token after the begin token, with no target prefix.

    Args:
        transformer: a `models.document.DocumentTransformer`.
        shape: the shape of the batches.
    """

    def __init__(self, transformer: Any, shape: Shape):
        self.transformer, self.shape = transformer, shape
        self._guess = _compiled(self._guesses)

    def recall(self, task: Task, distance: int, count: int, seed: int) -> Recall:
        """Asks `count` questions at one distance; equal seeds give equal questions."""
        documents = asking_documents(task, distance, count, np.random.default_rng([seed, distance]))
        right = sum(
            int(np.sum(self.answers(part) == [document[-1].answer for document in part]))
            for part in (documents[i : i + self.shape.lanes] for i in range(0, count, self.shape.lanes))
        )
        return Recall(distance, right, count)

    def answers(self, documents: list[list[Segment]]) -> np.ndarray:
        """The first target token (N,) that the model gives for the last segment of each document."""
        memory = self.transformer.initial_memory(self.shape.lanes)
        answers: np.ndarray = np.zeros(len(documents), "int32")
        for (inputs, _), ends in last_segments(documents, self.shape):
            guesses, memory = self._guess(inputs, memory)
            if ends:
                rows, columns = map(list, zip(*ends, strict=True))
                answers[rows] = ops.convert_to_numpy(guesses)[rows, columns]
        return answers

    def _guesses(self, inputs, memory):
        """The most likely token (B, T) after each target token, and the memory after the last window."""
        states, memory = self.transformer.document_states(inputs, memory, training=False)
        return ops.argmax(self.transformer.output_embedding.logits(states), axis=-1), memory


def _compiled(function):
    """Compiles a function of nested tensors on TensorFlow, which needs no explicit weights for it."""
    if keras.backend.backend() != "tensorflow":
        return function
    import tensorflow as tf

    return tf.function(function, autograph=False)
