"""What a model makes of given pairs: the keys that retrieval stores, and how likely each token is."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from keras import ops

from app.retrieval.entries import NOTHING, Entries
from app.runs.precision import batches_at_once
from app.translation.batch_plan import plan_batches, spread
from app.translation.compiling import compiled, side_by_side
from app.translation.padding import least_rows, pad_rows, round_length, round_rows
from data.tokenizer import BOS, EOS, PAD


@runtime_checkable
class DocumentModel(Protocol):
    """A model that reads windows of documents and may carry a memory; see `models.document.DocumentTransformer`."""

    def initial_memory(self, batch: int) -> dict: ...
    def document_states(self, inputs: dict, memory: dict) -> Any: ...
    def remember(self, inputs: dict, memory: dict) -> dict: ...


class Observed(NamedTuple):
    """One pair as the model reads it, N target tokens with the end token.

    entries: what retrieval may read of it.
    log_probs: (N,) float32, the log-probabilities of its tokens.
    surest: (N,) float32, that of the likeliest token in each place.
    """

    entries: Entries
    log_probs: np.ndarray
    surest: np.ndarray


class KeyMaker:
    """Reads pairs with a model, each alone and whole, as if its target had been decoded.

    Args:
        model: see `app.translation.keras_decoder.KerasDecoder`.
        kind: which state is the key, see `models.transformer.Transformer.keys`.
        batch_tokens: tokens of a batch.
    """

    def __init__(self, model: Any, kind: str, batch_tokens: int):
        self.model, self.kind, self.batch_tokens = model, kind, batch_tokens
        self._least = least_rows(model)

    def entries(self, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]) -> list[Entries]:
        """The entries of each pair: a key for each target token, end token included.

        Args:
            sources, targets: token ids without end tokens, one target for each source.
        """
        results: list[Entries] = [NOTHING] * len(sources)
        for rows, (keys,) in self._batches(self._keys, sources, targets):
            for row, own in zip(rows, keys, strict=False):
                results[row] = _entries(own, targets[row])
        return results

    def observe(self, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]) -> list[Observed]:
        """The entries of each pair, and how likely its tokens are; arguments as for `entries`."""
        results: list[Any] = [None] * len(sources)
        for rows, (keys, log_probs) in self._batches(self._keys_and_scores, sources, targets):
            for row, own, scores in zip(rows, keys, log_probs, strict=False):
                entries = _entries(own, targets[row])
                scores = scores[: len(entries.tokens)]
                mine = scores[np.arange(len(scores)), entries.tokens]
                results[row] = Observed(entries, mine, scores.max(axis=1))
        return results

    def _batches(self, run: Callable, sources, targets) -> Iterator[tuple[list[int], tuple]]:
        lengths = [max(len(source), len(target)) + 1 for source, target in zip(sources, targets, strict=True)]
        batches = spread(plan_batches(lengths, self.batch_tokens, round_length), batches_at_once())

        def inputs(rows):
            size = round_rows(len(rows), self._least)
            source = pad_rows([[*sources[row], EOS] for row in rows], size)
            return source, pad_rows([[BOS, *targets[row]] for row in rows], size)

        yield from zip(batches, side_by_side(run, map(inputs, batches)), strict=True)

    @functools.cached_property
    def _keys(self) -> Callable:
        def run(source, target):
            return (self.model.keys({"source": source, "target": target}, self.kind),)

        return compiled(run, self.model, ("int32", 2), ("int32", 2))

    @functools.cached_property
    def _keys_and_scores(self) -> Callable:
        def run(source, target):
            logits = self.model(model_inputs(self.model, source, target), training=False)
            return self.model.keys({"source": source, "target": target}, self.kind), ops.log_softmax(logits)

        return compiled(run, self.model, ("int32", 2), ("int32", 2))


def _entries(keys: np.ndarray, target: Sequence[int]) -> Entries:
    tokens = np.array([*target, EOS], "int32")
    return Entries(keys[: len(tokens)].astype("float16"), tokens, np.ones(len(tokens), "float32"))


def model_inputs(model: Any, source: Any, target: Any) -> dict:
    """The inputs of the model; a document model takes each row as a document of one segment."""
    inputs = {"source": source, "target": target}
    if not isinstance(model, DocumentModel):
        return inputs
    for side, tokens in (("source", source), ("target", target)):
        real = ops.cast(ops.not_equal(tokens, PAD), "int32")
        positions = ops.arange(ops.shape(tokens)[1], dtype="int32") * real
        inputs |= {f"{side}_windows": real, f"{side}_positions": positions, f"{side}_remembered": real}
    following = ops.pad(target[:, 1:], ((0, 0), (0, 1)))
    return inputs | {"target_following": following, "resets": ops.ones_like(source[:, :1])}
