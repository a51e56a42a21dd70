"""Synthetic documents in which an answer occurs only some windows before its question.

A document is a list of segments in a tiny language. Most are filler, a few random words. Some state a fact, "fact
KEY VALUE". A question, "ask KEY", must be answered with that key's value, which is not in the same segment.
All other segments are translated word by word; each source word has its own target word.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

FIRST_WORD = 4  # after padding, unknown, begin and end
LEAD = 3  # maximum filler segments before a test document's facts
SHORTEST_FILLER, LONGEST_SEGMENT = 2, 4  # words


class Segment(NamedTuple):
    """Token ids of one segment, without begin and end tokens; `answer` is the target token of a question, else 0."""

    source: np.ndarray
    target: np.ndarray
    answer: int = 0


@dataclass(frozen=True)
class Task:
    """The content of documents.

    Attributes:
        keys: number of keys; a document's facts have different ones.
        values: number of values; chance is 1 / `values`.
        facts: number of facts in a document. The question is about one of them, so a memory that holds values without
            their keys answers little more than 1 / `facts` of the questions.
        fillers: number of filler words.
        keys_in_use: only the first `keys_in_use` keys are used; 0 for all.

    Raises:
        ValueError: fewer keys than facts.
    """

    keys: int = 8
    values: int = 8
    facts: int = 2
    fillers: int = 16
    keys_in_use: int = 0

    def __post_init__(self):
        if not 1 <= self.facts <= self.keys:
            raise ValueError(f"{self.facts} facts need as many keys, got {self.keys}")

    @property
    def words(self) -> int:
        """Number of source words, and of target words."""
        return 2 + self.keys + self.values + self.fillers

    @property
    def vocabulary(self) -> int:
        """Number of tokens of both languages, including special tokens."""
        return FIRST_WORD + 2 * self.words

    @property
    def window_tokens(self) -> float:
        """Mean number of source tokens in a filler segment, with its end token."""
        return (SHORTEST_FILLER + LONGEST_SEGMENT) / 2 + 1

    def fact(self, key: int, value: int) -> Segment:
        """States that a key has a value; keys and values are numbers from 0."""
        return self._segment([0, 2 + key, 2 + self.keys + value])

    def question(self, key: int, value: int) -> Segment:
        """Asks for a key's value."""
        source = np.array([1, 2 + key], "int32") + FIRST_WORD
        answer = int(FIRST_WORD + self.words + 2 + self.keys + value)
        return Segment(source, np.array([answer], "int32"), answer)

    def filler(self, rng: np.random.Generator) -> Segment:
        """Two or more meaningless words."""
        words = rng.integers(self.fillers, size=rng.integers(SHORTEST_FILLER, LONGEST_SEGMENT + 1))
        return self._segment(2 + self.keys + self.values + words)

    def some_keys(self, rng: np.random.Generator) -> np.ndarray:
        """Random distinct keys, one for each fact of a document."""
        return rng.permutation(self.keys_in_use or self.keys)[: self.facts]

    def _segment(self, words) -> Segment:
        source = np.asarray(words, "int32") + FIRST_WORD
        return Segment(source, source + self.words)


def training_document(task: Task, length: int, rng: np.random.Generator) -> list[Segment]:
    """A document of up to `length` segments, which asks for its facts at all distances that fit.

    Facts occur anywhere, but more often near the beginning. Half of the segments after the first fact are questions, so
    that each document offers much to learn; the last segment always is one.
    """
    size = int(rng.integers(task.facts + 1, max(length, task.facts + 1) + 1))
    # Equal places move to the next free one.
    places = np.sort((rng.random(task.facts) ** 2 * (size - task.facts)).astype(int)) + np.arange(task.facts)
    keys, values = task.some_keys(rng), rng.integers(task.values, size=task.facts)
    return list(_training_segments(task, size, places.tolist(), keys, values, rng))


def _training_segments(task, size, places, keys, values, rng):
    known = 0
    for place in range(size):
        if place in places:
            yield task.fact(keys[known], values[known])
            known += 1
        elif known and (place == size - 1 or rng.random() < 0.5):
            asked = rng.integers(known)
            yield task.question(keys[asked], values[asked])
        else:
            yield task.filler(rng)


def asking_documents(task: Task, distance: int, count: int, rng: np.random.Generator) -> list[list[Segment]]:
    """Documents whose last segment is their only question, about the fact `distance` segments before it.

    The other facts occur anywhere before the question. Each value is the answer equally often (to within one); keys and
    the other facts' values are independent of it, so that nothing beats chance without that fact.
    """
    answers = rng.permutation(np.arange(count) % task.values)
    return [_asking_document(task, distance, int(answer), rng) for answer in answers]


def _asking_document(task, distance, answer, rng):
    place = task.facts - 1 + int(rng.integers(LEAD + 1))
    size = place + distance + 1
    keys = task.some_keys(rng)
    others = rng.integers(task.values, size=task.facts - 1)
    places = rng.permutation(np.delete(np.arange(size - 1), place))[: task.facts - 1]
    document = [task.filler(rng) for _ in range(size - 1)]
    document[place] = task.fact(keys[0], answer)
    for where, key, value in zip(places, keys[1:], others, strict=True):
        document[where] = task.fact(key, value)
    return [*document, task.question(keys[0], answer)]
