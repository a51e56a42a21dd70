"""From windows of token ids to token ids: segments after a prefix, and a memory carried from window to window."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import keras
import numpy as np
from keras import ops, tree

from app.presets.schema import SearchPreset
from app.translation.batch_plan import plan_batches
from app.translation.decoded import Decoded, TokenScore
from app.translation.decoding import Decoding, compiled, outputs_of, refuse_broken, side_by_side
from app.translation.padding import MULTIPLE, pad_rows, round_length, round_rows
from data.documents import INPUTS, PackedWindow, pack
from data.tokenizer import BOS, EOS, PAD
from models.search import Scores, score_logits

# Tokens a side in a row of windows that are scored together; attention costs grow with a row's length.
_ROW_TOKENS = 512


class Request(NamedTuple):
    """A segment to decode.

    Fields:
        sources: the ids of the source segments of its window.
        before: the ids of the outputs that come before its own in the window.
        current: which of `sources` it is the output of.
        memory: the memory before the window; None where the model has no notion of documents.
    """

    sources: Sequence[Sequence[int]]
    before: Sequence[Sequence[int]]
    current: int
    memory: dict | None


class DocumentDecoding(Decoding):
    """A model of documents with a search around it.

    Memories go in and out as nested dictionaries of arrays of one document, without a batch axis. Any other model can
    be given as well: it knows no memory, and takes windows of one segment only.

    Args:
        model: see `Decoding`; one of documents also has `initial_memory`, `document_states`, `remember`, `look` and
            `output_embedding`, and takes `prefix` and `memory` in `initial_state`.
        search: see `Decoding`.
        segments: the most segments of a window. With learned positions each gets its share of them.
    """

    def __init__(self, model, search: SearchPreset, segments: int = 1):
        super().__init__(model, search)
        if self.max_positions:
            self.max_positions //= segments
        self.first_memory: dict | None = None
        if hasattr(model, "initial_memory"):
            self.memory = tree.map_structure(ops.convert_to_numpy, model.initial_memory(1))
            self.first_memory = tree.map_structure(lambda leaf: leaf[0], self.memory)

    @property
    def remembers(self) -> bool:
        """Whether anything is carried from one window to the next."""
        return bool(self.first_memory)

    def search_segments(self, requests: Sequence[Request]) -> list[Decoded]:
        """Looks for the best output of each segment; nothing depends on what stands beside it.

        Raises:
            UserError: for a model that gives NaN.
        """
        results = [Decoded([], 0.0)] * len(requests)
        search = self._search(1)
        lengths = [_length(request.sources) + _length(request.before) for request in requests]
        batches = list(plan_batches(lengths, self.search.batch_tokens, round_length))
        inputs = (self._request_batch([requests[row] for row in rows]) for rows in batches)
        for rows, found in zip(batches, side_by_side(search, inputs), strict=True):
            for row, decoded in zip(rows, outputs_of(refuse_broken(found), len(rows)), strict=True):
                results[row] = decoded[0] if decoded else results[row]
                self.output_tokens += len(results[row].ids) + 1
        return results

    def remember(self, windows: Sequence[PackedWindow], memories: Sequence[dict]) -> list[dict]:
        """The memory of each document after one more window of it."""
        found: list = [None] * len(windows)
        lengths = [max(_length(window.sources), _length(window.targets)) for window in windows]
        for rows in plan_batches(lengths, self.search.batch_tokens, round_length):
            inputs, _ = self._pack([[windows[row]] for row in rows])
            (after,) = self._remember(inputs, self._stack([memories[row] for row in rows]))
            for row, memory in zip(rows, _unstack(after, len(rows)), strict=True):
                found[row] = memory
        return found

    def look(self, window: PackedWindow, memory: dict) -> dict[str, np.ndarray]:
        """How the memory is used in a window: what the model's `look` tells of it, without the batch axis."""
        inputs, _ = self._pack([[window]])
        tensors = tree.map_structure(ops.convert_to_tensor, (inputs, self._stack([memory])))
        return {name: ops.convert_to_numpy(value)[0] for name, value in self.model.look(*tensors).items()}

    def score_windows(self, documents: Sequence[Sequence[PackedWindow]]) -> list[list[TokenScore]]:
        """What the model thinks of given outputs.

        Args:
            documents: the windows of each, in order.

        Returns:
            For each document a `TokenScore` for each of its scored segments.

        Raises:
            UserError: for a model that gives NaN.
        """
        results: list[list[TokenScore]] = [[] for _ in documents]
        rows_of = [list(_rows(windows)) for windows in documents]
        lengths = [min(sum(map(_window_length, windows)), _ROW_TOKENS) for windows in documents]
        for numbers in plan_batches(lengths, self.search.batch_tokens, round_length):
            memories = {number: self.first_memory for number in numbers}
            for step in range(max(len(rows_of[number]) for number in numbers)):
                here = [number for number in numbers if step < len(rows_of[number])]
                found, after = self._score_rows([rows_of[n][step] for n in here], [memories[n] for n in here])
                for number, scores, memory in zip(here, found, after, strict=True):
                    results[number] += scores
                    memories[number] = memory
        return results

    def _score_rows(self, rows: list[list[PackedWindow]], memories: list[dict]) -> tuple[list, list]:
        """The scores of the segments of each row, and the memories after it."""
        inputs, labels = self._pack(rows)
        memory = self._stack(memories)
        places = np.flatnonzero(labels).astype("int32")
        if not len(places):
            (after,) = self._remember(inputs, memory)
            return [[] for _ in rows], _unstack(after, len(rows))
        places = np.pad(places, (0, round_length(len(places)) - len(places)))
        found, after = self._score_places(inputs, memory, labels, places)
        refuse_broken(Scores(found, found, None))
        values = iter(found.tolist())
        sizes = [[len(ids) + 1 for window in row for ids in window.targets[window.scored :]] for row in rows]
        scores = [[TokenScore(sum(next(values) for _ in range(size)), size) for size in own] for own in sizes]
        return scores, _unstack(after, len(rows))

    def _request_batch(self, requests: list[Request]) -> tuple:
        """The arguments of a search; see `Decoding._batch`, then memory and, where one has any, prefix (B, P)."""
        size = round_rows(len(requests))
        source = pad_rows([[i for ids in request.sources for i in (*ids, EOS)] for request in requests], size)
        prefixes = [[i for ids in request.before for i in (BOS, *ids)] for request in requests]
        limits = [self._limit(len(request.sources[request.current])) for request in requests]
        limits = np.array(limits + [1] * (size - len(requests)), "int32")
        most = self._limit(source.shape[1]) if keras.backend.backend() == "jax" else int(limits.max())
        arguments = source, limits, most, np.zeros(2, "uint32")
        if self.memory is None:
            return arguments
        arguments += (self._stack([request.memory for request in requests]),)
        if any(prefixes):
            # What `pad_rows` puts into rows that stand for nobody is no matter here.
            arguments += (pad_rows(prefixes, size),)
        return arguments

    def _pack(self, rows: list[list[PackedWindow]]) -> tuple[dict, np.ndarray]:
        if keras.backend.backend() != "jax":
            return pack(rows, MULTIPLE)
        windows = max(1, *map(len, rows))
        longest = max(_length(side) for row in rows for window in row for side in (window.sources, window.targets))
        multiple = round_length(max(longest, _ROW_TOKENS if windows > 1 else 1))
        rows = [*rows, *[[]] * (round_rows(len(rows)) - len(rows))]
        return pack(rows, multiple, 1 << (windows - 1).bit_length())

    def _stack(self, memories: list[dict]) -> dict:
        """The memories of some documents as one, with the batch as axis 0."""
        memories = [*memories, *[self.first_memory] * (round_rows(len(memories)) - len(memories))]
        return tree.map_structure(lambda *leaves: np.stack(leaves), *memories)

    @functools.cached_property
    def _remember(self) -> Callable:
        def run(inputs, memory):
            return (self.model.remember(inputs, memory),)

        return compiled(run, self.model, _INPUT_KINDS, self.memory)

    @functools.cached_property
    def _score_places(self) -> Callable:
        def run(inputs, memory, labels, places):
            states, memory = self.model.document_states(inputs, memory)
            # Only the states of scored tokens: those of context would cost a row of logits each.
            states = ops.take(ops.reshape(states, (-1, states.shape[-1])), places, axis=0)
            labels = ops.take(ops.reshape(labels, (-1,)), places)
            logits = self.model.output_embedding.logits(states)
            return score_logits(logits[None], labels[None], PAD).log_probs[0], memory

        return compiled(run, self.model, _INPUT_KINDS, self.memory, ("int32", 2), ("int32", 1))


_INPUT_KINDS = {name: ("int32", 2) for name in INPUTS}


def _unstack(memory: dict, count: int) -> list[dict]:
    """The memories of the first `count` documents of a batch."""
    return [tree.map_structure(lambda leaf, row=row: leaf[row], memory) for row in range(count)]


def _length(segments: Sequence[Sequence[int]]) -> int:
    """Tokens of segments with their breaks."""
    return sum(len(ids) + 1 for ids in segments)


def _window_length(window: PackedWindow) -> int:
    return max(_length(window.sources), _length(window.targets))


def _rows(windows: Sequence[PackedWindow]) -> Iterator[list[PackedWindow]]:
    """Puts windows together that fit in a row, one at least."""
    row, size = [], 0
    for window in windows:
        if row and size + _window_length(window) > _ROW_TOKENS:
            yield row
            row, size = [], 0
        row.append(window)
        size += _window_length(window)
    if row:
        yield row
