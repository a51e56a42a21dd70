"""Beam search a few steps at a time: caches grow with the output, and finished sentences leave the batch."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from app.presets.schema import SearchPreset
from app.translation.compiling import CompiledOnce, tensor_spec
from app.translation.decoder import Sampling
from app.translation.padding import least_rows
from data.tokenizer import BOS, EOS, PAD, UNK
from models.search import (
    BeamSearch,
    Hypotheses,
    Terms,
    Words,
    beam_search,
    greedy,
    live_inputs,
    sample,
    select_inputs,
)

# Steps between two checks for finished sentences.
STEPS = 8
# The batch shrinks when at most this share of its sentences is unfinished.
LIVING = 0.95


class ChunkedSearch:
    """Gives the same results as `search_function`, several times faster where output lengths differ.

    One compiled function does a few steps at a time. Between two calls, finished sentences leave the batch, and caches
    grow by the next steps; they need not hold the longest possible output from the start. Not for JAX, which would
    recompile for each size.

    Args:
        model: as for `app.translation.keras_decoder.KerasDecoder`, with `lengthen_state(state, steps)`.
        search: beam, 1 for greedy search, and length penalty.
        count: outputs per source, at most the beam size.
        kinds: what `context` may hold, as `app.translation.compiling.compiled` takes it.
        copied: P consecutive ids of numbered pieces; see `models.search.copying`.
        words: where words begin, for terms; see `models.search.terms`.
    """

    def __init__(
        self,
        model: Any,
        search: SearchPreset,
        count: int = 1,
        kinds: dict[str, Any] | None = None,
        copied: Sequence[int] = (),
        words: Words | None = None,
    ):
        self.model, self._kinds = model, kinds or {}
        self.least = least_rows(model)
        self.search = beam_search_of(model, search, count, copied, words)
        self._parts = CompiledOnce(self._compile)

    def _compile(self, names: frozenset[str]) -> tuple[Callable, Callable, Callable]:
        """The compiled parts for inputs with these parts of the context."""
        make = _compiled_tensorflow if keras.backend.backend() == "tensorflow" else _not_compiled
        kinds = {name: kind for name, kind in self._kinds.items() if name in names}
        return make(self._start_beams, self._advance_beams, self._advance_some_beams, kinds)

    def __call__(
        self, source: np.ndarray, limits: np.ndarray, owed: np.ndarray, context: dict[str, Any] | None = None
    ) -> Hypotheses:
        """Searches for one batch.

        Args:
            source: (B, S) int32, each row ending with `EOS` before its padding.
            limits: (B,) int32, the maximum tokens of each output, end token included.
            owed: (B, P) bool, which numbered pieces each output must contain.
            context: what else the model's `initial_state` takes, arrays with B rows. For a document model, "memory" is
                the memory of each row, and "prefix", (B, T) int32, the decoder input before the output, if any.
                "terms", if any row has some, is for the search: `models.search.Terms` as a dictionary.

        Returns:
            `Hypotheses` of numpy arrays: tokens (B, n, T), scores (B, n) and lengths (B, n).
        """
        found, places = [], np.arange(len(source))
        context = context or {}
        start, advance, advance_some = self._parts(frozenset(context))
        beams, live = advance(start(source, limits, owed, context))
        while len(places):
            live = ops.convert_to_numpy(live)
            kept = self._kept(live)
            if live.mean() > LIVING or len(kept) == len(places):
                beams, live = advance(beams)
                continue
            found.append((places[~live], _part(self.search.hypotheses(beams), ~live)))
            places = places[kept]
            if len(places):
                beams, live = advance_some(beams, kept)
        return _joined(found, len(source))

    def _kept(self, live: np.ndarray) -> np.ndarray:
        """The rows to keep: the unfinished ones, topped up with finished ones to at least `least_rows`."""
        kept = np.flatnonzero(live)
        if 0 < len(kept) < self.least:
            kept = np.sort(np.concatenate([kept, np.flatnonzero(~live)[: self.least - len(kept)]]))
        return kept.astype("int32")

    def _start_beams(self, source, limits, owed, context):
        context, terms = split_context(context)
        state = self.model.initial_state(source, 0, **context)
        return self.search.start(state, ops.shape(source)[0], ops.max(limits), limits, 0, owed, terms)

    def _advance_beams(self, beams):
        beams = self.search.lengthen(beams, STEPS, self.model.lengthen_state(beams.state, STEPS))
        beams = self.search.advance(beams, STEPS)
        return beams, live_inputs(beams)

    def _advance_some_beams(self, beams, inputs):
        return self._advance_beams(select_inputs(beams, inputs))


def split_context(context: dict[str, Any]) -> tuple[dict[str, Any], Terms | None]:
    """Splits a search's context into the part for the model, and the terms."""
    rest = {name: value for name, value in context.items() if name != "terms"}
    return rest, Terms(**context["terms"]) if "terms" in context else None


def beam_search_of(
    model: Any, search: SearchPreset, count: int = 1, copied: Sequence[int] = (), words: Words | None = None
) -> BeamSearch:
    """The beam search of a preset; see `ChunkedSearch` for the arguments."""
    # Greedy search follows a single hypothesis, so a penalty could not change the result.
    penalty = search.length_penalty if search.beam > 1 else 0.0
    rest = {"copied": copied, "words": words, "length_offset": search.length_offset}
    return BeamSearch(model.step, search.beam, penalty, count, BOS, EOS, PAD, 2, (UNK,), **rest)


def _compiled_tensorflow(start, advance, advance_some, kinds):
    """Compiles the parts once for all batch sizes and lengths."""
    import tensorflow as tf

    def compiled(function, *signature):
        return tf.function(function, input_signature=signature, autograph=False)

    given = [tensor_spec(kind) for kind in (("int32", 2), ("int32", 1), ("bool", 2), kinds)]
    start = compiled(start, *given)
    beams = start.get_concrete_function().structured_outputs
    # The output's length, which is 0 here, grows.
    beams = tree.map_structure(lambda leaf: tf.TensorSpec([size or None for size in leaf.shape], leaf.dtype), beams)
    return start, compiled(advance, beams), compiled(advance_some, beams, tf.TensorSpec([None], "int32"))


def _not_compiled(start, advance, advance_some, kinds):
    """PyTorch runs the parts eagerly, without tracking gradients."""
    import torch

    def tensor(value):
        return ops.convert_to_tensor(value) if isinstance(value, np.ndarray) else value

    def without_gradients(function):
        def run(*values):
            with torch.no_grad():
                return function(*tree.map_structure(tensor, values))

        return run

    return tuple(map(without_gradients, (start, advance, advance_some)))


def _part(hypotheses: Hypotheses, chosen: np.ndarray) -> Hypotheses:
    return Hypotheses(*(ops.convert_to_numpy(values)[chosen] for values in hypotheses))


def _joined(found: list[tuple[np.ndarray, Hypotheses]], size: int) -> Hypotheses:
    """Merges the parts of a batch; each comes with the indices of its inputs."""
    longest = max(part.tokens.shape[-1] for _, part in found)
    count = found[0][1].scores.shape[1]
    tokens, scores = np.full((size, count, longest), PAD, "int32"), np.zeros((size, count), "float32")
    whole = Hypotheses(tokens, scores, np.zeros((size, count), "int32"))
    for places, part in found:
        whole.tokens[places, :, : part.tokens.shape[-1]] = part.tokens
        whole.scores[places], whole.lengths[places] = part.scores, part.lengths
    return whole


def search_function(
    model: Any,
    search: SearchPreset,
    count: int = 1,
    sampling: Sampling | None = None,
    copied: Sequence[int] = (),
    words: Words | None = None,
) -> Callable:
    """The whole search over one batch, from token ids to token ids, in Keras operations only.

    Args:
        model: see `app.translation.keras_decoder.KerasDecoder`.
        search: beam and length penalty; the caller handles output limits and batch size.
        count: outputs per source; in beam search at most the beam size.
        sampling: settings for random sampling; None for search.
        copied: P consecutive ids of numbered pieces.
        words: where words begin, for terms.

    Returns:
        A function that can be compiled. It takes

        - source (B, S) int32, each row ending with `EOS` before its padding;
        - limits (B,) int32, the maximum tokens of each output, end token included;
        - owed (B, P) bool, the numbered pieces that each output contains;
        - max_length, an int32 scalar, at least the largest limit;
        - seed (2,) uint32, for sampling;
        - context, see `ChunkedSearch`.

        It returns the fields of `models.search.Hypotheses` as a tuple: tokens (B, n, T), scores (B, n) and lengths
        (B, n), or without the n where the beam is 1.
    """

    def run(source, limits, owed, max_length, seed, context):
        context, terms = split_context(context)
        state = model.initial_state(source, max_length, **context)
        common = {"bos": BOS, "eos": EOS, "pad": PAD, "max_lengths": limits, "min_length": 2, "forbidden": (UNK,)}
        common |= {"copied": copied, "owed": owed, "terms": terms, "words": words}
        arguments = (model.step, state, ops.shape(source)[0])
        if sampling:
            draw = {"temperature": sampling.temperature, "samples": count}
            draw |= {"top_k": sampling.top_k or None, "top_p": sampling.top_p}
            return tuple(sample(*arguments, max_length, _GivenSeed(seed), **draw, **common))
        if search.beam == 1:
            return tuple(greedy(*arguments, max_length, **common))
        common["length_offset"] = search.length_offset
        return tuple(beam_search(*arguments, search.beam, max_length, search.length_penalty, count, **common))

    return run


class _GivenSeed(keras.random.SeedGenerator):
    """Passes a seed argument of a compiled function to random operations, which Keras itself cannot do."""

    def __init__(self, seed):
        self.seed = seed

    def next(self, ordered=True):
        return self.seed
