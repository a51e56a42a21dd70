"""A decoder on CTranslate2, a runtime in C++ that starts at once and needs no Keras."""

import json
import logging
import math
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from app.presets.schema import SearchPreset
from app.translation.batch_plan import plan_batches
from app.translation.decoder import Decoded, Request, Sampling, TokenScore, refuse_more, refuse_other_models
from data.errors import UserError
from data.files import read_manifest
from data.installing import extra_command
from data.parallel import cores
from data.tokenizer import BOS, EOS, PAD

SETTINGS = "weitblick.json"
# CTranslate2 stops after beam * patience finished outputs, earlier than an exact search; a larger patience is slower.
# Translations equal to those of the exact search in Keras with a patience of 1, 1.5 and 2: 99.8, 99.9 and 99.9% of
# newstest2013; with a length penalty of 1.4 on Multi30k 96.3, 99.5 and 99.8%.
PATIENCE = 1.5
# Source tokens per batch with which CTranslate2 was fastest on one core, by whether weights are integers: those of 8
# bits fit into its cache.
_FASTEST_BATCH = {True: 384, False: 2048}
# The score of suppressed tokens is the lowest finite number, which is below this.
_IMPOSSIBLE = -1e30


class _Found(NamedTuple):
    """An output without its end token, and its log-probability, which is None if the limit cut the output off."""

    ids: tuple[int, ...]
    log_probability: float | None


class CTranslate2Decoder:
    """A model in CTranslate2 with a search around it; implements `app.translation.decoder.Decoder`.

    It does not read documents: each segment is decoded alone. Several threads may decode at the same time.

    The search is that of `models.search`, with these differences. It ends after `beam * PATIENCE` finished outputs.
    Suppressed tokens are removed before the softmax, so scores are of a distribution without them. The same seed gives
    other samples. It cannot require tokens: where the best output loses or doubles a numbered piece, the `Translator`
    searches again for more outputs and takes one that does not, or mends it.

    Args:
        folder: a folder written by `app.export.ctranslate2.export`.
        search: beam, length penalty, limits of the output and tokens in a batch.
        sampling: settings for random sampling; None for search.
    """

    def __init__(self, folder: Path, search: SearchPreset, sampling: Sampling | None = None):
        ctranslate2 = import_ctranslate2()
        refuse_other_models(search, "CTranslate2 computes one model; use the engine keras")
        self.search, self.sampling = search, sampling
        self.output_tokens = 0
        self._lock = threading.Lock()
        settings = _read_settings(Path(folder))
        self.max_positions: int = settings["max_positions"]
        self._most_tokens = min(search.batch_tokens, _FASTEST_BATCH[settings["quantization"].startswith("int")])
        self._pieces = json.loads((Path(folder) / "shared_vocabulary.json").read_text(encoding="utf-8"))
        self._ids = {piece: id for id, piece in enumerate(self._pieces)}
        self._never = [[self._pieces[id]] for id in (PAD, BOS)]
        count = cores()
        # A batch on each core is faster than one on all cores; sampling follows the seed only with a single worker.
        self._workers = 1 if sampling else count
        # Hides the warning that 16-bit weights are computed in float32 on processors without 16-bit arithmetic.
        ctranslate2.set_log_level(logging.ERROR)
        if sampling:
            # Threads take over the seed as they start, so it is set before.
            ctranslate2.set_random_seed(sampling.seed % (1 << 32))
        try:
            self._translator = ctranslate2.Translator(
                str(folder), inter_threads=self._workers, intra_threads=count // self._workers, max_queued_batches=-1
            )
        except (RuntimeError, ValueError) as error:
            raise UserError(f"{folder}: CTranslate2 cannot load it ({error}); remove it and try again") from error

    first_memory = None
    remembers = False
    retrieval = None
    words = None
    attends = False

    @property
    def most(self) -> int:
        """The maximum number of outputs of a source."""
        return 1 if self.sampling else self.search.beam

    def decode_segments(
        self, requests: Sequence[Request], count: int = 1, progress: Callable[[list[int]], None] | None = None
    ) -> list[list[Decoded]]:
        """Finds the best outputs of each segment, each decoded alone; see `Decoder.decode_segments`."""
        if self.sampling is None:
            refuse_more(count, self.search.beam)
        sources = [request.sources[request.current] for request in requests]
        limits = [self._limit(len(source)) for source in sources]
        batches = [(rows, limits[rows[0]]) for rows in self._plan([len(source) + 1 for source in sources])]
        found = dict(self._search(sources, batches, count, progress))
        # A batch has the limit of its longest source; sources whose own limit was reached are searched again with it.
        over = [row for row, outputs in found.items() if any(len(output.ids) >= limits[row] for output in outputs)]
        by_limit = {limit: [row for row in over if limits[row] == limit] for limit in {limits[row] for row in over}}
        found |= dict(self._search(sources, [(rows, limit) for limit, rows in by_limit.items()], count))
        self._score_cut(sources, found)
        results = [self._best(found[row], count) for row in range(len(sources))]
        with self._lock:
            self.output_tokens += sum(len(outputs[0].ids) + 1 for outputs in results if outputs)
        return results

    def score(self, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]) -> list[TokenScore]:
        """The log-probability of given outputs; see `app.translation.keras_decoder.KerasDecoder.score`."""

        def submit(rows):
            sides = ([self._tokens(side[row]) for row in rows] for side in (sources, targets))
            return self._translator.score_batch(*sides, max_input_length=0, asynchronous=True)

        results = [TokenScore(0.0, 0)] * len(sources)
        lengths = [max(len(source), len(target)) + 1 for source, target in zip(sources, targets, strict=True)]
        for rows, scored in self._ahead(self._plan(lengths), submit):
            for row, one in zip(rows, scored, strict=True):
                results[row] = TokenScore(math.fsum(one.log_probs), len(one.log_probs))
        return results

    def _search(self, sources, batches, count: int, progress=None) -> Iterator[tuple[int, list[_Found]]]:
        """Searches batches of (rows, limit); yields each row with all its outputs."""
        copies = count if self.sampling else 1
        options = self._options(count)

        def submit(batch):
            rows, limit = batch
            tokens = [self._tokens(sources[row]) for row in rows for _ in range(copies)]
            return self._translator.translate_batch(tokens, max_decoding_length=limit, **options)

        for (rows, _), results in self._ahead(batches, submit):
            for number, row in enumerate(rows):
                copied = results[number * copies : (number + 1) * copies]
                yield row, [one for result in copied for one in self._read(result, options["length_penalty"])]
            if progress:
                progress(rows)

    def _options(self, count: int) -> dict:
        """Arguments of `ctranslate2.Translator.translate_batch`."""
        options = {"asynchronous": True, "max_input_length": 0, "return_scores": True, "return_end_token": True}
        options |= {"disable_unk": True, "suppress_sequences": self._never, "beam_size": 1, "length_penalty": 0.0}
        if self.sampling:
            drawn = {"topk": self.sampling.top_k, "topp": self.sampling.top_p, "temperature": self.sampling.temperature}
            return options | {f"sampling_{name}": value for name, value in drawn.items()}
        if self.search.beam == 1:
            return options
        options |= {"beam_size": self.search.beam, "length_penalty": self.search.length_penalty, "patience": PATIENCE}
        # Without a penalty CTranslate2 itself ends when no better output is possible.
        exact = count == 1 and self.search.length_penalty == 0
        return options | {"num_hypotheses": 1 if exact else round(self.search.beam * PATIENCE)}

    def _read(self, result, alpha: float) -> Iterator[_Found]:
        """The outputs in a result of CTranslate2, whose scores are divided by length ** alpha."""
        for pieces, score in zip(result.hypotheses, result.scores, strict=True):
            *ids, last = (self._ids[piece] for piece in pieces)
            if score > _IMPOSSIBLE:
                yield _Found(tuple(ids), score * len(pieces) ** alpha if last == EOS else None)

    def _score_cut(self, sources, found: dict[int, list[_Found]]) -> None:
        """Sets the log-probability of outputs that the limit cut off, as if they ended with an end token."""
        cut = [
            (row, output.ids) for row, outputs in found.items() for output in outputs if output.log_probability is None
        ]
        scores = self.score([sources[row] for row, _ in cut], [ids for _, ids in cut])
        known = {key: score.log_probability for key, score in zip(cut, scores, strict=True)}
        for row in {row for row, _ in cut}:
            found[row] = [_Found(ids, known.get((row, ids), log_prob)) for ids, log_prob in found[row]]

    def _best(self, found: list[_Found], count: int) -> list[Decoded]:
        """The best outputs by the length penalty of `models.search`; sampled ones are returned as they are."""
        if self.sampling:
            return [Decoded(list(ids), log_probability) for ids, log_probability in found]
        # Outputs that were cut off may be equal; the dictionary keeps one.
        scores = {ids: log_probability / self.search.penalty(len(ids) + 1) for ids, log_probability in found}
        best = sorted(scores, key=scores.get, reverse=True)[:count]
        return [Decoded(list(ids), scores[ids]) for ids in best]

    def _limit(self, length: int) -> int:
        """As in `app.translation.keras_decoder`: the maximum output tokens, end token included, by source length."""
        return min(self.search.most_tokens(length), self.max_positions)

    def _plan(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        """Batches of similar length, small enough to give every core work."""
        return plan_batches(lengths, min(self._most_tokens, math.ceil(sum(lengths) / self._workers)))

    def _ahead(self, jobs: Iterable, submit: Callable) -> Iterator[tuple]:
        """Each job with its results, in order; only a few more are submitted, so that Ctrl-C takes effect soon."""
        waiting: deque[tuple] = deque()
        for job in jobs:
            waiting.append((job, submit(job)))
            if len(waiting) > 2 * self._workers:
                yield self._finished(*waiting.popleft())
        while waiting:
            yield self._finished(*waiting.popleft())

    @staticmethod
    def _finished(job, futures) -> tuple:
        return job, [future.result() for future in futures]

    def _tokens(self, ids: Sequence[int]) -> list[str]:
        return [self._pieces[id] for id in ids]


def _read_settings(folder: Path) -> dict:
    """The settings of an export, after checking that its files are unchanged."""
    try:
        return read_manifest(folder / SETTINGS)
    except UserError as error:
        raise UserError(f"{error}; remove the folder {folder} and try again") from error


def import_ctranslate2() -> ModuleType:
    """The package `ctranslate2`.

    Raises:
        UserError: it is not installed.
    """
    try:
        import ctranslate2
    except ImportError as error:
        raise UserError(f"CTranslate2 is not installed: {extra_command('ctranslate2')}") from error
    return ctranslate2
