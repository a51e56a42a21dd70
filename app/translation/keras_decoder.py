"""Decodes and scores token ids with a Keras model: single lines, or segments with a prefix and a memory."""

import functools
import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import keras
import numpy as np
from keras import ops, tree

from app.presets.schema import SearchPreset
from app.retrieval.entries import NOTHING, Entries, padded
from app.runs.gate import GateWeights
from app.runs.precision import batches_at_once
from app.translation.batch_plan import plan_apart, plan_rows, spread
from app.translation.chunks import ChunkedSearch, search_function
from app.translation.compiling import CompiledOnce, compiled, side_by_side
from app.translation.decoder import Decoded, Request, Sampling, TokenScore, length_of, refuse_more, window_length
from app.translation.keys import DocumentModel, KeyMaker, Observed, model_inputs
from app.translation.padding import MULTIPLE, least_rows, pad_rows, round_length, round_rows
from data.errors import UserError
from data.packing import INPUTS, PackedWindow, pack
from data.tokenizer import BOS, EOS, PAD
from models.memories import settings_of
from models.memories.lookup import Search
from models.memories.retrieval import Gate, RetrievalModel
from models.search import Hypotheses, Scores, Words, pack_terms, refuse_nan, score_logits

# Maximum tokens on a side in a row of windows scored together; attention costs grow with a row's length.
_ROW_TOKENS = 512
_INPUT_KINDS = {name: ("int32", 2) for name in INPUTS}
_STORED_KINDS = {"keys": ("float16", 3), "tokens": ("int32", 2), "trust": ("float32", 2)}
_TERM_KINDS = {name: ("int32", 2) for name in ("tokens", "parents", "left", "least")}
_TERM_KINDS |= {"values": ("float32", 2), "owners": ("float32", 3), "worth": ("float32", 2)}


@runtime_checkable
class GrowingState(Protocol):
    """A model whose decoding state can be lengthened during a search; see `models.transformer.Transformer`."""

    def lengthen_state(self, state: dict, steps: int) -> dict: ...


@runtime_checkable
class Attending(Protocol):
    """A model that can show what it looked at; see `models.transformer.Transformer`."""

    def source_attention(self, inputs: dict) -> Any: ...


class KerasDecoder:
    """A Keras model with a search around it; implements `app.translation.decoder.Decoder`.

    A memory is passed as a nested dictionary of arrays for one document, without a batch axis. A model that is not a
    `DocumentModel` has no memory, and takes only windows of one segment. Several threads may decode at the same time.

    Args:
        model: has `initial_state(source (B, S), max_length)` and `step(tokens (B,), state)`, and is callable on
            `{"source": (B, S), "target": (B, T)}` for the scoring of given sequences.
        search: beam, length penalty, limits of the output and tokens in a batch.
        sampling: settings for random sampling; None for search.
        segments: the maximum segments of a window. Learned positions are divided evenly among them.
        copied: the ids of numbered pieces: an output has those of its source once, and no others.
        retrieval: how stored entries are read: the settings of `[memory.retrieval]`, and a gate if one was learnt.
        words: where words begin, for terms; see `models.search.terms`.
    """

    def __init__(
        self,
        model: Any,
        search: SearchPreset,
        sampling: Sampling | None = None,
        segments: int = 1,
        copied: range = range(0),
        retrieval: tuple[Any, GateWeights | None] | None = None,
        words: Words | None = None,
    ):
        self.copied, self.words = copied, words
        self.model = model
        self.search = search
        self.sampling = sampling
        self.output_tokens = 0
        self._lock = threading.Lock()
        self._least = least_rows(model)
        self.attends = isinstance(model, Attending)
        self.memory: dict | None = None
        self._batches = 0
        learned = getattr(model, "positions_kind", None) == "learned"
        self.max_positions: int | None = model.max_positions // segments if learned else None
        self._index: Search | None = None
        self._search = CompiledOnce(self._compile_search)
        self.read_by(*(retrieval or (settings_of("retrieval")(), None)))
        if isinstance(model, DocumentModel):
            self.memory = tree.map_structure(ops.convert_to_numpy, model.initial_memory(1))

    @property
    def first_memory(self) -> dict | None:
        """The memory at a document's start, by the model's current weights; None for a model without documents."""
        if self.memory is None:
            return None
        return tree.map_structure(lambda leaf: ops.convert_to_numpy(leaf)[0], self.model.initial_memory(1))

    @property
    def most(self) -> int:
        """The maximum number of outputs of a source."""
        return 1 if self.sampling else self.search.beam

    def decode_segments(
        self, requests: Sequence[Request], count: int = 1, progress: Callable[[list[int]], None] | None = None
    ) -> list[list[Decoded]]:
        """Finds the best outputs of each segment; see `Decoder.decode_segments`."""
        if self.sampling is None:
            refuse_more(count, self.search.beam)
        results: list[list[Decoded]] = [[] for _ in requests]
        search = self._search(count)
        lengths = [length_of(request.sources) + length_of(request.before) for request in requests]
        # Terms make the search slower.
        batches = self._plan(lengths, [bool(request.terms) for request in requests])
        inputs = (self._batch([requests[row] for row in rows]) for rows in batches)
        for rows, found in zip(batches, side_by_side(search, inputs), strict=True):
            for row, decoded in zip(rows, outputs_of(refuse_broken(found), len(rows)), strict=True):
                results[row] = decoded
            with self._lock:
                self.output_tokens += sum(len(results[row][0].ids) + 1 for row in rows if results[row])
            if progress:
                progress(rows)
        return results

    def score(self, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]) -> list[TokenScore]:
        """The log-probability of given outputs.

        Args:
            sources, targets: token ids without end tokens, one target for each source.

        Returns:
            A `TokenScore` for each pair.

        Raises:
            UserError: for a model that gives NaN.
        """
        results: list[TokenScore] = [TokenScore(0.0, 0)] * len(sources)
        lengths = [max(len(source), len(target)) + 1 for source, target in zip(sources, targets, strict=True)]
        batches = self._plan(lengths)

        def inputs(rows):
            size = round_rows(len(rows), self._least)
            source = pad_rows([[*sources[row], EOS] for row in rows], size)
            labels = pad_rows([[*targets[row], EOS] for row in rows], size)
            before = np.concatenate([np.full((size, 1), BOS, "int32"), labels[:, :-1]], axis=1)
            before[before == EOS] = PAD
            return source, before, labels

        for rows, found in zip(batches, side_by_side(self._score, map(inputs, batches)), strict=True):
            refuse_broken(found)
            for i, row in enumerate(rows):
                results[row] = TokenScore(float(found.scores[i]), int(found.lengths[i]))
        return results

    def _plan(self, lengths: Sequence[int], kinds: Sequence[bool] = ()) -> list[list[int]]:
        """Which rows are computed together; rows of different kinds never are."""
        batches = plan_apart(lengths, kinds or [False] * len(lengths), self.search.batch_tokens, round_length)
        # Samples depend on the batch, so it must be the same on all machines.
        return batches if self.sampling else spread(batches, batches_at_once())

    def _limit(self, length: int) -> int:
        """The maximum output tokens, end token included, for a source of this many tokens."""
        limit = self.search.most_tokens(length)
        return min(limit, self.max_positions) if self.max_positions else limit

    def _compile_search(self, count: int) -> Callable:
        plain, reading = (self._compile_with(model, count) for model in (self.model, self._reading))
        return lambda *arguments: (reading if "stored" in arguments[-1] else plain)(*arguments)

    def _compile_with(self, model, count):
        context: dict[str, Any] = {"prefix": ("int32", 2), "stored": _STORED_KINDS, "terms": _TERM_KINDS}
        if self.memory is not None:
            context["memory"] = self.memory
        in_chunks = keras.backend.backend() != "jax" and isinstance(self.model, GrowingState)
        if in_chunks and self.sampling is None:
            search = ChunkedSearch(model, self.search, count, context, self.copied, self.words)
            return lambda source, limits, owed, most, seed, context: search(source, limits, owed, context)
        run = search_function(model, self.search, count, self.sampling, self.copied, self.words)
        kinds = [("int32", 2), ("int32", 1), ("bool", 2), ("int32", 0), ("uint32", 1)]

        @CompiledOnce
        def variant(names):
            return compiled(run, self.model, *kinds, {name: context[name] for name in names})

        return lambda *arguments: Hypotheses(*variant(tuple(arguments[-1]))(*arguments))

    @functools.cached_property
    def _score(self) -> Callable:
        def run(source, inputs, labels):
            logits = self.model(model_inputs(self.model, source, inputs), training=False)
            return tuple(score_logits(logits, labels, PAD))

        run = compiled(run, self.model, ("int32", 2), ("int32", 2), ("int32", 2))
        return lambda *arguments: Scores(*run(*arguments))

    def entries(self, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]) -> list[Entries]:
        """What retrieval may read of each pair; see `app.translation.keys.KeyMaker`."""
        return self._keys.entries(sources, targets)

    def read_by(self, settings: Any, gate: GateWeights | None = None) -> None:
        """Reads stored entries with other settings from now on; the settings of their keys must stay the same."""
        self.retrieval = settings
        self._reading = RetrievalModel(self.model, settings, gate and Gate(*gate), self._index)
        self._search.cache_clear()

    def read_index(self, search: Search | None) -> None:
        """Also reads the nearest entries of an index at each step; None for no index."""
        self._index = self._reading.search = search
        self._search.cache_clear()

    def observe(self, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]) -> list[Observed]:
        """The entries of each pair, and how likely the model finds its tokens."""
        return self._keys.observe(sources, targets)

    @functools.cached_property
    def _keys(self) -> KeyMaker:
        return KeyMaker(self.model, self.retrieval.key, self.search.batch_tokens)

    @property
    def width(self) -> int:
        """The width D of keys."""
        return self.model.settings["width"]

    @property
    def remembers(self) -> bool:
        """Whether a memory state is carried from one window to the next."""
        return bool(self.memory)

    def remember(self, windows: Sequence[PackedWindow], memories: Sequence[dict]) -> list[dict]:
        """The memory of each document after one more window of it."""
        found: list = [None] * len(windows)
        batches = self._plan([window_length(window) for window in windows])

        def inputs(rows):
            packed, _ = self._pack([[windows[row]] for row in rows])
            return packed, self._stack([memories[row] for row in rows])

        for rows, (after,) in zip(batches, side_by_side(self._remember, map(inputs, batches)), strict=True):
            for row, memory in zip(rows, _unstack(after, len(rows)), strict=True):
                found[row] = memory
        return found

    def attend(self, source: Sequence[int], target: Sequence[int]) -> np.ndarray:
        """How a given output attends to its source: the model's `source_attention`, (L, H, T, S) with both ends."""
        inputs = {"source": [[*source, EOS]], "target": [[BOS, *target]]}
        tensors = {side: ops.convert_to_tensor(ids, "int32") for side, ids in inputs.items()}
        return ops.convert_to_numpy(self.model.source_attention(tensors))[0]

    def inspect(self, window: PackedWindow, memory: dict) -> dict[str, np.ndarray]:
        """How the memory is used in a window: the model's `inspect_memory`, without the batch axis."""
        inputs, _ = self._pack([[window]])
        tensors = tree.map_structure(ops.convert_to_tensor, (inputs, self._stack([memory])))
        return {name: ops.convert_to_numpy(value)[0] for name, value in self.model.inspect_memory(*tensors).items()}

    def score_windows(self, documents: Sequence[Sequence[PackedWindow]]) -> list[list[TokenScore]]:
        """The log-probability of given outputs.

        Args:
            documents: the windows of each, in order.

        Returns:
            For each document, a `TokenScore` for each of its scored segments.

        Raises:
            UserError: for a model that gives NaN.
        """
        results: list[list[TokenScore]] = [[] for _ in documents]
        rows_of = [list(plan_rows(windows, window_length, _ROW_TOKENS)) for windows in documents]
        lengths = [min(sum(map(window_length, windows)), _ROW_TOKENS) for windows in documents]

        def score(numbers):
            memories = dict.fromkeys(numbers, self.first_memory)
            for step in range(max(len(rows_of[number]) for number in numbers)):
                here = [number for number in numbers if step < len(rows_of[number])]
                found, after = self._score_rows([rows_of[n][step] for n in here], [memories[n] for n in here])
                for number, scores, memory in zip(here, found, after, strict=True):
                    results[number] += scores
                    memories[number] = memory

        for _ in side_by_side(score, ((numbers,) for numbers in self._plan(lengths))):
            pass
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

    def _batch(self, requests: list[Request]) -> tuple:
        """The arguments of a search: source (B, S), limits (B,), owed (B, P), the largest limit, seed (2,) and context,
        see `app.translation.chunks.ChunkedSearch`."""
        size = round_rows(len(requests), self._least)
        source = pad_rows([[i for ids in request.sources for i in (*ids, EOS)] for request in requests], size)
        owed = np.zeros((size, len(self.copied)), bool)
        limits = np.ones(size, "int32")
        for row, request in enumerate(requests):
            own = request.sources[request.current]
            owed[row, [i - self.copied.start for i in own if i in self.copied]] = True
            # Room for all pieces and terms, however short the limit.
            longest = sum(max(map(len, forms)) for forms in request.terms)
            limits[row] = max(self._limit(len(own)), int(owed[row].sum()) + longest + 1)
        most = int(limits.max())
        if keras.backend.backend() == "jax":
            usual = self._limit(source.shape[1])
            most = usual if most <= usual else round_length(most)
        with self._lock:
            seed = np.array([self.sampling.seed % (1 << 32) if self.sampling else 0, self._batches], "uint32")
            self._batches += 1
        return source, limits, owed, most, seed, self._context(requests, size)

    def _context(self, requests, size):
        context: dict[str, Any] = {}
        if self.memory is not None:
            context["memory"] = self._stack([request.memory for request in requests])
            prefixes = [[i for ids in request.before for i in (BOS, *ids)] for request in requests]
            if any(prefixes):
                # The rows that only pad the batch may hold anything.
                context["prefix"] = pad_rows(prefixes, size)
        if any(request.stored for request in requests):
            parts = [request.stored() if request.stored else NOTHING for request in requests]
            longest = max(self.retrieval.neighbours, *(len(part.tokens) for part in parts))
            context["stored"] = padded(parts, size, round_length(longest), self.width)
        if any(request.terms for request in requests):
            rows = [*(request.terms for request in requests), *[()] * (size - len(requests))]
            context["terms"] = pack_terms(rows, self.search.term_bonus, self.words)._asdict()
        return context

    def _pack(self, rows: list[list[PackedWindow]]) -> tuple[dict, np.ndarray]:
        rows = [*rows, *[[]] * (round_rows(len(rows), self._least) - len(rows))]
        if keras.backend.backend() != "jax":
            return pack(rows, MULTIPLE)
        windows = max(1, *map(len, rows))
        longest = max(length_of(side) for row in rows for window in row for side in (window.sources, window.targets))
        multiple = round_length(max(longest, _ROW_TOKENS if windows > 1 else 1))
        return pack(rows, multiple, 1 << (windows - 1).bit_length())

    def _stack(self, memories: list[dict]) -> dict:
        """Stacks the memories of several documents, with the batch as axis 0."""
        memories = [*memories, *[memories[0]] * (round_rows(len(memories), self._least) - len(memories))]
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
            # Only the states of scored tokens: each token of context would cost a row of logits.
            states = ops.take(ops.reshape(states, (-1, states.shape[-1])), places, axis=0)
            labels = ops.take(ops.reshape(labels, (-1,)), places)
            logits = self.model.output_embedding.logits(states)
            return score_logits(logits[None], labels[None], PAD).log_probs[0], memory

        return compiled(run, self.model, _INPUT_KINDS, self.memory, ("int32", 2), ("int32", 1))


def outputs_of(found: Hypotheses, size: int) -> list[list[Decoded]]:
    """The outputs of the first `size` sources of a batch."""
    rows = len(found.tokens)
    tokens = found.tokens.reshape(rows, -1, found.tokens.shape[-1])
    scores = found.scores.reshape(rows, -1)
    return [_decoded(tokens[row], scores[row]) for row in range(size)]


def _decoded(tokens: np.ndarray, scores: np.ndarray) -> list[Decoded]:
    """The outputs of one source: tokens (n, T), scores (n,), which are -inf where there is no output."""
    ends = np.argmax(np.isin(tokens, (EOS, PAD)), axis=1)
    found = zip(tokens, ends, scores, strict=True)
    return [Decoded(ids[:end].tolist(), float(score)) for ids, end, score in found if np.isfinite(score)]


def refuse_broken(found: Any) -> Any:
    """Like `models.search.refuse_nan`, but raises a `UserError`."""
    try:
        return refuse_nan(found)
    except ValueError as error:
        raise UserError(
            "the model's output is not finite: its weights are damaged, or the training diverged; "
            "take another checkpoint"
        ) from error


def _unstack(memory: dict, count: int) -> list[dict]:
    """The memories of the first `count` documents of a batch."""
    return [tree.map_structure(lambda leaf, row=row: leaf[row], memory) for row in range(count)]
