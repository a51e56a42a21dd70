"""Chooses the settings of retrieval on validation text, and learns the gate that weighs what is retrieved."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from app.retrieval.entries import Entries, concatenated
from app.runs.gate import GateWeights
from app.scoring.testsets import TestSet
from app.translation.keys import Observed
from app.translation.translator import Translator
from data.errors import UserError

NEIGHBOURS, TEMPERATURES = (4, 8, 16), (0.06, 0.12, 0.25)
THRESHOLDS, WEIGHTS = (0.3, 0.5, 0.7, 0.9, 1.2), (0.5, 0.7, 0.8, 0.9)
_FAR = 1e9
_STEPS, _ROWS, _RATE = 1500, 1024, 0.02


class Readings(NamedTuple):
    """What retrieval finds for R target tokens of a text, k neighbours each, nearest first.

    distances: (R, k) float32, as of `models.memories.retrieval.Neighbours`.
    tokens: (R, k) int32; 0 for none.
    right: (R,) int32, the token of the reference.
    log_probs: (R,) float32, its log-probability by the model alone.
    surest: (R,) float32, that of the model's likeliest token.
    """

    distances: np.ndarray
    tokens: np.ndarray
    right: np.ndarray
    log_probs: np.ndarray
    surest: np.ndarray

    def nearest(self, count: int) -> "Readings":
        """The same with fewer neighbours."""
        return self._replace(distances=self.distances[:, :count], tokens=self.tokens[:, :count])


class Candidate(NamedTuple):
    """Settings, and the mean negative log-probability of the reference's tokens with them, in nats."""

    settings: Any
    loss: float


def read(translator: Translator, test: TestSet, progress: Callable[[float], None] | None = None) -> Readings:
    """What retrieval finds for the tokens of references, each read after its predecessors.

    The entries are those of the translation memory or, without one, of the earlier segments of the document, as in
    post-editing.

    Args:
        translator: its `memory` is read, if it has one.
        test: documents with references.
        progress: called with the share that is done.
    """
    parts: list[Readings] = []
    documents = list(test.pairs())
    for number, document in enumerate(documents, start=1):
        parts += _read_document(translator, document)
        if progress:
            progress(number / len(documents))
    if not parts:
        raise UserError(f"{test.origin}: nothing can be read, as no document has several segments")
    return Readings(*map(np.concatenate, zip(*parts, strict=True)))


def _read_document(translator, document) -> Iterator[Readings]:
    sources, targets = ([pair[side] for pair in document] for side in (0, 1))
    observed = translator.decoder.observe(*translator.encoder.pairs(sources, targets))
    most = max(NEIGHBOURS)
    for number, own in enumerate(observed):
        memory = translator.memory
        if memory and memory.index:
            squares, tokens = memory.index.nearest(own.entries.keys.astype("float32"), most)
            yield _readings(own, squares, tokens)
        elif memory:
            text, limit = translator.form.source(sources[number]).text, translator.decoder.retrieval.entries
            yield _nearest(own, memory.entries(text, limit), most)
        elif number:
            yield _nearest(own, concatenated([each.entries for each in observed[:number]]), most)


def _nearest(own: Observed, stored: Entries, most: int) -> Readings:
    queries, keys = (part.keys.astype("float32") for part in (own.entries, stored))
    keys = keys.reshape(-1, queries.shape[1])
    squares = (queries**2).sum(1)[:, None] + (keys**2).sum(1)[None] - 2 * queries @ keys.T
    order = np.argsort(squares, axis=1)[:, :most]
    lack = ((0, 0), (0, most - order.shape[1]))
    squares = np.pad(np.take_along_axis(squares, order, axis=1), lack, constant_values=_FAR)
    return _readings(own, squares, np.pad(stored.tokens[order], lack))


def _readings(own: Observed, squares: np.ndarray, tokens: np.ndarray) -> Readings:
    distances = np.where(squares < _FAR, np.maximum(squares, 0) / own.entries.keys.shape[1], _FAR)
    found = distances.astype("float32"), tokens.astype("int32")
    return Readings(*found, own.entries.tokens, own.log_probs, own.surest)


def candidates(readings: Readings, settings: Any) -> list[Candidate]:
    """All combinations of neighbours, temperature, threshold and weight, those that make the reference likeliest first.

    Args:
        readings: from `read`.
        settings: the other settings.
    """
    found = []
    for count, temperature in itertools.product(NEIGHBOURS, TEMPERATURES):
        own = readings.nearest(count)
        retrieved = _retrieved(own, temperature)
        for threshold, weight in itertools.product(THRESHOLDS, WEIGHTS):
            gates = weight * np.maximum(1 - own.distances[:, 0] / threshold, 0)
            loss = -np.log((1 - gates) * np.exp(own.log_probs) + gates * retrieved + 1e-9).mean()
            changed = {"neighbours": count, "temperature": temperature, "threshold": threshold, "weight": weight}
            found.append(Candidate(replace(settings, gate="distance", **changed), float(loss)))
    return sorted(found, key=lambda candidate: candidate.loss)


def apart(found: Sequence[Candidate], count: int) -> list[Candidate]:
    """The best candidate for each threshold, at most `count` of them.

    Given the reference's words so far, a high threshold always looks good. In translation one wrong word brings the
    next, so each threshold must be tried out.
    """
    chosen: dict[float, Candidate] = {}
    for candidate in found:
        chosen.setdefault(candidate.settings.threshold, candidate)
    return list(chosen.values())[:count]


def _retrieved(readings: Readings, temperature: float) -> np.ndarray:
    """(R,) how likely the reference's token is by what was retrieved alone."""
    shares = np.exp(-(readings.distances - readings.distances[:, :1]) / temperature)
    hits = readings.tokens == readings.right[:, None]
    return (shares * hits).sum(1) / shares.sum(1)


def learn_gate(readings: Readings, seed: int = 0) -> tuple[GateWeights, float]:
    """Learns a layer that weighs what was retrieved, so that the reference becomes as likely as possible.

    Args:
        readings: from `read`, with as many neighbours as translation will read.
        seed: of the batches.

    Returns:
        The layer, and the mean negative log-probability of the reference's tokens with it, in nats.
    """
    import keras
    from keras import ops

    from models.memories.retrieval import Neighbours, features, gated

    trust = np.ones_like(readings.distances)
    neighbours = Neighbours(*map(ops.convert_to_tensor, (readings.distances, readings.tokens, trust)))
    seen = ops.convert_to_numpy(features(neighbours, ops.convert_to_tensor(readings.surest[:, None])))
    hits = (readings.tokens == readings.right[:, None]).astype("float32")
    count = hits.shape[1]
    given = np.concatenate([seen, readings.distances, hits, np.exp(readings.log_probs)[:, None]], axis=1)

    @keras.saving.register_keras_serializable(package="weitblick")
    class Mixture(keras.layers.Layer):
        """The negative log-probability of each row's token."""

        def build(self, input_shape: Any) -> None:
            first = keras.initializers.Constant([-1.0, -2.0])
            self.dense = keras.layers.Dense(2, kernel_initializer="zeros", bias_initializer=first)
            self.dense.build((None, seen.shape[1]))

        def call(self, x: Any) -> Any:
            own, rest = x[:, : seen.shape[1]], x[:, seen.shape[1] :]
            gates, temperatures = gated(self.dense(own))
            shares = ops.softmax(-rest[:, :count] / temperatures, axis=-1)
            retrieved = ops.sum(shares * rest[:, count : 2 * count], axis=-1, keepdims=True)
            return -ops.log((1 - gates) * rest[:, -1:] + gates * retrieved + 1e-9)

    model = keras.Sequential([Mixture(dtype="float32")])
    model.compile(keras.optimizers.Adam(_RATE), loss=lambda _, found: ops.mean(found))
    draw = np.random.default_rng(seed)
    for _ in range(_STEPS):
        rows = draw.integers(0, len(given), _ROWS)
        model.train_on_batch(given[rows], np.zeros(_ROWS, "float32"))
    weights, bias = (ops.convert_to_numpy(weight) for weight in model.layers[0].dense.weights)
    loss = float(np.mean(model.predict(given, batch_size=8192, verbose=0)))
    return GateWeights(weights.tolist(), bias.tolist()), loss
