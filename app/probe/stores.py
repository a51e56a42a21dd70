"""The potential of a target-side memory, estimated by adding untrained stores to a sentence-level run.

For each document, the decoder's states are written to a store segment by segment, each with the vector of its reference
token. The store's output for a state is added to the state, and the change in the likelihood of the reference is
measured. docs/memory.md draws conclusions.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import numpy as np
from keras import ops

from app.runs.run import Run
from app.translation.text import LineEncoder
from data.pairs import Pair, by_document
from data.tokenizer import BOS, EOS

SEED = 0


class Store(Protocol):
    """A store that is written segment by segment and read by states (T, D)."""

    def write(self, states: np.ndarray, vectors: np.ndarray) -> None:
        """Stores the states (T, D) of a segment and the vectors (T, D) of their tokens."""

    def read(self, states: np.ndarray) -> np.ndarray:
        """Returns the values (T, D) to add to the states."""


class Mean:
    """The mean of all states, with less weight on older segments."""

    def __init__(self, width: int, factor: float) -> None:
        self.mean: np.ndarray = np.zeros(width, "float32")
        self.factor = factor

    def write(self, states: np.ndarray, vectors: np.ndarray) -> None:
        self.mean = 0.8 * self.mean + 0.2 * states.mean(0)

    def read(self, states: np.ndarray) -> np.ndarray:
        return self.factor * self.mean


class Everything:
    """The last `most` states, read by attention; returns the vectors of their tokens."""

    def __init__(self, width: int, most: int = 400) -> None:
        self.keys: np.ndarray = np.zeros((0, width), "float32")
        self.values: np.ndarray = self.keys
        self.most = most

    def write(self, states: np.ndarray, vectors: np.ndarray) -> None:
        self.keys = np.concatenate([self.keys, states])[-self.most :]
        self.values = np.concatenate([self.values, vectors])[-self.most :]

    def read(self, states: np.ndarray) -> np.ndarray:
        return attention(states, self.keys) @ self.values


class Slots:
    """M slots with random addresses; each moves towards the states it attends to, keeping a share z of its content."""

    def __init__(self, width: int, slots: int, keep: float = 0.73) -> None:
        self.addresses = 2 * np.random.default_rng(SEED).normal(size=(slots, width)).astype("float32")
        self.keys: np.ndarray = np.zeros((slots, width), "float32")
        self.values: np.ndarray = np.zeros((slots, width), "float32")
        self.keep = keep

    def write(self, states: np.ndarray, vectors: np.ndarray) -> None:
        weights = attention(self.addresses, states)
        self.keys = self.keep * self.keys + (1 - self.keep) * weights @ states
        self.values = self.keep * self.values + (1 - self.keep) * weights @ vectors

    def read(self, states: np.ndarray) -> np.ndarray:
        return attention(states, self.keys) @ self.values


class CompetingSlots(Slots):
    """Like `Slots`, but each state replaces the content of its most similar slot; other slots are unchanged."""

    def write(self, states: np.ndarray, vectors: np.ndarray) -> None:
        for row, slot in enumerate((self.addresses @ states.T).argmax(axis=0)):
            self.keys[slot], self.values[slot] = states[row], vectors[row]


def stores(width: int) -> dict[str, Store]:
    """New stores by name."""
    means: dict[str, Store] = {
        f"mean of the states, x {factor}": Mean(width, factor) for factor in (0.05, 0.1, 0.2, 0.4)
    }
    slots: dict[str, Store] = {f"{count} slots, z = 0.73": Slots(width, count) for count in (16, 64, 128)}
    competing: dict[str, Store] = {f"{count} competing slots": CompetingSlots(width, count) for count in (16, 64, 128)}
    return {**means, "all of the last 400 states": Everything(width), **slots, **competing}


def attention(queries: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Softmax of scaled products, (N, D) and (K, D) -> (N, K)."""
    return np.exp(log_softmax(queries @ keys.T / queries.shape[-1] ** 0.5))


def log_softmax(scores: np.ndarray) -> np.ndarray:
    """Log softmax over the last axis."""
    scores = scores - scores.max(axis=-1, keepdims=True)
    return scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))


def documents_of(
    model: Any, encoder: LineEncoder, pairs: Iterable[Pair]
) -> Iterator[list[tuple[np.ndarray, np.ndarray]]]:
    """For each document, its segments as states (T, E), from which logits are computed, and reference tokens (T,)."""
    for document in by_document(pairs):
        sides = [pair.source for pair in document], [pair.target for pair in document]
        found = []
        for source, target in zip(*encoder.pairs(*sides), strict=True):
            inputs = {"source": np.array([[*source, EOS]]), "target": np.array([[BOS, *target]])}
            states = model.output_embedding.output_states(model.states(inputs))
            found.append((to_float32(states)[0], np.array([*target, EOS])))
        yield found


def compare(documents: list[list[tuple[np.ndarray, np.ndarray]]], table: np.ndarray) -> tuple[float, dict[str, float]]:
    """Nats per token without a store, and the change with each store."""
    states, tokens = (np.concatenate(part) for part in zip(*(own for one in documents for own in one), strict=True))
    middle, usual, count = states.mean(0), table[tokens].mean(0), len(tokens)
    losses: dict[str, float] = defaultdict(float)
    for document in documents:
        kept = stores(table.shape[1])
        for place, (states, tokens) in enumerate(document):
            losses["nothing"] += loss(states, tokens, table)
            for name, store in kept.items():
                given: Any = store.read(states - middle) if place else 0
                losses[name] += loss(states + given, tokens, table)
                store.write(states - middle, table[tokens] - usual)
    nothing = losses.pop("nothing")
    return nothing / count, {name: (value - nothing) / count for name, value in losses.items()}


def loss(states: np.ndarray, tokens: np.ndarray, table: np.ndarray) -> float:
    """The sum of the negative log-likelihoods, in nats."""
    return -float(log_softmax(states @ table.T)[np.arange(len(tokens)), tokens].sum())


def measure(run: Run, pairs: Iterable[Pair]) -> tuple[float, dict[str, float]]:
    """Nats per reference token of a sentence-level run without a store, and the change with each store."""
    model, preset = run.load_model(), run.preset
    encoder = LineEncoder(run.tokenizer(), preset.text_form(), preset.data.max_length)
    return compare(list(documents_of(model, encoder, pairs)), to_float32(model.output_embedding.output_vectors))


def to_float32(tensor: Any) -> np.ndarray:
    """A tensor of any float type, as float32."""
    return ops.convert_to_numpy(ops.cast(tensor, "float32"))
