"""From token ids to token ids: batches of like length, and searches compiled for the backend in use."""

import functools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
from keras import ops, tree

from app.presets.schema import SearchPreset
from app.translation.batch_plan import plan_batches
from app.translation.chunks import ChunkedSearch, initial_state
from app.translation.decoded import Decoded, Sampling, TokenScore
from app.translation.padding import pad_rows, round_length, round_rows
from data.errors import UserError
from data.tokenizer import BOS, EOS, PAD, UNK
from models.search import Hypotheses, Scores, beam_search, greedy, refuse_nan, sample, score_logits

_AT_ONCE = 2


class Decoding:
    """A model with a search around it.

    Args:
        model: has `initial_state(source (B, S), max_length)` and `step(tokens (B,), state)`, and is callable on
            `{"source": (B, S), "target": (B, T)}` for the scoring of given sequences.
        search: beam, length penalty, limits of the output and tokens in a batch.
        sampling: draws at random instead, where given.
    """

    def __init__(self, model, search: SearchPreset, sampling: Sampling | None = None):
        self.model = model
        self.search = search
        self.sampling = sampling
        self.output_tokens = 0
        self.memory: dict | None = None
        self._batches = 0
        learned = getattr(model, "positions_kind", None) == "learned"
        self.max_positions: int | None = model.max_positions if learned else None
        self._search = functools.cache(self._compile_search)

    def decode(
        self, sources: Sequence[Sequence[int]], count: int = 1, progress: Callable[[list[int]], None] | None = None
    ) -> list[list[Decoded]]:
        """Looks for the best outputs of each source.

        Args:
            sources: token ids without the end token, none of them empty.
            count: outputs wanted of each; with a beam at most as many as it is wide.
            progress: called after each batch with the numbers of the sources in it.

        Returns:
            Up to `count` outputs for each source, best first; fewer where no more exist.

        Raises:
            UserError: for more outputs than the beam is wide, or a model that gives NaN.
        """
        if self.sampling is None and count > self.search.beam:
            raise UserError(f"{count} translations of each line need search.beam = {count} or more")
        results: list[list[Decoded]] = [[] for _ in sources]
        lengths = [len(source) + 1 for source in sources]
        search = self._search(count)
        batches = list(plan_batches(lengths, self.search.batch_tokens, round_length))
        inputs = (self._batch([sources[row] for row in rows]) for rows in batches)
        for rows, found in zip(batches, side_by_side(search, inputs), strict=True):
            for row, decoded in zip(rows, outputs_of(refuse_broken(found), len(rows)), strict=True):
                results[row] = decoded
                self.output_tokens += len(decoded[0].ids) + 1 if decoded else 0
            if progress:
                progress(rows)
        return results

    def score(self, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]) -> list[TokenScore]:
        """What the model thinks of given outputs.

        Args:
            sources, targets: token ids without end tokens, one target for each source.

        Returns:
            A `TokenScore` for each pair.

        Raises:
            UserError: for a model that gives NaN.
        """
        results: list[TokenScore] = [TokenScore(0.0, 0)] * len(sources)
        lengths = [max(len(source), len(target)) + 1 for source, target in zip(sources, targets, strict=True)]
        for rows in plan_batches(lengths, self.search.batch_tokens, round_length):
            size = round_rows(len(rows))
            source = pad_rows([[*sources[row], EOS] for row in rows], size)
            labels = pad_rows([[*targets[row], EOS] for row in rows], size)
            inputs = np.concatenate([np.full((size, 1), BOS, "int32"), labels[:, :-1]], axis=1)
            inputs[inputs == EOS] = PAD
            found = refuse_broken(self._score(source, inputs, labels))
            for i, row in enumerate(rows):
                results[row] = TokenScore(float(found.scores[i]), int(found.lengths[i]))
        return results

    def _batch(self, sources: list[Sequence[int]]) -> tuple:
        """The arguments of a search: source (B, S), limits (B,), the largest limit and the seed (2,)."""
        size = round_rows(len(sources))
        source = pad_rows([[*source, EOS] for source in sources], size)
        limits = np.array([self._limit(len(source)) for source in sources] + [1] * (size - len(sources)), "int32")
        most = self._limit(source.shape[1]) if keras.backend.backend() == "jax" else int(limits.max())
        seed = np.array([self.sampling.seed % (1 << 32) if self.sampling else 0, self._batches], "uint32")
        self._batches += 1
        return source, limits, most, seed

    def _limit(self, length: int) -> int:
        """The most tokens, with the end token, that the output of a source of so many tokens may have."""
        limit = self.search.most_tokens(length)
        return min(limit, self.max_positions) if self.max_positions else limit

    def _compile_search(self, count: int) -> Callable:
        in_chunks = keras.backend.backend() != "jax" and hasattr(self.model, "lengthen_state")
        if in_chunks and self.sampling is None:
            search = ChunkedSearch(self.model, self.search, count, self.memory)
            return lambda source, limits, most, seed, *context: search(source, limits, *context)
        run = search_function(self.model, self.search, count, self.sampling)
        kinds = [("int32", 2), ("int32", 1), ("int32", 0), ("uint32", 1), self.memory, ("int32", 2)]
        variants = functools.cache(lambda given: compiled(run, self.model, *kinds[:given]))
        return lambda *arguments: Hypotheses(*variants(len(arguments))(*arguments))

    @functools.cached_property
    def _score(self) -> Callable:
        def run(source, inputs, labels):
            logits = self.model(_inputs(self.model, source, inputs), training=False)
            return tuple(score_logits(logits, labels, PAD))

        run = compiled(run, self.model, ("int32", 2), ("int32", 2), ("int32", 2))
        return lambda *arguments: Scores(*run(*arguments))


def _inputs(model, source, target) -> dict:
    """What the model is called on; one of documents takes each row for a document of one segment."""
    inputs = {"source": source, "target": target}
    if not hasattr(model, "document_states"):
        return inputs
    for side, tokens in (("source", source), ("target", target)):
        real = ops.cast(ops.not_equal(tokens, PAD), "int32")
        positions = ops.arange(ops.shape(tokens)[1], dtype="int32") * real
        inputs |= {f"{side}_windows": real, f"{side}_positions": positions, f"{side}_remembered": real}
    return inputs | {"resets": ops.ones_like(source[:, :1])}


def search_function(model, search: SearchPreset, count: int = 1, sampling: Sampling | None = None) -> Callable:
    """The whole search over one batch, from token ids to token ids, in operations of Keras alone.

    Args:
        model: see `Decoding`.
        search: beam and length penalty; its limits and its tokens in a batch are the caller's matter.
        count: outputs wanted of each source; with a beam at most as many as it is wide.
        sampling: draws at random instead, where given.

    Returns:
        A function that can be compiled, of: source (B, S) int32, where each row ends with `EOS` and then has padding;
        limits (B,) int32 of the outputs' tokens, end token included; max_length, an int32 scalar at least as large as
        they are; and seed (2,) uint32, for drawing; for a model of documents also memory and prefix, see
        `app.translation.chunks.ChunkedSearch`. It returns what `models.search.Hypotheses` holds, as a tuple: tokens
        (B, n, T),
        scores (B, n) and lengths (B, n), or without the n where the beam is 1.
    """

    def run(source, limits, max_length, seed, *context):
        state = initial_state(model, source, max_length, *context)
        common = {"bos": BOS, "eos": EOS, "pad": PAD, "max_lengths": limits, "min_length": 2, "forbidden": (UNK,)}
        arguments = (model.step, state, ops.shape(source)[0])
        if sampling:
            draw = {"temperature": sampling.temperature, "samples": count}
            draw |= {"top_k": sampling.top_k or None, "top_p": sampling.top_p}
            return tuple(sample(*arguments, max_length, _GivenSeed(seed), **draw, **common))
        if search.beam == 1:
            return tuple(greedy(*arguments, max_length, **common))
        return tuple(beam_search(*arguments, search.beam, max_length, search.length_penalty, count, **common))

    return run


class _GivenSeed(keras.random.SeedGenerator):
    """Gives the random operations a seed that is an argument of a compiled function, which Keras has no way for."""

    def __init__(self, seed):
        self.seed = seed

    def next(self, ordered=True):
        return self.seed


def compiled(function: Callable, model, *arguments: tuple[str, int] | dict) -> Callable:
    """Compiles a function for the backend in use, once for all shapes where the backend can.

    Args:
        function: takes tensors and nested dictionaries of them, and returns a tuple of the same.
        model: the model whose weights it uses; they may change between calls.
        arguments: dtype and number of axes of each argument. One without axes is a whole number that sets shapes. For a
            nested dictionary one with, in place of each tensor, the same or an array that is like it but for axis 0.

    Returns:
        The same function of numpy arrays.
    """
    backend = keras.backend.backend()
    make = {"tensorflow": _compiled_tensorflow, "jax": _compiled_jax}.get(backend, _not_compiled)
    run = make(function, model, arguments)
    return lambda *values: tree.map_structure(lambda x: np.asarray(ops.convert_to_numpy(x)), tuple(run(*values)))


def _compiled_tensorflow(function, model, arguments):
    import tensorflow as tf

    def spec(kind):
        if isinstance(kind, dict):
            return {name: spec(part) for name, part in kind.items()}
        if isinstance(kind, tuple):
            return tf.TensorSpec([None] * kind[1], kind[0])
        return tf.TensorSpec([None, *kind.shape[1:]], kind.dtype)

    signature = [spec(kind) for kind in arguments]
    return tf.function(function, input_signature=signature, autograph=False)


def _compiled_jax(function, model, arguments):
    """JAX compiles anew for each shape, and would take weights for constants unless they are arguments."""
    import jax

    variables = list(getattr(model, "variables", ()))

    def run(weights, *values):
        with keras.StatelessScope(state_mapping=list(zip(variables, weights, strict=True))):
            return function(*values)

    static = tuple(i + 1 for i, kind in enumerate(arguments) if isinstance(kind, tuple) and kind[1] == 0)
    run = jax.jit(run, static_argnums=static)
    return lambda *values: run([variable.value for variable in variables], *values)


def _not_compiled(function, model, arguments):
    """PyTorch runs as it is written, without keeping what only gradients need."""
    import torch

    def tensor(value):
        return value if isinstance(value, int) else ops.convert_to_tensor(value)

    def run(*values):
        with torch.no_grad():
            return function(*tree.map_structure(tensor, values))

    return run


def side_by_side(search: Callable, inputs: Iterable[tuple]) -> Iterator[Hypotheses]:
    """The results for each of the inputs, in order.

    On TensorFlow several batches are in work at once: while one waits for a small operation, another one's matrix
    product has the processor.
    """
    if keras.backend.backend() != "tensorflow":
        yield from (search(*values) for values in inputs)
        return
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        waiting: deque = deque()
        try:
            for values in inputs:
                waiting.append(pool.submit(search, *values))
                if len(waiting) > _AT_ONCE:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def outputs_of(found: Hypotheses, size: int) -> list[list[Decoded]]:
    """The outputs of the first `size` sources of a batch."""
    rows = len(found.tokens)
    tokens = found.tokens.reshape(rows, -1, found.tokens.shape[-1])
    scores = found.scores.reshape(rows, -1)
    return [_decoded(tokens[row], scores[row]) for row in range(size)]


def _decoded(tokens: np.ndarray, scores: np.ndarray) -> list[Decoded]:
    """The outputs of one source that exist: tokens (n, T), scores (n,), -inf where there is none."""
    ends = np.argmax(np.isin(tokens, (EOS, PAD)), axis=1)
    found = zip(tokens, ends, scores, strict=True)
    return [Decoded(ids[:end].tolist(), float(score)) for ids, end, score in found if np.isfinite(score)]


def refuse_broken(found):
    try:
        return refuse_nan(found)
    except ValueError as error:
        raise UserError(
            "the model gives numbers that are not finite: its weights are damaged, or the training went wrong; "
            "take another checkpoint"
        ) from error
